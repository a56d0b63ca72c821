import functools

import keras
import numpy as np
import pytest
import toys

from eagleeye_tf import errors
from eagleeye_tf.pruning import network

layers = keras.layers


def test_calls_come_after_what_they_need():
    model = toys.dense_block()
    net = network.read(model)
    made = {ref.key for ref in net.inputs}
    for call in net.calls:
        assert {ref.key for ref in call.inputs} <= made
        made |= {(call.name, call.index, i) for i in call.output_shapes}
    assert len(net.calls) == len(model.layers) - 1  # all but the input


def test_raw_operations_are_calls_without_a_layer():
    image = keras.Input((4, 4, 3))
    x = keras.ops.pad(image, [[0, 0], [1, 1], [0, 0], [0, 2]])
    net = network.read(keras.Model(image, x))
    (call,) = net.calls
    assert call.layer is None
    assert call.class_name == "Pad"
    assert call.output_shapes == {0: (None, 6, 4, 5)}


def test_shared_layer_is_called_twice():
    image = keras.Input((4, 4, 3))
    conv = layers.Conv2D(3, 1, name="shared")
    net = network.read(keras.Model(image, conv(conv(image))))
    assert [(c.name, c.index) for c in net.calls] == [
        ("shared", 0),
        ("shared", 1),
    ]


def test_reading_leaves_the_model_alone():
    model = toys.chain()
    network.read(model)
    # A second call of a layer would make this raise.
    assert model.get_layer("conv1").output.shape == (None, 8, 8, 12)


def test_sequential_becomes_functional_over_the_same_layers():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3)])
    functional = network.as_functional(model)
    assert functional.layers[-1] is model.layers[-1]


def test_unbuilt_sequential_is_refused():
    model = keras.Sequential([layers.Dense(3)])
    with pytest.raises(errors.InputError, match="input shape"):
        network.as_functional(model)


def test_subclassed_model_is_refused():
    class Own(keras.Model):
        def call(self, x):
            return x

    model = Own()
    model(keras.ops.ones((1, 2)))
    with pytest.raises(errors.InputError, match="subclassed"):
        network.as_functional(model)


def test_all_layers_opens_nested_models():
    inner = toys.chain()
    inner.name = "backbone"
    image = keras.Input((8, 8, 3))
    model = keras.Model(image, layers.Softmax(name="top")(inner(image)))
    paths = [path for path, _ in network.all_layers(model)]
    assert "backbone/conv0" in paths
    assert paths[-1] == "top"


def test_argument_that_keras_cannot_write_is_told():
    image = keras.Input((4, 4, 3))
    x = keras.ops.reshape(image, (-1, np.prod(image.shape[1:])))
    model = keras.Model(image, layers.Dense(3)(x))
    with pytest.raises(errors.InputError, match=r"'reshape.*plain Python"):
        network.as_functional(model)


def test_activation_that_keras_cannot_write_is_told():
    leaky = functools.partial(keras.ops.leaky_relu, negative_slope=0.1)
    image = keras.Input((4, 4, 3))
    x = layers.Flatten()(layers.Conv2D(4, 3, activation=leaky)(image))
    model = keras.Model(image, layers.Dense(3)(x))
    with pytest.raises(errors.InputError, match=r"Conv2D.*functools\.partial"):
        network.as_functional(model)


def test_masks_are_no_data():
    words = keras.Input((5,), dtype="int32")
    x = layers.Embedding(9, 4, mask_zero=True, name="embedded")(words)
    model = keras.Model(words, layers.GlobalAveragePooling1D()(x))
    pooling = network.read(model).calls[-1]
    assert pooling.class_name == "GlobalAveragePooling1D"
    assert [ref.key[0] for ref in pooling.data] == ["embedded"]
    assert len(pooling.masks) == 1


def test_nested_inputs_by_name_and_by_order():
    one, two = keras.Input((4,), name="z"), keras.Input((4,), name="a")
    inner = keras.Model([one, two], layers.Add()([one, two]), name="inner")
    x, y = keras.Input((4,), name="x"), keras.Input((4,), name="y")
    for given in ({"a": x, "z": y}, [y, x]):
        model = keras.Model([x, y], inner(given))
        (call,) = network.read(model).calls
        assert [ref.key[0] for ref in call.inputs] == ["y", "x"]
