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
    """Lets candidates race that are all known at the start.

    Args:
        proposals: sequence of `sampling.Proposal`.
        evaluator: an `Evaluator`.
        rungs: list of `Rung`.
        log: see `Race`.
        on_evaluation: see `Race`.

    Returns:
        List of all candidates, each as on its last rung; no order.
    """
    race = Race(evaluator, rungs, log, on_evaluation)
    race.enter(proposals)
    return race.finish()


class Race:
    """Candidates on their way through the rungs.

    Args:
        evaluator: an `Evaluator`.
        rungs: list of `Rung`.
        log: a `SearchLog` to write to, and to take from what it holds; None
            for neither.
        on_evaluation: called with each `Candidate` as it reaches a rung, old
            ones of a continued search included.
    """

    def __init__(self, evaluator, rungs, log=None, on_evaluation=None):
        self._evaluator = evaluator
        self._rungs = rungs
        self._log = log
        self._on_evaluation = on_evaluation or (lambda candidate: None)
        self._proposals = []
        self._trials = {}
        self._last = {}
        # Who stands on the present rung with statistics of its own.
        self._standing = []

    def enter(self, proposals):
        """Brings more candidates to the first rung.

        Args:
            proposals: sequence of `sampling.Proposal`.

        Returns:
            Their `Candidate`s, in the same order.
        """
        self._proposals += proposals
        self._climb(proposals, 1)
        return [self._last[p.index] for p in proposals]

    def finish(self):
        """Lets the best go on to the other rungs.

        Returns:
            List of all candidates, each as on its last rung; no order.
        """
        racing = self._proposals
        for number, rung in enumerate(self._rungs[1:], start=2):
            racing = _best(racing, self._last, rung.candidates)
            going = {p.index for p in racing}
            self._trials = {
                index: trial
                for index, trial in self._trials.items()
                if index in going
            }
            self._standing = []
            self._climb(racing, number)
        return list(self._last.values())

    def _climb(self, proposals, number):
        """Brings candidates to a rung, by its number from 1."""
        way = self._rungs[:number]
        rung = way[-1]
        for p in proposals:
            if p.index not in self._trials:
                self._trials[p.index] = self._evaluator.start(p.strategy)
        logged = [
            self._log and self._log.get(p.index, rung.seen) for p in proposals
        ]
        for candidate in filter(None, logged):
            self._arrive(candidate)
        waiting = [
            p for p, known in zip(proposals, logged, strict=True) if not known
        ]
        trials = [self._trials[p.index] for p in waiting]
        vanilla = number == len(self._rungs)
        for place, answers in self._evaluator.advance(trials, way, vanilla):
            proposal = waiting[place]
            known = self._last.get(proposal.index)
            candidate = _candidate(proposal, rung, answers, known)
            if self._log:
                self._log.append(candidate)
            self._arrive(candidate)
            self._standing.append(proposal)
            self._dismiss(number)

    def _arrive(self, candidate):
        self._last[candidate.index] = candidate
        self._on_evaluation(candidate)

    def _dismiss(self, number):
        """Frees the statistics of who will not leave a rung any more.

        Those of a thousand candidates of a ResNet-50 take 150 MB.
        """
        is_last = number == len(self._rungs)
        places = 0 if is_last else self._rungs[number].candidates
        if len(self._standing) <= 2 * places:
            return
        best = _best(self._standing, self._last, places)
        staying = {p.index for p in best}
        for p in self._standing:
            if p.index not in staying:
                self._evaluator.forget(self._trials[p.index])
        self._standing = best


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
        activation_memory=proposal.activation_memory,
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
