"""Rules of layers and operations that pass channels on, or join them."""

import math

import numpy as np

from eagleeye_tf.pruning import rule_base
from eagleeye_tf.pruning.labels import Channels
from eagleeye_tf.pruning.rule_base import NoRule
from eagleeye_tf.pruning.rule_base import Rule
from eagleeye_tf.pruning.rule_base import Trace


class Spatial(Rule):
    """Works in space, on each channel alone: pooling, padding, …."""

    def trace(self, call, inputs, labels):
        (x,) = inputs
        axis = rule_base.data_axis(call.config, x)
        entering = rule_base.along(x, axis, call, labels)
        return Trace((Channels(entering, axis, call.output_shapes[0]),))


class Activation(Rule):
    """Element-wise activations pass; any other freezes the channels."""

    def trace(self, call, inputs, labels):
        rule_base.check_activation(call, inputs[0].labels, labels)
        return super().trace(call, inputs, labels)


class Softmax(Rule):
    """Mixes channels when it runs along them, else passes."""

    def trace(self, call, inputs, labels):
        labels.freeze(inputs[0].labels, f"{call.name} normalises over channels")
        return super().trace(call, inputs, labels)


class FrozenPassage(Rule):
    """Holds per-channel constants in its config: passes, but freezes."""

    def trace(self, call, inputs, labels):
        labels.freeze(
            inputs[0].labels, f"{call.name} holds a constant per channel"
        )
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
        widest = max(inputs, key=lambda x: len(x.labels))
        axis, leaving = _axis_in(shape, widest), widest.labels
        for x in inputs:
            if _axis_in(shape, x) == axis and len(x.labels) == len(leaving):
                labels.tie(leaving, x.labels)
            elif _extent(shape, x, axis) == 1 and len(x.labels) == 1:
                labels.freeze(x.labels, f"{call.name} broadcasts it")
            else:
                reason = f"{call.name} combines channels of different axes"
                return rule_base.frozen_trace(call, inputs, labels, reason)
        if shape[axis] != len(leaving):
            reason = f"{call.name} changes the number of channels"
            return rule_base.frozen_trace(call, inputs, labels, reason)
        return Trace((Channels(leaving, axis, shape),))


class Concatenate(Rule):
    """Joins channels, or, along another axis, ties them."""

    many_inputs = True

    def trace(self, call, inputs, labels):
        shape = call.output_shapes[0]
        axis = inputs[0].axis
        if any(x.axis != axis for x in inputs):
            reason = f"{call.name} joins channels of different axes"
            return rule_base.frozen_trace(call, inputs, labels, reason)
        if call.config["axis"] % len(shape) == axis:
            leaving = np.concatenate([x.labels for x in inputs])
        else:
            leaving = inputs[0].labels
            for x in inputs[1:]:
                labels.tie(leaving, x.labels)
        return Trace((Channels(leaving, axis, shape),))


class GlobalPooling(Rule):
    """Only the channel axis is left, or it stays where it was (keepdims)."""

    def trace(self, call, inputs, labels):
        (x,) = inputs
        axis = rule_base.data_axis(call.config, x)
        entering = rule_base.along(x, axis, call, labels)
        out_axis = axis if call.config["keepdims"] else 1
        return Trace((Channels(entering, out_axis, call.output_shapes[0]),))


class Flatten(Rule):
    """Each channel is repeated once per position in space."""

    def trace(self, call, inputs, labels):
        (x,) = inputs
        if (
            call.config["data_format"] == "channels_first"
            or None in x.shape[1:]
        ):
            return NoRule().trace(call, inputs, labels)
        return Trace((Channels(rule_base.folded(x), 1, call.output_shapes[0]),))


class Reshape(Rule):
    """Moves axes of extent 1 about, or folds space and channels into one."""

    def trace(self, call, inputs, labels):
        (x,) = inputs
        shape = call.output_shapes[0]
        if None in x.shape[1:] or None in shape[1:]:
            return NoRule().trace(call, inputs, labels)
        if len(shape) == 2:
            leaving, axis = rule_base.folded(x), 1
        else:
            leaving, axis = x.labels, _axis_after_reshape(x, shape)
        if axis is None:
            reason = f"{call.name} splits or mixes channels"
            return rule_base.frozen_trace(call, inputs, labels, reason)
        return Trace((Channels(leaving, axis, shape),), {}, (leaving,))

    def resize(self, config, trace, kept):
        if not trace.widths or kept(trace.widths[0]).all():
            return config  # Keeps a -1, which may stand for several sizes.
        (out,) = trace.outputs
        target = list(out.shape[1:])
        target[out.axis - 1] = int(kept(trace.widths[0]).sum())
        return {**config, "target_shape": target}


class Permute(Rule):
    """Carries the channel axis to its new place."""

    def trace(self, call, inputs, labels):
        (x,) = inputs
        axis = list(call.config["dims"]).index(x.axis) + 1
        return Trace((Channels(x.labels, axis, call.output_shapes[0]),))


class Pad(Rule):
    """`keras.ops.pad`: zeros beside the channels get labels of their own.

    This is the parameter-free shortcut of CIFAR ResNets: each padded zero is
    tied by the following Add to the channel it is added to, and goes with it.
    """

    def trace(self, call, inputs, labels):
        (x,) = inputs
        pairs = call.config["pad_width"]
        constant = call.kwargs.get("constant_values")
        if (
            not isinstance(pairs, (list, tuple))
            or len(pairs) != len(x.shape)
            or any(np.size(pair) != 2 for pair in pairs)
            or call.config["mode"] != "constant"
            or constant not in (None, 0, 0.0)
        ):
            return NoRule().trace(call, inputs, labels)
        before, after = (labels.new(size) for size in pairs[x.axis])
        leaving = np.concatenate([before, x.labels, after])
        out = Channels(leaving, x.axis, call.output_shapes[0])
        return Trace((out,), {}, (before, after))

    def resize(self, config, trace, kept):
        if not trace.widths:
            return config
        pairs = [list(pair) for pair in config["pad_width"]]
        pairs[trace.outputs[0].axis] = [
            int(kept(labels).sum()) for labels in trace.widths
        ]
        return {**config, "pad_width": pairs}


class Arithmetic(Merge):
    """`x + y`, `x * 2`, …: tensors like a merge layer, numbers pass."""

    def trace(self, call, inputs, labels):
        operands = [*call.args, *call.kwargs.values()]
        if any(_is_array(operand) for operand in operands):
            return FrozenPassage().trace(call, inputs[:1], labels)
        return super().trace(call, inputs, labels)


def _axis_in(shape, x):
    """The channel axis of an operand, in an output of maybe higher rank."""
    return x.axis + len(shape) - len(x.shape)


def _extent(shape, x, axis):
    """Extent of an operand along an axis of the output."""
    own_axis = axis - (len(shape) - len(x.shape))
    return x.shape[own_axis] if own_axis >= 1 else 1


def _axis_after_reshape(x, shape):
    outer = math.prod(x.shape[1 : x.axis])
    for axis in range(1, len(shape)):
        same_channels = shape[axis] == len(x.labels)
        if same_channels and math.prod(shape[1:axis]) == outer:
            return axis
    return None


def _is_array(operand):
    return isinstance(operand, (list, tuple)) or (
        isinstance(operand, dict)
        and operand.get("class_name") in ("__tensor__", "__numpy__")
    )
