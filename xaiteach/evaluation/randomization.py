"""The sanity check: explanations of a model that has lost, layer by layer, what it learnt.

An explanation that stays the same when the weights of a layer are drawn anew does not depend on what that layer has
learnt (Adebayo et al., 2018). Read the curves, not a verdict: noise passes, a map that is nearly empty is like another
one (the floor says how much), top-down randomisation keeps the scale of activations (Binder et al., 2022), and signs,
scaling and the order of layers all move them (Hedström et al., 2023).

Symbols: n images, m classes of each, S seeds, L layers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from xaiteach.errors import OptionError, unknown
from xaiteach.evaluation.base import Explainer, Result, maps_of, named_explainers
from xaiteach.evaluation.similarity import similarity
from xaiteach.evaluation.sweep import Measure, Sweep, run_sweep
from xaiteach.evaluation.weights import MODES, Randomizer, State, layers_of, states

if TYPE_CHECKING:
    from xaiteach.plots.figure import ReadableFigure

__all__ = ["LabelRandomization", "Randomization", "label_randomization", "parameter_randomization"]


@dataclass(frozen=True, eq=False, repr=False)
class Randomization(Result):
    """How alike maps stay while layers lose their weights.

    Parameters
        sweep : every single value.
        layers : names in the order in which they are drawn anew.
        modes : "cascading", "independent".
        floors : explainer -> Tensor (measures,). Mean similarity of the trained model's maps of different images: what
            maps that have nothing to do with each other come to.
    """

    sweep: Sweep
    layers: tuple[str, ...]
    modes: tuple[str, ...]
    floors: Mapping[str, Tensor]
    title: str = "Similarity to the trained model's map after randomisation: mean (SD) over seeds, images, classes"

    def values(self, explainer: str, mode: str = "cascading", measure: Measure | None = None) -> Tensor:
        """Every single value, shape (L, S, n, m), float64, in the order in which layers are drawn anew.

        Raises
            OptionError: an explainer, mode or measure that was not computed.
        """
        place = self._place(measure)
        for kind, name, known in (("explainer", explainer, self.sweep.explainers), ("mode", mode, self.modes)):
            if name not in known:
                raise unknown(kind, name, known)
        at = {state: i for i, state in enumerate(self.sweep.states)}
        seeds = sorted({state.seed for state in self.sweep.states if state.mode == mode})
        index = torch.tensor([[at[State(mode, layer, seed)] for seed in seeds] for layer in self.layers])
        return self.sweep.values[explainer][:, place][index]

    def curve(self, explainer: str, mode: str = "cascading", measure: Measure | None = None) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation over seeds, images and classes after each layer, shape (L,) each."""
        values = self.values(explainer, mode, measure).flatten(1)
        return values.mean(1), values.std(1, correction=0)

    def floor(self, explainer: str, measure: Measure | None = None) -> float:
        """Mean similarity of maps of different images; NaN for a single image."""
        return float(self.floors[explainer][self._place(measure)])

    def _place(self, measure: Measure | None) -> int:
        wanted = self.sweep.measures[0] if measure is None else tuple(measure)
        if wanted not in self.sweep.measures:
            raise unknown("measure", wanted, map(str, self.sweep.measures))
        return self.sweep.measures.index(wanted)

    @property
    def columns(self) -> tuple[str, ...]:
        """Explainer, mode, one column for each layer, floor."""
        return ("explainer", "mode", "measure", *self.layers, "floor")

    def rows(self) -> list[tuple[str, ...]]:
        """One row for each explainer, mode and measure."""
        found = []
        for name in self.sweep.explainers:
            for mode in self.modes:
                for measure in self.sweep.measures:
                    mean, sd = self.curve(name, mode, measure)
                    cells = [f"{a:.2f} ({b:.2f})" for a, b in zip(mean.tolist(), sd.tolist(), strict=True)]
                    found.append((name, mode, " ".join(measure), *cells, f"{self.floor(name, measure):.2f}"))
        return found

    def plot(
        self, *, mode: str = "cascading", measure: Measure | None = None, explainers: Sequence[str] | None = None,
        **options: Any,
    ) -> ReadableFigure:  # fmt: skip
        """Curves of the means with a band of one SD, and the largest floor as a dashed line."""
        from xaiteach.plots import Series, curves

        names = list(explainers or self.sweep.explainers)
        series = {}
        for name in names:
            mean, sd = ([1.0, *t.tolist()] for t in self.curve(name, mode, measure))
            sd[0] = 0.0
            low, high = ([a + sign * b for a, b in zip(mean, sd, strict=True)] for sign in (-1, 1))
            series[name] = Series(mean, low, high)
        floors = [self.floor(name, measure) for name in names]
        if not all(f != f for f in floors):
            top = max(f for f in floors if f == f)
            series["different images"] = Series([top] * (len(self.layers) + 1), dashed=True)
        kind, keep = self.sweep.measures[self._place(measure)]
        label = f"{kind if kind != 'ssim' else 'SSIM'} to the trained map" + ("" if keep == "all" else f" ({keep})")
        joined = ["trained", *_short(self.layers)]
        options.setdefault("title", f"{mode} randomisation")
        where = "drawn anew, down to" if mode == "cascading" else "drawn anew"
        return curves(series, joined, x_label=where, y_label=label, **options)

    def cascade(self, image: int = 0, which: int = 0, *, x: Tensor | None = None, mode: str = "cascading",
                seed: int | None = None) -> ReadableFigure:  # fmt: skip
        """Picture of the maps, one row for each explainer, one column for each layer.

        Parameters
            image, which : number of the image, and of its class.
            x : Tensor or None. The images, to show the one beside its maps.
            seed : int or None. A draw whose maps were kept (`keep_seeds`). Default: the first of them.
        Raises
            OptionError: no maps were kept.
        """
        from xaiteach.plots import cascade

        seeds = sorted({state.seed for _, state in self.sweep.kept if state.mode == mode})
        if not seeds or (seed is not None and seed not in seeds):
            raise OptionError(
                f"cascade: `seed` must be a draw whose maps were kept, one of {seeds}; got {seed}. "
                "Try parameter_randomization(..., keep_seeds=1)."
            )
        chosen = seeds[0] if seed is None else seed
        maps = {
            name: [
                self.sweep.trained[name][image, which],
                *(self.sweep.kept[name, State(mode, layer, chosen)][image, which] for layer in self.layers),
            ]
            for name in self.sweep.explainers
        }
        shown = None if x is None else x[image]
        return cascade(
            maps, ["trained", *_short(self.layers)], image=shown, title=f"{mode} randomisation, seed {chosen}"
        )


