"""Logs of JSON lines: flushed to disk, locked, and picky about what they hold.

The first line says what the log belongs to; each line after it is one record.
A record counts once its line is on disk, so the program can be killed anywhere
and go on. Logs that belong to the same thing are merged by concatenating them.
"""

import abc
import contextlib
import dataclasses
import json
import os

from eagleeye_tf import errors
from eagleeye_tf import locks


class JsonLog(abc.ABC):
    """An open log; a context manager that holds the file's lock.

    Subclasses set `schema`, the version of their records, and `what`, a word
    for what they log.

    Args:
        path: the JSON-lines file, made if it does not exist.
        identity: dict of what must be the same for the log to be continued.

    Attributes:
        torn: number of bytes of a last line that was not whole, and is gone.

    Raises:
        InputError: if another process has the log open, if it belongs to
            something else, or if a line in it is not one of ours.
    """

    schema, what = None, None

    def __init__(self, path, identity):
        self._path = os.fspath(path)
        self._identity = json.loads(json.dumps(identity))
        self._file = None
        self.torn = 0

    def __enter__(self):
        os.makedirs(os.path.dirname(self._path) or ".", exist_ok=True)
        self._file = open(self._path, "a+b")
        try:
            locks.take(self._file, self.what)
            self._read()
        except BaseException:
            self._file.close()
            raise
        return self

    def __exit__(self, *_):
        with contextlib.suppress(OSError):  # `write` told it.
            self._file.close()

    @abc.abstractmethod
    def accept(self, record):
        """Takes a record, a dict, that the file holds.

        May raise AttributeError, KeyError, TypeError or ValueError if it is
        not one.
        """

    def write(self, record):
        """Writes a record; it is on disk when this returns.

        Raises:
            OSError: if the disk is full or gone.
            FileNotFoundError: if somebody removed or replaced the file: what
                is written to it now would be lost.
        """
        locks.require_present(self._file, self.what)
        line = json.dumps(record, allow_nan=False) + "\n"
        try:
            self._file.seek(0, os.SEEK_END)
            self._file.write(line.encode())
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise OSError(
                f"{self._path} cannot be written to ({error.strerror}): see "
                "to it; the same command then goes on from here."
            ) from error

    def _read(self):
        self._file.seek(0)
        content = self._file.read()
        whole = content[: content.rfind(b"\n") + 1]
        self.torn = len(content) - len(whole)
        header = {"schema": self.schema, **self._identity}
        if not whole:
            if not json.dumps(header).startswith(content.decode("latin-1")):
                raise self._foreign(1)
            self._file.truncate(0)
            self.write(header)
            return
        header, *lines = self._parse(whole)
        self._check_header(header)
        if self.torn:
            self._file.truncate(len(whole))
        for number, record in enumerate(lines, start=2):
            if record == header:  # Several logs of one search, concatenated.
                continue
            try:
                self.accept(record)
            except (
                AttributeError,
                KeyError,
                TypeError,
                ValueError,
            ) as error:
                raise self._foreign(number) from error

    def _parse(self, whole):
        for number, line in enumerate(whole.splitlines(), start=1):
            try:
                yield json.loads(line)
            except ValueError as error:
                raise self._foreign(number) from error

    def _foreign(self, number):
        return errors.InputError(
            f"Line {number} of {self._path} is not a line of a {self.what} "
            f"log (schema {self.schema}): remove that line, or use another "
            "workdir."
        )

    def _check_header(self, header):
        expected = {"schema": self.schema, **self._identity}
        if not isinstance(header, dict) or "schema" not in header:
            raise self._foreign(1)
        # Settings that came later are left out where they change nothing.
        for key in {**expected, **header}:
            value, before = expected.get(key), header.get(key)
            if before != value:
                raise errors.InputError(
                    f"{self._path} belongs to another {self.what}: "
                    f"{errors.change(key, before, value)}. Use the "
                    "same settings to continue it, or another workdir (in "
                    "Python, another log_path)."
                )


class RecordLog(JsonLog):
    """A log of dataclasses, one for each candidate.

    Subclasses also set `kind`, the dataclass, and `key`, the name of its field
    that tells one record from another.

    Attributes:
        records: `{key: record}`.
    """

    kind, key = None, "index"

    def __init__(self, path, identity):
        super().__init__(path, identity)
        self.records = {}

    def append(self, record):
        """Writes a record; it is on disk when this returns."""
        self.write(dataclasses.asdict(record))
        self.records[getattr(record, self.key)] = record

    def accept(self, record):
        found = self.kind(**record)
        self.records[getattr(found, self.key)] = found
