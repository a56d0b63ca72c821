"""Which candidates are worth how many images: a race in rungs.

All are scored on a few images with BN statistics of a few. The better part
goes on to more images, and so forth (successive halving: Jamieson and
Talwalkar 2016); those who reach the last rung get what a full evaluation gives
to all: statistics of the whole calibration set, and all sub-validation images.
"""

import dataclasses
import math
import types

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

    def already_scored(self, before):
        """Sub-validation images whose answers are kept from the rung before.

        With other BN statistics they are answered again.

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

    The first: statistics of 256 calibration images, in whole batches, and with
    those 512 sub-validation images, at most a quarter of them. The second, for
    an eighth: twice as many, at least a quarter. The third, for a quarter of
    those: statistics of the whole calibration set, and with them all
    sub-validation images. Before the third, answers of the calibration pass
    count, too.
    """
    everything = full(num_candidates, evaluator)
    if num_candidates <= _FINALISTS or not evaluator.has_batch_norm:
        return everything
    first = first_rung(num_candidates, evaluator, batch_size)
    size = evaluator.sub_validation_size
    if first.seen == everything[0].seen:
        return everything
    some = max(math.ceil(size / 4), 2 * first.sub_validation)
    second = _going_on(num_candidates)
    third = finalists(num_candidates)
    last = dataclasses.replace(everything[0], candidates=third)
    if third == second or some >= size:  # The second would decide nothing.
        return [first, last]
    return [first, Rung(second, first.calibration, some), last]


def _going_on(num_candidates):
    """How many come to the second of three rungs."""
    return max(math.ceil(num_candidates * _SURVIVORS[0]), _FINALISTS)


def finalists(num_candidates):
    """How many candidates a race brings to its last rung."""
    last = math.ceil(_going_on(num_candidates) * _SURVIVORS[1])
    return min(max(last, _FINALISTS), num_candidates)


def first_rung(num_candidates, evaluator, batch_size):
    """The rung that sorts out most candidates.

    What a calibration batch holds decides its statistics, so the last rung can
    only add whole ones. Statistics that a few batches do not tell are those of
    the whole set.
    """
    calibration = evaluator.calibration_size
    if evaluator.exact:
        batches = math.ceil(_FIRST_CALIBRATION / batch_size)
        calibration = min(batches * batch_size, calibration)
    a_quarter = math.ceil(evaluator.sub_validation_size / 4)
    return Rung(num_candidates, calibration, min(_FIRST_SCORED, a_quarter))


def images(rungs):
    """Images per candidate that a race shows, those shown twice twice.

    Vanilla evaluation of who reaches the last rung included.
    """
    shown, before = 0, None
    for rung in rungs:
        calibrated = before.calibration if before else 0
        added = rung.calibration - calibrated + rung.sub_validation
        shown += rung.candidates * (added - rung.already_scored(before))
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
        logged = [self._logged(p, rung) for p in proposals]
        for candidate in filter(None, logged):
            self._arrive(candidate)
        waiting = [
            p for p, known in zip(proposals, logged, strict=True) if not known
        ]
        trials = [self._trials[p.index] for p in waiting]
        is_last = number == len(self._rungs)
        vanilla = is_last and self._vanilla
        keeping = number > 1 and rung.already_scored(way[-2]) > 0
        for place, answers in self._evaluator.advance(trials, way, vanilla):
            proposal = waiting[place]
            known = self._last.get(proposal.index)
            candidate = Candidate(
                **vars(proposal),
                finalist=is_last,
                **_counted(rung, answers, known, keeping),
            )
            if self._log:
                self._log.append(candidate)
            self._arrive(candidate)
            self._standing.append(proposal)
            self._dismiss(number)

    def _logged(self, proposal, rung):
        """What the log knows of a proposal on a rung, or None.

        Lines of another network with that number do not count: they come
        from a log that was put together of several.
        """
        known = self._log and self._log.get(proposal.index, rung.seen)
        same = known and (known.strategy, known.kept) == (
            proposal.strategy,
            proposal.kept,
        )
        return known if same else None

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


def _counted(rung, answers, before, keeping):
    """What is counted of a candidate as it reaches a rung.

    Args:
        rung: the `Rung`.
        answers: `Answers` on the way there.
        before: the `Candidate` on the rung before; None on the first.
        keeping: whether the answers of then are still of use.
    """
    old = before or types.SimpleNamespace(
        calibration_correct=0, correct=0, seconds=0
    )
    return {
        "calibration_correct": answers.calibration_correct
        + old.calibration_correct,
        "calibration_total": rung.calibration,
        "correct": answers.correct + (old.correct if keeping else 0),
        "vanilla_correct": answers.vanilla_correct,
        "total": rung.sub_validation,
        "seconds": round(answers.seconds + old.seconds, 3),
    }
