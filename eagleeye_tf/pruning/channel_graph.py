"""Any functional model -> its channel groups, and why a channel is frozen."""

import collections
import dataclasses

import numpy as np

from eagleeye_tf import errors
from eagleeye_tf.pruning import layer_rules
from eagleeye_tf.pruning import network
from eagleeye_tf.pruning import rule_base
from eagleeye_tf.pruning.labels import Channels
from eagleeye_tf.pruning.labels import Labels


@dataclasses.dataclass(frozen=True, eq=False)
class ChannelGroup:
    """Channels that can only be removed together, and all cost the same.

    Attributes:
        name: the first layer, in topological order, that produces them.
        size: how many channels there are to choose from.
        layers: names of all layers that produce them.
        units: int array (size,): the class of labels behind each channel.
    """

    name: str
    size: int
    layers: tuple
    units: np.ndarray = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True)
class FrozenChannels:
    """Output channels of one layer that are never removed, and why.

    Attributes:
        layer: path of the layer that produces them.
        channels: how many of its output channels.
        cause: name of what forbids their removal.
        reason: what `cause` does, worded to follow its name.
    """

    layer: str
    channels: int
    cause: str
    reason: str


@dataclasses.dataclass(frozen=True, eq=False)
class LayerRecord:
    """What the graph knows of one layer or raw operation.

    Attributes:
        path: its name; `"outer/inner"` inside a nested model.
        layer: the live layer; None for a raw operation.
        rule: its `rule_base.Rule`.
        traces: tuple of the rule's `Trace` of each call.
    """

    path: str
    layer: object
    rule: rule_base.Rule
    traces: tuple

    @property
    def trace(self):
        """The `Trace` of the first call, which tells how weights are cut."""
        return self.traces[0]

    @property
    def uses(self):
        """`{weight name: multiplications of each value, all calls}`.

        None for a number that the static shapes do not tell.
        """
        return {
            name: rule_base.total(
                t.weights[name].uses for t in self.traces if name in t.weights
            )
            for name in self.trace.weights
        }


