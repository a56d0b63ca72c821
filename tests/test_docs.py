"""What is committed under docs/: results are those of their records."""

import json
import pathlib

import pytest

from eagleeye_tf.reporting import study

DOCS = pathlib.Path(__file__).parents[1] / "docs"
STUDIES = sorted(DOCS.glob("*/correlate"))


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
