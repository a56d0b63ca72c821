"""(model, strategy) -> a really smaller model with the surviving weights."""

import warnings

import keras
import numpy as np

from eagleeye_tf import errors
from eagleeye_tf.pruning import batch_statistics as batch_statistics_lib
from eagleeye_tf.pruning import channel_graph
from eagleeye_tf.pruning import importance as importance_lib
from eagleeye_tf.pruning import live_code
from eagleeye_tf.pruning import network
from eagleeye_tf.pruning import serialized
from eagleeye_tf.pruning.channel_graph import ChannelGraph
from eagleeye_tf.pruning.strategy import PruningStrategy


class Pruner:
    """Cuts one model by many strategies; analyses and ranks it once.

    Args:
        model: a functional or Sequential `keras.Model`; never changed.
        importance: see `importance.rank_channels`.
        round_to: multiple to which kept channels are rounded up.
        graph: the model's `ChannelGraph`, if it was analysed before.
        examples: `(images, labels)`, or batches of such, for importances
            that ask for them.
        rankings: what `rank_channels` gave before, instead of `importance`.

    Attributes:
        graph: the model's `ChannelGraph`.
        rankings: for each group the indices of its channels, the most
            important first.
    """

    def __init__(
        self,
        model,
        importance="l1",
        round_to=1,
        graph=None,
        examples=None,
        rankings=None,
    ):
        self.graph = graph or ChannelGraph(model)
        self.rankings = rankings
        if rankings is None:
            self.rankings = importance_lib.rank_channels(
                self.graph, importance, examples
            )
        self._round_to = round_to

    def prune(self, ratios, batch_statistics=False, fresh=False):
        """Builds the smaller model.

        Args:
            ratios: as for `prune`.
            batch_statistics: if True, the model is for scoring: its
                BatchNormalization layers are `batch_statistics.Observed`,
                which can be told to run in training mode, and then leave the
                plain statistics of the batch in their moving statistics.
            fresh: whether its weights are initial ones instead of those that
                survive: the same network, to be trained from scratch.

        Returns:
            A new `keras.Model`, not compiled.
        """
        keep = self.keeper(ratios)
        return rebuild(self.graph, keep, batch_statistics, fresh)

    def keeper(self, ratios):
        """Returns which channels stay; see `ChannelGraph.keeper`."""
        kept_units = []
        for count, ranking in zip(
            self.kept(ratios), self.rankings, strict=True
        ):
            kept = np.zeros(len(ranking), bool)
            kept[ranking[:count]] = True
            kept_units.append(kept)
        return self.graph.keeper(kept_units)

    def with_rankings(self, rankings):
        """The same `Pruner` with other rankings."""
        return Pruner(
            self.graph.model,
            round_to=self._round_to,
            graph=self.graph,
            rankings=rankings,
        )

    def kept(self, ratios):
        """Number of channels that each group keeps: int array (groups,)."""
        return self.strategy(ratios).kept(self.graph.groups, self._round_to)

    def strategy(self, ratios):
        """The `PruningStrategy` that `ratios` (see `prune`) stands for."""
        return PruningStrategy.of(self.graph.groups, ratios)


def prune(model, ratios, importance="l1", round_to=1, examples=None):
    """Removes the least important channels of a model.

    Args:
        model: a functional or Sequential `keras.Model`; never changed.
        ratios: share of channels to remove, in [0, 1): one number for every
            channel group, or `{group name: ratio}` (groups not named stay
            whole), or a `PruningStrategy`. floor(ratio · size) channels go,
            at least one stays.
        importance: `"l1"`, `"l2"`, `"geometric_median"`, `"bn_scale"`,
            `"taylor"`, `"random"`, or a function from a list of arrays
            (channels, weights) to an array (channels,).
        round_to: kept channels are rounded up to a multiple of it.
        examples: `(images, labels)`, or batches of such, for `"taylor"`.

    Returns:
        A new `keras.Model` with the surviving weights, the same layer names,
        dtype policies and `trainable` flags; not compiled. It consists of
        the same layer types, so it loads without this package.

    Raises:
        InputError: for a subclassed model, a ratio outside [0, 1), an
            unknown group or importance, or a layer that does not come back
            from its own config.
        VerificationError: if what a layer's rule makes of it cannot be built.

    Warns:
        PlausibilityWarning: if no channel can be removed, whatever the ratios.
    """
    pruner = Pruner(model, importance, round_to, examples=examples)
    if not pruner.graph.groups:
        warnings.warn(
            channel_graph.nothing_to_remove(pruner.graph),
            errors.PlausibilityWarning,
            stacklevel=2,
        )
    return pruner.prune(ratios)


