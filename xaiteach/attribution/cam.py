"""Class activation maps: where the last convolution sees evidence for a class.

Symbols: A activation of the layer (n, k, *coarse), alpha (n, k) one weight per channel, c the target class.

Captum's LayerGradCam is the oracle of the tests and is not wrapped: it keeps the graph below the layer as well, says
nothing of a layer that is called several times, and differentiates the output itself, where ours takes a cotangent on
the logits (the probability's gradient cancels otherwise).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from xaiteach.attribution.layers import Run, capture, last_activation
from xaiteach.attribution.scores import gradient, run
from xaiteach.errors import ModelError
from xaiteach.guards import check_model, find_layer

__all__ = ["choose_layer", "grad_cam"]


def choose_layer(model: Callable[[Tensor], Any], run: Run, options: Mapping[str, Any], who: str) -> dict[str, Any]:
    """Options with `layer` as a dotted name: the one given, or the last convolution's activation for None.

    Raises
        ModelError, OptionError: the model is a plain function, has no such layer, or none that can be the default.
    """
    check_model(model, who, module=True)
    layer = options["layer"]
    if layer is None:
        layer = last_activation(run, who)
    elif isinstance(layer, nn.Module) and isinstance(model, nn.Module):
        layer, _ = find_layer(model, layer, who)
    return {**options, "layer": layer}


def grad_cam(
    model: nn.Module, x: Tensor, target: Tensor, *, layer: str | nn.Module, output: str = "logit", relu: bool = True
) -> Tensor:
    """Weighted sum of a layer's channels, weighted by the channel's mean gradient: ReLU(sum_k alpha_k A^k).

    alpha_k = (1/Z) sum_ij dS_c/dA^k_ij, with Z the number of positions, says how the score reacts to channel k; A^k
    says where the channel is active. The ReLU comes after the sum: channels may argue against the class before the cut.

    Parameters
        model : nn.Module from (n, ...) to logits (n, classes), in evaluation mode.
        x : Tensor, shape (n, c, ...). Samples with 1, 2 or 3 spatial axes.
        target : Tensor, shape (n,), long. Class index, 0-based.
        layer : dotted name, "name#k" for its k-th call, or module; its output is (n, k, *coarse). `explain` takes None
            for the last convolution's activation after its ReLU and before pooling.
        output : "logit" or "probability" (computed without cancellation). Which score S_c. Default "logit".
        relu : bool. Whether to cut negative evidence. Default True; False gives the signed map.
    Returns
        Tensor, shape (n, 1, *coarse), in units of the score, per position. With average pooling and one dense layer
        for a head, and relu=False, it sums to the score less its bias.
    Raises
        ModelError: the layer is not called exactly once, has no spatial axes, or the score does not depend on it.
        OptionError: no such layer, or unknown `output`.
    Cost
        1 forward pass, 1 backward pass down to the layer.
    Source
        Selvaraju et al. (2017), eqs. 1 and 2. Z is the number of positions, as there: not the sum of the weights.
    """
    with capture(model, layer, "grad_cam") as kept:
        logits = run(model, x, "grad_cam")
    A = kept[0]
    _check_activation(A, x, layer)
    g = gradient(logits, target, output, A)
    if g is None:
        raise ModelError(
            f"grad_cam: the score must depend on layer {layer!r}; its gradient there does not exist. "
            "Try a layer that the scores are computed from."
        )
    alpha = g.flatten(2).mean(2)  # (n, k)
    values = (alpha.reshape(*alpha.shape, *[1] * (A.ndim - 2)) * A.detach()).sum(1, keepdim=True)  # (n, 1, *coarse)
    return values.relu() if relu else values


def _check_activation(A: Tensor, x: Tensor, layer: str | nn.Module) -> None:
    if A.ndim < 3:
        raise ModelError(
            f"grad_cam: layer {layer!r} must have spatial axes, (n, channels, ...); its output is {tuple(A.shape)}. "
            "Try a convolution, or the ReLU after it."
        )
    if A.shape[0] != len(x):
        raise ModelError(
            f"grad_cam: layer {layer!r} must have the samples, {len(x)}, as its first axis; its output is "
            f"{tuple(A.shape)}. Try a layer where frames or patches are not folded into the batch."
        )
    if A.ndim != x.ndim:
        raise ModelError(
            f"grad_cam: layer {layer!r} must have as many axes as `x`, whose shape is {tuple(x.shape)}; its output is "
            f"{tuple(A.shape)}, which no resizing brings back. Try reshaping x before the model, not in it."
        )
