"""What the programs refuse, and in which words."""

import os

import keras
import numpy as np
import pytest
import tests_data
import toys
from absl import flags

import eagleeye_tf as ee
from eagleeye_tf import errors
from eagleeye_tf.stages import common
from eagleeye_tf.stages import devices
from eagleeye_tf.stages import export  # noqa: F401  (defines flags)
from eagleeye_tf.stages import search
from eagleeye_tf.stages import train

layers = keras.layers


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


def test_model_of_other_classes(set_flags):
    set_flags(model=toys.chain(classes=4))
    with refused("4 outputs, but 'digits' has 10 classes"):
        common.open_job()


def test_image_size_that_the_model_does_not_take(set_flags):
    set_flags(model=toys.chain(classes=10), image_size=32)
    with refused(r"shape \(8, 8, 3\).*--image_size=32"):
        common.open_job()


def test_model_of_any_image_size_needs_one(set_flags):
    image = keras.Input((None, None, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(8, 3)(image))
    set_flags(model=keras.Model(image, layers.Dense(10)(x)))
    with refused("say which with --image_size"):
        common.open_job()


def test_model_that_takes_no_images(set_flags):
    x = keras.Input((5,))
    set_flags(model=keras.Model(x, layers.Dense(10)(x)))
    with refused(r"one input \(batch, height, width, channels\)"):
        common.open_job()


def test_model_of_any_image_size_gets_one(set_flags):
    image = keras.Input((None, None, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(8, 3)(image))
    set_flags(model=keras.Model(image, layers.Dense(10)(x)), image_size=10)
    model = common.open_job().trained_model()
    assert ee.cost(model).macs == 8 * 8 * 27 * 8 + 8 * 10


def test_model_with_two_outputs(set_flags):
    image = keras.Input((8, 8, 3))
    x = layers.Flatten()(image)
    outputs = [layers.Dense(10)(x), layers.Dense(10)(x)]
    set_flags(model=keras.Model(image, outputs))
    with refused("one output.*has outputs"):
        common.open_job()


def test_model_with_its_output_in_a_dict(set_flags):
    """TensorFlow would say that something is a tensor and should not be."""
    image = keras.Input((8, 8, 3))
    logits = layers.Dense(10)(layers.Flatten()(image))
    model = keras.Model(image, {"logits": logits})
    set_flags(model=model)
    with refused(r"is a dict, \['logits'\], and .*: take keras.Model"):
        common.open_job()
    set_flags(model=keras.Model(model.inputs, model.outputs))
    assert common.open_job().data.num_classes == 10


def test_unbuilt_sequential(set_flags):
    set_flags(model=keras.Sequential([layers.Flatten()]))
    with refused("input shape"):
        common.open_job()


@pytest.mark.parametrize("flag", [{"width": 0.5}, {"weights": "w.h5"}])
def test_flags_that_go_with_names_only(set_flags, flag):
    set_flags(model=toys.chain(classes=10), **flag)
    with refused("goes with a model given by name"):
        common.open_job()


def test_folder_of_a_networks_name_does_not_hide_it(
    set_flags, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    set_flags(model="resnet20", dataset="digits", workdir="resnet20")
    assert not common.open_job().has_file()
    set_flags(model="resnet20", dataset="digits", workdir="digits")
    assert common.open_job().data.name == "digits"


def test_results_do_not_come_to_lie_among_images(set_flags, tmp_path):
    write = tests_data.write_numbered_folder
    plain = write(tmp_path / "plain", 300)
    split = tmp_path / "split"
    write(split / "train", 300)
    write(split / "test", 100)
    taken = write(tmp_path / "train", 300)
    for images, workdir in (
        (plain, plain),
        (plain, plain / "runs"),
        (plain, plain / "a" / "runs"),
        (split, split),
        (split, split / "train" / "runs"),
        (split, split / "test"),
        (taken, tmp_path),  # It would keep its network there.
    ):
        before = sorted(tmp_path.rglob("*"))
        set_flags(dataset=str(images), workdir=str(workdir), image_size=8)
        with refused("in folders of their own.*another --workdir"):
            common.open_job()
        assert sorted(tmp_path.rglob("*")) == before
    for images, workdir in (
        (plain, tmp_path / "runs"),
        (split, split / "runs"),
        (plain, tmp_path),
    ):
        set_flags(dataset=str(images), workdir=str(workdir), image_size=8)
        common.open_job()


def test_unreadable_image_is_named_by_search_and_test(set_flags, tmp_path):
    folder = tests_data.write_numbered_folder(tmp_path / "images", 300)
    for path in folder.rglob("*.png"):
        path.write_bytes(b"no image")
    set_flags(dataset="folder", data_dir=str(folder), image_size=8)
    job = common.open_job(leaves_results=False)
    with refused(r"\.png' is not a readable image"):
        job.data.arrays(job.data.calibration)
    with refused(r"\.png' is not a readable image"):
        job.test(toys.chain(classes=2), "Test")


def test_all_images_are_looked_at_once_before_any_work(
    set_flags, tmp_path, monkeypatch
):
    folder = tests_data.write_numbered_folder(tmp_path / "images", 300)
    set_flags(dataset="folder", data_dir=str(folder), image_size=8)
    files = sorted(folder.rglob("*.png"))
    whole = files[20].read_bytes()
    for path in files[20:220:10]:
        path.write_bytes(whole[:-20])
    with refused(r"^20 files are not readable images: .* and 10 more"):
        common.open_job()
    for path in files[30:220:10]:
        path.write_bytes(whole)
    with refused(f"^'{files[20]}' is not a readable image"):
        common.open_job()
    files[20].write_bytes(whole)
    common.open_job()
    monkeypatch.setattr(common.folders, "require_readable", None)
    common.open_job()  # Not again.


def test_training_a_file_is_refused(set_flags):
    set_flags(model=toys.chain(classes=10))
    with refused("takes a model by name"):
        train.main()


def test_folder_for_results_that_is_a_pattern(set_flags, tmp_path):
    set_flags(workdir=str(tmp_path / "mine[1]"))
    with refused(r"none of \* \? .*mine\[1\]"):
        common.open_job()
    assert not (tmp_path / "mine[1]").exists()


def test_home_folders(set_flags, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    set_flags()
    flags.FLAGS["workdir"].parse("~/work")
    assert flags.FLAGS.workdir == str(tmp_path / "work")


def test_network_by_name_is_that_of_the_data_set(set_flags):
    set_flags(dataset="digits")
    assert common.model_alone().input_shape == (None, 8, 8, 3)
    set_flags(dataset=None)
    assert common.model_alone().input_shape == (None, 32, 32, 3)
    set_flags(dataset="cifar10")  # Not to be downloaded for this.
    assert common.model_alone().output_shape == (None, 10)


def test_training_is_refused_in_its_own_flags(set_flags):
    set_flags(train_epochs=2, train_warmup_epochs=2.0)
    with refused("train_warmup_epochs is at least 0 and below train_epochs=2"):
        train.train(common.open_job())


def test_binary_model(set_flags):
    set_flags(model=toys.chain(classes=1))
    with refused(r"a single one.*Dense\(2\)"):
        common.open_job()


def test_replicas_are_made_before_tensorflow_starts(set_flags):
    set_flags()
    assert devices.distribution().num_replicas_in_sync == 1
    set_flags(num_replicas=2)  # As `conftest.py` has it.
    assert devices.distribution().num_replicas_in_sync == 2
    set_flags(num_replicas=3)
    with refused("--num_replicas=3 .* has 2 here"):
        devices.distribution()


@pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity"), reason="processes cannot be pinned"
)
def test_cores_are_those_that_may_be_used():
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        assert devices.cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert devices.cores() == len(allowed)


@pytest.mark.parametrize(
    ("given", "macs"),
    [({}, 0.5), ({"params": 0.3}, None), ({"macs": 0.25}, 0.25)],
)
def test_default_budget(set_flags, given, macs):
    set_flags(**given)
    assert search.search_settings().target("macs") == macs


def test_images_come_at_the_models_size(set_flags):
    set_flags(model=toys.chain(classes=10, size=12))
    job = common.open_job()
    images, labels = job.data.arrays(job.data.calibration)
    assert images.shape == (64, 12, 12, 3)
    assert labels.shape == (64,)


def test_unreachable_budget(set_flags):
    set_flags(model=toys.chain(classes=10), macs=0.01)
    with refused("raise max_ratio"):
        search.search(common.open_job())


def test_excluded_names_are_looked_up_before_training(set_flags):
    set_flags(exclude=["conv", "stage9_*"])
    with refused("'stage9_.*', which fits none"):
        search.require_reachable(common.open_job().fresh_model())


def test_ratio_outside_its_range(set_flags):
    set_flags(max_ratio=1.0)
    with refused(r"\[0, 1\).*1.0"):
        search.search_settings()


def test_an_importance_of_ones_own(set_flags, tmp_path, monkeypatch):
    (tmp_path / "my_importance.py").write_text(
        "def spread(kernels):\n    return kernels[0].std(axis=1)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    set_flags(importance="my_importance:spread")
    settings = search.search_settings()
    kernels = [np.arange(6.0).reshape(2, 3)]
    np.testing.assert_allclose(
        settings.importance(kernels), [np.sqrt(2 / 3)] * 2
    )
    assert settings.identity()["importance"] == "my_importance.spread"
    for wrong, message in (
        ("my_importance:spraed", "'my_importance' has no 'spraed'"),
        ("no_such_module:spread", "cannot import 'no_such_module'"),
    ):
        set_flags(importance=wrong)
        with refused(f"--importance: .*{message}"):
            search.search_settings()
    set_flags(importance="tylor")
    with refused("importance is one of l1, l2.*'tylor'"):
        search.search_settings()
