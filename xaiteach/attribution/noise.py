"""Noise added to the input, and a base method's values over the draws: their mean, mean square or variance.

One budget of draws serves noise and path together: with integrated gradients as the base, every draw has its own noise
and its own place on the path, where libraries multiply the two numbers of samples.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from xaiteach.attribution import registry
from xaiteach.attribution.layers import Run
from xaiteach.attribution.paths import as_baseline
from xaiteach.attribution.scores import input_gradient
from xaiteach.attribution.work import Rows, Work, at_least, drawn
from xaiteach.errors import OptionError, unknown

__all__ = ["choose_base", "smoothgrad", "smoothgrad_squared", "vargrad"]

Model = Callable[[Tensor], Any]
_PATH = "integrated_gradients"


def choose_base(model: Model, run: Run, options: Mapping[str, Any], who: str) -> dict[str, Any]:
    """Options with those of the base filled in.

    Raises
        OptionError: no such base, one that splits its own work, or an option that it does not have.
    """
    base, given = options["base"], dict(options["base_options"] or {})
    if base == _PATH:
        for option in given:
            if option not in ("baseline", "output"):
                raise unknown(f"option of {base} as a base", option, ["baseline", "output"])
        return {**options, "base_options": {"baseline": None, "output": "logit", **given}}
    entry = registry.entry(base)
    call = registry.resolve(entry.target, base)
    if {"work", "generator"} & set(inspect.signature(call).parameters):
        known = sorted([*_deterministic(), _PATH])
        raise OptionError(f"{who}: `base` must be one run per row; got {base!r}. Try one of {', '.join(known)}.")
    for option in given:
        if option not in entry.options:
            raise unknown(f"option of {base}", option, entry.options)
    filled: dict[str, Any] = {**entry.options, **given}
    if entry.prepare is not None:
        filled = registry.resolve(entry.prepare, base)(model, run, filled, base)
    return {**options, "base_options": filled}


def _deterministic() -> list[str]:
    return [name for name, entry in registry.REGISTRY.items() if entry.family in ("gradients", "cam", "lrp")]


def smoothgrad(
    model: Model,
    x: Tensor,
    target: Tensor,
    *,
    base: str = "saliency",
    sigma: float = 0.15,
    n_samples: int = 50,
    base_options: Mapping[str, Any] | None = None,
    generator: torch.Generator | None = None,
    work: Work,
) -> Tensor:
    """Mean of a base method's values over noisy copies of the input: (1/m) sum_j M(x + e_j).

    It answers what the base says on average around the input, where single gradients jump from place to place.

    Parameters
        model : callable from (n, ...) to logits (n, classes), in evaluation mode.
        x : Tensor, shape (n, ...). Samples.
        target : Tensor, shape (n,), long. Class index, 0-based.
        base : name of a method that runs once per row, or "integrated_gradients" (one noise and one place on the path
            per draw, not a product of the two). Default "saliency".
        sigma : float >= 0. Standard deviation of the noise as a fraction of each sample's range (max - min). Default
            0.15: the paper finds 0.1 to 0.2 best. Captum's `stdevs` is in input units.
        n_samples : int >= 1. Draws. Default 50, after which the paper sees little change.
        base_options : mapping or None. The base's own options.
    Returns
        Tensor of the base's shape, in its units.
    Raises
        OptionError: no such base, negative sigma, no draws.
    Cost
        n_samples times the base's.
    Source
        Smilkov et al. (2017), eq. in section 3.
    Examples
        >>> from xaiteach import explain
        >>> net = torch.nn.Linear(3, 2)  # of a linear model every gradient is the same
        >>> a = explain(net, torch.ones(1, 3), 1, "smoothgrad", n_samples=4, generator=torch.Generator())
        >>> torch.allclose(a.values[0], net.weight[1])
        True
    """
    mean, _ = _moments(model, x, target, base, sigma, n_samples, base_options, generator, work, "smoothgrad")
    return mean


def smoothgrad_squared(
    model: Model,
    x: Tensor,
    target: Tensor,
    *,
    base: str = "saliency",
    sigma: float = 0.15,
    n_samples: int = 50,
    base_options: Mapping[str, Any] | None = None,
    generator: torch.Generator | None = None,
    work: Work,
) -> Tensor:
    """Mean of the squares of a base method's values over noisy copies: (1/m) sum_j M(x + e_j)^2.

    Squaring before the mean keeps values whose sign changes from draw to draw; the sign itself is lost.

    Parameters
        model, x, target, base, sigma, n_samples, base_options : as `smoothgrad`.
    Returns
        Tensor of the base's shape, in its units squared, never negative.
    Raises
        OptionError: no such base, negative sigma, no draws.
    Cost
        n_samples times the base's.
    Source
        Hooker et al. (2019), section 4.3, where it is what ranks best under ROAR.
    Examples
        >>> from xaiteach import explain
        >>> net = torch.nn.Linear(3, 2)
        >>> a = explain(net, torch.ones(1, 3), 1, "smoothgrad_squared", n_samples=4, generator=torch.Generator())
        >>> torch.allclose(a.values[0], net.weight[1] ** 2)
        True
    """
    mean, spread = _moments(
        model, x, target, base, sigma, n_samples, base_options, generator, work, "smoothgrad_squared"
    )
    return spread + mean**2


def vargrad(
    model: Model,
    x: Tensor,
    target: Tensor,
    *,
    base: str = "saliency",
    sigma: float = 0.15,
    n_samples: int = 50,
    base_options: Mapping[str, Any] | None = None,
    generator: torch.Generator | None = None,
    work: Work,
) -> Tensor:
    """Variance of a base method's values over noisy copies, with divisor m.

    Large where the base changes its mind under noise. It does not depend on the gradient itself: of a linear model it
    is 0 everywhere. Computed around the first draw, which does not cancel.

    Parameters
        model, x, target, base, sigma, n_samples, base_options : as `smoothgrad`.
    Returns
        Tensor of the base's shape, in its units squared, never negative.
    Raises
        OptionError: no such base, negative sigma, no draws.
    Cost
        n_samples times the base's.
    Source
        Adebayo et al. (2018), appendix; Seo et al. (2018).
    Examples
        >>> from xaiteach import explain
        >>> a = explain(torch.nn.Linear(3, 2), torch.ones(1, 3), 1, "vargrad", n_samples=4, generator=torch.Generator())
        >>> bool((a.values == 0).all())
        True
    """
    _, spread = _moments(model, x, target, base, sigma, n_samples, base_options, generator, work, "vargrad")
    return spread


def _moments(
    model: Model,
    x: Tensor,
    target: Tensor,
    base: str,
    sigma: float,
    n_samples: int,
    base_options: Mapping[str, Any] | None,
    generator: torch.Generator | None,
    work: Work,
    who: str,
) -> tuple[Tensor, Tensor]:
    """Mean and variance of the base over the draws; sums are of differences to each sample's first draw."""
    at_least(n_samples, 1, "n_samples", who)
    if not sigma >= 0:
        raise OptionError(f"{who}: `sigma` must be 0 or above; got {sigma!r}. Try sigma=0.15.")
    flat = x.flatten(1)
    scale = (sigma * (flat.max(1).values - flat.min(1).values)).reshape(-1, *[1] * (x.ndim - 1))
    first: Tensor | None = None
    total = squares = torch.zeros(())
    for rows in work.copies(x, target, n_samples, "draw"):
        noisy = rows.x + scale[rows.sample] * drawn(rows, generator)
        found = _base_values(model, x, noisy, rows, base, base_options or {}, generator)
        if first is None:
            first = found.new_zeros(len(x), *found.shape[1:])
            total, squares = torch.zeros_like(first), torch.zeros_like(first)
        new = rows.number == 0
        first[rows.sample[new]] = found[new]
        away = found - first[rows.sample]
        total.index_add_(0, rows.sample, away)
        squares.index_add_(0, rows.sample, away**2)
    if first is None:  # no sample: explain refuses that before
        raise OptionError(f"{who}: a batch must hold at least one sample; got none. Try x[:1].")
    away = total / n_samples
    return first + away, (squares / n_samples - away**2).clamp(min=0)


def _base_values(
    model: Model,
    x: Tensor,
    noisy: Tensor,
    rows: Rows,
    base: str,
    options: Mapping[str, Any],
    generator: torch.Generator | None,
) -> Tensor:
    if base != _PATH:
        found = registry.resolve(registry.entry(base).target, base)(model, noisy, rows.target, **options)
        values: Tensor = found[0] if isinstance(found, tuple) else found
        return values
    away = noisy - as_baseline(options["baseline"], x, base)[rows.sample]
    alpha = drawn(rows, generator, uniform=True, each=False)
    return away * input_gradient(model, noisy - (1 - alpha) * away, rows.target, options["output"], base)
