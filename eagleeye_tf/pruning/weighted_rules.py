"""Rules of layers whose weights follow the channels."""

import numpy as np
import tensorflow as tf

from eagleeye_tf.pruning import rule_base
from eagleeye_tf.pruning.labels import Channels
from eagleeye_tf.pruning.rule_base import Rule
from eagleeye_tf.pruning.rule_base import Trace
from eagleeye_tf.pruning.rule_base import Weight


class Convolution(Rule):
    """Conv1D, Conv2D, Conv3D; kernel (*space, in / groups, filters).

    The groups of a grouped convolution lose the same positions, so that they
    stay equally wide: position j of each is one channel. With one channel in
    each group it is a depthwise convolution, and whole groups go.
    """

    def trace(self, call, inputs, labels):
        (x,) = inputs
        axis = rule_base.data_axis(call.config, x)
        entering = rule_base.along(x, axis, call, labels)
        groups = call.config.get("groups", 1)
        if 1 < groups == len(entering):
            leaving = np.repeat(entering, call.config["filters"] // groups)
            weights = self._depthwise_weights(call, leaving, len(x.shape))
            widths = (leaving, entering)
        else:
            leaving = labels.produced_by(call.name, call.config["filters"])
            _tie_blocks(entering, groups, labels)
            _tie_blocks(leaving, groups, labels)
            entering = entering[: len(entering) // groups]
            weights = self._weights(call, entering, leaving, x.shape)
            widths = (leaving,)
        rule_base.check_activation(call, leaving, labels)
        out = Channels(leaving, axis, call.output_shapes[0])
        return Trace((out,), weights, widths)

    def _weights(self, call, entering, leaving, input_shape):
        rank = len(input_shape)
        kernel = Weight(
            {rank - 2: entering, rank - 1: leaving},
            rule_base.positions(call.output_shapes[0], call.config),
            filter_axis=rank - 1,
        )
        return {"kernel": kernel, "bias": Weight({0: leaving})}

    def _depthwise_weights(self, call, leaving, rank):
        uses = rule_base.positions(call.output_shapes[0], call.config)
        return {
            "kernel": Weight({rank - 1: leaving}, uses),
            "bias": Weight({0: leaving}),
        }

    def resize(self, config, trace, kept):
        counts = [int(kept(labels).sum()) for labels in trace.widths]
        names = ("filters", "groups")
        return {**config, **dict(zip(names, counts, strict=False))}

    def run(self, cell):
        config = cell.call.config
        y = tf.nn.convolution(
            cell.cast(cell.x),
            cell.cast(cell.weights["kernel"]),
            strides=config["strides"],
            padding=config["padding"].upper(),
        )
        return cell.activated(y)

    def can_run(self, call):
        return _is_plain(call.config)


class TransposedConvolution(Convolution):
    """Conv1DTranspose and the like; kernel (*space, filters, in).

    Every input position meets the whole kernel once.
    """

    def _weights(self, call, entering, leaving, input_shape):
        rank = len(input_shape)
        kernel = Weight(
            {rank - 2: leaving, rank - 1: entering},
            rule_base.positions(input_shape, call.config),
            filter_axis=rank - 2,
        )
        return {"kernel": kernel, "bias": Weight({0: leaving})}

    run = Rule.run


class SeparableConvolution(Convolution):
    """SeparableConv1D/2D: depthwise (*space, in, m), pointwise (1, in·m, n)."""

    def _weights(self, call, entering, leaving, input_shape):
        rank = len(input_shape)
        multiplier = call.config["depth_multiplier"]
        uses = rule_base.positions(call.output_shapes[0], call.config)
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

    def run(self, cell):
        x = _depthwise(cell, "depthwise_kernel")
        kernel = cell.cast(cell.weights["pointwise_kernel"])
        return cell.activated(tf.nn.convolution(x, kernel))

    def can_run(self, call):
        return _is_plain(call.config) and len(call.config["strides"]) == 2


class DepthwiseConvolution(Rule):
    """DepthwiseConv1D/2D: each channel yields `depth_multiplier` of its own."""

    def trace(self, call, inputs, labels):
        (x,) = inputs
        axis = rule_base.data_axis(call.config, x)
        entering = rule_base.along(x, axis, call, labels)
        leaving = np.repeat(entering, call.config["depth_multiplier"])
        rule_base.check_activation(call, leaving, labels)
        shape = call.output_shapes[0]
        uses = rule_base.positions(shape, call.config)
        weights = {
            "kernel": Weight({len(x.shape) - 2: entering}, uses),
            "bias": Weight({0: leaving}),
        }
        return Trace((Channels(leaving, axis, shape),), weights)

    def run(self, cell):
        return cell.activated(_depthwise(cell, "kernel"))

    def can_run(self, call):
        return _is_plain(call.config) and len(call.config["strides"]) == 2


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

    def run(self, cell):
        kernel = cell.cast(cell.weights["kernel"])
        return cell.activated(tf.matmul(cell.cast(cell.x), kernel))


class EinsumDense(Rule):
    """A plain projection of one axis, such as `"abc,cd->abd"`.

    The kernel has two axes, one summed over and one new, in the same place.
    Anything else (heads of an attention, batched kernels) is frozen.
    """

    def trace(self, call, inputs, labels):
        (x,) = inputs
        axis = self._projected_axis(call.config, len(x.shape))
        if axis is None:
            reason = (
                f"is no plain projection of one axis, with its equation "
                f"{call.config['equation']!r} and bias axes "
                f"{call.config['bias_axes']!r}"
            )
            weights = {"kernel": Weight({}, self._uses(call.config, x))}
            trace = rule_base.frozen_trace(
                call, inputs, labels, reason, weights
            )
            labels.produced.setdefault(call.name, trace.outputs[0].labels)
            return trace
        entering = rule_base.along(x, axis, call, labels)
        # Keras leaves open what the user's `output_shape` does not tell.
        shape = [*x.shape]
        shape[axis] = call.output_shapes[0][axis]
        leaving = labels.produced_by(call.name, shape[axis])
        rule_base.check_activation(call, leaving, labels)
        uses = rule_base.product((*x.shape[1:axis], *x.shape[axis + 1 :]))
        terms = call.config["equation"].replace(" ", "").split("->")[0]
        before, kernel = terms.split(",")
        first, last = (0, 1) if kernel[0] in before else (1, 0)
        weights = {
            "kernel": Weight(
                {first: entering, last: leaving}, uses, filter_axis=last
            ),
            "bias": Weight({0: leaving}),
        }
        out = Channels(leaving, axis, tuple(shape))
        return Trace((out,), weights, (leaving,))

    def _uses(self, config, x):
        """How often each value of any kernel is multiplied for one example."""
        terms = config["equation"].replace(" ", "").split("->")[0]
        before, kernel = terms.split(",")
        head, _, tail = before.partition("...")
        letters = [*head.ljust(len(x.shape) - len(tail)), *tail]
        return rule_base.product(
            size
            for letter, size in list(zip(letters, x.shape, strict=True))[1:]
            if letter not in kernel
        )

    def _projected_axis(self, config, rank):
        """The axis of input and output that the kernel works on, or None."""
        equation = config["equation"].replace(" ", "").replace("...", ".")
        terms, after = equation.split("->")
        before, kernel = terms.split(",")
        old = [letter for letter in kernel if letter in before]
        new = [letter for letter in kernel if letter not in before]
        if len(old) != 1 or len(new) != 1 or old[0] in after:
            return None
        if before.replace(old[0], new[0]) != after:
            return None
        if config["bias_axes"] not in (None, "", new[0]):
            return None
        place = before.index(old[0])
        if "." in before[:place]:
            place -= len(before)
        return place % rank

    def resize(self, config, trace, kept):
        if not trace.widths:
            return config
        shape = config["output_shape"]
        shape = list(shape) if isinstance(shape, (list, tuple)) else [shape]
        (out,) = trace.outputs
        shape[out.axis - len(out.shape)] = int(kept(trace.widths[0]).sum())
        return {**config, "output_shape": shape}


class PReLU(Rule):
    """One slope per channel, unless the channel axis is shared."""

    def trace(self, call, inputs, labels):
        (x,) = inputs
        shared = call.config["shared_axes"] or ()
        weights = {}
        if x.axis not in shared:
            weights["alpha"] = Weight({x.axis - 1: x.labels})
        return Trace((x,), weights)

    def run(self, cell):
        slope = cell.weights.get("alpha", cell.operation.alpha)
        x = cell.cast(cell.x)
        return tf.nn.relu(x) - cell.cast(slope) * tf.nn.relu(-x)


def _is_plain(config):
    """Whether a convolution is of the kind TensorFlow's CPU kernels know."""
    return (
        config.get("data_format") == "channels_last"
        and config.get("groups", 1) == 1
        and config["padding"] != "causal"
        # Dilated kernels need their size before anything is computed.
        and np.all(np.array(config["dilation_rate"]) == 1)
    )


def _depthwise(cell, name):
    """A depthwise convolution in two dimensions."""
    config = cell.call.config
    height, width = config["strides"]
    return tf.nn.depthwise_conv2d(
        cell.cast(cell.x),
        cell.cast(cell.weights[name]),
        strides=[1, height, width, 1],
        padding=config["padding"].upper(),
    )


def _tie_blocks(channels, groups, labels):
    """Makes position j of each of `groups` blocks one channel."""
    blocks = channels.reshape(groups, -1)
    for block in blocks[1:]:
        labels.tie(blocks[0], block)
