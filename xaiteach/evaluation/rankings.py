"""Positions in the order of a map, and samples in which some of them show something else.

Symbols: n samples of so many positions; a position stands for all channels there, in a table for one feature.
"""

from __future__ import annotations

import torch
from torch import Tensor

from xaiteach.attribution.work import uniform
from xaiteach.errors import OptionError, ShapeError, unknown
from xaiteach.guards import check_finite, describe

__all__ = ["degraded", "field_of", "over_channels", "ranking", "replaced"]


def field_of(x: Tensor) -> torch.Size:
    """Sides of what a map of x covers: its spatial axes, or the features of a table (n, d)."""
    return x.shape[2:] if x.ndim > 2 else x.shape[1:]


def ranking(maps: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
    """Positions of each map from the largest value to the least, shape (n, positions), long.

    Equal values come in a drawn order. In the order of rows, what a map leaves at 0 would go from the top left.

    Parameters
        maps : Tensor, shape (n, *spatial).
        generator : what the order of equal values is drawn from, sample by sample; None: the global state.
    Raises
        ShapeError: not finite, or without a position.
    Examples
        >>> ranking(torch.tensor([[0.1, 0.9, 0.5]]), generator=torch.Generator().manual_seed(0))
        tensor([[1, 2, 0]])
    """
    if maps.ndim < 2 or maps.numel() == 0:
        raise ShapeError(
            f"ranking: `maps` must be a batch, shape (n, *spatial); got {describe(maps)}. Try map[None] for one."
        )
    flat = check_finite(maps.detach(), "ranking", "maps").flatten(1)
    drawn = uniform(flat, flat.shape[1], generator).argsort(1).to(flat.device)
    return drawn.gather(1, flat.gather(1, drawn).argsort(dim=1, descending=True, stable=True))


def replaced(order: Tensor, fraction: float, kind: str = "roar") -> Tensor:
    """Which positions are replaced, shape (n, positions), bool: the first of the order, or all but the first.

    Parameters
        order : Tensor, shape (n, positions). As of `ranking`.
        fraction : float in [0, 1]. Of the positions, rounded to a whole number of them.
        kind : "roar", where it is the fraction replaced, or "kar", where it is the fraction kept.
    Raises
        OptionError: a fraction outside [0, 1], or another kind.
    Examples
        >>> replaced(torch.tensor([[1, 2, 0, 3]]), 0.25), replaced(torch.tensor([[1, 2, 0, 3]]), 0.25, "kar")
        (tensor([[False,  True, False, False]]), tensor([[ True, False,  True,  True]]))
    """
    if kind not in ("roar", "kar"):
        raise unknown("kind", kind, ("roar", "kar"))
    if isinstance(fraction, bool) or not 0 <= fraction <= 1:
        raise OptionError(
            f"replaced: `fraction` must be from 0 to 1; got {fraction!r}. Try 0.1 for ten per cent of the positions."
        )
    count = round(fraction * order.shape[1])
    first = torch.zeros_like(order, dtype=torch.bool).scatter_(1, order[:, :count], True)
    return first if kind == "roar" else ~first


def degraded(x: Tensor, where: Tensor, fill: Tensor) -> Tensor:
    """Samples whose positions `where`, through all channels, show the fill; a new tensor of x's shape.

    Parameters
        x : Tensor, shape (n, c, *spatial), or (n, d) for a table.
        where : Tensor, shape (n, positions), bool.
        fill : Tensor that broadcasts to x's shape.
    Examples
        >>> degraded(torch.ones(1, 2, 3), torch.tensor([[True, False, False]]), torch.zeros(()))
        tensor([[[0., 1., 1.],
                 [0., 1., 1.]]])
    """
    return torch.where(over_channels(where, x), fill.to(x), x)


def over_channels(where: Tensor, x: Tensor) -> Tensor:
    """Positions (n, positions) in the shape of x with one channel, or as they are for a table."""
    return where if x.ndim == 2 else where.reshape(len(x), 1, *x.shape[2:])
