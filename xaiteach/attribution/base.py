"""The one verb, `explain`, and what it returns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from xaiteach.attribution.binding import Method, bind, seed_globals
from xaiteach.attribution.isolation import leaves_no_trace
from xaiteach.attribution.layers import observe
from xaiteach.attribution.registry import REGISTRY
from xaiteach.attribution.work import Work, rows_within
from xaiteach.errors import OptionError, ShapeError
from xaiteach.guards import check_finite, check_input, check_model, check_target, describe
from xaiteach.plots import alt_text, compare, heat_map
from xaiteach.runtime import keep_freed_memory

if TYPE_CHECKING:
    from xaiteach.plots.figure import ReadableFigure

__all__ = ["Attribution", "explain"]

_SHOWN = 8
_RESIZE = {1: "linear", 2: "bilinear", 3: "trilinear"}


@dataclass(frozen=True, eq=False, repr=False)
class Attribution:
    """What one method says about n samples.

    Parameters
        values : Tensor, the method's own output, signed, on x's device and of x's dtype; (n, 1, *coarse) for a CAM.
        map : Tensor, shape (n, *spatial of x). `values` summed over channels, resized where they are coarser.
        method : name of the method.
        options : every option it ran with, defaults included; a layer is there by name.
        target : Tensor, shape (n,), long. The class explained for each sample.
        output : "logit" or "probability"; "unstated" for a method that is not ours and was not told.
        residual : Tensor, shape (n,), or None. What is missing to completeness, for methods that promise it.
        seed : int or None. Seed of the generator that a random method drew from.
    """

    values: Tensor
    map: Tensor
    method: str
    options: dict[str, Any]
    target: Tensor
    output: str
    residual: Tensor | None = None
    seed: int | None = None

    def __len__(self) -> int:
        return len(self.map)

    @property
    def units(self) -> str:
        """Units of the values, as far as the method states them."""
        entry = REGISTRY.get(self.method)
        if entry is None:
            return "attribution"
        if self.options.get("start") == "logit":  # relevance that starts as the logit, not as 1
            return "logits"
        base = REGISTRY.get(str(self.options.get("base")))
        units = entry.units if base is None else entry.units.replace("units of the base", base.units)
        return units.replace("score", "logits" if self.output == "logit" else self.output)

    def __repr__(self) -> str:
        layer = f", layer {self.options['layer']}" if self.options.get("layer") else ""
        classes = sorted(set(self.target.tolist()))
        shown = ", ".join(map(str, classes[:5])) + (", ..." if len(classes) > 5 else "")
        kind = f"{len(self)} samples, classes" if len(self) > 1 else "class"
        reading = f"map of shape {tuple(self.map.shape[1:])}"
        if self.map.ndim in (2, 3):
            reading = alt_text(self.map[0], name="first" if len(self) > 1 else "").removesuffix(".")
        score = f" of the {self.output}" if self.output != "unstated" else ""
        return f"Attribution({self.method}{score}{layer}, {kind} {shown}; {reading})"

    def plot(self, image: Any = None, index: int | None = None, **options: Any) -> ReadableFigure:
        """Figure of one sample's map (n is 1, or `index` is given), or of the first 8 on one scale.

        Parameters
            image : Tensor, x itself, shape (n, ...), or None. Drawn beside the map; for one sample only.
            index : int or None. Which sample.
            options : passed on to plots.heat_map or plots.compare: mask, clip, palette, signed, title, ...
        Raises
            ShapeError: maps with more than two axes, such as clips: draw their frames with plots.compare. Or an image
                that is no batch of n.
            OptionError: no such sample, or an image for several.
        """
        if self.map.ndim not in (2, 3):
            raise ShapeError(
                f"plot: a map must have one or two axes; these are {tuple(self.map.shape[1:])}. "
                "Try plots.compare(list(a.map[0]), titles) for the frames of one clip."
            )
        options.setdefault("units", self.units)
        self._check_choice(image, index)
        if index is None and len(self) > 1:
            titles = options.pop("titles", [f"{i}: class {c}" for i, c in enumerate(self.target[:_SHOWN].tolist())])
            return compare(list(self.map[:_SHOWN]), titles, **options)
        chosen = index or 0
        options.setdefault("title", f"{self.method}, class {int(self.target[chosen])}")
        return heat_map(None if image is None else image[chosen], self.map[chosen], **options)

    def _check_choice(self, image: Any, index: int | None) -> None:
        n = len(self)
        if index is not None and not 0 <= index < n:
            raise OptionError(f"plot: `index` must be a sample, from 0 to {n - 1}; got {index}. Try index=0.")
        if image is None:
            return
        if len(image) != n:
            raise ShapeError(
                f"plot: `image` must be the batch explained, first axis {n}; got {describe(image)}. "
                "Try x itself, or image[None] for a batch of one."
            )
        if index is None and n > 1:
            raise OptionError(f"plot: `image` can be drawn beside one map; these are {n}. Try index=0.")

    def _repr_mimebundle_(self, **_: Any) -> Any:
        if self.map.ndim not in (2, 3):
            return {"text/plain": repr(self)}
        data, metadata = self.plot()._repr_mimebundle_()
        return {**data, "text/plain": repr(self)}, metadata


def explain(
    model: Callable[[Tensor], Any],
    x: Tensor,
    target: int | Tensor | Sequence[int],
    method: str | Any = "grad_cam",
    *,
    generator: torch.Generator | None = None,
    budget_mib: float | None = None,
    progress: bool | None = None,
    **options: Any,
) -> Attribution:
    """Attribution of each sample's class score to its input, by the method named.

    The model is explained in evaluation mode, whatever mode it is in, and nothing is left behind: training mode,
    hooks, gradients, buffers, parameters and the global random state are as before, also after an error.

    Parameters
        model : nn.Module, or for gradient methods any callable, from (n, ...) to logits (n, classes).
        x : Tensor, shape (n, ...), floating point. The first axis is the batch; from three axes on, the second
            is the channel.
        target : int, or (n,) long. Class index, 0-based.
        method : name (see `methods()`), Captum attribution object made for `model`, or callable
            (model, x, target, **options) that returns a tensor (n, channels or 1, ...) or a map (n, *spatial).
        generator : torch.Generator or None. What a random method draws from; of a foreign one the global state is
            seeded from it. None: the global state is used, and put back.
        budget_mib : float > 0 or None. Memory in MiB, estimated from one sample, that bounds how many samples run at
            once. Default 128, on a GPU 1024. In float64 the split changes values by 1e-10 at most; in float32 by
            rounding, 1e-6 relative, and more where a ReLU's gate flips.
        progress : bool or None. Whether to show a bar. None: when it takes over 2 s.
        options : the method's own; Captum's go to `attribute`.
    Returns
        Attribution; .map has shape (n, *spatial of x).
    Raises
        ShapeError: x is no finite floating-point batch, or a layer cannot take it.
        TargetError: a target is no class of this model, or there is not one per sample.
        ModelError: the model's output is not (n, classes), finite and differentiable, or a layer is missing.
        OptionError: unknown method, option, layer or output.
        MissingExtraError: the method is what this unit asks you to write.
    Cost
        The method's, and one forward pass of one sample.
    Examples
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))
        >>> a = explain(net, torch.ones(3, 1, 4), target=[0, 1, 1], method="saliency")
        >>> a.map.shape, bool((a.map[1] == net[1].weight[1]).all())
        (torch.Size([3, 4]), True)
    """
    keep_freed_memory()
    bound = bind(method, model, options)
    x = check_input(x, bound.name)
    check_model(model, bound.name, x)
    with leaves_no_trace(model, x.device, foreign=bound.foreign):
        seen = observe(model, x, bound.name, samples=1, gradient=bound.differentiates, graph=bound.needs != "scores")
        target = check_target(target, len(x), seen.logits.shape[1], bound.name, x.device)
        settings = bound.prepared(model, seen)
        rows = rows_within(seen.saved_bytes, x, budget_mib, ruled=bound.needs == "operations")
        work = Work(rows, progress)
        x = x.contiguous(memory_format=seen.layout)
        del seen
        passed = {**settings, "generator": generator} if bound.takes_generator else settings
        if bound.takes_work:  # it splits its rows itself; every sample at once
            passed, work = {**passed, "work": work}, Work(len(x), progress=False)
        if generator is not None and bound.foreign and not bound.takes_generator:
            seed_globals(generator, x.device)
        parts = [_one_batch(bound, model, x[part], target[part], passed) for part in work.slices(len(x))]
        values = torch.cat([values for values, _ in parts])
        found = [residual for _, residual in parts if residual is not None]
        drawn = generator is not None and (bound.foreign or bound.takes_generator)
        return Attribution(
            values=values,
            map=_to_map(values, x, bound.name),
            method=bound.name,
            options=settings,
            target=target,
            output=str(settings.get("output", "unstated" if bound.foreign else "logit")),
            residual=torch.cat(found) if found else None,
            seed=generator.initial_seed() if drawn and generator is not None else None,
        )


def _one_batch(
    bound: Method, model: Callable[[Tensor], Any], x: Tensor, target: Tensor, options: dict[str, Any]
) -> tuple[Tensor, Tensor | None]:
    """Values (n, channels, ...) and residual (n,) of some samples, given copies of their own."""
    found = bound.call(model, x.detach().clone(), target.clone(), **options)
    residual = None
    if isinstance(found, tuple) and len(found) == 2:
        found, residual = found  # Captum's convergence delta, or a method that promises completeness
        residual = residual.detach().to(x).reshape(len(x)).clone()
    return _as_values(found, x, bound.name), residual


def _as_values(found: object, x: Tensor, who: str) -> Tensor:
    """What a method returned, as a finite tensor of x's rank, dtype and device, first axis n."""
    if isinstance(found, np.ndarray):
        found = torch.as_tensor(found)
    spatial = tuple(x.shape[2:])
    wanted = f"{who}: a method must return a tensor that fits x's shape {tuple(x.shape)}, coarser or with 1 channel"
    if not isinstance(found, Tensor):
        raise ShapeError(f"{wanted}; it returned {describe(found)}. Try returning the values alone.")
    values = found.detach().to(x)
    if x.ndim > 2 and values.shape == (len(x), *spatial):
        values = values.unsqueeze(1)
    if values.ndim == x.ndim and values.shape[0] == 1:
        values = values.expand(len(x), *values.shape[1:])
    if values.ndim != x.ndim or values.shape[0] != len(x) or values.numel() == 0:
        raise ShapeError(f"{wanted}; it returned {describe(found)}. Try keeping the batch as the first axis.")
    check_finite(values, who, "values", "another layer or output")
    return values.clone(memory_format=torch.contiguous_format)


def _to_map(values: Tensor, x: Tensor, who: str) -> Tensor:
    """Channels summed, resized to x's spatial size; where x is (n, features) there is no channel to sum."""
    if x.ndim == 2:
        return values.expand(x.shape).clone()
    summed, spatial = values.sum(1), tuple(x.shape[2:])
    if tuple(summed.shape[1:]) == spatial:
        return summed
    if len(spatial) not in _RESIZE:
        raise ShapeError(
            f"{who}: a map can be resized to 1, 2 or 3 spatial axes; `x` has {len(spatial)}. Try a layer of x's size."
        )
    resized: Tensor = functional.interpolate(
        summed[:, None], size=spatial, mode=_RESIZE[len(spatial)], align_corners=False
    )
    return resized[:, 0]
