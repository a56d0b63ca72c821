import numpy as np
import pytest
import tensorflow as tf

from eagleeye_tf.pruning.folding import Folding


@pytest.mark.parametrize(
    "shape, width",
    [
        ((3, 4, 8, 13), 16 * 13),
        ((3, 4, 8, 12), 4 * 12),  # Already a multiple of 4.
        ((3, 4, 8, 32), 32),
        ((3, 7, 7, 13), 13),  # 49 pixels cannot share rows.
        ((3, 6, 2, 5), 4 * 5),
        ((5, 7), 7),
        ((2, 16, 3), 16 * 3),
    ],
)
def test_rows_have_full_lanes_where_pixels_allow(shape, width):
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    folding = Folding(tf.constant(x))
    rows = folding.fold(x)
    assert rows.shape == (x.size // width, width)
    assert int(folding.count) == x.size // shape[-1]
    axes = tuple(range(len(shape) - 1))
    means = np.asarray(folding.means(rows))
    np.testing.assert_allclose(means, x.mean(axes), atol=1e-6)
    sums = np.asarray(folding.sums(rows))
    np.testing.assert_allclose(sums, x.sum(axes), atol=1e-4)
    factors = np.arange(1, shape[-1] + 1, dtype=np.float32)
    scaled = folding.unfold(rows * folding.along(factors))
    np.testing.assert_array_equal(scaled, x * factors)


def test_open_dimensions():
    @tf.function(input_signature=[tf.TensorSpec((None, None, 4, None))])
    def doubled(x):
        folding = Folding(x)
        rows = folding.fold(x)
        assert folding.unfold(rows).shape[2] == 4
        return tf.shape(rows), folding.unfold(2 * rows)

    x = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
    shape, found = doubled(x)
    assert tuple(shape) == (2 * 3, 4 * 5)
    np.testing.assert_array_equal(found, 2 * x)
