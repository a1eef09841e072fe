"""DeepLIFT by its definitions: the contribution of every input to every unit, followed forward through the net.

The package goes backward, with multipliers; here nothing travels back. A net is a list of steps, as in `slow_lrp`:
modules with weights, nonlinearities, poolings, flattenings. Symbols as in Shrikumar et al. (2017): x a unit's input, y
its output, x^0 and y^0 those at the reference, D a difference, C_i the contribution of the net's input i.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from reference.slow_lrp import matrix

Numbers = list[float]
Function = Callable[[float], float]


def sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z))


def phi(z: float) -> float:
    return (1 + math.erf(z / math.sqrt(2))) / 2


FUNCTIONS: dict[type[nn.Module], tuple[Function, Function]] = {
    nn.ReLU: (lambda z: max(z, 0.0), lambda z: float(z > 0)),
    nn.LeakyReLU: (lambda z: z if z > 0 else 0.01 * z, lambda z: 1.0 if z > 0 else 0.01),
    nn.ELU: (lambda z: z if z > 0 else math.expm1(z), lambda z: 1.0 if z > 0 else math.exp(z)),
    nn.Sigmoid: (sigmoid, lambda z: sigmoid(z) * (1 - sigmoid(z))),
    nn.Tanh: (math.tanh, lambda z: 1 - math.tanh(z) ** 2),
    nn.Softplus: (lambda z: math.log1p(math.exp(z)), sigmoid),
    nn.GELU: (lambda z: z * phi(z), lambda z: phi(z) + z * math.exp(-z * z / 2) / math.sqrt(2 * math.pi)),
}
"""Nonlinearities and their derivatives."""

_AVERAGES = nn.AvgPool1d | nn.AvgPool2d | nn.AvgPool3d | nn.AdaptiveAvgPool2d
_MAXIMA = nn.MaxPool1d | nn.MaxPool2d | nn.MaxPool3d | nn.AdaptiveMaxPool2d


def windows(pool: nn.Module, shape: Sequence[int]) -> list[list[int]]:
    """Which inputs each output is the maximum of, found by raising one input at a time."""
    size = math.prod(shape)
    with torch.no_grad():
        raised = [pool(unit.reshape(1, *shape)).reshape(-1) == 1 for unit in torch.eye(size, dtype=torch.float64)]
    return [[i for i in range(size) if raised[i][j]] for j in range(len(raised[0]))]


def winner(z: Numbers, window: list[int]) -> int:
    """The first of the largest."""
    best = window[0]
    for i in window:
        if z[i] > z[best]:
            best = i
    return best


def _outputs(step: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        found: Tensor = step(x[None])[0]
    return found


def rescale(steps: Sequence[nn.Module], sample: Tensor, reference: Tensor, target: int) -> Tensor:
    """Sections 3.5.1 and 3.5.2 without parts: C_i(y) = sum_k m_k C_i(x_k)."""
    x, x0 = sample, reference
    size = x.numel()
    D = (x - x0).reshape(-1).tolist()
    C = [[D[i] if i == k else 0.0 for i in range(size)] for k in range(size)]  # C[k][i], of input i to unit k
    for step in steps:
        a, a0 = x.reshape(-1).tolist(), x0.reshape(-1).tolist()
        y, y0 = _outputs(step, x), _outputs(step, x0)
        if list(step.parameters()) or isinstance(step, _AVERAGES):
            W, _ = matrix(step, x.shape)
            C = [[sum(w * C[k][i] for k, w in enumerate(row)) for i in range(size)] for row in W]
        elif isinstance(step, _MAXIMA):
            C = [_maximum_rescaled(a, a0, window, C) for window in windows(step, x.shape)]
        elif type(step) in FUNCTIONS:
            f, slope = FUNCTIONS[type(step)]
            m = [(f(p) - f(q)) / (p - q) if p != q else slope(p) for p, q in zip(a, a0, strict=True)]
            C = [[m[k] * c for c in C[k]] for k in range(len(a))]
        x, x0 = y, y0
    return torch.tensor(C[target], dtype=torch.float64).reshape(sample.shape)


def _maximum_rescaled(a: Numbers, a0: Numbers, window: list[int], C: list[Numbers]) -> Numbers:
    """What the maximum changes is the winner's doing: at the sample if it rose, at the reference if it fell."""
    change = max(a[k] for k in window) - max(a0[k] for k in window)
    k = winner(a, window) if change >= 0 else winner(a0, window)
    m = change / (a[k] - a0[k]) if a[k] != a0[k] else 1.0
    return [m * c for c in C[k]]


class Unit(NamedTuple):
    """A unit's reference value, the parts of its difference, and what every input contributed to each part."""

    x0: float
    up: float
    down: float
    C_up: Numbers
    C_down: Numbers


