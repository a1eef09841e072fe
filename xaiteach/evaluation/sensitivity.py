"""Whether a map's numbers foretell how the score changes: sensitivity-n, infidelity.

Here the values of a map count, not only their order: a sum over positions is held against the change of the score when
just these are replaced. Positions are drawn once for all explainers, so that they answer the same questions.

Symbols: S the score, M a map, A a set of positions, x_A the sample with A replaced, n samples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from xaiteach.attribution.work import at_least, normal, uniform
from xaiteach.errors import OptionError, ShapeError, unknown
from xaiteach.evaluation.base import (
    Explainers,
    Result,
    attribution_of,
    beside_controls,
    explained,
    looked_up,
    samples_and_classes,
)
from xaiteach.evaluation.fills import Replacement, named_replacement, replacement, scores_by_row
from xaiteach.evaluation.rankings import degraded, field_of
from xaiteach.evaluation.similarity import pearson

if TYPE_CHECKING:
    from xaiteach.plots.figure import ReadableFigure

__all__ = [
    "PERTURBATIONS",
    "Infidelity",
    "SensitivityN",
    "infidelity",
    "sensitivity_n",
]

PERTURBATIONS = ("remove", "square", "noise")

Model = Callable[[Tensor], Any]


@dataclass(frozen=True, eq=False, repr=False)
class SensitivityN(Result):
    """Correlation of what a map sums to over drawn positions with what the score loses when they are replaced.

    Parameters
        values : explainer -> Tensor (n, sizes), float64. Pearson's correlation over the sets of one size; 0 where
            either side is constant.
        sizes : numbers of positions in a set.
        positions : int. In all.
        subsets : int. Sets of each size.
        fill : str. What shows where a position is taken away.
    """

    values: Mapping[str, Tensor]
    sizes: tuple[int, ...]
    positions: int
    subsets: int
    fill: str

    @property
    def title(self) -> str:  # type: ignore[override]
        """Over how many sets, and what they were replaced by."""
        return (
            f"Sensitivity-n: correlation over {self.subsets} sets of n of {self.positions} positions, replaced by "
            f"{self.fill}; mean of {len(next(iter(self.values.values())))} samples"
        )

    @property
    def columns(self) -> tuple[str, ...]:
        """Explainer, and the correlation for each size."""
        return ("explainer", *(f"n = {size}" for size in self.sizes))

    def rows(self) -> list[tuple[str, ...]]:
        """One row for each explainer and control."""
        return [(name, *(f"{v:.2f}" for v in values.mean(0).tolist())) for name, values in self.values.items()]

    def plot(self, **options: Any) -> ReadableFigure:
        """Mean correlation over the size of the sets; dashed the random control."""
        from xaiteach.plots import Series, curves

        series = {n: Series(v.mean(0).tolist(), dashed=n == "random_map") for n, v in self.values.items()}
        label = "positions replaced, n"
        return curves(series, [float(s) for s in self.sizes], x_label=label, y_label="correlation", **options)


def sensitivity_n(
    model: Model,
    x: Tensor,
    explainers: Explainers,
    *,
    target: int | Tensor | Sequence[int] | None = None,
    sizes: Sequence[int] | None = None,
    subsets: int = 100,
    fill: Replacement = "zero",
    output: str = "logit",
    seed: int = 0,
) -> SensitivityN:
    """Correlation of sum_A M with S(x) - S(x_A) over drawn sets A of n positions, for several n.

    Sensitivity-n asks that the two be equal; the correlation does not depend on the map's scale. For a linear model,
    input x gradient, with zeros as the replacement, has 1 at every n.

    Parameters
        model : callable from (n, ...) to logits (n, classes).
        x : Tensor, shape (n, ...).
        explainers : see `maps_of`. The edge detector (but for tables) and noise stand beside them.
        target : int, (n,) long, or None (default): the class predicted on x.
        sizes : int from 1 to positions - 1, several, or None (default): eight from 1 to four fifths of the positions,
            each larger than the last by one factor.
        subsets : int >= 2. Sets of each size. Default 100, as the paper.
        fill : see `replacement`. Default "zero".
        output : "logit" (default) or "probability".
        seed : int. What every explainer, the sets and noise are drawn from.
    Returns
        SensitivityN.
    Raises
        OptionError: sizes or subsets out of their range, unknown output or replacement.
        ShapeError, TargetError, ModelError: as `maps_of`.
    Cost
        sizes subsets forward passes for all explainers together, and one set of maps for each.
    Source
        Ancona, Ceolini, Öztireli, Gross (2018), definition 1 and section 4.
    Examples
        >>> net = torch.nn.Linear(8, 2)
        >>> x = torch.rand(2, 8, generator=torch.Generator().manual_seed(0))
        >>> sensitivity_n(net, x, "input_x_gradient", sizes=[2, 4]).values["input_x_gradient"].round(decimals=3)
        tensor([[1., 1.],
                [1., 1.]], dtype=torch.float64)
    """
    who = "sensitivity_n"
    at_least(subsets, 2, "subsets", who)
    x, classes, maps = explained(model, x, target, explainers, who, seed=seed)
    flat = {name: found.double().flatten(1) for name, found in maps.items()}
    positions = flat["random_map"].shape[1]
    chosen = _sizes(sizes, positions, who)
    shown = replacement(x, fill, generator=torch.Generator().manual_seed(seed + 2))
    whole = scores_by_row(model, lambda rows: (x[rows], classes[rows]), len(x), x, output, who)
    generator = torch.Generator().manual_seed(seed + 1)
    values = {name: torch.zeros(len(x), len(chosen), dtype=torch.float64) for name in flat}
    for i in range(len(x)):
        for column, size in enumerate(chosen):
            sets = _subsets(subsets, positions, size, generator).to(x.device)
            lost = whole[i] - _replaced_scores(model, x[i], classes[i], sets, shown[i], output, who)
            for name, found in flat.items():
                sums = (sets.double() @ found[i]).cpu()
                values[name][i, column] = pearson(sums[None], lost[None])[0]
    return SensitivityN(values, chosen, positions, subsets, named_replacement(fill))


def _sizes(sizes: Sequence[int] | None, positions: int, who: str) -> tuple[int, ...]:
    if sizes is None:
        largest = max(1, int(0.8 * positions))
        spread = [round(largest ** (step / 7)) for step in range(8)]
        return tuple(sorted(set(spread)))
    chosen = tuple(sizes)
    if not chosen or not all(isinstance(s, int) and not isinstance(s, bool) and 1 <= s < positions for s in chosen):
        raise OptionError(
            f"{who}: `sizes` must be whole numbers from 1 to {positions - 1}, at least one, for all "
            f"{positions} positions make a single set; got {list(chosen)}. Try [1, {max(1, positions // 4)}]."
        )
    return chosen


def _subsets(count: int, positions: int, size: int, generator: torch.Generator) -> Tensor:
    """Sets of `size` positions each, shape (count, positions), bool."""
    drawn = uniform(torch.empty(count, 0), positions, generator)
    return drawn.argsort(1).argsort(1) < size


def _replaced_scores(
    model: Model, one: Tensor, target: Tensor, sets: Tensor, shown: Tensor, output: str, who: str
) -> Tensor:
    """Score of one sample with each of the sets replaced, shape (sets,)."""

    def made(rows: Tensor) -> tuple[Tensor, Tensor]:
        samples = one.expand(len(rows), *one.shape)
        return degraded(samples, sets[rows], shown), target.expand(len(rows))

    return scores_by_row(model, made, len(sets), one[None], output, who)


@dataclass(frozen=True, eq=False, repr=False)
class Infidelity(Result):
    """How far what a map foretells is from what the score does, over perturbations.

    Parameters
        raw : explainer -> Tensor (n,), float64. Mean of (I . M - change)^2, in squared units of the score.
        scaled : explainer -> Tensor (n,). The same after each map was multiplied by the factor that is best for it.
        change : Tensor (n,). Mean of change^2: the infidelity of a map of zeros.
        perturbation : "remove", "square" or "noise".
    """

    raw: Mapping[str, Tensor]
    scaled: Mapping[str, Tensor]
    change: Tensor
    perturbation: str

    @property
    def title(self) -> str:  # type: ignore[override]
        """Under which perturbation, of how many samples."""
        return (
            f"Infidelity ({self.perturbation}), mean of {len(self.change)} samples; a map of zeros has "
            f"{self.change.mean():.3g} and leaves 100 % unexplained"
        )

    def unexplained(self, explainer: str) -> Tensor:
        """Scaled infidelity over that of a map of zeros, shape (n,), from 0, foretold, to 1; NaN without change."""
        return looked_up(self.scaled, explainer) / torch.where(self.change > 0, self.change, float("nan"))

    @property
    def columns(self) -> tuple[str, ...]:
        """Explainer, infidelity as it stands, at its best scale, and as a share."""
        return ("explainer", "infidelity", "at its best scale", "unexplained %")

    def rows(self) -> list[tuple[str, ...]]:
        """One row for each explainer and control."""
        found: list[tuple[str, ...]] = []
        for name, raw in self.raw.items():
            share = 100 * self.unexplained(name).nanmean()
            found.append((name, f"{raw.mean():.3g}", f"{self.scaled[name].mean():.3g}", f"{share:.1f}"))
        return found

    def plot(self, **options: Any) -> ReadableFigure:
        """Bars of what is left unexplained, in per cent; dashed a map of zeros."""
        from xaiteach.plots import bars

        means = {name: 100 * float(self.unexplained(name).nanmean()) for name in self.raw}
        options.setdefault("title", "dashed: a map of zeros")
        return bars(means, label="change of the score that is not foretold, %", reference=100.0, **options)


def infidelity(
    model: Model,
    x: Tensor,
    explainers: Explainers,
    *,
    target: int | Tensor | Sequence[int] | None = None,
    perturbation: str = "remove",
    samples: int = 100,
    share: float = 0.2,
    sigma: float = 0.1,
    fill: Replacement = "zero",
    output: str = "logit",
    seed: int = 0,
) -> Infidelity:
    """Mean over perturbations I of (I . M - (S(x) - S(x - I)))^2.

    Where positions are replaced, M is an attribution, whose values are the change themselves: I . M is its sum over
    them. Under noise M is a gradient, in score per input unit, and has to have a value for every element of x.

    Parameters
        model, x, explainers, target, fill, output, seed : as `sensitivity_n`.
        perturbation : "remove": a drawn set of positions is replaced. "square": a block, of the same share of every
            side's length, to the power 1/axes. "noise": normal noise I is taken from x.
        samples : int >= 1. Perturbations of each sample. Default 100.
        share : float in (0, 1). Of the positions that are replaced. Default .2.
        sigma : float > 0. Standard deviation of the noise, in input units. Default .1.
    Returns
        Infidelity.
    Raises
        OptionError: no samples, a share or sigma out of its range, unknown perturbation, output or replacement.
        ShapeError: "noise", and an explainer without a value for every element. Or as `maps_of`.
        TargetError, ModelError: as `maps_of`.
    Cost
        `samples` forward passes for all explainers together, and one set of maps for each.
    Source
        Yeh, Hsieh, Suggala, Inouye, Ravikumar (2019), definition 2.1; the best scale is theirs, too.
    Examples
        >>> net, x = torch.nn.Linear(8, 2), torch.rand(2, 8, generator=torch.Generator().manual_seed(0))
        >>> found = infidelity(net, x, "input_x_gradient")  # a linear model is foretold exactly
        >>> found.raw["input_x_gradient"].round(decimals=3), found.unexplained("random_map") > 0.1
        (tensor([0., 0.], dtype=torch.float64), tensor([True, True]))
    """
    who = "infidelity"
    at_least(samples, 1, "samples", who)
    if perturbation not in PERTURBATIONS:
        raise unknown("perturbation", perturbation, PERTURBATIONS)
    if not 0 < share < 1 or not sigma > 0:
        raise OptionError(
            f"{who}: `share` must be between 0 and 1 and `sigma` above 0; got {share!r} and {sigma!r}. Try share=0.2."
        )
    x, classes, values = _with_values(model, x, target, explainers, perturbation == "noise", who, seed)
    shown = replacement(x, fill, generator=torch.Generator().manual_seed(seed + 2))
    whole = scores_by_row(model, lambda rows: (x[rows], classes[rows]), len(x), x, output, who)
    generator = torch.Generator().manual_seed(seed + 1)
    raw, scaled = ({name: torch.zeros(len(x), dtype=torch.float64) for name in values} for _ in range(2))
    change = torch.zeros(len(x), dtype=torch.float64)
    for i in range(len(x)):
        if perturbation == "noise":
            moved = _noise(samples, x[i], sigma, generator)  # I, in input units
            scores = _moved_scores(model, x[i], classes[i], moved, output, who)
        else:
            moved = _places(samples, x[i], perturbation, share, generator).to(x.device)
            scores = _replaced_scores(model, x[i], classes[i], moved, shown[i], output, who)
        lost = whole[i] - scores
        change[i] = (lost**2).mean()
        for name, found in values.items():
            foretold = (moved.double().flatten(1) @ found[i]).cpu()
            raw[name][i] = ((foretold - lost) ** 2).mean()
            best = (foretold @ lost) / (foretold @ foretold) if bool(foretold.any()) else 0.0
            scaled[name][i] = ((best * foretold - lost) ** 2).mean()
    return Infidelity(raw, scaled, change, perturbation)


def _with_values(
    model: Model, x: Tensor, target: Any, explainers: Explainers, elements: bool, who: str, seed: int
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Samples, classes and what is multiplied: a value for each position, or for each element, (n, values), float64."""
    if not elements:
        x, classes, maps = explained(model, x, target, explainers, who, seed=seed)
        return x, classes, {name: found.double().flatten(1) for name, found in maps.items()}
    x, classes = samples_and_classes(model, x, target, who)
    values = {}
    for name, explainer in beside_controls(explainers, x).items():
        found = attribution_of(explainer, model, x, classes, generator=torch.Generator().manual_seed(seed)).values
        if found.shape != x.shape and name in ("edge_detector", "random_map"):
            found = found.expand(x.shape)  # a control has one value for all channels
        if found.shape != x.shape:
            raise ShapeError(
                f"{who}: under noise, {name} must have a value for every element of `x`, shape {tuple(x.shape)}; got "
                f"{tuple(found.shape)}. Try perturbation='remove'."
            )
        values[name] = found.double().flatten(1)
    return x, classes, values


