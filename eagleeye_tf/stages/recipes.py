"""Defines the flags of all stages, so that a flag file serves every program.

A recipe for the whole job can then also be given to one of its stages.
"""

from eagleeye_tf.stages import benchmark  # noqa: F401
from eagleeye_tf.stages import common  # noqa: F401
from eagleeye_tf.stages import correlate  # noqa: F401
from eagleeye_tf.stages import evaluate  # noqa: F401
from eagleeye_tf.stages import explain  # noqa: F401
from eagleeye_tf.stages import export  # noqa: F401
from eagleeye_tf.stages import finetune  # noqa: F401
from eagleeye_tf.stages import machines  # noqa: F401
from eagleeye_tf.stages import search  # noqa: F401
from eagleeye_tf.stages import train  # noqa: F401
from eagleeye_tf.stages import verify  # noqa: F401
