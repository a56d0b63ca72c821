import json
import pathlib
import types

import numpy as np
import toys

from eagleeye_tf.data import sources
from eagleeye_tf.data import splits
from eagleeye_tf.deployment import formats
from eagleeye_tf.deployment import latency
from eagleeye_tf.stages import export


def test_networks_are_timed_side_by_side(monkeypatch, tmp_path):
    """Two networks in two formats: who is who must not get lost."""

    def write(name, size):
        path = tmp_path / f"{name}.keras"
        toys.chain(channels=(size, size), classes=10).save(path)
        return {"keras": path, "other": path}

    def measure(paths, threads, shape):
        seconds = {"full": 40.0, "pruned": 20.0}
        return [seconds[pathlib.Path(p).stem] / threads for p in paths]

    monkeypatch.setattr(latency, "measure", measure)
    source = sources.open_source("digits")
    job = types.SimpleNamespace(
        data=splits.split(source, (8, 8, 3), 64, 64), batch_size=32
    )
    networks = {"full": write("full", 8), "pruned": write("pruned", 4)}
    records = export._measured(job, networks, np.zeros((4, 8, 8, 3)))
    assert [(r["network"], r["latency_ms"]) for r in records] == [
        ("full", [40.0, 20.0])
    ] * 2 + [("pruned", [20.0, 10.0])] * 2


def test_every_file_is_measured(set_flags, tmp_path, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(
        latency, "measure", lambda *a: asked.append(a) or [float(len(asked))]
    )
    model = toys.chain(classes=10)
    toys.scramble(model)
    path = tmp_path / "model.keras"
    model.save(path)
    set_flags(model=str(path), format=["litert", "litert_int8"])
    export.main()
    told = capsys.readouterr().out
    folder = tmp_path / "work" / "export"
    found = json.loads((folder / "result.json").read_text())["files"]
    names = ["keras", "saved_model", "litert", "litert_int8"]
    # `--model` itself is exported: there is no pruned network beside it.
    assert [(r["network"], r["format"]) for r in found] == [
        ("full", name) for name in names
    ]
    digits = splits.split(sources.open_source("digits"), (8, 8, 3), 64, 64)
    images, labels = digits.arrays(digits.test)
    answers = toys.outputs(model, images.astype(np.float32)).argmax(-1)
    correct = int((answers == labels).sum())
    for record in found[:3]:
        assert (record["correct"], record["total"]) == (correct, 359)
        assert record["bytes"] == formats.size(record["path"])
    assert abs(found[3]["correct"] - correct) < 36 and found[3]["difference"]
    assert [threads for _, threads, _ in asked] == [1, 2] * 4
    assert "|    full | litert_int8 |" in told and "7.00 |" in told
