"""Superpixels: a partition of an input's positions into parts that are switched on and off together.

A label map has the spatial shape of one input, or (d,) for a row of a table, and holds which superpixel each position
belongs to, from 0. The sharp edges of a LIME map are the segmentation's, not the network's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xaiteach.errors import OptionError, ShapeError
from xaiteach.guards import describe
from xaiteach.lime.checks import at_least, number
from xaiteach.runtime import require

__all__ = ["check_labels", "default_superpixels", "grid", "quickshift", "segments", "slic"]


def default_superpixels(x: Tensor, n_superpixels: int | None = None) -> Tensor:
    """Label map for one input of any rank, the same every time.

    An image (c, h, w) is cut by `slic`, a signal (c, l) into even `segments`, a clip (c, t, h, w) into blocks by
    `grid`, and of a row (d,) every feature is one.

    Parameters
        x : Tensor, float. One input, without a batch axis.
        n_superpixels : int >= 1 or None. About how many. Default: 64 for images and clips, 20 for signals, and fewer
            where they would have less than four or two positions, since one alone is its own mean.
    Returns
        Tensor, shape (*spatial) or (d,), long.
    Raises
        OptionError: a number below 1, or one given for a row of a table.
        ShapeError: no input of these ranks.
    Examples
        >>> default_superpixels(torch.zeros(1, 40)).unique_consecutive().numel()
        20
    """
    if x.ndim == 1:
        if n_superpixels is not None:
            raise OptionError(
                "default_superpixels: `n_superpixels` must be None for a row of a table, whose features have no "
                f"neighbours to be joined with; got {n_superpixels!r}. Try labels of your own, shape ({len(x)},)."
            )
        return torch.arange(len(x), device=x.device)
    positions = x[0].numel()
    if x.ndim == 2:
        n = max(1, min(20, positions // 2)) if n_superpixels is None else n_superpixels
        return segments(positions, n).to(x.device)
    n = max(1, min(64, positions // 4)) if n_superpixels is None else n_superpixels
    if x.ndim == 3:
        return slic(x, n)
    if x.ndim == 4:
        return grid(x.shape[1:], n).to(x.device)
    raise ShapeError(
        "default_superpixels: `x` must be one input, (d,), (c, l), (c, h, w) or (c, t, h, w); got "
        f"{describe(x)}. Try labels of your own, one for each position."
    )


def segments(length: int, n_segments: int) -> Tensor:
    """Label map (l,) of even stretches, whose lengths differ by 1 at most.

    Raises
        OptionError: a number below 1, or more stretches than positions.
    Examples
        >>> segments(5, 2)
        tensor([0, 0, 0, 1, 1])
    """
    at_least(length, 1, "length", "segments")
    n = _no_more_than(n_segments, length, "n_segments", "segments")
    return torch.arange(length) * n // length


def grid(shape: Sequence[int], n_blocks: int) -> Tensor:
    """Label map of regular blocks, about as many along each axis, and n_blocks of them at most.

    Parameters
        shape : the spatial shape, such as (t, h, w).
        n_blocks : int >= 1.
    Raises
        OptionError: no blocks, or a shape that has no positions.
    Examples
        >>> grid((2, 4), 4)
        tensor([[0, 0, 1, 1],
                [2, 2, 3, 3]])
    """
    at_least(n_blocks, 1, "n_blocks", "grid")
    sides = [at_least(int(side), 1, "shape", "grid") for side in shape]
    counts, left = [1] * len(sides), n_blocks
    order = sorted(range(len(sides)), key=lambda axis: sides[axis])
    for done, axis in enumerate(order):  # the shortest first, which may not use up their share
        counts[axis] = min(sides[axis], int(left ** (1 / (len(order) - done)) + 1e-9))
        left //= counts[axis]
    labels = torch.zeros(sides, dtype=torch.long)
    for axis, (side, count) in enumerate(zip(sides, counts, strict=True)):
        line = segments(side, count).reshape(-1, *[1] * (len(sides) - axis - 1))
        labels = labels * count + line
    return labels


def slic(x: Tensor, n_segments: int = 64, compactness: float | None = None) -> Tensor:
    """Label map (h, w) of k-means clusters in colour and place: compact superpixels, the same every time.

    Parameters
        x : Tensor, shape (c, h, w), any range. Brought to [0, 1]; one or three channels are clustered as grey or RGB in
            Lab, others as they are, times 100.
        n_segments : int >= 1. About how many.
        compactness : float > 0 or None. The weight of place against colour. None: 10, and twice as much until at least
            half of the segments come out, since in a coarse texture clusters fall apart and are swallowed.
    Raises
        ShapeError: no image.
        OptionError: no segments, more than pixels, or no compactness.
    Source
        Achanta et al. (2012), by scikit-image.
    Examples
        >>> halves = torch.zeros(3, 8, 8)
        >>> halves[:, :, 4:] = 1
        >>> slic(halves, 4)[0]
        tensor([0, 0, 0, 0, 1, 1, 1, 1])
    """
    image = _image(x, "slic")
    n = _no_more_than(n_segments, image.shape[0] * image.shape[1], "n_segments", "slic")
    weights = [10.0 * 2**i for i in range(8)] if compactness is None else [number(compactness, "compactness", "slic")]
    for weight in weights:
        found = require("skimage.segmentation").slic(
            image, n_segments=n, compactness=weight, convert2lab=_is_colour(image), start_label=0, channel_axis=-1
        )
        labels = _consecutive(torch.as_tensor(found, dtype=torch.long))
        if 2 * (int(labels.max()) + 1) >= n:
            break
    return labels.to(x.device)


def quickshift(x: Tensor, kernel_size: float = 4, max_dist: float = 200, ratio: float = 0.2, seed: int = 0) -> Tensor:
    """Label map (h, w) by mode seeking in colour and place: fewer, irregular superpixels; the lime package's default.

    Parameters
        x : Tensor, shape (c, h, w), any range. As of `slic`.
        kernel_size : float > 0, in pixels. Width of the density estimate.
        max_dist : float > 0. The farther a step may go, the fewer superpixels.
        ratio : float in [0, 1]. Weight of colour against place.
        seed : int >= 0. Breaks ties between equal pixels.
    Raises
        ShapeError: no image.
        OptionError: a number out of its range.
    Source
        Vedaldi, Soatto (2008), by scikit-image; defaults of the lime package.
    """
    image = _image(x, "quickshift")
    found = require("skimage.segmentation").quickshift(
        image.copy(),
        kernel_size=number(kernel_size, "kernel_size", "quickshift"),
        max_dist=number(max_dist, "max_dist", "quickshift"),
        ratio=number(ratio, "ratio", "quickshift", zero=True),
        rng=at_least(seed, 0, "seed", "quickshift"),
        convert2lab=_is_colour(image),
    )
    return _consecutive(torch.as_tensor(found, dtype=torch.long)).to(x.device)


def check_labels(labels: Any, shape: Sequence[int], who: str = "check_labels") -> Tensor:
    """`labels` as a label map (*shape), long, numbered from 0 in the order of the labels given.

    Parameters
        labels : integers, tensor or array, shape `shape`. Any integers; those that are missing are closed up.
        shape : spatial shape of the input, or (d,).
    Raises
        ShapeError: not integers, or of another shape.
    Examples
        >>> check_labels([[7, 7], [-1, 9]], (2, 2))
        tensor([[1, 1],
                [0, 2]])
    """
    wanted = f"{who}: `labels` must hold an integer for each position, shape {tuple(shape)}"
    try:
        found = torch.as_tensor(labels)
    except (TypeError, ValueError, RuntimeError):
        raise ShapeError(f"{wanted}; got {describe(labels)}. Try slic(x) or grid(shape, 16).") from None
    if found.is_floating_point() or found.is_complex() or tuple(found.shape) != tuple(shape):
        advice = "labels.long()" if tuple(found.shape) == tuple(shape) else "one label map for each input, no channels"
        raise ShapeError(f"{wanted}; got {describe(found)}. Try {advice}.")
    return _consecutive(found.long())


def _consecutive(labels: Tensor) -> Tensor:
    found: Tensor = torch.unique(labels, return_inverse=True)[1]
    return found


def _image(x: Tensor, who: str) -> Any:
    """Image (h, w, c) as scikit-image takes it, double: colours in [0, 1], other channels in [0, 100], as Lab's L."""
    if not isinstance(x, Tensor) or x.ndim != 3:
        raise ShapeError(f"{who}: `x` must be one image, shape (c, h, w); got {describe(x)}. Try x[0].")
    image = x.detach().cpu().double().numpy().transpose(1, 2, 0)
    low, high = image.min(), image.max()
    image = (image - low) / (high - low) if high > low else image * 0
    if image.shape[2] == 1:
        image = np.repeat(image, 3, 2)
    return np.ascontiguousarray(image if _is_colour(image) else 100 * image)


def _is_colour(image: Any) -> bool:
    return bool(image.shape[2] == 3)


def _no_more_than(value: object, most: int, option: str, who: str) -> int:
    found = at_least(value, 1, option, who)
    if found > most:
        raise OptionError(
            f"{who}: `{option}` must be at most {most}, the number of positions; got {found}. Try {option}={most}."
        )
    return found
