"""Images of which BatchNormalization layers see mean and variance."""

import keras
import numpy as np

layers = keras.layers
SHAPE = (6, 5, 3)


def bn_first(**kwargs):
    """BN sees the images themselves, whatever the weights are."""
    image = keras.Input(SHAPE)
    x = layers.BatchNormalization(name="bn", **kwargs)(image)
    x = layers.Dropout(0.5)(x)
    x = layers.Conv2D(4, 3, name="conv")(x)
    x = layers.BatchNormalization(name="bn2")(x)
    return keras.Model(image, layers.Dense(3)(layers.Flatten()(x)))


def pictures(count, seed=0):
    generator = np.random.default_rng(seed)
    means = generator.uniform(0, 200, (count, 1, 1, 3))
    noise = generator.normal(0, 20, (count, *SHAPE))
    return (means + noise).astype(np.float32)


def check(model, images, name="bn"):
    layer = model.get_layer(name)
    exact = images.astype(np.float64)
    np.testing.assert_allclose(
        layer.moving_mean, exact.mean((0, 1, 2)), rtol=1e-5
    )
    np.testing.assert_allclose(
        layer.moving_variance, exact.var((0, 1, 2)), rtol=1e-5
    )
