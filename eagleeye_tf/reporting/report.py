"""The report of a workdir, from its records alone."""

import pathlib
import re

from eagleeye_tf.candidates.log import Candidate
from eagleeye_tf.pruning.cost import Cost
from eagleeye_tf.reporting import calibration as calibration_lib
from eagleeye_tf.reporting import explanation
from eagleeye_tf.reporting import study
from eagleeye_tf.reporting import tables
from eagleeye_tf.reporting.document import Code
from eagleeye_tf.reporting.document import Document
from eagleeye_tf.reporting.document import Figure
from eagleeye_tf.reporting.document import Section
from eagleeye_tf.reporting.document import Text
from eagleeye_tf.reporting.tables import Table

# The records that a report is made of, and the files that hold them; those of
# training and of the correlation study come from several files.
RECORDS = {
    "about": "about.json",
    "sensitivity": "explain/result.json",
    "search": "search/result.json",
    "finetuning": "finetune/result.json",
    "evaluation": "evaluation.json",
    "export": "export/result.json",
    "calibration": "calibration_study/result.json",
    "benchmark": "benchmark/result.json",
}


def build(records, figures):
    """Writes up a workdir.

    Args:
        records: `{name in RECORDS: contents of its file}`, "about" and
            whatever else there is; "training": `{"settings": dict, "epochs":
            list of those of `records.Epoch`, "is_over": bool}`;
            "correlation": what `study.to_json` gave; or
            "correlation_so_far": what `study.so_far` did.
        figures: `{name of a function of `plots`: path of an SVG file}`.

    Returns:
        A `Document`.
    """
    writers = {
        "evaluation": _outcome,
        "training": _training,
        "sensitivity": _sensitivity,
        "search": _search,
        "finetuning": _finetuning,
        "export": _export,
        "correlation": _correlation,
        "correlation_so_far": _correlation_so_far,
        "calibration": _calibration,
        "benchmark": _benchmark,
    }
    sections = [
        write(records, figures)
        for name, write in writers.items()
        if name in records
    ]
    old = _out_of_date(records)
    if old:
        sections.insert(0, Section("Out of date", [Text(x) for x in old]))
    sections.append(_to_reproduce(records))
    return Document(records["about"]["title"], sections)


