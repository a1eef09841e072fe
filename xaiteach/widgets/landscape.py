"""A landscape of two inputs: what a score is at every point, how steep, and what a gradient says at one of them.

The net is small enough to be read: four hidden units, three classes, no training.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from xaiteach.plots import Panel, strip
from xaiteach.plots.reading import number
from xaiteach.widgets.base import Drawing, Exploration, Preset, State
from xaiteach.widgets.fields import Field, Options, numbers

__all__ = ["STEPS", "GradientLandscape", "gradient_landscape", "gradients", "scores"]

Array = np.ndarray[Any, Any]

W1 = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 0.2], [0.3, -1.0]])
B1 = np.array([0.0, -0.5, 0.5, 0.5])
V = np.array([[2.0, -0.5, -1.0, 0.0], [-1.0, 2.0, -0.5, 1.0], [-0.5, -1.0, 2.5, 0.5]])
CLASSES = ("A", "B", "C")
OUTPUTS = {"logit": "logit", "probability": "probability", "loss": "loss -log y"}
STEPS = tuple(round(-3 + 0.25 * i, 2) for i in range(25))
SIGMAS = (0.0, 0.25, 0.5, 1.0)
SURE, FLAT = 0.99, 0.01


@functools.cache
def _cloud() -> Array:
    """400 standard normal draws, the same for every point, and each with its opposite."""
    half = np.random.default_rng(0).normal(size=(200, 2))
    return np.concatenate([half, -half])


def scores(points: Array) -> Array:
    """Logits, (n, 2) to (n, 3)."""
    scores: Array = np.maximum(points @ W1.T + B1, 0.0) @ V.T
    return scores


def _probabilities(points: Array) -> Array:
    s = scores(points)
    e = np.exp(s - s.max(1, keepdims=True))
    found: Array = e / e.sum(1, keepdims=True)
    return found


def _value(points: Array, c: int, output: str) -> Array:
    if output == "logit":
        return scores(points)[:, c]
    y = _probabilities(points)[:, c]
    return y if output == "probability" else -np.log(np.maximum(y, 1e-300))


def gradients(points: Array, c: int, output: str) -> Array:
    """Gradient by the input, (n, 2) to (n, 2)."""
    rows: Array = V[c]  # by the hidden units: (H,), or (n, H)
    if output != "logit":
        y = _probabilities(points)
        rows = V[c] - y @ V
        rows = rows * y[:, c : c + 1] if output == "probability" else -rows
    gates = points @ W1.T + B1 > 0
    found: Array = (rows * gates) @ W1
    return found


def _grid() -> Array:
    across, up = np.meshgrid(STEPS, STEPS[::-1])  # row 0 is x2 = 3
    return np.stack([across.ravel(), up.ravel()], 1)


class GradientLandscape(Exploration):
    """The score over the plane, its steepness, and the gradient at one point, smoothed or not."""

    name = "gradient_landscape"
    title = "A landscape of gradients"
    task = (
        "Task: find a point (x1 runs to the right, x2 upwards) where the net is surer than 99 % of the class and the "
        "gradient of its probability is below a hundredth of the steepest in the picture. Predict first: where is the "
        "gradient large, where the net is sure or where it wavers?"
    )

    def fields(self) -> Sequence[Field]:
        """Controls."""
        return (
            Options("x1", "x1", numbers(STEPS), 0.5, kind="range"),
            Options("x2", "x2", numbers(STEPS), 0.25, kind="range"),
            Options("target", "class", numbers(CLASSES), "A"),
            Options("output", "score", OUTPUTS, "probability"),
            Options("sigma", "noise of SmoothGrad, sigma", numbers(SIGMAS), 0.0, kind="range"),
        )

    def presets(self, state: State) -> Sequence[Preset]:
        """Where the gradient is largest, which is no evidence for the class; and a place where a gate turns."""
        size = _steepness(CLASSES.index(state["target"]), state["output"], 0.0)
        x1, x2 = (float(place) for place in _grid()[int(size.argmax())])
        return (
            Preset("steepest", "The steepest point: the best evidence?", {"x1": x1, "x2": x2, "sigma": 0.0}),
            Preset("edge", "Where a gate turns", {"x1": 0.25, "x2": -0.25, "output": "logit", "sigma": 0.0}),
        )

    def draw(self, state: State) -> Drawing:
        """Two maps over the plane with the point ringed: the score, and the size of its gradient."""
        c, output = CLASSES.index(state["target"]), state["output"]
        grid, point = _grid(), np.array([[state["x1"], state["x2"]]])
        side = len(STEPS)
        value = _value(grid, c, output).reshape(side, side)
        steep = _steepness(c, output, state["sigma"])
        mark = (STEPS[::-1].index(state["x2"]), STEPS.index(state["x1"]))
        unit = {"logit": "logit", "probability": "probability", "loss": "nats"}[output]
        name = "gradient" if not state["sigma"] else f"SmoothGrad, sigma {state['sigma']}"
        panels = [
            Panel(f"{OUTPUTS[output]} of {state['target']}", value, unit, signed=output == "logit", mark=mark),
            Panel(f"size of the {name}", steep, f"{unit} per unit", mark=mark),
        ]
        g = _smoothed(point, c, output, state["sigma"])[0]
        y = float(_probabilities(point)[0, c])
        here, most = float(np.linalg.norm(g)), float(steep.max())
        place = f"At x1 = {state['x1']}, x2 = {state['x2']} the net gives class {state['target']} {y:.1%}."
        both, product = (f"({number(float(v[0]))}, {number(float(v[1]))})" for v in (g, g * point[0]))
        reading = (
            f"{place} The {name} of its {OUTPUTS[output]} is {both}, of size {number(here)}: {here / most:.1%} of the "
            f"largest in the picture. Times the input it is {product}."
        )
        return Drawing(strip(panels, reading, aspect=1.0, columns=2), *_told(output, state["sigma"], y, here / most))


@functools.lru_cache(maxsize=64)
def _steepness(c: int, output: str, sigma: float) -> Array:
    size: Array = np.linalg.norm(_smoothed(_grid(), c, output, sigma), axis=1).reshape(len(STEPS), len(STEPS))
    return size


def _smoothed(points: Array, c: int, output: str, sigma: float) -> Array:
    """Gradient averaged over the cloud around each point; the gradient itself for sigma 0."""
    if not sigma:
        return gradients(points, c, output)
    around = (points[:, None] + sigma * _cloud()).reshape(-1, 2)
    found: Array = gradients(around, c, output).reshape(len(points), -1, 2).mean(1)
    return found


def _told(output: str, sigma: float, y: float, share: float) -> tuple[str, bool]:
    if output != "probability" or sigma:
        return "The task is about the gradient of the probability, without noise.", False
    if y > SURE and share < FLAT:
        return "Solved: the net is sure here, and nothing that you nudge changes that. Now ask for the logit.", True
    if y > SURE:
        return f"Sure ({y:.1%}), but the gradient is still {share:.1%} of the largest. Go on the same way.", False
    return f"Not yet: the net gives the class {y:.1%} here.", False


def gradient_landscape(**state: Any) -> GradientLandscape:
    """Exploration of a gradient as a local answer: the score over a plane of two inputs, and its steepness.

    Parameters
        x1, x2 : float from -3 to 3 in steps of .25. The point.
        target : "A", "B" or "C".
        output : "logit", "probability" or "loss". What is differentiated.
        sigma : 0, .25, .5 or 1. Spread of the cloud over which the gradient is averaged (SmoothGrad).
    Raises
        OptionError: an unknown name or value.
    Examples
        >>> gradient_landscape(x1=2.0, x2=2.0).frame()["solved"]
        True
        >>> gradient_landscape().frame()["solved"]
        False
    """
    return GradientLandscape(**state)
