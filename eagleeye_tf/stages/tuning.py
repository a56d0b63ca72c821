"""How stages fine-tune a candidate: the flags for it, and the doing."""

import dataclasses
import warnings

import keras
from absl import flags

from eagleeye_tf import errors
from eagleeye_tf.candidates import adaptive_bn
from eagleeye_tf.candidates import batches as batches_lib
from eagleeye_tf.pruning import network
from eagleeye_tf.stages import console
from eagleeye_tf.stages import fitting
from eagleeye_tf.training import schedules

_EPOCHS = flags.DEFINE_integer(
    "epochs",
    30,
    "Passes over the training images in fine-tuning.",
    lower_bound=1,
)
_LEARNING_RATE = flags.DEFINE_float(
    "learning_rate",
    0.01,
    "Highest learning rate of fine-tuning.",
    lower_bound=1e-8,
)
_WEIGHT_DECAY = flags.DEFINE_float(
    "weight_decay",
    1e-4,
    "Factor of the L2 penalty on kernels in fine-tuning.",
    lower_bound=0.0,
)
_WARMUP_EPOCHS = flags.DEFINE_float(
    "warmup_epochs",
    0.0,
    "Epochs over which the learning rate of fine-tuning rises from 0 to its "
    "schedule.",
    lower_bound=0.0,
)
_DISTILLATION_WEIGHT = flags.DEFINE_float(
    "distillation_weight",
    0.0,
    "Share of the loss that asks for the whole network's answers instead of "
    "the labels (knowledge distillation), in [0, 1].",
    lower_bound=0.0,
    upper_bound=1.0,
)
_DISTILLATION_TEMPERATURE = flags.DEFINE_float(
    "distillation_temperature",
    4.0,
    "What logits are divided by before they are compared.",
    lower_bound=1e-3,
)
_FROM_SCRATCH = flags.DEFINE_bool(
    "from_scratch",
    False,
    "Train winners from initial weights instead of the surviving ones: the "
    "paper's directly-scaled networks, with --search_algorithm=uniform.",
)
_RECALIBRATE = flags.DEFINE_bool(
    "recalibrate",
    False,
    "Re-estimate BN statistics once more after fine-tuning, and keep those "
    "that do better on the sub-validation set.",
)
ALL_TRAINING_IMAGES = flags.DEFINE_bool(
    "all_training_images",
    False,
    "Fine-tune on the calibration and sub-validation images, too: nothing is "
    "chosen by them after the search. Goes with --num_winners=1.",
)


def training_settings(job):
    """The `TrainingSettings` of fine-tuning that the flags describe.

    Raises:
        InputError: for flags that exclude each other.
    """
    require_images_to_choose_by(_RECALIBRATE, "the better statistics")
    return schedules.TrainingSettings(
        epochs=_EPOCHS.value,
        learning_rate=_LEARNING_RATE.value,
        weight_decay=_WEIGHT_DECAY.value,
        warmup_epochs=_WARMUP_EPOCHS.value,
        distillation_weight=_DISTILLATION_WEIGHT.value,
        distillation_temperature=_DISTILLATION_TEMPERATURE.value,
        **fitting.shared_settings(job),
    )


def require_images_to_choose_by(flag, choice):
    """Raises InputError if a flag is given whose choice has no images left.

    Args:
        flag: the `flags.FlagHolder` that makes a choice unless at its default.
        choice: in words, what it chooses.
    """
    if ALL_TRAINING_IMAGES.value and flag.value != flag.default:
        raise errors.InputError(
            f"--{flag.name} chooses {choice} by images that fine-tuning has "
            "not seen, and --all_training_images leaves none. Received: both, "
            f"with --{flag.name}={flag.value}; leave one out."
        )


