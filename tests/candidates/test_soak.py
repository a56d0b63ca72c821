"""Nothing piles up over hundreds of candidates of a real search."""

import gc
import pathlib
import resource

import keras
import numpy as np
import pytest
import toys

import eagleeye_tf as ee
from eagleeye_tf.data import sources
from eagleeye_tf.data import splits

layers = keras.layers


def grouped():
    """Has candidates enough; must be rebuilt for each."""
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(32, 3, padding="same")(image)
    x = layers.BatchNormalization()(x)
    x = layers.Conv2D(32, 3, groups=2)(layers.ReLU()(x))
    x = layers.BatchNormalization()(x)
    x = layers.Conv2D(48, 3)(layers.ReLU()(x))
    x = layers.GlobalAveragePooling2D()(layers.ReLU()(x))
    return keras.Model(image, layers.Dense(10)(x))


WIDE = {
    "open": lambda: toys.chain(channels=(24, 32, 40), classes=10),
    "rebuilt": grouped,
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "count", "evaluation", "allowed"),
    [
        # Weights of the candidates would be 60 MB.
        ("open", 2000, "race", 30),
        ("open", 2000, "full", 30),
        # TensorFlow keeps kernels by shape, up to some number; with those
        # that XLA compiles it would be 110 MB.
        ("rebuilt", 300, "full", 50),
    ],
)
def test_nothing_grows_with_the_candidates(
    network, count, evaluation, allowed, tmp_path
):
    """Of half of them nothing more is left than of all."""
    digits = splits.split(sources.open_source("digits"), (8, 8, 3), 256, 256)
    evaluated, used = [], []

    def measure():
        gc.collect()
        statm = pathlib.Path("/proc/self/statm").read_text().split()
        memory = int(statm[1]) * resource.getpagesize() / 2**20
        files = len(list(pathlib.Path("/proc/self/fd").iterdir()))
        threads = len(list(pathlib.Path("/proc/self/task").iterdir()))
        used.append((memory, files, threads))

    def note(*_):
        evaluated.append(1)
        if len(evaluated) == count // 2:  # All kernels are known by then.
            measure()

    result = ee.search(
        WIDE[network](),
        digits.arrays(digits.calibration),
        digits.arrays(digits.sub_validation),
        ee.SearchSettings(
            macs=0.5,
            tolerance=0.1,
            num_candidates=count,
            evaluation=evaluation,
        ),
        tmp_path / "log.jsonl",
        on_evaluation=note,
    )
    assert len(result.candidates) == count
    measure()
    growth = np.subtract(*reversed(used))
    print("grown by MB, files, threads:", growth)
    assert growth[0] < allowed
    assert growth[1] <= 2 and growth[2] <= 4
