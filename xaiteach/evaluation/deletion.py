"""Scores while positions are taken away or brought back in the order of a map: deletion, insertion, AOPC.

Only the order of a map counts here, not its values. Taking the least relevant away first and bringing the most relevant
back first pass through the same samples, read from either end: with one replacement, insertion is LeRF backwards.

Symbols: S the score, x^(k) the sample after the first k of L regions were replaced, n samples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from xaiteach.attribution.work import at_least
from xaiteach.errors import OptionError, unknown
from xaiteach.evaluation.base import Explainers, Result, explained, looked_up, mean_sd
from xaiteach.evaluation.fills import Replacement, counts_of, curve, named_replacement, replacement
from xaiteach.evaluation.rankings import field_of, ranking

if TYPE_CHECKING:
    from xaiteach.plots.figure import ReadableFigure

__all__ = [
    "ORDERS",
    "DeletionInsertion",
    "RegionPerturbation",
    "area",
    "deletion_insertion",
    "region_perturbation",
    "regions_of",
]

ORDERS = ("morf", "lerf")
"""Most relevant first, least relevant first."""


def area(curves: Tensor, fractions: Tensor) -> Tensor:
    """Area under curves over fractions from 0 to 1, by trapezia: shape (n, points) to (n,), in units of the score.

    Examples
        >>> area(torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([0.0, 0.5, 1.0]))
        tensor([0.2500])
    """
    return torch.trapezoid(curves, fractions.to(curves), dim=1)


@dataclass(frozen=True, eq=False, repr=False)
class DeletionInsertion(Result):
    """Scores while what a map ranks highest is deleted from the sample, and while it is inserted into the fill.

    Parameters
        deletion, insertion : explainer -> Tensor (n, points), float64. First point: nothing deleted, nothing inserted.
        fractions : Tensor (points,). Of the positions, from 0 to 1.
        output : "logit" or "probability".
        fills : str, str. What shows where positions are deleted, or not yet inserted.
    """

    deletion: Mapping[str, Tensor]
    insertion: Mapping[str, Tensor]
    fractions: Tensor
    output: str
    fills: tuple[str, str]

    @property
    def title(self) -> str:  # type: ignore[override]
        """What was deleted from what, and what was inserted."""
        return (
            f"Area under the {self.output}: mean (SD) of {len(next(iter(self.deletion.values())))} samples, "
            f"{len(self.fractions)} points; deleted: {self.fills[0]}, inserted into: {self.fills[1]}"
        )

    def deletion_auc(self, explainer: str) -> Tensor:
        """Area under each sample's deletion curve, shape (n,). Lower is better."""
        return area(looked_up(self.deletion, explainer), self.fractions)

    def insertion_auc(self, explainer: str) -> Tensor:
        """Area under each sample's insertion curve, shape (n,). Higher is better."""
        return area(looked_up(self.insertion, explainer), self.fractions)

    @property
    def columns(self) -> tuple[str, ...]:
        """Explainer, deletion, insertion, and both beside the random order's."""
        return ("explainer", "deletion (low)", "insertion (high)", "less than random", "more than random")

    def rows(self) -> list[tuple[str, ...]]:
        """One row for each explainer and control."""
        found: list[tuple[str, ...]] = []
        for name in self.deletion:
            down, up = self.deletion_auc(name), self.insertion_auc(name)
            less = self.deletion_auc("random_map").mean() - down.mean()
            more = up.mean() - self.insertion_auc("random_map").mean()
            found.append((name, mean_sd(down), mean_sd(up), f"{less:+.3f}", f"{more:+.3f}"))
        return found

    def plot(self, *, of: str = "deletion", **options: Any) -> ReadableFigure:
        """Mean curves of the deletion, or of the insertion (`of`); dashed the random order."""
        if of not in ("deletion", "insertion"):
            raise unknown("curve", of, ("deletion", "insertion"))
        verb = "deleted" if of == "deletion" else "inserted"
        return _mean_curves(getattr(self, of), self.fractions, verb, self.output, options)


