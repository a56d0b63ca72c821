import json

import numpy as np
import pytest
import toys
from scipy import stats
from test_summaries import read

from eagleeye_tf import errors
from eagleeye_tf.candidates import racing
from eagleeye_tf.reporting import study
from eagleeye_tf.stages import benchmark
from eagleeye_tf.stages import calibration_study
from eagleeye_tf.stages import correlate
from eagleeye_tf.stages import job as job_lib
from eagleeye_tf.stages import report
from eagleeye_tf.stages import tuning
from eagleeye_tf.training import records


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


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "work" / "correlate"


@pytest.fixture
def tuned_at_once(monkeypatch):
    """Nobody is trained, tested or drawn; indices of who should have been."""
    tuned = []

    def tune(job, pruner, candidate, directory, *_):
        tuned.append(candidate.index)
        directory.mkdir(parents=True)
        return None, [records.Epoch(1, 1.0, 0.1, 30, 64)]

    monkeypatch.setattr(tuning, "tune", tune)
    monkeypatch.setattr(job_lib.Job, "test", lambda *_: (100 + len(tuned), 359))
    monkeypatch.setattr(study, "FIGURES", ())
    return tuned


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()][1:]


def result_in(folder):
    return json.loads((folder / "result.json").read_text())


def test_logs_are_the_truth(
    flags_of_study, tmp_path, folder, monkeypatch, capsys
):
    flags_of_study(phi_k=2)
    tune = tuning.tune
    tuned = []

    def killed(job, pruner, candidate, *more):
        if len(tuned) == 3:
            raise KeyboardInterrupt
        tuned.append(candidate.index)
        return tune(job, pruner, candidate, *more)

    monkeypatch.setattr(tuning, "tune", killed)
    with pytest.raises(KeyboardInterrupt):
        correlate.main()
    interim = result_in(folder)
    assert (interim["candidates"], interim["planned"]) == (3, 5)
    monkeypatch.setattr(
        tuning,
        "tune",
        lambda *a: tuned.append(a[2].index) or tune(*a),
    )
    correlate.main()
    assert len(tuned) == len(set(tuned)) == 5  # None is fine-tuned twice.
    told = capsys.readouterr().out
    assert not list(folder.glob("candidate_*"))
    ends = {r["index"]: r for r in lines_of(folder / "finetuned.jsonl")}
    lines = lines_of(folder / "scores.jsonl")
    assert len(lines) == 2 * 5  # A rung is logged once, killed or not.
    scores = {
        r["index"]: r["correct"] / r["total"] for r in lines if r["finalist"]
    }
    assert set(ends) == set(scores) and len(ends) == 5
    assert len(lines_of(folder / "finetuned.jsonl")) == 5
    x = [scores[index] for index in sorted(ends)]
    y = [ends[index]["test_correct"] / 359 for index in sorted(ends)]
    assert all(ends[index]["test_total"] == 359 for index in ends)
    found = result_in(folder)
    assert found["candidates"] == 5 and found["phi_k"] == 2
    value = found["coefficients"]["adaptive BN"]["pearson"]["value"]
    assert value == pytest.approx(np.corrcoef(x, y)[0, 1])
    last = np.array([ends[index]["epochs"] for index in sorted(ends)]).T
    assert found["kendall_with_last_epoch"] == pytest.approx(
        [stats.kendalltau(epoch, last[-1]).statistic for epoch in last[:-1]]
    )
    assert f"from {min(y):.2%} to {max(y):.2%}" in told
    for name in ("correlation", "histograms"):
        assert (folder / f"{name}.png").stat().st_size > 10_000
        assert b"<svg" in (folder / f"{name}.svg").read_bytes()
    settings = found["settings"]
    assert settings["training"]["epochs"] == 2
    assert settings["split"]["sub_validation_images"] == 64
    assert (settings["macs"], settings["network"]) == (0.5, "model")

    # Anybody can draw it again, without network and images.
    for path in folder.iterdir():
        if path.suffix != ".jsonl" and path.name != "study.json":
            path.unlink()
    report.write(tmp_path / "work")
    written = (tmp_path / "work" / "report.md").read_text()
    table, _, words = told[told.index("| ") :].partition("\n\n")
    assert table in written and words.partition("\n")[0] in written
    for name in ("correlation", "histograms"):
        figure = tmp_path / "work" / "figures" / f"{name}.svg"
        assert b"<svg" in figure.read_bytes()

    summaries = read(tmp_path / "work" / "tensorboard" / "correlate")
    assert len(summaries["first_rung_score"]) == 5
    assert sorted(summaries["score"].values()) == pytest.approx(sorted(x))
    accuracies = summaries["fine_tuned_test_accuracy"].values()
    assert sorted(accuracies) == pytest.approx(sorted(y))


