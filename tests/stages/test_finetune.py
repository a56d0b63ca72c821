import dataclasses
import json
import shutil
import warnings

import digit_models
import keras
import numpy as np
import pytest
import toys
from absl import flags

import eagleeye_tf as ee
from eagleeye_tf import errors
from eagleeye_tf.stages import common
from eagleeye_tf.stages import finetune
from eagleeye_tf.stages import fitting
from eagleeye_tf.stages import search


@pytest.fixture
def searched(set_flags):
    """Function that searches a network's strategies; returns the job."""

    def search_for(model, **values):
        set_flags(
            model=model,
            macs=0.5,
            tolerance=0.2,
            num_candidates=3,
            epochs=1,
            **values,
        )
        job = common.open_job()
        search.search(job)
        return job

    return search_for


def test_what_was_searched_is_what_is_fine_tuned(searched):
    """The same channels, whatever the importance, and as many."""
    model = toys.chain(channels=(16, 24), classes=10)
    toys.scramble(model)
    job = searched(
        model,
        importance="random",
        round_to=4,
        learning_rate=1e-8,
        weight_decay=0.0,
    )
    result = finetune.finetune(job)
    tuned = keras.models.load_model(finetune.best_path(job, result))
    (winner,) = result["winners"]
    path = job.workdir / "search" / "result.json"
    first, _ = json.loads(path.read_text())["rankings"]
    kept = winner["candidate"]["kept"]
    assert [n % 4 for n in kept] == [0, 0]
    assert tuned.get_layer("conv1").filters == kept[1]
    kernel = np.asarray(model.get_layer("conv0").kernel)
    np.testing.assert_allclose(
        tuned.get_layer("conv0").kernel,
        kernel[..., sorted(first[: kept[0]])],
        atol=1e-5,
    )
    l1 = np.argsort(-np.abs(kernel).sum((0, 1, 2)))
    assert sorted(first[: kept[0]]) != sorted(l1[: kept[0]])
    # A file that was removed is made again of the checkpoint.
    finetune.best_path(job, result).unlink()
    assert finetune.finetune(job) == result
    again = keras.models.load_model(finetune.best_path(job, result))
    for a, b in zip(again.weights, tuned.weights, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("winners", "told"), [(2, None), (3, "Only 2 candidates were scored")]
)
def test_winners_have_seen_all_images(set_flags, winners, told):
    """Who stayed behind in the race has no score to be chosen by."""
    set_flags(num_winners=winners)
    finalists = True, True, False
    candidates = [{"index": i, "finalist": f} for i, f in enumerate(finalists)]
    found = {"candidates": candidates, "latency": None}
    if told is None:
        assert finetune._winners(found) == candidates[:2]
    else:
        with pytest.raises(ee.InputError, match=told):
            finetune._winners(found)


def test_a_winner_that_fine_tuning_spoils_is_told(searched, monkeypatch):
    job = searched(digit_models.trained(), augmentation="shift")
    fit, right = fitting.fit, 64

    def known(*arguments, **options):
        """Fine-tunes; what comes of it is as it may be."""
        (epoch,) = fit(*arguments, **options)
        return [dataclasses.replace(epoch, correct=right)]

    monkeypatch.setattr(fitting, "fit", known)
    with warnings.catch_warnings():
        warnings.simplefilter("error", errors.PlausibilityWarning)
        finetune.finetune(job)
    shutil.rmtree(job.workdir / "finetune")
    right = 7
    told = "10.94% instead of .*--augmentation, now shift.*--recalibrate"
    with pytest.warns(errors.PlausibilityWarning, match=told):
        finetune.finetune(job)


