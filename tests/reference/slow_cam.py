"""The CAM family and SISE from the papers, by loops over samples, channels and positions."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from decimal import Decimal, localcontext

import torch
from torch import Tensor

from reference import slow_attribution as slow

Net = Callable[[Tensor], Tensor]


def positions(shape: Sequence[int]) -> list[tuple[int, ...]]:
    """Every position of an array of this shape."""
    return list(itertools.product(*(range(side) for side in shape)))


def weighted(weights: Sequence[float], A: Tensor, relu: bool = False) -> Tensor:
    """Sum of the channels of A (k, *coarse), position by position."""
    total = torch.zeros(A.shape[1:], dtype=A.dtype)
    for at in positions(A.shape[1:]):
        for k, w in enumerate(weights):
            total[at] += w * float(A[(k, *at)])
        if relu:
            total[at] = max(float(total[at]), 0.0)
    return total


def hirescam(features: Net, head: Net, x: Tensor, target: Sequence[int], output: str = "logit") -> Tensor:
    """Draelos, Carin (2020): gradient times activation, summed over channels; gradients by finite differences."""
    maps = []
    for sample, c in zip(x, target, strict=True):
        with torch.no_grad():
            A = features(sample[None])[0]
            g = slow.finite_differences(lambda a, c=c: slow.softmax_score(head(a[None])[0], c, output), A)
        total = torch.zeros(A.shape[1:], dtype=A.dtype)
        for at in positions(A.shape[1:]):
            total[at] = sum(float(g[(k, *at)]) * float(A[(k, *at)]) for k in range(len(A)))
        maps.append(total)
    return torch.stack(maps)


def grad_cam_pp_weights(head: Net, A: Tensor, c: int) -> list[float]:
    """Chattopadhay et al. (2018), eqs. 5 and 10, with Y = exp(S_c), for the activation (k, *coarse) of one sample.

    The three derivatives of Y by each entry are taken one after another by autograd, none from a formula; the factor
    exp(S_c) of the first is divided out, as the package leaves it out.
    """
    Y0 = float(torch.exp(head(A[None])[0, c]).detach())
    weights = []
    for k in range(len(A)):
        activity = float(A[k].sum())
        w = 0.0
        for at in positions(A.shape[1:]):
            t = torch.zeros((), dtype=A.dtype, requires_grad=True)
            bump = torch.zeros_like(A)
            bump[(k, *at)] = 1.0
            Y = torch.exp(head((A + t * bump)[None])[0, c])
            (first,) = torch.autograd.grad(Y, t, create_graph=True)
            (second,) = torch.autograd.grad(first, t, create_graph=True)
            (third,) = torch.autograd.grad(second, t)
            d1, d2, d3 = (float(d.detach()) for d in (first, second, third))
            if d1 > 0:
                w += d2 / (2 * d2 + activity * d3) * d1 / Y0
        weights.append(w)
    return weights


def ablation_losses(head: Net, A: Tensor, c: int, output: str = "logit") -> list[float]:
    """Desai, Ramaswamy (2020): y - y_k for each channel of A (k, *coarse), one forward pass at a time."""
    losses = []
    for k in range(len(A)):
        without = torch.stack([torch.zeros_like(A[j]) if j == k else A[j] for j in range(len(A))])
        losses.append(_difference(head(A[None])[0].tolist(), head(without[None])[0].tolist(), c, output))
    return losses


def _difference(logits: Sequence[float], ablated: Sequence[float], c: int, output: str) -> float:
    if output == "logit":
        return logits[c] - ablated[c]
    with localcontext() as context:
        context.prec = 60
        y, y_k = ([Decimal(s).exp() for s in scores] for scores in (logits, ablated))
        return float(y[c] / sum(y) - y_k[c] / sum(y_k))


def otsu_cut(values: Sequence[float]) -> float:
    """Otsu (1979) on 256 bins: the bin centre that splits the values with the largest variance between the classes."""
    low, high = min(values), max(values)
    if low == high:
        return low
    width = (high - low) / 256
    counts = [0] * 256
    for value in values:
        counts[min(int((value - low) / width), 255)] += 1
    centres = [low + (i + 0.5) * width for i in range(256)]
    best, cut = -1.0, low
    for i in range(255):
        below, above = sum(counts[: i + 1]), sum(counts[i + 1 :])
        if not below or not above:
            continue
        mean_below = sum(n * m for n, m in zip(counts[: i + 1], centres[: i + 1], strict=True)) / below
        mean_above = sum(n * m for n, m in zip(counts[i + 1 :], centres[i + 1 :], strict=True)) / above
        between = below * above * (mean_below - mean_above) ** 2
        if between > best * (1 + 1e-12):
            best, cut = between, centres[i]
    return cut


def sise_layer(model: Net, x: Tensor, c: int, A: Tensor, g: Tensor, output: str, mu: float = 0.0) -> Tensor:
    """One layer's map for one sample x (channels, *spatial), from its activation and gradient (k, *coarse)."""
    alpha = [float(g[k].sum()) for k in range(len(A))]
    total, count = torch.zeros(x.shape[1:], dtype=x.dtype), 0
    for k in range(len(A)):
        if not alpha[k] > mu * max(alpha) or float(A[k].min()) == float(A[k].max()):
            continue
        m = slow.resize_all(A[k][None], x.shape[1:])[0]
        m = (m - m.min()) / (m.max() - m.min())
        masked = torch.stack([channel * m for channel in x])
        with torch.no_grad():
            psi = float(slow.softmax_score(model(masked[None])[0], c, output))
        total = total + psi * m / m.sum()
        count += 1
    return total / max(count, 1)


def sise_fused(maps: Sequence[Tensor]) -> Tensor:
    """The layers' maps, from the first to the last, added and cut one after another."""
    fused = maps[0].clone()
    for V in maps[1:]:
        cut = otsu_cut(V.reshape(-1).tolist())
        for at in positions(V.shape):
            fused[at] = fused[at] + V[at] if float(V[at]) > cut else 0.0
    return fused
