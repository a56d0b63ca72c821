"""Arithmetic by channel that is quick for any number of channels.

A CPU computes sixteen numbers at a time. Pruned networks have rows of 13
channels, which do not fill that, but sixteen pixels' rows, one behind the
other, do: a tensor (pixels, 13) is seen as (pixels / 16, 208), which moves
nothing in memory.
"""

import math

import tensorflow as tf

LANES = 16


class Folding:
    """Sees a tensor as rows that several pixels share.

    Args:
        x: tensor (examples, …, channels). The number of channels may be open;
            the size of an example decides how many pixels share a row.

    Attributes:
        count: int32 tensor, values per channel.
    """

    def __init__(self, x):
        self._like = x
        self._channels = tf.shape(x)[-1]
        area = math.prod(n or 1 for n in x.shape[1:-1])
        lanes = math.gcd(LANES, x.shape[-1] or 1)
        self._pixels = math.gcd(LANES // lanes, area)
        self.count = tf.size(x) // self._channels

    def fold(self, x):
        """A tensor of that shape: (rows, pixels in a row · channels)."""
        width = self._pixels * self._channels
        return tf.reshape(x, [self.count // self._pixels, width])

    def unfold(self, rows):
        """What `fold` was given."""
        x = tf.reshape(rows, tf.shape(self._like))
        return tf.ensure_shape(x, self._like.shape)

    def sums(self, rows):
        """Sums over all examples and pixels, (channels,)."""
        sums = tf.reduce_sum(rows, 0)
        return tf.reduce_sum(tf.reshape(sums, [self._pixels, -1]), 0)

    def means(self, rows):
        """Means over all examples and pixels, (channels,)."""
        return self.sums(rows) / tf.cast(self.count, rows.dtype)

    def moments(self, rows):
        """(mean, mean squared deviation) over all of them, (channels,)."""
        # As Keras does; tf.nn.moments takes twice as long.
        mean = self.means(rows)
        variance = self.means(tf.square(rows)) - tf.square(mean)
        return mean, tf.maximum(variance, 0.0)

    def along(self, vector):
        """A vector (channels,), repeated for the pixels of a row."""
        return tf.tile(vector, [self._pixels])
