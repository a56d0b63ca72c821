import dataclasses
import json
import pathlib
import sys
import types

import digit_models
import keras
import numpy as np
import pytest
import toys

from eagleeye_tf import __main__ as whole_job
from eagleeye_tf import errors
from eagleeye_tf.data import sources
from eagleeye_tf.data import splits
from eagleeye_tf.deployment import exporting
from eagleeye_tf.deployment import formats
from eagleeye_tf.deployment import litert
from eagleeye_tf.deployment import stopwatch
from eagleeye_tf.stages import common
from eagleeye_tf.stages import export
from eagleeye_tf.stages import report


@pytest.fixture(scope="module")
def digits():
    return digit_models.for_test()


@pytest.fixture
def timed(monkeypatch):
    """Calls of `stopwatch.measure`, which takes the number of the call."""
    calls = []

    def measure(paths, threads, shape, modules):
        calls.append((paths, threads, shape, modules))
        return [float(len(calls))] * len(paths)

    monkeypatch.setattr(stopwatch, "measure", measure)
    return calls


def read_result(tmp_path):
    path = tmp_path / "work" / "export" / "result.json"
    return json.loads(path.read_text())


def test_networks_are_timed_side_by_side(set_flags, monkeypatch, tmp_path):
    """Two networks in two formats: who is who must not get lost."""

    def write(name, size):
        path = tmp_path / f"{name}.keras"
        toys.chain(channels=(size, size), classes=10).save(path)
        return [
            exporting.ExportedFile(format, path, 1, 0.0)
            for format in ("keras", "other")
        ]

    def measure(paths, threads, shape, modules):
        seconds = {"full": 40.0, "pruned": 20.0}
        return [seconds[pathlib.Path(p).stem] / threads for p in paths]

    monkeypatch.setattr(stopwatch, "measure", measure)
    source = sources.open_source("digits")
    job = types.SimpleNamespace(
        data=splits.split(source, (8, 8, 3), 64, 64), batch_size=32
    )
    networks = {"full": write("full", 8), "pruned": write("pruned", 4)}
    records = export._measured(job, networks)
    assert [(r["network"], r["latency_ms"]) for r in records] == [
        ("full", [40.0, 20.0])
    ] * 2 + [("pruned", [20.0, 10.0])] * 2


def test_every_file_is_measured(set_flags, tmp_path, timed, digits, capsys):
    path = tmp_path / "model.keras"
    model = digit_models.nearest_mean(digits)
    model.save(path)
    set_flags(
        model=str(path),
        format=["litert", "litert_int8"],
        custom_modules=["toys"],
    )
    export.main()
    told = capsys.readouterr().out
    found = read_result(tmp_path)["files"]
    names = ["keras", "saved_model", "litert", "litert_int8"]
    # `--model` itself is exported: there is no pruned network beside it.
    assert [(r["network"], r["format"]) for r in found] == [
        ("full", name) for name in names
    ]
    correct = digit_models.correct(model, digits)
    assert correct > 0.8 * 359
    for record in found[:3]:
        assert (record["correct"], record["total"]) == (correct, 359)
        assert record["bytes"] == formats.size(record["path"])
    largest = np.abs(toys.outputs(model, digits[0])).max()
    assert 0 < found[3]["difference"] < 0.2 * largest
    assert [threads for _, threads, _, _ in timed] == [1, 2] * 4
    assert all(call[2:] == ((8, 8, 3), ["toys"]) for call in timed)
    assert "|    full | litert_int8 |" in told and "7.00 |" in told
    assert "WARNING" not in told


def test_pruned_network_beside_the_whole(set_flags, tmp_path, timed, digits):
    whole, pruned = tmp_path / "whole.keras", tmp_path / "pruned.keras"
    full = digit_models.nearest_mean(digits)
    full.save(whole)
    smaller = digit_models.nearest_mean(digits, pool=2)
    smaller.save(pruned)
    set_flags(model=str(whole), format=["litert"])
    export.export(common.open_job(), pruned)
    found = read_result(tmp_path)
    assert found["source"] == str(pruned)
    folders = {"full": "export/full", "pruned": "export"}
    expected = [
        (network, format, f"{folders[network]}/{file}")
        for network in ("full", "pruned")
        for format, file in [
            ("keras", "model.keras"),
            ("saved_model", "saved_model"),
            ("litert", "model_float32.tflite"),
        ]
    ]
    work = tmp_path / "work"
    assert [
        (r["network"], r["format"], str(pathlib.Path(r["path"])))
        for r in found["files"]
    ] == [(n, format, str(work / path)) for n, format, path in expected]
    correct = [digit_models.correct(x, digits) for x in (full, smaller)]
    assert correct[0] != correct[1]
    assert [r["correct"] for r in found["files"]] == sorted(3 * correct)[::-1]
    assert found["files"][5]["bytes"] < found["files"][2]["bytes"]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_nothing_of_an_earlier_export_stays(set_flags, tmp_path, digits):
    path = tmp_path / "model.keras"
    digit_models.nearest_mean(digits).save(path)
    folder = tmp_path / "work" / "export"
    (folder / "full").mkdir(parents=True)
    for kind in formats.FORMATS.values():
        (folder / kind.file).touch()
        (folder / "full" / kind.file).touch()
    set_flags(model=str(path))
    export.main()
    assert names(folder) == ["model.keras", "result.json", "saved_model"]
    assert (folder / "model.keras").read_bytes() == path.read_bytes()


def write_opposite(monkeypatch, name, folder):
    """Lets a format write a network whose logits have the opposite sign."""

    def write(model, saved, path, images):
        other = keras.Model(model.inputs, -model.outputs[0])
        other.export(str(folder), format="tf_saved_model", verbose=False)
        litert.convert(folder, path, "float32", images)

    kind = dataclasses.replace(formats.FORMATS[name], write=write)
    monkeypatch.setitem(formats.FORMATS, name, kind)


