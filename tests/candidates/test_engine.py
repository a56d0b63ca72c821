import dataclasses
import functools
import json

import digit_models
import keras
import numpy as np
import pytest
import toys

import eagleeye_tf as ee
from eagleeye_tf.candidates import evaluator
from eagleeye_tf.pruning import importance as importance_lib

layers = keras.layers
SETTINGS = ee.SearchSettings(
    macs=0.5, tolerance=0.05, num_candidates=4, batch_size=16, evaluation="full"
)


@pytest.fixture(scope="module")
def model():
    return digit_models.trained()


@pytest.fixture(scope="module")
def images():
    return digit_models.for_training()[0][:40]


@pytest.fixture(scope="module")
def examples():
    pictures, labels = digit_models.for_test()
    return pictures[:50], labels[:50]


def _spread(sign, kernels):
    return sign * kernels[0].std(axis=1)


def scores(result):
    return [
        (c.index, c.strategy, c.correct, c.vanilla_correct)
        for c in result.candidates
    ]


def test_scores_equal_the_public_steps(model, images, examples):
    """Each score, worked out again with prune, adapt and predict."""
    result = ee.search(model, images, examples, SETTINGS)
    assert len(result.candidates) == 4
    # Else nothing would be seen in what follows.
    assert all(0 < c.correct < 50 for c in result.candidates)
    assert len({c.correct for c in result.candidates}) > 1
    for found in result.candidates:
        smaller = ee.prune(model, found.strategy)
        answers = toys.outputs(smaller, examples[0]).argmax(1)
        assert found.vanilla_correct == (answers == examples[1]).sum()
        ee.adapt_batch_norm(smaller, images, batch_size=16)
        answers = toys.outputs(smaller, examples[0]).argmax(1)
        assert found.correct == (answers == examples[1]).sum()
        assert found.total == 50
        assert found.params == smaller.count_params()
        assert abs(found.macs / result.full_cost.macs - 0.5) <= 0.05
    share = max(c.correct for c in result.candidates) / 50
    told = f"<SearchResult: 4 candidates, the best with a score of {share:.2%}"
    assert repr(result).startswith(told)


