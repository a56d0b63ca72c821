"""Graphs that a naive pruner would cut wrongly.

Each is a function without arguments, entered in `GRAPHS` with the channel
groups that its drawing on paper has: `{name: size}`.
"""

import keras
import numpy as np

layers = keras.layers
ops = keras.ops

GRAPHS = {}


def graph(groups):
    """Enters a function that builds a model, with its channel groups."""

    def enter(build):
        GRAPHS[build.__name__] = (build, groups)
        return build

    return enter


def conv(filters, name, size=3, **kwargs):
    return layers.Conv2D(filters, size, padding="same", name=name, **kwargs)


def classified(image, x, units=4):
    """A model that ends in a dense layer over all that is left of `x`."""
    if len(x.shape) > 2:
        x = layers.Flatten(name="flatten")(x)
    return keras.Model(image, layers.Dense(units, name="logits")(x))


@graph({"a": 6, "b": 4})
def strangers_shortcuts():
    """Zero-padding of channels by more before than behind, then a Flatten."""
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(6, 3, padding="same", name="a")(image)
    y = layers.Conv2D(10, 3, padding="same", name="b")(x)
    padded = keras.ops.pad(x, [[0, 0], [0, 0], [0, 0], [3, 1]])
    x = layers.ReLU()(layers.Add()([padded, y]))
    x = layers.MaxPooling2D()(layers.Permute((2, 1, 3))(x))
    return keras.Model(image, layers.Dense(4)(layers.Flatten()(x)))


@graph({"a": 4, "grouped": 4, "b": 10})
def grouped():
    """A grouped convolution between two that could be cut."""
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, padding="same", name="a")(image)
    x = layers.Conv2D(8, 3, groups=2, name="grouped")(x)
    x = layers.Conv2D(10, 1, name="b")(x)
    return keras.Model(image, layers.Dense(4)(layers.Flatten()(x)))


@graph({"a": 8})
def broadcasts():
    """One-channel operands: along space, along channels, of other axes."""
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, padding="same", name="a")(image)
    gate = layers.Conv2D(1, 1, activation="sigmoid", name="spatial")(x)
    x = layers.Multiply()([x, gate])
    line = layers.Permute((1, 3, 2))(layers.Conv2D(1, (1, 8), name="line")(x))
    y = layers.Conv2D(8, 3, padding="same", name="b")(x)
    turned = layers.Permute((1, 3, 2))(layers.Conv2D(1, 1, name="turn")(y))
    y = layers.Add()([layers.Multiply()([y, line]), turned])
    return keras.Model(image, layers.Dense(4)(layers.Flatten()(y)))


@graph({"a": 6})
def grey_minus_means():
    """A raw constant widens one channel to three."""
    image = keras.Input((8, 8, 1))
    x = image - np.array([10.0, 20.0, 30.0], np.float32)
    x = layers.Conv2D(6, 3, name="a")(x)
    return keras.Model(image, layers.Dense(4)(layers.Flatten()(x)))


@graph({"down": 6, "deep": 8, "up": 5, "joined": 7})
def u_net():
    """Skips join what was pooled and what was transposed up again."""
    image = keras.Input((8, 8, 3))
    down = layers.ReLU()(conv(6, "down")(image))
    deep = conv(8, "deep")(layers.MaxPooling2D()(down))
    up = layers.Conv2DTranspose(5, 2, strides=2, name="up")(deep)
    wide = layers.UpSampling2D()(deep)
    x = layers.Concatenate()([up, down, wide])
    x = conv(7, "joined")(layers.BatchNormalization()(x))
    return classified(image, x)


@graph({"a": 2, "b": 3})
def add_of_a_concatenate():
    image = keras.Input((8, 8, 3))
    a, b, c = conv(2, "a")(image), conv(3, "b")(image), conv(5, "c")(image)
    return classified(image, layers.Add()([layers.Concatenate()([a, b]), c]))


@graph({"a": 4, "c": 3, "e": 6})
def concatenate_of_adds():
    image = keras.Input((8, 8, 3))
    left = layers.Add()([conv(4, "a")(image), conv(4, "b")(image)])
    right = layers.Maximum()([conv(3, "c")(image), conv(3, "d")(image)])
    x = layers.Concatenate()([right, left, right])
    return classified(image, conv(6, "e")(x))


