"""Labelled images in whatever form users have them -> checked arrays."""

import keras
import numpy as np
import tensorflow as tf

from eagleeye_tf import errors


def as_arrays(examples):
    """Labelled examples -> `(images, labels)` NumPy arrays.

    Args:
        examples: a pair of arrays; or a `tf.data.Dataset`, a Keras
            `PyDataset` or any iterable of batches (images, labels).

    Raises:
        InputError: if there are no examples, or not one label for each.
    """
    if is_pair(examples):
        images, labels = (np.asarray(part) for part in examples)
    else:
        pairs = [of_batch(batch) for batch in require_an_end(examples)]
        if not pairs:
            raise errors.InputError("The set of examples is empty.")
        images, labels = (np.concatenate(p) for p in zip(*pairs, strict=True))
    labels = labels.reshape(-1) if labels.shape[1:] == (1,) else labels
    if not len(images):
        raise errors.InputError(
            "The set of examples is empty. Received: images of shape "
            f"{images.shape}."
        )
    if labels.shape != (len(images),):
        raise errors.InputError(
            "Examples are images and one integer class for each. Received: "
            f"images of shape {images.shape}, labels of shape {labels.shape}."
            f"{_of_one_hot(labels)}"
        )
    return images, labels


def _of_one_hot(labels):
    """The way out, if labels are one-hot vectors."""
    if labels.ndim != 2:
        return ""
    return " One-hot labels become classes with labels.argmax(-1)."


def with_or_without_labels(examples):
    """Labelled examples, or images alone -> arrays `(images, labels)`.

    Args:
        examples: as for `as_arrays`; or an array (examples, …) of images, or
            batches of images alone. Their labels are -1, which no answer is.
    """
    if is_pair(examples):
        return as_arrays(examples)
    if not hasattr(examples, "shape"):
        examples = list(require_an_end(examples))
        if not examples or isinstance(examples[0], (tuple, list)):
            return as_arrays(examples)
        examples = np.concatenate([np.asarray(batch) for batch in examples])
    images = np.asarray(examples)
    if not images.size:
        raise errors.InputError("The set of images is empty.")
    return images, np.full(len(images), -1)


def some_images(examples, count):
    """Images drawn from all, always the same ones.

    Of batches no more is kept in memory than these, and their labels, if they
    have any, do not matter.

    Args:
        examples: as for `with_or_without_labels`.
        count: how many at most.

    Returns:
        Array (count or fewer, …), in the order in which they were drawn.

    Raises:
        InputError: if there are none.
    """
    if is_pair(examples) or hasattr(examples, "shape"):
        batches = [examples]
    else:
        batches = require_an_end(examples)
    generator = np.random.default_rng(0)
    images, lots = None, np.zeros(0)
    for batch in batches:
        new = np.asarray(
            batch[0] if isinstance(batch, (tuple, list)) else batch
        )
        images = new if images is None else np.concatenate([images, new])
        lots = np.concatenate([lots, generator.random(len(new))])
        chosen = np.argsort(lots)[:count]
        images, lots = images[chosen], lots[chosen]
    if images is None or not images.size:
        raise errors.InputError("The set of images is empty.")
    return images


def mixed(images, labels):
    """The same examples, in another order if they are sorted by class.

    Then the first few, which decide much in a race, would be of a few
    classes. The new order is always the same.

    Args:
        images: array (examples, …).
        labels: array (examples,).
    """
    shares = np.unique(labels, return_counts=True)[1] / len(labels)
    # What neighbours of another class a random order has.
    expected = (len(labels) - 1) * (1 - np.square(shares).sum())
    if np.count_nonzero(np.diff(labels)) >= expected / 2:
        return images, labels
    order = np.random.default_rng(len(labels)).permutation(len(labels))
    return images[order], labels[order]


def is_pair(examples):
    """Whether examples are two arrays (images, labels), not batches."""
    if not isinstance(examples, (tuple, list)) or len(examples) != 2:
        return False
    images, labels = examples
    if isinstance(images, (tuple, list, dict)):
        return False
    return isinstance(examples, tuple) or np.ndim(labels) < np.ndim(images)


def of_batch(batch):
    """(images, labels) of a batch as arrays; labels (examples,).

    Raises:
        InputError: unless that is what it is.
    """
    if not isinstance(batch, (tuple, list)) or len(batch) != 2:
        what = type(batch).__name__
        if isinstance(batch, (tuple, list)):
            what += f" of {len(batch)}"
        raise errors.InputError(
            "Examples come in batches (images, labels), without sample "
            f"weights. Received: a {what}."
        )
    if isinstance(batch[0], (tuple, list, dict)):
        raise errors.InputError(
            "Examples have one array of images. Received: a "
            f"{type(batch[0]).__name__} of {len(batch[0])}."
        )
    images, labels = (np.asarray(part) for part in batch)
    if not np.ndim(labels):
        raise errors.InputError(
            "Examples come in batches: call dataset.batch(…). Received: an "
            f"image of shape {images.shape} and one label."
        )
    if labels.size != len(images):
        raise errors.InputError(
            "Labels are one whole number for each image, the index of its "
            f"class. Received: labels of shape {labels.shape} for "
            f"{len(images)} images.{_of_one_hot(labels)}"
        )
    return images, labels.reshape(-1)


