"""Noise added to the input, and a base method's values over the draws: their mean, mean square or variance.

Symbols: M the base method's map, e_j the noise of draw j, m the number of draws.

A mean over noise and a mean over a path are one mean: with integrated gradients as the base, every draw of `smoothgrad`
has its own noise and its own place on the path, where libraries multiply the two numbers of samples. Squares are not
so kind (the square of a mean is not the mean of squares), so there each draw gets its whole path.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from xaiteach.attribution import registry
from xaiteach.attribution.binding import bind
from xaiteach.attribution.layers import Run
from xaiteach.attribution.paths import as_baseline, as_sigma, path_term
from xaiteach.attribution.scores import OUTPUTS
from xaiteach.attribution.work import Rows, Work, at_least, normal, uniform
from xaiteach.errors import MissingExtraError, OptionError, unknown

__all__ = ["choose_base", "smoothgrad", "smoothgrad_squared", "vargrad"]

Model = Callable[[Tensor], Any]
Values = Callable[[Tensor, Rows, Tensor], Tensor]
"""(noisy rows, the rows they are made of, a number on [0, 1) for each) to the base's values, one for each row."""

_PATH = "integrated_gradients"
_SETS = ("deep_shap",)
"""Bases whose baseline is a set that serves every sample; elsewhere it is one for each sample."""


def choose_base(model: Model, run: Run, options: Mapping[str, Any], who: str) -> dict[str, Any]:
    """Options with those of the base filled in, and `output` as the base has it.

    Raises
        OptionError: no such base, one that draws or that needs scores only, or an option that the base does not have.
    """
    base, given, output = options["base"], options["base_options"], options["output"]
    _check_base(base, who)
    if not (given is None or isinstance(given, Mapping)):
        raise OptionError(f"{who}: `base_options` must be a dict of options; got {given!r}. Try {{'layer': '3'}}.")
    given = dict(given or {})
    if "output" in given:
        raise OptionError(
            f"{who}: `output` must be given to {who} itself; it came in base_options. Try output={given['output']!r}."
        )
    if _is_joint(base, who) and "n_steps" in given:
        raise OptionError(
            f"{who}: `n_samples` must count the draws of noise and path together; n_steps={given['n_steps']!r} came "
            "as well. Try n_samples alone."
        )
    takes_output = "output" in registry.entry(base).options
    if takes_output and output is not None:
        given["output"] = output
    elif output not in (None, "logit"):
        if output not in OUTPUTS:
            raise unknown("output", output, OUTPUTS)
        raise OptionError(f"{who}: `output` must be 'logit' for {base}; got {output!r}. Try output='logit'.")
    filled = bind(base, model, given).prepared(model, run)
    left_out = ("output", "n_steps") if _is_joint(base, who) else ("output",)
    chosen = {name: value for name, value in filled.items() if name not in left_out}
    return {**options, "output": filled.get("output", "logit"), "base_options": chosen}


def _check_base(base: object, who: str) -> None:
    if isinstance(base, str):
        registry.entry(base)  # raises where there is none of this name
        if _can_be_base(base):
            return
    known = ", ".join(name for name in registry.REGISTRY if _can_be_base(name))
    raise OptionError(
        f"{who}: `base` must be a method that asks the model for more than scores and draws nothing; got {base!r}. "
        f"Try one of {known}."
    )


def _can_be_base(name: str) -> bool:
    entry = registry.entry(name)
    try:
        parameters = inspect.signature(registry.resolve(entry.target, name)).parameters
    except MissingExtraError:  # which the student is to write
        return False
    return entry.needs != "scores" and "generator" not in parameters


def _is_joint(base: str, who: str) -> bool:
    return base == _PATH and who == "smoothgrad"


