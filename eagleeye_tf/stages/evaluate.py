"""Stage: test accuracy and cost of a network: `.keras` file or SavedModel."""

from eagleeye_tf.deployment import saved_model
from eagleeye_tf.models import zoo
from eagleeye_tf.pruning import cost as cost_lib
from eagleeye_tf.stages import common
from eagleeye_tf.stages import console


def evaluate_model(job, path, description):
    """Test accuracy and cost of a `.keras` file, as JSON."""
    with job.distribution.scope():
        model = zoo.load_file(str(path), job.data.image_shape)
    correct, total = job.test(model, description)
    cost = cost_lib.cost(model)
    return {
        "path": str(path),
        "correct": correct,
        "total": total,
        "macs": cost.macs,
        "params": cost.params,
    }


def main():
    job = common.open_job()
    path = job.trained_path()
    if path.is_dir():
        correct, total = job.test(saved_model.ServedModel(path), "Test")
        console.say(
            f"{path}: {correct} of {total} correct, {correct / total:.2%}"
        )
        return
    result = evaluate_model(job, path, "Test")
    console.say(
        f"{path}: {result['correct']} of {result['total']} correct, "
        f"{result['correct'] / result['total']:.2%}; {result['macs']:,} MACs, "
        f"{result['params']:,} parameters"
    )
