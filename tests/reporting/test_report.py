import html.parser

import pytest

from eagleeye_tf.reporting import document
from eagleeye_tf.reporting import report

CANDIDATES = [
    {
        "index": 3,
        "strategy": {"a": 0.5, "b": 0.25},
        "kept": [4, 6],
        "macs": 500,
        "params": 30,
        "activation_memory": 7,
        "finalist": True,
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
        "activation_memory": 7,
        "finalist": True,
        "calibration_correct": 90,
        "calibration_total": 100,
        "correct": 101,
        "vanilla_correct": 60,
        "total": 200,
        "seconds": 4.0,
    },
]
ABOUT = {
    "title": "net on data",
    "commands": ["python -m eagleeye_tf --seed=0"],
    "versions": {"tensorflow": "2.21.0"},
}
SEARCH = {
    "settings": {"macs": 0.5, "seed": 0},
    "drawn": 1234,
    "has_batch_norm": True,
    "latency": None,
    "full": {"macs": 1000, "params": 60, "activation_memory": 9},
    "groups": [["a", 8], ["b", 8]],
    "candidates": CANDIDATES,
}


def winner(rank, correct, held_out=True):
    return {
        "rank": rank,
        "correct": correct,
        "total": 200,
        "candidate": CANDIDATES[rank - 1],
        "held_out": held_out,
        "settings": {"learning_rate": 0.01},
        "epochs": [{}] * 5,
    }


def result(correct, macs, params):
    return {
        "path": "finetune/candidate_9/model.keras",
        "correct": correct,
        "total": 1000,
        "macs": macs,
        "params": params,
    }


COEFFICIENTS = {
    name: {"value": 0.51, "low": -0.1, "high": 0.9}
    for name in ("pearson", "spearman", "kendall", "phi")
}
CORRELATION = {
    "candidates": 24,
    "planned": 24,
    "failures": {},
    "phi_k": 6,
    "accuracies": [0.8, 0.9],
    "coefficients": {"vanilla": COEFFICIENTS, "adaptive BN": COEFFICIENTS},
    "adaptive_bn_minus_vanilla": COEFFICIENTS,
    "kendall_with_last_epoch": [0.5, 0.75],
    "settings": {
        "network": "resnet20",
        "split": {"sub_validation_images": 5000},
        "params": None,
        "training": {"epochs": 6, "schedule": "constant"},
    },
}
CALIBRATION = {
    "candidates": 12,
    "curve": [
        {
            "images": 1280,
            "mean": 0.5,
            "best": 0.625,
            "kendall": 1.0,
            "spearman": 1.0,
        }
    ],
    "distances": [],
    "settings": {"network": "resnet56", "macs": 0.5},
}
TRAINING = {
    "settings": {"model": "resnet20", "weights": None, "epochs": 350},
    "epochs": [
        {"epoch": 1, "correct": 50, "total": 200},
        {"epoch": 2, "correct": 150, "total": 200},
    ],
    "is_over": False,
}


def records(best=2):
    return {
        "about": ABOUT,
        "training": TRAINING,
        "correlation": CORRELATION,
        "calibration": CALIBRATION,
        "benchmark": {"seconds": 0.5},
        "sensitivity": {
            "names": ["first", "last"],
            "ratios": [0.25, 0.75],
            "scores": [[0.5, 0.25], [0.75, 0.125]],
            "full_score": 1.0,
        },
        "search": SEARCH,
        "finetuning": {
            "best": best,
            "winners": [winner(1, 180), winner(2, 190)],
        },
        "evaluation": {
            "full": result(950, 1000, 60),
            "pruned": result(940, 520, 28),
        },
        "export": {
            "source": "finetune/candidate_9/model.keras",
            "largest_difference": 1.5e-6,
        },
    }


def written(best=2):
    return document.to_markdown(report.build(records(best), {}), None)


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
    assert "(trained on)" not in text
    assert "python -m eagleeye_tf --seed=0" in text
    assert "1.5e-06" in text


def test_images_that_were_trained_on_are_told():
    some = records()
    some["finetuning"] = {"best": 1, "winners": [winner(1, 180, False)]}
    text = document.to_markdown(report.build(some, {}), None)
    assert rows_with(text, "1 (best)")[0][2] == "90.00% (trained on)"


def test_exported_files():
    some = records()
    some["export"]["macs"] = {"full": 100}
    some["export"]["files"] = [
        {
            "network": "pruned",
            "format": "litert_int8",
            "path": "m.tflite",
            "bytes": 12_345_678,
            "difference": 0.25,
            "correct": 931,
            "total": 1000,
            "latency_ms": [1.234, 0.567],
        }
    ]
    text = document.to_markdown(report.build(some, {}), None)
    row = [
        "pruned",
        "litert_int8",
        "12,346",
        "93.10%",
        "2.5e-01",
        "1.23",
        "0.57",
    ]
    assert row in rows_with(text, "pruned")


TITLES = {
    "evaluation": "Result",
    "training": "Training",
    "sensitivity": "Sensitivity",
    "search": "Search",
    "finetuning": "Fine-tuning",
    "export": "Export",
    "correlation": "Correlation study",
    "calibration": "Calibration study",
    "benchmark": "Benchmark",
    "about": "To reproduce",
}


def test_every_record_is_known():
    assert set(TITLES) == {*report.RECORDS, "training", "correlation"}


