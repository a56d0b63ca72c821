import collections
import dataclasses
import weakref

import digit_models
import numpy as np
import pytest

import eagleeye_tf as ee
from eagleeye_tf.candidates import evaluator
from eagleeye_tf.candidates import log as log_lib
from eagleeye_tf.candidates import racing
from eagleeye_tf.candidates import sampling
from eagleeye_tf.pruning.strategy import PruningStrategy

COUNT = 40


class Ledger(evaluator.Evaluator):
    """Knows all answers beforehand, and notes which images were asked for.

    Candidate i answers an image correctly if its number, of 0 … 99, is below
    50 + i in every block of 100.
    """

    has_batch_norm = True
    exact = True
    calibration_size = 1200
    sub_validation_size = 2000

    def __init__(self, width=1):
        self.asked = []
        self.width = width

    @dataclasses.dataclass
    class Trial:
        index: int
        calibrated: int = 0

    def start(self, strategy):
        return self.Trial(int(dict(strategy.ratios)["a"] * 1000))

    def calibrate(self, trials, stop):
        assert len(trials) <= self.width
        return [self._calibrate(trial, stop) for trial in trials]

    def _count(self, *_):
        raise NotImplementedError  # `count` does without it.

    _network = _count

    def _calibrate(self, trial, stop):
        images = np.arange(trial.calibrated, stop)
        self.asked += [("calibration", trial.index, i) for i in images]
        trial.calibrated = stop
        return int((images % 100 < 50 + trial.index).sum())

    def count(self, trials, start, stop, adapted=True):
        images = np.arange(start, stop)
        kind = "adapted" if adapted else "vanilla"
        self.asked += [(kind, t.index, i) for t in trials for i in images]
        sign = 1 if adapted else -1
        return [
            int((images % 100 < 50 + sign * trial.index).sum())
            for trial in trials
        ]

    def rest(self, trial):
        pass


RUNGS = [
    racing.Rung(COUNT, 600, 200),
    racing.Rung(10, 600, 500),
    racing.Rung(6, 1200, 2000),
]


def proposals(count=COUNT):
    return [
        sampling.Proposal(
            index=i,
            strategy=PruningStrategy((("a", i / 1000 + 1e-6),)),
            kept=(1,),
            macs=10,
            params=10,
            activation_memory=10,
        )
        for i in range(count)
    ]


def by_index(candidates):
    return {c.index: c for c in candidates}


def test_rungs_by_hand():
    assert racing.race(100, Ledger(), batch_size=128) == [
        racing.Rung(100, 256, 500),
        racing.Rung(13, 256, 1000),
        racing.Rung(6, 1200, 2000),
    ]
    rungs = racing.race(1000, Ledger(), batch_size=128)
    assert [rung.candidates for rung in rungs] == [1000, 125, 32]
    # Whole batches to calibrate on; at least a quarter on the second rung.
    many = Ledger()
    many.sub_validation_size = 20_000
    assert racing.race(100, many, batch_size=100)[:2] == [
        racing.Rung(100, 300, 512),
        racing.Rung(13, 300, 5000),
    ]
    # At most a quarter on the first; a second for the same six is none.
    few = Ledger()
    few.calibration_size, few.sub_validation_size = 180, 358
    assert racing.race(20, few, batch_size=64) == [
        racing.Rung(20, 180, 90),
        racing.Rung(6, 180, 358),
    ]
    few.sub_validation_size = 1
    assert racing.race(20, few, 64) == racing.full(20, few)
    # A moving average takes all of the calibration set.
    moving = Ledger()
    moving.exact = False
    assert racing.race(100, moving, batch_size=128)[:2] == [
        racing.Rung(100, 1200, 500),
        racing.Rung(13, 1200, 1000),
    ]
    # Few candidates need no race; without BN there is no calibration pass.
    assert racing.race(6, Ledger(), 128) == racing.full(6, Ledger())
    plain = Ledger()
    plain.has_batch_norm = False
    assert racing.race(100, plain, 128) == [racing.Rung(100, 0, 2000)]


