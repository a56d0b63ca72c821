import dataclasses
import types

from eagleeye_tf.candidates.log import Candidate
from eagleeye_tf.pruning.cost import Cost
from eagleeye_tf.pruning.strategy import PruningStrategy
from eagleeye_tf.reporting import tables


def candidate(correct, vanilla, macs):
    return Candidate(
        index=0,
        strategy=PruningStrategy((("a", 0.5),)),
        kept=(4,),
        macs=macs,
        params=30,
        activation_memory=7,
        finalist=True,
        calibration_correct=3,
        calibration_total=4,
        correct=correct,
        vanilla_correct=vanilla,
        total=200,
        seconds=1.0,
    )


RANKED = (candidate(150, 20, 500), candidate(101, 60, 250))


def test_a_race_in_words():
    behind = [
        dataclasses.replace(
            RANKED[0],
            finalist=False,
            calibration_correct=right,
            calibration_total=40,
            correct=45,
            vanilla_correct=None,
            total=60,
        )
        for right in (5, 30)
    ]
    further = dataclasses.replace(behind[0], total=120)
    text = tables.in_words([*RANKED, further, *behind], 1234, True)
    # (5 + 45) and (30 + 45) of 100; 150 and 101 of 200.
    assert "5 candidates out of 1,234 strategies drawn; 2 came to" in text
    assert "had 62.50% of its 100 images right, the best of them 75.00%" in text
    assert "On 200 sub-validation images: adaptive-BN score mean 62.75%" in text


def test_columns_line_up():
    text = tables.table(("a", "long"), [("1", "2"), ("300", "4")])
    assert text == "\n".join(
        [
            "|   a | long |",
            "|----:|-----:|",
            "|   1 |    2 |",
            "| 300 |    4 |",
        ]
    )


def test_a_bar_in_a_cell_ends_no_column():
    first, _, second = tables.table(("a", "b"), [("x|y", "2")]).splitlines()
    assert second == r"| x\|y | 2 |"
    assert len(first) == len(second)


def test_candidates():
    header, _, first, second = str(
        tables.candidates(
            RANKED, Cost(macs=1000, params=60, activation_memory=9)
        )
    ).splitlines()
    names = [cell.strip() for cell in header.strip("|").split("|")]
    assert names == ["rank", "score", "vanilla score", "MACs", "parameters"]
    assert [cell.strip() for cell in first.strip("|").split("|")] == [
        "1",
        "75.00%",
        "10.00%",
        "500 (50.00%)",
        "30 (50.00%)",
    ]
    assert "50.50%" in second and "250 (25.00%)" in second


def test_at_most_so_many_rows():
    cost = Cost(macs=1000, params=60, activation_memory=9)
    assert len(tables.candidates(RANKED, cost, limit=1).rows) == 1


def test_summary():
    result = types.SimpleNamespace(
        candidates=RANKED,
        finalists=RANKED,
        full_cost=Cost(macs=1000, params=60, activation_memory=9),
        drawn=1234,
        has_batch_norm=True,
    )
    text = tables.search_summary(result)
    assert "2 candidates out of 1,234 strategies drawn" in text
    assert "adaptive-BN score mean 62.75%, best 75.00%;" in text
    assert "vanilla score mean 20.00%, best 30.00%." in text
    assert "BatchNormalization" not in text
    result.has_batch_norm = False
    text = tables.search_summary(result)
    assert "all scores are vanilla" in text
    assert text.count("score mean") == 1 and "adaptive" not in text


def test_files_that_do_not_become_faster_are_told():
    """A tenth above the share of MACs is no news, more is."""

    def file(network, name, *latency_ms):
        return {
            "network": network,
            "format": name,
            "latency_ms": list(latency_ms),
        }

    files = [
        file("full", "keras", 10.0, 8.0),
        file("full", "litert", 10.0, 10.0),
        file("full", "onnx", 10.0, 10.0),
        file("pruned", "keras", 9.0, 8.4),
        file("pruned", "litert", 5.4, 5.6),
    ]
    macs = {"full": 200, "pruned": 100}
    assert tables.slower_in_words(files, macs) == (
        "Latency falls less than MACs do, of which 50.0% are left: keras "
        "90.0% on 1 thread, keras 105.0% on 2 threads, litert 56.0% on 2 "
        "threads."
    )
    assert tables.slower_in_words(files[4:], macs) == ""
    assert tables.slower_in_words(files, {"full": 200}) == ""
