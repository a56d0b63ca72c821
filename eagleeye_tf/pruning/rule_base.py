"""What a layer rule is, and what rules have in common.

A rule answers two questions. `trace`: given the channels that enter a call,
which channels leave it, along which axes its weights follow them, and how
often each weight is multiplied. `resize` (and, for operations, `resize_args`):
which config makes the layer fit once some channels are gone.
"""

import dataclasses
import math

import keras
import tensorflow as tf

from eagleeye_tf.pruning import network
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

    @property
    def made_by(self):
        """The axis whose channels the weight's slices make, or belong to."""
        if self.filter_axis is not None:
            return self.filter_axis
        return max(self.axes, default=None)


@dataclasses.dataclass(frozen=True)
class Trace:
    """What a rule finds out about one call.

    Attributes:
        outputs: the `Channels` of each output.
        weights: `{attribute name: Weight}`; weights not named stay whole.
        widths: labels whose kept number the rule's `resize` needs.
        place: where in the arguments of an operation `resize_args` puts it.
    """

    outputs: tuple
    weights: dict = dataclasses.field(default_factory=dict)
    widths: tuple = ()
    place: int | None = None


@dataclasses.dataclass(frozen=True)
class Cell:
    """One call, to be computed with weights that are not the layer's own.

    Attributes:
        call: a `network.Call`.
        trace: the `Trace` of this call.
        args: positional arguments, with values in place of tensors.
        kwargs: keyword arguments, likewise.
        weights: `{attribute name: tensor}`, cut, for those in the trace.
        counts: how many channels are left of each of the trace's `widths`,
            scalar int32 tensors.
        moments: list to which a BatchNormalization in training mode appends
            (mean, variance, values per channel); None in inference mode.
    """

    call: object
    trace: object
    args: list
    kwargs: dict
    weights: dict
    counts: list
    moments: list | None = None

    @property
    def operation(self):
        """The live layer or operation."""
        return self.call.operation

    @property
    def x(self):
        """The first argument."""
        return self.args[0]

    def live(self):
        """Calls the live layer or operation, in inference mode."""
        return network.infer(self.call, self.args, self.kwargs)

    def cast(self, tensor):
        """A tensor in the type in which the layer computes."""
        return tf.cast(tensor, self.operation.compute_dtype)

    def activated(self, tensor):
        """A layer's own activation of `tensor`."""
        if "bias" in self.weights:
            tensor += self.cast(self.weights["bias"])
        activation = getattr(self.operation, "activation", None)
        return tensor if activation is None else activation(tensor)


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
        shape = call.output_shapes[0]
        if len(shape) <= x.axis or shape[x.axis] != len(x.labels):
            return frozen_trace(
                call, inputs, labels, "changes the number of channels"
            )
        return Trace((Channels(x.labels, x.axis, shape),))

    def resize(self, config, trace, kept):
        """Returns `config` for the cut layer.

        Args:
            config: the layer's config; not changed.
            trace: what `trace` returned for the layer's first call.
            kept: function from labels to a bool array, True where they stay.
        """
        return config

    def resize_args(self, args, trace, kept):
        """Returns the arguments of a raw operation between cut tensors.

        Args:
            args: positional arguments as serialised by Keras; not changed.
            trace: as for `resize`.
            kept: as for `resize`.
        """
        return args

    def run(self, cell):
        """Computes a call whose tensors have any number of channels.

        A rule with weights or widths that does not override this is for
        networks that are rebuilt for every candidate.

        Args:
            cell: a `Cell`.

        Returns:
            The outputs of the call.
        """
        return cell.live()

    def can_run(self, call):
        """Whether `run` knows the layer's settings."""
        return True


