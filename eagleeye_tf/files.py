"""Files that are written whole or not at all."""

import contextlib
import os
import pathlib
import socket


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
