"""Measuring explanations: every protocol takes anything that explains, and holds it against what is known.

Explainers are names of the registry, (name, options), Captum objects, or callables (model, x, target) -> map. Results
hold their numbers, print as a table and draw themselves.
"""

from xaiteach.evaluation.axiom_cases import check_axioms
from xaiteach.evaluation.base import Result, maps_of
from xaiteach.evaluation.boxes import boxes_of, iou
from xaiteach.evaluation.classes import class_insensitivity
from xaiteach.evaluation.complexity import discrete_entropy, efficient_randomization
from xaiteach.evaluation.deletion import deletion_insertion, region_perturbation
from xaiteach.evaluation.drop import drop_increase
from xaiteach.evaluation.fills import replacement
from xaiteach.evaluation.localization import energy_in_mask, localize, mask_iou, pointing_game, saliency_metric
from xaiteach.evaluation.parallel_training import Recipe, train_many
from xaiteach.evaluation.patches import insignificant_patch
from xaiteach.evaluation.planted import planted_truth
from xaiteach.evaluation.randomization import label_randomization, parameter_randomization
from xaiteach.evaluation.rank_one import convergence, stages_of
from xaiteach.evaluation.retraining import kar, mask_leak, retrain, roar
from xaiteach.evaluation.robustness import max_sensitivity
from xaiteach.evaluation.sensitivity import infidelity, sensitivity_n
from xaiteach.evaluation.similarity import cosine, hog, pearson, scaled, spearman, ssim
from xaiteach.evaluation.soundness import completeness_soundness
from xaiteach.evaluation.sweep import Sweep, run_sweep
from xaiteach.evaluation.weights import Randomizer, State, layers_of, states

__all__ = [
    "Randomizer",
    "Recipe",
    "Result",
    "State",
    "Sweep",
    "boxes_of",
    "check_axioms",
    "class_insensitivity",
    "completeness_soundness",
    "convergence",
    "cosine",
    "deletion_insertion",
    "discrete_entropy",
    "drop_increase",
    "efficient_randomization",
    "energy_in_mask",
    "hog",
    "infidelity",
    "insignificant_patch",
    "iou",
    "kar",
    "label_randomization",
    "layers_of",
    "localize",
    "maps_of",
    "mask_iou",
    "mask_leak",
    "max_sensitivity",
    "parameter_randomization",
    "pearson",
    "planted_truth",
    "pointing_game",
    "region_perturbation",
    "replacement",
    "retrain",
    "roar",
    "run_sweep",
    "saliency_metric",
    "scaled",
    "sensitivity_n",
    "spearman",
    "ssim",
    "stages_of",
    "states",
    "train_many",
]
