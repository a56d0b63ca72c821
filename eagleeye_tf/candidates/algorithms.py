"""The search algorithms by name."""

from eagleeye_tf.candidates import evolution
from eagleeye_tf.candidates import sampling

ALGORITHMS = {
    "random": sampling.RandomSampling,
    "evolution": evolution.EvolutionarySearch,
    "uniform": sampling.UniformSampling,
}
