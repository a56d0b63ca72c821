import keras
import pytest
import toys

from eagleeye_tf import errors
from eagleeye_tf import files
from eagleeye_tf import locks


def test_readers_see_the_old_file_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "deep" / "scores.json"
    with files.replacing(path) as temporary:
        temporary.write_text("old")
    with files.replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
        assert temporary.parent == path.parent
        assert temporary.suffix == ".json"
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


def test_what_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "scores.json"
    path.write_text("old")
    with pytest.raises(OSError, match="full"):
        with files.replacing(path) as temporary:
            temporary.write_text("ne")
            raise OSError("the disk is full")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_json_there_and_back(tmp_path):
    path = tmp_path / "deep" / "value.json"
    assert files.read_json(path) is None
    files.write_json(path, {"a": [1, 2.5, None]})
    assert files.read_json(path) == {"a": [1, 2.5, None]}
    assert [p.name for p in path.parent.iterdir()] == ["value.json"]


def test_damaged_json_is_named(tmp_path):
    path = tmp_path / "value.json"
    path.write_text('{"a": ')
    with pytest.raises(errors.InputError, match="value.json.*damaged"):
        files.read_json(path)


def test_failed_write_keeps_the_old_content(tmp_path):
    path = tmp_path / "value.json"
    files.write_json(path, 1)
    with pytest.raises(ValueError):
        files.write_json(path, float("nan"))
    assert files.read_json(path) == 1


def test_models_are_replaced_whole(tmp_path):
    path = tmp_path / "m.keras"
    files.save_model(toys.chain(), path)
    files.save_model(toys.chain(classes=7), path)
    assert keras.models.load_model(path).output.shape == (None, 7)
    assert [p.name for p in tmp_path.iterdir()] == ["m.keras"]


def test_folder_is_tied_to_its_settings(tmp_path):
    files.claim(tmp_path, {"epochs": 3, "kept": (1, 2)})
    files.claim(tmp_path, {"epochs": 3, "kept": (1, 2)})
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(errors.InputError, match="epochs was 3, now it is 4"):
        files.claim(tmp_path, {"epochs": 4, "kept": (1, 2)})


def test_a_claim_of_which_nothing_came_is_taken_over(tmp_path):
    files.claim(tmp_path, {"epochs": 3})
    (tmp_path / "lock").touch()
    files.claim(tmp_path, {"epochs": 4})
    assert files.read_json(tmp_path / "settings.json") == {"epochs": 4}


def test_a_claim_is_not_taken_over_from_somebody_at_work(tmp_path):
    files.claim(tmp_path, {"epochs": 3})
    with locks.of_folder(tmp_path, "training"):
        files.claim(tmp_path, {"epochs": 3})
        with pytest.raises(errors.InputError, match="Another training"):
            files.claim(tmp_path, {"epochs": 4})
        assert files.read_json(tmp_path / "settings.json") == {"epochs": 3}
        files.claim(tmp_path, {"epochs": 5}, is_locked=True)
    assert files.read_json(tmp_path / "settings.json") == {"epochs": 5}


def test_what_a_killed_process_did_not_finish_is_nothing(tmp_path):
    files.claim(tmp_path, {"epochs": 3})
    with files.replacing(tmp_path / "epochs.jsonl") as temporary:
        temporary.touch()
        left = temporary.name
    (tmp_path / "epochs.jsonl").rename(tmp_path / left)
    files.claim(tmp_path, {"epochs": 4})
    assert files.read_json(tmp_path / "settings.json") == {"epochs": 4}


def test_folders_that_are_patterns():
    files.check_path("runs/été (1)")
    for path in ("runs/mine[1]", "runs/*/a", "what?"):
        with pytest.raises(errors.InputError, match="none of"):
            files.check_path(path)
