"""Figures, drawn with Matplotlib straight into files."""

from matplotlib import figure
from matplotlib import ticker

from eagleeye_tf import files
from eagleeye_tf.reporting import correlation as statistics
from eagleeye_tf.reporting import study as study_lib

# Inches. A report shows figures as wide as its page, so all have the same
# width: their letters then have the same size, legible on a phone.
_WIDTH = 7

# The narrowest histogram: one percentage point.
_NARROWEST = 0.01


def sensitivity(stem, names, ratios, scores, full_score):
    """Draws the score of a network with one group cut alone.

    Args:
        stem: path without suffix; writes a `.png` and a `.svg` file.
        names: names of the groups, in topological order.
        ratios: the ratios that were tried.
        scores: for each group, a list of its scores in [0, 1].
        full_score: score of the whole network.
    """
    places = range(len(names))
    drawing = figure.Figure(
        figsize=(max(6, 1.5 + 0.28 * len(names)), 5), layout="constrained"
    )
    axes = drawing.add_subplot()
    axes.axhline(full_score, color="0.5", linestyle="--", label="whole network")
    for place, ratio in enumerate(ratios):
        axes.plot(
            places,
            [row[place] for row in scores],
            **_line(place),
            label=f"ratio {ratio:g}",
        )
    axes.set_xticks(places, names, rotation=90, fontsize=8)
    axes.set_ylabel("adaptive-BN score")
    axes.set_xlabel("channel group that is cut alone")
    axes.yaxis.set_major_formatter(_percent)
    axes.grid(axis="y", alpha=0.3)
    drawing.legend(loc="outside upper center", ncols=5, fontsize=8)
    _write(drawing, stem)


