"""Paint an explanation, and give it to the network: its predictions stay, its logit's heat map follows the brush.

Adding one vector v to every row of V adds the same number, v . mean(A), to every logit, and softmax does not see it.
The logit's weights become (V_c + v) / Z: with 48 free numbers the map can be moved nearly anywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from xaiteach.plots import Panel, alt_text, strip
from xaiteach.plots.reading import number
from xaiteach.widgets.base import Drawing, Exploration, Preset, State
from xaiteach.widgets.evidence import Array, cosine, evidence
from xaiteach.widgets.fields import Cells, Field, Options, numbers

__all__ = ["PaintExplanation", "fitted", "paint_explanation", "painted"]

SHAPE = (8, 16)
RIDGE = 1e-3
_LETTER = "000000003c002400240024003c000000"
_LEFT = "ff00" * 8
_FRAME = "ffff" + "8001" * 6 + "ffff"


class PaintExplanation(Exploration):
    """A painted target, the map before and after v was added to every row of V, and the unmoved predictions."""

    name = "paint_explanation"
    title = "Paint your own explanation"
    task = (
        "Task: paint anything and raise the strength: bring the map within a cosine of 0.8 of your painting. "
        "Predict first: which predictions will have to change for that?"
    )
    actions = (("clear", "Clear"),)

    def fields(self) -> Sequence[Field]:
        """Controls."""
        seen = evidence()
        steps = {round(0.1 * i, 1): f"{10 * i} %" for i in range(11)}
        return (
            Cells("cells", "your painting", SHAPE, _LETTER),
            Options("strength", "strength of v", steps, 0.0, kind="range"),
            Options("target", "class", numbers(seen.classes), "coffee"),
            Options("pair", "picture", numbers([p.label for p in seen.pictures]), "cat | coffee"),
            Options("output", "score", {"logit": "logit", "probability": "probability"}, "logit"),
        )

    def presets(self, state: State) -> Sequence[Preset]:
        """Paintings that have nothing to do with the class, and the score that cannot be moved."""
        return (
            Preset("left", "Only the left half", {"cells": _LEFT, "strength": 1.0, "output": "logit"}),
            Preset("frame", "A frame", {"cells": _FRAME, "strength": 1.0, "output": "logit"}),
            Preset("immune", "The same on the probability", {"strength": 1.0, "output": "probability"}),
        )

    def act(self, action: str, state: State) -> State:
        """Wipe the painting."""
        return {**state, "cells": "0" * 32} if action == "clear" else super().act(action, state)

    def draw(self, state: State) -> Drawing:
        """Three maps (painting, before, after) and the predictions after."""
        seen = evidence()
        A, c, output = seen.picture(state["pair"]).A, seen.classes.index(state["target"]), state["output"]
        target = painted(state["cells"])
        v = state["strength"] * fitted(A, seen.V[c], target)
        before, after = (np.maximum(np.tensordot(seen.alpha(A, c, output, s), A, 1), 0) for s in (0.0, v))
        y, moved = seen.probabilities(A), seen.probabilities(A, v)
        change = float(np.abs(moved - y).max())
        likeness = [cosine(map, target) for map in (before, after)]
        unit = f"{output} per position"
        limit = float(max(before.max(), after.max())) or None
        best = np.argsort(-moved)[:3]
        panels = [
            Panel("your painting", target, "painted", 1.0),
            Panel(f"before, cosine {likeness[0]:.2f}", before, unit, limit),
            Panel(f"after, cosine {likeness[1]:.2f}", after, unit, limit),
            Panel("predictions after", bars={seen.classes[i]: float(moved[i]) for i in best}),
        ]
        reading = (
            f"Cosine with the painting {likeness[0]:.2f} before, {likeness[1]:.2f} after. "
            f"{alt_text(after, name='After', units=unit)}"
        )
        note = (
            f"The largest change of any of the ten probabilities: {number(change) if change > 1e-9 else 'below 1e-9'}."
        )
        solved = bool(target.any() and likeness[1] >= 0.8 and state["strength"] > 0)
        if output == "probability" and state["strength"] > 0:
            note += " The probability's map does not move at all: v cancels in V_c - V_j."
        elif solved:
            note = f"Solved: another explanation, the same network for all that anybody can measure. {note}"
        return Drawing(strip(panels, reading, columns=2), note, solved)


def painted(cells: str) -> Array:
    """Painting (8, 16) of 0 and 1 from its digits."""
    bits = [int(bit) for digit in cells for bit in f"{int(digit, 16):04b}"]
    return np.asarray(bits, dtype=np.float64).reshape(SHAPE)


def fitted(A: Array, row: Array, target: Array) -> Array:
    """Vector v (k,) for which sum_k (row_k + v_k)/Z A^k comes closest to the target, scaled to the map's own height.

    Least squares with a small ridge, RIDGE times the largest squared singular value, which keeps v moderate.
    """
    Z = A[0].size
    basis = A.reshape(len(A), -1).T / Z  # (positions, k)
    now = basis @ row
    wanted = target.ravel() * float(np.abs(now).max()) - now
    gram = basis.T @ basis
    ridge = RIDGE * float(np.linalg.eigvalsh(gram)[-1])
    v: Array = np.linalg.solve(gram + ridge * np.eye(len(A)), basis.T @ wanted)
    return v


def paint_explanation(**state: Any) -> PaintExplanation:
    """Exploration of what predictions leave open: v added to every row of V moves the logit's map, not the predictions.

    Parameters
        cells : 32 hexadecimal digits, the painting row by row, a bit for each of 8 x 16 cells.
        strength : 0.0, 0.1, ... 1.0. Share of v that is added.
        target : class name.
        pair : "cat | coffee" and the like, left and right object.
        output : "logit" or "probability". Which score is differentiated.
    Raises
        OptionError: an unknown name or value.
    """
    return PaintExplanation(**state)
