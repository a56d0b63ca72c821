"""Small networks that read digits, and the digits."""

import keras
import numpy as np
import toys

from eagleeye_tf.data import sources
from eagleeye_tf.data import splits

layers = keras.layers


def for_test():
    """The 359 test digits: float32 images (359, 8, 8, 3), labels (359,)."""
    return _arrays("test")


def for_training():
    """1,310 other digits, in the same form."""
    return _arrays("train")


def _arrays(part):
    data = splits.split(sources.open_source("digits"), (8, 8, 3), 64, 64)
    images, labels = data.arrays(getattr(data, part))
    return images.astype(np.float32), labels


def trained(channels=(16, 16)):
    """A `toys.chain` that has learnt to read: what is cut shows in scores."""
    keras.utils.set_random_seed(0)
    model = toys.chain(channels, classes=10)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss)
    model.fit(*for_training(), batch_size=64, epochs=4, verbose=0)
    return model


def nearest_mean(digits, pool=1):
    """Classifies by the nearest mean image: right eight times of ten.

    |x - m|² = |x|² - 2 (x · m - |m|² / 2), and |x|² is the same for all m.

    Args:
        digits: (images, labels).
        pool: so many pixels, squared, are averaged before.
    """
    images, labels = digits
    image = keras.Input((8, 8, 3))
    x = layers.Flatten()(layers.AveragePooling2D(pool)(image))
    pooled = np.asarray(keras.Model(image, x)(images))
    means = np.stack([pooled[labels == k].mean(0) for k in range(10)])
    logits = layers.Dense(10)
    model = keras.Model(image, logits(x))
    logits.set_weights([means.T / 1e4, -(means**2).sum(1) / 2e4])
    return model


def correct(model, digits):
    """How many digits a model has right."""
    images, labels = digits
    return int((toys.outputs(model, images).argmax(-1) == labels).sum())
