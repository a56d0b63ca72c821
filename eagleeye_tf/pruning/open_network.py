"""All pruned networks of one model in one traced function.

A pruned network differs from another in the widths of its weights alone. So
its weights, cut, are arguments of a function whose channel dimensions are open
(`tf.TensorSpec((3, 3, None, None))`): TensorFlow traces it once, and every
candidate then runs at its own reduced cost. Building and tracing each network
by itself takes seconds.
"""

import collections

import keras
import numpy as np
import tensorflow as tf

from eagleeye_tf.pruning import execution
from eagleeye_tf.pruning import live_code
from eagleeye_tf.pruning import network
from eagleeye_tf.pruning import rule_base


class OpenNetwork:
    """A model as a function of its weights.

    The weights are copied when it is made: later changes of the model do not
    matter, and nothing is fetched from a GPU for each candidate.

    Args:
        graph: the model's `ChannelGraph`.
        portable: whether all weights are arguments, also those of layers that
            no strategy changes: the function then refers to no variable, and
            can run in another process.

    Attributes:
        obstacle: why the model cannot be computed this way; None if it can.
        weight_specs: list of `tf.TensorSpec`, channel dimensions open.
        count_spec: `tf.TensorSpec` of the widths.
        batch_norms: paths of the BatchNormalization layers whose statistics
            are among the weights.
    """

    def __init__(self, graph, portable=False):
        self._graph = graph
        self._portable = portable
        prunable = _prunable(graph)
        self._open = {
            path: record
            for path, record in graph.records.items()
            if any(prunable(labels) for labels in _followed(record))
            or "moving_mean" in record.trace.weights
            or (portable and record.trace.weights)
        }
        self._names = [
            (path, name)
            for path, record in self._open.items()
            for name in record.trace.weights
        ]
        self._values = [
            np.array(getattr(self._open[path].layer, name))
            for path, name in self._names
        ]
        self.batch_norms = tuple(
            path for path, name in self._names if name == "moving_mean"
        )
        self.weight_specs = [
            self._spec(*name, prunable) for name in self._names
        ]
        self._widths = [
            labels
            for record in self._open.values()
            for trace in record.traces
            for labels in trace.widths
        ]
        self.count_spec = tf.TensorSpec((len(self._widths),), tf.int32)
        self.obstacle = self._find_obstacle()

    def cut(self, keep):
        """The arguments that stand for one pruned network.

        Args:
            keep: function from labels to a bool array, True where they stay.

        Returns:
            (list of weights, int32 array of widths).
        """
        weights = []
        for (path, name), value in zip(self._names, self._values, strict=True):
            record = self._open[path]
            for axis, labels in record.trace.weights[name].axes.items():
                value = np.compress(keep(labels), value, axis=axis)
            weights.append(tf.convert_to_tensor(value))
        counts = [int(keep(labels).sum()) for labels in self._widths]
        return weights, np.array(counts, np.int32)

    def with_statistics(self, weights, moments):
        """Puts BN statistics in the place of the inherited ones.

        Args:
            weights: as `cut` gives them.
            moments: `{path: object with mean and variance}`.
        """
        replaced = list(weights)
        for place, (path, name) in enumerate(self._names):
            if name in ("moving_mean", "moving_variance"):
                value = getattr(moments[path], name.removeprefix("moving_"))
                replaced[place] = tf.convert_to_tensor(value, tf.float32)
        return replaced

    def compute(self, images, weights, counts, adapting=False):
        """The model's outputs; to be traced into a `tf.function`.

        Args:
            images: tensor (batch, …) for the model's only input.
            weights: tensors, as `cut` gives them.
            counts: int32 tensor, as `cut` gives it.
            adapting: whether BatchNormalization runs in training mode.

        Returns:
            (outputs, `{path: [(mean, variance, values per channel), …]}`),
            the latter empty unless adapting.
        """
        given = collections.defaultdict(dict)
        for (path, name), value in zip(self._names, weights, strict=True):
            given[path][name] = value
        waiting = iter(tf.unstack(counts, num=len(self._widths)))
        widths = {
            (path, index): [next(waiting) for _ in trace.widths]
            for path, record in self._open.items()
            for index, trace in enumerate(record.traces)
        }
        calls = collections.Counter()
        moments = {path: [] for path in self.batch_norms} if adapting else {}

        def compute(call, args, kwargs):
            record = self._open.get(call.name)
            if record is None:
                return network.infer(call, args, kwargs)
            index = calls[call.name]
            calls[call.name] += 1
            cell = rule_base.Cell(
                call=call,
                trace=record.traces[index],
                args=args,
                kwargs=kwargs,
                weights=given[call.name],
                counts=widths[call.name, index],
                moments=moments.get(call.name),
            )
            return record.rule.run(cell)

        functional = network.as_functional(self._graph.model)
        return execution.run(functional, [images], compute), moments

    def _spec(self, path, name, prunable):
        record = self._open[path]
        variable = getattr(record.layer, name)
        shape = list(variable.shape)
        for axis, labels in record.trace.weights[name].axes.items():
            if prunable(labels):
                shape[axis] = None
        return tf.TensorSpec(shape, variable.dtype)

    def _find_obstacle(self):
        """The first layer that can only be computed once it is rebuilt."""
        if len(self._graph.model.inputs) != 1:
            return "the model has several inputs"
        for call, path in _all_calls(self._graph.model):
            record = self._open.get(path)
            if record is None:
                continue
            if not _can_run(record, call):
                return f"{path} ({call.class_name}) has no open form"
        given = collections.defaultdict(list)
        for path, name in self._names:
            given[path].append(name)
        for path, layer in network.all_layers(self._graph.model):
            is_batch_norm = isinstance(layer, keras.layers.BatchNormalization)
            if is_batch_norm and path not in self.batch_norms:
                return f"{path} is a BatchNormalization of another kind"
            weights = len(layer.weights)
            if self._portable and weights > len(given[path]):
                return f"{path} has weights that no rule knows"
        return None


def _can_run(record, call):
    """Whether a record's rule computes one of its calls as the layer does."""
    trace, rule = record.trace, record.rule
    if not trace.weights and not trace.widths:
        return rule.can_run(call)
    if type(rule).run is rule_base.Rule.run:
        return False
    # A subclass of the user's may compute anything; a rule of ours does not
    # know what.
    is_own = record.layer is not None and not live_code.is_keras(
        type(record.layer)
    )
    rule_is_ours = type(rule).__module__.startswith(__package__)
    return rule.can_run(call) and not (is_own and rule_is_ours)


def _all_calls(model, prefix=""):
    """(call, path) of all calls of a model, nested models opened."""
    for call in network.read(network.as_functional(model)).calls:
        path = prefix + call.name
        if network.is_functional(call.layer):
            yield from _all_calls(call.layer, path + "/")
        else:
            yield call, path


def _prunable(graph):
    """Function from labels to whether any of them may be removed."""
    nothing = [np.zeros(group.size, bool) for group in graph.groups]
    keep = graph.keeper(nothing)
    return lambda labels: not keep(labels).all()


def _followed(record):
    """All label arrays that a layer's weights, widths and outputs follow."""
    for trace in record.traces:
        for weight in trace.weights.values():
            yield from weight.axes.values()
        yield from trace.widths
        for out in trace.outputs:
            yield out.labels
