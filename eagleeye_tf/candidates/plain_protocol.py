"""The paper's evaluation of one candidate as one writes it with Keras alone.

The yardstick of the benchmark: build the network, give it the surviving
weights, let a moving average of BN statistics run over many batches in
training mode, and score. Nothing of it is shared between candidates, and each
pass is traced once: a batch that is not full is not a reason to trace again.
"""

import keras
import numpy as np
import tensorflow as tf

from eagleeye_tf.pruning import network

_MOMENTUM = 0.9  # The default of the paper's framework.


def count_correct(pruner, strategy, calibration, sub_validation, batch_size):
    """Counts correct answers of one candidate after adaptive BN.

    Args:
        pruner: a `rebuild.Pruner`.
        strategy: a `PruningStrategy`.
        calibration: `(images, labels)`; all of it is seen once.
        sub_validation: `(images, labels)`.
        batch_size: examples per batch.
    """
    model = pruner.prune(strategy)
    adapt(model, calibration, batch_size)
    return int(right_answers(model, sub_validation, batch_size).sum())


def adapt(model, calibration, batch_size):
    """Moves the BN statistics of a model to those of images, batch by batch.

    Args:
        model: a `keras.Model`; its moving statistics change.
        calibration: `(images, labels)`.
        batch_size: examples per batch.
    """
    for _, layer in network.all_layers(model):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = _MOMENTUM
            layer.trainable = True  # Or it would not be in training mode.

    @tf.function(input_signature=_signature(model))
    def step(images):
        model(images, training=True)

    for images, _ in _batches(calibration, batch_size):
        step(images)


def right_answers(model, examples, batch_size):
    """Which images a model classifies correctly.

    Args:
        model: a `keras.Model`.
        examples: `(images, labels)`.
        batch_size: examples per batch.

    Returns:
        Array (examples,) of bool.
    """

    @tf.function(input_signature=_signature(model))
    def predict(images):
        return model(images, training=False)

    return np.concatenate(
        [
            np.argmax(predict(images), axis=-1) == labels.numpy()
            for images, labels in _batches(examples, batch_size)
        ]
    )


def _signature(model):
    """Batches of any size."""
    return [tf.TensorSpec((None, *model.input_shape[1:]), tf.float32)]


def _batches(examples, batch_size):
    return (
        tf.data.Dataset.from_tensor_slices(examples)
        .batch(batch_size)
        .map(lambda images, labels: (tf.cast(images, tf.float32), labels))
        .prefetch(tf.data.AUTOTUNE)
    )
