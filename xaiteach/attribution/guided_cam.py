"""Guided backprop seen through a class activation map: the one is sharp, the other knows the class.

Both parts are looked up when they are used: Grad-CAM may be what a unit asks its student to write.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from xaiteach.attribution import registry
from xaiteach.attribution.feature_maps import resized

__all__ = ["guided_grad_cam", "guided_grad_cam_pp"]


def guided_grad_cam(
    model: nn.Module, x: Tensor, target: Tensor, *, layer: str | nn.Module, output: str = "logit"
) -> Tensor:
    """Product of guided backprop and the Grad-CAM map, resized to the input.

    The map says where the class is, guided backprop draws the edges there. Inside the region it is guided backprop,
    with its faults: the edges hardly depend on the class or on the weights of the upper layers.

    Parameters
        model : nn.Module from (n, ...) to logits (n, classes), in evaluation mode. Its nonlinearities are ReLUs.
        x : Tensor, shape (n, c, ...). Samples with 1, 2 or 3 spatial axes.
        target : Tensor, shape (n,), long. Class index, 0-based.
        layer : of the map, as `grad_cam`.
        output : "logit" or "probability". Which score. Default "logit".
    Returns
        Tensor of x's shape, signed. The units are a product of the two parts' and mean little.
    Raises
        ModelError: no ReLU or another nonlinearity (guided backprop), or an unusable layer (Grad-CAM).
        OptionError: no such layer, or unknown `output`.
        MissingExtraError: Grad-CAM is what this unit asks you to write.
    Cost
        2 forward and 2 backward passes.
    Source
        Selvaraju et al. (2017), section 3.2. Resized linearly between the centres of cells, as there; Captum repeats
        the nearest cell.
    Examples
        >>> import torch
        >>> from xaiteach import explain
        >>> net = nn.Sequential(nn.Conv1d(1, 2, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3))
        >>> x = torch.ones(1, 1, 8)
        >>> back, cam = (explain(net, x, 1, part).values for part in ("guided_backprop", "grad_cam"))
        >>> torch.equal(explain(net, x, 1, "guided_grad_cam").values, back * cam)
        True
    """
    back = _part("guided_backprop", model, x, target, output=output)
    cam = _part("grad_cam", model, x, target, layer=layer, output=output, relu=True)
    return back * resized(cam, x.shape[2:], "guided_grad_cam")


def guided_grad_cam_pp(model: nn.Module, x: Tensor, target: Tensor, *, layer: str | nn.Module) -> Tensor:
    """Product of guided backprop and the Grad-CAM++ map, resized to the input.

    Parameters
        model, x, target : as `guided_grad_cam`.
        layer : of the map, as `grad_cam_pp`.
    Returns
        Tensor of x's shape, signed. The units are a product of the two parts' and mean little.
    Raises
        ModelError: no ReLU or another nonlinearity (guided backprop), or an unusable layer (Grad-CAM++).
        OptionError: no such layer.
        MissingExtraError: Grad-CAM++ is not here, because it comes close to what this unit asks you to write.
    Cost
        2 forward and 2 backward passes.
    Source
        Chattopadhay, Sarkar, Howlader, Balasubramanian (2018).
    Examples
        >>> import torch
        >>> from xaiteach import explain
        >>> net = nn.Sequential(nn.Conv1d(1, 2, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3))
        >>> x = torch.ones(1, 1, 8)
        >>> back, cam = (explain(net, x, 1, part).values for part in ("guided_backprop", "grad_cam_pp"))
        >>> torch.equal(explain(net, x, 1, "guided_grad_cam_pp").values, back * cam)
        True
    """
    back = _part("guided_backprop", model, x, target, output="logit")
    cam = _part("grad_cam_pp", model, x, target, layer=layer, relu=True)
    return back * resized(cam, x.shape[2:], "guided_grad_cam_pp")


def _part(name: str, model: nn.Module, x: Tensor, target: Tensor, **options: Any) -> Tensor:
    found: Tensor = registry.resolve(registry.entry(name).target, name)(model, x, target, **options)
    return found
