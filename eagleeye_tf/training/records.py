"""What a training leaves behind, and from which it goes on."""

import contextlib
import dataclasses
import json
import pathlib
import time

import tensorflow as tf

from eagleeye_tf import errors
from eagleeye_tf import files


@dataclasses.dataclass(frozen=True)
class Epoch:
    """What one epoch came to.

    Attributes:
        epoch: its number, from 1.
        loss: mean training loss.
        learning_rate: at its end.
        correct: correct answers on the validation examples.
        total: number of validation examples.
    """

    epoch: int
    loss: float
    learning_rate: float
    correct: int
    total: int


class Records:
    """Checkpoints and the log of epochs, which agree after any kill.

    Attributes:
        epochs: list of `Epoch`, those that are over.
        step: steps done of the present one.
    """

    def __init__(self, directory, model, optimizer, seconds, before_writing):
        self._before_writing = before_writing or (lambda: None)
        directory = pathlib.Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        self._log = directory / "epochs.jsonl"
        self._seconds = seconds  # None for who only reads.
        self._place = {  # Where the run is, as part of the checkpoint.
            "epochs": tf.Variable(0, dtype=tf.int64, trainable=False),
            "step": tf.Variable(0, dtype=tf.int64, trainable=False),
            "loss": tf.Variable(0, dtype=tf.float64, trainable=False),
        }
        # Keras does not track the states of random generators (Dropout).
        weights = {id(weight) for weight in model.weights}
        states = [v.value for v in model.variables if id(v) not in weights]
        checkpoint = tf.train.Checkpoint(
            model=model,
            optimizer=optimizer,
            random_states=states,
            **self._place,
        )
        place = str(directory / "checkpoints")
        with _told_if_damaged(place):
            self._manager = tf.train.CheckpointManager(
                checkpoint, place, max_to_keep=1
            )
            # Restores nothing, and initializes nothing, where there is none.
            self._manager.restore_or_initialize()
        self.epochs = []
        if self._manager.latest_checkpoint:
            done = int(self._place["epochs"].numpy())
            self.epochs = self._read()[:done]
            if len(self.epochs) < done:
                raise errors.InputError(
                    f"{self._log} tells of {len(self.epochs)} epochs, the "
                    f"checkpoint beside it of {done}: restore the file, or "
                    "remove the folder to start again."
                )
        self.step = int(self._place["step"].numpy())
        self._loss = float(self._place["loss"].numpy())
        self._saved = time.monotonic()

    @property
    def mean_loss(self):
        """Of the present epoch so far."""
        return self._loss / max(self.step, 1)

    def keep_start(self):
        """Makes a checkpoint if there is none yet."""
        if self._seconds is not None and not self._manager.latest_checkpoint:
            self._save()

    def add_step(self, loss):
        """Counts a step; now and then a checkpoint remembers it."""
        self.step += 1
        self._loss += loss
        if self._seconds is None:
            return
        if time.monotonic() - self._saved >= self._seconds:
            self._save()

    def add(self, epoch):
        """Logs an epoch, then checkpoints it: only then does it count."""
        self.epochs.append(epoch)
        self.step, self._loss = 0, 0.0
        if self._seconds is None:
            return
        self._write_log()
        self._save()

    def amend(self, correct, total):
        """Logs what validation of the network as it is came to in the end."""
        last = dataclasses.replace(
            self.epochs[-1], correct=correct, total=total
        )
        self.epochs[-1] = last
        if self._seconds is not None:
            self._write_log()

    def _write_log(self):
        self._before_writing()
        lines = (json.dumps(dataclasses.asdict(e)) for e in self.epochs)
        with files.replacing(self._log) as temporary:
            temporary.write_text("".join(f"{line}\n" for line in lines))

    def _save(self):
        self._before_writing()
        self._place["epochs"].assign(len(self.epochs))
        self._place["step"].assign(self.step)
        self._place["loss"].assign(self._loss)
        self._manager.save()
        self._saved = time.monotonic()

    def _read(self):
        if not self._log.exists():  # Killed in the first epoch, or removed.
            return []
        lines = self._log.read_text().splitlines()
        return [Epoch(**json.loads(line)) for line in lines]


@contextlib.contextmanager
def _told_if_damaged(directory):
    """Says what to do about files that are not what TensorFlow wrote."""
    try:
        yield
    except (tf.errors.PermissionDeniedError, tf.errors.ResourceExhaustedError):
        raise  # The system refused; the files may be as they should.
    except (ValueError, tf.errors.OpError) as error:
        raise errors.InputError(
            f"The checkpoint in {str(directory)!r} is damaged "
            f"({errors.cause(error)}): remove that folder and what else is "
            "beside it to start again."
        ) from error
