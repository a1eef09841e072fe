"""The lasso's path: every solution, from all zeros to least squares (homework Q2c, Q2d).

Symbols: as in `linear`; r = b - A beta the residual, S the support, s the signs of beta; the correlation of column j is
2 A_j^T r, which is lambda s_j on S and within +-lambda elsewhere (see `l1`).

scikit-learn's lars_path is not wrapped: it takes no weights, and where columns tie or depend on each other it drops one
with a warning. Its alpha is lambda / (2 N), or lambda / (2 sum of the weights) once the rows are scaled by their root.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import numpy as np
from numpy.typing import NDArray

from xaiteach.errors import ShapeError
from xaiteach.lime.checks import Array

__all__ = ["LassoPath", "lasso_path"]

Bools = NDArray[np.bool_]

_TIE = 1e-11
"""Two correlations are equal when they differ by this fraction of the largest at beta = 0."""
_LEVEL = 1e-9
"""A correlation falls as fast as lambda when their rates, of which lambda's is 1, differ by this."""


@dataclass(frozen=True, eq=False)
class LassoPath:
    """Every lasso solution of one problem: straight lines between knots.

    Parameters
        lambdas : array, shape (K,), falling from 2 max_j |A_j^T b|, where all is 0, to 0.
        coefs : array, shape (K, n). Solutions there; the last is a least-squares solution of smallest l1 norm.
    """

    lambdas: Array
    coefs: Array

    @property
    def norms(self) -> Array:
        """l1 norm at each knot, shape (K,), rising."""
        found: Array = np.abs(self.coefs).sum(1)
        return found

    def at_penalty(self, penalty: float) -> Array:
        """Solution (n,) for this lambda."""
        if penalty >= self.lambdas[0]:
            return np.zeros(self.coefs.shape[1])
        left = int(np.searchsorted(-self.lambdas, -penalty, side="right")) - 1
        if self.lambdas[left] == penalty:
            return self._between(left, 0.0)
        return self._between(left, (self.lambdas[left] - penalty) / (self.lambdas[left] - self.lambdas[left + 1]))

    def within(self, k: float) -> tuple[Array, float]:
        """Solution (n,) subject to ||beta||_1 <= k, and its lambda: 0 where the end of the path is inside."""
        norms = np.maximum.accumulate(self.norms)  # they rise but for rounding
        if norms[-1] <= k:
            return self._between(-1, 0.0), 0.0
        left = int(np.searchsorted(norms, k, side="right")) - 1  # norms[left] <= k < norms[left + 1]
        share = (k - norms[left]) / (norms[left + 1] - norms[left])
        return self._between(left, share), float((1 - share) * self.lambdas[left] + share * self.lambdas[left + 1])

    def _between(self, left: int, share: float) -> Array:
        found: Array = self.coefs[left].copy()
        if share:
            found += share * (self.coefs[left + 1] - found)
        return found


def lasso_path(A: Array, b: Array) -> LassoPath:
    """All solutions of min ||b - A beta||^2 + lambda ||beta||_1, for lambda from where beta = 0 down to 0.

    Between knots the support S and its signs stay, and beta_S moves on a straight line. At a knot a coefficient of S
    comes to 0, or a column outside ties with those inside. Which of the tied columns then move, and which way, is a
    small least-squares problem with sign constraints (`_direction`): so ties, twins and dependent columns are taken as
    they come.

    Parameters
        A : (r, n). Weighted, centred columns (`linear.reduced`).
        b : (r,).
    Raises
        ShapeError: the path does not end, because columns depend on each other up to rounding.
    Cost
        About n knots, each a pseudo-inverse of the support's columns.
    Source
        Osborne, Presnell, Turlach (2000); Efron et al. (2004), section 3.1.
    """
    n = A.shape[1]
    beta, top = np.zeros(n), 2 * float(np.abs(A.T @ b).max())
    lam, lambdas, coefs = top, [top], [beta]
    while lam > 0:
        if len(lambdas) > 100 * (n + 10):
            raise ShapeError(
                f"lasso_path: the columns must be equal or told apart by more than rounding; got {n} with no end of "
                f"the path after {len(lambdas)} knots. Try leaving out columns that others nearly determine."
            )
        correlation = 2 * A.T @ (b - A @ beta)
        signs = np.where(beta != 0, np.sign(beta), np.sign(correlation))
        tied = np.abs(correlation) >= lam - _TIE * top
        step = _direction(A, signs, beta != 0, tied)
        fall, gone = _next_knot(A, beta, step, correlation, tied, lam)
        lam = lam - fall if lam - fall > _TIE * top else 0.0
        support = ((beta != 0) | (step != 0)) & ~gone
        beta = _on_support(A, b, support, signs, lam)
        beta[beta * signs < 0] = 0.0  # rounding, of one that has hardly left 0
        lambdas.append(lam)
        coefs.append(beta)
    return LassoPath(np.array(lambdas), np.array(coefs))


