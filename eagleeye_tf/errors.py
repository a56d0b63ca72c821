"""Exceptions that users see, and what others' exceptions come to in a line."""

import re

# What TensorFlow says around the line that matters.
_AROUND = (
    " ",
    "\t",
    "Graph execution error",
    "Detected at node",
    "<stack",
    "Exception encountered when calling",  # So Keras begins.
)
_FINGERPRINT = re.compile("[0-9a-f]{64}")
# Names of nodes, and the codes that make a terminal's text bold.
_NAMES = re.compile(r"\{\{.*?\}\} ?|\[\[.*?\]\]|\[Op:.*?\]|\x1b\[\d*m")


class InputError(ValueError):
    """A value from outside breaks a rule.

    The message names the rule, the value received and the way out, in one
    line: programs print it as it is and end with exit code 2.
    """


class DivergenceError(InputError):
    """A training's loss is no longer finite, and would not be again."""


class ExportError(RuntimeError):
    """What was exported does not compute what the Keras model computes."""


class VerificationError(RuntimeError):
    """A pruned network does not compute what it should."""


class PlausibilityWarning(UserWarning):
    """Something from outside breaks no rule, but can hardly be meant."""


def change(name, before, now):
    """In words, how a setting differs from what it was."""
    if isinstance(before, dict) and isinstance(now, dict):
        key = next(k for k in {**before, **now} if before.get(k) != now.get(k))
        return change(f"{name}: {key}", before.get(key), now.get(key))
    if any(_FINGERPRINT.fullmatch(str(value)) for value in (before, now)):
        return f"{name} is not the same any more"  # No sum tells a human more.
    return f"{name} was {before!r}, now it is {now!r}"


def cause(error):
    """The line of an exception's text that tells what is wrong."""
    text = _NAMES.sub("", getattr(error, "message", None) or str(error))
    lines = [x for x in text.splitlines() if x and not x.startswith(_AROUND)]
    line = lines[0] if lines else text.strip()
    return line.strip()[:300] or "no reason given"
