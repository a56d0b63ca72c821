"""Data sets of TensorFlow Datasets, by name."""

import numpy as np
import tensorflow as tf

from eagleeye_tf import errors
from eagleeye_tf.data import source as source_lib

# Data sets of at most this size, decoded, are kept in memory.
_IN_MEMORY_BYTES = 2**30


class UnknownNameError(errors.InputError):
    """TensorFlow Datasets has no data set of a name."""


def open_tfds(name, data_dir=None):
    """The `Source` of an image classification set, downloaded if need be.

    Args:
        name: of the data set.
        data_dir: where it is kept; None for TFDS' own place.

    Raises:
        UnknownNameError: if there is none of that name.
        InputError: if it is not for image classification, or cannot be had.
    """
    import tensorflow_datasets as tfds  # Takes seconds to import.

    builder = _tfds_builder(tfds, name, data_dir)
    info = builder.info
    image_key, label_key = _supervised_keys(tfds, info)
    shape = info.features[image_key].shape
    _require_uint8(info, image_key)
    train_split, test_split = _tfds_splits(tfds, builder, image_key, label_key)
    class_names = tuple(info.features[label_key].names)
    is_one_size = None not in shape
    small = is_one_size and max(shape[:2]) <= 64
    augmentation = "shift_flip" if small else "resized_crop_flip"
    if is_one_size:
        total = info.splits.total_num_examples * int(np.prod(shape))
        if total <= _IN_MEMORY_BYTES:
            train, test = (
                _tfds_arrays(builder, split, image_key, label_key)
                for split in (train_split, test_split)
            )
            return source_lib.in_memory(
                name, class_names, train, test, augmentation
            )
    train, test = (
        _tfds_examples(tfds, builder, split, image_key, label_key)
        for split in (train_split, test_split)
    )
    return source_lib.Source(
        name=name,
        class_names=class_names,
        train=train,
        test=test,
        image_shape=(*shape[:2], 3) if is_one_size else None,
        augmentation=augmentation,
        resizing="crop" if is_one_size else "central_crop",
        fingerprint=source_lib.digest(
            info.full_name, str(train_split), str(test_split)
        ),
    )


def _tfds_builder(tfds, name, data_dir):
    try:
        builder = tfds.builder(name, data_dir=data_dir)
    except (
        tfds.core.DatasetNotFoundError,
        ValueError,
        AssertionError,  # No such version.
    ) as error:
        raise UnknownNameError(
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


def _require_uint8(info, image_key):
    feature = info.features[image_key]
    dtype = tf.as_dtype(feature.dtype)
    if feature.shape[-1] not in (1, 3, None) or dtype != tf.uint8:
        raise errors.InputError(
            "Images have 1 or 3 channels of type uint8. Those of "
            f"{info.name!r} have shape {feature.shape} and type "
            f"{dtype.name}."
        )


def _tfds_splits(tfds, builder, image_key, label_key):
    """`(train, test)` as `(split name, first, last)` example ranges."""
    splits = builder.info.splits
    sizes = {name: split.num_examples for name, split in splits.items()}
    if "train" not in sizes:
        raise errors.InputError(
            f"{builder.name!r} has no split 'train', only {', '.join(sizes)}."
        )

    def has_labels(name):
        # Those of many test splits are not public, ImageNet's among them.
        read = _tfds_examples(tfds, builder, (name, 0, 1), image_key, label_key)
        return all(int(label) >= 0 for _, label in read.items())

    for name in ("test", "validation"):
        if sizes.get(name) and has_labels(name):
            return ("train", 0, sizes["train"]), (name, 0, sizes[name])
    kept = sizes["train"] - round(source_lib.TEST_SHARE * sizes["train"])
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
                source_lib.decode_bytes(item)
            except tf.errors.OpError:
                return errors.InputError(
                    f"Image {number} of split {name!r} of {builder.name!r} "
                    "cannot be decoded: prepare the data set again."
                )
        return None

    return source_lib.Examples(
        0, last - first, read, source_lib.decode_bytes, blame
    )