def parameter_randomization(
    model: nn.Module,
    x: Tensor,
    target: Tensor,
    explainers: Explainer | list[Explainer] | Mapping[str, Explainer],
    *,
    layers: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
    modes: Sequence[str] = MODES,
    seeds: int = 5,
    init: str = "own",
    bottom_up: bool = False,
    measures: Sequence[Measure] = (("ssim", "all"),),
    smooth: int | None = None,
    sigma: float = 0.15,
    keep_seeds: int = 0,
    seed: int = 0,
    folder: str | Path | None = None,
    **options: Any,
) -> Randomization:
    """Similarity of maps to those of the trained model while layers are drawn anew.

    Parameters
        model : nn.Module, trained; it is copied.
        x : Tensor, shape (n, ...). Images.
        target : Tensor, shape (n,) or (n, m), long. Classes explained, the same in every state: the broken model's own
            winner would be another question.
        explainers : one, several in a list, or a mapping from names.
        layers : names to draw anew, or blocks: name -> modules that lose their weights together. None: every layer
            with weights, its batch norms with it.
        modes : "cascading" (every layer from the end down to it) and "independent" (it alone).
        seeds : int >= 1. Draws of each layer, each from a generator of its own.
        init : "own", "he" or "shuffle", see `weights.Randomizer`.
        bottom_up : bool. Cascade from the first layer up.
        measures : (similarity, what is kept) pairs: SSIM, Spearman, HOG, ...; "all", "positive", "absolute".
        smooth : int or None. Average each map over so many noisy copies of the image first (the smooth variant).
        sigma : float. Their noise, as a share of the image's range. Default .15.
        keep_seeds : int. Of so many seeds the maps are kept, for `cascade`.
        seed, folder, options : as of `sweep.run_sweep`; `paired=False` draws noise anew in every state.
    Returns
        Randomization.
    Raises
        OptionError, ShapeError, ModelError: as `sweep.run_sweep` and `weights.layers_of`.
    Cost
        (1 + L S) weight sets for one mode, up to (1 + 2 L S) for both; each explains n m rows with every explainer.
    Source
        Adebayo, Gilmer, Muelly, Goodfellow, Hardt, Kim (2018), section 3; Sixt, Granz, Landgraf (2020); the smooth
        variant is Hedström, Weber, Lapuschkin, Höhne (2023), section 4.1.
    Examples
        >>> from xaiteach import models
        >>> net, x = models.build("flat_head", 0), torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        >>> r = parameter_randomization(net, x, torch.tensor([0, 1]), ["saliency"], modes=["cascading"], seeds=2)
        >>> r.layers, r.values("saliency").shape
        (('classifier', 'features.conv1'), torch.Size([2, 2, 2, 1]))
    """
    known = layers_of(model, x)
    if layers is None:
        blocks: Mapping[str, Sequence[str]] = known
    elif isinstance(layers, Mapping):
        blocks = layers
    else:
        for name in layers:
            if name not in known:
                raise unknown("layer with weights", name, known)
        blocks = {name: known[name] for name in known if name in set(layers)}
    named = named_explainers(explainers)
    if smooth is not None:
        named = {name: _smoothed(explainer, smooth, sigma) for name, explainer in named.items()}
    chosen = states(list(blocks), modes=modes, seeds=seeds, bottom_up=bottom_up)
    found = run_sweep(
        Randomizer(model, blocks, init=init, bottom_up=bottom_up),
        x, torch.as_tensor(target), named, chosen,
        measures=measures, keep=lambda state: state.seed < keep_seeds, seed=seed, folder=folder, **options,
    )  # fmt: skip
    order = list(blocks) if bottom_up else list(blocks)[::-1]
    floors = {name: _floor(maps, found.measures) for name, maps in found.trained.items()}
    return Randomization(found, tuple(order), tuple(modes), floors)


