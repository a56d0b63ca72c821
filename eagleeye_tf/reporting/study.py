"""The correlation study: scores before fine-tuning, accuracies after it.

All there is to say comes from three files: `scores.jsonl` and
`finetuned.jsonl`, logs whose first line says what they belong to, and
`study.json`, the `Plan`.
"""

import dataclasses
import json

from eagleeye_tf import files
from eagleeye_tf.candidates.log import Candidate
from eagleeye_tf.reporting import correlation
from eagleeye_tf.reporting import tables

# Fewer candidates have no coefficients worth a look.
LEAST = 3

# What each way of scoring measures, in words for an axis.
LABELS = {
    "vanilla": "vanilla score before fine-tuning",
    "adaptive BN": "adaptive-BN score before fine-tuning",
    "first rung": "accuracy on the first rung of a race",
    "after one epoch": "sub-validation accuracy after epoch 1",
    "parameters": "parameters left, millions",
    "MACs": "MACs left, millions",
}
COUNTS = ("parameters", "MACs")

# Functions of `plots` that draw a study.
FIGURES = ("correlation", "histograms")

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
        failure: why fine-tuning came to no end, all other numbers being 0;
            None if it did.
    """

    index: int
    epochs: list
    total: int
    test_correct: int
    test_total: int
    failure: str | None = None


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is studied: all that the logs do not tell.

    Attributes:
        candidates: indices of those that belong to the study.
        rungs: `Candidate.seen` on the first rung of a race, and with all
            images.
        phi_k: k of phi(k).
        settings: dict of plain values: what the study was made with.
    """

    candidates: list
    rungs: list
    phi_k: int
    settings: dict


@dataclasses.dataclass(frozen=True)
class Study:
    """Numbers of the candidates that are fine-tuned, all in the same order.

    Attributes:
        indices: of the candidates.
        ways: `{way of scoring: scores}`.
        accuracies: of the test set after fine-tuning, in [0, 1].
        epochs: sub-validation accuracies after each epoch, a list for each,
            as far as all candidates came.
        failures: `{index: why its fine-tuning came to no end}`.
    """

    indices: list
    ways: dict
    accuracies: list
    epochs: list
    failures: dict

    @classmethod
    def of(cls, candidates, tuned):
        """Puts the records together.

        Args:
            candidates: `{index: (Candidate on the first rung of a race, the
                same with all images)}`.
            tuned: `{index: FineTuned}` of some of them.
        """
        known = [tuned[index] for index in sorted({*candidates} & {*tuned})]
        ends = [end for end in known if end.failure is None]
        pairs = [candidates[end.index] for end in ends]
        ways = {
            "vanilla": [full.vanilla_score for _, full in pairs],
            "adaptive BN": [full.score for _, full in pairs],
            "first rung": [first.interim_score for first, _ in pairs],
            "after one epoch": [end.epochs[0] / end.total for end in ends],
            "parameters": [full.params for _, full in pairs],
            "MACs": [full.macs for _, full in pairs],
        }
        count = min((len(end.epochs) for end in ends), default=0)
        epochs = [
            [end.epochs[epoch] / end.total for end in ends]
            for epoch in range(count)
        ]
        return cls(
            indices=[end.index for end in ends],
            ways=ways,
            accuracies=[end.test_correct / end.test_total for end in ends],
            epochs=epochs,
            failures={e.index: e.failure for e in known if e.failure},
        )


def read(folder):
    """The plan of a study and what came of it, from its files alone.

    Neither the network nor the images are needed, and the study may still be
    under way.

    Args:
        folder: `pathlib.Path` of the three files.

    Returns:
        (`Plan`, `Study`); None if there is no study, or fewer than three of
        its candidates are fine-tuned.

    Raises:
        InputError: if `study.json` is not JSON.
        KeyError, TypeError, ValueError: if a file lacks something.
    """
    plan = _plan(folder)
    if plan is None:
        return None
    scored = map(Candidate.from_json, _records(folder / "scores.jsonl"))
    scores = {(c.index, *c.seen): c for c in scored}
    candidates = {
        index: [scores[index, *seen] for seen in plan.rungs]
        for index in plan.candidates
    }
    whole = Study.of(candidates, _ends(folder))
    return (plan, whole) if len(whole.indices) >= LEAST else None


def so_far(folder):
    """A sentence on a study of which `read` gives None; None if there is none.

    Args:
        folder: `pathlib.Path` of its files.
    """
    plan = _plan(folder)
    if plan is None:
        return None
    ends = [e for e in _ends(folder).values() if e.index in plan.candidates]
    diverged = sum(end.failure is not None for end in ends)
    return (
        f"Of {len(plan.candidates)} candidates {len(ends) - diverged} are "
        f"fine-tuned to the end and {diverged} diverged; coefficients take at "
        f"least {LEAST}."
    )


