"""Planted truth: images whose object and scene have labels of their own, and two models that use one or the other.

Which pixels matter to a network is never known outright. That the object's pixels matter more to a classifier of
objects than to one of scenes is: it was arranged so. BAM asks explanations for such comparisons, in three scores.

Symbols: g(f, x) the mean of a map of model f on x over the object's mask, after each map is brought to [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from xaiteach.errors import ModelError, OptionError, ShapeError, unknown
from xaiteach.evaluation.base import Explainer, Result, logits_of, maps_of, named_explainers
from xaiteach.evaluation.boxes import checked_maps
from xaiteach.evaluation.patches import insignificant_patch
from xaiteach.guards import check_input, check_target, describe

if TYPE_CHECKING:
    from xaiteach.plots.figure import ReadableFigure

__all__ = [
    "SCALES",
    "SCORES",
    "Planted",
    "PlantedTruth",
    "concept_attribution",
    "input_dependence",
    "input_independence",
    "model_contrast",
    "planted_truth",
    "visible",
]

SCALES = ("positive", "absolute", "none")
"""What of a map is averaged: what speaks for the class, sizes, or the values as they are."""

SCORES = ("model_contrast", "input_dependence", "input_independence")
CONTROLS = ("edge_detector", "random_map")
"""What stands beside every explainer: a map of the image alone, and noise."""

Model = Callable[[Tensor], Any]


class Planted(Protocol):
    """Scenes with objects, as `data.scenes` makes them: the fields that are used here, as tensors or arrays."""

    @property
    def x(self) -> Any:
        """Images, shape (n, c, *spatial)."""

    @property
    def object(self) -> Any:
        """Classes of the objects, shape (n,)."""

    @property
    def scene(self) -> Any:
        """Classes of the scenes, shape (n,)."""

    @property
    def mask(self) -> Any:
        """Pixels of the objects, shape (n, *spatial), bool."""

    @property
    def background(self) -> Any:
        """The scenes without objects, of x's shape."""


Explainers = Explainer | Sequence[Explainer] | Mapping[str, Explainer]


def visible(maps: Tensor, scale: str = "positive", quantile: float = 0.99) -> Tensor:
    """Maps as they would be drawn: each from its least value to its 99th percentile, brought to [0, 1] and cut there.

    A map of one value becomes 0 everywhere.

    Parameters
        maps : Tensor, shape (n, *spatial).
        scale : "positive" (negative values cut at 0 first), "absolute", or "none": left as it is, unscaled.
        quantile : float in (0, 1]. What becomes 1; a few bright positions would otherwise darken the rest.
    Returns
        Tensor of the same shape, float64.
    Raises
        OptionError: unknown `scale`, or a quantile out of its range.
        ShapeError: not a finite batch of maps.
    Source
        Yang, Kim (2019): the authors cut the negative values off before they sum over channels, which a map that is
        already summed does not allow.
    Examples
        >>> visible(torch.tensor([[-1.0, 0.0, 1.0, 2.0]]), quantile=1.0)
        tensor([[0.0000, 0.0000, 0.5000, 1.0000]], dtype=torch.float64)
    """
    if scale not in SCALES:
        raise unknown("scale", scale, SCALES)
    if isinstance(quantile, bool) or not 0 < quantile <= 1:
        raise OptionError(f"visible: `quantile` must be above 0 and at most 1; got {quantile!r}. Try quantile=0.99.")
    kept = checked_maps(maps, "visible")
    if scale == "none":
        return kept
    kept = kept.clamp(min=0) if scale == "positive" else kept.abs()
    flat = kept.flatten(1)
    low = flat.amin(1, keepdim=True)
    span = _quantile(flat, quantile) - low
    # Where all but a few positions share one value the quantile is that value: those few are then all there is to see.
    span = torch.where(span > 0, span, flat.amax(1, keepdim=True) - low)
    return ((flat - low) / torch.where(span > 0, span, 1.0)).clamp(0, 1).reshape(kept.shape)


