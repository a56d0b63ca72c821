"""The whole job: (train) -> search -> fine-tune -> evaluation, export, report.

    python -m eagleeye_tf --flagfile=flags/quickstart.flags

Appears in `--workdir`: `train/` if the model was given by name, `search/`,
`finetune/`, `export/saved_model/`, `evaluation.json`, `report.html`,
`report.md` and `figures/`. Killed and started again, each stage goes on where
it was.
"""

from absl import flags

from eagleeye_tf import files
from eagleeye_tf import quiet  # noqa: F401  (before TensorFlow)
from eagleeye_tf.reporting import report as reporting
from eagleeye_tf.stages import common
from eagleeye_tf.stages import console
from eagleeye_tf.stages import evaluate
from eagleeye_tf.stages import export
from eagleeye_tf.stages import finetune
from eagleeye_tf.stages import fitting
from eagleeye_tf.stages import latency
from eagleeye_tf.stages import machines
from eagleeye_tf.stages import recipes  # noqa: F401
from eagleeye_tf.stages import report
from eagleeye_tf.stages import search
from eagleeye_tf.stages import train
from eagleeye_tf.stages import tuning

for _module in (
    common,
    fitting,
    train,
    search,
    machines,
    latency,
    finetune,
    tuning,
    export,
):
    flags.adopt_module_key_flags(_module)


def main():
    job = common.open_job()
    # Wrong flags are told before any training.
    finetune.require_candidates(search.search_settings())
    finetune.training_settings(job)
    export.require_formats()
    export.require_other_folder(job)
    if not job.has_file():
        search.require_reachable(job.fresh_model())
        train.train(job)
    found = search.search(job)
    console.say(search.in_words(found))
    tuned = finetune.finetune(job)
    winner = finetune.best_path(job, tuned)
    evaluation = {
        "full": evaluate.evaluate_model(job, job.trained_path(), "Test, full"),
        "pruned": evaluate.evaluate_model(job, winner, "Test, pruned"),
    }
    files.write_json(job.workdir / "evaluation.json", evaluation)
    try:
        export.export(job, winner)
    finally:  # An export that fails does not cost the rest.
        console.say(f"\n{reporting.outcome(evaluation)}\n")
        console.say(f"Report:     {report.write(job.workdir)}")
    console.say(f"SavedModel: {job.workdir / 'export' / 'saved_model'}")


if __name__ == "__main__":
    console.run(main)
