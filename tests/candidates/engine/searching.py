"""Searches of a small network that reads digits."""

import eagleeye_tf as ee

SETTINGS = ee.SearchSettings(
    macs=0.5, tolerance=0.05, num_candidates=4, batch_size=16, evaluation="full"
)


def scores(result):
    return [
        (c.index, c.strategy, c.correct, c.vanilla_correct)
        for c in result.candidates
    ]
