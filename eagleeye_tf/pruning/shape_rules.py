"""Rules of layers and operations that move, fold, split or pad the channels."""

import math

import numpy as np
import tensorflow as tf

from eagleeye_tf.pruning import rule_base
from eagleeye_tf.pruning.labels import Channels
from eagleeye_tf.pruning.rule_base import NoRule
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
        first = call.config["data_format"] == "channels_first"
        if (first and len(x.shape) > 2) or None in x.shape[1:]:
            return NoRule().trace(call, inputs, labels)
        shape = call.output_shapes[0]
        leaving, axis = _reshaped(x, shape)
        return Trace((Channels(leaving, axis, shape),))

    def run(self, cell):
        return tf.reshape(cell.x, [tf.shape(cell.x)[0], -1])


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
        shape = [-1 if n is None else n for n in cell.call.output_shapes[0]]
        shape[0] = tf.shape(cell.x)[0]
        shape[cell.trace.outputs[0].axis] = cell.counts[0]
        return tf.reshape(cell.x, shape)


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
            return NoRule().trace(call, inputs, labels)
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


class Pad(Rule):
    """`keras.ops.pad`: zeros beside the channels get labels of their own.

    This is the parameter-free shortcut of CIFAR ResNets: each padded zero is
    tied by the following Add to the channel it is added to, and goes with it.
    """

    def trace(self, call, inputs, labels):
        (x,) = inputs
        pairs = call.config["pad_width"]
        constant = call.kwargs.get("constant_values")
        if (
            not isinstance(pairs, (list, tuple))
            or len(pairs) != len(x.shape)
            or any(np.size(pair) != 2 for pair in pairs)
            or call.config["mode"] != "constant"
            or constant not in (None, 0, 0.0)
        ):
            return NoRule().trace(call, inputs, labels)
        before, after = (labels.new(size) for size in pairs[x.axis])
        leaving = np.concatenate([before, x.labels, after])
        out = Channels(leaving, x.axis, call.output_shapes[0])
        return Trace((out,), {}, (before, after))

    def resize(self, config, trace, kept):
        if not trace.widths:
            return config
        pairs = [list(pair) for pair in config["pad_width"]]
        pairs[trace.outputs[0].axis] = [
            int(kept(labels).sum()) for labels in trace.widths
        ]
        return {**config, "pad_width": pairs}

    def run(self, cell):
        if not cell.counts:
            return cell.live()
        pairs = [list(pair) for pair in cell.call.config["pad_width"]]
        pairs[cell.trace.outputs[0].axis] = cell.counts
        return tf.pad(cell.x, pairs)


class Split(Rule):
    """`keras.ops.split`: between channels, or along another axis."""

    def trace(self, call, inputs, labels):
        (x,) = inputs
        axis = call.config["axis"] % len(x.shape)
        sections = call.config["indices_or_sections"]
        if axis == x.axis:
            parts = tuple(np.split(x.labels, sections))
            widths = parts
        else:
            count = np.size(sections) + 1
            count = sections if isinstance(sections, int) else count
            parts, widths = (x.labels,) * count, ()
        outputs = []
        for index, part in enumerate(parts):
            shape = list(x.shape)
            shape[axis] = len(part) if widths else None
            shape = call.output_shapes.get(index, tuple(shape))
            outputs.append(Channels(part, x.axis, shape))
        return Trace(tuple(outputs), {}, widths)

    def resize(self, config, trace, kept):
        if not trace.widths:
            return config
        ends = np.cumsum([kept(labels).sum() for labels in trace.widths])
        return {**config, "indices_or_sections": [int(e) for e in ends[:-1]]}

    def run(self, cell):
        if not cell.counts:
            return cell.live()
        axis = cell.trace.outputs[0].axis
        sizes = tf.stack(cell.counts)
        return tf.split(cell.x, sizes, axis, num=len(cell.counts))


class GetItem(Rule):
    """`x[…]`: slices in space, new axes, and stretches of the channels."""

    def trace(self, call, inputs, labels):
        (x,) = inputs
        place = _place_in_key(call.args[1], x)
        if place is None:
            return NoRule().trace(call, inputs, labels)
        index, axis, stretch = place
        start, stop, step = stretch.indices(len(x.labels))
        leaving = x.labels[start:stop]
        if step != 1 or not len(leaving):
            return NoRule().trace(call, inputs, labels)
        out = Channels(leaving, axis, call.output_shapes[0])
        whole = len(leaving) == len(x.labels)
        widths = () if whole else (x.labels[:start], leaving)
        return Trace((out,), {}, widths, index)

    def resize_args(self, args, trace, kept):
        if not trace.widths:
            return args
        before, leaving = (int(kept(labels).sum()) for labels in trace.widths)
        key = _as_list(args[1])
        key[trace.place] = {
            "class_name": "__slice__",
            "config": {"start": before, "stop": before + leaving, "step": None},
        }
        return [args[0], key if len(key) > 1 else key[0], *args[2:]]

    def run(self, cell):
        if not cell.counts:
            return cell.live()
        start, size = cell.counts
        key = _as_list(cell.args[1])
        key[cell.trace.place] = slice(start, start + size)
        return cell.x[tuple(key)]


def _as_list(key):
    return list(key) if isinstance(key, (list, tuple)) else [key]


def _place_in_key(key, x):
    """Where an index key holds the channel axis.

    Returns:
        (index in the key or None, output axis, slice of the channels), or
        None if the key takes the channels in no such way.
    """
    entries = _as_list(key)
    kinds = [_kind(entry) for entry in entries]
    if "other" in kinds or kinds.count("...") > 1:
        return None
    if "..." not in kinds:
        kinds.append("...")
    rest = len(x.shape) - kinds.count("slice") - kinds.count("int")
    old = new = 0
    for index, kind in enumerate(kinds):
        width = {"...": rest, "new": 0}.get(kind, 1)
        if old <= x.axis < old + width:
            axis = new + x.axis - old
            if kind == "...":
                return None, axis, slice(None)
            if kind == "slice":
                bounds = entries[index]["config"]
                parts = (bounds[end] for end in ("start", "stop", "step"))
                return index, axis, slice(*parts)
            return None
        if kind == "int" and old == 0:
            return None
        old += width
        new += {"...": rest, "int": 0}.get(kind, 1)
    return None


def _kind(entry):
    if entry is None:
        return "new"
    if isinstance(entry, int):
        return "int"
    name = entry.get("class_name") if isinstance(entry, dict) else None
    bounds = entry.get("config", {}).values() if name == "__slice__" else ()
    if name == "__slice__" and not any(isinstance(b, dict) for b in bounds):
        return "slice"
    return "..." if name == "__ellipsis__" else "other"


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
