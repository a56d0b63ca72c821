"""Trains Keras' BatchNormalization layers by quicker operations.

Keras composes them of moments and element-wise operations. Each of these, and
each of their gradients, reads and writes the whole tensor: on a CPU that is
four tenths of a training step of ResNet-56.
"""

import contextlib

import keras
import tensorflow as tf

from eagleeye_tf.pruning import folding as folding_lib
from eagleeye_tf.pruning import network


class _Quick(keras.layers.BatchNormalization):
    """What the layers are while a training step is traced."""

    def call(self, inputs, training=None, mask=None):
        by_batch = training and self.trainable and mask is None
        if not by_batch:
            return super().call(inputs, training=training, mask=mask)
        x = tf.cast(inputs, tf.float32)
        outputs, mean, variance = _normalize(
            x, self.gamma, self.beta, self.epsilon
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
    """Lets BN layers compute the same in other ways, while it lasts.

    To be entered around the tracing of a `tf.function`, which remembers it.
    Layers whose arithmetic is another are left alone: subclasses, other axes
    than the last, other weights than float32, batch renormalization, and
    statistics that replicas share.

    Args:
        model: a `keras.Model`, of which nothing has changed at the end.
    """
    quick = [layer for _, layer in network.all_layers(model) if _fits(layer)]
    for layer in quick:
        layer.__class__ = _Quick
    try:
        yield
    finally:
        for layer in quick:
            layer.__class__ = keras.layers.BatchNormalization


def _fits(layer):
    return (
        type(layer) is keras.layers.BatchNormalization
        and layer.built
        and layer.axis in (-1, layer.input_spec.ndim - 1)
        and layer.variable_dtype == "float32"
        and layer.compute_dtype != "float64"
        and not layer.synchronized
        and not getattr(layer, "renorm", False)
    )


def _normalize(x, gamma, beta, epsilon):
    """Normalizes with the statistics of the batch itself.

    Args:
        x: float32 tensor (…, channels) of two dimensions or more, not empty.
        gamma: scale (channels,), or None.
        beta: offset (channels,), or None.
        epsilon: added to the variance.

    Returns:
        (outputs, mean, variance); the variance, (channels,), is the mean
        squared deviation, as Keras' own.
    """
    channels = x.shape[-1]
    gamma = tf.ones(channels) if gamma is None else gamma
    beta = tf.zeros(channels) if beta is None else beta
    fills_lanes = channels % folding_lib.LANES == 0
    if fills_lanes or tf.config.list_logical_devices("GPU"):
        return _fused(x, gamma, beta, epsilon)
    return _folded(
        x, tf.convert_to_tensor(gamma), tf.convert_to_tensor(beta), epsilon
    )


def _fused(x, gamma, beta, epsilon):
    shape = tf.shape(x)
    outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=x if len(x.shape) == 4 else tf.reshape(x, [-1, 1, 1, shape[-1]]),
        scale=gamma,
        offset=beta,
        mean=tf.zeros(0),
        variance=tf.zeros(0),
        epsilon=epsilon,
        is_training=True,
    )
    count = tf.cast(tf.size(x) // shape[-1], tf.float32)
    # TensorFlow gives the unbiased variance; of a single value, 0.
    variance *= tf.maximum(count - 1, 1) / count
    outputs = tf.ensure_shape(tf.reshape(outputs, shape), x.shape)
    return outputs, mean, variance


def _folded(x, gamma, beta, epsilon):
    """oneDNN is slow at other numbers of channels than multiples of 16."""
    folding = folding_lib.Folding(x)

    @tf.custom_gradient
    def normalize(x, gamma, beta):
        rows = folding.fold(x)
        mean, variance = folding.moments(rows)
        inverse = tf.math.rsqrt(variance + epsilon)
        scale = gamma * inverse
        outputs = rows * folding.along(scale)
        outputs += folding.along(beta - mean * scale)

        def gradients(upstream, *_):
            upstream = folding.fold(upstream)
            of_beta = folding.sums(upstream)
            of_gamma = folding.sums(upstream * rows) - mean * of_beta
            of_gamma *= inverse
            # dx = scale · (dy − mean of dy − x̂ · mean of dy · x̂)
            count = tf.cast(folding.count, tf.float32)
            slope = -scale * inverse * of_gamma / count
            offset = -scale * of_beta / count - slope * mean
            of_x = rows * folding.along(slope) + folding.along(offset)
            of_x += upstream * folding.along(scale)
            return folding.unfold(of_x), of_gamma, of_beta

        return (folding.unfold(outputs), mean, variance), gradients

    return normalize(x, gamma, beta)
