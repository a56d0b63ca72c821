"""The correlation study: scores before fine-tuning, accuracies after it."""

import dataclasses

from eagleeye_tf.reporting import correlation
from eagleeye_tf.reporting import tables

_COEFFICIENTS = {
    "pearson": "Pearson ρ",
    "spearman": "Spearman",
    "kendall": "Kendall τ",
    "phi": "φ",
}


@dataclasses.dataclass(frozen=True)
class FineTuned:
    """What became of a candidate.

    Attributes:
        index: of the candidate.
        epochs: correct sub-validation answers after each epoch.
        total: sub-validation images.
        test_correct: correct test answers in the end.
        test_total: test images.
    """

    index: int
    epochs: list
    total: int
    test_correct: int
    test_total: int


@dataclasses.dataclass(frozen=True)
class Study:
    """Numbers of the candidates, all in the same order.

    Attributes:
        indices: of the candidates.
        ways: `{way of scoring: scores}`.
        accuracies: of the test set after fine-tuning, in [0, 1].
        last: sub-validation accuracies after the last two epochs, as two
            lists; None after a single one.
    """

    indices: list
    ways: dict
    accuracies: list
    last: tuple | None

    @classmethod
    def of(cls, candidates, tuned):
        """Puts the records together.

        Args:
            candidates: `{index: (Candidate on the first rung of a race, the
                same with all images)}`.
            tuned: `{index: FineTuned}` of all of them.
        """
        indices = sorted(candidates)
        pairs = [candidates[index] for index in indices]
        ends = [tuned[index] for index in indices]
        ways = {
            "vanilla": [full.vanilla_score for _, full in pairs],
            "adaptive BN": [full.score for _, full in pairs],
            "first rung": [first.interim_score for first, _ in pairs],
            "after one epoch": [end.epochs[0] / end.total for end in ends],
            "parameters": [full.params for _, full in pairs],
            "MACs": [full.macs for _, full in pairs],
        }
        last = None
        if all(len(end.epochs) > 1 for end in ends):
            last = tuple(
                [end.epochs[epoch] / end.total for end in ends]
                for epoch in (-2, -1)
            )
        return cls(
            indices=indices,
            ways=ways,
            accuracies=[end.test_correct / end.test_total for end in ends],
            last=last,
        )

    def coefficients(self, k):
        """`{way: {name: correlation.Coefficient}}`."""
        return {
            way: correlation.coefficients(scores, self.accuracies, k)
            for way, scores in self.ways.items()
        }


def to_json(study, k):
    """What a study comes to.

    Args:
        study: a `Study`.
        k: of phi(k).
    """
    return {
        "candidates": len(study.indices),
        "phi_k": k,
        "accuracies": [min(study.accuracies), max(study.accuracies)],
        "coefficients": {
            way: {
                name: dataclasses.asdict(coefficient)
                for name, coefficient in found.items()
            }
            for way, found in study.coefficients(k).items()
        },
        # Would more fine-tuning still change the ranking?
        "kendall_of_last_two_epochs": (
            correlation.kendall(*study.last) if study.last else None
        ),
    }


def table(found):
    """`tables.Table` of the coefficients that `to_json` gave."""
    rows = [
        (way, *(_shown(values[name]) for name in _COEFFICIENTS))
        for way, values in found["coefficients"].items()
    ]
    titles = [
        f"{title}({found['phi_k']})" if name == "phi" else title
        for name, title in _COEFFICIENTS.items()
    ]
    return tables.Table(("score", *titles), rows)


def in_words(found):
    """What one needs to know to read the table."""
    low, high = found["accuracies"]
    text = (
        f"{found['candidates']} candidates; test accuracy after fine-tuning "
        f"from {low:.2%} to {high:.2%}; in brackets 95 % bootstrap intervals."
    )
    steadiness = found["kendall_of_last_two_epochs"]
    if steadiness is not None:
        text += (
            " Kendall τ of the sub-validation accuracies after the last two "
            f"epochs: {steadiness:.2f}."
        )
    return text


def _shown(coefficient):
    return (
        f"{coefficient['value']:.2f} [{coefficient['low']:.2f}, "
        f"{coefficient['high']:.2f}]"
    )
