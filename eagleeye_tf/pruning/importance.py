"""How much a channel matters: one number for each channel of a group.

Channels are compared within their group only. The simplest measure is a
function of the group's filters; one that looks at more is a class with
`of_group`.
"""

import numpy as np
import tensorflow as tf

from eagleeye_tf import errors
from eagleeye_tf import examples as examples_lib
from eagleeye_tf import outputs as outputs_lib
from eagleeye_tf import tracing

_BATCH = 64


def l1(kernels):
    """Sum of absolute weights (paper, section 3.2).

    Args:
        kernels: list of arrays (channels, weights), one for each layer that
            produces the group's channels.

    Returns:
        float64 array (channels,).
    """
    return sum(np.abs(k).sum(axis=1, dtype=np.float64) for k in kernels)


def l2(kernels):
    """Euclidean norm of the weights (paper, supplement); see `l1`."""
    squares = (np.square(k, dtype=np.float64).sum(axis=1) for k in kernels)
    return np.sqrt(sum(squares))


def geometric_median(kernels):
    """Distances to all other filters (He et al. 2019, FPGM); see `l1`.

    Filters near the geometric median of their layer can be replaced by the
    others. Distances are Euclidean, summed over the group's layers.
    """
    return sum(map(_distances, kernels))


def _distances(kernel):
    """Sum over j of the distances of filter i and filter j."""
    kernel = kernel.astype(np.float64)
    squares = np.square(kernel).sum(axis=1)
    between = squares[:, np.newaxis] + squares - 2 * kernel @ kernel.T
    return np.sqrt(np.maximum(between, 0)).sum(axis=1)


class Random:
    """No measure at all: the control. The same for the same network."""

    def __init__(self, graph, _):
        self._generator = np.random.default_rng(len(graph.groups))

    def of_group(self, group):
        """float64 array (channels,)."""
        return self._generator.random(group.size)


class BatchNormScale:
    """Absolute BN scales of the channels (Liu et al. 2017, network slimming).

    Summed over all BatchNormalization layers that read the channels. Groups
    that none reads, or none with a scale, go by the L1 norm.
    """

    def __init__(self, graph, _):
        self._graph = graph
        self._filters = _Filters(graph)
        self._scales = 0.0
        self._readers = 0
        for record in graph.records.values():
            weights = record.trace.weights
            if "moving_mean" in weights and "gamma" in weights:
                (labels,) = weights["gamma"].axes.values()
                gamma = np.abs(np.asarray(record.layer.gamma, np.float64))
                self._scales = self._scales + graph.sum_by_class(labels, gamma)
                self._readers = self._readers + graph.class_counts(labels)

    def of_group(self, group):
        """float64 array (channels,)."""
        if not np.any(self._readers) or not self._readers[group.units].all():
            return l1(self._filters.of_group(group))
        return self._scales[group.units]


class Taylor:
    """What the loss would change without a filter, to first order, squared.

    (Σ gradient · weight)² over a filter, mean over batches of up to 64
    labelled images, all of about the same size, summed over the group's
    layers (Molchanov et al. 2019, equation 8). The network is in inference
    mode.
    """

    def __init__(self, graph, examples):
        images, labels = [], np.array([-1])
        if examples is not None:
            images, labels = examples_lib.with_or_without_labels(examples)
        if (labels < 0).all():
            raise errors.InputError(
                "The importance 'taylor' asks for labelled images: give "
                "examples=(images, labels)."
            )
        examples_lib.check(graph.model, images, labels)
        self._graph = graph
        self._filters = _Filters(graph)
        self._changes = self._measure(graph.model, images, labels)

    def of_group(self, group):
        """float64 array (channels,)."""
        found = 0.0
        for path in group.layers:
            rows = self._graph.filter_positions(group, path)
            for change in self._changes[path]:
                # Filters that are tied go together: so do their changes.
                tied = change[:, rows].sum(axis=-1)
                found = found + np.square(tied).mean(axis=0)
        return found

    def _measure(self, model, images, labels):
        """{path: [array (batches, filters) for each of its kernels]}."""
        paths = {path for group in self._graph.groups for path in group.layers}
        kernels = [
            (path, kernel, axis)
            for path in sorted(paths)
            for kernel, axis in self._filters.variables(path)
        ]
        found = [[] for _ in kernels]
        gradients = _gradients(model, [k for _, k, _ in kernels], images)
        count = -(-len(labels) // _BATCH)
        # The gradients of a few images alone are larger than those of many.
        for batch in np.array_split(np.arange(len(labels)), count):
            batch = slice(batch[0], batch[-1] + 1)
            parts = gradients(
                tf.convert_to_tensor(images[batch]),
                tf.convert_to_tensor(labels[batch], tf.int64),
            )
            for (_, kernel, axis), part, seen in zip(
                kernels, parts, found, strict=True
            ):
                rows = _rows(np.asarray(part) * np.asarray(kernel), axis)
                seen.append(rows.sum(axis=1, dtype=np.float64))
        changes = {path: [] for path in paths}
        for (path, _, _), seen in zip(kernels, found, strict=True):
            changes[path].append(np.stack(seen))
        return changes


def _gradients(model, kernels, images):
    """Function from a batch (images, labels) to gradients of the mean loss."""
    probabilities = outputs_lib.gives_probabilities(model, images)
    variables = [kernel.value for kernel in kernels]

    def gradients(images, labels):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            outputs = model(tf.cast(images, tf.float32), training=False)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
                labels, outputs_lib.logits(outputs, probabilities)
            )
            loss = tf.reduce_mean(losses)
        return tape.gradient(loss, variables, unconnected_gradients="zero")

    signature = [  # Some batches may be smaller by one.
        tf.TensorSpec((None, *images.shape[1:]), images.dtype),
        tf.TensorSpec((None,), tf.int64),
    ]
    return tracing.concrete(gradients, signature)


