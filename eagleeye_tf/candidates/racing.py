"""Which candidates are worth how many images: a race in rungs.

The calibration pass sees labelled images anyway, so its own accuracy is a
first score that costs nothing more. The better part goes on to more images,
and so forth (successive halving: Jamieson and Talwalkar 2016); those who reach
the last rung have seen exactly what a full evaluation shows to all.
"""

import dataclasses
import math
import time

from eagleeye_tf.candidates.log import Candidate

_FIRST_IMAGES = 512
_SURVIVORS = 1 / 8, 1 / 4
_FINALISTS = 6


@dataclasses.dataclass(frozen=True)
class Rung:
    """What a candidate has seen once it stands on a rung.

    Attributes:
        candidates: how many come to it.
        calibration: calibration images seen, in all.
        sub_validation: sub-validation images scored, in all.
    """

    candidates: int
    calibration: int
    sub_validation: int

    @property
    def seen(self):
        """As `Candidate.seen` of who stands on it."""
        return self.sub_validation, self.calibration


def full(num_candidates, evaluator):
    """One rung: everybody sees everything, as in the paper."""
    return [
        Rung(
            num_candidates,
            evaluator.calibration_size if evaluator.has_batch_norm else 0,
            evaluator.sub_validation_size,
        )
    ]


def race(num_candidates, evaluator, batch_size):
    """Three rungs; at least six candidates come to each.

    The first: the accuracy of the calibration pass on 512 images. The second,
    for an eighth: statistics from the whole calibration set, and a quarter of
    the sub-validation set. The third, for a quarter of those: all of it.
    """
    everything = full(num_candidates, evaluator)
    if num_candidates <= _FINALISTS or not evaluator.has_batch_norm:
        return everything
    calibration = evaluator.calibration_size
    part = _in_batches(evaluator.sub_validation_size / 4, batch_size)
    first = min(_in_batches(_FIRST_IMAGES, batch_size), calibration)
    second = max(math.ceil(num_candidates * _SURVIVORS[0]), _FINALISTS)
    third = max(math.ceil(second * _SURVIVORS[1]), _FINALISTS)
    return [
        Rung(num_candidates, first, 0),
        Rung(second, calibration, min(part, evaluator.sub_validation_size)),
        dataclasses.replace(everything[0], candidates=third),
    ]


def run(proposals, evaluator, rungs, log=None, on_evaluation=None):
    """Lets candidates race.

    Args:
        proposals: sequence of `sampling.Proposal`.
        evaluator: an `Evaluator`.
        rungs: list of `Rung`.
        log: a `SearchLog` to write to, and to take from what it holds; None
            for neither.
        on_evaluation: called with each `Candidate` as it reaches a rung, old
            ones of a continued search included.

    Returns:
        List of all candidates, each as on its last rung; no order.
    """
    trials = {}
    last = {}
    racing = list(proposals)
    for number, rung in enumerate(rungs):
        racing = _best(racing, last, rung.candidates)
        trials = {
            p.index: trials.get(p.index) or evaluator.start(p.strategy)
            for p in racing
        }
        step = _Step(rungs[: number + 1], is_last=number == len(rungs) - 1)
        for heat in _heats(racing, evaluator.width, log, rung):
            for known in _advance(evaluator, trials, heat, last, step, log):
                last[known.index] = known
                if on_evaluation:
                    on_evaluation(known)
    return list(last.values())


@dataclasses.dataclass(frozen=True)
class _Step:
    """What lies between two rungs.

    Attributes:
        rungs: all rungs so far, the one to reach last.
        is_last: whether it is the last of the race.
    """

    rungs: list
    is_last: bool

    @property
    def start(self):
        """The rung before; nothing seen before the first."""
        return self.rungs[-2] if len(self.rungs) > 1 else Rung(0, 0, 0)

    @property
    def end(self):
        return self.rungs[-1]


def _heats(proposals, width, log, rung):
    """Those to be evaluated, `width` at a time; a logged one goes alone."""
    heat = []
    for proposal in proposals:
        if log and log.get(proposal.index, rung.seen):
            yield [proposal]
            continue
        heat.append(proposal)
        if len(heat) == width:
            yield heat
            heat = []
    if heat:
        yield heat


def _best(proposals, last, count):
    """The `count` best so far, in the order in which they were proposed."""
    if count >= len(proposals):
        return proposals
    ranked = sorted(
        proposals,
        key=lambda p: (-last[p.index].interim_score, p.macs, p.index),
    )
    chosen = {p.index for p in ranked[:count]}
    return [p for p in proposals if p.index in chosen]


def _advance(evaluator, trials, heat, last, step, log):
    """Shows a few candidates the images that a rung adds.

    Returns:
        List of `Candidate`, from the log if that knows it.
    """
    known = log.get(heat[0].index, step.end.seen) if log else None
    if known is not None:
        return [known]
    clock = time.monotonic()
    racers = [trials[proposal.index] for proposal in heat]
    vanilla = [None] * len(heat)
    if step.is_last:
        vanilla = evaluator.count(
            racers, 0, step.end.sub_validation, adapted=False
        )
    for racer in racers:  # Statistics that a killed race has lost.
        if racer.calibrated < step.start.calibration:
            evaluator.calibrate([racer], step.start.calibration)
            evaluator.rest(racer)
    calibration = evaluator.calibrate(racers, step.end.calibration)
    correct = evaluator.count(
        racers, step.start.sub_validation, step.end.sub_validation
    )
    for racer in racers:
        evaluator.rest(racer)
    seconds = (time.monotonic() - clock) / len(heat)
    found = []
    for place, proposal in enumerate(heat):
        before = last.get(proposal.index)
        found.append(
            Candidate(
                index=proposal.index,
                strategy=proposal.strategy,
                kept=proposal.kept,
                macs=proposal.macs,
                params=proposal.params,
                calibration_correct=calibration[place]
                + (before.calibration_correct if before else 0),
                calibration_total=step.end.calibration,
                correct=correct[place] + (before.correct if before else 0),
                vanilla_correct=vanilla[place],
                total=step.end.sub_validation,
                seconds=round(seconds + (before.seconds if before else 0), 3),
            )
        )
        if log:
            log.append(found[-1])
    return found


def _in_batches(number, batch_size):
    """The next multiple of the batch size."""
    return math.ceil(number / batch_size) * batch_size
