"""Localisation, planted truth and retraining from the papers, by loops over samples, positions and steps."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

Place = tuple[int, ...]


def places(shape: Sequence[int]) -> list[Place]:
    """Every position, in the order of rows."""
    return list(itertools.product(*(range(side) for side in shape)))


def value(one: Tensor, at: Place) -> float:
    return float(one[at])


def parts(above: set[Place], steps: int) -> list[set[Place]]:
    """Connected parts of a set of positions; neighbours differ by at most 1 along at most `steps` axes."""
    left, found = sorted(above), []
    while left:
        part, edge = {left[0]}, [left[0]]
        while edge:
            here = edge.pop()
            for move in itertools.product((-1, 0, 1), repeat=len(here)):
                there = tuple(a + b for a, b in zip(here, move, strict=True))
                if 0 < sum(map(abs, move)) <= steps and there in above and there not in part:
                    part.add(there)
                    edge.append(there)
        found.append(part)
        left = [place for place in left if place not in part]
    return found


def region(one: Tensor, threshold: float, steps: int, largest: bool = True) -> set[Place]:
    """Zhou et al. (2016): above a fraction of the maximum, the largest part of it."""
    most = max(value(one, at) for at in places(one.shape))
    above = {at for at in places(one.shape) if value(one, at) > 0 and value(one, at) > threshold * most}
    if not largest or not above:
        return above
    return max(parts(above, steps), key=len)  # of equals the first, and parts come in the order of rows


def box(region: Iterable[Place], axes: int) -> list[int]:
    region = list(region)
    if not region:
        return [0] * 2 * axes
    return [min(at[a] for at in region) for a in range(axes)] + [max(at[a] for at in region) + 1 for a in range(axes)]


def inside(box: Sequence[int]) -> set[Place]:
    axes = len(box) // 2
    return set(itertools.product(*(range(box[a], box[axes + a]) for a in range(axes))))


def iou(a: Sequence[int], b: Sequence[int]) -> float:
    one, two = inside(a), inside(b)
    return len(one & two) / len(one | two) if one | two else 0.0


def energy(one: Tensor, mask: Tensor) -> float:
    """Wang et al. (2020)."""
    total = sum(max(value(one, at), 0.0) for at in places(one.shape))
    within = sum(max(value(one, at), 0.0) for at in places(one.shape) if bool(mask[at]))
    return within / total if total else 0.0


def pointing(one: Tensor, mask: Tensor, tolerance: float) -> float:
    """Zhang et al. (2018), the mean over all positions that share the maximum."""
    objects = [at for at in places(mask.shape) if bool(mask[at])]
    most = max(value(one, at) for at in places(one.shape))
    tops = [at for at in places(one.shape) if value(one, at) == most]
    hits = [any(math.dist(top, at) <= tolerance for at in objects) for top in tops]
    return sum(hits) / len(hits)


def resized(one: Tensor, size: Sequence[int]) -> Tensor:
    """Linear interpolation of (c, *spatial) between the centres of positions, axis by axis."""
    for axis, new in enumerate(size, start=1):
        old = one.shape[axis]
        columns = []
        for i in range(new):
            at = min(max((i + 0.5) * old / new - 0.5, 0.0), old - 1.0)
            low = math.floor(at)
            high = min(low + 1, old - 1)
            columns.append(one.select(axis, low) * (1 - (at - low)) + one.select(axis, high) * (at - low))
        one = torch.stack(columns, axis)
    return one


def saliency_metric(
    model: Callable[[Tensor], Tensor], sample: Tensor, target: int, box: Sequence[int], least: float = 0.05
) -> float:
    """Dabkowski and Gal (2017)."""
    spatial = sample.shape[1:]
    axes = len(spatial)
    if not inside(box):
        box = [0] * axes + list(spatial)
    crop = sample
    for axis in range(axes):
        crop = crop.narrow(axis + 1, box[axis], box[axes + axis] - box[axis])
    logits = [float(s) for s in model(resized(crop, spatial)[None])[0]]
    top = max(logits)
    p = math.exp(logits[target] - top) / sum(math.exp(s - top) for s in logits)
    share = len(inside(box)) / math.prod(spatial)
    return math.log(max(share, least)) - math.log(p)


def visible(one: Tensor, quantile: float = 0.99) -> Tensor:
    """Yang and Kim (2019): positive values, from the least to a high percentile, brought to [0, 1]."""
    kept = np.maximum(one.numpy(), 0)
    low, high = kept.min(), np.quantile(kept, quantile)
    return torch.from_numpy(np.clip((kept - low) / (high - low), 0, 1))


def concept_attribution(one: Tensor, mask: Tensor, quantile: float = 0.99) -> float:
    seen = visible(one, quantile)
    inside = [float(seen[at]) for at in places(seen.shape) if bool(mask[at])]
    return sum(inside) / len(inside)


def degraded(sample: Tensor, ranks: Sequence[int], fraction: float, fill: Sequence[float], keep: bool) -> Tensor:
    """Hooker et al. (2019): one sample (c, *spatial), whose positions are numbered in the order of rows."""
    count = round(fraction * len(ranks))
    chosen = set(ranks[:count])
    found = sample.clone()
    for number, at in enumerate(places(sample.shape[1:])):
        if (number in chosen) != keep:
            for c in range(len(sample)):
                found[(c, *at)] = fill[c]
    return found


def trained(
    net: nn.Module, x: Tensor, y: Tensor, batches: Sequence[Tensor], rate: float, momentum: float, decay: float
) -> nn.Module:
    """Gradient descent with momentum as on paper: v = momentum v + (g + decay w), w = w - rate v."""
    speed = {name: torch.zeros_like(w) for name, w in net.named_parameters()}
    for rows in batches:
        log_p = net(x[rows]).log_softmax(1)
        loss = -sum(log_p[i, int(c)] for i, c in enumerate(y[rows])) / len(rows)
        slopes = torch.autograd.grad(loss, list(net.parameters()))
        with torch.no_grad():
            for (name, w), g in zip(net.named_parameters(), slopes, strict=True):
                speed[name] = momentum * speed[name] + g + decay * w
                w -= rate * speed[name]
    return net
