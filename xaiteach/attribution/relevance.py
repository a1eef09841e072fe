"""Rules by which relevance goes back through one operation: the parts that LRP's methods are tables of.

Symbols: x input of an operation, w its weights, b its bias, z_ij = x_i w_ij the contribution of input i to output j,
z_j = sum_i z_ij (+ b_j), R_j the relevance of output j. A share says what of R_j goes to each input.

Batch norm in evaluation mode is a scaling by channel: behind a dense or convolution layer the two are one linear layer
with the product of their weights, and that layer has the share; anywhere else it maps one value to one value, and its
relevance passes unchanged, as through every activation, whatever its slope, and through a constant that is added or
multiplied outside a layer. Averages and sums of tensors share by contribution, sign and all, and max pooling hands to
its winner. zennit does the same where it has modules to see, but adds 1e-6 to the denominators of averages and sums.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from weakref import ReferenceType, ref

import torch
from torch import Tensor

from xaiteach.attribution.operations import PLAIN, Operation, Rule, made_by
from xaiteach.errors import ModelError

__all__ = [
    "Last",
    "Layer",
    "Share",
    "affine",
    "alpha_beta",
    "box",
    "divided",
    "epsilon_share",
    "flow",
    "gamma_share",
    "only_scaled",
    "rules",
    "squared_weights",
]


@dataclass(frozen=True, eq=False)
class Layer:
    """A linear layer as it was called: z = f(x; w) + b.

    Parameters
        operation : the call, with its stride, padding and groups.
        x : Tensor, shape (n, ...). Its input.
        weight : Tensor. Its weights, those of a batch norm behind it multiplied in.
        bias : Tensor or None.
    """

    operation: Operation
    x: Tensor
    weight: Tensor
    bias: Tensor | None

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """Output for another input, weight and bias."""
        with torch.no_grad():
            return self.operation.linear(x, weight, bias)

    def backward(self, s: Tensor, weight: Tensor) -> Tensor:
        """sum_j w_ij s_j for every input i."""
        with torch.enable_grad():
            x = torch.zeros_like(self.x, requires_grad=True)
            (found,) = torch.autograd.grad(self.operation.linear(x, weight), x, s)
        return found


Share = Callable[[Layer, Tensor], Tensor]
"""From a layer and the relevance of its outputs to that of its inputs."""


def divided(R: Tensor, z: Tensor) -> Tensor:
    """R / z, and 0 where z is 0: what has no contribution hands nothing on."""
    return torch.where(z == 0, 0.0, R / torch.where(z == 0, 1.0, z))


def epsilon_share(epsilon: float) -> Share:
    """z_ij / (z_j + epsilon sign(z_j)): signed contributions, the bias in the denominator."""

    def share(layer: Layer, R: Tensor) -> Tensor:
        z = layer.forward(layer.x, layer.weight, layer.bias)
        z = torch.where(z >= 0, z + epsilon, z - epsilon)
        return layer.x * layer.backward(divided(R, z), layer.weight)

    return share


def gamma_share(gamma: float, *, bias: bool) -> Share:
    """z_ij + gamma z_ij^+ over its sum where the output is positive, z_ij + gamma z_ij^- where it is negative."""

    def share(layer: Layer, R: Tensor) -> Tensor:
        z = layer.forward(layer.x, layer.weight, layer.bias)
        up = flow(layer, R * (z > 0), positive=True, own=1.0, extra=gamma, bias=bias)
        return up + flow(layer, R * (z < 0), positive=False, own=1.0, extra=gamma, bias=bias)

    return share


def alpha_beta(alpha: float, beta: float, *, bias: bool) -> Share:
    """Shares alpha z_ij^+ / z_j^+ - beta z_ij^- / z_j^-: what is for and what is against, each on its own."""

    def share(layer: Layer, R: Tensor) -> Tensor:
        found = alpha * flow(layer, R, positive=True, bias=bias)
        return found - beta * flow(layer, R, positive=False, bias=bias) if beta else found

    return share


def flow(
    layer: Layer, R: Tensor, *, positive: bool, own: float = 0.0, extra: float = 1.0, bias: bool = False
) -> Tensor:
    """Relevance shared in proportion to own z_ij + extra z_ij^+ (or z_ij^-, when not `positive`).

    z_ij^+ is x_i^+ w_ij^+ + x_i^- w_ij^-; z_ij^- is x_i^+ w_ij^- + x_i^- w_ij^+.
    """
    same = _mixed(layer.weight, positive, own, extra)
    b = _mixed(layer.bias, positive, own, extra) if bias and layer.bias is not None else None
    if not bool((layer.x < 0).any()):  # a dense layer's weights are large: no part of them is made in vain
        return layer.x * layer.backward(divided(R, layer.forward(layer.x, same, b)), same)
    other = _mixed(layer.weight, not positive, own, extra)
    x_up, x_down = layer.x.clamp(min=0), layer.x.clamp(max=0)
    s = divided(R, layer.forward(x_up, same, b) + layer.forward(x_down, other))
    return x_up * layer.backward(s, same) + x_down * layer.backward(s, other)


def _mixed(w: Tensor, positive: bool, own: float, extra: float) -> Tensor:
    """The tensor own w + extra w^+ (or w^-)."""
    part = w.clamp(min=0) if positive else w.clamp(max=0)
    return part if (own, extra) == (0.0, 1.0) else own * w + part.mul_(extra)


def box(low: float, high: float) -> Share:
    """z_ij - l w_ij^+ - h w_ij^-: for inputs known to lie between l and h (z^B)."""

    def share(layer: Layer, R: Tensor) -> Tensor:
        w_up, w_down = layer.weight.clamp(min=0), layer.weight.clamp(max=0)
        lows, highs = torch.full_like(layer.x, low), torch.full_like(layer.x, high)
        z = layer.forward(layer.x, layer.weight) - layer.forward(lows, w_up) - layer.forward(highs, w_down)
        s = divided(R, z)
        found = layer.x * layer.backward(s, layer.weight)
        return found - low * layer.backward(s, w_up) - high * layer.backward(s, w_down)

    return share


def squared_weights(layer: Layer, R: Tensor) -> Tensor:
    """w_ij^2 over its sum: for inputs without bounds (w^2); what the input is does not matter."""
    w = layer.weight**2
    return layer.backward(divided(R, layer.forward(torch.ones_like(layer.x), w)), w)


def rules(share: Share, who: str, first: Share | None = None) -> dict[str, Rule]:
    """Table of rules with one share for all linear layers, and another for those on the input itself."""

    def linear(operation: Operation) -> Tensor:
        _one_input(operation, who)
        return _layered(operation, Layer(operation, operation.inputs[0], operation.weight, operation.bias))

    def batch_norm(operation: Operation) -> Tensor:
        _one_input(operation, who)
        scale, shift = affine(operation, who)
        (source,) = operation.sources
        merged = None if source is None or source.kind != "linear" else _merged(source, scale, shift)
        if source is None or merged is None:
            return operation.replaced(lambda R: (R,))
        return _layered(source, merged, operation.value)

    def _layered(operation: Operation, layer: Layer, value: Tensor | None = None) -> Tensor:
        chosen = first if first is not None and operation.first else share

        def back(R: Tensor) -> tuple[Tensor]:
            operation.check_inputs()
            return (chosen(layer, R),)

        return operation.replaced(back, value)

    def pool(operation: Operation) -> Tensor:
        found = operation.plain()
        if not isinstance(found, Tensor):
            raise operation.refused(who)
        return found

    def passed(operation: Operation) -> Tensor:
        _one_input(operation, who)
        return _pass(operation)

    return {
        "linear": linear,
        "batch_norm": batch_norm,
        "relu": passed,
        "activation": passed,
        "max_pool": pool,
        "average": _by_contribution,
        "add": _add,
        "scale": lambda operation: _scaled(operation, who),
        "structure": PLAIN,
    }


def _pass(operation: Operation) -> Tensor:
    return operation.replaced(lambda R: (R,))


def _by_contribution(operation: Operation) -> Tensor:
    def back(R: Tensor) -> list[Tensor]:
        s = divided(R, operation.value)
        return [x * c for x, c in zip(operation.inputs, operation.pullback(s), strict=True)]

    return operation.replaced(back)


def _add(operation: Operation) -> Tensor:
    """A constant that is added is a bias, which takes no share; two tensors share by contribution."""
    same = operation.inputs[0].shape == operation.value.shape
    return _pass(operation) if len(operation.inputs) == 1 and same else _by_contribution(operation)


def _scaled(operation: Operation, who: str) -> Tensor:
    only_scaled(operation, who)
    return _pass(operation) if operation.inputs[0].shape == operation.value.shape else _by_contribution(operation)


def only_scaled(operation: Operation, who: str) -> None:
    """Check that a product or quotient has one factor that depends on the input, no such divisor, and no rounding.

    Raises
        ModelError: anything else.
    """
    if len(operation.attached) != 1:
        raise operation.refused(who)
    if "div" in operation.name and not _is_first(operation):
        raise operation.refused(who, "a division by an activation")
    if operation.kwargs.get("rounding_mode") is not None:
        raise operation.refused(who, "which rounds")


def _one_input(operation: Operation, who: str) -> None:
    """Check that only the first argument depends on the input: no weight, slope or limit does."""
    if len(operation.attached) != 1 or not _is_first(operation):
        raise operation.refused(who, "whose weights, slope or limits depend on the input")


def _is_first(operation: Operation) -> bool:
    return operation.argument(0, "input") is operation.attached[0]


def affine(operation: Operation, who: str) -> tuple[Tensor, Tensor]:
    """Scale and shift by channel, shape (c,) each, that a batch norm in evaluation mode is.

    Raises
        ModelError: it takes its statistics from the batch.
    """
    names = ("running_mean", "running_var", "weight", "bias")
    mean, var, weight, bias = (operation.argument(i, name) for i, name in enumerate(names, 1))
    if operation.argument(5, "training", False) or mean is None:
        raise operation.refused(who)
    root = (var.detach() + operation.argument(7, "eps", 1e-5)).sqrt()
    scale = (torch.ones_like(root) if weight is None else weight.detach()) / root
    shift = (torch.zeros_like(root) if bias is None else bias.detach()) - mean.detach() * scale
    return scale, shift


def _merged(source: Operation, scale: Tensor, shift: Tensor) -> Layer | None:
    """The linear layer and the batch norm behind it as one; None where the two mean other axes, or by groups."""
    weight, bias = source.weight, source.bias
    outputs = 1 if source.name.startswith("conv_transpose") else 0
    if outputs and source.argument(6, "groups", 1) != 1:
        return None
    if source.name == "linear" and source.inputs[0].ndim != 2:  # batch norm is by axis 1, the layer by the last
        return None
    shape = [1] * weight.ndim
    shape[outputs] = -1
    bias = shift if bias is None else bias * scale + shift
    return Layer(source, source.inputs[0], weight * scale.reshape(shape), bias)


class Last:
    """The one layer with weights whose output is the logits, or leads to them by nothing but operations `through`.

    Parameters
        who : name the message starts with.
        through : kinds of operations with one input.
    """

    def __init__(self, who: str, through: tuple[str, ...]) -> None:
        self.who, self.through = who, through
        self._operation: ReferenceType[Operation] | None = None  # weak: rules hold this, and operations hold rules

    def is_(self, layer: Layer) -> bool:
        """Whether it is this layer."""
        return self._operation is not None and self._operation() is layer.operation

    def find(self, logits: Tensor) -> None:
        """Find it.

        Raises
            ModelError: the logits come from anything else.
        """
        found = made_by(logits)
        while found is not None and found.kind in self.through and len(found.sources) == 1:
            (found,) = found.sources
        if found is None or found.kind != "linear":
            what = "nothing of the kind" if found is None else f"{found.name!r} in {found.place}"
            raise ModelError(
                f"{self.who}: one dense or convolution layer must be the last, for a rule of its own; it is {what}. "
                "Try 'lrp_alpha_beta'."
            )
        self._operation = ref(found)
