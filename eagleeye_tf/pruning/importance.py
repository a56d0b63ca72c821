"""How much a channel matters: kernels of a group -> one number per channel."""

import numpy as np

from eagleeye_tf import errors


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


IMPORTANCES = {"l1": l1, "l2": l2}


def resolve(importance):
    """Returns the function behind a name of `IMPORTANCES`, or a function."""
    if callable(importance):
        return importance
    if importance not in IMPORTANCES:
        raise errors.InputError(
            f"An importance is one of {', '.join(IMPORTANCES)}, or a "
            f"function. Received: {importance!r}."
        )
    return IMPORTANCES[importance]


def rank_channels(graph, importance="l1"):
    """Orders each group's channels from most to least important.

    Equal channels keep their order, so that exactly the number of channels
    asked for is removed.

    Args:
        graph: a `ChannelGraph`.
        importance: a name of `IMPORTANCES`, or a function like `l1`.

    Returns:
        One int array (group size,) per group: indices into the group.
    """
    measure = resolve(importance)
    kernels = _Filters(graph)
    rankings = []
    for group in graph.groups:
        scores = np.asarray(measure(kernels.of_group(group)), np.float64)
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
        kernels = []
        for path in group.layers:
            rows = self._graph.filter_positions(group, path)
            for filters in self._of_layer(path):
                kernels.append(filters[rows].reshape(group.size, -1))
        return kernels

    def _of_layer(self, path):
        if path not in self._by_layer:
            record = self._graph.records[path]
            self._by_layer[path] = [
                _rows(getattr(record.layer, name), weight.filter_axis)
                for name, weight in record.trace.weights.items()
                if weight.filter_axis is not None
            ]
        return self._by_layer[path]


def _rows(kernel, axis):
    """Kernel of any rank -> (filters, weights per filter)."""
    kernel = np.moveaxis(np.asarray(kernel), axis, 0)
    return kernel.reshape(len(kernel), -1)
