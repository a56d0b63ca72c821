"""Operations on channels that a naive pruner would miss; see `graphs`."""

import keras
import numpy as np
from graphs import classified
from graphs import conv
from graphs import graph

layers = keras.layers
ops = keras.ops


@graph({"a": 6})
def flattened_channels_first():
    """`Flatten` moves the first axis behind the others."""
    image = keras.Input((4, 5, 3))
    x = layers.Permute((3, 1, 2))(conv(6, "a")(image))
    x = layers.Flatten(data_format="channels_first")(x)
    return keras.Model(image, layers.Dense(4)(x))


@graph({"a": 6, "squeezed": 3})
def selective_kernels():
    """Branches are stacked, and weighted by a softmax over the branches."""
    image = keras.Input((8, 8, 3))
    branches = [conv(6, name)(image) for name in ("a", "b")]
    x = layers.GlobalAveragePooling2D()(branches[0] + branches[1])
    x = layers.Dense(3, name="squeezed")(x)
    gates = [layers.Dense(6, name=name)(x) for name in ("ga", "gb")]
    gates = ops.softmax(ops.stack(gates, axis=1), axis=1)[:, :, None, None]
    x = ops.sum(gates * ops.stack(branches, axis=1), axis=1)
    return classified(image, x)


@graph({"c": 5})
def constants_per_channel():
    """Arrays as long as the channels freeze all operands, scalars none."""
    image = keras.Input((8, 8, 3))
    x = conv(6, "a")(image)
    y = conv(6, "b")(image)
    x = ops.where(x > 0, y, np.arange(6, dtype="float32"))
    y = conv(5, "c")(x) * np.float32(2) + ops.convert_to_tensor(1.0)
    return classified(image, y + np.ones((8, 8, 1), "float32"))


@graph({"c": 5})
def lists_of_numbers():
    """Bounds and operands that know the channels."""
    image = keras.Input(batch_shape=(2, 8, 8, 3))
    x = ops.clip(conv(6, "a")(image), [0.0] * 6, [1.0] * 6)
    x = conv(4, "b")(x)
    x = ops.concatenate([x, np.ones((2, 8, 8, 2), "float32")], axis=-1)
    return classified(image, conv(5, "c")(x))


@graph({"a": 6, "b": 5})
def weights_of_positions():
    """Operands that lie along space are broadcast over the channels."""
    image = keras.Input((8, 8, 3))
    x = conv(6, "a")(image) * ops.expand_dims(ops.mean(image, -1), -1)
    x = layers.Reshape((64, 5))(conv(5, "b")(x))
    scores = ops.squeeze(layers.Dense(1, name="score")(x), -1)
    x = ops.sum(x * ops.expand_dims(ops.softmax(scores), -1), axis=1)
    return classified(image, x)


@graph({"a": 6, "b": 5})
def masked():
    """A mask tells which positions count; it has no channels."""
    words = keras.Input((7,), dtype="int32")
    x = layers.Embedding(9, 4, mask_zero=True)(words)
    x = layers.Dense(6, name="a")(x)
    x = layers.BatchNormalization()(x)
    x = layers.Dense(5, name="b", activation="relu")(x)
    return classified(words, layers.GlobalAveragePooling1D()(x))


@graph({"a": 5, "b": 4})
def turned():
    """Flips and shifts in space pass."""
    image = keras.Input((8, 8, 3))
    x = ops.roll(ops.flip(conv(5, "a")(image), axis=1), 2, axis=2)
    x = layers.Conv2D(4, 3, name="b", activation=ops.relu)(x)
    return classified(image, ops.nan_to_num(x))
