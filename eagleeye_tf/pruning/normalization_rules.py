"""Rules of layers with vectors along the channel axis."""

import tensorflow as tf

from eagleeye_tf import errors
from eagleeye_tf.pruning import rule_base
from eagleeye_tf.pruning.folding import Folding
from eagleeye_tf.pruning.labels import Channels
from eagleeye_tf.pruning.rule_base import NoRule
from eagleeye_tf.pruning.rule_base import Rule
from eagleeye_tf.pruning.rule_base import Trace
from eagleeye_tf.pruning.rule_base import Weight


class PerChannel(Rule):
    """A layer of one input that holds vectors along the channel axis.

    Args:
        *names: attributes of the layer that are weights of shape
            (channels,), for the last axis of its input.
    """

    def __init__(self, *names):
        self._names = names

    def trace(self, call, inputs, labels):
        (x,) = inputs
        entering = rule_base.along(x, len(x.shape) - 1, call, labels)
        for name in self._names:
            vector = getattr(call.layer, name, None)
            if vector is None:
                raise errors.InputError(
                    f"The rule of {type(call.layer).__name__} is "
                    f"PerChannel({name!r}), but layer {call.name!r} has no "
                    "such weight: name attributes of the layer that hold one."
                )
            shape = tuple(vector.shape)
            if shape != (len(entering),):
                reason = f"has {name} of shape {shape}, not one per channel"
                return NoRule(reason).trace(call, inputs, labels)
        weights = {name: Weight({0: entering}) for name in self._names}
        passed = super().trace(call, inputs, labels)
        return Trace(passed.outputs, weights)


class LayerScale(PerChannel):
    """That of keras.applications' ConvNeXt, which is told its width."""

    def resize(self, config, trace, kept):
        (labels,) = trace.weights["gamma"].axes.values()
        return {**config, "projection_dim": int(kept(labels).sum())}


class BatchNormalization(Rule):
    """Per-channel vectors along the channel axis."""

    def trace(self, call, inputs, labels):
        (x,) = inputs
        if call.config.get("renorm"):
            reason = "uses batch renormalization"
            return rule_base.frozen_trace(call, inputs, labels, reason)
        (axis,) = rule_base.axes_of(call.config, x)
        entering = rule_base.along(x, axis, call, labels)
        names = ("gamma", "beta", "moving_mean", "moving_variance")
        weights = {name: Weight({0: entering}) for name in names}
        return Trace((Channels(entering, axis, x.shape),), weights)

    def run(self, cell):
        x = tf.cast(cell.cast(cell.x), tf.float32)
        folding = Folding(x)
        rows = folding.fold(x)
        mean = cell.weights["moving_mean"]
        variance = cell.weights["moving_variance"]
        if cell.moments is not None:
            mean, variance = folding.moments(rows)
            cell.moments.append((mean, variance, folding.count))
        scale = tf.math.rsqrt(variance + cell.call.config["epsilon"])
        if "gamma" in cell.weights:
            scale *= cell.weights["gamma"]
        offset = -mean * scale
        if "beta" in cell.weights:
            offset += cell.weights["beta"]
        rows = rows * folding.along(scale) + folding.along(offset)
        return cell.cast(folding.unfold(rows))

    def can_run(self, call):
        rank = len(call.output_shapes[0])
        axis = call.config["axis"]
        axis = axis[0] if isinstance(axis, (list, tuple)) else axis
        return (
            axis % rank == rank - 1
            and call.layer.variable_dtype == "float32"
            and not call.masks
        )


class GroupNormalization(Rule):
    """Per-channel vectors; with several channels in a group, these mix."""

    def trace(self, call, inputs, labels):
        (x,) = inputs
        (axis,) = rule_base.axes_of(call.config, x)
        entering = rule_base.along(x, axis, call, labels)
        widths = (entering,)
        if call.config["groups"] not in (-1, len(entering)):
            labels.freeze(
                entering, call.name, "normalises groups of channels together"
            )
            widths = ()
        weights = {name: Weight({0: entering}) for name in ("gamma", "beta")}
        out = Channels(entering, axis, x.shape)
        return Trace((out,), weights, widths)

    def resize(self, config, trace, kept):
        if not trace.widths:
            return config
        return {**config, "groups": int(kept(trace.widths[0]).sum())}
