"""A clip frame by frame: each frame's map for a class under two heads and two scales, and its share of the score."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xaiteach.plots import Panel, strip
from xaiteach.widgets.base import Drawing, Exploration, Preset, State
from xaiteach.widgets.fields import Field, Options, numbers

__all__ = ["FrameSlider", "frame_slider"]

Array = np.ndarray[Any, Any]

HEADS = {"mean": "features averaged over time, logit", "late": "probabilities averaged over time"}
SCALES = {"clip": "one scale for the clip", "frame": "each frame by its own maximum"}
FRAMES = tuple(range(12))


@dataclass(frozen=True, eq=False)
class _Seen:
    """The clip's frames (T, 3, 64, 64), its maps A (T, K, 8, 8), the head, and the share of new columns."""

    frames: Array
    A: Array
    V: Array
    b: Array
    classes: tuple[str, ...]
    fraction: Array
    t_star: int


@functools.cache
def _seen() -> _Seen:
    import torch

    from xaiteach import data, models

    clip: Any = data.pan("cat", "rocket")
    model: Any = models.load("crops_cnn").double()
    with torch.no_grad():
        A = model.features(clip.x.double())
        head = model.classifier
        return _Seen(
            clip.x.numpy(), A.numpy(), head.weight.numpy(), head.bias.numpy(), data.crops(split="test").class_names,
            clip.fraction, clip.t_star,
        )  # fmt: skip


@functools.lru_cache(maxsize=64)
def maps(target: str, head: str) -> tuple[Array, Array, Array]:
    """Maps L (T, 8, 8) of the clip's score, the sum of gradient x activation of each frame (T,), and y_c^t (T,)."""
    seen = _seen()
    T, _, d1, d2 = seen.A.shape
    c = seen.classes.index(target)
    s = seen.A.mean((2, 3)) @ seen.V.T + seen.b
    y = np.exp(s - s.max(1, keepdims=True))
    y /= y.sum(1, keepdims=True)
    rows = np.broadcast_to(seen.V[c], (T, seen.V.shape[1]))
    if head == "late":
        rows = y[:, c : c + 1] * (y[:, :, None] * (seen.V[c] - seen.V)).sum(1)
    alpha = rows / (T * d1 * d2)
    signed = np.einsum("tk,tkij->tij", alpha, seen.A)
    return np.maximum(signed, 0), signed.sum((1, 2)), y[:, c]


class FrameSlider(Exploration):
    """A frame, its map, and the energies of all frames."""

    name = "frame_slider"
    title = "A clip, frame by frame"
    task = (
        "Task: find the first frame whose exact share of the rocket's score is above 0 (averaged features, one "
        "scale). Predict "
        "first: before, at, or after frame 7, the first of which half is new?"
    )

    def fields(self) -> Sequence[Field]:
        """Controls."""
        return (
            Options("t", "frame t", numbers(FRAMES), 0, kind="range"),
            Options("target", "class", numbers(_seen().classes), "rocket"),
            Options("head", "score of the clip", HEADS, "mean"),
            Options("scale", "scale of the maps", SCALES, "clip"),
        )

    def presets(self, state: State) -> Sequence[Preset]:
        """A frame without a rocket whose map shines as bright as any; and the head in which sure frames fade."""
        return (
            Preset(
                "shines", "Frame 0: a rocket already?", {"t": 0, "target": "rocket", "scale": "frame", "head": "mean"}
            ),
            Preset(
                "fades", "The surest frame, late fusion", {"t": 11, "target": "rocket", "scale": "clip", "head": "late"}
            ),
        )

    def draw(self, state: State) -> Drawing:
        """The frame, its map on the scale chosen, and each frame's energy as a share of the largest."""
        seen, t, target = _seen(), state["t"], state["target"]
        L, sums, y = maps(target, state["head"])
        unit = "logit" if state["head"] == "mean" else "probability"
        limit = float(L.max() if state["scale"] == "clip" else L[t].max()) or 1.0
        energies = L.sum((1, 2))
        shown = L if state["scale"] == "clip" else L / np.maximum(L.max((1, 2), keepdims=True), 1e-300)
        heights = shown.sum((1, 2))
        bars = {f"{'> ' if i == t else ''}{i}": float(h / (heights.max() or 1.0)) for i, h in enumerate(heights)}
        panels = [
            Panel(f"frame {t}: {seen.fraction[t]:.0%} new", seen.frames[t]),
            Panel(f"its map for {target}", L[t], unit, limit=limit),
            Panel("energy by frame, as shown", bars=bars),
        ]
        share = "its exact share of the score is" if state["head"] == "mean" else "gradient x activation adds up to"
        reading = (
            f"Frame {t}: {seen.fraction[t]:.0%} of its columns are new; alone it would be {target} with {y[t]:.0%}. "
            f"For the clip's score of {target}, {share} {sums[t]:+.3f}, the energy of its map {energies[t]:.3f}; "
            f"all frames together: {sums.sum():+.2f} and {energies.sum():.2f}. Scale: {SCALES[state['scale']]}."
        )
        return Drawing(strip(panels, reading, aspect=1.0), *_told(state, sums))


def _told(state: State, sums: Array) -> tuple[str, bool]:
    if (state["target"], state["head"], state["scale"]) != ("rocket", "mean", "clip"):
        return "The task is about the rocket, averaged features and one scale.", False
    t, first = state["t"], int((sums > 0).argmax())
    if t == first:
        return f"Solved: frame {t}, before half of it is new (that is frame {_seen().t_star}).", True
    return (
        f"Not yet: the share of frame {t} is {sums[t]:+.3f}{', but it is not the first' if t > first else ''}.",
        False,
    )


def frame_slider(**state: Any) -> FrameSlider:
    """Exploration of a clip that pans from a cat to a rocket: the map of each frame for the score of the whole clip.

    Parameters
        t : int from 0 to 11. The frame.
        target : class name of `data.crops`.
        head : "mean" or "late". How the clip's score is made.
        scale : "clip" or "frame". What a map's brightest colour stands for.
    Raises
        OptionError: an unknown name or value.
    Examples
        >>> frame_slider(t=6).frame()["solved"], frame_slider(t=7).frame()["solved"]
        (True, False)
    """
    return FrameSlider(**state)
