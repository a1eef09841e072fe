"""LIME: a linear surrogate fitted to a model's scores around one input, and every solver that it takes.

Two steps: a neighbourhood (samples, their scores, their weights), and a surrogate fitted to it.

>>> import numpy as np
>>> from xaiteach import lime
>>> near = lime.gaussian_neighbourhood(lambda x: x[:, 0] ** 2, np.array([3.0, 1.0]), sigma=0.01)
>>> near.explain(lime.Lasso(k=5.0)).coef.round(1)  # the gradient, (6, 0), in a ball that it leaves
array([5., 0.])
"""

from __future__ import annotations

from xaiteach.lime.best_subset import BestSubset
from xaiteach.lime.explainer import gaussian_neighbourhood, superpixel_neighbourhood
from xaiteach.lime.greedy import ForwardSelection, OrthogonalMatchingPursuit
from xaiteach.lime.kernels import (
    cosine_distance,
    effective_sample_size,
    euclidean_distance,
    expected_sample_size,
    gaussian_kernel,
    lime_kernel,
    smoothgrad_sigma,
)
from xaiteach.lime.l1 import project_l1_ball, soft_threshold
from xaiteach.lime.lasso import Lasso
from xaiteach.lime.least_squares import LeastSquares
from xaiteach.lime.linear import LinearModel, fidelity
from xaiteach.lime.neighbourhood import (
    SELECTIONS,
    Explanation,
    Neighbourhood,
    fidelity_curve,
    masked_neighbourhood,
)
from xaiteach.lime.path import LassoPath
from xaiteach.lime.perturbation import apply_masks, fill_of, gaussian, on_off, spread, superpixel_means
from xaiteach.lime.ridge import Ridge
from xaiteach.lime.sparse import (
    IterativeHardThresholding,
    LargestCoefficients,
    LassoThenRefit,
    SparseModel,
    hard_threshold,
)
from xaiteach.lime.superpixels import check_labels, default_superpixels, grid, quickshift, segments, slic

__all__ = [
    "SELECTIONS",
    "BestSubset",
    "Explanation",
    "ForwardSelection",
    "IterativeHardThresholding",
    "LargestCoefficients",
    "Lasso",
    "LassoPath",
    "LassoThenRefit",
    "LeastSquares",
    "LinearModel",
    "Neighbourhood",
    "OrthogonalMatchingPursuit",
    "Ridge",
    "SparseModel",
    "apply_masks",
    "check_labels",
    "cosine_distance",
    "default_superpixels",
    "effective_sample_size",
    "euclidean_distance",
    "expected_sample_size",
    "fidelity",
    "fidelity_curve",
    "fill_of",
    "gaussian",
    "gaussian_kernel",
    "gaussian_neighbourhood",
    "grid",
    "hard_threshold",
    "lime_kernel",
    "masked_neighbourhood",
    "on_off",
    "project_l1_ball",
    "quickshift",
    "segments",
    "slic",
    "smoothgrad_sigma",
    "soft_threshold",
    "spread",
    "superpixel_means",
    "superpixel_neighbourhood",
]
