"""Random functional models from the parts that users build theirs from.

A model is a list of steps, each a name and three numbers. The numbers choose
operands among the tensors made so far, and sizes; whatever they are, the step
does something valid. So any list is a model, and hypothesis can shrink it.
"""

import keras
import numpy as np
from hypothesis import strategies as st

layers = keras.layers
ops = keras.ops

_SIZE = 6


class Builder:
    """Tensors (batch, height, width, channels) made so far."""

    def __init__(self):
        self.image = keras.Input((_SIZE, _SIZE, 3))
        self.tensors = [self.image]
        self.convolutions = []
        self.outputs = []

    def pick(self, number, like=None, axes=(1, 2, 3)):
        """A tensor; with `like`, one of the same extent along `axes`."""
        choices = [
            x
            for x in self.tensors
            if like is None or all(x.shape[a] == like.shape[a] for a in axes)
        ]
        return choices[-1 - number % len(choices)]

    def model(self):
        parts = [layers.Flatten()(x) for x in self.tensors[-2:]]
        parts += [layers.GlobalAveragePooling2D()(x) for x in self.tensors]
        logits = layers.Dense(3)(layers.Concatenate()(parts))
        return keras.Model(self.image, [logits, *self.outputs])


def _convolution(b, x, m, n):
    channels = x.shape[-1]
    groups = 2 if m % 4 == 0 and channels % 2 == 0 else 1
    groups = channels if m % 4 == 1 else groups
    filters = groups * (1 + n % 4) if groups > 1 else 2 + n
    layer = layers.Conv2D(filters, 3, padding="same", groups=groups)
    b.convolutions.append((layer, channels))
    return layer(x)


def _shared(b, x, m, n):
    fitting = [layer for layer, c in b.convolutions if c == x.shape[-1]]
    return fitting[n % len(fitting)](x) if fitting else x


def _transposed(b, x, m, n):
    stride = 2 if x.shape[1] <= _SIZE else 1
    layer = layers.Conv2DTranspose(2 + n, 3, strides=stride, padding="same")
    return layer(x)


def _depthwise(b, x, m, n):
    return layers.DepthwiseConv2D(
        3, padding="same", depth_multiplier=1 + m % 2
    )(x)


def _separable(b, x, m, n):
    return layers.SeparableConv2D(
        2 + n, 3, padding="same", depth_multiplier=1 + m % 2
    )(x)


def _normalization(b, x, m, n):
    kinds = (
        layers.BatchNormalization,
        lambda: layers.BatchNormalization(scale=False),
        lambda: layers.BatchNormalization(center=False),
        lambda: layers.GroupNormalization(-1),
        layers.LayerNormalization,
        layers.UnitNormalization,
    )
    return kinds[n % len(kinds)]()(x)


def _activation(b, x, m, n):
    kinds = (
        layers.ReLU(),
        layers.PReLU(),
        layers.PReLU(shared_axes=[1, 2]),
        layers.Activation("sigmoid"),
        ops.silu,
        ops.softplus,
        lambda x: 1 - x * 2,
        lambda x: ops.where(x > 10, x, 0.5),
        layers.Softmax(),
    )
    return kinds[n % len(kinds)](x)


def _merge(b, x, m, n):
    y = b.pick(m, like=x)
    kinds = (
        lambda: layers.Add()([x, y]),
        lambda: layers.Multiply()([x, y, x]),
        lambda: layers.Maximum()([y, x]),
        lambda: x - y,
    )
    return kinds[n % len(kinds)]()


def _concatenate(b, x, m, n):
    if n % 3 == 0 and x.shape[1] <= _SIZE:
        y = b.pick(m, like=x, axes=(2, 3))
        return ops.concatenate([y, x], axis=1)
    if x.shape[-1] > 16:
        return x
    return layers.Concatenate()([x, b.pick(m, like=x, axes=(1, 2)), x])


def _resized(b, x, m, n):
    small = min(x.shape[1:3]) < 2
    kinds = (
        lambda: x if small else layers.MaxPooling2D()(x),
        lambda: x if small else ops.average_pool(x, 2),
        lambda: layers.UpSampling2D()(x) if max(x.shape[1:3]) < 8 else x,
        lambda: x if small else x[:, 1:],
        lambda: layers.ZeroPadding2D(((0, 1), (1, 0)))(x),
    )
    return kinds[n % len(kinds)]()


