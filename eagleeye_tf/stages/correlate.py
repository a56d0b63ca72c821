"""Stage: does a score before fine-tuning tell the accuracy after it?

Random strategies are scored in every way there is, then all of them are
fine-tuned. Scores and accuracies are logged, and what they come to is worked
out from the logs alone.
"""

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
from eagleeye_tf.reporting import plots
from eagleeye_tf.reporting import study
from eagleeye_tf.stages import common
from eagleeye_tf.stages import console
from eagleeye_tf.stages import finetune
from eagleeye_tf.stages import search

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
    settings = search.search_settings()
    training = finetune.training_settings(job)
    k = _PHI_K.value or max(settings.num_candidates // 4, 1)
    if settings.num_candidates < max(3, k):
        raise errors.InputError(
            "A correlation study takes at least three candidates, and no "
            f"fewer than --phi_k. Received: {settings.num_candidates}."
        )
    model = job.trained_model()
    calibration = job.data.arrays(job.data.calibration)
    pruner = engine.make_pruner(model, settings, calibration)
    folder = job.workdir / "correlate"
    identity = search.identity(job, model, settings)
    with log_lib.SearchLog(folder / "scores.jsonl", identity) as scores:
        rungs = _score(job, pruner, calibration, settings, scores)
        candidates = {
            c.index: [scores.get(c.index, rung.seen) for rung in rungs]
            for c in scores.candidates
        }
    identity |= finetune.identity(training)
    with FineTunedLog(folder / "finetuned.jsonl", identity) as tuned:
        for number, (index, (_, candidate)) in enumerate(
            candidates.items(), start=1
        ):
            if index not in tuned.records:
                name = f"Fine-tuning {number} of {len(candidates)}"
                tuned.append(_fine_tune(job, pruner, candidate, training, name))
    _report(job, folder, candidates, tuned.records, k)


def _score(job, pruner, calibration, settings, log):
    """Scores all candidates on a race's first rung, then on all images.

    Returns:
        The two rungs.
    """
    data = job.data
    algorithm = engine.make_algorithm(pruner.graph, settings)
    evaluator = evaluators.make(
        pruner,
        calibration,
        data.arrays(data.sub_validation),
        job.distribution,
        batch_size=settings.batch_size,
    )
    if not evaluator.has_batch_norm:
        raise errors.InputError(
            "The model has no BatchNormalization: there are no statistics to "
            "adapt, and nothing to compare with vanilla evaluation."
        )
    count = settings.num_candidates
    rungs = [
        racing.first_rung(count, evaluator, settings.batch_size),
        *racing.full(count, evaluator),
    ]
    proposals = algorithm.suggest(count)
    total = len(proposals) * len(rungs)
    bar = progress.bar(total, "Scoring", "evaluation")
    with bar:
        racing.run(proposals, evaluator, rungs, log, lambda _: bar.update())
    return rungs


def _fine_tune(job, pruner, candidate, training, description):
    """Fine-tunes a candidate; its folder is gone once that is logged."""
    directory = job.workdir / "correlate" / f"candidate_{candidate.index}"
    model, epochs = finetune.tune(
        job, pruner, candidate, directory, training, description
    )
    correct, total = job.test(model, "Test")
    shutil.rmtree(directory)
    return study.FineTuned(
        index=candidate.index,
        epochs=[epoch.correct for epoch in epochs],
        total=epochs[-1].total,
        test_correct=correct,
        test_total=total,
    )


def _report(job, folder, candidates, tuned, k):
    whole = study.Study.of(candidates, tuned)
    found = study.to_json(whole, k)
    files.write_json(folder / "result.json", found)
    plots.correlation(folder / "correlation", whole)
    plots.histograms(folder / "histograms", whole)
    console.say(
        f"\n{study.table(found)}\n\n{study.in_words(found)}\n\n"
        f"Figures: {folder / 'correlation.png'}"
    )
