import math

import numpy as np
import pytest

from eagleeye_tf import errors
from eagleeye_tf.deployment import agreement

EXPECTED = np.array([[1.0, -20.0], [3.0, 4.0]])


def test_largest_difference_of_all():
    found = EXPECTED + [[0.5, -0.25], [-0.75, 0.0]]
    assert agreement.largest_difference(found, EXPECTED, 0.04, "it") == 0.75


def test_share_of_the_largest_output():
    found = EXPECTED + [[0.0, 0.0], [0.21, 0.0]]
    agreement.largest_difference(found, EXPECTED, 0.0106, "it")
    with pytest.raises(errors.ExportError, match="of it differ.* 0.21, more"):
        agreement.largest_difference(found, EXPECTED, 0.0104, "it")


def test_small_outputs_are_compared_with_one():
    found = EXPECTED / 100 + 0.009
    agreement.largest_difference(found, EXPECTED / 100, 0.01, "it")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_outputs_are_finite_whatever_the_tolerance(value):
    found = np.where(EXPECTED > 3, value, EXPECTED)
    with pytest.raises(errors.ExportError, match="of it .*not finite"):
        agreement.largest_difference(found, EXPECTED, math.inf, "it")
