"""Plain-text and Markdown tables of candidates and results."""

import statistics


def candidates(ranked, full_cost, limit=10):
    """Markdown table of the best candidates.

    Args:
        ranked: sequence of `Candidate`, best first.
        full_cost: the `Cost` of the whole network.
        limit: rows at most.
    """
    rows = [
        (
            str(rank),
            f"{c.score:.2%}",
            f"{c.vanilla_score:.2%}",
            f"{c.macs:,} ({c.macs / full_cost.macs:.2%})",
            f"{c.params:,} ({c.params / full_cost.params:.2%})",
        )
        for rank, c in enumerate(ranked[:limit], start=1)
    ]
    return table(("rank", "score", "vanilla score", "MACs", "parameters"), rows)


def search_summary(result, limit=10):
    """The table of a search with the figures that describe all of it.

    Args:
        result: a `SearchResult`.
        limit: rows at most.
    """
    scored = result.candidates
    scores = [c.score for c in scored]
    vanilla = [c.vanilla_score for c in scored]
    lines = [
        candidates(scored, result.full_cost, limit),
        "",
        f"{len(scored)} candidates out of {result.drawn:,} strategies drawn; "
        f"score: mean {statistics.fmean(scores):.2%}, best "
        f"{max(scores):.2%}; vanilla score: mean "
        f"{statistics.fmean(vanilla):.2%}, best {max(vanilla):.2%}.",
    ]
    if not result.has_batch_norm:
        lines.append(
            "The model has no BatchNormalization: all scores are vanilla "
            "ones, which tell less about accuracy after fine-tuning."
        )
    return "\n".join(lines)


def table(header, rows):
    """A Markdown table whose columns also line up as plain text.

    Args:
        header: sequence of column titles.
        rows: sequence of sequences of strings.
    """
    widths = [
        max(len(row[column]) for row in (header, *rows))
        for column in range(len(header))
    ]
    lines = [
        "| "
        + " | ".join(
            cell.rjust(width) for cell, width in zip(row, widths, strict=True)
        )
        + " |"
        for row in (header, *rows)
    ]
    rule = "|" + "|".join("-" * (w + 1) + ":" for w in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])
