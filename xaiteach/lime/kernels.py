"""How near a sample is: distances, kernels, and what the weights leave of the number of samples.

Symbols: d distance, w the kernel's width (in units of d), sigma the standard deviation of Gaussian perturbations, n
features, N samples.

The bridge to SmoothGrad: samples x0 + e, e ~ N(0, sigma^2 I), weighted by exp(-||e||^2 / w^2) are distributed as
N(0, sigma_eff^2 I) with 1/sigma_eff^2 = 1/sigma^2 + 2/w^2; and by Stein's identity the slope of a least-squares line
through infinitely many of those is the mean gradient over them. So Gaussian LIME with this kernel is SmoothGrad with
noise sigma_eff, at another price: most samples may weigh next to nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from math import exp, log, log1p, sqrt
from typing import Any

import numpy as np

from xaiteach.errors import ShapeError, unknown
from xaiteach.lime.checks import Array, at_least, floats, number

__all__ = [
    "DISTANCES",
    "cosine_distance",
    "distance",
    "effective_sample_size",
    "euclidean_distance",
    "expected_sample_size",
    "gaussian_kernel",
    "lime_kernel",
    "smoothgrad_sigma",
]


def euclidean_distance(X: Any, origin: Any) -> Array:
    """Length of X_i - origin for each sample, shape (N,), in units of the features.

    Parameters
        X : (N, n) numbers.
        origin : (n,) numbers.
    Raises
        ShapeError: not finite numbers of these shapes.
    Examples
        >>> euclidean_distance([[3.0, 4.0]], [0.0, 0.0])
        array([5.])
    """
    X, origin = _pair(X, origin, "euclidean_distance")
    found: Array = np.sqrt(((X - origin) ** 2).sum(1))
    return found


def cosine_distance(X: Any, origin: Any) -> Array:
    """1 - cos of the angle between X_i and origin, shape (N,), from 0 to 2. What the lime package uses on masks.

    Of on/off masks and the mask that is all on it is 1 - sqrt(share that is on): only how many are off counts, not
    which, and nothing about the picture. All off has no angle; its distance is 1, as in scikit-learn.

    Parameters
        X : (N, n) numbers.
        origin : (n,) numbers, not all 0.
    Raises
        ShapeError: not finite numbers of these shapes, or an origin without a direction.
    Examples
        >>> cosine_distance([[1, 1, 1, 1], [1, 0, 0, 0], [0, 0, 0, 0]], [1, 1, 1, 1])
        array([0. , 0.5, 1. ])
    """
    X, origin = _pair(X, origin, "cosine_distance")
    size = np.sqrt((origin**2).sum())
    if size == 0:
        raise ShapeError(
            "cosine_distance: `origin` must have a direction; got zeros only. Try euclidean_distance, which has a "
            "meaning there."
        )
    sizes = np.sqrt((X**2).sum(1))
    cosine = (X @ origin) / (np.where(sizes == 0, 1.0, sizes) * size)
    found: Array = np.clip(1 - cosine, 0.0, 2.0)
    return found


DISTANCES: dict[str, Callable[[Any, Any], Array]] = {"cosine": cosine_distance, "euclidean": euclidean_distance}
"""By name."""


def distance(name: str, X: Any, origin: Any) -> Array:
    """Distance of each sample from the origin, shape (N,), by the name of the distance.

    Raises
        OptionError: unknown name.
        ShapeError: as the distances.
    """
    if name not in DISTANCES:
        raise unknown("distance", name, DISTANCES)
    return DISTANCES[name](X, origin)


def gaussian_kernel(d: Any, width: float) -> Array:
    """Weights exp(-d^2 / w^2), shape (N,), from 0 to 1.

    Parameters
        d : (N,) numbers. Distances.
        width : float > 0, in units of d. Where the weight is 1/e.
    Raises
        ShapeError, OptionError: no finite distances, or no width.
    Source
        Ribeiro et al. (2016), section 3.4.
    Examples
        >>> gaussian_kernel([0.0, 1.0], 1.0).round(3)
        array([1.   , 0.368])
    """
    d, width = floats(d, ("N",), "d", "gaussian_kernel"), number(width, "width", "gaussian_kernel")
    found: Array = np.exp(-((d / width) ** 2))
    return found


def lime_kernel(d: Any, width: float) -> Array:
    """Weights sqrt(exp(-d^2 / w^2)), shape (N,): the lime package's, as wide as a `gaussian_kernel` of sqrt(2) w.

    Parameters
        d : (N,) numbers. Distances.
        width : float > 0, in units of d. Where the weight is 1/sqrt(e).
    Raises
        ShapeError, OptionError: no finite distances, or no width.
    Source
        The lime package; the paper has no root.
    Examples
        >>> lime_kernel([0.0, 1.0], 1.0).round(3)
        array([1.   , 0.607])
    """
    d, width = floats(d, ("N",), "d", "lime_kernel"), number(width, "width", "lime_kernel")
    found: Array = np.exp(-0.5 * (d / width) ** 2)
    return found


def effective_sample_size(weights: Any) -> float:
    """How many equally weighted samples are worth as much: (sum w)^2 / sum w^2, from 1 to N.

    Parameters
        weights : (N,) numbers >= 0, not all 0.
    Raises
        ShapeError: anything else.
    Source
        Kish (1965), section 11.7.
    Examples
        >>> effective_sample_size([1, 1, 1, 0]), round(effective_sample_size([1, 0.1, 0.1]), 2)
        (3.0, 1.41)
    """
    w = floats(weights, ("N",), "weights", "effective_sample_size")
    if (w < 0).any() or not w.any():
        raise ShapeError(
            "effective_sample_size: `weights` must be 0 or above, not all 0; got a smallest of "
            f"{w.min()} and a sum of {w.sum()}. Try the weights of a kernel."
        )
    share = w / w.max()
    return float(share.sum() ** 2 / (share @ share))


def expected_sample_size(n_samples: int, n_features: int, sigma: float, width: float) -> float:
    """What N Gaussian samples are worth under exp(-d^2 / w^2): N (sqrt(1 + 4a) / (1 + 2a))^n with a = sigma^2 / w^2.

    N (E weight)^2 / E weight^2, which `effective_sample_size` approaches as N grows. It falls exponentially with the
    number of features: noise as wide as the kernel, on 20 features, makes 1000 samples worth 3.

    Parameters
        n_samples, n_features : int >= 1.
        sigma : float > 0, in units of the features.
        width : float > 0, in the same units.
    Raises
        OptionError: a number below that.
    Source
        From E exp(-||e||^2 t / w^2) = (1 + 2 t a)^(-n/2), at t = 1 and t = 2.
    Examples
        >>> round(expected_sample_size(1000, 20, sigma=1.0, width=1.0), 1)
        2.8
    """
    who = "expected_sample_size"
    N, n = at_least(n_samples, 1, "n_samples", who), at_least(n_features, 1, "n_features", who)
    a = (number(sigma, "sigma", who) / number(width, "width", who)) ** 2
    return exp(log(N) + n * (0.5 * log1p(4 * a) - log1p(2 * a)))


def smoothgrad_sigma(sigma: float, width: float) -> float:
    """Noise of the SmoothGrad that Gaussian LIME with kernel exp(-d^2 / w^2) is: 1/sigma_eff^2 = 1/sigma^2 + 2/w^2.

    Parameters
        sigma : float > 0, in units of the features. Of the perturbations.
        width : float > 0, in the same units. Of the kernel.
    Returns
        float, below both sigma and w / sqrt(2).
    Raises
        OptionError: a number that is not above 0.
    Source
        The product of two Gaussian densities; Stein (1981), lemma 1, for the slope.
    Examples
        >>> round(smoothgrad_sigma(1.0, 1.0), 4)
        0.5774
    """
    sigma, width = number(sigma, "sigma", "smoothgrad_sigma"), number(width, "width", "smoothgrad_sigma")
    return 1 / sqrt(1 / sigma**2 + 2 / width**2)


def _pair(X: Any, origin: Any, who: str) -> tuple[Array, Array]:
    X = floats(X, ("N", "n"), "X", who)
    return X, floats(origin, (X.shape[1],), "origin", who)
