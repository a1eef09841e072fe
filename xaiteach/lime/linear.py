"""What every solver shares: checks, weights, the intercept, predictions.

Symbols: N samples, n features, X (N, n), y (N,) scores, Pi the diagonal of weights, beta (n,) coefficients, b0 the
intercept, lambda the price of a norm and k its budget. (The homework writes m for N and W for Pi.)

Every objective is the homework's, ||Pi^(1/2) (y - b0 - X beta)||^2, to which a penalty form adds lambda times a norm:
without a factor 1/2, and without dividing by N or by the sum of the weights. The intercept is neither penalised nor
counted. It is b0 = mean(y) - mean(X) beta, with weighted means, whatever beta is; so solvers see centred data and know
nothing of it. Both sides are multiplied by the root of the weights (by the weights themselves would square them) and
rotated, which leaves a problem ||b - A beta||^2 of at most n rows with the same minima (`reduced`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, fields
from typing import Any, Self

import numpy as np

from xaiteach.errors import ModelError, OptionError, ShapeError, unknown
from xaiteach.lime.checks import Array, floats

__all__ = ["LinearModel", "fidelity", "minimum_norm", "reduced", "restricted"]

_EPS = float(np.finfo(np.float64).eps)
_CONSTANT = 64 * _EPS
"""Spread of a column, over its size, that is rounding: what centring leaves of a constant one."""


def fidelity(y: Any, predicted: Any, sample_weight: Any = None) -> float:
    """Weighted R^2 of a surrogate: 1 is perfect, 0 no better than the weighted mean, below 0 worse.

    1 - sum_i Pi_i (y_i - p_i)^2 / sum_i Pi_i (y_i - mean(y))^2. Measure it on fresh perturbations: on those that the
    surrogate was fitted to it only grows with every feature.

    Parameters
        y : (N,). Scores of the model.
        predicted : (N,). Scores of the surrogate.
        sample_weight : (N,) >= 0, or None for equal weights.
    Returns
        float. Of a constant y, 1 where the prediction is exact, to rounding, and 0 where it is not.
    Raises
        ShapeError: not numbers, not finite, or of different lengths; weights that are negative or all 0.
    Examples
        >>> fidelity([1.0, 2.0, 3.0], [1.0, 2.0, 2.0])
        0.5
    """
    y = floats(y, ("N",), "y", "fidelity")
    predicted = floats(predicted, (len(y),), "predicted", "fidelity")
    w = _weights(sample_weight, len(y), "fidelity")
    missed = float(w @ (y - predicted) ** 2)
    spread = float(w @ _centred(y, w)[0] ** 2)
    if spread == 0:
        return float(missed <= _CONSTANT**2 * (w @ y**2))
    return 1 - missed / spread


def minimum_norm(A: Array, b: Array) -> Array:
    """Solution of A beta = b of smallest norm, shape (n,), for an A of full row rank, as `reduced` makes it.

    It is in the span of A's rows: with A^T = Q R, beta = Q R^-T b. A square A leaves no choice, and elimination does
    not mind columns in different units.
    """
    if A.shape[0] == A.shape[1]:
        return np.asarray(np.linalg.solve(A, b))
    Q, R = np.linalg.qr(A.T)
    return np.asarray(Q @ np.linalg.solve(R.T, b))


def restricted(A: Array, b: Array, support: Any) -> Array:
    """Least-squares coefficients (n,) on the columns of `support`, of smallest norm, and 0 elsewhere."""
    beta, columns = np.zeros(A.shape[1]), A[:, support]
    if columns.size:
        beta[support] = minimum_norm(*reduced(columns, b, np.ones(len(b)), np.sqrt((columns**2).sum(0))))
    return beta


def reduced(X: Array, y: Array, w: Array, size: Array) -> tuple[Array, Array]:
    """Problem of r rows, A (r, n) and b (r,), with the minima of the weighted one; r is the rank of Pi^(1/2) X.

    A^T A = X^T Pi X and A^T b = X^T Pi y, without forming either, which would square the condition. The rank is that
    of columns scaled to length 1, since features come in different units; singular values that rounding can explain
    count as 0, and what rounding leaves grows where centring has cancelled digits.

    Parameters
        X, y : (N, n) and (N,), centred where there is an intercept.
        w : (N,). Weights.
        size : (n,). Weighted length of each column before it was centred.
    """
    root = np.sqrt(w)
    Q, R = np.linalg.qr(root[:, None] * X)
    length = np.sqrt((R**2).sum(0))
    varies = length > 0
    length[~varies] = 1.0
    U, s, Vt = np.linalg.svd(R / length, full_matrices=False)
    lost = 16 * np.sqrt(((size / length)[varies] ** 2).sum())
    r = int((s > _EPS * (max(X.shape) * s[0] + lost)).sum())
    A = np.where(varies, s[:r, None] * Vt[:r] * length, 0.0)  # of a constant column rounding would leave a direction
    b, noise = U[:, :r].T @ (Q.T @ (root * y)), _EPS * (16 + np.sqrt(len(y))) * np.linalg.norm(root * y)
    return A, np.where(np.abs(b) > noise, b, 0.0)  # scores that no column can explain are not explained by rounding


@dataclass(eq=False)
class LinearModel(ABC):
    """A linear surrogate in the manner of scikit-learn: constructor arguments, then `fit`, then names that end in _.

    Parameters
        fit_intercept : bool. Whether there is an intercept, unpenalised and uncounted. Default True: without one the
            fit must pass through the origin, and even a constant score gets an explanation.
    Attributes
        coef_ : array, shape (n,), in units of y per unit of the feature. Exactly 0 where a feature is left out.
        intercept_ : float, in units of y.
        n_features_in_ : int.
    """

    fit_intercept: bool = field(default=True, kw_only=True)

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """The solver itself, fitted.

        Parameters
            X : (N, n) numbers. Array, tensor or data frame.
            y : (N,) numbers. Scores.
            sample_weight : (N,) numbers >= 0, not all 0, or None for ones. Diagonal of Pi; a penalty is weighed
                against their sum.
        Raises
            ShapeError: not finite numbers of these shapes, or weights that are negative or all 0.
            OptionError: an argument of the constructor that makes no sense.
        """
        who = type(self).__name__
        X = floats(X, ("N", "n"), "X", who)
        y = floats(y, (len(X),), "y", who)
        w = _weights(sample_weight, len(X), who)
        if not isinstance(self.fit_intercept, bool):
            raise OptionError(
                f"{who}: `fit_intercept` must be True or False; got {self.fit_intercept!r}. Try fit_intercept=True."
            )
        x_mean, y_mean = np.zeros(X.shape[1]), np.zeros(())
        size = np.sqrt(w @ X**2)
        if self.fit_intercept:
            (X, x_mean), (y, y_mean) = _centred(X, w), _centred(y, w)
        self.coef_: Array = self._solve(*reduced(X, y, w, size)) + 0.0  # no negative zeros
        self.intercept_ = float(y_mean - x_mean @ self.coef_)
        self.n_features_in_ = X.shape[1]
        return self

    @abstractmethod
    def _solve(self, A: Array, b: Array) -> Array:
        """Coefficients (n,) of least or nearly least ||b - A beta||^2; other findings are left in attributes.

        A (r, n) has full row rank.
        """

    def predict(self, X: Any) -> Array:
        """Scores of the surrogate, shape (N,): b0 + X beta.

        Raises
            ModelError: not fitted yet.
            ShapeError: not (N, n) finite numbers, n as fitted.
        """
        who = type(self).__name__
        if not hasattr(self, "coef_"):
            raise ModelError(f"{who}: it must be fitted before it can predict; it is not. Try fit(X, y) first.")
        found: Array = self.intercept_ + floats(X, ("N", len(self.coef_)), "X", who) @ self.coef_
        return found

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """`fidelity` of the predictions for X, the weighted R^2.

        Raises
            ModelError, ShapeError: as `predict` and `fidelity`.
        """
        return fidelity(y, self.predict(X), sample_weight)

    def get_params(self, deep: bool = True) -> dict[str, Any]:  # noqa: ARG002 - scikit-learn passes it
        """Constructor arguments by name, for scikit-learn's `clone` and searches."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def set_params(self, **params: Any) -> Self:
        """The solver itself, with other constructor arguments.

        Raises
            OptionError: an argument that the constructor does not have.
        """
        for name, value in params.items():
            if name not in self.get_params():
                raise unknown(f"parameter of {type(self).__name__}", name, self.get_params())
            setattr(self, name, value)
        return self


def _weights(sample_weight: Any, N: int, who: str) -> Array:
    if sample_weight is None:
        return np.ones(N)
    w = floats(sample_weight, (N,), "sample_weight", who)
    negative = np.flatnonzero(w < 0)
    if len(negative):
        first = int(negative[0])
        raise ShapeError(
            f"{who}: `sample_weight` must be 0 or above; got {w[first]} for sample {first}. "
            "Try a kernel of the distance, such as exp(-d^2 / width^2)."
        )
    if not w.any():
        raise ShapeError(
            f"{who}: `sample_weight` must be above 0 for at least one sample; got {N} zeros. "
            "Try a wider kernel: these distances are far beyond its width."
        )
    return w


def _centred(values: Array, w: Array) -> tuple[Array, Array]:
    """Values less their weighted mean over the first axis, and that mean; exact zeros where they are constant."""
    share = w / w.max()  # sums of the smallest doubles would lose digits
    mean = np.asarray(share @ values / share.sum())
    centred = values - mean
    size = np.sqrt(share @ values**2)
    constant = np.sqrt(share @ centred**2) <= _CONSTANT * size
    return np.where(constant, 0.0, centred), mean
