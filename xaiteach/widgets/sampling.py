"""LIME's samples: where they fall, what they are worth, and which slopes come out.

The score is the landscape net's of unit 01, of two inputs; further features may be sampled that it does not read.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from xaiteach.lime import effective_sample_size, fidelity, smoothgrad_sigma
from xaiteach.plots import Panel, strip
from xaiteach.widgets.base import Drawing, Exploration, Preset, State
from xaiteach.widgets.fields import Field, Options, numbers
from xaiteach.widgets.landscape import STEPS, gradients, scores

__all__ = ["LimeSampling", "lime_sampling"]

Array = np.ndarray[Any, Any]

POINT = np.array([0.5, 0.25])
TARGET = 0
SIGMAS = (0.05, 0.1, 0.25, 0.5, 1.0)
WIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
COUNTS = (30, 100, 300, 1000, 3000)
FEATURES = (2, 5, 10, 20)
SEEDS = tuple(range(10))
FRESH = 2000
WORTH, NEAR = 200, 0.15
"""The task: at least so many samples' worth, and slopes within this share of the gradient at the point."""


@functools.lru_cache(maxsize=16)
def _draws(seed: int, features: int) -> Array:
    """Standard normal draws, of which the first N are the samples; the last FRESH are never fitted to."""
    return np.random.default_rng([seed, features]).normal(size=(COUNTS[-1] + FRESH, features))


def _weighted(noise: Array, width: float) -> tuple[Array, Array]:
    """Scores and weights of samples around the point."""
    return scores(POINT + noise[:, :2])[:, TARGET], np.exp(-(noise**2).sum(1) / width**2)


def _fitted(noise: Array, y: Array, w: Array) -> Array:
    """Intercept and slopes of the weighted plane; the shortest where there are many."""
    root = np.sqrt(w / w.max())  # far samples of many features would else fall to 0 together
    A = np.column_stack([np.ones(len(y)), noise]) * root[:, None]
    found: Array = np.linalg.lstsq(A, root * y, rcond=None)[0]
    return found


@functools.lru_cache(maxsize=256)
def smoothed(sigma: float, width: float) -> Array:
    """The score's gradient by its two inputs, averaged over a normal cloud of the spread that LIME looks through."""
    spread = smoothgrad_sigma(sigma, width)
    half = np.random.default_rng(7).normal(size=(20_000, 2))
    around = POINT + spread * np.concatenate([half, -half])
    mean: Array = gradients(around, TARGET, "logit").mean(0)
    return mean


@functools.lru_cache(maxsize=256)
def measured(sigma: float, width: float, n_samples: int, features: int, seed: int) -> dict[str, Any]:
    """Slopes, worth and fidelity of one sampling."""
    noise = sigma * _draws(seed, features)
    used, fresh = noise[:n_samples], noise[-FRESH:]
    (y, w), (fresh_y, fresh_w) = _weighted(used, width), _weighted(fresh, width)
    both = _fitted(used, y, w)
    return {
        "slopes": both[1:],
        "worth": effective_sample_size(w),
        "fidelity": fidelity(fresh_y, both[0] + fresh @ both[1:], fresh_w),
        "cloud": _cloud(used, w),
    }


def _cloud(noise: Array, w: Array) -> Array:
    """Share of all weight in each square of the plane, row 0 at the top."""
    edges = np.append(np.array(STEPS) - 0.125, STEPS[-1] + 0.125)
    x1, x2 = (POINT + noise[:, :2]).T
    counted: Array = np.histogram2d(x2, x1, bins=[edges, edges], weights=w / w.sum())[0]
    return counted[::-1]


