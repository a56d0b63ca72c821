"""Computes a functional model call by call, in any way that is asked for."""

import dataclasses

import keras

from eagleeye_tf.pruning import network
from eagleeye_tf.pruning import serialized


def run(functional, inputs, compute, prefix=""):
    """Computes a model, nested models opened.

    Args:
        functional: a functional `keras.Model` (see `network.as_functional`).
        inputs: list of arrays or tensors, one for each of its inputs.
        compute: function of (call, args, kwargs) that returns the outputs of
            one call: a `network.Call` whose name is its path, and its
            arguments with values in place of tensors.
        prefix: path of the model itself, ending with "/".

    Returns:
        List of the model's outputs.
    """
    net = network.read(functional)
    values = []
    for tensor, value in zip(functional.inputs, inputs, strict=True):
        # As Keras does when a model is called.
        value = keras.ops.convert_to_tensor(value, dtype=tensor.dtype)
        if len(value.shape) == len(tensor.shape) + 1:
            value = keras.ops.squeeze(value, -1)
        elif len(value.shape) == len(tensor.shape) - 1:
            value = keras.ops.expand_dims(value, -1)
        values.append(value)

    def outputs_of(call, tensors):
        path = prefix + call.name
        if network.is_functional(call.layer):
            entering = [tensors[ref.key] for ref in call.inputs]
            nested = network.as_functional(call.layer)
            return run(nested, entering, compute, path + "/")
        return compute(
            dataclasses.replace(call, name=path),
            _values(call.args, tensors),
            _values(call.kwargs, tensors),
        )

    tensors = _follow(net, values, outputs_of)
    return [tensors[ref.key] for ref in net.outputs]


def with_shapes(functional, net, shapes):
    """What `network.read` gives, for inputs of other shapes than the model's.

    Args:
        functional: a functional model for inputs of any size.
        net: the `network.Network` of it.
        shapes: those of the tensors that it is called with.

    Returns:
        A `network.Network`.
    """

    def outputs_of(call, tensors):
        if network.is_functional(call.layer):
            nested = network.as_functional(call.layer)
            # Whatever the structure of its own inputs and outputs.
            plain = keras.Model(nested.inputs, nested.outputs)
            return plain.compute_output_spec(
                [tensors[ref.key] for ref in call.inputs]
            )
        return call.operation.compute_output_spec(
            *_values(call.args, tensors), **_values(call.kwargs, tensors)
        )

    def known(refs):
        return tuple(
            serialized.TensorRef(ref.key, tuple(tensors[ref.key].shape))
            for ref in refs
        )

    inputs = [
        keras.KerasTensor(shape, tensor.dtype)
        for shape, tensor in zip(shapes, functional.inputs, strict=True)
    ]
    tensors = _follow(net, inputs, outputs_of)
    calls = tuple(
        dataclasses.replace(
            call,
            inputs=known(call.inputs),
            output_shapes={
                index: tuple(tensors[call.name, call.index, index].shape)
                for index in call.output_shapes
            },
        )
        for call in net.calls
    )
    return network.Network(calls, known(net.inputs), known(net.outputs))


def _follow(net, inputs, outputs_of):
    """All tensors of a network, by key.

    Args:
        net: a `network.Network`.
        inputs: list of what stands for its inputs.
        outputs_of: function of (call, tensors so far) that gives its outputs.
    """
    keys = [ref.key for ref in net.inputs]
    tensors = dict(zip(keys, inputs, strict=True))
    for call in net.calls:
        outputs = keras.tree.flatten(outputs_of(call, tensors))
        for index, value in enumerate(outputs):
            tensors[call.name, call.index, index] = value
    return tensors


def _values(argument, tensors):
    """An argument as Keras wrote it, with tensors in place of their names."""
    if isinstance(argument, dict):
        name = argument.get("class_name")
        if name == "__keras_tensor__":
            return tensors[tuple(argument["config"]["keras_history"])]
        if name is not None and "config" in argument:
            return keras.saving.deserialize_keras_object(argument)
        return {key: _values(v, tensors) for key, v in argument.items()}
    if isinstance(argument, (list, tuple)):
        return type(argument)(_values(item, tensors) for item in argument)
    return argument
