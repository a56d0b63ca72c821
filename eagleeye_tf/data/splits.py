"""Which examples serve which purpose; none serves two, unless asked for."""

import contextlib
import dataclasses
import math
import os
import pathlib
import tempfile

import numpy as np
import tensorflow as tf

from eagleeye_tf import errors
from eagleeye_tf.data import images as images_lib
from eagleeye_tf.data.source import Examples

# Images beyond so many bytes are kept on disk instead of in memory.
_IN_MEMORY = 2**31

# Enough items to mix any data set whose order is already without meaning.
_SHUFFLE_BUFFER = 65_536

# Of small images, areas of 8 % would be a few pixels.
_SMALL = 64


@dataclasses.dataclass(frozen=True)
class Data:
    """Images for one network, at its size, split for the whole job.

    Attributes:
        name: the data set's name.
        class_names: tuple, one name per label.
        image_shape: (height, width, channels) of all images.
        train: training `Examples`.
        test: test `Examples`: reported, never used to choose.
        calibration: training examples that re-estimate BN statistics.
        sub_validation: training examples that score candidates.
        augmentation: kind of augmentation of training images.
        resizing: how images come to that size; None if all have it.
        fingerprint: changes when the data set does.
        cache: folder on the disk for decoded images that are too large for
            memory; None to keep all of them in memory.
    """

    name: str
    class_names: tuple
    image_shape: tuple
    train: Examples
    test: Examples
    calibration: Examples
    sub_validation: Examples
    augmentation: str
    resizing: str | None
    fingerprint: str
    cache: pathlib.Path | None = None

    @property
    def num_classes(self):
        """Number of classes."""
        return len(self.class_names)

    def with_all_for_training(self):
        """The same, whose training examples are all there are.

        For when nothing is to be chosen by those of calibration and
        sub-validation any more.
        """
        train = dataclasses.replace(self.train, start=self.sub_validation.start)
        return dataclasses.replace(self, train=train)

    def arrays(self, examples):
        """Un-augmented `(uint8 images, int64 labels)` as NumPy arrays.

        They are decoded once. Images that would fill the memory are kept on
        the disk of `cache`, and the array reads them from there.

        Raises:
            InputError: for an image that cannot be read, or fewer images
                than the data set says it has.
        """
        images = self._empty_images(examples)
        labels = np.empty(examples.size, np.int64)
        start = 0
        with self.naming_unreadable():
            for some_images, some_labels in self.batches(examples, 256):
                stop = start + len(some_labels)
                images[start:stop] = some_images
                labels[start:stop] = some_labels
                start = stop
        if start < examples.size:  # The rest of the arrays is anything.
            raise errors.InputError(
                f"{self.name!r} says it has {examples.size} images where it "
                f"gives {start}: prepare the data set again."
            )
        return images, labels

    def _empty_images(self, examples):
        shape = (examples.size, *self.image_shape)
        if self.cache is None or math.prod(shape) <= _IN_MEMORY:
            return np.empty(shape, np.uint8)
        self.cache.mkdir(parents=True, exist_ok=True)
        # A file without a name: no other process can overwrite it, and the
        # room is free again when the array is gone, whatever ends us.
        with tempfile.TemporaryFile(dir=self.cache) as file:
            if hasattr(os, "posix_fallocate"):  # Not on macOS.
                # A full disk is an error now, a crash at the first access.
                os.posix_fallocate(file.fileno(), 0, math.prod(shape))
            return np.memmap(file, np.uint8, "w+", shape=shape)

    def batches(self, examples, batch_size):
        """Un-augmented batches (images, labels), the last may be smaller."""
        shape, resizing = self.image_shape, self.resizing

        def load(item, label):
            image = examples.decode(item)
            return images_lib.fit(image, shape, resizing), label

        return (
            examples.items()
            .map(load, tf.data.AUTOTUNE, deterministic=True)
            .batch(batch_size)
            .prefetch(tf.data.AUTOTUNE)
        )

    def training_batches(self, batch_size, seed, epoch, first=0):
        """One epoch of shuffled, augmented, full batches (images, labels).

        The same (seed, epoch) gives the same batches; `first` is the number
        of the first one that is wanted.
        """
        shape, resizing = self.image_shape, self.resizing
        kind = self.augmentation

        def load(position, example):
            item, label = example
            image = self.train.decode(item)
            # The seeds of an epoch are the positions in it.
            low = tf.cast(position, tf.int32)
            high = tf.constant((seed * 1_000_003 + epoch) % (2**31 - 1))
            image = images_lib.augment(
                image, shape, kind, resizing, tf.stack([high, low])
            )
            return image, label

        return (
            self.train.items()
            .shuffle(
                min(self.train.size, _SHUFFLE_BUFFER), seed + 7_919 * epoch
            )
            .enumerate()
            .skip(first * batch_size)  # before anything is decoded
            .map(load, tf.data.AUTOTUNE, deterministic=True)
            .batch(batch_size, drop_remainder=True)
            .prefetch(tf.data.AUTOTUNE)
        )

    @contextlib.contextmanager
    def naming_unreadable(self):
        """Turns a failure to read into an InputError that names the image.

        Images are read inside TensorFlow, whose error does not name them:
        those of all parts are tried until one fails.
        """
        try:
            yield
        except (
            tf.errors.InvalidArgumentError,
            tf.errors.NotFoundError,
        ) as error:
            parts = (
                self.calibration,
                self.sub_validation,
                self.train,
                self.test,
            )
            found = (part.unreadable() for part in parts)
            named = next((e for e in found if e), None)
            raise named or error from error


