"""Data sets as folders: one folder of image files per class."""

import os

import numpy as np
import tensorflow as tf

from eagleeye_tf import errors
from eagleeye_tf.data import source as source_lib

_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp")
_NAMED = 10  # Unreadable files, by name, before the rest is counted.
_TEST_FOLDERS = ("test", "val", "valid", "validation")


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
    train_root, test_root = root, None
    if _folders(root / "train"):  # Else a class may be called so.
        train_root = root / "train"
        parts = (root / name for name in _TEST_FOLDERS)
        # Those of a competition's test lie in no class folders.
        test_root = next((part for part in parts if _folders(part)), None)
    class_names = _class_names(train_root)
    train = _list_images(train_root, class_names)
    if test_root is not None:
        _require_known(test_root, class_names)
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
        augmentation=None,
        resizing="stretch",
        fingerprint=source_lib.digest(
            *(
                # Names of files are bytes, not always those of a text.
                os.fsencode(os.path.relpath(path, root))
                + f" {os.path.getsize(path)}".encode()
                for path, _ in train + test
            )
        ),
        told=_told(root, len(train), len(test), class_names),
        files=tuple(path for path, _ in train + test),
        folders=(root, train_root, test_root or train_root),
    )


def require_readable(files, on_image):
    """Decodes files once, to tell all at once which cannot be.

    Args:
        files: names of image files.
        on_image: function of nothing, called after each that can be read.

    Raises:
        InputError: if any cannot be read.
    """

    def read(index):
        size = tf.size(_decode(paths[index]), tf.int64)
        return index + 0 * size  # Else nothing would be decoded.

    paths = tf.constant([os.fsencode(path) for path in files])
    left = set(range(len(files)))
    indices = tf.data.Dataset.range(len(files))
    for index in indices.map(read, tf.data.AUTOTUNE).ignore_errors():
        left.remove(int(index))
        on_image()
    if left:
        raise _unreadable([files[index] for index in sorted(left)])


def _unreadable(paths):
    """The InputError for files that are no images."""
    what = f"{paths[0]!r} is not a readable image"
    if len(paths) > 1:
        named = ", ".join(map(repr, paths[:_NAMED]))
        more = f" and {len(paths) - _NAMED} more" * (len(paths) > _NAMED)
        what = f"{len(paths)} files are not readable images: {named}{more}"
    return errors.InputError(
        f"{what} (JPEG, PNG, BMP, GIF or WebP): repair or remove "
        f"{'them' if len(paths) > 1 else 'it'}."
    )


def _decode(path):
    """The image in a file, of whose name TensorFlow has the bytes."""
    return source_lib.decode_bytes(tf.io.read_file(path))


def _told(root, train, test, class_names):
    """What was found, and which files are no images of ours."""
    told = (
        f"{str(root)!r}: {train:,} training and {test:,} test images of "
        f"{len(class_names)} classes."
    )
    others = [
        path
        for path in root.rglob("*")
        if path.is_file()
        and not _is_hidden(path, root)
        and path.suffix.lower() not in _IMAGE_SUFFIXES
    ]
    if others:
        told += (
            f" {len(others):,} files are left out, such as "
            f"{str(min(others))!r}: images are {', '.join(_IMAGE_SUFFIXES)}."
        )
    return told


def _folders(root):
    """Names of the folders in a folder, if there is one; hidden ones not."""
    if not root.is_dir():
        return ()
    names = (p.name for p in root.iterdir() if p.is_dir())
    return tuple(sorted(name for name in names if not name.startswith(".")))


def _class_names(root):
    names = _folders(root)
    if len(names) < 2:
        raise errors.InputError(
            f"{str(root)!r} must hold one folder of images for each of at "
            f"least 2 classes. It holds {len(names)} folders."
        )
    return names


def _require_known(root, class_names):
    unknown = [name for name in _folders(root) if name not in class_names]
    if unknown:
        raise errors.InputError(
            f"There are no training images of the class {unknown[0]!r}, of "
            f"which {str(root)!r} holds test images: add some, or remove that "
            "folder."
        )


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
            str(path) for path in folder.rglob("*") if _is_image(path, folder)
        )
        if not found:
            raise errors.InputError(
                f"Folder {str(folder)!r} holds no images "
                f"({', '.join(_IMAGE_SUFFIXES)})."
            )
        files += [(path, label) for path in found]
    order = np.random.default_rng(source_lib.SPLIT_SEED).permutation(len(files))
    return [files[i] for i in order]


def _is_image(path, folder):
    """Whether a path is a file with an image's suffix, and not hidden."""
    is_named_so = path.suffix.lower() in _IMAGE_SUFFIXES
    return is_named_so and not _is_hidden(path, folder) and path.is_file()


def _is_hidden(path, folder):
    return any(p.startswith(".") for p in path.relative_to(folder).parts)


def _file_examples(files):
    paths = [path for path, _ in files]
    labels = np.array([label for _, label in files], np.int64)

    def read(start, stop):
        names = [os.fsencode(path) for path in paths[start:stop]]
        return tf.data.Dataset.from_tensor_slices((names, labels[start:stop]))

    def blame(start, stop):
        for path in paths[start:stop]:
            try:
                _decode(os.fsencode(path))
            except tf.errors.OpError:  # No image, or not there any more.
                return _unreadable([path])
        return None

    return source_lib.Examples(0, len(files), read, _decode, blame)