class NoRule(Rule):
    """Anything unknown: nothing that enters or leaves it is removed.

    Args:
        reason: what is unknown about it; None for its type.
    """

    many_inputs = True

    def __init__(self, reason=None):
        self._reason = reason

    def trace(self, call, inputs, labels):
        reason = self._reason
        if reason is None:
            reason = f"is a {call.class_name}, for which there is no rule"
        trace = frozen_trace(call, inputs, labels, reason)
        if call.layer is not None and call.layer.weights:
            labels.produced.setdefault(call.name, trace.outputs[0].labels)
        return trace


def changed_weights(layer):
    """Why the weights of a Keras layer are not what its type says, or None."""
    if getattr(layer, "lora_enabled", False):
        return "has LoRA weights, which are to be merged before pruning"
    if getattr(layer, "quantization_mode", None):
        return "is quantized, which comes after pruning"
    return None


def frozen_trace(call, inputs, labels, reason, weights=None):
    """The `Trace` of a call around which no channel may be removed."""
    for x in inputs:
        labels.freeze(x.labels, call.name, reason)
    outputs = []
    for index in range(1 + max(call.output_shapes, default=-1)):
        shape = call.output_shapes.get(index, ())
        size = shape[-1] if len(shape) > 1 and shape[-1] else 0
        leaving = labels.new(size)
        labels.freeze(leaving, call.name, reason)
        outputs.append(Channels(leaving, max(len(shape) - 1, 0), shape))
    return Trace(tuple(outputs), weights or {})


def along(x, axis, call, labels):
    """Labels of `x` along `axis`; frozen ones if its channels lie elsewhere."""
    if x.axis == axis:
        return x.labels
    reason = "works along another axis than that of the channels"
    labels.freeze(x.labels, call.name, reason)
    other = labels.new(x.shape[axis] or 0)
    labels.freeze(other, call.name, reason)
    return other


def axes_of(config, x):
    """The axes that a layer's or operation's `axis` names, as a set."""
    axis = config.get("axis")
    if axis is None:
        return set(range(len(x.shape)))
    axes = axis if isinstance(axis, (list, tuple)) else [axis]
    return {int(a) % len(x.shape) for a in axes}


def data_axis(config, x):
    """Channel axis that a layer's `data_format` stands for."""
    return 1 if _channels_first(config) else len(x.shape) - 1


def positions(shape, config):
    """Positions in space of a tensor (batch, …), for one example."""
    return product(shape[2:] if _channels_first(config) else shape[1:-1])


def _channels_first(config):
    data_format = config.get("data_format") or keras.config.image_data_format()
    return data_format == "channels_first"


def total(numbers):
    """Sum of numbers; None if one of them is None, that is unknown."""
    numbers = list(numbers)
    return None if None in numbers else sum(numbers)


def product(dimensions):
    """Product of static dimensions; None if one of them is unknown."""
    dimensions = tuple(dimensions)
    return None if None in dimensions else math.prod(dimensions)


def check_activation(call, channels, labels):
    """Freezes `channels` unless the layer's activation is element-wise."""
    activation = getattr(call.layer, "activation", None)
    if activation is not None and not _is_element_wise(activation):
        labels.freeze(
            channels,
            call.name,
            "has an activation that is not known to treat each channel alone",
        )


def _is_element_wise(activation):
    kinds = (keras.layers.ReLU, keras.layers.LeakyReLU, keras.layers.ELU)
    return activation in _ELEMENT_WISE or type(activation) in kinds


# All of Keras' own but softmax, log_softmax, sparsemax and glu, and what
# TensorFlow and keras.ops call by the same names.
_ELEMENT_WISE = tuple(
    getattr(module, name)
    for module in (keras.activations, keras.ops, tf.nn)
    for name in (
        "celu elu exponential gelu hard_shrink hard_sigmoid hard_silu "
        "hard_tanh leaky_relu linear log_sigmoid mish relu relu6 selu sigmoid "
        "silu soft_shrink softplus softsign sparse_plus sparse_sigmoid "
        "squareplus tanh tanh_shrink threshold"
    ).split()
    if hasattr(module, name)
)
