import os

import digit_models
import keras
import numpy as np
import pytest
import tensorflow as tf
import toys

from eagleeye_tf import errors
from eagleeye_tf.deployment import exporting
from eagleeye_tf.deployment import onnx
from eagleeye_tf.stages import common
from eagleeye_tf.stages import evaluate


@pytest.fixture(scope="module")
def network():
    """(model, how many of the 359 test digits it has right)."""
    digits = digit_models.for_test()
    model = digit_models.nearest_mean(digits)
    return model, digit_models.correct(model, digits)


def test_litert_file_and_saved_model(set_flags, tmp_path, network, capsys):
    model, correct = network
    images = toys.images(model)
    for file in exporting.export(model, tmp_path, images, "litert"):
        set_flags(model=str(file.path), workdir=None)
        evaluate.main()
        told = capsys.readouterr().out
        assert f"{correct} of 359 correct, {correct / 359:.2%}; " in told
        assert f"; {file.bytes:,} bytes" in told


def test_keras_file_leaves_nothing(set_flags, tmp_path, network, capsys):
    model, correct = network
    model.save(tmp_path / "model.keras")
    set_flags(model=str(tmp_path / "model.keras"), workdir=None)
    evaluate.main()
    told = capsys.readouterr().out
    assert f"{correct} of 359 correct" in told
    # 8 x 8 x 3 pixels, 10 classes.
    assert "; 1,920 MACs, 1,930 parameters" in told
    assert os.listdir(tmp_path) == ["model.keras"]


def test_untrained_network_leaves_nothing(set_flags, tmp_path):
    set_flags(model="resnet20")
    with pytest.raises(errors.InputError, match="resnet20 is not trained in"):
        evaluate.main()
    assert os.listdir(tmp_path) == []


def test_onnx_file(set_flags, tmp_path, network, capsys):
    pytest.importorskip("tf2onnx", reason="an extra")
    pytest.importorskip("onnxruntime", reason="an extra")
    model, correct = network
    path = tmp_path / "model.onnx"
    onnx.convert(model, path)
    set_flags(model=str(path))
    evaluate.main()
    told = capsys.readouterr().out
    assert f"{correct} of 359 correct" in told
    assert f"; {path.stat().st_size:,} bytes" in told


def test_file_that_takes_one_image_at_a_time(set_flags, tmp_path, network):
    model, correct = network
    served = tf.function(
        lambda images: {"logits": model(images)},
        input_signature=[tf.TensorSpec((1, *model.input_shape[1:]))],
    )
    tf.saved_model.save(model, tmp_path / "one", signatures=served)
    set_flags(model=str(tmp_path / "one"), workdir=None)
    with pytest.raises(errors.InputError, match="give --batch_size=1"):
        evaluate.main()
    set_flags(model=str(tmp_path / "one"), workdir=None, batch_size=1)
    job = common.open_job(leaves_results=False)
    assert evaluate.evaluate_file(job, tmp_path / "one") == (correct, 359)


def test_nan_is_no_answer(set_flags, tmp_path, network):
    model = keras.models.clone_model(network[0])
    model.layers[-1].bias.assign([np.nan] * 10)
    model.save(tmp_path / "nan.keras")
    set_flags(model=str(tmp_path / "nan.keras"), workdir=None)
    job = common.open_job(leaves_results=False)
    assert evaluate.evaluate_file(job, tmp_path / "nan.keras") == (0, 359)
    assert job.test(model, "Test") == (0, 359)


def test_litert_file_of_other_classes(set_flags, tmp_path):
    model = toys.chain(channels=(), classes=4)
    images = toys.images(model)
    _, file = exporting.export(model, tmp_path, images, ["litert"])
    set_flags(model=str(file.path))
    with pytest.raises(errors.InputError, match="4 outputs.*10 classes"):
        evaluate.main()


def test_name_without_training(set_flags):
    set_flags(model="resnet20", width=0.25)
    with pytest.raises(errors.InputError, match="run eagleeye_tf.train"):
        evaluate.main()


def test_name_with_weights(set_flags, tmp_path):
    set_flags(model="resnet20", width=0.25)
    ready = common.open_job().fresh_model()
    ready.save_weights(tmp_path / "my.weights.h5")
    set_flags(width=0.25, weights=str(tmp_path / "my.weights.h5"))
    made = keras.models.load_model(common.open_job().made_path())
    for found, expected in zip(
        made.get_weights(), ready.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(found, expected)
