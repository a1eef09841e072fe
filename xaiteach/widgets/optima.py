"""The plane of free optima of two features, painted by which coefficient of the constrained fit is zero: l0, l1 and l2.

The squares are (beta - b)' G (beta - b) with the free optimum b and G = [[1, rho s], [rho s, s^2]]: correlation rho,
and a second feature s times as long as the first.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from xaiteach.plots import Panel, strip
from xaiteach.widgets.base import Drawing, Exploration, Preset, State
from xaiteach.widgets.fields import Field, Options, numbers

__all__ = ["PlaneOfOptima", "constrained", "plane_of_optima"]

Array = np.ndarray[Any, Any]

STEPS = tuple(round(-3 + 0.25 * i, 2) for i in range(25))
BUDGETS = (0.25, 0.5, 1.0, 1.5, 2.0, 2.5)
CORRELATIONS = (-0.6, 0.0, 0.3, 0.6, 0.9)
LENGTHS = {1.0: "1, as the first", 0.5: "0.5, half as long"}
FEWER = 0.25
"""The task: zeros for fewer than this share of the optima outside the l1 ball."""
_ZERO = 1e-9


def gram(rho: float, s: float) -> Array:
    """G of two features."""
    return np.array([[1.0, rho * s], [rho * s, s * s]])


def constrained(G: Array, b: Array, norm: str, k: float) -> Array:
    """Best coefficients for each free optimum, (m, 2) to (m, 2).

    Parameters
        norm : "l0", at most one feature; "l1" or "l2", at most k.
    """
    if norm == "l0":
        alone = b + np.stack([G[0, 1] * b[:, 1] / G[0, 0], G[0, 1] * b[:, 0] / G[1, 1]], 1)  # each as the only one
        found = np.stack([np.stack([alone[:, 0], 0 * b[:, 0]], 1), np.stack([0 * b[:, 1], alone[:, 1]], 1)])
        return _cheapest(G, b, found)
    if norm == "l1":
        inside = np.abs(b).sum(1) <= k + _ZERO
        sides = []
        for s1 in (1.0, -1.0):
            for s2 in (1.0, -1.0):
                start, along = np.array([0.0, s2 * k]), np.array([s1, -s2])
                t = np.clip(-((start - b) @ G @ along) / (along @ G @ along), 0.0, k)
                sides.append(start + t[:, None] * along)
        return np.where(inside[:, None], b, _cheapest(G, b, np.stack(sides)))
    inside = np.linalg.norm(b, axis=1) <= k + _ZERO
    values, axes = np.linalg.eigh(G)
    turned = b @ axes

    def at(lam: Array) -> Array:
        found: Array = turned * values / (values + lam[:, None])
        return found

    low, high = np.zeros(len(b)), np.full(len(b), float(values.max()) * 3 * STEPS[-1] / k)
    for _ in range(60):
        middle = (low + high) / 2
        longer = np.linalg.norm(at(middle), axis=1) > k
        low, high = np.where(longer, middle, low), np.where(longer, high, middle)
    found_l2: Array = np.where(inside[:, None], b, at(high) @ axes.T)
    return found_l2


def _cheapest(G: Array, b: Array, found: Array) -> Array:
    """Of several candidates (c, m, 2), for each optimum the one that costs least."""
    away = found - b
    best: Array = found[((away @ G) * away).sum(2).argmin(0), np.arange(len(b))]
    return best


def _grid() -> Array:
    across, up = np.meshgrid(STEPS, STEPS[::-1])  # row 0 is b2 = 3
    return np.stack([across.ravel(), up.ravel()], 1)


@functools.lru_cache(maxsize=256)
def painted(rho: float, s: float, norm: str, k: float) -> tuple[Array, float]:
    """Code of each place, (25, 25): 1 where beta2 is 0, -1 where beta1 is, else 0; and the share of zeros outside.

    An optimum on an axis has its zero before any budget: it is painted, and not counted.
    """
    b = _grid()
    size = np.abs(constrained(gram(rho, s), b, norm, k))
    code = (size[:, 1] < _ZERO).astype(float) - (size[:, 0] < _ZERO)
    length = np.abs(b).sum(1) if norm == "l1" else np.linalg.norm(b, axis=1)
    off_axis = (np.abs(b) > _ZERO).all(1)  # an optimum on an axis has its zero before any budget
    outside = (length > k + _ZERO) | (norm == "l0")
    share = float((size.min(1) < _ZERO)[outside & off_axis].mean())
    return np.where(outside, code, 0.0).reshape(len(STEPS), len(STEPS)), share


class PlaneOfOptima(Exploration):
    """Where each budget leaves a zero, and what it makes of one free optimum."""

    name = "plane_of_optima"
    title = "Which coefficient is zero?"
    task = (
        f"Task: let l1 leave a zero for fewer than {FEWER:.0%} of the optima outside its ball. Predict first: what "
        "moves that share, the correlation or the budget k? (b1 runs to the right, b2 upwards; the outline is the "
        "budget's set.)"
    )

    def fields(self) -> Sequence[Field]:
        """Controls."""
        return (
            Options("b1", "free optimum, b1", numbers(STEPS), 2.0, kind="range"),
            Options("b2", "free optimum, b2", numbers(STEPS), 1.0, kind="range"),
            Options("k", "budget, k (of l1 and l2)", numbers(BUDGETS), 1.0, kind="range"),
            Options("rho", "correlation", numbers(CORRELATIONS), 0.0, kind="range"),
            Options("length", "length of the second feature", LENGTHS, 1.0),
        )

    def presets(self, state: State) -> Sequence[Preset]:
        """An optimum on an axis, which makes every budget look sparse; and one in the strip between the cones."""
        return (
            Preset("axis", "On an axis: is l1 always sparse?", {"b1": 2.5, "b2": 0.0, "rho": 0.0, "k": 1.0}),
            Preset("strip", "Between the cones", {"b1": 2.0, "b2": 1.75, "rho": 0.6, "k": 1.0}),
        )

    def draw(self, state: State) -> Drawing:
        """Three planes, one for each budget, with the free optimum ringed and the budget's set outlined."""
        rho, s, k = state["rho"], state["length"], state["k"]
        G, b = gram(rho, s), np.array([[state["b1"], state["b2"]]])
        mark = (STEPS[::-1].index(state["b2"]), STEPS.index(state["b1"]))
        side, grid = len(STEPS), _grid()
        sets = {
            "l0": (grid == 0).any(1),
            "l1": np.abs(grid).sum(1) <= k + _ZERO,
            "l2": np.linalg.norm(grid, axis=1) <= k + _ZERO,
        }
        panels, told = [], []
        for norm, inside in sets.items():
            code, share = painted(rho, s, norm, k)
            title = "l0: one feature" if norm == "l0" else f"{norm}: at most {k:g}"
            panels.append(
                Panel(title, code, "which is 0", limit=1.0, signed=True, mark=mark, mask=inside.reshape(side, side))
            )
            beta = constrained(G, b, norm, k)[0]
            told.append(f"{norm} gives ({beta[0] + 0.0:.2f}, {beta[1] + 0.0:.2f}), and a zero for {share:.0%}")
        share = painted(rho, s, "l1", k)[1]
        reading = (
            f"Red: the second coefficient is 0; blue: the first is. From the free optimum ({state['b1']}, "
            f"{state['b2']}) {'; '.join(told)} of the optima outside that lie on no axis."
        )
        return Drawing(strip(panels, reading, aspect=1.0), *_told(share))


def _told(share: float) -> tuple[str, bool]:
    if share < FEWER:
        return f"Solved: {share:.0%}. A large ball has wide sides, and between its corners' cones lie the strips.", True
    return f"Not yet: l1 leaves a zero for {share:.0%} of the optima outside.", False


def plane_of_optima(**state: Any) -> PlaneOfOptima:
    """Exploration of three budgets for two coefficients: which of them is zero, wherever the free optimum lies.

    Parameters
        b1, b2 : float from -3 to 3 in steps of .25. The free optimum.
        k : .25, .5, 1, 1.5, 2 or 2.5. Radius of the l1 and the l2 ball.
        rho : -.6, 0, .3, .6 or .9. Correlation of the two features.
        length : 1 or .5. Length of the second feature, where the first has 1.
    Raises
        OptionError: an unknown name or value.
    Examples
        >>> plane_of_optima(k=2.0).frame()["solved"], plane_of_optima(rho=0.9).frame()["solved"]
        (True, False)
    """
    return PlaneOfOptima(**state)
