"""The stages of a job, as the programs share them; flags live here."""

from eagleeye_tf import quiet  # noqa: F401  (before TensorFlow)
