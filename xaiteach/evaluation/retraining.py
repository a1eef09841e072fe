"""Remove and retrain: whether what an explanation points at is what a network would miss.

Positions are replaced in train and test samples alike and networks are trained anew on what is left, so that no network
meets an input that is unlike its training data. ROAR replaces the positions that a map ranks highest: the better the
map, the lower the accuracy. KAR keeps those and replaces the rest: the better the map, the higher.

What to read it beside: a random ranking and an edge detector; and the leak. Which positions were replaced depends on
the class by way of the map, and the replaced ones, all of one value, can be seen. A network that is shown nothing else
(`mask_leak`) does far better than chance, so accuracy after replacement is not what the remaining positions are worth,
and maps that leave smooth, tell-tale holes, or none, are favoured or punished for it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from xaiteach import data
from xaiteach.errors import OptionError, ShapeError, unknown
from xaiteach.evaluation.base import Explainers, Result, beside_controls, logits_of, looked_up, maps_of
from xaiteach.evaluation.parallel_training import Builder, Recipe, train_many, train_one
from xaiteach.evaluation.rankings import degraded, over_channels, ranking, replaced
from xaiteach.guards import check_input, describe
from xaiteach.models.nets import initialised

if TYPE_CHECKING:
    from xaiteach.plots.figure import ReadableFigure

__all__ = ["FRACTIONS", "Retraining", "digits_net", "kar", "mask_leak", "retrain", "roar"]

FRACTIONS = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Fractions of the positions; seed 001 prints them with a sign for per cent, "0.1 %", and means a tenth."""

KINDS = ("roar", "kar", "mask")
REPLACEMENTS = ("channel", "position")
TARGETS = ("predicted", "label")

Labelled = tuple[Tensor, Tensor]
"""Samples (n, ...) and their classes (n,)."""


def digits_net(generator: torch.Generator) -> nn.Module:
    """Untrained network for 8 x 8 digits: two convolutions of 8 and 16 maps, one pool, one dense layer; 3,818 weights.

    Ten epochs on scikit-learn's digits bring it to .98.
    """
    return initialised(
        lambda: nn.Sequential(
            OrderedDict(
                conv1=nn.Conv2d(1, 8, 3, padding=1),
                relu1=nn.ReLU(),
                pool1=nn.MaxPool2d(2),
                conv2=nn.Conv2d(8, 16, 3, padding=1),
                relu2=nn.ReLU(),
                flatten=nn.Flatten(),
                classifier=nn.Linear(256, 10),
            )
        ),
        generator,
    )


