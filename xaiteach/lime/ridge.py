"""Ridge regression as a penalty and as a constraint (homework Q2d).

Symbols: as in `linear`; s, V singular values and right singular vectors of Pi^(1/2) X.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import numpy as np

from xaiteach.errors import OptionError
from xaiteach.lime.checks import Array, number
from xaiteach.lime.linear import LinearModel

__all__ = ["Ridge"]

_EPS = float(np.finfo(np.float64).eps)


def one_of(penalty: object, k: object, who: str) -> tuple[float | None, float | None]:
    """Penalty and budget, exactly one of them a number and the other None.

    Raises
        OptionError: both, neither, or one below 0.
    """
    if (penalty is None) == (k is None):
        got = "neither" if k is None else f"penalty={penalty!r} and k={k!r}"
        raise OptionError(
            f"{who}: one of `penalty` (lambda) and `k` (the budget) must be given; got {got}. Try {who}(penalty=1.0) "
            f"or {who}(k=1.0)."
        )
    if penalty is not None:
        return number(penalty, "penalty", who, zero=True, infinite=True), None
    return None, number(k, "k", who, zero=True, infinite=True)


@dataclass(eq=False)
class Ridge(LinearModel):
    """Least squares with a bounded or priced l2 norm: beta(lambda) = (X^T Pi X + lambda I)^-1 X^T Pi y.

    Given `penalty`, the minimum of ||Pi^(1/2) (y - b0 - X beta)||^2 + lambda ||beta||^2. Given `k`, the minimum of the
    first term subject to ||beta||^2 <= k^2. Its conditions are lambda >= 0 and lambda (||beta||^2 - k^2) = 0, which
    leave two cases: the free minimum of smallest norm lies within the ball and lambda = 0; or it lies outside, and
    lambda is the one root of ||beta(lambda)|| = k. With k = 0, beta is 0, which no finite lambda reaches.

    Parameters
        penalty : float >= 0 or None. lambda, in units of y^2 times weight per squared coefficient; scikit-learn's
            alpha. 0: the free minimum of smallest norm, the limit from above. math.inf: beta = 0.
        k : float >= 0 or None. Budget of ||beta||, in units of the coefficients. Exactly one of the two is given.
        fit_intercept : bool. Default True.
    Attributes
        coef_, intercept_ : see `linear.LinearModel`.
        lambda_ : float. The penalty, or the constraint's multiplier; inf for k = 0. It belongs to ||beta||^2 <= k^2:
            who writes ||beta|| <= k has mu = 2 k lambda instead.
        n_iter_ : int. Newton steps to the root; 0 where none was needed.
    Cost
        N n^2 and one singular value decomposition of n x n; a Newton step costs n.
    Source
        Homework Q2d. Secular equation: Golub, Van Loan (2013), section 6.2; More, Sorensen (1983).
    Examples
        >>> X, y = [[3.0, 0.0], [0.0, 4.0]], [6.0, 8.0]  # free minimum (2, 2)
        >>> Ridge(penalty=9.0, fit_intercept=False).fit(X, y).coef_
        array([1.  , 1.28])
        >>> solver = Ridge(k=1.0, fit_intercept=False).fit(X, y)
        >>> round(float(np.hypot(*solver.coef_)), 12), round(solver.lambda_, 3)
        (1.0, 22.811)
    """

    penalty: float | None = None
    k: float | None = None

    def _solve(self, A: Array, b: Array) -> Array:
        penalty, k = one_of(self.penalty, self.k, "Ridge")
        U, s, Vt = np.linalg.svd(A, full_matrices=False)
        g = U.T @ b
        self.n_iter_ = 0
        if k is None:
            self.lambda_ = penalty if penalty is not None else 0.0
        elif k == 0:
            self.lambda_ = inf
        else:
            self.lambda_, self.n_iter_ = _multiplier(s, g, k)
        found: Array = Vt.T @ (s * g / (s**2 + self.lambda_))
        return found


def _multiplier(s: Array, g: Array, k: float) -> tuple[float, int]:
    """Root lambda >= 0 of ||beta(lambda)|| = k, or 0 where beta(0) is inside, and the Newton steps taken.

    Newton on h(lambda) = 1/||beta(lambda)|| - 1/k, which is nearly straight. h rises and is concave: from lambda = 0,
    left of the root, each step stops short of it, so that the steps only ever go up.
    """
    lam = 0.0
    for step in range(1000):
        beta = s * g / (s**2 + lam)
        norm = float(np.sqrt(beta @ beta))
        if norm <= k * (1 + 2 * _EPS):
            return lam, step
        slope = float(beta @ (beta / (s**2 + lam))) / norm  # -d||beta||/dlambda
        further = lam + (norm / k - 1) * norm / slope
        if further <= lam:  # as near as a double comes
            return lam, step
        lam = further
    return lam, 1000
