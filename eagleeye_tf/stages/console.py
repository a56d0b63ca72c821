"""How programs talk to the terminal, and how they end."""

import sys
import warnings

import tensorflow as tf
import tqdm
from absl import app
from absl import logging

from eagleeye_tf import errors
from eagleeye_tf.stages import about

_SHOW_WARNING = warnings.showwarning


def say(text):
    """Prints a line for the user, clear of progress bars."""
    tqdm.tqdm.write(text, file=sys.stdout)
    sys.stdout.flush()


def run(main):
    """Runs a program's `main()` so that no traceback greets a user's typo.

    Exit codes: 0 done, 2 wrong input, 3 the system refused (disk, memory),
    4 a check failed, 130 interrupted.
    """
    logging.set_verbosity(logging.ERROR)
    warnings.showwarning = _warn

    def alone(argv):
        if len(argv) > 1:
            _fail(f"Settings are flags. Received: {argv[1]!r}.", 2)
        guard(main)

    app.run(alone)


def guard(main):
    """Calls `main()`; what it raises becomes one line and an exit code."""
    try:
        main()
    except errors.InputError as error:
        about.withdraw()
        _fail(str(error), 2)
    except tf.errors.ResourceExhaustedError as error:
        cause = errors.cause(error)
        is_disk = "space left" in cause or "quota" in cause.lower()
        way_out = (
            "The disk is full: make room; the same command goes on."
            if is_disk
            else "Out of memory: lower --batch_size."
        )
        _fail(f"{way_out} ({cause})", 3)
    except MemoryError as error:
        _fail(
            "Out of memory: lower --batch_size, or the number of images. "
            f"({error})",
            3,
        )
    except (errors.ExportError, errors.VerificationError) as error:
        _fail(str(error), 4)
    except (OSError, tf.errors.OpError) as error:
        _fail(f"The system refused: {errors.cause(error)}", 3)
    except KeyboardInterrupt:
        _fail("Interrupted. The same command goes on from here.", 130)


def _warn(message, category, *place, **options):
    """One line for what users can mend; where it arose does not help them."""
    if issubclass(category, errors.PlausibilityWarning):
        tqdm.tqdm.write(f"warning: {message}", file=sys.stderr)
    else:
        _SHOW_WARNING(message, category, *place, **options)


def _fail(message, code):
    sys.stdout.flush()
    print(f"error: {message}", file=sys.stderr, flush=True)
    sys.exit(code)
