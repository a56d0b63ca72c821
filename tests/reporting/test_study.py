import pytest

from eagleeye_tf.candidates.log import Candidate
from eagleeye_tf.pruning.strategy import PruningStrategy
from eagleeye_tf.reporting import study


def found(**more):
    """What a study came to, in which adaptive BN is perfect."""
    accuracies = [0.90, 0.91, 0.92, 0.93, 0.94]
    whole = study.Study(
        indices=[0, 1, 2, 3, 4],
        ways={
            "vanilla": [5, 4, 3, 2, 1],
            "adaptive BN": [1, 2, 3, 4, 5],
        },
        accuracies=accuracies,
        epochs=[[2, 1, 3, 5, 4], [1, 2, 3, 5, 4], [1, 2, 3, 4, 5]],
        failures=more.get("failures", {}),
    )
    plan = study.Plan(
        candidates=list(range(more.get("planned", 5))),
        rungs=[[512, 256], [2560, 1280]],
        phi_k=2,
        settings={"training": {"schedule": more.get("schedule", "constant")}},
    )
    return study.to_json(plan, whole)


def test_difference_is_told():
    result = found()
    gap = result["adaptive_bn_minus_vanilla"]
    assert gap["kendall"]["value"] == pytest.approx(2.0)  # 1 − (−1)
    # The best two are 4th and 5th in vanilla evaluation.
    assert gap["phi"]["value"] == pytest.approx(1 - (2 / 5 + 2 / 4) / 2)
    row = study.table(result).rows[-1]
    assert row[0] == "adaptive BN − vanilla"
    assert row[3] == "+2.00 [+2.00, +2.00]"
    words = study.in_words(result)
    assert "Kendall τ +2.00 [+2.00, +2.00], φ(2) +0.55 [" in words
    assert words.startswith("5 candidates fine-tuned; test accuracy after")


def test_steadiness_at_the_end_of_a_cosine_is_no_evidence():
    constant, cosine = (
        study.in_words(found(schedule=s)) for s in ("constant", "cosine")
    )
    assert "after epoch 3: 0.60 after epoch 1, 0.80 after epoch 2." in constant
    assert "near 0" in cosine and "near 0" not in constant


def test_unfinished_and_failed_are_told():
    words = study.in_words(found(planned=9, failures={7: "Loss is nan."}))
    assert "5 of 9 candidates fine-tuned" in words
    assert "1 failed in fine-tuning and are left out" in words
    assert "candidate 7: Loss is nan." in words


def test_phi_looks_for_no_more_than_there_are():
    plan = study.Plan([0, 1, 2], [], 12, {})
    whole = study.Study(
        [0, 1, 2],
        {"vanilla": [1, 2, 3], "adaptive BN": [1, 2, 3]},
        [0.1, 0.2, 0.3],
        [],
        {},
    )
    assert study.to_json(plan, whole)["phi_k"] == 3


def test_phi_of_a_study_that_goes_on_looks_for_a_quarter():
    """The two best of five would be found by luck more often than not."""
    assert found(planned=5)["phi_k"] == 2
    assert found(planned=9)["phi_k"] == 1
    assert found(planned=6, failures={7: "Loss is nan."})["phi_k"] == 2


def test_each_way_of_scoring_is_its_own():
    def candidate(index, seen, **counts):
        calibration_total, total = seen
        return Candidate(
            index=index,
            strategy=PruningStrategy((("a", 0.5),)),
            kept=(4,),
            activation_memory=7,
            total=total,
            calibration_total=calibration_total,
            seconds=1.0,
            **counts,
        )

    scored, tuned = {}, {}
    for index in (5, 3, 9):
        costs = {"macs": 1000 + index, "params": 100 + index}
        first = candidate(
            index,
            (100, 50),
            finalist=False,
            calibration_correct=60 + index,
            correct=20 + index,
            vanilla_correct=None,
            **costs,
        )
        full = candidate(
            index,
            (200, 100),
            finalist=True,
            calibration_correct=110 + index,
            correct=70 + index,
            vanilla_correct=10 + index,
            **costs,
        )
        scored[index] = first, full
        tuned[index] = study.FineTuned(
            index, [30 + index, 35 + index, 40 + index], 100, 800 + index, 1000
        )
    whole = study.Study.of(scored, tuned)
    assert whole.indices == [3, 5, 9]
    assert whole.ways == {
        "vanilla": [0.13, 0.15, 0.19],
        "adaptive BN": [0.73, 0.75, 0.79],
        # All answers of the first rung, of both sets.
        "first rung": [86 / 150, 90 / 150, 98 / 150],
        "after one epoch": [0.33, 0.35, 0.39],
        "parameters": [103, 105, 109],
        "MACs": [1003, 1005, 1009],
    }
    assert whole.accuracies == [0.803, 0.805, 0.809]
    assert whole.epochs[-2:] == [[0.38, 0.40, 0.44], [0.43, 0.45, 0.49]]