def smoothgrad(
    model: Model,
    x: Tensor,
    target: Tensor,
    *,
    base: str = "saliency",
    sigma: float = 0.15,
    n_samples: int = 50,
    output: str | None = None,
    base_options: Mapping[str, Any] | None = None,
    generator: torch.Generator | None = None,
    work: Work,
) -> Tensor:
    """Mean of a base method's values over noisy copies of the input: (1/m) sum_j M(x + e_j).

    It answers what the base says on average around the input, where single gradients jump from place to place. More
    noise smooths more, and asks about samples that are less like x.

    Parameters
        model : callable from (n, ...) to logits (n, classes), in evaluation mode.
        x : Tensor, shape (n, ...). Samples.
        target : Tensor, shape (n,), long. Class index, 0-based.
        base : name of a method that draws nothing and asks for more than scores. Default "saliency". With
            "integrated_gradients" a draw is one noise and one place on the path, not a path for each noise.
        sigma : float >= 0. Standard deviation of the noise as a fraction of each sample's own range (max - min), so
            that a constant sample gets none. Default 0.15: the paper finds 0.1 to 0.2 best. Captum's `stdevs` is in
            input units, and 1 unless told.
        n_samples : int >= 1. Draws m. Default 50, after which the paper sees little change; Captum takes 5.
        output : "logit", "probability" or None for the base's own default.
        base_options : mapping or None. The base's other options. A tensor of x's shape is for each sample its own.
    Returns
        Tensor of the base's shape, in its units, signed as it is.
    Raises
        OptionError: no such base or option, negative sigma, no draws, unknown `output`.
    Cost
        n_samples times the base's; of integrated gradients, n_samples forward and backward passes.
    Source
        Smilkov, Thorat, Kim, Viegas, Wattenberg (2017), the formula of section 2; seed 002 (4.8), where n is the number
        of samples, not their dimension.
    Examples
        >>> from xaiteach import explain
        >>> net = torch.nn.Linear(3, 2)  # of a linear model every gradient is the same
        >>> a = explain(net, torch.rand(1, 3), 1, "smoothgrad", n_samples=4, generator=torch.Generator())
        >>> torch.allclose(a.values[0], net.weight[1])
        True
    """
    mean, _ = _moments(model, x, target, base, sigma, n_samples, output, base_options, generator, work, "smoothgrad")
    return mean


def smoothgrad_squared(
    model: Model,
    x: Tensor,
    target: Tensor,
    *,
    base: str = "saliency",
    sigma: float = 0.15,
    n_samples: int = 50,
    output: str | None = None,
    base_options: Mapping[str, Any] | None = None,
    generator: torch.Generator | None = None,
    work: Work,
) -> Tensor:
    """Mean of the squares of a base method's values over noisy copies: (1/m) sum_j M(x + e_j)^2.

    It answers where the base is far from 0 around the input, whichever way: values whose sign changes from draw to draw
    stay, and the sign is lost. It is `vargrad` plus the square of `smoothgrad`.

    Parameters
        model, x, target, sigma, n_samples, output, base_options : as `smoothgrad`.
        base : as `smoothgrad`; "integrated_gradients" is integrated for every draw, with its own n_steps.
    Returns
        Tensor of the base's shape, in its units squared, never negative.
    Raises
        OptionError: as `smoothgrad`.
    Cost
        n_samples times the base's.
    Source
        Hooker, Erhan, Kindermans, Kim (2019), section 4.1, who find that this and VarGrad rank inputs better than
        chance under ROAR, and the mean that they square does not.
    Examples
        >>> from xaiteach import explain
        >>> net = torch.nn.Linear(3, 2)
        >>> a = explain(net, torch.rand(1, 3), 1, "smoothgrad_squared", n_samples=4, generator=torch.Generator())
        >>> torch.allclose(a.values[0], net.weight[1] ** 2)
        True
    """
    who = "smoothgrad_squared"
    mean, spread = _moments(model, x, target, base, sigma, n_samples, output, base_options, generator, work, who)
    return spread + mean**2


