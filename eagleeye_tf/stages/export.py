"""Stage: exports a network as SavedModel and `.keras`, checked."""

from eagleeye_tf.deployment import saved_model
from eagleeye_tf.models import zoo
from eagleeye_tf.stages import common
from eagleeye_tf.stages import console
from eagleeye_tf.stages import finetune
from eagleeye_tf.stages import workdir


def export(job, path):
    """Exports the `.keras` file `path`; returns `export/result.json`.

    The model is loaded without a distribution, so that the SavedModel does
    not remember on which devices it was trained.
    """
    directory = job.workdir / "export"
    directory.mkdir(parents=True, exist_ok=True)
    images, _ = job.data.arrays(job.data.calibration)
    difference = saved_model.export(
        zoo.load_file(str(path), job.data.image_shape),
        directory / "saved_model",
        images[: job.batch_size],
    )
    workdir.copy(path, directory / "model.keras")
    result = {"source": str(path), "largest_difference": difference}
    workdir.write_json(directory / "result.json", result)
    return result


def main():
    job = common.open_job()
    path = finetune.finished_best(job) or job.trained_path()
    result = export(job, path)
    console.say(
        f"Exported {path} as {job.workdir / 'export' / 'saved_model'}; their "
        f"outputs differ by {result['largest_difference']:.2g} at most."
    )
