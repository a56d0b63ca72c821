"""Stage: writes up whatever a workdir holds."""

import json

from eagleeye_tf import errors
from eagleeye_tf import files
from eagleeye_tf.candidates.log import Candidate
from eagleeye_tf.reporting import calibration
from eagleeye_tf.reporting import document
from eagleeye_tf.reporting import plots
from eagleeye_tf.reporting import report
from eagleeye_tf.reporting import study
from eagleeye_tf.stages import common
from eagleeye_tf.stages import console

# What comes of a record that another version wrote, or somebody changed.
_DAMAGE = (
    KeyError,
    TypeError,
    ValueError,
    AttributeError,
    IndexError,
    FileNotFoundError,  # One of several that belong together.
)


def write(folder):
    """Writes `report.html` and `report.md`; returns the path of the former.

    Args:
        folder: `pathlib.Path` of a workdir.

    Raises:
        InputError: if no program has worked in it, or a file is damaged.
    """
    if not (folder / report.RECORDS["about"]).exists():
        raise errors.InputError(
            f"{str(folder)!r} holds no results: give the --workdir of a "
            "program that ran."
        )
    try:
        written = _written(folder)
    except errors.InputError:  # Which is a ValueError, and tells by itself.
        raise
    except _DAMAGE as error:
        raise errors.InputError(
            f"A file in {str(folder)!r} lacks what a report is made of "
            f"({error!r}): run its program again, which takes what it can from "
            "its log."
        ) from error
    files.write_text(
        folder / "report.md", document.to_markdown(written, folder)
    )
    files.write_text(folder / "report.html", document.to_html(written))
    return folder / "report.html"


def _written(folder):
    records = {
        name: files.read_json(folder / path)
        for name, path in report.RECORDS.items()
    }
    records["training"] = _training(folder / "train")
    studied = study.read(folder / "correlate")
    if studied:
        records["correlation"] = study.to_json(*studied)
    else:
        records["correlation_so_far"] = study.so_far(folder / "correlate")
    records = {n: r for n, r in records.items() if r is not None}
    arguments = _arguments(records)
    if studied:
        arguments |= {name: (studied[1],) for name in study.FIGURES}
    for name, values in arguments.items():
        getattr(plots, name)(folder / "figures" / name, *values)
    figures = {name: folder / "figures" / f"{name}.svg" for name in arguments}
    return report.build(records, figures)


def _training(folder):
    """What `train` left, or what made a network with weights; or None."""
    settings = files.read_json(folder / "settings.json")
    if settings is None:
        return None
    log = folder / "epochs.jsonl"
    lines = log.read_text().splitlines() if log.exists() else []
    return {
        "settings": settings,
        "epochs": [json.loads(line) for line in lines],
        "is_over": (folder / "model.keras").exists(),
    }


def _arguments(records):
    """What to draw from records; {name of a function of `plots`: arguments}."""
    drawn = {}
    search, finetuning = records.get("search"), records.get("finetuning")
    if "sensitivity" in records:
        names = "names", "ratios", "scores", "full_score"
        drawn["sensitivity"] = [records["sensitivity"][name] for name in names]
    if search:
        ranked = [Candidate.from_json(c) for c in search["candidates"]]
        macs, adapted = search["full"]["macs"], search["has_batch_norm"]
        drawn["candidates"] = (ranked, macs, adapted)
    if finetuning:
        drawn["epochs"] = (
            {
                f"winner {winner['rank']}": [
                    epoch["correct"] / epoch["total"]
                    for epoch in winner["epochs"]
                ]
                for winner in finetuning["winners"]
            },
        )
    if search and finetuning:
        names, sizes = zip(*search["groups"], strict=True)
        kept = report.best_winner(finetuning)["candidate"]["kept"]
        drawn["kept"] = (names, sizes, kept)
    if "calibration" in records:
        found = records["calibration"]
        points = [calibration.Point(**p) for p in found["curve"]]
        layers = [calibration.Distance(**d) for d in found["distances"]]
        drawn |= {"calibration": (points,), "distances": (layers,)}
    return drawn


def main():
    console.say(f"Report: {write(common.existing_workdir())}")
