"""The search log: one JSON line per candidate, and the truth.

The first line says what was searched: schema version, fingerprints of the
model and of the images, settings. A candidate counts once its line is on
disk, so a search can be killed anywhere and continued.
"""

import dataclasses
import fcntl
import json
import os

from eagleeye_tf import errors
from eagleeye_tf.pruning.strategy import PruningStrategy

SCHEMA = 2


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A pruning strategy with what is known of it.

    Attributes:
        index: number of the proposal among all strategies drawn, from 0.
        strategy: the `PruningStrategy`.
        kept: tuple of kept channels, one for each group.
        macs: multiply-accumulates of one example.
        params: number of weights.
        calibration_correct: correct answers of the calibration pass itself,
            with the statistics of each batch.
        calibration_total: calibration images seen.
        correct: adaptive-BN evaluation, correct answers.
        vanilla_correct: vanilla evaluation, correct answers; None unless it
            came to the last rung of the race.
        total: sub-validation images seen; 0 on a rung without any.
        seconds: time it took to evaluate, all rungs together.
    """

    index: int
    strategy: PruningStrategy
    kept: tuple
    macs: int
    params: int
    calibration_correct: int
    calibration_total: int
    correct: int
    vanilla_correct: int | None
    total: int
    seconds: float

    @property
    def score(self):
        """Adaptive-BN score in [0, 1]; None without sub-validation images."""
        return self.correct / self.total if self.total else None

    @property
    def vanilla_score(self):
        """Vanilla score in [0, 1]; None if there is none."""
        if self.vanilla_correct is None:
            return None
        return self.vanilla_correct / self.total

    @property
    def seen(self):
        """(sub-validation, calibration) images: how far it came."""
        return self.total, self.calibration_total

    @property
    def interim_score(self):
        """Share of correct answers among all images seen, in [0, 1].

        With what a race decides before its last rung.
        """
        seen = self.calibration_total + self.total
        return (self.calibration_correct + self.correct) / max(seen, 1)

    def to_json(self):
        """A dict for `json.dumps`."""
        return {
            **dataclasses.asdict(self),
            "strategy": self.strategy.to_json(),
        }

    @classmethod
    def from_json(cls, record):
        """The inverse of `to_json`."""
        values = dict(record)
        values["strategy"] = PruningStrategy.from_json(values["strategy"])
        values["kept"] = tuple(values["kept"])
        return cls(**values)


class SearchLog:
    """An open log; a context manager that holds the file's lock.

    Args:
        path: the JSON-lines file, made if it does not exist.
        identity: dict of what must be the same for the log to be continued.

    Attributes:
        candidates: what the log holds, in the order of their indices; of one
            that was logged on several rungs the last of them.
        torn: number of bytes of a last line that was not whole, and is gone.

    Raises:
        InputError: if another process has the log open, if it belongs to
            another search, or if a line in it is not one of ours.
    """

    def __init__(self, path, identity):
        self._path = os.fspath(path)
        self._identity = json.loads(json.dumps(identity))
        self._file = None
        self._known = {}
        self.torn = 0

    @property
    def candidates(self):
        last = {index: c for (index, _), c in sorted(self._known.items())}
        return list(last.values())

    def get(self, index, seen):
        """A candidate once it had `seen` so much; None if not logged."""
        return self._known.get((index, seen))

    def __enter__(self):
        os.makedirs(os.path.dirname(self._path) or ".", exist_ok=True)
        self._file = open(self._path, "a+b")
        try:
            self._lock()
            self._read()
        except BaseException:
            self._file.close()
            raise
        return self

    def __exit__(self, *_):
        self._file.close()

    def append(self, candidate):
        """Writes a candidate; it is on disk when this returns."""
        self._write(candidate.to_json())
        self._known[candidate.index, candidate.seen] = candidate

    def _lock(self):
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise errors.InputError(
                f"Another search is writing {self._path}: wait for it, or "
                "use another workdir."
            ) from None

    def _read(self):
        self._file.seek(0)
        content = self._file.read()
        whole = content[: content.rfind(b"\n") + 1]
        self.torn = len(content) - len(whole)
        if self.torn:
            self._file.truncate(len(whole))
        if not whole:
            self._write({"schema": SCHEMA, **self._identity})
            return
        header, *lines = self._parse(whole)
        self._check_header(header)
        for number, record in enumerate(lines, start=2):
            try:
                candidate = Candidate.from_json(record)
                self._known[candidate.index, candidate.seen] = candidate
            except (KeyError, TypeError, AttributeError) as error:
                raise self._foreign(number) from error

    def _parse(self, whole):
        for number, line in enumerate(whole.splitlines(), start=1):
            try:
                yield json.loads(line)
            except ValueError as error:
                raise self._foreign(number) from error

    def _foreign(self, number):
        return errors.InputError(
            f"Line {number} of {self._path} is not a line of a search log "
            f"(schema {SCHEMA}): remove that line, or use another workdir."
        )

    def _check_header(self, header):
        expected = {"schema": SCHEMA, **self._identity}
        if not isinstance(header, dict) or "schema" not in header:
            raise self._foreign(1)
        for key, value in expected.items():
            if header.get(key) != value:
                raise errors.InputError(
                    f"{self._path} belongs to another search: its {key} is "
                    f"{header.get(key)!r}, here it is {value!r}. Use the same "
                    "settings to continue it, or another workdir."
                )

    def _write(self, record):
        line = json.dumps(record, allow_nan=False) + "\n"
        self._file.seek(0, os.SEEK_END)
        self._file.write(line.encode())
        self._file.flush()
        os.fsync(self._file.fileno())
