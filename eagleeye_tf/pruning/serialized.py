"""Calls as Keras writes them into a config: which tensors enter each."""

import dataclasses
import inspect


@dataclasses.dataclass(frozen=True)
class TensorRef:
    """One tensor inside one model: who made it, and its static shape.

    Attributes:
        key: `(layer name, call index, output index)`.
        shape: dimensions, batch first; None where unknown.
    """

    key: tuple
    shape: tuple


def by_order(functional, node):
    """A call of a nested model with inputs by order instead of by name.

    Keras matches the keys of a dictionary with the names of the inputs,
    unless the model itself was made from one; anything else goes by order.

    Args:
        functional: the live nested model (see `network.as_functional`).
        node: `{"args": …, "kwargs": …}` of the call, as Keras wrote it.

    Returns:
        Such a node; `node` itself if there are no names.
    """
    (given, *args), kwargs = _inputs_first(node)
    if (
        not isinstance(given, dict)
        or given.get("class_name") == "__keras_tensor__"
        or isinstance(functional.input, dict)
    ):
        return node
    given = [given[x.name] for x in functional.inputs]
    kwargs.pop("mask", None)  # Keras' own, by the same names.
    return {**node, "args": [given, *args], "kwargs": kwargs}


def first_by_place(layer, node):
    """A call of a layer with its first argument by place, not by name."""
    if layer is None or node["args"]:
        return node
    first = next(iter(inspect.signature(layer.call).parameters), None)
    kwargs = dict(node["kwargs"])
    args = [kwargs.pop(first)] if first in kwargs else []
    return {**node, "args": args, "kwargs": kwargs}


def _inputs_first(node):
    args, kwargs = list(node["args"]), dict(node["kwargs"])
    if not args:
        args = [kwargs.pop("inputs")]
    return args, kwargs


def inputs_of(node):
    """All tensors that a call takes, its mask last."""
    kwargs = dict(node["kwargs"])
    mask = kwargs.pop("mask", None)
    return tuple(tensor_refs([node["args"], kwargs, mask]))


def entering(functional, node):
    """The tensor that enters each input of a nested model."""
    given = _inputs_first(by_order(functional, node))[0][0]
    return tuple(tensor_refs(given))[: len(functional.inputs)]


def tensor_refs(value):
    """Yields the `TensorRef` of each tensor among serialised arguments."""
    if isinstance(value, dict):
        if value.get("class_name") == "__keras_tensor__":
            config = value["config"]
            yield TensorRef(
                tuple(config["keras_history"]), tuple(config["shape"])
            )
            return
        # The order in which Keras flattens dictionaries.
        value = [value[key] for key in sorted(value)]
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from tensor_refs(item)


def history_keys(structure):
    """`[name, call, output]` triples of a config's inputs or outputs."""
    if isinstance(structure, dict):
        structure = [structure[key] for key in sorted(structure)]
    if _is_key(structure):
        return [tuple(structure)]
    return [key for item in structure for key in history_keys(item)]


def _is_key(structure):
    return (
        isinstance(structure, (list, tuple))
        and len(structure) == 3
        and isinstance(structure[0], str)
    )


def renumber_calls(config, names):
    """Counts the calls behind the outputs of a model from 0, too.

    Everywhere in a config the first call of a layer is number 0, but for the
    outputs of a model: there Keras counts the calls of a nested functional
    model (not of a Sequential) from 1.

    Args:
        config: config of a functional model; changed.
        names: its nested functional models.
    """

    def shifted(structure):
        if isinstance(structure, dict):
            return {k: shifted(v) for k, v in structure.items()}
        if not _is_key(structure):
            return [shifted(item) for item in structure]
        name, index, output = structure
        return [name, index - (name in names), output]

    config["output_layers"] = shifted(config["output_layers"])
