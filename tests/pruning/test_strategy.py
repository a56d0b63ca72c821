import json
import types

import numpy as np
import pytest

from eagleeye_tf import errors
from eagleeye_tf.pruning import strategy
from eagleeye_tf.pruning.strategy import PruningStrategy


def groups(**sizes):
    return [
        types.SimpleNamespace(name=name, size=size)
        for name, size in sizes.items()
    ]


@pytest.mark.parametrize(
    ("size", "ratio", "kept"),
    [
        (10, 0.0, 10),
        (10, 0.25, 8),  # floor(2.5) = 2 channels go
        (10, 0.3, 7),
        (100, 0.29, 71),  # 0.29 * 100 is 28.999999999999996 in floats
        (10, 0.999, 1),
        (1, 0.9, 1),
    ],
)
def test_floor_of_ratio_times_size_goes(size, ratio, kept):
    built = PruningStrategy.of(groups(a=size), ratio)
    assert built.kept(groups(a=size)).tolist() == [kept]


@pytest.mark.parametrize(
    ("size", "ratio", "round_to", "kept"),
    [
        (64, 0.3, 8, 48),  # 45 rounded up
        (64, 0.0, 8, 64),
        (20, 0.1, 8, 20),  # 18 would become 24, more than there are
        (64, 0.99, 16, 16),
    ],
)
def test_rounding_up(size, ratio, round_to, kept):
    built = PruningStrategy.of(groups(a=size), ratio)
    assert built.kept(groups(a=size), round_to).tolist() == [kept]


def test_many_strategies_at_once():
    ratios = np.array([[0.5, 0.0], [0.9, 0.5]])
    kept = strategy.kept_channels(ratios, groups(a=4, b=6))
    np.testing.assert_array_equal(kept, [[2, 6], [1, 3]])


def test_groups_not_named_stay_whole():
    built = PruningStrategy.of(groups(a=4, b=6), {"b": 0.5})
    assert built.kept(groups(a=4, b=6)).tolist() == [4, 3]


def test_equal_strategies_are_equal_keys():
    first = PruningStrategy.of(groups(a=4), 0.5)
    second = PruningStrategy.from_json(json.loads(json.dumps(first.to_json())))
    assert {first: 1}[second] == 1


@pytest.mark.parametrize("ratio", [1.3, 1.0, -0.1, float("nan"), "much"])
def test_ratio_outside_its_range(ratio):
    with pytest.raises(errors.InputError, match=r"\[0, 1\)") as raised:
        PruningStrategy.of(groups(a=4), {"a": ratio})
    assert str(ratio) in str(raised.value)


def test_unknown_group():
    with pytest.raises(errors.InputError, match="'c'; there are a, b"):
        PruningStrategy.of(groups(a=4, b=6), {"c": 0.5})


@pytest.mark.parametrize("round_to", [0, -8, 1.5])
def test_wrong_round_to(round_to):
    with pytest.raises(errors.InputError, match="round_to="):
        strategy.kept_channels(np.array([[0.5]]), groups(a=4), round_to)


def test_ratios_as_a_dict():
    as_dict = PruningStrategy({"a": 0.5, "b": 0.25})
    assert as_dict == PruningStrategy((("a", 0.5), ("b", 0.25)))
