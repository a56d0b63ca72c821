import dataclasses
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
import toys

from eagleeye_tf import errors
from eagleeye_tf.deployment import exporting
from eagleeye_tf.deployment import formats
from eagleeye_tf.deployment import litert
from eagleeye_tf.deployment import saved_model


@pytest.fixture(scope="module")
def network():
    model = toys.chain()
    toys.scramble(model)
    return model, toys.images(model, count=64)


@pytest.fixture(scope="module")
def shipped(network, tmp_path_factory):
    """List of `ExportedFile`: SavedModel, LiteRT in float32 and in int8."""
    model, images = network
    batches = tf.data.Dataset.from_tensor_slices(images).batch(32)
    folder = tmp_path_factory.mktemp("exporting") / "new"
    return exporting.export(model, folder, batches, ["litert", "litert_int8"])


def write_instead(monkeypatch, name, content):
    """Lets a format write what `content(path)` writes."""
    kind = dataclasses.replace(
        formats.FORMATS[name], write=lambda *args: content(args[2])
    )
    monkeypatch.setitem(formats.FORMATS, name, kind)


def test_files_with_size_and_difference(network, shipped):
    model, images = network
    assert [(f.format, f.path.name) for f in shipped] == [
        ("saved_model", "saved_model"),
        ("litert", "model_float32.tflite"),
        ("litert_int8", "model_int8.tflite"),
    ]
    expected = toys.outputs(model, images)
    saved, plain, quantized = shipped
    for file, opened in [
        (saved, saved_model.ServedModel(saved.path)),
        (plain, litert.LiteRTModel(plain.path)),
        (quantized, litert.LiteRTModel(quantized.path)),
    ]:
        gap = np.abs(np.asarray(opened(tf.constant(images))) - expected)
        assert file.difference == pytest.approx(gap.max(), abs=1e-5)
        assert file.bytes == formats.size(file.path)
    assert plain.bytes == plain.path.stat().st_size
    assert 0 < quantized.difference < 0.2 * np.abs(expected).max()


@pytest.mark.parametrize(
    "name, tolerance",
    [("litert", 1e-3), ("onnx", 1e-3), ("litert_float16", 1e-2)],
)
def test_file_that_answers_differently(network, shipped, name, tolerance):
    """A little less than the tolerance, and a little more."""
    model, images = network
    expected = toys.outputs(model, images)
    largest = np.abs(expected).max()
    assert largest > 1
    limit, path = formats.FORMATS[name].tolerance, shipped[1].path
    for share, refused in [(0.9, False), (1.2, True)]:
        other = expected - share * tolerance * largest
        try:
            exporting.check(name, path, images, other, limit)
        except errors.ExportError as error:
            assert refused and "float32.tflite differ from" in str(error)
        else:
            assert not refused


def test_augmentation_and_dropout_are_off(tmp_path):
    image = keras.Input((8, 8, 3))
    x = keras.layers.RandomFlip()(image)
    x = keras.layers.RandomRotation(0.3)(x)
    x = keras.layers.Dropout(0.5)(keras.layers.Conv2D(4, 3)(x))
    model = keras.Model(image, keras.layers.Dense(3)(keras.layers.Flatten()(x)))
    images = toys.images(model, count=16)
    expected = np.asarray(model(images, training=False))
    again = model(images)  # At random.
    assert np.abs(np.asarray(again) - expected).max() > 0.1
    for file in exporting.export(model, tmp_path, images, ["litert", "onnx"]):
        opened = formats.open_model(file.path, 1)
        np.testing.assert_allclose(
            opened(tf.constant(images)), expected, rtol=1e-3, atol=1e-3
        )


def test_wrong_file_is_removed(network, shipped, monkeypatch, tmp_path):
    model, images = network
    other = keras.Model(model.inputs, 1.01 * model.outputs[0])
    write_instead(
        monkeypatch,
        "litert",
        lambda path: shutil.copyfile(shipped[1].path, path),
    )
    with pytest.raises(errors.ExportError, match="float32.tflite differ from"):
        exporting.export(other, tmp_path, images, ["litert"])
    assert [path.name for path in tmp_path.iterdir()] == ["saved_model"]


def test_file_that_does_not_run(network, tmp_path):
    model, images = network
    path = tmp_path / "model_float32.tflite"
    path.write_bytes(b"nothing")
    with pytest.raises(errors.ExportError, match="float32.tflite does not run"):
        exporting.check("litert", path, images, images, 1e-3)


