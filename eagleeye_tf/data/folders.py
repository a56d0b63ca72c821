"""Data sets as folders: one folder of image files per class."""

import os

import numpy as np
import tensorflow as tf

from eagleeye_tf import errors
from eagleeye_tf.data import source as source_lib

_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif")
_TEST_FOLDERS = ("test", "val", "validation")


def open_folder(root):
    """The `Source` of a folder.

    Args:
        root: `pathlib.Path` of a folder of class folders, or one that holds
            such folders for training and test.

    Raises:
        InputError: if it does not hold them.
    """
    if not root.is_dir():
        raise errors.InputError(f"There is no folder {str(root)!r}.")
    if (root / "train").is_dir():
        train_root = root / "train"
        test_root = next(
            (root / n for n in _TEST_FOLDERS if (root / n).is_dir()), None
        )
    else:
        train_root, test_root = root, None
    class_names = _class_names(train_root)
    train = _list_images(train_root, class_names)
    if test_root is not None:
        test = _list_images(test_root, class_names)
    else:
        held_out = round(source_lib.TEST_SHARE * len(train))
        test, train = train[:held_out], train[held_out:]
    return source_lib.Source(
        name=str(root),
        class_names=class_names,
        train=_file_examples(train),
        test=_file_examples(test),
        image_shape=None,
        augmentation="resized_crop_flip",
        resizing="stretch",
        fingerprint=source_lib.digest(
            *(f"{path} {os.path.getsize(path)}" for path, _ in train + test)
        ),
    )


def _class_names(root):
    names = tuple(sorted(p.name for p in root.iterdir() if p.is_dir()))
    if len(names) < 2:
        raise errors.InputError(
            f"{str(root)!r} must hold one folder of images for each of at "
            f"least 2 classes. It holds {len(names)} folders."
        )
    return names


def _list_images(root, class_names):
    """`[(file name, label)]` in an order without meaning."""
    files = []
    for label, name in enumerate(class_names):
        folder = root / name
        if not folder.is_dir():
            raise errors.InputError(
                f"There is no folder {str(folder)!r}, though there are "
                f"training images of the class {name!r}."
            )
        found = sorted(
            str(path)
            for path in folder.rglob("*")
            if path.suffix.lower() in _IMAGE_SUFFIXES
        )
        if not found:
            raise errors.InputError(
                f"Folder {str(folder)!r} holds no images "
                f"({', '.join(_IMAGE_SUFFIXES)})."
            )
        files += [(path, label) for path in found]
    order = np.random.default_rng(source_lib.SPLIT_SEED).permutation(len(files))
    return [files[i] for i in order]


def _file_examples(files):
    paths = [path for path, _ in files]
    labels = np.array([label for _, label in files], np.int64)

    def read(start, stop):
        return tf.data.Dataset.from_tensor_slices(
            (paths[start:stop], labels[start:stop])
        )

    def decode(path):
        return source_lib.decode_bytes(tf.io.read_file(path))

    def blame(start, stop):
        for path in paths[start:stop]:
            try:
                decode(path)
            except tf.errors.OpError:  # No image, or not there any more.
                return errors.InputError(
                    f"{path!r} is not a readable image (JPEG, PNG, BMP or "
                    "GIF): repair or remove it."
                )
        return None

    return source_lib.Examples(0, len(files), read, decode, blame)
