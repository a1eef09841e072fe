"""The RevealCancel rule: positive and negative parts of every difference go through the net apart.

Symbols: z' a unit's value at the baseline, P >= 0 and N <= 0 the parts of its difference D = P + N, f a nonlinearity,
p and n the multipliers of the two parts. Along the first axis a tensor holds z', P and N, one after the other; what
travels back holds nothing, p and n. Sections are those of Shrikumar et al. (2017).

Layers with weights (3.5.1): a contribution w_ij D_i counts as positive or negative by its own sign, whole. So P_j is
the sum of the positive w_ij D_i, and an input's multiplier is w_ij times that of the part it went to; where D_i = 0,
the mean of the two. The paper names no other linear operation. Here the parts pass through batch norm, averages, sums
and factors as they are, and change sides where the slope is negative: the authors' program does so where it has the
operation, and a batch norm then means what it would mean as part of the layer before it.

Nonlinearities (3.5.3): each part gets its mean effect over both orders of coming in, alone and after the other. So does
max pooling, of which the paper says nothing: what a part changes in the maximum goes to the winner that made it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from xaiteach.attribution.operations import Operation, Rule
from xaiteach.attribution.relevance import Layer, affine, only_scaled

__all__ = ["followed", "only_input", "quotient", "reveal_cancel_rules", "rows_first"]

_ELSEWHERE = "on a tensor whose first axis is not the samples'"
_JOINS = ("cat", "concat", "concatenate", "stack", "hstack", "vstack")


def reveal_cancel_rules(who: str) -> dict[str, Rule]:
    """Table of rules for tensors that hold baseline, positive and negative part."""

    def batch_norm(operation: Operation) -> Tensor:
        x = only_input(operation, who, 3)
        scale, _ = affine(operation, who)
        return _carried(operation, [scale.reshape(-1, *[1] * (x.ndim - 2))], who)

    def scaled(operation: Operation) -> Tensor:
        only_scaled(operation, who)
        return _carried(operation, [operation(torch.ones_like(operation.inputs[0])).chunk(3)[0]], who)

    def add(operation: Operation) -> Tensor:
        pulled = operation.pullback(torch.ones_like(operation.value))  # 1, -1 or alpha, as often as it is spread
        slopes = [s.flatten()[0] * (s.numel() / operation.value.numel()) for s in pulled]
        return _carried(operation, slopes, who)

    return {
        "linear": lambda operation: _linear(operation, only_input(operation, who, 3)),
        "batch_norm": batch_norm,
        "relu": lambda operation: _nonlinear(operation, who),
        "activation": lambda operation: _nonlinear(operation, who),
        "max_pool": lambda operation: _pooled(operation, who),
        "add": add,
        "scale": scaled,
        "average": lambda operation: operation.replaced(operation.pullback),
        "structure": lambda operation: _moved(operation, who),
    }


def only_input(operation: Operation, who: str, parts: int) -> Tensor:
    """The one tensor that depends on the input, when it comes first and its first axis can hold the parts.

    Raises
        ModelError: a weight, slope or limit depends on the input, or the first axis is not the samples'.
    """
    if len(operation.attached) != 1 or operation.argument(0, "input") is not operation.attached[0]:
        raise operation.refused(who, "whose weights, slope or limits depend on the input")
    (x,) = operation.inputs
    if x.ndim == 0 or len(x) % parts:
        raise operation.refused(who, _ELSEWHERE)
    return x


def rows_first(operation: Operation, who: str) -> None:
    """Check that all tensors that depend on the input have the first axis of the result.

    Raises
        ModelError: one does not, a mean over the samples for example.
    """
    if any(x.ndim != operation.value.ndim or len(x) != len(operation.value) for x in operation.inputs):
        raise operation.refused(who, _ELSEWHERE)


def followed(operation: Operation, x: Tensor, who: str) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """The operation's value on x, and what its derivative there hands back, as often as it is asked.

    Raises
        ModelError: the value is no tensor, or has not x's first axis.
    """
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        y = operation(leaf)
    if not isinstance(y, Tensor):
        raise operation.refused(who)
    if y.shape[:1] != x.shape[:1]:
        raise operation.refused(who, _ELSEWHERE)

    def back(g: Tensor) -> Tensor:
        (found,) = torch.autograd.grad(y, leaf, g, retain_graph=True)
        return found

    return y.detach(), back


def quotient(
    change: Tensor, D: Tensor, limit: Tensor, at: Sequence[Tensor] = (), values: Sequence[Tensor] = ()
) -> Tensor:
    """The quotient change / D, or its limit where D is 0, or so small that rounding has the say.

    Parameters
        at : what D is a difference of.
        values : what `change` is a difference of.
    """
    lost = _tiny(D, at)
    if values:
        lost |= _tiny(change, values) & _tiny(D * limit, values)
    return torch.where(lost, limit, change / torch.where(lost, 1.0, D))


def _tiny(D: Tensor, of: Sequence[Tensor]) -> Tensor:
    """Where a difference is no more than what rounding makes of numbers of this size."""
    size = torch.zeros((), dtype=D.dtype, device=D.device)
    for number in of:
        size = size + number.abs()
    return D.abs() <= 16 * torch.finfo(D.dtype).eps * size


def _linear(operation: Operation, x: Tensor) -> Tensor:
    base, P, N = x.chunk(3)
    D = P + N
    apart = torch.cat([D.clamp(min=0), D.clamp(max=0)])  # (2n, ...)
    layer = Layer(operation, apart, operation.weight, operation.bias)
    up, down = layer.weight.clamp(min=0), layer.weight.clamp(max=0)
    (up_rise, up_fall), (down_rise, down_fall) = (layer.forward(apart, w).chunk(2) for w in (up, down))
    parts = [layer.forward(base, layer.weight, layer.bias), up_rise + down_fall, up_fall + down_rise]

    def back(g: Tensor) -> tuple[Tensor]:
        pn = torch.cat(g.chunk(3)[1:])
        (up_p, up_n), (down_p, down_n) = (layer.backward(pn, w).chunk(2) for w in (up, down))
        if_rise, if_fall = up_p + down_n, up_n + down_p
        m = torch.where(D > 0, if_rise, if_fall)
        m = torch.where(_tiny(D, (P, N)), (if_rise + if_fall) / 2, m)
        return (torch.cat([torch.zeros_like(m), m, m]),)

    return operation.replaced(back, torch.cat(parts))


def _carried(operation: Operation, slopes: Sequence[Tensor], who: str) -> Tensor:
    """A sum of inputs, each times its slope: P and N change sides where that is negative."""
    rows_first(operation, who)
    base = operation.value.chunk(3)[0]
    thirds = [x.chunk(3) for x in operation.inputs]
    sides = [(slope.clamp(min=0), slope.clamp(max=0)) for slope in slopes]
    rise, fall = torch.zeros_like(base), torch.zeros_like(base)
    for (_, P, N), (up, down) in zip(thirds, sides, strict=True):
        rise, fall = rise + (up * P + down * N), fall + (up * N + down * P)

    def back(g: Tensor) -> list[Tensor]:
        _, p, n = g.chunk(3)
        found = []
        for (own, _, _), (up, down) in zip(thirds, sides, strict=True):
            parts = (up * p + down * n).sum_to_size(own.shape), (up * n + down * p).sum_to_size(own.shape)
            found.append(torch.cat([torch.zeros_like(own), *parts]))
        return found

    return operation.replaced(back, torch.cat([base, rise, fall]))


def _moved(operation: Operation, who: str) -> Tensor:
    """As the model has it; a constant that is joined to the input belongs to the baseline, and to no part."""
    if operation.name in _JOINS:
        constant = operation(*(torch.zeros_like(x) for x in operation.inputs))
        constant.chunk(3)[0].zero_()
        if bool(constant.any()):
            return operation.replaced(operation.pullback, operation.value - constant)
    if operation.name == "__setitem__":
        constants = [t for t in operation.args[::2] if not any(t is x for x in operation.attached)]
        if any(bool(torch.as_tensor(t).any()) for t in constants):
            raise operation.refused(who, "by which a constant comes in")
    found: Tensor = operation.plain()
    return found


def _nonlinear(operation: Operation, who: str) -> Tensor:
    z0, P, N = only_input(operation, who, 3).chunk(3)
    none = operation.value.chunk(3)[0]
    y, derivative = followed(operation, torch.cat([z0 + P, z0 + N, z0 + P + N]), who)
    (rise, fall, both), slopes = y.chunk(3), derivative(torch.ones_like(y)).chunk(3)
    y_rise, y_fall = (rise - none + both - fall) / 2, (fall - none + both - rise) / 2  # (4.27), (4.28)
    values = (none, rise, fall, both)
    m_rise = quotient(y_rise, P, (slopes[0] + slopes[2]) / 2, (z0, N), values)
    m_fall = quotient(y_fall, N, (slopes[1] + slopes[2]) / 2, (z0, P), values)

    def back(g: Tensor) -> tuple[Tensor]:
        _, p, n = g.chunk(3)
        return (torch.cat([torch.zeros_like(p), p * m_rise, n * m_fall]),)

    return operation.replaced(back, torch.cat([none, y_rise, y_fall]))


def _pooled(operation: Operation, who: str) -> Tensor:
    z0, P, N = only_input(operation, who, 3).chunk(3)
    y, winners = followed(operation, torch.cat([z0, z0 + P, z0 + N, z0 + P + N]), who)
    none, rise, fall, both = y.chunk(4)
    (P1, P2), (N1, N2) = (rise - none, both - fall), (fall - none, both - rise)  # each first, and after the other

    def shares(start: Callable[[Tensor], Tensor], end: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        by_P = torch.cat([start(P1), end(P1), start(P2), end(P2)]) / 2  # rows as in y
        by_N = torch.cat([start(N1), start(N2), end(N1), end(N2)]) / 2
        return by_P, by_N

    # What a step raises goes to the winner where it ends, what it lowers to the one where it starts; a winner that
    # does not move takes the maximum along.
    moves = shares(lambda step: step.clamp(max=0), lambda step: step.clamp(min=0))
    limits = shares(torch.zeros_like, lambda step: (step == 0).to(step))

    def back(g: Tensor) -> tuple[Tensor]:
        def handed(m: Tensor, share: Tensor) -> Tensor:
            return winners(share * torch.cat([m] * 4)).reshape(4, *P.shape).sum(0)

        _, p, n = g.chunk(3)
        m_P = quotient(handed(p, moves[0]), P, handed(p, limits[0]), (z0, N))
        m_N = quotient(handed(n, moves[1]), N, handed(n, limits[1]), (z0, P))
        return (torch.cat([torch.zeros_like(m_P), m_P, m_N]),)

    return operation.replaced(back, torch.cat([none, (P1 + P2) / 2, (N1 + N2) / 2]))
