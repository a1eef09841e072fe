"""Occlusion, RISE and meaningful perturbation from the papers, position by position and step by step."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import product

import torch
from torch import Tensor

from reference.slow_attribution import softmax_score

Score = Callable[[Tensor], float]
Place = tuple[int, ...]


def places(field: Sequence[int]) -> list[Place]:
    """Every position of a field."""
    return list(product(*(range(side) for side in field)))


def of_one(model: Callable[[Tensor], Tensor], target: int, output: str) -> Callable[[Tensor], Tensor]:
    """Score of one sample, without its batch axis."""
    return lambda sample: softmax_score(model(sample[None])[0], target, output)


def occlusion(S: Score, x: Tensor, base: Tensor, window: Sequence[int], stride: Sequence[int]) -> Tensor:
    """Mean loss over the windows that hide a position; x is (c, *spatial) or (d,); windows end at the border."""
    field = x.shape[1:] if x.ndim > 1 else x.shape
    starts = []
    for side, width, step in zip(field, window, stride, strict=True):
        along = [0]
        while along[-1] + width < side:  # not yet at the border
            along.append(along[-1] + step)
        starts.append(along)
    total, times = torch.zeros(field, dtype=x.dtype), torch.zeros(field, dtype=x.dtype)
    for start in product(*starts):
        inside = [r for r in places(field) if all(a <= i < a + w for i, a, w in zip(r, start, window, strict=True))]
        hidden = x.clone()
        for r in inside:
            hidden[(..., *r)] = base[(..., *r)]
        loss = S(x) - S(hidden)
        for r in inside:
            total[r] += loss
            times[r] += 1
    return total / times


def rise_mask(cells: Tensor, shift: Sequence[int], field: Sequence[int]) -> Tensor:
    """Petsiuk et al. (2018), section 3.2: s cells enlarged to (s + 1) C by linear interpolation, cut at the shift."""
    mask = torch.zeros(tuple(field), dtype=torch.float64)
    for r in places(field):
        corners = []  # along each axis, two cells and their weights
        for i, tau, side, s in zip(r, shift, field, cells.shape, strict=True):
            C = math.ceil(side / s)
            at = min(max((i + tau + 0.5) * s / ((s + 1) * C) - 0.5, 0.0), s - 1.0)
            low = math.floor(at)
            corners.append([(low, low + 1 - at), (min(low + 1, s - 1), at - low)])
        for corner in product(*corners):
            mask[r] += math.prod(weight for _, weight in corner) * cells[tuple(cell for cell, _ in corner)]
    return mask


def rise(S: Score, x: Tensor, base: Tensor, masks: Sequence[Tensor], keep: float) -> Tensor:
    """Sum of score times mask, over N times the masks' expectation."""
    total = torch.zeros_like(masks[0])
    for mask in masks:
        total += S(mask * x + (1 - mask) * base) * mask
    return total / (len(masks) * keep)


def gaussian(distance: float, sigma: float) -> float:
    return math.exp(-(distance**2) / (2 * sigma**2))


def blur(x: Tensor, sigma: float) -> Tensor:
    """Gaussian mean within 4 sigma, rounded, along each axis, the border going on; x is (c, *spatial)."""
    field, reach = x.shape[1:], int(4 * sigma + 0.5)
    out = torch.zeros_like(x)
    offsets = list(product(range(-reach, reach + 1), repeat=len(field)))
    weights = [math.prod(gaussian(o, sigma) for o in offset) for offset in offsets]
    for r in places(field):
        for offset, weight in zip(offsets, weights, strict=True):
            v = tuple(min(max(i + o, 0), side - 1) for i, o, side in zip(r, offset, field, strict=True))
            out[(slice(None), *r)] += weight / sum(weights) * x[(slice(None), *v)]
    return out