def warn_if_worse(candidate, last, augmentation):
    """Warns if fine-tuning took away what the winner could do without it."""
    accuracy = last.correct / last.total
    if _FROM_SCRATCH.value or accuracy >= candidate.score:
        return
    warnings.warn(
        f"Fine-tuning left the winner worse than it was: {accuracy:.2%} "
        f"instead of {candidate.score:.2%} on sub-validation. Its images may "
        f"vary in ways that the network never saw (--augmentation, now "
        f"{augmentation}; none leaves them as they are), BN statistics may lag "
        "behind after so few steps (--recalibrate), or it takes more --epochs "
        "or another --learning_rate.",
        errors.PlausibilityWarning,
        stacklevel=2,
    )


def _recalibrate(model, job, last):
    """Adapts BN statistics where that helps; returns the last epoch."""
    before = model.get_weights()
    images, _ = job.data.arrays(job.data.calibration)
    adaptive_bn.adapt_batch_norm(
        model, images, job.batch_size, job.own_distribution
    )
    correct, total = job.validator(model)()
    console.say(
        f"Recalibrated: {correct / total:.2%} on sub-validation, before "
        f"{last.correct / last.total:.2%}."
    )
    if correct > last.correct:
        return dataclasses.replace(last, correct=correct)
    model.set_weights(before)
    return last


def tune(job, pruner, candidate, directory, settings, description):
    """Builds a candidate and fine-tunes it, or goes on where it was.

    Args:
        job: a `job.Job`.
        pruner: the `rebuild.Pruner` of the whole network, which is also the
            teacher.
        candidate: a `log.Candidate`.
        directory: where checkpoints and `epochs.jsonl` go.
        settings: `TrainingSettings`.
        description: for the progress bar.

    Returns:
        (the fine-tuned `keras.Model`, list of `records.Epoch`).

    Raises:
        InputError: see `loop.fit`; also if `directory` belongs to something
            else.
    """
    claim(directory, job, pruner, candidate, settings)
    keras.utils.set_random_seed(job.seed)  # Of Dropout.
    fresh = _FROM_SCRATCH.value
    with job.distribution.scope():
        model = pruner.prune(candidate.strategy, fresh=fresh)
    if fresh:
        for _, layer in network.all_layers(model):
            layer.trainable = True  # Initial weights are worth nothing.
    else:
        _warn_of_frozen(model)
        images, _ = job.data.arrays(job.data.calibration)
        adaptive_bn.adapt_batch_norm(
            model, images, job.batch_size, job.own_distribution
        )
    teacher = pruner.graph.model
    epochs = fitting.fit(
        model, job, settings, directory, description, teacher=teacher
    )
    if _RECALIBRATE.value:
        epochs[-1] = _recalibrate(model, job, epochs[-1])
    return model, epochs


def _warn_of_frozen(model):
    """Warns if filters were cut that fine-tuning may not mend.

    Models that were made by transfer learning often come so.
    """
    frozen = [
        path
        for path, layer in network.all_layers(model)
        if layer.weights
        and not layer.trainable_weights
        # Normalization has no weights that could be trained.
        and not isinstance(layer, keras.layers.Normalization)
    ]
    if frozen:
        warnings.warn(
            f"{len(frozen)} layers are frozen (trainable=False), such as "
            f"{frozen[0]!r}: fine-tuning leaves them as they were cut. Set "
            "trainable=True in the model and save it again if they may learn.",
            errors.PlausibilityWarning,
            stacklevel=2,
        )


def identity(settings):
    """What the result of fine-tuning depends on beside the candidate."""
    return {
        "training": settings.identity(),
        **ways(),
    }


def ways():
    """How a candidate is fine-tuned, beside `TrainingSettings`."""
    chosen = {
        "from_scratch": _FROM_SCRATCH.value,
        "recalibrate": _RECALIBRATE.value,
    }
    if ALL_TRAINING_IMAGES.value:
        chosen["all_training_images"] = True
    return chosen


def claim(directory, job, pruner, candidate, settings):
    """Keeps a folder for what `tune` would do; raises InputError as that."""
    fitting.claim(
        directory,
        job,
        settings,
        kept=candidate.kept,
        **ways(),
        model_fingerprint=batches_lib.model_fingerprint(pruner.graph.model),
        # Of which the fingerprint does not know.
        trainable_weights=len(pruner.graph.model.trainable_weights),
    )
