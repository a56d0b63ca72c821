"""What all programs share: common flags, and what they stand for."""

import dataclasses
import pathlib

import keras
from absl import flags

from eagleeye_tf import errors
from eagleeye_tf import files
from eagleeye_tf import progress
from eagleeye_tf.data import folders
from eagleeye_tf.data import images as images_lib
from eagleeye_tf.data import sources
from eagleeye_tf.data import splits
from eagleeye_tf.models import zoo
from eagleeye_tf.stages import about
from eagleeye_tf.stages import console
from eagleeye_tf.stages import devices
from eagleeye_tf.stages import interface
from eagleeye_tf.stages import job as job_lib
from eagleeye_tf.stages import modules
from eagleeye_tf.stages import paths

flags.adopt_module_key_flags(devices)
flags.adopt_module_key_flags(modules)

# Image files that are decoded before all else: some minutes' worth.
_LOOKED_AT = 100_000

_MODEL = flags.DEFINE(
    paths.Parser(),
    "model",
    None,
    "What to work on: the path of a .keras or .h5 file (evaluate: of a "
    "SavedModel, .tflite or .onnx file, too), one of "
    f"{', '.join(zoo.NETWORKS)}, or a network of keras.applications.",
)
_WEIGHTS = flags.DEFINE(
    paths.Parser(),
    "weights",
    None,
    "File of weights for a model given by name, or 'imagenet'.",
)
_WIDTH = flags.DEFINE_float(
    "width",
    1.0,
    f"Width multiplier of {', '.join(zoo.NETWORKS)}.",
    lower_bound=0.01,
    upper_bound=16.0,
)
_DATASET = flags.DEFINE(
    paths.Parser(),
    "dataset",
    None,
    "'digits' (built in), 'folder' or the path of a folder of class "
    "folders, or an image classification set of TensorFlow Datasets.",
)
_DATA_DIR = flags.DEFINE(
    paths.Parser(),
    "data_dir",
    None,
    "Where TFDS keeps its data; or the folder of images.",
)
_IMAGE_SIZE = flags.DEFINE_integer(
    "image_size",
    None,
    "Height and width of images in pixels, for models given by name or that "
    "take any; by default the data set's own, or 224. (explain and verify look "
    "at folders and digits alone; without them 32 for networks of that size.)",
    lower_bound=1,
)
_WORKDIR = flags.DEFINE(
    paths.Parser(),
    "workdir",
    None,
    "Folder for all results; a killed run goes on from it.",
)
_CALIBRATION_IMAGES = flags.DEFINE_integer(
    "calibration_images",
    None,
    "Training images that re-estimate BN statistics; by default 1,280, or an "
    "eighth of a small data set.",
    lower_bound=1,
)
_SUB_VALIDATION_IMAGES = flags.DEFINE_integer(
    "sub_validation_images",
    None,
    "Training images that score candidates; by default 2,560, or a quarter "
    "of a small data set.",
    lower_bound=1,
)
_AUGMENTATION = flags.DEFINE_enum(
    "augmentation",
    None,
    images_lib.AUGMENTATIONS,
    "How training images vary: not at all; by shifts of up to an eighth, with "
    "every other image mirrored or not; or as random areas of 8 to 100 %, "
    "mirrored. By default what suits the data set: shift_flip for small "
    "images from TFDS, shift for small ones of a folder or digits, else "
    "resized_crop_flip.",
)
_RESIZING = flags.DEFINE_enum(
    "resizing",
    None,
    images_lib.RESIZINGS,
    "How images come to the model's size: stretched, as "
    "keras.utils.image_dataset_from_directory does it; cropped to its aspect; "
    "or the central 87.5 % of that, as is the custom for ImageNet. By default "
    "stretch for folders, central_crop for images of many sizes from TFDS, "
    "crop for those of one.",
)
BATCH_SIZE = flags.DEFINE_integer(
    "batch_size",
    128,
    "Images per batch; in training shared by all replicas.",
    lower_bound=1,
)
SEED = flags.DEFINE_integer(
    "seed",
    0,
    "Of strategies, weights, shuffling.",
    lower_bound=0,
    upper_bound=2**32 - 1,
)


