"""Cost of a strategy by a closed formula, without building anything."""

import collections
import dataclasses
import math

import keras
import numpy as np

from eagleeye_tf import errors
from eagleeye_tf.pruning import rule_base
from eagleeye_tf.pruning.channel_graph import ChannelGraph
from eagleeye_tf.pruning.strategy import PruningStrategy


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a network costs.

    Attributes:
        macs: multiply-accumulates of one example through convolutions and
            dense layers (the paper's "FLOPs").
        params: number of values in all weights, BN statistics included, as
            `model.count_params()` counts them.
        activation_memory: bytes of the tensors that are needed at once, at
            most, while one example passes through the layers one by one, in
            float32. Layers that treat each value alone (activations,
            normalizations) work in place if nobody else reads their input.
    """

    macs: int
    params: int
    activation_memory: int


class CostModel:
    """Cost as a function of the number of channels that each group keeps.

    Every weight has a size that is the product of its axes, and the length
    of an axis that follows channels is a linear function of the kept
    channels. MACs are the sizes of kernels times their number of uses. The
    sizes of tensors are such functions, too.

    Args:
        graph: the `ChannelGraph` of the model.

    Raises:
        InputError: if the model's input size leaves a number of positions
            in space unknown.
    """

    metrics = ("macs", "params", "activation_memory")

    @property
    def uncounted(self):
        """Names of layers whose MACs nobody knows, for lack of a rule."""
        return tuple(
            record.path
            for record in self._graph.records.values()
            if isinstance(record.rule, rule_base.NoRule)
            and record.layer is not None
            and not isinstance(record.layer, keras.layers.Embedding)
            and any(len(w.shape) > 1 for w in record.layer.weights)
        )

    def __init__(self, graph):
        self._forms = []
        self._form_index = {}
        self._graph = graph
        terms = {metric: collections.Counter() for metric in self.metrics[:2]}
        nothing = graph.class_counts(np.array([], int)).astype(float)
        self._owned = {metric: nothing.copy() for metric in terms}
        for record in graph.records.values():
            self._add_terms(record, terms)
        self._terms = terms
        self._tensor_forms = [self._form(x.labels) for x in graph.tensors]
        self._tensor_bytes = np.array([_bytes(x) for x in graph.tensors])
        self._needed = _needed_at_once(graph)
        self._slopes = np.array(
            [
                [counts[group.units[0]] for group in graph.groups]
                for counts in self._forms
            ],
            np.int64,
        ).reshape(len(self._forms), len(graph.groups))
        sizes = np.array([group.size for group in graph.groups], np.int64)
        full = np.array([counts.sum() for counts in self._forms], np.int64)
        self._constants = full - self._slopes @ sizes

    def of(self, kept, metrics=metrics):
        """Cost of many candidates at once.

        Args:
            kept: int array (candidates, groups), channels that stay.
            metrics: names of those that are asked for.

        Returns:
            `{metric: int64 array (candidates,)}`.
        """
        widths = self._widths(kept)
        return {metric: self._cost(metric, widths) for metric in metrics}

    def _cost(self, metric, widths):
        if metric == "activation_memory":
            sizes = widths[:, self._tensor_forms] * self._tensor_bytes
            needed = (sizes.astype(float) @ self._needed).max(axis=1)
            return needed.astype(np.int64)
        return sum(self._sizes(metric, widths), np.zeros(len(widths), np.int64))

    def _sizes(self, metric, widths):
        """MACs or parameters of each kind of weight: arrays (candidates,)."""
        for forms, coefficient in self._terms[metric].items():
            if coefficient:
                yield coefficient * widths[:, list(forms)].prod(axis=1)

    def _widths(self, kept):
        """What each linear function counts: int array (candidates, forms)."""
        return np.asarray(kept, np.int64) @ self._slopes.T + self._constants

    def parts(self, kept):
        """What the costs of many candidates consist of.

        Args:
            kept: int array (candidates, groups), channels that stay.

        Returns:
            (MACs, float array (candidates, kernels); bytes, float array
            (candidates, tensors)). Kernels that keep the same channels are
            one column, and so are such tensors.
        """
        widths = self._widths(kept)
        macs = np.stack(list(self._sizes("macs", widths)), axis=1)
        per_channel = np.bincount(
            self._tensor_forms, self._tensor_bytes, len(self._forms)
        )
        return macs.astype(float), widths * per_channel

    def of_one(self, kept):
        """The `Cost` of one candidate; `kept` is an int array (groups,)."""
        costs = self.of(np.asarray(kept)[np.newaxis])
        return Cost(**{name: int(value[0]) for name, value in costs.items()})

    def full(self):
        """The `Cost` of the whole network."""
        return self.of_one([group.size for group in self._graph.groups])

    def shares(self):
        """Which group the network's cost belongs to.

        A filter belongs to the channel that it makes, and so does what is
        kept for that channel alone (bias, BN statistics, depthwise kernels).

        Returns:
            `{metric: float array (groups,)}`, each at most 1 in all; the rest
            belongs to channels that are frozen.
        """
        full = self.full()
        shares = {}
        for metric, owned in self._owned.items():
            total = np.array(
                [owned[group.units].sum() for group in self._graph.groups]
            )
            shares[metric] = total / max(getattr(full, metric), 1)
        return shares

    def _add_terms(self, record, terms):
        if record.layer is None:
            return
        names = {
            id(getattr(record.layer, name)): name
            for name in record.trace.weights
        }
        for variable in record.layer.weights:
            name = names.get(id(variable))
            weight = record.trace.weights.get(name)
            axes = weight.axes if weight else {}
            forms = tuple(sorted(self._form(v) for v in axes.values()))
            constant = math.prod(
                length
                for axis, length in enumerate(variable.shape)
                if axis not in axes
            )
            terms["params"][forms] += constant
            uses = record.uses[name] if weight else 0
            if uses is None:
                raise errors.InputError(
                    "MACs need to know the size of the images: give the "
                    "model a fixed input shape. Unknown at layer "
                    f"{record.path!r}."
                )
            terms["macs"][forms] += constant * uses
            if weight and axes:
                self._own(variable, weight, uses)

    def _own(self, variable, weight, uses):
        axis = weight.made_by
        counts = self._graph.class_counts(weight.axes[axis])
        size = math.prod(variable.shape)
        portion = counts * (size / variable.shape[axis])
        self._owned["params"] += portion
        self._owned["macs"] += portion * uses

    def _form(self, labels):
        """Index of the linear function that counts what stays of `labels`."""
        key = labels.tobytes()
        if key not in self._form_index:
            self._form_index[key] = len(self._forms)
            self._forms.append(self._graph.class_counts(labels))
        return self._form_index[key]


def _bytes(x):
    """Bytes of a float32 tensor of one example, per channel."""
    sizes = [n for axis, n in enumerate(x.shape) if axis not in (0, x.axis)]
    if not len(x.labels):  # Its channels are not followed.
        sizes = x.shape[1:]
    if None in sizes:
        raise errors.InputError(
            "Activation memory needs to know the size of the images: give "
            f"the model a fixed input shape. Received a tensor {x.shape}."
        )
    return 4 * math.prod(sizes)


def _needed_at_once(graph):
    """Which tensors each call needs: float array (tensors, calls).

    What was made before and is read then or later, and what it makes.
    """
    count = len(graph.tensors)
    first, last = np.zeros(count, int), np.zeros(count, int)
    for step, (_, read, made) in enumerate(graph.calls):
        last[list(read)] = step
        first[list(made)] = last[list(made)] = step
    last[list(graph.outputs)] = len(graph.calls)
    steps = np.arange(max(len(graph.calls), 1))
    needed = (first[:, np.newaxis] <= steps) & (steps <= last[:, np.newaxis])
    for step, (path, read, made) in enumerate(graph.calls):
        last_read = len(read) == len(made) == 1 and last[read[0]] == step
        if last_read and _is_elementwise(graph, path, *read, *made):
            needed[read[0], step] = False
    return np.unique(needed, axis=1).astype(float)


def _is_elementwise(graph, path, read, made):
    """Whether a call leaves the channels and multiplies with no kernel."""
    before, after = graph.tensors[read], graph.tensors[made]
    return (
        before.shape == after.shape
        and before.axis == after.axis
        and np.array_equal(before.labels, after.labels)
        and not any(graph.records[path].uses.values())
    )


def cost(model, ratios=None, round_to=1):
    """MACs and parameters of a model, or of what pruning would make of it.

    Args:
        model: a functional or Sequential `keras.Model`.
        ratios: as for `prune`; None for the whole model.
        round_to: as for `prune`.

    Returns:
        A `Cost`. Equal to the cost of the rebuilt model.

    Raises:
        InputError: for a model that is not functional, ratios outside
            [0, 1), or an input whose size is not fixed.
    """
    graph = ChannelGraph(model)
    strategy = PruningStrategy.of(
        graph.groups, 0.0 if ratios is None else ratios
    )
    return CostModel(graph).of_one(strategy.kept(graph.groups, round_to))
