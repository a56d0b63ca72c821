"""Data sets as they come: TFDS by name, a folder, the built-in digits.

A source has training and test examples. An example is an *item* (an index, a
file name or the encoded bytes) and its label: items are cheap to shuffle,
images are made from them last.
"""

import dataclasses
import hashlib
import os
import pathlib
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from eagleeye_tf import errors

# Data sets of at most this size, decoded, are kept in memory.
_IN_MEMORY_BYTES = 2**30
# Splits must not depend on --seed: a network trained with one seed and pruned
# with another would meet its training images again as sub-validation set.
_SPLIT_SEED = 20_200_706
_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif")
_TEST_FOLDERS = ("test", "val", "validation")
_TEST_SHARE = 0.2


@dataclasses.dataclass(frozen=True)
class Examples:
    """A sequence of labelled images that is read when needed.

    Attributes:
        start: number of the first example.
        stop: number behind the last example.
        read: `read(start, stop)` is a `tf.data.Dataset` of (item, label).
        decode: item -> uint8 image (height, width, channels).
        blame: `blame(start, stop)` names the unreadable example among them.
    """

    start: int
    stop: int
    read: Callable
    decode: Callable
    blame: Callable

    @property
    def size(self):
        """Number of examples."""
        return self.stop - self.start

    def part(self, start, stop):
        """Examples `start` to `stop` of these.

        Raises:
            InputError: if there are not so many.
        """
        if not 0 <= start <= stop <= self.size:
            raise errors.InputError(
                f"A part lies within the {self.size} examples that there are. "
                f"Received: {start} to {stop}."
            )
        return dataclasses.replace(
            self, start=self.start + start, stop=self.start + stop
        )

    def items(self):
        """`tf.data.Dataset` of (item, int64 label)."""
        return self.read(self.start, self.stop)

    def unreadable(self):
        """The InputError for what cannot be decoded; None if all can."""
        return self.blame(self.start, self.stop)


@dataclasses.dataclass(frozen=True)
class Source:
    """A data set.

    Attributes:
        name: what the user called it.
        class_names: tuple, one name per label.
        train: training `Examples`, in an order without meaning.
        test: test `Examples`.
        image_shape: (height, width, channels) if all images have one, else
            None.
        augmentation: the kind that suits it (see `images.AUGMENTATIONS`).
        central_crop: whether evaluation looks at the central 87.5 % of a
            picture, as is the custom for ImageNet.
        fingerprint: changes when the data set does, as far as can be told
            without reading all of a large one.
    """

    name: str
    class_names: tuple
    train: Examples
    test: Examples
    image_shape: tuple | None
    augmentation: str
    central_crop: bool
    fingerprint: str


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
    if name == "folder" or os.sep in name:
        folder = data_dir if name == "folder" else name
        if not folder:
            raise errors.InputError(
                "dataset=folder needs data_dir, a folder with one folder of "
                "images per class."
            )
        return _open_folder(pathlib.Path(folder))
    try:
        return _open_tfds(name, data_dir)
    except _UnknownNameError:
        if pathlib.Path(name).is_dir():  # A path without a separator.
            return _open_folder(pathlib.Path(name))
        raise


class _UnknownNameError(errors.InputError):
    """TensorFlow Datasets has no data set of a name."""


def _open_digits():
    from sklearn import datasets  # Heavy, and only the digits need it.

    digits = datasets.load_digits()
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)
    images = np.repeat(images[..., np.newaxis], 3, axis=-1)
    order = np.random.default_rng(_SPLIT_SEED).permutation(len(images))
    images, labels = images[order], digits.target[order]
    test = round(_TEST_SHARE * len(images))
    names = tuple(str(digit) for digit in range(10))
    return _in_memory(
        "digits",
        names,
        (images[test:], labels[test:]),
        (images[:test], labels[:test]),
        "shift",
    )


def _in_memory(name, class_names, train, test, augmentation):
    return Source(
        name=name,
        class_names=class_names,
        train=_array_examples(*train),
        test=_array_examples(*test),
        image_shape=train[0].shape[1:],
        augmentation=augmentation,
        central_crop=False,
        fingerprint=_digest(*train, *test),
    )


def _array_examples(images, labels):
    labels = labels.astype(np.int64)
    with tf.device("CPU"):
        pool = tf.constant(images)

    def read(start, stop):
        indices = np.arange(start, stop, dtype=np.int64)
        return tf.data.Dataset.from_tensor_slices((indices, labels[start:stop]))

    def decode(index):
        return pool[index]

    return Examples(0, len(images), read, decode, lambda start, stop: None)


