"""How much of each channel group a search may cut."""

import fnmatch

import numpy as np

from eagleeye_tf import errors


def of_ratios(groups, settings):
    """Range of the pruning ratios of each group.

    Args:
        groups: sequence of `ChannelGroup`.
        settings: has `min_ratio`, `max_ratio` and `exclude`.

    Returns:
        (least, most), float arrays (groups,): 0 for groups that are excluded.
    """
    cut = ~excluded(groups, settings)
    return settings.min_ratio * cut, settings.max_ratio * cut


def excluded(groups, settings):
    """Which groups stay whole: they, or layers of theirs, are excluded.

    Returns:
        Bool array (groups,).
    """
    return np.array(
        [
            any(_matches(name, settings.exclude) for name in _names(group))
            for group in groups
        ],
        bool,
    )


def check_excluded(graph, settings):
    """Raises InputError for a pattern that no layer's name matches.

    Args:
        graph: a `ChannelGraph`.
        settings: has `exclude`.
    """
    names = [name for group in graph.groups for name in _names(group)]
    names += [entry.layer for entry in graph.frozen]
    for pattern in settings.exclude:
        if not any(_matches(name, [pattern]) for name in names):
            raise errors.InputError(
                "exclude names layers whose channels stay, or patterns of "
                f"such names ('block1_*'). Received: {pattern!r}, which fits "
                f"none of {len(names)}: {', '.join(names[:6])}"
                f"{', …' if names[6:] else ''}."
            )


def _names(group):
    """Its own, and those of its layers, of which one may be the same."""
    return dict.fromkeys((group.name, *group.layers))


def _matches(name, patterns):
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
