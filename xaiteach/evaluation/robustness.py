"""Max-sensitivity: how far a map moves at most when the sample moves a little.

Symbols: M a map, r the radius, d a move of the sample with no element larger than r, n samples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from xaiteach.attribution.work import at_least, uniform
from xaiteach.errors import OptionError
from xaiteach.evaluation.base import Explainers, Result, beside_controls, explained, maps_of, mean_sd

if TYPE_CHECKING:
    from xaiteach.plots.figure import ReadableFigure

__all__ = ["MaxSensitivity", "max_sensitivity"]


@dataclass(frozen=True, eq=False, repr=False)
class MaxSensitivity(Result):
    """Largest relative change of each map over small moves of its sample.

    Parameters
        values : explainer -> Tensor (n,), float64. max_d |M(x + d) - M(x)| / |M(x)|; NaN for a map of zeros.
        radius : float. r, in input units.
        samples : int. Moves that were tried.
    """

    values: Mapping[str, Tensor]
    radius: float
    samples: int

    @property
    def title(self) -> str:  # type: ignore[override]
        """How far, how often, of how many samples."""
        n = len(next(iter(self.values.values())))
        return f"Largest relative change of the map over {self.samples} moves within {self.radius:g}; {n} samples"

    @property
    def columns(self) -> tuple[str, ...]:
        """Explainer, and the change."""
        return ("explainer", "max-sensitivity, mean (SD)", "largest")

    def rows(self) -> list[tuple[str, ...]]:
        """One row for each explainer and control."""
        found: list[tuple[str, ...]] = []
        for name, values in self.values.items():
            there = values[~values.isnan()]
            if len(there):
                found.append((name, mean_sd(there), f"{there.max():.3f}"))
            else:
                found.append((name, "no map", "no map"))
        return found

    def plot(self, **options: Any) -> ReadableFigure:
        """Bars of the mean with whiskers of one SD; dashed a change as large as the map."""
        from xaiteach.plots import bars

        means = {name: float(values.nanmean()) for name, values in self.values.items()}
        spread = {n: float((v - means[n]).square().nanmean().sqrt()) for n, v in self.values.items()}
        options.setdefault("title", "dashed: a change as large as the map")
        return bars(means, label="largest relative change of the map", spread=spread, reference=1.0, **options)


def max_sensitivity(
    model: Callable[[Tensor], Any],
    x: Tensor,
    explainers: Explainers,
    *,
    target: int | Tensor | Sequence[int] | None = None,
    radius: float = 0.02,
    samples: int = 10,
    paired: bool = False,
    seed: int = 0,
) -> MaxSensitivity:
    """Largest relative change of each map over moves of the sample by at most `radius` in every element.

    It is a bound from below: more moves can only raise it. Steady is not right: the edge detector is, and a map that is
    the same for every sample is perfectly so.

    Parameters
        model : callable from (n, ...) to logits (n, classes).
        x : Tensor, shape (n, ...).
        explainers : see `maps_of`. The edge detector (but for tables) and noise stand beside them.
        target : int, (n,) long, or None (default): the class predicted on x; the moved samples keep it.
        radius : float > 0, in input units. Default .02.
        samples : int >= 1. Moves d, uniform in [-r, r]. Default 10. One set of moves for all explainers.
        paired : bool. Whether a random explainer draws the same for x and for each x + d. Default False: what its draws
            move is part of it. True leaves only what the sample's move does, and noise has 0.
        seed : int. What the moves and every explainer are drawn from.
    Returns
        MaxSensitivity.
    Raises
        OptionError: a radius of 0 or less, no samples.
        ShapeError, TargetError, ModelError: as `maps_of`.
    Cost
        1 + `samples` sets of maps for each explainer.
    Source
        Yeh, Hsieh, Suggala, Inouye, Ravikumar (2019), section 4; relative, as Captum has it.
    Examples
        >>> net, x = torch.nn.Linear(8, 2), torch.rand(2, 8, generator=torch.Generator().manual_seed(0))
        >>> max_sensitivity(net, x, "saliency").values["saliency"]  # the gradient of a linear model never changes
        tensor([0., 0.], dtype=torch.float64)
    """
    who = "max_sensitivity"
    at_least(samples, 1, "samples", who)
    if isinstance(radius, bool) or not radius > 0:
        raise OptionError(f"{who}: `radius` must be above 0, in input units; got {radius!r}. Try radius=0.02.")
    x, classes, maps = explained(model, x, target, explainers, who, seed=seed)
    largest = {name: torch.zeros(len(x), dtype=torch.float64) for name in maps}
    moves = torch.Generator().manual_seed(seed + 1)
    named = beside_controls(explainers, x)
    draws = {name: torch.Generator().manual_seed(seed + 2) for name in named}
    for _ in range(samples):
        moved = x + radius * (2 * uniform(x, x[0].numel(), moves) - 1).to(x).reshape(x.shape)
        for name, explainer in named.items():
            drawn = torch.Generator().manual_seed(seed) if paired else draws[name]
            found = maps_of(explainer, model, moved, classes, generator=drawn)
            off = (found.double() - maps[name].double()).flatten(1).norm(dim=1).cpu()
            largest[name] = torch.maximum(largest[name], off)
    size = {name: found.double().flatten(1).norm(dim=1).cpu() for name, found in maps.items()}
    values = {n: largest[n] / torch.where(size[n] > 0, size[n], float("nan")) for n in maps}
    return MaxSensitivity(values, float(radius), samples)
