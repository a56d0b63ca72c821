"""What a classifier's outputs are: logits, or probabilities."""

import keras
import numpy as np
import tensorflow as tf


def gives_probabilities(model, images):
    """Whether the outputs are a distribution over classes, else logits.

    Args:
        model: `keras.Model` with one output (batch, classes).
        images: a few that it takes; a batch of any dtype.
    """
    outputs = np.asarray(model(tf.cast(images[:8], tf.float32)))
    sums = outputs.astype(np.float64).sum(axis=-1)
    return bool((outputs >= 0).all() and np.allclose(sums, 1, atol=1e-2))


def logits(outputs, probabilities):
    """Outputs as float32 logits, whichever they are."""
    outputs = tf.cast(outputs, tf.float32)
    if not probabilities:
        return outputs
    return tf.math.log(tf.maximum(outputs, keras.config.epsilon()))
