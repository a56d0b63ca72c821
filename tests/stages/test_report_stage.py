import dataclasses
import json
import time

import pytest

from eagleeye_tf import errors
from eagleeye_tf import files
from eagleeye_tf.candidates import log
from eagleeye_tf.pruning.strategy import PruningStrategy
from eagleeye_tf.reporting import calibration
from eagleeye_tf.reporting import study
from eagleeye_tf.stages import about
from eagleeye_tf.stages import report


def test_a_folder_without_results_is_told(tmp_path):
    with pytest.raises(errors.InputError, match="holds no results"):
        report.write(tmp_path)


@pytest.mark.parametrize(
    "path, content",
    [
        ("calibration_study/result.json", {"candidates": 3}),  # KeyError
        ("calibration_study/result.json", {"curve": 3, "distances": 4}),
        ("calibration_study/result.json", [1, 2]),  # TypeError
        ("calibration_study/result.json", {"curve": [], "distances": []}),
        ("search/result.json", {"candidates": [3]}),
        ("train/settings.json", ["weights"]),
    ],
)
def test_a_record_of_another_version_is_told(path, content, tmp_path):
    about.note(tmp_path, "net on data")
    (tmp_path / path).parent.mkdir()
    (tmp_path / path).write_text(json.dumps(content))
    with pytest.raises(errors.InputError, match="run its program again"):
        report.write(tmp_path)


@pytest.mark.parametrize("line", ["{", '{"index": 1}', "[]", '"x"'])
def test_a_log_that_somebody_changed_is_told(line, tmp_path):
    about.note(tmp_path, "net on data")
    folder = tmp_path / "correlate"
    plan = study.Plan([0], [[0, 32], [64, 64]], 1, {})
    files.write_json(folder / "study.json", dataclasses.asdict(plan))
    for name in ("scores", "finetuned"):
        (folder / f"{name}.jsonl").write_text(f'{{"schema": 1}}\n{line}\n')
    with pytest.raises(errors.InputError, match="run its program again"):
        report.write(tmp_path)


def test_a_study_that_has_just_begun_says_how_far_it_is(tmp_path):
    about.note(tmp_path, "net on data")
    folder = tmp_path / "correlate"
    plan = study.Plan([3, 5, 8, 9], [[0, 32], [64, 64]], 1, {})
    files.write_json(folder / "study.json", dataclasses.asdict(plan))
    ends = [
        study.FineTuned(3, [40], 64, 50, 64),
        study.FineTuned(4, [40], 64, 50, 64),  # Of a study of more.
        study.FineTuned(8, [], 0, 0, 0, "The loss is nan."),
        study.FineTuned(9, [], 0, 0, 0, "The loss is nan."),
    ]
    # The last line is being written.
    lines = ['{"schema": 1}', *(json.dumps(vars(e)) for e in ends), '{"ind']
    (folder / "finetuned.jsonl").write_text("\n".join(lines))
    scored = [
        log.Candidate(
            index=index,
            strategy=PruningStrategy((("a", 0.5),)),
            kept=(4,),
            finalist=calibration_total > 0,
            calibration_correct=9,
            calibration_total=calibration_total,
            correct=30,
            vanilla_correct=None,
            total=total,
            seconds=1.0,
            macs=10,
            params=5,
            activation_memory=7,
        )
        for index in plan.candidates
        for total, calibration_total in plan.rungs
    ]
    lines = ['{"schema": 1}', *(json.dumps(c.to_json()) for c in scored), ""]
    (folder / "scores.jsonl").write_text("\n".join(lines))
    assert (
        "Of 4 candidates 1 are fine-tuned to the end and 2 diverged; "
        "coefficients take at least 3."
    ) in report.write(tmp_path).read_text()


def test_the_calibration_study_is_drawn_from_its_record(tmp_path):
    about.note(tmp_path, "net on data")
    point = calibration.Point(128, 0.5, 0.6, 1.0, 1.0)
    distance = calibration.Distance("bn", 0.5, 0.4, 0.1, 0.2)
    record = {
        "candidates": 3,
        "curve": [dataclasses.asdict(point)],
        "distances": [dataclasses.asdict(distance)],
        "settings": {"network": "resnet56"},
    }
    files.write_json(tmp_path / "calibration_study" / "result.json", record)
    page = report.write(tmp_path).read_text()
    assert page.count("data:image/svg+xml;base64,") == 2
    for name in ("calibration", "distances"):
        figure = tmp_path / "figures" / f"{name}.svg"
        assert b"<svg" in figure.read_bytes()


def test_a_refused_command_is_not_one_to_reproduce(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["search", "--macs=0.5"])
    about.note(tmp_path, "title")
    (tmp_path / "log.jsonl").write_text("{}")
    about.withdraw()  # Refused in the end, but something came of it.
    monkeypatch.setattr("sys.argv", ["search", "--macs=9"])
    time.sleep(0.02)  # A file system's clock may be as coarse as that.
    about.note(tmp_path, "title")
    about.withdraw()
    known = json.loads((tmp_path / "about.json").read_text())
    assert [c.split()[-1] for c in known["commands"]] == ["--macs=0.5"]


def test_a_folder_with_refused_commands_alone_holds_no_results(tmp_path):
    about.note(tmp_path, "title")
    about.withdraw()
    with pytest.raises(errors.InputError, match="holds no results"):
        report.write(tmp_path)


def test_commands_come_once_and_the_first_title_stays(tmp_path, monkeypatch):
    commands = [["search", "--seed=1"], ["export"], ["search", "--seed=1"]]
    for number, command in enumerate(commands):
        monkeypatch.setattr("sys.argv", command)
        about.note(tmp_path, f"title {number}")
    known = json.loads((tmp_path / "about.json").read_text())
    assert known["title"] == "title 0"
    first, second = known["commands"]
    assert first.endswith("--seed=1") and "--seed" not in second
    assert known["versions"]["Python"].startswith("3.")
    path = report.write(tmp_path)
    page = path.read_text()
    assert "title 0" in page and "--seed=1" in page
