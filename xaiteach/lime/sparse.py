"""At most k features: what the methods share, iterative hard thresholding, and what the lasso or ridge choose.

Symbols: as in `linear`; S the support, RSS = ||b - A beta||^2.

The set {||beta||_0 <= k} is a union of subspaces, one for each choice of k columns: no ball, not convex. `best_subset`
tries every choice and is the yardstick for the rest.
"""

from __future__ import annotations

import warnings
from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xaiteach.errors import OptionError
from xaiteach.lime.checks import Array, at_least, floats, number
from xaiteach.lime.linear import LinearModel, restricted
from xaiteach.lime.path import lasso_path

__all__ = [
    "DEPENDENT",
    "IterativeHardThresholding",
    "LargestCoefficients",
    "LassoThenRefit",
    "SparseModel",
    "hard_threshold",
]

Indices = NDArray[np.intp]

DEPENDENT = 1e-11
"""A column that the chosen ones leave this fraction of its length adds nothing but rounding."""


def hard_threshold(z: object, k: int) -> Array:
    """The point nearest to z with at most k entries that are not 0: all but the k largest magnitudes go.

    Of equal magnitudes the first stays.

    Parameters
        z : (n,) numbers.
        k : int >= 0.
    Raises
        ShapeError, OptionError: z is no vector of finite numbers, or k no such integer.
    Source
        Blumensath, Davies (2008), eq. 4.
    Examples
        >>> hard_threshold([1.0, -3.0, 2.0], 2)
        array([ 0., -3.,  2.])
    """
    z = floats(z, ("n",), "z", "hard_threshold")
    at_least(k, 0, "k", "hard_threshold")
    kept = np.argsort(-np.abs(z), kind="stable")[:k]
    found = np.zeros_like(z)
    found[kept] = z[kept]
    return found


@dataclass(eq=False)
class SparseModel(LinearModel):
    """Least squares on a support that a subclass chooses.

    Parameters
        k : int >= 0. Features at most; the intercept is not counted. From n up, all of them may stay.
        fit_intercept : bool. Default True.
    Attributes
        coef_, intercept_ : see `linear.LinearModel`.
        order_ : array of int. The features chosen, in the order of their choice, where there is one.
        support_ : array of int. The same, sorted. Fewer than k where the rest would explain nothing more.
    """

    k: int

    def _solve(self, A: Array, b: Array) -> Array:
        k = min(at_least(self.k, 0, "k", type(self).__name__), A.shape[1])
        self.order_: Indices = np.asarray(self._choose(A, b, k) if k and b.any() else [], dtype=np.intp)
        self.support_: Indices = np.sort(self.order_)
        return restricted(A, b, self.support_)

    @abstractmethod
    def _choose(self, A: Array, b: Array, k: int) -> Indices | list[int]:
        """Columns to keep, at most k >= 1 of them, for a b that is not 0."""


def _falling(beta: Array) -> Indices:
    """Indices of the coefficients that are not 0, from the largest magnitude down."""
    return np.argsort(-np.abs(beta), kind="stable")[: np.count_nonzero(beta)]


