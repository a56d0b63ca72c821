"""Real image files whose contents say which image they are."""

import numpy as np
import tensorflow as tf


def write_numbered_folder(root, count, size=(8, 8)):
    """`count` grey PNG files; the pixel value is the number modulo 256.

    Even numbers are in class "odd_one_out", so label 1; odd ones in "a".
    """
    for number in range(count):
        folder = root / ("a" if number % 2 else "odd_one_out")
        folder.mkdir(parents=True, exist_ok=True)
        image = np.full((*size, 3), number % 256, np.uint8)
        encoded = tf.io.encode_png(image).numpy()
        (folder / f"{number}.png").write_bytes(encoded)
    return root
