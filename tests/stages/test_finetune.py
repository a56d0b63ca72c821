import types

import numpy as np
import pytest
import toys

from eagleeye_tf.pruning import rebuild
from eagleeye_tf.stages import common
from eagleeye_tf.stages import finetune


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