def _short(names: Sequence[str]) -> list[str]:
    """Last parts of dotted names, where they are different."""
    last = [name.rpartition(".")[2] for name in names]
    return last if len(set(last)) == len(names) and not any(name.isdigit() for name in last) else list(names)


def _floor(maps: Tensor, measures: Sequence[Measure]) -> Tensor:
    """Mean similarity of each image's maps to the next image's, class by class, shape (measures,)."""
    if len(maps) < 2:
        return torch.full((len(measures),), float("nan"), dtype=torch.float64)
    a, b = maps.flatten(0, 1), maps.roll(1, 0).flatten(0, 1)
    return torch.stack([similarity(a, b, *measure).mean().cpu() for measure in measures])


def _smoothed(explainer: Explainer, copies: int, sigma: float) -> Callable[..., Tensor]:
    """Mean of an explainer's maps over noisy copies of the image."""
    if isinstance(copies, bool) or not isinstance(copies, int) or copies < 1:
        raise OptionError(f"randomization: `smooth` must be an integer from 1 up; got {copies!r}. Try smooth=50.")

    def smoothed(model: Any, x: Tensor, target: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        flat = x.flatten(1)
        spread = (sigma * (flat.amax(1) - flat.amin(1))).reshape(-1, *[1] * (x.ndim - 1))
        total = torch.zeros(())
        for _ in range(copies):
            noise = torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x)
            total = total + maps_of(explainer, model, x + spread * noise, target, generator=generator)
        return total / copies

    return smoothed


@dataclass(frozen=True, eq=False, repr=False)
class LabelRandomization(Result):
    """How alike the maps of two models are, one of which learnt labels without meaning.

    Parameters
        values : explainer -> Tensor, shape (measures, n), float64.
        floors : explainer -> Tensor (measures,), see `Randomization`.
        measures : what was compared.
    """

    values: Mapping[str, Tensor]
    floors: Mapping[str, Tensor]
    measures: tuple[Measure, ...]
    title: str = "Similarity of maps of a model trained on true labels to one trained on permuted labels: mean (SD)"

    @property
    def columns(self) -> tuple[str, ...]:
        """Explainer, one column for each measure, floor of the first."""
        return ("explainer", *(" ".join(measure) for measure in self.measures), "floor")

    def rows(self) -> list[tuple[str, ...]]:
        """One row for each explainer."""
        return [
            (name, *(f"{v.mean():.2f} ({v.std(correction=0):.2f})" for v in values), f"{self.floors[name][0]:.2f}")
            for name, values in self.values.items()
        ]

    def plot(self, **options: Any) -> ReadableFigure:
        """Bars of the first measure's means, with the largest floor as a line."""
        from xaiteach.plots import bars

        means = {name: float(values[0].mean()) for name, values in self.values.items()}
        spread = {name: float(values[0].std(correction=0)) for name, values in self.values.items()}
        floor = max(float(f[0]) for f in self.floors.values())
        return bars(means, label=" ".join(self.measures[0]), spread=spread, reference=floor, **options)


def label_randomization(
    model: nn.Module,
    permuted: nn.Module,
    x: Tensor,
    target: Tensor,
    explainers: Explainer | list[Explainer] | Mapping[str, Explainer],
    *,
    measures: Sequence[Measure] = (("ssim", "all"), ("spearman", "absolute")),
    seed: int = 0,
) -> LabelRandomization:
    """Similarity of a model's maps to those of the same model trained on permuted labels.

    The second model has seen the same images and learnt them by heart, without anything that ties an image to its
    label. Where an explanation shows the same for both, it shows the images.

    Parameters
        model, permuted : nn.Module. Trained on the labels, and on a permutation of them (see `models.training`).
        x : Tensor, shape (n, ...).
        target : Tensor, shape (n,), long. Classes explained, of both models.
        explainers, measures, seed : as of `parameter_randomization`.
    Raises
        ShapeError, ModelError, OptionError: as `maps_of` and `similarity`.
    Source
        Adebayo et al. (2018), section 3.2.
    Examples
        >>> from xaiteach import models
        >>> one, other = models.build("flat_head", 0), models.build("flat_head", 1)
        >>> found = label_randomization(one, other, torch.ones(2, 1, 8, 8), torch.tensor([0, 1]), ["saliency"])
        >>> found.values["saliency"].shape
        torch.Size([2, 2])
    """
    values, floors = {}, {}
    for name, explainer in named_explainers(explainers).items():
        maps = [
            maps_of(explainer, net, x, target, generator=torch.Generator().manual_seed(seed))
            for net in (model, permuted)
        ]
        compared = [similarity(maps[0], maps[1], kind, keep) for kind, keep in measures]
        values[name] = torch.stack(compared).cpu()
        floors[name] = _floor(maps[0][:, None], measures)
    return LabelRandomization(values, floors, tuple(measures))
