"""Class insensitivity: whether the maps of two classes of one image are the same map.

On an image that shows both a cat and a cup, the evidence for the one lies elsewhere than the evidence for the other. A
map that stays the same whichever class is asked about explains the image, not the decision.

Symbols: n images, a and b the two classes of each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from xaiteach.errors import OptionError, TargetError, unknown
from xaiteach.evaluation.base import Explainers, Result, beside_controls, logits_of, maps_of
from xaiteach.evaluation.similarity import KEEPS, SIMILARITIES, similarity
from xaiteach.guards import check_input, check_target

if TYPE_CHECKING:
    from xaiteach.plots.figure import ReadableFigure

__all__ = ["MEASURES", "ClassInsensitivity", "class_insensitivity"]

Measure = tuple[str, str]
"""Name of a similarity, and what it keeps of the maps."""

MEASURES: tuple[Measure, ...] = (("ssim", "all"), ("spearman", "all"), ("pearson", "all"))


@dataclass(frozen=True, eq=False, repr=False)
class ClassInsensitivity(Result):
    """How alike the maps of two classes are.

    Parameters
        values : explainer -> Tensor (measures, n), float64. 1 for the same map.
        floors : explainer -> Tensor (measures,). Mean similarity of one image's map for a to the next image's for b:
            what maps that have nothing to do with each other come to. NaN for a single image.
        measures : (similarity, what is kept), in their order.
    """

    values: Mapping[str, Tensor]
    floors: Mapping[str, Tensor]
    measures: tuple[Measure, ...]
    title: str = "Similarity of two classes' maps of one image: mean (SD) over images; near 1 is blind to the class"

    def of(self, explainer: str, measure: Measure | None = None) -> Tensor:
        """One similarity for every image, shape (n,), float64; the first measure by default.

        Raises
            OptionError: an explainer or a measure that was not computed.
        """
        wanted = self.measures[0] if measure is None else tuple(measure)
        if explainer not in self.values:
            raise unknown("explainer", explainer, self.values)
        if wanted not in self.measures:
            raise unknown("measure", wanted, map(str, self.measures))
        return self.values[explainer][self.measures.index(wanted)]

    @property
    def columns(self) -> tuple[str, ...]:
        """Explainer, and similarity and floor of each measure."""
        return ("explainer", *(head for kind, keep in self.measures for head in (_named(kind, keep), "floor")))

    def rows(self) -> list[tuple[str, ...]]:
        """One row for each explainer."""
        found: list[tuple[str, ...]] = []
        for name, values in self.values.items():
            cells = [
                cell
                for row, floor in zip(values, self.floors[name].tolist(), strict=True)
                for cell in (f"{row.mean():.2f} ({row.std(correction=0):.2f})", f"{floor:.2f}")
            ]
            found.append((name, *cells))
        return found

    def plot(self, *, measure: Measure | None = None, **options: Any) -> ReadableFigure:
        """Bars of the mean with whiskers of one SD; dashed the same map for both classes."""
        from xaiteach.plots import bars

        means = {name: float(self.of(name, measure).mean()) for name in self.values}
        spread = {name: float(self.of(name, measure).std(correction=0)) for name in self.values}
        kind, keep = self.measures[0] if measure is None else measure
        options.setdefault("title", "dashed: the same map for both classes")
        label = f"{_named(kind, keep)} of the two classes' maps"
        return bars(means, label=label, spread=spread, reference=1.0, **options)


def _named(kind: str, keep: str) -> str:
    name = kind.upper() if kind in ("ssim", "hog") else kind
    return name if keep == "all" else f"{name}, {keep}"


def class_insensitivity(
    model: Callable[[Tensor], Any],
    x: Tensor,
    first: int | Tensor | Sequence[int],
    second: int | Tensor | Sequence[int],
    explainers: Explainers,
    *,
    measures: Sequence[Measure] = MEASURES,
    seed: int = 0,
) -> ClassInsensitivity:
    """Similarity of each image's maps for two classes, best on images that show both.

    Both classes get the same random draws, so that a method which draws differs by the class alone. Noise then comes to
    1, as the edge detector does: both are blind to the class. Similar logits are a trap: for a net with two classes and
    the softmax's probability as the score, the two maps are each other with the sign turned; ("ssim", "absolute") calls
    them the same.

    Parameters
        model : callable from (n, ...) to logits (n, classes).
        x : Tensor, shape (n, ...).
        first, second : int, or (n,) long. The two classes of each image, different ones.
        explainers : see `maps_of`. The edge detector (but for tables) and noise stand beside them.
        measures : (similarity, keep), see `similarity`. Default SSIM, Spearman and Pearson of signed maps.
        seed : int. What every explainer draws from, for either class.
    Returns
        ClassInsensitivity.
    Raises
        TargetError: no classes of the model, or the same one twice.
        OptionError: unknown measures, or none.
        ShapeError, ModelError: as `maps_of`.
    Cost
        Two sets of maps for each explainer.
    Source
        Nie, Zhang, Patel (2018), who show it of guided backprop and DeconvNet; seed 002, section 7.3.
    Examples
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(9, 2))
        >>> x = torch.rand(2, 1, 9, generator=torch.Generator().manual_seed(0))
        >>> found = class_insensitivity(net, x, 0, 1, "saliency")
        >>> found.of("edge_detector")
        tensor([1., 1.], dtype=torch.float64)
    """
    who = "class_insensitivity"
    x = check_input(x, who)
    chosen = _measures(measures, who)
    logits = logits_of(model, x[:1], who)
    a, b = (check_target(target, len(x), logits.shape[1], who, x.device) for target in (first, second))
    same = (a == b).nonzero()
    if len(same):
        raise TargetError(
            f"{who}: `first` and `second` must be two classes of each image; got class {int(a[same[0]])} twice for "
            f"image {int(same[0])}. Try the two largest logits, logits.topk(2)."
        )
    values, floors = {}, {}
    for name, explainer in beside_controls(explainers, x).items():
        one, two = (
            maps_of(explainer, model, x, target, generator=torch.Generator().manual_seed(seed)) for target in (a, b)
        )
        values[name] = torch.stack([similarity(one, two, *measure).cpu() for measure in chosen])
        others = [similarity(one, two.roll(-1, 0), *measure).mean().cpu() for measure in chosen]
        floors[name] = torch.stack(others) if len(x) > 1 else torch.full((len(chosen),), float("nan"))
    return ClassInsensitivity(values, floors, chosen)


def _measures(measures: Sequence[Measure], who: str) -> tuple[Measure, ...]:
    chosen = tuple((str(one[0]), str(one[1])) for one in measures if not isinstance(one, str) and len(one) == 2)
    if not chosen or len(chosen) != len(measures):
        raise OptionError(
            f"{who}: `measures` must be pairs of a similarity and what it keeps, at least one; got {measures!r}. "
            "Try [('ssim', 'all')]."
        )
    for kind, keep in chosen:
        if kind not in SIMILARITIES:
            raise unknown("similarity", kind, SIMILARITIES)
        if keep not in KEEPS:
            raise unknown("keep", keep, KEEPS)
    return chosen
