"""Batches for the replicas of a `tf.distribute.Strategy`."""

import tensorflow as tf


def share(batches, distribution):
    """Deals each batch of a `tf.data.Dataset` out to the replicas.

    One replica takes the batches as they are, which spares it TensorFlow's
    multi-device iterator and the warnings of that.

    Args:
        batches: `tf.data.Dataset`; a batch is split as evenly as it goes, so
            that a replica may get nothing of a small one.
        distribution: a `tf.distribute.Strategy`.

    Returns:
        An iterable with an `element_spec`, for `distribution.run`.
    """
    if distribution.num_replicas_in_sync == 1:
        return batches
    options = tf.data.Options()
    # Several machines read the same batches, and each takes its share.
    options.experimental_distribute.auto_shard_policy = (
        tf.data.experimental.AutoShardPolicy.DATA
    )
    return distribution.experimental_distribute_dataset(
        batches.with_options(options)
    )


def values(value, distribution):
    """The value of each replica, as a tuple."""
    return distribution.experimental_local_results(value)


def never_empty(images):
    """`images`, or one of zeros where a replica got no share of a batch.

    TensorFlow's kernels do not agree on shapes once a batch holds nothing;
    whoever calls this leaves the answer for that image out.
    """
    if images.shape[0]:  # Known to hold some.
        return images
    missing = tf.maximum(0, 1 - tf.shape(images)[0])
    others = [[0, 0]] * (len(images.shape) - 1)
    return tf.pad(images, [[0, missing], *others])
