"""Stage: measures what a candidate costs, and whether a race finds the best.

The same candidates are evaluated by the paper's protocol in plain Keras, and
on every rung of a race, which also tells what a full evaluation and a race
among any part of them would have found. Both are logged, and go on where they
were killed. Times are taken in one run, each way in turn with the others.
"""

import dataclasses
import functools
import itertools
import time

from absl import flags

from eagleeye_tf import errors
from eagleeye_tf import files
from eagleeye_tf import progress
from eagleeye_tf.candidates import adaptive_bn
from eagleeye_tf.candidates import engine
from eagleeye_tf.candidates import evaluator as evaluator_lib
from eagleeye_tf.candidates import evaluators
from eagleeye_tf.candidates import json_log
from eagleeye_tf.candidates import log as log_lib
from eagleeye_tf.candidates import plain_protocol
from eagleeye_tf.candidates import racing
from eagleeye_tf.candidates import rankings as rankings_lib
from eagleeye_tf.candidates import settings as settings_lib
from eagleeye_tf.data import splits
from eagleeye_tf.reporting import report
from eagleeye_tf.reporting import tables
from eagleeye_tf.stages import benchmark_judging
from eagleeye_tf.stages import benchmark_timing
from eagleeye_tf.stages import common
from eagleeye_tf.stages import console
from eagleeye_tf.stages import search

_PLAIN_CALIBRATION = flags.DEFINE_integer(
    "plain_calibration_batches",
    100,
    "Full batches of training images that the paper's protocol calibrates on. "
    "(It scores as many sub-validation images as the other ways do.)",
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
    "Random halves of the candidates to race among, each with a best of its "
    "own.",
    lower_bound=1,
)

# Six reach the last rung of any race: a half that races has more.
_FEWEST_CANDIDATES = 14


@dataclasses.dataclass(frozen=True)
class Plain:
    """A candidate by the paper's protocol.

    Attributes:
        index: of the candidate.
        correct: correct answers.
        seconds: that it took, beside whatever else the machine had to do.
    """

    index: int
    correct: int
    seconds: float


class PlainLog(json_log.RecordLog):
    """Candidates by the paper's protocol."""

    schema, what, kind = 2, "benchmark", Plain


@dataclasses.dataclass
class Bench:
    """What all measurements share; all of it runs on one device.

    Images that a search does not have are read when they are needed first,
    so that its memory is measured without them.

    Attributes:
        data: a `splits.Data`.
        settings: the `SearchSettings` of the race.
        rankings: a `Rankings`, of the candidates of both ways.
        proposals: the candidates, as `sampling.Proposal`.
        evaluator: an `Evaluator` with the images of a search.
        sub_validation: `(images, labels)`.
    """

    data: splits.Data
    settings: settings_lib.SearchSettings
    rankings: rankings_lib.Rankings
    proposals: list
    evaluator: evaluator_lib.Evaluator
    sub_validation: tuple

    @property
    def pruner(self):
        """The `rebuild.Pruner` of the network."""
        return self.rankings.pruner

    @property
    def batch_size(self):
        """Images per batch."""
        return self.settings.batch_size

    @functools.cached_property
    def plain_calibration(self):
        """`(images, labels)` that the paper's protocol calibrates on."""
        return self._training_images(0)

    @functools.cached_property
    def plain_evaluator(self):
        """An `Evaluator` with the images of the paper's protocol."""
        return _evaluator(
            self.pruner,
            self.plain_calibration,
            self.sub_validation,
            self.settings,
        )

    @functools.cached_property
    def judges(self):
        """`(images, labels)` for the winners' statistics, and to judge them."""
        return self._training_images(1), self._training_images(2)

    def _training_images(self, place):
        part = _parts(self.data, self.batch_size)[place]
        return self.data.arrays(self.data.train.part(part.start, part.stop))

    def race(self, count):
        """The rungs of a race among `count` candidates."""
        return racing.race(count, self.evaluator, self.batch_size)

    def plain(self, proposal):
        """Correct answers of a candidate by the paper's protocol."""
        return plain_protocol.count_correct(
            self.pruner,
            proposal.strategy,
            self.plain_calibration,
            self.sub_validation,
            self.batch_size,
        )


