"""Does a race find what the paper's protocol finds?

Worked out from the logs of a benchmark: every candidate is known on every
rung, so a race among any of them is run again without evaluating one. Only the
two winners are evaluated once more, on images that chose neither. In all
functions `bench` is a `benchmark.Bench`, `plain` is `{index: correct
answers by the paper's protocol}` and `rungs` a `SearchLog` that knows every
candidate on every rung of a race among all.
"""

import numpy as np

from eagleeye_tf.candidates import adaptive_bn
from eagleeye_tf.candidates import plain_protocol
from eagleeye_tf.candidates import racing
from eagleeye_tf.reporting import correlation


def agreement(bench, plain, rungs):
    """Spearman's coefficient of scores with the paper's protocol, as JSON.

    Of the interim scores of the first rung, and of full evaluations.
    """
    count = len(bench.proposals)
    expected = [plain[p.index] for p in bench.proposals]
    first, last = bench.race(count)[0], bench.race(count)[-1]

    def spearman(rung):
        logged = [rungs.get(p.index, rung.seen) for p in bench.proposals]
        scores = [candidate.known_score for candidate in logged]
        return correlation.spearman(scores, expected)

    return {
        "candidates": count,
        "spearman_first_rung": spearman(first),
        "spearman_full": spearman(last),
    }


def winners(bench, plain, rungs):
    """The best of the paper's protocol, and of a race: both have a strategy.

    Of equally good ones that with fewer MACs, as in a search.
    """
    finalists = _finalists(bench, bench.proposals, rungs)
    return (
        _ranked(bench.proposals, plain)[0],
        min(finalists, key=lambda c: (-c.correct, c.macs, c.index)),
    )


def regret(bench, plain_winner, race_winner):
    """By how much the winner of a race is worse, on other images, as JSON.

    Both are judged by their accuracy after adaptive BN, with statistics and on
    training images that chose neither. The standard error is that of the mean
    difference of the two answers to one image.
    """
    plain, race = (
        judged(bench, winner.strategy).astype(float)
        for winner in (plain_winner, race_winner)
    )
    difference = plain - race
    return {
        "plain_winner_on_judge_images": plain.mean(),
        "race_winner_on_judge_images": race.mean(),
        "regret": difference.mean(),
        "regret_standard_error": difference.std() / len(difference) ** 0.5,
    }


def judged(bench, strategy):
    """Array of bool: which of the judge's images a candidate gets right."""
    (images, _), judges = bench.judges
    model = bench.pruner.prune(strategy)
    adaptive_bn.adapt_batch_norm(
        model,
        images,
        bench.batch_size,
        new_moments=bench.settings.new_moments,
    )
    return plain_protocol.right_answers(model, judges, bench.batch_size)


def halves(bench, plain, rungs, number):
    """In how many races the true best reaches the last rung, as JSON.

    A race stands for a search with a seed of its own, each of which would
    take all candidates once more through the paper's protocol. Disjoint
    groups of 200 candidates are no way out: of 20 the six that always reach
    the last rung are a third, whatever they are worth. So random halves race,
    each with a best of its own: half number k holds the k-th best candidate
    and none that is better, as if those had not been drawn. The others are
    shared between halves, so these are no independent seeds.

    Args:
        bench: see above.
        plain: see above.
        rungs: see above.
        number: of halves, at most half the number of candidates and 1.
    """
    bests, hits = set(), 0
    for half in _halves(_ranked(bench.proposals, plain), number):
        best = plain[half[0].index]
        bests.add(half[0].index)
        # Of candidates that are equally good any one will do.
        finalists = _finalists(bench, half, rungs)
        hits += any(plain[c.index] == best for c in finalists)
    return {
        "halves_whose_best_is_a_finalist": f"{hits} of {number}",
        "finalists_of_a_half": f"{len(finalists)} of {len(half)}",
        "different_bests_of_halves": len(bests),
    }


def _halves(ranked, number):
    """Lists of proposals, each of which starts with its best one."""
    generator = np.random.default_rng(0)
    for place in range(number):
        best, *worse = ranked[place:]
        size = len(ranked) // 2 - 1
        chosen = generator.choice(len(worse), size, replace=False)
        yield [best, *(worse[other] for other in sorted(chosen))]


def _ranked(proposals, plain):
    return sorted(proposals, key=lambda p: (-plain[p.index], p.macs, p.index))


def _finalists(bench, proposals, rungs):
    """The `Candidate`s that reach the last rung of a race."""
    way = bench.race(len(proposals))
    racers = racing.run(proposals, bench.evaluator, way, rungs)
    return [c for c in racers if c.seen == way[-1].seen]
