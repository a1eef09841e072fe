"""Gradients by finite differences, Grad-CAM and its resizing by loops, the softmax's gradient in exact decimals."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from decimal import Decimal, localcontext

import torch
from torch import Tensor


def finite_differences(score: Callable[[Tensor], Tensor], at: Tensor, step: float = 1e-6) -> Tensor:
    """Gradient of a number by every entry of `at`, one entry at a time, central differences."""
    found = torch.zeros_like(at)
    for place in range(at.numel()):
        up, down = at.clone(), at.clone()
        up.view(-1)[place] += step
        down.view(-1)[place] -= step
        found.view(-1)[place] = (score(up) - score(down)) / (2 * step)
    return found


def softmax_score(logits: Tensor, target: int, output: str) -> Tensor:
    """Score of one sample, from its logits (classes,)."""
    if output == "logit":
        return logits[target]
    return torch.exp(logits[target]) / sum(torch.exp(s) for s in logits)


def saliency(model: Callable[[Tensor], Tensor], x: Tensor, target: Sequence[int], output: str = "logit") -> Tensor:
    """Simonyan et al. (2014): gradient of the score by the input, sample by sample."""
    return torch.stack(
        [
            finite_differences(lambda one, c=c: softmax_score(model(one[None])[0], c, output), sample)
            for sample, c in zip(x, target, strict=True)
        ]
    )


def grad_cam(
    features: Callable[[Tensor], Tensor],
    head: Callable[[Tensor], Tensor],
    x: Tensor,
    target: Sequence[int],
    output: str = "logit",
    relu: bool = True,
) -> Tensor:
    """Selvaraju et al. (2017), eqs. 1 and 2, with model = head(features(x)): (n, *coarse)."""
    maps = []
    for sample, c in zip(x, target, strict=True):
        A = features(sample[None])[0]  # (k, *coarse)
        g = finite_differences(lambda a, c=c: softmax_score(head(a[None])[0], c, output), A)
        total = torch.zeros(A.shape[1:], dtype=A.dtype)
        for k in range(len(A)):
            alpha = sum(g[k].reshape(-1).tolist()) / g[k].numel()
            total = total + alpha * A[k]
        maps.append(torch.where(total > 0, total, torch.zeros_like(total)) if relu else total)
    return torch.stack(maps)


def resize(line: Tensor, length: int) -> Tensor:
    """Linear interpolation along the last axis; samples sit in the middle of their cells (align_corners=False)."""
    n = line.shape[-1]
    columns = []
    for i in range(length):
        position = min(max((i + 0.5) * n / length - 0.5, 0.0), n - 1.0)
        left = math.floor(position)
        right = min(left + 1, n - 1)
        columns.append(line[..., left] * (left + 1 - position) + line[..., right] * (position - left))
    return torch.stack(columns, dim=-1)


def resize_all(values: Tensor, shape: Sequence[int]) -> Tensor:
    """`resize` along each axis after the first: (n, *coarse) to (n, *shape)."""
    for axis, length in enumerate(shape, start=1):
        values = resize(values.movedim(axis, -1), length).movedim(-1, axis)
    return values


def probability_gradient(V: Sequence[Sequence[float]], logits: Sequence[float], c: int) -> list[float]:
    """dy_c/dz = y_c sum_{j != c} y_j (V_c - V_j) for logits s = Vz + b, in 60 decimal digits."""
    with localcontext() as context:
        context.prec = 60
        powers = [Decimal(s).exp() for s in logits]
        y = [power / sum(powers) for power in powers]
        rows = [[Decimal(v) for v in row] for row in V]
        return [
            float(y[c] * sum(y[j] * (rows[c][i] - rows[j][i]) for j in range(len(y)) if j != c))
            for i in range(len(rows[0]))
        ]
