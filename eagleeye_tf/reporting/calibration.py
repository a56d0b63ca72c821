"""The calibration study: scores and statistics against calibration images."""

import dataclasses
import statistics

import numpy as np

from eagleeye_tf.reporting import correlation
from eagleeye_tf.reporting import tables


@dataclasses.dataclass(frozen=True)
class Calibrated:
    """One candidate, with statistics of more and more images.

    Attributes:
        index: of the candidate.
        images: numbers of calibration images, ascending.
        correct: for each, correct answers of the sub-validation set.
        total: sub-validation images.
    """

    index: int
    images: list
    correct: list
    total: int


@dataclasses.dataclass(frozen=True)
class Point:
    """All candidates at one number of calibration images.

    Attributes:
        images: that number.
        mean: of their scores.
        best: the highest of them.
        kendall: agreement of their order with that at the largest number;
            None for fewer than two candidates.
        spearman: likewise.
    """

    images: int
    mean: float
    best: float
    kendall: float | None
    spearman: float | None


@dataclasses.dataclass(frozen=True)
class Distance:
    """How far statistics of a BN layer are from those of other images.

    Means: the length of the difference, as a share of that of the standard
    deviations; variances: as a share of that of the variances.

    Attributes:
        layer: path of the layer.
        inherited_mean: of the statistics that the cut layer inherits.
        inherited_variance: likewise.
        adapted_mean: of those of the calibration set.
        adapted_variance: likewise.
    """

    layer: str
    inherited_mean: float
    inherited_variance: float
    adapted_mean: float
    adapted_variance: float

    @classmethod
    def of(cls, layer, expected, inherited, adapted):
        """Measures it; each argument is (means, variances), by channel."""
        mean, variance = expected
        values = {}
        for name, (m, v) in (("inherited", inherited), ("adapted", adapted)):
            spread = np.linalg.norm(np.sqrt(variance))
            values[f"{name}_mean"] = _share(np.linalg.norm(m - mean), spread)
            values[f"{name}_variance"] = _share(
                np.linalg.norm(v - variance), np.linalg.norm(variance)
            )
        return cls(layer, **values)


def _share(part, whole):
    return float(part / max(whole, np.finfo(float).tiny))


def curve(records):
    """List of `Point` for a sequence of `Calibrated` with the same images."""
    last = [record.correct[-1] for record in records]
    points = []
    for place, images in enumerate(records[0].images):
        correct = [record.correct[place] for record in records]
        scores = [
            c / record.total for c, record in zip(correct, records, strict=True)
        ]
        several = len(records) > 1
        points.append(
            Point(
                images=images,
                mean=statistics.fmean(scores),
                best=max(scores),
                kendall=correlation.kendall(correct, last) if several else None,
                spearman=(
                    correlation.spearman(correct, last) if several else None
                ),
            )
        )
    return points


def table(points):
    """`tables.Table` of a curve."""
    return tables.Table(
        ("calibration images", "mean score", "best", "Kendall τ", "Spearman"),
        [
            (
                f"{point.images:,}",
                f"{point.mean:.2%}",
                f"{point.best:.2%}",
                _shown(point.kendall),
                _shown(point.spearman),
            )
            for point in points
        ],
    )


def _shown(value):
    return "–" if value is None else f"{value:.3f}"