@graph({"a": 2, "b": 4, "c": 4})
def channel_shuffle():
    """ShuffleNet: what one group made reaches all groups of the next.

    Of the shuffled 8, b has 2 groups of 4, and c 2 groups of 4: the shuffle
    ties a's 8 channels into 2 that lie evenly in both.
    """
    image = keras.Input((4, 4, 3))
    x = conv(8, "a")(image)
    x = layers.Reshape((4, 4, 2, 4))(x)
    x = layers.Permute((1, 2, 4, 3))(x)
    x = layers.Reshape((4, 4, 8))(x)
    x = conv(8, "b", groups=2)(x)
    return classified(image, conv(8, "c", groups=2)(x))


@graph({"a": 6, "b": 5})
def depthwise_by_groups():
    """ConvNeXt's depthwise: as many groups as channels; each makes two."""
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(12, 3, groups=6, name="deep")(conv(6, "a")(image))
    return classified(image, conv(5, "b")(layers.ReLU()(x)))


@graph({"a": 4, "a:2": 4, "b": 5})
def split_and_swapped():
    """Two halves go different ways, and come back in the other order."""
    image = keras.Input((8, 8, 3))
    first, second = ops.split(conv(8, "a")(image), 2, axis=-1)
    second = layers.BatchNormalization()(conv(5, "b")(second))
    return classified(image, ops.concatenate([second, first], axis=-1))


@graph({"a": 2, "a:2": 4, "b": 6, "c": 3})
def stretches_of_channels():
    """Slices: of a stretch of channels, of space, and with new axes."""
    image = keras.Input((8, 8, 3))
    x = conv(8, "a")(image)
    middle = conv(6, "b")(x[:, 1:-1, ::2, 2:6])
    ends = ops.concatenate([x[..., :2], x[..., -2:]], axis=-1)
    ends = x[..., :2] + x[..., 6:] + 0 * ends[..., 2:]
    ends = conv(3, "c")(ends[:, None, 2:4][:, 0])
    flat = layers.Flatten()
    x = layers.Concatenate()([flat(middle), flat(ends)])
    return classified(image, x)


@graph({"a": 6, "squeeze": 2, "b": 5, "narrow": 3})
def squeeze_and_excite():
    """Gates from a pooled vector: by layers, and by raw operations."""
    image = keras.Input((8, 8, 3))
    x = conv(6, "a")(image)
    gate = layers.GlobalAveragePooling2D()(x)
    gate = layers.Dense(2, activation="relu", name="squeeze")(gate)
    gate = layers.Dense(6, activation="sigmoid", name="excite")(gate)
    x = layers.Multiply()([x, layers.Reshape((1, 1, 6))(gate)])
    x = conv(5, "b")(x)
    gate = ops.mean(x, axis=(1, 2), keepdims=True)
    gate = conv(3, "narrow", 1, activation="relu")(gate)
    gate = ops.hard_sigmoid(conv(5, "widen", 1)(gate))
    return classified(image, x * gate)


@graph({"a": 4, "tower": 5, "b": 3})
def siamese():
    """Two inputs through one tower, which ties what enters it."""
    one, two = keras.Input((8, 8, 3)), keras.Input((8, 8, 2))
    tower = conv(5, "tower")
    normalization = layers.BatchNormalization()
    first = normalization(tower(conv(4, "a")(one)))
    second = normalization(tower(conv(4, "a2")(two)))
    x = layers.Concatenate(axis=1)([first, second])
    y = conv(3, "b")(layers.Subtract()([first, second]))
    flat = layers.Concatenate()([layers.Flatten()(x), layers.Flatten()(y)])
    return classified([one, two], flat)


@graph({"b": 5})
def output_in_the_middle():
    """What is also an output of the model stays."""
    image = keras.Input((8, 8, 3))
    a = conv(4, "a")(image)
    logits = classified(image, conv(5, "b")(a)).outputs
    return keras.Model(image, {"features": a, "logits": logits[0]})


