"""Proof, on one model, that what was cut was cut right.

Removing channels must mean: whatever reads them no longer does, and nothing
else changes. So the whole network is taken, every weight that reads a removed
channel is set to zero, and every filter that makes one is filled with random
numbers. That network has to compute what the pruned one computes. Were a
channel removed in one place and kept in another, or another one in its place,
random numbers would reach the output.
"""

import dataclasses

import keras
import numpy as np

from eagleeye_tf import errors
from eagleeye_tf.pruning import execution
from eagleeye_tf.pruning import network
from eagleeye_tf.pruning import rebuild
from eagleeye_tf.pruning.channel_graph import ChannelGraph
from eagleeye_tf.pruning.cost import CostModel

# Largest difference that rounding explains, relative to the largest value.
# Kernels sum in another order once they are smaller.
_TOLERANCES = {"float16": 5e-2, "bfloat16": 2e-1}
_TOLERANCE = 1e-4


@dataclasses.dataclass(frozen=True)
class Verification:
    """What the comparison of a pruned network with the whole one found.

    Attributes:
        error: largest difference of any tensor, relative to the largest
            absolute value in that tensor.
        tolerance: how much of it rounding explains.
        cost_agrees: whether the cost formula gives the MACs and parameters of
            the pruned network to the unit; None if the size of images is
            open, so that it gives none.
        first_difference: path of the first layer or operation, in the order
            of computation, whose output differs; "outputs" if only the
            model's own differ; None if all agree.
    """

    error: float
    tolerance: float
    cost_agrees: bool | None
    first_difference: str | None

    @property
    def passed(self):
        """Whether the pruned network is right."""
        return self.first_difference is None and self.cost_agrees is not False


def verify(model, ratios, importance="l1", round_to=1, inputs=None, seed=0):
    """Checks that pruning a model computes what it should.

    The pruned network is compared with the whole network in which the same
    channels are ignored by everything that reads them.

    Args:
        model: a functional or Sequential `keras.Model`; never changed.
        ratios: as for `prune`.
        importance: as for `prune`.
        round_to: as for `prune`.
        inputs: list of arrays, one for each of the model's inputs; None for
            random ones.
        seed: of random numbers.

    Returns:
        A `Verification`.

    Raises:
        InputError: as `prune` does; or if the outputs are not finite.
    """
    pruner = rebuild.Pruner(model, importance, round_to)
    return verify_pruner(pruner, ratios, inputs, seed)


def verify_pruner(pruner, ratios, inputs=None, seed=0):
    """`verify` for a `rebuild.Pruner`, whose analysis serves many ratios."""
    graph, model = pruner.graph, pruner.graph.model
    keep = pruner.keeper(ratios)
    smaller = rebuild.rebuild(graph, keep)
    if inputs is None:
        inputs = _random_inputs(model, seed)
        if not _is_finite(_compute(model, inputs)):  # Not made for images.
            inputs = _random_inputs(model, seed, scale=1 / 255)
    original = _compute(model, inputs)
    whole = rebuild.whole(graph)
    copy = _compute(whole, inputs)
    _ignore(whole, graph, keep, seed)
    ignoring = _compute(whole, inputs)
    if not (_is_finite(original) and _is_finite(ignoring)):
        raise errors.InputError(
            f"The outputs of {model.name!r} are not finite, so there is "
            "nothing to compare: check its weights, and give inputs that it "
            "is made for."
        )
    differences = [
        # The config that Keras writes may leave something out.
        *_differences(graph, None, original, copy),
        *_differences(graph, keep, ignoring, _compute(smaller, inputs)),
    ]
    tolerance = _tolerance(model)
    first = next((path for path, d in differences if d > tolerance), None)
    return Verification(
        error=max(d for _, d in differences),
        tolerance=tolerance,
        cost_agrees=_cost_agrees(pruner, ratios, smaller),
        first_difference=first,
    )


@dataclasses.dataclass(frozen=True)
class _Computed:
    """What each call of a model gave, its outputs, and those of `model(x)`."""

    calls: dict
    outputs: list
    called: list


def _compute(model, inputs):
    calls = {}

    def compute(call, args, kwargs):
        outputs = network.infer(call, args, kwargs)
        values = [np.asarray(x) for x in keras.tree.flatten(outputs)]
        calls.setdefault(call.name, []).append(values)
        return outputs

    functional = network.as_functional(model)
    outputs = execution.run(functional, inputs, compute)
    plain = keras.Model(functional.inputs, functional.outputs)
    tensors = [keras.ops.convert_to_tensor(x) for x in inputs]
    called = keras.tree.flatten(plain(tensors, training=False))
    return _Computed(
        calls,
        [np.asarray(x) for x in outputs],
        [np.asarray(x) for x in called],
    )