@dataclass(frozen=True, eq=False, repr=False)
class RegionPerturbation(Result):
    """Scores while regions are replaced, most or least relevant first.

    Parameters
        curves : order -> explainer -> Tensor (n, L + 1), float64. S(x^(k)) for k from 0 to L.
        regions : int. How many there are in all; L of them were replaced.
        output : "logit" or "probability".
        fill : str. What shows in a replaced region.
    """

    curves: Mapping[str, Mapping[str, Tensor]]
    regions: int
    output: str
    fill: str

    @property
    def steps(self) -> int:
        """L, the regions that were replaced."""
        return next(iter(self.curves["morf"].values())).shape[1] - 1

    @property
    def title(self) -> str:  # type: ignore[override]
        """What was replaced, and how much of it."""
        samples = len(next(iter(self.curves["morf"].values())))
        return (
            f"AOPC in units of the {self.output}: mean (SD) of {samples} samples; {self.steps} of "
            f"{self.regions} regions replaced by {self.fill}"
        )

    def aopc(self, explainer: str, order: str = "morf") -> Tensor:
        """Mean over k from 0 to L of S(x) - S(x^(k)), shape (n,). MoRF: higher is better; LeRF: lower."""
        if order not in ORDERS:
            raise unknown("order", order, ORDERS)
        scores = looked_up(self.curves[order], explainer)
        return (scores[:, :1] - scores).mean(1)

    def between(self, explainer: str) -> Tensor:
        """AOPC of MoRF less that of LeRF, shape (n,): 0 on average for a random order. Higher is better."""
        return self.aopc(explainer) - self.aopc(explainer, "lerf")

    @property
    def columns(self) -> tuple[str, ...]:
        """Explainer, AOPC by either order, and what lies between."""
        return ("explainer", "AOPC, MoRF (high)", "AOPC, LeRF (low)", "between (high)")

    def rows(self) -> list[tuple[str, ...]]:
        """One row for each explainer and control."""
        return [
            (name, mean_sd(self.aopc(name)), mean_sd(self.aopc(name, "lerf")), mean_sd(self.between(name)))
            for name in self.curves["morf"]
        ]

    def plot(self, *, order: str = "morf", **options: Any) -> ReadableFigure:
        """Mean score over the regions replaced; dashed the random order."""
        if order not in ORDERS:
            raise unknown("order", order, ORDERS)
        fractions = torch.arange(self.steps + 1, dtype=torch.float64) / self.regions
        options.setdefault("title", f"{order}: {'most' if order == 'morf' else 'least'} relevant regions first")
        return _mean_curves(self.curves[order], fractions, "replaced", self.output, options)


def _mean_curves(
    curves: Mapping[str, Tensor], fractions: Tensor, verb: str, output: str, options: dict[str, Any]
) -> ReadableFigure:
    from xaiteach.plots import Series
    from xaiteach.plots import curves as drawn

    series = {name: Series(values.mean(0).tolist(), dashed=name == "random_map") for name, values in curves.items()}
    points = [100 * float(fraction) for fraction in fractions]
    return drawn(series, points, x_label=f"positions {verb}, %", y_label=f"{output} of the class", **options)


def deletion_insertion(
    model: Callable[[Tensor], Any],
    x: Tensor,
    explainers: Explainers,
    *,
    target: int | Tensor | Sequence[int] | None = None,
    steps: int = 64,
    deleted: Replacement = "zero",
    inserted: Replacement = "blur",
    output: str = "probability",
    absolute: bool = False,
    seed: int = 0,
) -> DeletionInsertion:
    """Score while what each map ranks highest is deleted, and while it is inserted, with the areas under the curves.

    Parameters
        model : callable from (n, ...) to logits (n, classes).
        x : Tensor, shape (n, ...).
        explainers : see `maps_of`. The edge detector (but for tables) and noise stand beside them.
        target : int, (n,) long, or None (default): the class predicted on x.
        steps : int >= 1. Points of a curve, less one; at most the positions. Default 64.
        deleted : see `replacement`. What shows where a position is deleted. Default "zero".
        inserted : see `replacement`. What the sample is built up from. Default "blur", for a table "zero".
        output : "probability" (default, as the paper) or "logit".
        absolute : bool. Whether maps are ranked by size, without their sign.
        seed : int. What every explainer, the order of equal values and noise are drawn from.
    Returns
        DeletionInsertion.
    Raises
        OptionError: no steps, an unknown output or replacement.
        ShapeError, TargetError, ModelError: as `maps_of`.
    Cost
        2 (steps + 1) forward passes for each explainer, and one set of maps.
    Source
        Petsiuk, Das, Saenko (2018), the causal metrics deletion and insertion.
    Examples
        >>> first = lambda x: x[:, :2] * torch.tensor([4.0, 0.0])  # a logit that the first feature is
        >>> found = deletion_insertion(first, torch.ones(1, 4), "input_x_gradient", output="logit")
        >>> found.deletion["input_x_gradient"], found.insertion_auc("input_x_gradient")
        (tensor([[4., 0., 0., 0., 0.]], dtype=torch.float64), tensor([3.5000], dtype=torch.float64))
    """
    who = "deletion_insertion"
    at_least(steps, 1, "steps", who)
    x, classes, maps = explained(model, x, target, explainers, who, seed=seed)
    if x.ndim == 2 and isinstance(inserted, str) and inserted == "blur":
        inserted = "zero"
    fills = [replacement(x, kind, generator=torch.Generator().manual_seed(seed + 2)) for kind in (deleted, inserted)]
    counts = counts_of(maps["random_map"][0].numel(), steps)
    deletion, insertion = {}, {}
    for name, found in maps.items():
        order = ranking(found.abs() if absolute else found, generator=torch.Generator().manual_seed(seed + 1))
        places = order.argsort(1)
        deletion[name] = curve(model, x, classes, places, fills[0], counts, output=output, who=who)
        # What is not inserted yet is the end of the order: from there, all but the first so many are replaced.
        last, left = counts[-1] - 1 - places, counts[-1] - counts
        insertion[name] = curve(model, x, classes, last, fills[1], left, output=output, who=who)
    names = named_replacement(deleted), named_replacement(inserted)
    return DeletionInsertion(deletion, insertion, counts.double() / int(counts[-1]), output, names)


