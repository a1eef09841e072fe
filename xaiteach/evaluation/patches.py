"""Patches that are there to be seen and change nothing for the model: what an explanation should not point at.

Symbols: f the logits, x the image, d the patch (0 outside the mask).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from xaiteach.attribution.isolation import leaves_no_trace
from xaiteach.attribution.scores import run
from xaiteach.attribution.work import at_least
from xaiteach.errors import OptionError, ShapeError
from xaiteach.guards import check_input, check_model, describe

__all__ = ["Patched", "insignificant_patch"]

_ROWS = 256


@dataclass(frozen=True, eq=False)
class Patched:
    """Images with insignificant patches.

    Parameters
        x : Tensor, shape (n, c, *spatial). The images with their patches.
        change : Tensor, shape (n,). |f(x + d) - f(x)|, in logits: how insignificant each patch is.
        before : Tensor, shape (n,). The same for the patch that the search started from.
        size : Tensor, shape (n,). |d|, in input units: how much there is to see.
    """

    x: Tensor
    change: Tensor
    before: Tensor
    size: Tensor


def insignificant_patch(
    model: Callable[[Tensor], Any],
    x: Tensor,
    mask: Tensor,
    *,
    start: Tensor,
    steps: int = 100,
    rate: float = 0.02,
    weight: float = 0.01,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> Patched:
    """Images with a patch d that leaves the logits where they were: |f(x + d) - f(x)| - weight |d| made small.

    It starts from an object pasted into the image, so that the patch keeps something of it, and moves the pixels of the
    mask alone. Every image is searched on its own: its patch does not depend on the batch. Read `change` beside
    `before`: a model that looks at nothing but the mask allows no such patch.

    Parameters
        model : callable from (n, c, *spatial) to logits (n, classes), differentiable.
        x : Tensor, shape (n, c, *spatial). Images without the patch.
        mask : Tensor, shape (n, *spatial), bool. Where the patch may be.
        start : Tensor of x's shape. Images with the patch to start from.
        steps : int >= 1. Steps of Adam, whose rate falls to 0. Default 100.
        rate : float > 0. Its first rate, in input units. Default .02.
        weight : float >= 0. Of the patch's size, in logits per input unit. Default .01, as the authors.
        bounds : (low, high). Range of the pixels; every step is cut to it. Default (0, 1).
    Returns
        Patched.
    Raises
        ShapeError: shapes that do not fit together.
        OptionError: no steps, a rate or weight out of its range.
        ModelError: as `explain`.
    Cost
        `steps` forward and backward passes.
    Source
        Yang, Kim (2019), functionally insignificant patches. Differs from it in: Adam for gradient descent; pixels are
        cut to the range, where there they pay a penalty outside it.
    Examples
        >>> first = lambda x: x[:, 0, :2]  # looks at the first two positions only
        >>> x, mask = torch.zeros(1, 1, 3), torch.tensor([[False, True, True]])
        >>> found = insignificant_patch(first, x, mask, start=torch.full((1, 1, 3), 0.5))
        >>> found.x.round(decimals=1)  # what it sees has gone back; what it does not see may be anything
        tensor([[[0., 0., 1.]]])
    """
    who = "insignificant_patch"
    x = check_input(x, who)
    model = check_model(model, who, x)
    at_least(steps, 1, "steps", who)
    if not rate > 0 or not weight >= 0:
        raise OptionError(
            f"{who}: `rate` must be above 0 and `weight` at least 0; got {rate!r} and {weight!r}. Try rate=0.02."
        )
    if mask.dtype != torch.bool or mask.shape != (len(x), *x.shape[2:]):
        raise ShapeError(
            f"{who}: `mask` must be bool, shape {(len(x), *x.shape[2:])}; got {describe(mask)}. Try mask > 0."
        )
    if start.shape != x.shape:
        raise ShapeError(
            f"{who}: `start` must match `x`, shape {tuple(x.shape)}; got {describe(start)}. Try scenes.x, with "
            "scenes.background as `x`."
        )
    where, start = mask.to(x.device)[:, None], start.to(x)
    with leaves_no_trace(model, x.device):
        parts = [slice(at, at + _ROWS) for at in range(0, len(x), _ROWS)]
        found = [_search(model, x[p], where[p], start[p], steps, rate, weight, bounds, who) for p in parts]
    patched, change, before = (torch.cat(column) for column in zip(*found, strict=True))
    return Patched(patched, change, before, (patched - x).flatten(1).norm(dim=1))


def _search(
    model: Callable[[Tensor], Any], x: Tensor, where: Tensor, start: Tensor, steps: int, rate: float, weight: float,
    bounds: tuple[float, float], who: str,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Images with their patches, and the change of the logits at the end and at the start."""
    plain = run(model, x, who, gradient=False).detach()
    d = torch.where(where, start - x, 0.0).detach().requires_grad_()
    optimiser = torch.optim.Adam([d], lr=rate)
    changes = []
    for step in range(steps + 1):
        change = (run(model, x + d, who, gradient=False) - plain).flatten(1).norm(dim=1)
        changes.append(change.detach())
        if step == steps:
            break
        loss = (change - weight * d.flatten(1).norm(dim=1)).sum()
        (d.grad,) = torch.autograd.grad(loss, d)
        optimiser.param_groups[0]["lr"] = rate * (1 - step / steps)
        optimiser.step()
        with torch.no_grad():
            d.copy_(torch.where(where, (x + d).clamp(*bounds) - x, 0.0))
    return (x + d).detach(), changes[-1], changes[0]