def _places(count: int, one: Tensor, perturbation: str, share: float, generator: torch.Generator) -> Tensor:
    """Positions that are replaced, shape (count, positions), bool."""
    field = field_of(one[None])
    positions = field.numel()
    if perturbation == "remove":
        return _subsets(count, positions, min(max(1, round(share * positions)), positions), generator)
    inside = torch.ones(count, *field, dtype=torch.bool)
    drawn = uniform(torch.empty(count, 0), len(field), generator)
    for axis, length in enumerate(field):
        side = max(1, round(share ** (1 / len(field)) * length))
        start = (drawn[:, axis] * (length - side + 1)).long()  # (count,)
        along = torch.arange(length) - start[:, None]
        within = (along >= 0) & (along < side)
        inside &= within.reshape(count, *(length if a == axis else 1 for a in range(len(field))))
    return inside.flatten(1)


def _noise(count: int, one: Tensor, sigma: float, generator: torch.Generator) -> Tensor:
    like = one.expand(count, *one.shape)
    return sigma * normal(uniform(like, one.numel(), generator), like)


def _moved_scores(model: Model, one: Tensor, target: Tensor, moved: Tensor, output: str, who: str) -> Tensor:
    def made(rows: Tensor) -> tuple[Tensor, Tensor]:
        return one - moved[rows], target.expand(len(rows))

    return scores_by_row(model, made, len(moved), one[None], output, who)
