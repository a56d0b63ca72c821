"""What a data set is, wherever it comes from.

A source has training and test examples. An example is an *item* (an index, a
file name or the encoded bytes) and its label: items are cheap to shuffle,
images are made from them last.
"""

import dataclasses
import hashlib
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from eagleeye_tf import errors

# Splits must not depend on --seed: a network trained with one seed and pruned
# with another would meet its training images again as sub-validation set.
SPLIT_SEED = 20_200_706
# Of a data set that has no test examples of its own.
TEST_SHARE = 0.2


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
        augmentation: the kind that suits it (see `images.AUGMENTATIONS`);
            None if that depends on the size of images that a network takes.
        resizing: how its images come to another size (see
            `images.RESIZINGS`).
        fingerprint: changes when the data set does, as far as can be told
            without reading all of a large one.
        told: what its owner should know of it; or "".
        files: names of all image files, if it is made of such.
        folders: `pathlib.Path` of the folder that it was opened by, then of
            those in which all files count; if it is made of files.
    """

    name: str
    class_names: tuple
    train: Examples
    test: Examples
    image_shape: tuple | None
    augmentation: str | None
    resizing: str
    fingerprint: str
    told: str = ""
    files: tuple = ()
    folders: tuple = ()


def in_memory(name, class_names, train, test, augmentation):
    """A `Source` of arrays.

    Args:
        name: what the user called it.
        class_names: tuple, one name per label.
        train: uint8 images (examples, height, width, channels) and labels.
        test: the same.
        augmentation: see `Source`.
    """
    return Source(
        name=name,
        class_names=class_names,
        train=_array_examples(*train),
        test=_array_examples(*test),
        image_shape=train[0].shape[1:],
        augmentation=augmentation,
        resizing="crop",
        fingerprint=digest(*train, *test),
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


def digest(*parts):
    """SHA-256 of strings, bytes and arrays, as hex."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(
            np.ascontiguousarray(data).data
            if isinstance(data, np.ndarray)
            else data
        )
    return digest.hexdigest()


def decode_bytes(encoded):
    """The uint8 image (height, width, 3) in the bytes of a file."""
    image = tf.cond(
        _is_transparent_webp(encoded),
        lambda: _decoded(encoded, channels=4)[..., :3],
        lambda: _decoded(encoded, channels=3),
    )
    image = tf.cond(
        tf.strings.substr(encoded, 0, 2) == b"BM",
        lambda: _coloured(image, encoded),
        lambda: image,
    )
    return tf.ensure_shape(image, (None, None, 3))


def _decoded(encoded, channels):
    return tf.io.decode_image(encoded, channels, expand_animations=False)


def _is_transparent_webp(encoded):
    """Whether these are the bytes of a WebP file with an alpha channel.

    TensorFlow leaves that of PNG files out when it is asked for three
    channels, and refuses to do so for WebP. RFC 9649, sections 2.7 and 3.4,
    say where it is announced.
    """
    header = tf.strings.substr(encoded, 0, 25)
    header = tf.strings.join([header, 25 * b"\0"])  # Of short files, too.
    kind = tf.strings.substr(header, 8, 8)
    flags = tf.io.decode_raw(header, tf.uint8) & 0x10 > 0
    extended = (kind == b"WEBPVP8X") & flags[20]
    lossless = (kind == b"WEBPVP8L") & flags[24]
    return extended | lossless


def _coloured(image, encoded):
    """A decoded BMP file in the colours of its palette, if it has one.

    TensorFlow gives the palette's indices as if they were shades of grey.
    """

    def number(offset, kind):
        part = tf.strings.substr(encoded, offset, kind.size)
        return tf.cast(tf.io.decode_raw(part, kind)[0], tf.int32)

    def looked_up():
        start = 14 + number(14, tf.int32)  # After both headers.
        entries = tf.strings.substr(
            encoded, start, number(10, tf.int32) - start
        )
        palette = tf.reshape(tf.io.decode_raw(entries, tf.uint8), (-1, 4))
        # Blue, green, red, nothing.
        return tf.gather(palette[:, 2::-1], tf.cast(image[..., 0], tf.int32))

    has_palette = number(28, tf.uint16) == 8  # Bits per pixel.
    return tf.cond(has_palette, looked_up, lambda: image)