@dataclass(eq=False)
class IterativeHardThresholding(SparseModel):
    """Gradient steps, each followed by setting all but the k largest coefficients to 0; then least squares on those.

    beta <- H_k(beta + step X^T Pi (y - X beta)). Up to step = 1/lambda_max(X^T Pi X) the RSS never rises, and what it
    settles on is a local minimum, which depends on the units of the features.

    Parameters
        k, fit_intercept : see `SparseModel`.
        step : float > 0 or None. At most 1/lambda_max. None: 1/lambda_max.
        max_iter : int >= 1. Steps at most. Default 10 000.
    Attributes
        coef_, intercept_, order_, support_ : see `SparseModel`. order_ runs from the largest coefficient down.
        n_iter_ : int. Steps taken.
        converged_ : bool. Whether the last step moved no coefficient by more than 1e-10 of the largest; a warning says
            where it did.
    Raises
        OptionError: a longer step.
    Cost
        n^2 for each step.
    Source
        Homework Q2c; Blumensath, Davies (2008), eq. 3; the step after (2010), where it adapts.
    Examples
        >>> solver = IterativeHardThresholding(1, fit_intercept=False).fit(np.eye(3), [1, -3, 2])
        >>> solver.coef_, solver.converged_
        (array([ 0., -3.,  0.]), True)
    """

    step: float | None = None
    max_iter: int = 10_000

    def _solve(self, A: Array, b: Array) -> Array:
        self.n_iter_, self.converged_ = 0, True
        return super()._solve(A, b)

    def _choose(self, A: Array, b: Array, k: int) -> Indices | list[int]:
        who = "IterativeHardThresholding"
        at_least(self.max_iter, 1, "max_iter", who)
        longest = 1 / float(np.linalg.norm(A, 2)) ** 2
        step = longest if self.step is None else number(self.step, "step", who)
        if step > longest * (1 + 1e-9):
            raise OptionError(
                f"{who}: `step` must be at most 1/lambda_max(X^T Pi X) = {longest:.6g}, or the RSS may rise; got "
                f"{step!r}. Try step=None."
            )
        beta = np.zeros(A.shape[1])
        self.converged_ = False
        while self.n_iter_ < self.max_iter and not self.converged_:
            following = hard_threshold(beta + step * A.T @ (b - A @ beta), k)
            self.converged_ = bool(np.abs(following - beta).max() <= 1e-10 * np.abs(following).max())
            beta, self.n_iter_ = following, self.n_iter_ + 1
        if not self.converged_:
            warnings.warn(
                f"{who}: coefficients still move after {self.max_iter} steps. Try a larger max_iter, or features "
                "scaled to the same length.",
                RuntimeWarning,
                stacklevel=5,  # the caller of fit
            )
        return _falling(beta)


@dataclass(eq=False)
class LassoThenRefit(SparseModel):
    """The lasso chooses, least squares refits: what the LIME paper calls K-Lasso.

    The choice is the support of the last knot of the path, towards lambda = 0, that has at most k features. The refit
    undoes the lasso's shrinkage.

    Parameters
        k, fit_intercept : see `SparseModel`.
    Attributes
        coef_, intercept_, order_, support_ : see `SparseModel`. order_ runs from the largest coefficient down.
    Cost
        A path, see `path.lasso_path`.
    Source
        Ribeiro et al. (2016), algorithm 1; which knot, as in the lime package's "lasso_path".
    Examples
        >>> LassoThenRefit(1, fit_intercept=False).fit(np.eye(3), [1, -3, 2]).coef_
        array([ 0., -3.,  0.])
    """

    def _choose(self, A: Array, b: Array, k: int) -> Indices | list[int]:
        path = lasso_path(A, b)
        last = int(np.flatnonzero((path.coefs != 0).sum(1) <= k)[-1])
        return _falling(path.coefs[last])


@dataclass(eq=False)
class LargestCoefficients(SparseModel):
    """The k largest coefficients of a slightly penalised fit of everything, then least squares on them.

    What the lime package does above six features, and a mistake to know: of two features that share an effect it may
    keep both, or neither; best subset refits every choice.

    Parameters
        k, fit_intercept : see `SparseModel`.
        penalty : float >= 0. lambda of the ridge fit. Default 0.01, the lime package's.
    Attributes
        coef_, intercept_, order_, support_ : see `SparseModel`. order_ runs from the largest coefficient down.
    Cost
        A ridge solution.
    Source
        The lime package's "highest_weights", whose weights are coefficient times value; on on/off masks the value is 1.
    Examples
        >>> LargestCoefficients(1, fit_intercept=False).fit(np.eye(3), [1, -3, 2]).coef_
        array([ 0., -3.,  0.])
    """

    penalty: float = 0.01

    def _choose(self, A: Array, b: Array, k: int) -> Indices | list[int]:
        penalty = number(self.penalty, "penalty", "LargestCoefficients", zero=True)
        U, s, Vt = np.linalg.svd(A, full_matrices=False)
        beta = Vt.T @ (s * (U.T @ b) / (s**2 + penalty))
        return _falling(beta)[:k]
