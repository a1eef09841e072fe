"""How alike two maps are: SSIM, Spearman, Pearson, cosine and HOG, for batches of maps in float64.

Symbols: a, b maps (n, *spatial), compared one to one; mu, s^2, s_ab means, variances and covariance in a window.

Maps have to be on a stated scale before SSIM means anything (`scaled`): its constants are fractions of the data range,
and with the range of 8-bit images, maps in [0, 1] are all alike (.9995). The scale is each map's own, never the
batch's: otherwise what one map is like depends on the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from xaiteach.errors import OptionError, ShapeError, unknown
from xaiteach.guards import check_finite, describe
from xaiteach.runtime import require

__all__ = ["KEEPS", "SIMILARITIES", "cosine", "hog", "pearson", "scaled", "similarity", "spearman", "ssim"]

KEEPS = ("all", "positive", "absolute")
"""What of a map is compared: everything with its sign, what speaks for the class, or sizes alone."""

_POOL = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}
_K1, _K2 = 0.01, 0.03


def scaled(maps: Tensor, keep: str = "all") -> Tensor:
    """Maps on a scale of their own: signed ones by the largest absolute value to [-1, 1], others to [0, 1].

    A map that is 0 everywhere stays so.

    Parameters
        maps : Tensor, shape (n, *spatial).
        keep : "all", "positive" (negative values cut at 0) or "absolute".
    Returns
        Tensor of the same shape, float64.
    Raises
        ShapeError: not a finite batch of maps.
        OptionError: unknown `keep`.
    Examples
        >>> scaled(torch.tensor([[-4.0, 2.0], [0.0, 0.0]]))
        tensor([[-1.0000,  0.5000],
                [ 0.0000,  0.0000]], dtype=torch.float64)
    """
    if keep not in KEEPS:
        raise unknown("keep", keep, KEEPS)
    kept = _as_maps(maps, "scaled")
    if keep != "all":
        kept = kept.clamp(min=0) if keep == "positive" else kept.abs()
    most = kept.abs().flatten(1).amax(1).reshape(-1, *[1] * (kept.ndim - 1))
    return kept / torch.where(most > 0, most, 1.0)


def ssim(a: Tensor, b: Tensor, *, data_range: float, window: int = 7) -> Tensor:
    """Structural similarity, the mean over all windows that lie within the maps, shape (n,), float64.

    In each window: (2 mu_a mu_b + C1)(2 s_ab + C2) / ((mu_a^2 + mu_b^2 + C1)(s_a^2 + s_b^2 + C2)), with
    C1 = (.01 L)^2, C2 = (.03 L)^2 for the data range L. Windows are plain means and variances divide by their count
    less 1, as in scikit-image. Two maps that are nearly empty are alike wherever both are empty: two disjoint sparse
    maps reach .8. Read it beside the SSIM of maps that have nothing to do with each other.

    Parameters
        a, b : Tensor, shape (n, *spatial), 1 to 3 spatial axes, on the same scale.
        data_range : float > 0. L, the largest difference that the scale allows: 2 for [-1, 1], 1 for [0, 1].
        window : odd int, 3 or more. Its side along every spatial axis. Default 7.
    Raises
        ShapeError: no batches of maps of one shape, or smaller than a window.
        OptionError: a data range or window out of its range.
    Source
        Wang, Bovik, Sheikh, Simoncelli (2004), eq. 13; scikit-image's default window.
    Examples
        >>> a = torch.arange(16.0).reshape(1, 4, 4) / 15
        >>> ssim(a, a, data_range=1.0, window=3), ssim(a, 1 - a, data_range=1.0, window=3) < 0
        (tensor([1.], dtype=torch.float64), tensor([True]))
    """
    a, b = _pair(a, b, "ssim")
    if not data_range > 0:
        raise OptionError(f"ssim: `data_range` must be above 0; got {data_range!r}. Try 2.0 for maps in [-1, 1].")
    if not isinstance(window, int) or window < 3 or window % 2 == 0:
        raise OptionError(f"ssim: `window` must be an odd integer from 3 up; got {window!r}. Try window=7.")
    if min(a.shape[1:]) < window:
        raise ShapeError(
            f"ssim: maps must be at least {window} long along every axis; these are {tuple(a.shape[1:])}. "
            f"Try a window that fits, such as window=3."
        )
    rank = a.ndim - 1
    # One pooling for all five means; a mean per map is taken off first, so that variances do not cancel.
    centre = (a.flatten(1).mean(1) + b.flatten(1).mean(1)).reshape(-1, *[1] * rank) / 2
    a0, b0 = a - centre, b - centre
    stacked = torch.stack([a0, b0, a0 * a0, b0 * b0, a0 * b0], 1)  # (n, 5, *spatial)
    m_a, m_b, aa, bb, ab = _POOL[rank](stacked, window, stride=1).unbind(1)
    count = window**rank
    unbiased = count / (count - 1)
    s_a, s_b, s_ab = unbiased * (aa - m_a**2), unbiased * (bb - m_b**2), unbiased * (ab - m_a * m_b)
    mu_a, mu_b = m_a + centre, m_b + centre
    c1, c2 = (_K1 * data_range) ** 2, (_K2 * data_range) ** 2
    found = (2 * mu_a * mu_b + c1) * (2 * s_ab + c2) / ((mu_a**2 + mu_b**2 + c1) * (s_a + s_b + c2))
    means: Tensor = found.flatten(1).mean(1)
    return means


def pearson(a: Tensor, b: Tensor) -> Tensor:
    """Correlation over a map's positions, shape (n,), float64; 0 where a map is constant.

    Examples
        >>> round(pearson(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[3.0, 2.0, 1.0]])).item(), 6)
        -1.0
    """
    a, b = (t.flatten(1) - t.flatten(1).mean(1, keepdim=True) for t in _pair(a, b, "pearson"))
    return _cosine(a, b)


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Cosine of the angle between two maps, shape (n,), float64; 0 where a map is 0 everywhere.

    Examples
        >>> cosine(torch.tensor([[1.0, 1.0]]), torch.tensor([[1.0, 0.0]]))
        tensor([0.7071], dtype=torch.float64)
    """
    a, b = (t.flatten(1) for t in _pair(a, b, "cosine"))
    return _cosine(a, b)


