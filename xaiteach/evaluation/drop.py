"""Drop, increase and win rate: what is left of a prediction when the model sees only what an explanation keeps.

Symbols: Y the probability of a class on the sample, O the probability of the same class on what is kept of it.

Two traps. What a map leaves at 0 is tied: "map > threshold" then keeps far less than it was told to, so read what was
really kept. And a map that never saw the class, the sum of all feature maps say, can score as well as Grad-CAM: low
drop says that the model gets along with what was kept, not that it is what the model used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from xaiteach.errors import OptionError, unknown
from xaiteach.evaluation.base import Explainers, Result, explained, looked_up
from xaiteach.evaluation.fills import Replacement, named_replacement, replacement, scores_by_row
from xaiteach.evaluation.rankings import over_channels, ranking, replaced

if TYPE_CHECKING:
    from xaiteach.plots.figure import ReadableFigure

__all__ = ["FORMS", "TIES", "DropIncrease", "drop_increase", "weights_of"]

FORMS = ("threshold", "multiply")
TIES = ("drawn", "removed", "kept")
"""What becomes of the positions whose value is the threshold itself."""


@dataclass(frozen=True, eq=False, repr=False)
class DropIncrease(Result):
    """Scores before and after, from which drop, increase and win rate follow.

    Parameters
        whole : Tensor (n,), float64. Y.
        kept : explainer -> Tensor (n,), float64. O.
        really_kept : explainer -> Tensor (n,), float64. Share of the positions that was kept; of the multiply form the
            mean weight.
        form : "threshold" or "multiply".
        keep : float. The share that was asked for, without meaning for the multiply form.
        fill : str. What shows where a position is taken away.
    """

    whole: Tensor
    kept: Mapping[str, Tensor]
    really_kept: Mapping[str, Tensor]
    form: str
    keep: float
    fill: str

    @property
    def title(self) -> str:  # type: ignore[override]
        """What was kept, and of how many samples."""
        kept = f"best {100 * self.keep:g} % kept" if self.form == "threshold" else "multiplied by the map"
        return f"Probability after masking, {kept}, elsewhere {self.fill}; {len(self.whole)} samples"

    def drop(self, explainer: str) -> Tensor:
        """max((Y - O) / Y, 0) of each sample, shape (n,), as a fraction; 0 where Y is 0. Lower is better."""
        fall = (self.whole - looked_up(self.kept, explainer)).clamp(min=0)
        return torch.where(self.whole > 0, fall / self.whole.where(self.whole > 0, torch.ones(())), 0.0)

    def increase(self, explainer: str) -> Tensor:
        """Whether O > Y, shape (n,), 1 or 0. Its mean is the increase; higher is better."""
        return (looked_up(self.kept, explainer) > self.whole).double()

    def wins(self, explainer: str, rival: str = "random_map") -> float:
        """Share of the samples for which the explainer keeps a higher probability than the rival; equal ones are half.

        So that wins of A over B and of B over A make 1.
        """
        ours, theirs = looked_up(self.kept, explainer), looked_up(self.kept, rival)
        return float(((ours > theirs).double() + (ours == theirs).double() / 2).mean())

    @property
    def columns(self) -> tuple[str, ...]:
        """Explainer, drop, increase, wins, what was really kept."""
        kept = "really kept %" if self.form == "threshold" else "mean weight %"
        return ("explainer", "drop %", "increase %", "wins over random %", kept)

    def rows(self) -> list[tuple[str, ...]]:
        """One row for each explainer and control."""
        found: list[tuple[str, ...]] = []
        for name in self.kept:
            numbers = (
                self.drop(name).mean(),
                self.increase(name).mean(),
                self.wins(name),
                self.really_kept[name].mean(),
            )
            found.append((name, *(f"{100 * float(number):.1f}" for number in numbers)))
        return found

    def plot(self, *, of: str = "drop", **options: Any) -> ReadableFigure:
        """Bars of the drop, or of the increase (`of`), in per cent; dashed the random control."""
        from xaiteach.plots import bars

        if of not in ("drop", "increase"):
            raise unknown("measure", of, ("drop", "increase"))
        means = {name: 100 * float(getattr(self, of)(name).mean()) for name in self.kept}
        options.setdefault("title", "dashed: a random map")
        return bars(means, label=f"{of}, %", reference=means["random_map"], **options)


def weights_of(
    maps: Tensor,
    keep: float,
    *,
    form: str = "threshold",
    ties: str = "drawn",
    generator: torch.Generator | None = None,
) -> Tensor:
    """How much of each position is kept, shape (n, positions), float64, from 0 to 1.

    Parameters
        maps : Tensor, shape (n, *spatial).
        keep : float in [0, 1]. Share of the positions, rounded to a whole number K of them; threshold form.
        form : "threshold": 1 or 0. "multiply": the map's positive part over its largest value; 0 for a map without one.
        ties : of the threshold form. "drawn": K positions, whichever among equals. "removed": above the largest value
            that must go (a map > threshold). "kept": at least the least value that may stay (a map >= threshold).
        generator : what the order of equal values is drawn from; None: the global state.
    Raises
        OptionError: unknown form or ties, or a share outside [0, 1].
        ShapeError: not a finite batch of maps.
    Examples
        >>> relu = torch.tensor([[0.0, 0.0, 0.0, 2.0, 1.0]])  # asked for 4 of 5, "map > threshold" keeps 2
        >>> weights_of(relu, 0.8, ties="removed").tolist(), weights_of(relu, 0.8, form="multiply").tolist()
        ([[0.0, 0.0, 0.0, 1.0, 1.0]], [[0.0, 0.0, 0.0, 1.0, 0.5]])
    """
    for name, given, known in (("form", form, FORMS), ("ties", ties, TIES)):
        if given not in known:
            raise unknown(name, given, known)
    order = ranking(maps, generator=generator)
    first = replaced(order, keep)  # checks the share, too
    flat = maps.detach().double().flatten(1)
    if form == "multiply":
        largest = flat.amax(1, keepdim=True)
        return flat.clamp(min=0) / torch.where(largest > 0, largest, 1.0)
    count = int(first[0].sum())
    if ties == "drawn" or count in (0, flat.shape[1]):
        return first.double()
    ordered = flat.gather(1, order)
    above = flat > ordered[:, count, None]
    return (above if ties == "removed" else flat >= ordered[:, count - 1, None]).double()


def drop_increase(
    model: Callable[[Tensor], Any],
    x: Tensor,
    explainers: Explainers,
    *,
    target: int | Tensor | Sequence[int] | None = None,
    keep: float = 0.3,
    form: str = "threshold",
    ties: str = "drawn",
    fill: Replacement = "zero",
    absolute: bool = False,
    seed: int = 0,
) -> DropIncrease:
    """Drop, increase and win rate of the class's probability when only what a map ranks highest is left.

    Parameters
        model : callable from (n, ...) to logits (n, classes).
        x : Tensor, shape (n, ...).
        explainers : see `maps_of`. The edge detector (but for tables) and noise stand beside them.
        target : int, (n,) long, or None (default): the class predicted on x, as the papers. It stays the class that is
            scored, whatever wins on the masked sample.
        keep, form, ties : see `weights_of`. Default: 30 %, as a mask, with a drawn order of equal values.
        fill : see `replacement`. Default "zero". In the multiply form what is mixed in: w x + (1 - w) x'.
        absolute : bool. Whether maps are ranked by size, without their sign.
        seed : int. What every explainer, the order of equal values and the noise of the fill are drawn from.
    Returns
        DropIncrease.
    Raises
        OptionError, ShapeError, TargetError, ModelError: as `maps_of`, `weights_of` and `replacement`.
    Cost
        One forward pass for each explainer, and one set of maps.
    Source
        Chattopadhyay, Sarkar, Howlader, Balasubramanian (2018), section 4.1, who multiply; a threshold of a nominal
        share is usual since. Their win rate compares two methods; equal scores count as half here.
    Examples
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(10, 2))
        >>> x = torch.rand(4, 1, 10, generator=torch.Generator().manual_seed(0))
        >>> found = drop_increase(net, x, "input_x_gradient")
        >>> found.drop("input_x_gradient").shape, found.really_kept["random_map"][0]
        (torch.Size([4]), tensor(0.3000, dtype=torch.float64))
    """
    who = "drop_increase"
    if form == "multiply" and absolute:
        raise OptionError(
            f"{who}: the multiply form must have signed maps, whose negative part weighs nothing; got absolute=True. "
            "Try an explainer that returns the absolute value."
        )
    x, classes, maps = explained(model, x, target, explainers, who, seed=seed)
    shown = replacement(x, fill, generator=torch.Generator().manual_seed(seed + 2))
    whole = scores_by_row(model, lambda rows: (x[rows], classes[rows]), len(x), x, "probability", who)
    kept, really = {}, {}
    for name, found in maps.items():
        drawn = torch.Generator().manual_seed(seed + 1)
        weights = weights_of(found.abs() if absolute else found, keep, form=form, ties=ties, generator=drawn)
        kept[name] = _kept(model, x, classes, weights, shown, who)
        really[name] = weights.mean(1).cpu()
    return DropIncrease(whole, kept, really, form, float(keep), named_replacement(fill))


def _kept(
    model: Callable[[Tensor], Any], x: Tensor, classes: Tensor, weights: Tensor, shown: Tensor, who: str
) -> Tensor:
    def made(rows: Tensor) -> tuple[Tensor, Tensor]:
        weight = over_channels(weights[rows], x[rows]).to(x)
        return torch.lerp(shown[rows], x[rows], weight.expand_as(x[rows])), classes[rows]

    return scores_by_row(model, made, len(x), x, "probability", who)
