"""Computes a functional model call by call, so that each tensor can be seen."""

import keras

from eagleeye_tf.pruning import network


def run(functional, inputs, on_call, prefix=""):
    """Computes a model on its live layers, in inference mode.

    Layers are called with values, which leaves no trace in the model.

    Args:
        functional: a functional `keras.Model` (see `network.as_functional`).
        inputs: list of arrays or tensors, one for each of its inputs.
        on_call: function of (path, tuple of outputs), called after each call
            of a layer or operation; nested models are opened.
        prefix: path of the model itself, ending with "/".

    Returns:
        List of the model's outputs.
    """
    net = network.read(functional)
    operations = {op.name: op for op in functional.operations}
    tensors = {}
    for ref, value in zip(net.inputs, inputs, strict=True):
        tensors[ref.key] = keras.ops.convert_to_tensor(value)
    for call in net.calls:
        path = prefix + call.name
        if network.is_functional(call.layer):
            entering = [tensors[ref.key] for ref in call.inputs]
            nested = network.as_functional(call.layer)
            outputs = run(nested, entering, on_call, path + "/")
        else:
            args = _values(call.args, tensors)
            kwargs = _values(call.kwargs, tensors)
            if call.layer is not None and network.takes_training(call.layer):
                kwargs["training"] = False
            outputs = operations[call.name](*args, **kwargs)
            outputs = keras.tree.flatten(outputs)
            on_call(path, tuple(outputs))
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