def test_other_budgets_than_those_of_the_search_are_told(
    set_flags, monkeypatch
):
    found = ee.SearchSettings(macs=0.5, round_to=8).identity()
    set_flags(macs=0.1, round_to=8)
    search.require_same(found)  # Not given, but the defaults of a test.
    for name in ("macs", "round_to", "seed"):
        monkeypatch.setattr(flags.FLAGS[name], "present", 1)
    set_flags(seed=3)
    with pytest.raises(errors.InputError, match="--macs=0.5. Received: .*=0.1"):
        search.require_same(found)
    set_flags(macs=0.5, round_to=8, seed=3)
    search.require_same(found)
    monkeypatch.setattr(flags.FLAGS["exclude"], "present", 1)
    set_flags(macs=0.5, round_to=8, exclude=["conv1"])
    told = "--exclude=. Received: --exclude=conv1"
    with pytest.raises(errors.InputError, match=told):
        search.require_same(found)


@pytest.mark.parametrize("other", [{"num_winners": 2}, {"recalibrate": True}])
def test_nothing_is_chosen_by_images_that_were_trained_on(set_flags, other):
    set_flags(all_training_images=True, **other)
    with pytest.raises(ee.InputError, match=f"--{next(iter(other))} chooses"):
        finetune.training_settings(common.open_job())


def test_all_training_images_are_tuned_on_when_asked(
    set_flags, tmp_path, monkeypatch
):
    sizes = []
    fit = fitting.fit

    def noted(model, job, *arguments, **options):
        sizes.append(job.data.train.size)
        return fit(model, job, *arguments, **options)

    monkeypatch.setattr(fitting, "fit", noted)
    path = tmp_path / "model.keras"
    model = toys.chain(classes=10)
    toys.scramble(model)
    model.save(path)
    set_flags(
        model=str(path),
        all_training_images=True,
        num_candidates=2,
        tolerance=0.2,
        epochs=1,
    )
    job = common.open_job()
    search.search(job)
    (winner,) = finetune.finetune(job)["winners"]
    folder = finetune.best_path(job, {"winners": [winner], "best": 1}).parent
    settings = json.loads((folder / "settings.json").read_text())
    assert settings["all_training_images"]
    assert sizes == [1797 - 359]
    assert not winner["held_out"]
    assert winner["total"] == 64


@pytest.mark.parametrize(
    "evaluation, candidates, winners, match",
    [
        ("race", 100, 7, "scores 6 on all"),
        ("race", 4, 5, "scores 4 on all"),
        ("full", 10, 11, "scores 10 on all"),
        ("race", 400, 13, None),
        ("full", 10, 10, None),
    ],
)
def test_more_winners_than_finalists(
    set_flags, evaluation, candidates, winners, match
):
    """Of 400 an eighth goes on to the second rung, of 50 a quarter: 13."""
    set_flags(
        evaluation=evaluation, num_candidates=candidates, num_winners=winners
    )
    settings = search.search_settings()
    if match is None:
        finetune.require_candidates(settings)
        return
    with pytest.raises(errors.InputError, match=match):
        finetune.require_candidates(settings)


def test_finetuning_needs_the_split_of_the_search(set_flags, tmp_path):
    toys.chain(classes=10).save(tmp_path / "m.keras")
    common_flags = {
        "model": str(tmp_path / "m.keras"),
        "num_candidates": 1,
        "tolerance": 0.05,
    }
    set_flags(**common_flags)
    search.search(common.open_job())
    set_flags(**common_flags, calibration_images=65)
    with pytest.raises(
        errors.InputError, match="calibration_images was 64, now it is 65"
    ):
        finetune.finetune(common.open_job())


def test_finetuning_needs_a_search(set_flags):
    set_flags(model=toys.chain(classes=10))
    with pytest.raises(errors.InputError, match="no finished search"):
        finetune.finetune(common.open_job())


def test_finetuning_needs_the_searched_model(set_flags, tmp_path):
    set_flags(
        model=toys.chain(classes=10),
        num_candidates=1,
        macs=0.5,
        tolerance=0.05,
    )
    search.search(common.open_job())
    keras.utils.set_random_seed(7)
    toys.chain(classes=10).save(tmp_path / "m.keras")
    with pytest.raises(errors.InputError, match="made with another model"):
        finetune.finetune(common.open_job())