def reveal_cancel(steps: Sequence[nn.Module], sample: Tensor, reference: Tensor, target: int) -> Tensor:
    """Sections 3.5.1 and 3.5.3; seed 002 (4.27)-(4.30).

    A step that holds a convolution and its batch norm is one layer with weights.
    """
    D = (sample - reference).reshape(-1).tolist()
    size = len(D)
    units = []
    for k, x0 in enumerate(reference.reshape(-1).tolist()):
        own = [D[i] if i == k else 0.0 for i in range(size)]
        up, down = [c if c > 0 else 0.0 for c in own], [c if c < 0 else 0.0 for c in own]
        units.append(Unit(x0, up[k], down[k], up, down))
    shape = sample.shape
    for step in steps:
        after = _outputs(step, torch.zeros(shape, dtype=torch.float64)).shape
        if list(step.parameters()):
            W, b = matrix(step, shape)
            units = [_weighted(row, bias, units) for row, bias in zip(W, b, strict=True)]
        elif isinstance(step, _AVERAGES):
            W, _ = matrix(step, shape)
            units = [_averaged(row, units) for row in W]
        elif isinstance(step, _MAXIMA):
            units = [_maximum(window, units) for window in windows(step, shape)]
        elif type(step) in FUNCTIONS:
            units = [_bent(*FUNCTIONS[type(step)], unit) for unit in units]
        shape = after
    found = units[target]
    both = [p + n for p, n in zip(found.C_up, found.C_down, strict=True)]
    return torch.tensor(both, dtype=torch.float64).reshape(sample.shape)


def _weighted(row: Numbers, bias: float, units: list[Unit]) -> Unit:
    """The Linear rule."""
    size = len(units[0].C_up)
    x0, up, down, C_up, C_down = bias, 0.0, 0.0, [0.0] * size, [0.0] * size
    for w, unit in zip(row, units, strict=True):
        x0 += w * unit.x0
        D = unit.up + unit.down
        up += w * D if w * D > 0 else 0.0
        down += w * D if w * D < 0 else 0.0
        to_up = 0.5 if D == 0 else float(w * D > 0)
        for i in range(size):
            both = unit.C_up[i] + unit.C_down[i]
            C_up[i] += to_up * w * both
            C_down[i] += (1 - to_up) * w * both
    return Unit(x0, up, down, C_up, C_down)


def _averaged(row: Numbers, units: list[Unit]) -> Unit:
    """Every part with its own weight, none of which is negative."""
    size = len(units[0].C_up)
    return Unit(
        sum(w * u.x0 for w, u in zip(row, units, strict=True)),
        sum(w * u.up for w, u in zip(row, units, strict=True)),
        sum(w * u.down for w, u in zip(row, units, strict=True)),
        [sum(w * u.C_up[i] for w, u in zip(row, units, strict=True)) for i in range(size)],
        [sum(w * u.C_down[i] for w, u in zip(row, units, strict=True)) for i in range(size)],
    )


def _bent(f: Function, slope: Function, unit: Unit) -> Unit:
    x0, up, down = unit.x0, unit.up, unit.down
    y_up = (f(x0 + up) - f(x0)) / 2 + (f(x0 + down + up) - f(x0 + down)) / 2  # (4.27)
    y_down = (f(x0 + down) - f(x0)) / 2 + (f(x0 + up + down) - f(x0 + up)) / 2  # (4.28)
    # (4.29), (4.30); where a part is 0, the limit of the two steps.
    m_up = y_up / up if up != 0 else (slope(x0) + slope(x0 + down)) / 2
    m_down = y_down / down if down != 0 else (slope(x0) + slope(x0 + up)) / 2
    return Unit(f(x0), y_up, y_down, [m_up * c for c in unit.C_up], [m_down * c for c in unit.C_down])


def _maximum(window: list[int], units: list[Unit]) -> Unit:
    """(4.27)-(4.30) with the maximum for f: of each step, what it changes is the winner's doing."""
    size = len(units[0].C_up)
    none = [u.x0 for u in units]
    up, down = [u.x0 + u.up for u in units], [u.x0 + u.down for u in units]
    both = [u.x0 + u.up + u.down for u in units]
    totals, found = [0.0, 0.0], [[0.0] * size, [0.0] * size]
    steps = [(0, none, up), (0, down, both), (1, none, down), (1, up, both)]
    for part, start, end in steps:
        change = max(end[k] for k in window) - max(start[k] for k in window)
        k = winner(end, window) if change >= 0 else winner(start, window)
        moved = (units[k].up, units[k].down)[part]
        m = change / moved if moved != 0 else 1.0
        totals[part] += change / 2
        for i in range(size):
            found[part][i] += m * (units[k].C_up, units[k].C_down)[part][i] / 2
    return Unit(max(none[k] for k in window), *totals, *found)