class ChannelGraph:
    """The channels of one model.

    Attributes:
        model: the model; never changed.
        records: `{path: LayerRecord}` in topological order.
        nested_inputs: `{path: Channels}` of the inputs of nested models, at
            their first call.
        groups: tuple of `ChannelGroup` in topological order.
        frozen: tuple of `FrozenChannels` in topological order.
        tensors: list of `Channels` of all tensors, nested models opened.
        calls: list of (path, numbers of the tensors read, numbers of those
            made), of all calls in topological order.
        outputs: numbers of the tensors that leave the model.

    Raises:
        InputError: if the model is not functional or Sequential.
    """

    def __init__(self, model):
        self.model = model
        self.records = {}
        self.nested_inputs = {}
        self.tensors = []
        self.calls = []
        self._labels = Labels()
        self._paths = {}
        self._trace_model(network.as_functional(model))
        self._class_of = self._labels.classes()
        reasons = self._frozen_classes()
        self.groups = self._find_groups(reasons)
        self.frozen = self._find_frozen(reasons)

    def class_counts(self, labels):
        """How often each class occurs among `labels`: int (classes,)."""
        classes = self._class_of.max(initial=-1) + 1
        return np.bincount(self._class_of[labels], minlength=classes)

    def sum_by_class(self, labels, values):
        """Sums of values over the labels of each class: float (classes,)."""
        classes = self._class_of.max(initial=-1) + 1
        return np.bincount(self._class_of[labels], values, classes)

    def keeper(self, kept_units):
        """Returns a function from labels to a bool array, True where kept.

        Args:
            kept_units: one bool array (group size,) for each group.
        """
        keep = np.ones(self._class_of.max(initial=-1) + 1, bool)
        for group, kept in zip(self.groups, kept_units, strict=True):
            keep[group.units] = kept
        return lambda labels: keep[self._class_of[labels]]

    def filter_positions(self, group, path):
        """Which output channels of layer `path` belong to each unit.

        Returns:
            int array (group size, k): k is 1 unless the network ties several
            channels of one layer to each other.
        """
        classes = self._class_of[self._labels.produced[path]]
        order = np.argsort(classes, kind="stable")
        start = np.searchsorted(classes[order], group.units, "left")
        stop = np.searchsorted(classes[order], group.units, "right")
        return np.stack([order[a:b] for a, b in zip(start, stop, strict=True)])

    def _trace_model(self, functional):
        net = network.read(functional)
        inputs = []
        for ref in net.inputs:
            labels = self._labels.new(ref.shape[-1] or 0)
            self._labels.freeze(labels, ref.key[0], "is an input of the model")
            x = Channels(labels, len(ref.shape) - 1, ref.shape)
            inputs.append((self._number(x), x))
        leaving = self._trace_calls(net, "", inputs)
        self.outputs = tuple(number for number, _ in leaving)
        for ref, (_, x) in zip(net.outputs, leaving, strict=True):
            reason = "is an output of the model"
            self._labels.freeze(x.labels, ref.key[0], reason, foremost=True)

    def _number(self, channels):
        """Enters a tensor; returns its number."""
        self.tensors.append(channels)
        return len(self.tensors) - 1

    def _trace_calls(self, net, prefix, inputs):
        """Traces calls; tensors are pairs (number, `Channels`)."""
        tensors = {
            ref.key: pair for ref, pair in zip(net.inputs, inputs, strict=True)
        }
        for call in net.calls:
            entering = tuple(tensors[ref.key] for ref in call.data)
            path = prefix + call.name
            if network.is_functional(call.layer):
                nested = network.read(network.as_functional(call.layer))
                entering = tuple(
                    (
                        number,
                        self._enter(f"{path}/{ref.key[0]}", ref.shape, x),
                    )
                    for ref, (number, x) in zip(
                        nested.inputs, entering, strict=True
                    )
                )
                leaving = self._trace_calls(nested, path + "/", entering)
            else:
                outputs = self._trace_call(
                    dataclasses.replace(call, name=path),
                    tuple(x for _, x in entering),
                )
                leaving = tuple((self._number(x), x) for x in outputs)
                read, made = (
                    tuple(number for number, _ in pairs)
                    for pairs in (entering, leaving)
                )
                self.calls.append((path, read, made))
            for index, pair in enumerate(leaving):
                tensors[call.name, call.index, index] = pair
        return tuple(tensors[ref.key] for ref in net.outputs)

    def _enter(self, path, shape, x):
        """Channels of an input of a nested model, called with `x`."""
        if len(shape) != len(x.shape):
            reason = "gives its input another rank"
            self._labels.freeze(x.labels, path, reason)
            size = shape[-1] if len(shape) > 1 and shape[-1] else 0
            x = Channels(self._labels.new(size), len(shape) - 1, shape)
            self._labels.freeze(x.labels, path, reason)
        if len(x.labels) and shape[x.axis] != len(x.labels):
            raise errors.InputError(
                f"Input {path!r} of a nested model takes tensors with any "
                f"number of channels, {shape}: give it the number that it is "
                f"called with, {len(x.labels)}, or put its layers into the "
                "outer model."
            )
        first = self.nested_inputs.setdefault(path, x)
        if first.axis == x.axis:  # One width for all calls.
            self._labels.tie(first.labels, x.labels)
            return x
        for labels in (first.labels, x.labels):
            self._labels.freeze(labels, path, "serves different axes")
        return x

    def _trace_call(self, call, inputs):
        self._check_shared(call)
        rule = layer_rules.rule_for(call)
        trace = rule.trace(call, inputs, self._labels)
        weights = {
            name: weight
            for name, weight in trace.weights.items()
            if getattr(call.layer, name, None) is not None
        }
        trace = dataclasses.replace(trace, weights=weights)
        known = self.records.get(call.name)
        traces = (*known.traces, trace) if known else (trace,)
        if known:
            self._tie_calls(call.name, known.trace, trace)
        self.records[call.name] = LayerRecord(
            call.name, call.layer, rule, traces
        )
        return trace.outputs

    def _tie_calls(self, path, first, second):
        """A layer called twice has one kernel: tie what its axes follow."""
        pairs = list(zip(first.widths, second.widths, strict=False))
        alike = len(first.widths) == len(second.widths)
        for name in {**first.weights, **second.weights}:
            axes, others = (
                t.weights[name].axes if name in t.weights else {}
                for t in (first, second)
            )
            alike = alike and axes.keys() == others.keys()
            pairs += [(axes[a], others[a]) for a in axes if a in others]
        for pair in pairs:
            self._tie_or_freeze(path, *pair)
        if not alike:
            for labels in (*_followed(first), *_followed(second)):
                self._labels.freeze(labels, path, "serves different axes")

    def _tie_or_freeze(self, path, a, b):
        if len(a) == len(b):
            self._labels.tie(a, b)
        else:
            for labels in (a, b):
                self._labels.freeze(labels, path, "serves two widths")

    def _check_shared(self, call):
        """A layer has one place: Keras makes copies of it when it saves."""
        if call.layer is None:
            return
        path = self._paths.setdefault(id(call.layer), call.name)
        if path != call.name:
            raise errors.InputError(
                f"Layer {path!r} is used a second time in another model, as "
                f"{call.name!r}. Keras makes two layers of it as soon as the "
                "model is saved, so it cannot be pruned as one: use it in "
                "one model only, or clone it."
            )

    def _frozen_classes(self):
        """`{class: (cause, reason)}`, the reason that was found first."""
        reasons = {}
        for labels, *reason in self._labels.frozen:
            for index in np.unique(self._class_of[labels]):
                reasons.setdefault(int(index), tuple(reason))
        return reasons

    def _find_groups(self, reasons):
        """Classes that occur equally often everywhere form one group.

        Any two units of a group then cost the same, so that a ratio means
        the same in all of a group's layers, cost depends on the number of
        kept units alone, and every layer and tensor keeps a channel.
        """
        signatures = self._signatures()
        members = collections.defaultdict(dict)
        layers = collections.defaultdict(dict)
        for path, labels in self._labels.produced.items():
            for unit in self._class_of[labels].tolist():
                if unit not in reasons:
                    members[signatures[unit]][unit] = None
                    layers[signatures[unit]][path] = None
        taken = set()
        groups = []
        for signature, units in members.items():
            first = next(iter(layers[signature]))
            name = self._free_name(first, taken)
            taken.add(name)
            groups.append(
                ChannelGroup(
                    name=name,
                    size=len(units),
                    layers=tuple(layers[signature]),
                    units=np.fromiter(units, int, len(units)),
                )
            )
        return tuple(groups)

    def _free_name(self, first, taken):
        """`first`, or with a number where that is another group or layer."""
        name, count = first, 1
        while name in taken or (count > 1 and name in self._labels.produced):
            count += 1
            name = f"{first}:{count}"
        return name

    def _signatures(self):
        """One number per class: equal if they occur equally everywhere.

        All classes start alike; each array of labels parts those that occur
        in it from the others, and by how often they do.
        """
        forms = {x.labels.tobytes(): x.labels for x in self.tensors}
        for record in self.records.values():
            for weight in record.trace.weights.values():
                for labels in weight.axes.values():
                    forms[labels.tobytes()] = labels
        for labels in self._labels.produced.values():
            forms[labels.tobytes()] = labels
        signatures = np.zeros(self._class_of.max(initial=-1) + 1, int)
        count = 1
        for labels in forms.values():
            units, times = np.unique(self._class_of[labels], return_counts=True)
            if not len(units):
                continue
            keys = signatures[units] * (times.max() + 1) + times
            different, place = np.unique(keys, return_inverse=True)
            signatures[units] = count + place
            count += len(different)
        return signatures.tolist()

    def _find_frozen(self, reasons):
        frozen = []
        for path, labels in self._labels.produced.items():
            counts = collections.Counter(
                reasons[unit]
                for unit in self._class_of[labels].tolist()
                if unit in reasons
            )
            frozen.extend(
                FrozenChannels(path, channels, *reason)
                for reason, channels in counts.items()
            )
        return tuple(frozen)


def _followed(trace):
    """Label arrays that a layer's weights and widths follow."""
    for weight in trace.weights.values():
        yield from weight.axes.values()
    yield from trace.widths


def channel_groups(model):
    """Finds the channels of a model that can be removed.

    Args:
        model: a functional or Sequential `keras.Model`.

    Returns:
        List of `ChannelGroup` in topological order.

    Raises:
        InputError: if the model is not functional or Sequential.
    """
    return list(ChannelGraph(model).groups)


def require_groups(graph):
    """Raises InputError if nothing of the graph's model can be removed."""
    if graph.groups:
        return
    reasons = "; ".join(f"{f.cause} {f.reason}" for f in graph.frozen[:3])
    raise errors.InputError(
        f"No channel of {graph.model.name!r} can be removed "
        f"({reasons or 'it has no convolution or dense layer with a rule'})."
    )
