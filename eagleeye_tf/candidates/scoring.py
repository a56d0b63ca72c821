"""Top-1 accuracy as two integers: how many are correct, of how many."""

import tensorflow as tf

from eagleeye_tf import replicas
from eagleeye_tf import tracing


def hits(answers, labels):
    """How many answers are correct: scalar int64 tensor.

    Args:
        answers: tensor (batch, classes); examples behind the labels' do not
            count (see `replicas.never_empty`), nor do those that are not
            finite.
        labels: int tensor (batch,).
    """
    top1 = tf.argmax(answers, axis=-1, output_type=tf.int64)
    right = tf.equal(top1[: tf.size(labels)], tf.cast(labels, tf.int64))
    # NaN would be an answer: class 0.
    finite = tf.reduce_all(tf.math.is_finite(answers), axis=-1)
    return tf.math.count_nonzero(right & finite[: tf.size(labels)])


class Scorer:
    """Counts correct answers of one model; traced once, run many times.

    Args:
        model: `keras.Model` with one output (batch, classes).
        batches: `tf.data.Dataset` of batches (images, labels).
        distribution: a `tf.distribute.Strategy`; replicas share each batch.
    """

    def __init__(self, model, batches, distribution):
        self._distribution = distribution
        self._batches = replicas.share(batches, distribution)

        def step(batch):
            return distribution.run(count, args=batch)

        def count(images, labels):
            images = replicas.never_empty(tf.cast(images, tf.float32))
            answers = model(images, training=False)
            return hits(answers, labels), tf.size(labels, tf.int64)

        self._step = tracing.concrete(step, [self._batches.element_spec])

    def count(self, on_batch=None):
        """Returns `(correct, total)` with the model's present weights.

        Args:
            on_batch: called without arguments after each batch.
        """
        correct = total = 0
        for batch in self._batches:
            right, sizes = self._step(batch)
            correct += self._sum(right)
            total += self._sum(sizes)
            if on_batch:
                on_batch()
        return correct, total

    def _sum(self, value):
        parts = replicas.values(value, self._distribution)
        return sum(int(part) for part in parts)


def count_correct(model, batches, distribution=None):
    """Counts the correct answers of a model: `(correct, total)`."""
    distribution = distribution or tf.distribute.get_strategy()
    return Scorer(model, batches, distribution).count()
