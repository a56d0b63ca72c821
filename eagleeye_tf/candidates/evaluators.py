"""Chooses what evaluates the candidates of a model."""

import tensorflow as tf

from eagleeye_tf import errors
from eagleeye_tf.candidates.open_evaluator import OpenEvaluator
from eagleeye_tf.candidates.rebuilt_evaluator import RebuiltEvaluator
from eagleeye_tf.candidates.remote_evaluator import RemoteEvaluator
from eagleeye_tf.pruning.open_network import OpenNetwork


def make(
    pruner,
    calibration,
    sub_validation,
    distribution=None,
    cluster=None,
    **options,
):
    """The quickest `Evaluator` that serves a model.

    Args:
        pruner: a `rebuild.Pruner`.
        calibration: `(images, labels)`.
        sub_validation: `(images, labels)`.
        distribution: a `tf.distribute.Strategy`, each of whose replicas
            computes a candidate of its own; None for the current one.
        cluster: a `cluster.Cluster` whose workers compute instead; or None.
        **options: as for `Evaluator`.

    Raises:
        InputError: if candidates must be built anew, and so cannot travel.
    """
    distribution = distribution or tf.distribute.get_strategy()
    arguments = (pruner, calibration, sub_validation)
    open_network = OpenNetwork(pruner.graph, portable=cluster is not None)
    if cluster is not None and open_network.obstacle:
        raise errors.InputError(
            "Workers of a cluster evaluate networks that are traced once, "
            f"which this one is not: {open_network.obstacle}. Search on one "
            "machine, without a cluster."
        )
    if cluster is not None:
        return RemoteEvaluator(open_network, cluster, *arguments, **options)
    if open_network.obstacle:
        return RebuiltEvaluator(*arguments, **options)
    devices = [None]  # TensorFlow's choice.
    if distribution.num_replicas_in_sync > 1:
        devices = distribution.extended.worker_devices
    return OpenEvaluator(open_network, devices, *arguments, **options)
