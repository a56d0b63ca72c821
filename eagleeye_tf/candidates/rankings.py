"""Which channels are cut, kept beside a log for when it goes on.

An importance that adds up gradients rounds them differently on another
device, or with another number of threads, and so do ties fall.
"""

import json
import pathlib

import numpy as np

from eagleeye_tf import errors
from eagleeye_tf import files
from eagleeye_tf.candidates import batches
from eagleeye_tf.pruning import importance


class Rankings:
    """The rankings of a search, or of a study.

    Args:
        pruner: the `Pruner` of today.
        setting: its importance, see `SearchSettings`.
        log_path: path of the log; None if there is none.
        identity: what the log is known by so far.

    Attributes:
        pruner: a `Pruner` that cuts the channels that were cut before, if
            the log goes on.
        identity: what the log is known by: also what the user's own function
            came to, since its name does not tell what it does.
    """

    def __init__(self, pruner, setting, log_path, identity):
        self.pruner = pruner
        self.identity = identity
        self._path = None
        if callable(setting):
            own = batches.fingerprint(*pruner.rankings)
            self.identity = {**identity, "rankings": own}
        elif log_path and isinstance(importance.resolve(setting), type):
            # Not the weights alone decide.
            path = pathlib.Path(log_path)
            self._path = path.with_suffix(".rankings.json")
            self._of = json.loads(json.dumps(identity))  # Tuples are lists.
            self._log_path = path
            self._take()

    def _take(self):
        known = files.read_json(self._path)
        if known is not None and known["of"] == self._of:
            self.pruner = self.pruner.with_rankings(
                [np.array(ranking) for ranking in known["rankings"]]
            )

    def keep(self):
        """Writes them down, once it is known that the log is of the same.

        Raises:
            InputError: if the log has records, and nobody knows any more
                which channels were cut.
        """
        if self._path:
            if not self._path.exists() and _has_records(self._log_path):
                raise errors.InputError(
                    f"{str(self._log_path)!r} goes on with the channels that "
                    f"it began with, which {str(self._path)!r} tells: put "
                    "that file beside it, or begin another log."
                )
            rankings = [ranking.tolist() for ranking in self.pruner.rankings]
            files.write_json(self._path, {"of": self._of, "rankings": rankings})


def _has_records(log_path):
    """Whether a log holds more than its header."""
    return log_path.exists() and log_path.read_bytes().count(b"\n") > 1
