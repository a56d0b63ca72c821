"""Stage: fine-tunes the winners of a search."""

import dataclasses
import warnings

import keras
import numpy as np
from absl import flags

from eagleeye_tf import errors
from eagleeye_tf import files
from eagleeye_tf.candidates import adaptive_bn
from eagleeye_tf.candidates import batches as batches_lib
from eagleeye_tf.candidates import log
from eagleeye_tf.candidates import racing
from eagleeye_tf.pruning import network
from eagleeye_tf.pruning import rebuild
from eagleeye_tf.stages import common
from eagleeye_tf.stages import console
from eagleeye_tf.stages import fitting
from eagleeye_tf.stages import machines
from eagleeye_tf.stages import search
from eagleeye_tf.training import schedules

_NUM_WINNERS = flags.DEFINE_integer(
    "num_winners", 1, "Candidates to fine-tune, best first.", lower_bound=1
)
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


def finetune(job):
    """Fine-tunes the winners; returns what `finetune/result.json` holds."""
    model, found = _searched(job)
    if ALL_TRAINING_IMAGES.value:
        job = dataclasses.replace(job, data=job.data.with_all_for_training())
    settings = training_settings(job)
    # Those of the search: measured again, they might differ in a rounding.
    pruner = rebuild.Pruner(
        model,
        round_to=found["settings"]["round_to"],
        rankings=[np.array(ranking) for ranking in found["rankings"]],
    )
    winners = _winners(found)
    results = [
        _finetune_one(job, pruner, log.Candidate.from_json(w), rank, settings)
        for rank, w in enumerate(winners, start=1)
    ]
    best = max(results, key=lambda r: (r["correct"], -r["rank"]))
    result = {"best": best["rank"], "winners": results}
    job.write_json(job.workdir / "finetune" / "result.json", result)
    return result


def require_candidates(settings):
    """Raises InputError if a search cannot leave as many winners as wanted.

    Args:
        settings: `SearchSettings`.
    """
    count, candidates = _NUM_WINNERS.value, settings.num_candidates
    if settings.evaluation == "race":
        candidates = racing.finalists(candidates)
    if count > candidates:
        raise errors.InputError(
            f"A search of {settings.num_candidates} candidates scores "
            f"{candidates} on all sub-validation images. Received: "
            f"num_winners={count}; lower it, or search with more candidates "
            "or --evaluation=full."
        )


def _winners(found):
    """The candidates of `search/result.json` to fine-tune, best first.

    Raises:
        InputError: if so many are not known to meet the budget in latency, or
            have not seen all sub-validation images.
    """
    count, candidates = _NUM_WINNERS.value, found["candidates"]
    latency = found["latency"]
    if latency and count > len(latency["winners"]):
        raise errors.InputError(
            f"Only {len(latency['winners'])} candidates were measured and meet "
            f"the budget in latency. Received: num_winners={count}; lower it."
        )
    finalists = sum(c["finalist"] for c in candidates)
    if count > finalists:
        raise errors.InputError(
            f"Only {finalists} candidates were scored on all sub-validation "
            f"images. Received: num_winners={count}; lower it, or search with "
            "more candidates or --evaluation=full."
        )
    return candidates[:count]


def training_settings(job):
    """The `TrainingSettings` of fine-tuning that the flags describe.

    Raises:
        InputError: for flags that exclude each other.
    """
    _require_images_to_choose_by()
    return schedules.TrainingSettings(
        epochs=_EPOCHS.value,
        learning_rate=_LEARNING_RATE.value,
        weight_decay=_WEIGHT_DECAY.value,
        warmup_epochs=_WARMUP_EPOCHS.value,
        distillation_weight=_DISTILLATION_WEIGHT.value,
        distillation_temperature=_DISTILLATION_TEMPERATURE.value,
        **fitting.shared_settings(job),
    )


