"""Adaptive BN of all that is, or holds, BatchNormalization."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from pictures import SHAPE
from pictures import bn_first
from pictures import check
from pictures import pictures

import eagleeye_tf as ee
from eagleeye_tf import errors

layers = keras.layers


def test_synchronized_layers_on_a_ragged_batch(two_replicas):
    with two_replicas.scope():
        model = bn_first(synchronized=True)
    images = pictures(5)  # 4 and 1: the second replica has nothing left.
    ee.adapt_batch_norm(model, images, 4, two_replicas)
    check(model, images)


def test_mixed_precision_keeps_float32_statistics():
    model = bn_first(dtype="mixed_bfloat16")
    images = np.round(pictures(12))
    images = np.asarray(tf.cast(tf.cast(images, tf.bfloat16), tf.float32))
    ee.adapt_batch_norm(model, images, 4)
    check(model, images)


def test_masked_values_do_not_count():
    values = np.random.default_rng(0).normal(size=(12, 7, 3))
    values[:6, 4:] = -1  # Hidden, and not as much in each batch.
    inputs = keras.Input((7, 3))
    x = layers.BatchNormalization(name="bn")(layers.Masking(-1)(inputs))
    model = keras.Model(inputs, x)
    ee.adapt_batch_norm(model, values.astype(np.float32), batch_size=5)
    shown = values[(values != -1).any(-1)]
    layer = model.get_layer("bn")
    np.testing.assert_allclose(layer.moving_mean, shown.mean(0), rtol=1e-4)
    np.testing.assert_allclose(layer.moving_variance, shown.var(0), rtol=1e-4)


@keras.saving.register_keras_serializable("tests")
class WithoutMask(layers.BatchNormalization):
    def call(self, inputs, training=None):
        return super().call(inputs, training=training)


def test_a_class_of_ones_own_that_takes_no_mask():
    image = keras.Input(SHAPE)
    model = keras.Model(image, WithoutMask(name="bn")(image))
    ee.adapt_batch_norm(model, pictures(20), 8)
    check(model, pictures(20))


class OwnMomentum(layers.BatchNormalization):
    """Says in no config what it has set."""

    def __init__(self, name=None, **kwargs):
        kwargs.pop("momentum", None)
        super().__init__(momentum=0.9, name=name, **kwargs)

    def get_config(self):
        config = super().get_config()
        del config["momentum"]
        return config


class NoMomentum(layers.BatchNormalization):
    def __init__(self, name=None, **kwargs):
        kwargs["momentum"] = 0.9
        super().__init__(name=name, **kwargs)


@pytest.mark.parametrize("kind", [OwnMomentum, NoMomentum])
def test_a_class_of_ones_own_that_sets_its_momentum(kind):
    image = keras.Input(SHAPE)
    x = layers.Flatten()(kind(name="bn")(image))
    model, images = keras.Model(image, layers.Dense(3)(x)), pictures(20)
    ee.adapt_batch_norm(model, images, 8)
    check(model, images)
    assert model.get_layer("bn").momentum == 0.9


def test_batch_renormalization():
    model, images = bn_first(renorm=True), pictures(20)
    ee.adapt_batch_norm(model, images, 8)
    check(model, images)
    assert model.get_layer("bn").renorm


def test_hidden_layers_are_told():
    image = keras.Input((2, *SHAPE))
    hidden = layers.TimeDistributed(layers.BatchNormalization(), name="frames")
    x = layers.BatchNormalization(name="bn")(hidden(image))
    images = np.stack([pictures(8), pictures(8, seed=1)], axis=1)
    with pytest.warns(
        errors.PlausibilityWarning, match="own: frames. It keeps"
    ):
        ee.adapt_batch_norm(keras.Model(image, x), images)
