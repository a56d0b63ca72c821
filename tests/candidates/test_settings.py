import json

import numpy as np
import pytest

import eagleeye_tf as ee


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"min_ratio": -0.1}, r"min_ratio.*\[0, 1\).*-0.1"),
        ({"max_ratio": 1.0}, r"max_ratio.*\[0, 1\).*1.0"),
        ({"min_ratio": 0.6, "max_ratio": 0.5}, "min_ratio=0.6, max_ratio=0.5"),
        ({"num_candidates": 0}, "num_candidates is at least 1"),
        ({"batch_size": 0}, "batch_size is at least 1"),
        ({"seed": -1}, "seed"),
        ({"round_to": 0}, "round_to is at least 1"),
        ({"importance": "tylor"}, "importance is one of.*'tylor'"),
        ({"algorithm": "magic"}, "random, evolution, uniform.*'magic'"),
    ],
)
def test_settings_outside_their_range(changes, message):
    with pytest.raises(ee.InputError, match=message):
        ee.SearchSettings(**changes)


def test_numbers_of_numpy_are_numbers():
    own = ee.SearchSettings(seed=np.int64(3), macs=np.float32(0.5))
    assert json.dumps(own.identity()) == json.dumps(
        ee.SearchSettings(seed=3, macs=0.5).identity()
    )
    for changes, rule in (
        ({"num_candidates": 30.5}, "a whole number. Received: 30.5"),
        ({"seed": 1.5}, "seed is a whole number"),
        ({"macs": "0.5"}, "macs is a number, or None. Received: '0.5'"),
        ({"tolerance": None}, "tolerance is a number. Received: None"),
        ({"importance": ["l1"]}, "importance is one of"),
        ({"exclude": "conv1"}, "exclude is a tuple .* 'conv1'"),
        ({"exclude": None}, "exclude is a tuple .* None"),
        ({"exclude": ["conv1", 2]}, "exclude is a tuple .* 2]"),
    ):
        with pytest.raises(ee.InputError, match=rule):
            ee.SearchSettings(**changes)
    with pytest.raises(ee.InputError, match="epochs is a whole number"):
        ee.TrainingSettings(epochs=1.5)


def test_exclude_is_part_of_the_identity_where_it_is_given():
    """Searches from before know nothing of it."""
    own, same = (
        ee.SearchSettings(exclude=kind("ab")) for kind in (list, tuple)
    )
    assert own == same and hash(own) == hash(same)
    identity = json.loads(json.dumps(own.identity()))
    assert identity == own.identity()
    assert identity.pop("exclude") == ["a", "b"]
    assert identity == ee.SearchSettings().identity()
