"""Opens a data set: TFDS by name, a folder, the built-in digits."""

import os
import pathlib
import re

import numpy as np

from eagleeye_tf import errors
from eagleeye_tf.data import folders
from eagleeye_tf.data import source as source_lib
from eagleeye_tf.data import tfds_sets

# A data set of TFDS with one of its configurations.
_TFDS_CONFIG = re.compile(r"[a-z]\w*/[\w.-]+(:[\d.]+)?")


def open_source(name, data_dir=None):
    """Opens a data set.

    Args:
        name: "digits"; "folder"; the name of an image classification set in
            TensorFlow Datasets; or the path of a folder.
        data_dir: where TFDS keeps its data, or the folder itself.

    Raises:
        InputError: if there is no such data set, it is empty, or it is not
            for image classification.
    """
    if name == "digits":
        return _open_digits()
    if name == "folder" and not data_dir:
        raise errors.InputError(
            "dataset=folder needs data_dir, a folder with one folder of "
            "images per class."
        )
    folder = pathlib.Path(data_dir if name == "folder" else name)
    if name == "folder" or (
        os.sep in name and (folder.is_dir() or not _TFDS_CONFIG.fullmatch(name))
    ):
        return folders.open_folder(folder)
    try:
        return tfds_sets.open_tfds(name, data_dir)
    except tfds_sets.UnknownNameError:
        if folder.is_dir():  # A path without a separator.
            return folders.open_folder(folder)
        raise


def is_at_hand(name):
    """Whether a data set is neither large nor to be downloaded first."""
    return name in ("digits", "folder") or os.path.isdir(name)


def _open_digits():
    from sklearn import datasets  # Heavy, and only the digits need it.

    digits = datasets.load_digits()
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)
    images = np.repeat(images[..., np.newaxis], 3, axis=-1)
    order = np.random.default_rng(source_lib.SPLIT_SEED).permutation(
        len(images)
    )
    images, labels = images[order], digits.target[order]
    test = round(source_lib.TEST_SHARE * len(images))
    names = tuple(str(digit) for digit in range(10))
    return source_lib.in_memory(
        "digits",
        names,
        (images[test:], labels[test:]),
        (images[:test], labels[:test]),
        "shift",
    )
