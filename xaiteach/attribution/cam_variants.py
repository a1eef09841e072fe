"""Class activation maps with other weights than the mean gradient.

Symbols: A activation of the layer (n, k, *coarse), Z its number of positions, g = dS_c/dA, S_c the score of class c
(its logit, where nothing else is said), w (n, k) one weight per channel, V (classes, k) and b the dense layer's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from xaiteach.attribution.feature_maps import check_feature_maps, layer_gradient
from xaiteach.attribution.layers import capture, hookable
from xaiteach.attribution.scores import cotangent, run
from xaiteach.errors import ModelError

__all__ = ["cam", "grad_cam_pp", "hirescam"]


def cam(
    model: nn.Module, x: Tensor, target: Tensor, *, layer: str | nn.Module, output: str = "logit", relu: bool = True
) -> Tensor:
    """Weighted sum of a layer's channels by the class's own weights: sum_k V_ck A^k.

    It asks for a head that is global average pooling and one dense layer. There it is exact: the mean of the map over
    its positions is the class's logit less its bias, so that each position has its share in it. Any other head is
    refused, since it has no weight per channel and class.

    Parameters
        model, x, target, layer : as `grad_cam`. What follows the layer is global average pooling and one nn.Linear.
        output : "logit", or "probability", whose weights are sum_j dy_c/dS_j V_jk. Default "logit", the paper's.
        relu : bool. Whether to cut negative evidence. Default True, as in the rest of the family; the paper's map is
            signed: relu=False.
    Returns
        Tensor, shape (n, 1, *coarse), in units of the score. With relu=False its mean over the Z positions is
        S_c - b_c, and it is Z times `grad_cam`'s.
    Raises
        ModelError: another head; the message names what follows the layer. The layer is not called exactly once.
        OptionError: no such layer, or unknown `output`.
    Cost
        1 forward pass.
    Source
        Zhou, Khosla, Lapedriza, Oliva, Torralba (2016), eqs. 1 and 2. Differs in: their pooling is a sum, so that
        their map sums to the logit; networks take the mean.
    Examples
        >>> from xaiteach import explain
        >>> head = [nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(2, 3, bias=False)]
        >>> net = nn.Sequential(nn.Conv1d(1, 2, 3), nn.ReLU(), *head)
        >>> x = torch.ones(1, 1, 8)
        >>> a = explain(net, x, 1, "cam", relu=False)
        >>> torch.allclose(a.values.mean(), net(x)[0, 1], atol=1e-6)
        True
    """
    kept: list[Tensor]
    with capture(model, layer, "cam") as kept, _following(model, kept) as steps:
        logits = run(model, x, "cam")
    A = kept[0].detach()
    check_feature_maps(A, x, layer, "cam")
    V = _class_weights(A, logits.detach(), steps, layer)
    w = cotangent(logits, target, output) @ V  # (n, k)
    return _weighted(w, A, relu)


def hirescam(
    model: nn.Module, x: Tensor, target: Tensor, *, layer: str | nn.Module, output: str = "logit", relu: bool = True
) -> Tensor:
    """Gradient times activation, position by position, summed over a layer's channels: sum_k g^k A^k.

    Grad-CAM first averages a channel's gradient, which moves weight from where the class's weights are to where the
    channel is active. Without the mean, every position keeps its own gradient: where the rest of the network is linear
    in A, such as one dense layer on the flattened maps, the map is what each position contributes to the logit.

    Parameters
        model, x, target, layer, output : as `grad_cam`.
        relu : bool. Whether to cut negative evidence. Default True, as in the rest of the family; False for the signed
            map, the one that adds up.
    Returns
        Tensor, shape (n, 1, *coarse), in units of the score. With relu=False and a head that is linear in A it sums to
        S_c - b_c; for another head it need not, so that no residual is stated.
    Raises
        ModelError: the layer is not called exactly once, has no spatial axes, or the score does not depend on it.
        OptionError: no such layer, or unknown `output`.
    Cost
        1 forward pass, 1 backward pass down to the layer.
    Source
        Draelos, Carin (2020).
    Examples
        >>> from xaiteach import explain
        >>> net = nn.Sequential(nn.Conv1d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 3, bias=False))
        >>> x = torch.ones(1, 1, 8)
        >>> a = explain(net, x, 1, "hirescam", relu=False)
        >>> torch.allclose(a.values.sum(), net(x)[0, 1], atol=1e-6)
        True
    """
    A, g = layer_gradient(model, x, target, layer, output, "hirescam")
    values = (g * A).sum(1, keepdim=True)  # (n, 1, *coarse)
    return values.relu() if relu else values


def grad_cam_pp(model: nn.Module, x: Tensor, target: Tensor, *, layer: str | nn.Module, relu: bool = True) -> Tensor:
    """Weighted sum of a layer's channels by their positive gradients, each scaled by how active its channel is.

    w_k = sum_ij alpha^k_ij ReLU(g^k_ij), alpha = g^2 / (2 g^2 + sum_ab A^k_ab g^3). The paper derives alpha from second
    and third derivatives of the score exp(S_c), with S_c piecewise linear: then they are exp(S_c) g^2 and exp(S_c) g^3.
    Where g is not 0, alpha is 1 / (2 + a_k g) with a_k = sum_ab A^k_ab; so a channel with little activation in all
    weighs as much as one with a lot. Where g is 0, alpha is 0/0 and does not matter.

    The weights do not scale with the logit: twice the logits, which change no decision, are another map. A thesis gives
    alpha as 1 / sum g where g = 1, and 0 elsewhere: by that no channel gets weight, as a gradient is never exactly 1.

    Parameters
        model, x, target, layer : as `grad_cam`. The layer's channels are not negative, as after a ReLU.
        relu : bool. Whether to cut negative values, which only a layer with negative activations has. Default True.
    Returns
        Tensor, shape (n, 1, *coarse), in units of the activation, never negative after a ReLU. The paper's has the
        factor exp(S_c), the same for every channel and position, left out here because it overflows.
    Raises
        ModelError: a channel so negative that alpha is none (2 + a_k g <= 0); the layer is not called exactly once,
            has no spatial axes, or the score does not depend on it.
        OptionError: no such layer.
    Cost
        1 forward pass, 1 backward pass down to the layer.
    Source
        Chattopadhay, Sarkar, Howlader, Balasubramanian (2018), eqs. 5 and 19.
    Examples
        >>> from xaiteach import explain
        >>> net = nn.Sequential(nn.Conv1d(1, 1, 1), nn.ReLU(), nn.Flatten(), nn.Linear(2, 2))
        >>> for p, value in zip(net.parameters(), [[[[1.0]]], [0.0], [[0.0, 0.0], [1.0, 3.0]], [0.0, 0.0]]):
        ...     _ = p.data.copy_(torch.tensor(value))
        >>> explain(net, torch.tensor([[[1.0, 1.0]]]), 1, "grad_cam_pp").values  # w = 1 / (2 + 2) + 3 / (2 + 6)
        tensor([[[0.6250, 0.6250]]])
    """
    who = "grad_cam_pp"
    A, g = layer_gradient(model, x, target, layer, "logit", who)
    total = A.flatten(2).sum(2)  # (n, k)
    below = 2 + total.reshape(*total.shape, *[1] * (A.ndim - 2)) * g
    if bool(((g > 0) & (below <= 0)).any()):
        lowest = float(total.min())
        raise ModelError(
            f"{who}: layer {layer!r} must have channels whose activations add up to no less than 0, as after a ReLU; "
            f"one adds up to {lowest:.3g}, which makes a weight of its gradient infinite or negative. Try the ReLU "
            "that follows the layer."
        )
    w = torch.where(g > 0, g / below, 0).flatten(2).sum(2)  # (n, k)
    return _weighted(w, A, relu)


def _weighted(w: Tensor, A: Tensor, relu: bool) -> Tensor:
    values = torch.einsum("nk,nk...->n...", w, A)[:, None]  # (n, 1, *coarse)
    return values.relu() if relu else values


class _Step(NamedTuple):
    """One call of a module without parts, and the first tensor it was given."""

    name: str
    module: nn.Module
    given: Tensor | None


@contextmanager
def _following(model: nn.Module, kept: list[Tensor]) -> Iterator[list[_Step]]:
    """Calls of modules without parts, and of dense layers, once the layer's output is kept."""
    steps: list[_Step] = []

    def record(name: str, module: nn.Module, inputs: tuple[object, ...]) -> None:
        if kept:  # a hook before the call: the layer's own comes while nothing is kept yet
            given = inputs[0] if inputs else None
            steps.append(_Step(name, module, given.detach().clone() if isinstance(given, Tensor) else None))

    with ExitStack() as stack:
        for name, module in hookable(model):
            if isinstance(module, nn.Linear) or not any(True for _ in module.children()):
                handle = module.register_forward_pre_hook(lambda m, i, name=name: record(name, m, i))
                stack.callback(handle.remove)
        yield steps