@pytest.mark.parametrize("width", [1, 3])
def test_the_best_go_on_and_see_everything_once(width):
    """But for images that finalists answer again with other statistics."""
    ledger = Ledger(width)
    found = by_index(racing.run(proposals(), ledger, RUNGS))
    again = {("adapted", i, n) for i in range(34, COUNT) for n in range(500)}
    twice = collections.Counter(ledger.asked)
    twice.subtract(set(ledger.asked))
    assert +twice == collections.Counter(again)
    for index, candidate in found.items():
        if index >= 34:
            assert candidate.seen == (2000, 1200)
            assert candidate.correct == 20 * (50 + index)
            assert candidate.vanilla_correct == 20 * (50 - index)
            assert candidate.calibration_correct == 12 * (50 + index)
        elif index >= 30:
            assert candidate.seen == (500, 600)
            assert candidate.correct == 5 * (50 + index)
            assert candidate.vanilla_correct is None
        else:
            assert candidate.seen == (200, 600)
            assert candidate.calibration_correct == 6 * (50 + index)
            assert candidate.correct == 2 * (50 + index)
            assert candidate.known_score == pytest.approx((50 + index) / 100)
    images = 40 * 800 + 10 * 300 + 6 * (600 + 2000 + 2000)
    assert len(ledger.asked) == images == COUNT * racing.images(RUNGS)


def test_without_vanilla_evaluation_scores_are_the_same():
    ledger = Ledger()
    found = by_index(racing.run(proposals(), ledger, RUNGS, vanilla=False))
    assert not [x for x in ledger.asked if x[0] == "vanilla"]
    for index, candidate in by_index(
        racing.run(proposals(), Ledger(), RUNGS)
    ).items():
        expected = dataclasses.replace(candidate, vanilla_correct=None)
        assert dataclasses.replace(found[index], seconds=0) == (
            dataclasses.replace(expected, seconds=0)
        )


def test_statistics_of_who_stays_behind_are_freed():
    """Survivors keep theirs: none is calibrated on an image twice."""
    alive = weakref.WeakSet()
    kept = []

    class Statistics:
        pass

    class Remembering(Ledger):
        def calibrate(self, trials, stop):
            for trial in trials:
                trial.moments = {"bn": Statistics()}
                alive.add(trial.moments["bn"])
            return super().calibrate(trials, stop)

    ledger = Remembering()
    race = racing.Race(
        ledger, RUNGS, on_evaluation=lambda _: kept.append(len(alive))
    )
    race.enter(proposals())
    race.finish()
    # Ten of forty go on, six of those, then none.
    assert max(kept) == 21
    assert kept[-1] == 1
    assert not alive
    calibrations = [x for x in ledger.asked if x[0] == "calibration"]
    assert len(calibrations) == len(set(calibrations))


@pytest.mark.parametrize("width", [1, 4])
@pytest.mark.parametrize("stop_after", [1, 25, 40, 41, 47, 50, 52, 55])
def test_killed_anywhere_it_ends_alike(tmp_path, stop_after, width):
    whole = by_index(racing.run(proposals(), Ledger(), RUNGS))
    left = stop_after

    def stop(_):
        nonlocal left
        left -= 1
        if left == 0:
            raise KeyboardInterrupt

    path = tmp_path / "log.jsonl"
    with pytest.raises(KeyboardInterrupt), log_lib.SearchLog(path, {}) as log:
        racing.run(proposals(), Ledger(width), RUNGS, log, stop)
    with log_lib.SearchLog(path, {}) as log:
        again = by_index(racing.run(proposals(), Ledger(width), RUNGS, log))
        logged = by_index(log.candidates)
    for index, candidate in whole.items():
        assert again[index].seen == candidate.seen
        assert again[index].correct == candidate.correct
        assert again[index].calibration_correct == candidate.calibration_correct
        assert logged[index] == again[index]
    lines = path.read_text().splitlines()
    assert len(lines) == 1 + 40 + 10 + 6


def test_finalists_of_a_search_have_the_scores_of_a_full_one():
    model = digit_models.trained()
    examples = tuple(x[:300] for x in digit_models.for_training())
    sub_validation = tuple(x[:96] for x in digit_models.for_test())
    settings = ee.SearchSettings(
        macs=0.5, tolerance=0.1, num_candidates=20, batch_size=16
    )
    raced = ee.search(model, examples, sub_validation, settings)
    settings = dataclasses.replace(settings, evaluation="full")
    full = by_index(
        ee.search(model, examples, sub_validation, settings).candidates
    )
    assert len(raced.candidates) == 20
    assert len(raced.finalists) == 6
    assert len({c.correct for c in raced.finalists}) > 2
    for candidate in raced.finalists:
        alike = full[candidate.index]
        assert candidate.correct == alike.correct
        assert candidate.vanilla_correct == alike.vanilla_correct


def test_of_equally_good_ones_the_cheapest_go_on():
    class Alike(Ledger):
        def start(self, strategy):
            return self.Trial(0)

    some = [dataclasses.replace(p, macs=100 - p.index) for p in proposals(20)]
    rungs = [racing.Rung(20, 600, 200), racing.Rung(6, 1200, 2000)]
    found = racing.run(some, Alike(), rungs)
    last = {c.index for c in found if c.seen == rungs[-1].seen}
    assert last == set(range(14, 20))
