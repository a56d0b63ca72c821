"""What a workdir's results came from: `about.json`, for its report."""

import importlib.metadata
import platform
import shlex
import sys

from eagleeye_tf import files

_LIBRARIES = ("tensorflow", "keras", "numpy", "scipy")
_HERE = __package__.partition(".")[0]


def note(folder, title):
    """Adds the present program's command and versions to `about.json`.

    Args:
        folder: `pathlib.Path` of the workdir.
        title: headline of its report, if it has none yet.
    """
    path = folder / "about.json"
    known = files.read_json(path) or {"title": title, "commands": []}
    # Each command once, however often it was killed and started again.
    known["commands"] = list(dict.fromkeys([*known["commands"], _command()]))
    known["versions"] = {
        _HERE: sys.modules[_HERE].__version__,
        "Python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in _LIBRARIES},
    }
    files.write_json(path, known)


def _command():
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if spec is None:  # A script of the user's.
        return shlex.join(["python", *sys.argv])
    module = spec.name.removesuffix(".__main__")
    return shlex.join(["python", "-m", module, *sys.argv[1:]])
