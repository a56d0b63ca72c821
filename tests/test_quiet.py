"""Whose kernels compute what: a program's, and those of what it measures."""

import json
import os
import platform
import subprocess
import sys

import pytest

_ONEDNN = "TF_ENABLE_ONEDNN_OPTS"
_HERE_AND_MEASURED = f"""
import json, os
from eagleeye_tf import quiet
from eagleeye_tf.deployment import stopwatch
both = os.environ, stopwatch.environment(1)
print(json.dumps([variables.get("{_ONEDNN}") for variables in both]))
"""
_IN_A_CHILD = f"""
import subprocess, sys
from eagleeye_tf import quiet
subprocess.run([sys.executable, "-c", {_HERE_AND_MEASURED!r}], check=True)
"""


def told(program, given):
    without = {k: v for k, v in os.environ.items() if "ONEDNN" not in k}
    output = subprocess.check_output(
        [sys.executable, "-c", program], env={**without, **given}
    )
    return json.loads(output)


@pytest.mark.skipif(
    platform.machine() != "x86_64", reason="It is chosen on x86 alone."
)
def test_programs_choose_onednn_but_not_for_what_is_shipped():
    assert told(_IN_A_CHILD, {}) == ["1", "default"]


@pytest.mark.slow
def test_what_tensorflow_has_chosen_stays():
    loaded = f"import tensorflow\n{_HERE_AND_MEASURED}"
    assert told(loaded, {}) == [None, None]


def test_users_choose_for_both():
    assert told(_HERE_AND_MEASURED, {_ONEDNN: "0"}) == ["0", "0"]