def _class_weights(A: Tensor, logits: Tensor, steps: list[_Step], layer: str | nn.Module) -> Tensor:
    """Weights (classes, k) of the dense layer that turns the channels' means into the logits.

    By what the layer was given and what came out, not by the modules' types: the means may be taken by a module or a
    function, and dropout or a flattening between changes nothing.
    """
    means = A.flatten(2).mean(2)  # (n, k)
    problem = "no nn.Linear is among them"
    for name, module, given in reversed(steps):
        if not isinstance(module, nn.Linear):
            continue
        if given is None or not _equal(given, means):
            problem = f"what {name!r} is given is not the means of the channels"
        elif not _equal(functional.linear(given, module.weight, module.bias).detach(), logits):
            problem = f"what {name!r} computes is not the logits"
        else:
            return module.weight.detach()
        break
    after = ", ".join(f"{step.name!r} ({type(step.module).__name__})" for step in steps) or "no module"
    raise ModelError(
        f"cam: after layer {layer!r} there must be global average pooling and one nn.Linear, so that every channel has "
        f"one weight for each class; what follows is {after}, and {problem}. Try 'grad_cam', which takes any head, or "
        "the layer right before the pooling."
    )


def _equal(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors are the same number, computed in two ways: half of the digits are enough to tell."""
    tolerance = torch.finfo(b.dtype).eps ** 0.5 * b.abs().max()
    return a.shape == b.shape and bool((a - b).abs().max() <= tolerance)
