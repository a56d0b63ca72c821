"""Files that only one process may work on at a time."""

import contextlib
import fcntl
import functools
import os

from eagleeye_tf import errors


def take(file, what):
    """Locks an open file until it is closed or the process ends.

    Args:
        file: a file object.
        what: what the lock is for, such as "search".

    Raises:
        InputError: if another process has it.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise errors.InputError(
            f"Another {what} is writing {file.name}: wait for it, or use "
            "another workdir."
        ) from None


def require_present(file, what):
    """Raises FileNotFoundError if a locked file is no longer in its place.

    What is written beside it, or to it, would be lost or somebody else's.

    Args:
        file: an open file object, whose name is its path.
        what: as for `take`.
    """
    try:
        here = os.stat(file.name)
    except FileNotFoundError:
        here = None
    if not here or not os.path.samestat(here, os.fstat(file.fileno())):
        raise FileNotFoundError(
            f"{file.name} was removed or replaced while the {what} was "
            "running, and what it wrote with it; start again."
        )


@contextlib.contextmanager
def of_folder(folder, what):
    """Keeps other processes from doing the same in a folder meanwhile.

    Args:
        folder: path of the folder, made if it does not exist.
        what: what it is used for, such as "training".

    Yields:
        A function that raises FileNotFoundError if the folder was removed
        meanwhile; to be called before anything is written to it.

    Raises:
        InputError: if another process is at it.
    """
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "lock"), "w") as file:
        take(file, what)
        yield functools.partial(require_present, file, what)