def regions_of(field: Sequence[int], region: int | Sequence[int]) -> Tensor:
    """Number of the region that each position lies in, shape (positions,), long; regions at the far end may be smaller.

    Raises
        OptionError: not a whole number from 1 up, or not one for each axis.
    Examples
        >>> regions_of((3, 4), 2).reshape(3, 4)
        tensor([[0, 0, 1, 1],
                [0, 0, 1, 1],
                [2, 2, 3, 3]])
    """
    given = tuple(region) if isinstance(region, tuple | list) else (region,) * len(field)
    sides = [side for side in given if isinstance(side, int) and not isinstance(side, bool) and side >= 1]
    if not len(given) == len(sides) == len(field):
        raise OptionError(
            f"region_perturbation: `region` must be a whole number from 1 up, or {len(field)} of them; got {region!r}. "
            f"Try region={max(1, min(field) // 8)}."
        )
    number = torch.zeros((), dtype=torch.long)
    for axis, (side, length) in enumerate(zip(sides, field, strict=True)):
        along = (torch.arange(length) // side).reshape([-1 if a == axis else 1 for a in range(len(field))])
        number = number * -(-length // side) + along
    return number.flatten()


def region_perturbation(
    model: Callable[[Tensor], Any],
    x: Tensor,
    explainers: Explainers,
    *,
    target: int | Tensor | Sequence[int] | None = None,
    region: int | Sequence[int] | None = None,
    steps: int | None = None,
    fill: Replacement = "noise",
    output: str = "logit",
    absolute: bool = False,
    seed: int = 0,
) -> RegionPerturbation:
    """Score while the regions that each map ranks highest, or lowest, are replaced one after the other; with the AOPC.

    Regions lie side by side and do not overlap. A region counts as much as the mean of the map in it, so that those cut
    off at the border are not ranked low for their size.

    Parameters
        model, x, explainers, target, absolute, seed : as `deletion_insertion`.
        region : int >= 1, or one for each axis. Side of a region, in positions. Default an eighth of the shorter side,
            and single features of a table.
        steps : int >= 1, or None. L, regions replaced; at most, and by default, all of them.
        fill : see `replacement`. Default "noise", as the paper, for a table "zero". One draw for all explainers.
        output : "logit" (default) or "probability".
    Returns
        RegionPerturbation.
    Raises
        OptionError: a region or steps out of their range, an unknown output or replacement.
        ShapeError, TargetError, ModelError: as `maps_of`.
    Cost
        2 (L + 1) forward passes for each explainer, and one set of maps.
    Source
        Samek, Binder, Montavon, Lapuschkin, Müller (2017), eq. 12, who take L = 100 regions of 9 x 9. Differs from it
        in: one draw of the noise for a sample, which all explainers meet; the mean of a region for its sum.
    Examples
        >>> first = lambda x: x[:, :2] * torch.tensor([4.0, 0.0])
        >>> found = region_perturbation(first, torch.ones(1, 4), "input_x_gradient")
        >>> found.aopc("input_x_gradient"), found.aopc("input_x_gradient", "lerf")
        (tensor([3.2000], dtype=torch.float64), tensor([0.8000], dtype=torch.float64))
    """
    who = "region_perturbation"
    x, classes, maps = explained(model, x, target, explainers, who, seed=seed)
    field = field_of(x)
    usual = 1 if x.ndim == 2 else max(1, min(field) // 8)
    number = regions_of(field, usual if region is None else region).to(x.device)
    count = int(number.max()) + 1
    steps = count if steps is None else min(at_least(steps, 1, "steps", who), count)
    if x.ndim == 2 and isinstance(fill, str) and fill == "noise":
        fill = "zero"
    shown = replacement(x, fill, generator=torch.Generator().manual_seed(seed + 2))
    counts = torch.arange(steps + 1)
    curves: dict[str, dict[str, Tensor]] = {order: {} for order in ORDERS}
    for name, found in maps.items():
        means = _region_means(found.abs() if absolute else found, number, count)
        first = ranking(means, generator=torch.Generator().manual_seed(seed + 1)).argsort(1)
        for order, places in (("morf", first), ("lerf", count - 1 - first)):
            curves[order][name] = curve(model, x, classes, places[:, number], shown, counts, output=output, who=who)
    return RegionPerturbation(curves, count, output, named_replacement(fill))


def _region_means(maps: Tensor, number: Tensor, count: int) -> Tensor:
    """Mean of each map in each region, shape (n, regions), float64."""
    flat = maps.double().flatten(1)
    sums = flat.new_zeros(len(flat), count).index_add_(1, number, flat)
    return sums / number.bincount(minlength=count)