def vargrad(
    model: Model,
    x: Tensor,
    target: Tensor,
    *,
    base: str = "saliency",
    sigma: float = 0.15,
    n_samples: int = 50,
    output: str | None = None,
    base_options: Mapping[str, Any] | None = None,
    generator: torch.Generator | None = None,
    work: Work,
) -> Tensor:
    """Variance of a base method's values over noisy copies: (1/m) sum_j (M(x + e_j) - mean)^2.

    It answers where the base changes its mind under noise, not what it says: of a linear model it is 0 everywhere.
    Sums are of differences to the first draw, so that a large mean does not cancel the variance away.

    Parameters
        model, x, target, sigma, n_samples, output, base_options : as `smoothgrad`.
        base : as `smoothgrad`; "integrated_gradients" is integrated for every draw, with its own n_steps.
    Returns
        Tensor of the base's shape, in its units squared, never negative. The divisor is m, as Captum's: of one draw it
        is 0.
    Raises
        OptionError: as `smoothgrad`.
    Cost
        n_samples times the base's.
    Source
        Adebayo, Gilmer, Goodfellow, Kim (2018), and Hooker, Erhan, Kindermans, Kim (2019), section 4.1.
    Examples
        >>> from xaiteach import explain
        >>> a = explain(torch.nn.Linear(3, 2), torch.rand(1, 3), 1, "vargrad", n_samples=4, generator=torch.Generator())
        >>> bool((a.values == 0).all())
        True
    """
    _, spread = _moments(model, x, target, base, sigma, n_samples, output, base_options, generator, work, "vargrad")
    return spread


def _moments(
    model: Model,
    x: Tensor,
    target: Tensor,
    base: str,
    sigma: object,
    n_samples: int,
    output: str | None,
    base_options: Mapping[str, Any] | None,
    generator: torch.Generator | None,
    work: Work,
    who: str,
) -> tuple[Tensor, Tensor]:
    """Mean and variance of the base over the draws; sums are of differences to each sample's first draw."""
    at_least(n_samples, 1, "n_samples", who)
    flat = x.flatten(1)
    scale = as_sigma(sigma, who, 0.15) * (flat.amax(1) - flat.amin(1)).reshape(-1, *[1] * (x.ndim - 1))
    options = {**registry.entry(base).options, **(base_options or {})}
    if output is not None and "output" in options:
        options["output"] = output
    values = _joint(model, x, options) if _is_joint(base, who) else _per_row(model, x, base, options, work)
    sums: list[Tensor] = []
    for rows in work.copies(x, target, n_samples, "draw"):
        u = uniform(rows.x, 1 + flat.shape[1], generator)  # of each row in turn: a place on a path, the noise
        found = values(rows.x + scale[rows.sample] * normal(u[:, 1:], rows.x), rows, u[:, 0])
        if not sums:
            sums = [found.new_zeros(len(x), *found.shape[1:]) for _ in range(3)]
        first, total, squares = sums
        new = rows.number == 0
        first[rows.sample[new]] = found[new]
        away = found - first[rows.sample]
        total.index_add_(0, rows.sample, away)
        squares.index_add_(0, rows.sample, away**2)
    first, total, squares = sums
    shift = total / n_samples
    return first + shift, (squares / n_samples - shift**2).clamp(min=0)


def _per_row(model: Model, x: Tensor, base: str, options: dict[str, Any], work: Work) -> Values:
    """Values of the base, run on every row."""
    method = bind(base, model, {})
    extra = {"work": Work(work.rows, progress=False)} if method.takes_work else {}
    shared = base in _SETS
    if "baseline" in options and not shared:
        options = {**options, "baseline": as_baseline(options["baseline"], x, base)}

    def values(noisy: Tensor, rows: Rows, _: Tensor) -> Tensor:
        own = {
            name: value[rows.sample] if isinstance(value, Tensor) and value.shape == x.shape and not shared else value
            for name, value in options.items()
        }
        found = method.call(model, noisy, rows.target, **own, **extra)
        of_rows: Tensor = found[0] if isinstance(found, tuple) else found
        return of_rows.detach()

    return values


def _joint(model: Model, x: Tensor, options: Mapping[str, Any]) -> Values:
    """Integrated gradients at one place on the path of every row."""
    baseline = as_baseline(options["baseline"], x, _PATH)

    def values(noisy: Tensor, rows: Rows, alpha: Tensor) -> Tensor:
        away, g = path_term(model, noisy, baseline[rows.sample], alpha, rows.target, options["output"], _PATH)
        return away * g

    return values