@dataclass(frozen=True, eq=False, repr=False)
class Retraining(Result):
    """Accuracy of networks trained anew, for every explainer, fraction and seed.

    Parameters
        kind : "roar", "kar" or "mask".
        accuracy : explainer -> Tensor (F, S), float64. Test accuracy after training on what the explainer left.
        whole : Tensor (S,). The same seeds on samples in which nothing was replaced.
        fractions : as asked for. F of them.
        majority : float. Share of the most frequent class of the test samples: what needs no input at all.
        base_accuracy : float. Test accuracy of the model that was explained.
    """

    kind: str
    accuracy: Mapping[str, Tensor]
    whole: Tensor
    fractions: tuple[float, ...]
    majority: float
    base_accuracy: float

    @property
    def title(self) -> str:  # type: ignore[override]
        """What the numbers are, and of which networks."""
        what = {
            "roar": "ROAR: the highest-ranked fraction replaced, then trained anew; lower is better",
            "kar": "KAR: only the highest-ranked fraction kept, then trained anew; higher is better",
            "mask": "Mask leak: trained on nothing but which positions ROAR would replace; above chance is leaked",
        }[self.kind]
        return (
            f"{what}. Accuracy in %, mean (SD) over {len(self.whole)} seeds; nothing replaced "
            f"{_percent(self.whole)}, most frequent class {100 * self.majority:.1f}"
        )

    def curve(self, explainer: str) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation over seeds at each fraction, shape (F,) each."""
        found = looked_up(self.accuracy, explainer)
        return found.mean(1), found.std(1, correction=0)

    def beyond(self, explainer: str, control: str = "random_map") -> Tensor:
        """By how much the explainer beats a control, the mean over fractions, shape (S,), as a fraction.

        Seed for seed, with the same initial weights and batches. Above 0 is better for ROAR and KAR; for the mask it is
        what leaks beyond what any mask gives away.
        """
        gain = (looked_up(self.accuracy, explainer) - looked_up(self.accuracy, control)).mean(0)
        return -gain if self.kind == "roar" else gain

    @property
    def columns(self) -> tuple[str, ...]:
        """Explainer, one column for each fraction, the advantage over a random ranking."""
        verb = "kept" if self.kind == "kar" else "replaced"
        return ("explainer", *(f"{100 * f:g} % {verb}" for f in self.fractions), "beyond random")

    def rows(self) -> list[tuple[str, ...]]:
        """One row for each explainer and control."""
        found: list[tuple[str, ...]] = []
        for name, accuracy in self.accuracy.items():
            beyond = self.beyond(name)
            gain = f"{100 * beyond.mean():+.1f} ({100 * beyond.std(correction=0):.1f})"
            found.append((name, *(_percent(row) for row in accuracy), gain))
        return found

    def plot(self, **options: Any) -> ReadableFigure:
        """Accuracy over fractions, each with a band of one SD over seeds; dashed what needs no explanation."""
        from xaiteach.plots import Series, curves

        series = {}
        for name in self.accuracy:
            mean, sd = self.curve(name)
            series[name] = Series((100 * mean).tolist(), (100 * (mean - sd)).tolist(), (100 * (mean + sd)).tolist())
        ends = {"nothing replaced": float(self.whole.mean()), "most frequent class": self.majority}
        for name, value in ends.items():
            series[name] = Series([100 * value] * len(self.fractions), dashed=True)
        verb = "kept" if self.kind == "kar" else "replaced"
        options.setdefault("title", {"mask": "networks that see the mask alone"}.get(self.kind, self.kind.upper()))
        points = [100 * f for f in self.fractions]
        return curves(series, points, x_label=f"positions {verb}, %", y_label="test accuracy, %", **options)


def _percent(values: Tensor) -> str:
    return f"{100 * values.mean():.1f} ({100 * values.std(correction=0):.1f})"


def retrain(
    explainers: Explainers,
    kind: str = "roar",
    *,
    build: Builder = digits_net,
    train: Labelled | None = None,
    test: Labelled | None = None,
    model: Callable[[Tensor], Any] | None = None,
    fractions: Sequence[float] = FRACTIONS,
    seeds: Sequence[int] = range(5),
    recipe: Recipe | None = None,
    absolute: bool = False,
    target: str = "predicted",
    replacement: str = "channel",
    at_once: int = 60,
    seed: int = 0,
    progress: Callable[[int, int], object] | None = None,
) -> Retraining:
    """Accuracy of networks trained anew on what explanations leave of the samples, beside two controls.

    Parameters
        explainers : see `maps_of`. Noise and the edge detector stand beside them.
        kind : "roar": the highest-ranked fraction is replaced. "kar": all but it. "mask": no sample is left, only which
            positions "roar" would replace (1 there, 0 elsewhere).
        build : from a torch.Generator to an untrained network, such as `digits_net` (default). See `train_many`.
        train, test : (x, y), Tensor (n, ...) and (n,) long. Default: `data.digits`.
        model : the trained model that is explained, or None: `build` trained with `recipe` from `seed`.
        fractions : floats in (0, 1]. Default .1, .3, .5, .7, .9.
        seeds : int, several. Draws of initial weights and batches. Default five.
        recipe : parallel_training.Recipe. Default: ten epochs, batches of 64, rate .1, momentum .9.
        absolute : bool. Whether maps are ranked by size, without their sign, as seed 001 ranks integrated gradients.
            Default False: what speaks against the class comes last.
        target : "predicted" (default): maps explain the class that the model predicts. "label": the true one, of test
            samples too, which leaks it into the mask.
        replacement : "channel" (default): the train samples' mean of each channel, as the paper. "position": their mean
            at each position.
        at_once : int >= 1. Networks trained at a time.
        seed : int. Draws of explainers and of the order of equal values, and the model where it is trained here.
        progress : called with (networks done, networks in all), or None.
    Returns
        Retraining.
    Raises
        OptionError: a kind, a fraction, a target or a replacement that is none.
        ShapeError, ModelError: as `maps_of` and `train_many`.
        MissingExtraError: scikit-learn is not there, and no data are given.
    Cost
        (explainers + 2) fractions seeds trainings, many at once, and each explainer's maps of all samples.
    Source
        Hooker, Erhan, Kindermans, Kim (2019), section 3, and seed 001, chapter 5. Published there, on ImageNet:
        gradients, integrated gradients and guided backprop are no better than random; SmoothGrad-squared and VarGrad
        are. Differs from it in: stated, drawn ties.
    Examples
        >>> from xaiteach.evaluation.parallel_training import Recipe
        >>> found = retrain("input_x_gradient", fractions=[0.5], seeds=[0], recipe=Recipe(epochs=1))
        >>> found.accuracy["input_x_gradient"].shape, list(found.accuracy)
        (torch.Size([1, 1]), ['input_x_gradient', 'edge_detector', 'random_map'])
    """
    if kind not in KINDS:
        raise unknown("kind", kind, KINDS)
    for name, given, known in (("target", target, TARGETS), ("replacement", replacement, REPLACEMENTS)):
        if given not in known:
            raise unknown(name, given, known)
    recipe = recipe or Recipe()
    (x, y), (x_test, y_test) = _data(train, test, kind)
    model = train_one(build, x, y, recipe, seed) if model is None else model
    base = logits_of(model, x, kind).argmax(1), logits_of(model, x_test, kind).argmax(1)
    classes = base if target == "predicted" else (y, y_test)
    named = beside_controls(explainers, x)
    orders = {
        name: _orders(explainer, model, ((x, classes[0]), (x_test, classes[1])), absolute, seed)
        for name, explainer in named.items()
    }
    fill = _fill(x, replacement)
    jobs: list[tuple[str, float] | None] = [None, *((name, f) for name in named for f in fractions)]

    def made(job: tuple[str, float] | None) -> tuple[Tensor, Tensor]:
        """Train and test samples of one data set."""
        if job is None:
            return x, x_test
        own, of_test = (replaced(order, job[1], "kar" if kind == "kar" else "roar") for order in orders[job[0]])
        if kind == "mask":
            return _as_input(own, x), _as_input(of_test, x_test)
        return degraded(x, own, fill), degraded(x_test, of_test, fill)

    accuracy = _trained(jobs, made, build, y, y_test, recipe, seeds, at_once, progress)
    by_name = {name: torch.stack([accuracy[name, f] for f in fractions]) for name in named}
    majority = float(y_test.bincount().max()) / len(y_test)
    right = float((base[1] == y_test).double().mean())
    return Retraining(kind, by_name, accuracy[None], tuple(fractions), majority, right)


def roar(explainers: Explainers, **options: Any) -> Retraining:
    """Accuracy of networks trained anew after the positions that explanations rank highest were replaced.

    It asks whether the positions are needed: a good ranking takes away what cannot be had elsewhere. Redundant evidence
    (a stroke with two sides) survives, and makes a good map look bad.

    Parameters
        explainers, options : as `retrain`.
    Returns
        Retraining.
    Raises
        OptionError, ShapeError, ModelError, MissingExtraError: as `retrain`.
    Cost
        As `retrain`.
    Source
        Hooker, Erhan, Kindermans, Kim (2019), section 3: remove and retrain.
    """
    return retrain(explainers, "roar", **options)


def kar(explainers: Explainers, **options: Any) -> Retraining:
    """Accuracy of networks trained anew on nothing but the positions that explanations rank highest.

    It asks whether the positions suffice. The authors find it less telling than `roar`: a little is enough to classify
    by, whoever chose it.

    Parameters
        explainers, options : as `retrain`; a fraction is what is kept.
    Returns
        Retraining.
    Raises
        OptionError, ShapeError, ModelError, MissingExtraError: as `retrain`.
    Cost
        As `retrain`.
    Source
        Hooker, Erhan, Kindermans, Kim (2019): keep and retrain.
    """
    return retrain(explainers, "kar", **options)


def mask_leak(explainers: Explainers, **options: Any) -> Retraining:
    """Accuracy of networks that see nothing but which positions ROAR would replace: 1 there, 0 elsewhere.

    No value of the sample is left. Whatever accuracy there is above the most frequent class comes from the shape of the
    mask, which replacement by a mean leaks into every sample; a random ranking leaks nothing.

    Parameters
        explainers, options : as `retrain`; the replacement does not matter.
    Returns
        Retraining.
    Raises
        OptionError, ShapeError, ModelError, MissingExtraError: as `retrain`.
    Cost
        As `retrain`.
    Source
        Rong, Leemann, Borisov, Kasneci, Kasneci (2022): class information leaks through the mask.
    """
    return retrain(explainers, "mask", **options)


def _trained(
    jobs: Sequence[Any], made: Callable[[Any], tuple[Tensor, Tensor]], build: Builder, y: Tensor, y_test: Tensor,
    recipe: Recipe, seeds: Sequence[int], at_once: int, progress: Callable[[int, int], object] | None,
) -> dict[Any, Tensor]:  # fmt: skip
    """Test accuracies (S,) of each job, with no more data sets in memory than are trained on at once."""
    step = max(1, at_once // max(1, len(seeds)))
    found: dict[Any, Tensor] = {}
    for at in range(0, len(jobs), step):
        group = jobs[at : at + step]
        own, of_test = (torch.stack(column) for column in zip(*(made(job) for job in group), strict=True))
        logits = train_many(build, own, y, of_test, recipe, seeds=seeds, at_once=at_once)  # (D, S, m, classes)
        hits = (logits.argmax(3) == y_test).double().mean(2).cpu()
        found |= dict(zip(group, hits, strict=True))
        if progress:
            progress(len(found) * len(seeds), len(jobs) * len(seeds))
    return found


def _orders(explainer: Any, model: Any, parts: Sequence[Labelled], absolute: bool, seed: int) -> list[Tensor]:
    """Rankings of the train and of the test samples."""
    draws, ties = (torch.Generator().manual_seed(seed + more) for more in (0, 1))
    found = []
    for x, classes in parts:
        maps = maps_of(explainer, model, x, classes, generator=draws)
        found.append(ranking(maps.abs() if absolute else maps, generator=ties))
    return found


def _fill(x: Tensor, replacement: str) -> Tensor:
    axes = [0] if replacement == "position" or x.ndim == 2 else [0, *range(2, x.ndim)]
    return x.mean(axes, keepdim=True)


def _as_input(where: Tensor, x: Tensor) -> Tensor:
    return over_channels(where, x).to(x).expand(x.shape).contiguous()


def _data(train: Labelled | None, test: Labelled | None, who: str) -> tuple[Labelled, Labelled]:
    if (train is None) != (test is None):
        raise OptionError(
            f"{who}: `train` and `test` must come together; got only one of them. Try train=(x, y), test=(x_test, "
            "y_test)."
        )
    if train is None or test is None:
        return data.digits("train").tensors(), data.digits("test").tensors()
    (x, y), (x_test, y_test) = train, test
    x, x_test = check_input(x, who), check_input(x_test, who)
    if x.shape[1:] != x_test.shape[1:] or len(x) != len(y) or len(x_test) != len(y_test):
        raise ShapeError(
            f"{who}: `train` and `test` must be samples of one shape with a class each; got {describe(x)} with "
            f"{len(y)} classes and {describe(x_test)} with {len(y_test)}. Try (x, y) tensors of one data set."
        )
    return (x, y), (x_test, y_test)