def outcome(evaluation):
    """`Table`: the full network beside the pruned one."""
    full = evaluation["full"]
    return Table(
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


def best_winner(finetuning):
    """The entry of the winner that fine-tuning left best."""
    return next(
        w for w in finetuning["winners"] if w["rank"] == finetuning["best"]
    )


def _out_of_date(records):
    """What no longer belongs together, because a stage ran again."""
    tuned = records.get("finetuning")
    if not tuned:
        return []
    found = []
    winner = best_winner(tuned)
    best = f"candidate_{winner['candidate']['index']}"
    made = winner.get("model_fingerprint")  # Not of every version.
    evaluated = records.get("evaluation", {}).get("pruned", {})
    exported = records.get("export", {})
    for name, record, told in (
        ("Result", evaluated, evaluated.get("path")),
        ("Export", exported, exported.get("source")),
    ):
        if told and pathlib.PurePath(told).parent.name != best:
            found.append(
                f"{name} is of {told}, while fine-tuning has left {best} best."
            )
        elif told and made and record.get("model_fingerprint") != made:
            found.append(
                f"{name} is of an earlier {told}: {best} has been fine-tuned "
                "again since."
            )
    winners = [w["candidate"]["index"] for w in tuned["winners"]]
    ranked = records.get("search", {}).get("candidates", [])
    if ranked and [c["index"] for c in ranked[: len(winners)]] != winners:
        found.append(
            "The search has other candidates in front now than those that "
            "were fine-tuned."
        )
    return found


def _outcome(records, _):
    evaluation = records["evaluation"]
    blocks = [Text(f"On {evaluation['full']['total']:,} test images:")]
    return Section("Result", [*blocks, outcome(evaluation)])


def _training(records, _):
    training = records["training"]
    epochs = training["epochs"]
    text = "No epoch is over yet."
    if training["is_over"]:
        text = "The whole network is trained. The log of its epochs is gone."
    if training["settings"]["weights"]:
        text = "The whole network came with its weights."
    elif epochs:
        last = epochs[-1]
        text = (
            "The whole network was trained from initial weights. After epoch "
            f"{last['epoch']} it has {last['correct'] / last['total']:.2%} of "
            "the sub-validation images right."
        )
    return Section("Training", [Text(text), _settings(training["settings"])])


def _sensitivity(records, figures):
    return Section(
        "Sensitivity",
        [
            Text("Adaptive-BN scores with one channel group cut alone:"),
            explanation.sensitivity(**records["sensitivity"]),
            *_figure(
                figures,
                "sensitivity",
                "Scores with one channel group cut alone, from the input to "
                "the output.",
            ),
        ],
    )


def _search(records, figures):
    found = records["search"]
    ranked = [Candidate.from_json(c) for c in found["candidates"]]
    finalists = [c for c in ranked if c.finalist]
    full, latency = Cost(**found["full"]), found["latency"]
    told = [tables.in_words(ranked, found["drawn"], found["has_batch_norm"])]
    if latency:
        told.append(tables.latency_in_words(latency, ranked[0], full))
    return Section(
        "Search",
        [
            *map(Text, told),
            tables.candidates(finalists, full, latency=latency),
            *_figure(
                figures,
                "candidates",
                "Scores of all candidates against the multiply-accumulates "
                "that they leave.",
            ),
        ],
    )


def _finetuning(records, figures):
    finetuning = records["finetuning"]
    rows, trained_on = [], ""
    for winner in finetuning["winners"]:
        trained_on = "" if winner.get("held_out", True) else " (trained on)"
        candidate = Candidate.from_json(winner["candidate"])
        best = " (best)" if winner["rank"] == finetuning["best"] else ""
        rows.append(
            (
                f"{winner['rank']}{best}",
                f"{candidate.score:.2%}",
                f"{winner['correct'] / winner['total']:.2%}{trained_on}",
                str(len(winner["epochs"])),
                f"{winner['settings']['learning_rate']:g}",
            )
        )
    blocks = [
        Table(
            (
                "winner",
                "score",
                "sub-validation after fine-tuning",
                "epochs",
                "learning rate",
            ),
            rows,
        ),
        *_figure(
            figures,
            "epochs",
            f"Sub-validation accuracy after each epoch{trained_on}.",
        ),
    ]
    if "search" in records:
        blocks += [
            Text("Channels that the best winner keeps:"),
            *_figure(figures, "kept", "Kept channels of each group."),
            _kept(finetuning, records["search"]["groups"]),
        ]
    return Section("Fine-tuning", blocks)


def _settings(values):
    """`Table` of settings, a dict that may hold dicts; without unset ones."""
    rows = []
    for name, value in values.items():
        if isinstance(value, dict):
            rows += [(f"{name}: {n}", v) for n, v in value.items()]
        else:
            rows.append((name, value))
    given = [(name, _short(str(v))) for name, v in rows if v is not None]
    return Table(("setting", "value"), given)


def _short(text):
    """A fingerprint's first digits, which tell it from others."""
    is_fingerprint = re.fullmatch("[0-9a-f]{40,}", text)
    return f"{text[:12]}…" if is_fingerprint else text


def _kept(finetuning, groups):
    kept = best_winner(finetuning)["candidate"]["kept"]
    return Table(
        ("channel group", "kept", "of", "share"),
        [
            (name, str(n), str(size), f"{n / size:.0%}")
            for n, (name, size) in zip(kept, groups, strict=True)
        ],
    )


def files(records):
    """`Table` of exported files; `records` are those of `export`."""
    return Table(
        (
            "network",
            "format",
            "size (kB)",
            "test accuracy",
            "largest difference",
            "ms, 1 thread",
            "ms, 2 threads",
        ),
        [
            (
                record["network"],
                record["format"],
                f"{record['bytes'] / 1000:,.0f}",
                f"{record['correct'] / record['total']:.2%}",
                f"{record['difference']:.1e}",
                *(f"{ms:.2f}" for ms in record["latency_ms"]),
            )
            for record in records
        ],
    )


def _export(records, _):
    export = records["export"]
    if "error" in export:
        text = f"The export of {export['source']} failed: {export['error']}"
        return Section("Export", [Text(text)])
    text = (
        f"{export['source']} as export/saved_model and export/model.keras; "
        f"their outputs differ by at most {export['largest_difference']:.2g}."
    )
    blocks = [Text(text)]
    for name, why in export.get("failures", {}).items():
        blocks.append(Text(f"{name} failed: {why}"))
    if "files" in export:
        blocks += [
            Text(
                "All files, with the latency of one image on the CPU and the "
                "largest difference of outputs from the .keras file:"
            ),
            files(export["files"]),
        ]
        slower = tables.slower_in_words(export["files"], export["macs"])
        blocks += [Text(slower)] if slower else []
    return Section("Export", blocks)


def _correlation(records, figures):
    found = records["correlation"]
    return Section(
        "Correlation study",
        [
            Text(study.in_words(found)),
            study.table(found),
            *_figure(
                figures,
                "correlation",
                "Test accuracy after fine-tuning against what was known "
                "before it, and against the accuracy after its first epoch.",
            ),
            *_figure(
                figures, "histograms", "How scores and accuracies are spread."
            ),
            Text("What was studied:"),
            _settings(found["settings"]),
        ],
    )


def _correlation_so_far(records, _):
    return Section("Correlation study", [Text(records["correlation_so_far"])])


def _calibration(records, figures):
    found = records["calibration"]
    points = [calibration_lib.Point(**point) for point in found["curve"]]
    return Section(
        "Calibration study",
        [
            Text(f"{found['candidates']} candidates."),
            calibration_lib.table(points),
            *_figure(
                figures,
                "calibration",
                "Scores, and agreement of their order with that at the "
                "largest number, against calibration images.",
            ),
            *_figure(
                figures,
                "distances",
                "How far inherited and adapted BN statistics of the best "
                "candidate are from those of the sub-validation set.",
            ),
            Text("What was studied:"),
            _settings(found["settings"]),
        ],
    )


def _benchmark(records, _):
    rows = [(name, shown(v)) for name, v in records["benchmark"].items()]
    return Section("Benchmark", [Table(("measured", "value"), rows)])


def shown(value):
    """A measured value for a table."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _to_reproduce(records):
    about = records["about"]
    blocks = [
        Code("\n".join(about["commands"])),
        Table(("software", "version"), list(about["versions"].items())),
    ]
    if "search" in records:
        blocks += [
            Text("Settings of the search:"),
            _settings(records["search"]["settings"]),
        ]
    if "finetuning" in records:
        blocks += [
            Text("Settings of fine-tuning:"),
            _settings(best_winner(records["finetuning"])["settings"]),
        ]
    return Section("To reproduce", blocks)


def _figure(figures, name, caption):
    return [Figure(figures[name], caption)] if name in figures else []
