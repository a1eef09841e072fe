"""Unit 02: Grad-CAM, from one gradient to a map that is scored against a known mask.

The homework's letters: its m is our K (number of maps), its W our V (class matrix). Its Z, "so that the alphas add up
to 1", is not Grad-CAM's, which is the number of positions.

Source
    Selvaraju et al. (2017), eqs. 1 and 2.
"""

from __future__ import annotations

from xaiteach.questions.gradcam_gradients import HIDDEN_RELU, LOGIT_GRADIENT, PROBABILITY_GRADIENT
from xaiteach.questions.gradcam_heads import BLANK_HEAD, GRADIENT_X_ACTIVATION
from xaiteach.questions.gradcam_stretch import PAINT, THREE_CHANNELS
from xaiteach.questions.gradcam_truth import ENERGY, PREDICT_CONTROLS, ROLES
from xaiteach.questions.gradcam_weights import ALPHA_GAP, ALPHA_SUMS, HEATMAP, PREDICT_FLIPS

__all__ = ["QUESTIONS", "WITHHELD"]

WITHHELD = ("attribution/cam.py", "attribution/cam_variants.py", "attribution/ablation.py")
"""Not in the grader's kernel: the unit asks the student to write it, or something that it would give away."""

QUESTIONS = (
    LOGIT_GRADIENT,
    PROBABILITY_GRADIENT,
    ALPHA_GAP,
    PREDICT_FLIPS,
    ALPHA_SUMS,
    HEATMAP,
    BLANK_HEAD,
    GRADIENT_X_ACTIVATION,
    PREDICT_CONTROLS,
    ENERGY,
    ROLES,
    THREE_CHANNELS,
    HIDDEN_RELU,
    PAINT,
)
