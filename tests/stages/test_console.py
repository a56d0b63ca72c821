import subprocess
import sys

import pytest
import tensorflow as tf

from eagleeye_tf import errors
from eagleeye_tf.stages import console

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


@pytest.mark.parametrize(
    "error, code, told",
    [
        (errors.InputError("So it is."), 2, "error: So it is."),
        (errors.ExportError("They differ."), 4, "error: They differ."),
        (errors.VerificationError("It is not."), 4, "error: It is not."),
        (
            MemoryError("Unable to allocate 9 GiB"),
            3,
            "error: Out of memory: lower --batch_size, or the number of "
            "images. (Unable to allocate 9 GiB)",
        ),
        (
            tf.errors.ResourceExhaustedError(None, None, "OOM of 9 GiB"),
            3,
            "error: Out of memory: lower --batch_size. (OOM of 9 GiB)",
        ),
        (
            tf.errors.ResourceExhaustedError(None, None, "No space left"),
            3,
            "error: The disk is full: make room; the same command goes on. "
            "(No space left)",
        ),
        (
            PermissionError(13, "Permission denied", "/a/b"),
            3,
            "error: The system refused: [Errno 13] Permission denied: '/a/b'",
        ),
        (
            KeyboardInterrupt(),
            130,
            "error: Interrupted. The same command goes on from here.",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_errors_are_one_line_and_a_code(error, code, told, capsys):
    def main():
        raise error

    with pytest.raises(SystemExit) as ended:
        console.guard(main)
    assert ended.value.code == code
    assert capsys.readouterr().err == told + "\n"


def test_a_fault_of_ours_keeps_its_traceback():
    done = run('ZeroDivisionError("of ours")')
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "ZeroDivisionError: of ours" in done.stderr
