"""Python modules of the user's, which programs import."""

import importlib

from absl import flags

from eagleeye_tf import errors

CUSTOM_MODULES = flags.DEFINE_list(
    "custom_modules",
    [],
    "Python modules to import first: layers and layer rules of your own.",
)


def import_custom():
    """Imports the modules of `--custom_modules`.

    Raises:
        InputError: if one cannot be imported.
    """
    for name in CUSTOM_MODULES.value:
        load(CUSTOM_MODULES, name)


def load(flag, name):
    """Imports the user's module `name`, which `flag` asks for.

    Raises:
        InputError: if it cannot be imported.
    """
    try:
        return importlib.import_module(name)
    except Exception as error:  # A user's code can fail in any way.
        raise errors.InputError(
            f"--{flag.name}: Python cannot import {name!r} "
            f"({type(error).__name__}: {error}). Give the name of a module on "
            "the path or in the present folder, without .py."
        ) from error
