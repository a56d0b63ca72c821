import pytest

from eagleeye_tf import errors
from eagleeye_tf import locks


def test_a_folder_is_for_one_at_a_time(tmp_path):
    folder = tmp_path / "new"
    with locks.of_folder(folder, "training"):
        with pytest.raises(errors.InputError, match="Another training.*/new"):
            with locks.of_folder(folder, "training"):
                pass
    with locks.of_folder(folder, "training"):
        pass
