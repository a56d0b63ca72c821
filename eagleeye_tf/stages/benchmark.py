"""Stage: measures what a candidate costs, and whether a race finds the best.

The same candidates are evaluated by the paper's protocol in plain Keras, and
on every rung of a race, which also tells what a full evaluation and a race
among any part of them would have found. Both are logged, and go on where they
were killed. Times are then taken side by side in one run.
"""

import contextlib
import dataclasses
import resource
import statistics
import time

import numpy as np
import tensorflow as tf
from absl import flags
from scipy import stats

from eagleeye_tf import files
from eagleeye_tf import progress
from eagleeye_tf.candidates import engine
from eagleeye_tf.candidates import evaluator as evaluator_lib
from eagleeye_tf.candidates import evaluators
from eagleeye_tf.candidates import json_log
from eagleeye_tf.candidates import log as log_lib
from eagleeye_tf.candidates import plain_protocol
from eagleeye_tf.candidates import racing
from eagleeye_tf.pruning import rebuild
from eagleeye_tf.reporting import report
from eagleeye_tf.reporting import tables
from eagleeye_tf.stages import common
from eagleeye_tf.stages import console
from eagleeye_tf.stages import search

_PLAIN_CALIBRATION = flags.DEFINE_integer(
    "plain_calibration_images",
    12_800,
    "Training images that the paper's protocol calibrates on.",
    lower_bound=1,
)
_JUDGE_IMAGES = flags.DEFINE_integer(
    "judge_images",
    10_000,
    "Training images that the winners of both are compared on.",
    lower_bound=1,
)
_TIMED = flags.DEFINE_integer(
    "timed_candidates",
    5,
    "Candidates whose time is taken side by side.",
    lower_bound=1,
)
_SUBSETS = flags.DEFINE_integer(
    "subsets",
    10,
    "Random halves of the candidates to race among.",
    lower_bound=1,
)


@dataclasses.dataclass(frozen=True)
class Plain:
    """A candidate by the paper's protocol.

    Attributes:
        index: of the candidate.
        correct: correct answers.
        seconds: that it took.
    """

    index: int
    correct: int
    seconds: float


class PlainLog(json_log.RecordLog):
    """Candidates by the paper's protocol."""

    schema, what, kind = 1, "benchmark", Plain


@dataclasses.dataclass
class Bench:
    """What all measurements share.

    Attributes:
        pruner: the `rebuild.Pruner` of the network.
        proposals: the candidates, as `sampling.Proposal`.
        evaluator: an `Evaluator`.
        plain_calibration: `(images, labels)` of the paper's protocol.
        sub_validation: `(images, labels)`.
        batch_size: images per batch.
    """

    pruner: rebuild.Pruner
    proposals: list
    evaluator: evaluator_lib.Evaluator
    plain_calibration: tuple
    sub_validation: tuple
    batch_size: int

    def race(self, count):
        """The rungs of a race among `count` candidates."""
        return racing.race(count, self.evaluator, self.batch_size)

    def plain(self, proposal):
        """(correct answers, seconds) of a candidate by the paper's protocol."""
        start = time.monotonic()
        correct = plain_protocol.count_correct(
            self.pruner,
            proposal.strategy,
            self.plain_calibration,
            self.sub_validation,
            self.batch_size,
        )
        return correct, time.monotonic() - start


def main():
    job = common.open_job()
    settings = search.search_settings()
    model = job.trained_model()
    bench = _bench(job, model, settings)
    plain_images = _PLAIN_CALIBRATION.value
    identity = search.identity(
        job, model, settings, plain_calibration_images=plain_images
    )
    folder = job.workdir / "benchmark"
    with (
        PlainLog(folder / "plain.jsonl", identity) as plain,
        log_lib.SearchLog(folder / "rungs.jsonl", identity) as rungs,
    ):
        _evaluate_all(bench, plain, rungs)
        correct = {index: r.correct for index, r in plain.records.items()}
        seconds = [record.seconds for record in plain.records.values()]
        found = _ranking(job, bench, correct, rungs)
        found["plain_seconds"] = statistics.median(seconds)
    found |= _images(bench)
    found |= _kernels(bench)
    found |= _times(bench)
    found |= _shares(bench, found)
    found["peak_memory_mb"] = (
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    )
    found["traces"] = bench.evaluator.traces
    files.write_json(folder / "result.json", found)
    rows = [(name, report.shown(value)) for name, value in found.items()]
    console.say(tables.table(("measured", "value"), rows))


