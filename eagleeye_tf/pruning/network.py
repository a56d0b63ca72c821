"""Reads a functional Keras model as a list of calls, from its config alone.

The config is what `model.save` writes: every layer, every raw operation and
the tensors that connect them. Reading it leaves the model untouched, where
running its layers once more would add nodes to them (and make
`layer.output` ambiguous for the owner of the model).
"""

import copy
import dataclasses
import inspect

import keras
import tensorflow as tf

from eagleeye_tf import errors
from eagleeye_tf.pruning import serialized


@dataclasses.dataclass(frozen=True)
class Call:
    """One call of one layer or raw operation.

    Attributes:
        name: name within its model.
        index: 0 for the first call of a layer, 1 for the next, …
        class_name: e.g. `"Conv2D"`, or `"Pad"` for a raw `keras.ops.pad`.
        config: the layer's or operation's config.
        operation: the live layer or raw operation.
        inputs: the tensors among the arguments, in order; for a nested model
            one for each of its inputs.
        args: positional arguments as serialised by Keras; of a layer the
            first one in any case.
        kwargs: keyword arguments as serialised by Keras.
        output_shapes: `{output index: shape}` of the outputs somebody uses.
    """

    name: str
    index: int
    class_name: str
    config: dict
    operation: object
    inputs: tuple
    args: list
    kwargs: dict
    output_shapes: dict

    @property
    def layer(self):
        """The live layer; None for a raw operation."""
        is_layer = isinstance(self.operation, keras.layers.Layer)
        return self.operation if is_layer else None

    @property
    def masks(self):
        """Those of the inputs that only tell which positions count."""
        if self.layer is None:
            return ()
        return tuple(serialized.tensor_refs(self.kwargs.get("mask")))

    @property
    def data(self):
        """The inputs without the masks."""
        return self.inputs[: len(self.inputs) - len(self.masks)]


@dataclasses.dataclass(frozen=True)
class Network:
    """Calls of one model in an order in which they can be executed."""

    calls: tuple
    inputs: tuple
    outputs: tuple


def as_functional(model):
    """Returns `model` as a functional model over the same layers.

    Raises:
        InputError: if the model is not functional, or not built.
    """
    if isinstance(model, keras.Sequential):
        if not model.built or not model.inputs:
            raise errors.InputError(
                "A Sequential model must know its input shape before it can "
                "be pruned: start it with keras.Input(shape) or call "
                f"model.build(input_shape). Received: {model.name!r}."
            )
        return keras.Model(model.inputs, model.outputs, name=model.name)
    if not isinstance(model, keras.Model):
        raise errors.InputError(
            "Expected a keras.Model (functional or Sequential). "
            f"Received: {type(model).__name__}."
        )
    if not is_functional(model):
        _check_writable(model)
        raise errors.InputError(
            "Only functional and Sequential models can be pruned, because a "
            "subclassed model does not say how its layers are connected: "
            "build the same layers with keras.Model(inputs, outputs). "
            f"Received: {type(model).__name__} {model.name!r}."
        )
    return model


def _check_writable(model):
    """Raises InputError if an operation keeps a graph from being written."""
    for operation in getattr(model, "operations", ()):
        try:
            operation.get_config()
        except (NotImplementedError, TypeError) as error:
            raise errors.InputError(
                f"Operation {operation.name!r} of {model.name!r} "
                f"({type(operation).__name__}) has an argument that Keras "
                "cannot write down, most often a NumPy number or array, or a "
                "functools.partial: give it plain Python numbers, such as "
                "int(np.prod(shape)), and functions made with def. If it is "
                "a layer of your own, it needs a get_config."
            ) from error


def is_functional(model):
    """Whether the graph of `model` can be read from its config."""
    if not isinstance(model, keras.Model) or not getattr(model, "inputs", None):
        return False
    if isinstance(model, keras.Sequential):
        return True
    try:
        config = _config(model)
    except (NotImplementedError, TypeError):
        return False
    return "layers" in config and "input_layers" in config


def _is_functional_class(layer):
    return is_functional(layer) and not isinstance(layer, keras.Sequential)


def config_of(functional):
    """The config of a functional model, to read or to edit."""
    return copy.deepcopy(_config(functional))


def _config(model):
    # Nested models that are compiled write down their optimizer's values,
    # which have none while a function is traced.
    with tf.init_scope():
        return model.get_config()


