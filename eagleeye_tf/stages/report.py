"""Stage: writes up whatever a workdir holds."""

import pathlib

from eagleeye_tf import errors
from eagleeye_tf import files
from eagleeye_tf.candidates.log import Candidate
from eagleeye_tf.reporting import document
from eagleeye_tf.reporting import plots
from eagleeye_tf.reporting import report
from eagleeye_tf.stages import common
from eagleeye_tf.stages import console

# Figures that stages left.
_STUDIES = (
    "correlate/correlation.svg",
    "correlate/histograms.svg",
    "calibration_study/calibration.svg",
    "calibration_study/distances.svg",
)


def write(folder):
    """Writes `report.html` and `report.md`; returns the path of the former.

    Args:
        folder: `pathlib.Path` of a workdir.

    Raises:
        InputError: if no program has worked in it, or a file is damaged.
    """
    records = {
        name: files.read_json(folder / path)
        for name, path in report.RECORDS.items()
    }
    records = {n: r for n, r in records.items() if r is not None}
    if "about" not in records:
        raise errors.InputError(
            f"{str(folder)!r} holds no results: give the --workdir of a "
            "program that ran."
        )
    figures = {
        pathlib.Path(path).stem: folder / path
        for path in _STUDIES
        if (folder / path).exists()
    }
    try:
        figures |= _draw(records, folder / "figures")
        written = report.build(records, figures)
    except (KeyError, TypeError) as error:
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


def _draw(records, folder):
    """Draws the figures of a search and its winners; {name: path of SVG}."""
    drawn = {}
    search, finetuning = records.get("search"), records.get("finetuning")
    if search:
        ranked = [Candidate.from_json(c) for c in search["candidates"]]
        drawn["candidates"] = (ranked, search["full"]["macs"])
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
    for name, arguments in drawn.items():
        getattr(plots, name)(folder / name, *arguments)
    return {name: folder / f"{name}.svg" for name in drawn}


def main():
    console.say(f"Report: {write(common.existing_workdir())}")
