"""A clip, frame by frame: the map of each frame, its share of the clip's score, and what a scale makes of them.

Symbols: A (T, k, h, w) maps of the frames, alpha (T, k) their weights for the clip's score, L^t = ReLU(alpha^t . A^t),
C_t = sum of gradient times activation (with the averaged head: what frame t adds to the score).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xaiteach.plots import Panel, alt_text, strip
from xaiteach.plots.reading import number
from xaiteach.widgets.base import Drawing, Exploration, Preset, State
from xaiteach.widgets.evidence import Array, evidence
from xaiteach.widgets.fields import Field, Options, numbers

__all__ = ["CLIPS", "FrameSlider", "curves_of", "frame_slider"]

CLIPS = {
    "cat to rocket": ("cat", "rocket", 24),
    "cat to gravel": ("cat", "gravel", 24),
    "tissue to coffee": ("tissue", "coffee", 40),
    "brick to gravel": ("brick", "gravel", 8),
}
"""Label -> leaving subject, entering subject, columns crossed before anything new is seen."""
ASKED = "brick to gravel"
HEADS = {"mean": "logits, averaged over time", "late": "late fusion of probabilities"}
SCALES = {"clip": "one scale for the clip", "frame": "each frame to its own largest value"}
FRAMES = 12


@dataclass(frozen=True, eq=False)
class Seen:
    """What is known of one clip: frames, maps, probabilities (T, c), new columns, t*, and both subjects."""

    x: Array
    A: Array
    y: Array
    fraction: Array
    t_star: int
    names: tuple[str, str]


@dataclass(frozen=True, eq=False)
class Curves:
    """Maps (T, h, w) of one class under one head, and their curves over time."""

    maps: Array
    share: Array
    energy: Array


class FrameSlider(Exploration):
    """One frame of a pan, its map, and the curves of share and energy over all frames."""

    name = "frame_slider"
    title = "A clip, frame by frame"
    task = (
        "Task: in the clip from brick to gravel find t*, the first frame of which at least half is new: look where the "
        "border runs. Predict first: will the map be brightest there? And what of a frame in which nothing is new yet?"
    )

    def fields(self) -> Sequence[Field]:
        """Controls."""
        return (
            Options("t", "frame t", numbers(range(FRAMES)), 3, kind="range"),
            Options("target", "class", numbers(evidence().classes), "rocket"),
            Options("clip", "clip", numbers(list(CLIPS)), "cat to rocket"),
            Options("head", "score of the clip", HEADS, "mean"),
            Options("scale", "colours", SCALES, "clip"),
        )

    def presets(self, state: State) -> Sequence[Preset]:
        """A frame with nothing in it that shines, evidence that energy hides, and a sure frame that goes dim."""
        shines = {"clip": "tissue to coffee", "target": "coffee", "t": 3, "head": "mean", "scale": "frame"}
        against = {"clip": "cat to gravel", "target": "gravel", "t": 0, "head": "mean", "scale": "clip"}
        dim = {"clip": "cat to gravel", "target": "gravel", "t": 11, "head": "late", "scale": "clip"}
        return (
            Preset("shines", "Coffee in this frame?", shines),
            Preset("against", "A frame that argues against", against),
            Preset("sure", "Nothing but gravel, and dim", dim),
        )

    def draw(self, state: State) -> Drawing:
        """Three panels: the frame, its map, and both curves with the frame marked."""
        seen, c, t = _seen(state["clip"]), evidence().classes.index(state["target"]), state["t"]
        found = curves_of(state["clip"], c, state["head"])
        unit = "logit" if state["head"] == "mean" else "probability"
        heat, largest = found.maps[t], float(found.maps.max())
        limit = largest if state["scale"] == "clip" else float(heat.max())
        name = "share" if state["head"] == "mean" else "grad x A"
        panels = [
            Panel(f"frame {t}", seen.x[t]),
            Panel(f"map for {state['target']}", heat, f"{unit} per position", limit or None),
            Panel(
                f"over the frames, in {unit}",
                curves={name: found.share.tolist(), "energy": found.energy.tolist()},
                at=t,
            ),
        ]
        what = "Its share of the score" if state["head"] == "mean" else "Gradient times activation"
        reading = (
            f"Frame {t} of 0 to {FRAMES - 1}: alone, the net would give {state['target']} {100 * seen.y[t, c]:.1f} %. "
            f"{what} is {number(float(found.share[t]))}, the energy of its map {number(float(found.energy[t]))} "
            f"(largest: frame {int(found.energy.argmax())}). {alt_text(heat, name='Map', units=f'{unit} per position')}"
        )
        solved = t == seen.t_star and state["clip"] == ASKED
        return Drawing(strip(panels, reading, aspect=1.0), _told(state, seen, heat, largest), solved)


def _told(state: State, seen: Seen, heat: Array, largest: float) -> str:
    new, entering = float(seen.fraction[state["t"]]), seen.names[1]
    if state["t"] == seen.t_star:
        found = "Solved" if state["clip"] == ASKED else f"That is t* of this clip; the task asks for {ASKED}"
        note = f"{found}: {100 * new:.0f} % of frame {seen.t_star} is {entering}. Now look at the curves there."
    else:
        note = f"Not t*: {'less than half' if new < 0.5 else 'more than half'} of this frame is {entering}."
    if not new and state["target"] == entering and state["scale"] == "frame":
        if not heat.any():
            return f"{note} Nothing is: its map is blank, and there is nothing to scale."
        note += (
            " Nothing of it is, and still its map fills the colours: at its brightest it has "
            f"{100 * heat.max() / largest:.1f} % of the clip's largest value."
        )
    return note


@functools.cache
def _seen(label: str) -> Seen:
    import torch

    from xaiteach import data

    first, second, lead = CLIPS[label]
    clip, model = data.pan(first, second, lead=lead), _network()
    x = clip.x.double()
    with torch.no_grad():
        A = model.features(x)
        y = model.classifier(A.mean((2, 3))).softmax(1)
    return Seen(x.numpy(), A.numpy(), y.numpy(), clip.fraction, clip.t_star, (first, second))


@functools.cache
def _network() -> Any:
    from xaiteach import models

    return models.load("crops_cnn").double()


@functools.cache
def curves_of(label: str, c: int, head: str) -> Curves:
    """The weights are the head's: V_c / (T Z), or y_c^t sum_j y_j^t (V_c - V_j) / (T Z), in which nothing cancels."""
    A, y, V = _seen(label).A, _seen(label).y, evidence().V
    rows = np.tile(V[c], (len(A), 1)) if head == "mean" else y[:, c : c + 1] * (y @ (V[c] - V))
    signed: Array = np.einsum("tk,tkij->tij", rows / (len(A) * A[0, 0].size), A)
    maps = np.maximum(signed, 0.0)
    return Curves(maps, signed.sum((1, 2)), maps.sum((1, 2)))


def frame_slider(**state: Any) -> FrameSlider:
    """Exploration of a clip: each frame's map, its share of the clip's score and its energy, under two heads.

    Parameters
        t : 0 to 11. The frame.
        target : class name.
        clip : "cat to rocket", "cat to gravel", "tissue to coffee" or "brick to gravel".
        head : "mean" (logits averaged over time, where the shares add up to the score less its bias) or "late"
            (probabilities averaged over time, where they do not).
        scale : "clip" (colours end at the largest value of all frames) or "frame" (at this frame's own).
    Raises
        OptionError: an unknown name or value.
    Examples
        >>> [frame_slider(clip="brick to gravel", t=t).frame()["solved"] for t in (4, 5, 6)]
        [False, True, False]
    """
    return FrameSlider(**state)
