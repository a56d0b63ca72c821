"""Evaluates candidates through functions that are traced once for all."""

import functools

import numpy as np
import tensorflow as tf

from eagleeye_tf import tracing
from eagleeye_tf.candidates import adaptive_bn
from eagleeye_tf.candidates import scoring
from eagleeye_tf.candidates.evaluator import Evaluator


class TracedEvaluator(Evaluator):
    """Candidates are arguments of functions: weights and widths.

    Args:
        open_network: an `OpenNetwork` without obstacle.
        *arguments: as for `Evaluator`.
    """

    def __init__(self, open_network, *arguments, **options):
        super().__init__(*arguments, **options)
        self._open = open_network

    def _network(self, trial, adapted=False):
        """(weights, widths) of a trial, with its own BN statistics or not."""
        if trial.network is None:
            keep = self.pruner.keeper(trial.strategy)
            trial.network = self._open.cut(keep)
        weights, counts = trial.network
        if adapted:
            weights = self._open.with_statistics(weights, trial.moments)
        return weights, counts


class OpenEvaluator(TracedEvaluator):
    """The functions run on devices of this machine.

    Args:
        open_network: an `OpenNetwork` without obstacle.
        devices: names of the devices that compute a candidate each; None for
            TensorFlow's choice.
        *arguments: as for `Evaluator`.
    """

    def __init__(self, open_network, devices, *arguments, **options):
        super().__init__(open_network, *arguments, **options)
        self._devices = tuple(devices)
        self.width = len(self._devices)
        images, _ = self._sub_validation
        candidate = [open_network.count_spec, *open_network.weight_specs]
        signature = [
            tf.TensorSpec((None, *images.shape[1:]), images.dtype),
            tf.TensorSpec((None,), tf.int64),
            *candidate * self.width,
        ]
        # Each when it is needed first.
        self._traced = functools.cache(
            functools.partial(tracing.concrete, signature=signature)
        )

    def _adapt(self, images, labels, *candidates):
        return self._on_each_device(images, labels, candidates, adapting=True)

    def _score(self, images, labels, *candidates):
        return self._on_each_device(images, labels, candidates, adapting=False)

    def _on_each_device(self, images, labels, candidates, adapting):
        """[(correct answers, what BN layers saw)], one for each device."""
        self.traces += 1  # Python runs while TensorFlow traces.
        size = len(candidates) // self.width
        found = []
        for place, device in enumerate(self._devices):
            own = candidates[place * size : (place + 1) * size]
            with tf.device(device):
                (answers,), observed = self._open.compute(
                    tf.cast(images, tf.float32), own[1:], own[0], adapting
                )
                found.append((scoring.hits(answers, labels), observed))
        return found

    def _arguments(self, networks):
        """Arguments for all devices; idle ones repeat the first candidate."""
        idle = self.width - len(networks)
        return [
            argument
            for weights, counts in [*networks, *networks[:1] * idle]
            for argument in (counts, *weights)
        ]

    def _calibrate(self, trials, part):
        arguments = self._arguments([self._network(t) for t in trials])
        correct = np.zeros(len(trials), int)
        for images, labels in self._batches(self._calibration, part):
            adapt = self._traced(self._adapt)
            found = adapt(images, labels, *arguments)
            for place, trial in enumerate(trials):
                hits, observed = tf.nest.map_structure(
                    lambda tensor: tensor.numpy(), found[place]
                )
                correct[place] += hits
                adaptive_bn.add_observed(trial.moments, observed)
        return correct.tolist()

    def _count(self, trials, part, adapted):
        arguments = self._arguments([self._network(t, adapted) for t in trials])
        batches = self._batches(self._sub_validation, part)
        score = self._traced(self._score)
        found = [score(*batch, *arguments) for batch in batches]
        return [
            sum(int(on_each_device[place][0]) for on_each_device in found)
            for place in range(len(trials))
        ]

    def _batches(self, examples, part):
        """The examples in a slice of a set, a batch at a time."""
        images, labels = examples
        for start in range(part.start, part.stop, self._batch_size):
            some = slice(start, min(start + self._batch_size, part.stop))
            yield (
                tf.convert_to_tensor(images[some]),
                tf.convert_to_tensor(labels[some], tf.int64),
            )
