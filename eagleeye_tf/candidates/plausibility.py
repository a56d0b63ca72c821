"""Whether a network knows more than a guess before many are made of it."""

import math
import warnings

import numpy as np

from eagleeye_tf import errors
from eagleeye_tf.pruning.strategy import PruningStrategy

# Enough to tell a guess from an answer, few beside one candidate's images.
_IMAGES = 256


def _adapted(evaluator, trial, seen):
    """Correct answers of the network with re-estimated BN statistics."""
    if evaluator.has_batch_norm:
        evaluator.calibrate([trial], evaluator.calibration_size)
    (correct,) = evaluator.count([trial], 0, seen)
    evaluator.rest(trial)
    return correct


def check(evaluator, images, labels, batch_size):
    """Warns if the whole network has no more images right than a guess.

    That is what a network gives that is not trained, was trained on other
    classes or another order of them, or expects images of another range; no
    candidate of it can be better.

    Args:
        evaluator: an `evaluator.Evaluator` of this machine.
        images: array (examples, …), its sub-validation images.
        labels: int array (examples,).
        batch_size: examples per batch.

    Warns:
        PlausibilityWarning: if the correct answers to the first 256 images
            are within two standard deviations of the answers that naming
            the commonest class would have right.
    """
    seen = min(len(labels), math.ceil(_IMAGES / batch_size) * batch_size)
    trial = evaluator.start(
        PruningStrategy.of(evaluator.pruner.graph.groups, 0.0)
    )
    (correct,) = evaluator.count([trial], 0, seen, adapted=False)
    share = np.bincount(labels).max() / len(labels)
    guessed = seen * share + 2 * math.sqrt(seen * share * (1 - share))
    if correct > guessed or seen <= guessed:  # So few do not tell.
        evaluator.rest(trial)
        return
    adapted = _adapted(evaluator, trial, seen)
    if adapted > guessed:
        warnings.warn(
            f"The network has {correct} of {seen} sub-validation images right "
            f"as it came, and {adapted} with BN statistics that are "
            "re-estimated: its own lag behind, as they do after a short "
            "training with a momentum of 0.99. Scores are not the worse for "
            "it, but re-estimate them after fine-tuning, too (--recalibrate, "
            "ee.adapt_batch_norm).",
            errors.PlausibilityWarning,
            stacklevel=3,
        )
        return
    first = images[:seen]
    warnings.warn(
        f"Before pruning, the network has {correct} of {seen} sub-validation "
        f"images right, no more than a guess ({share:.1%} are of the commonest "
        "class), so scores will tell nothing. Is it trained, for these classes "
        f"in this order, and for images from {first.min():g} to "
        f"{first.max():g}, as it is given?",
        errors.PlausibilityWarning,
        stacklevel=3,
    )
