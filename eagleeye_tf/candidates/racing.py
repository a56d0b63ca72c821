"""Which candidates are worth how many images: a race in rungs.

The calibration pass sees labelled images anyway, so its own accuracy is a
first score that costs nothing more. The better part goes on to more images,
and so forth (successive halving: Jamieson and Talwalkar 2016); those who reach
the last rung have seen exactly what a full evaluation shows to all.
"""

import dataclasses
import math

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
    """Three rungs, or two if one batch holds the sub-validation set.

    At least six candidates come to each.

    The first: the accuracy of the calibration pass on 512 images. The second,
    for an eighth: statistics from the whole calibration set, and a quarter of
    the sub-validation set. The third, for a quarter of those: all of it.
    """
    everything = full(num_candidates, evaluator)
    if num_candidates <= _FINALISTS or not evaluator.has_batch_norm:
        return everything
    calibration = evaluator.calibration_size
    part = _in_batches(evaluator.sub_validation_size / 4, batch_size)
    second = max(math.ceil(num_candidates * _SURVIVORS[0]), _FINALISTS)
    third = max(math.ceil(second * _SURVIVORS[1]), _FINALISTS)
    rungs = [
        first_rung(num_candidates, evaluator, batch_size),
        Rung(second, calibration, part),
        dataclasses.replace(everything[0], candidates=third),
    ]
    if part >= evaluator.sub_validation_size:  # The second shows all.
        rungs[1:] = [dataclasses.replace(rungs[2], candidates=second)]
    return rungs


def first_rung(num_candidates, evaluator, batch_size):
    """The rung of the calibration pass's own accuracy."""
    wanted = _in_batches(_FIRST_IMAGES, batch_size)
    return Rung(num_candidates, min(wanted, evaluator.calibration_size), 0)


def images(rungs):
    """Images per candidate that a race shows, those shown twice twice.

    Vanilla evaluation of who reaches the last rung included.
    """
    calibration = scored = shown = 0
    for rung in rungs:
        added = rung.calibration - calibration + rung.sub_validation - scored
        shown += rung.candidates * added
        calibration, scored = rung.calibration, rung.sub_validation
    shown += rungs[-1].candidates * scored
    return shown / rungs[0].candidates


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
    last, trials = {}, {}
    racing = list(proposals)

    def arrive(candidate):
        last[candidate.index] = candidate
        if on_evaluation:
            on_evaluation(candidate)

    for number, rung in enumerate(rungs, start=1):
        racing = _best(racing, last, rung.candidates)
        trials = {
            p.index: trials.get(p.index) or evaluator.start(p.strategy)
            for p in racing
        }
        logged = [log and log.get(p.index, rung.seen) for p in racing]
        for candidate in filter(None, logged):
            arrive(candidate)
        waiting = [
            p for p, known in zip(racing, logged, strict=True) if not known
        ]
        racers = [trials[p.index] for p in waiting]
        vanilla = number == len(rungs)
        way = rungs[:number]
        for place, answers in evaluator.advance(racers, way, vanilla):
            proposal = waiting[place]
            known = last.get(proposal.index)
            candidate = _candidate(proposal, rung, answers, known)
            if log:
                log.append(candidate)
            arrive(candidate)
    return list(last.values())


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


def _candidate(proposal, rung, answers, before):
    """A `Candidate` on a rung; `before` is what it was on the last one."""
    return Candidate(
        index=proposal.index,
        strategy=proposal.strategy,
        kept=proposal.kept,
        macs=proposal.macs,
        params=proposal.params,
        calibration_correct=answers.calibration_correct
        + (before.calibration_correct if before else 0),
        calibration_total=rung.calibration,
        correct=answers.correct + (before.correct if before else 0),
        vanilla_correct=answers.vanilla_correct,
        total=rung.sub_validation,
        seconds=round(answers.seconds + (before.seconds if before else 0), 3),
    )


def _in_batches(number, batch_size):
    """The next multiple of the batch size."""
    return math.ceil(number / batch_size) * batch_size
