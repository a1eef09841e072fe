"""Localisation: whether a map points at the object that the class is about.

Symbols: M a map, B the box around what it points out, p the class's probability on the crop B, a the crop's share of
the area.

The object is where a person looks for the evidence, which is not always where the model finds it: a model that goes by
the background is explained well by a map that scores badly here. On planted data, or beside a model known to use the
object, the scores mean what they seem to. A map of ones is the chance level: its box is the whole image (the "max box"
of Dabkowski and Gal), and its energy in the object is the object's share of the area.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from xaiteach.errors import OptionError, ShapeError, unknown
from xaiteach.evaluation.base import Explainer, Result, logits_of, maps_of, mean_sd, named_explainers
from xaiteach.evaluation.boxes import as_truth, best_iou, boxes_of, checked_maps, regions_of
from xaiteach.guards import check_input, check_target, describe
from xaiteach.runtime import require

if TYPE_CHECKING:
    from xaiteach.plots.figure import ReadableFigure

__all__ = ["MEASURES", "Localization", "energy_in_mask", "localize", "mask_iou", "pointing_game", "saliency_metric"]

MEASURES = ("iou", "hit", "tight_iou", "tight_hit", "saliency_metric", "pointing", "energy", "mask_iou")
"""What is measured of each map; `hit` and `tight_hit` say whether the IoU of the box reaches the threshold, `mask_iou`
takes the positions themselves."""

WHOLE, TRUTH = "whole image", "true mask"
_RESIZE = {1: "linear", 2: "bilinear", 3: "trilinear"}


def energy_in_mask(maps: Tensor, mask: Tensor, *, absolute: bool = False) -> Tensor:
    """Share of a map's positive sum that lies in the mask, shape (n,), float64; 0 for a map without positive values.

    Chance is the mask's share of the area: what a map of ones gets, and noise on average.

    Parameters
        maps : Tensor, shape (n, *spatial).
        mask : Tensor, shape (n, *spatial), bool.
        absolute : bool. Whether negative values count by their size. Default False: they count as 0.
    Raises
        ShapeError: not a finite batch of maps, or a mask of another shape.
    Source
        Wang et al. (2020), Score-CAM: the energy-based pointing game, for boxes of maps that are never negative.
    Examples
        >>> energy_in_mask(torch.tensor([[3.0, 1.0, -5.0]]), torch.tensor([[True, False, True]]))
        tensor([0.7500], dtype=torch.float64)
    """
    maps, mask = _pair(maps, mask, absolute, "energy_in_mask")
    kept = maps.clamp(min=0).flatten(1)
    total, inside = kept.sum(1), (kept * mask.flatten(1)).sum(1)
    return torch.where(total > 0, inside / torch.where(total > 0, total, 1.0), 0.0)


def pointing_game(maps: Tensor, mask: Tensor, *, tolerance: float = 0.0, absolute: bool = False) -> Tensor:
    """Whether the map's largest value lies on the mask, or within the tolerance of it: 1 or 0, shape (n,), float64.

    Where several positions share the maximum it is the share of them that hit: what drawing one of them would give on
    average, without a draw. So a constant map gets the share of the area within the tolerance, which is chance.

    Parameters
        maps, mask, absolute : as `energy_in_mask`.
        tolerance : float >= 0. Distance to the nearest position of the mask that still counts, in positions. Default 0;
            the paper allows 15 pixels on images of some hundred.
    Raises
        ShapeError: as `energy_in_mask`.
        OptionError: a negative tolerance.
    Source
        Zhang, Bargal, Lin, Brandt, Shen, Sclaroff (2018), section 4.1; they average over the classes of the hits by
        class, which `Localization.by_class` gives.
    Examples
        >>> pointing_game(torch.tensor([[0.0, 2.0, 2.0, 1.0]]), torch.tensor([[True, True, False, False]]))
        tensor([0.5000], dtype=torch.float64)
    """
    maps, mask = _pair(maps, mask, absolute, "pointing_game")
    if isinstance(tolerance, bool) or not 0 <= tolerance < float("inf"):
        raise OptionError(
            f"pointing_game: `tolerance` must be 0 or more positions; got {tolerance!r}. Try tolerance=2."
        )
    near = _within(mask, tolerance) if tolerance else mask
    flat = maps.flatten(1)
    top = flat == flat.amax(1, keepdim=True)
    return (top & near.flatten(1)).sum(1).double() / top.sum(1)


def _within(mask: Tensor, tolerance: float) -> Tensor:
    distance = require("scipy.ndimage").distance_transform_edt
    masks = mask.cpu().numpy()
    near = [torch.as_tensor(distance(~one) <= tolerance) if one.any() else torch.as_tensor(one) for one in masks]
    return torch.stack(near).to(mask.device)


def mask_iou(
    maps: Tensor, mask: Tensor, *, threshold: float = 0.2, largest: bool = True, connectivity: int | None = None
) -> Tensor:
    """Intersection over union of what a map points out with the mask, position by position, shape (n,), float64.

    A box forgives what it encloses; here holes and spikes count. 0 where neither has a position.

    Parameters
        maps, mask : as `energy_in_mask`.
        threshold, largest, connectivity : see `boxes.regions_of`.
    Raises
        ShapeError, OptionError: as `energy_in_mask` and `boxes.regions_of`.
    Source
        Everingham et al. (2010), PASCAL VOC: the accuracy of a segmentation.
    Examples
        >>> mask_iou(torch.tensor([[9.0, 1.0, 5.0]]), torch.tensor([[True, True, False]]), largest=False)
        tensor([0.3333], dtype=torch.float64)
    """
    maps, mask = _pair(maps, mask, False, "mask_iou")
    found = regions_of(maps, threshold=threshold, largest=largest, connectivity=connectivity)
    both, either = ((found & mask).flatten(1).sum(1).double(), (found | mask).flatten(1).sum(1).double())
    return both / either.clamp(min=1)


def saliency_metric(
    model: Callable[[Tensor], Any], x: Tensor, target: int | Tensor | Sequence[int], boxes: Tensor, *,
    least: float = 0.05,
) -> Tensor:  # fmt: skip
    """log(max(a, least)) - log p for each sample: low where a small crop alone is enough to recognise the class.

    The crop is resized to the input's size before the model sees it. The whole image scores -log p(c | x), the baseline
    that a box has to get below. An empty box stands for the whole image: nothing was pointed out, nothing is cut off.

    Parameters
        model : callable from (n, c, *spatial) to logits (n, classes).
        x : Tensor, shape (n, c, *spatial).
        target : int, or (n,) long. Class index, 0-based.
        boxes : Tensor, shape (n, 2 r), long. As of `boxes_of`.
        least : float in (0, 1]. Area share below which a smaller box gains nothing more. Default .05, as the paper.
    Returns
        Tensor, shape (n,), float64, in nats.
    Raises
        ShapeError: x is no batch of images, signals or clips, or there is not one box for each sample, within it.
        OptionError: `least` outside (0, 1].
        TargetError, ModelError: as `explain`.
    Cost
        1 forward pass.
    Source
        Dabkowski, Gal (2017), their saliency metric.
    Examples
        >>> even = lambda x: torch.zeros(len(x), 4)  # p = 1/4 whatever it sees
        >>> x, boxes = torch.zeros(2, 1, 8), torch.tensor([[0, 8], [2, 6]])
        >>> saliency_metric(even, x, 0, boxes)  # log 4, and log 4 - log 2
        tensor([1.3863, 0.6931], dtype=torch.float64)
    """
    who = "saliency_metric"
    x = _images(x, who)
    if not 0 < least <= 1:
        raise OptionError(f"{who}: `least` must be a share of the area, above 0 and at most 1; got {least!r}. Try .05.")
    spatial = x.shape[2:]
    sides = torch.tensor(spatial)
    boxes = torch.as_tensor(boxes).cpu()
    axes = len(spatial)
    fits = tuple(boxes.shape) == (len(x), 2 * axes) and bool((boxes[:, :axes] >= 0).all())
    if not fits or bool((boxes[:, axes:] > sides).any()):
        raise ShapeError(
            f"{who}: `boxes` must be {len(x)} boxes of {2 * axes} numbers within {tuple(spatial)}; got "
            f"{describe(boxes)}. Try boxes_of(maps)."
        )
    empty = (boxes[:, :axes] >= boxes[:, axes:]).any(1)
    boxes = torch.where(empty[:, None], torch.cat([torch.zeros_like(sides), sides]), boxes)
    share = (boxes[:, axes:] - boxes[:, :axes]).prod(1).double() / sides.prod()
    logits = logits_of(model, _cropped(x, boxes), who)
    classes = check_target(target, len(x), logits.shape[1], who, x.device)
    log_p = logits.double().log_softmax(1).gather(1, classes[:, None])[:, 0]
    return share.clamp(min=least).log().to(log_p) - log_p


def _cropped(x: Tensor, boxes: Tensor) -> Tensor:
    """Each sample's box, resized to the sample's size."""
    axes = x.ndim - 2
    crops = []
    for one, box in zip(x, boxes.tolist(), strict=True):
        part = one[(slice(None), *(slice(box[a], box[axes + a]) for a in range(axes)))]
        crops.append(functional.interpolate(part[None], size=x.shape[2:], mode=_RESIZE[axes], align_corners=False))
    return torch.cat(crops)


def _images(x: object, who: str) -> Tensor:
    found = check_input(x, who)
    if not 3 <= found.ndim <= 5:
        raise ShapeError(
            f"{who}: `x` must be a batch of signals, images or clips, shape (n, c, *spatial); got {describe(x)}. "
            "Try x[:, None] for a batch without an axis of channels."
        )
    return found


def _pair(maps: Tensor, mask: Tensor, absolute: bool, who: str) -> tuple[Tensor, Tensor]:
    maps, mask = checked_maps(maps, who), torch.as_tensor(mask)
    if mask.dtype != torch.bool or mask.shape != maps.shape:
        raise ShapeError(
            f"{who}: `mask` must be bool and of the maps' shape, {tuple(maps.shape)}; got {describe(mask)}. "
            "Try mask > 0, or mask[None] for a single one."
        )
    return (maps.abs() if absolute else maps), mask.to(maps.device)


@dataclass(frozen=True, eq=False, repr=False)
class Localization(Result):
    """How well maps point at objects.

    Parameters
        values : explainer -> Tensor (measures, n), float64, in the order of `MEASURES`. "whole image" is a map of ones,
            the chance level; "true mask" is the mask itself, the best there is.
        blank : explainer -> int. Maps without any positive value, which point out nothing.
        target : Tensor (n,), long.
        iou_at : float. IoU from which a box is right.
    """

    values: Mapping[str, Tensor]
    blank: Mapping[str, int]
    target: Tensor
    iou_at: float
    title: str = "Localisation: mean (SD) over samples; errors and hits in %; a low saliency metric is good"

    def of(self, explainer: str, measure: str) -> Tensor:
        """One measure of every sample, shape (n,), float64.

        Raises
            OptionError: an explainer or a measure that is not there.
        """
        for kind, name, known in (("explainer", explainer, self.values), ("measure", measure, MEASURES)):
            if name not in known:
                raise unknown(kind, name, known)
        return self.values[explainer][MEASURES.index(measure)]

    def error(self, explainer: str, *, tight: bool = False) -> float:
        """Localisation error: fraction of the samples whose box misses the IoU."""
        return 1 - float(self.of(explainer, "tight_hit" if tight else "hit").mean())

    def by_class(self, explainer: str, measure: str = "pointing") -> dict[int, float]:
        """Mean of a measure over the samples of each class; the pointing game's accuracy is the mean of these."""
        values = self.of(explainer, measure)
        return {c: float(values[self.target == c].mean()) for c in sorted(set(self.target.tolist()))}

    @property
    def columns(self) -> tuple[str, ...]:
        """Explainer and measures."""
        boxes = ("box IoU", f"error at {self.iou_at:g}", "tight box IoU", f"error at {self.iou_at:g}, tight")
        return ("explainer", *boxes, "saliency metric", "pointing hits", "energy in mask", "mask IoU", "blank maps")

    def rows(self) -> list[tuple[str, ...]]:
        """One row for each explainer and reference."""
        found: list[tuple[str, ...]] = []
        for name in self.values:
            error, tight = (f"{100 * self.error(name, tight=t):.1f}" for t in (False, True))
            pointing = f"{100 * self.of(name, 'pointing').mean():.1f}"
            iou, tight_iou, metric, *rest = (
                mean_sd(self.of(name, m), 2) for m in ("iou", "tight_iou", "saliency_metric", "energy", "mask_iou")
            )
            found.append((name, iou, error, tight_iou, tight, metric, pointing, *rest, str(self.blank[name])))
        return found

    def plot(self, *, measure: str = "energy", **options: Any) -> ReadableFigure:
        """Bars of one measure's mean with whiskers of one SD; the dashed line is the whole image's."""
        from xaiteach.plots import bars

        names = [name for name in self.values if name not in (WHOLE, TRUTH)]
        means = {name: float(self.of(name, measure).mean()) for name in names}
        spread = {name: float(self.of(name, measure).std(correction=0)) for name in names}
        options.setdefault("title", "dashed: a map of ones, which is chance")
        label = {"energy": "energy in the mask", "iou": "IoU of the box"}.get(measure, measure.replace("_", " "))
        return bars(means, label=label, spread=spread, reference=float(self.of(WHOLE, measure).mean()), **options)


