"""Whether a file gives the outputs of the Keras model it came from."""

import numpy as np

from eagleeye_tf import errors


def largest_difference(found, expected, tolerance, name):
    """Largest absolute difference of any output.

    Args:
        found: array (examples, classes), the outputs of a file.
        expected: array (examples, classes), those of the Keras model.
        tolerance: largest difference allowed, as a share of the largest
            expected output, or of 1 if all are smaller; `math.inf` where
            outputs have only to be finite.
        name: of the file, for messages.

    Raises:
        ExportError: if they differ by more, or are not finite.
    """
    difference = float(np.abs(found - expected).max())
    if not np.isfinite(difference):
        raise errors.ExportError(
            f"The outputs of {name} or of the Keras model are not finite."
        )
    if difference > tolerance * max(1.0, float(np.abs(expected).max())):
        raise errors.ExportError(
            f"The outputs of {name} differ from the Keras model's by "
            f"{difference:.3g}, more than {tolerance} of the largest output."
        )
    return difference
