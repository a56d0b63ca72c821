"""One step with the quick operation and one as Keras computes it."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from eagleeye_tf.pruning import network
from eagleeye_tf.training import quick_batch_norm

layers = keras.layers


class _Own(layers.BatchNormalization):
    """A subclass of the user's may compute anything."""

    def call(self, inputs, training=None, mask=None):
        return 2 * super().call(inputs, training=training, mask=mask)


def build():
    image = x = keras.Input((6, 6, 3))
    x = layers.Conv2D(16, 3, name="conv0")(x)
    x = layers.BatchNormalization(momentum=0.7, epsilon=1e-5, name="bn")(x)
    inner = keras.Input((4, 4, 16))
    y = layers.BatchNormalization(scale=False, name="no_scale")(inner)
    y = layers.Conv2D(6, 1)(layers.ReLU()(y))
    x = keras.Model(inner, y, name="nested")(x)
    x = layers.BatchNormalization(center=False, name="no_center")(x)
    x = _Own(name="own")(x)
    x = layers.BatchNormalization(axis=1, name="rows")(x)
    x = layers.BatchNormalization(synchronized=True, name="shared")(x)
    frozen = layers.BatchNormalization(name="frozen")
    x = frozen(x)
    frozen.trainable = False
    x = layers.Reshape((16, 6))(x)
    x = layers.BatchNormalization(name="sequence")(x)
    x = layers.GlobalAveragePooling1D()(x)
    x = layers.BatchNormalization(name="vector")(layers.Dense(5)(x))
    return keras.Model(image, layers.Dense(4)(x))


def step(model, images, quick):
    """[gradients, weights after the step] of one forward and backward pass."""

    @tf.function
    def gradients():
        with tf.GradientTape() as tape:
            outputs = model(images, training=True)
            loss = tf.reduce_sum(tf.sin(tf.cast(outputs, tf.float32)))
        return tape.gradient(loss, model.trainable_variables)

    if quick:
        with quick_batch_norm.in_use(model):
            found = gradients()
    else:
        found = gradients()
    graph = gradients.get_concrete_function().graph
    operations = {operation.type for operation in graph.get_operations()}
    values = [np.asarray(x, np.float32) for x in [*found, *model.weights]]
    return values, operations


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_as_keras_computes_it(policy):
    keras.config.set_dtype_policy(policy)
    try:
        model = build()
    finally:
        keras.config.set_dtype_policy("float32")
    classes = [type(layer) for layer in model.layers]
    start = model.get_weights()
    images = np.random.default_rng(0).normal(1, 2, (7, 6, 6, 3))
    expected, plain = step(model, images, quick=False)
    assert not np.array_equal(model.get_weights()[-3], start[-3])
    model.set_weights(start)
    found, quick = step(model, images, quick=True)
    assert "FusedBatchNormV3" in quick - plain
    tolerance = 1e-4 if policy == "float32" else 0.1
    for a, b in zip(found, expected, strict=True):
        scale = max(1.0, np.abs(b).max())
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * scale)
    assert [type(layer) for layer in model.layers] == classes


def test_layers_of_another_arithmetic_are_left_alone():
    model = build()
    with quick_batch_norm.in_use(model):
        quick = {
            layer.name
            for _, layer in network.all_layers(model)
            if isinstance(layer, layers.BatchNormalization)
            and type(layer) not in (layers.BatchNormalization, _Own)
        }
    expected = {"bn", "no_scale", "no_center", "frozen", "sequence", "vector"}
    assert quick == expected


def test_statistics_by_hand():
    image = keras.Input((2, 2, 1))
    layer = layers.BatchNormalization(momentum=0.9)
    model = keras.Model(image, layer(image))
    images = np.array([[1, 2], [3, 6]], np.float32)[None, :, :, None]
    with quick_batch_norm.in_use(model):
        model(images, training=True)
    # The mean is 3, the mean squared deviation (4 + 1 + 0 + 9) / 4.
    np.testing.assert_allclose(layer.moving_mean, [0.1 * 3], rtol=1e-6)
    np.testing.assert_allclose(
        layer.moving_variance, [0.9 + 0.1 * 3.5], rtol=1e-6
    )


def test_a_single_value_has_no_variance():
    image = keras.Input((1,))
    layer = layers.BatchNormalization(momentum=0.0)
    model = keras.Model(image, layer(image))
    with quick_batch_norm.in_use(model):
        outputs = model(np.array([[3.0]]), training=True)
    assert np.asarray(outputs) == [[0.0]]
    assert np.asarray(layer.moving_mean) == [3.0]
    assert np.asarray(layer.moving_variance) == [0.0]


def test_layers_are_their_own_again_after_an_error():
    image = keras.Input((4,))
    model = keras.Model(image, layers.BatchNormalization()(image))
    with pytest.raises(ZeroDivisionError):
        with quick_batch_norm.in_use(model):
            raise ZeroDivisionError
    assert type(model.layers[1]) is layers.BatchNormalization
