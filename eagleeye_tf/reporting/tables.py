"""Plain-text and Markdown tables of candidates and results."""

import dataclasses
import statistics

# A share of time so far above that of MACs is worth a word.
_SLOWER = 1.1


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of strings; `str()` of it is Markdown that lines up.

    Attributes:
        header: sequence of column titles.
        rows: sequence of sequences of strings.
    """

    header: tuple
    rows: list

    def __str__(self):
        lines = [
            [cell.replace("|", r"\|") for cell in line]
            for line in (self.header, *self.rows)
        ]
        widths = [
            max(len(line[column]) for line in lines)
            for column in range(len(self.header))
        ]
        first, *rest = [
            "| "
            + " | ".join(
                cell.rjust(width)
                for cell, width in zip(line, widths, strict=True)
            )
            + " |"
            for line in lines
        ]
        rule = "|" + "|".join("-" * (w + 1) + ":" for w in widths) + "|"
        return "\n".join([first, rule, *rest])


def candidates(ranked, full_cost, limit=10, latency=None):
    """`Table` of the best candidates.

    Args:
        ranked: sequence of `Candidate`, best first.
        full_cost: the `Cost` of the whole network.
        limit: rows at most.
        latency: what was measured, a dict; see `latency_in_words`.
    """
    header = ["rank", "score", "vanilla score", "MACs", "parameters"]
    rows = [
        [
            str(rank),
            f"{c.score:.2%}",
            f"{c.vanilla_score:.2%}",
            f"{c.macs:,} ({c.macs / full_cost.macs:.2%})",
            f"{c.params:,} ({c.params / full_cost.params:.2%})",
        ]
        for rank, c in enumerate(ranked[:limit], start=1)
    ]
    if latency:
        header.append("latency")
        for row, candidate in zip(rows, ranked, strict=False):
            taken = latency["measured"].get(str(candidate.index))
            row.append(_milliseconds(taken, latency["full_ms"]))
    return Table(tuple(header), rows)


def _milliseconds(taken, full):
    if taken is None:
        return "not measured"
    return f"{taken:.3g} ms ({taken / full:.2%})"


def latency_in_words(latency, best, full_cost):
    """How latency was measured and predicted, and how it compares with MACs.

    Args:
        latency: dict with `format`, `num_threads`, `full_ms`, `error` of the
            predictions, `measurements` and `measured`, `{index as a string:
            milliseconds}`.
        best: the winner, a `Candidate`.
        full_cost: the `Cost` of the whole network.
    """
    full = latency["full_ms"]
    threads = latency["num_threads"]
    text = (
        f"The whole network takes {full:.3g} ms for an image ("
        f"{latency['format']}, {threads} thread{'s' if threads > 1 else ''}). "
        f"Predictions from {latency['measurements']} networks miss by "
        f"{latency['error']:.1%} (median)."
    )
    share = latency["measured"][str(best.index)] / full
    macs = best.macs / full_cost.macs
    if share > _SLOWER * macs:
        text += (
            f" Latency falls less than MACs do: {macs:.1%} of the MACs take "
            f"{share:.1%} of the time."
        )
    return text


def slower_in_words(files, macs):
    """Which exported files do not become faster as MACs become fewer.

    Args:
        files: list of dicts with "network" ("full" or "pruned"), "format" and
            "latency_ms", milliseconds by number of threads from 1.
        macs: `{network: MACs}`; of the whole network alone nothing is said.

    Returns:
        A sentence; "" if there is no such file.
    """
    if "pruned" not in macs:
        return ""
    share, told = macs["pruned"] / macs["full"], []
    times = {(f["network"], f["format"]): f["latency_ms"] for f in files}
    for name in dict.fromkeys(f["format"] for f in files):
        pairs = zip(
            times.get(("full", name), ()),
            times.get(("pruned", name), ()),
            strict=False,  # One of them may have failed.
        )
        for threads, (full, pruned) in enumerate(pairs, start=1):
            if pruned / full > _SLOWER * share:
                unit = "thread" if threads == 1 else "threads"
                told.append(f"{name} {pruned / full:.1%} on {threads} {unit}")
    if not told:
        return ""
    return (
        f"Latency falls less than MACs do, of which {share:.1%} are left: "
        f"{', '.join(told)}."
    )


def search_summary(result, limit=10, latency=None):
    """The table of a search with the figures that describe all of it.

    Args:
        result: a `SearchResult`.
        limit: rows at most.
        latency: what was measured, a dict; see `latency_in_words`.
    """
    ranked, full = result.candidates, result.full_cost
    finalists = candidates(result.finalists, full, limit, latency)
    lines = [str(finalists), ""]
    lines.append(in_words(ranked, result.drawn, result.has_batch_norm))
    if latency:
        lines.append(latency_in_words(latency, result.best, full))
    if not result.has_batch_norm:
        lines.append(
            "The model has no BatchNormalization: all scores are vanilla "
            "ones, which tell less about accuracy after fine-tuning."
        )
    return "\n".join(lines)


def in_words(evaluated, drawn, has_batch_norm):
    """How many candidates were evaluated, on what, and how well they did.

    Args:
        evaluated: sequence of `Candidate`, the farthest in the race first.
        drawn: number of strategies drawn for them.
        has_batch_norm: whether there was anything to adapt.
    """
    finalists = [c for c in evaluated if c.finalist]
    scores = {"vanilla": [c.vanilla_score for c in finalists]}
    if has_batch_norm:  # Else the two are the same.
        scores = {"adaptive-BN": [c.score for c in finalists], **scores}
    text = f"{len(evaluated)} candidates out of {drawn:,} strategies drawn"
    if len(finalists) < len(evaluated):
        least = min(c.seen for c in evaluated)
        first = [c.interim_score for c in evaluated if c.seen == least]
        text += (
            f"; {len(finalists)} came to the last rung. Those left behind on "
            f"the first had {statistics.fmean(first):.2%} of its "
            f"{sum(least):,} images right, the best of them {max(first):.2%}"
        )
    shown = "; ".join(
        f"{kind} score mean {statistics.fmean(s):.2%}, best {max(s):.2%}"
        for kind, s in scores.items()
    )
    return (
        f"{text}. On {finalists[0].total:,} sub-validation images: {shown}. "
        f"{statistics.fmean(c.seconds for c in evaluated):.2f} s per candidate."
    )


def table(header, rows):
    """A Markdown table whose columns also line up as plain text."""
    return str(Table(header, rows))
