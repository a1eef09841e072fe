"""Shapley values by all orders, by fractions and by a regression; plain loops over sets of players."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

Payoff = Callable[[frozenset[int]], float]


def subsets(players: Iterable[int]) -> list[frozenset[int]]:
    everyone = sorted(players)
    return [frozenset(c) for size in range(len(everyone) + 1) for c in itertools.combinations(everyone, size)]


def by_orders(payoff: Payoff, M: int, orders: Iterable[Sequence[int]] | None = None) -> list[float]:
    """Mean over orders (all M! by default) of what each player adds when it joins."""
    chosen = list(itertools.permutations(range(M)) if orders is None else orders)
    gains: list[list[float]] = [[] for _ in range(M)]
    for order in chosen:
        present: frozenset[int] = frozenset()
        for i in order:
            gains[i].append(payoff(present | {i}) - payoff(present))
            present |= {i}
    return [math.fsum(of_one) / len(chosen) for of_one in gains]


def by_definition(payoff: Callable[[frozenset[int]], Fraction], M: int) -> list[Fraction]:
    """Seed 002 (6.1), in fractions: no rounding."""
    total = Fraction(math.factorial(M))
    return [
        sum(
            Fraction(math.factorial(len(S)) * math.factorial(M - len(S) - 1)) / total * (payoff(S | {i}) - payoff(S))
            for S in subsets(set(range(M)) - {i})
        )
        for i in range(M)
    ]


def by_members(payoff: Callable[[frozenset[int]], Fraction], M: int) -> list[Fraction]:
    """Lundberg, Lee (2017), theorem 1, over coalitions z' that have player i, with the weight that fits them."""
    total = Fraction(math.factorial(M))
    return [
        sum(
            Fraction(math.factorial(len(z) - 1) * math.factorial(M - len(z))) / total * (payoff(z) - payoff(z - {i}))
            for z in subsets(range(M))
            if i in z
        )
        for i in range(M)
    ]


def by_regression(payoff: Payoff, M: int) -> np.ndarray:
    """Weighted least squares over all coalitions; the last player's coefficient follows from the sum."""
    everyone = frozenset(range(M))
    nobody, gain = payoff(frozenset()), payoff(everyone) - payoff(frozenset())
    rows, right = [], []
    for z in subsets(everyone):
        if 0 < len(z) < M:
            weight = (M - 1) / (math.comb(M, len(z)) * len(z) * (M - len(z)))
            last = float(M - 1 in z)
            rows.append([math.sqrt(weight) * (float(i in z) - last) for i in range(M - 1)])
            right.append(math.sqrt(weight) * (payoff(z) - nobody - last * gain))
    first = np.linalg.lstsq(np.array(rows), np.array(right), rcond=None)[0]
    return np.append(first, gain - first.sum())


def payoff_of(
    model: Callable[[Tensor], Tensor],
    x: Tensor,
    baseline: Tensor,
    labels: Tensor,
    target: int,
    output: str = "logit",
) -> Payoff:
    """Score of one sample (...) when only the positions of some labels are there; labels of x's own shape."""

    @functools.cache
    def payoff(present: frozenset[int]) -> float:
        z = baseline.clone()
        for index in itertools.product(*map(range, x.shape)):
            if int(labels[index]) in present:
                z[index] = x[index]
        with torch.no_grad():
            logits = model(z[None])[0]
        return float(logits[target] if output == "logit" else logits.softmax(0)[target])

    return payoff


def spread(phi: Sequence[float], labels: Tensor) -> Tensor:
    """Each player's value divided by its number of positions, at each of them."""
    found = torch.zeros(labels.shape, dtype=torch.float64)
    for player, value in enumerate(phi):
        positions = labels == player
        found[positions] = value / int(positions.sum())
    return found


# DASP, unit by unit

Layer = tuple[str, Tensor | None, Tensor | None]
"""("dense", weight, bias), ("relu", None, None), or ("pairs", None, None): the larger of each two neighbours."""


def normal(a: float) -> tuple[float, float]:
    """Standard normal density and distribution at a."""
    return math.exp(-a * a / 2) / math.sqrt(2 * math.pi), 0.5 * math.erfc(-a / math.sqrt(2))


def larger(m1: float, v1: float, m2: float, v2: float) -> tuple[float, float]:
    """Clark (1961): mean and variance of the larger of two independent Gaussians, by their first two moments."""
    t = math.sqrt(v1 + v2)
    if t == 0:
        return max(m1, m2), 0.0
    density, below = normal((m1 - m2) / t)
    first = m1 * below + m2 * (1 - below) + t * density
    second = (m1 * m1 + v1) * below + (m2 * m2 + v2) * (1 - below) + (m1 + m2) * t * density
    return first, second - first * first


def propagate(layers: Sequence[Layer], units: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Mean and variance of every unit, layer after layer, units taken for independent."""
    for kind, weight, bias in layers:
        if kind == "dense" and weight is not None and bias is not None:
            units = [
                (
                    float(bias[u]) + sum(float(w) * m for w, (m, _) in zip(weight[u], units, strict=True)),
                    sum(float(w) ** 2 * v for w, (_, v) in zip(weight[u], units, strict=True)),
                )
                for u in range(len(bias))
            ]
        elif kind == "relu":
            units = [larger(m, v, 0.0, 0.0) for m, v in units]
        else:
            units = [larger(*units[2 * u], *units[2 * u + 1]) for u in range(len(units) // 2)]
    return units


def mean_score(
    layers: Sequence[Layer], x: Tensor, baseline: Tensor, target: int, others: Sequence[int], k: int, with_: list[int]
) -> float:
    """Mean score of coalitions of k of the others and `with_`; the first layer's moments by trying all coalitions."""
    _, weight, bias = layers[0]
    units = []
    for w, b in zip(weight, bias, strict=True):  # type: ignore[arg-type]
        sums = []
        for chosen in itertools.combinations(others, k):
            present = {*chosen, *with_}
            sums.append(float(b) + sum(float(w[j] * (x[j] if j in present else baseline[j])) for j in range(len(x))))
        mean = math.fsum(sums) / len(sums)
        units.append((mean, math.fsum((value - mean) ** 2 for value in sums) / len(sums)))
    return propagate(layers[1:], units)[target][0]


def dasp(layers: Sequence[Layer], x: Tensor, baseline: Tensor, target: int) -> list[float]:
    """Seed 002 (6.25) and (6.26), over all sizes 0 <= k <= M - 1."""
    M = len(x)
    found = []
    for i in range(M):
        others = [j for j in range(M) if j != i]
        gains = [
            mean_score(layers, x, baseline, target, others, k, [i])
            - mean_score(layers, x, baseline, target, others, k, [])
            for k in range(M)
        ]
        found.append(math.fsum(gains) / M)
    return found
