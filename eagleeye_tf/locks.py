"""Files that only one process may work on at a time."""

import contextlib
import fcntl
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


@contextlib.contextmanager
def of_folder(folder, what):
    """Keeps other processes from doing the same in a folder meanwhile.

    Args:
        folder: path of the folder, made if it does not exist.
        what: what it is used for, such as "training".

    Raises:
        InputError: if another process is at it.
    """
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "lock"), "w") as file:
        take(file, what)
        yield
