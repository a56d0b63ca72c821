import numpy as np
import pytest
import tensorflow as tf

from eagleeye_tf import errors
from eagleeye_tf.data import images


def ramp(height, width, channels=3):
    values = np.arange(height * width * channels) % 251
    values = values.reshape(height, width, channels)
    return tf.constant(values, tf.uint8)


def test_image_of_the_right_size_is_untouched():
    image = ramp(8, 8)
    np.testing.assert_array_equal(images.fit(image, (8, 8, 3)), image)


def test_grey_becomes_rgb_and_back():
    grey = ramp(4, 4, 1)
    colour = images.fit(grey, (4, 4, 3))
    np.testing.assert_array_equal(colour, tf.repeat(grey, 3, axis=-1))
    np.testing.assert_allclose(
        np.asarray(images.fit(colour, (4, 4, 1)), int), grey, atol=1
    )


def test_stretching_shows_the_whole_image():
    image = np.zeros((8, 16, 3), np.uint8)
    image[:, :4] = image[:, 12:] = 200
    stretched = images.fit(image, (8, 8, 3), "stretch")
    row = [200, 200, 0, 0, 0, 0, 200, 200]
    np.testing.assert_array_equal(
        stretched, np.broadcast_to(np.reshape(row, (1, 8, 1)), (8, 8, 3))
    )


def test_aspect_is_kept_by_cutting_both_sides():
    image = np.zeros((8, 16, 3), np.uint8)
    image[:, 4:12] = 200  # The central square.
    np.testing.assert_array_equal(
        images.fit(image, (8, 8, 3)), np.full((8, 8, 3), 200)
    )


def test_central_crop_looks_at_seven_eighths():
    image = np.zeros((64, 64, 3), np.uint8)
    image[4:60, 4:60] = 100  # 56 of 64 pixels.
    cropped = images.fit(image, (56, 56, 3), "central_crop")
    np.testing.assert_array_equal(cropped, np.full((56, 56, 3), 100))


@pytest.mark.parametrize("kind", images.AUGMENTATIONS)
def test_augmentation_is_decided_by_its_seed(kind):
    image = tf.constant(ramp(32, 32))
    results = [
        images.augment(image, (32, 32, 3), kind, "crop", tf.constant([0, seed]))
        for seed in (1, 1, 2, 3, 4)
    ]
    assert all(r.dtype == tf.uint8 and r.shape == (32, 32, 3) for r in results)
    np.testing.assert_array_equal(results[0], results[1])
    different = {r.numpy().tobytes() for r in results}
    assert len(different) == 1 if kind == "none" else len(different) > 2


def test_shift_by_at_most_an_eighth():
    image = np.zeros((32, 32, 3), np.uint8)
    image[16, 16] = 255
    places = set()
    for seed in range(60):
        shifted = images.augment(
            tf.constant(image),
            (32, 32, 3),
            "shift",
            "crop",
            tf.constant([0, seed]),
        )
        (y,), (x,) = np.nonzero(shifted.numpy()[..., 0])
        places.add((int(y) - 16, int(x) - 16))
    offsets = {value for place in places for value in place}
    assert offsets <= set(range(-4, 5))
    assert min(offsets) == -4 and max(offsets) == 4


def test_flip_happens_half_of_the_time():
    image = np.zeros((8, 8, 3), np.uint8)
    image[:, :4] = 255  # A shift of one pixel does not hide the side.
    flipped = 0
    for seed in range(100):
        result = images.augment(
            tf.constant(image),
            (8, 8, 3),
            "shift_flip",
            "crop",
            tf.constant([0, seed]),
        ).numpy()
        flipped += result[4, 7, 0] == 255
    assert 30 < flipped < 70


def test_unknown_augmentation():
    with pytest.raises(errors.InputError, match="none, shift.*'mixup'"):
        images.check("augmentation", "mixup", images.AUGMENTATIONS)


def test_random_areas_may_be_small_and_mirrored():
    """Each pixel tells where it was."""
    rows, columns = np.mgrid[0:200, 0:200]
    image = np.stack([rows, columns, np.zeros((200, 200))], axis=-1)
    areas, mirrored = [], 0
    for seed in range(150):
        shown = images.augment(
            tf.constant(image, tf.uint8),
            (32, 32, 3),
            "resized_crop_flip",
            "crop",
            tf.constant([0, seed]),
        ).numpy()
        tops, sides = (shown[..., axis].astype(int) for axis in (0, 1))
        areas.append(np.ptp(tops) * np.ptp(sides) / 200**2)
        mirrored += sides[0, 0] > sides[0, -1]
    assert 0.05 < min(areas) < 0.15 and max(areas) > 0.8
    assert 55 < mirrored < 95
