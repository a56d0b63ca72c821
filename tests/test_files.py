import pytest

from eagleeye_tf import files


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