def test_a_smaller_study_takes_the_first_of_a_larger_one(
    flags_of_study, folder, tuned_at_once, monkeypatch
):
    """Of 8 candidates some came to the first rung alone, and are not asked."""
    flags_of_study(num_candidates=8)
    climb = racing.Race._climb

    def killed(race, proposals, number):
        if number == 2:
            raise KeyboardInterrupt
        climb(race, proposals, number)

    monkeypatch.setattr(racing.Race, "_climb", killed)
    with pytest.raises(KeyboardInterrupt):
        correlate.main()
    monkeypatch.setattr(racing.Race, "_climb", climb)
    flags_of_study(num_candidates=4)
    correlate.main()
    records = lines_of(folder / "scores.jsonl")
    least = min(r["total"] for r in records)
    first_rung = [r["index"] for r in records if r["total"] == least]
    assert len(first_rung) == 8
    assert tuned_at_once == sorted(first_rung)[:4]
    assert result_in(folder)["candidates"] == 4
    assert result_in(folder)["phi_k"] == 1  # A quarter of 4, not of 8.


def test_killed_after_fine_tuning_it_is_not_done_again(
    flags_of_study, folder, tuned_at_once, monkeypatch
):
    flags_of_study(num_candidates=3)
    rmtree = correlate.shutil.rmtree

    def killed(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(correlate.shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        correlate.main()
    assert len(lines_of(folder / "finetuned.jsonl")) == 1
    assert len(list(folder.glob("candidate_*"))) == 1
    monkeypatch.setattr(correlate.shutil, "rmtree", rmtree)
    correlate.main()
    assert len(tuned_at_once) == len(set(tuned_at_once)) == 3
    assert not list(folder.glob("candidate_*"))


def test_a_candidate_that_diverges_is_left_out(
    flags_of_study, folder, monkeypatch, capsys, request
):
    flags_of_study(num_candidates=4, epochs=1, learning_rate=1e30)
    really = tuning.tune
    tuned = request.getfixturevalue("tuned_at_once")
    at_once = tuning.tune

    def diverging(*arguments):
        if len(tuned) == 1:
            tuned.append(arguments[2].index)
            return really(*arguments)
        return at_once(*arguments)

    monkeypatch.setattr(tuning, "tune", diverging)
    correlate.main()
    ends = lines_of(folder / "finetuned.jsonl")
    assert [end["failure"] is None for end in ends] == [True, False, True, True]
    found = result_in(folder)
    assert (found["candidates"], found["planned"]) == (3, 4)
    assert found["failures"] == {str(ends[1]["index"]): ends[1]["failure"]}
    told = capsys.readouterr().out
    assert "3 of 4 candidates" in told and "1 failed in fine-tuning" in told
    assert not list(folder.glob("candidate_*"))
    correlate.main()
    assert len(tuned) == 4  # None is tried again.


def test_other_errors_are_not_taken_for_a_candidates(
    flags_of_study, monkeypatch
):
    flags_of_study(num_candidates=3)

    def broken(*_):
        raise errors.InputError("An image cannot be read.")

    monkeypatch.setattr(tuning, "tune", broken)
    with pytest.raises(errors.InputError, match="cannot be read"):
        correlate.main()


def test_all_diverge(flags_of_study, monkeypatch):
    flags_of_study(num_candidates=3)

    def diverging(*_):
        raise errors.DivergenceError("The training loss is nan in step 3.")

    monkeypatch.setattr(tuning, "tune", diverging)
    with pytest.raises(errors.InputError, match="lower --learning_rate"):
        correlate.main()


def test_statistics_are_those_that_were_asked_for(
    flags_of_study, tmp_path, tuned_at_once
):
    scores = {}
    for kind in ("exact", "moving_average"):
        # Almost all of the first value, (0, 1), stays.
        flags_of_study(
            num_candidates=3,
            calibration=kind,
            calibration_momentum=0.999,
            workdir=str(tmp_path / kind),
        )
        correlate.main()
        lines = lines_of(tmp_path / kind / "correlate" / "scores.jsonl")
        scores[kind] = [r["correct"] for r in lines if r["finalist"]]
    assert scores["exact"] != scores["moving_average"]


def test_accuracies_belong_to_an_augmentation(flags_of_study, tuned_at_once):
    flags_of_study(num_candidates=3, augmentation="none")
    correlate.main()
    flags_of_study(num_candidates=3, augmentation="shift")
    with pytest.raises(errors.InputError, match="augmentation was 'none'"):
        correlate.main()


def test_too_few_candidates(flags_of_study):
    flags_of_study(num_candidates=2)
    with pytest.raises(errors.InputError, match=r"at least 3.*Received: 2,"):
        correlate.main()


@pytest.mark.parametrize("algorithm", ["uniform", "evolution"])
def test_studies_draw_at_random(algorithm, flags_of_study):
    flags_of_study(search_algorithm=algorithm)
    for program in (correlate, calibration_study, benchmark):
        with pytest.raises(errors.InputError, match=f"Received: '{algorithm}'"):
            program.main()
