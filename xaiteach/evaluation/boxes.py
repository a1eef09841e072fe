"""Boxes around what a map points out, and around what there is to find.

A box of a map or mask with r spatial axes is 2 r whole numbers, its first position along each axis and then, along
each, the position after its last: (top, left, bottom, right) for an image, (start, stop) for a signal. All zeros is the
empty box.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xaiteach.errors import OptionError, ShapeError
from xaiteach.guards import check_finite, describe
from xaiteach.runtime import require

__all__ = ["Truth", "as_truth", "best_iou", "boxes_of", "checked_maps", "filled", "iou", "mask_boxes", "regions_of"]


@dataclass(frozen=True, eq=False)
class Truth:
    """What there is to find in n samples.

    Parameters
        boxes : n tensors, shape (k, 2 r), long. A box around each of a sample's k objects.
        mask : Tensor, shape (n, *spatial), bool. Every position of any object.
    """

    boxes: tuple[Tensor, ...]
    mask: Tensor


def checked_maps(maps: object, who: str) -> Tensor:
    """Maps as float64, detached.

    Raises
        ShapeError: not a finite batch (n, *spatial) with 1 to 3 spatial axes.
    """
    found = torch.as_tensor(maps) if isinstance(maps, np.ndarray) else maps
    if not isinstance(found, Tensor) or not 2 <= found.ndim <= 4 or found.numel() == 0:
        raise ShapeError(
            f"{who}: `maps` must be a batch, shape (n, *spatial) with 1 to 3 spatial axes; got {describe(maps)}. "
            "Try map[None] for a single one."
        )
    return check_finite(found.detach().double(), who, "maps", "torch.nan_to_num")


def regions_of(
    maps: Tensor, *, threshold: float = 0.2, largest: bool = True, connectivity: int | None = None
) -> Tensor:
    """Positions that a map points out: above a fraction of its own maximum, and of those the largest connected part.

    Maps are taken with their sign: only positive values count, and a map without any points out nothing.

    Parameters
        maps : Tensor, shape (n, *spatial), 1 to 3 spatial axes.
        threshold : float in [0, 1). Fraction of the map's maximum that a value must exceed. Default .2, as CAM.
        largest : bool. False keeps all parts. Of two parts of one size, the first in the order of rows is kept.
        connectivity : int or None. How many axes may change from a position to its neighbour: 1 for neighbours along
            an axis, None (default) for diagonal ones too.
    Returns
        Tensor, shape (n, *spatial), bool.
    Raises
        ShapeError: not a finite batch of maps.
        OptionError: a threshold outside [0, 1), or more axes than there are.
    Source
        Zhou, Khosla, Lapedriza, Oliva, Torralba (2016), section 3.2. The "20 % quantile" in seed 003 is 20 % of the
        maximum: a quantile would keep four fifths of every map.
    Examples
        >>> regions_of(torch.tensor([[9.0, 0.0, 5.0, 6.0, 1.0]]))
        tensor([[False, False,  True,  True, False]])
    """
    who = "regions_of"
    maps = checked_maps(maps, who)
    axes = maps.ndim - 1
    if isinstance(threshold, bool) or not 0 <= threshold < 1:
        raise OptionError(f"{who}: `threshold` must be a fraction, 0 or more and below 1; got {threshold!r}. Try 0.2.")
    if connectivity is not None and not 1 <= connectivity <= axes:
        raise OptionError(
            f"{who}: `connectivity` must be from 1 to {axes}, the map's axes; got {connectivity!r}. "
            "Try None, which counts diagonal neighbours."
        )
    most = maps.flatten(1).amax(1).clamp(min=0).reshape(-1, *[1] * axes)
    above = maps > threshold * most
    above &= maps > 0
    return _largest(above, connectivity or axes) if largest else above


def _largest(above: Tensor, connectivity: int) -> Tensor:
    ndimage = require("scipy.ndimage")
    structure = ndimage.generate_binary_structure(above.ndim - 1, connectivity)
    kept = []
    for one in above.cpu().numpy():
        labels, count = ndimage.label(one, structure)
        sizes = np.bincount(labels.ravel(), minlength=2)[1:]  # labels are numbered in the order of rows
        kept.append(labels == (1 + int(sizes.argmax()) if count else -1))
    return torch.as_tensor(np.stack(kept)).to(above.device)


def mask_boxes(mask: Tensor) -> Tensor:
    """Smallest box around each mask's True positions, shape (n, 2 r), long; the empty box for an empty mask.

    Parameters
        mask : Tensor, shape (n, *spatial), bool.
    Examples
        >>> mask_boxes(torch.tensor([[[False, True, True], [False, False, False]]]))
        tensor([[0, 1, 1, 3]])
    """
    starts, stops = [], []
    axes = range(1, mask.ndim)
    for axis in axes:
        others = [a for a in axes if a != axis]
        along = mask.any(dim=others) if others else mask  # (n, side)
        starts.append(along.int().argmax(1))
        stops.append(along.shape[1] - along.flip(1).int().argmax(1))
    found = torch.stack([*starts, *stops], 1)
    return torch.where(mask.flatten(1).any(1)[:, None], found, 0)


def boxes_of(maps: Tensor, *, threshold: float = 0.2, tight: bool = False, connectivity: int | None = None) -> Tensor:
    """Box around what each map points out, shape (n, 2 r), long.

    Parameters
        maps, threshold, connectivity : as `regions_of`.
        tight : bool. False: around the largest connected part (CAM). True: the smallest box around every position
            above the threshold (Dabkowski and Gal), which one stray position can blow up.
    Raises
        ShapeError, OptionError: as `regions_of`.
    Source
        Zhou et al. (2016), section 3.2; Dabkowski, Gal (2017).
    Examples
        >>> maps = torch.tensor([[9.0, 0.0, 5.0, 6.0, 1.0]])
        >>> boxes_of(maps), boxes_of(maps, tight=True)
        (tensor([[2, 4]]), tensor([[0, 4]]))
    """
    return mask_boxes(regions_of(maps, threshold=threshold, largest=not tight, connectivity=connectivity))


def filled(boxes: Tensor, spatial: Sequence[int]) -> Tensor:
    """Masks that are True inside the boxes, shape (n, *spatial).

    Examples
        >>> filled(torch.tensor([[1, 3]]), (4,))
        tensor([[False,  True,  True, False]])
    """
    axes = len(spatial)
    inside = torch.ones(len(boxes), *[1] * axes, dtype=torch.bool, device=boxes.device)
    for axis, side in enumerate(spatial):
        place = torch.arange(side, device=boxes.device)
        along = (place >= boxes[:, axis, None]) & (place < boxes[:, axes + axis, None])  # (n, side)
        inside = inside & along.reshape(-1, *[side if a == axis else 1 for a in range(axes)])
    return inside


def iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of boxes, one to one, shape (n,), float64; 0 where either is empty.

    Parameters
        a, b : Tensor, shape (n, 2 r), whole numbers.
    Raises
        ShapeError: they are not both (n, 2 r).
    Examples
        >>> iou(torch.tensor([[0, 0, 2, 2]]), torch.tensor([[0, 1, 2, 3]]))  # 2 of 6 positions
        tensor([0.3333], dtype=torch.float64)
    """
    if a.ndim != 2 or a.shape != b.shape or a.shape[1] % 2 or a.shape[1] == 0:
        raise ShapeError(
            f"iou: both must be n boxes, shape (n, 2 r): first positions, then ends; got {tuple(a.shape)} and "
            f"{tuple(b.shape)}. Try box[None] for a single one."
        )
    axes = a.shape[1] // 2
    sides = torch.minimum(a[:, axes:], b[:, axes:]) - torch.maximum(a[:, :axes], b[:, :axes])
    both = sides.clamp(min=0).prod(1).double()
    union = _volume(a) + _volume(b) - both
    return torch.where(union > 0, both / union.clamp(min=1), 0.0)


