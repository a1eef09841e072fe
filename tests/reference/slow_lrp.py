"""LRP's rules with every weight written out as a matrix, one contribution at a time, from the papers.

A net is a list of steps: a module with weights, a ReLU, a pooling, a flattening. A convolution and the batch norm
behind it are one step, whose matrix is found as any other's. Symbols as in the papers: x inputs of a layer, W its
matrix (outputs, inputs), b its bias, z_ij = x_i w_ij, R_j relevance of output j.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

Numbers = list[float]
Share = Callable[[Numbers, list[Numbers], Numbers, Numbers], Numbers]
"""(x, W, b, R) -> relevance of the inputs; W[j][i] is the weight from input i to output j."""


def matrix(layer: Callable[[Tensor], Tensor], shape: Sequence[int]) -> tuple[list[Numbers], Numbers]:
    """W and b of any affine layer for one sample of this shape: its values at 0 and at every unit vector."""
    size = 1
    for side in shape:
        size *= side
    with torch.no_grad():
        b = layer(torch.zeros(1, *shape, dtype=torch.float64)).reshape(-1)
        units = torch.eye(size, dtype=torch.float64)
        columns = [layer(units[i].reshape(1, *shape)).reshape(-1) - b for i in range(size)]
    return [[float(column[j]) for column in columns] for j in range(len(b))], b.tolist()


def pos(v: float) -> float:
    return v if v > 0 else 0.0


def neg(v: float) -> float:
    return v if v < 0 else 0.0


def by_parts(parts: Callable[[float, float], float], bias: Callable[[float], float] = lambda _: 0.0) -> Share:
    """Each output's relevance in proportion to parts(x_i, w_ij), over their sum and a part of its bias."""

    def share(x: Numbers, W: list[Numbers], b: Numbers, R: Numbers) -> Numbers:
        found = [0.0] * len(x)
        for j in range(len(W)):
            total = sum(parts(x[i], W[j][i]) for i in range(len(x))) + bias(b[j])
            for i in range(len(x)):
                if total != 0:
                    found[i] += parts(x[i], W[j][i]) / total * R[j]
        return found

    return share


def epsilon(eps: float) -> Share:
    """Bach et al. (2015), eq. 58: z_ij / (z_j + eps sign(z_j)), with z_j = sum_i z_ij + b_j."""

    def share(x: Numbers, W: list[Numbers], b: Numbers, R: Numbers) -> Numbers:
        found = [0.0] * len(x)
        for j in range(len(W)):
            z = sum(x[i] * W[j][i] for i in range(len(x))) + b[j]
            for i in range(len(x)):
                found[i] += x[i] * W[j][i] / (z + (eps if z >= 0 else -eps)) * R[j]
        return found

    return share


def alpha_beta(alpha: float, beta: float, with_bias: bool = False) -> Share:
    """Bach et al. (2015), eq. 60, the bias's parts in the denominators where they are wanted."""
    up = by_parts(lambda x, w: pos(x * w), pos if with_bias else lambda _: 0.0)
    down = by_parts(lambda x, w: neg(x * w), neg if with_bias else lambda _: 0.0)

    def share(x: Numbers, W: list[Numbers], b: Numbers, R: Numbers) -> Numbers:
        return [alpha * p - beta * q for p, q in zip(up(x, W, b, R), down(x, W, b, R), strict=True)]

    return share


def gamma(g: float, with_bias: bool = False) -> Share:
    """Montavon et al. (2019): z_ij + g z_ij^+ for a positive output; for a negative one, everything mirrored."""

    def share(x: Numbers, W: list[Numbers], b: Numbers, R: Numbers) -> Numbers:
        found = [0.0] * len(x)
        for j in range(len(W)):
            terms = [x[i] * W[j][i] for i in range(len(x))]
            z = sum(terms) + b[j]
            favoured = pos if z > 0 else neg
            weighed = [t + g * favoured(t) for t in terms]
            total = sum(weighed) + (b[j] + g * favoured(b[j]) if with_bias else 0.0)
            for i in range(len(x)):
                if total != 0 and z != 0:
                    found[i] += weighed[i] / total * R[j]
        return found

    return share


