"""Rules of layers and operations that move, fold or split the channels."""

import math

import numpy as np
import tensorflow as tf

from eagleeye_tf.pruning import rule_base
from eagleeye_tf.pruning.labels import Channels
from eagleeye_tf.pruning.rule_base import Rule
from eagleeye_tf.pruning.rule_base import Trace


class GlobalPooling(Rule):
    """Only the channel axis is left, or it stays where it was (keepdims)."""

    def trace(self, call, inputs, labels):
        (x,) = inputs
        axis = rule_base.data_axis(call.config, x)
        entering = rule_base.along(x, axis, call, labels)
        out_axis = axis if call.config["keepdims"] else 1
        return Trace((Channels(entering, out_axis, call.output_shapes[0]),))


class Reduction(Rule):
    """`keras.ops.mean`, `max`, …: along other axes than the channels'."""

    def trace(self, call, inputs, labels):
        (x,) = inputs
        axes = rule_base.axes_of(call.config, x)
        if x.axis in axes or 0 in axes:
            reason = "mixes the channels"
            return rule_base.frozen_trace(call, inputs, labels, reason)
        axis = x.axis
        if not call.config.get("keepdims"):
            axis -= sum(a < x.axis for a in axes)
        return Trace((Channels(x.labels, axis, call.output_shapes[0]),))


class Flatten(Rule):
    """Each channel is repeated once per position in space."""

    def trace(self, call, inputs, labels):
        (x,) = inputs
        if _channels_move(call, x):
            order = [0, *range(2, len(x.shape)), 1]
            moved = tuple(x.shape[axis] for axis in order)
            x = Channels(x.labels, order.index(x.axis), moved)
        shape = call.output_shapes[0]
        found = _reshaped(x, shape) if len(x.shape) > 1 else None
        if found is None:
            reason = "flattens a tensor of unknown size"
            return rule_base.frozen_trace(call, inputs, labels, reason)
        leaving, axis = found
        return Trace((Channels(leaving, axis, shape),))

    def run(self, cell):
        x = cell.x
        if _channels_move(cell.call, x):
            x = tf.transpose(x, [0, *range(2, len(x.shape)), 1])
        return tf.reshape(x, [tf.shape(x)[0], -1])


def _channels_move(call, x):
    """Whether `Flatten` moves axis 1 to the end before it flattens."""
    first = call.config["data_format"] == "channels_first"
    return first and len(x.shape) > 2


class Reshape(Rule):
    """Keeps the channels, folds axes into them, or splits them evenly.

    Splitting (…, g · n) into (…, g, n) ties the g parts to each other: they
    lose the same positions, as the groups of a grouped convolution do.
    """

    target_key, first_axis = "target_shape", 1

    def trace(self, call, inputs, labels):
        (x,) = inputs
        shape = call.output_shapes[0]
        found = _reshaped(x, shape) or _split(x, shape, labels)
        if found is None:
            reason = "splits or mixes the channels"
            return rule_base.frozen_trace(call, inputs, labels, reason)
        leaving, axis = found
        return Trace((Channels(leaving, axis, shape),), {}, (leaving,))

    def resize(self, config, trace, kept):
        if not trace.widths:
            return config
        target = list(config[self.target_key])
        place = trace.outputs[0].axis - self.first_axis
        if target[place] != -1:
            target[place] = int(kept(trace.widths[0]).sum())
        return {**config, self.target_key: target}

    def run(self, cell):
        if not cell.counts:
            return cell.live()
        target = list(cell.call.config[self.target_key])
        place = cell.trace.outputs[0].axis - self.first_axis
        if target[place] != -1:
            target[place] = cell.counts[0]
        batch = [tf.shape(cell.x)[0]] * self.first_axis
        return tf.reshape(cell.x, [*batch, *target])


class ReshapeOperation(Reshape):
    """`keras.ops.reshape`, whose target includes the batch."""

    target_key, first_axis = "newshape", 0


