"""Rules of layers whose weights follow the channels."""

import numpy as np

from eagleeye_tf.pruning import rule_base
from eagleeye_tf.pruning.labels import Channels
from eagleeye_tf.pruning.rule_base import Rule
from eagleeye_tf.pruning.rule_base import Trace
from eagleeye_tf.pruning.rule_base import Weight


class Convolution(Rule):
    """Conv1D, Conv2D, Conv3D; kernel (*space, in / groups, filters)."""

    def trace(self, call, inputs, labels):
        config = call.config
        if config.get("groups", 1) != 1:
            reason = f"{call.name} is a grouped convolution"
            return rule_base.frozen_trace(
                call,
                inputs,
                labels,
                reason,
                {"kernel": Weight({}, rule_base.positions(call, config))},
            )
        (x,) = inputs
        axis = rule_base.data_axis(config, x)
        entering = rule_base.along(x, axis, call, labels)
        leaving = labels.produced_by(call.name, config["filters"])
        rule_base.check_activation(call, leaving, labels)
        rank = len(x.shape)
        weights = self._weights(call, entering, leaving, rank)
        out = Channels(leaving, axis, call.output_shapes[0])
        return Trace((out,), weights, (leaving,))

    def _weights(self, call, entering, leaving, rank):
        kernel = Weight(
            {rank - 2: entering, rank - 1: leaving},
            rule_base.positions(call, call.config),
            filter_axis=rank - 1,
        )
        return {"kernel": kernel, "bias": Weight({0: leaving})}

    def resize(self, config, trace, kept):
        if not trace.widths:  # Grouped: whole.
            return config
        return {**config, "filters": int(kept(trace.widths[0]).sum())}


class SeparableConvolution(Convolution):
    """SeparableConv1D/2D: depthwise (*space, in, m), pointwise (1, in·m, n)."""

    def _weights(self, call, entering, leaving, rank):
        multiplier = call.config["depth_multiplier"]
        uses = rule_base.positions(call, call.config)
        pointwise = Weight(
            {rank - 2: np.repeat(entering, multiplier), rank - 1: leaving},
            uses,
            filter_axis=rank - 1,
        )
        return {
            "depthwise_kernel": Weight({rank - 2: entering}, uses),
            "pointwise_kernel": pointwise,
            "bias": Weight({0: leaving}),
        }


class DepthwiseConvolution(Rule):
    """DepthwiseConv1D/2D: each channel yields `depth_multiplier` of its own."""

    def trace(self, call, inputs, labels):
        (x,) = inputs
        axis = rule_base.data_axis(call.config, x)
        entering = rule_base.along(x, axis, call, labels)
        leaving = np.repeat(entering, call.config["depth_multiplier"])
        rule_base.check_activation(call, leaving, labels)
        rank = len(x.shape)
        weights = {
            "kernel": Weight(
                {rank - 2: entering}, rule_base.positions(call, call.config)
            ),
            "bias": Weight({0: leaving}),
        }
        return Trace((Channels(leaving, axis, call.output_shapes[0]),), weights)


class Dense(Rule):
    """Dense on the last axis; kernel (in, units)."""

    def trace(self, call, inputs, labels):
        (x,) = inputs
        axis = len(x.shape) - 1
        entering = rule_base.along(x, axis, call, labels)
        leaving = labels.produced_by(call.name, call.config["units"])
        rule_base.check_activation(call, leaving, labels)
        uses = rule_base.product(x.shape[1:-1])
        weights = {
            "kernel": Weight({0: entering, 1: leaving}, uses, filter_axis=1),
            "bias": Weight({0: leaving}),
        }
        out = Channels(leaving, axis, call.output_shapes[0])
        return Trace((out,), weights, (leaving,))

    def resize(self, config, trace, kept):
        return {**config, "units": int(kept(trace.widths[0]).sum())}


class BatchNormalization(Rule):
    """Per-channel vectors along the channel axis."""

    def trace(self, call, inputs, labels):
        (x,) = inputs
        if call.config.get("renorm"):
            reason = f"{call.name} uses batch renormalization"
            return rule_base.frozen_trace(call, inputs, labels, reason)
        axis = call.config["axis"]
        axis = axis[0] if isinstance(axis, (list, tuple)) else axis
        entering = rule_base.along(x, axis % len(x.shape), call, labels)
        weights = {
            name: Weight({0: entering})
            for name in ("gamma", "beta", "moving_mean", "moving_variance")
        }
        out = Channels(entering, axis % len(x.shape), x.shape)
        return Trace((out,), weights)


class PReLU(Rule):
    """One slope per channel, unless the channel axis is shared."""

    def trace(self, call, inputs, labels):
        (x,) = inputs
        shared = call.config["shared_axes"] or ()
        weights = {}
        if x.axis not in shared:
            weights["alpha"] = Weight({x.axis - 1: x.labels})
        return Trace((x,), weights)
