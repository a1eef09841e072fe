"""Weighted least squares (homework Q2b: k = n, so that the constraint binds nobody).

Symbols: as in `linear`.
"""

from __future__ import annotations

from dataclasses import dataclass

from xaiteach.lime.checks import Array
from xaiteach.lime.linear import LinearModel, minimum_norm

__all__ = ["LeastSquares"]


@dataclass(eq=False)
class LeastSquares(LinearModel):
    """Minimum of ||Pi^(1/2) (y - b0 - X beta)||^2: beta = (X^T Pi X)^-1 X^T Pi y where that inverse exists.

    The Hessian 2 X^T Pi X is positive semidefinite, so a zero gradient is a minimum. It is the only one exactly where
    Pi^(1/2) X (centred, with an intercept) has rank n. Otherwise (collinear columns, a constant one beside the
    intercept, fewer samples of non-zero weight than features) this is the one of smallest ||beta||.

    Parameters
        fit_intercept : bool. Default True.
    Attributes
        coef_, intercept_ : see `linear.LinearModel`.
        rank_ : int. Of Pi^(1/2) X, centred where there is an intercept.
        unique_ : bool. Whether rank_ is n.
    Cost
        N n^2, by a QR factorisation and a singular value decomposition of n x n; X^T Pi X is never formed.
    Source
        Homework Q2b; Golub, Van Loan (2013), sections 5.3 and 5.5.
    Examples
        >>> solver = LeastSquares().fit([[0, 0], [1, 1], [2, 2]], [1, 3, 5])  # twins share the slope of 2
        >>> solver.coef_.round(6), round(solver.intercept_, 6), solver.unique_
        (array([1., 1.]), 1.0, False)
    """

    def _solve(self, A: Array, b: Array) -> Array:
        self.rank_, n = A.shape
        self.unique_ = self.rank_ == n
        return minimum_norm(A, b)
