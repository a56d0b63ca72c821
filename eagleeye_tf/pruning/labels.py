"""Channel labels: which channels of a network are one and the same.

Every output channel of every convolution and dense layer starts with a label
of its own. Element-wise operations tie the labels of their operands position
by position. The connected classes of labels are what can be removed together.
"""

import dataclasses

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph


@dataclasses.dataclass(frozen=True)
class Channels:
    """The channel axis of one tensor.

    Attributes:
        labels: int array (channels,), one label per position of the axis.
        axis: which axis of the tensor holds the channels; 0 is the batch.
        shape: static shape of the tensor, batch first.
    """

    labels: np.ndarray
    axis: int
    shape: tuple


class Labels:
    """Hands out labels, and remembers which are tied and which are frozen."""

    def __init__(self):
        self._count = 0
        self._ties = []
        self._frozen = []
        self.produced = {}

    @property
    def count(self):
        return self._count

    @property
    def frozen(self):
        """`(labels, cause, reason)`, those to be named first in front."""
        return tuple(self._frozen)

    def new(self, size):
        """Returns `size` labels that nobody has used, (size,)."""
        labels = np.arange(self._count, self._count + size)
        self._count += size
        return labels

    def produced_by(self, path, size):
        """The output labels of layer `path`, the same at each of its calls."""
        if path not in self.produced:
            self.produced[path] = self.new(size)
        return self.produced[path]

    def tie(self, first, second):
        """Makes `first[i]` and `second[i]` one channel, for every i."""
        if len(first) != len(second):
            raise ValueError(
                "Only label arrays of one length can be tied. "
                f"Received: {len(first)} and {len(second)} labels."
            )
        self._ties.append((first, second))

    def freeze(self, labels, cause, reason, foremost=False):
        """Forbids the removal of `labels`.

        Args:
            labels: int array.
            cause: name of the layer, operation or tensor that forbids it.
            reason: what `cause` does, worded to follow its name.
            foremost: whether this reason is named before earlier ones.
        """
        if len(labels):
            place = 0 if foremost else len(self._frozen)
            self._frozen.insert(place, (np.unique(labels), cause, reason))

    def classes(self):
        """Returns the class of each label, int array (count,)."""
        if not self._ties:
            return np.arange(self._count)
        first = np.concatenate([a for a, _ in self._ties])
        second = np.concatenate([b for _, b in self._ties])
        graph = sparse.coo_matrix(
            (np.ones(len(first), np.int8), (first, second)),
            shape=(self._count, self._count),
        )
        return csgraph.connected_components(graph, directed=False)[1]
