"""Stage: how many calibration images does adaptive BN need?

The same candidates are scored with statistics of more and more images. What
comes of it is worked out from the log alone, but for the distances of the
statistics themselves, which are those of the best candidate.
"""

import dataclasses

import numpy as np

from eagleeye_tf import errors
from eagleeye_tf import files
from eagleeye_tf import progress
from eagleeye_tf.candidates import engine
from eagleeye_tf.candidates import evaluators
from eagleeye_tf.candidates import json_log
from eagleeye_tf.candidates import rankings as rankings_lib
from eagleeye_tf.pruning import network
from eagleeye_tf.reporting import calibration
from eagleeye_tf.reporting import plots
from eagleeye_tf.stages import common
from eagleeye_tf.stages import console
from eagleeye_tf.stages import search


class CalibrationLog(json_log.RecordLog):
    """Scores of candidates with statistics of more and more images."""

    schema, what, kind = 1, "calibration study", calibration.Calibrated


def main():
    job = common.open_job()
    settings = search.study_settings()
    model = job.trained_model()
    calibration_set = job.data.arrays(job.data.calibration)
    log_path = job.workdir / "calibration_study" / "log.jsonl"
    rankings = rankings_lib.Rankings(
        engine.make_pruner(model, settings, calibration_set),
        settings.importance,
        log_path,
        search.identity(job, model, settings),
    )
    pruner, identity = rankings.pruner, rankings.identity
    algorithm = engine.make_algorithm(pruner.graph, settings)
    sub_validation = job.data.arrays(job.data.sub_validation)
    evaluator = _evaluator(
        job,
        pruner,
        calibration_set,
        sub_validation,
        new_moments=settings.new_moments,
    )
    if not evaluator.has_batch_norm:
        raise errors.InputError(
            "The model has no BatchNormalization: there is nothing to "
            "calibrate."
        )
    sizes = _sizes(evaluator.calibration_size, settings.batch_size)
    proposals = algorithm.suggest(settings.num_candidates)
    bar = progress.bar(len(proposals), "Calibrating", "candidate")
    with bar, CalibrationLog(log_path, identity) as log:
        rankings.keep()
        for proposal in proposals:
            if proposal.index not in log.records:
                log.append(_calibrated(evaluator, proposal, sizes))
            bar.update()
        records = [log.records[proposal.index] for proposal in proposals]
    best = max(records, key=lambda record: record.correct[-1])
    strategy = next(p.strategy for p in proposals if p.index == best.index)
    # To compare with: exact, however candidates are calibrated.
    exact = _evaluator(job, pruner, sub_validation, sub_validation)
    distances = _distances(evaluator, exact, strategy)
    described = {"network": job.model_name(), "data_set": job.data.name}
    _report(log_path.parent, records, distances, {**described, **identity})


def _evaluator(job, pruner, calibration_set, sub_validation, **options):
    return evaluators.make(
        pruner,
        calibration_set,
        sub_validation,
        batch_size=job.batch_size,
        **options,
    )


def _sizes(calibration_images, batch_size):
    """One batch, two, four, …, and all images."""
    sizes = [batch_size]
    while 2 * sizes[-1] < calibration_images:
        sizes.append(2 * sizes[-1])
    return [*(s for s in sizes if s < calibration_images), calibration_images]


def _calibrated(evaluator, proposal, sizes):
    trial = evaluator.start(proposal.strategy)
    total = evaluator.sub_validation_size
    correct = []
    for size in sizes:
        evaluator.calibrate([trial], size)
        correct += evaluator.count([trial], 0, total)
    return calibration.Calibrated(proposal.index, sizes, correct, total)


def _distances(calibrating, validating, strategy):
    """How far BN statistics are from those of the sub-validation set.

    Args:
        calibrating: `Evaluator` on the calibration set.
        validating: `Evaluator` whose calibration set is the sub-validation
            set.
        strategy: the candidate's `PruningStrategy`.

    Returns:
        List of `calibration.Distance`, one for each BN layer in order.
    """
    adapted, expected = calibrating.start(strategy), validating.start(strategy)
    calibrating.calibrate([adapted], calibrating.calibration_size)
    validating.calibrate([expected], validating.calibration_size)
    layers = dict(network.all_layers(calibrating.pruner.prune(strategy)))
    return [
        calibration.Distance.of(
            path,
            expected=(moments.mean, moments.variance),
            inherited=(
                np.asarray(layers[path].moving_mean),
                np.asarray(layers[path].moving_variance),
            ),
            adapted=(
                adapted.moments[path].mean,
                adapted.moments[path].variance,
            ),
        )
        for path, moments in expected.moments.items()
    ]


def _report(folder, records, distances, settings):
    curve = calibration.curve(records)
    files.write_json(
        folder / "result.json",
        {
            "candidates": len(records),
            "curve": [dataclasses.asdict(point) for point in curve],
            "distances": [dataclasses.asdict(d) for d in distances],
            "settings": settings,
        },
    )
    plots.calibration(folder / "calibration", curve)
    plots.distances(folder / "distances", distances)
    console.say(
        f"\n{calibration.table(curve)}\n\nFigures: "
        f"{folder / 'calibration.png'}, {folder / 'distances.png'}"
    )