def box(low: float, high: float) -> Share:
    """Montavon et al. (2017), z^B: x_i w_ij - l w_ij^+ - h w_ij^-."""
    return by_parts(lambda x, w: x * w - low * pos(w) - high * neg(w))


squared: Share = by_parts(lambda _, w: w * w)
"""Montavon et al. (2017), w^2."""


def relevance(
    steps: Sequence[nn.Module], sample: Tensor, start: Numbers | Callable[[Numbers], Numbers], shares: Sequence[Share]
) -> Tensor:
    """Relevance of one sample's values, (channels, *spatial) or (features,).

    Parameters
        steps : modules, applied one after the other.
        sample : Tensor without a batch axis.
        start : relevance of the logits, or a function of the logits that gives it.
        shares : one for each step that has weights, in their order.
    """
    at = [sample]
    for step in steps:
        with torch.no_grad():
            at.append(step(at[-1][None])[0])
    logits = at[-1].tolist()
    R = start(logits) if callable(start) else list(start)
    left = list(shares)
    for step, x in zip(reversed(steps), reversed(at[:-1]), strict=True):
        values = x.reshape(-1).tolist()
        if list(step.parameters()):
            W, b = matrix(step, x.shape)
            R = left.pop()(values, W, b, R)
        elif isinstance(step, nn.AvgPool1d | nn.AvgPool2d | nn.AvgPool3d):
            W, b = matrix(step, x.shape)
            R = by_parts(lambda x, w: x * w)(values, W, b, R)
        elif isinstance(step, nn.MaxPool1d | nn.MaxPool2d | nn.MaxPool3d):
            R = to_winners(step, x, R)
        # Anything else, a ReLU or a flattening: value by value as it is.
    return torch.tensor(R, dtype=torch.float64).reshape(sample.shape)


def to_winners(pool: nn.Module, x: Tensor, R: Numbers) -> Numbers:
    """Each output's relevance to the one input that it is, found by making every other input small.

    Of equal ones the first, as in PyTorch.
    """
    found = [0.0] * x.numel()
    order = torch.arange(x.numel(), dtype=torch.float64).reshape(x.shape)
    left = set(range(len(R)))
    for place in range(x.numel()):
        alone = torch.where(order == place, x, x.min() - 1)
        with torch.no_grad():
            won = (pool(alone[None]) == pool(x[None])).reshape(-1)
        for j in [j for j in left if won[j]]:
            found[place] += R[j]
            left.remove(j)
    return found


def one_hot(target: int, classes: int) -> Numbers:
    return [1.0 if j == target else 0.0 for j in range(classes)]


def relative(x: Numbers, W: list[Numbers], _: Numbers, R: Numbers) -> Numbers:
    """RAP's first step: influence |z_ij| of the target, less its excess over sum_i z_ij, off all units that are on."""
    target = R.index(1.0)
    terms = [x[i] * W[target][i] for i in range(len(x))]
    active = [i for i in range(len(x)) if x[i] != 0]
    excess = sum(abs(t) for t in terms) - sum(terms)
    found = [0.0] * len(x)
    for i in active:
        found[i] = abs(terms[i]) - excess / len(active)
    return found


def rap(steps: Sequence[nn.Module], sample: Tensor, target: int) -> Tensor:
    """Two flows from the last layer: what is above the average by z^+, what is below it by z^-."""
    weighted = [step for step in steps if list(step.parameters())]
    classes = len(steps[-1].weight)
    flows = []
    for sign, parts in ((pos, pos), (neg, neg)):
        last: Share = lambda x, W, b, R, sign=sign: [sign(r) for r in relative(x, W, b, R)]  # noqa: E731
        below = by_parts(lambda x, w, parts=parts: parts(x * w))
        shares = [below] * (len(weighted) - 1) + [last]
        flows.append(relevance(steps, sample, one_hot(target, classes), shares))
    return flows[0] + flows[1]