def _is_finite(computed):
    return all(np.isfinite(x).all() for x in computed.called)


def _ignore(copy, graph, keep, seed):
    """Makes all readers in a copy of the network ignore removed channels."""
    generator = np.random.default_rng(seed)
    layers = dict(network.all_layers(copy))
    for path, record in graph.records.items():
        for name, weight in record.trace.weights.items():
            variable = getattr(layers[path], name)
            value = np.array(variable)
            for axis, labels in weight.axes.items():
                slices = np.moveaxis(value, axis, 0)
                removed = ~keep(labels)
                if axis == weight.made_by:
                    slices[removed] = _noise(slices[removed], generator)
            for axis, labels in weight.axes.items():
                if axis != weight.made_by:
                    np.moveaxis(value, axis, 0)[~keep(labels)] = 0
            variable.assign(value)


def _noise(values, generator):
    """Other values of the same scale; variances stay variances."""
    if not values.size:
        return values
    noise = generator.permutation(values.ravel()).reshape(values.shape)
    noise = noise * generator.uniform(0.5, 2, values.shape)
    if (values >= 0).all():
        return noise
    return noise + generator.normal(0, 0.1, values.shape)


def _differences(graph, keep, reference, found):
    """Yields (path, difference) of all calls, in order, then of the outputs.

    Args:
        graph: the `ChannelGraph`.
        keep: function from labels to a bool array: what `found` has kept;
            None for everything.
        reference: `_Computed` of the whole network.
        found: `_Computed` of the other one.
    """
    for path, calls in reference.calls.items():
        if path not in found.calls:
            continue  # No output depends on it.
        traces = graph.records[path].traces
        for trace, *both in zip(traces, calls, found.calls[path], strict=True):
            for x, a, b in zip(trace.outputs, *both, strict=False):
                if keep is not None and len(x.labels):
                    a = np.compress(keep(x.labels), a, axis=x.axis)
                if a.dtype.kind not in "biu":  # Rounding can flip those.
                    yield path, _difference(a, b)
    for a, b in zip(reference.outputs, found.outputs, strict=True):
        yield "outputs", _difference(a, b)
    for computed in (reference, found):
        for a, b in zip(computed.called, computed.outputs, strict=True):
            yield "outputs", _difference(a, b)


def _difference(a, b):
    """Largest difference, relative to the largest absolute value of `a`."""
    if a.shape != b.shape:
        return float("inf")
    a, b = a.astype(np.float64), b.astype(np.float64)
    difference = np.abs(a - b).max(initial=0)
    if not np.isfinite(difference):
        return 0.0 if np.array_equal(a, b, equal_nan=True) else float("inf")
    return float(difference / max(np.abs(a).max(initial=0), 1e-6))


def _cost_agrees(pruner, ratios, smaller):
    try:
        expected = CostModel(pruner.graph).of_one(pruner.kept(ratios))
        built = CostModel(ChannelGraph(smaller)).full()
    except errors.InputError:  # The size of images is open.
        return None
    return built == expected and smaller.count_params() == expected.params


def _random_inputs(model, seed, scale=1):
    """One array of two examples for each input; `scale` is for numbers."""
    generator = np.random.default_rng(seed)
    inputs = []
    for x in network.as_functional(model).inputs:
        if x.dtype == "string":
            raise errors.InputError(
                f"Input {x.name!r} of {model.name!r} takes strings, of which "
                "there are no random ones: give inputs."
            )
        shape = [x.shape[0] or 2, *(size or 64 for size in x.shape[1:])]
        floats = "float" in x.dtype
        highest = 255 * scale if floats else _highest_index(model)
        values = generator.uniform(0, highest, shape)
        inputs.append(values.astype(x.dtype))
    return inputs


def _highest_index(model):
    """The largest whole number that all embeddings of a model know."""
    sizes = [
        layer.input_dim
        for _, layer in network.all_layers(model)
        if isinstance(layer, keras.layers.Embedding)
    ]
    return min([*sizes, 256]) - 1


def _tolerance(model):
    dtypes = {layer.compute_dtype for _, layer in network.all_layers(model)}
    return max(_TOLERANCES.get(dtype, _TOLERANCE) for dtype in dtypes)