def main():
    job = common.open_job()
    settings = search.study_settings()
    _check(job.data, settings)
    model = job.trained_model()
    folder = job.workdir / "benchmark"
    bench = _bench(job, model, settings, folder / "rungs.jsonl")
    identity = bench.rankings.identity
    with (
        PlainLog(folder / "plain.jsonl", identity) as plain,
        log_lib.SearchLog(folder / "rungs.jsonl", identity) as rungs,
    ):
        bench.rankings.keep()
        found = {
            "plain_calibration_batches": _PLAIN_CALIBRATION.value,
            "sub_validation_images": job.data.sub_validation.size,
            **benchmark_timing.whole_race(bench, folder),
        }
        _evaluate_all(bench, plain, rungs)
        correct = {
            p.index: plain.records[p.index].correct for p in bench.proposals
        }
        found |= benchmark_judging.agreement(bench, correct, rungs)
        found |= benchmark_judging.halves(bench, correct, rungs, _SUBSETS.value)
        winners = benchmark_judging.winners(bench, correct, rungs)
        found |= benchmark_judging.regret(bench, *winners)
        timed = bench.proposals[: _TIMED.value]
        found |= benchmark_timing.kernels(bench, timed)
        found |= benchmark_timing.side_by_side(bench, timed, folder)
    found["race_against_forward_pass"] = benchmark_timing.against_forward_pass(
        found, bench.batch_size
    )
    files.write_json(folder / "result.json", found)
    rows = [(name, report.shown(value)) for name, value in found.items()]
    console.say(tables.table(("measured", "value"), rows))


def _check(data, settings):
    """Raises InputError for what would only be found out hours later."""
    halves = _SUBSETS.value
    # The k-th half lacks the k - 1 best candidates.
    fewest = max(_FEWEST_CANDIDATES, 2 * (halves - 1))
    if settings.num_candidates < fewest:
        raise errors.InputError(
            f"A benchmark with --subsets={halves} takes at least {fewest} "
            "candidates, since halves of them race. Received: "
            f"--num_candidates={settings.num_candidates}."
        )
    *_, images = _parts(data, settings.batch_size)
    if images.stop > data.train.size:
        raise errors.InputError(
            f"--{_PLAIN_CALIBRATION.name}={_PLAIN_CALIBRATION.value} of "
            f"{settings.batch_size} images, {data.calibration.size} for the "
            f"judge's statistics and --{_JUDGE_IMAGES.name}="
            f"{_JUDGE_IMAGES.value} are {images.stop} training images. "
            f"{data.name!r} has {data.train.size} that are neither "
            "calibration nor sub-validation images: lower the flags."
        )


def _parts(data, batch_size):
    """Which training images serve what, none of them twice.

    Returns:
        Slices: those on which the paper's protocol calibrates; those of whose
        statistics the winners are judged, and the images that judge them.
        They chose no winner, of either way.
    """
    sizes = (
        _PLAIN_CALIBRATION.value * batch_size,
        data.calibration.size,
        _JUDGE_IMAGES.value,
    )
    ends = list(itertools.accumulate(sizes, initial=0))
    return [slice(*pair) for pair in itertools.pairwise(ends)]


def _bench(job, model, settings, log_path):
    if not adaptive_bn.batch_norm_layers(model):
        raise errors.InputError(
            "The model has no BatchNormalization: there is nothing to adapt, "
            "so no race to compare with the paper's protocol."
        )
    data = job.data
    calibration = data.arrays(data.calibration)
    sub_validation = data.arrays(data.sub_validation)
    rankings = rankings_lib.Rankings(
        engine.make_pruner(model, settings, calibration),
        settings.importance,
        log_path,
        search.identity(
            job,
            model,
            settings,
            plain_calibration_batches=_PLAIN_CALIBRATION.value,
        ),
    )
    pruner = rankings.pruner
    algorithm = engine.make_algorithm(pruner.graph, settings)
    return Bench(
        data=data,
        settings=settings,
        rankings=rankings,
        proposals=algorithm.suggest(settings.num_candidates),
        evaluator=_evaluator(pruner, calibration, sub_validation, settings),
        sub_validation=sub_validation,
    )


def _evaluator(pruner, calibration, scored, settings):
    """An `Evaluator` that works as that of a search would."""
    return evaluators.make(
        pruner,
        calibration,
        scored,
        batch_size=settings.batch_size,
        new_moments=settings.new_moments,
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
            vanilla=False,
        )
    waiting = [p for p in bench.proposals if p.index not in plain.records]
    bar = progress.bar(len(bench.proposals), "Plain", "candidate")
    with bar:
        bar.go_on_from(len(bench.proposals) - len(waiting))
        for proposal in waiting:
            start = time.monotonic()
            correct = bench.plain(proposal)
            seconds = round(time.monotonic() - start, 3)
            plain.append(Plain(proposal.index, correct, seconds))
            bar.update()