def open_job(several_machines=None, leaves_results=True):
    """Opens the data and the devices for the common flags.

    Args:
        several_machines: (`tf.distribute.Strategy` that spans them, whether
            this process leads); None if there is only one.
        leaves_results: whether the program writes to the workdir; else it
            needs one only where `--model` is not a file.

    Raises:
        InputError: for anything that does not exist or fit.
    """
    _require(_MODEL, _DATASET)
    path = None
    if leaves_results or not zoo.is_file(_MODEL.value):
        _require(_WORKDIR)
        path = pathlib.Path(_WORKDIR.value)
    modules.import_custom()
    distribution, leads = several_machines or (devices.distribution(), True)
    source = _open_source(path, leaves_results or _WEIGHTS.value)
    data = splits.split(
        source,
        _image_shape(source),
        _CALIBRATION_IMAGES.value or _share(source, 8, 1280),
        _SUB_VALIDATION_IMAGES.value or _share(source, 4, 2560),
        _AUGMENTATION.value,
        _RESIZING.value,
    )
    job = job_lib.Job(
        model=_MODEL.value,
        dataset=_DATASET.value,
        workdir=path,
        data=dataclasses.replace(data, cache=path and path / "cache"),
        distribution=distribution,
        batch_size=BATCH_SIZE.value,
        seed=SEED.value,
        width=_WIDTH.value,
        weights=_WEIGHTS.value,
        leads=leads,
    )
    if leads and source.told:
        console.say(source.told)
    if leads and leaves_results:
        about.note(path, f"{job.model_name()} on {data.name}")
        _require_readable(source, path / "cache" / "readable.json")
    return job


def _open_source(workdir, writes):
    """The data set; and the workdir, made if the program writes to it."""
    at_hand = sources.is_at_hand(_DATASET.value)
    if workdir and writes and not at_hand:  # Before a download.
        paths.require_writable(workdir)
    source = sources.open_source(_DATASET.value, _DATA_DIR.value)
    if workdir and writes:
        # Made earlier it would be one more class.
        paths.require_apart(workdir, source.folders)
        paths.require_writable(workdir)
    return source


def _require_readable(source, path):
    """Looks at all images before hours of work meet one that is damaged.

    Args:
        source: a `Source`.
        path: where to note that it was done, for the stages that follow.
    """
    known = {"data": source.fingerprint}
    count = len(source.files)
    if not 0 < count <= _LOOKED_AT or files.read_json(path) == known:
        return
    with progress.bar(count, "Looking at images", "image") as bar:
        folders.require_readable(source.files, bar.update)
    files.write_json(path, known)


def existing_workdir():
    """The path that `--workdir` gives.

    Raises:
        InputError: if there is no such folder.
    """
    _require(_WORKDIR)
    path = pathlib.Path(_WORKDIR.value)
    if not path.is_dir():
        raise errors.InputError(f"There is no workdir {str(path)!r}.")
    return path


def model_alone():
    """The model that `--model` names, for programs that need no data.

    Networks given by name are built for the images and classes of a
    `--dataset` that is at hand. Else they are for 32 × 32 or, those of
    `keras.applications`, 224 × 224 pixels, if `--image_size` does not say.

    Raises:
        InputError: if there is no such model.
    """
    _require(_MODEL)
    modules.import_custom()
    name, size = _MODEL.value, _IMAGE_SIZE.value
    if zoo.is_file(name):
        return zoo.load_file(name, (size, size, 3) if size else None)
    keras.utils.set_random_seed(SEED.value)
    own = name in zoo.NETWORKS
    size = size or (32 if own else 224)
    shape, classes = (size, size, 3), 10 if own else 1000
    if _DATASET.value and sources.is_at_hand(_DATASET.value):
        source = sources.open_source(_DATASET.value, _DATA_DIR.value)
        shape, classes = _image_shape(source), len(source.class_names)
    return zoo.build(name, shape, classes, _WIDTH.value, _WEIGHTS.value)


def _image_shape(source):
    """The image shape the model takes, or that the data set has."""
    name, size = _MODEL.value, _IMAGE_SIZE.value
    if zoo.is_file(name):
        for flag in (_WIDTH, _WEIGHTS):
            if flag.value != flag.default:
                raise errors.InputError(
                    f"--{flag.name} goes with a model given by name. "
                    f"Received: --{flag.name}={flag.value} for the file "
                    f"{name!r}."
                )
        return interface.image_shape(name, source, size)
    zoo.check_name(name)
    if size:
        return (size, size, 3)
    return (*(source.image_shape or (224, 224))[:2], 3)


def _require(*required):
    for flag in required:
        if not flag.value:
            raise errors.InputError(f"--{flag.name} is required.")


def _share(source, part, most):
    """So many of a source's training images, at most; but one at least."""
    return max(1, min(most, source.train.size // part))
