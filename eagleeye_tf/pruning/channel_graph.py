"""Any functional model -> its channel groups, and why a channel is frozen."""

import dataclasses

import numpy as np

from eagleeye_tf import errors
from eagleeye_tf.pruning import execution
from eagleeye_tf.pruning import grouping
from eagleeye_tf.pruning import layer_rules
from eagleeye_tf.pruning import network
from eagleeye_tf.pruning import rule_base
from eagleeye_tf.pruning.labels import Channels
from eagleeye_tf.pruning.labels import Labels


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
        self._classes = self._class_of.max(initial=-1) + 1
        produced = {
            path: self._class_of[labels]
            for path, labels in self._labels.produced.items()
        }
        reasons = grouping.frozen_classes(self._labels.frozen, self._class_of)
        self.groups = grouping.find_groups(produced, self._occurring(), reasons)
        self.frozen = grouping.find_frozen(produced, reasons)

    def class_counts(self, labels):
        """How often each class occurs among `labels`: int (classes,)."""
        return np.bincount(self._class_of[labels], minlength=self._classes)

    def sum_by_class(self, labels, values):
        """Sums of values over the labels of each class: float (classes,)."""
        return np.bincount(self._class_of[labels], values, self._classes)

    def keeper(self, kept_units):
        """Returns a function from labels to a bool array, True where kept.

        Args:
            kept_units: one bool array (group size,) for each group.
        """
        keep = np.ones(self._classes, bool)
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
                nested = _read_as_called(
                    network.as_functional(call.layer),
                    [x.shape for _, x in entering],
                )
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

    def _occurring(self):
        """Different arrays of classes, one for each place of channels."""
        forms = [x.labels for x in self.tensors]
        for record in self.records.values():
            for weight in record.trace.weights.values():
                forms += weight.axes.values()
        forms += self._labels.produced.values()
        different = {labels.tobytes(): labels for labels in forms}
        return [self._class_of[labels] for labels in different.values()]


def _read_as_called(functional, shapes):
    """The `network.Network` of a nested model, at the size it is called with.

    Networks that others trained often take images of any size.
    """
    net = network.read(functional)
    own = [ref.shape for ref in net.inputs]
    if any(len(a) != len(b) for a, b in zip(own, shapes, strict=True)):
        return net
    known = [
        tuple(a if b is None else b for a, b in zip(mine, given, strict=True))
        for mine, given in zip(own, shapes, strict=True)
    ]
    if known == own:
        return net
    return execution.with_shapes(functional, net, known)


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
    if not graph.groups:
        raise errors.InputError(nothing_to_remove(graph))


def nothing_to_remove(graph):
    """In words, that and why no channel can be removed."""
    reasons = "; ".join(f"{f.cause} {f.reason}" for f in graph.frozen[:3])
    return (
        f"No channel of {graph.model.name!r} can be removed "
        f"({reasons or 'it has no convolution or dense layer with a rule'})."
    )