def _bench(job, model, settings):
    data = job.data
    calibration = data.arrays(data.calibration)
    pruner = engine.make_pruner(model, settings, calibration)
    algorithm = engine.make_algorithm(pruner.graph, settings)
    sub_validation = data.arrays(data.sub_validation)
    evaluator = evaluators.make(
        pruner,
        calibration,
        sub_validation,
        job.distribution,
        batch_size=settings.batch_size,
    )
    more = data.train.part(0, _PLAIN_CALIBRATION.value)
    return Bench(
        pruner=pruner,
        proposals=algorithm.suggest(settings.num_candidates),
        evaluator=evaluator,
        plain_calibration=data.arrays(more),
        sub_validation=sub_validation,
        batch_size=settings.batch_size,
    )


def _evaluate_all(bench, plain, rungs):
    """Every candidate, in both ways, as far as the logs do not know it."""
    everybody = [
        dataclasses.replace(rung, candidates=len(bench.proposals))
        for rung in bench.race(len(bench.proposals))
    ]
    total = len(bench.proposals) * len(everybody)
    bar = progress.bar(total, "All rungs", "evaluation")
    with bar:
        racing.run(
            bench.proposals,
            bench.evaluator,
            everybody,
            rungs,
            lambda _: bar.update(),
        )
    bar = progress.bar(len(bench.proposals), "Plain", "candidate")
    with bar:
        for proposal in bench.proposals:
            if proposal.index not in plain.records:
                correct, seconds = bench.plain(proposal)
                plain.append(Plain(proposal.index, correct, round(seconds, 3)))
            bar.update()


