"""The one exception that means "the input, not the program, is wrong"."""


class InputError(ValueError):
    """A value from outside breaks a rule.

    The message names the rule, the value received and the way out, in one
    line: programs print it as it is and end with exit code 2.
    """


class ExportError(RuntimeError):
    """What was exported does not compute what the Keras model computes."""


class VerificationError(RuntimeError):
    """A pruned network does not compute what it should."""
