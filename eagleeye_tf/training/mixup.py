"""Mixed examples: images between two of a batch, with the labels of both.

Zhang et al., mixup: Beyond Empirical Risk Minimization, ICLR 2018.
"""

import numpy as np
import tensorflow as tf

_TINY = float(np.finfo(np.float32).tiny)


def mix(images, alpha, seed):
    """Mixes every image of a batch with its partner in it.

    The partner is so many places before it, at random for each batch, and
    never itself, unless it is alone.

    Args:
        images: float tensor (batch, …).
        alpha: of the distribution Beta(alpha, alpha) of shares, > 0; 1 makes
            all shares alike likely, less keeps most images nearly whole.
        seed: int tensor (2,), which decides shares and partners.

    Returns:
        (images of the same shape, float32 shares (batch,) that they have of
        the image at their own place, function from what belongs to the
        examples, such as labels (batch,), to what belongs to their partners).
    """
    count = tf.shape(images)[0]
    seed, own = tf.unstack(tf.random.split(seed, 2))
    places = tf.random.stateless_uniform(
        (), own, 1, tf.maximum(count, 2), tf.int32
    )

    def partners(values):
        return tf.roll(values, places, axis=0)

    drawn = tf.random.stateless_gamma((2, count), seed, alpha)
    total = drawn[0] + drawn[1]
    # TensorFlow draws no less than this: where alpha is small, both may be
    # less, and one of the images is whole.
    is_known = total > 2 * _TINY
    shares = tf.where(is_known, drawn[0] / total, 1.0)
    wide = tf.reshape(shares, [-1] + [1] * (len(images.shape) - 1))
    wide = tf.cast(wide, images.dtype)
    return wide * images + (1 - wide) * partners(images), shares, partners
