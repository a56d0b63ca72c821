"""Figures, drawn with Matplotlib straight into files."""

import os

from matplotlib import figure


def sensitivity(path, names, ratios, scores, full_score):
    """Draws the score of a network with one group cut alone.

    Args:
        path: file to write, `.png` or `.svg`.
        names: names of the groups, in topological order.
        ratios: the ratios that were tried.
        scores: `{(name, ratio): score in [0, 1]}`.
        full_score: score of the whole network.
    """
    places = range(len(names))
    drawing = figure.Figure(
        figsize=(max(6, 1.5 + 0.28 * len(names)), 5), layout="constrained"
    )
    axes = drawing.add_subplot()
    axes.axhline(full_score, color="0.5", linestyle="--", label="whole network")
    for ratio in ratios:
        axes.plot(
            places,
            [scores[name, ratio] for name in names],
            marker="o",
            markersize=4,
            label=f"ratio {ratio:g}",
        )
    axes.set_xticks(places, names, rotation=90, fontsize=8)
    axes.set_ylabel("adaptive-BN score")
    axes.set_xlabel("channel group that is cut alone")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.grid(axis="y", alpha=0.3)
    drawing.legend(loc="outside upper center", ncols=5, fontsize=8)
    _write(drawing, path)


def _write(drawing, path):
    """Readers see the old file or the new one."""
    path = os.fspath(path)
    stem, suffix = os.path.splitext(path)
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    temporary = f"{stem}.tmp{suffix}"
    drawing.savefig(temporary, dpi=120)
    os.replace(temporary, path)
