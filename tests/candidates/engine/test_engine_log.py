import dataclasses
import functools
import json

import digit_models
import numpy as np
import pytest
import searching

import eagleeye_tf as ee
from eagleeye_tf.candidates import evaluator
from eagleeye_tf.pruning import importance as importance_lib


def _spread(sign, kernels):
    return sign * kernels[0].std(axis=1)


def test_evolution_goes_on_where_it_was_killed(
    model, images, examples, tmp_path, two_replicas
):
    settings = dataclasses.replace(
        searching.SETTINGS,
        algorithm="evolution",
        num_candidates=40,
        tolerance=0.2,
    )
    whole = ee.search(model, images, examples, settings)
    path = tmp_path / "log.jsonl"
    left = 32  # In the second generation.

    def stop(*_):
        nonlocal left
        left -= 1
        if left == 0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ee.search(model, images, examples, settings, path, on_evaluation=stop)
    again = ee.search(model, images, examples, settings, path, two_replicas)
    assert searching.scores(again) == searching.scores(whole)
    assert path.read_text().count("\n") == 1 + 40


def test_torn_log_is_told(model, images, examples, tmp_path):
    path = tmp_path / "log.jsonl"
    whole = ee.search(model, images, examples, searching.SETTINGS, path)
    assert whole.torn == 0
    path.write_bytes(path.read_bytes()[:-7])
    again = ee.search(model, images, examples, searching.SETTINGS, path)
    assert again.torn > 0
    assert searching.scores(again) == searching.scores(whole)


@pytest.mark.parametrize(
    "stop_after",
    [
        5,
        pytest.param(14, marks=pytest.mark.slow),
        pytest.param(17, marks=pytest.mark.slow),
    ],
)
def test_a_race_killed_on_two_replicas_ends_as_on_one(
    model, examples, tmp_path, two_replicas, stop_after
):
    """In the middle of a rung, or between two: 14 candidates, then 6."""
    settings = dataclasses.replace(
        searching.SETTINGS, evaluation="race", num_candidates=14
    )
    calibration = tuple(x[:300] for x in digit_models.for_training())
    alone = ee.search(model, calibration, examples, settings)
    seen = {c.seen for c in alone.candidates}
    assert sorted(seen) == [(13, 256), (50, 300)]
    left = stop_after

    def stop(*_):
        nonlocal left
        left -= 1
        if left == 0:
            raise KeyboardInterrupt

    arguments = model, calibration, examples, settings, tmp_path / "log.jsonl"
    with pytest.raises(KeyboardInterrupt):
        ee.search(*arguments, two_replicas, on_evaluation=stop)
    again = ee.search(*arguments, two_replicas)
    assert searching.scores(again) == searching.scores(alone)


def test_continued_search_scores_nothing_twice(
    model, images, examples, tmp_path, monkeypatch
):
    path = tmp_path / "log.jsonl"
    whole = ee.search(model, images, examples, searching.SETTINGS)

    def stop(candidate, evaluations):
        if stop.left == 0:
            raise KeyboardInterrupt
        stop.left -= 1

    stop.left = 2
    with pytest.raises(KeyboardInterrupt):
        ee.search(
            model,
            images,
            examples,
            searching.SETTINGS,
            path,
            on_evaluation=stop,
        )
    evaluated = set()
    calibrate = evaluator.Evaluator.calibrate

    def noted(self, trials, *arguments, **options):
        evaluated.update(trial.strategy for trial in trials)
        return calibrate(self, trials, *arguments, **options)

    monkeypatch.setattr(evaluator.Evaluator, "calibrate", noted)
    continued = ee.search(model, images, examples, searching.SETTINGS, path)
    assert len(evaluated) == 1  # Three were logged when it was stopped.
    assert searching.scores(continued) == searching.scores(whole)
    assert continued.drawn == whole.drawn


def test_search_can_be_extended(model, images, examples, tmp_path):
    path = tmp_path / "log.jsonl"
    fewer = dataclasses.replace(searching.SETTINGS, num_candidates=2)
    ee.search(model, images, examples, fewer, path)
    extended = ee.search(model, images, examples, searching.SETTINGS, path)
    whole = ee.search(model, images, examples, searching.SETTINGS)
    assert searching.scores(extended) == searching.scores(whole)


