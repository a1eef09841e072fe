"""Gradients gathered along a straight path from a baseline to the input.

Symbols: x' baseline, S the score, alpha in [0, 1] the place on the path, z = x' + alpha (x - x') the point there. All
methods here gather the same product, (x - x') * dS(z)/dx; they differ in which x' and alpha they take.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xaiteach.attribution.scores import input_gradient, run, score
from xaiteach.attribution.work import Work, at_least, laid_out, normal, uniform
from xaiteach.errors import OptionError, ShapeError
from xaiteach.guards import check_finite, describe

__all__ = [
    "as_baseline",
    "as_baselines",
    "as_sigma",
    "expected_gradients",
    "gradient_shap",
    "integrated_gradients",
    "path_term",
    "scores_of",
]

Model = Callable[[Tensor], Any]


def as_baseline(baseline: object, x: Tensor, who: str) -> Tensor:
    """One baseline for each sample, of x's shape: None stands for zeros, a number for that number everywhere.

    Raises
        ShapeError: a tensor that is neither of x's shape nor one sample of it, or not finite.
    """
    if baseline is None:
        return torch.zeros_like(x)
    if not isinstance(baseline, bool) and isinstance(baseline, Real):
        return check_finite(torch.full_like(x, float(baseline)), who, "baseline", "baseline=0.0")
    if not isinstance(baseline, Tensor) or tuple(baseline.shape) not in (tuple(x.shape), (1, *x.shape[1:])):
        raise ShapeError(
            f"{who}: `baseline` must match `x`, shape {tuple(x.shape)}, or be one sample of it; got "
            f"{describe(baseline)}. Try {_lacking(baseline, x) or 'baseline=None for zeros'}."
        )
    return check_finite(laid_out(baseline.detach().to(x), x).expand(x.shape), who, "baseline", "torch.nan_to_num")


def as_baselines(baseline: object, x: Tensor, who: str) -> Tensor:
    """Set of baselines that serves every sample, shape (m, ...).

    Raises
        ShapeError: anything but a tensor (m, ...) of samples like x's, finite, m >= 1.
    """
    if not isinstance(baseline, Tensor) or baseline.shape[1:] != x.shape[1:] or len(baseline) == 0:
        raise ShapeError(
            f"{who}: `baseline` must be a set of samples like those of `x`, shape (m, "
            f"{', '.join(map(str, x.shape[1:]))}); got {describe(baseline)}. "
            f"Try {_lacking(baseline, x) or 'baseline=x_train[:100]'}."
        )
    return check_finite(laid_out(baseline.detach().to(x), x), who, "baseline", "torch.nan_to_num")


def _lacking(baseline: object, x: Tensor) -> str:
    """What makes a baseline of `baseline`: an array is to become a tensor, one without its first axes to get them."""
    if isinstance(baseline, np.ndarray):
        return "torch.as_tensor(baseline)"
    if not isinstance(baseline, Tensor) or baseline.ndim >= x.ndim:
        return ""
    missing = x.ndim - baseline.ndim
    if tuple(baseline.shape) != tuple(x.shape[missing:]):
        return ""
    if set(x.shape[1:missing]) <= {1}:
        return f"baseline[{', '.join(['None'] * missing)}]"
    return f"baseline.expand{(1, *x.shape[1:])}"


def as_sigma(sigma: object, who: str, usual: float) -> float:
    """Standard deviation of a noise, as a float.

    Parameters
        usual : what the message advises.
    Raises
        OptionError: no finite number from 0 up.
    """
    if isinstance(sigma, bool) or not isinstance(sigma, Real) or not 0 <= float(sigma) < math.inf:
        raise OptionError(f"{who}: `sigma` must be a finite number, 0 or above; got {sigma!r}. Try sigma={usual}.")
    return float(sigma)


def path_term(
    model: Model, x: Tensor, base: Tensor, alpha: Tensor, target: Tensor, output: str, who: str
) -> tuple[Tensor, Tensor]:
    """(x - x') and dS(z)/dx at z = x' + alpha (x - x'), each of x's shape; their product is what is gathered.

    Parameters
        x, base : Tensor, shape (r, ...). Rows and their baselines.
        alpha : Tensor, shape (r,).
    """
    away = x - base
    z = base + alpha.to(x).reshape(-1, *[1] * (x.ndim - 1)) * away
    return away, input_gradient(model, z, target, output, who)


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

    (x - x') * integral over alpha in [0, 1] of dS(x' + alpha (x - x'))/dx. It answers what each value contributes to
    the difference of the scores at input and baseline, which the values add up to; another baseline asks another
    question. A value that equals its baseline's gets 0, however much it matters: black on a black baseline.

    Parameters
        model : callable from (n, ...) to logits (n, classes), in evaluation mode.
        x : Tensor, shape (n, ...). Samples.
        target : Tensor, shape (n,), long. Class index, 0-based.
        baseline : Tensor of x's shape or (1, ...), float, or None for zeros. In input units.
        n_steps : int >= 1. Points of the quadrature. Default 50, as Captum.
        output : "logit" or "probability". Which score S. Default "logit".
    Returns
        Tensor of x's shape, in units of the score, signed; and the residual S(x) - S(x') - sum, shape (n,): the
        quadrature's error, rounding alone where S is a polynomial of degree 2 n_steps or less, more where the gradient
        jumps.
    Raises
        ShapeError: the baseline does not match x.
        OptionError: no steps, or unknown `output`.
    Cost
        n_steps forward and backward passes, 2 forward passes.
    Source
        Sundararajan, Taly, Yan (2017), eq. 1, which is seed 002 (4.31); by Gauss-Legendre quadrature, where eq. 3,
        (4.32) there, is a Riemann sum whose error falls as 1/n_steps. The seed calls Dummy "Sensitivity" and says that
        gradients violate it: they obey Dummy; what they violate is the axiom's other half, by which a value that alone
        makes a difference must not get 0.
    Examples
        >>> from xaiteach import explain
        >>> square = lambda x: (x**2).sum(1, keepdim=True)
        >>> a = explain(square, torch.tensor([[1.0, 3.0]]), 0, "integrated_gradients", n_steps=1)
        >>> a.values, a.residual  # x^2 for each, and nothing missing from 10
        (tensor([[1., 9.]]), tensor([0.]))
    """
    who = "integrated_gradients"
    at_least(n_steps, 1, "n_steps", who)
    base = as_baseline(baseline, x, who)
    nodes, weights = _leggauss(n_steps)  # on [-1, 1], where the weights sum to 2
    alphas = torch.as_tensor((nodes + 1) / 2, device=x.device)
    shares = torch.as_tensor(weights / 2).to(x).reshape(-1, *[1] * (x.ndim - 1))
    mean = torch.zeros_like(x)
    for rows in work.copies(x, target, n_steps, "step"):
        _, g = path_term(model, rows.x, base[rows.sample], alphas[rows.number], rows.target, output, who)
        mean.index_add_(0, rows.sample, shares[rows.number] * g)
    values = (x - base) * mean
    ends = scores_of(model, torch.cat([x, base]), target.repeat(2), output, work, who)
    return values, ends[: len(x)] - ends[len(x) :] - values.flatten(1).sum(1)


_leggauss = lru_cache(maxsize=16)(np.polynomial.legendre.leggauss)
"""The quadrature's nodes and weights, an eigenvalue problem."""


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

    The mean over draws of (x - x') * dS(x' + alpha (x - x'))/dx, one pair of baseline x' and place alpha in each. It
    answers what sets this sample's score apart from the data's: no single baseline has to be defended, and on average
    the values add up to the score less the mean score of the data. A baseline that is the sample itself adds 0: with
    the sample among two baselines the map is half of what the other gives.

    Parameters
        model : callable from (n, ...) to logits (n, classes), in evaluation mode.
        x : Tensor, shape (n, ...). Samples.
        target : Tensor, shape (n,), long. Class index, 0-based.
        baseline : Tensor, shape (m, ...). The data to draw from, in input units; needed.
        n_samples : int >= 1. Draws, with replacement. Default 100; four times as many halve the error.
        output : "logit" or "probability". Which score S. Default "logit".
    Returns
        Tensor of x's shape, in units of the score, signed; and the residual S(x) - mean S(baseline) - sum, shape (n,):
        the error of the draws, which shrinks as 1/sqrt(n_samples).
    Raises
        ShapeError: no baselines, or not like x.
        OptionError: no draws, or unknown `output`.
    Cost
        n_samples forward and backward passes, 1 forward pass, and m forward passes for all samples together.
    Source
        Erion, Janizek, Sturmfels, Lundberg, Lee (2021), the expectation that defines them; seed 002 (4.34).
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
    """Expected gradients with noise e added to the input in every draw.

    The mean over draws of (x + e - x') * dS(x' + alpha (x + e - x'))/dx. It answers what `expected_gradients` does, of
    samples around x. They are Shapley values where the model is linear between baseline and input and its features are
    independent, and an approximation elsewhere. With sigma = 0 it is `expected_gradients`.

    Parameters
        model, x, target, baseline, n_samples, output : as `expected_gradients`.
        sigma : float >= 0, in input units. Standard deviation of the noise. Default 0: none, as in shap and Captum.
    Returns
        Tensor of x's shape, in units of the score, signed; and the residual, as `expected_gradients`.
    Raises
        ShapeError: no baselines, or not like x.
        OptionError: no draws, negative sigma, or unknown `output`.
    Cost
        n_samples forward and backward passes, 1 forward pass, and m forward passes for all samples together.
    Source
        The library shap's GradientExplainer, after Lundberg, Lee (2017); the noise is Smilkov et al.'s (2017). Seed 002
        (section 7.2.2) calls it an expectation of gradients, without the factor x - x' by which they add up.
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
    sigma: object,
    output: str,
    generator: torch.Generator | None,
    work: Work,
    who: str,
) -> tuple[Tensor, Tensor]:
    at_least(n_samples, 1, "n_samples", who)
    spread = as_sigma(sigma, who, 0.1)
    data = as_baselines(baseline, x, who)
    total = torch.zeros_like(x)
    for rows in work.copies(x, target, n_samples, "draw"):
        # Of each row in turn: which baseline, the place on the path, the noise.
        u = uniform(rows.x, 2 + (x[0].numel() if spread else 0), generator)
        chosen = (u[:, 0] * len(data)).long().clamp(max=len(data) - 1).to(x.device)
        noisy = rows.x + spread * normal(u[:, 2:], rows.x) if spread else rows.x
        away, g = path_term(model, noisy, data[chosen], u[:, 1], rows.target, output, who)
        total.index_add_(0, rows.sample, away * g)
    values = total / n_samples
    there = _mean_scores(model, data, output, work, who)[target]
    return values, scores_of(model, x, target, output, work, who) - there - values.flatten(1).sum(1)


def _mean_scores(model: Model, data: Tensor, output: str, work: Work, who: str) -> Tensor:
    """Mean score of the data for every class, shape (classes,), within the budget."""
    silent = Work(work.rows, progress=False)
    with torch.no_grad():
        logits = torch.cat([run(model, data[part], who, gradient=False) for part in silent.slices(len(data))])
        return (logits.softmax(1) if output == "probability" else logits).mean(0)
