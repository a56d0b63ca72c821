"""Trains Keras' BatchNormalization layers by an operation that is quicker."""

import contextlib

import keras
import tensorflow as tf

from eagleeye_tf.pruning import fused_batch_norm
from eagleeye_tf.pruning import network


class _Fused(keras.layers.BatchNormalization):
    """What the layers are while a training step is traced."""

    def call(self, inputs, training=None, mask=None):
        by_batch = training and self.trainable and mask is None
        if not by_batch:
            return super().call(inputs, training=training, mask=mask)
        outputs, mean, variance = fused_batch_norm.by_batch(
            tf.cast(inputs, tf.float32), self.gamma, self.beta, self.epsilon
        )
        for average, value in (
            (self.moving_mean, mean),
            (self.moving_variance, variance),
        ):
            kept = self.momentum * average
            average.assign(kept + (1 - self.momentum) * value)
        return tf.cast(outputs, self.compute_dtype)


@contextlib.contextmanager
def in_use(model):
    """Lets BN layers compute the same in one operation, while it lasts.

    To be entered around the tracing of a `tf.function`, which remembers it.
    Layers whose arithmetic is another are left alone: subclasses, other axes
    than the last, other weights than float32, batch renormalization, and
    statistics that replicas share.

    Args:
        model: a `keras.Model`, of which nothing has changed at the end.
    """
    quick = [layer for _, layer in network.all_layers(model) if _fits(layer)]
    for layer in quick:
        layer.__class__ = _Fused
    try:
        yield
    finally:
        for layer in quick:
            layer.__class__ = keras.layers.BatchNormalization


def _fits(layer):
    return (
        type(layer) is keras.layers.BatchNormalization
        and layer.axis in (-1, layer.input_spec.ndim - 1)
        and layer.variable_dtype == "float32"
        and layer.compute_dtype != "float64"
        and not layer.synchronized
        and not getattr(layer, "renorm", False)
    )
