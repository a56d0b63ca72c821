import numpy as np
import pytest
import tensorflow as tf
import toys

from eagleeye_tf import errors
from eagleeye_tf.deployment import litert
from eagleeye_tf.deployment import saved_model


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    model = toys.chain(channels=(16, 24))
    toys.randomise(model)
    images = toys.images(model, count=40)
    folder = tmp_path_factory.mktemp("export")
    saved_model.export(model, folder / "saved_model", images)
    sizes = {}
    for precision in litert.PRECISIONS:
        path = folder / f"{precision}.tflite"
        litert.convert(folder / "saved_model", path, precision, images)
        sizes[precision] = path.stat().st_size
    return folder, model, images, sizes


@pytest.mark.parametrize(
    "precision, tolerance",
    [("float32", 1e-5), ("float16", 2e-3), ("int8", 0.1)],
)
def test_gives_the_models_outputs(exported, precision, tolerance):
    folder, model, images, _ = exported
    expected = toys.outputs(model, images)
    lite = litert.LiteRTModel(folder / f"{precision}.tflite", num_threads=2)
    for count in (1, 40, 7):
        found = lite(tf.constant(images[:count]))
        gap = np.abs(found - expected[:count]).max()
        assert gap <= tolerance * np.abs(expected).max()


def test_fewer_bits_are_smaller(exported):
    _, model, _, sizes = exported
    weights = sum(int(np.prod(w.shape)) for w in model.trainable_weights)
    assert sizes["float32"] > 4 * 0.9 * weights
    assert sizes["int8"] < sizes["float16"] < sizes["float32"]


def test_int8_computes_in_int8(exported):
    """Quantised outputs lie on a grid of at most 256 values."""
    folder, model, images, _ = exported
    outputs = litert.LiteRTModel(folder / "int8.tflite")(images)
    steps = np.unique(np.diff(np.unique(outputs)))
    grid = steps.min()
    assert np.allclose(steps / grid, np.round(steps / grid), atol=1e-2)
    plain = litert.LiteRTModel(folder / "float32.tflite")(images)
    assert len(np.unique(outputs)) < len(np.unique(plain))


def test_what_is_no_model(tmp_path):
    path = tmp_path / "m.tflite"
    path.write_bytes(b"no model")
    with pytest.raises(errors.InputError, match="is not a LiteRT model"):
        litert.LiteRTModel(path)


def test_an_operation_without_counterpart_is_told(tmp_path):
    import keras

    inputs = keras.Input((8,))
    model = keras.Model(inputs, keras.ops.fft((inputs, inputs))[0])
    saved_model.export(model, tmp_path / "saved_model", np.ones((2, 8)))
    with pytest.raises(errors.ExportError, match="cannot represent.*float32"):
        litert.convert(
            tmp_path / "saved_model", tmp_path / "m.tflite", "float32", None
        )
    assert not (tmp_path / "m.tflite").exists()