def test_wrong_file_is_not_kept(
    set_flags, tmp_path, monkeypatch, timed, digits
):
    """And costs none of the others."""
    path = tmp_path / "model.keras"
    digit_models.nearest_mean(digits).save(path)
    folder = tmp_path / "work" / "export"
    folder.mkdir(parents=True)
    (folder / "result.json").write_text("{}")
    write_opposite(monkeypatch, "litert", tmp_path / "opposite")
    set_flags(model=str(path), format=["litert", "litert_float16"])
    told = "float32.tflite differ from .*leave out litert.$"
    with pytest.raises(errors.ExportError, match=told):
        export.main()
    assert names(folder) == [
        "model.keras",
        "model_float16.tflite",
        "result.json",
        "saved_model",
    ]
    written = json.loads((folder / "result.json").read_text())["files"]
    assert [file["format"] for file in written] == [
        "keras",
        "saved_model",
        "litert_float16",
    ]
    page = report.write(tmp_path / "work").read_text()
    assert "failed: " in page and "float32.tflite differ from" in page


def test_large_fall_in_accuracy_is_told(
    set_flags, tmp_path, monkeypatch, timed, digits, capsys
):
    path = tmp_path / "model.keras"
    model = digit_models.nearest_mean(digits)
    model.save(path)
    write_opposite(monkeypatch, "litert_int8", tmp_path / "opposite")
    set_flags(model=str(path), format=["litert_int8"])
    export.main()
    told = capsys.readouterr().out.splitlines()
    (line,) = (line for line in told if line.startswith("WARNING"))
    share = digit_models.correct(model, digits) / 359
    assert "model_int8.tflite" in line and f"one of {share:.2%}" in line


def test_two_points_are_a_large_fall(capsys):
    def record(format, correct):
        return {
            "network": "full",
            "format": format,
            "path": format,
            "correct": correct,
            "total": 1000,
        }

    export._warn_of_large_falls([record("keras", 900), record("onnx", 881)])
    assert capsys.readouterr().out == ""
    export._warn_of_large_falls([record("keras", 900), record("onnx", 879)])
    assert "onnx has a test accuracy of 87.90%" in capsys.readouterr().out


def test_model_in_an_older_format(set_flags, tmp_path, timed, digits):
    path = tmp_path / "model.h5"
    model = digit_models.nearest_mean(digits)
    model.save(path)
    set_flags(model=str(path), format=["litert"])
    export.main()
    copy = tmp_path / "work" / "export" / "model.keras"
    again = keras.models.load_model(copy)
    images = digits[0][:5]
    np.testing.assert_allclose(
        toys.outputs(again, images), toys.outputs(model, images), rtol=1e-5
    )
    assert timed[0][0] == [str(copy)]


def test_network_in_the_folder_to_replace(set_flags, tmp_path, digits):
    path = tmp_path / "work" / "export" / "full" / "model.keras"
    path.parent.mkdir(parents=True)
    digit_models.nearest_mean(digits).save(path)
    set_flags(model=str(path))
    with pytest.raises(errors.InputError, match="copy it elsewhere"):
        export.main()
    assert path.exists()


def test_whole_network_in_the_folder_that_an_export_replaces(
    set_flags, tmp_path
):
    path = tmp_path / "work" / "export" / "model.keras"
    path.parent.mkdir(parents=True)
    toys.chain(classes=10).save(path)
    set_flags(model=str(path))
    with pytest.raises(errors.InputError, match="copy it elsewhere"):
        whole_job.main()


def test_name_without_training(set_flags):
    set_flags(model="resnet20", width=0.25)
    with pytest.raises(errors.InputError, match="run eagleeye_tf.train"):
        export.main()


@pytest.mark.parametrize("program", [whole_job, export])
def test_missing_package_is_told_at_once(set_flags, monkeypatch, program):
    def too_late(job):
        raise AssertionError("The package was not asked for.")

    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setitem(sys.modules, "tf2onnx", types.ModuleType("tf2onnx"))
    monkeypatch.setattr(whole_job.train, "train", too_late)
    set_flags(format=["onnx"])
    with pytest.raises(errors.InputError, match="package onnxruntime"):
        program.main()


def test_budgets_out_of_reach_are_told_before_any_training(
    set_flags, monkeypatch
):
    def too_late(job):
        raise AssertionError("It trains.")

    monkeypatch.setattr(whole_job.train, "train", too_late)
    set_flags(model="resnet20", width=0.25, macs=0.01)
    with pytest.raises(errors.InputError, match="meets 1.0000%.*can have"):
        whole_job.main()


def test_failed_export_does_not_cost_the_report(
    set_flags, tmp_path, monkeypatch, digits
):
    def fail(job, path):
        raise errors.ExportError("No.")

    path = tmp_path / "model.keras"
    digit_models.nearest_mean(digits).save(path)
    monkeypatch.setattr(whole_job.search, "search", lambda job: {})
    monkeypatch.setattr(whole_job.search, "in_words", lambda found: "")
    monkeypatch.setattr(whole_job.finetune, "finetune", lambda job: {})
    monkeypatch.setattr(whole_job.finetune, "best_path", lambda *_: path)
    monkeypatch.setattr(whole_job.export, "export", fail)
    set_flags(model=str(path))
    with pytest.raises(errors.ExportError, match="No."):
        whole_job.main()
    work = tmp_path / "work"
    evaluation = json.loads((work / "evaluation.json").read_text())
    assert evaluation["pruned"]["total"] == 359
    assert (work / "report.html").exists()
