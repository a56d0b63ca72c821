import importlib
import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
import toys

from eagleeye_tf import errors
from eagleeye_tf.deployment import formats
from eagleeye_tf.deployment import onnx
from eagleeye_tf.deployment import saved_model
from eagleeye_tf.deployment import stopwatch


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("formats")
    model = toys.chain()
    toys.randomise(model)
    model.save(folder / "model.keras")
    images = toys.images(model, count=9).astype(np.float32)
    saved_model.export(model, folder / "saved_model", images)
    return folder, model, images


@pytest.mark.parametrize("name", ["model.keras", "saved_model"])
def test_every_format_answers_alike(written, name):
    folder, model, images = written
    opened = formats.open_model(folder / name)
    for count in (1, 9, 4):
        np.testing.assert_allclose(
            np.asarray(opened(tf.constant(images[:count]))),
            toys.outputs(model, images[:count]),
            rtol=1e-4,
        )


def test_onnx_answers_alike(written):
    pytest.importorskip("tf2onnx", reason="an extra")
    pytest.importorskip("onnxruntime", reason="an extra")
    folder, model, images = written
    path = folder / "model.onnx"
    formats.FORMATS["onnx"].write(model, None, path, images)
    opened = formats.open_model(path, num_threads=2)
    for count in (1, 9):
        np.testing.assert_allclose(
            opened(images[:count]),
            toys.outputs(model, images[:count]),
            rtol=1e-3,
            atol=1e-3,
        )


class Shifted(keras.layers.Layer):
    """Holds tensors that no variable knows, large ones and small ones."""

    def build(self, shape):
        offset = np.linspace(-1, 1, np.prod(shape[1:]), dtype=np.float32)
        self.offset = keras.ops.convert_to_tensor(offset.reshape(shape[1:]))
        self.scale = keras.ops.convert_to_tensor([0.25, 0.5, 2.0])

    def call(self, x):
        return keras.ops.sin((x + self.offset) * self.scale)


def test_onnx_keeps_what_layers_hold(tmp_path):
    pytest.importorskip("tf2onnx", reason="an extra")
    pytest.importorskip("onnxruntime", reason="an extra")
    image = keras.Input((8, 8, 3))
    mean, variance = [100.0, 120.0, 140.0], [40.0, 50.0, 60.0]
    x = keras.layers.Normalization(mean=mean, variance=variance)(image)
    model = keras.Model(image, keras.layers.Flatten()(Shifted()(x)))
    onnx.convert(model, tmp_path / "model.onnx")
    images = toys.images(model, count=3)
    pixels = (images - mean) / np.sqrt(variance)
    pixels += np.linspace(-1, 1, 192).reshape(8, 8, 3)
    np.testing.assert_allclose(
        formats.open_model(tmp_path / "model.onnx")(images),
        np.sin(pixels * [0.25, 0.5, 2.0]).reshape(3, -1),
        atol=1e-4,
    )


def test_missing_extra_is_told(monkeypatch, written):
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    folder, model, _ = written
    with pytest.raises(errors.InputError, match=r"'\.\[onnx\]'"):
        onnx.convert(model, folder / "other.onnx")


def test_what_is_no_format(tmp_path):
    path = tmp_path / "model.h5"
    path.touch()
    with pytest.raises(errors.InputError, match="SavedModel folder.*model.h5"):
        formats.open_model(path)


def test_size_of_files_and_folders(tmp_path):
    (tmp_path / "a").write_bytes(bytes(10))
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "c").write_bytes(bytes(7))
    assert formats.size(tmp_path / "a") == 10
    assert formats.size(tmp_path) == 17


def test_latency_is_that_of_a_call(written, tmp_path):
    """Measured side by side."""
    folder, model, _ = written

    class Slow(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((None, 8, 8, 3))])
        def serve(self, images):
            big = tf.random.normal((600, 600))
            for _ in tf.range(6):
                big = tf.matmul(big, big) / 1e3
            return tf.reduce_sum(big) + tf.reduce_sum(images, axis=(1, 2))

    module = Slow()
    tf.saved_model.save(module, str(tmp_path / "slow"), module.serve)
    files = [folder / "saved_model", tmp_path / "slow"]
    quick, slow = stopwatch.measure(files, 1, (8, 8, 3))
    assert quick > 0
    assert slow > 3 * quick


@pytest.mark.slow
def test_model_that_does_not_run_is_told(written):
    folder, _, _ = written
    with pytest.raises(
        errors.ExportError, match="model.keras: this does not run"
    ):
        stopwatch.measure([folder / "model.keras"], 1, (8, 8, 4))


_OWN_LAYER = """
import keras

@keras.saving.register_keras_serializable("test")
class Doubled(keras.layers.Layer):
    def call(self, x):
        return 2 * x
"""


@pytest.mark.slow
def test_latency_of_layers_of_ones_own(tmp_path, monkeypatch):
    (tmp_path / "my_doubling_layers.py").write_text(_OWN_LAYER)
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("my_doubling_layers")
    image = keras.Input((8, 8, 3))
    path = tmp_path / "model.keras"
    keras.Model(image, module.Doubled()(image)).save(path)
    (found,) = stopwatch.measure(
        [path], 1, (8, 8, 3), modules=["my_doubling_layers"]
    )
    assert found > 0


def test_threads_are_those_asked_for():
    code = (
        "import os, json; print(json.dumps(["
        "os.environ['TF_NUM_INTRAOP_THREADS'], os.environ['OMP_NUM_THREADS']]))"
    )
    environment = stopwatch.environment(3)
    told = subprocess.check_output(
        [sys.executable, "-c", code], env=environment
    )
    assert json.loads(told) == ["3", "3"]