def test_evolution_goes_on_where_it_was_killed(
    model, images, examples, tmp_path, two_replicas
):
    settings = dataclasses.replace(
        SETTINGS, algorithm="evolution", num_candidates=40, tolerance=0.2
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
    assert scores(again) == scores(whole)
    assert path.read_text().count("\n") == 1 + 40


def test_evolution_learns_what_became_of_its_candidates(
    model, images, examples
):
    """It begins as a random search of 25, and goes its own way then."""
    found = {}
    for algorithm in ("random", "evolution"):
        settings = dataclasses.replace(
            SETTINGS, algorithm=algorithm, num_candidates=40, tolerance=0.2
        )
        result = ee.search(model, images, examples, settings)
        kept = {c.index: c.kept for c in result.candidates}
        found[algorithm] = [kept[index] for index in sorted(kept)]
    assert found["random"][:25] == found["evolution"][:25]
    assert found["random"][25:] != found["evolution"][25:]


def test_race_needs_labels(model, images, examples):
    race = dataclasses.replace(
        SETTINGS, evaluation="race", num_candidates=10, tolerance=0.3
    )
    with pytest.raises(ee.InputError, match="labels of the calibration"):
        ee.search(model, images, examples, race)


def test_torn_log_is_told(model, images, examples, tmp_path):
    path = tmp_path / "log.jsonl"
    whole = ee.search(model, images, examples, SETTINGS, path)
    assert whole.torn == 0
    path.write_bytes(path.read_bytes()[:-7])
    again = ee.search(model, images, examples, SETTINGS, path)
    assert again.torn > 0
    assert scores(again) == scores(whole)


def test_best_first_then_cheapest(model, images, examples):
    ranked = ee.search(model, images, examples, SETTINGS).candidates
    keys = [(-c.correct, c.macs) for c in ranked]
    assert keys == sorted(keys)


def test_same_seed_same_search(model, images, examples):
    first = ee.search(model, images, examples, SETTINGS)
    assert scores(ee.search(model, images, examples, SETTINGS)) == scores(first)
    other = dataclasses.replace(SETTINGS, seed=1)
    assert scores(ee.search(model, images, examples, other)) != scores(first)


def test_replicas_give_the_same_table(model, images, examples, two_replicas):
    alone = ee.search(model, images, examples, SETTINGS)
    shared = ee.search(
        model, images, examples, SETTINGS, distribution=two_replicas
    )
    assert scores(shared) == scores(alone)


@pytest.mark.parametrize("stop_after", [5, 14, 17])
def test_a_race_killed_on_two_replicas_ends_as_on_one(
    model, examples, tmp_path, two_replicas, stop_after
):
    """In the middle of a rung, or between two: 14 candidates, then 6."""
    settings = dataclasses.replace(
        SETTINGS, evaluation="race", num_candidates=14
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
    assert scores(again) == scores(alone)


def test_continued_search_scores_nothing_twice(
    model, images, examples, tmp_path, monkeypatch
):
    path = tmp_path / "log.jsonl"
    whole = ee.search(model, images, examples, SETTINGS)

    def stop(candidate, evaluations):
        if stop.left == 0:
            raise KeyboardInterrupt
        stop.left -= 1

    stop.left = 2
    with pytest.raises(KeyboardInterrupt):
        ee.search(model, images, examples, SETTINGS, path, on_evaluation=stop)
    evaluated = set()
    calibrate = evaluator.Evaluator.calibrate

    def noted(self, trials, *arguments, **options):
        evaluated.update(trial.strategy for trial in trials)
        return calibrate(self, trials, *arguments, **options)

    monkeypatch.setattr(evaluator.Evaluator, "calibrate", noted)
    continued = ee.search(model, images, examples, SETTINGS, path)
    assert len(evaluated) == 1  # Three were logged when it was stopped.
    assert scores(continued) == scores(whole)
    assert continued.drawn == whole.drawn


def test_search_can_be_extended(model, images, examples, tmp_path):
    path = tmp_path / "log.jsonl"
    fewer = dataclasses.replace(SETTINGS, num_candidates=2)
    ee.search(model, images, examples, fewer, path)
    extended = ee.search(model, images, examples, SETTINGS, path)
    whole = ee.search(model, images, examples, SETTINGS)
    assert scores(extended) == scores(whole)


@pytest.mark.parametrize(
    "what", ["model", "calibration_set", "sub_validation_set"]
)
def test_log_of_other_inputs_is_refused(
    model, images, examples, tmp_path, what
):
    path = tmp_path / "log.jsonl"
    one = dataclasses.replace(SETTINGS, num_candidates=1)
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
    one = dataclasses.replace(SETTINGS, num_candidates=1)
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


def test_examples_sorted_by_class_are_mixed(model):
    """The first rung of a race sees the first ones."""
    images, labels = digit_models.for_test()
    order = np.argsort(labels, kind="stable")
    settings = dataclasses.replace(SETTINGS, num_candidates=1)
    calibration = images[order[:100]], labels[order[:100]]
    result = ee.search(
        model, calibration, (images[order], labels[order]), settings
    )
    rows = calibration[0].reshape(100, -1)
    mixed = result.calibration.reshape(100, -1)
    assert sorted(map(tuple, rows)) == sorted(map(tuple, mixed))
    assert (rows != mixed).any()


def test_model_without_batch_norm_is_scored_as_it_is():
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, activation="relu")(image)
    plain = keras.Model(image, layers.Dense(4)(layers.Flatten()(x)))
    pictures = toys.images(plain, count=10)
    labels = np.zeros(10, int)
    settings = dataclasses.replace(SETTINGS, num_candidates=2, tolerance=0.2)
    result = ee.search(plain, pictures, (pictures, labels), settings)
    assert not result.has_batch_norm
    for c in result.candidates:
        assert c.correct == c.vanilla_correct


@pytest.mark.parametrize("calibration", ["exact", "moving_average"])
def test_build_gives_the_winner(model, images, examples, calibration):
    settings = dataclasses.replace(SETTINGS, calibration=calibration)
    result = ee.search(model, images, examples, settings)
    for adapt, expected in (
        (True, result.best.correct),
        (False, result.best.vanilla_correct),
    ):
        built = result.build(adapt=adapt)
        assert built.count_params() == result.best.params
        answers = toys.outputs(built, examples[0]).argmax(1)
        assert (answers == examples[1]).sum() == expected


def test_unreachable_budget_is_told(model, images, examples):
    settings = dataclasses.replace(SETTINGS, macs=0.01)
    with pytest.raises(ee.InputError, match="raise max_ratio"):
        ee.search(model, images, examples, settings)


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
        settings = dataclasses.replace(SETTINGS, importance=importance)
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
    settings = dataclasses.replace(SETTINGS, importance="taylor")
    first = ee.search(model, examples, examples, settings, tmp_path / "log")
    of_group = importance_lib.Taylor.of_group
    monkeypatch.setattr(
        importance_lib.Taylor, "of_group", lambda *args: -of_group(*args)
    )
    again = ee.search(model, examples, examples, settings, tmp_path / "log")
    anew = ee.search(model, examples, examples, settings, tmp_path / "other")
    for before, after, other in zip(
        first.pruner.rankings,
        again.pruner.rankings,
        anew.pruner.rankings,
        strict=True,
    ):
        np.testing.assert_array_equal(before, after)
        assert (before != other).any()
    assert scores(again) == scores(first) != scores(anew)


def test_calibration_labels_of_another_count_are_refused(model, examples):
    """They decide the first rung of a race."""
    images, labels = examples
    with pytest.raises(ee.InputError, match=r"Labels must lie in \[0, 10\)"):
        ee.search(model, (images, labels + 1), examples, SETTINGS)
    with pytest.raises(ee.InputError, match="takes images of shape"):
        ee.search(model, images[:, :6], examples, SETTINGS)


def test_sets_may_have_images_of_two_types(model, images, examples):
    pictures, labels = np.round(examples[0]).astype(np.uint8), examples[1]
    mixed = ee.search(model, images, (pictures, labels), SETTINGS)
    as_float = (pictures.astype(np.float32), labels)
    assert scores(mixed) == scores(ee.search(model, images, as_float, SETTINGS))


def test_labels_that_do_not_fit(model, images):
    with pytest.raises(ee.InputError, match=r"\[0, 10\)"):
        ee.search(model, images, (images, np.full(40, 10)), SETTINGS)


def test_a_search_ends_when_there_are_no_more_networks(images, examples):
    """Two groups of 4, of which 1 to 4 channels stay."""
    small = toys.chain(channels=(4, 4), classes=10)
    settings = dataclasses.replace(
        SETTINGS, macs=1, tolerance=1, max_ratio=0.9, num_candidates=40
    )
    for algorithm in ("random", "evolution"):
        own = dataclasses.replace(settings, algorithm=algorithm)
        with pytest.warns(ee.PlausibilityWarning, match="16 .* instead of 40"):
            result = ee.search(small, images, examples, own, verbose=False)
        assert len({c.kept for c in result.candidates}) == 16


def test_lines_of_other_networks_do_not_count(
    model, images, examples, tmp_path
):
    """As in a log that was put together of those of several machines."""
    path = tmp_path / "log.jsonl"
    known = ee.search(model, images, examples, SETTINGS, path)
    header, *lines = path.read_text().splitlines(keepends=True)
    changed = [json.loads(line) for line in lines]
    changed[0]["kept"][0] += 1
    changed[1]["strategy"]["conv0"] /= 2
    for line in changed[:2]:
        line["correct"] = 50
    path.write_text(header + "".join(json.dumps(x) + "\n" for x in changed))
    again = ee.search(model, images, examples, SETTINGS, path)
    assert scores(again) == scores(known)


def test_a_refused_search_leaves_the_rankings(model, examples, tmp_path):
    settings = dataclasses.replace(SETTINGS, importance="taylor")
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


@pytest.mark.parametrize("part", [0, 1])
def test_images_with_nan_are_refused(model, examples, part):
    images = examples[0].copy()
    images[7, 0, 0, 0] = np.nan
    sets = [examples, examples]
    sets[part] = images, examples[1]
    with pytest.raises(ee.InputError, match="finite numbers.*among 50"):
        ee.search(model, *sets, SETTINGS)


def test_sub_validation_needs_labels(model, images):
    with pytest.raises(ee.InputError, match="need labels"):
        ee.search(model, images, (images, np.full(40, -1)), SETTINGS)