@graph({"wide": 6, "up": 5})
def generator():
    """A vector is folded out into an image: its parts lose alike."""
    noise = keras.Input((7,))
    x = layers.Dense(4 * 4 * 6, name="wide")(noise)
    x = layers.Reshape((4, 4, 6))(x)
    x = layers.Conv2DTranspose(5, 4, strides=2, padding="same", name="up")(x)
    return keras.Model(noise, conv(3, "rgb", activation="tanh")(x))


@graph({"a": 6, "plain": 5, "first": 4, "open": 3})
def einsum_projections():
    """Plain projections, of the last axis and of another, and a mixing one."""
    image = keras.Input((8, 8, 3))
    x = layers.Reshape((64, 6))(conv(6, "a")(image))
    plain = layers.EinsumDense
    x = plain("abc,cd->abd", (64, 5), bias_axes="d", name="plain")(x)
    x = layers.Permute((2, 1))(x)
    x = plain("abc,bd->adc", (4, 64), bias_axes="d", name="first")(x)
    x = layers.Permute((2, 1))(x)
    x = plain("...x,xy->...y", 3, name="open")(x)
    x = layers.Dense(6, name="kept")(x)
    x = plain("abc,cde->abde", (64, 2, 3), name="heads")(x)
    return classified(image, x)


@graph({"instance": 6})
def normalizations():
    """Only an instance normalization leaves channels free of each other."""
    image = keras.Input((8, 8, 3))
    x = layers.GroupNormalization(-1)(conv(6, "instance")(image))
    for number, normalization in enumerate(
        (
            layers.LayerNormalization(),
            layers.GroupNormalization(2),
            layers.UnitNormalization(),
            layers.RMSNormalization(),
            layers.BatchNormalization(axis=1),
        )
    ):
        x = normalization(conv(4, f"frozen{number}")(x))
    return classified(image, layers.LayerNormalization(axis=1)(x))


@graph({"a": 6, "b": 5, "c": 4})
def slopes():
    """PReLU with every kind of shared axes; BN without scale or offset."""
    image = keras.Input((8, 8, 3))
    x = layers.PReLU()(conv(6, "a")(image))
    x = layers.BatchNormalization(scale=False)(x)
    x = layers.PReLU(shared_axes=[1, 2])(conv(5, "b")(x))
    x = layers.BatchNormalization(center=False)(x)
    return classified(image, layers.PReLU(shared_axes=[3])(conv(4, "c")(x)))


@graph({"a": 5, "b": 4, "up": 3})
def video():
    image = keras.Input((4, 6, 6, 2))
    x = layers.Conv3D(5, 3, padding="same", name="a")(image)
    x = layers.ZeroPadding3D(1)(layers.AveragePooling3D(2)(x))
    x = layers.SpatialDropout3D(0.5)(layers.Conv3D(4, 2, name="b")(x))
    x = layers.Conv3DTranspose(3, 2, name="up")(x)
    return classified(image, layers.GlobalMaxPooling3D()(x))


@graph({"a": 6, "separable": 5, "up": 4})
def sequence():
    """One dimension; what a recurrent layer reads stays."""
    line = keras.Input((16, 3))
    x = layers.Conv1D(6, 3, padding="causal", name="a")(line)
    x = layers.DepthwiseConv1D(3, depth_multiplier=2)(x)
    x = layers.SeparableConv1D(5, 3, depth_multiplier=2, name="separable")(x)
    x = layers.Conv1DTranspose(4, 3, strides=2, name="up")(x)
    x = layers.Cropping1D(1)(layers.UpSampling1D()(x))
    y = layers.RepeatVector(3)(layers.GlobalMaxPooling1D()(x))
    y = layers.LSTM(4)(layers.Conv1D(3, 1, name="frozen")(y))
    return classified(line, y)


@graph({"a": 6, "b": 5})
def channels_first():
    image = keras.Input((3, 8, 8))
    first = {"data_format": "channels_first"}
    x = conv(6, "a", **first)(image)
    x = layers.ReLU()(layers.BatchNormalization(axis=1)(x))
    x = layers.DepthwiseConv2D(3, padding="same", **first)(x)
    x = conv(5, "b", **first)(x)
    return classified(image, layers.GlobalAveragePooling2D(**first)(x))


