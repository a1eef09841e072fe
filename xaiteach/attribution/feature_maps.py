"""Feature maps of a layer: which layer, what is asked of them, their gradient, and their resizing to the input.

Symbols: A activation of the layer (n, k, *coarse), g (same shape) the gradient of the score by it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from xaiteach.attribution.layers import Run, capture, last_activation
from xaiteach.attribution.scores import gradient, run
from xaiteach.errors import ModelError, ShapeError
from xaiteach.guards import check_model, find_layer

__all__ = ["check_feature_maps", "choose_layer", "independent", "layer_gradient", "resized"]

_MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}


def choose_layer(model: Callable[[Tensor], Any], run: Run, options: Mapping[str, Any], who: str) -> dict[str, Any]:
    """Options with `layer` as a dotted name: the one given, or the last convolution's activation for None.

    Raises
        ModelError, OptionError: the model is a plain function, has no such layer, one that the scores do not depend
            on, or none that can be the default.
    """
    check_model(model, who, module=True)
    layer = options["layer"]
    if layer is None:
        layer = last_activation(run, who)
    elif isinstance(layer, nn.Module) and isinstance(model, nn.Module):
        layer, _ = find_layer(model, layer, who)
    nodes = [call.node for call in run.calls if layer in (call.name, f"{call.name}#{call.number}")]
    if nodes and not any(node is None or node in run.nodes for node in nodes):
        raise independent(layer, who)
    return {**options, "layer": layer}


def layer_gradient(
    model: nn.Module, x: Tensor, target: Tensor, layer: str | nn.Module, output: str, who: str
) -> tuple[Tensor, Tensor]:
    """Activation of the layer, and the gradient of each sample's score by it, both (n, k, *coarse) and detached.

    Raises
        ModelError: the layer is not called exactly once, has no spatial axes, or the score does not depend on it.
        OptionError: no such layer, or unknown `output`.
    """
    with capture(model, layer, who) as kept:
        logits = run(model, x, who)
    A = kept[0]
    check_feature_maps(A, x, layer, who)
    g = gradient(logits, target, output, A)
    if g is None:
        raise independent(layer, who)
    return A.detach(), g


def independent(layer: str | nn.Module, who: str) -> ModelError:
    """Error for a layer that the scores are not computed from."""
    return ModelError(
        f"{who}: the score must depend on layer {layer!r}; its gradient there does not exist. "
        "Try a layer that the scores are computed from."
    )


def check_feature_maps(A: Tensor, x: Tensor, layer: str | nn.Module, who: str) -> None:
    """Check that a layer's output can be laid over the samples: (n, k, *coarse), as many axes as x.

    Raises
        ModelError: no spatial axes, another first axis than the samples', or another number of axes.
    """
    if A.ndim < 3:
        raise ModelError(
            f"{who}: layer {layer!r} must have spatial axes, (n, channels, ...); its output is {tuple(A.shape)}. "
            "Try a convolution, or the ReLU after it."
        )
    if A.shape[0] != len(x):
        raise ModelError(
            f"{who}: layer {layer!r} must have the samples, {len(x)}, as its first axis; its output is "
            f"{tuple(A.shape)}. Try a layer where frames or patches are not folded into the batch."
        )
    if A.ndim != x.ndim:
        raise ModelError(
            f"{who}: layer {layer!r} must have as many axes as `x`, whose shape is {tuple(x.shape)}; its output is "
            f"{tuple(A.shape)}, which no resizing brings back. Try reshaping x before the model, not in it."
        )


def resized(maps: Tensor, spatial: Sequence[int], who: str) -> Tensor:
    """Maps (n, c, *coarse) at another size, (n, c, *spatial): linear along each axis, by the centres of the cells.

    Raises
        ShapeError: other than 1, 2 or 3 spatial axes.
    """
    size = tuple(spatial)
    if tuple(maps.shape[2:]) == size:
        return maps
    if len(size) not in _MODES:
        raise ShapeError(
            f"{who}: a map can be resized to 1, 2 or 3 spatial axes; `x` has {len(size)}. Try a layer of x's size."
        )
    found: Tensor = functional.interpolate(maps, size=size, mode=_MODES[len(size)], align_corners=False)
    return found
