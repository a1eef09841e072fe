"""Samples around one input: Gaussian noise on its values, or superpixels switched on and off.

Symbols: N samples, M superpixels, Z (N, M) on/off masks. One input has no batch axis: (c, h, w), (c, l), (c, t, h, w),
or (d,) for a row of a table. Random numbers are drawn in double precision, whatever x is.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from xaiteach.errors import OptionError, ShapeError, unknown
from xaiteach.guards import check_finite, describe
from xaiteach.lime.checks import at_least, number
from xaiteach.runtime import require

__all__ = ["FILLS", "apply_masks", "fill_of", "gaussian", "on_off", "spread", "superpixel_means"]

FILLS = ("mean", "blur")
"""Fills that have a name; a number or a tensor is one, too."""


def gaussian(x: Tensor, n_samples: int, sigma: Any, generator: torch.Generator | None = None) -> Tensor:
    """Samples x + e with e ~ N(0, sigma^2 I), shape (N, *shape of x): every value has noise of its own.

    The homework's "eps ~ N(0, sigma^2)", read as one number for all features, would give X rank 2.

    Parameters
        x : Tensor, float. One input.
        n_samples : int >= 1.
        sigma : float > 0, or a tensor of them that broadcasts to x; in units of x.
        generator : torch.Generator or None (the global state).
    Raises
        ShapeError: a sigma that does not broadcast.
        OptionError: no samples, or a sigma that is not above 0.
    Source
        Homework Q2.
    Examples
        >>> gaussian(torch.zeros(3), 2, 0.1, torch.Generator().manual_seed(0)).shape
        torch.Size([2, 3])
    """
    at_least(n_samples, 1, "n_samples", "gaussian")
    if isinstance(sigma, Tensor) and sigma.ndim:
        scale = _fitting(sigma, x, "sigma", "gaussian").double()
        number(float(scale.min()), "sigma", "gaussian")
    else:
        scale = torch.full(x.shape, number(sigma, "sigma", "gaussian"), dtype=torch.float64, device=x.device)
    noise = _drawn(torch.randn, (n_samples, *x.shape), generator, x.device)
    return (x.double() + scale * noise).to(x.dtype)


def on_off(n_superpixels: int, n_samples: int, generator: torch.Generator | None = None) -> Tensor:
    """Masks Z (N, M), bool: the first is all on, the input itself; in the others every superpixel is on or off, evenly.

    Parameters
        n_superpixels, n_samples : int >= 1. M and N.
        generator : torch.Generator or None (the global state).
    Raises
        OptionError: a number below 1.
    Source
        The lime package's image explainer; the paper draws how many are on first.
    Examples
        >>> on_off(3, 2, torch.Generator().manual_seed(0))[0]
        tensor([True, True, True])
    """
    M, N = at_least(n_superpixels, 1, "n_superpixels", "on_off"), at_least(n_samples, 1, "n_samples", "on_off")
    masks: Tensor = _drawn(torch.rand, (N, M), generator, torch.device("cpu")) < 0.5
    masks[0] = True
    return masks


def apply_masks(x: Tensor, fill: Tensor, labels: Tensor, masks: Tensor) -> Tensor:
    """The inputs that masks stand for, shape (N, *shape of x): x where a superpixel is on, the fill where it is off.

    Parameters
        x : Tensor, shape (c, *spatial) or (d,).
        fill : Tensor of x's shape.
        labels : Tensor, shape spatial or (d,), long. Which superpixel a position belongs to, from 0.
        masks : Tensor, shape (N, M), bool.
    Examples
        >>> apply_masks(torch.ones(1, 4), torch.zeros(1, 4), torch.tensor([0, 0, 1, 1]), torch.tensor([[True, False]]))
        tensor([[[1., 1., 0., 0.]]])
    """
    present = masks.to(x.device)[:, labels.to(x.device)]  # (N, *spatial)
    return torch.where(present[:, None] if x.ndim > 1 else present, x, fill)


def superpixel_means(x: Tensor, labels: Tensor) -> Tensor:
    """The mean over each value's superpixel, channel by channel, in its place; of x's shape.

    Parameters
        x : Tensor, shape (c, *spatial) or (d,).
        labels : Tensor, shape spatial or (d,), long, from 0.
    Source
        The lime package's image explainer (hide_color=None).
    Examples
        >>> superpixel_means(torch.tensor([[1.0, 3.0, 5.0]]), torch.tensor([0, 0, 1]))
        tensor([[2., 2., 5.]])
    """
    flat = labels.flatten().to(x.device)
    channels = x.reshape(-1, len(flat)).double()  # (c, positions)
    sums = torch.zeros(len(channels), int(flat.max()) + 1, dtype=torch.float64, device=x.device)
    sums.index_add_(1, flat, channels)
    return (sums / torch.bincount(flat))[:, flat].reshape(x.shape).to(x.dtype)


def fill_of(fill: Any, x: Tensor, labels: Tensor, who: str = "fill_of") -> Tensor:
    """What a superpixel that is off shows, as a tensor of x's shape.

    A coefficient is the effect of replacing a superpixel by this fill, and by no other.

    Parameters
        fill : "mean" (the mean of the superpixel, channel by channel), "blur" (x under a Gaussian whose sigma is a
            tenth of the longest spatial axis), a number, or a tensor that broadcasts to x.
        x : Tensor, shape (c, *spatial) or (d,).
        labels : Tensor, shape spatial or (d,), long, from 0.
    Raises
        OptionError: another word, "blur" for a table, or "mean" where every superpixel is a single position, which
            is its own mean.
        ShapeError: a tensor that does not broadcast to x, or not finite.
    Examples
        >>> fill_of(0.5, torch.ones(1, 2), torch.tensor([0, 1]))
        tensor([[0.5000, 0.5000]])
    """
    if isinstance(fill, str):
        if fill not in FILLS:
            raise unknown(f"fill of {who}", fill, FILLS)
        if fill == "mean":
            if int(labels.max()) + 1 == labels.numel():
                raise OptionError(
                    f"{who}: `fill` must be named where a superpixel is a single position, which is its own mean; got "
                    f"'mean' with {labels.numel()} of them. Try fill=0.0, or larger superpixels."
                )
            return superpixel_means(x, labels)
        if x.ndim == 1:
            raise unknown(f"fill of {who} for a table, which has no neighbours to blur", fill, ["mean"])
        return _blurred(x)
    if isinstance(fill, int | float) and not isinstance(fill, bool):
        return check_finite(torch.full_like(x, float(fill)), who, "fill", "fill=0.0")
    return _fitting(fill, x, "fill", who)


def spread(values: Any, labels: Tensor) -> Tensor:
    """Each position's value: that of its superpixel, whole; shape of labels, float64.

    Parameters
        values : (M,) numbers, such as coefficients.
        labels : Tensor, any shape, long, from 0.
    Examples
        >>> spread([2.0, -1.0], torch.tensor([0, 0, 1]))
        tensor([ 2.,  2., -1.], dtype=torch.float64)
    """
    return torch.as_tensor(values, dtype=torch.float64, device=labels.device)[labels]


def _blurred(x: Tensor) -> Tensor:
    sigma = max(x.shape[1:]) / 10
    found = require("skimage.filters").gaussian(
        x.detach().cpu().double().numpy(), sigma=sigma, channel_axis=0, mode="nearest", preserve_range=True
    )
    return torch.as_tensor(found).to(x)


def _fitting(value: Any, x: Tensor, name: str, who: str) -> Tensor:
    """`value` expanded to x's shape, and of x's dtype where it is to be x's."""
    try:
        found = torch.as_tensor(value).detach().to(x).expand(x.shape)
    except (RuntimeError, TypeError, ValueError):
        raise ShapeError(
            f"{who}: `{name}` must be a number or broadcast to `x`, shape {tuple(x.shape)}; got {describe(value)}. "
            f"Try one value for each channel, shape {(x.shape[0], *[1] * (x.ndim - 1))}."
        ) from None
    return check_finite(found, who, name, "torch.nan_to_num")


def _drawn(draw: Any, shape: tuple[int, ...], generator: torch.Generator | None, device: torch.device) -> Tensor:
    own = device if generator is None else generator.device
    found: Tensor = draw(shape, generator=generator, dtype=torch.float64, device=own).to(device)
    return found
