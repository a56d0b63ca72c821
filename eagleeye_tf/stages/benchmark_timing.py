"""What a candidate costs, each way: seconds, images, memory.

A machine is not equally fast all day, so the ways take turns over the same
candidates, and what is told is the median. A race has no time of one
candidate, as all see its first images and few its last. So each candidate
that takes a turn climbs all rungs, and the median time on the way to a rung
counts for as many as come to it in a race among all. What that leaves out
(choosing who goes on, the memory of hundreds) is in the wall time of a whole
race, which is told beside it. In all functions `bench` is a
`benchmark.Bench`.
"""

import contextlib
import itertools
import pathlib
import statistics
import time

import tensorflow as tf

from eagleeye_tf import progress
from eagleeye_tf.candidates import log as log_lib
from eagleeye_tf.candidates import racing
from eagleeye_tf.candidates import rebuilt_evaluator

_PHASES = ("cut", "calibrate", "score")
_REPETITIONS = 7
# By then all is traced, and all buffers have their size.
_SETTLED = 10
_STATUS = pathlib.Path("/proc/self/status")


def whole_race(bench, folder):
    """Wall time, traces and memory of a race among all candidates, as JSON.

    Tracing and writing the log take part of that time, as in a search. To be
    run first, as memory that others freed would hide what a race takes.

    Args:
        bench: see above.
        folder: for a log like that of a search; nothing is left in it.
    """
    count = len(bench.proposals)
    rungs = bench.race(count)
    total = sum(rung.candidates for rung in rungs)
    bar = progress.bar(total, "Race", "evaluation")
    memory = []

    def on_evaluation(_):
        bar.update()
        memory.append(memory_mb()[0])

    start = time.monotonic()
    with bar, _log(folder) as log:
        racing.run(bench.proposals, bench.evaluator, rungs, log, on_evaluation)
    seconds = time.monotonic() - start
    present, highest = memory_mb()
    before = memory[_SETTLED - 1]
    return {
        "race_wall_seconds": seconds,
        "race_wall_seconds_per_candidate": seconds / count,
        "traces": bench.evaluator.traces,
        "memory_after_10_candidates_mb": before,
        "memory_after_race_mb": present,
        "memory_growth_mb": None if present is None else present - before,
        "peak_memory_mb": highest,
    }


def memory_mb():
    """(present, highest) memory of this process; None where unknown."""
    if not _STATUS.exists():  # Only Linux tells it so.
        return None, None
    lines = _STATUS.read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return tuple(
        int(fields[name].split()[0]) / 1024 if name in fields else None
        for name in ("VmRSS", "VmHWM")
    )


def side_by_side(bench, timed, folder):
    """Seconds and images per candidate, each way, as JSON.

    "full_same_images" is a full evaluation of what the paper's protocol sees:
    its calibration images, no vanilla evaluation.

    Args:
        bench: see above.
        timed: the proposals that take turns.
        folder: for logs like that of a search; nothing is left in it.
    """
    rungs = bench.race(len(bench.proposals))
    full = racing.full(1, bench.evaluator)
    for evaluator in (bench.evaluator, bench.plain_evaluator):
        _warm_up(evaluator, timed[0], bench.batch_size)
    times = {"plain": [], "full": [], "full_same_images": []}
    climbs = []
    bar = progress.bar(len(timed), "Times", "candidate")
    with bar:
        for proposal in timed:
            times["plain"].append(_seconds(bench.plain, proposal))
            (everything,) = _climb(bench, proposal, full, folder)
            times["full"].append(everything["all"])
            times["full_same_images"].append(_seconds(_full, bench, proposal))
            climbs.append(_climb(bench, proposal, rungs, folder))
            bar.update()
    seconds = {name: statistics.median(some) for name, some in times.items()}
    phases = _per_candidate(climbs, rungs)
    seconds["race"] = phases.pop("all")
    return {
        **{f"seconds_{name}": value for name, value in seconds.items()},
        **{
            f"{name}_against_plain": seconds["plain"] / value
            for name, value in seconds.items()
            if name != "plain"
        },
        **_images(bench, full, rungs),
        **{
            f"share_{name}": value / seconds["race"]
            for name, value in phases.items()
        },
    }


def _images(bench, full, rungs):
    """How many images a candidate sees on average, each way."""
    plain = len(bench.plain_calibration[1]) + len(bench.sub_validation[1])
    return {
        "images_plain": plain,
        "images_full": racing.images(full),
        "images_race": racing.images(rungs),
    }


def _full(bench, proposal):
    """A full evaluation with the images of the paper's protocol."""
    evaluator = bench.plain_evaluator
    trials = [evaluator.start(proposal.strategy)]
    rungs = racing.full(1, evaluator)
    for _ in evaluator.advance(trials, rungs, vanilla=False):
        pass


