import json

import keras
import numpy as np
import pytest
import toys

from eagleeye_tf import errors
from eagleeye_tf.deployment import formats
from eagleeye_tf.deployment import litert
from eagleeye_tf.deployment import saved_model
from eagleeye_tf.deployment import stopwatch

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

    monkeypatch.setattr(stopwatch, "measure", measure)
    times = stopwatch.Stopwatch(name, num_threads=1)([model, model])
    assert times == [1.0, 2.0]
    expected = toys.outputs(model, images)
    for answer in answers:
        np.testing.assert_allclose(answer, expected, rtol=1e-4, atol=1e-4)


def test_images_of_int8_may_come_in_batches(monkeypatch):
    model = toys.chain()
    toys.scramble(model)
    images = toys.images(model, 300)
    batches = [(images[i : i + 50], np.eye(50)) for i in range(0, 300, 50)]
    written = []
    monkeypatch.setattr(
        litert, "convert", lambda *arguments: written.append(arguments[-1])
    )
    monkeypatch.setattr(stopwatch, "measure", lambda *_: [1.0])
    for given in (batches, (images, np.arange(300)), images):
        stopwatch.Stopwatch("litert_int8", images=given)([model])
    assert [x.shape for x in written] == [(64, 8, 8, 3)] * 3
    np.testing.assert_array_equal(written[0], written[2])


def test_images_of_an_open_size_are_told():
    image = keras.Input((None, None, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(image))
    model = keras.Model(image, layers.Dense(2)(x))
    with pytest.raises(errors.InputError, match="of a fixed size"):
        stopwatch.Stopwatch("litert")([model])


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
        stopwatch.Stopwatch(**arguments)


@pytest.mark.parametrize("name", ["litert", "saved_model"])
def test_threads_are_those_asked_for(name, monkeypatch):
    model = toys.chain()
    asked = []

    def measure(paths, num_threads, *_):
        asked.append(num_threads)
        return [1.0]

    monkeypatch.setattr(stopwatch, "measure", measure)
    stopwatch.Stopwatch(name, num_threads=3)([model])
    assert asked == [3]


def test_who_measures_opens_files_with_those_threads(monkeypatch, capsys):
    opened = []

    def open_model(path, num_threads):
        opened.append((path, num_threads))
        return lambda image: image

    monkeypatch.setattr(formats, "open_model", open_model)
    monkeypatch.setattr(stopwatch, "_SECONDS", 0.0)
    stopwatch.main("3", "[2, 2, 3]", "[]", "a", "b")
    assert opened == [("a", 3), ("b", 3)]
    assert len(json.loads(capsys.readouterr().out)) == 2


def test_interpreters_have_so_many_threads(tmp_path, monkeypatch):
    model = toys.chain()
    path = tmp_path / formats.FORMATS["litert"].file
    saved = tmp_path / "saved_model"
    saved_model.write(model, saved)
    formats.FORMATS["litert"].write(model, saved, path, None)
    asked = []
    interpreter = litert.Interpreter

    def noted(*arguments, **options):
        asked.append(options["num_threads"])
        return interpreter(*arguments, **options)

    monkeypatch.setattr(litert, "Interpreter", noted)
    formats.open_model(path, 3)
    assert asked == [3]


def test_what_is_measured_is_what_is_described():
    told = [
        stopwatch.Stopwatch(**options).describe()
        for options in (
            {},
            {"format": "saved_model"},
            {"num_threads": 2},
            {"num_threads": 1},
        )
    ]
    assert told[0] == told[3]
    assert told[0] != told[1] and told[0] != told[2]
