"""What the programs refuse, and in which words."""

import os

import keras
import pytest
import toys
from absl import flags
from absl.testing import flagsaver

from eagleeye_tf import errors
from eagleeye_tf.stages import common
from eagleeye_tf.stages import export  # noqa: F401  (defines flags)
from eagleeye_tf.stages import finetune
from eagleeye_tf.stages import search
from eagleeye_tf.stages import train  # noqa: F401  (defines flags)

layers = keras.layers


@pytest.fixture
def set_flags(tmp_path):
    """Sets flags for one test; all others have their defaults."""
    if not flags.FLAGS.is_parsed():
        flags.FLAGS(["test"])
    defaults = {
        "model": "resnet20",
        "dataset": "digits",
        "workdir": str(tmp_path / "work"),
        "calibration_images": 64,
        "sub_validation_images": 64,
    }
    savers = []

    def set_all(**values):
        saver = flagsaver.flagsaver(**{**defaults, **values})
        saver.__enter__()
        savers.append(saver)

    yield set_all
    for saver in reversed(savers):
        saver.__exit__(None, None, None)


def refused(match):
    return pytest.raises(errors.InputError, match=match)


@pytest.mark.parametrize("name", ["model", "dataset", "workdir"])
def test_required_flags(set_flags, name):
    set_flags(**{name: None})
    with refused(f"--{name} is required"):
        common.open_job()


def test_read_only_workdir(set_flags, tmp_path):
    file = tmp_path / "file"
    file.touch()
    set_flags(workdir=str(file / "below"))
    with refused("cannot be written to.*another --workdir"):
        common.open_job()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_workdir_without_rights(set_flags, tmp_path):
    tmp_path.chmod(0o500)
    set_flags(workdir=str(tmp_path / "below"))
    with refused("cannot be written to"):
        common.open_job()


def test_model_of_other_classes(set_flags, tmp_path):
    toys.chain(classes=4).save(tmp_path / "m.keras")
    set_flags(model=str(tmp_path / "m.keras"))
    with refused("4 outputs, but 'digits' has 10 classes"):
        common.open_job()


def test_image_size_that_the_model_does_not_take(set_flags, tmp_path):
    toys.chain(classes=10).save(tmp_path / "m.keras")
    set_flags(model=str(tmp_path / "m.keras"), image_size=32)
    with refused(r"shape \(8, 8, 3\).*--image_size=32"):
        common.open_job()


def test_model_of_any_image_size_needs_one(set_flags, tmp_path):
    image = keras.Input((None, None, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(8, 3)(image))
    keras.Model(image, layers.Dense(10)(x)).save(tmp_path / "m.keras")
    set_flags(model=str(tmp_path / "m.keras"))
    with refused("say which with --image_size"):
        common.open_job()


def test_model_that_takes_no_images(set_flags, tmp_path):
    x = keras.Input((5,))
    keras.Model(x, layers.Dense(10)(x)).save(tmp_path / "m.keras")
    set_flags(model=str(tmp_path / "m.keras"))
    with refused(r"one input \(batch, height, width, channels\)"):
        common.open_job()


def test_images_come_at_the_models_size(set_flags, tmp_path):
    toys.chain(classes=10, size=12).save(tmp_path / "m.keras")
    set_flags(model=str(tmp_path / "m.keras"))
    job = common.open_job()
    images, labels = job.data.arrays(job.data.calibration)
    assert images.shape == (64, 12, 12, 3)
    assert labels.shape == (64,)


def test_finetuning_needs_a_search(set_flags, tmp_path):
    toys.chain(classes=10).save(tmp_path / "m.keras")
    set_flags(model=str(tmp_path / "m.keras"))
    with refused("no finished search"):
        finetune.finetune(common.open_job())


def test_finetuning_needs_the_searched_model(set_flags, tmp_path):
    toys.chain(classes=10).save(tmp_path / "m.keras")
    set_flags(
        model=str(tmp_path / "m.keras"),
        num_candidates=1,
        macs=0.5,
        tolerance=0.05,
    )
    search.search(common.open_job())
    keras.utils.set_random_seed(7)
    toys.chain(classes=10).save(tmp_path / "m.keras")
    with refused("made with another model"):
        finetune.finetune(common.open_job())


def test_unreachable_budget(set_flags, tmp_path):
    toys.chain(classes=10).save(tmp_path / "m.keras")
    set_flags(model=str(tmp_path / "m.keras"), macs=0.01)
    with refused("raise max_ratio"):
        search.search(common.open_job())


def test_ratio_outside_its_range(set_flags):
    set_flags(max_ratio=1.3)
    with refused(r"\[0, 1\).*1.3"):
        search.search_settings(common.open_job())
