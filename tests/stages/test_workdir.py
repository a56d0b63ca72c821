import keras
import pytest
import toys

from eagleeye_tf import errors
from eagleeye_tf.stages import workdir


def test_json_there_and_back(tmp_path):
    path = tmp_path / "deep" / "value.json"
    assert workdir.read_json(path) is None
    workdir.write_json(path, {"a": [1, 2.5, None]})
    assert workdir.read_json(path) == {"a": [1, 2.5, None]}
    assert [p.name for p in path.parent.iterdir()] == ["value.json"]


def test_damaged_json_is_named(tmp_path):
    path = tmp_path / "value.json"
    path.write_text('{"a": ')
    with pytest.raises(errors.InputError, match="value.json.*damaged"):
        workdir.read_json(path)


def test_failed_write_keeps_the_old_content(tmp_path):
    path = tmp_path / "value.json"
    workdir.write_json(path, 1)
    with pytest.raises(ValueError):
        workdir.write_json(path, float("nan"))
    assert workdir.read_json(path) == 1


def test_models_are_replaced_whole(tmp_path):
    path = tmp_path / "m.keras"
    workdir.save_model(toys.chain(), path)
    workdir.save_model(toys.chain(classes=7), path)
    assert keras.models.load_model(path).output.shape == (None, 7)
    assert [p.name for p in tmp_path.iterdir()] == ["m.keras"]


def test_folder_is_tied_to_its_settings(tmp_path):
    workdir.claim(tmp_path, {"epochs": 3, "kept": (1, 2)})
    workdir.claim(tmp_path, {"epochs": 3, "kept": (1, 2)})
    with pytest.raises(errors.InputError, match="epochs=3, now it is 4"):
        workdir.claim(tmp_path, {"epochs": 4, "kept": (1, 2)})