def _volume(boxes: Tensor) -> Tensor:
    axes = boxes.shape[1] // 2
    return (boxes[:, axes:] - boxes[:, :axes]).clamp(min=0).prod(1).double()


def best_iou(boxes: Tensor, truth: Truth) -> Tensor:
    """Largest IoU of each sample's box with any of its objects' boxes, shape (n,), float64.

    Source
        Russakovsky et al. (2015), ILSVRC: a localisation is right when it fits any instance of the class.
    """
    found = [
        iou(box.expand(len(own), -1), own.to(box)).max() for box, own in zip(boxes.cpu(), truth.boxes, strict=True)
    ]
    return torch.stack(found).to(boxes.device)


def as_truth(truth: object, n: int, spatial: Sequence[int], who: str) -> Truth:
    """What there is to find, from boxes or masks, one or several for each sample.

    Parameters
        truth : bools are masks, whole numbers boxes (a Truth is taken as it is). Masks (n, *spatial), or
            (n, k, *spatial) for k objects each; boxes (n, 2 r) or (n, k, 2 r); or a list of n, each the masks or boxes
            of one sample, however many.
        n, spatial : of the maps.
    Raises
        ShapeError: anything else, no object in a sample, or an empty object, or one that reaches beyond the sample.
    """
    if isinstance(truth, Truth) and tuple(truth.mask.shape) == (n, *spatial):
        return truth
    parts = _parts(truth, n, who)
    boxes, masks = [], []
    for i, part in enumerate(parts):
        own, mask = _objects(part, tuple(spatial), i, who)
        boxes.append(own)
        masks.append(mask)
    return Truth(tuple(boxes), torch.stack(masks))


