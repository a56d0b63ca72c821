"""Stage: fine-tunes the winners of a search."""

import dataclasses

import numpy as np
from absl import flags

from eagleeye_tf import errors
from eagleeye_tf import files
from eagleeye_tf.candidates import batches as batches_lib
from eagleeye_tf.candidates import log
from eagleeye_tf.candidates import racing
from eagleeye_tf.pruning import rebuild
from eagleeye_tf.stages import common
from eagleeye_tf.stages import console
from eagleeye_tf.stages import machines
from eagleeye_tf.stages import search
from eagleeye_tf.stages import tuning

_NUM_WINNERS = flags.DEFINE_integer(
    "num_winners", 1, "Candidates to fine-tune, best first.", lower_bound=1
)


def finetune(job):
    """Fine-tunes the winners; returns what `finetune/result.json` holds."""
    model, found = _searched(job)
    if tuning.ALL_TRAINING_IMAGES.value:
        job = dataclasses.replace(job, data=job.data.with_all_for_training())
    settings = training_settings(job)
    # Those of the search: measured again, they might differ in a rounding.
    pruner = rebuild.Pruner(
        model,
        round_to=found["settings"]["round_to"],
        rankings=[np.array(ranking) for ranking in found["rankings"]],
    )
    winners = _winners(found)
    results = [
        _finetune_one(job, pruner, log.Candidate.from_json(w), rank, settings)
        for rank, w in enumerate(winners, start=1)
    ]
    best = max(results, key=lambda r: (r["correct"], -r["rank"]))
    result = {"best": best["rank"], "winners": results}
    job.write_json(job.workdir / "finetune" / "result.json", result)
    return result


def require_candidates(settings):
    """Raises InputError if a search cannot leave as many winners as wanted.

    Args:
        settings: `SearchSettings`.
    """
    count, candidates = _NUM_WINNERS.value, settings.num_candidates
    if settings.evaluation == "race":
        candidates = racing.finalists(candidates)
    if count > candidates:
        raise errors.InputError(
            f"A search of {settings.num_candidates} candidates scores "
            f"{candidates} on all sub-validation images. Received: "
            f"num_winners={count}; lower it, or search with more candidates "
            "or --evaluation=full."
        )


def _winners(found):
    """The candidates of `search/result.json` to fine-tune, best first.

    Raises:
        InputError: if so many are not known to meet the budget in latency, or
            have not seen all sub-validation images.
    """
    count, candidates = _NUM_WINNERS.value, found["candidates"]
    latency = found["latency"]
    if latency and count > len(latency["winners"]):
        raise errors.InputError(
            f"Only {len(latency['winners'])} candidates were measured and meet "
            f"the budget in latency. Received: num_winners={count}; lower it."
        )
    finalists = sum(c["finalist"] for c in candidates)
    if count > finalists:
        raise errors.InputError(
            f"Only {finalists} candidates were scored on all sub-validation "
            f"images. Received: num_winners={count}; lower it, or search with "
            "more candidates or --evaluation=full."
        )
    return candidates[:count]


def training_settings(job):
    """`tuning.training_settings`, if winners can be chosen with them.

    Raises:
        InputError: for flags that exclude each other.
    """
    tuning.require_images_to_choose_by(
        _NUM_WINNERS, "the best of several winners"
    )
    return tuning.training_settings(job)


def _searched(job):
    """(the whole network, `search/result.json` of the search for it)."""
    found = files.read_json(job.workdir / "search" / "result.json")
    if found is None:
        raise errors.InputError(
            f"There is no finished search in {str(job.workdir)!r}: run "
            "eagleeye_tf.search with this workdir first."
        )
    split = job.split()
    files.require_same(job.workdir / "search", found["split"], split, split)
    search.require_same(found["settings"])
    model = job.trained_model()
    if batches_lib.model_fingerprint(model) != found["model"]:
        raise errors.InputError(
            f"The search in {str(job.workdir)!r} was made with another "
            "model: give the same --model, or another --workdir."
        )
    return model, found


def finished_best(job):
    """The `.keras` file of the best winner fine-tuned before; or None.

    Raises:
        InputError: if it was made from another network than `--model`.
    """
    result = files.read_json(job.workdir / "finetune" / "result.json")
    if result is None:
        return None
    _searched(job)
    return best_path(job, result)


def best_path(job, result):
    """The `.keras` file of the best fine-tuned winner."""
    best = next(w for w in result["winners"] if w["rank"] == result["best"])
    return _directory(job, best["candidate"]["index"]) / "model.keras"


def _directory(job, index):
    """Named after the candidate: its rank changes when a search goes on."""
    return job.workdir / "finetune" / f"candidate_{index}"


def _finetune_one(job, pruner, candidate, rank, settings):
    directory = _directory(job, candidate.index)
    tuning.claim(directory, job, pruner, candidate, settings)
    known = files.read_json(directory / "result.json")
    path = directory / "model.keras"
    if known is not None and path.exists():
        console.say(f"Fine-tuned before: {path}")
        return {**known, "rank": rank}
    model, epochs = tuning.tune(
        job, pruner, candidate, directory, settings, f"Fine-tuning {rank}"
    )
    job.save_model(model, path)
    last = epochs[-1]
    result = {
        "rank": rank,
        "model_fingerprint": batches_lib.model_fingerprint(model),
        "correct": last.correct,
        "total": last.total,
        "candidate": candidate.to_json(),
        "held_out": not tuning.ALL_TRAINING_IMAGES.value,
        "settings": {
            **dataclasses.asdict(settings),
            **tuning.ways(),
            "augmentation": job.data.augmentation,
        },
        "epochs": [dataclasses.asdict(epoch) for epoch in epochs],
    }
    job.write_json(directory / "result.json", result)
    console.say(
        f"Winner {rank}: score {candidate.score:.2%}, after fine-tuning "
        f"{last.correct / last.total:.2%} on sub-validation"
        f"{'' if result['held_out'] else ', which it was trained on'}."
    )
    tuning.warn_if_worse(candidate, last, job.data.augmentation)
    return result


def main():
    machines.train_together(_main)


def _main(several_machines):
    job = common.open_job(several_machines)
    console.say(f"Best: {best_path(job, finetune(job))}")
