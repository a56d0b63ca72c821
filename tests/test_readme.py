"""The README's Python blocks, run on handwritten digits."""

import pathlib
import re

import keras
import numpy as np
import pytest
import toys

import eagleeye_tf as ee
from eagleeye_tf.data import sources
from eagleeye_tf.data import splits
from eagleeye_tf.deployment import saved_model

layers = keras.layers
_README = pathlib.Path(__file__).parents[1] / "README.md"
_BLOCKS = re.findall(
    r"^```python\n(.*?)^```$", _README.read_text(), re.M | re.S
)


class MyActivation(layers.Activation):
    pass


class MyScale(layers.Layer):
    pass


class MyConv2D(layers.Conv2D):
    pass


def quickened(code):
    """The same calls, with less to do; lines that end in `(...)` are gaps."""
    code = re.sub(r"num_candidates=\d+", "num_candidates=4", code)
    code = re.sub(r"epochs=\d+", "epochs=1", code)
    return re.sub(r"^.*\(\.\.\.\)$", "", code, flags=re.M)


@pytest.fixture
def names(tmp_path, monkeypatch):
    """What the blocks find: files, images, layers of one's own."""
    monkeypatch.chdir(tmp_path)
    model = toys.chain((8, 12, 12), classes=10)
    toys.scramble(model)
    model.save("my_model.keras")
    data = splits.split(sources.open_source("digits"), (8, 8, 3), 64, 64)
    images, labels = data.arrays(data.train)
    test_images, test_labels = data.arrays(data.test)
    folder = pathlib.Path("runs", "quickstart", "export", "saved_model")
    folder.parent.mkdir(parents=True)
    images = images.astype(np.float32)
    saved_model.export(model, folder, images[:8])
    own = (MyActivation, MyScale, MyConv2D, toys.Bilinear)
    return {
        "keras": keras,
        "ee": ee,
        "model": model,
        "images": images,
        "labels": labels,
        "test_images": test_images.astype(np.float32),
        "test_labels": test_labels,
        **{layer.__name__: layer for layer in own},
    }


def test_examples_run(names):
    for number, block in enumerate(_BLOCKS):
        exec(compile(quickened(block), f"README block {number}", "exec"), names)
    image = keras.Input((8,))
    x = toys.Bilinear(6)(layers.Dense(5)(image))
    ee.verify(keras.Model(image, layers.Dense(3)(x)), 0.5)
    model, winner = names["model"], names["winner"]
    assert 0.4 * ee.cost(model).macs < ee.cost(winner).macs
    assert ee.cost(winner).macs < 0.6 * ee.cost(model).macs
    assert pathlib.Path("checkpoints").is_dir()
    whole = keras.models.load_model("from_pixels.keras")
    images = names["images"][:3]
    np.testing.assert_allclose(
        toys.outputs(whole, images),
        toys.outputs(model, images / 255),
        rtol=1e-4,
    )
    # A third of every group is gone, from the model that was loaded.
    assert names["smaller"].get_layer("conv1").filters == 9
    answers = toys.outputs(model, images)
    np.testing.assert_allclose(names["answers"][:3], answers, rtol=1e-4)
