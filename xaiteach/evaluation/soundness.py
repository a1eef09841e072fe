"""Completeness and soundness: whether a map makes a case for what is so, and none for what is not.

Insertion asks only whether the kept positions bring the class's probability back. A map that can do that for any class,
as one can by keeping whatever fools the network, then looks excellent. Asked for every class, a sound map must not make
more of a class than the model does.

Symbols, the paper's: f(x, a) the probability of class a on x, g(x, a) the area under its insertion curve by the map for
a; alpha completeness, beta soundness.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from xaiteach.attribution.work import at_least
from xaiteach.errors import OptionError, TargetError, unknown
from xaiteach.evaluation.base import Explainers, Result, beside_controls, logits_of, looked_up, maps_of, mean_sd
from xaiteach.evaluation.deletion import area
from xaiteach.evaluation.fills import Replacement, counts_of, curve, named_replacement, replacement
from xaiteach.evaluation.rankings import field_of, ranking
from xaiteach.guards import check_input

if TYPE_CHECKING:
    from xaiteach.plots.figure import ReadableFigure

__all__ = ["CompletenessSoundness", "completeness_soundness"]


@dataclass(frozen=True, eq=False, repr=False)
class CompletenessSoundness(Result):
    """Insertion areas of every class, from which completeness and soundness follow.

    Parameters
        f : Tensor (n, classes), float64. Probabilities.
        g : explainer -> Tensor (n, classes), float64. Areas under the insertion curves.
        classes : tuple of int. The classes asked for, in the order of the columns.
        epsilon : (e1, e2). Floors under g and f.
        fill : str. What shows where nothing is inserted yet.
    """

    f: Tensor
    g: Mapping[str, Tensor]
    classes: tuple[int, ...]
    epsilon: tuple[float, float]
    fill: str

    @property
    def title(self) -> str:  # type: ignore[override]
        """What is asked, of how many samples and classes."""
        return (
            f"Completeness and soundness, worst of {len(self.classes)} classes, mean (SD) of {len(self.f)} samples; "
            f"inserted into: {self.fill}"
        )

    def completeness(self, explainer: str) -> Tensor:
        """min(max(g, e1) / f, 1) of each sample and class, shape (n, classes): 1 where the map brings all of f back."""
        return _share(looked_up(self.g, explainer).clamp(min=self.epsilon[0]), self.f)

    def soundness(self, explainer: str) -> Tensor:
        """min(max(f, e2) / g, 1) of each sample and class, shape (n, classes): 1 where the map makes no more of it."""
        return _share(self.f.clamp(min=self.epsilon[1]), looked_up(self.g, explainer))

    def alpha(self, explainer: str) -> Tensor:
        """Completeness for the class where it is least, shape (n,). The method's is the mean; higher is better."""
        return self.completeness(explainer).amin(1)

    def beta(self, explainer: str) -> Tensor:
        """Soundness for the class where it is least, shape (n,). The method's is the mean; higher is better."""
        return self.soundness(explainer).amin(1)

    @property
    def columns(self) -> tuple[str, ...]:
        """Explainer, alpha, beta, and the completeness of the predicted class alone."""
        return ("explainer", "completeness", "soundness", "completeness, top class")

    def rows(self) -> list[tuple[str, ...]]:
        """One row for each explainer and control."""
        top = self.f.argmax(1, keepdim=True)
        found: list[tuple[str, ...]] = []
        for name in self.g:
            columns = (self.alpha(name), self.beta(name), self.completeness(name).gather(1, top))
            found.append((name, *(mean_sd(column) for column in columns)))
        return found

    def plot(self, *, of: str = "soundness", **options: Any) -> ReadableFigure:
        """Bars of the mean soundness, or completeness (`of`); dashed the random control."""
        from xaiteach.plots import bars

        if of not in ("soundness", "completeness"):
            raise unknown("measure", of, ("soundness", "completeness"))
        values = {name: self.beta(name) if of == "soundness" else self.alpha(name) for name in self.g}
        means = {name: float(value.mean()) for name, value in values.items()}
        spread = {name: float(value.std(correction=0)) for name, value in values.items()}
        options.setdefault("title", "dashed: a random map")
        return bars(means, label=f"{of}, worst class", spread=spread, reference=means["random_map"], **options)


