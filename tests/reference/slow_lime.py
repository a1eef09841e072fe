"""LIME's problems the slow way: exact fractions, bisection, one coordinate at a time, every subset, pixel by pixel."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Matrix = list[list[Fraction]]


def _fractions(values: object) -> Matrix:
    return [[Fraction(v) for v in row] for row in np.asarray(values, dtype=float).tolist()]


def _row_reduce(rows: Matrix) -> Matrix:
    """Rows that are left after Gauss-Jordan elimination, each with a leading 1."""
    rows, done = [list(row) for row in rows], 0
    for column in range(len(rows[0]) - 1):
        pivot = next((i for i in range(done, len(rows)) if rows[i][column] != 0), None)
        if pivot is None:
            continue
        rows[done], rows[pivot] = rows[pivot], rows[done]
        rows[done] = [v / rows[done][column] for v in rows[done]]
        for i in range(len(rows)):
            if i != done:
                factor = rows[i][column]
                rows[i] = [v - factor * p for v, p in zip(rows[i], rows[done], strict=True)]
        done += 1
    return rows[:done]


def _solve(rows: Matrix) -> list[Fraction]:
    """Solution of smallest norm of consistent equations [R | g], exactly: R^T (R R^T)^-1 g on independent rows."""
    reduced = _row_reduce(rows)
    R, g = [row[:-1] for row in reduced], [row[-1] for row in reduced]
    if not R:
        return [Fraction(0)] * (len(rows[0]) - 1)
    gram = [
        [sum((a * b for a, b in zip(p, q, strict=True)), Fraction(0)) for q in R] + [v]
        for p, v in zip(R, g, strict=True)
    ]
    u = [row[-1] for row in _row_reduce(gram)]
    return [sum((R[i][j] * u[i] for i in range(len(R))), Fraction(0)) for j in range(len(R[0]))]


def least_squares(
    X: object, y: object, w: object = None, intercept: bool = True, penalty: float = 0.0
) -> tuple[Array, float]:
    """beta = (X^T Pi X + lambda I)^-1 X^T Pi y of smallest norm and the intercept, in exact fractions."""
    rows, scores = _fractions(X), [Fraction(float(v)) for v in np.asarray(y, dtype=float)]
    weights = [Fraction(float(v)) for v in (np.ones(len(rows)) if w is None else np.asarray(w, dtype=float))]
    n, total = len(rows[0]), sum(weights, Fraction(0))
    means = [Fraction(0)] * n
    y_mean = Fraction(0)
    if intercept:
        means = [
            sum((wi * row[j] for wi, row in zip(weights, rows, strict=True)), Fraction(0)) / total for j in range(n)
        ]
        y_mean = sum((wi * v for wi, v in zip(weights, scores, strict=True)), Fraction(0)) / total
    centred = [[v - m for v, m in zip(row, means, strict=True)] for row in rows]
    equations = []
    for i in range(n):
        line = []
        for j in range(n):
            line.append(sum((wi * row[i] * row[j] for wi, row in zip(weights, centred, strict=True)), Fraction(0)))
        line[i] += Fraction(penalty)
        triples = zip(weights, centred, scores, strict=True)
        line.append(sum((wi * row[i] * (v - y_mean) for wi, row, v in triples), Fraction(0)))
        equations.append(line)
    beta = _solve(equations)
    b0 = y_mean - sum((m * v for m, v in zip(means, beta, strict=True)), Fraction(0))
    return np.array([float(v) for v in beta]), float(b0)


def weighted(X: Array, y: Array, w: Array, intercept: bool = True) -> tuple[Array, Array]:
    """Rows times the root of their weight, after centring with the weights where there is an intercept."""
    x_mean = (w[:, None] * X).sum(0) / w.sum() if intercept else 0.0
    y_mean = (w * y).sum() / w.sum() if intercept else 0.0
    root = w**0.5
    return root[:, None] * (X - x_mean), root * (y - y_mean)


def bisect(f: Callable[[float], float], low: float, high: float) -> float:
    """Root of a falling f between low, where it is above 0, and high, where it is below."""
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if f(middle) > 0 else (low, middle)
    return (low + high) / 2


def ridge_multiplier(X: Array, y: Array, w: Array, k: float, intercept: bool = True) -> float:
    """lambda with ||beta(lambda)|| = k, by bisection on the normal equations."""
    A, b = weighted(X, y, w, intercept)

    def excess(lam: float) -> float:
        beta = np.linalg.solve(A.T @ A + lam * np.eye(A.shape[1]), A.T @ b)
        return float(np.sqrt((beta**2).sum())) - k

    high = 1.0
    while excess(high) > 0:
        high *= 2
    return bisect(excess, 0.0, high)


def lasso(A: Array, b: Array, lam: float, sweeps: int = 20_000) -> Array:
    """Minimum of ||b - A beta||^2 + lambda ||beta||_1, one coordinate at a time."""
    beta, squares = np.zeros(A.shape[1]), (A**2).sum(0)
    r = b.copy()
    for _ in range(sweeps):
        largest = 0.0
        for j in range(A.shape[1]):
            if squares[j] == 0:
                continue
            z = float(A[:, j] @ r) + squares[j] * beta[j]
            new = math.copysign(max(abs(z) - lam / 2, 0.0), z) / squares[j]
            r = r - A[:, j] * (new - beta[j])
            largest = max(largest, abs(new - beta[j]))
            beta[j] = new
        if largest <= 1e-15:
            break
    return beta


def project_l1(v: Array, k: float) -> Array:
    """Nearest point with ||.||_1 <= k, by bisection on the threshold."""

    def cut(threshold: float) -> Array:
        return np.array([math.copysign(max(abs(z) - threshold, 0.0), z) for z in v])

    if sum(abs(z) for z in v) <= k:
        return v.copy()
    return cut(bisect(lambda t: float(np.abs(cut(t)).sum()) - k, 0.0, float(np.abs(v).max())))


def lasso_within(A: Array, b: Array, k: float, steps: int = 20_000) -> Array:
    """Minimum of ||b - A beta||^2 subject to ||beta||_1 <= k, by plain projected gradient."""
    beta = np.zeros(A.shape[1])
    length = 1 / float(np.linalg.eigvalsh(A.T @ A)[-1])
    for _ in range(steps):
        new = project_l1(beta + length * (A.T @ (b - A @ beta)), k)
        if np.abs(new - beta).max() <= 1e-15:
            break
        beta = new
    return beta


def rss_of(A: Array, b: Array, columns: Sequence[int]) -> float:
    """Least ||b - A_S beta_S||^2."""
    if not columns:
        return float(b @ b)
    beta = np.linalg.lstsq(A[:, list(columns)], b, rcond=None)[0]
    return float(((b - A[:, list(columns)] @ beta) ** 2).sum())


def best_subset(A: Array, b: Array, k: int) -> tuple[float, tuple[int, ...]]:
    """Least RSS over every choice of at most k columns, and the first that has it."""
    choices = [c for size in range(k + 1) for c in combinations(range(A.shape[1]), size)]
    return min(((rss_of(A, b, c), c) for c in choices), key=lambda found: found[0])


def forward(A: Array, b: Array, k: int) -> list[int]:
    """Each time the column with which the refitted RSS is least."""
    order: list[int] = []
    while len(order) < k:
        rest = [j for j in range(A.shape[1]) if j not in order]
        order.append(min(rest, key=lambda j: rss_of(A, b, [*order, j])))
    return order


def matching_pursuit(A: Array, b: Array, k: int) -> list[int]:
    """Each time the column with the smallest angle to the residual."""
    order: list[int] = []
    while len(order) < k:
        r = b
        if order:
            r = b - A[:, order] @ np.linalg.lstsq(A[:, order], b, rcond=None)[0]
        rest = [j for j in range(A.shape[1]) if j not in order]
        order.append(max(rest, key=lambda j: abs(float(A[:, j] @ r)) / math.sqrt(float(A[:, j] @ A[:, j]))))
    return order


def hidden_images(x: Array, labels: NDArray[np.int64], masks: Array, fill: Array | None = None) -> Array:
    """x (c, h, w) for each mask, position by position; where a superpixel is off, its mean colour or the fill."""
    found = np.empty((len(masks), *x.shape))
    for i, mask in enumerate(masks):
        for channel in range(x.shape[0]):
            for place in np.ndindex(*labels.shape):
                if mask[labels[place]]:
                    found[(i, channel, *place)] = x[(channel, *place)]
                elif fill is not None:
                    found[(i, channel, *place)] = fill[(channel, *place)]
                else:
                    same = [x[(channel, *p)] for p in np.ndindex(*labels.shape) if labels[p] == labels[place]]
                    found[(i, channel, *place)] = sum(same) / len(same)
    return found


def mask_weights(masks: Array, width: float) -> Array:
    """sqrt(exp(-d^2 / width^2)) of the cosine distance to the mask that is all on."""
    weights = []
    for mask in masks:
        on, M = sum(mask), len(mask)
        d = 1 - (on / (math.sqrt(on) * math.sqrt(M)) if on else 0.0)
        weights.append(math.sqrt(math.exp(-(d**2) / width**2)))
    return np.array(weights)
