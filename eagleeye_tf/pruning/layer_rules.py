"""What is known of each layer type: how channels pass, what is cut, what costs.

A rule answers two questions. `trace`: given the channels that enter a call,
which channels leave it, along which axes its weights follow them, and how
often each weight is multiplied. `resize`: which config makes the layer fit
once some channels are gone. A layer type is one entry in `RULES`; a raw
`keras.ops` operation is one entry in `OPERATION_RULES`. Whatever has no entry
is left as it is, and the channels that touch it are frozen.
"""

import dataclasses
import math

import keras
import numpy as np

from eagleeye_tf.pruning.labels import Channels


@dataclasses.dataclass(frozen=True)
class Weight:
    """How one weight of a layer follows the channels.

    Attributes:
        axes: `{axis of the weight: labels along it}`; other axes stay.
        uses: how often each of its values is multiplied for one example
            (output positions of a convolution); 0 for biases and the like.
        filter_axis: the axis along which its slices are filters, whose norm
            ranks the channels; None for weights that only follow.
    """

    axes: dict
    uses: int = 0
    filter_axis: int | None = None


@dataclasses.dataclass(frozen=True)
class Trace:
    """What a rule finds out about one call.

    Attributes:
        outputs: the `Channels` of each output.
        weights: `{attribute name: Weight}`; weights not named stay whole.
        widths: labels whose kept number the rule's `resize` needs.
    """

    outputs: tuple
    weights: dict = dataclasses.field(default_factory=dict)
    widths: tuple = ()


class Rule:
    """Base: an operation whose output has the channels of its only input.

    Attributes:
        many_inputs: whether `trace` takes any number of inputs; a call with
            several tensors of a rule for one is treated as unknown.
    """

    many_inputs = False

    def trace(self, call, inputs, labels):
        """Returns the `Trace` of `call` given its inputs' `Channels`.

        Args:
            call: a `Call` whose `name` is the layer's path.
            inputs: tuple of `Channels`, one per input tensor.
            labels: the `Labels` to tie, freeze and make.
        """
        (x,) = inputs
        return Trace((Channels(x.labels, x.axis, call.output_shapes[0]),))

    def resize(self, config, trace, kept):
        """Returns `config` for the cut layer.

        Args:
            config: the layer's config; not changed.
            trace: what `trace` returned for the layer's first call.
            kept: function from labels to a bool array, True where they stay.
        """
        return config


class NoRule(Rule):
    """Anything unknown: nothing that enters or leaves it is removed."""

    many_inputs = True

    def trace(self, call, inputs, labels):
        reason = f"{call.name} ({call.class_name}) has no rule"
        return frozen_trace(call, inputs, labels, reason)


class Spatial(Rule):
    """Works in space, on each channel alone: pooling, padding, …."""

    def trace(self, call, inputs, labels):
        (x,) = inputs
        axis = data_axis(call.config, x)
        entering = along(x, axis, call, labels)
        return Trace((Channels(entering, axis, call.output_shapes[0]),))


class Convolution(Rule):
    """Conv1D, Conv2D, Conv3D; kernel (*space, in / groups, filters)."""

    def trace(self, call, inputs, labels):
        config = call.config
        if config.get("groups", 1) != 1:
            reason = f"{call.name} is a grouped convolution"
            return frozen_trace(
                call,
                inputs,
                labels,
                reason,
                {"kernel": Weight({}, positions(call, config))},
            )
        (x,) = inputs
        axis = data_axis(config, x)
        entering = along(x, axis, call, labels)
        leaving = labels.produced_by(call.name, config["filters"])
        _check_activation(call, leaving, labels)
        rank = len(x.shape)
        weights = self._weights(call, entering, leaving, rank)
        out = Channels(leaving, axis, call.output_shapes[0])
        return Trace((out,), weights, (leaving,))

    def _weights(self, call, entering, leaving, rank):
        kernel = Weight(
            {rank - 2: entering, rank - 1: leaving},
            positions(call, call.config),
            filter_axis=rank - 1,
        )
        return {"kernel": kernel, "bias": Weight({0: leaving})}

    def resize(self, config, trace, kept):
        return {**config, "filters": int(kept(trace.widths[0]).sum())}


