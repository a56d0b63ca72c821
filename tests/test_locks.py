import pytest

from eagleeye_tf import errors
from eagleeye_tf import locks


def test_a_folder_is_for_one_at_a_time(tmp_path):
    folder = tmp_path / "new"
    with locks.of_folder(folder, "training"):
        with pytest.raises(errors.InputError, match="Another training.*/new"):
            with locks.of_folder(folder, "training"):
                pass
    with locks.of_folder(folder, "training") as require_present:
        require_present()
        (folder / "lock").rename(tmp_path / "elsewhere")
        with pytest.raises(FileNotFoundError, match="while the training"):
            require_present()
        (folder / "lock").write_text("somebody else's")
        with pytest.raises(FileNotFoundError, match="start again"):
            require_present()
