"""Settings as plain values: numbers are Python's own, and JSON knows all."""

import dataclasses

import numpy as np

from eagleeye_tf import errors

_KINDS = {
    int: (int, "a whole number"),
    float: ((int, float), "a number"),
    float | None: ((int, float, type(None)), "a number, or None"),
}


def check(settings):
    """Makes the numbers of a frozen dataclass of settings plain.

    Numbers of NumPy become Python's, which JSON knows, too.

    Args:
        settings: its fields are annotated with `int`, `float` or, where None
            will do, `float | None`; others are left alone.

    Raises:
        InputError: if a field does not hold such a number.
    """
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if isinstance(value, np.generic):
            value = value.item()
            object.__setattr__(settings, field.name, value)
        if field.type not in _KINDS:
            continue
        kinds, rule = _KINDS[field.type]
        if not isinstance(value, kinds) or isinstance(value, bool):
            raise errors.InputError(
                f"{field.name} is {rule}. Received: {value!r}."
            )


def without_later(values, later):
    """Leaves out settings that came later, where they change nothing.

    Args:
        values: `{name: value}`.
        later: `{name: value}`, what such settings were before they came.

    Returns:
        The rest of `values`, which is what was written down before.
    """
    return {
        name: value
        for name, value in values.items()
        if name not in later or value != later[name]
    }