def _plan(folder):
    plan = files.read_json(folder / "study.json")
    if plan is None or not (folder / "finetuned.jsonl").exists():
        return None
    return Plan(**plan)


def _ends(folder):
    """`{index: FineTuned}` of all that the log holds."""
    ends = [FineTuned(**r) for r in _records(folder / "finetuned.jsonl")]
    return {end.index: end for end in ends}


def _records(path):
    """The records of a log: without its head, and what is not whole yet."""
    content = path.read_text()
    lines = content[: content.rfind("\n") + 1].splitlines()
    # Logs that were concatenated have the head several times.
    return [json.loads(line) for line in lines if line != lines[0]]


def to_json(plan, study):
    """What a study comes to.

    Args:
        plan: a `Plan`.
        study: the `Study` of it, of three candidates at least.
    """
    # Until all are tuned: of as many as k there are, all would be the best.
    k = min(plan.phi_k, max(len(study.indices) // 4, 1))
    if len(study.indices) + len(study.failures) == len(plan.candidates):
        k = min(plan.phi_k, len(study.indices))
    ways, accuracies = study.ways, study.accuracies
    coefficients = {
        way: correlation.coefficients(scores, accuracies, k)
        for way, scores in ways.items()
    }
    differences = correlation.differences(
        ways["adaptive BN"], ways["vanilla"], accuracies, k
    )
    return {
        "candidates": len(study.indices),
        "planned": len(plan.candidates),
        "failures": {str(i): why for i, why in study.failures.items()},
        "phi_k": k,
        "accuracies": [min(accuracies), max(accuracies)],
        "coefficients": {way: _plain(c) for way, c in coefficients.items()},
        "adaptive_bn_minus_vanilla": _plain(differences),
        # Would more fine-tuning still change the ranking?
        "kendall_with_last_epoch": [
            correlation.kendall(epoch, study.epochs[-1])
            for epoch in study.epochs[:-1]
        ],
        "settings": plan.settings,
    }


def _plain(coefficients):
    return {name: dataclasses.asdict(c) for name, c in coefficients.items()}


def table(found):
    """`tables.Table` of the coefficients that `to_json` gave."""
    rows = [
        (way, *(_shown(values[name]) for name in _COEFFICIENTS))
        for way, values in found["coefficients"].items()
    ]
    gap = found["adaptive_bn_minus_vanilla"]
    differences = (_shown(gap[name], "+.2f") for name in _COEFFICIENTS)
    rows.append(("adaptive BN − vanilla", *differences))
    return tables.Table(("score", *_titles(found).values()), rows)


def _titles(found):
    """`{name: title}` of the coefficients."""
    return {**_COEFFICIENTS, "phi": f"φ({found['phi_k']})"}


def in_words(found):
    """What one needs to know to read the table."""
    low, high = found["accuracies"]
    done, planned = found["candidates"], found["planned"]
    failures = found["failures"]
    count = f"{done}"
    if done < planned:
        count = f"{done} of {planned}"
    parts = [
        f"{count} candidates fine-tuned; test accuracy after fine-tuning "
        f"from {low:.2%} to {high:.2%}; in brackets 95 % bootstrap intervals.",
        _differences_in_words(found),
    ]
    if failures:
        index, reason = next(iter(failures.items()))
        parts.insert(
            1,
            f"{len(failures)} failed in fine-tuning and are left out, such as "
            f"candidate {index}: {reason}",
        )
    if found["kendall_with_last_epoch"]:
        parts.append(_steadiness_in_words(found))
    return " ".join(parts)


def _differences_in_words(found):
    gap = found["adaptive_bn_minus_vanilla"]
    shown = (
        f"{title} {_shown(gap[name], '+.2f')}"
        for name, title in _titles(found).items()
    )
    return (
        "How much better adaptive BN tells the accuracy than vanilla "
        f"evaluation, over the same resamples: {', '.join(shown)}."
    )


def _steadiness_in_words(found):
    agreement = found["kendall_with_last_epoch"]
    count = len(agreement) + 1
    shown = ", ".join(
        f"{agreement[epoch - 1]:.2f} after epoch {epoch}"
        for epoch in sorted({max(count // 2, 1), count - 1})
    )
    text = (
        "Kendall τ of the sub-validation accuracies with those at the end, "
        f"after epoch {count}: {shown}."
    )
    if found["settings"]["training"]["schedule"] == "cosine":
        text += (
            " The cosine schedule ends with learning rates near 0, so the last "
            "epoch changes little: this says that the run has come to its "
            "end, not what a longer one would come to."
        )
    return text


def _shown(coefficient, form=".2f"):
    value, low, high = (
        format(coefficient[part], form) for part in ("value", "low", "high")
    )
    return f"{value} [{low}, {high}]"
