import dataclasses

import digit_models
import keras
import numpy as np
import pytest
import searching
import toys

import eagleeye_tf as ee

layers = keras.layers


def test_scores_equal_the_public_steps(model, images, examples):
    """Each score, worked out again with prune, adapt and predict."""
    result = ee.search(model, images, examples, searching.SETTINGS)
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


def test_evolution_learns_what_became_of_its_candidates(
    model, images, examples
):
    """It begins as a random search of 13, and goes its own way then."""
    found = {}
    for algorithm in ("random", "evolution"):
        settings = dataclasses.replace(
            searching.SETTINGS,
            algorithm=algorithm,
            num_candidates=40,
            tolerance=0.2,
        )
        result = ee.search(model, images, examples, settings)
        kept = {c.index: c.kept for c in result.candidates}
        found[algorithm] = [kept[index] for index in sorted(kept)]
    assert found["random"][:13] == found["evolution"][:13]
    assert found["random"][13:] != found["evolution"][13:]


def test_race_needs_labels(model, images, examples):
    race = dataclasses.replace(
        searching.SETTINGS, evaluation="race", num_candidates=10, tolerance=0.3
    )
    with pytest.raises(ee.InputError, match="labels of the calibration"):
        ee.search(model, images, examples, race)


def test_best_first_then_cheapest(model, images, examples):
    ranked = ee.search(model, images, examples, searching.SETTINGS).candidates
    keys = [(-c.correct, c.macs) for c in ranked]
    assert keys == sorted(keys)


def test_same_seed_same_search(model, images, examples):
    first = ee.search(model, images, examples, searching.SETTINGS)
    assert searching.scores(
        ee.search(model, images, examples, searching.SETTINGS)
    ) == searching.scores(first)
    other = dataclasses.replace(searching.SETTINGS, seed=1)
    assert searching.scores(
        ee.search(model, images, examples, other)
    ) != searching.scores(first)


def test_replicas_give_the_same_table(model, images, examples, two_replicas):
    alone = ee.search(model, images, examples, searching.SETTINGS)
    shared = ee.search(
        model, images, examples, searching.SETTINGS, distribution=two_replicas
    )
    assert searching.scores(shared) == searching.scores(alone)


def test_examples_sorted_by_class_are_mixed(model):
    """The first rung of a race sees the first ones."""
    images, labels = digit_models.for_test()
    order = np.argsort(labels, kind="stable")
    settings = dataclasses.replace(searching.SETTINGS, num_candidates=1)
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
    settings = dataclasses.replace(
        searching.SETTINGS, num_candidates=2, tolerance=0.2
    )
    result = ee.search(plain, pictures, (pictures, labels), settings)
    assert not result.has_batch_norm
    for c in result.candidates:
        assert c.correct == c.vanilla_correct


@pytest.mark.parametrize("calibration", ["exact", "moving_average"])
def test_build_gives_the_winner(model, images, examples, calibration):
    settings = dataclasses.replace(searching.SETTINGS, calibration=calibration)
    result = ee.search(model, images, examples, settings)
    for adapt, expected in (
        (True, result.best.correct),
        (False, result.best.vanilla_correct),
    ):
        built = result.build(adapt=adapt)
        assert built.count_params() == result.best.params
        answers = toys.outputs(built, examples[0]).argmax(1)
        assert (answers == examples[1]).sum() == expected


def test_a_compiled_model_in_another_that_scales_its_images(
    model, images, examples, two_replicas
):
    """Of whom the optimizer cannot be read while a function is traced."""
    inner = keras.models.clone_model(model)
    inner.set_weights(model.get_weights())
    inner.compile(keras.optimizers.Adam(0.01), "mse")
    whole = keras.Sequential(
        [keras.Input(model.input_shape[1:]), layers.Rescaling(2.0), inner]
    )
    pictures, labels = examples
    for distribution in (None, two_replicas):
        found = ee.search(
            whole,
            images / 2,
            (pictures / 2, labels),
            searching.SETTINGS,
            distribution=distribution,
        )
        expected = ee.search(model, images, examples, searching.SETTINGS)
        assert [(c.index, c.correct) for c in found.candidates] == [
            (c.index, c.correct) for c in expected.candidates
        ]


def test_unreachable_budget_is_told(model, images, examples):
    settings = dataclasses.replace(searching.SETTINGS, macs=0.01)
    with pytest.raises(ee.InputError, match="raise max_ratio"):
        ee.search(model, images, examples, settings)


def test_calibration_labels_of_another_count_are_refused(model, examples):
    """They decide the first rung of a race."""
    images, labels = examples
    with pytest.raises(ee.InputError, match=r"Labels must lie in \[0, 10\)"):
        ee.search(model, (images, labels + 1), examples, searching.SETTINGS)
    with pytest.raises(ee.InputError, match="takes images of shape"):
        ee.search(model, images[:, :6], examples, searching.SETTINGS)


def test_sets_may_have_images_of_two_types(model, images, examples):
    pictures, labels = np.round(examples[0]).astype(np.uint8), examples[1]
    mixed = ee.search(model, images, (pictures, labels), searching.SETTINGS)
    as_float = (pictures.astype(np.float32), labels)
    assert searching.scores(mixed) == searching.scores(
        ee.search(model, images, as_float, searching.SETTINGS)
    )


def test_labels_that_do_not_fit(model, images):
    with pytest.raises(ee.InputError, match=r"\[0, 10\)"):
        ee.search(model, images, (images, np.full(40, 10)), searching.SETTINGS)


def test_a_search_ends_when_there_are_no_more_networks(images, examples):
    """Two groups of 4, of which 1 to 4 channels stay."""
    small = toys.chain(channels=(4, 4), classes=10)
    settings = dataclasses.replace(
        searching.SETTINGS,
        macs=1,
        tolerance=1,
        max_ratio=0.9,
        num_candidates=40,
    )
    for algorithm in ("random", "evolution"):
        own = dataclasses.replace(settings, algorithm=algorithm)
        with pytest.warns(ee.PlausibilityWarning, match="16 .* instead of 40"):
            result = ee.search(small, images, examples, own, verbose=False)
        assert len({c.kept for c in result.candidates}) == 16


@pytest.mark.parametrize("part", [0, 1])
def test_images_with_nan_are_refused(model, examples, part):
    images = examples[0].copy()
    images[7, 0, 0, 0] = np.nan
    sets = [examples, examples]
    sets[part] = images, examples[1]
    with pytest.raises(ee.InputError, match="finite numbers.*among 50"):
        ee.search(model, *sets, searching.SETTINGS)


def test_sub_validation_needs_labels(model, images):
    with pytest.raises(ee.InputError, match="need labels"):
        ee.search(model, images, (images, np.full(40, -1)), searching.SETTINGS)
