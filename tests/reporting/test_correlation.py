import numpy as np
import pytest
from scipy import stats

from eagleeye_tf.reporting import correlation


# Worked by hand; the best accuracy of Y comes first.
@pytest.mark.parametrize(
    "scores, k, expected",
    [
        ([4, 3, 2, 1], 1, 1.0),
        ([4, 3, 2, 1], 4, 1.0),
        ([3, 4, 2, 1], 2, 1.0),  # The two best, in the other order.
        ([3, 4, 2, 1], 1, 1 / 2),
        # The best is found last, the second best first.
        ([1, 4, 3, 2], 2, (2 / 4 + 1) / 2),
        ([1, 2, 3, 4], 2, (2 / 4 + 2 / 3) / 2),
        ([1, 2, 3, 4], 3, (3 / 4 + 1 + 1) / 3),
        # All tie in X: each has any rank.
        ([7, 7, 7, 7], 1, (1 + 1 / 2 + 1 / 3 + 1 / 4) / 4),
        ([7, 7, 7, 7], 3, (1 + 1 + 1 + 3 / 4) / 4),
        # The two best tie behind another one: ranks 2 and 3.
        ([5, 5, 9, 1], 2, (1 + 2 / 3) / 2),
    ],
)
def test_phi_by_hand(scores, k, expected):
    accuracies = [0.9, 0.8, 0.7, 0.6]
    assert correlation.phi(scores, accuracies, k) == pytest.approx(expected)
    shuffled = np.random.default_rng(0).permutation(4)
    x, y = np.array(scores)[shuffled], np.array(accuracies)[shuffled]
    assert correlation.phi(x, y, k) == pytest.approx(expected)


def test_ties_in_accuracy_count_in_equal_parts():
    # Place 2 of Y is shared by three, whose ranks in X are 1, 3 and 4.
    scores = [3, 4, 2, 1, 0]
    accuracies = [0.9, 0.8, 0.8, 0.8, 0.1]
    first = min(2 / 2, 1)
    second = (1 + 2 / 3 + 2 / 4) / 3
    found = correlation.phi(scores, accuracies, 2)
    assert found == pytest.approx((first + second) / 2)


def test_coefficients_by_hand():
    """x = 1 2 3 4 5, y = 2 1 4 3 5."""
    found = correlation.coefficients([1, 2, 3, 4, 5], [2, 1, 4, 3, 5], k=2)
    assert found["pearson"].value == pytest.approx(0.8)  # 8 / √(10 · 10)
    assert found["spearman"].value == pytest.approx(0.8)  # 1 − 6 · 4 / 120
    assert found["kendall"].value == pytest.approx(0.6)  # (8 − 2) / 10
    # The best two of y have ranks 1 and 3 in x.
    assert found["phi"].value == pytest.approx((1 + 2 / 3) / 2)
    for coefficient in found.values():
        assert coefficient.low <= coefficient.value <= coefficient.high


def test_intervals_hold_what_resampling_by_hand_gives():
    generator = np.random.default_rng(5)
    x = generator.normal(size=30)
    y = x + generator.normal(size=30)
    found = correlation.coefficients(x, y, k=5)["pearson"]
    drawn = generator.integers(0, 30, (4000, 30))
    values = [np.corrcoef(x[places], y[places])[0, 1] for places in drawn]
    expected = np.percentile(values, [2.5, 97.5])
    np.testing.assert_allclose([found.low, found.high], expected, atol=0.02)
    again = correlation.coefficients(x, y, k=5)["pearson"]
    assert again == found


def test_constant_scores_say_nothing():
    found = correlation.coefficients([0.1] * 6, [1, 2, 3, 4, 5, 6], k=2)
    for name in ("pearson", "spearman", "kendall"):
        assert found[name] == correlation.Coefficient(0.0, 0.0, 0.0)
    # Any rank from 1 to 6: (1 + 1 + 2/3 + 1/2 + 2/5 + 1/3) / 6.
    assert found["phi"].value == pytest.approx(0.65)


def test_intervals_of_all_coefficients_are_those_of_scipy():
    """Of the same resamples, with ties of copies and ties of their own."""
    generator = np.random.default_rng(3)
    x = generator.normal(size=12).round(1)
    y = (x + generator.normal(size=12)).round(1)
    found = correlation.coefficients(x, y, k=3, seed=7)
    drawn = np.random.default_rng(7).integers(0, 12, (2000, 12))
    for name, test in (
        ("pearson", stats.pearsonr),
        ("spearman", stats.spearmanr),
        ("kendall", stats.kendalltau),
    ):
        values = [test(x[places], y[places]).statistic for places in drawn]
        expected = np.percentile(values, [2.5, 97.5])
        np.testing.assert_allclose(
            [found[name].low, found[name].high], expected
        )


def test_phi_of_ties_lies_within_its_interval():
    """The one is the mean over orders of which the other draws some."""
    generator = np.random.default_rng(0)
    y = generator.random(300)
    mostly = np.where(generator.random(300) < 0.9, 0.1, generator.random(300))
    for x in (np.full(300, 0.1), mostly):
        found = correlation.coefficients(x, y, k=75)["phi"]
        assert found.low < found.value < found.high


def test_candidates_that_are_drawn_twice_do_not_spoil_phi():
    x = np.random.default_rng(0).permutation(16)
    found = correlation.coefficients(x, x, k=4)["phi"]
    assert found == correlation.Coefficient(1.0, 1.0, 1.0)


def test_scores_by_chance_have_the_phi_of_chance():
    """Breaking ties of copies alike must not favour who is drawn often."""
    y = np.arange(16)
    found = correlation.coefficients([0.1] * 16, y, k=4)["phi"]
    # Any rank is as likely as another.
    expected = np.minimum(4 / np.arange(1, 17), 1)
    spread = correlation._resampled([0.1] * 16, y, 4, 0)["phi"]
    assert spread.mean() == pytest.approx(expected.mean(), abs=0.01)
    assert found.low < expected.mean() < found.high


def test_difference_has_the_interval_of_pairs():
    """Two ways that err alike differ little, however wide each interval."""
    generator = np.random.default_rng(5)
    y = generator.normal(size=20)
    error = generator.normal(size=20)
    ours, theirs = y + error, y + 1.1 * error
    found = correlation.differences(ours, theirs, y, k=4)["pearson"]
    drawn = generator.integers(0, 20, (4000, 20))
    values = [
        np.corrcoef(ours[p], y[p])[0, 1] - np.corrcoef(theirs[p], y[p])[0, 1]
        for p in drawn
    ]
    expected = np.percentile(values, [2.5, 97.5])
    np.testing.assert_allclose([found.low, found.high], expected, atol=0.01)
    whole = correlation.coefficients(ours, y, k=4)["pearson"]
    assert found.high - found.low < (whole.high - whole.low) / 4
    same = correlation.differences(ours, ours, y, k=4)
    assert set(same.values()) == {correlation.Coefficient(0.0, 0.0, 0.0)}