def _open_folder(root):
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
        held_out = round(_TEST_SHARE * len(train))
        test, train = train[:held_out], train[held_out:]
    return Source(
        name=str(root),
        class_names=class_names,
        train=_file_examples(train),
        test=_file_examples(test),
        image_shape=None,
        augmentation="resized_crop_flip",
        central_crop=True,
        fingerprint=_digest(
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
        found = sorted(
            str(path)
            for path in (root / name).rglob("*")
            if path.suffix.lower() in _IMAGE_SUFFIXES
        )
        if not found:
            raise errors.InputError(
                f"Folder {str(root / name)!r} holds no images "
                f"({', '.join(_IMAGE_SUFFIXES)})."
            )
        files += [(path, label) for path in found]
    order = np.random.default_rng(_SPLIT_SEED).permutation(len(files))
    return [files[i] for i in order]


def _file_examples(files):
    paths = [path for path, _ in files]
    labels = np.array([label for _, label in files], np.int64)

    def read(start, stop):
        return tf.data.Dataset.from_tensor_slices(
            (paths[start:stop], labels[start:stop])
        )

    def decode(path):
        return _decode_bytes(tf.io.read_file(path))

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

    return Examples(0, len(files), read, decode, blame)


def _digest(*parts):
    """SHA-256 of strings and arrays, as hex."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(
            np.ascontiguousarray(data).data
            if isinstance(data, np.ndarray)
            else data
        )
    return digest.hexdigest()


def _decode_bytes(encoded):
    image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
    return tf.ensure_shape(image, (None, None, 3))


def _open_tfds(name, data_dir):
    import tensorflow_datasets as tfds  # Takes seconds to import.

    builder = _tfds_builder(tfds, name, data_dir)
    info = builder.info
    image_key, label_key = _supervised_keys(tfds, info)
    shape = info.features[image_key].shape
    train_split, test_split = _tfds_splits(info)
    class_names = tuple(info.features[label_key].names)
    if None not in shape:
        total = info.splits.total_num_examples * int(np.prod(shape))
        if total <= _IN_MEMORY_BYTES:
            train, test = (
                _tfds_arrays(builder, split, image_key, label_key)
                for split in (train_split, test_split)
            )
            small = max(shape[:2]) <= 64
            kind = "shift_flip" if small else "resized_crop_flip"
            return _in_memory(name, class_names, train, test, kind)
    train, test = (
        _tfds_examples(tfds, builder, split, image_key, label_key)
        for split in (train_split, test_split)
    )
    return Source(
        name=name,
        class_names=class_names,
        train=train,
        test=test,
        image_shape=None,
        augmentation="resized_crop_flip",
        central_crop=True,
        fingerprint=_digest(info.full_name, str(train_split), str(test_split)),
    )


def _tfds_builder(tfds, name, data_dir):
    try:
        builder = tfds.builder(name, data_dir=data_dir)
    except (tfds.core.DatasetNotFoundError, ValueError) as error:
        raise _UnknownNameError(
            f"There is no data set {name!r}: give digits, folder (with "
            "data_dir), the path of a folder, or a name from TensorFlow "
            "Datasets such as cifar10."
        ) from error
    if builder.is_prepared():
        return builder
    try:
        builder.download_and_prepare()
    except Exception as error:  # A download fails in any way.
        raise errors.InputError(
            f"{name!r} is not in {builder.data_dir} and could not be "
            f"downloaded ({type(error).__name__}): give data_dir, or prepare "
            f"it with `tfds build {name}` where there is a network."
        ) from error
    return builder


def _supervised_keys(tfds, info):
    keys = info.supervised_keys
    if keys and len(keys) == 2:
        image, label = (info.features[key] for key in keys)
        if isinstance(image, tfds.features.Image) and isinstance(
            label, tfds.features.ClassLabel
        ):
            return keys
    raise errors.InputError(
        f"{info.name!r} is not an image classification set: it needs an "
        f"image and a class label. Received supervised keys: {keys}."
    )


def _tfds_splits(info):
    """`(train, test)` as `(split name, first, last)` example ranges."""
    sizes = {name: split.num_examples for name, split in info.splits.items()}
    if "train" not in sizes:
        raise errors.InputError(
            f"{info.name!r} has no split 'train', only {', '.join(sizes)}."
        )
    # The labels of ImageNet's test images are not public.
    order = ("validation", "test")
    if not info.name.startswith("imagenet"):
        order = ("test", "validation")
    for name in order:
        if name in sizes:
            return ("train", 0, sizes["train"]), (name, 0, sizes[name])
    kept = sizes["train"] - round(_TEST_SHARE * sizes["train"])
    return ("train", 0, kept), ("train", kept, sizes["train"])


def _tfds_arrays(builder, split, image_key, label_key):
    name, start, stop = split
    columns = builder.as_dataset(split=f"{name}[{start}:{stop}]", batch_size=-1)
    return columns[image_key].numpy(), columns[label_key].numpy()


def _tfds_examples(tfds, builder, split, image_key, label_key):
    name, first, last = split

    def read(start, stop):
        dataset = builder.as_dataset(
            split=f"{name}[{first + start}:{first + stop}]",
            decoders={image_key: tfds.decode.SkipDecoding()},
        )
        return dataset.map(lambda e: (e[image_key], e[label_key]))

    def blame(start, stop):
        for number, (item, _) in enumerate(read(start, stop), start):
            try:
                _decode_bytes(item)
            except tf.errors.OpError:
                return errors.InputError(
                    f"Image {number} of split {name!r} of {builder.name!r} "
                    "cannot be decoded: prepare the data set again."
                )
        return None

    return Examples(0, last - first, read, _decode_bytes, blame)
