import keras
import numpy as np
import pytest
import tensorflow as tf
import toys

from eagleeye_tf import errors
from eagleeye_tf.deployment import saved_model


def test_serving_signature_gives_the_models_outputs(tmp_path):
    model = toys.chain()
    toys.randomise(model)
    x = toys.images(model, count=5)
    path = tmp_path / "saved"
    difference = saved_model.export(model, path, x)
    assert difference < 1e-3
    plain = tf.saved_model.load(str(path)).signatures["serving_default"]
    (served,) = plain(tf.constant(x)).values()
    np.testing.assert_allclose(served, toys.outputs(model, x), rtol=1e-4)
    np.testing.assert_allclose(
        saved_model.ServedModel(path)(tf.constant(x)), served
    )


def test_any_batch_size(tmp_path):
    model = toys.chain()
    saved_model.export(model, tmp_path / "m", toys.images(model))
    served = saved_model.ServedModel(tmp_path / "m")
    for count in (1, 7):
        x = tf.constant(toys.images(model, count=count))
        assert served(x).shape == (count, 4)


def test_an_older_export_is_replaced(tmp_path):
    model = toys.chain()
    x = toys.images(model)
    for scale in (1.0, 2.0):
        model.get_layer("logits").bias.assign(np.full(4, scale))
        saved_model.export(model, tmp_path / "m", x)
    served = saved_model.ServedModel(tmp_path / "m")(tf.constant(x))
    np.testing.assert_allclose(served, toys.outputs(model, x), rtol=1e-4)
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def test_mismatch_is_an_error_and_leaves_nothing(tmp_path):
    class Fickle(keras.layers.Layer):
        """Answers differently once it is traced for export."""

        def call(self, x):
            return x + (0.0 if tf.executing_eagerly() else 1.0)

    image = keras.Input((4,))
    model = keras.Model(image, Fickle()(image))
    with pytest.raises(errors.ExportError, match="SavedModel differ from"):
        saved_model.export(model, tmp_path / "m", np.ones((2, 4)))
    assert not list(tmp_path.iterdir())


def test_what_is_no_saved_model(tmp_path):
    with pytest.raises(errors.InputError, match="not a SavedModel"):
        saved_model.ServedModel(tmp_path)


def test_several_outputs_are_told(tmp_path):
    image = keras.Input((4,))
    halves = [keras.layers.Dense(2)(image), keras.layers.Dense(3)(image)]
    keras.Model(image, halves).export(str(tmp_path / "m"), verbose=False)
    with pytest.raises(errors.InputError, match="output. Received: 1 and 2"):
        saved_model.ServedModel(tmp_path / "m")


def test_missing_signature_is_told(tmp_path):
    tf.saved_model.save(tf.Module(), tmp_path / "m")
    with pytest.raises(errors.InputError, match="'serving_default'"):
        saved_model.ServedModel(tmp_path / "m")


@pytest.mark.parametrize("shape", [None, (None, 4)])
def test_signature_of_unknown_rank_is_told(tmp_path, shape):
    module = tf.Module()
    module.serve = tf.function(
        lambda x: {"y": tf.identity(x)},
        input_signature=[tf.TensorSpec(shape, name="x")],
    )
    tf.saved_model.save(module, tmp_path / "m", module.serve)
    if shape:
        served = saved_model.ServedModel(tmp_path / "m")
        assert (served.input_shape, served.classes) == ((None, 4), 4)
    else:
        with pytest.raises(errors.InputError, match="of known ranks"):
            saved_model.ServedModel(tmp_path / "m")
