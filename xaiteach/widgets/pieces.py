"""The pieces of Grad-CAM: one map, its weight, their product, and what a few of them make of the whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from xaiteach.errors import OptionError
from xaiteach.plots import Panel, alt_text, strip
from xaiteach.plots.reading import number
from xaiteach.widgets.base import Drawing, Exploration, Preset, State
from xaiteach.widgets.evidence import Array, Output, Picture, evidence
from xaiteach.widgets.fields import Chosen, Field, Options, Toggle, numbers

__all__ = ["GradCamPieces", "gradcam_pieces"]

KEPT = 3
OUTPUTS = {"logit": "logit", "probability": "probability"}


class GradCamPieces(Exploration):
    """A^k, alpha_k and their product for one channel; the sum over the kept channels beside the whole map."""

    name = "gradcam_pieces"
    title = "The pieces of Grad-CAM"
    task = (
        "Task: keep three channels so that the sum of only these has its peak where the whole map has it. "
        "Predict first: will the three largest weights do?"
    )
    actions = (("keep", "Keep this channel"),)

    def fields(self) -> Sequence[Field]:
        """Controls."""
        seen = evidence()
        return (
            Options("pair", "picture", numbers([p.label for p in seen.pictures]), "gravel | astronaut"),
            Options("target", "class", numbers(seen.classes), "astronaut"),
            Options("channel", "channel k", numbers(range(len(seen.V[0]))), 22, kind="range"),
            Chosen("kept", "kept:", len(seen.V[0]), KEPT),
            Toggle("relu", "ReLU after the sum", True),
            Options("output", "score", OUTPUTS, "logit"),
        )

    def presets(self, state: State) -> Sequence[Preset]:
        """The two ways to choose three: by weight alone, and by what each adds at the peak."""
        alpha, A = _weights(state)
        at_peak = (alpha[:, None, None] * A)[(slice(None), *_peak(_total(alpha, A)))]
        return (
            Preset("weights", "The three largest weights", {"kept": _largest(alpha)}),
            Preset("contributions", "The three largest products at the peak", {"kept": _largest(at_peak)}),
        )

    def act(self, action: str, state: State) -> State:
        """Keep the channel of the slider."""
        if action != "keep":
            return super().act(action, state)
        if state["channel"] in state["kept"]:
            raise OptionError(f"channel {state['channel']} is kept already. Try another one.")
        return {**state, "kept": [*state["kept"], state["channel"]]}

    def draw(self, state: State) -> Drawing:
        """Five panels: the picture, A^k, alpha_k A^k, the kept sum, the whole map; the last two on one scale."""
        alpha, A = _weights(state)
        k, kept = state["channel"], state["kept"]
        unit = f"{state['output']} per position"
        whole, part = _total(alpha, A), _total(alpha[kept], A[kept])
        peak, peak_part = _peak(whole), _peak(part) if kept else None
        if state["relu"]:
            whole, part = np.maximum(whole, 0), np.maximum(part, 0)
        limit = float(max(np.abs(whole).max(), np.abs(part).max())) or None
        signed = not state["relu"]
        rank = int((alpha > alpha[k]).sum()) + 1
        panels = [
            Panel(evidence().picture(state["pair"]).label, evidence().picture(state["pair"]).image),
            Panel(f"map A, k = {k}", A[k], "activation"),
            Panel(f"alpha A, alpha = {number(float(alpha[k]))}", alpha[k] * A[k], unit, signed=True),
            Panel(f"sum over kept: {kept or 'none'}", part, unit, limit, signed, mark=peak_part),
            Panel(f"whole map for {state['target']}", whole, unit, limit, signed, mark=peak),
        ]
        reading = (
            f"Channel {k} has weight {number(float(alpha[k]))}, the {_ordinal(rank)} largest of {len(alpha)}, and "
            f"activation up to {number(float(A[k].max()))}. {alt_text(whole, name='Whole map', units=unit)}"
        )
        if kept:
            reading += f" {alt_text(part, name=f'Channels {kept} alone', units=unit)}"
        return Drawing(strip(panels, reading), *_told(kept, peak, peak_part, _where(state, peak_part)))


def _told(kept: list[int], peak: tuple[int, int], part: tuple[int, int] | None, where: str) -> tuple[str, bool]:
    if part is None:
        return f"No channel is kept yet. The whole map's peak: row {peak[0]}, column {peak[1]}.", False
    same = part == peak
    if len(kept) < KEPT:
        return f"{len(kept)} of {KEPT} kept; their peak is {'there' if same else f'elsewhere, {where}'} so far.", False
    if same:
        return f"Solved: channels {kept} alone keep the peak at row {peak[0]}, column {peak[1]}.", True
    return f"Not yet: the peak of {kept} alone is at row {part[0]}, column {part[1]}, {where}.", False


def _where(state: State, peak: tuple[int, int] | None) -> str:
    """On which object a position lies."""
    picture = evidence().picture(state["pair"])
    if peak is None:
        return ""
    return f"on the {picture.names[peak[1] >= picture.A.shape[2] // 2]}"


def _weights(state: State) -> tuple[Array, Array]:
    seen = evidence()
    picture: Picture = seen.picture(state["pair"])
    output: Output = state["output"]
    return seen.alpha(picture.A, seen.classes.index(state["target"]), output), picture.A


def _total(alpha: Array, A: Array) -> Array:
    total: Array = np.tensordot(alpha, A, 1)
    return total


def _peak(map: Array) -> tuple[int, int]:
    row, column = np.unravel_index(int(map.argmax()), map.shape)
    return int(row), int(column)


def _largest(values: Array) -> list[int]:
    return [int(k) for k in np.argsort(-values, kind="stable")[:KEPT]]


def _ordinal(rank: int) -> str:
    ending = "th" if 10 <= rank % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(rank % 10, "th")
    return f"{rank}{ending}"


def gradcam_pieces(**state: Any) -> GradCamPieces:
    """Exploration of the pieces of Grad-CAM: L = ReLU(sum_k alpha_k A^k).

    Parameters
        pair : "gravel | astronaut" and the like, left and right object.
        target : class name.
        channel : int from 0 to 47. Which map is shown alone.
        kept : list of at most three channels, added up beside the whole map.
        relu : bool. Whether the sums are cut at zero.
        output : "logit" or "probability". Which score is differentiated.
    Raises
        OptionError: an unknown name or value.
    Examples
        >>> gradcam_pieces(kept=[0, 1, 2]).frame()["solved"]  # their peak lies elsewhere
        False
    """
    return GradCamPieces(**state)