@pytest.mark.parametrize(
    "what", ["model", "calibration_set", "sub_validation_set"]
)
def test_log_of_other_inputs_is_refused(
    model, images, examples, tmp_path, what
):
    path = tmp_path / "log.jsonl"
    one = dataclasses.replace(searching.SETTINGS, num_candidates=1)
    ee.search(model, images, examples, one, path)
    if what == "model":
        model = ee.prune(model, 0.0)
        model.get_layer("logits").bias.assign([1.0, *[0] * 9])
    elif what == "calibration_set":
        images = images + 1
    else:
        examples = (examples[0], (examples[1] + 1) % 10)
    with pytest.raises(ee.InputError, match=f"{what} is not the same"):
        ee.search(model, images, examples, one, path)


@pytest.mark.parametrize(
    "changes",
    [
        {"batch_size": 8},
        {"calibration": "moving_average"},
        {"seed": 1},
        {"macs": 0.55},
        {"importance": "l2"},
        {"evaluation": "race"},
        {"algorithm": "random"},
    ],
)
def test_log_of_other_settings_is_refused(model, examples, tmp_path, changes):
    path = tmp_path / "log.jsonl"
    one = dataclasses.replace(searching.SETTINGS, num_candidates=1)
    ee.search(model, examples, examples, one, path)
    (name,) = changes
    with pytest.raises(ee.InputError, match=name):
        ee.search(
            model,
            examples,
            examples,
            dataclasses.replace(one, **changes),
            path,
        )


def test_a_log_knows_what_a_users_function_does(
    model, images, examples, tmp_path
):
    """Two lambdas have one name; a partial and an object have none."""

    class Spread:
        def __init__(self, sign):
            self.sign = sign

        def __call__(self, kernels):
            return _spread(self.sign, kernels)

    def run(importance, name):
        settings = dataclasses.replace(
            searching.SETTINGS, importance=importance
        )
        ee.search(model, images, examples, settings, tmp_path / name)

    run(lambda kernels: kernels[0].std(axis=1), "lambda")
    run(lambda kernels: kernels[0].std(axis=1), "lambda")  # Goes on.
    with pytest.raises(ee.InputError, match="rankings"):
        run(lambda kernels: -kernels[0].std(axis=1), "lambda")
    run(Spread(1), "object")
    with pytest.raises(ee.InputError, match="rankings"):
        run(Spread(-1), "object")
    run(functools.partial(_spread, 1), "partial")


def test_a_search_goes_on_with_the_rankings_that_it_began_with(
    model, images, examples, tmp_path, monkeypatch
):
    """Elsewhere, gradients are rounded otherwise, and other channels cut."""
    settings = dataclasses.replace(searching.SETTINGS, importance="taylor")
    first = ee.search(model, examples, examples, settings, tmp_path / "log")
    of_group = importance_lib.Taylor.of_group
    monkeypatch.setattr(
        importance_lib.Taylor, "of_group", lambda *args: -of_group(*args)
    )
    again = ee.search(model, examples, examples, settings, tmp_path / "log")
    (tmp_path / "log.rankings.json").unlink()
    with pytest.raises(ee.InputError, match="log.rankings.json' tells"):
        ee.search(model, examples, examples, settings, tmp_path / "log")
    anew = ee.search(model, examples, examples, settings, tmp_path / "other")
    for before, after, other in zip(
        first.pruner.rankings,
        again.pruner.rankings,
        anew.pruner.rankings,
        strict=True,
    ):
        np.testing.assert_array_equal(before, after)
        assert (before != other).any()
    assert (
        searching.scores(again)
        == searching.scores(first)
        != searching.scores(anew)
    )


def test_lines_of_other_networks_do_not_count(
    model, images, examples, tmp_path
):
    """As in a log that was put together of those of several machines."""
    path = tmp_path / "log.jsonl"
    known = ee.search(model, images, examples, searching.SETTINGS, path)
    header, *lines = path.read_text().splitlines(keepends=True)
    changed = [json.loads(line) for line in lines]
    changed[0]["kept"][0] += 1
    changed[1]["strategy"]["conv0"] /= 2
    for line in changed[:2]:
        line["correct"] = 50
    path.write_text(header + "".join(json.dumps(x) + "\n" for x in changed))
    again = ee.search(model, images, examples, searching.SETTINGS, path)
    assert searching.scores(again) == searching.scores(known)


def test_a_refused_search_leaves_the_rankings(model, examples, tmp_path):
    settings = dataclasses.replace(searching.SETTINGS, importance="taylor")
    ee.search(model, examples, examples, settings, tmp_path / "log")
    path = tmp_path / "log.rankings.json"
    before = path.read_text()
    images, labels = examples
    with pytest.raises(ee.InputError, match="calibration_set is not the same"):
        ee.search(
            model,
            (images[:40], labels[:40]),
            examples,
            settings,
            tmp_path / "log",
        )
    assert path.read_text() == before
