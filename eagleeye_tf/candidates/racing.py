"""Which candidates are worth how many images: a race in rungs.

All are scored on a few images with BN statistics of a few. The better part
goes on to more images, and so forth (successive halving: Jamieson and
Talwalkar 2016); those who reach the last rung get what a full evaluation gives
to all: statistics of the whole calibration set, and all sub-validation images.
"""

import dataclasses
import math

from eagleeye_tf.candidates.log import Candidate

_FIRST_CALIBRATION = 256
_FIRST_SCORED = 512
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

    def known_after(self, before):
        """Sub-validation images whose answers count that were given before.

        With other BN statistics they are to be answered again.

        Args:
            before: the `Rung` before; None on the first.
        """
        if before is None or before.calibration != self.calibration:
            return 0
        return before.sub_validation


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
    """Three rungs; fewer where there are few images or candidates.

    At least six candidates come to each.

    The first: statistics of 256 calibration images and, with those, 512
    sub-validation images, at most a quarter of them. The second, for an
    eighth: twice as many, at least a quarter. The third, for a quarter of
    those: statistics of the whole calibration set, and with them all
    sub-validation images.
    """
    everything = full(num_candidates, evaluator)
    if num_candidates <= _FINALISTS or not evaluator.has_batch_norm:
        return everything
    second = max(math.ceil(num_candidates * _SURVIVORS[0]), _FINALISTS)
    third = max(math.ceil(second * _SURVIVORS[1]), _FINALISTS)
    first = first_rung(num_candidates, evaluator, batch_size)
    size = evaluator.sub_validation_size
    part = _in_batches(max(size / 4, 2 * first.sub_validation), batch_size)
    if first.sub_validation >= size:
        return everything
    last = dataclasses.replace(everything[0], candidates=third)
    if part >= size:  # The second would show all.
        return [first, dataclasses.replace(last, candidates=second)]
    return [first, Rung(second, first.calibration, part), last]


def first_rung(num_candidates, evaluator, batch_size):
    """The rung that sorts out most candidates."""
    calibration = _in_batches(_FIRST_CALIBRATION, batch_size)
    size = evaluator.sub_validation_size
    scored = _in_batches(min(_FIRST_SCORED, size / 4), batch_size)
    return Rung(
        num_candidates,
        min(calibration, evaluator.calibration_size),
        min(scored, size),
    )


def images(rungs):
    """Images per candidate that a race shows, those shown twice twice.

    Vanilla evaluation of who reaches the last rung included.
    """
    shown, before = 0, None
    for rung in rungs:
        calibrated = before.calibration if before else 0
        added = rung.calibration - calibrated + rung.sub_validation
        shown += rung.candidates * (added - rung.known_after(before))
        before = rung
    shown += rungs[-1].candidates * rungs[-1].sub_validation
    return shown / rungs[0].candidates


def run(
    proposals, evaluator, rungs, log=None, on_evaluation=None, vanilla=True
):
    """Lets candidates race that are all known at the start.

    Args:
        proposals: sequence of `sampling.Proposal`.
        evaluator: an `Evaluator`.
        rungs: list of `Rung`.
        log: see `Race`.
        on_evaluation: see `Race`.
        vanilla: see `Race`.

    Returns:
        List of all candidates, each as on its last rung; no order.
    """
    race = Race(evaluator, rungs, log, on_evaluation, vanilla)
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
        vanilla: whether those who reach the last rung are evaluated with
            inherited statistics, too.
    """

    def __init__(
        self, evaluator, rungs, log=None, on_evaluation=None, vanilla=True
    ):
        self._evaluator = evaluator
        self._vanilla = vanilla
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
        vanilla = self._vanilla and number == len(self._rungs)
        counts = number > 1 and rung.known_after(way[-2]) > 0
        for place, answers in self._evaluator.advance(trials, way, vanilla):
            proposal = waiting[place]
            known = self._last.get(proposal.index)
            candidate = _candidate(proposal, rung, answers, known, counts)
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


def _candidate(proposal, rung, answers, before, counts):
    """A `Candidate` on a rung.

    `before` is what it was on the last one, or None, and `counts` whether
    what it answered there counts here.
    """
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
        correct=answers.correct + (before.correct if counts else 0),
        vanilla_correct=answers.vanilla_correct,
        total=rung.sub_validation,
        seconds=round(answers.seconds + (before.seconds if before else 0), 3),
    )


def _in_batches(number, batch_size):
    """The next multiple of the batch size."""
    return math.ceil(number / batch_size) * batch_size