class SeparableConvolution(Convolution):
    """SeparableConv1D/2D: depthwise (*space, in, m), pointwise (1, in·m, n)."""

    def _weights(self, call, entering, leaving, rank):
        multiplier = call.config["depth_multiplier"]
        uses = positions(call, call.config)
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
        axis = data_axis(call.config, x)
        entering = along(x, axis, call, labels)
        leaving = np.repeat(entering, call.config["depth_multiplier"])
        _check_activation(call, leaving, labels)
        rank = len(x.shape)
        weights = {
            "kernel": Weight(
                {rank - 2: entering}, positions(call, call.config)
            ),
            "bias": Weight({0: leaving}),
        }
        return Trace((Channels(leaving, axis, call.output_shapes[0]),), weights)


class Dense(Rule):
    """Dense on the last axis; kernel (in, units)."""

    def trace(self, call, inputs, labels):
        (x,) = inputs
        axis = len(x.shape) - 1
        entering = along(x, axis, call, labels)
        leaving = labels.produced_by(call.name, call.config["units"])
        _check_activation(call, leaving, labels)
        uses = product(x.shape[1:-1], call)
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
            return frozen_trace(call, inputs, labels, reason)
        axis = call.config["axis"]
        axis = axis[0] if isinstance(axis, (list, tuple)) else axis
        entering = along(x, axis % len(x.shape), call, labels)
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


class Activation(Rule):
    """Element-wise activations pass; any other freezes the channels."""

    def trace(self, call, inputs, labels):
        _check_activation(call, inputs[0].labels, labels)
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
        placed = [
            (x.axis + len(shape) - len(x.shape), x.labels) for x in inputs
        ]
        axis, leaving = max(placed, key=lambda item: len(item[1]))
        for other_axis, other in placed:
            if other_axis == axis and len(other) == len(leaving):
                labels.tie(leaving, other)
            elif len(other) == 1:
                labels.freeze(other, f"{call.name} broadcasts it")
            else:
                reason = f"{call.name} combines channels of different axes"
                return frozen_trace(call, inputs, labels, reason)
        return Trace((Channels(leaving, axis, shape),))


class Concatenate(Rule):
    """Joins channels, or, along another axis, ties them."""

    many_inputs = True

    def trace(self, call, inputs, labels):
        shape = call.output_shapes[0]
        axis = inputs[0].axis
        if any(x.axis != axis for x in inputs):
            reason = f"{call.name} joins channels of different axes"
            return frozen_trace(call, inputs, labels, reason)
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
        axis = data_axis(call.config, x)
        entering = along(x, axis, call, labels)
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
        return Trace((Channels(folded(x), 1, call.output_shapes[0]),))


class Reshape(Rule):
    """Moves axes of extent 1 about, or folds space and channels into one."""

    def trace(self, call, inputs, labels):
        (x,) = inputs
        shape = call.output_shapes[0]
        if None in x.shape[1:] or None in shape[1:]:
            return NoRule().trace(call, inputs, labels)
        if len(shape) == 2:
            leaving, axis = folded(x), 1
        else:
            leaving, axis = x.labels, _axis_after_reshape(x, shape)
        if axis is None:
            reason = f"{call.name} splits or mixes channels"
            return frozen_trace(call, inputs, labels, reason)
        return Trace((Channels(leaving, axis, shape),), {}, (leaving,))

    def resize(self, config, trace, kept):
        if not trace.widths:
            return config
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


def frozen_trace(call, inputs, labels, reason, weights=None):
    """The `Trace` of a call around which no channel may be removed."""
    for x in inputs:
        labels.freeze(x.labels, reason)
    outputs = []
    for index in range(1 + max(call.output_shapes, default=-1)):
        shape = call.output_shapes.get(index, ())
        size = shape[-1] if len(shape) > 1 and shape[-1] else 0
        leaving = labels.new(size)
        labels.freeze(leaving, reason)
        outputs.append(Channels(leaving, max(len(shape) - 1, 0), shape))
    return Trace(tuple(outputs), weights or {})


def along(x, axis, call, labels):
    """Labels of `x` along `axis`; frozen ones if its channels lie elsewhere."""
    if x.axis == axis:
        return x.labels
    reason = f"{call.name} works across another axis than the channels"
    labels.freeze(x.labels, reason)
    other = labels.new(x.shape[axis] or 0)
    labels.freeze(other, reason)
    return other


