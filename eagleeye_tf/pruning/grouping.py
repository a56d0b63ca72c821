"""Classes of labels -> groups of channels, and the channels that stay.

A class holds the labels that the network ties to each other: one unit, kept
or removed as a whole.
"""

import collections
import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class ChannelGroup:
    """Channels that can only be removed together, and all cost the same.

    Attributes:
        name: the first layer, in topological order, that produces them.
        size: how many channels there are to choose from.
        layers: names of all layers that produce them.
        units: int array (size,): the class of labels behind each channel.
    """

    name: str
    size: int
    layers: tuple
    units: np.ndarray = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True)
class FrozenChannels:
    """Output channels of one layer that are never removed, and why.

    Attributes:
        layer: path of the layer that produces them.
        channels: how many of its output channels.
        cause: name of what forbids their removal.
        reason: what `cause` does, worded to follow its name.
    """

    layer: str
    channels: int
    cause: str
    reason: str


def frozen_classes(frozen, class_of):
    """`{class: (cause, reason)}`, the reason that was found first.

    Args:
        frozen: iterable of (labels, cause, reason).
        class_of: int array, the class of each label.
    """
    reasons = {}
    for labels, *reason in frozen:
        for index in np.unique(class_of[labels]):
            reasons.setdefault(int(index), tuple(reason))
    return reasons


def find_groups(produced, occurring, reasons):
    """Classes that occur equally often everywhere form one group.

    Any two units of a group then cost the same, so that a ratio means the
    same in all of a group's layers, cost depends on the number of kept units
    alone, and every layer and tensor keeps a channel.

    Args:
        produced: `{path of a layer: classes of its output channels}`, in
            topological order.
        occurring: list of arrays of classes, one for each place where
            channels occur: axes of weights and tensors, what layers produce.
        reasons: see `frozen_classes`.

    Returns:
        Tuple of `ChannelGroup` in topological order.
    """
    signatures = _signatures(occurring)
    members = collections.defaultdict(dict)
    layers = collections.defaultdict(dict)
    for path, classes in produced.items():
        for unit in classes.tolist():
            if unit not in reasons:
                members[signatures[unit]][unit] = None
                layers[signatures[unit]][path] = None
    taken = set()
    groups = []
    for signature, units in members.items():
        first = next(iter(layers[signature]))
        name = _free_name(first, taken, produced)
        taken.add(name)
        groups.append(
            ChannelGroup(
                name=name,
                size=len(units),
                layers=tuple(layers[signature]),
                units=np.fromiter(units, int, len(units)),
            )
        )
    return tuple(groups)


def find_frozen(produced, reasons):
    """Tuple of `FrozenChannels` in topological order; see `find_groups`."""
    frozen = []
    for path, classes in produced.items():
        counts = collections.Counter(
            reasons[unit] for unit in classes.tolist() if unit in reasons
        )
        frozen.extend(
            FrozenChannels(path, channels, *reason)
            for reason, channels in counts.items()
        )
    return tuple(frozen)


def _free_name(first, taken, produced):
    """`first`, or with a number where that is another group or layer."""
    name, count = first, 1
    while name in taken or (count > 1 and name in produced):
        count += 1
        name = f"{first}:{count}"
    return name


def _signatures(occurring):
    """One number per class: equal if they occur equally everywhere.

    All classes start alike; each array of classes parts those that occur in
    it from the others, and by how often they do.
    """
    count = 1 + max((c.max(initial=-1) for c in occurring), default=-1)
    signatures = np.zeros(count, int)
    used = 1
    for classes in occurring:
        units, times = np.unique(classes, return_counts=True)
        if not len(units):
            continue
        keys = signatures[units] * (times.max() + 1) + times
        different, place = np.unique(keys, return_inverse=True)
        signatures[units] = used + place
        used += len(different)
    return signatures.tolist()