def _ranking(job, bench, plain, rungs):
    """Does a race find what the paper's protocol finds?"""
    count = len(bench.proposals)
    first, *_, last = bench.race(count)
    expected = [plain[p.index] for p in bench.proposals]

    def agreement(seen):
        logged = [rungs.get(p.index, seen) for p in bench.proposals]
        scores = [candidate.known_score for candidate in logged]
        return float(stats.spearmanr(scores, expected).statistic)

    def finalists(proposals):
        racers = racing.run(
            proposals, bench.evaluator, bench.race(len(proposals)), rungs
        )
        return [c for c in racers if c.seen == last.seen]

    best = max(bench.proposals, key=lambda p: plain[p.index])
    winner = max(finalists(bench.proposals), key=lambda c: c.correct)
    generator = np.random.default_rng(0)
    hits = 0
    for _ in range(_SUBSETS.value):
        places = np.sort(generator.choice(count, count // 2, replace=False))
        half = [bench.proposals[place] for place in places]
        # Of candidates that are equally good any one will do.
        most = max(plain[p.index] for p in half)
        hits += any(plain[c.index] == most for c in finalists(half))
    judged = _judge(job, bench, {"plain": best, "race": winner})
    return {
        "candidates": count,
        "spearman_first_rung": agreement(first.seen),
        "spearman_full": agreement(last.seen),
        "halves_whose_best_is_a_finalist": f"{hits} of {_SUBSETS.value}",
        "plain_winner_on_judge_images": judged["plain"],
        "race_winner_on_judge_images": judged["race"],
        "regret": judged["plain"] - judged["race"],
    }


def _judge(job, bench, candidates):
    """Adaptive-BN score of a few candidates on many training images."""
    images = job.data.arrays(job.data.train.part(0, _JUDGE_IMAGES.value))
    judge = evaluators.make(
        bench.pruner,
        job.data.arrays(job.data.calibration),
        images,
        job.distribution,
        batch_size=bench.batch_size,
    )
    (rung,) = racing.full(len(candidates), judge)
    scores = {}
    for name, candidate in candidates.items():
        trial = judge.start(candidate.strategy)
        judge.calibrate([trial], rung.calibration)
        (correct,) = judge.count([trial], 0, rung.sub_validation)
        scores[name] = correct / rung.sub_validation
    return scores


def _times(bench):
    """Seconds per candidate, each way, in turn with the others."""
    count = len(bench.proposals)
    timed = bench.proposals[: _TIMED.value]
    plain, full = [], []
    for proposal in timed:
        plain.append(bench.plain(proposal)[1])
        full.append(
            _seconds(bench, [proposal], racing.full(1, bench.evaluator))
        )
    with _clocked(bench.evaluator) as phases:
        race = _seconds(bench, bench.proposals, bench.race(count)) / count
    seconds = {
        **{name: spent / count for name, spent in phases.items()},
        "seconds_plain": statistics.median(plain),
        "seconds_full": statistics.median(full),
        "seconds_race": race,
    }
    seconds["full_against_plain"] = (
        seconds["seconds_plain"] / seconds["seconds_full"]
    )
    seconds["race_against_plain"] = seconds["seconds_plain"] / race
    return seconds


@contextlib.contextmanager
def _clocked(evaluator):
    """Yields the seconds that an evaluator spends in its two passes."""
    spent = {}

    def clocked(name, method):
        def call(*arguments, **options):
            start = time.monotonic()
            try:
                return method(*arguments, **options)
            finally:
                spent[name] += time.monotonic() - start

        return call

    for method in ("calibrate", "count"):
        name = f"seconds_race_{method}"
        spent[name] = 0.0
        setattr(evaluator, method, clocked(name, getattr(evaluator, method)))
    try:
        yield spent
    finally:
        for method in ("calibrate", "count"):
            delattr(evaluator, method)


def _images(bench):
    """How many images a candidate sees on average, each way."""
    count = len(bench.proposals)
    plain = len(bench.plain_calibration[1]) + len(bench.sub_validation[1])
    return {
        "images_plain": plain,
        "images_full": racing.images(racing.full(count, bench.evaluator)),
        "images_race": racing.images(bench.race(count)),
    }


def _shares(bench, found):
    """Where a candidate's time in a race goes, and how near the limit it is.

    The limit: its images through networks that were built for them.
    """
    total = found["seconds_race"]
    batches = found["images_race"] / bench.batch_size
    cut = found["cut_and_first_batch_ms"] - found["batch_calibrated_ms"]
    cut /= 1000
    calibrate = found["seconds_race_calibrate"] - cut
    count = found["seconds_race_count"]
    return {
        "share_cut": cut / total,
        "share_calibrate": calibrate / total,
        "share_score": count / total,
        "share_other": 1 - (cut + calibrate + count) / total,
        "race_against_forward_pass": total
        / (batches * found["batch_static_ms"] / 1000),
    }


def _seconds(bench, proposals, rungs):
    start = time.monotonic()
    racing.run(proposals, bench.evaluator, rungs)
    return time.monotonic() - start


def _kernels(bench):
    """One batch: calibrated, scored, and through a network built for it."""
    images = tf.cast(bench.sub_validation[0][: bench.batch_size], tf.float32)
    times = {"calibrated": [], "scored": [], "static": [], "cut": []}
    for proposal in bench.proposals[: _TIMED.value]:
        model = bench.pruner.prune(proposal.strategy)
        static = tf.function(lambda x, model=model: model(x, training=False))
        trial = bench.evaluator.start(proposal.strategy)
        start = time.monotonic()
        bench.evaluator.calibrate([trial], bench.batch_size)
        times["cut"].append(time.monotonic() - start)
        ways = {
            "calibrated": lambda t=trial: _calibrate_again(bench, t),
            "scored": lambda t=trial: bench.evaluator.count(
                [t], 0, bench.batch_size
            ),
            "static": lambda f=static: f(images).numpy(),
        }
        for way in ways.values():
            way()
        for _ in range(7):
            for name, way in ways.items():
                start = time.monotonic()
                way()
                times[name].append(time.monotonic() - start)
    medians = {name: statistics.median(t) for name, t in times.items()}
    return {
        "batch_scored_ms": 1000 * medians["scored"],
        "batch_static_ms": 1000 * medians["static"],
        "batch_calibrated_ms": 1000 * medians["calibrated"],
        "scored_against_static": medians["scored"] / medians["static"],
        "calibrated_against_scored": medians["calibrated"] / medians["scored"],
        "cut_and_first_batch_ms": 1000 * medians["cut"],
    }


def _calibrate_again(bench, trial):
    trial.calibrated = 0
    bench.evaluator.calibrate([trial], bench.batch_size)
