"""Images -> batches; fingerprints of what was seen."""

import hashlib

import numpy as np
import tensorflow as tf

from eagleeye_tf import examples


def of_images(images, batch_size):
    """A `tf.data.Dataset` of image batches (batch, …), in order.

    Args:
        images: array (examples, …), or a pair that starts with one; or a
            `tf.data.Dataset`, a Keras `PyDataset` or any iterable of batches,
            each the images or a tuple that starts with them.
        batch_size: examples per batch, for arrays; the last may be smaller.
    """
    if examples.is_pair(images):
        images, _ = images
    examples.require_an_end(images)
    if isinstance(images, tf.data.Dataset):
        return images.map(_first)
    if not hasattr(images, "shape"):
        images = np.concatenate([np.asarray(_first(b)) for b in images])
    return tf.data.Dataset.from_tensor_slices(images).batch(batch_size)


def of_examples(images, labels, batch_size):
    """A `tf.data.Dataset` of batches (images, labels), in order."""
    return tf.data.Dataset.from_tensor_slices((images, labels)).batch(
        batch_size
    )


def without_labels(batches):
    """Image batches -> batches (images, labels) with labels that never fit."""

    def label(images):
        return images, tf.fill(tf.shape(images)[:1], tf.constant(-1, tf.int64))

    return batches.map(label)


def never_empty(images):
    """`images`, or one of zeros where a replica got no share of a batch.

    TensorFlow's kernels do not agree on shapes once a batch holds nothing;
    whoever calls this leaves the answer for that image out.
    """
    missing = tf.maximum(0, 1 - tf.shape(images)[0])
    others = [[0, 0]] * (len(images.shape) - 1)
    return tf.pad(images, [[0, missing], *others])


def fingerprint(*arrays):
    """SHA-256 over the contents, shapes and types of arrays, as hex."""
    digest = hashlib.sha256()
    for array in arrays:
        array = np.ascontiguousarray(array)
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(array.data)
    return digest.hexdigest()


def model_fingerprint(model):
    """SHA-256 over the architecture and the weights of a model, as hex."""
    config = np.frombuffer(model.to_json().encode(), np.uint8)
    return fingerprint(config, *model.get_weights())


def _first(batch, *_):
    return batch[0] if isinstance(batch, (tuple, list)) else batch
