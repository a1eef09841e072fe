"""The soft threshold, the exact projection on the l1 ball, and the conditions of an l1 minimum (homework Q2d).

Symbols: as in `linear`.

beta is a minimum of ||b - A beta||^2 + lambda ||beta||_1 exactly where 2 A_j^T (b - A beta) = lambda sign(beta_j) for
beta_j != 0 and |2 A_j^T (b - A beta)| <= lambda elsewhere. So 0 is optimal for a whole interval of the correlation,
which is why l1 gives exact zeros; for l2 it would take one exact value. The objective has no factor 1/2, hence the 2,
and hence soft thresholds at lambda/2.
"""

from __future__ import annotations

import numpy as np

from xaiteach.lime.checks import Array, floats, number

__all__ = ["project_l1_ball", "soft_threshold", "violation"]


def soft_threshold(z: object, threshold: float) -> Array:
    """Every entry moved towards 0 by `threshold`, and 0 where it would pass it: sign(z) max(|z| - threshold, 0).

    For orthonormal columns (X^T Pi X = I) and z = X^T Pi y it is the lasso, with threshold lambda/2: every survivor is
    shrunk by as much, not only the small ones deleted.

    Parameters
        z : (n,) numbers.
        threshold : float >= 0, in units of z.
    Raises
        ShapeError, OptionError: z is no vector of finite numbers, or the threshold is below 0.
    Source
        Tibshirani (1996), eq. 3; the homework's objective has no 1/2, so that lambda/2 stands for its gamma.
    Examples
        >>> soft_threshold([3.0, -0.5, -2.0], 1.0)
        array([ 2.,  0., -1.])
    """
    z = floats(z, ("n",), "z", "soft_threshold")
    threshold = number(threshold, "threshold", "soft_threshold", zero=True, infinite=True)
    found: Array = np.sign(z) * np.maximum(np.abs(z) - threshold, 0.0) + 0.0
    return found


def project_l1_ball(v: object, k: float) -> Array:
    """Point of {||beta||_1 <= k} nearest to v, exactly: v itself inside, else v soft-thresholded to norm k.

    Of the sorted |v|, the first m that reach (their sum - k)/m survive, for the largest such m; that number is the
    threshold.

    Parameters
        v : (n,) numbers.
        k : float >= 0. Radius.
    Raises
        ShapeError: v is no vector of finite numbers.
        OptionError: k is below 0.
    Cost
        One sort.
    Source
        Duchi et al. (2008), figure 1; Held, Wolfe, Crowder (1974).
    Examples
        >>> project_l1_ball([3.0, -1.0, 0.5], 2.0)
        array([2., 0., 0.])
    """
    v = floats(v, ("n",), "v", "project_l1_ball")
    k = number(k, "k", "project_l1_ball", zero=True, infinite=True)
    magnitude = np.sort(np.abs(v))[::-1]
    if magnitude.sum() <= k:
        return v.copy()
    if k == 0:
        return np.zeros_like(v)
    thresholds = (magnitude.cumsum() - k) / np.arange(1, len(v) + 1)
    m = int(np.flatnonzero(magnitude >= thresholds)[-1])
    return soft_threshold(v, float(thresholds[m]))


def violation(A: Array, b: Array, beta: Array, lam: float) -> float:
    """Largest departure from the conditions of a minimum, as a fraction of the largest correlation at beta = 0.

    Parameters
        A, b : (r, n) and (r,). The problem (`linear.reduced`).
        beta : (n,).
        lam : float >= 0. lambda.
    """
    correlation, top = 2 * A.T @ (b - A @ beta), 2 * float(np.abs(A.T @ b).max())
    at_zero = np.maximum(np.abs(correlation) - lam, 0.0)
    elsewhere = np.abs(correlation - lam * np.sign(beta))
    worst = float(np.where(beta == 0, at_zero, elsewhere).max())
    return worst / top if top else worst