def require_an_end(batches):
    """Returns `batches`, unless they never end: `InputError`."""
    endless = (
        isinstance(batches, tf.data.Dataset)
        and batches.cardinality() == tf.data.INFINITE_CARDINALITY
    )
    if isinstance(batches, keras.utils.PyDataset):
        endless = batches.num_batches is None
    if endless:
        raise errors.InputError(
            "Examples have an end: give a tf.data.Dataset with take(…), or a "
            "PyDataset with num_batches."
        )
    return batches


def check_classifier(model):
    """Raises InputError unless a model classifies images, one at a time.

    Args:
        model: `keras.Model`.
    """
    if not getattr(model, "inputs", None):  # Keras raises for some.
        raise errors.InputError(
            f"Model {model.name!r} does not say what it takes: build it, as a "
            "functional model or as a Sequential that begins with keras.Input."
        )
    if len(model.inputs) != 1:
        raise errors.InputError(
            "A model is scored and trained on images alone, so it has one "
            "input; others can be pruned with ee.prune. Received inputs: "
            f"{[tuple(x.shape) for x in model.inputs]}."
        )
    shape = tuple(model.outputs[0].shape)
    if len(model.outputs) != 1 or len(shape) != 2 or (shape[1] or 0) < 2:
        raise errors.InputError(
            "Candidates are scored by top-1 accuracy, for which a model has "
            "one output (batch, classes) with at least 2 classes. Received "
            f"outputs: {[tuple(o.shape) for o in model.outputs]}."
        )
    require_tensor_output(model)


def require_tensor_output(model, name=None):
    """Raises InputError if a model gives its output in a dict.

    Args:
        model: `keras.Model`.
        name: what the user calls it, if not by its own name.
    """
    # A Sequential has no output before it is called.
    output = getattr(model, "output", None)
    if isinstance(output, dict):
        raise errors.InputError(
            f"The output of {name or model.name!r} is a dict, {list(output)}, "
            "and should be a tensor: take keras.Model(model.inputs, "
            "model.outputs), which has its layers."
        )


def check_inputs(model, spec):
    """Raises InputError unless a model takes batches of a `TensorSpec`.

    Args:
        model: `keras.Model`.
        spec: of a batch; of a model with several inputs any structure of
            them.
    """
    expected = [tuple(x.shape) for x in model.inputs]
    found = [x.shape for x in tf.nest.flatten(spec)]
    # Keras adds a channel to images without one, which are no batch of 2-D.
    if len(expected) != len(found) or (
        len(found) == 1 and not found[0].is_compatible_with(expected[0])
    ):
        raise errors.InputError(
            f"Model {model.name!r} takes batches of shape "
            f"{', '.join(map(str, expected))}. Received: "
            f"{', '.join(map(str, found))}."
        )


def check(model, images, labels):
    """Raises InputError unless a classifier takes images and knows labels.

    Args:
        model: `keras.Model`.
        images: array (examples, …).
        labels: array (examples,); all -1 if nobody knows them.
    """
    check_classifier(model)
    expected = tuple(model.inputs[0].shape)[1:]
    found = tuple(images.shape)[1:]
    if len(expected) != len(found) or any(
        a not in (None, b) for a, b in zip(expected, found, strict=True)
    ):
        raise errors.InputError(
            f"Model {model.name!r} takes images of shape {expected}. "
            f"Received: {found}."
        )
    # Whole numbers always are, and may be many on a disk. Of others these two
    # are not finite if any is not.
    if (
        images.dtype.kind not in "iub"
        and not np.isfinite([images.min(), images.max()]).all()
    ):
        raise errors.InputError(
            "Images are finite numbers. Received: NaN or infinite values "
            f"among {len(images)} images of type {images.dtype}."
        )
    check_labels(model, labels)


def check_labels(model, labels):
    """Raises InputError unless the model's classes cover the labels.

    Args:
        model: `keras.Model` with one output (batch, classes).
        labels: as for `check`.
    """
    labels, classes = np.asarray(labels), model.outputs[0].shape[1]
    if not np.issubdtype(labels.dtype, np.integer):
        raise errors.InputError(
            "Labels are whole numbers, the index of the class. Received: "
            f"dtype {labels.dtype}. Whole numbers of another type become such "
            "with labels.astype(int)."
        )
    low, high = int(labels.min()), int(labels.max())
    if low == high == -1:
        return
    if low < 0 or high >= classes:
        raise errors.InputError(
            f"Labels must lie in [0, {classes}), the classes of model "
            f"{model.name!r}. Received: labels from {low} to {high}."
        )
