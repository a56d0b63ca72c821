"""Graphs that a naive pruner would cut wrongly."""

import keras
import numpy as np

layers = keras.layers


def strangers_shortcuts():
    """Zero-padding of channels by more before than behind, then a Flatten."""
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(6, 3, padding="same", name="a")(image)
    y = layers.Conv2D(10, 3, padding="same", name="b")(x)
    padded = keras.ops.pad(x, [[0, 0], [0, 0], [0, 0], [3, 1]])
    x = layers.ReLU()(layers.Add()([padded, y]))
    x = layers.MaxPooling2D()(layers.Permute((2, 1, 3))(x))
    return keras.Model(image, layers.Dense(4)(layers.Flatten()(x)))


def grouped():
    """A grouped convolution between two that could be cut."""
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, padding="same", name="a")(image)
    x = layers.Conv2D(8, 3, groups=2, name="grouped")(x)
    x = layers.Conv2D(10, 1, name="b")(x)
    return keras.Model(image, layers.Dense(4)(layers.Flatten()(x)))


def nested():
    """Cut channels enter nested models; one of them is called twice."""
    inner_image = keras.Input((8, 8, 6), name="inner_image")
    x = layers.Conv2D(6, 3, padding="same", name="inside")(inner_image)
    inner = keras.Model(inner_image, layers.ReLU()(x), name="inner")
    tail = keras.Sequential(
        [layers.Conv2D(5, 3, name="c"), keras.Sequential([layers.ReLU()])],
        name="tail",
    )
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(6, 3, padding="same", name="a")(image)
    x = tail(inner(inner(x)))
    return keras.Model(image, layers.Dense(4)(layers.Flatten()(x)))


def dict_inputs():
    """A nested model takes a dictionary, in another order than sorted."""
    one = keras.Input((8, 8, 6), name="x1")
    two = keras.Input((8, 8, 6), name="x2")
    joined = layers.Concatenate()(
        [layers.Conv2D(4, 1, name="from_one")(one), two]
    )
    inner = keras.Model({"x1": one, "x2": two}, joined, name="inner")
    image = keras.Input((8, 8, 3))
    first = layers.Conv2D(6, 3, padding="same", name="first")(image)
    second = layers.Conv2D(6, 3, padding="same", name="second")(image)
    x = layers.Flatten()(inner({"x2": second, "x1": first}))
    return keras.Model(image, layers.Dense(4)(x))


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


def grey_minus_means():
    """A raw constant widens one channel to three."""
    image = keras.Input((8, 8, 1))
    x = image - np.array([10.0, 20.0, 30.0], np.float32)
    x = layers.Conv2D(6, 3, name="a")(x)
    return keras.Model(image, layers.Dense(4)(layers.Flatten()(x)))