def correlation(stem, study):
    """Draws accuracy after fine-tuning against each way of scoring.

    Args:
        stem: path without suffix; writes a `.png` and a `.svg` file.
        study: a `study.Study`.
    """
    rows = -(-len(study.ways) // 2)
    drawing = figure.Figure(figsize=(_WIDTH, 3 * rows), layout="constrained")
    drawing.get_layout_engine().set(h_pad=0.12)  # Inches.
    grid = drawing.subplots(rows, 2, sharey=True, squeeze=False)
    for axes, (way, scores) in zip(grid.flat, study.ways.items(), strict=False):
        axes.scatter(scores, study.accuracies, s=18, color="0.2", alpha=0.7)
        agreement = statistics.kendall(scores, study.accuracies)
        axes.xaxis.set_major_locator(ticker.MaxNLocator(5))
        axes.set_title(f"{way}: Kendall τ {agreement:.2f}", fontsize=10)
        axes.set_xlabel(study_lib.LABELS[way])
        if way in study_lib.COUNTS:
            axes.xaxis.set_major_formatter(lambda x, _: f"{x / 1e6:g}")
        else:
            axes.xaxis.set_major_formatter(_percent)
        axes.yaxis.set_major_formatter(_percent)
        axes.grid(alpha=0.3)
    for axes in grid[:, 0]:
        axes.set_ylabel("test accuracy, fine-tuned")
    for axes in list(grid.flat)[len(study.ways) :]:
        axes.set_axis_off()
    _write(drawing, stem)


def histograms(stem, study):
    """Draws how scores before fine-tuning and accuracies after it are spread.

    Args:
        stem: path without suffix; writes a `.png` and a `.svg` file.
        study: a `study.Study`.
    """
    parts = {
        study_lib.LABELS[way]: study.ways[way]
        for way in ("vanilla", "adaptive BN", "after one epoch")
    }
    parts["test accuracy, fine-tuned"] = study.accuracies
    drawing = figure.Figure(figsize=(_WIDTH, 5), layout="constrained")
    grid = drawing.subplots(2, 2, sharey=True)
    for axes, (label, values) in zip(grid.flat, parts.items(), strict=True):
        ends = _ends(values)
        axes.hist(values, bins=13, range=ends, color="0.45", edgecolor="white")
        axes.set_xlabel(label)
        axes.xaxis.set_major_locator(ticker.MaxNLocator(5))
        axes.xaxis.set_major_formatter(_percent)
        axes.yaxis.set_major_locator(ticker.MaxNLocator(integer=True))
    for axes in grid[:, 0]:
        axes.set_ylabel("candidates")
    _write(drawing, stem)


def _ends(values):
    """Where a histogram of shares begins and ends."""
    low, high = min(values), max(values)
    rest = max(_NARROWEST - (high - low), 0) / 2
    return low - rest, high + rest


def calibration(stem, points):
    """Draws scores, and how steady their order is, against images.

    Args:
        stem: path without suffix; writes a `.png` and a `.svg` file.
        points: list of `calibration.Point`.
    """
    images = [point.images for point in points]
    drawing = figure.Figure(figsize=(_WIDTH, 3.6), layout="constrained")
    left, right = drawing.subplots(1, 2)
    _curves(left, points, {"best": "best", "mean": "mean"})
    left.set_ylabel("adaptive-BN score")
    left.yaxis.set_major_formatter(_percent)
    if points[-1].kendall is not None:
        _curves(right, points, {"spearman": "Spearman", "kendall": "Kendall τ"})
    right.set_ylabel(f"agreement with {images[-1]:,} images")
    for axes in (left, right):
        ticks = _apart(images)
        axes.set_xscale("log", base=2)
        axes.set_xticks(ticks, [f"{number:,}" for number in ticks])
        axes.tick_params(axis="x", rotation=90)
        axes.minorticks_off()
        axes.set_xlabel("calibration images")
        axes.grid(alpha=0.3)
    _write(drawing, stem)


def _curves(axes, points, names):
    """Draws attributes of points, `{attribute: label}`, against images."""
    images = [point.images for point in points]
    for (name, label), style in zip(names.items(), ("-o", "--s"), strict=True):
        values = [getattr(point, name) for point in points]
        axes.plot(images, values, style, color="0.2", markersize=4, label=label)
    axes.legend()


def _apart(numbers):
    """Ascending numbers without those whose labels would touch the last's."""
    last = numbers[-1]
    return [*(n for n in numbers[:-1] if last > 1.2 * n), last]


def distances(stem, layers):
    """Draws how far BN statistics are from those of other images, by layer.

    Args:
        stem: path without suffix; writes a `.png` and a `.svg` file.
        layers: list of `calibration.Distance`.
    """
    drawing = figure.Figure(figsize=(_WIDTH, 3.6), layout="constrained")
    grid = drawing.subplots(1, 2)
    places = range(1, len(layers) + 1)
    for axes, what in zip(grid, ("mean", "variance"), strict=True):
        for kind, style in (("inherited", "-o"), ("adapted", "--s")):
            values = [getattr(layer, f"{kind}_{what}") for layer in layers]
            axes.plot(
                places, values, style, color="0.2", markersize=3, label=kind
            )
        axes.set_yscale("log")
        axes.set_xlabel("BatchNormalization layer")
        axes.set_ylabel(
            f"relative distance of {what}s\nto those of sub-validation"
        )
        axes.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
    drawing.legend(
        *grid[0].get_legend_handles_labels(),
        loc="outside upper center",
        ncols=2,
        fontsize=8,
    )
    _write(drawing, stem)


def candidates(stem, ranked, full_macs, has_batch_norm=True):
    """Draws scores of a search's candidates against what they cost.

    Args:
        stem: path without suffix; writes a `.png` and a `.svg` file.
        ranked: list of `Candidate`, the winner first.
        full_macs: MACs of the whole network.
        has_batch_norm: whether there was anything to adapt.
    """
    parts = {
        "left behind in the race, on fewer images": [
            c for c in ranked if not c.finalist
        ],
        "scored on all images": [c for c in ranked if c.finalist],
        "winner": ranked[:1],
    }
    looks = [
        {"marker": "o", "s": 14, "color": "0.7"},
        {"marker": "o", "s": 22, "color": "0.25"},
        {"marker": "*", "s": 160, "color": "black"},
    ]
    drawing = figure.Figure(figsize=(_WIDTH, 4), layout="constrained")
    axes = drawing.subplots()
    for (label, part), look in zip(parts.items(), looks, strict=True):
        if part:
            shares = [c.macs / full_macs for c in part]
            scores = [c.known_score for c in part]
            axes.scatter(shares, scores, label=label, zorder=2, **look)
    axes.set_xlabel("MACs left")
    kind = "adaptive-BN" if has_batch_norm else "vanilla"
    axes.set_ylabel(f"{kind} score")
    axes.xaxis.set_major_formatter(_percent)
    axes.yaxis.set_major_formatter(_percent)
    axes.grid(alpha=0.3)
    drawing.legend(loc="outside upper center", ncols=3, fontsize=8)
    _write(drawing, stem)


def epochs(stem, winners):
    """Draws accuracy after each epoch of fine-tuning.

    Args:
        stem: path without suffix; writes a `.png` and a `.svg` file.
        winners: `{name: accuracies}`.
    """
    drawing = figure.Figure(figsize=(_WIDTH, 3.6), layout="constrained")
    axes = drawing.subplots()
    for number, (name, values) in enumerate(winners.items()):
        axes.plot(
            range(1, len(values) + 1),
            values,
            **_line(number),
            label=name,
        )
    axes.set_xlabel("epoch")
    axes.set_ylabel("sub-validation accuracy")
    axes.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter(_percent)
    axes.grid(alpha=0.3)
    axes.legend()
    _write(drawing, stem)


def kept(stem, names, sizes, channels):
    """Draws how many channels of each group are left.

    Args:
        stem: path without suffix; writes a `.png` and a `.svg` file.
        names: names of the groups, in topological order.
        sizes: channels of each in the whole network.
        channels: channels of each that are left.
    """
    places = range(len(names))
    drawing = figure.Figure(
        figsize=(_WIDTH, 1.3 + 0.22 * len(names)), layout="constrained"
    )
    axes = drawing.subplots()
    axes.barh(places, sizes, color="0.85", label="whole network")
    axes.barh(places, channels, color="0.35", label="kept")
    axes.set_yticks(places, names, fontsize=8)
    axes.set_ylim(len(names) - 0.5, -0.5)  # The first group on top.
    axes.set_ylabel("channel group")
    axes.set_xlabel("channels")
    drawing.legend(loc="outside upper center", ncols=2, fontsize=8)
    _write(drawing, stem)


def _line(number):
    """The look of one line of several, to be told apart in grey."""
    return {
        "color": "0.2",
        "linestyle": ("-", "--", ":", "-.")[number % 4],
        "marker": "os^vD"[number % 5],
        "markersize": 4,
    }


def _percent(value, _):
    """Labels of an axis whose values are shares."""
    return f"{100 * value:.4g} %"


def _write(drawing, stem):
    for suffix in (".png", ".svg"):
        with files.replacing(f"{stem}{suffix}") as temporary:
            drawing.savefig(temporary, dpi=120)
