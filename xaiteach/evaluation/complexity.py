"""The efficient sanity check: whether explanations get more disordered when a model loses everything it learnt.

Symbols: M a map, H its entropy, n images, S seeds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from xaiteach.attribution.work import at_least
from xaiteach.evaluation.base import Explainer, Result, maps_of, named_explainers
from xaiteach.evaluation.weights import Randomizer, State, layers_of

if TYPE_CHECKING:
    from xaiteach.plots.figure import ReadableFigure

__all__ = ["EfficientRandomization", "discrete_entropy", "efficient_randomization"]


def discrete_entropy(maps: Tensor, bins: int = 100) -> Tensor:
    """Entropy of the histogram of each map's values, in nats, shape (n,), float64.

    Bins are of one width, from the map's least to its largest value. A map of one value has entropy 0; no map has more
    than log(bins).

    Parameters
        maps : Tensor, shape (n, *spatial).
        bins : int >= 2. Default 100.
    Raises
        OptionError: fewer than 2 bins.
    Source
        Hedström, Weber, Lapuschkin, Höhne (2023), section 4.2.
    Examples
        >>> discrete_entropy(torch.tensor([[0.0, 1.0, 2.0, 3.0], [5.0, 5.0, 5.0, 5.0]]), bins=4)
        tensor([1.3863, 0.0000], dtype=torch.float64)
    """
    at_least(bins, 2, "bins", "discrete_entropy")
    found = []
    for row in maps.detach().double().cpu().flatten(1):
        low, high = float(row.min()), float(row.max())
        counts = torch.histogram(row, bins, range=(low, high)).hist if high > low else torch.tensor([float(len(row))])
        shares = counts[counts > 0] / len(row)
        found.append(-(shares * shares.log()).sum().double())
    return torch.stack(found) + 0.0


@dataclass(frozen=True, eq=False, repr=False)
class EfficientRandomization(Result):
    """Rise of the maps' entropy when every layer is drawn anew.

    Parameters
        trained : explainer -> Tensor (n,). Entropy of the trained model's maps.
        random : explainer -> Tensor (S, n). Of the randomised model's.
    """

    trained: Mapping[str, Tensor]
    random: Mapping[str, Tensor]
    title: str = (
        "Relative rise of the map's entropy after randomising every layer: above 0, the map got more disordered"
    )

    def rise(self, explainer: str) -> Tensor:
        """(H' - H) / H of each seed and image, shape (S, n); NaN where H is 0."""
        before = self.trained[explainer]
        return (self.random[explainer] - before) / torch.where(before > 0, before, float("nan"))

    @property
    def columns(self) -> tuple[str, ...]:
        """Explainer, entropies, rise."""
        return ("explainer", "entropy, trained", "entropy, random", "rise, mean (SD)")

    def rows(self) -> list[tuple[str, ...]]:
        """One row for each explainer."""
        found: list[tuple[str, ...]] = []
        for name in self.trained:
            rise = self.rise(name)
            cells = (f"{self.trained[name].mean():.2f}", f"{self.random[name].mean():.2f}")
            found.append((name, *cells, f"{rise.mean():+.3f} ({rise.std(correction=0):.3f})"))
        return found

    def plot(self, **options: Any) -> ReadableFigure:
        """Bars of the mean rise."""
        from xaiteach.plots import bars

        rises = {name: self.rise(name) for name in self.trained}
        spread = {name: float(rise.std(correction=0)) for name, rise in rises.items()}
        means = {name: float(rise.mean()) for name, rise in rises.items()}
        return bars(means, label="relative rise of entropy", spread=spread, reference=0.0, **options)


def efficient_randomization(
    model: nn.Module,
    x: Tensor,
    target: Tensor,
    explainers: Explainer | list[Explainer] | Mapping[str, Explainer],
    *,
    seeds: int = 5,
    init: str = "own",
    bins: int = 100,
    seed: int = 0,
) -> EfficientRandomization:
    """Rise of the entropy of maps from the trained model to one without any trained layer.

    It asks no pair of maps to be alike, so that nothing depends on a similarity, its window or its scale; and it needs
    two weight sets instead of one for each layer. Noise hardly rises: it is as disordered before.

    Parameters
        model, x, target, explainers, seeds, init, seed : as `parameter_randomization`.
        bins : of the histogram.
    Returns
        EfficientRandomization.
    Raises
        OptionError, ShapeError, ModelError: as `maps_of`.
    Cost
        1 + S weight sets.
    Source
        Hedström, Weber, Lapuschkin, Höhne (2023), section 4.2, eq. 7.
    Examples
        >>> from xaiteach import models
        >>> net, x = models.build("flat_head", 0), torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        >>> found = efficient_randomization(net, x, torch.tensor([0, 1]), ["saliency"], seeds=2)
        >>> found.rise("saliency").shape
        torch.Size([2, 2])
    """
    at_least(seeds, 1, "seeds", "efficient_randomization")
    layers = layers_of(model, x)
    randomizer = Randomizer(model, layers, init=init)
    first = next(iter(layers))

    def entropies(state: State, explainer: Explainer) -> Tensor:
        with randomizer.at(state) as net:
            maps = maps_of(explainer, net, x, target, generator=torch.Generator().manual_seed(seed))
        return discrete_entropy(maps, bins)

    trained, random = {}, {}
    for name, explainer in named_explainers(explainers).items():
        trained[name] = entropies(State(), explainer)
        random[name] = torch.stack([entropies(State("cascading", first, s), explainer) for s in range(seeds)])
    return EfficientRandomization(trained, random)
