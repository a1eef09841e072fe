"""At most k features, one after another: forward selection and matching pursuit (homework Q2c).

Symbols: as in `linear`; r = b - A beta the residual, RSS = ||r||^2.

Neither ever gives a column back. Where a sum of two columns is nearly a third one, both start with the third and miss
the pair: x1, x2 orthonormal, x3 = (x1 + x2 + d e) / sqrt(2 + d^2), y = x1 + x2 and k = 2 leave d^2 / (1 + d^2) where
the pair leaves 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xaiteach.lime.checks import Array
from xaiteach.lime.linear import restricted
from xaiteach.lime.sparse import DEPENDENT, Indices, SparseModel

__all__ = ["ForwardSelection", "OrthogonalMatchingPursuit"]


def _first_largest(values: Array) -> int:
    """Index of the largest value; of those equal to it, but for rounding, the first."""
    return int(np.flatnonzero(values >= values.max() * (1 - DEPENDENT))[0])


@dataclass(eq=False)
class ForwardSelection(SparseModel):
    """One feature after another, each time the one whose addition lowers the RSS most, then least squares on them.

    What it looks at is the part of a column that the chosen ones do not span: (q_j^T r)^2, q_j that part scaled to
    length 1. Matching pursuit looks at the whole column instead. What the lime package does up to six features.

    Parameters
        k, fit_intercept : see `SparseModel`.
    Attributes
        coef_, intercept_, order_, support_ : see `SparseModel`.
    Cost
        k n^2.
    Source
        Homework Q2c; Hastie, Tibshirani, Friedman (2009), section 3.3.2.
    Examples
        >>> X = np.array([[1.0, 0, 1], [0, 1, 1], [0, 0, 0.1]])
        >>> ForwardSelection(2, fit_intercept=False).fit(X, [1, 1, 0]).order_  # the pair (0, 1) would be exact
        array([2, 0])
    """

    def _choose(self, A: Array, b: Array, k: int) -> Indices | list[int]:
        columns, r, order = A.copy(), b.copy(), list[int]()
        lengths = np.sqrt((A**2).sum(0))
        while len(order) < k:
            length = np.sqrt((columns**2).sum(0))
            free = length > DEPENDENT * lengths
            free[order] = False
            if not free.any():
                break
            columns[:, ~free] = 0.0
            drop = (columns.T @ r) ** 2 / np.where(free, length, 1.0) ** 2
            j = _first_largest(drop)
            if drop[j] <= (DEPENDENT**2) * (b @ b):
                break
            q = columns[:, j] / length[j]
            for _ in range(2):  # once more takes away what rounding left of q
                columns -= np.outer(q, q @ columns)
            r -= q * (q @ r)
            order.append(j)
        return order


@dataclass(eq=False)
class OrthogonalMatchingPursuit(SparseModel):
    """One feature after another, each time the one most correlated with the residual, then least squares on them all.

    The correlation is |A_j^T r| / ||A_j||: scaled by the whole column's weighted length, so that units do not matter.
    (scikit-learn's does not scale.) It is not forward selection: a column that mostly repeats the chosen ones has a
    small correlation, though the part that is new may explain much.

    Parameters
        k, fit_intercept : see `SparseModel`.
    Attributes
        coef_, intercept_, order_, support_ : see `SparseModel`.
    Cost
        k least-squares solutions of n x k.
    Source
        Homework Q2c; Pati, Rezaiifar, Krishnaprasad (1993).
    Examples
        >>> OrthogonalMatchingPursuit(1, fit_intercept=False).fit([[1, 0], [0, 9]], [2, 1]).order_
        array([0])
    """

    def _choose(self, A: Array, b: Array, k: int) -> Indices | list[int]:
        lengths, r, order = np.sqrt((A**2).sum(0)), b, list[int]()
        scale = np.where(lengths > 0, lengths, np.inf)
        while len(order) < k:
            correlation = np.abs(A.T @ r) / scale
            correlation[order] = 0.0
            j = _first_largest(correlation)
            if correlation[j] <= DEPENDENT * np.sqrt(b @ b):
                break
            order.append(j)
            r = b - A @ restricted(A, b, order)
        return order
