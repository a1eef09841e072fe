"""Integrals along a path and means over noise from the papers, one sample, one step and one draw at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist

import torch
from torch import Tensor

from reference.slow_attribution import softmax_score

Model = Callable[[Tensor], Tensor]
Map = Callable[[Tensor, int, float], Tensor]
"""(one sample without a batch axis, its class, a number on [0, 1) of its own) to its map."""


def gradient(model: Model, z: Tensor, c: int, output: str = "logit") -> Tensor:
    """Gradient of one sample's score, differentiating the softmax itself."""
    leaf = z.clone().requires_grad_()
    (found,) = torch.autograd.grad(softmax_score(model(leaf[None])[0], c, output), leaf)
    return found


def legendre_rule(n: int) -> tuple[list[float], list[float]]:
    """Places and weights of Gauss-Legendre quadrature on [0, 1]: Newton's iteration on the polynomial's recurrence."""
    places, weights = [], []
    for i in range(n):
        t = math.cos(math.pi * (i + 0.75) / (n + 0.5))
        for _ in range(100):
            before, p = 1.0, t
            for k in range(2, n + 1):
                before, p = p, ((2 * k - 1) * t * p - (k - 1) * before) / k
            slope = n * (t * p - before) / (t * t - 1)
            t -= p / slope
        places.append((1 + t) / 2)
        weights.append(1 / ((1 - t * t) * slope * slope))
    return places, weights


def midpoint_rule(n: int) -> tuple[list[float], list[float]]:
    """Places and weights of a Riemann sum in the middle of n equal steps."""
    return [(i + 0.5) / n for i in range(n)], [1 / n] * n


def integrated_gradients(
    model: Model,
    x: Tensor,
    target: Sequence[int],
    baseline: Tensor,
    rule: tuple[list[float], list[float]],
    output: str = "logit",
) -> Tensor:
    """Sundararajan et al. (2017), eq. 1, with the integral by any rule."""
    maps = []
    for sample, c, origin in zip(x, target, baseline, strict=True):
        total = torch.zeros_like(sample)
        for alpha, share in zip(*rule, strict=True):
            total = total + share * gradient(model, origin + alpha * (sample - origin), c, output)
        maps.append((sample - origin) * total)
    return torch.stack(maps)


def uniform_numbers(generator: torch.Generator, count: int) -> list[float]:
    """The next `count` numbers on [0, 1), asked for one at a time."""
    return [float(torch.rand((), generator=generator, dtype=torch.float64)) for _ in range(count)]


def noise(generator: torch.Generator, like: Tensor) -> Tensor:
    """Standard normal noise from the next uniform numbers, through the standard library's inverse."""
    normal = NormalDist()
    # A number k 2^-53 stands for its cell of width 2^-53; in its middle, 0 and 1 cannot occur.
    numbers = [normal.inv_cdf(u + 2**-54) for u in uniform_numbers(generator, like.numel())]
    return torch.tensor(numbers, dtype=torch.float64).reshape(like.shape)


def expected_gradients(
    model: Model,
    x: Tensor,
    target: Sequence[int],
    data: Tensor,
    n_samples: int,
    generator: torch.Generator,
    sigma: float = 0.0,
    output: str = "logit",
) -> Tensor:
    """Erion et al. (2021), and GradientSHAP's noise: each draw takes a baseline, a place on the path, and its noise."""
    maps = []
    for sample, c in zip(x, target, strict=True):
        total = torch.zeros_like(sample)
        for _ in range(n_samples):
            place, alpha = uniform_numbers(generator, 2)
            origin = data[math.floor(place * len(data))]
            end = sample + sigma * noise(generator, sample) if sigma else sample
            total = total + (end - origin) * gradient(model, origin + alpha * (end - origin), c, output)
        maps.append(total / n_samples)
    return torch.stack(maps)


def over_noise(
    method: Map, x: Tensor, target: Sequence[int], sigma: float, n_samples: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, mean square and variance of a method's maps of noisy copies, by their definitions."""
    means, squares, variances = [], [], []
    for sample, c in zip(x, target, strict=True):
        scale = sigma * (float(sample.max()) - float(sample.min()))
        maps = []
        for _ in range(n_samples):
            (alpha,) = uniform_numbers(generator, 1)
            maps.append(method(sample + scale * noise(generator, sample), c, alpha))
        mean = sum(maps[1:], maps[0]) / n_samples
        means.append(mean)
        squares.append(sum((m**2 for m in maps[1:]), maps[0] ** 2) / n_samples)
        variances.append(sum(((m - mean) ** 2 for m in maps[1:]), (maps[0] - mean) ** 2) / n_samples)
    return torch.stack(means), torch.stack(squares), torch.stack(variances)
