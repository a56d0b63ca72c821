"""Models inside models that a naive pruner would cut wrongly; see `graphs`."""

import keras
from graphs import classified
from graphs import conv
from graphs import graph

layers = keras.layers


@graph({"first": 6, "second": 6, "inner/z": 4})
def inputs_by_name():
    """A model of a list of inputs is called with a dictionary.

    Sorted by name, the inputs would change places.
    """
    one = keras.Input((8, 8, 6), name="later")
    two = keras.Input((8, 8, 6), name="earlier")
    joined = layers.Concatenate()([conv(4, "z")(one), two])
    inner = keras.Model([one, two], joined, name="inner")
    image = keras.Input((8, 8, 3))
    x, y = conv(6, "first")(image), conv(6, "second")(image)
    return classified(image, inner({"earlier": x, "later": y}))


@graph({"a": 6, "c": 5})
def shared_activation():
    """A model without weights, called twice, has one width."""
    active = keras.Sequential([layers.ReLU(), layers.Dropout(0.1)], name="act")
    image = keras.Input((8, 8, 3))
    x = active(conv(6, "a")(image))
    x = active(conv(6, "b")(x))
    return classified(image, conv(5, "c")(x))


@graph({"a": 6})
def shared_with_an_input():
    """Its other call sees the image, which is never cut."""
    active = keras.Sequential([layers.ReLU()], name="act")
    image = keras.Input((8, 8, 5))
    x = conv(5, "frozen")(active(image))
    return classified(image, conv(6, "a")(active(x)))


@graph({"base/a": 6, "base/b": 6, "top": 5})
def frozen_base():
    """Transfer learning as the guides show it."""
    inside = keras.Input((8, 8, 3))
    x = layers.BatchNormalization(name="norm")(conv(6, "a")(inside))
    x = conv(6, "b")(layers.ReLU()(x))
    base = keras.Model(inside, x, name="base")
    base.trainable = False
    image = keras.Input((8, 8, 3))
    x = conv(5, "top")(base(image, training=False))
    return classified(image, layers.Dropout(0.2)(x))


@graph({"a": 6, "base/c": 4, "head": 3})
def extra_inputs():
    """A dictionary may hold more than the model takes: no output needs it."""
    inside = keras.Input((8, 8, 6), name="image")
    base = keras.Model([inside], conv(4, "c")(inside), name="base")
    image = keras.Input((8, 8, 3))
    x = base({"other": conv(5, "unused")(image), "image": conv(6, "a")(image)})
    return classified(image, conv(3, "head")(x))