def _on_support(A: Array, b: Array, support: Bools, signs: Array, lam: float) -> Array:
    """Coefficients (n,) with 2 A_S^T (b - A_S beta_S) = lambda s_S, and 0 outside S.

    With P the pseudo-inverse of A_S: beta_S = P (b - (lambda/2) P^T s_S).
    """
    P = np.linalg.pinv(A[:, support])
    beta = np.zeros(len(signs))
    beta[support] = P @ (b - lam / 2 * (P.T @ signs[support]))
    return beta


def _direction(A: Array, signs: Array, inside: Bools, tied: Bools) -> Array:
    """Rate at which beta moves as lambda falls, shape (n,).

    It is the least of ||A d||^2 - s^T d over the columns inside the support (`inside`, free) and those tied with them
    at 0, which may only move away from 0 with their sign. Lawson and Hanson's method: take in the tied column that
    pulls most, solve, and stop short where a coefficient would turn against its sign.
    """
    chosen, waiting = inside.copy(), tied & ~inside
    d = _slope(A, chosen, signs)
    while True:
        pull = np.where(waiting & ~chosen, signs * (signs - 2 * A.T @ (A @ d)), 0.0)
        strongest = int(np.argmax(pull))
        if pull[strongest] <= _LEVEL:
            return d
        chosen[strongest] = True
        while True:
            wanted = _slope(A, chosen, signs)
            wrong = chosen & ~inside & (signs * wanted <= 0)
            if not wrong.any():
                break
            shares = np.where(wrong, d / np.where(wrong, d - wanted, 1.0), inf)
            d = d + shares.min() * (wanted - d)
            chosen &= shares > shares.min()
            d[~chosen] = 0.0
        d = wanted
        waiting[strongest] = chosen[strongest]  # one that is put out at once pulled by rounding


def _slope(A: Array, support: Bools, signs: Array) -> Array:
    """Rate (n,) at which `_on_support` moves as lambda falls, the signs of the support being held."""
    return -_on_support(A, np.zeros(len(A)), support, signs, 1.0)


def _next_knot(A: Array, beta: Array, step: Array, correlation: Array, tied: Bools, lam: float) -> tuple[float, Bools]:
    """How far lambda falls to the next knot, and which coefficients are 0 there that were not before."""
    moving = (beta != 0) | (step != 0)
    towards = moving & (beta * step < 0)
    zeros = np.where(towards, -beta / np.where(towards, step, 1.0), inf)
    drop = 2 * A.T @ (A @ step)  # of each correlation, per unit of lambda
    entries = [inf]
    for side in (1.0, -1.0):  # where side * correlation meets lambda
        closing = 1 - side * drop
        # One that is tied and does not move falls as fast as lambda, or faster: on its own side it stays within.
        apart = ~moving & ~(tied & (side * correlation > 0)) & (closing > _LEVEL)
        entries += list(((lam - side * correlation) / np.where(apart, closing, 1.0))[apart])
    fall = min(lam, float(zeros.min()), *entries)
    return fall, zeros <= fall * (1 + _TIE)
