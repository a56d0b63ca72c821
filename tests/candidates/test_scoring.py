import keras
import numpy as np
import pytest

from eagleeye_tf.candidates import batches
from eagleeye_tf.candidates import scoring

layers = keras.layers


def identity(classes=3):
    """Answers with the largest of its inputs; Dropout would disturb it."""
    x = keras.Input((classes,))
    y = layers.Dropout(0.9)(x)
    return keras.Model(x, layers.Identity()(y))


INPUTS = np.eye(3, dtype=np.float32)[[0, 1, 2, 0, 1, 2, 0]]
LABELS = np.array([0, 1, 2, 1, 1, 0, 0])  # Five of seven are right.


@pytest.mark.parametrize("batch_size", [1, 3, 7])
def test_counts_by_hand(batch_size):
    examples = batches.of_examples(INPUTS, LABELS, batch_size)
    assert scoring.count_correct(identity(), examples) == (5, 7)


@pytest.mark.parametrize("batch_size", [2, 4, 6])
def test_replicas_share_batches(two_replicas, batch_size):
    with two_replicas.scope():
        model = identity()
    examples = batches.of_examples(INPUTS, LABELS, batch_size)
    count = scoring.count_correct(model, examples, two_replicas)
    assert count == (5, 7)


def test_scorer_sees_new_weights():
    x = keras.Input((3,))
    dense = layers.Dense(3, use_bias=False)
    model = keras.Model(x, dense(x))
    examples = batches.of_examples(INPUTS, LABELS, 4)
    scorer = scoring.Scorer(model, examples, scoring_distribution())
    dense.kernel.assign(np.eye(3))
    assert scorer.count() == (5, 7)
    dense.kernel.assign(np.roll(np.eye(3), 1, axis=1))
    # Every answer is one too high: right where the label is, too.
    assert scorer.count() == (
        int((LABELS == (INPUTS.argmax(1) + 1) % 3).sum()),
        7,
    )


def scoring_distribution():
    import tensorflow as tf

    return tf.distribute.get_strategy()


def test_progress_is_reported():
    seen = []
    examples = batches.of_examples(INPUTS, LABELS, 3)
    scorer = scoring.Scorer(identity(), examples, scoring_distribution())
    scorer.count(on_batch=lambda: seen.append(1))
    assert len(seen) == 3