class MovedAxes(Rule):
    """Carries the channel axis to its new place.

    Args:
        order: function of (config, rank) to the input axis of each output
            axis; None for a new axis of extent 1.
    """

    def __init__(self, order):
        self._order = order

    def trace(self, call, inputs, labels):
        (x,) = inputs
        order = self._order(call.config, len(x.shape))
        if order[0] != 0 or x.axis not in order:
            reason = "moves the batch or drops the channel axis"
            return rule_base.frozen_trace(call, inputs, labels, reason)
        axis = order.index(x.axis)
        return Trace((Channels(x.labels, axis, call.output_shapes[0]),))


def permuted(config, rank):
    """Order of axes after a `Permute` layer."""
    return [0, *config["dims"]]


def transposed(config, rank):
    """Order of axes after `keras.ops.transpose`."""
    axes = config["axes"] or range(rank)[::-1]
    return [axis % rank for axis in axes]


def swapped(config, rank):
    """Order of axes after `keras.ops.swapaxes`."""
    order = list(range(rank))
    a, b = config["axis1"], config["axis2"]
    order[a], order[b] = order[b], order[a]
    return order


def moved(config, rank):
    """Order of axes after `keras.ops.moveaxis`."""
    sources = np.atleast_1d(config["source"]) % rank
    places = np.atleast_1d(config["destination"]) % rank
    order = [axis for axis in range(rank) if axis not in sources]
    for place, source in sorted(zip(places, sources, strict=True)):
        order.insert(int(place), int(source))
    return order


def expanded(config, rank):
    """Order of axes after `keras.ops.expand_dims`."""
    axes = config["axis"]
    axes = axes if isinstance(axes, (list, tuple)) else [axes]
    new = {axis % (rank + len(axes)) for axis in axes}
    old = iter(range(rank))
    return [
        None if place in new else next(old) for place in range(rank + len(new))
    ]


def squeezed(config, rank):
    """Order of axes after `keras.ops.squeeze`."""
    axes = config["axis"]
    if axes is None:
        return [None]  # Whatever has extent 1 once all sizes are known.
    axes = axes if isinstance(axes, (list, tuple)) else [axes]
    gone = {axis % rank for axis in axes}
    return [axis for axis in range(rank) if axis not in gone]


def repeated_vector(config, rank):
    """Order of axes after a `RepeatVector` layer."""
    return [0, None, 1]


def _reshaped(x, shape):
    """(labels, axis) of `x` after a reshape that splits no channels, or None.

    Axes beside the channels may be regrouped, and folded into the channels;
    a target that keeps the channels as they are is preferred.
    """
    last = len(shape) - 1
    if None in x.shape[1:] or None in shape[1:]:
        keeps = x.axis == len(x.shape) - 1 and shape[last] == len(x.labels)
        return (x.labels, last) if keeps else None
    outer = math.prod(x.shape[1 : x.axis])
    inner = math.prod(x.shape[x.axis + 1 :])
    found = []
    for axis in range(1, len(shape)):
        tiles, rest = divmod(outer, math.prod(shape[1:axis]))
        repeats, rest2 = divmod(inner, math.prod(shape[axis + 1 :]))
        fits = shape[axis] == tiles * repeats * len(x.labels)
        if fits and rest == rest2 == 0:
            found.append((tiles * repeats, -axis, tiles, repeats))
    if not found:
        return None
    _, axis, tiles, repeats = min(found)
    return np.tile(np.repeat(x.labels, repeats), tiles), -axis


def _split(x, shape, labels):
    """(labels, axis) after a split of the last axis into several, or None."""
    axis = x.axis
    if axis != len(x.shape) - 1 or len(shape) <= len(x.shape):
        return None
    if x.shape[1:axis] != shape[1:axis] or None in shape[axis:]:
        return None
    parts = x.labels.reshape(-1, shape[-1])
    for part in parts[1:]:
        labels.tie(parts[0], part)
    return parts[0], len(shape) - 1