@pytest.mark.parametrize("missing", sorted({*TITLES} - {"about"}))
def test_a_workdir_may_hold_any_part(missing):
    some = {n: r for n, r in records().items() if n != missing}
    titles = [section.title for section in report.build(some, {}).sections]
    assert titles == [t for name, t in TITLES.items() if name != missing]
    alone = {n: records()[n] for n in ("about", missing)}
    titles = [section.title for section in report.build(alone, {}).sections]
    assert titles == [TITLES[missing], "To reproduce"]


def test_what_no_longer_belongs_together_is_told():
    """Fine-tuned again, the other winner is best; then searched again."""
    text = written(best=1)
    index = CANDIDATES[0]["index"]
    for name in ("Result", "Export"):
        told = f"{name} is of finetune/candidate_9/model.keras, while "
        assert f"{told}fine-tuning has left candidate_{index} best" in text
    assert "Out of date" not in written(best=2)
    made_anew = records(best=2)
    for record in (
        made_anew["finetuning"]["winners"][1],
        made_anew["evaluation"]["pruned"],
        made_anew["export"],
    ):
        record["model_fingerprint"] = "old"
    assert report.build(made_anew, {}).sections[0].title == "Result"
    made_anew["finetuning"]["winners"][1]["model_fingerprint"] = "new"
    first, *_ = report.build(made_anew, {}).sections
    assert [block.text for block in first.blocks] == [
        f"{name} is of an earlier finetune/candidate_9/model.keras: "
        "candidate_9 has been fine-tuned again since."
        for name in ("Result", "Export")
    ]
    some = records()
    some["search"] = {**SEARCH, "candidates": CANDIDATES[::-1]}
    first, *_ = report.build(some, {}).sections
    assert "other candidates in front" in first.blocks[0].text


def test_scores_of_groups_cut_alone():
    text = written()
    assert rows_with(text, "(none)") == [["(none)", "100.00%", "100.00%"]]
    assert rows_with(text, "last") == [["last", "75.00%", "12.50%"]]


def test_markdown_holds_no_foreign_html():
    some = records()
    some["about"] = {**ABOUT, "title": "<b>net"}
    some["export"] = {**some["export"], "error": "<script>"}
    text = document.to_markdown(report.build(some, {}), None)
    assert "# &lt;b>net" in text or "# &lt;b&gt;net" in text
    assert "<script>" not in text


def test_studies_say_what_was_studied():
    text = written()
    assert rows_with(text, "vanilla") == [
        ["vanilla", *["0.51 [-0.10, 0.90]"] * 4]
    ]
    assert rows_with(text, "adaptive BN − vanilla") == [
        ["adaptive BN − vanilla", *["+0.51 [-0.10, +0.90]"] * 4]
    ]
    for name in ("resnet20", "resnet56"):
        assert ["network", name] in rows_with(text, "network")
    assert rows_with(text, "split: sub_validation_images")[0][1] == "5000"
    assert rows_with(text, "training: epochs")[0][1] == "6"
    assert not rows_with(text, "params")  # Not given.
    assert rows_with(text, "1,280") == [
        ["1,280", "50.00%", "62.50%", "1.000", "1.000"]
    ]


def test_settings_of_training_and_of_fine_tuning():
    text = written()
    assert "After epoch 2 it has 75.00% of the sub-validation images" in text
    assert ["epochs", "350"] in rows_with(text, "epochs")
    assert rows_with(text, "learning_rate") == [["learning_rate", "0.01"]]
    some = records()
    for changes, told in (
        ({}, "No epoch is over yet."),
        ({"is_over": True}, "The log of its epochs is gone."),
        (
            {"settings": {"weights": "imagenet"}, "is_over": True},
            "came with its weights",
        ),
    ):
        some["training"] = {**TRAINING, "epochs": [], **changes}
        text = document.to_markdown(report.build(some, {}), None)
        assert told in text


class Reader(html.parser.HTMLParser):
    """Notes tags, and the text of table cells."""

    def __init__(self):
        super().__init__()
        self.tags, self.cells, self.sources = [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")
        self.sources += [v for name, v in attributes if name == "src"]

    def handle_endtag(self, tag):
        self.tags.append(f"/{tag}")

    def handle_data(self, data):
        if self.tags and self.tags[-1] in ("td", "th"):
            self.cells[-1] += data


def read(text):
    reader = Reader()
    reader.feed(text)
    return reader


def test_html_has_the_same_tables_and_needs_nothing_else(tmp_path):
    picture = tmp_path / "kept.svg"
    picture.write_text("<svg/>")
    built = report.build(records(), {"kept": picture})
    text = document.to_html(built)
    found = read(text)
    for cell in ("94.00%", "520 (52.00%)", "2 (best)", "75.00%", "2.21.0"):
        assert cell in found.cells
    assert found.sources == ["data:image/svg+xml;base64,PHN2Zy8+"]
    assert "http" not in text and "<script" not in text
    markdown = document.to_markdown(built, tmp_path)
    assert "![Kept channels of each group.](kept.svg)" in markdown


def test_names_are_data():
    evil = "<script>alert('x')</script>"
    some = records()
    some["search"] = {**SEARCH, "groups": [[evil, 8], ["b", 8]]}
    some["export"] = {**some["export"], "source": evil}
    some["about"] = {**ABOUT, "title": evil, "commands": [evil]}
    text = document.to_html(report.build(some, {}))
    assert "script" not in read(text).tags
    assert text.count("&lt;script&gt;") >= 5
