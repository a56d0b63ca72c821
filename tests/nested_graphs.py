"""Models inside models that a naive pruner would cut wrongly; see `graphs`."""

import keras
import numpy as np
from graphs import classified
from graphs import conv
from graphs import graph

layers = keras.layers


@graph({"a": 6, "tail/c": 5})
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


def _own_loss(labels, outputs):
    return keras.ops.mean((labels - outputs) ** 2)


@graph({"sequential/c": 5, "functional/c": 6})
def compiled():
    """Nested models were compiled, with an optimizer and a loss of one's own.

    Reading what an optimizer holds is not possible while a function is traced.
    """
    small = keras.Input((8, 8, 3))
    x = layers.Conv2D(6, 3, padding="same", name="c")(small)
    functional = keras.Model(small, x, name="functional")
    functional.compile(keras.optimizers.Adam(0.01), _own_loss)
    sequential = keras.Sequential(
        [keras.Input((8, 8, 6)), layers.Conv2D(5, 3, name="c")],
        name="sequential",
    )
    sequential.compile("sgd", _own_loss)
    sequential.fit(np.zeros((2, 8, 8, 6)), np.zeros((2, 6, 6, 5)), verbose=0)
    image = keras.Input((8, 8, 3))
    x = sequential(layers.ReLU()(functional(image)))
    return keras.Model(image, layers.Dense(4)(layers.Flatten()(x)))


@graph({"first": 6, "second": 6, "inner/from_one": 4})
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


def _inner():
    """A model without weights, to be called several times."""
    inside = keras.Input((8, 8, 6), name="inside")
    return keras.Model(inside, layers.ReLU()(inside), name="inner")


def _sequential_inner():
    return keras.Sequential([layers.ReLU()], name="inner")


def _first_of_two(inner):
    image = keras.Input((8, 8, 3))
    x = inner(conv(6, "a")(image))
    y = inner(conv(6, "b")(conv(5, "c")(x)))
    rest = layers.Dense(4, name="logits")(layers.Flatten()(y))
    return keras.Model(image, [x, rest])


def _last_of_two(inner):
    image = keras.Input((8, 8, 3))
    x = inner(conv(6, "a")(image))
    return keras.Model(image, inner(conv(6, "b")(conv(5, "c")(x))))


@graph({"c": 5})
def first_call_is_an_output():
    """Keras numbers calls of nested models among outputs in its own way."""
    return _first_of_two(_inner())


@graph({"c": 5})
def first_call_of_a_sequential_is_an_output():
    return _first_of_two(_sequential_inner())


@graph({"c": 5})
def last_call_is_the_output():
    return _last_of_two(_inner())


@graph({"c": 5})
def last_call_of_a_sequential_is_the_output():
    return _last_of_two(_sequential_inner())


@graph({"c": 5})
def called_before_and_elsewhere():
    """Calls in another model are not counted."""
    inner = _inner()
    image = keras.Input((8, 8, 6))
    keras.Model(image, inner(inner(image)))
    return _last_of_two(inner)
