import shutil
import types

import keras
import numpy as np
import pytest
import toys

import eagleeye_tf as ee
from eagleeye_tf import errors
from eagleeye_tf.pruning import rebuild
from eagleeye_tf.stages import common
from eagleeye_tf.stages import correlate
from eagleeye_tf.stages import finetune
from eagleeye_tf.stages import search
from eagleeye_tf.stages import tuning
from eagleeye_tf.training import records


def half_tuned(job, pruner):
    """What `tune` makes of the network with half of each group."""
    strategy = pruner.strategy(0.5)
    candidate = types.SimpleNamespace(
        strategy=strategy, kept=tuple(pruner.kept(strategy).tolist())
    )
    return tuning.tune(
        job,
        pruner,
        candidate,
        job.workdir / "candidate",
        tuning.training_settings(job),
        "Fine-tuning",
    )


@pytest.mark.parametrize("from_scratch", [False, True])
def test_starts_from_surviving_weights_or_from_scratch(set_flags, from_scratch):
    set_flags(
        from_scratch=from_scratch,
        image_size=8,
        learning_rate=1e-8,  # Nothing moves.
        weight_decay=0.0,
        epochs=1,
    )
    job = common.open_job()
    model = toys.chain(classes=10)
    toys.scramble(model)
    pruner = rebuild.Pruner(model)
    tuned, epochs = half_tuned(job, pruner)
    assert len(epochs) == 1
    expected = pruner.prune(0.5)
    moved = [
        np.abs(np.asarray(a) - np.asarray(b)).max()
        for a, b in zip(
            tuned.trainable_weights, expected.trainable_weights, strict=True
        )
    ]
    assert max(moved) < 1e-5 or from_scratch
    assert max(moved) > 0.1 or not from_scratch


def test_batch_norm_is_adapted_before_fine_tuning(set_flags):
    """Frozen layers would keep what they inherit for good."""
    set_flags(image_size=8, learning_rate=1e-8, weight_decay=0.0, epochs=1)
    job = common.open_job()
    model = toys.chain(classes=10)
    toys.scramble(model)
    for name in ("bn0", "bn1"):
        model.get_layer(name).trainable = False
    pruner = rebuild.Pruner(model)
    with pytest.warns(ee.PlausibilityWarning, match="bn0"):
        tuned, _ = half_tuned(job, pruner)
    expected = pruner.prune(0.5)
    images, _ = job.data.arrays(job.data.calibration)
    ee.adapt_batch_norm(expected, images)
    for name in ("bn0", "bn1"):
        for statistic in ("moving_mean", "moving_variance"):
            np.testing.assert_allclose(
                getattr(tuned.get_layer(name), statistic),
                getattr(expected.get_layer(name), statistic),
                rtol=1e-4,
            )


@pytest.mark.parametrize("helps", [True, False])
def test_recalibrated_only_where_it_helps(set_flags, helps):
    set_flags(
        recalibrate=True,
        image_size=8,
        learning_rate=1e-8,  # Nothing moves but BN statistics.
        weight_decay=0.0,
        epochs=1,
    )
    job = common.open_job()
    model = toys.chain(classes=10)
    toys.scramble(model)
    tuned = rebuild.Pruner(model).prune(0.5)
    before = [np.array(weight) for weight in tuned.get_weights()]
    last = records.Epoch(1, 0.5, 0.1, correct=0 if helps else 64, total=64)
    found = tuning._recalibrate(tuned, job, last)
    expected = rebuild.Pruner(model).prune(0.5)
    images, _ = job.data.arrays(job.data.calibration)
    if helps:
        ee.adapt_batch_norm(expected, images, job.batch_size)
        pictures, labels = job.data.arrays(job.data.sub_validation)
        answers = toys.outputs(expected, pictures.astype(np.float32)).argmax(1)
        assert found.correct == (answers == labels).sum()
    else:
        assert found == last
    after = zip(tuned.get_weights(), expected.get_weights(), strict=True)
    for ours, theirs in after:
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    changed = zip(before, tuned.get_weights(), strict=True)
    assert any((a != b).any() for a, b in changed) == helps


def test_teacher_and_recalibration_are_what_the_flags_say(set_flags):
    """With all weight on it, the teacher is what is learnt, not the labels."""

    def tuned(name, **flags):
        set_flags(image_size=8, learning_rate=0.05, epochs=1, **flags)
        job = common.open_job()
        return job, *tuning.tune(
            job,
            pruner,
            candidate,
            job.workdir / name,
            tuning.training_settings(job),
            "Fine-tuning",
        )

    model = toys.chain(classes=10)
    toys.scramble(model)
    bias = np.zeros(10, np.float32)
    bias[3] = 50  # Whatever the image, this network says 3.
    model.layers[-1].bias.assign(bias)
    pruner = rebuild.Pruner(model)
    strategy = pruner.strategy(0.5)
    candidate = types.SimpleNamespace(
        strategy=strategy, kept=tuple(pruner.kept(strategy).tolist())
    )
    _, taught, epochs = tuned("taught", distillation_weight=1.0)
    _, alone, others = tuned("alone", distillation_weight=0.0)
    assert epochs[-1].loss < 0.5 < others[-1].loss
    job, found, last = tuned("again", recalibrate=True)
    images, _ = job.data.arrays(job.data.calibration)
    ee.adapt_batch_norm(alone, images, job.batch_size)
    pictures, labels = job.data.arrays(job.data.sub_validation)
    answers = toys.outputs(alone, pictures.astype(np.float32)).argmax(1)
    adapted = (answers == labels).sum()
    assert last[-1].correct == max(others[-1].correct, adapted)


def test_no_correlation_by_images_that_were_trained_on(set_flags):
    set_flags(all_training_images=True)
    with pytest.raises(ee.InputError, match="leave out --all_training_images"):
        correlate.main()


def test_frozen_layers_are_told_and_fresh_ones_learn(set_flags, tmp_path):
    """As transfer learning leaves a model: all but its head is frozen."""
    model = toys.chain(classes=10)
    for layer in model.layers[:-1]:
        layer.trainable = False
    frozen = ee.prune(model, 0.0)
    frozen.save(tmp_path / "m.keras")
    flags_of_all = {
        "model": str(tmp_path / "m.keras"),
        "macs": 0.5,
        "tolerance": 0.05,
        "search_algorithm": "uniform",
        "epochs": 1,
    }
    set_flags(**flags_of_all)
    search.search(common.open_job())
    with pytest.warns(errors.PlausibilityWarning, match="4 .*such as 'conv0'"):
        finetune.finetune(common.open_job())
    for layer in model.layers:
        layer.trainable = True
    model.save(tmp_path / "m.keras")  # As the warning said.
    with pytest.raises(
        errors.InputError, match="trainable_weights was 2, now it is 10"
    ):
        finetune.finetune(common.open_job())
    frozen.save(tmp_path / "m.keras")
    set_flags(**flags_of_all, from_scratch=True)
    shutil.rmtree(tmp_path / "work" / "finetune")
    job = common.open_job()
    finetune.finetune(job)
    made = keras.models.load_model(finetune.finished_best(job))
    assert len(made.trainable_weights) == 10
    assert np.abs(made.get_layer("bn0").moving_mean).max() > 0
