"""Shared fixtures: two logical CPUs, real data where it is at hand."""

import os
import pathlib

from eagleeye_tf import quiet  # noqa: F401

# isort: split
import keras
import pytest
import tensorflow as tf
from absl import flags
from absl.testing import flagsaver

from eagleeye_tf.stages import recipes  # noqa: F401  (defines flags)

_CPU = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(
    _CPU, [tf.config.LogicalDeviceConfiguration()] * 2
)


@pytest.fixture(autouse=True)
def _seeded():
    keras.utils.set_random_seed(0)


@pytest.fixture(scope="session")
def real_data():
    """Folder with CIFAR-10 and networks that others trained on it."""
    folder = os.environ.get("EAGLEEYE_TEST_DATA")
    if not folder:
        pytest.skip("EAGLEEYE_TEST_DATA names no folder with real data")
    return pathlib.Path(folder)


@pytest.fixture(scope="session")
def two_replicas():
    """Two replicas on two logical CPUs."""
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


@pytest.fixture
def parsed():
    """Parses a command line for one test; all other flags have defaults."""
    if not flags.FLAGS.is_parsed():
        flags.FLAGS(["test"])

    def parse(*arguments):
        flags.FLAGS.unparse_flags()
        for name in flags.FLAGS:
            flags.FLAGS[name].unparse()
        return flags.FLAGS(["test", *arguments])

    with flagsaver.flagsaver():
        yield parse


@pytest.fixture
def set_flags(tmp_path):
    """Sets flags for one test; all others have their defaults.

    A `keras.Model` for `--model` is saved as `m.keras` in `tmp_path`.
    """
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
        if isinstance(values.get("model"), keras.Model):
            values["model"].save(tmp_path / "m.keras")
            values["model"] = str(tmp_path / "m.keras")
        saver = flagsaver.flagsaver(**{**defaults, **values})
        saver.__enter__()
        savers.append(saver)

    yield set_all
    for saver in reversed(savers):
        saver.__exit__(None, None, None)