def _parts(truth: object, n: int, who: str) -> list[Any]:
    parts = list(truth) if isinstance(truth, Tensor | np.ndarray | list | tuple) else []
    if len(parts) != n:
        got = describe(truth) if isinstance(truth, Tensor) else f"{len(parts)} in a {type(truth).__name__}"
        raise ShapeError(
            f"{who}: `truth` must hold boxes or masks for each of the {n} samples; got {got}. "
            "Try a bool tensor of shape (n, *spatial), or a list of one tensor for each sample."
        )
    return parts


def _objects(part: Any, spatial: tuple[int, ...], i: int, who: str) -> tuple[Tensor, Tensor]:
    """Boxes (k, 2 r) of one sample's objects, and the positions of all of them."""
    made = torch.as_tensor(part).detach().cpu()
    axes = len(spatial)
    if made.dtype == torch.bool:
        shaped = made[None] if made.ndim == axes else made
        right = tuple(shaped.shape[1:]) == spatial
        mask, boxes = shaped, mask_boxes(shaped) if right else shaped
    else:
        whole = not (made.is_floating_point() or made.is_complex())
        boxes = made[None] if made.ndim == 1 else made
        right = whole and boxes.ndim == 2 and boxes.shape[1] == 2 * axes
        mask = filled(boxes, spatial) if right else boxes
    if not right or len(boxes) == 0:
        raise ShapeError(
            f"{who}: `truth` must be masks of shape {spatial} (bool) or boxes of {2 * axes} whole numbers; sample {i} "
            f"has {describe(made)}. Try mask > 0 for a mask of numbers."
        )
    ends = torch.tensor(spatial)
    bad = (boxes[:, :axes] < 0) | (boxes[:, axes:] > ends) | (boxes[:, :axes] >= boxes[:, axes:])
    if bool(bad.any()):
        first = int(bad.any(1).nonzero()[0])
        raise ShapeError(
            f"{who}: every object must fill at least one position within {spatial}; object {first} of sample {i} has "
            f"the box {tuple(boxes[first].tolist())}. Try leaving samples without an object out."
        )
    return boxes.long(), mask.any(0)
