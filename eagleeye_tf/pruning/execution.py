"""Computes a functional model call by call, in any way that is asked for."""

import dataclasses

import keras

from eagleeye_tf.pruning import network


def run(functional, inputs, compute, prefix=""):
    """Computes a model, nested models opened.

    Args:
        functional: a functional `keras.Model` (see `network.as_functional`).
        inputs: list of arrays or tensors, one for each of its inputs.
        compute: function of (call, operation, args, kwargs) that returns the
            outputs of one call: a `network.Call` whose name is its path, the
            live layer or operation, and its arguments with values in place
            of tensors.
        prefix: path of the model itself, ending with "/".

    Returns:
        List of the model's outputs.
    """
    net = network.read(functional)
    operations = {op.name: op for op in functional.operations}
    tensors = {}
    for ref, tensor, value in zip(
        net.inputs, functional.inputs, inputs, strict=True
    ):
        # As Keras does when a model is called.
        value = keras.ops.convert_to_tensor(value, dtype=tensor.dtype)
        if len(value.shape) == len(ref.shape) + 1:
            value = keras.ops.squeeze(value, -1)
        elif len(value.shape) == len(ref.shape) - 1:
            value = keras.ops.expand_dims(value, -1)
        tensors[ref.key] = value
    for call in net.calls:
        path = prefix + call.name
        if network.is_functional(call.layer):
            entering = [tensors[ref.key] for ref in call.inputs]
            nested = network.as_functional(call.layer)
            outputs = run(nested, entering, compute, path + "/")
        else:
            outputs = compute(
                dataclasses.replace(call, name=path),
                operations[call.name],
                _values(call.args, tensors),
                _values(call.kwargs, tensors),
            )
            outputs = keras.tree.flatten(outputs)
        for index, value in enumerate(outputs):
            tensors[call.name, call.index, index] = value
    return [tensors[ref.key] for ref in net.outputs]


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
