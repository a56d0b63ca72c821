import subprocess
import sys

import pytest

PROGRAM = """
import warnings
from eagleeye_tf import errors
from eagleeye_tf.stages import console

def main():
    warnings.warn("cannot be meant", errors.PlausibilityWarning)
    warnings.warn("of another kind", UserWarning)
    raise {error}

console.run(main)
"""


def run(error):
    return subprocess.run(
        [sys.executable, "-c", PROGRAM.format(error=error)],
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_what_users_can_mend_is_one_line_each():
    done = run('errors.InputError("so it is")')
    first, second, *_, last = done.stderr.splitlines()
    assert first == "warning: cannot be meant"
    assert second == "<string>:8: UserWarning: of another kind"
    assert last == "error: so it is"
    assert done.returncode == 2 and not done.stdout


def test_too_little_memory_is_told():
    done = run('MemoryError("Unable to allocate 9 GiB")')
    assert done.returncode == 3
    *_, last = done.stderr.splitlines()
    assert last.startswith("error: Out of memory") and "9 GiB" in last


@pytest.mark.parametrize("name", ["ExportError", "VerificationError"])
def test_a_check_that_failed_has_a_code_of_its_own(name):
    done = run(f'errors.{name}("They differ.")')
    assert done.returncode == 4
    assert done.stderr.splitlines()[-1] == "error: They differ."


def test_a_fault_of_ours_keeps_its_traceback():
    done = run('ZeroDivisionError("of ours")')
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "ZeroDivisionError: of ours" in done.stderr
