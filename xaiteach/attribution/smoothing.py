"""Smooth masks: coarse cells enlarged to positions, blurs, and the price of edges.

Symbols: m a mask on coarse cells, beta the power in its total variation.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["along", "blurred", "cells_of", "enlarging", "shifted", "total_variation"]

_BLUR = 10 / 224
"""Standard deviation of the usual blur, as a share of the shorter side: Fong and Vedaldi's 10 pixels of 224."""
_SPREAD = 5 / 8
"""Standard deviation with which a cell is enlarged, in cells: their 5 pixels, for cells of 8."""


def total_variation(m: Tensor, beta: float) -> Tensor:
    """Sum over cells and axes of |m(next cell) - m(cell)|^beta, for each mask.

    Parameters
        m : Tensor, shape (n, *cells).
        beta : float >= 1. Above 1 many small steps cost less than a large one.
    Returns
        Tensor, shape (n,).
    Source
        Fong, Vedaldi (2017), the second term of eq. 4.
    Examples
        >>> total_variation(torch.tensor([[[0.0, 1.0], [0.0, 3.0]]]), 2.0)  # 1 and 9 to the right, 0 and 4 down
        tensor([14.])
    """
    return torch.stack([m.diff(dim=axis).abs().pow(beta).flatten(1).sum(1) for axis in range(1, m.ndim)]).sum(0)


def along(matrices: Sequence[Tensor], values: Tensor) -> Tensor:
    """Each of the last axes of `values` multiplied by its matrix (new side, side): separable filters and resizing."""
    for axis, matrix in enumerate(matrices, start=values.ndim - len(matrices)):
        values = torch.tensordot(values, matrix, dims=([axis], [1])).movedim(-1, axis)
    return values


def cells_of(sides: Sequence[int], grid: int) -> list[int]:
    """Cells along each side: `grid` along the longest, at most its positions, and as many of that size as fit along it.

    Examples
        >>> cells_of((64, 128), 28), cells_of((40,), 28), cells_of((5, 8), 28)
        ([14, 28], [28], [5, 8])
    """
    longest = max(sides)
    return [max(1, round(min(grid, longest) * side / longest)) for side in sides]


def enlarging(cells: int, side: int) -> Tensor:
    """Share of each cell in each position, shape (side, cells), float64.

    Gaussians around the cells' centres, normalised so that the shares of a position sum to 1: a mask in [0, 1] stays
    there.
    """
    cell = side / cells
    centre = (torch.arange(cells, dtype=torch.float64) + 0.5) * cell - 0.5
    return _gaussian(torch.arange(side, dtype=torch.float64)[:, None] - centre, _SPREAD * cell)


def blurred(x: Tensor, sigma: float | None = None) -> Tensor:
    """`x` blurred along its signal, its image, or each of its frames; beyond a border its value goes on.

    Parameters
        x : Tensor, shape (n, c, *spatial).
        sigma : float > 0, in positions, or None for 10/224 of the shorter side. The kernel ends at 4 sigma, rounded.
    """
    sides = x.shape[2:][-2:]
    sd = min(sides) * _BLUR if sigma is None else sigma
    return along([_blur(side, sd).to(x) for side in sides], x)


def _blur(side: int, sigma: float) -> Tensor:
    """Matrix (side, side), float64, of a Gaussian blur along one axis."""
    radius = int(4 * sigma + 0.5)
    offset = torch.arange(-radius, radius + 1)
    weight = _gaussian(offset.double()[None], sigma)  # (1, offsets)
    source = (torch.arange(side)[:, None] + offset).clamp(0, side - 1)  # (side, offsets)
    return torch.zeros(side, side, dtype=torch.float64).scatter_add_(1, source, weight.expand(source.shape))


def _gaussian(distance: Tensor, sigma: float) -> Tensor:
    # As a softmax: where all are far away the nearest has everything, and nothing is divided by 0.
    return (-(distance**2) / (2 * sigma**2)).softmax(1)


def shifted(x: Tensor, tau: Tensor) -> Tensor:
    """Each sample (n, c, *spatial) moved by its own whole numbers tau (n, axes); border values move in."""
    for axis, moves in enumerate(tau.to(x.device).unbind(1), start=2):
        side = x.shape[axis]
        source = (torch.arange(side, device=x.device) - moves[:, None]).clamp(0, side - 1)  # (n, side)
        x = x.take_along_dim(source.reshape(len(x), *[side if a == axis else 1 for a in range(1, x.ndim)]), axis)
    return x
