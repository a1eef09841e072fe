"""Masking protocols from the papers, by loops over samples, positions and steps, in plain numbers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

Model = Callable[[Tensor], Tensor]
Place = tuple[int, ...]


def score(model: Model, one: Tensor, c: int, output: str) -> float:
    with torch.no_grad():
        logits = [float(v) for v in model(one[None])[0]]
    if output == "logit":
        return logits[c]
    return math.exp(logits[c] - max(logits)) / sum(math.exp(v - max(logits)) for v in logits)


def places(one: Tensor) -> list[Place]:
    """Positions of a sample (c, *spatial), in the order of rows."""
    return list(itertools.product(*(range(side) for side in one.shape[1:])))


def falling(one_map: Tensor) -> list[Place]:
    """Positions from the largest value down; the values must all differ."""
    every = list(itertools.product(*(range(side) for side in one_map.shape)))
    assert len({float(one_map[at]) for at in every}) == len(every)
    return sorted(every, key=lambda at: -float(one_map[at]))


def with_replaced(one: Tensor, fill: Tensor, gone: Sequence[Place]) -> Tensor:
    made = one.clone()
    for at in gone:
        for channel in range(len(one)):
            made[(channel, *at)] = fill[(channel, *at)]
    return made


def deletion(model: Model, one: Tensor, one_map: Tensor, fill: Tensor, c: int, output: str) -> list[float]:
    """Score after the 0, 1, 2, ... highest positions are gone."""
    order = falling(one_map)
    return [score(model, with_replaced(one, fill, order[:k]), c, output) for k in range(len(order) + 1)]


def insertion(model: Model, one: Tensor, one_map: Tensor, fill: Tensor, c: int, output: str) -> list[float]:
    """Score after the 0, 1, 2, ... highest positions were brought into the fill."""
    order = falling(one_map)
    return [score(model, with_replaced(fill, one, order[:k]), c, output) for k in range(len(order) + 1)]


def trapezia(values: Sequence[float]) -> float:
    return sum((a + b) / 2 for a, b in itertools.pairwise(values)) / (len(values) - 1)


def region_perturbation(
    model: Model, one: Tensor, one_map: Tensor, fill: Tensor, c: int, side: int, steps: int, order: str
) -> list[float]:
    """Logit after 0, 1, ... regions were replaced."""
    regions: dict[Place, list[Place]] = {}
    for at in places(one):
        regions.setdefault(tuple(i // side for i in at), []).append(at)
    means = {name: sum(float(one_map[at]) for at in inside) / len(inside) for name, inside in regions.items()}
    ranked = sorted(regions, key=lambda name: -means[name] if order == "morf" else means[name])
    found = []
    for k in range(steps + 1):
        gone = [at for name in ranked[:k] for at in regions[name]]
        found.append(score(model, with_replaced(one, fill, gone), c, "logit"))
    return found


def aopc(values: Sequence[float]) -> float:
    return sum(values[0] - value for value in values) / len(values)


def drop_and_increase(whole: Sequence[float], kept: Sequence[float]) -> tuple[float, float]:
    drops = [max((y - o) / y, 0.0) for y, o in zip(whole, kept, strict=True)]
    return sum(drops) / len(drops), sum(o > y for y, o in zip(whole, kept, strict=True)) / len(drops)


def completeness(f: float, g: float, e1: float) -> float:
    return min(max(g, e1) / f, 1.0)


def soundness(f: float, g: float, e2: float) -> float:
    return min(max(f, e2) / g, 1.0)


def correlation(a: Sequence[float], b: Sequence[float]) -> float:
    return float(np.corrcoef(a, b)[0, 1])


def infidelity(foretold: Sequence[float], lost: Sequence[float]) -> float:
    return sum((p - q) ** 2 for p, q in zip(foretold, lost, strict=True)) / len(lost)