def localize(
    model: Callable[[Tensor], Any],
    x: Tensor,
    target: int | Tensor | Sequence[int],
    explainers: Explainer | Sequence[Explainer] | Mapping[str, Explainer],
    truth: object,
    *,
    threshold: float = 0.2,
    iou_at: float = 0.5,
    tolerance: float = 0.0,
    absolute: bool = False,
    connectivity: int | None = None,
    least: float = 0.05,
    seed: int = 0,
) -> Localization:
    """Every localisation score of several explainers on samples whose objects are known.

    Beside them stand a map of noise, a map of ones (chance, and the max box) and the truth itself (the ceiling: a mask
    that is no rectangle leaves its box partly empty, which costs no IoU, and the crop may still be misread).

    Parameters
        model : callable from (n, c, *spatial) to logits (n, classes).
        x : Tensor, shape (n, c, *spatial).
        target : int, or (n,) long. Class index, 0-based.
        explainers : see `maps_of`; in a dict also maps ready made, Tensor (n, *spatial).
        truth : boxes or masks, one or several for each sample: see `boxes.as_truth`.
        threshold, connectivity : see `regions_of`.
        iou_at : float in (0, 1]. IoU from which a box is right. Default .5.
        tolerance : see `pointing_game`.
        absolute : bool. Whether maps count by their size, without their sign. Default False.
        least : see `saliency_metric`.
        seed : int. Every explainer draws from a generator that starts from it.
    Raises
        ShapeError, TargetError, ModelError, OptionError: as `maps_of`, `as_truth`, `regions_of`, `pointing_game`.
    Cost
        Each explainer's own, and 1 forward pass for each on the crops.
    Source
        Zhou et al. (2016); Dabkowski, Gal (2017); Zhang et al. (2018); Wang et al. (2020). The critique of seed 003,
        section 2.5.2: a box knows nothing of weights within it, and punishes maps with holes.
    Examples
        >>> x = torch.rand(2, 1, 12, generator=torch.Generator().manual_seed(0))
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 2))
        >>> found = localize(net, x, 0, {"first half": lambda model, x, target: (torch.arange(12) < 6).expand(2, 12)
        ...                                  .float()}, torch.tensor([[0, 6], [0, 12]]))
        >>> found.of("first half", "iou"), found.error("whole image")
        (tensor([1.0000, 0.5000], dtype=torch.float64), 0.0)
    """
    who = "localize"
    x = _images(x, who)
    if isinstance(iou_at, bool) or not 0 < iou_at <= 1:
        raise OptionError(f"{who}: `iou_at` must be above 0 and at most 1; got {iou_at!r}. Try iou_at=0.5.")
    spatial = tuple(x.shape[2:])
    known = as_truth(truth, len(x), spatial, who)
    logits = logits_of(model, x[:1], who)
    classes = check_target(target, len(x), logits.shape[1], who, x.device)
    named: dict[str, Any] = named_explainers(explainers)
    named.setdefault("random_map", "random_map")
    values, blank = {}, {}
    for name, explainer in (named | {WHOLE: torch.ones(len(x), *spatial), TRUTH: known.mask.double()}).items():
        maps = _maps(explainer, model, x, classes, seed, who)
        maps = maps.abs() if absolute else maps
        box, tight = (boxes_of(maps, threshold=threshold, tight=t, connectivity=connectivity) for t in (False, True))
        one, two = best_iou(box, known), best_iou(tight, known)
        metric = saliency_metric(model, x, classes, tight, least=least).cpu()
        game = pointing_game(maps, known.mask, tolerance=tolerance).cpu()
        energy = energy_in_mask(maps, known.mask).cpu()
        region = mask_iou(maps, known.mask, threshold=threshold, connectivity=connectivity)
        rows = (one, one >= iou_at, two, two >= iou_at, metric, game, energy, region)
        values[name] = torch.stack([row.double().cpu() for row in rows])
        blank[name] = int((maps <= 0).flatten(1).all(1).sum())
    return Localization(values, blank, classes.cpu(), iou_at)


def _maps(explainer: Any, model: Any, x: Tensor, classes: Tensor, seed: int, who: str) -> Tensor:
    if not isinstance(explainer, Tensor):
        maps = maps_of(explainer, model, x, classes, generator=torch.Generator().manual_seed(seed))
        return checked_maps(maps, who).cpu()
    if explainer.shape != (len(x), *x.shape[2:]):
        raise ShapeError(
            f"{who}: maps ready made must have shape {(len(x), *x.shape[2:])}; got {describe(explainer)}. "
            "Try Attribution.map, which has the input's size for every method."
        )
    return checked_maps(explainer, who).cpu()
