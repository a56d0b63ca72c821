import json

import numpy as np
import toys

from eagleeye_tf.data import sources
from eagleeye_tf.data import splits
from eagleeye_tf.deployment import formats
from eagleeye_tf.deployment import latency
from eagleeye_tf.stages import export


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
