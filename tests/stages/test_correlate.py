import json

import numpy as np
import pytest
import toys
from scipy import stats

from eagleeye_tf import errors
from eagleeye_tf.stages import correlate
from eagleeye_tf.stages import finetune


@pytest.fixture
def flags_of_study(set_flags, tmp_path):
    model = toys.chain(channels=(6, 9), classes=10)
    toys.scramble(model)
    path = tmp_path / "model.keras"
    model.save(path)

    def set_all(**more):
        values = {"model": str(path), "num_candidates": 5, "epochs": 2}
        values |= {"macs": 0.5, "tolerance": 0.2, "batch_size": 32}
        set_flags(**{**values, **more})

    return set_all


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()][1:]


def test_logs_are_the_truth(flags_of_study, tmp_path, monkeypatch, capsys):
    flags_of_study(phi_k=2)
    tune = finetune.tune
    tuned = []

    def killed(job, pruner, candidate, *more):
        if len(tuned) == 3:
            raise KeyboardInterrupt
        tuned.append(candidate.index)
        return tune(job, pruner, candidate, *more)

    monkeypatch.setattr(finetune, "tune", killed)
    with pytest.raises(KeyboardInterrupt):
        correlate.main()
    monkeypatch.setattr(
        finetune,
        "tune",
        lambda *a: tuned.append(a[2].index) or tune(*a),
    )
    correlate.main()
    assert len(tuned) == len(set(tuned)) == 5  # None is fine-tuned twice.
    told = capsys.readouterr().out
    folder = tmp_path / "work" / "correlate"
    assert not list(folder.glob("candidate_*"))
    ends = {r["index"]: r for r in lines_of(folder / "finetuned.jsonl")}
    scores = {
        r["index"]: r["correct"] / r["total"]
        for r in lines_of(folder / "scores.jsonl")
        if r["total"]
    }
    assert set(ends) == set(scores) and len(ends) == 5
    x = [scores[index] for index in sorted(ends)]
    y = [ends[index]["test_correct"] / 359 for index in sorted(ends)]
    assert all(ends[index]["test_total"] == 359 for index in ends)
    found = json.loads((folder / "result.json").read_text())
    assert found["candidates"] == 5 and found["phi_k"] == 2
    value = found["coefficients"]["adaptive BN"]["pearson"]["value"]
    assert value == pytest.approx(np.corrcoef(x, y)[0, 1])
    last = np.array([ends[index]["epochs"] for index in sorted(ends)]).T
    assert found["kendall_of_last_two_epochs"] == pytest.approx(
        stats.kendalltau(*last).statistic
    )
    assert f"from {min(y):.2%} to {max(y):.2%}" in told
    for name in ("correlation", "histograms"):
        assert (folder / f"{name}.png").stat().st_size > 10_000
        assert b"<svg" in (folder / f"{name}.svg").read_bytes()


def test_two_candidates_are_too_few(flags_of_study):
    flags_of_study(num_candidates=2)
    with pytest.raises(errors.InputError, match="at least three.*Received: 2"):
        correlate.main()