@graph({"a": 8, "b": 6})
def mixed_precision():
    image = keras.Input((8, 8, 3))
    x = conv(8, "a", dtype="mixed_bfloat16")(image)
    x = layers.BatchNormalization(dtype="mixed_bfloat16")(x)
    x = conv(6, "b", dtype="float16")(ops.cast(x, "float16"))
    return classified(image, ops.cast(x, "float32"))


@graph({"a": 4, "b": 3, "c": 5})
def moved_and_folded():
    """Channels move in front, fold partly into an axis, and all the way."""
    image = keras.Input((4, 6, 3))
    x = conv(4, "a")(image)
    x = ops.transpose(x, (0, 3, 1, 2))  # (4 channels, 4, 6)
    x = ops.swapaxes(ops.moveaxis(x, 1, 2), 2, 3)  # (4, 6, 4 channels)
    x = layers.Reshape((4, 6 * 4))(x)
    x = layers.Dense(3, name="b")(x)
    x = ops.squeeze(ops.expand_dims(x, 1), axis=1)
    x = layers.Conv1D(5, 3, name="c")(x)
    return classified(image, ops.reshape(x, (-1, 2 * 5)))


@graph({"a": 6, "b": 5})
def arithmetic():
    """Numbers, and operations that do not keep zero: 1 - x, exp, where."""
    image = keras.Input((8, 8, 3))
    x = (conv(6, "a")(image / 255.0) * 2 + 1) ** 2
    x = ops.sqrt(ops.abs(1 - x)) + ops.exp(-ops.clip(x, 0, 3))
    x = ops.where(x > 1, x, 0.25)
    x = ops.pad(x, [[0, 0], [1, 2], [0, 0], [0, 0]], mode="reflect")
    x = keras.activations.swish(conv(5, "b")(x))
    return classified(image, ops.max_pool(x, 2))


@graph({"a": 5, "b": 4})
def joined_in_space():
    """Concatenated and padded along space: channels are tied, not joined."""
    image = keras.Input((8, 8, 3))
    x = layers.Concatenate(axis=2)([conv(5, "a")(image), conv(5, "a2")(image)])
    x = layers.Cropping2D(1)(layers.ZeroPadding2D(2)(conv(4, "b")(x)))
    return classified(image, layers.AdaptiveAveragePooling2D(2)(x))


@graph({"a": 6, "b": 4})
def images_of_any_size():
    image = keras.Input((None, None, 3))
    x = layers.MaxPooling2D()(conv(6, "a")(image))
    x = layers.Reshape((-1, 4))(conv(4, "b")(x))
    return classified(image, layers.GlobalAveragePooling1D()(x))


@graph({"a": 6})
def attention():
    """CBAM's spatial gate mixes channels; so do heads of an attention."""
    image = keras.Input((4, 4, 3))
    x = conv(5, "frozen")(conv(6, "a")(image))
    pooled = ops.concatenate(
        [ops.mean(x, -1, keepdims=True), ops.max(x, -1, keepdims=True)], -1
    )
    x = x * conv(1, "gate", activation="sigmoid")(pooled)
    x = layers.Reshape((16, 4))(conv(4, "values")(x))
    x = x + layers.MultiHeadAttention(2, 3)(x, x)
    return classified(image, layers.Dot(axes=1)([x, x]))


@graph({"a": 6, "b": 5})
def noise_and_augmentation():
    image = keras.Input((8, 8, 3))
    x = layers.RandomFlip()(layers.Rescaling(1 / 255)(image))
    x = layers.Dropout(0.2)(conv(6, "a")(x))
    x = layers.Resizing(6, 6)(layers.SpatialDropout2D(0.2)(x))
    x = layers.AlphaDropout(0.1)(layers.GaussianNoise(1.0)(x))
    x = layers.Rescaling([1.0] * 4)(conv(4, "scaled")(x))
    return classified(image, conv(5, "b")(x))


@graph({"a": 4, "b": 6})
def multipliers():
    """Each channel yields several; dilated; with and without bias."""
    image = keras.Input((8, 8, 3))
    x = layers.DepthwiseConv2D(3, depth_multiplier=2)(conv(4, "a")(image))
    x = layers.SeparableConv2D(
        6, 3, depth_multiplier=3, dilation_rate=2, use_bias=False, name="b"
    )(x)
    return classified(image, layers.LeakyReLU()(x))
