"""Images in whatever form users have them -> arrays, batches, fingerprints."""

import hashlib

import numpy as np
import tensorflow as tf

from eagleeye_tf import errors


def of_images(images, batch_size):
    """A `tf.data.Dataset` of image batches (batch, …), in order.

    Args:
        images: array (examples, …); or a `tf.data.Dataset`, a Keras
            `PyDataset` or any iterable of batches, each the images or a
            tuple that starts with them.
        batch_size: examples per batch, for arrays; the last may be smaller.
    """
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


def as_arrays(examples):
    """Labelled examples -> `(images, labels)` NumPy arrays.

    Args:
        examples: a pair of arrays; or a `tf.data.Dataset`, a Keras
            `PyDataset` or any iterable of batches (images, labels).

    Raises:
        InputError: if there are no examples, or not one label for each.
    """
    if isinstance(examples, tuple) and len(examples) == 2:
        images, labels = (np.asarray(part) for part in examples)
    else:
        pairs = [(np.asarray(b[0]), np.asarray(b[1])) for b in examples]
        if not pairs:
            raise errors.InputError("The sub-validation set is empty.")
        images, labels = (np.concatenate(p) for p in zip(*pairs, strict=True))
    labels = labels.reshape(-1) if labels.shape[1:] == (1,) else labels
    if not len(images) or labels.shape != (len(images),):
        raise errors.InputError(
            "Examples are images and one integer class for each. Received: "
            f"images of shape {images.shape}, labels of shape {labels.shape}."
        )
    return images, labels


def with_or_without_labels(examples):
    """Labelled examples, or images alone -> arrays `(images, labels)`.

    Args:
        examples: as for `as_arrays`; or an array (examples, …) of images, or
            batches of images alone. Their labels are -1, which no answer is.
    """
    if not isinstance(examples, tuple) and not hasattr(examples, "shape"):
        examples = list(examples)
        if examples and isinstance(examples[0], (tuple, list)):
            return as_arrays(examples)
        examples = np.concatenate([np.asarray(batch) for batch in examples])
    if isinstance(examples, tuple):
        return as_arrays(examples)
    images = np.asarray(examples)
    return images, np.full(len(images), -1)


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
