"""Measuring explanations: every protocol takes anything that explains, and holds it against what is known.

Explainers are names of the registry, (name, options), Captum objects, or callables (model, x, target) -> map. Results
hold their numbers, print as a table and draw themselves.
"""

from xaiteach.evaluation.base import Result, maps_of
from xaiteach.evaluation.complexity import discrete_entropy, efficient_randomization
from xaiteach.evaluation.randomization import label_randomization, parameter_randomization
from xaiteach.evaluation.rank_one import convergence, stages_of
from xaiteach.evaluation.similarity import cosine, hog, pearson, scaled, spearman, ssim
from xaiteach.evaluation.sweep import Sweep, run_sweep
from xaiteach.evaluation.weights import Randomizer, State, layers_of, states

__all__ = [
    "Randomizer",
    "Result",
    "State",
    "Sweep",
    "convergence",
    "cosine",
    "discrete_entropy",
    "efficient_randomization",
    "hog",
    "label_randomization",
    "layers_of",
    "maps_of",
    "parameter_randomization",
    "pearson",
    "run_sweep",
    "scaled",
    "spearman",
    "ssim",
    "stages_of",
    "states",
]