def spearman(a: Tensor, b: Tensor) -> Tensor:
    """Rank correlation over a map's positions, shape (n,), float64; 0 where a map is constant.

    Equal values share the mean of their ranks. It takes no notice of scale, and gives the many small values of a map
    as much weight as its few large ones.

    Parameters
        a, b : Tensor, shape (n, *spatial).
    Raises
        ShapeError: no batches of maps of one shape.
    Examples
        >>> round(spearman(torch.tensor([[1.0, 2.0, 30.0]]), torch.tensor([[0.0, 5.0, 6.0]])).item(), 6)
        1.0
    """
    a, b = _pair(a, b, "spearman")
    return pearson(_ranks(a), _ranks(b))


def hog(a: Tensor, b: Tensor, *, cell: int = 8) -> Tensor:
    """Correlation of the maps' histograms of oriented gradients, shape (n,), float64: the same edges in both, or not.

    Parameters
        a, b : Tensor, shape (n, h, w).
        cell : int >= 2. Side of a cell in positions; h and w hold at least one. Default 8. Blocks are of one cell.
    Raises
        ShapeError: no batches of images of one shape, or smaller than a cell.
    Source
        Adebayo et al. (2018), section 3; Dalal, Triggs (2005), as scikit-image has it.
    """
    a, b = _pair(a, b, "hog")
    if a.ndim != 3 or min(a.shape[1:]) < cell:
        raise ShapeError(
            f"hog: maps must be images of at least {cell} x {cell}, shape (n, h, w); got {describe(a)}. "
            "Try 'spearman', which takes maps of any shape."
        )
    extract = require("skimage.feature").hog
    options = {"pixels_per_cell": (cell, cell), "cells_per_block": (1, 1)}
    features = [[torch.as_tensor(extract(m.cpu().numpy(), **options)) for m in maps] for maps in (a, b)]
    return pearson(*(torch.stack(rows) for rows in features)).to(a.device)


