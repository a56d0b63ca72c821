import json

import pytest

from eagleeye_tf import errors
from eagleeye_tf.stages import about
from eagleeye_tf.stages import report


def test_a_folder_without_results_is_told(tmp_path):
    with pytest.raises(errors.InputError, match="holds no results"):
        report.write(tmp_path)


def test_a_record_of_another_version_is_told(tmp_path):
    about.note(tmp_path, "net on data")
    (tmp_path / "correlate").mkdir()
    (tmp_path / "correlate" / "result.json").write_text('{"phi_k": 3}')
    with pytest.raises(errors.InputError, match="run its program again"):
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
