"""Programs of this package as processes: beside this one, or in its place."""

import os
import subprocess
import sys
import threading

# Number of the pipe that ends when the process that ran this one does.
_PARENT = "EAGLEEYE_TF_PARENT"


def run(module, arguments):
    """Runs a program in a process that does not outlive this one.

    Args:
        module: name of the program's module; it calls `end_with_parent`.
        arguments: list of its flags.

    Returns:
        Its exit code; negative for the signal that ended it.
    """
    reading, writing = os.pipe()
    try:
        child = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            pass_fds=[reading],
            env={**os.environ, _PARENT: str(reading)},
        )
        return child.wait()
    finally:  # A SIGKILL, too, closes what this process has open.
        os.close(reading)
        os.close(writing)


def is_child():
    """Whether `run` started this process."""
    return _PARENT in os.environ


def end_with_parent():
    """Ends this process when the one that called `run` is gone."""
    pipe = os.environ.get(_PARENT)
    if pipe is None:
        return

    def wait():
        os.read(int(pipe), 1)
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def start_anew():
    """Starts this program again in its own place, with the same flags."""
    os.execv(sys.executable, sys.orig_argv)