def _share(part: Tensor, of: Tensor) -> Tensor:
    """min(part / of, 1), and 1 where `of` is 0."""
    return torch.where(of > part, part / of.where(of > 0, torch.ones_like(of)), 1.0)


def completeness_soundness(
    model: Callable[[Tensor], Any],
    x: Tensor,
    explainers: Explainers,
    *,
    classes: Sequence[int] | None = None,
    steps: int = 32,
    fill: Replacement = "zero",
    epsilon: tuple[float, float] = (0.01, 0.01),
    absolute: bool = False,
    seed: int = 0,
) -> CompletenessSoundness:
    """Completeness alpha and soundness beta of explanations of every class, not of the predicted one alone.

    A map is alpha-complete for x and a where g >= alpha f, and beta-sound where g <= f / beta. (Seed 001 prints alpha
    for beta in the second formula, and a stray alpha in the bound.) Both are taken for the worst class, then over
    samples.

    Parameters
        model : callable from (n, ...) to logits (n, classes).
        x : Tensor, shape (n, ...).
        explainers : see `maps_of`. The edge detector (but for tables) and noise stand beside them.
        classes : int, one or more, or None (default): all.
        steps : int >= 1. Points of an insertion curve, less one. Default 32.
        fill : see `replacement`. What samples are built up from. Default "zero".
        epsilon : (e1, e2), at least 0. Floors under g and f, below which nobody asks. Default .01 and .01.
        absolute : bool. Whether maps are ranked by size, without their sign.
        seed : int. What every explainer, the order of equal values and noise are drawn from; the same for all classes.
    Returns
        CompletenessSoundness.
    Raises
        TargetError: a class that the model does not have, or one twice.
        OptionError: no steps, a floor below 0, unknown replacement.
        ShapeError, ModelError: as `maps_of`.
    Cost
        classes (steps + 1) forward passes for each explainer, and a set of maps for each class.
    Source
        Gupta, Saunshi, Yu, Lyu, Arora (2022); seed 001, section 4.2. Differs from it in: the area by trapezia
        over `steps` + 1 points.
    Examples
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(10, 3))
        >>> x = torch.rand(2, 1, 10, generator=torch.Generator().manual_seed(0))
        >>> found = completeness_soundness(net, x, "input_x_gradient")
        >>> found.alpha("input_x_gradient").shape, bool((found.soundness("random_map") <= 1).all())
        (torch.Size([2]), True)
    """
    who = "completeness_soundness"
    at_least(steps, 1, "steps", who)
    x = check_input(x, who)
    if len(epsilon) != 2 or not all(e >= 0 for e in epsilon):
        raise OptionError(f"{who}: `epsilon` must be two numbers from 0 up; got {epsilon!r}. Try (0.01, 0.01).")
    probabilities = logits_of(model, x, who).double().softmax(1).cpu()
    chosen = _classes(classes, probabilities.shape[1], who)
    shown = replacement(x, fill, generator=torch.Generator().manual_seed(seed + 2))
    counts = counts_of(field_of(x).numel(), steps)
    fractions, left = counts.double() / int(counts[-1]), counts[-1] - counts
    areas: dict[str, Tensor] = {}
    for name, explainer in beside_controls(explainers, x).items():
        columns = []
        for c in chosen:
            target = torch.full((len(x),), c, device=x.device)
            maps = maps_of(explainer, model, x, target, generator=torch.Generator().manual_seed(seed))
            order = ranking(maps.abs() if absolute else maps, generator=torch.Generator().manual_seed(seed + 1))
            last = counts[-1] - 1 - order.argsort(1)
            scores = curve(model, x, target, last, shown, left, output="probability", who=who)
            columns.append(area(scores, fractions))
        areas[name] = torch.stack(columns, 1)
    return CompletenessSoundness(probabilities[:, chosen], areas, tuple(chosen), epsilon, named_replacement(fill))


def _classes(classes: Sequence[int] | None, count: int, who: str) -> list[int]:
    chosen = list(range(count)) if classes is None else [int(c) for c in classes]
    if not chosen or len(set(chosen)) < len(chosen) or not all(0 <= c < count for c in chosen):
        raise TargetError(
            f"{who}: `classes` must be one or more of the model's {count} classes, each once; got {classes!r}. Try "
            "None for all."
        )
    return chosen