def split(
    source,
    image_shape,
    calibration_images,
    sub_validation_images,
    augmentation=None,
    resizing=None,
):
    """Splits a source for the job.

    The sub-validation and calibration sets are the first training examples,
    whatever the seed of the search; the rest is for training.

    Args:
        source: a `Source`.
        image_shape: (height, width, channels) that the network takes.
        calibration_images: number of images, at least 1.
        sub_validation_images: number of images, at least 1.
        augmentation: one of `images.AUGMENTATIONS`; None for what suits the
            source.
        resizing: one of `images.RESIZINGS`; None for what suits the source.

    Returns:
        A `Data`.

    Raises:
        InputError: if there are too few training images, or an argument is
            out of range.
    """
    resizing = resizing or source.resizing
    images_lib.check("resizing", resizing, images_lib.RESIZINGS)
    if (
        len(image_shape) != 3
        or None in image_shape
        or (image_shape[-1] not in (1, 3))
    ):
        raise errors.InputError(
            "Images have a fixed shape (height, width, 1 or 3 channels). "
            f"Received: {tuple(image_shape)}."
        )
    kind = augmentation or source.augmentation or _augmentation(image_shape)
    images_lib.check("augmentation", kind, images_lib.AUGMENTATIONS)
    for name, number in (
        ("calibration_images", calibration_images),
        ("sub_validation_images", sub_validation_images),
    ):
        if number < 1:
            raise errors.InputError(
                f"{name} is at least 1. Received: {number}."
            )
    held_out = calibration_images + sub_validation_images
    if held_out >= source.train.size:
        raise errors.InputError(
            f"{source.name!r} has {source.train.size} training images; "
            f"calibration_images={calibration_images} and "
            f"sub_validation_images={sub_validation_images} leave none to "
            "train on. Ask for fewer."
        )
    train = source.train
    return Data(
        name=source.name,
        class_names=source.class_names,
        image_shape=tuple(image_shape),
        train=train.part(held_out, train.size),
        test=source.test,
        calibration=train.part(sub_validation_images, held_out),
        sub_validation=train.part(0, sub_validation_images),
        augmentation=kind,
        resizing=None if source.image_shape == tuple(image_shape) else resizing,
        fingerprint=source.fingerprint,
    )


def _augmentation(image_shape):
    """The kind for images of which nothing but the size is known."""
    # Mirrored, a digit or a letter would be another one, or none.
    return "shift" if max(image_shape[:2]) <= _SMALL else "resized_crop_flip"
