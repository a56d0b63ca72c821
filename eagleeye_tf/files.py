"""Files that are written whole or not at all, and tied to their settings."""

import contextlib
import hashlib
import json
import os
import pathlib
import shutil
import socket

from eagleeye_tf import errors
from eagleeye_tf import locks


def check_path(path):
    """Raises InputError for a folder that TensorFlow cannot work in.

    It looks for its checkpoints by patterns, and takes the names of folders
    for a part of them.
    """
    found = set("*?[]\\") & set(os.path.abspath(path))
    if found:
        raise errors.InputError(
            "A folder for results has none of * ? [ ] \\ in its path. "
            f"Received: {str(path)!r}."
        )


@contextlib.contextmanager
def replacing(path):
    """Replaces a file once its new content is whole.

    Args:
        path: file to write; its folder is made.

    Yields:
        Path to write to instead, in the same folder, with the same suffix.
        Becomes `path` at the end, is removed if there is an exception.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Processes of several machines may write the same file.
    own = f"{socket.gethostname()}.{os.getpid()}"
    temporary = path.with_name(f"{path.stem}.{own}.tmp{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path, text):
    """Writes a file; readers see the old content or the new one."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path, value):
    """Writes a JSON file like `write_text`."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path):
    """Reads a JSON file; None if there is none.

    Raises:
        InputError: if it is not JSON.
    """
    path = pathlib.Path(path)
    if not path.exists():
        return None
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise errors.InputError(
            f"{str(path)!r} is damaged ({error}): remove it to do its stage "
            "again."
        ) from error


def digest(path):
    """SHA-256 of a file's contents, as hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def save_model(model, path):
    """Saves a `.keras` file; an older one is replaced once it is whole."""
    with replacing(path) as temporary:
        model.save(temporary)


def copy(source, path):
    """Copies a file; an older copy is replaced once the new one is whole."""
    path = pathlib.Path(path)
    if path.exists() and path.samefile(source):
        return
    with replacing(path) as temporary:
        shutil.copyfile(source, temporary)


def claim(directory, settings, is_locked=False):
    """Ties a folder to the settings that its files were made with.

    Args:
        directory: made if it does not exist. One that holds settings and
            nothing that came of them is taken over, unless somebody is at it.
        settings: dict of plain values.
        is_locked: whether the caller holds the lock of the folder.

    Raises:
        InputError: if the folder was made with other settings, or is being
            used with them.
    """
    path = pathlib.Path(directory) / "settings.json"
    settings = json.loads(json.dumps(settings))
    known = read_json(path)
    if known is None:
        write_json(path, settings)
        known = read_json(path)  # Perhaps another process was first.
    if known != settings and _came_to_nothing(path.parent):
        lock = contextlib.nullcontext()
        if not is_locked:
            lock = locks.of_folder(directory, "training")
        with lock:
            write_json(path, settings)
        known = settings
    require_same(directory, known, settings, {**settings, **known})


def _came_to_nothing(directory):
    """Whether nothing was made in a folder that was claimed."""
    return all(
        # Somebody who was killed may leave what was not whole yet.
        path.name in ("settings.json", "lock") or path.stem.endswith(".tmp")
        for path in directory.iterdir()
    )


def require_same(directory, known, settings, keys):
    """Raises InputError for the first of `keys` that two dicts differ in."""
    for key in keys:
        if known.get(key) != settings.get(key):
            raise errors.InputError(
                f"{str(directory)!r} was made otherwise: "
                f"{errors.change(key, known.get(key), settings.get(key))}. "
                "Use the same settings to continue, remove the folder to "
                "start again, or choose another workdir."
            )
