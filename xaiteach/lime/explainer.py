"""LIME for any callable: samples around an input, scored in batches, ready for a surrogate.

Symbols: x one input, f the model, from a batch (B, *shape of x) to scores (B,); N samples, n features of the surrogate.

Two neighbourhoods: Gaussian noise on the values, as in the homework, and superpixels switched off, as in LIME's image
explainer. Both approximate the score near x (not a decision boundary).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xaiteach.errors import ModelError, ShapeError
from xaiteach.guards import check_finite, describe
from xaiteach.lime.checks import Array, at_least
from xaiteach.lime.kernels import euclidean_distance, gaussian_kernel
from xaiteach.lime.least_squares import LeastSquares
from xaiteach.lime.neighbourhood import Neighbourhood, masked_neighbourhood
from xaiteach.lime.perturbation import apply_masks, fill_of, gaussian, on_off
from xaiteach.lime.superpixels import check_labels, default_superpixels
from xaiteach.runtime import needs_usual_layout, require

__all__ = ["gaussian_neighbourhood", "score_batches", "superpixel_neighbourhood"]

Scorer = Callable[[Any], Any]

_BAR_AFTER_S = 2.0


def gaussian_neighbourhood(
    f: Scorer,
    x: Any,
    *,
    sigma: Any,
    n_samples: int = 1000,
    width: float | None = None,
    raw: bool = False,
    generator: torch.Generator | None = None,
    batch_size: int = 64,
    progress: bool | None = None,
) -> Neighbourhood:
    """Samples x + e, e ~ N(0, sigma^2 I), with their scores; features are the values of e.

    The homework's X holds the samples themselves and has no intercept: of f = a + g^T x the fit is then
    g + a x / (sigma^2 + ||x||^2), so that even a constant model gets an explanation. Features about x together with an
    intercept mend it, and are the default.

    Parameters
        f : callable from a batch (B, *shape of x), of x's kind, to (B,) scores.
        x : Tensor or array, float, any shape. One input, without a batch axis.
        sigma : float > 0, or one for each value, in units of x. There is no default: it says what local means.
        n_samples : int >= 1.
        width : float > 0 or None, in units of x. Kernel exp(-||e||^2 / w^2). None: equal weights, since the samples are
            local already; with a kernel the fit is SmoothGrad of a smaller noise (see `kernels`), from fewer samples.
        raw : bool. Whether features are x + e, as printed in the homework, and not e.
        generator : torch.Generator or None (the global state).
        batch_size : int >= 1. Samples scored at once.
        progress : bool or None. Whether to show a bar. None: when it takes over 2 s.
    Returns
        Neighbourhood; its default solver is LeastSquares.
    Raises
        ShapeError: x is no finite floating-point input.
        ModelError: f returns anything but B finite scores.
        OptionError: a number out of its range.
    Cost
        n_samples forward passes.
    Source
        Homework Q2; Ribeiro et al. (2016), section 3.3.
    Examples
        >>> near = gaussian_neighbourhood(lambda x: 5 + x @ [2.0, -1.0], np.zeros(2), sigma=0.1, n_samples=9)
        >>> near.explain().coef.round(6)
        array([ 2., -1.])
    """
    who = "gaussian_neighbourhood"
    tensor, back = _one_input(x, who)
    samples = gaussian(tensor, at_least(n_samples, 1, "n_samples", who), sigma, generator)
    y = score_batches(f, lambda part: back(samples[part]), n_samples, batch_size, progress, who)
    X = (samples.double() - tensor.double()).flatten(1).cpu().numpy()  # what f saw, after rounding to x's dtype
    zero = np.zeros(X.shape[1])
    weights = np.ones(len(X)) if width is None else gaussian_kernel(euclidean_distance(X, zero), width)
    labels = torch.arange(tensor.numel()).reshape(tensor.shape)
    features = samples.double().flatten(1).cpu().numpy() if raw else X
    return Neighbourhood(features, y, weights, labels, LeastSquares())


def superpixel_neighbourhood(
    f: Scorer,
    x: Any,
    *,
    labels: Any = None,
    fill: Any = "mean",
    n_samples: int = 1000,
    width: float = 0.25,
    metric: str = "cosine",
    generator: torch.Generator | None = None,
    batch_size: int = 64,
    progress: bool | None = None,
) -> Neighbourhood:
    """Inputs with superpixels switched off at random, and their scores; features are 1 where one is on.

    Parameters
        f : callable from a batch (B, *shape of x), of x's kind, to (B,) scores.
        x : Tensor or array, float, channels first: (c, h, w), (c, l), (c, t, h, w) or (d,). One input.
        labels : integers, shape spatial or (d,), or None for `default_superpixels`.
        fill : what a superpixel that is off shows: "mean", "blur", a number or a tensor (see `fill_of`). Default
            "mean", the superpixel's own colour, as in the lime package; of a table, name another.
        n_samples : int >= 1. The first is x itself.
        width, metric : of the kernel, see `masked_neighbourhood`.
        generator, batch_size, progress : as of `gaussian_neighbourhood`.
    Returns
        Neighbourhood; its default solver is Ridge(penalty=1.0), the lime package's.
    Raises
        ShapeError: x is no finite floating-point input, or labels or fill do not fit it.
        ModelError: f returns anything but B finite scores.
        OptionError: a number out of its range, an unknown fill or metric.
    Cost
        n_samples forward passes.
    Source
        Ribeiro et al. (2016), section 3.3 and algorithm 1; masks, kernel and fill of the lime package's images.
    Examples
        >>> x, labels = np.ones((1, 4)), np.array([0, 0, 1, 1])
        >>> near = superpixel_neighbourhood(lambda b: b[:, 0, 0], x, labels=labels, fill=0.0, n_samples=50)
        >>> near.explain(LeastSquares()).coef.round(6) + 0  # only the first half is looked at
        array([1., 0.])
    """
    who = "superpixel_neighbourhood"
    tensor, back = _one_input(x, who)
    spatial = tensor.shape[1:] if tensor.ndim > 1 else tensor.shape
    where = default_superpixels(tensor) if labels is None else check_labels(labels, spatial, who).to(tensor.device)
    absent = fill_of(fill, tensor, where, who)
    at_least(n_samples, 1, "n_samples", who)
    masks = on_off(int(where.max()) + 1, n_samples, generator)
    y = score_batches(
        f, lambda part: back(apply_masks(tensor, absent, where, masks[part])), n_samples, batch_size, progress, who
    )
    return masked_neighbourhood(masks, y, where, width=width, metric=metric)


def score_batches(
    f: Scorer, batch: Callable[[slice], Any], total: int, batch_size: int, progress: bool | None, who: str
) -> Array:
    """Scores (total,) of inputs that are made a batch at a time, without gradients.

    Parameters
        f : callable from a batch of B inputs to (B,) or (B, 1) scores.
        batch : from a slice of the samples to their inputs.
        progress : bool or None. Whether to show a bar. None: when it takes over 2 s.
    Raises
        ModelError: f returns anything but B finite scores.
        OptionError: no batch.
    """
    at_least(batch_size, 1, "batch_size", who)
    found, start, bar = np.empty(total), time.monotonic(), None
    call = _Caller(f)
    with torch.no_grad(), ExitStack() as stack:
        for first in range(0, total, batch_size):
            part = slice(first, min(first + batch_size, total))
            late = progress is None and time.monotonic() - start > _BAR_AFTER_S
            if bar is None and (progress or late):
                bar = require("tqdm.auto").tqdm(total=total, initial=first, unit="sample", desc="LIME", leave=False)
                stack.callback(bar.close)
            found[part] = _scores(call(batch(part)), part.stop - part.start, who)
            if bar is not None:
                bar.update(part.stop - part.start)
    return found


class _Caller:
    """Calls f: images on a CPU have their channels last in memory, which makes convolutions twice as fast.

    An f that takes a view of its activations cannot have that, and gets the usual layout.
    """

    def __init__(self, f: Scorer) -> None:
        self.f, self.channels_last = f, True

    def __call__(self, inputs: Any) -> Any:
        if not (self.channels_last and isinstance(inputs, Tensor) and inputs.ndim == 4 and not inputs.is_cuda):
            return self.f(inputs)
        try:
            return self.f(inputs.contiguous(memory_format=torch.channels_last))
        except RuntimeError as error:
            if not needs_usual_layout(error):
                raise
        self.channels_last = False
        return self.f(inputs)


def _scores(output: Any, size: int, who: str) -> Array:
    source = output.detach().cpu() if isinstance(output, Tensor) else output
    wanted = f"{who}: `f` must return one score for each of its {size} inputs, shape ({size},)"
    try:
        found = np.asarray(source, dtype=np.float64)
    except (TypeError, ValueError):
        raise ModelError(f"{wanted}; it returned {describe(output)}. Try lambda x: model(x)[:, c].") from None
    if found.shape not in ((size,), (size, 1)):
        advice = "lambda x: model(x)[:, c], for a class c" if found.ndim == 2 else "a batch in, as many scores out"
        raise ModelError(f"{wanted}; it returned an array of shape {found.shape}. Try {advice}.")
    if not np.isfinite(found).all():
        raise ModelError(
            f"{who}: `f` must return finite scores; it returned {found[~np.isfinite(found)][0]}. Try looking at what "
            "it does with inputs that are half hidden."
        )
    return found.reshape(size)


def _one_input(x: Any, who: str) -> tuple[Tensor, Callable[[Tensor], Any]]:
    """Input as a tensor, and the way back from a batch of tensors to a batch of its own kind."""
    if not isinstance(x, np.ndarray | Tensor):
        raise ShapeError(
            f"{who}: `x` must be a tensor or array, one input without a batch axis; got {describe(x)}. "
            "Try np.asarray(x, dtype=float)."
        )
    tensor = torch.as_tensor(x).detach()
    if not tensor.is_floating_point() or tensor.ndim == 0 or tensor.numel() == 0:
        raise ShapeError(
            f"{who}: `x` must be a floating-point input with at least one axis, not empty; got {describe(tensor)}. "
            "Try x.astype(float), or x.float()."
        )
    check_finite(tensor, who)
    if isinstance(x, Tensor):
        return tensor, lambda batch: batch
    return tensor, lambda batch: batch.numpy()