def _quantile(flat: Tensor, quantile: float) -> Tensor:
    """Quantile of each row, interpolated, shape (n, 1); torch.quantile refuses large batches."""
    ordered = flat.sort(1).values
    place = quantile * (flat.shape[1] - 1)
    low = int(place)
    high = min(low + 1, flat.shape[1] - 1)
    return ordered[:, low, None].lerp(ordered[:, high, None], place - low)


def concept_attribution(
    maps: Tensor, mask: Tensor, *, scale: str = "positive", quantile: float = 0.99
) -> Tensor:  # fmt: skip
    """Mean of each map over its mask after `visible`: g, shape (n,), float64.

    Parameters
        maps : Tensor, shape (n, *spatial).
        mask : Tensor, shape (n, *spatial), bool, not empty.
        scale, quantile : as `visible`.
    Raises
        ShapeError: a mask of another shape, or without a position.
    Source
        Yang, Kim (2019), definition of the concept attribution.
    Examples
        >>> concept_attribution(torch.tensor([[0.0, 1.0, 2.0]]), torch.tensor([[False, True, True]]), quantile=1.0)
        tensor([0.7500], dtype=torch.float64)
    """
    seen = visible(maps, scale, quantile)
    where = _checked_mask(mask, tuple(seen.shape), "concept_attribution").to(seen.device).flatten(1)
    return (seen.flatten(1) * where).sum(1) / where.sum(1)


def _mask(mask: Any, x: Any, who: str) -> Tensor:
    """The mask, when it is one for every sample of x (n, c, *spatial) and never empty; on the CPU."""
    return _checked_mask(mask, (len(x), *x.shape[2:]), who)


def _checked_mask(mask: Any, shape: tuple[int, ...], who: str) -> Tensor:
    found = _tensor(mask)
    if found.dtype != torch.bool or tuple(found.shape) != shape:
        raise ShapeError(
            f"{who}: `mask` must be bool, shape {shape}, True on the object; got {describe(found)}. "
            "Try torch.as_tensor(scenes.mask)."
        )
    empty = (~found.flatten(1).any(1)).nonzero()
    if len(empty):
        raise ShapeError(
            f"{who}: `mask` must have a position in every sample; the one of sample {int(empty[0])} is empty. "
            "Try leaving samples without an object out."
        )
    return found


def model_contrast(object_attribution: Tensor, scene_attribution: Tensor) -> Tensor:
    """g(object model) - g(scene model) on the same images, shape (n,): above 0 where the object counts more for it.

    Source
        Yang, Kim (2019), model contrast score: its mean over images that both models get right.
    """
    return object_attribution - scene_attribution


def input_dependence(with_object: Tensor, without: Tensor) -> Tensor:
    """1 where the scene model's map gives the pasted object less than the scene it covers, else 0; shape (n,), float64.

    A feature that every scene has tells no scenes apart. Two equal values count half: a blank map tells nothing.

    Source
        Yang, Kim (2019), input dependence rate: its mean. Differs from it in: ties, which count 0 there.
    """
    return (with_object < without).double() + (with_object == without).double() / 2


def input_independence(with_patch: Tensor, without: Tensor, threshold: float = 0.1) -> Tensor:
    """1 where a patch that changes nothing for the model changes g by less than a tenth, else 0; shape (n,), float64.

    Where g is 0 before it must be 0 after.

    Parameters
        threshold : float > 0. As a fraction of g without the patch. Default .1, as the paper.
    Source
        Yang, Kim (2019), input independence rate: its mean.
    """
    if not threshold > 0:
        raise OptionError(f"input_independence: `threshold` must be above 0; got {threshold!r}. Try threshold=0.1.")
    change = (with_patch - without).abs()
    return ((change < threshold * without.abs()) | (change == 0)).double()


