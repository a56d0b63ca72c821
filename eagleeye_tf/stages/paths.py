"""Flags that are paths, and folders for results."""

import os

from absl import flags

from eagleeye_tf import errors
from eagleeye_tf import files


class Parser(flags.ArgumentParser):
    """Takes "~" for the home folder: behind "=" shells leave it as it is."""

    def parse(self, argument):
        return os.path.expanduser(argument)


def require_writable(path):
    """Makes the folder of all results.

    Args:
        path: `pathlib.Path`.

    Raises:
        InputError: if nothing can be written to it.
    """
    files.check_path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / ".writable"
        probe.touch()
        probe.unlink(missing_ok=True)  # Another process may look, too.
    except OSError as error:
        raise errors.InputError(
            f"The workdir {str(path)!r} cannot be written to "
            f"({error.strerror}): choose another --workdir."
        ) from error