def _require_images_to_choose_by():
    if not ALL_TRAINING_IMAGES.value:
        return
    for flag, choice in (
        (_NUM_WINNERS, "the best of several winners"),
        (_RECALIBRATE, "the better statistics"),
    ):
        if flag.value != flag.default:
            raise errors.InputError(
                f"--{flag.name} chooses {choice} by images that fine-tuning "
                "has not seen, and --all_training_images leaves none. "
                f"Received: both, with --{flag.name}={flag.value}; leave one "
                "out."
            )


def _searched(job):
    """(the whole network, `search/result.json` of the search for it)."""
    found = files.read_json(job.workdir / "search" / "result.json")
    if found is None:
        raise errors.InputError(
            f"There is no finished search in {str(job.workdir)!r}: run "
            "eagleeye_tf.search with this workdir first."
        )
    split = job.split()
    files.require_same(job.workdir / "search", found["split"], split, split)
    search.require_same(found["settings"])
    model = job.trained_model()
    if batches_lib.model_fingerprint(model) != found["model"]:
        raise errors.InputError(
            f"The search in {str(job.workdir)!r} was made with another "
            "model: give the same --model, or another --workdir."
        )
    return model, found


def finished_best(job):
    """The `.keras` file of the best winner fine-tuned before; or None.

    Raises:
        InputError: if it was made from another network than `--model`.
    """
    result = files.read_json(job.workdir / "finetune" / "result.json")
    if result is None:
        return None
    _searched(job)
    return best_path(job, result)


def best_path(job, result):
    """The `.keras` file of the best fine-tuned winner."""
    best = next(w for w in result["winners"] if w["rank"] == result["best"])
    return _directory(job, best["candidate"]["index"]) / "model.keras"


def _directory(job, index):
    """Named after the candidate: its rank changes when a search goes on."""
    return job.workdir / "finetune" / f"candidate_{index}"


def _finetune_one(job, pruner, candidate, rank, settings):
    directory = _directory(job, candidate.index)
    _claim(directory, job, pruner, candidate, settings)
    known = files.read_json(directory / "result.json")
    path = directory / "model.keras"
    if known is not None and path.exists():
        console.say(f"Fine-tuned before: {path}")
        return {**known, "rank": rank}
    model, epochs = tune(
        job, pruner, candidate, directory, settings, f"Fine-tuning {rank}"
    )
    job.save_model(model, path)
    last = epochs[-1]
    result = {
        "rank": rank,
        "correct": last.correct,
        "total": last.total,
        "candidate": candidate.to_json(),
        "held_out": not ALL_TRAINING_IMAGES.value,
        "settings": {
            **dataclasses.asdict(settings),
            **_ways(),
            "augmentation": job.data.augmentation,
        },
        "epochs": [dataclasses.asdict(epoch) for epoch in epochs],
    }
    job.write_json(directory / "result.json", result)
    console.say(
        f"Winner {rank}: score {candidate.score:.2%}, after fine-tuning "
        f"{last.correct / last.total:.2%} on sub-validation"
        f"{'' if result['held_out'] else ', which it was trained on'}."
    )
    _warn_if_worse(candidate, last, job.data.augmentation)
    return result


def _warn_if_worse(candidate, last, augmentation):
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
        job: a `common.Job`.
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
    _claim(directory, job, pruner, candidate, settings)
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
        **_ways(),
    }


def _ways():
    ways = {
        "from_scratch": _FROM_SCRATCH.value,
        "recalibrate": _RECALIBRATE.value,
    }
    if ALL_TRAINING_IMAGES.value:
        ways["all_training_images"] = True
    return ways


def _claim(directory, job, pruner, candidate, settings):
    fitting.claim(
        directory,
        job,
        settings,
        kept=candidate.kept,
        **_ways(),
        model_fingerprint=batches_lib.model_fingerprint(pruner.graph.model),
        # Of which the fingerprint does not know.
        trainable_weights=len(pruner.graph.model.trainable_weights),
    )


def main():
    machines.train_together(_main)


def _main(several_machines):
    job = common.open_job(several_machines)
    console.say(f"Best: {best_path(job, finetune(job))}")
