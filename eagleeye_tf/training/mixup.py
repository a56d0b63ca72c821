"""Mixed examples: images between two of a batch, with the labels of both.

Zhang et al., mixup: Beyond Empirical Risk Minimization, ICLR 2018.
"""

import numpy as np
import tensorflow as tf

_TINY = float(np.finfo(np.float32).tiny)


def mix(images, alpha, seed):
    """Mixes every image of a batch with its partner in it.

    The image at i has the one at size − 1 − i for a partner: batches come
    shuffled.

    Args:
        images: float tensor (batch, …).
        alpha: of the distribution Beta(alpha, alpha) of shares, > 0; 1 makes
            all shares alike likely, less keeps most images nearly whole.
        seed: int tensor (2,), which decides the shares.

    Returns:
        (images of the same shape, float32 shares (batch,) that they have of
        the image at their own place).
    """
    count = tf.shape(images)[0]
    drawn = tf.random.stateless_gamma((2, count), seed, alpha)
    total = drawn[0] + drawn[1]
    # TensorFlow draws no less than this: where alpha is small, both may be
    # less, and one of the images is whole.
    is_known = total > 2 * _TINY
    shares = tf.where(is_known, drawn[0] / total, 1.0)
    wide = tf.reshape(shares, [-1] + [1] * (len(images.shape) - 1))
    wide = tf.cast(wide, images.dtype)
    return wide * images + (1 - wide) * partners(images), shares


def partners(values):
    """What belongs to the partner of each example: images, labels."""
    return tf.reverse(values, [0])
