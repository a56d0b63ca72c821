import keras
import numpy as np
import pytest
import tensorflow as tf
import toys

import eagleeye_tf as ee
from eagleeye_tf import errors

layers = keras.layers


def shifted(x):
    return x - 1


@pytest.mark.parametrize(
    "layer",
    [
        lambda: layers.Lambda(lambda x: x / 255.0),
        lambda: layers.Activation(shifted),
        lambda: layers.Conv2D(6, 1, activation=tf.nn.leaky_relu),
        lambda: layers.Dense(6, activation=lambda x: x * 3),
    ],
)
def test_python_code_in_layers_is_reused(layer):
    image = keras.Input((8, 8, 3))
    x = layer()(layers.Conv2D(6, 3, name="a")(image))
    x = layers.Conv2D(8, 3, name="b")(x)
    model = keras.Model(image, layers.Dense(3)(layers.Flatten()(x)))
    x = toys.images(model)
    np.testing.assert_array_equal(
        toys.outputs(ee.prune(model, 0.0), x), toys.outputs(model, x)
    )
    smaller = ee.prune(model, 0.5)
    assert smaller.get_layer("b").filters == 4
    toys.outputs(smaller, x)


def test_unregistered_functional_subclass():
    class Mine(keras.Model):
        pass

    image = keras.Input((8, 8, 3))
    inner = Mine(image, layers.Conv2D(6, 3, name="a")(image), name="inner")
    outer = keras.Input((8, 8, 3))
    model = keras.Model(outer, layers.Dense(3)(layers.Flatten()(inner(outer))))
    smaller = ee.prune(model, 0.5)
    assert smaller.get_layer("inner").get_layer("a").filters == 3


def test_own_layers_need_no_registration():
    class Mystery(layers.Layer):
        def call(self, x):
            return x * 2

    image = keras.Input((8, 8, 3))
    x = Mystery()(layers.Conv2D(4, 3, name="a")(image))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(6, 3, name="b")(x))
    model = keras.Model(image, layers.Dense(3)(x))
    smaller = ee.prune(model, 0.5)
    assert smaller.get_layer("a").filters == 4  # frozen
    assert smaller.get_layer("b").filters == 3


def test_classes_and_functions_of_one_name():
    def own_class(factor):
        class Block(layers.Layer):
            def call(self, x):
                return x * factor

        return Block

    def relu(x):
        return x * x

    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, name="a", activation=relu)(image)
    x = own_class(2)()(layers.Conv2D(4, 3, name="b", activation="relu")(x))
    x = own_class(3)()(layers.Conv2D(6, 3, name="c")(x))
    model = keras.Model(image, layers.Dense(3)(layers.Flatten()(x)))
    x = toys.images(model)
    smaller = ee.prune(model, 0.0)
    np.testing.assert_array_equal(
        toys.outputs(smaller, x), toys.outputs(model, x)
    )


def test_functions_inside_wrapped_layers():
    def double(x):
        return x * 2

    step = keras.Sequential([layers.Dense(4, activation=double)])
    image = keras.Input((8, 8, 3))
    x = layers.TimeDistributed(layers.Dense(6, activation=double))(image)
    x = layers.TimeDistributed(step)(x)
    x = layers.Flatten()(layers.Conv2D(6, 3, name="a")(x))
    model = keras.Model(image, layers.Dense(3)(x))
    x = toys.images(model)
    np.testing.assert_array_equal(
        toys.outputs(ee.prune(model, 0.0), x), toys.outputs(model, x)
    )
    assert ee.prune(model, 0.5).get_layer("a").filters == 3


def test_regularizers_and_initializers_of_ones_own():
    class Mine(keras.regularizers.Regularizer):
        def __call__(self, x):
            return keras.ops.sum(x)

        def get_config(self):
            return {}

    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(
        6,
        3,
        name="a",
        kernel_regularizer=Mine(),
        bias_initializer=lambda shape, dtype=None: np.arange(6.0),
    )(image)
    model = keras.Model(image, layers.Dense(3)(layers.Flatten()(x)))
    smaller = ee.prune(model, 0.5)
    assert type(smaller.get_layer("a").kernel_regularizer) is Mine
    assert set(np.array(smaller.get_layer("a").bias)) < set(range(6))


def test_config_with_a_key_named_layers():
    class Tower(layers.Layer):
        def __init__(self, layers, **kwargs):
            super().__init__(**kwargs)
            self.sizes = layers
            self.dense = [keras.layers.Dense(size) for size in layers]

        def build(self, shape):
            for dense in self.dense:
                dense.build(shape)
                shape = dense.compute_output_shape(shape)

        def call(self, x):
            for dense in self.dense:
                x = dense(x)
            return x

        def get_config(self):
            return {**super().get_config(), "layers": self.sizes}

    image = keras.Input((8, 8, 3))
    x = Tower([5, 4])(layers.Conv2D(6, 3, name="a")(image))
    x = layers.Flatten()(layers.Conv2D(4, 3, name="b")(x))
    model = keras.Model(image, layers.Dense(3)(x))
    assert ee.prune(model, 0.5).get_layer("b").filters == 2


def test_layer_that_hides_its_arguments_is_told():
    class Secretive(layers.Layer):
        def __init__(self, needed, **kwargs):
            super().__init__(**kwargs)

        def get_config(self):
            return super().get_config()

        def call(self, x):
            return x

    image = keras.Input((8, 8, 3))
    x = Secretive(3)(layers.Conv2D(4, 3)(image))
    model = keras.Model(image, layers.Dense(3)(layers.Flatten()(x)))
    with pytest.raises(errors.InputError, match="get_config"):
        ee.prune(model, 0.5)
