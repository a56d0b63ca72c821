import keras
import numpy as np
import pytest
import toys

from eagleeye_tf import errors
from eagleeye_tf.deployment import formats
from eagleeye_tf.deployment import latency

layers = keras.layers


@pytest.mark.parametrize("name", ["saved_model", "litert"])
def test_networks_are_measured_as_in_inference(name, monkeypatch):
    """Keras' layers of augmentation work unless they are told not to."""
    image = keras.Input((8, 8, 3))
    x = layers.RandomTranslation(0.5, 0.5)(image)
    model = keras.Model(image, layers.Dense(4)(layers.Flatten()(x)))
    images = toys.images(model, 1)
    answers = []

    def measure(paths, num_threads, *_):
        served = [formats.open_model(path, num_threads) for path in paths]
        answers.extend(np.asarray(network(images)) for network in served)
        return [1.0, 2.0]

    monkeypatch.setattr(latency, "measure", measure)
    times = latency.Stopwatch(name, num_threads=1)([model, model])
    assert times == [1.0, 2.0]
    expected = toys.outputs(model, images)
    for answer in answers:
        np.testing.assert_allclose(answer, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"format": "tflite"}, "one of saved_model, .*'tflite'"),
        ({"num_threads": 0}, "num_threads is at least 1. Received: 0"),
        ({"format": "litert_int8"}, "needs images"),
    ],
)
def test_what_cannot_be_measured(arguments, message):
    with pytest.raises(errors.InputError, match=message):
        latency.Stopwatch(**arguments)