def _climb(bench, proposal, rungs, folder):
    """One candidate on all rungs, logged as in a search.

    Returns:
        For each rung, `{phase: seconds}` on the way to it: "cut", "calibrate",
        "score", "other", and "all" of them.
    """
    marks = []

    def mark(_=None):
        marks.append({**spent, "all": time.monotonic()})

    with _log(folder) as log, _clocked(bench.evaluator) as spent:
        mark()
        racing.run([proposal], bench.evaluator, rungs, log, mark)
    return [_between(*pair) for pair in itertools.pairwise(marks)]


def _between(before, after):
    passed = {name: after[name] - before[name] for name in before}
    others = sum(passed[name] for name in _PHASES)
    return {**passed, "other": passed["all"] - others}


def _per_candidate(climbs, rungs):
    """Mean `{phase: seconds}` of a race, from medians on the way to rungs."""
    return {
        phase: sum(
            rung.candidates
            * statistics.median(climb[place][phase] for climb in climbs)
            for place, rung in enumerate(rungs)
        )
        / rungs[0].candidates
        for phase in ("all", *_PHASES, "other")
    }


@contextlib.contextmanager
def _clocked(evaluator):
    """Yields `{phase: seconds}` that an evaluator has spent so far."""
    spent = dict.fromkeys(_PHASES, 0.0)
    phases = {"calibrate": "calibrate", "count": "score"}

    def clocked(phase, method):
        def call(trials, *arguments, **options):
            with _adding(spent, "cut"):
                for trial in trials:
                    evaluator.ready(trial)
            with _adding(spent, phase):
                return method(trials, *arguments, **options)

        return call

    for name, phase in phases.items():
        setattr(evaluator, name, clocked(phase, getattr(evaluator, name)))
    try:
        yield spent
    finally:
        for name in phases:
            delattr(evaluator, name)


@contextlib.contextmanager
def _adding(spent, phase):
    start = time.monotonic()
    yield
    spent[phase] += time.monotonic() - start


@contextlib.contextmanager
def _log(folder):
    """A log like that of a search, on the same disk; gone at the end."""
    path = folder / "clocked.jsonl"
    path.unlink(missing_ok=True)  # Of a run that was killed.
    try:
        with log_lib.SearchLog(path, {}) as log:
            yield log
    finally:
        path.unlink(missing_ok=True)


def _seconds(way, *arguments):
    start = time.monotonic()
    way(*arguments)
    return time.monotonic() - start


def _warm_up(evaluator, proposal, batch_size):
    """Lets TensorFlow trace both passes, which it does once for all."""
    trial = evaluator.start(proposal.strategy)
    evaluator.calibrate([trial], batch_size)
    evaluator.count([trial], 0, batch_size)


def kernels(bench, timed):
    """One batch: calibrated, scored, and through a network built for it.

    Networks that are rebuilt for each candidate are traced for each pass, so
    that a batch alone says nothing: of those there is but the latter.

    Args:
        bench: see above.
        timed: the proposals that take turns.
    """
    images = tf.cast(bench.sub_validation[0][: bench.batch_size], tf.float32)
    times = {"calibrated": [], "scored": [], "static": []}
    for proposal in timed:
        model = bench.pruner.prune(proposal.strategy)
        static = tf.function(lambda x, model=model: model(x, training=False))
        trial = bench.evaluator.start(proposal.strategy)
        ways = {
            "calibrated": lambda t=trial: _calibrate_again(bench, t),
            "scored": lambda t=trial: bench.evaluator.count(
                [t], 0, bench.batch_size
            ),
            "static": lambda f=static: f(images).numpy(),
        }
        if isinstance(bench.evaluator, rebuilt_evaluator.RebuiltEvaluator):
            ways = {"static": ways["static"]}
        for way in ways.values():
            way()
        for _ in range(_REPETITIONS):
            for name, way in ways.items():
                times[name].append(_seconds(way))
    medians = {n: statistics.median(some) for n, some in times.items() if some}
    found = {f"batch_{n}_ms": 1000 * time for n, time in medians.items()}
    if "scored" in medians:
        scored = medians["scored"]
        found["scored_against_static"] = scored / medians["static"]
        found["calibrated_against_scored"] = medians["calibrated"] / scored
    return found


def _calibrate_again(bench, trial):
    trial.calibrated = 0
    bench.evaluator.calibrate([trial], bench.batch_size)


def against_forward_pass(found, batch_size):
    """How near a race is to the limit: 1 would be nothing but arithmetic.

    The limit: its images through networks that were built for them.

    Args:
        found: what `side_by_side` and `kernels` measured.
        batch_size: images per batch.
    """
    batches = found["images_race"] / batch_size
    limit = batches * found["batch_static_ms"] / 1000
    return found["seconds_race"] / limit
