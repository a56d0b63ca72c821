import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from tests_data import write_numbered_folder

from eagleeye_tf import errors
from eagleeye_tf.data import sources
from eagleeye_tf.data import splits


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Images whose pixel value is their number, at most 200."""
    folder = write_numbered_folder(tmp_path_factory.mktemp("images"), 100)
    source = sources.open_source(str(folder))
    return splits.split(source, (8, 8, 3), 12, 20, augmentation="none")


def numbers(batches):
    return [int(v) for images, _ in batches for v in images[:, 0, 0, 0]]


def test_no_example_serves_two_purposes(data):
    parts = (data.train, data.test, data.calibration, data.sub_validation)
    assert [part.size for part in parts] == [48, 20, 12, 20]
    every = [n for part in parts for n in numbers(data.batches(part, 7))]
    assert sorted(every) == list(range(100))


def test_splits_do_not_depend_on_the_other_sizes(data, tmp_path):
    folder = write_numbered_folder(tmp_path, 100)
    source = sources.open_source(str(folder))
    other = splits.split(source, (8, 8, 3), 30, 20, augmentation="none")
    same = numbers(other.batches(other.sub_validation, 7))
    assert same == numbers(data.batches(data.sub_validation, 7))


def test_one_epoch_sees_full_batches_of_training_images_once(data):
    seen = numbers(data.training_batches(10, seed=0, epoch=0))
    assert len(seen) == len(set(seen)) == 40
    assert set(seen) <= set(numbers(data.batches(data.train, 7)))


def test_all_training_examples_train_and_tests_do_not(data):
    whole = data.with_all_for_training()
    seen = numbers(whole.training_batches(8, seed=0, epoch=0))
    parts = data.train, data.calibration, data.sub_validation
    expected = [n for part in parts for n in numbers(data.batches(part, 7))]
    assert sorted(seen) == sorted(expected)
    assert whole.test == data.test


def test_epochs_are_shuffled_and_repeatable(data):
    def epoch(seed, number):
        return numbers(data.training_batches(8, seed, number))

    assert epoch(0, 0) == epoch(0, 0)
    assert epoch(0, 0) != epoch(0, 1)
    assert epoch(0, 0) != epoch(1, 0)
    assert sorted(epoch(0, 0)) == sorted(epoch(0, 1))


def test_augmentation_suits_the_size_where_nothing_else_is_known(tmp_path):
    for name in ("a", "b"):
        for number in range(5):
            path = tmp_path / name / f"{number}.png"
            path.parent.mkdir(exist_ok=True)
            image = np.ones((9, 9, 3), np.uint8)
            path.write_bytes(tf.io.encode_png(image).numpy())
    source = sources.open_source(str(tmp_path))
    for size, kind in ((64, "shift"), (65, "resized_crop_flip")):
        data = splits.split(source, (32, size, 3), 2, 2)
        assert data.augmentation == kind
    assert splits.split(source, (9, 9, 3), 2, 2, "none").augmentation == "none"


def test_augmentation_differs_between_epochs():
    source = sources.open_source("digits")
    data = splits.split(source, (8, 8, 3), 10, 10)
    first, second = (
        {
            image.tobytes()
            for images, _ in data.training_batches(64, 0, epoch)
            for image in images.numpy()
        }
        for epoch in (0, 1)
    )
    assert len(first & second) < 0.7 * len(first)


def test_an_epoch_can_begin_in_the_middle():
    source = sources.open_source("digits")
    data = splits.split(source, (8, 8, 3), 10, 10, augmentation="shift_flip")
    whole = list(data.training_batches(64, 3, 5).as_numpy_iterator())
    rest = list(data.training_batches(64, 3, 5, first=20).as_numpy_iterator())
    assert len(rest) == len(whole) - 20
    for (a, x), (b, y) in zip(whole[20:], rest, strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(x, y)


def test_arrays(data):
    images, labels = data.arrays(data.calibration)
    assert images.shape == (12, 8, 8, 3) and images.dtype == np.uint8
    np.testing.assert_array_equal(labels, images[:, 0, 0, 0] % 2 == 0)


@pytest.mark.parametrize("shape", [(31, 17, 3), (8, 8, 3)])
def test_folders_look_as_keras_shows_them(tmp_path, shape):
    random = np.random.default_rng(0)
    for number in range(20):
        image = random.integers(0, 256, (20, 16, 3), np.uint8)
        path = tmp_path / f"class_{number % 2}" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        keras.utils.save_img(path, image, scale=False)
    keras_images, _ = keras.utils.image_dataset_from_directory(
        tmp_path, image_size=shape[:2], batch_size=20, verbose=False
    ).get_single_element()
    source = sources.open_source(str(tmp_path))
    data = splits.split(source, shape, 4, 4)
    parts = (data.train, data.test, data.calibration, data.sub_validation)
    ours = np.concatenate([data.arrays(part)[0] for part in parts])
    # In the same order, whatever it is.
    ours, theirs = (
        np.stack(sorted(np.asarray(x, np.float32), key=np.mean))
        for x in (ours, keras_images)
    )
    np.testing.assert_allclose(ours, theirs, atol=0.51)  # Ours are uint8.


@pytest.mark.parametrize(
    ("shape", "resizing"), [((8, 8, 3), None), ((9, 8, 3), "crop")]
)
def test_images_of_the_right_size_are_not_resized(shape, resizing):
    source = sources.open_source("digits")
    assert splits.split(source, shape, 10, 10).resizing == resizing


def test_resizing_of_ones_own():
    source = sources.open_source("digits")
    other = splits.split(source, (9, 8, 3), 10, 10, resizing="stretch")
    assert other.resizing == "stretch"
    with pytest.raises(errors.InputError, match="stretch, crop.*'pad'"):
        splits.split(source, (9, 8, 3), 10, 10, resizing="pad")


def test_fewer_images_than_announced_are_told(data):
    more = dataclasses.replace(data.calibration, stop=1020)
    with pytest.raises(errors.InputError, match="1000 images where.*gives 60"):
        data.arrays(more)


def test_too_few_training_images():
    source = sources.open_source("digits")
    with pytest.raises(errors.InputError, match="1438 training images"):
        splits.split(source, (8, 8, 3), 1000, 438)


@pytest.mark.parametrize("numbers", [(0, 10), (10, 0)])
def test_empty_parts(numbers):
    source = sources.open_source("digits")
    with pytest.raises(errors.InputError, match="at least 1. Received: 0"):
        splits.split(source, (8, 8, 3), *numbers)


@pytest.mark.parametrize("shape", [(None, 8, 3), (8, 8, 4), (8, 8)])
def test_image_shapes_that_no_image_has(shape):
    source = sources.open_source("digits")
    with pytest.raises(errors.InputError, match="fixed shape"):
        splits.split(source, shape, 10, 10)


def test_images_that_fill_the_memory_lie_on_disk(data, tmp_path, monkeypatch):
    monkeypatch.setattr(splits, "_IN_MEMORY", 12 * 8 * 8 * 3)
    large = dataclasses.replace(data, cache=tmp_path / "cache")
    images, labels = large.arrays(data.calibration)
    assert not isinstance(images, np.memmap)  # As many as fit.
    images, labels = large.arrays(data.sub_validation)
    assert isinstance(images, np.memmap)
    expected = data.arrays(data.sub_validation)
    np.testing.assert_array_equal(images, expected[0])
    np.testing.assert_array_equal(labels, expected[1])
    again = large.arrays(data.sub_validation)[0]
    again[:] = 0  # Each has room of its own, and nothing is left lying.
    np.testing.assert_array_equal(images, expected[0])
    assert not list((tmp_path / "cache").iterdir())
