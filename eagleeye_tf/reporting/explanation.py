"""What can be pruned in a network, what cannot, and what budgets it reaches."""

from eagleeye_tf import errors
from eagleeye_tf.pruning.channel_graph import ChannelGraph
from eagleeye_tf.pruning.cost import CostModel
from eagleeye_tf.reporting import tables


def explain(model):
    """Says what of a model can be pruned, and what cannot and why.

    Args:
        model: functional or Sequential `keras.Model`.

    Returns:
        Markdown, to print: the channel groups with their shares of the MACs
        and parameters, and the channels that stay with the reason.

    Raises:
        InputError: if the model does not say how its layers are connected.
    """
    graph = ChannelGraph(model)
    try:
        cost_model = CostModel(graph)
    except errors.InputError:  # The size of images is open.
        cost_model = None
    return channels(graph, cost_model)


def channels(graph, cost_model=None):
    """All channels of a network: those of groups, and those that stay.

    Args:
        graph: a `ChannelGraph`.
        cost_model: its `CostModel`, if it has one.
    """
    parts = [groups(graph, cost_model)]
    if graph.frozen:
        parts.append(frozen(graph))
    if cost_model is not None and cost_model.uncounted:
        parts.append(uncounted(cost_model.uncounted))
    return "\n\n".join(str(part) for part in parts)


def groups(graph, cost_model=None):
    """Markdown table of the channel groups.

    Args:
        graph: a `ChannelGraph`.
        cost_model: its `CostModel`; None if it has none, because the size of
            images is open.
    """
    rows = [(g.name, str(g.size), _layers(g.layers)) for g in graph.groups]
    header = ("group", "channels", "layers")
    if cost_model is None:
        return tables.table(header, rows)
    rows.append(("(frozen)", "", ""))
    for metric, name in (("macs", "MACs"), ("params", "parameters")):
        shares = cost_model.shares()[metric]
        column = (*shares, 1 - shares.sum())
        rows = [(*r, f"{s:.2%}") for r, s in zip(rows, column, strict=True)]
        header = (*header, name)
    return tables.table(header, rows)


def uncounted(names):
    """Says whose MACs are left out of all figures.

    Args:
        names: names of layers.
    """
    return f"Not counted in the MACs, for lack of a rule: {_layers(names, 10)}."


def frozen(graph):
    """Markdown table of the channels that are never removed, and why.

    Args:
        graph: a `ChannelGraph`.
    """
    rows = [
        (entry.layer, str(entry.channels), f"{entry.cause} {entry.reason}")
        for entry in graph.frozen
    ]
    return tables.table(("layer", "channels", "stay, because"), rows)


def reach(ranges, full_cost, settings, excluded=()):
    """Says which costs the ratios of a search can reach.

    Args:
        ranges: `{metric: (low, high)}`.
        full_cost: the `Cost` of the whole network.
        settings: has `min_ratio` and `max_ratio`.
        excluded: names of the groups that stay whole.
    """
    but = f", and {_layers(excluded)} whole," if excluded else ""
    lines = [
        f"With ratios from {settings.min_ratio} to {settings.max_ratio}{but} "
        "it can have"
    ]
    for metric, (low, high) in ranges.items():
        full = getattr(full_cost, metric)
        lines.append(
            f"  {low:,} to {high:,} {metric} "
            f"({low / full:.2%} to {high / full:.2%} of {full:,})"
        )
    return "\n".join(lines)


def sensitivity(names, ratios, scores, full_score):
    """`tables.Table`: score with one group cut alone.

    Args:
        names: names of the groups.
        ratios: the ratios that were tried.
        scores: for each group, a list of its scores.
        full_score: score of the whole network.
    """
    rows = [
        (name, *(f"{score:.2%}" for score in row))
        for name, row in zip(
            ("(none)", *names),
            ([full_score] * len(ratios), *scores),
            strict=True,
        )
    ]
    header = ("cut alone", *(f"ratio {ratio:g}" for ratio in ratios))
    return tables.Table(header, rows)


def _layers(names, limit=3):
    shown = ", ".join(names[:limit])
    more = len(names) - limit
    return f"{shown} and {more} more" if more > 0 else shown
