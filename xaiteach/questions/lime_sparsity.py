"""Unit 05, sparse surrogates: k features chosen by enumeration or one by one, corners that give zeros, and their price.

Source
    Ribeiro, Singh, Guestrin (2016), section 3.4, for k features; Pati, Rezaiifar, Krishnaprasad (1993) for OMP;
    Tibshirani (1996) for the lasso; Duchi, Shalev-Shwartz, Singer, Chandra (2008) for the projection.
"""

from __future__ import annotations

from xaiteach.questions.lime_sparsity_choose import BEST_SUBSET, FORWARD_SELECTION, MISSED, OMP
from xaiteach.questions.lime_sparsity_corners import CONSTRAINED, PROJECT_L1, SOFT_THRESHOLD, ZERO_STAYS
from xaiteach.questions.lime_sparsity_price import COMPARED, PREDICT_CORNERS, PREDICT_PEAK, PRICE

__all__ = ["QUESTIONS", "WITHHELD"]

WITHHELD = (
    "lime/best_subset.py",
    "lime/explainer.py",
    "lime/greedy.py",
    "lime/l1.py",
    "lime/lasso.py",
    "lime/path.py",
    "lime/sparse.py",
)
"""Not in the grader's kernel: the unit asks the student to write it, or something that it would give away."""

QUESTIONS = (
    BEST_SUBSET,
    FORWARD_SELECTION,
    MISSED,
    PREDICT_PEAK,
    PRICE,
    SOFT_THRESHOLD,
    ZERO_STAYS,
    PROJECT_L1,
    PREDICT_CORNERS,
    CONSTRAINED,
    COMPARED,
    OMP,
)