def _ssim_of(a: Tensor, b: Tensor, keep: str) -> Tensor:
    window = min(7, *(side - (side + 1) % 2 for side in a.shape[1:]))
    return ssim(scaled(a, keep), scaled(b, keep), data_range=2.0 if keep == "all" else 1.0, window=window)


SIMILARITIES: Mapping[str, Callable[[Tensor, Tensor, str], Tensor]] = {
    "ssim": _ssim_of,
    "spearman": lambda a, b, keep: spearman(scaled(a, keep), scaled(b, keep)),
    "pearson": lambda a, b, keep: pearson(scaled(a, keep), scaled(b, keep)),
    "cosine": lambda a, b, keep: cosine(scaled(a, keep), scaled(b, keep)),
    "hog": lambda a, b, keep: hog(scaled(a, keep), scaled(b, keep), cell=min(8, *a.shape[1:])),
}
"""Name -> function of two batches of maps, as explained, and of what is kept of them."""


def similarity(a: Tensor, b: Tensor, name: str = "ssim", keep: str = "all") -> Tensor:
    """Similarity of maps, one to one, shape (n,), float64; each map is brought to a scale of its own first.

    Parameters
        a, b : Tensor, shape (n, *spatial).
        name : "ssim" (windows of 7, or the largest odd number that fits), "spearman", "pearson", "cosine" or "hog".
        keep : see `scaled`.
    Raises
        OptionError: unknown `name` or `keep`.
        ShapeError: no batches of maps of one shape.
    Examples
        >>> round(similarity(torch.tensor([[1.0, 2.0, -3.0]]), torch.tensor([[2.0, 4.0, -6.0]]), "pearson").item(), 6)
        1.0
    """
    if name not in SIMILARITIES:
        raise unknown("similarity", name, SIMILARITIES)
    return SIMILARITIES[name](*_pair(a, b, name), keep)


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    size = a.norm(dim=1) * b.norm(dim=1)
    return torch.where(size > 0, (a * b).sum(1) / torch.where(size > 0, size, 1.0), 0.0).clamp(-1, 1)


def _ranks(t: Tensor) -> Tensor:
    """Rank of each value within its map, the mean of theirs for equal values; shape (n, positions)."""
    flat = t.flatten(1).contiguous()
    ordered = flat.sort(1).values
    below = torch.searchsorted(ordered, flat, side="left")
    up_to = torch.searchsorted(ordered, flat, side="right")
    return (below + up_to + 1).double() / 2


def _pair(a: Tensor, b: Tensor, who: str) -> tuple[Tensor, Tensor]:
    a, b = _as_maps(a, who), _as_maps(b, who)
    if a.shape != b.shape:
        raise ShapeError(
            f"{who}: both batches must have one shape; got {tuple(a.shape)} and {tuple(b.shape)}. "
            "Try Attribution.map, which has the input's size for every method."
        )
    return a, b


def _as_maps(maps: object, who: str) -> Tensor:
    found = torch.as_tensor(maps) if isinstance(maps, np.ndarray) else maps
    if not isinstance(found, Tensor) or not 2 <= found.ndim <= 4 or found.numel() == 0:
        raise ShapeError(
            f"{who}: maps must be a batch, shape (n, *spatial) with 1 to 3 spatial axes; got {describe(maps)}. "
            "Try map[None] for a single one."
        )
    return check_finite(found.detach().double(), who, "maps", "torch.nan_to_num")