def test_older_file_goes_if_there_is_no_new_one(network, monkeypatch, tmp_path):
    def fail(path):
        raise errors.ExportError("No.")

    model, images = network
    (tmp_path / "model_float32.tflite").touch()
    write_instead(monkeypatch, "litert", fail)
    with pytest.raises(errors.ExportError, match="No."):
        exporting.export(model, tmp_path, images, ["litert"])
    assert not (tmp_path / "model_float32.tflite").exists()


def test_nothing_stays_of_another_network(network, monkeypatch, tmp_path):
    model, images = network
    for name in ("saved_model", "saved_model.tmp"):
        (tmp_path / name / "variables").mkdir(parents=True)
    for name in ("model_int8.tflite", "model.onnx", "notes.txt"):
        (tmp_path / name).touch()
    monkeypatch.setattr(saved_model, "write", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        exporting.export(model, tmp_path, images)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_int8_has_its_ranges_from_images_of_all_kinds(tmp_path):
    """The darkest come first; ranges of those would cut off all others."""
    image = keras.Input((2, 2, 3))
    x = keras.layers.Dense(4, activation="relu")(keras.layers.Flatten()(image))
    model = keras.Model(image, keras.layers.Dense(2)(x))
    kernel = np.linspace(0.1, 1, 48, dtype=np.float32).reshape(12, 4)
    model.layers[2].kernel.assign(kernel)
    brightness = np.linspace(0, 255, 2_000, dtype=np.float32)
    images = np.ones((2_000, 2, 2, 3), np.float32)
    images *= brightness[:, np.newaxis, np.newaxis, np.newaxis]
    batches = tf.data.Dataset.from_tensor_slices(
        (images, np.eye(2)[np.zeros(2_000, int)])
    ).batch(100)
    for folder, given in enumerate((images, batches)):
        *_, file = exporting.export(
            model, tmp_path / str(folder), given, "litert_int8"
        )
        found = np.asarray(litert.LiteRTModel(file.path)(images[-1:]))
        expected = toys.outputs(model, images[-1:])
        gap = np.abs(found - expected).max()
        assert gap < 0.05 * np.abs(expected).max()


def test_models_that_take_whole_numbers(tmp_path):
    pytest.importorskip("tf2onnx", reason="an extra")
    pytest.importorskip("onnxruntime", reason="an extra")
    image = keras.Input((4, 4, 3), dtype="uint8")
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(image))
    model = keras.Model(image, keras.layers.Dense(3)(x))
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (20, 4, 4, 3)).astype(np.uint8)
    expected = np.asarray(model(images))
    written = exporting.export(model, tmp_path, images, ["litert", "onnx"])
    assert [file.format for file in written] == [
        "saved_model",
        "litert",
        "onnx",
    ]
    for file in written:
        opened = formats.open_model(file.path)
        np.testing.assert_allclose(
            opened(images.astype(np.float32)), expected, atol=1e-3
        )


def test_models_that_cannot_be_shipped_as_they_are(tmp_path):
    x = np.zeros((8, 8, 8, 3), np.float32)
    image = keras.Input(batch_shape=(4, 8, 8, 3))
    logits = keras.layers.Dense(10)(keras.layers.Flatten()(image))
    with pytest.raises(errors.InputError, match="one for 4 images: build"):
        exporting.export(keras.Model(image, logits), tmp_path, x)
    image = keras.Input((8, 8, 3))
    logits = keras.layers.Dense(10)(keras.layers.Flatten()(image))
    model = keras.Model(image, {"logits": logits})
    with pytest.raises(errors.InputError, match=r"is a dict, \['logits'\]"):
        exporting.export(model, tmp_path, x)


def test_what_does_not_fit(network, tmp_path):
    model, images = network
    with pytest.raises(errors.InputError, match="Received: 'tflite'"):
        exporting.export(model, tmp_path, images, ["tflite"])
    with pytest.raises(errors.InputError, match="images of shape .64, 4, 8"):
        exporting.export(model, tmp_path, images[:, :4])
    two = keras.Model(model.inputs, [model.outputs[0]] * 2)
    with pytest.raises(errors.InputError, match="and one output"):
        exporting.export(two, tmp_path, images)
    assert not list(tmp_path.iterdir())
