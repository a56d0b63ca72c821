"""What is committed under docs/: results are those of their records."""

import json
import pathlib
import shutil

import numpy as np
import pytest
from scipy import stats

from eagleeye_tf.reporting import calibration
from eagleeye_tf.reporting import study
from eagleeye_tf.stages import report

DOCS = pathlib.Path(__file__).parents[1] / "docs"
STUDIES = sorted(DOCS.glob("*/correlate"))
CALIBRATIONS = sorted(DOCS.glob("*/calibration_study"))


def leaves(value, name=""):
    """`{path: number or text}` of whatever JSON holds."""
    if isinstance(value, (dict, list)):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        return {
            path: leaf
            for key, part in pairs
            for path, leaf in leaves(part, f"{name}/{key}").items()
        }
    return {name: value}


@pytest.mark.parametrize("folder", STUDIES, ids=lambda f: f.parent.name)
def test_results_are_those_of_the_records(folder):
    plan, whole = study.read(folder)
    found = leaves(study.to_json(plan, whole))
    written = leaves(json.loads((folder / "result.json").read_text()))
    assert found.keys() == written.keys()
    for name, value in written.items():
        expected = value
        if isinstance(value, float):
            expected = pytest.approx(value)
        assert found[name] == expected, name


@pytest.mark.parametrize("folder", STUDIES, ids=lambda f: f.parent.name)
def test_tables_are_those_of_the_results(folder):
    result = json.loads((folder / "result.json").read_text())
    assert str(study.table(result)) in (DOCS / "README.md").read_text()


@pytest.mark.parametrize("folder", CALIBRATIONS, ids=lambda f: f.parent.name)
def test_calibration_curves_are_those_of_the_records(folder):
    result = json.loads((folder / "result.json").read_text())
    _, *lines = (folder / "log.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert len(records) == result["candidates"] == 40
    correct = np.array([record["correct"] for record in records])
    for place, point in enumerate(result["curve"]):
        assert point["images"] == records[0]["images"][place]
        scores = correct[:, place] / records[0]["total"]
        assert point["mean"] == pytest.approx(scores.mean())
        assert point["best"] == pytest.approx(scores.max())
        for name, coefficient in (
            ("spearman", stats.spearmanr),
            ("kendall", stats.kendalltau),
        ):
            agreement = coefficient(scores, correct[:, -1]).statistic
            assert point[name] == pytest.approx(agreement)
    points = [calibration.Point(**point) for point in result["curve"]]
    assert str(calibration.table(points)) in (DOCS / "README.md").read_text()


@pytest.mark.parametrize(
    "folder", STUDIES + CALIBRATIONS, ids=lambda f: f.parent.name
)
def test_anybody_can_redraw_it(folder, tmp_path):
    records = [*folder.glob("*.json"), *folder.glob("*.jsonl")]
    assert sum(path.stat().st_size for path in records) < 1e6
    copy = tmp_path / "copy"
    copy.mkdir()
    shutil.copy(folder.parent / "about.json", copy)
    shutil.copytree(
        folder,
        copy / folder.name,
        ignore=shutil.ignore_patterns("*.png", "*.svg"),
    )
    page = report.write(copy).read_text()
    assert page.count("data:image/svg+xml;base64,") == 2
