"""Writes up whatever a workdir holds, as one HTML file and as Markdown.

    python -m eagleeye_tf.report --workdir=runs/resnet56

Appears in `--workdir`: `report.html`, which needs nothing else, `report.md`,
and `figures/` as PNG and SVG. `python -m eagleeye_tf` does so at its end.
Neither the network nor the images are needed: of a study that somebody hands
on, `about.json` and the files of its folder that end in `.json` and `.jsonl`.
"""

from absl import flags

from eagleeye_tf.stages import console
from eagleeye_tf.stages import recipes  # noqa: F401
from eagleeye_tf.stages import report

flags.declare_key_flag("workdir")

if __name__ == "__main__":
    console.run(report.main)
