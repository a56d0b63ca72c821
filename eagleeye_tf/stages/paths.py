"""Flags that are paths, and folders for results."""

import os

from absl import flags

from eagleeye_tf import errors
from eagleeye_tf import files


class Parser(flags.ArgumentParser):
    """Takes "~" for the home folder: behind "=" shells leave it as it is."""

    def parse(self, argument):
        return os.path.expanduser(argument)


# Folders of a workdir that a data set must not be: stages write there.
_STAGES = ("train", "export", "cache", "figures", "tensorboard")


def require_apart(workdir, data_folders):
    """Raises InputError if results would come to lie among images.

    Args:
        workdir: `pathlib.Path`, which need not exist.
        data_folders: see `source.Source.folders`; empty if there are none.
    """
    if not data_folders:
        return
    root, *counted = (folder.resolve() for folder in data_folders)
    place = workdir.resolve()
    taken = {place / name for name in _STAGES}
    if (
        place == root
        or any(place.is_relative_to(folder) for folder in counted)
        or not taken.isdisjoint({root, *root.parents})
    ):
        raise errors.InputError(
            "Results and images lie in folders of their own. Received: "
            f"workdir {str(workdir)!r} for the images in "
            f"{str(data_folders[0])!r}; choose another --workdir."
        )


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
