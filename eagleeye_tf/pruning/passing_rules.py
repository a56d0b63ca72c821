"""Rules of layers and operations that join channels or treat each alone."""

import numpy as np

from eagleeye_tf.pruning import rule_base
from eagleeye_tf.pruning.labels import Channels
from eagleeye_tf.pruning.rule_base import Rule
from eagleeye_tf.pruning.rule_base import Trace


class Spatial(Rule):
    """Works in space, on each channel alone: pooling, padding, ….

    Args:
        always_last: whether channels come last, whatever `data_format` says.
    """

    def __init__(self, always_last=False):
        self._always_last = always_last

    def trace(self, call, inputs, labels):
        (x,) = inputs
        axis = rule_base.data_axis(call.config, x)
        if self._always_last:
            axis = len(x.shape) - 1
        entering = rule_base.along(x, axis, call, labels)
        return Trace((Channels(entering, axis, call.output_shapes[0]),))


class Activation(Rule):
    """Element-wise activations pass; any other freezes the channels."""

    def trace(self, call, inputs, labels):
        rule_base.check_activation(call, inputs[0].labels, labels)
        return super().trace(call, inputs, labels)


class MixesAxes(Rule):
    """Mixes what lies along its axes (a softmax, a norm): not the channels.

    Per-element weights along other axes do not follow the channels.
    """

    def trace(self, call, inputs, labels):
        (x,) = inputs
        if x.axis in rule_base.axes_of(call.config, x):
            labels.freeze(x.labels, call.name, "mixes the channels")
        return super().trace(call, inputs, labels)


class FrozenPassage(Rule):
    """Holds per-channel constants: passes, but freezes."""

    def trace(self, call, inputs, labels):
        reason = "holds a constant per channel"
        labels.freeze(inputs[0].labels, call.name, reason)
        return super().trace(call, inputs, labels)


class Dropout(Rule):
    """Passes, unless its noise has a shape that knows the channels."""

    def trace(self, call, inputs, labels):
        noise_shape = call.config.get("noise_shape")
        (x,) = inputs
        if noise_shape is not None and noise_shape[x.axis] not in (None, 1):
            return FrozenPassage().trace(call, inputs, labels)
        return super().trace(call, inputs, labels)


class Rescaling(Rule):
    """Passes, unless scale or offset is one value per channel."""

    def trace(self, call, inputs, labels):
        constants = (call.config["scale"], call.config["offset"])
        if any(not isinstance(c, (int, float)) for c in constants):
            return FrozenPassage().trace(call, inputs, labels)
        return super().trace(call, inputs, labels)


class ElementWise(Rule):
    """`keras.ops.exp`, `clip`, …: pass, unless they hold a list of numbers."""

    def trace(self, call, inputs, labels):
        settings = (
            *call.config.values(),
            *call.args[1:],
            *call.kwargs.values(),
        )
        if any(np.ndim(_constant(value)) for value in settings):
            return FrozenPassage().trace(call, inputs, labels)
        return super().trace(call, inputs, labels)


class Merge(Rule):
    """Add, Multiply, …: operands share their channels, position by position.

    Operands of lower rank gain axes behind the batch axis, as in Keras; an
    operand of extent 1 along the channels is broadcast and keeps its channel.
    """

    many_inputs = True

    def trace(self, call, inputs, labels):
        if len(inputs) < 2:
            return super().trace(call, inputs, labels)
        shape = call.output_shapes[0]
        whole = [
            x for x in inputs if shape[_axis_in(shape, x)] == len(x.labels)
        ]
        lead = max(whole or inputs, key=_reach)
        axis, leaving = _axis_in(shape, lead), lead.labels
        for x in inputs:
            if _axis_in(shape, x) == axis and len(x.labels) == len(leaving):
                labels.tie(leaving, x.labels)
            elif _extent(shape, x, axis) == 1:
                labels.freeze(x.labels, call.name, "broadcasts it")
            else:
                reason = "combines channels of different axes"
                return rule_base.frozen_trace(call, inputs, labels, reason)
        if shape[axis] != len(leaving):
            reason = "changes the number of channels"
            return rule_base.frozen_trace(call, inputs, labels, reason)
        return Trace((Channels(leaving, axis, shape),))


class Arithmetic(Merge):
    """`x + y`, `x * 2`, …: tensors like a merge layer, numbers pass."""

    def trace(self, call, inputs, labels):
        shape = call.output_shapes[0]
        for operand in (*call.args, *call.kwargs.values()):
            extents = np.shape(_constant(operand))
            for x in inputs:
                place = _axis_in(shape, x) - len(shape) + len(extents)
                if place >= 0 and extents[place] > 1:
                    reason = "holds a constant per channel"
                    labels.freeze(x.labels, call.name, reason)
        return super().trace(call, inputs, labels)


class Concatenate(Rule):
    """Joins channels, or, along another axis, ties them."""

    many_inputs = True

    def trace(self, call, inputs, labels):
        shape = call.output_shapes[0]
        axis = inputs[0].axis
        if any(x.axis != axis for x in inputs):
            reason = "joins channels of different axes"
            return rule_base.frozen_trace(call, inputs, labels, reason)
        if call.config["axis"] % len(shape) == axis:
            leaving = np.concatenate([x.labels for x in inputs])
        else:
            leaving = inputs[0].labels
            for x in inputs[1:]:
                labels.tie(leaving, x.labels)
        return Trace((Channels(leaving, axis, shape),))


def _reach(x):
    """Along how many axes an operand is not broadcast; then its channels."""
    return sum(size != 1 for size in x.shape), len(x.labels)


def _axis_in(shape, x):
    """The channel axis of an operand, in an output of maybe higher rank."""
    return x.axis + len(shape) - len(x.shape)


def _extent(shape, x, axis):
    """Extent of an operand along an axis of the output."""
    own_axis = axis - (len(shape) - len(x.shape))
    return x.shape[own_axis] if own_axis >= 1 else 1


def _constant(operand):
    """The value of an array among serialised arguments; 0 for another."""
    if isinstance(operand, dict):
        if operand.get("class_name") in ("__tensor__", "__numpy__"):
            return operand["config"]["value"]
        return 0
    return operand if isinstance(operand, (list, tuple)) else 0
