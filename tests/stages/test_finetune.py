import types

import numpy as np
import pytest
import toys

import eagleeye_tf as ee
from eagleeye_tf.pruning import rebuild
from eagleeye_tf.stages import common
from eagleeye_tf.stages import finetune
from eagleeye_tf.training import loop


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
    strategy = pruner.strategy(0.5)
    candidate = types.SimpleNamespace(
        strategy=strategy, kept=tuple(pruner.kept(strategy).tolist())
    )
    tuned, epochs = finetune.tune(
        job,
        pruner,
        candidate,
        job.workdir / "candidate",
        finetune.training_settings(job),
        "Fine-tuning",
    )
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
    last = loop.Epoch(1, 0.5, 0.1, correct=0 if helps else 64, total=64)
    found = finetune._recalibrate(tuned, job, last)
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
