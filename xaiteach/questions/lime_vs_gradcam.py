"""Unit 06, superpixel LIME beside Grad-CAM: built, then compared on images whose truth is known.

Source
    Ribeiro, Singh, Guestrin (2016), section 3.4 and algorithm 1, for LIME on images; Selvaraju et al. (2017) for
    Grad-CAM; Achanta et al. (2012) for the superpixels.
"""

from __future__ import annotations

from xaiteach.questions.lime_vs_gradcam_pieces import KERNEL_WEIGHTS, LIME_MAP, MASK_IMAGE
from xaiteach.questions.lime_vs_gradcam_stretch import EDGE_SHARE, PASSES
from xaiteach.questions.lime_vs_gradcam_values import ENERGIES, FILLS, PREDICT_BETTER, PREDICT_SIGNS, STABILITY
from xaiteach.questions.lime_vs_gradcam_words import AGREEMENT, BESIDE, EDGES, SCENARIOS

__all__ = ["QUESTIONS", "WITHHELD"]

WITHHELD = (
    "attribution/cam.py",
    "attribution/surrogate.py",
    "lime/explainer.py",
    "lime/kernels.py",
    "lime/neighbourhood.py",
    "lime/perturbation.py",
)
"""Not in the grader's kernel: the unit asks the student to write it, or something that it would give away."""

QUESTIONS = (
    MASK_IMAGE,
    KERNEL_WEIGHTS,
    LIME_MAP,
    PREDICT_SIGNS,
    FILLS,
    STABILITY,
    PREDICT_BETTER,
    ENERGIES,
    EDGES,
    AGREEMENT,
    SCENARIOS,
    BESIDE,
    EDGE_SHARE,
    PASSES,
)
