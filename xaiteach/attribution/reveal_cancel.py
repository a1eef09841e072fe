"""The RevealCancel rule: positive and negative parts of every difference go through the net apart.

Symbols: z' a unit's value at the baseline, P >= 0 and N <= 0 the parts of its difference D = P + N. Along the first
axis a tensor holds z', P and N, one after the other; what travels back holds nothing for z', and one multiplier for
each part.

Linear rule (section 3.5.2 of the paper): a contribution w_ij D_i counts as positive or negative by its own sign, whole.
So P_j = sum_i of the positive w_ij D_i, and an input's multiplier is w_ij times that of the part it went to; where
D_i = 0, the mean of the two.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from xaiteach.attribution.operations import PLAIN, Operation, Rule
from xaiteach.attribution.relevance import Layer, affine, only_scaled

__all__ = ["reveal_cancel_rules"]

Map = Callable[[Tensor], Tensor]


def reveal_cancel_rules(who: str) -> dict[str, Rule]:
    """Table of rules for tensors that hold baseline, positive and negative part."""

    def linear(operation: Operation) -> Tensor:
        if len(operation.inputs) != 1:
            raise operation.refused(who)
        layer = Layer(operation, operation.inputs[0].chunk(3)[0], operation.weight, operation.bias)
        up, down = layer.weight.clamp(min=0), layer.weight.clamp(max=0)
        return _signed(
            operation,
            layer.forward(layer.x, layer.weight, layer.bias),
            (lambda D: layer.forward(D, up), lambda D: layer.forward(D, down)),
            (lambda s: layer.backward(s, up), lambda s: layer.backward(s, down)),
        )

    def batch_norm(operation: Operation) -> Tensor:
        scale, shift = (v.reshape(-1, *[1] * (operation.inputs[0].ndim - 2)) for v in affine(operation, who))
        return _diagonal(operation, scale, operation.inputs[0].chunk(3)[0] * scale + shift)

    def scaled(operation: Operation) -> Tensor:
        only_scaled(operation, who)
        (slope,) = operation.pullback(torch.ones_like(operation.value))
        return _diagonal(operation, slope.chunk(3)[0], operation.value.chunk(3)[0])

    def add(operation: Operation) -> Tensor:
        first = operation.inputs[0]
        if len(operation.inputs) == 1 and first.shape == operation.value.shape:
            (slope,) = operation.pullback(torch.ones_like(first))  # -1 for a constant less x
            return _diagonal(operation, slope.chunk(3)[0], operation.value.chunk(3)[0])
        if len(operation.inputs) != 2 or any(x.shape != operation.value.shape for x in operation.inputs):
            raise operation.refused(who, "a sum that spreads a tensor over another's axes")
        return _sum(operation)

    def pool(operation: Operation) -> Tensor:
        if not isinstance(operation.value, Tensor):
            raise operation.refused(who)
        return _pooled(operation)

    return {
        "linear": linear,
        "batch_norm": batch_norm,
        "relu": _nonlinear,
        "activation": _nonlinear,
        "max_pool": pool,
        "average": _average,
        "add": add,
        "scale": scaled,
        "structure": PLAIN,
        "pad": PLAIN,
    }


def _parts(operation: Operation, which: int = 0) -> tuple[Tensor, Tensor]:
    """Baseline and whole difference of an input."""
    z0, P, N = operation.inputs[which].chunk(3)
    return z0, P + N


def _signed(operation: Operation, base: Tensor, forward: tuple[Map, Map], backward: tuple[Map, Map]) -> Tensor:
    """A linear map, given as the maps by its positive and by its negative weights."""
    _, D = _parts(operation)
    rise, fall = D.clamp(min=0), D.clamp(max=0)
    P = forward[0](rise) + forward[1](fall)
    N = forward[0](fall) + forward[1](rise)

    def back(g: Tensor) -> tuple[Tensor]:
        _, p, n = g.chunk(3)
        if_rise, if_fall = backward[0](p) + backward[1](n), backward[0](n) + backward[1](p)
        return (_both(D, if_rise, if_fall),)

    return operation.replaced(back, torch.cat([base, P, N]))


def _both(D: Tensor, if_rise: Tensor, if_fall: Tensor) -> Tensor:
    """The same multiplier for both parts of the input, by the sign of its whole difference."""
    m = torch.where(D > 0, if_rise, torch.where(D < 0, if_fall, (if_rise + if_fall) / 2))
    return torch.cat([torch.zeros_like(m), m, m])


def _diagonal(operation: Operation, slope: Tensor, base: Tensor) -> Tensor:
    up, down = slope.clamp(min=0), slope.clamp(max=0)
    maps: tuple[Map, Map] = (lambda D: D * up, lambda D: D * down)
    return _signed(operation, base, maps, maps)


def _average(operation: Operation) -> Tensor:
    """Weights that are not negative: every difference keeps its sign."""
    shape = operation.inputs[0].shape

    def forward(D: Tensor) -> Tensor:
        with torch.no_grad():
            found: Tensor = operation(torch.cat([D, D, D]))
        return found.chunk(3)[0]

    def backward(s: Tensor) -> Tensor:
        (found,) = operation.pullback(torch.cat([s, s, s]))
        return found.reshape(shape).chunk(3)[0]

    def nothing(t: Tensor) -> Tensor:
        return torch.zeros((), dtype=t.dtype, device=t.device)

    return _signed(operation, operation.value.chunk(3)[0], (forward, nothing), (backward, nothing))


def _sum(operation: Operation) -> Tensor:
    """Two tensors: a difference of either counts by its own sign; one that is subtracted changes sides."""
    slopes = [c.chunk(3)[0] for c in operation.pullback(torch.ones_like(operation.value))]
    moved = [_parts(operation, i)[1] * slope for i, slope in enumerate(slopes)]
    P, N = sum(D.clamp(min=0) for D in moved), sum(D.clamp(max=0) for D in moved)

    def back(g: Tensor) -> list[Tensor]:
        _, p, n = g.chunk(3)
        return [_both(D, p * slope, n * slope) for D, slope in zip(moved, slopes, strict=True)]

    return operation.replaced(back, torch.cat([operation.value.chunk(3)[0], torch.as_tensor(P), torch.as_tensor(N)]))


def _nonlinear(operation: Operation) -> Tensor:
    """Mean effect of each part over both orders: alone, and after the other one."""
    z0, P, N = operation.inputs[0].chunk(3)

    def f(z: Tensor) -> Tensor:
        with torch.no_grad():
            found: Tensor = operation(torch.cat([z, z, z]))
        return found.chunk(3)[0]

    none, rise, fall, both = f(z0), f(z0 + P), f(z0 + N), f(z0 + P + N)
    y_rise, y_fall = (rise - none + both - fall) / 2, (fall - none + both - rise) / 2
    with torch.enable_grad():
        z = torch.cat([z0 + P + N] * 3).requires_grad_()
        (slope,) = torch.autograd.grad(operation(z).sum(), z)
    derivative = slope.chunk(3)[0]
    m_rise = torch.where(P == 0, derivative, y_rise / torch.where(P == 0, 1.0, P))
    m_fall = torch.where(N == 0, derivative, y_fall / torch.where(N == 0, 1.0, N))

    def back(g: Tensor) -> tuple[Tensor]:
        zero, p, n = g.chunk(3)
        return (torch.cat([torch.zeros_like(zero), p * m_rise, n * m_fall]),)

    return operation.replaced(back, torch.cat([none, y_rise, y_fall]))


def _pooled(operation: Operation) -> Tensor:
    """The rule of DeepLIFT's max pooling, on the whole difference."""
    z0, D = _parts(operation)
    z = z0 + D
    with torch.no_grad():
        maxima: Any = operation(torch.cat([z, z0, z0]))
    y, y0, _ = maxima.chunk(3)
    rise = y - y0

    def winners(s: Tensor, s0: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            leaf = torch.cat([z, z0, z0]).requires_grad_()
            (found,) = torch.autograd.grad(operation(leaf), leaf, torch.cat([s, s0, torch.zeros_like(s)]))
        first, second, _ = found.chunk(3)
        return first, second

    def back(g: Tensor) -> tuple[Tensor]:
        _, p, n = g.chunk(3)
        contribution = sum(winners(p * rise.clamp(min=0), n * rise.clamp(max=0)))
        plain, _ = winners((p + n) / 2, torch.zeros_like(p))
        m = torch.where(D == 0, plain, contribution / torch.where(D == 0, 1.0, D))
        return (torch.cat([torch.zeros_like(m), m, m]),)

    return operation.replaced(back, torch.cat([y0, rise.clamp(min=0), rise.clamp(max=0)]))
