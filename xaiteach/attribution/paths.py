"""Gradients gathered along a straight path from a baseline to the input.

Symbols: x' baseline, alpha in [0, 1] the place on the path x' + alpha (x - x').
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xaiteach.attribution.scores import input_gradient, score
from xaiteach.attribution.work import Work, at_least, drawn
from xaiteach.errors import OptionError, ShapeError
from xaiteach.guards import check_finite, describe

__all__ = ["as_baseline", "as_baselines", "expected_gradients", "gradient_shap", "integrated_gradients", "scores_of"]

Model = Callable[[Tensor], Any]


def as_baseline(baseline: object, x: Tensor, who: str) -> Tensor:
    """One baseline for each sample, of x's shape: None stands for zeros, a number for that number everywhere.

    Raises
        ShapeError: a tensor that is neither of x's shape nor one sample of it, or not finite.
    """
    if baseline is None:
        return torch.zeros_like(x)
    if isinstance(baseline, int | float) and not isinstance(baseline, bool):
        return check_finite(torch.full_like(x, float(baseline)), who, "baseline", "baseline=0.0")
    if not isinstance(baseline, Tensor) or tuple(baseline.shape) not in (tuple(x.shape), (1, *x.shape[1:])):
        advice = "baseline=None for zeros"
        if isinstance(baseline, Tensor):
            missing = x.ndim - baseline.ndim
            fits = missing > 0 and tuple(x.shape[missing:]) == tuple(baseline.shape)
            advice = f"baseline[{', '.join(['None'] * missing)}]" if fits else advice
        raise ShapeError(
            f"{who}: `baseline` must match `x`, shape {tuple(x.shape)}, or be one sample of it; got "
            f"{describe(baseline)}. Try {advice}."
        )
    return check_finite(baseline.detach().to(x).expand(x.shape), who, "baseline", "torch.nan_to_num")


def as_baselines(baseline: object, x: Tensor, who: str) -> Tensor:
    """Set of baselines that serves every sample, shape (m, ...).

    Raises
        ShapeError: anything but a tensor (m, ...) of samples like x's, finite, m >= 1.
    """
    if not isinstance(baseline, Tensor) or baseline.shape[1:] != x.shape[1:] or len(baseline) == 0:
        raise ShapeError(
            f"{who}: `baseline` must be a set of samples like those of `x`, shape (m, "
            f"{', '.join(map(str, x.shape[1:]))}); got {describe(baseline)}. Try baseline=x_train[:100]."
        )
    return check_finite(baseline.detach().to(x), who, "baseline", "torch.nan_to_num")


def scores_of(model: Model, x: Tensor, target: Tensor, output: str, work: Work, who: str) -> Tensor:
    """Score of every sample, shape (n,), within the budget."""
    silent = Work(work.rows, progress=False)
    return torch.cat([score(model, x[part], target[part], output, who) for part in silent.slices(len(x))])


def integrated_gradients(
    model: Model,
    x: Tensor,
    target: Tensor,
    *,
    baseline: Tensor | float | None = None,
    n_steps: int = 50,
    output: str = "logit",
    work: Work,
) -> tuple[Tensor, Tensor]:
    """Difference to a baseline, times the mean gradient on the way there.

    (x - x') * integral over alpha of dS(x' + alpha (x - x'))/dx, by Gauss-Legendre quadrature. It answers what each
    value contributes to the difference of the scores at input and baseline, which the values add up to; another
    baseline asks another question.

    Parameters
        model : callable from (n, ...) to logits (n, classes), in evaluation mode.
        x : Tensor, shape (n, ...). Samples.
        target : Tensor, shape (n,), long. Class index, 0-based.
        baseline : Tensor of x's shape or (1, ...), float, or None for zeros.
        n_steps : int >= 1. Points of the quadrature. Default 50.
        output : "logit" or "probability". Default "logit".
    Returns
        Tensor of x's shape, in units of the score; and the residual S(x) - S(x') - sum, shape (n,): the quadrature's
        error, large where the gradient jumps.
    Raises
        ShapeError: the baseline does not match x.
        OptionError: no steps, or unknown `output`.
    Cost
        n_steps forward and backward passes, 2 forward passes.
    Source
        Sundararajan, Taly, Yan (2017), eq. 1; by quadrature instead of eq. 3's Riemann sum.
    Examples
        >>> from xaiteach import explain
        >>> net = torch.nn.Linear(3, 2)
        >>> a = explain(net, torch.ones(1, 3), 1, "integrated_gradients", baseline=torch.zeros(1, 3))
        >>> torch.allclose(a.values[0], net.weight[1], atol=1e-6), bool(a.residual.abs() < 1e-6)
        (True, True)
    """
    who = "integrated_gradients"
    at_least(n_steps, 1, "n_steps", who)
    base = as_baseline(baseline, x, who)
    nodes, weights = np.polynomial.legendre.leggauss(n_steps)
    alphas = torch.as_tensor((nodes + 1) / 2, dtype=torch.float64, device=x.device).to(x.dtype)
    shares = torch.as_tensor(weights / 2, dtype=torch.float64, device=x.device).to(x.dtype)
    away = x - base
    total, spatial = torch.zeros_like(x), [1] * (x.ndim - 1)
    for rows in work.copies(x, target, n_steps, "step"):
        alpha = alphas[rows.number].reshape(-1, *spatial)
        at = base[rows.sample] + alpha * away[rows.sample]
        g = input_gradient(model, at, rows.target, output, who)
        total.index_add_(0, rows.sample, shares[rows.number].reshape(-1, *spatial) * g)
    values = away * total
    whole = scores_of(model, x, target, output, work, who) - scores_of(model, base, target, output, work, who)
    return values, whole - values.flatten(1).sum(1)


def expected_gradients(
    model: Model,
    x: Tensor,
    target: Tensor,
    *,
    baseline: Tensor | None = None,
    n_samples: int = 100,
    output: str = "logit",
    generator: torch.Generator | None = None,
    work: Work,
) -> tuple[Tensor, Tensor]:
    """Integrated gradients averaged over baselines that are drawn from data.

    The mean over draws of (x - x') * dS(x' + alpha (x - x'))/dx, one pair of baseline x' and place alpha in each. No
    single baseline has to be defended: the values add up to the score less the mean score of the data, on average.

    Parameters
        model : callable from (n, ...) to logits (n, classes), in evaluation mode.
        x : Tensor, shape (n, ...). Samples.
        target : Tensor, shape (n,), long. Class index, 0-based.
        baseline : Tensor, shape (m, ...). The data to draw from; needed.
        n_samples : int >= 1. Draws. Default 100.
        output : "logit" or "probability". Default "logit".
    Returns
        Tensor of x's shape, in units of the score; and the residual S(x) - mean S(baseline) - sum, shape (n,): the
        error of the draws, which shrinks as 1/sqrt(n_samples).
    Raises
        ShapeError: no baselines, or not like x.
        OptionError: no draws, or unknown `output`.
    Cost
        n_samples forward and backward passes, and 1 + m forward passes.
    Source
        Erion et al. (2021), eq. 3.
    Examples
        >>> from xaiteach import explain
        >>> net, data = torch.nn.Linear(3, 2), torch.zeros(5, 3)
        >>> a = explain(net, torch.ones(1, 3), 1, "expected_gradients", baseline=data, n_samples=8)
        >>> torch.allclose(a.values[0], net.weight[1], atol=1e-6)
        True
    """
    return _expected(model, x, target, baseline, n_samples, 0.0, output, generator, work, "expected_gradients")


def gradient_shap(
    model: Model,
    x: Tensor,
    target: Tensor,
    *,
    baseline: Tensor | None = None,
    n_samples: int = 100,
    sigma: float = 0.0,
    output: str = "logit",
    generator: torch.Generator | None = None,
    work: Work,
) -> tuple[Tensor, Tensor]:
    """Expected gradients with noise added to the input in every draw.

    An estimate of Shapley values that holds for models which are linear between baseline and input, with independent
    features; with sigma = 0 it is `expected_gradients`.

    Parameters
        model, x, target, baseline, n_samples, output : as `expected_gradients`.
        sigma : float >= 0, in input units. Standard deviation of the noise. Default 0, as in the paper's definition.
    Returns
        Tensor of x's shape, in units of the score; and the residual, as `expected_gradients`.
    Raises
        ShapeError: no baselines, or not like x.
        OptionError: no draws, negative sigma, or unknown `output`.
    Cost
        n_samples forward and backward passes, and 1 + m forward passes.
    Source
        Lundberg, Lee (2017) through the shap library's GradientExplainer; the noise is Smilkov et al.'s (2017).
    Examples
        >>> from xaiteach import explain
        >>> net, data = torch.nn.Linear(3, 2), torch.zeros(5, 3)
        >>> a = explain(net, torch.ones(1, 3), 1, "gradient_shap", baseline=data, n_samples=8)
        >>> torch.allclose(a.values[0], net.weight[1], atol=1e-6)
        True
    """
    return _expected(model, x, target, baseline, n_samples, sigma, output, generator, work, "gradient_shap")


def _expected(
    model: Model,
    x: Tensor,
    target: Tensor,
    baseline: object,
    n_samples: int,
    sigma: float,
    output: str,
    generator: torch.Generator | None,
    work: Work,
    who: str,
) -> tuple[Tensor, Tensor]:
    at_least(n_samples, 1, "n_samples", who)
    if not sigma >= 0:
        raise OptionError(f"{who}: `sigma` must be 0 or above; got {sigma!r}. Try sigma=0.1.")
    data = as_baselines(baseline, x, who)
    total = torch.zeros_like(x)
    for rows in work.copies(x, target, n_samples, "draw"):
        # Three draws for every row, whatever sigma is: the pairs are then those of expected_gradients.
        place = drawn(rows, generator, uniform=True, each=False)
        alpha = drawn(rows, generator, uniform=True, each=False)
        chosen = (place.reshape(-1).double() * len(data)).long().clamp(max=len(data) - 1)
        noisy = rows.x + sigma * drawn(rows, generator) if sigma else rows.x
        away = noisy - data[chosen]
        g = input_gradient(model, data[chosen] + alpha * away, rows.target, output, who)
        total.index_add_(0, rows.sample, away * g)
    values = total / n_samples
    classes: Tensor = torch.unique(target)
    every = torch.stack([scores_of(model, data, c.expand(len(data)), output, work, who).mean() for c in classes])
    mean = every[torch.searchsorted(classes, target)]
    return values, scores_of(model, x, target, output, work, who) - mean - values.flatten(1).sum(1)