def entry_name(entry):
    """The layer's name in an entry of `config["layers"]`.

    Those of a Sequential model have it in the layer's own config alone.
    """
    return entry.get("name") or entry["config"]["name"]


def read(functional):
    """Reads the calls of a functional model (see `as_functional`)."""
    config = config_of(functional)
    layers = {layer.name: layer for layer in functional.layers}
    nested = {n for n, x in layers.items() if _is_functional_class(x)}
    serialized.renumber_calls(config, nested)
    output_keys = serialized.history_keys(config["output_layers"])
    shapes = {}
    for key, tensor in zip(output_keys, functional.outputs, strict=True):
        shapes[key] = tuple(tensor.shape)
    operations = {op.name: op for op in functional.operations}
    entries = []
    for entry in config["layers"]:
        layer = layers.get(entry["name"])
        for index, node in enumerate(entry["inbound_nodes"]):
            node = serialized.first_by_place(layer, node)
            inputs = serialized.inputs_of(node)
            shapes.update({ref.key: ref.shape for ref in inputs})
            if is_functional(layer):
                inputs = serialized.entering(as_functional(layer), node)
            entries.append((entry, index, node, inputs))
    input_keys = serialized.history_keys(config["input_layers"])
    for key, tensor in zip(input_keys, functional.inputs, strict=True):
        shapes[key] = tuple(tensor.shape)
    outputs_of = {}
    for key, shape in shapes.items():
        outputs_of.setdefault(key[:2], {})[key[2]] = shape
    calls = tuple(
        Call(
            name=entry["name"],
            index=index,
            class_name=entry["class_name"],
            config=entry["config"],
            operation=operations[entry["name"]],
            inputs=inputs,
            args=node["args"],
            kwargs=node["kwargs"],
            output_shapes=outputs_of.get((entry["name"], index), {}),
        )
        for entry, index, node, inputs in entries
    )
    calls = _in_execution_order(calls, set(input_keys))
    inputs, outputs = (
        tuple(serialized.TensorRef(key, shapes[key]) for key in keys)
        for keys in (input_keys, output_keys)
    )
    return Network(_needed(calls, output_keys), inputs, outputs)


def all_layers(model, prefix=""):
    """Yields `(path, layer)` of every layer, nested models opened.

    A layer of a nested model has the path `"outer/inner"`.
    """
    for layer in model.layers:
        path = prefix + layer.name
        if is_functional(layer):
            yield from all_layers(layer, path + "/")
        else:
            yield path, layer


def containers(model, path=""):
    """Yields `(path, model)` of a model, path "", and of all nested in it."""
    yield path, model
    for layer in model.layers:
        if is_functional(layer):
            yield from containers(layer, f"{path}/{layer.name}")


def operations(model):
    """The layers and raw operations of a functional or Sequential model."""
    if isinstance(model, keras.Sequential):
        return model.layers
    return model.operations


def takes_training(layer):
    """Whether a layer's call has a `training` argument."""
    return "training" in inspect.signature(layer.call).parameters


def infer(call, args, kwargs):
    """Computes a call on a live layer or operation, in inference mode.

    Layers are called with values, which leaves no trace in the model.
    """
    if call.layer is not None and takes_training(call.layer):
        kwargs = {**kwargs, "training": False}
    return call.operation(*args, **kwargs)


def _in_execution_order(calls, available):
    """Sorts calls so that each one's inputs are made before it."""
    waiting = list(calls)
    ordered = []
    while waiting:
        blocked = []
        for call in waiting:
            if all(ref.key in available for ref in call.inputs):
                ordered.append(call)
                available.update(
                    (call.name, call.index, i) for i in call.output_shapes
                )
            else:
                blocked.append(call)
        if len(blocked) == len(waiting):
            raise errors.InputError(
                "The model's config names tensors that nothing produces, "
                f"first for layer {blocked[0].name!r}."
            )
        waiting = blocked
    return tuple(ordered)


def _needed(calls, output_keys):
    """The calls on which an output depends.

    Keras keeps what a nested model is given beyond its inputs.
    """
    needed = {key[:2] for key in output_keys}
    kept = []
    for call in reversed(calls):
        if (call.name, call.index) in needed:
            kept.append(call)
            needed.update(ref.key[:2] for ref in call.inputs)
    return tuple(reversed(kept))