def data_axis(config, x):
    """Channel axis that a layer's `data_format` stands for."""
    first = config.get("data_format") == "channels_first"
    return 1 if first else len(x.shape) - 1


def positions(call, config):
    """Output positions in space of a convolution, for one example."""
    shape = call.output_shapes[0]
    first = config.get("data_format") == "channels_first"
    return product(shape[2:] if first else shape[1:-1], call)


def product(dimensions, call):
    """Product of static dimensions; None if one of them is unknown."""
    return None if None in dimensions else math.prod(dimensions)


def folded(x):
    """Labels of `x` (batch, …) once all axes behind the batch are one."""
    inner = math.prod(x.shape[x.axis + 1 :])
    outer = math.prod(x.shape[1 : x.axis])
    return np.tile(np.repeat(x.labels, inner), outer)


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


def _check_activation(call, channels, labels):
    activation = call.config.get("activation")
    known = isinstance(activation, str) and activation in _ELEMENT_WISE
    if activation is not None and not known:
        labels.freeze(
            channels,
            f"the activation of {call.name} is not known to treat each "
            "channel alone",
        )


_ELEMENT_WISE = frozenset(
    "celu elu exponential gelu hard_shrink hard_sigmoid hard_silu hard_swish "
    "hard_tanh leaky_relu linear log_sigmoid mish relu relu6 selu sigmoid "
    "silu soft_shrink softplus softsign sparse_plus sparse_sigmoid "
    "squareplus swish tanh tanh_shrink threshold".split()
)

RULES = {
    "Conv1D": Convolution(),
    "Conv2D": Convolution(),
    "Conv3D": Convolution(),
    "SeparableConv1D": SeparableConvolution(),
    "SeparableConv2D": SeparableConvolution(),
    "DepthwiseConv1D": DepthwiseConvolution(),
    "DepthwiseConv2D": DepthwiseConvolution(),
    "Dense": Dense(),
    "BatchNormalization": BatchNormalization(),
    "PReLU": PReLU(),
    "Activation": Activation(),
    "Softmax": Softmax(),
    "Normalization": FrozenPassage(),
    "Rescaling": Rescaling(),
    "Concatenate": Concatenate(),
    "Flatten": Flatten(),
    "Reshape": Reshape(),
    "Permute": Permute(),
    **dict.fromkeys(
        ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"),
        Merge(),
    ),
    **dict.fromkeys(
        (
            f"Global{kind}Pooling{rank}D"
            for kind in ("Average", "Max")
            for rank in (1, 2, 3)
        ),
        GlobalPooling(),
    ),
    **dict.fromkeys(
        (
            f"{kind}{rank}D"
            for kind in (
                "AveragePooling",
                "MaxPooling",
                "ZeroPadding",
                "Cropping",
                "UpSampling",
            )
            for rank in (1, 2, 3)
        ),
        Spatial(),
    ),
    **dict.fromkeys(
        (
            "ReLU",
            "LeakyReLU",
            "ELU",
            "Dropout",
            "SpatialDropout1D",
            "SpatialDropout2D",
            "SpatialDropout3D",
            "AlphaDropout",
            "GaussianNoise",
            "GaussianDropout",
            "ActivityRegularization",
            "Identity",
        ),
        Rule(),
    ),
}

OPERATION_RULES = {
    "Pad": Pad(),
    **dict.fromkeys(
        (
            "Add",
            "Subtract",
            "Multiply",
            "TrueDivide",
            "Divide",
            "Maximum",
            "Minimum",
        ),
        Arithmetic(),
    ),
    **dict.fromkeys(
        (
            "Relu",
            "Relu6",
            "Sigmoid",
            "Silu",
            "Tanh",
            "HardSigmoid",
            "HardSilu",
            "Gelu",
            "Elu",
            "LeakyRelu",
            "Softplus",
            "Identity",
        ),
        Rule(),
    ),
}


def rule_for(call):
    """The rule of a call's layer type or operation."""
    if call.layer is None:
        rule = OPERATION_RULES.get(call.class_name)
    elif type(call.layer) is getattr(keras.layers, call.class_name, None):
        rule = RULES.get(call.class_name)
    else:
        rule = None  # Somebody's own layer, whatever its name.
    if rule is None or (len(call.inputs) != 1 and not rule.many_inputs):
        return NoRule()
    return rule
