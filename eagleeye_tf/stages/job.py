"""What a program works on: data, devices, and the network to prune."""

import dataclasses
import functools
import pathlib

import keras
import tensorflow as tf

from eagleeye_tf import errors
from eagleeye_tf import files
from eagleeye_tf import progress
from eagleeye_tf.candidates import scoring
from eagleeye_tf.data import splits
from eagleeye_tf.models import zoo

# Settings that say which network it is, which data it was trained on, and
# which images of these were left for other purposes.
_KIND = ("model", "width", "classes", "image_shape")
_DATA = ("data", "resizing")
_PURPOSES = ("calibration_images", "sub_validation_images")


@dataclasses.dataclass(frozen=True)
class Job:
    """What a program works on.

    Attributes:
        model: path of a model file, or the name of a network.
        dataset: what the user calls the data.
        workdir: `pathlib.Path` of all results; None if there are none.
        data: `splits.Data` at the model's image size.
        distribution: `tf.distribute.Strategy` that shares out training.
        batch_size: images per batch, shared by all replicas.
        seed: of everything random.
        width: width multiplier of a network given by name.
        weights: file of weights for it, or "imagenet"; None without.
        leads: whether this process writes results: the first of several that
            train together, or the only one.
    """

    model: str
    dataset: str
    workdir: pathlib.Path | None
    data: splits.Data
    distribution: tf.distribute.Strategy
    batch_size: int
    seed: int
    width: float = 1.0
    weights: str | None = None
    leads: bool = True

    @property
    def own_distribution(self):
        """The replicas of this machine alone: one, if it is one of several."""
        several = tf.distribute.MultiWorkerMirroredStrategy
        if isinstance(self.distribution, several):
            return tf.distribute.get_strategy()
        return self.distribution

    def save_model(self, model, path):
        """Writes a `.keras` file, if this process leads."""
        if self.leads:
            files.save_model(model, path)

    def write_json(self, path, value):
        """Writes a JSON file, if this process leads."""
        if self.leads:
            files.write_json(path, value)

    def fresh_model(self):
        """The model that `--model` names, with `--weights` or fresh ones."""
        keras.utils.set_random_seed(self.seed)
        with self.distribution.scope():
            return zoo.build(
                self.model,
                self.data.image_shape,
                self.data.num_classes,
                self.width,
                self.weights,
            )

    def trained_model(self):
        """The network to prune: `--model`, or what `train` made of it.

        Raises:
            InputError: see `made_path`; also if it was made from another
                split, in which today's sub-validation images were trained on.
        """
        path = self.made_path(_KIND + _DATA + _PURPOSES)
        with self.distribution.scope():
            return zoo.load_file(str(path), self.data.image_shape)

    def made_path(self, alike=_KIND + _DATA):
        """`trained_path`, where a model given by name is by now.

        One that comes with weights is made of them, once.

        Args:
            alike: settings in which it must be what the flags ask for.

        Raises:
            InputError: if it was not trained yet, or what was trained in the
                workdir is another network, or was trained on other data.
        """
        path = self.trained_path()
        if self.has_file():
            return path
        if self.has_weights():
            self._take_weights()
        if not path.exists():
            raise errors.InputError(
                f"{self.model} is not trained in {str(self.workdir)!r}: run "
                "eagleeye_tf.train with this workdir first, or give the path "
                "of a trained .keras file as --model."
            )
        self._require_made_so(alike)
        return path

    def _require_made_so(self, keys):
        """Compares some settings with those that `train/` was made with."""
        folder = self.trained_path().parent
        known = files.read_json(folder / "settings.json")
        if known is None:
            raise errors.InputError(
                f"Nothing says how {str(self.trained_path())!r} was made: "
                "give this path as --model."
            )
        # Weights from elsewhere know nothing of the data set.
        keys = [key for key in keys if key in known]
        files.require_same(folder, known, self.settings(), keys)

    def _take_weights(self):
        """Makes the trained network of `--model` and `--weights`, once."""
        path = self.trained_path()
        settings = self.settings()
        decisive = {key: settings[key] for key in (*_KIND, "weights")}
        files.claim(path.parent, decisive)
        if not path.exists():
            self.save_model(self.fresh_model(), path)

    def trained_path(self):
        """Where the trained network lies, or will lie."""
        if self.has_file():
            return pathlib.Path(self.model)
        return self.workdir / "train" / "model.keras"

    def model_name(self):
        """What to call the model in a headline."""
        path = pathlib.Path(self.model)
        if path.parts[-2:] != ("train", "model.keras"):
            return path.stem
        # What `train` writes: the folders around it say more.
        return "/".join(path.with_suffix("").parts[-3:])

    def has_file(self):
        """Whether `--model` is a file rather than a name."""
        return zoo.is_file(self.model)

    def has_weights(self):
        """Whether a model given by name comes with weights."""
        return bool(self.weights)

    def split(self):
        """What decides which image serves which purpose, as JSON."""
        return {
            "data": self.data.fingerprint,
            "image_shape": list(self.data.image_shape),
            "resizing": self.data.resizing,
            "calibration_images": self.data.calibration.size,
            "sub_validation_images": self.data.sub_validation.size,
        }

    def settings(self):
        """Common settings that a stage's files depend on, as JSON."""
        return {
            "model": self.model,
            "weights": self._weights_digest,
            "width": self.width,
            "dataset": self.dataset,
            "classes": self.data.num_classes,
            "augmentation": self.data.augmentation,
            "batch_size": self.batch_size,
            "seed": self.seed,
            **self.split(),
        }

    @functools.cached_property
    def _weights_digest(self):
        """Of the contents of `--weights`, wherever the file lies."""
        if self.weights in (None, "imagenet"):
            return self.weights
        return zoo.weights_digest(self.weights)

    def validator(self, model):
        """Function that counts correct answers on the sub-validation set."""
        return scoring.Scorer(
            model,
            self.data.batches(self.data.sub_validation, self.batch_size),
            self.own_distribution,
        ).count

    def test(self, model, description):
        """Counts correct test answers: `(correct, total)`; shows progress."""
        batches = self.data.batches(self.data.test, self.batch_size)
        steps = -(-self.data.test.size // self.batch_size)
        bar = progress.bar(steps, description, "batch")
        with bar, self.data.naming_unreadable():
            return scoring.Scorer(model, batches, self.distribution).count(
                on_batch=bar.update
            )