def _gate(b, x, m, n):
    channels = x.shape[-1]
    if m % 2:
        gate = layers.GlobalAveragePooling2D()(x)
        gate = layers.Dense(channels, activation="sigmoid")(gate)
        gate = layers.Reshape((1, 1, channels))(gate)
    else:
        gate = ops.mean(x, axis=(1, 2), keepdims=True)
        gate = layers.Conv2D(channels, 1, activation="sigmoid")(gate)
    return layers.Multiply()([x, gate])


def _moved(b, x, m, n):
    _, height, width, channels = x.shape
    kinds = (
        lambda: layers.Permute((2, 1, 3))(x),
        lambda: ops.transpose(ops.transpose(x, (0, 3, 1, 2)), (0, 2, 3, 1)),
        lambda: layers.Reshape((height, width, channels))(
            layers.Reshape((height * width, channels))(x)
        ),
        lambda: layers.Reshape((1, height, width * channels))(x),
        lambda: ops.moveaxis(x, 3, 1),  # Another axis poses as channels.
    )
    return kinds[n % len(kinds)]()


def _parted(b, x, m, n):
    channels = x.shape[-1]
    if channels % 2:
        return x[..., : 1 + n % channels]
    if n % 3 == 0:
        first, second = ops.split(x, 2, axis=-1)
        return ops.concatenate([second, first], axis=-1)
    if n % 3 == 1:
        return x[..., : channels // 2] + x[..., channels // 2 :]
    _, height, width, _ = x.shape
    shuffled = layers.Reshape((height, width, 2, channels // 2))(x)
    shuffled = ops.swapaxes(shuffled, 3, 4)
    return ops.reshape(shuffled, (-1, height, width, channels))


def _padded(b, x, m, n):
    return ops.pad(x, [[0, 0], [0, 0], [0, 0], [m % 3, n % 3]])


def _nested(b, x, m, n):
    inside = keras.Input(x.shape[1:])
    y = layers.Conv2D(2 + n, 3, padding="same")(inside)
    inner = keras.Model(inside, layers.BatchNormalization()(layers.ReLU()(y)))
    return inner(inner(x)) if x.shape[-1] == 2 + n else inner(x)


def _block(b, x, m, n):
    """A model without weights, called twice, on any tensors of one shape."""
    y = b.pick(m, like=x)
    inside = keras.Input(x.shape[1:], name="later")
    other = keras.Input(x.shape[1:], name="earlier")
    parts = [layers.ReLU()(inside), other] if n % 2 else [other, inside]
    inner = keras.Model([inside, other], layers.Concatenate()(parts))
    if n % 4 < 2:
        return layers.Add()([inner([x, y]), inner([y, x])])
    return inner({"earlier": x, "later": y})


def _constant(b, x, m, n):
    kinds = (
        lambda: x * np.arange(1, 1 + x.shape[-1], dtype="float32"),
        lambda: x + np.ones((*x.shape[1:3], 1), "float32"),
        lambda: x * np.float32(2),
        lambda: ops.maximum(b.pick(m, like=x), x) - 0.5,
    )
    return kinds[n % len(kinds)]()


def _stacked(b, x, m, n):
    y = b.pick(m, like=x)
    stacked = ops.stack([x, y], axis=1 + m % 3)
    return ops.max(ops.flip(stacked, axis=1), axis=1 + m % 3)


def _output(b, x, m, n):
    if len(b.outputs) < 2 and n % 3 == 0:
        b.outputs.append(x)
    return x


STEPS = {
    step.__name__.strip("_"): step
    for step in (
        _convolution,
        _shared,
        _transposed,
        _depthwise,
        _separable,
        _normalization,
        _activation,
        _merge,
        _concatenate,
        _resized,
        _gate,
        _moved,
        _parted,
        _padded,
        _nested,
        _block,
        _constant,
        _stacked,
        _output,
    )
}

_NUMBER = st.integers(0, 7)

# Convolutions are common enough for there to be something to cut.
_STEP = st.tuples(
    st.sampled_from(["convolution"] * 4 + list(STEPS)),
    _NUMBER,
    _NUMBER,
    _NUMBER,
)
GRAPHS = st.lists(_STEP, min_size=3, max_size=14)


def build(steps):
    """The `keras.Model` that a list of steps describes."""
    keras.backend.clear_session()
    builder = Builder()
    for name, operand, m, n in steps:
        x = builder.pick(operand if name != "convolution" else operand % 3)
        builder.tensors.append(STEPS[name](builder, x, m, n))
    return builder.model()
