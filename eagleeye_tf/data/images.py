"""One image at a time: size, channels, augmentation. All images are uint8."""

import tensorflow as tf

from eagleeye_tf import errors

AUGMENTATIONS = ("none", "shift", "shift_flip", "resized_crop_flip")
RESIZINGS = ("stretch", "crop", "central_crop")

# The share of an ImageNet-sized picture that evaluation looks at: 224 of 256.
_CENTRAL_CROP = 0.875


def fit(image, shape, resizing="crop"):
    """Brings an image to the size that a network takes.

    Args:
        image: uint8 tensor (height, width, channels), channels 1 or 3.
        shape: static `(height, width, channels)` to reach.
        resizing: one of `RESIZINGS`. "stretch" does what
            `keras.utils.image_dataset_from_directory` does: the whole image,
            whatever its aspect, without antialiasing; "crop" keeps the
            aspect and cuts off on both sides what does not fit;
            "central_crop" keeps the central 87.5 % of that, as is the custom
            for ImageNet. An image of that size is left as it is.

    Returns:
        uint8 tensor of that shape.
    """
    image = _with_channels(image, shape[-1])
    if tuple(image.shape) == tuple(shape):
        return image
    if resizing == "stretch":
        return _resize(image, shape, antialias=False)
    size = tf.cast(tf.shape(image)[:2], tf.float32)
    target = tf.constant(shape[:2], tf.float32)
    window = target * tf.reduce_min(size / target)
    if resizing == "central_crop":
        window *= _CENTRAL_CROP
    return _resize(_cut(image, (size - window) / 2, window), shape)


def augment(image, shape, kind, resizing, seed):
    """A random variant of a training image, decided by its seed alone.

    Args:
        image: uint8 tensor (height, width, channels).
        shape: static `(height, width, channels)` to reach.
        kind: one of `AUGMENTATIONS`: "shift" pads by an eighth of the size
            and crops at a random place (4 of 32 pixels, as is the custom for
            CIFAR); "resized_crop" takes 8 to 100 % of the area; "flip"
            mirrors every other image.
        resizing: see `fit`; all but "resized_crop" begin with it.
        seed: int tensor (2,).

    Returns:
        uint8 tensor of that shape.
    """
    if kind == "none":
        return fit(image, shape, resizing)
    seeds = tf.random.split(seed, 2)
    if kind == "resized_crop_flip":
        image = _random_area(_with_channels(image, shape[-1]), shape, seeds[0])
    else:
        image = _random_shift(fit(image, shape, resizing), shape, seeds[0])
    if kind.endswith("flip"):
        image = tf.image.stateless_random_flip_left_right(image, seeds[1])
    return image


def check(name, value, values):
    """Raises InputError unless `value` is one of `values`."""
    if value not in values:
        raise errors.InputError(
            f"{name} is one of {', '.join(values)}. Received: {value!r}."
        )


def _with_channels(image, channels):
    if image.shape[-1] == channels:
        return image
    if channels == 3:
        return tf.image.grayscale_to_rgb(image)
    return tf.image.rgb_to_grayscale(image)


def _cut(image, start, size):
    start, size = tf.cast(start, tf.int32), tf.cast(size, tf.int32)
    size = tf.maximum(size, 1)
    return tf.image.crop_to_bounding_box(
        image, start[0], start[1], size[0], size[1]
    )


def _resize(image, shape, antialias=True):
    image = tf.image.resize(image, shape[:2], antialias=antialias)
    image = tf.cast(tf.clip_by_value(tf.round(image), 0, 255), tf.uint8)
    return tf.ensure_shape(image, shape)


def _random_shift(image, shape, seed):
    border = tf.constant([[shape[0] // 8] * 2, [shape[1] // 8] * 2, [0, 0]])
    padded = tf.pad(image, border)
    return tf.image.stateless_random_crop(padded, shape, seed)


def _random_area(image, shape, seed):
    everything = tf.constant([0.0, 0.0, 1.0, 1.0], shape=(1, 1, 4))
    start, size, _ = tf.image.stateless_sample_distorted_bounding_box(
        tf.shape(image),
        everything,
        seed,
        aspect_ratio_range=(3 / 4, 4 / 3),
        area_range=(0.08, 1.0),
        use_image_if_no_bounding_boxes=True,
    )
    return _resize(_cut(image, start[:2], size[:2]), shape)
