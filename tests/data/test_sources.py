import os
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from sklearn import datasets

from eagleeye_tf import errors
from eagleeye_tf.data import folders
from eagleeye_tf.data import sources
from eagleeye_tf.data import tfds_sets


def write_image(path, value, size=(6, 5)):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.full((*size, 3), value, np.uint8)
    path.write_bytes(tf.io.encode_png(image).numpy())


@pytest.fixture
def folder(tmp_path):
    """Two classes; the pixel value is the number of the image."""
    for number in range(20):
        name = "cat" if number % 2 else "dog"
        write_image(tmp_path / name / f"{number}.png", number)
    return tmp_path


def contents(examples):
    return [
        (examples.decode(item).numpy(), int(label))
        for item, label in examples.items()
    ]


def test_digits_are_all_there_once():
    source = sources.open_source("digits")
    assert source.train.size + source.test.size == 1797
    assert source.image_shape == (8, 8, 3)
    digits = datasets.load_digits()
    original = sorted(
        (label, np.round(image * 255 / 16).astype(np.uint8).tobytes())
        for image, label in zip(digits.images, digits.target, strict=True)
    )
    found = sorted(
        (label, image[..., 0].tobytes())
        for part in (source.train, source.test)
        for image, label in contents(part)
    )
    assert found == original


def test_folder_is_split_by_example(folder):
    source = sources.open_source("folder", str(folder))
    assert source.class_names == ("cat", "dog")
    train, test = contents(source.train), contents(source.test)
    assert (len(train), len(test)) == (16, 4)
    values = [int(image[0, 0, 0]) for image, _ in train + test]
    assert sorted(values) == list(range(20))
    for image, label in train + test:
        assert image.shape == (6, 5, 3)
        assert label == (0 if image[0, 0, 0] % 2 else 1)


def test_folder_by_its_path(folder):
    assert sources.open_source(str(folder)).train.size == 16