@dataclass(frozen=True, eq=False, repr=False)
class PlantedTruth(Result):
    """BAM's scores of several explainers.

    Parameters
        values : score -> explainer -> Tensor (n of that score,), float64: one number for every image that the models
            get right.
        attribution : score -> explainer -> (Tensor, Tensor), the g of the two sides of its comparison: object model and
            scene model, with the object and without, with the patch and without.
    """

    values: Mapping[str, Mapping[str, Tensor]]
    attribution: Mapping[str, Mapping[str, tuple[Tensor, Tensor]]]
    title: str = "Planted truth (BAM): model contrast, mean (SD) over images; dependence and independence in %"

    def of(self, explainer: str, score: str = "model_contrast") -> Tensor:
        """One score of every image, shape (n,), float64.

        Raises
            OptionError: an explainer or a score that is not there.
        """
        if score not in self.values:
            raise unknown("score", score, self.values)
        if explainer not in self.values[score]:
            raise unknown("explainer", explainer, self.values[score])
        return self.values[score][explainer]

    @property
    def columns(self) -> tuple[str, ...]:
        """Explainer and scores, with their numbers of images."""
        counts = {score: len(next(iter(found.values()))) for score, found in self.values.items()}
        return ("explainer", *(f"{score.replace('_', ' ')} ({counts[score]} images)" for score in self.values))

    def rows(self) -> list[tuple[str, ...]]:
        """One row for each explainer."""
        names = next(iter(self.values.values()))
        return [(name, *(_cell(self.values[score][name], score) for score in self.values)) for name in names]

    def plot(self, *, score: str = "model_contrast", **options: Any) -> ReadableFigure:
        """Bars of one score; whiskers of one SD over images for the contrast; dashed: a blind map."""
        from xaiteach.plots import bars

        contrast = score == "model_contrast"
        means = {name: float(self.of(name, score).mean()) for name in self.values[SCORES[0]]}
        spread = {name: float(self.of(name, score).std(correction=0)) for name in means} if contrast else None
        reference = {"model_contrast": 0.0, "input_dependence": 0.5}.get(score)
        return bars(means, label=score.replace("_", " "), spread=spread, reference=reference, **options)


def _cell(values: Tensor, score: str) -> str:
    if score == "model_contrast":
        return f"{values.mean():+.3f} ({values.std(correction=0):.3f})"
    return f"{100 * values.mean():.1f}"


def planted_truth(
    object_model: Model,
    scene_model: Model,
    scenes: Planted,
    explainers: Explainers,
    *,
    common: Planted | None = None,
    patched: Tensor | None = None,
    scale: str = "positive",
    quantile: float = 0.99,
    threshold: float = 0.1,
    seed: int = 0,
) -> PlantedTruth:
    """BAM's three scores, each over the images that the models of its comparison get right.

    Model contrast: on the same images the object's pixels must get more from the model of objects than from the model
    of scenes. Input dependence: to the scene model, an object that tells no scenes apart must get less than the piece
    of scene that it covers. Input independence: a patch that the scene model does not respond to must not change the
    map. An explainer that ignores the model has a contrast of exactly 0. One that ignores the image, such as
    noise from one seed, is perfectly independent of the patch: read the three together.

    Parameters
        object_model, scene_model : callables from (n, c, *spatial) to logits, such as `vgg64_narrow` and
            `vgg64_narrow_scenes`.
        scenes : anything with the fields of `data.Scenes`: x, object, scene, mask, background, as tensors or arrays.
        explainers : see `maps_of`. Beside them stand the edge detector and noise.
        common : the same scenes with one object everywhere, such as `scenes.common()`, or None for `scenes`, whose
            objects are independent of the scene as well. For the input dependence.
        patched : Tensor of x's shape, or None. `background` with patches on the pixels of `mask`. None: made by
            `insignificant_patch` from the objects of x.
        scale, quantile : see `visible`.
        threshold : see `input_independence`.
        seed : int. Every explainer draws from a generator that starts from it, the same on both sides of a comparison.
    Raises
        ModelError: the models get no image of a comparison right.
        ShapeError: parts of `scenes` that do not fit together, an empty mask.
        OptionError, TargetError: as `maps_of`.
    Cost
        Five sets of maps for each explainer (six with `common`), and 100 forward and backward passes for the patches.
    Source
        Yang, Kim (2019), "Benchmarking attribution methods with relative feature importance". Differs from it in: maps
        explain the true class, which is the predicted one on every image that counts; the patches are of the objects
        in x, where the paper has one object in one scene; the model of the third score has seen objects in training.
    Examples
        >>> from types import SimpleNamespace
        >>> x = torch.tensor([[[0.9, 0.9, 0.6, 0.1]]])  # an object on the first two positions, a scene on the others
        >>> scenes = SimpleNamespace(x=x, object=[0], scene=[0], mask=torch.tensor([[True, True, False, False]]),
        ...                          background=torch.tensor([[[0.2, 0.2, 0.6, 0.1]]]))
        >>> by_object, by_scene = (lambda x: x[:, 0, :2] * torch.tensor([2.0, 1.0])), (lambda x: x[:, 0, 2:])
        >>> planted_truth(by_object, by_scene, scenes, "saliency").of("saliency")
        tensor([0.5000], dtype=torch.float64)
    """
    who = "planted_truth"
    x, where = check_input(_tensor(scenes.x), who), _mask(scenes.mask, scenes.x, who)
    background = _like(scenes.background, x, "background", who)
    feature = scenes if common is None else common
    images, on = _like(feature.x, x, "common.x", who), _mask(feature.mask, x, who)
    if patched is None:
        patched = insignificant_patch(scene_model, background, where, start=x).x
    after = _like(patched, x, "patched", who)
    comparisons = {
        "model_contrast": ((object_model, x, scenes.object), (scene_model, x, scenes.scene), where),
        "input_dependence": ((scene_model, images, scenes.scene), (scene_model, background, scenes.scene), on),
        "input_independence": ((scene_model, after, scenes.scene), (scene_model, background, scenes.scene), where),
    }
    look = _Look(_with_controls(explainers, x), scale, quantile, seed)
    attribution = {score: look.compare(score, *parts) for score, parts in comparisons.items()}
    rules: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (
        model_contrast, input_dependence, lambda a, b: input_independence(a, b, threshold)
    )  # fmt: skip
    values = {
        score: {name: rule(a, b) for name, (a, b) in attribution[score].items()}
        for score, rule in zip(SCORES, rules, strict=True)
    }
    return PlantedTruth(values, attribution)


