import json

import pytest

from eagleeye_tf import errors
from eagleeye_tf.candidates import log
from eagleeye_tf.pruning.strategy import PruningStrategy

IDENTITY = {"model": "abc", "seed": 0}


def candidate(index, correct=5):
    return log.Candidate(
        index=index,
        strategy=PruningStrategy((("a", 0.25), ("b", 0.1 + 0.2))),
        kept=(3, 5),
        macs=1000,
        params=10,
        activation_memory=20,
        finalist=True,
        calibration_correct=3,
        calibration_total=4,
        correct=correct,
        vanilla_correct=1,
        total=8,
        seconds=0.5,
    )


def write(path, *candidates):
    with log.SearchLog(path, IDENTITY) as opened:
        for item in candidates:
            opened.append(item)


def test_what_was_written_is_read_in_order(tmp_path):
    path = tmp_path / "deep" / "log.jsonl"
    write(path, candidate(7), candidate(2))
    with log.SearchLog(path, IDENTITY) as opened:
        assert opened.candidates == [candidate(2), candidate(7)]
        assert opened.torn == 0


def test_scores():
    assert candidate(0).score == 5 / 8
    assert candidate(0).vanilla_score == 1 / 8


def test_each_candidate_is_on_disk_at_once(tmp_path):
    path = tmp_path / "log.jsonl"
    with log.SearchLog(path, IDENTITY) as opened:
        opened.append(candidate(0))
        assert len(path.read_text().splitlines()) == 2


def test_torn_anywhere_in_the_last_two_lines(tmp_path):
    path = tmp_path / "log.jsonl"
    write(path, *map(candidate, range(3)))
    whole = path.read_bytes()
    starts = [i + 1 for i, byte in enumerate(whole) if byte == ord("\n")]
    for end in range(starts[1], len(whole)):
        path.write_bytes(whole[:end])
        left = 2 if end >= starts[2] else 1
        with log.SearchLog(path, IDENTITY) as opened:
            assert opened.candidates == [candidate(i) for i in range(left)]
            assert opened.torn == end - starts[left]
            for index in range(left, 3):
                opened.append(candidate(index))
        assert path.read_bytes() == whole


def test_removed_or_replaced_while_it_is_open(tmp_path):
    path = tmp_path / "log.jsonl"
    with log.SearchLog(path, IDENTITY) as opened:
        opened.append(candidate(0))
        kept = path.read_bytes()
        path.unlink()
        with pytest.raises(FileNotFoundError, match="was removed"):
            opened.append(candidate(1))
        path.write_bytes(kept)
        with pytest.raises(FileNotFoundError, match="or replaced"):
            opened.append(candidate(1))
    assert path.read_bytes() == kept


def test_logs_of_one_search_are_merged_by_concatenation(tmp_path):
    paths = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    write(paths[0], candidate(0), candidate(2))
    write(paths[1], candidate(2), candidate(1))
    merged = tmp_path / "merged.jsonl"
    merged.write_bytes(b"".join(path.read_bytes() for path in paths))
    with log.SearchLog(merged, IDENTITY) as opened:
        assert opened.candidates == [candidate(i) for i in range(3)]
    other = tmp_path / "other.jsonl"
    with log.SearchLog(other, {**IDENTITY, "seed": 1}):
        pass
    merged.write_bytes(paths[0].read_bytes() + other.read_bytes())
    with pytest.raises(errors.InputError, match="Line 4"):
        with log.SearchLog(merged, IDENTITY):
            pass


def test_torn_header(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text(f'{{"schema": {log.SCHEMA}, "mo')
    write(path, candidate(0))
    assert len(path.read_text().splitlines()) == 2
    path.write_text("my notes")  # No log at all.
    with pytest.raises(errors.InputError, match="Line 1"):
        write(path, candidate(0))
    assert path.read_text() == "my notes"


@pytest.mark.parametrize("key", ["model", "seed"])
def test_log_of_another_search(tmp_path, key):
    path = tmp_path / "log.jsonl"
    write(path, candidate(0))
    with pytest.raises(errors.InputError, match=f"search: {key} was"):
        with log.SearchLog(path, {**IDENTITY, key: "other"}):
            pass


def test_a_setting_that_is_not_given_any_more(tmp_path):
    path = tmp_path / "log.jsonl"
    with log.SearchLog(path, {**IDENTITY, "exclude": ["conv"]}) as opened:
        opened.append(candidate(0))
    told = r"search: exclude was \['conv'\], now it is None"
    with pytest.raises(errors.InputError, match=told):
        with log.SearchLog(path, IDENTITY):
            pass


@pytest.mark.parametrize("line", ["not JSON", '{"index": 3}', "[1]", '"text"'])
def test_foreign_line(tmp_path, line):
    path = tmp_path / "log.jsonl"
    write(path, candidate(0))
    with open(path, "a") as file:
        file.write(line + "\n")
    with pytest.raises(errors.InputError, match="Line 3"):
        with log.SearchLog(path, IDENTITY):
            pass


@pytest.mark.parametrize("correct", [None, "12", -1, 10_000])
def test_a_line_that_somebody_changed(tmp_path, correct):
    path = tmp_path / "log.jsonl"
    write(path, candidate(0))
    header, line = path.read_text().splitlines()
    changed = {**json.loads(line), "correct": correct}
    path.write_text(f"{header}\n{json.dumps(changed)}\n")
    with pytest.raises(errors.InputError, match="Line 2"):
        with log.SearchLog(path, IDENTITY):
            pass


def test_file_that_is_no_log(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text(json.dumps({"some": "thing"}) + "\n")
    with pytest.raises(errors.InputError, match="Line 1"):
        with log.SearchLog(path, IDENTITY):
            pass


def test_two_searches_refuse_each_other(tmp_path):
    path = tmp_path / "log.jsonl"
    with log.SearchLog(path, IDENTITY):
        with pytest.raises(errors.InputError, match="Another search"):
            with log.SearchLog(path, IDENTITY):
                pass
    write(path)  # Free again.
