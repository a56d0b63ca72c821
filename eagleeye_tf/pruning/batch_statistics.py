"""Models whose BatchNormalization layers tell the statistics of a batch.

A config is edited so that the BN layers of the model made from it, and only
they, can be told to run in training mode. Who says so is `observing`, not the
`training` argument: layers hand that on to whatever Keras calls after them,
nested models included, and those to each of their layers.
"""

import contextlib
import functools
import inspect
import math

import keras

from eagleeye_tf.pruning import network


class Observed:
    """Mixed into a BN class: notes mean, variance and size of each call.

    With momentum 0 the moving statistics are the batch's own right after a
    call; a layer that is called several times overwrites them each time.

    Attributes:
        observing: whether calls run in training mode, and are noted.
        observed: list of (mean, variance, values per channel) tensors, one
            for each call that was noted since it was last emptied.
    """

    observing = False
    observed = ()

    def call(self, inputs, training=None, mask=None):
        takes_mask = "mask" in inspect.signature(super().call).parameters
        masks = {"mask": mask} if takes_mask else {}
        if not self.observing:
            return super().call(inputs, training=training, **masks)
        outputs = super().call(inputs, training=True, **masks)
        extents = list(keras.ops.shape(inputs))
        del extents[self.axis]
        count = math.prod(extents)
        if takes_mask and mask is not None:  # Keras leaves out what it hides.
            shown = keras.ops.count_nonzero(mask)
            count = count * shown // math.prod(keras.ops.shape(mask))
        self.observed = [
            *self.observed,
            (
                keras.ops.convert_to_tensor(self.moving_mean) + 0,
                keras.ops.convert_to_tensor(self.moving_variance) + 0,
                count,
            ),
        ]
        return outputs


@contextlib.contextmanager
def observing(layers):
    """Lets layers that are `Observed` note their calls, from none on.

    A call of their model in here says `training=False`, for all others.
    """
    for layer in layers:
        layer.observed, layer.observing = [], True
    try:
        yield
    finally:
        for layer in layers:
            layer.observing = False


@functools.cache
def observed_class(batch_norm_class):
    """The subclass of a BN class that is `Observed`."""
    name = f"Observed{batch_norm_class.__name__}"
    return type(name, (Observed, batch_norm_class), {})


def use_batch_statistics(config, model):
    """Edits the config of a functional or Sequential model; see the module.

    Args:
        config: config of `model`; changed.
        model: the live model.
    """
    layers = {layer.name: layer for layer in model.layers}
    for entry in config["layers"]:
        layer = layers.get(network.entry_name(entry))
        if network.is_functional(layer):
            use_batch_statistics(entry["config"], layer)
        elif isinstance(layer, keras.layers.BatchNormalization):
            _observe(entry, type(layer))


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


def tell_of_each_batch(model):
    """Lets the statistics of BN layers be those of one batch.

    Said to the layers and not to their config, in which a class of the
    user's own may leave out what it sets itself.

    Args:
        model: made from a config that was edited.
    """
    for _, layer in network.all_layers(model):
        if isinstance(layer, Observed):
            layer.momentum, layer.trainable = 0.0, True
            # Replicas are merged afterwards, by what each of them holds.
            layer.renorm = layer.synchronized = False
