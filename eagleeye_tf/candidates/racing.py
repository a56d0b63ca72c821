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
_SURVIVORS = 1 / 4
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
    """Three rungs; each lets a quarter go on, and six in any case.

    The first: the accuracy of the calibration pass on 512 images. The second:
    statistics from the whole calibration set, and a quarter of the
    sub-validation set. The third: all of it.
    """
    everything = full(num_candidates, evaluator)
    if num_candidates <= _FINALISTS or not evaluator.has_batch_norm:
        return everything
    calibration = evaluator.calibration_size
    part = _in_batches(evaluator.sub_validation_size / 4, batch_size)
    first = min(_in_batches(_FIRST_IMAGES, batch_size), calibration)
    second = max(math.ceil(num_candidates * _SURVIVORS), _FINALISTS)
    third = max(math.ceil(second * _SURVIVORS), _FINALISTS)
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
        trials = {p.index: trials.get(p.index) for p in racing}
        for proposal in racing:
            index = proposal.index
            known = log.get(index, rung.seen) if log else None
            if known is None:
                trials[index] = trials[index] or evaluator.start(
                    proposal.strategy
                )
                known = _advance(
                    evaluator,
                    trials[index],
                    proposal,
                    last.get(index),
                    rungs[: number + 1],
                    is_last=number == len(rungs) - 1,
                )
                if log:
                    log.append(known)
            last[index] = known
            if on_evaluation:
                on_evaluation(known)
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


def _advance(evaluator, trial, proposal, before, rungs, is_last):
    """Shows a candidate the images that the last of `rungs` adds."""
    start = time.monotonic()
    rung = rungs[-1]
    seen = rungs[-2] if before else Rung(0, 0, 0)
    vanilla = None
    if is_last:
        vanilla = evaluator.count(trial, 0, rung.sub_validation, adapted=False)
    if trial.calibrated < seen.calibration:  # A race that goes on.
        evaluator.calibrate(trial, seen.calibration)
        evaluator.rest(trial)
    calibration_correct = evaluator.calibrate(trial, rung.calibration)
    correct = evaluator.count(trial, seen.sub_validation, rung.sub_validation)
    evaluator.rest(trial)
    return Candidate(
        index=proposal.index,
        strategy=proposal.strategy,
        kept=proposal.kept,
        macs=proposal.macs,
        params=proposal.params,
        calibration_correct=calibration_correct
        + (before.calibration_correct if before else 0),
        calibration_total=rung.calibration,
        correct=correct + (before.correct if before else 0),
        vanilla_correct=vanilla,
        total=rung.sub_validation,
        seconds=round(
            time.monotonic() - start + (before.seconds if before else 0), 3
        ),
    )


def _in_batches(number, batch_size):
    """The next multiple of the batch size."""
    return math.ceil(number / batch_size) * batch_size