Side = tuple[Model, Tensor, Any]
"""One side of a comparison: model, images, classes."""


@dataclass(frozen=True)
class _Look:
    """How explanations are looked at: by whom, on which scale, from which seed."""

    explainers: Mapping[str, Any]
    scale: str
    quantile: float
    seed: int

    def compare(self, score: str, one: Side, two: Side, mask: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        """Both sides' g on the images that both get right, by explainer."""
        right = self._right(*one) & self._right(*two)
        if not bool(right.any()):
            raise ModelError(
                f"planted_truth: the models must get at least one image right for the {score.replace('_', ' ')}; of "
                f"{len(mask)} they get none right. Try other images, and look at the order of the classes."
            )
        return {
            name: (self._g(explainer, *one, mask, right), self._g(explainer, *two, mask, right))
            for name, explainer in self.explainers.items()
        }

    def _right(self, model: Model, x: Tensor, target: Any) -> Tensor:
        logits = logits_of(model, x, "planted_truth")
        return logits.argmax(1) == check_target(_tensor(target), len(x), logits.shape[1], "planted_truth", x.device)

    def _g(self, explainer: Any, model: Model, x: Tensor, target: Any, mask: Tensor, right: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed)
        classes = _tensor(target).to(x.device).expand(len(x))
        maps = maps_of(explainer, model, x[right], classes[right], generator=generator)
        return concept_attribution(maps, mask[right.cpu()], scale=self.scale, quantile=self.quantile).cpu()


def _with_controls(explainers: Explainers, x: Tensor) -> dict[str, Any]:
    named: dict[str, Any] = named_explainers(explainers)
    for control in CONTROLS if x.ndim > 2 else CONTROLS[1:]:
        named.setdefault(control, control)
    return named


def _tensor(values: Any) -> Tensor:
    return values if isinstance(values, Tensor) else torch.tensor(values)  # a copy: arrays of data are read-only


def _like(values: Any, x: Tensor, name: str, who: str) -> Tensor:
    found = _tensor(values)
    if found.shape != x.shape:
        raise ShapeError(
            f"{who}: `{name}` must match the images, shape {tuple(x.shape)}; got {describe(found)}. "
            "Try parts of one data.scenes()."
        )
    return check_input(found.to(x), who)
