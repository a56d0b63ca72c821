import numpy as np
import pytest
import tensorflow as tf

from eagleeye_tf.training import mixup


def images(count):
    generator = np.random.default_rng(0)
    return generator.uniform(0, 255, (count, 2, 3, 1)).astype(np.float32)


def test_images_lie_between_partners():
    given = images(5)
    mixed, shares = mixup.mix(tf.constant(given), 1.0, (3, 4))
    for i in range(5):
        share = float(shares[i])
        expected = share * given[i] + (1 - share) * given[4 - i]
        np.testing.assert_allclose(mixed[i], expected, rtol=1e-5)
    np.testing.assert_allclose(mixed[2], given[2], rtol=1e-5)  # Its own.
    labels = tf.constant([7, 8, 9, 5, 6])
    np.testing.assert_array_equal(mixup.partners(labels), [6, 5, 9, 8, 7])


@pytest.mark.parametrize("alpha", [0.2, 1.0, 5.0])
def test_shares_are_beta_distributed(alpha):
    """Beta(a, a) has the variance 1 / (4 (2 a + 1)); so has a sample."""
    _, shares = mixup.mix(tf.zeros((40_000, 1)), alpha, (0, 1))
    shares = np.asarray(shares, np.float64)
    assert shares.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.02)


def test_a_small_alpha_leaves_images_whole():
    _, shares = mixup.mix(tf.zeros((1_000, 1)), 1e-4, (0, 1))
    shares = np.asarray(shares)
    assert np.mean((shares == 0) | (shares == 1)) > 0.99
    assert not np.isnan(shares).any()


def test_a_seed_has_its_own_shares():
    def shares(*seed):
        return np.asarray(mixup.mix(tf.zeros((9, 1)), 1.0, seed)[1])

    np.testing.assert_array_equal(shares(1, 2), shares(1, 2))
    assert not np.isclose(shares(1, 2), shares(1, 3)).any()
    assert not np.isclose(shares(1, 2), shares(2, 2)).any()