# Functions of a group's filters, and classes of (graph, examples).
IMPORTANCES = {
    "l1": l1,
    "l2": l2,
    "geometric_median": geometric_median,
    "bn_scale": BatchNormScale,
    "taylor": Taylor,
    "random": Random,
}


def resolve(importance):
    """Returns what is behind a name of `IMPORTANCES`, or a function."""
    if callable(importance):
        return importance
    if not isinstance(importance, str) or importance not in IMPORTANCES:
        raise errors.InputError(
            f"An importance is one of {', '.join(IMPORTANCES)}, or a "
            f"function. Received: {importance!r}."
        )
    return IMPORTANCES[importance]


def rank_channels(graph, importance="l1", examples=None):
    """Orders each group's channels from most to least important.

    Equal channels keep their order, so that exactly the number of channels
    asked for is removed.

    Args:
        graph: a `ChannelGraph`.
        importance: a name of `IMPORTANCES`; a function like `l1`; or a class
            whose objects are made of (graph, examples) and have `of_group`,
            from a `ChannelGroup` to an array (channels,).
        examples: `(images, labels)`, or batches of such, for importances
            that ask for them.

    Returns:
        One int array (group size,) per group: indices into the group.

    Raises:
        InputError: if the importance is unknown, asks for examples that are
            not given, or does not give one finite number per channel.
    """
    measure = resolve(importance)
    if isinstance(measure, type):
        of_group = measure(graph, examples).of_group
    else:
        filters = _Filters(graph)

        def of_group(group):
            return measure(filters.of_group(group))

    rankings = []
    for group in graph.groups:
        scores = np.asarray(of_group(group), np.float64)
        if scores.shape != (group.size,) or not np.isfinite(scores).all():
            raise errors.InputError(
                "An importance is one finite number per channel; group "
                f"{group.name!r} has {group.size} channels. Received an "
                f"array of shape {scores.shape} with "
                f"{int((~np.isfinite(scores)).sum())} values that are not "
                "finite (does the model hold NaN weights?)."
            )
        rankings.append(np.argsort(-scores, kind="stable"))
    return rankings


class _Filters:
    """The filters of a graph's layers, each layer's read once."""

    def __init__(self, graph):
        self._graph = graph
        self._by_layer = {}

    def of_group(self, group):
        """List of arrays (channels, weights), one for each kernel."""
        kernels = []
        for path in group.layers:
            rows = self._graph.filter_positions(group, path)
            for filters in self._of_layer(path):
                kernels.append(filters[rows].reshape(group.size, -1))
        return kernels

    def variables(self, path):
        """[(variable, axis of its filters)] of a layer's kernels."""
        record = self._graph.records[path]
        return [
            (getattr(record.layer, name), weight.filter_axis)
            for name, weight in record.trace.weights.items()
            if weight.filter_axis is not None
        ]

    def _of_layer(self, path):
        if path not in self._by_layer:
            self._by_layer[path] = [
                _rows(np.asarray(kernel), axis)
                for kernel, axis in self.variables(path)
            ]
        return self._by_layer[path]


def _rows(kernel, axis):
    """Kernel of any rank -> (filters, weights per filter)."""
    kernel = np.moveaxis(kernel, axis, 0)
    return kernel.reshape(len(kernel), -1)
