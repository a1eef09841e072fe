"""Unit 01: gradients of a score, from a two-layer net by hand to maps of a trained one.

Source
    Simonyan, Vedaldi, Zisserman (2014) for saliency; Smilkov, Thorat, Kim, Viégas, Wattenberg (2017) for SmoothGrad;
    Shrikumar, Greenside, Kundaje (2017), section 1, for the flat gradient of a saturated function.
"""

from __future__ import annotations

from xaiteach.questions.gradients_by_hand import GRADIENT_X_INPUT, INPUT_GRADIENT, WEIGHT_GRADIENT
from xaiteach.questions.gradients_maps import ENERGIES, PREDICT_INSIDE, PREDICT_SMOOTH, READING, SALIENCY, SATURATED
from xaiteach.questions.gradients_tools import CATCH, HOW_FAR, SMOOTHGRAD

__all__ = ["QUESTIONS", "WITHHELD"]

WITHHELD = (
    "attribution/gradients.py",
    "attribution/noise.py",
    "attribution/paths.py",
)
"""Not in the grader's kernel: the unit asks the student to write it, or something that it would give away."""

QUESTIONS = (
    INPUT_GRADIENT,
    WEIGHT_GRADIENT,
    GRADIENT_X_INPUT,
    SATURATED,
    SALIENCY,
    PREDICT_INSIDE,
    SMOOTHGRAD,
    PREDICT_SMOOTH,
    ENERGIES,
    CATCH,
    READING,
    HOW_FAR,
)
