import numpy as np
import pytest
import tensorflow as tf

from eagleeye_tf.training import mixup


def images(count):
    generator = np.random.default_rng(0)
    return generator.uniform(0, 255, (count, 2, 3, 1)).astype(np.float32)


def test_images_lie_between_partners():
    given = images(5)
    mixed, shares, partners = mixup.mix(tf.constant(given), 1.0, (3, 4))
    order = np.asarray(partners(tf.range(5)))
    assert sorted(order) == [0, 1, 2, 3, 4]
    for i, partner in enumerate(order):
        share = float(shares[i])
        expected = share * given[i] + (1 - share) * given[partner]
        np.testing.assert_allclose(mixed[i], expected, rtol=1e-5)


def test_partners_change_and_are_never_oneself():
    """Of eight images each has seven others, all of them at times."""
    found = set()
    for step in range(64):
        _, _, partners = mixup.mix(tf.zeros((8, 1)), 1.0, (0, step))
        found |= set(enumerate(np.asarray(partners(tf.range(8))).tolist()))
    assert found == {(i, j) for i in range(8) for j in range(8) if i != j}


def test_an_image_alone_stays_whole():
    given = images(1)
    mixed, _, partners = mixup.mix(tf.constant(given), 1.0, (0, 1))
    np.testing.assert_allclose(mixed, given, rtol=1e-6)
    assert partners(tf.zeros(0, tf.int64)).shape == (0,)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 5.0])
def test_shares_are_beta_distributed(alpha):
    """Beta(a, a) has the variance 1 / (4 (2 a + 1)); so has a sample."""
    _, shares, _ = mixup.mix(tf.zeros((40_000, 1)), alpha, (0, 1))
    shares = np.asarray(shares, np.float64)
    assert shares.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.02)


def test_a_small_alpha_leaves_images_whole():
    _, shares, _ = mixup.mix(tf.zeros((1_000, 1)), 1e-4, (0, 1))
    shares = np.asarray(shares)
    assert np.mean((shares == 0) | (shares == 1)) > 0.99
    assert not np.isnan(shares).any()


def test_a_seed_has_its_own_shares():
    def shares(*seed):
        return np.asarray(mixup.mix(tf.zeros((9, 1)), 1.0, seed)[1])

    np.testing.assert_array_equal(shares(1, 2), shares(1, 2))
    assert not np.isclose(shares(1, 2), shares(1, 3)).any()
    assert not np.isclose(shares(1, 2), shares(2, 2)).any()
