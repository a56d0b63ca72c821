"""Stage: does a score before fine-tuning tell the accuracy after it?

Random strategies are scored in every way there is, then all of them are
fine-tuned. Scores and accuracies are logged, and what they come to is worked
out from the logs alone.
"""

import dataclasses
import itertools
import shutil

from absl import flags

from eagleeye_tf import errors
from eagleeye_tf import files
from eagleeye_tf import progress
from eagleeye_tf.candidates import engine
from eagleeye_tf.candidates import evaluators
from eagleeye_tf.candidates import json_log
from eagleeye_tf.candidates import log as log_lib
from eagleeye_tf.candidates import racing
from eagleeye_tf.candidates import rankings as rankings_lib
from eagleeye_tf.reporting import plots
from eagleeye_tf.reporting import study
from eagleeye_tf.stages import common
from eagleeye_tf.stages import console
from eagleeye_tf.stages import search
from eagleeye_tf.stages import summaries
from eagleeye_tf.stages import tuning

_PHI_K = flags.DEFINE_integer(
    "phi_k",
    None,
    "How many of the best candidates phi(k) looks for; by default a quarter.",
    lower_bound=1,
)


class FineTunedLog(json_log.RecordLog):
    """What became of candidates that were fine-tuned."""

    schema, what, kind = 1, "correlation study", study.FineTuned


def main():
    job = common.open_job()
    if tuning.ALL_TRAINING_IMAGES.value:
        raise errors.InputError(
            "A correlation study counts answers on sub-validation images "
            "while it fine-tunes: leave out --all_training_images."
        )
    settings = search.study_settings()
    training = tuning.training_settings(job)
    k = _phi_k(settings)
    model = job.trained_model()
    calibration = job.data.arrays(job.data.calibration)
    folder = job.workdir / "correlate"
    told = summaries.Summaries(job, folder)
    scores_path = folder / "scores.jsonl"
    rankings = rankings_lib.Rankings(
        engine.make_pruner(model, settings, calibration),
        settings.importance,
        scores_path,
        search.identity(job, model, settings),
    )
    pruner, identity = rankings.pruner, rankings.identity
    with log_lib.SearchLog(scores_path, identity) as scores:
        rankings.keep()
        proposals, rungs = _score(
            job, pruner, calibration, settings, scores, told
        )
        # Not all that the log holds: it may be of a study of more.
        candidates = [scores.get(p.index, rungs[-1].seen) for p in proposals]
    identity |= {
        **tuning.identity(training),
        "augmentation": job.data.augmentation,
    }
    plan = study.Plan(
        candidates=[candidate.index for candidate in candidates],
        rungs=[rungs[0].seen, rungs[-1].seen],
        phi_k=k,
        settings={**_described(job), **identity},
    )
    told.settings({**settings.identity(), **training.identity()})
    with FineTunedLog(folder / "finetuned.jsonl", identity) as tuned:
        files.write_json(folder / "study.json", dataclasses.asdict(plan))
        _fine_tune_all(job, pruner, candidates, training, tuned, told)
    _report(folder)


def _described(job):
    """What was worked on, in words and numbers, for the report."""
    return {
        "network": job.model_name(),
        "data_set": job.data.name,
        "training_images": job.data.train.size,
        "test_images": job.data.test.size,
    }


def _phi_k(settings):
    count = settings.num_candidates
    k = _PHI_K.value or max(count // 4, 1)
    if count < max(study.LEAST, k):
        raise errors.InputError(
            f"A correlation study takes at least {study.LEAST} candidates, and "
            f"no fewer than --phi_k. Received: {count}, phi_k={k}."
        )
    return k


def _score(job, pruner, calibration, settings, log, told):
    """Scores all candidates on a race's first rung, then on all images.

    Returns:
        (list of `sampling.Proposal`, the two rungs, or the one where the
        first shows everything).
    """
    data = job.data
    algorithm = engine.make_algorithm(pruner.graph, settings)
    evaluator = evaluators.make(
        pruner,
        calibration,
        data.arrays(data.sub_validation),
        job.distribution,
        batch_size=settings.batch_size,
        new_moments=settings.new_moments,
    )
    if not evaluator.has_batch_norm:
        raise errors.InputError(
            "The model has no BatchNormalization: there are no statistics to "
            "adapt, and nothing to compare with vanilla evaluation."
        )
    count = settings.num_candidates
    rungs = racing.full(count, evaluator)
    first = racing.first_rung(count, evaluator, settings.batch_size)
    if first.seen != rungs[0].seen:
        rungs = [first, *rungs]
    proposals = algorithm.suggest(count)
    total = len(proposals) * len(rungs)
    bar = progress.bar(total, "Scoring", "evaluation")
    with bar:
        racing.run(proposals, evaluator, rungs, log, _teller(told, bar))
    return proposals, rungs


def _teller(told, bar):
    """What shows evaluations as they come, and writes their summaries."""
    numbers = itertools.count(1)

    def on_evaluation(candidate):
        scores = {"first_rung_score": candidate.interim_score}
        if candidate.finalist:
            scores = {
                "score": candidate.score,
                "vanilla_score": candidate.vanilla_score,
            }
        told.scalars(next(numbers), scores)
        bar.update()

    return on_evaluation


def _fine_tune_all(job, pruner, candidates, training, log, told):
    """Fine-tunes whoever is not in the log yet."""
    folder = job.workdir / "correlate"
    for index in log.records:  # Killed between a record and what is next.
        _remove(folder, index)
    for number, candidate in enumerate(candidates, start=1):
        if candidate.index in log.records:
            continue
        name = f"Fine-tuning {number} of {len(candidates)}"
        end = _fine_tune(job, pruner, candidate, training, name)
        log.append(end)
        _remove(folder, candidate.index)
        if end.failure is None:
            accuracy = end.test_correct / end.test_total
            told.scalars(number, {"fine_tuned_test_accuracy": accuracy})
            told.flush()
        _write_result(folder)


def _remove(folder, index):
    """Removes a candidate's checkpoints: what they came to is logged."""
    shutil.rmtree(folder / f"candidate_{index}", ignore_errors=True)


def _fine_tune(job, pruner, candidate, training, description):
    """Fine-tunes a candidate; returns a `study.FineTuned`."""
    directory = job.workdir / "correlate" / f"candidate_{candidate.index}"
    try:
        model, epochs = tuning.tune(
            job, pruner, candidate, directory, training, description
        )
    except errors.DivergenceError as error:
        console.say(f"{description}: {error}")
        return study.FineTuned(candidate.index, [], 0, 0, 0, str(error))
    correct, total = job.test(model, "Test")
    return study.FineTuned(
        index=candidate.index,
        epochs=[epoch.correct for epoch in epochs],
        total=epochs[-1].total,
        test_correct=correct,
        test_total=total,
    )


def _write_result(folder):
    """Writes what the study comes to so far, if it comes to anything.

    Returns:
        (the `Study`, what `study.to_json` made of it); or None.
    """
    read = study.read(folder)
    if read is None:
        return None
    found = study.to_json(*read)
    files.write_json(folder / "result.json", found)
    return read[1], found


def _report(folder):
    result = _write_result(folder)
    if result is None:
        raise errors.InputError(
            f"Fewer than {study.LEAST} candidates were fine-tuned to the end, "
            "all others diverged: lower --learning_rate, in another workdir."
        )
    whole, found = result
    for name in study.FIGURES:
        getattr(plots, name)(folder / name, whole)
    console.say(
        f"\n{study.table(found)}\n\n{study.in_words(found)}\n\n"
        f"Figures: {folder / 'correlation.png'}"
    )
