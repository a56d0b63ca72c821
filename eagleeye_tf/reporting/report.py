"""The report of a whole job, in Markdown, from its records alone."""

from eagleeye_tf.candidates.log import Candidate
from eagleeye_tf.pruning.cost import Cost
from eagleeye_tf.reporting import tables


def job_report(title, command, search, finetuning, evaluation, export):
    """Writes up one job.

    Args:
        title: what was pruned, for the headline.
        command: the command line that makes it again.
        search: contents of `search/result.json`.
        finetuning: contents of `finetune/result.json`.
        evaluation: `{"full": …, "pruned": …}`, contents of
            `evaluation.json`.
        export: contents of `export/result.json`.

    Returns:
        Markdown text.
    """
    ranked = [Candidate.from_json(c) for c in search["candidates"]]
    full_cost = Cost(**search["full"])
    sections = [
        f"# {title}",
        outcome(evaluation),
        "## Search",
        tables.in_words(ranked, search["drawn"], search["has_batch_norm"]),
        tables.candidates(
            [c for c in ranked if c.seen == ranked[0].seen], full_cost, limit=10
        ),
        "## Fine-tuning",
        _finetuning_table(finetuning),
        "## Channels that the winner keeps",
        _kept_table(finetuning, evaluation),
        "## Export",
        f"`{export['source']}` as `export/saved_model` and "
        "`export/model.keras`; their outputs differ by at most "
        f"{export['largest_difference']:.2g}.",
        "## To reproduce",
        f"```\n{command}\n```",
        "Settings of the search:",
        tables.table(
            ("setting", "value"),
            [(key, str(v)) for key, v in search["settings"].items()],
        ),
    ]
    return "\n\n".join(sections) + "\n"


def outcome(evaluation):
    """Markdown table: the full network beside the pruned one."""
    full = evaluation["full"]
    return tables.table(
        ("network", "test accuracy", "MACs", "parameters"),
        [
            (
                name,
                f"{e['correct'] / e['total']:.2%}",
                f"{e['macs']:,} ({e['macs'] / full['macs']:.2%})",
                f"{e['params']:,} ({e['params'] / full['params']:.2%})",
            )
            for name, e in evaluation.items()
        ],
    )


def _finetuning_table(finetuning):
    rows = []
    for winner in finetuning["winners"]:
        candidate = Candidate.from_json(winner["candidate"])
        best = " (best)" if winner["rank"] == finetuning["best"] else ""
        rows.append(
            (
                f"{winner['rank']}{best}",
                f"{candidate.score:.2%}",
                f"{winner['correct'] / winner['total']:.2%}",
                str(len(winner["epochs"])),
                f"{winner['settings']['learning_rate']:g}",
            )
        )
    return tables.table(
        (
            "winner",
            "score",
            "sub-validation after fine-tuning",
            "epochs",
            "learning rate",
        ),
        rows,
    )


def _kept_table(finetuning, evaluation):
    best = next(
        w for w in finetuning["winners"] if w["rank"] == finetuning["best"]
    )
    sizes = evaluation["full"]["groups"]
    kept = zip(best["candidate"]["kept"], sizes, strict=True)
    return tables.table(
        ("channel group", "kept", "of", "share"),
        [
            (name, str(n), str(size), f"{n / size:.0%}")
            for n, (name, size) in kept
        ],
    )