def with_batch_statistics(model):
    """A copy of `model` whose BN layers can be told to run in training mode.

    See `Pruner.prune`; nothing is cut.
    """
    return whole(ChannelGraph(model), batch_statistics=True)


def whole(graph, batch_statistics=False):
    """A copy of a graph's model; nothing is cut. See `rebuild`."""
    return rebuild(graph, _everything(graph), batch_statistics)


def rebuild(graph, keep, batch_statistics=False, fresh=False):
    """Builds what is left of a graph's model.

    Args:
        graph: a `ChannelGraph`.
        keep: function from labels to a bool array, True where they stay.
        batch_statistics: see `Pruner.prune`.
        fresh: see `Pruner.prune`.
    """
    try:
        return _rebuild(graph, keep, batch_statistics, fresh)
    except (TypeError, ValueError) as error:
        raise _explained(error, graph) from error


def _rebuild(graph, keep, batch_statistics, fresh=False):
    """`rebuild`; with None for `keep` the config alone, as Keras wrote it."""
    model = graph.model
    config = network.config_of(model)
    code = live_code.LiveCode()
    _edit_layers(config, model, "", graph, keep, code)
    if batch_statistics:
        code.objects.update(batch_statistics_lib.own_classes(model))
        batch_statistics_lib.use_batch_statistics(config, model)
    with keras.saving.custom_object_scope(code.objects):
        smaller = type(model).from_config(config)
    _restore_containers(model, smaller)
    if batch_statistics:
        batch_statistics_lib.tell_of_each_batch(smaller)
    if keep is not None:
        _copy_weights(graph, keep, smaller, fresh)
    return smaller


def _restore_containers(model, smaller):
    """What the config of a model leaves out, and of the models in it."""
    made = dict(network.containers(smaller))
    for path, container in network.containers(model):
        made[path].dtype_policy = container.dtype_policy
        _copy_trainable(container, made[path])
    layers = dict(network.all_layers(smaller))
    for path, layer in network.all_layers(model):
        if path in layers:  # Else no output depends on it.
            _copy_trainable(layer, layers[path])


def _copy_trainable(layer, made):
    if made.trainable != layer.trainable:  # Setting it sets all inside, too.
        made.trainable = layer.trainable


def _explained(error, graph):
    """The error to raise for one of Keras: is the model or a cut to blame?"""
    name = graph.model.name
    try:
        _rebuild(graph, None, batch_statistics=False)
    except (TypeError, ValueError) as uncut:
        return errors.InputError(
            f"Keras cannot build {name!r} again from its own config "
            f"({errors.cause(uncut)}): its layers need a get_config that "
            "names all their arguments."
        )
    return errors.VerificationError(
        f"{name!r} can be built again from its config, but not once its "
        f"channels are cut ({errors.cause(error)}): a layer's rule is wrong. "
        "Report it, if it is a rule for one of Keras' own layers."
    )


def _everything(graph):
    return graph.keeper([np.ones(g.size, bool) for g in graph.groups])


