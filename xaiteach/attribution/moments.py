"""Means and variances through a network: what becomes of a random input, operation by operation.

Every unit is taken for a Gaussian that is independent of the others in its layer, and each operation hands on the mean
and variance of what it makes of them: exactly for sums with fixed weights, a ReLU and the larger of two, given that; a
larger window is reduced two by two, as if the larger of two were Gaussian again (which costs little in the mean, and up
to half of the variance where variances in a window are very unequal). A forward pass carries rows of means and, in the
second half of the batch, rows of variances.

Symbols: m, v mean and variance, s = sqrt(v), Phi and phi the standard normal distribution and density.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten

from xaiteach.attribution.operations import Operation, Rule, made_by, ruled
from xaiteach.attribution.relevance import affine, only_scaled
from xaiteach.attribution.scores import run
from xaiteach.errors import ModelError, ShapeError
from xaiteach.guards import check_finite, check_input, describe

__all__ = ["Propagation", "max_moments", "moments", "relu_moments"]

Model = Callable[[Tensor], Any]
Pair = tuple[Tensor, Tensor]

Variance = Callable[[Tensor], Tensor]
"""From the means of a tensor that is not random yet, to its variances."""


def relu_moments(m: Tensor, v: Tensor) -> Pair:
    """Mean and variance of max(X, 0) for Gaussian X, of m's shape.

    m Phi(m/s) + s phi(m/s), and the variance that belongs to it, without the cancellation of E[X^2] - E[X]^2.

    Source
        Frey, Hinton (1999); Gast, Roth (2018).
    Examples
        >>> mean, variance = relu_moments(torch.zeros(1), torch.ones(1))  # 1 / sqrt(2 pi), 1 / 2 - 1 / (2 pi)
        >>> round(mean.item(), 4), round(variance.item(), 4)
        (0.3989, 0.3408)
    """
    return max_moments(m, v, torch.zeros_like(m), torch.zeros_like(v))


def max_moments(m1: Tensor, v1: Tensor, m2: Tensor, v2: Tensor) -> Pair:
    """Mean and variance of the larger of two independent Gaussians, of m1's shape.

    With t^2 = v1 + v2, d = m1 - m2 and a = d / t: the mean is m1 Phi(a) + m2 Phi(-a) + t phi(a).

    Source
        Clark (1961), without correlation. The variance is written so that it does not cancel far from 0.
    """
    t, d = (v1 + v2).sqrt(), m1 - m2
    certain = t == 0
    a = d / torch.where(certain, 1.0, t)
    density = torch.exp(-(a**2) / 2) / (2 * torch.pi) ** 0.5
    up, down = torch.special.ndtr(a), torch.special.ndtr(-a)
    mean = m1 * up + m2 * down + t * density
    variance = v1 * up + v2 * down + d**2 * up * down + t * d * density * (down - up) - (t * density) ** 2
    zero = torch.zeros_like(variance)
    return torch.where(certain, torch.maximum(m1, m2), mean), torch.where(certain, zero, variance.clamp(min=0))


def moments(model: Model, mean: Tensor, variance: Tensor) -> Pair:
    """Mean and variance of a model's logits for inputs with independent Gaussian values.

    Parameters
        model : callable from (n, ...) to logits (n, classes), in evaluation mode, of linear layers, convolutions, batch
            norm, ReLU, average and max pooling, sums, constant factors and operations that move values about.
        mean : Tensor, shape (n, ...). Of the inputs.
        variance : Tensor of mean's shape, not negative, in input units squared.
    Returns
        Two Tensors, shape (n, classes), in logits and logits squared. Exact for one linear layer, and for a ReLU on
        values that are independent; an approximation beyond, where units share inputs.
    Raises
        ShapeError: mean is no finite batch, or variance does not fit it.
        ModelError: an operation without a rule, with the layer it is in.
    Cost
        1 forward pass of 2 n rows.
    Source
        Gast, Roth (2018).
    Examples
        >>> net = torch.nn.Linear(2, 1)
        >>> _ = net.weight.data.copy_(torch.tensor([[1.0, -2.0]])), net.bias.data.fill_(0.5)
        >>> moments(net, torch.tensor([[1.0, 1.0]]), torch.tensor([[1.0, 3.0]]))  # 1 - 2 + .5, 1 + 4 * 3
        (tensor([[-0.5000]]), tensor([[13.]]))
    """
    mean = check_input(mean, "moments")
    if not isinstance(variance, Tensor) or variance.shape != mean.shape or bool((variance < 0).any()):
        raise ShapeError(
            f"moments: `variance` must be of mean's shape, {tuple(mean.shape)}, and not negative; got "
            f"{describe(variance)}. Try deviation ** 2."
        )
    stacked = torch.cat([mean, check_finite(variance.to(mean), "moments", "variance")])
    found = Propagation("moments", None).run(model, stacked)
    first, second = found.chunk(2)
    return first, second


class Propagation:
    """One forward pass on rows of means and, in the second half, rows of variances.

    Up to its first nonlinearity a network is affine in its input: rows of means are then just inputs, and nothing has
    to be known of the variances. They are asked for where they are needed, by `variance`.

    Parameters
        who : name the messages start with.
        variance : called for each tensor that becomes random, in their order; None: the input is random already.
    """

    def __init__(self, who: str, variance: Variance | None) -> None:
        self.who, self.variance = who, variance
        self.leaf: Tensor | None = None
        self.random: set[Operation] = set()
        self.seen: list[tuple[str, str]] = []

    def run(self, model: Model, x: Tensor) -> Tensor:
        """What comes out, detached: means, and variances where the output is random.

        Raises
            ModelError: an operation without a rule, or one that cannot be seen.
        """
        self.leaf = leaf = x.detach().requires_grad_()
        with ruled(model, leaf, self.rules(), self.who):
            logits = run(model, leaf, self.who)
        if made_by(logits) is None:
            raise ModelError(
                f"{self.who}: every operation must be seen, so that its rule can be applied; the last one was computed "
                "out of sight, in a script or an autograd.Function. Try the same layer in plain PyTorch, or "
                "'kernel_shap'."
            )
        return logits.detach()

    def rules(self) -> dict[str, Rule]:
        """Table of rules, by kind of operation."""
        sums = {"linear": _linear, "batch_norm": _batch_norm, "average": _average, "add": _add, "scale": _scale}
        moved = {"structure": _moved, "pad": _moved}
        others = {"relu": _relu, "max_pool": _max_pool}
        table = {kind: self._rule(rule, True) for kind, rule in (sums | moved).items()}
        return table | {kind: self._rule(rule, False) for kind, rule in others.items()}

    def is_random(self, tensor: Tensor, operation: Operation) -> bool:
        """Whether a tensor holds means and variances.

        Raises
            ModelError: it was made by something that was not seen.
        """
        if tensor is self.leaf:
            return self.variance is None
        source = made_by(tensor)
        if source is None:
            raise operation.refused(self.who, "on what was transposed, or overwritten through a view")
        return source in self.random

    def _rule(self, rule: Callable[[Operation, list[Pair], str], Tensor], is_affine: bool) -> Rule:
        def apply(operation: Operation) -> Any:
            self.seen.append((operation.layer, operation.name))
            random = [self.is_random(x, operation) for x in operation.attached]
            _check(operation, self.who, any(random))
            if is_affine and not any(random):
                return self._plain(operation)
            self.random.add(operation)
            if rule is _moved and all(random):
                return self._plain(operation)
            pairs = [self._pair(x, known) for x, known in zip(operation.inputs, random, strict=True)]
            return operation.replaced(lambda _: (), rule(operation, pairs, self.who))

        return apply

    def _plain(self, operation: Operation) -> Any:
        found = operation.plain()
        if not all(part.requires_grad for part in tree_flatten(found)[0]):  # from there on it would pass for a constant
            raise operation.refused(self.who, "which cuts its result off from the input")
        return found

    def _pair(self, x: Tensor, random: bool) -> Pair:
        mean, variance = x.chunk(2)
        return mean, variance if random or self.variance is None else self.variance(mean)


def _check(operation: Operation, who: str, random: bool) -> None:
    """Check that an operation is affine where its kind can be, and leaves every row where it is.

    Raises
        ModelError: it is not, or does not.
    """
    kind, attached = operation.kind, operation.attached
    if kind in ("linear", "batch_norm") and (len(attached) != 1 or operation.argument(0, "input") is not attached[0]):
        raise operation.refused(who, "whose weights depend on the input")
    if kind == "batch_norm":
        affine(operation, who)
    if kind == "scale":
        only_scaled(operation, who)
    if kind == "add" and operation.kwargs.get("alpha", 1) != 1:
        raise operation.refused(who, "with a factor of its own")
    if operation.name == "__setitem__":
        raise operation.refused(who, "which writes into a tensor")
    if kind in ("structure", "pad", "average") and not _rows_stay(operation, random):
        raise operation.refused(who, "which mixes rows of the batch, or random values with constants")


def _rows_stay(operation: Operation, random: bool) -> bool:
    """Whether the first half of the rows is made of the first half alone, and the second of the second.

    It is tried out: with 1 for all values of the first half and -2 of the second, no sign may change, and no mean over
    both is 0. Constants that come in besides are no harm, but among random values: there they would be variances, too.
    """
    with torch.no_grad():
        signs = [
            torch.cat([torch.ones_like(a), torch.full_like(b, -2)]) for a, b in (x.chunk(2) for x in operation.inputs)
        ]
        found = tree_flatten(operation(*signs))[0]
        constants = tree_flatten(operation(*(torch.zeros_like(x) for x in signs)))[0]
    for value, constant in zip(found, constants, strict=True):
        if value.ndim == 0 or len(value) % 2 or (random and bool(constant.any())):
            return False
        first, second = (value - constant).chunk(2)
        if bool((first < 0).any()) or bool((second > 0).any()):
            return False
    return True


def _stacked(pairs: Sequence[Pair]) -> list[Tensor]:
    return [torch.cat(pair) for pair in pairs]


def _moved(operation: Operation, pairs: list[Pair], who: str) -> Tensor:
    found = operation(*_stacked(pairs))
    if not isinstance(found, Tensor):
        raise operation.refused(who, "with several results of which not all are random")
    return found


def _linear(operation: Operation, pairs: list[Pair], _: str) -> Tensor:
    """The sums w m + b, and w^2 v."""
    ((m, v),) = pairs
    return torch.cat([operation.linear(m, operation.weight, operation.bias), operation.linear(v, operation.weight**2)])


def _batch_norm(operation: Operation, pairs: list[Pair], who: str) -> Tensor:
    ((m, v),) = pairs
    scale, shift = (c.reshape(-1, *[1] * (m.ndim - 2)) for c in affine(operation, who))
    return torch.cat([m * scale + shift, v * scale**2])


def _add(operation: Operation, pairs: list[Pair], _: str) -> Tensor:
    """Variances add up, as if the two tensors were independent; a constant has none."""
    mean = operation(*_stacked(pairs)).chunk(2)[0]
    variance = pairs[0][1] if len(pairs) == 1 else pairs[0][1] + pairs[1][1]
    return torch.cat([mean, variance.expand(mean.shape)])


def _scale(operation: Operation, pairs: list[Pair], _: str) -> Tensor:
    """Times c, and times c^2: the operation applied twice."""
    (stacked,) = _stacked(pairs)
    once = operation(stacked)
    return torch.cat([once.chunk(2)[0], operation(once).chunk(2)[1]])


def _average(operation: Operation, pairs: list[Pair], who: str) -> Tensor:
    """The sums w m and w^2 v: where all weights are one w, the latter is w times the operation on v."""
    ((m, v),) = pairs
    mean = operation(m)
    return torch.cat([mean, operation(v) * _weight(operation, m, mean, who)])


def _weight(operation: Operation, x: Tensor, found: Tensor, who: str) -> float:
    name, uneven = operation.name, "whose windows have different sizes"
    if name == "sum":
        return 1.0
    if name in ("interpolate", "upsample"):
        if operation.argument(3, "mode", "nearest") not in ("nearest", "nearest-exact"):
            raise operation.refused(who, "which mixes neighbours with different weights")
        return 1.0
    if name.startswith("adaptive") and any(a % b for a, b in zip(x.shape, found.shape, strict=True)):
        raise operation.refused(who, uneven)
    if not name.startswith("avg_pool"):
        return found.numel() / x.numel()
    divisor = operation.argument(6, "divisor_override")
    if divisor is not None:
        return 1 / int(divisor)
    padded = not _is_zero(operation.argument(3, "padding", 0)) and not operation.argument(5, "count_include_pad", True)
    if padded or operation.argument(4, "ceil_mode", False):
        raise operation.refused(who, uneven)
    return 1 / prod(_each(operation.argument(1, "kernel_size"), _axes(operation)))


def _relu(operation: Operation, pairs: list[Pair], who: str) -> Tensor:
    if operation.name.rstrip("_") in ("relu6", "hardtanh"):
        raise operation.refused(who, "a ReLU with a ceiling")
    return torch.cat(relu_moments(*pairs[0]))


def _max_pool(operation: Operation, pairs: list[Pair], who: str) -> Tensor:
    """The largest of a window, two by two, along one axis after the other."""
    if not isinstance(operation.value, Tensor) or operation.name not in _POOLS:
        raise operation.refused(who)
    (pair,) = pairs
    axes = _axes(operation)
    for axis in range(axes):
        length = operation.value.shape[axis - axes]
        pair = _largest(pair, axis - axes, _windows(operation, axis, pair[0].shape[axis - axes], length))
    return torch.cat(pair)


_POOLS = tuple(f"{kind}max_pool{axes}d" for kind in ("", "adaptive_") for axes in (1, 2, 3))


def _windows(operation: Operation, axis: int, length: int, outputs: int) -> Tensor:
    """Positions of each output's window on one axis, shape (outputs, taps); `length` stands for none."""
    first = torch.arange(outputs)
    if operation.name.startswith("adaptive"):
        start, end = first * length // outputs, -(-(first + 1) * length // outputs)
        place = start[:, None] + torch.arange(int((end - start).max()))
        return torch.where(place < end[:, None], place, length)
    axes, kernel = _axes(operation), operation.argument(1, "kernel_size")
    stride = operation.argument(2, "stride") or kernel
    padding, dilation = operation.argument(3, "padding", 0), operation.argument(4, "dilation", 1)
    size, step, pad, gap = (_each(option, axes)[axis] for option in (kernel, stride, padding, dilation))
    place = first[:, None] * step - pad + torch.arange(size) * gap
    return torch.where((place >= 0) & (place < length), place, length)


def _largest(pair: Pair, axis: int, windows: Tensor) -> Pair:
    """Moments of the largest of each window along one axis."""
    m, v = pair
    # So far below everything that it never wins: its share of the moments is 0, not just small.
    low = m.amin() - 100 * (v.amax().sqrt() + 1)
    edge = m.narrow(axis, 0, 1)
    m, v = torch.cat([m, torch.zeros_like(edge) + low], axis), torch.cat([v, torch.zeros_like(edge)], axis)
    taps = [(m.index_select(axis, place), v.index_select(axis, place)) for place in windows.T.to(m.device)]
    while len(taps) > 1:
        halves = zip(taps[::2], taps[1::2], strict=False)
        taps = [max_moments(*a, *b) for a, b in halves] + (taps[-1:] if len(taps) % 2 else [])
    return taps[0]


def _axes(operation: Operation) -> int:
    return int(operation.name[-2])


def _each(option: Any, axes: int) -> tuple[int, ...]:
    if isinstance(option, int):
        return (option,) * axes
    return tuple(option) if len(option) == axes else tuple(option) * axes


def _is_zero(option: Any) -> bool:
    return not any(_each(option, 1))
