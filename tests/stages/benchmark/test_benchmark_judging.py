import planting
import pytest
from scipy import stats

import eagleeye_tf as ee
from eagleeye_tf.candidates import adaptive_bn
from eagleeye_tf.stages import benchmark
from eagleeye_tf.stages import benchmark_judging
from eagleeye_tf.stages import search


def test_planted_answers_by_hand(bench_flags, planted, result, capsys):
    bench_flags(calibration="moving_average", calibration_momentum=0.25)
    planted(planting.PLAIN, **planting.ANSWERS)
    benchmark.main()
    assert "spearman_first_rung" in capsys.readouterr().out
    found = result()
    assert found["candidates"] == planting.COUNT
    # 1 - 6 · (squared differences of ranks) / (n · (n² - 1)); n = 16.
    two_by_15 = 1 - 6 * (15**2 + 15**2) / 4080
    sixteen_by_1 = 1 - 6 * 16 / 4080
    assert found["spearman_first_rung"] == pytest.approx(two_by_15)
    assert found["spearman_full"] == pytest.approx(sixteen_by_1)
    # The best of the first rung are 0 and 10 … 14; of those 14 wins. The
    # true best is 15, which no race lets go on; 14, 13 and 12 go on.
    assert found["plain_winner_on_judge_images"] == (20 + 3 * 15) / 100
    assert found["race_winner_on_judge_images"] == (20 + 3 * 14) / 100
    assert found["regret"] == pytest.approx(0.03)
    # 97 images are no reason to prefer one, 3 are.
    error = (0.03 * 0.97 / 100) ** 0.5
    assert found["regret_standard_error"] == pytest.approx(error)
    assert found["halves_whose_best_is_a_finalist"] == "3 of 4"
    assert found["finalists_of_a_half"] == "6 of 8"
    assert found["different_bests_of_halves"] == 4
    for moments in planting.Planted.moments:
        assert isinstance(moments, adaptive_bn.MovingAverage)
        assert moments.momentum == 0.25


def test_scores_that_are_all_the_same_agree_with_nothing(
    bench_flags, planted, result
):
    bench_flags()
    planted([50] * planting.COUNT, **planting.ANSWERS)
    benchmark.main()
    assert result()["spearman_first_rung"] == 0
    assert result()["spearman_full"] == 0
    # All are as good as the best.
    assert result()["halves_whose_best_is_a_finalist"] == "4 of 4"


@pytest.mark.slow
def test_winners_are_judged_on_images_that_chose_neither(bench_flags, model):
    """The first 96 training images are the plain protocol's."""
    bench_flags()
    job = benchmark.common.open_job()
    bench = benchmark._bench(job, model, search.study_settings(), None)
    images, labels = job.data.arrays(job.data.train.part(0, 260))
    right = []
    for proposal in bench.proposals[:2]:
        pruned = ee.prune(model, proposal.strategy.ratios)
        ee.adapt_batch_norm(pruned, images[96:160])
        answers = pruned.predict(images[160:], verbose=0).argmax(-1)
        right.append(answers == labels[160:])
    assert right[0].sum() != right[1].sum()
    found = benchmark_judging.regret(bench, *bench.proposals[:2])
    assert found["plain_winner_on_judge_images"] == right[0].mean()
    assert found["race_winner_on_judge_images"] == right[1].mean()
    difference = right[0].astype(int) - right[1]
    error = stats.sem(difference, ddof=0)
    assert found["regret_standard_error"] == pytest.approx(error)
