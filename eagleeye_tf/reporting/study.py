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
    """All coefficients of a study, and what they are of."""
    return {
        "candidates": len(study.indices),
        "phi_k": k,
        "coefficients": {
            way: {
                name: dataclasses.asdict(coefficient)
                for name, coefficient in found.items()
            }
            for way, found in study.coefficients(k).items()
        },
        "kendall_of_last_two_epochs": _steadiness(study),
    }


def table(study, k):
    """Markdown table of the coefficients, with what one needs to read it.

    Args:
        study: a `Study`.
        k: of phi(k).
    """
    rows = [
        (way, *(_shown(found[name]) for name in _COEFFICIENTS))
        for way, found in study.coefficients(k).items()
    ]
    titles = [
        f"{title}({k})" if name == "phi" else title
        for name, title in _COEFFICIENTS.items()
    ]
    accuracies = study.accuracies
    text = (
        f"{len(accuracies)} candidates; test accuracy after fine-tuning from "
        f"{min(accuracies):.2%} to {max(accuracies):.2%}; in brackets 95 % "
        "bootstrap intervals."
    )
    steadiness = _steadiness(study)
    if steadiness is not None:
        text += (
            " Kendall τ of the sub-validation accuracies after the last two "
            f"epochs: {steadiness:.2f}."
        )
    return f"{tables.table(('score', *titles), rows)}\n\n{text}"


def _steadiness(study):
    """Whether more fine-tuning would still change the ranking."""
    if study.last is None:
        return None
    return correlation.kendall(*study.last)


def _shown(coefficient):
    return (
        f"{coefficient.value:.2f} [{coefficient.low:.2f}, "
        f"{coefficient.high:.2f}]"
    )