def test_folder_by_its_path_without_a_separator(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    assert sources.open_source(folder.name).train.size == 16


def test_folder_with_train_and_val(tmp_path):
    for part, count in (("train", 3), ("val", 2)):
        for name in ("a", "b"):
            for number in range(count):
                write_image(tmp_path / part / name / f"{number}.png", number)
    source = sources.open_source(str(tmp_path))
    assert (source.train.size, source.test.size) == (6, 4)


def test_what_is_no_class_and_no_image(tmp_path):
    for path in ("train/1.png", "bus/2.png", "bus/._2.png", ".cache/3.png"):
        write_image(tmp_path / path, 1)  # A class may be called "train".
    (tmp_path / "bus" / "folder.png").mkdir()
    (tmp_path / "bus" / "gone.png").symlink_to("nowhere")
    source = sources.open_source(str(tmp_path))
    assert source.class_names == ("bus", "train")
    assert source.train.size + source.test.size == 2


def test_names_that_are_no_text(tmp_path):
    """Linux takes any bytes: such names come with old archives."""
    for name in (b"a/caf\xe9.png", b"a/2.png", b"b\xff/3.png", b"b\xff/4.png"):
        path = pathlib.Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
        write_image(path, 7)
    source = sources.open_source(str(tmp_path))
    folders.require_readable(source.files, lambda: None)
    for item, _ in source.train.items():
        assert (source.train.decode(item).numpy() == 7).all()
    path.write_bytes(b"no image")
    with pytest.raises(errors.InputError, match=r"b.+/4\.png' is not a read"):
        folders.require_readable(source.files, lambda: None)


def test_what_was_found_in_a_folder_is_told(tmp_path):
    for name in ("a", "b"):
        for number in range(5):
            write_image(tmp_path / name / f"{number}.png", number)
    root = str(tmp_path)
    told = f"{root!r}: 8 training and 2 test images of 2 classes."
    assert sources.open_source(root).told == told
    for path in ("b/x.tif", "a/x.tiff", ".git/config"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).touch()
    first = str(tmp_path / "a" / "x.tiff")
    assert sources.open_source(root).told.startswith(
        f"{told} 2 files are left out, such as {first!r}: images are "
    )


@pytest.mark.parametrize("suffix", ["PNG", "bmp", "gif", "webp"])
def test_formats(tmp_path, suffix):
    image = np.full((6, 5, 3), 51, np.uint8)
    for name in "abcd":
        path = tmp_path / name / f"1.{suffix}"
        path.parent.mkdir()
        keras.utils.save_img(path, image, scale=False)
    source = sources.open_source(str(tmp_path))
    for found, _ in contents(source.train):
        np.testing.assert_array_equal(found, image)


@pytest.mark.parametrize("suffix", ["png", "webp"])
@pytest.mark.parametrize("lossless", [True, False])
def test_alpha_is_left_out(tmp_path, suffix, lossless):
    """TensorFlow refuses to leave out that of WebP files."""
    pixels = np.full((6, 5, 4), (200, 40, 90, 255), np.uint8)
    pixels[:, :2, 3] = 128
    for name in "abcd":
        path = tmp_path / name / f"1.{suffix}"
        path.parent.mkdir()
        Image.fromarray(pixels).save(path, lossless=lossless, exact=True)
    assert Image.open(path).mode == "RGBA"
    lossy = suffix == "webp" and not lossless
    expected = np.array(Image.open(path).convert("RGB"), int)
    for found, _ in contents(sources.open_source(str(tmp_path)).train):
        np.testing.assert_allclose(found, expected, atol=2 if lossy else 0)


@pytest.mark.parametrize("mode", ["P", "L", "RGB"])
def test_bmp_files_have_the_colours_that_others_see(tmp_path, mode):
    """TensorFlow takes the indices of a palette for shades of grey."""
    pixels = np.array([[[255, 0, 9], [0, 200, 0], [7, 7, 255]]] * 2, np.uint8)
    image = Image.fromarray(pixels).convert(mode)
    for name in "abcd":
        (tmp_path / name).mkdir()
        image.save(tmp_path / name / "1.bmp")
    expected = np.array(image.convert("RGB"))
    assert (expected[..., 0] != expected[..., 1]).any() == (mode != "L")
    for found, _ in contents(sources.open_source(str(tmp_path)).train):
        np.testing.assert_array_equal(found, expected)


def test_test_images_without_classes_are_none(tmp_path):
    for path in ("train/a/1.png", "train/b/1.png", "test/9.png"):
        write_image(tmp_path / path, 1)
    for number in range(3):
        write_image(tmp_path / "valid" / "a" / f"{number}.png", 1)
        write_image(tmp_path / "valid" / "b" / f"{number}.png", 1)
    assert sources.open_source(str(tmp_path)).test.size == 6


def test_class_of_test_images_alone(tmp_path):
    for path in ("train/a/1.png", "train/b/1.png", "val/bird/1.png"):
        write_image(tmp_path / path, 1)
    with pytest.raises(errors.InputError, match="training images.*'bird'"):
        sources.open_source(str(tmp_path))


def test_a_folder_is_known_by_its_contents(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    spellings = (str(folder), f"./{folder.name}", folder.name)
    found = {sources.open_source(path).fingerprint for path in spellings}
    assert len(found) == 1


def test_class_without_a_folder_of_test_images(tmp_path):
    for folder in ("train/a", "train/b", "test/a"):
        write_image(tmp_path / folder / "1.png", 1)
    with pytest.raises(
        errors.InputError, match="no folder '.*test/b'.*class 'b'"
    ):
        sources.open_source(str(tmp_path))


def test_parts_are_ranges():
    source = sources.open_source("digits")
    whole = [int(label) for _, label in source.train.items()]
    part = source.train.part(10, 30).part(5, 10)
    assert [int(label) for _, label in part.items()] == whole[15:20]
    assert part.size == 5


@pytest.mark.parametrize("start, stop", [(0, 11), (-1, 5), (6, 5)])
def test_parts_lie_within_the_whole(start, stop):
    part = sources.open_source("digits").train.part(10, 20)
    assert part.part(0, 10).size == 10
    with pytest.raises(
        errors.InputError, match=f"the 10 examples.*{start} to {stop}"
    ):
        part.part(start, stop)


def test_unreadable_image_is_named(folder):
    bad = folder / "cat" / "13.png"
    bad.write_bytes(b"\x89PNG no more than that")
    source = sources.open_source(str(folder))
    found = [part.unreadable() for part in (source.train, source.test)]
    (error,) = [e for e in found if e]
    assert "13.png" in str(error)


def test_empty_class_folder(folder):
    (folder / "bird").mkdir()
    with pytest.raises(errors.InputError, match="bird.*holds no images"):
        sources.open_source(str(folder))


def test_empty_folder(tmp_path):
    with pytest.raises(errors.InputError, match="holds 0 folders"):
        sources.open_source(str(tmp_path))


def test_missing_folder(tmp_path):
    missing = str(tmp_path / "missing")
    with pytest.raises(errors.InputError, match="no folder.*missing"):
        sources.open_source("folder", missing)
    with pytest.raises(errors.InputError, match="needs data_dir"):
        sources.open_source("folder")


def test_unknown_dataset(tmp_path):
    with pytest.raises(errors.InputError, match="'cifar11'.*cifar10"):
        sources.open_source("cifar11", str(tmp_path))


def make_tfds(
    tmp_path,
    size,
    supervised=("image", "label"),
    test_labels=None,
    channels=3,
    dtype=np.uint8,
    validation=True,
):
    """A real TFDS data set of 30 JPEG images, prepared on disk."""
    import tensorflow_datasets as tfds

    class TinyPictures(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")
        pkg_dir_path = tmp_path

        def _info(self):
            return self.dataset_info_from_configs(
                features=tfds.features.FeaturesDict(
                    {
                        "image": tfds.features.Image(
                            shape=(*size, channels), dtype=dtype
                        ),
                        "label": tfds.features.ClassLabel(num_classes=3),
                    }
                ),
                supervised_keys=supervised,
            )

        def _split_generators(self, dl_manager):
            splits = {"train": self._generate_examples(24)}
            if validation:
                splits["validation"] = self._generate_examples(6)
            if test_labels is not None:
                splits["test"] = self._generate_examples(5, test_labels)
            return splits

        def _generate_examples(self, count, label=None):
            for number in range(count):
                image = np.full((40, 50, channels), 8 * number, dtype)
                own = number % 3 if label is None else label
                yield number, {"image": image, "label": own}

    builder = TinyPictures(data_dir=str(tmp_path))
    builder.download_and_prepare()
    return builder


@pytest.mark.parametrize(
    "size, bytes_in_memory, resizing, augmentation",
    [
        ((None, None), 2**30, "central_crop", "resized_crop_flip"),
        ((40, 50), 2**30, "crop", "shift_flip"),
        # One byte too much: how images are used is not a matter of memory.
        ((40, 50), 30 * 40 * 50 * 3 - 1, "crop", "shift_flip"),
    ],
)
def test_tfds_streamed_and_in_memory(
    tmp_path, monkeypatch, size, bytes_in_memory, resizing, augmentation
):
    monkeypatch.setattr(tfds_sets, "_IN_MEMORY_BYTES", bytes_in_memory)
    make_tfds(tmp_path, size)
    source = sources.open_source("tiny_pictures", str(tmp_path))
    assert (source.train.size, source.test.size) == (24, 6)
    assert source.image_shape == (None if None in size else (40, 50, 3))
    assert source.resizing == resizing
    assert source.augmentation == augmentation
    first, _ = next(iter(source.train.items()))
    streamed = None in size or bytes_in_memory < 2**30
    assert (first.dtype == tf.string) == streamed
    seen = contents(source.train)
    assert sorted(int(image[0, 0, 0]) for image, _ in seen) == [
        8 * n for n in range(24)
    ]
    for image, label in seen:
        assert label == image[0, 0, 0] // 8 % 3
    middle = contents(source.train.part(5, 9))
    for (image, label), (other, same) in zip(middle, seen[5:9], strict=True):
        np.testing.assert_array_equal(image, other)
        assert label == same


@pytest.mark.parametrize("bytes_in_memory", [2**30, 1])
def test_tfds_without_a_test_split(tmp_path, monkeypatch, bytes_in_memory):
    """A fifth of the training images is kept for the test."""
    monkeypatch.setattr(tfds_sets, "_IN_MEMORY_BYTES", bytes_in_memory)
    make_tfds(tmp_path, (40, 50), validation=False)
    source = sources.open_source("tiny_pictures", str(tmp_path))
    assert (source.train.size, source.test.size) == (19, 5)
    seen = [
        int(image[0, 0, 0])
        for part in (source.train, source.test)
        for image, _ in contents(part)
    ]
    assert sorted(seen) == [8 * n for n in range(24)]


def test_tfds_whose_test_labels_are_secret(tmp_path):
    make_tfds(tmp_path, (40, 50), test_labels=-1)
    source = sources.open_source("tiny_pictures", str(tmp_path))
    assert source.test.size == 6  # Those for validation.


@pytest.mark.parametrize(
    "name, match",
    [
        ("tiny_pictures/big", "no data set 'tiny_pictures/big'"),
        ("tiny_pictures:9.9.9", "no data set 'tiny_pictures:9.9.9'"),
        ("no/such/folder", "no folder 'no/such/folder'"),
    ],
)
def test_tfds_that_is_not_there(tmp_path, name, match):
    make_tfds(tmp_path, (40, 50))
    with pytest.raises(errors.InputError, match=match):
        sources.open_source(name, str(tmp_path))


@pytest.mark.parametrize("channels, dtype", [(4, np.uint8), (1, np.uint16)])
def test_tfds_with_other_images(tmp_path, channels, dtype):
    make_tfds(tmp_path, (40, 50), channels=channels, dtype=dtype)
    with pytest.raises(
        errors.InputError, match=f"{channels}.*{dtype.__name__}"
    ):
        sources.open_source("tiny_pictures", str(tmp_path))


def test_tfds_without_labels(tmp_path):
    make_tfds(tmp_path, (40, 50), supervised=None)
    with pytest.raises(errors.InputError, match="not an image classif"):
        sources.open_source("tiny_pictures", str(tmp_path))


def test_cifar10(real_data):
    source = sources.open_source("cifar10", str(real_data / "tfds"))
    assert (source.train.size, source.test.size) == (50_000, 10_000)
    assert source.image_shape == (32, 32, 3)
    assert source.class_names[0] == "airplane"
    assert source.augmentation == "shift_flip"
