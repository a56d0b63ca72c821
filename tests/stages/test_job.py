"""The network and the data that a program works on."""

import os
import pathlib
import shutil

import keras
import numpy as np
import pytest
import tests_data
import toys

from eagleeye_tf import errors
from eagleeye_tf.models import zoo
from eagleeye_tf.stages import common
from eagleeye_tf.stages import train


def refused(match):
    return pytest.raises(errors.InputError, match=match)


def test_named_model_with_weights_is_not_trained(set_flags, tmp_path):
    """What the ImageNet recipes do, at the size of the digits."""
    weights = zoo.build("resnet20", (8, 8, 3), 10, width=0.25)
    weights.save_weights(tmp_path / "w.weights.h5")
    set_flags(width=0.25, weights=str(tmp_path / "w.weights.h5"))
    job = common.open_job()
    train.train(job)
    x = toys.images(weights)
    np.testing.assert_array_equal(
        toys.outputs(job.trained_model(), x), toys.outputs(weights, x)
    )
    assert not (job.workdir / "train" / "epochs.jsonl").exists()


@pytest.fixture
def weights_file(tmp_path):
    """Function that writes weights drawn with a seed; returns the path."""

    def write(seed):
        path = tmp_path / "w.weights.h5"
        keras.utils.set_random_seed(seed)
        zoo.build("resnet20", (8, 8, 3), 10, width=0.25).save_weights(path)
        return str(path)

    return write


def test_weights_are_known_by_their_contents(set_flags, tmp_path, weights_file):
    path = weights_file(1)
    set_flags(width=0.25, weights=path)
    common.open_job().made_path()
    copy = shutil.copy(path, tmp_path / "elsewhere.weights.h5")
    what_does_not_matter = {
        "batch_size": 16,
        "seed": 5,
        "calibration_images": 50,
        "augmentation": "none",
    }
    set_flags(weights=str(copy), **what_does_not_matter)
    common.open_job().trained_model()
    set_flags(weights=weights_file(2))
    with refused("weights is not the same any more"):
        common.open_job().made_path()
    set_flags(weights=None)  # What lies there, whatever it was made of.
    common.open_job().trained_model()
    set_flags(model="vgg16_bn")
    with refused("model was 'resnet20', now it is 'vgg16_bn'"):
        common.open_job().trained_model()


def test_the_network_of_a_workdir_is_the_one_that_was_trained(
    set_flags, tmp_path, weights_file
):
    common_flags = {
        "model": "resnet20",
        "width": 0.25,
        "dataset": "digits",
        "image_size": None,
        "weights": None,
    }
    set_flags(**common_flags, train_epochs=1)
    path = train.train(common.open_job())
    set_flags(calibration_images=50)  # Test images are the same.
    assert common.open_job().made_path() == path
    images = tests_data.write_numbered_folder(tmp_path / "images", 300)
    other_data = {"dataset": str(images), "image_size": 8}
    for change, told in (
        ({"model": "mobilenet_v1"}, "model was 'resnet20', now"),
        ({"width": 0.5}, "width was 0.25, now it is 0.5"),
        (other_data, "classes was 10, now it is 2"),
        ({"image_size": 16}, "image_shape was"),
        ({"weights": weights_file(1)}, "weights is not the same any more"),
    ):
        set_flags(**{**common_flags, **change})
        with refused(told):
            common.open_job().made_path()
        with refused(told):
            common.open_job().trained_model()


def test_network_that_nothing_is_known_of(set_flags, weights_file):
    set_flags(width=0.25, weights=weights_file(1))
    path = common.open_job().made_path()
    (path.parent / "settings.json").unlink()
    set_flags(width=0.25, weights=None)
    with refused("Nothing says how .*: give this path as --model"):
        common.open_job().made_path()


def test_network_trained_on_another_split_is_refused(set_flags):
    set_flags(width=0.25, train_epochs=1, sub_validation_images=64)
    train.train(common.open_job())
    set_flags(width=0.25, sub_validation_images=65)
    with refused("sub_validation_images was 64, now it is 65"):
        common.open_job().trained_model()


def test_other_data_is_another_split(set_flags, tmp_path):
    splits = []
    for number, count in enumerate((300, 302)):
        folder = tests_data.write_numbered_folder(tmp_path / str(number), count)
        set_flags(dataset="folder", data_dir=str(folder), image_size=8)
        splits.append(common.open_job().split())
    assert splits[0]["data"] != splits[1]["data"]


def test_crop_of_test_images_does_not_depend_on_augmentation(
    set_flags, tmp_path
):
    folder = tests_data.write_numbered_folder(
        tmp_path / "images", 300, size=(20, 16)
    )
    images = []
    for kind in ("none", "resized_crop_flip"):
        set_flags(
            dataset="folder",
            data_dir=str(folder),
            image_size=8,
            augmentation=kind,
        )
        job = common.open_job()
        images.append(job.data.arrays(job.data.test)[0])
    np.testing.assert_array_equal(*images)


@pytest.mark.parametrize(
    "given, headline",
    [
        ("resnet20", "resnet20"),
        ("networks/stranger.v2.keras", "stranger.v2"),
        ("runs/mine/train/model.keras", "mine/train/model"),
        ("mine/model.keras", "model"),
        ("train/model.keras", "train/model"),
    ],
)
def test_headline(set_flags, tmp_path, monkeypatch, given, headline):
    monkeypatch.chdir(tmp_path)
    pathlib.Path(given).parent.mkdir(parents=True, exist_ok=True)
    toys.chain(classes=10).save("any.keras")
    if given.endswith(".keras"):
        os.replace("any.keras", given)
    set_flags(model=given)
    assert common.open_job().model_name() == headline
