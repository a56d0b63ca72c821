"""What a workdir's results came from: `about.json`, for its report."""

import importlib.metadata
import platform
import shlex
import sys

from eagleeye_tf import files

_ABOUT = "about.json"
_LIBRARIES = ("tensorflow", "keras", "numpy", "scipy")
_HERE = __package__.partition(".")[0]


# Where the present program added its command, and that.
_noted = []


def note(folder, title):
    """Adds the present program's command and versions to `about.json`.

    Args:
        folder: `pathlib.Path` of the workdir.
        title: headline of its report, if it has none yet.
    """
    path = folder / _ABOUT
    known = files.read_json(path) or {"title": title, "commands": []}
    if _command() not in known["commands"]:
        _noted.append((folder, _command()))
    # Each command once, however often it was killed and started again.
    known["commands"] = list(dict.fromkeys([*known["commands"], _command()]))
    known["versions"] = {
        _HERE: sys.modules[_HERE].__version__,
        "Python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in _LIBRARIES},
    }
    files.write_json(path, known)


def withdraw():
    """Takes the present program's command back if no result came of it."""
    for folder, command in _noted:
        path = folder / _ABOUT
        known = files.read_json(path)
        if known is None or command not in known["commands"]:
            continue
        if any(_is_newer(other, path) for other in folder.rglob("*")):
            continue
        known["commands"].remove(command)
        if known["commands"]:
            files.write_json(path, known)
        else:
            path.unlink()
    _noted.clear()


def _is_newer(other, path):
    made, noted = other.stat().st_mtime_ns, path.stat().st_mtime_ns
    return other.is_file() and other != path and made >= noted


def _command():
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if spec is None:  # A script of the user's.
        return shlex.join(["python", *sys.argv])
    module = spec.name.removesuffix(".__main__")
    return shlex.join(["python", "-m", module, *sys.argv[1:]])
