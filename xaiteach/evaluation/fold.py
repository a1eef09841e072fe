"""Batch norms folded into the layers before them: the same network with fewer operations.

In evaluation mode a batch norm is a factor and a shift for each channel. Behind a convolution or a dense layer they can
be multiplied into its weights: w' = w g / sqrt(v + e), b' = (b - m) g / sqrt(v + e) + h, with mean m, variance v,
factor g and shift h. Half of the time of a narrow network goes into its batch norms.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from xaiteach.evaluation.base import Explainer, evaluating

__all__ = ["fold", "foldable", "looks_inside"]

_LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


def foldable(model: nn.Module, x: Tensor) -> tuple[tuple[str, str], ...]:
    """Pairs of names, a layer and the batch norm that reads its output; none where folding them changes the model.

    Parameters
        x : Tensor, shape (n, ...). What the model is run on, with one sample.
    """
    names = {module: name for name, module in model.named_modules()}
    made: dict[int, tuple[nn.Module, Tensor]] = {}
    pairs: list[tuple[str, str]] = []
    calls: list[nn.Module] = []

    def after(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        calls.append(module)
        if isinstance(module, _LAYERS) and isinstance(output, Tensor):
            made[id(output)] = (module, output)
        if isinstance(module, _BatchNorm) and inputs and id(inputs[0]) in made:
            pairs.append((names[made[id(inputs[0])][0]], names[module]))

    handles = [m.register_forward_hook(after) for m in names if isinstance(m, (*_LAYERS, _BatchNorm))]
    try:
        with evaluating(model, x.device):
            before = model(x[:1].clone())
    finally:
        for handle in handles:
            handle.remove()
    once = [pair for pair in pairs if all(calls.count(model.get_submodule(name)) == 1 for name in pair)]
    if not once or not all(model.get_submodule(norm).track_running_stats for _, norm in once):
        return ()
    other = fold(model, once)
    with evaluating(other, x.device):
        after_ = other(x[:1].clone())
    tolerance = torch.finfo(before.dtype).eps ** 0.5 * float(before.abs().max())
    same = before.shape == after_.shape and bool((before - after_).abs().max() <= tolerance)
    return tuple(once) if same else ()  # not, where the layer's own output is used elsewhere, too


def fold(model: nn.Module, pairs: Any) -> nn.Module:
    """A copy of the model, its batch norms in the layers before them; the rest as it was.

    Parameters
        pairs : (name of the layer, name of its batch norm), see `foldable`.
    """
    found = copy.deepcopy(model)
    for layer_name, norm_name in pairs:
        layer: Any = found.get_submodule(layer_name)
        norm: Any = found.get_submodule(norm_name)
        scale = (norm.running_var + norm.eps).rsqrt()
        if norm.weight is not None:
            scale = scale * norm.weight.detach()
        bias = torch.zeros_like(scale) if layer.bias is None else layer.bias.detach()
        shift = (bias - norm.running_mean) * scale
        if norm.bias is not None:
            shift = shift + norm.bias.detach()
        weight = layer.weight.detach() * scale.reshape(-1, *[1] * (layer.weight.ndim - 1))
        layer.weight, layer.bias = nn.Parameter(weight), nn.Parameter(shift)
        found.set_submodule(norm_name, nn.Identity())
    return found


def looks_inside(explainers: Iterable[Explainer], model: nn.Module) -> bool:
    """Whether one may read the output of a layer that folding changes: not ours by name, or told such a layer."""
    layers = (nn.ReLU, nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.Sequential)
    for explainer in explainers:
        name, options = explainer if isinstance(explainer, tuple) else (explainer, {})
        layer = options.get("layer")
        module = model.get_submodule(layer.partition("#")[0]) if isinstance(layer, str) else layer
        if not isinstance(name, str) or (module is not None and not isinstance(module, layers)):
            return True
    return False