class LimeSampling(Exploration):
    """The score over the plane, the weight of the samples, and the slopes beside the smoothed gradient."""

    name = "lime_sampling"
    title = "What are LIME's samples worth?"
    task = (
        f"Task: with 10 features or more and at most 1000 samples, make the samples worth at least {WORTH} and the "
        f"slopes those of the gradient at the point, to within {NEAR:.0%}. Predict first: will it take more noise or "
        "less, or another width?"
    )

    def fields(self) -> Sequence[Field]:
        """Controls."""
        return (
            Options("sigma", "noise, sigma", numbers(SIGMAS), 1.0, kind="range"),
            Options("width", "kernel width, w", numbers(WIDTHS), 1.0, kind="range"),
            Options("n_samples", "samples, N", numbers(COUNTS), 1000, kind="range"),
            Options("features", "features, n (the score reads two)", numbers(FEATURES), 2),
            Options("seed", "seed", numbers(SEEDS), 0, kind="range"),
        )

    def presets(self, state: State) -> Sequence[Preset]:
        """A thousand samples that are worth three; and samples that all lie in one piece of the score."""
        return (
            Preset(
                "thousand",
                "1000 samples: surely enough?",
                {"sigma": 1.0, "width": 0.5, "n_samples": 1000, "features": 20, "seed": 2},
            ),
            Preset(
                "near",
                "So near that it is the gradient",
                {"sigma": 0.05, "width": 8.0, "n_samples": 1000, "features": 2},
            ),
        )

    def draw(self, state: State) -> Drawing:
        """Score and weight over the first two features, the point ringed."""
        found = measured(*(state[name] for name in ("sigma", "width", "n_samples", "features", "seed")))
        across, up = np.meshgrid(STEPS, STEPS[::-1])
        side = len(STEPS)
        value = scores(np.stack([across.ravel(), up.ravel()], 1))[:, TARGET].reshape(side, side)
        mark = (STEPS[::-1].index(POINT[1]), STEPS.index(POINT[0]))
        panels = [
            Panel("score of A", value, "logit", signed=True, mark=mark),
            Panel("weight of the samples", found["cloud"], "share of all", mark=mark),
        ]
        slopes, spread = found["slopes"], smoothgrad_sigma(state["sigma"], state["width"])
        truth, mean = gradients(POINT[None], TARGET, "logit")[0], smoothed(state["sigma"], state["width"])
        off, smooth_off = (float(np.linalg.norm(slopes[:2] - v) / np.linalg.norm(v)) for v in (truth, mean))
        lime, at, through = (f"({v[0]:.2f}, {v[1]:.2f})" for v in (slopes, truth, mean))
        stray = f", and up to {np.abs(slopes[2:]).max():.2f} for features that are not read" if len(slopes) > 2 else ""
        reading = (
            f"{state['n_samples']} samples of {state['features']} features are worth {found['worth']:.1f}. "
            f"LIME's slopes are {lime}{stray}. The gradient at the point is {at}: {off:.0%} apart. "
            f"SmoothGrad of spread {spread:.2f} is {through}: {smooth_off:.0%} apart. "
            f"Fidelity on fresh samples: {found['fidelity']:.2f}."
        )
        return Drawing(strip(panels, reading, aspect=1.0, columns=2), *_told(state, found["worth"], off, spread))


def _told(state: State, worth: float, off: float, spread: float) -> tuple[str, bool]:
    if state["features"] < 10 or state["n_samples"] > 1000:
        return "The task asks for 10 features or more, and for at most 1000 samples.", False
    if worth < WORTH:
        return f"Not yet: the samples are worth {worth:.1f} of the {WORTH} wanted.", False
    if off > NEAR:
        return (
            f"Worth enough, but {off:.0%} from the gradient: the slopes are those of the score seen through a spread "
            f"of {spread:.2f}.",
            False,
        )
    return "Solved: little noise beside a wide kernel. Nearly all samples count, and all are near.", True


def lime_sampling(**state: Any) -> LimeSampling:
    """Exploration of Gaussian LIME: noise, kernel width and number of samples, beside SmoothGrad.

    Parameters
        sigma : .05, .1, .25, .5 or 1. Standard deviation of the noise, in units of the features.
        width : .25, .5, 1, 2, 4 or 8. w of the weights exp(-d^2 / w^2).
        n_samples : 30, 100, 300, 1000 or 3000.
        features : 2, 5, 10 or 20. The score reads the first two.
        seed : int from 0 to 9.
    Raises
        OptionError: an unknown name or value.
    Examples
        >>> lime_sampling(features=20, width=0.5, seed=2).frame()["reading"].split(" are ")[1][:10]
        'worth 2.8.'
        >>> [lime_sampling(features=10, **change).frame()["solved"] for change in ({"sigma": 0.1}, {"width": 8.0})]
        [True, False]
    """
    return LimeSampling(**state)
