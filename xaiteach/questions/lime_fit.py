"""Unit 04, LIME's fit: weighted least squares as it is printed and with an intercept, its minimum, a ball of size k.

Source
    Ribeiro, Singh, Guestrin (2016), section 3.4, for the weighted fit; Hoerl, Kennard (1970) for the ridge; Garreau,
    von Luxburg (2020) for what a Gaussian neighbourhood makes of a smooth score.
"""

from __future__ import annotations

from xaiteach.questions.lime_fit_ball import IN_BALL, MULTIPLIER, RIDGE_FIT
from xaiteach.questions.lime_fit_local import (
    EFFECTIVE_SIZE,
    FIDELITY,
    LOCAL_FIT,
    PREDICT_WORTH,
    READING,
    SMOOTHED,
)
from xaiteach.questions.lime_fit_printed import (
    BOWL,
    NO_INTERCEPT,
    PREDICT_CONSTANT,
    SCALAR_NOISE,
    WEIGHTED_FIT,
)

__all__ = ["QUESTIONS", "WITHHELD"]

WITHHELD = (
    "lime/explainer.py",
    "lime/kernels.py",
    "lime/least_squares.py",
    "lime/linear.py",
    "lime/ridge.py",
)
"""Not in the grader's kernel: the unit asks the student to write it, or something that it would give away."""

QUESTIONS = (
    WEIGHTED_FIT,
    BOWL,
    PREDICT_CONSTANT,
    NO_INTERCEPT,
    LOCAL_FIT,
    FIDELITY,
    SCALAR_NOISE,
    RIDGE_FIT,
    IN_BALL,
    PREDICT_WORTH,
    READING,
    MULTIPLIER,
    EFFECTIVE_SIZE,
    SMOOTHED,
)
