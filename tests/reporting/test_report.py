from eagleeye_tf.reporting import report

CANDIDATES = [
    {
        "index": 3,
        "strategy": {"a": 0.5, "b": 0.25},
        "kept": [4, 6],
        "macs": 500,
        "params": 30,
        "calibration_correct": 90,
        "calibration_total": 100,
        "correct": 150,
        "vanilla_correct": 20,
        "total": 200,
        "seconds": 2.0,
    },
    {
        "index": 9,
        "strategy": {"a": 0.1, "b": 0.6},
        "kept": [8, 3],
        "macs": 520,
        "params": 28,
        "calibration_correct": 90,
        "calibration_total": 100,
        "correct": 101,
        "vanilla_correct": 60,
        "total": 200,
        "seconds": 4.0,
    },
]
SEARCH = {
    "settings": {"macs": 0.5, "seed": 0},
    "drawn": 1234,
    "has_batch_norm": True,
    "full": {"macs": 1000, "params": 60},
    "candidates": CANDIDATES,
}


def winner(rank, correct):
    return {
        "rank": rank,
        "correct": correct,
        "total": 200,
        "candidate": CANDIDATES[rank - 1],
        "settings": {"learning_rate": 0.01},
        "epochs": [{}] * 5,
    }


def result(correct, macs, params, **more):
    return {
        "path": "p",
        "correct": correct,
        "total": 1000,
        "macs": macs,
        "params": params,
        **more,
    }


def written(best=2):
    return report.job_report(
        "net on data",
        "python -m eagleeye_tf --seed=0",
        SEARCH,
        {"best": best, "winners": [winner(1, 180), winner(2, 190)]},
        {
            "full": result(950, 1000, 60, groups=[["a", 8], ["b", 8]]),
            "pruned": result(940, 520, 28),
        },
        {"source": "finetune/2/model.keras", "largest_difference": 1.5e-6},
    )


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def rows_with(text, first):
    return [
        cells(line)
        for line in text.splitlines()
        if line.startswith("|") and cells(line)[0] == first
    ]


def test_outcome():
    text = written()
    assert rows_with(text, "full") == [
        ["full", "95.00%", "1,000 (100.00%)", "60 (100.00%)"]
    ]
    assert rows_with(text, "pruned") == [
        ["pruned", "94.00%", "520 (52.00%)", "28 (46.67%)"]
    ]


def test_search():
    text = written()
    assert "2 candidates out of 1,234 strategies drawn" in text
    assert "mean 62.75%, best 75.00%" in text
    assert "mean 20.00%, best 30.00%" in text
    assert "3.00 s per candidate" in text


def test_kept_channels_are_those_of_the_best_after_finetuning():
    assert rows_with(written(), "a") == [["a", "8", "8", "100%"]]
    assert rows_with(written(best=1), "a") == [["a", "4", "8", "50%"]]


def test_finetuning_marks_the_best():
    text = written()
    assert rows_with(text, "2 (best)") == [
        ["2 (best)", "50.50%", "95.00%", "5", "0.01"]
    ]
    assert "python -m eagleeye_tf --seed=0" in text
    assert "1.5e-06" in text
