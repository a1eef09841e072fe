"""The lasso as a penalty and as a constraint (homework Q2c, Q2d).

Symbols: as in `linear`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

import numpy as np

from xaiteach.errors import ShapeError, unknown
from xaiteach.lime.checks import Array
from xaiteach.lime.l1 import project_l1_ball, soft_threshold, violation
from xaiteach.lime.linear import LinearModel
from xaiteach.lime.path import LassoPath, lasso_path
from xaiteach.lime.ridge import one_of

__all__ = ["Lasso"]

_SOLVERS = ("path", "gradient")
_CONVERGED = 1e-12
"""Violation of the conditions of a minimum at which gradient steps stop."""
_CERTIFIED = 1e-8
"""The largest one that is let through."""
_MOST_STEPS = 200_000


@dataclass(eq=False)
class Lasso(LinearModel):
    """Least squares with a bounded or priced l1 norm: coefficients that are exactly 0.

    Given `penalty`, the minimum of ||Pi^(1/2) (y - b0 - X beta)||^2 + lambda ||beta||_1. Given `k`, the minimum of the
    first term subject to ||beta||_1 <= k; lambda is 0 where the free minimum of smallest l1 norm is inside. Where
    columns depend on each other there can be several minima; this is then one of them.

    Parameters
        penalty : float >= 0 or None. lambda, in units of y^2 times weight per coefficient; scikit-learn's alpha is
            lambda / (2 sum of the weights).
        k : float >= 0 or None. Budget of ||beta||_1, in units of the coefficients (not a number of features). Exactly
            one of the two is given.
        solver : "path", exact to rounding, or "gradient", gradient steps each followed by the exact projection on the
            l1 ball (k) or by the soft threshold (penalty). Default "path".
        fit_intercept : bool. Default True.
    Attributes
        coef_, intercept_ : see `linear.LinearModel`.
        lambda_ : float. The penalty, or the constraint's multiplier; inf for k = 0.
        path_ : LassoPath, with solver="path".
        n_iter_ : int. Knots of the path, or gradient steps.
    Raises
        ShapeError: columns that nearly depend on others defeat the solver; never a wrong answer instead.
    Cost
        N n^2, and about n pseudo-inverses of r x |S|; or n^2 for each gradient step.
    Source
        Homework Q2c, Q2d; Tibshirani (1996), eq. 1.
    Examples
        >>> X, y = np.eye(3), [3.0, -0.5, -2.0]
        >>> Lasso(penalty=2.0, fit_intercept=False).fit(X, y).coef_  # soft threshold at lambda/2
        array([ 2.,  0., -1.])
        >>> solver = Lasso(k=1.0, fit_intercept=False).fit(X, y)
        >>> solver.coef_, solver.lambda_
        (array([1., 0., 0.]), 4.0)
    """

    penalty: float | None = None
    k: float | None = None
    solver: str = "path"

    def _solve(self, A: Array, b: Array) -> Array:
        penalty, k = one_of(self.penalty, self.k, "Lasso")
        if self.solver not in _SOLVERS:
            raise unknown("solver of Lasso", self.solver, _SOLVERS)
        self.path_: LassoPath | None = None
        self.lambda_, self.n_iter_ = inf if penalty is None else penalty, 0
        if k == 0 or penalty == inf:
            return np.zeros(A.shape[1])
        beta = self._along_the_path(A, b, k) if self.solver == "path" else self._downhill(A, b, k)
        off = violation(A, b, beta, self.lambda_)
        if off > _CERTIFIED:
            raise ShapeError(
                "Lasso: `X` must have columns that are equal or told apart by more than rounding; got a solution off "
                f"by {off:.0e}, of which at most {_CERTIFIED:.0e} is let through. Try leaving out columns that others "
                "nearly determine."
            )
        return beta

    def _along_the_path(self, A: Array, b: Array, k: float | None) -> Array:
        self.path_ = lasso_path(A, b)
        self.n_iter_ = len(self.path_.lambdas)
        if k is None:
            return self.path_.at_penalty(self.lambda_)
        beta, self.lambda_ = self.path_.within(k)
        return beta

    def _downhill(self, A: Array, b: Array, k: float | None) -> Array:
        def prox(v: Array, L: float) -> Array:
            return soft_threshold(v, self.lambda_ / L) if k is None else project_l1_ball(v, k)

        def price(beta: Array) -> float:
            if k is None:
                return self.lambda_
            inside = np.abs(beta).sum() < k * (1 - _CONVERGED)
            return 0.0 if inside else 2 * float(np.abs(A.T @ (b - A @ beta)).max())

        beta, self.n_iter_ = _descend(A, b, prox, price)
        self.lambda_ = price(beta)
        return beta


def _descend(
    A: Array, b: Array, prox: Callable[[Array, float], Array], price: Callable[[Array], float]
) -> tuple[Array, int]:
    """Minimum (n,) by accelerated gradient steps of length 1/L, each followed by `prox`, and their number.

    L = 2 sigma_max(A)^2 bounds how fast the gradient -2 A^T r changes. The momentum starts anew whenever it points
    uphill.

    Parameters
        prox : from a point and L to the point nearest to it in the ball, or to its soft threshold.
        price : lambda that belongs to a solution.
    Source
        Beck, Teboulle (2009), section 4; O'Donoghue, Candes (2015), section 3.2.
    """
    L = 2 * float(np.linalg.norm(A, 2)) ** 2 if A.size else 0.0
    beta = ahead = np.zeros(A.shape[1])
    momentum = 1.0
    for step in range(_MOST_STEPS):
        if L == 0 or (step % 10 == 0 and violation(A, b, beta, price(beta)) <= _CONVERGED):
            return beta, step
        found = prox(ahead + 2 / L * A.T @ (b - A @ ahead), L)
        uphill = (ahead - found) @ (found - beta) > 0
        before, momentum = momentum, 1.0 if uphill else (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead = found if uphill else found + (before - 1) / momentum * (found - beta)
        beta = found
    return beta, _MOST_STEPS
