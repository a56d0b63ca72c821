"""Rules of operations that pad, part, stack or pick channels."""

import numpy as np
import tensorflow as tf

from eagleeye_tf.pruning import rule_base
from eagleeye_tf.pruning.labels import Channels
from eagleeye_tf.pruning.rule_base import Rule
from eagleeye_tf.pruning.rule_base import Trace


class Pad(Rule):
    """`keras.ops.pad`: zeros beside the channels get labels of their own.

    This is the parameter-free shortcut of CIFAR ResNets: each padded zero is
    tied by the following Add to the channel it is added to, and goes with it.
    """

    def trace(self, call, inputs, labels):
        (x,) = inputs
        pairs = call.config["pad_width"]
        if (
            not isinstance(pairs, (list, tuple))
            or len(pairs) != len(x.shape)
            or any(np.size(pair) != 2 for pair in pairs)
        ):
            reason = "pads in a way that is not told axis by axis"
            return rule_base.frozen_trace(call, inputs, labels, reason)
        if not any(pairs[x.axis]):
            return super().trace(call, inputs, labels)
        constant = call.kwargs.get("constant_values")
        zeros = call.config["mode"] == "constant" and not constant
        if not zeros:
            reason = "pads the channels with other values than zeros"
            return rule_base.frozen_trace(call, inputs, labels, reason)
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


class Stack(Rule):
    """`keras.ops.stack`: along a new axis, so the channels are tied."""

    many_inputs = True

    def trace(self, call, inputs, labels):
        shape = call.output_shapes[0]
        new = call.config["axis"] % len(shape)
        axis = inputs[0].axis
        if new == 0 or any(x.axis != axis for x in inputs):
            reason = "stacks batches, or channels of different axes"
            return rule_base.frozen_trace(call, inputs, labels, reason)
        for x in inputs[1:]:
            labels.tie(inputs[0].labels, x.labels)
        out = Channels(inputs[0].labels, axis + (new <= axis), shape)
        return Trace((out,))


class GetItem(Rule):
    """`x[…]`: slices in space, new axes, and stretches of the channels."""

    def trace(self, call, inputs, labels):
        (x,) = inputs
        key = (*call.args[1:], *call.kwargs.values())
        place = _place_in_key(key[0], x) if call.args else None
        if place is None or (call.kwargs and place[0] is not None):
            reason = "picks channels one by one"
            return rule_base.frozen_trace(call, inputs, labels, reason)
        index, axis, stretch = place
        start, stop, step = stretch.indices(len(x.labels))
        leaving = x.labels[start:stop]
        if step != 1 or not len(leaving):
            reason = "picks channels one by one"
            return rule_base.frozen_trace(call, inputs, labels, reason)
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
