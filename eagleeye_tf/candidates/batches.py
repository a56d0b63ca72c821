"""Images -> batches; fingerprints of what was seen."""

import hashlib
import json

import numpy as np
import tensorflow as tf

from eagleeye_tf import errors
from eagleeye_tf import examples


def of_images(images, batch_size, inputs=1):
    """A `tf.data.Dataset` of image batches, in order.

    Args:
        images: array (examples, …), or a pair that starts with one; or a
            `tf.data.Dataset`, a Keras `PyDataset` or any iterable of batches,
            each the images or a tuple that starts with them.
        batch_size: examples per batch, for arrays; the last may be smaller.
        inputs: how many tensors an example consists of. With several, arrays
            come in a tuple or dict, and batches in a `tf.data.Dataset`, whose
            elements are, or start with, such a tuple or dict.

    Raises:
        InputError: if there are no images, or not in such a form.
    """
    examples.require_an_end(images)
    if inputs > 1:
        return _of_several(images, batch_size, inputs)
    if examples.is_pair(images):
        images, _ = images
    if isinstance(images, tf.data.Dataset):
        return images.map(lambda first, *_: first)
    if not hasattr(images, "shape"):
        if isinstance(images, dict) or not hasattr(images, "__iter__"):
            raise errors.InputError(
                "Images are an array, a tf.data.Dataset, or other batches. "
                f"Received: {type(images).__name__}."
            )
        images = [np.asarray(_first(batch)) for batch in images]
        if not images:
            raise errors.InputError("There are no images.")
        images = np.concatenate(images)
    return _sliced((images,), batch_size).map(lambda images: images)


def _of_several(images, batch_size, inputs):
    """`of_images` for examples of several tensors."""
    if isinstance(images, tf.data.Dataset):
        if len(tf.nest.flatten(images.element_spec)) == inputs:
            return images
        return images.map(lambda first, *_: first)
    arrays = tf.nest.flatten(images)
    if len(arrays) != inputs or not all(hasattr(a, "shape") for a in arrays):
        raise errors.InputError(
            f"A model with {inputs} inputs takes a tuple or dict of so many "
            "arrays, or a tf.data.Dataset of batches of them. Received: "
            f"{type(images).__name__}."
        )
    if isinstance(images, list):  # Of which TensorFlow would make a tensor.
        images = tuple(images)
    return _sliced(tuple(arrays), batch_size).map(
        lambda *parts: tf.nest.pack_sequence_as(images, parts)
    )


def of_examples(images, labels, batch_size):
    """A `tf.data.Dataset` of batches (images, labels), in order."""
    return _sliced((images, labels), batch_size)


def _sliced(arrays, batch_size):
    """Batches of arrays; those on disk are read batch by batch."""
    if not any(isinstance(array, np.memmap) for array in arrays):
        return tf.data.Dataset.from_tensor_slices(arrays).batch(batch_size)

    def read():
        for start in range(0, len(arrays[0]), batch_size):
            yield tuple(a[start : start + batch_size] for a in arrays)

    return tf.data.Dataset.from_generator(
        read,
        output_signature=tuple(
            tf.TensorSpec((None, *a.shape[1:]), a.dtype) for a in arrays
        ),
    ).prefetch(1)


def fingerprint(*arrays):
    """SHA-256 over the contents, shapes and types of arrays, as hex."""
    digest = hashlib.sha256()
    for array in arrays:
        array = np.ascontiguousarray(array)
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def model_fingerprint(model):
    """SHA-256 over the architecture and the weights of a model, as hex.

    How it was compiled, and what of it may be trained, is left out.
    """
    config = json.dumps(_architecture(json.loads(model.to_json())))
    config = np.frombuffer(config.encode(), np.uint8)
    return fingerprint(config, *model.get_weights())


def _architecture(config):
    """What `to_json` wrote, without what changes no output."""
    if isinstance(config, list):
        return [_architecture(part) for part in config]
    if not isinstance(config, dict):
        return config
    left_out = ("compile_config", "trainable")
    return {k: _architecture(v) for k, v in config.items() if k not in left_out}


def _first(batch):
    return batch[0] if isinstance(batch, (tuple, list)) else batch