def enlarged(m: Tensor, field: Sequence[int]) -> Tensor:
    """M(v) = sum_u g(v - u) m(u) / sum_u g(v - u), with 5/8 of a cell for g's deviation along each axis."""
    M = []
    for v in places(field):
        weights = {}
        for u in places(m.shape):
            sizes = [side / count for side, count in zip(field, m.shape, strict=True)]
            weights[u] = math.prod(
                gaussian(i - ((j + 0.5) * size - 0.5), 5 / 8 * size) for i, j, size in zip(v, u, sizes, strict=True)
            )
        M.append(sum(weight * m[u] for u, weight in weights.items()) / sum(weights.values()))
    return torch.stack(M).reshape(tuple(field))


def moved(x: Tensor, tau: Sequence[int]) -> Tensor:
    """x(v - tau), the border going on; x is (c, *spatial)."""
    field = x.shape[1:]
    out = torch.empty_like(x)
    for v in places(field):
        source = tuple(min(max(i - t, 0), side - 1) for i, t, side in zip(v, tau, field, strict=True))
        out[(slice(None), *v)] = x[(slice(None), *source)]
    return out


def price(m: Tensor, l1: float, tv: float, beta: float) -> Tensor:
    """First two terms of Fong and Vedaldi's eq. 4, as means over cells, slopes per 1/28 of the longest side."""
    deleted = sum(1 - m[u] for u in places(m.shape))
    variation = torch.zeros((), dtype=m.dtype)
    for u in places(m.shape):
        for axis, count in enumerate(m.shape):
            if u[axis] + 1 < count:
                after = (*u[:axis], u[axis] + 1, *u[axis + 1 :])
                variation = variation + ((m[after] - m[u]).abs() * max(m.shape) / 28) ** beta
    return (l1 * deleted + tv * variation) / m.numel()


def disc(S: Score, x: Tensor, fill: Tensor, cells: Sequence[int]) -> Tensor:
    """Smallest of 20 discs, with an edge of 3 cells, that takes away 99 % of what deleting everything does, or none."""

    def away(u: Place) -> float:
        return math.sqrt(sum((2 * (j + 0.5) / count - 1) ** 2 for j, count in zip(u, cells, strict=True)))

    def left(m: Tensor) -> float:
        M = enlarged(m, x.shape[1:])
        return float(S(M * x + (1 - M) * fill).detach())

    nothing = torch.ones(tuple(cells), dtype=x.dtype)
    everything = left(0 * nothing)
    farthest = max(away(u) for u in places(cells))
    for k in range(21):
        m = nothing.clone()
        for u in places(cells):
            if k > 0:
                m[u] = min(max((away(u) - farthest * (k / 20)) / (2 * 3 / max(cells)), 0.0), 1.0)
        if left(nothing) - left(m) >= 0.99 * (left(nothing) - everything):
            return m
    raise RuntimeError("the largest disc deletes everything")


def meaningful_perturbation(
    S: Callable[[Tensor], Tensor],
    x: Tensor,
    fill: Tensor,
    cells: Sequence[int],
    taus: Sequence[Sequence[int]],
    prices: tuple[float, float, float],
    rate: float,
) -> Tensor:
    """Deleted share of each position after as many steps of Adam (Kingma, Ba 2015) as there are jitters."""
    m = disc(S, x, fill, cells)
    first, second = [0.0] * m.numel(), [0.0] * m.numel()
    for t, tau in enumerate(taus, start=1):
        leaf = m.clone().requires_grad_()
        M = enlarged(leaf, x.shape[1:])
        loss = S(M * moved(x, tau) + (1 - M) * moved(fill, tau)) + price(leaf, *prices)
        (g,) = torch.autograd.grad(loss, leaf)
        for i, slope in enumerate(g.reshape(-1).tolist()):
            first[i] = 0.9 * first[i] + 0.1 * slope
            second[i] = 0.999 * second[i] + 0.001 * slope**2
            mean, square = first[i] / (1 - 0.9**t), second[i] / (1 - 0.999**t)
            moved_to = float(m.view(-1)[i]) - rate * mean / (math.sqrt(square) + 1e-8)
            m.view(-1)[i] = min(max(moved_to, 0.0), 1.0)
    return 1 - enlarged(m, x.shape[1:])
