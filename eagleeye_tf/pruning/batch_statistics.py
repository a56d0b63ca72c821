"""Models whose BatchNormalization layers tell the statistics of a batch.

A config is edited so that the model made from it, called without a `training`
argument, runs its BN layers (and only them) in training mode; called with
`training=False` it is the plain network.
"""

import functools
import math

import keras

from eagleeye_tf.pruning import network


class Observed:
    """Mixed into a BN class: notes mean, variance and size of each call.

    With momentum 0 the moving statistics are the batch's own right after a
    call; a layer that is called several times overwrites them each time.

    Attributes:
        observed: list of (mean, variance, values per channel) tensors, one
            for each call in training mode since it was last emptied.
    """

    observed = ()

    def call(self, inputs, training=None, mask=None):
        outputs = super().call(inputs, training=training, mask=mask)
        if training:
            extents = list(keras.ops.shape(inputs))
            del extents[self.axis]
            count = math.prod(extents)
            self.observed = [
                *self.observed,
                (
                    keras.ops.convert_to_tensor(self.moving_mean) + 0,
                    keras.ops.convert_to_tensor(self.moving_variance) + 0,
                    count,
                ),
            ]
        return outputs


@functools.cache
def observed_class(batch_norm_class):
    """The subclass of a BN class that is `Observed`."""
    name = f"Observed{batch_norm_class.__name__}"
    return type(name, (Observed, batch_norm_class), {})


def open_sequentials(config, functional):
    """Makes nested Sequential models functional: their calls take kwargs.

    Args:
        config: config of `functional`; changed.
        functional: the live model.
    """
    layers = {layer.name: layer for layer in functional.layers}
    opened = {
        name
        for name, layer in layers.items()
        if isinstance(layer, keras.Sequential)
    }
    network.renumber_calls(config, opened, 1)
    for entry in config["layers"]:
        layer = layers.get(entry["name"])
        if not network.is_functional(layer):
            continue
        nested = network.as_functional(layer)
        if isinstance(layer, keras.Sequential):
            entry.update(keras.saving.serialize_keras_object(nested))
        entry["config"] = network.config_of(nested)
        open_sequentials(entry["config"], nested)


def use_batch_statistics(config, functional):
    """Edits the config of a functional model; see the module.

    Args:
        config: config of `functional`, its Sequential models opened; changed.
        functional: the live model.
    """
    layers = {layer.name: layer for layer in functional.layers}
    for entry in config["layers"]:
        layer = layers.get(entry["name"])
        if network.is_functional(layer):
            use_batch_statistics(entry["config"], network.as_functional(layer))
            for node in entry["inbound_nodes"]:
                # It would win over what the model is called with.
                node["kwargs"].pop("training", None)
            continue
        is_batch_norm = isinstance(layer, keras.layers.BatchNormalization)
        if is_batch_norm:
            _observe(entry, type(layer))
        if layer is not None and network.takes_training(layer):
            for node in entry["inbound_nodes"]:
                node["kwargs"]["training"] = is_batch_norm


def own_classes(model):
    """`{name: class}` that the edited config of `model` needs."""
    return {
        observed_class(type(layer)).__name__: observed_class(type(layer))
        for _, layer in network.all_layers(model)
        if isinstance(layer, keras.layers.BatchNormalization)
    }


def _observe(entry, batch_norm_class):
    name = observed_class(batch_norm_class).__name__
    entry.update(class_name=name, registered_name=name, module=None)
    entry["config"].update(momentum=0.0, trainable=True)
    # Replicas are merged afterwards, by what each of them holds.
    for option in ("renorm", "synchronized"):
        if option in entry["config"]:
            entry["config"][option] = False