def _edit_layers(config, model, prefix, graph, keep, code):
    # What Keras knows of built shapes is no longer true once a layer is cut;
    # each layer is built anew when the graph calls it.
    config.pop("build_input_shape", None)
    layers = {op.name: op for op in network.operations(model)}
    for entry in config["layers"]:
        entry.pop("build_config", None)
        entry.pop("compile_config", None)  # Of a nested model.
        name = network.entry_name(entry)
        path, layer = prefix + name, layers.get(name)
        if network.is_functional(layer):
            # Keras infers wrong shapes for inputs that go by name.
            functional = network.as_functional(layer)
            entry["inbound_nodes"] = [
                serialized.by_order(functional, node)
                for node in entry.get("inbound_nodes", ())
            ]
            _edit_layers(entry["config"], layer, path + "/", graph, keep, code)
        if layer is not None and not _is_keras_operation(layer):
            code.insert(layer, entry)
        if keep is not None:
            _resize(entry, path, graph, keep)


def _is_keras_operation(operation):
    """Whether this is a raw operation, and one that Keras knows by name."""
    is_layer = isinstance(operation, keras.layers.Layer)
    return not is_layer and live_code.is_keras(type(operation))


def _resize(entry, path, graph, keep):
    """Edits the config of one layer or operation, and of its calls."""
    if path in graph.nested_inputs:
        _resize_input(entry["config"], graph.nested_inputs[path], keep)
    record = graph.records.get(path)
    if record is None:
        return
    entry["config"] = record.rule.resize(entry["config"], record.trace, keep)
    for node in entry.get("inbound_nodes", ()):
        node["args"] = record.rule.resize_args(node["args"], record.trace, keep)
    _free_initializers(entry["config"], record.trace, keep)


def _resize_input(config, channels, keep):
    """The input of a nested model takes the channels that are left."""
    shape = list(config["batch_shape"])
    if shape[channels.axis] is not None:
        shape[channels.axis] = int(keep(channels.labels).sum())
    config["batch_shape"] = shape


def _is_cut(weight, keep):
    return not all(keep(labels).all() for labels in weight.axes.values())


def _free_initializers(config, trace, keep):
    """Initial values that know a weight's size do not fit a cut weight."""
    cut = {name for name, w in trace.weights.items() if _is_cut(w, keep)}
    for key, value in config.items():
        if not key.endswith("_initializer") or not isinstance(value, dict):
            continue
        name = key.removesuffix("_initializer")  # "depthwise", too.
        if cut.isdisjoint({name, f"{name}_kernel"}):
            continue
        inner = value.get("config")
        listed = inner.get("value") if isinstance(inner, dict) else None
        is_code = "class_name" not in value or isinstance(inner, str)
        if is_code or isinstance(listed, (list, tuple, dict)):
            config[key] = "zeros"


def _copy_weights(graph, keep, smaller, fresh):
    targets = dict(network.all_layers(smaller))
    for path, layer in network.all_layers(graph.model):
        weights = layer.get_weights()
        # Those of a Normalization are no weights but what it knows of images.
        is_learnt = not isinstance(layer, keras.layers.Normalization)
        if not weights or (fresh and is_learnt):
            continue
        record = graph.records.get(path)
        if record is not None:
            weights = _cut_weights(layer, weights, record.trace, keep)
        if path not in targets:  # No output depends on it.
            continue
        targets[path].set_weights(weights)
        if not is_learnt:
            targets[path].finalize_state()


def _cut_weights(layer, weights, trace, keep):
    axes_of = {
        id(getattr(layer, name)): weight.axes
        for name, weight in trace.weights.items()
    }
    cut = []
    for variable, value in zip(layer.weights, weights, strict=True):
        for axis, labels in axes_of.get(id(variable), {}).items():
            if len(labels) != value.shape[axis]:
                raise RuntimeError(
                    f"Weight {variable.path!r} has {value.shape[axis]} "
                    f"channels along axis {axis}, its rule {len(labels)}."
                )
            value = np.compress(keep(labels), value, axis=axis)
        cut.append(value)
    return cut
