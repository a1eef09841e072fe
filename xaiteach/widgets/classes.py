"""One picture with two objects, ten classes to ask about, and whether the map follows the class."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from xaiteach.plots import Panel, alt_text, strip
from xaiteach.widgets.base import Drawing, Exploration, Preset, State
from xaiteach.widgets.evidence import Array, evidence
from xaiteach.widgets.fields import Field, Options, numbers

__all__ = ["ClassSlider", "class_slider"]

SCALES = {"one": "one scale for all classes", "own": "each to its own largest value"}


class ClassSlider(Exploration):
    """Grad-CAM for any class on any two-object picture, with the energy in the class's half and its controls."""

    name = "class_slider"
    title = "One picture, ten classes"
    task = (
        "Task: find a picture and a class in it for which less of the map lies on the right object than chance would "
        "give. Predict first: can that happen where the network is sure?"
    )

    def fields(self) -> Sequence[Field]:
        """Controls."""
        seen = evidence()
        return (
            Options("target", "class", numbers(seen.classes), "coffee", kind="range"),
            Options("pair", "picture", numbers([p.label for p in seen.pictures]), "cat | coffee", kind="range"),
            Options("scale", "colours", SCALES, "one"),
        )

    def presets(self, state: State) -> Sequence[Preset]:
        """A picture that works, one that fails, and a scale that misleads."""
        return (
            Preset("works", "It works", {"pair": "cat | coffee", "target": "coffee", "scale": "one"}),
            Preset("fails", "It fails", {"pair": "retina | astronaut", "target": "astronaut", "scale": "one"}),
            Preset("absent", "A class that is not there", {"pair": "cat | coffee", "target": "stars", "scale": "own"}),
        )

    def draw(self, state: State) -> Drawing:
        """Three panels: the picture with the class's half outlined, the map, the energy beside its controls."""
        seen = evidence()
        picture, name = seen.picture(state["pair"]), state["target"]
        maps = _maps(state["pair"])
        heat = maps[seen.classes.index(name)]
        limit = float(maps.max()) if state["scale"] == "one" else float(heat.max())
        probability = seen.probabilities(picture.A)[seen.classes.index(name)]
        mask = picture.mask(name, heat.shape)
        sure = f"The network gives {name} {100 * probability:.1f} %."
        reading = f"{sure} {alt_text(heat, mask=mask, name=f'Map for {name}', units='logit per position')}"
        panels = [
            Panel(picture.label, picture.image, mask=picture.mask(name, picture.image.shape[1:])),
            Panel(f"Grad-CAM for {name}", heat, "logit per position", limit or None, mask=mask),
        ]
        if mask is None:
            note = f"{name} is in neither half, so there is nothing to score. The map is drawn all the same."
            return Drawing(strip(panels, reading), note)
        blind = picture.A.sum(0)
        energy = _share(heat, mask)
        scores = {"Grad-CAM": energy, "sum of A": _share(blind, mask), "chance": float(mask.mean())}
        panels.append(Panel("energy in its half", bars=scores))
        note = f"{100 * energy:.0f} % of the map lies on the {name}; chance gives {100 * mask.mean():.0f} %."
        failed = bool(energy < mask.mean())
        if failed:
            note += f" Found: the network gives {name} {100 * probability:.0f} %, and its map lies on the other object."
        return Drawing(strip(panels, reading), note, failed)


@functools.cache
def _maps(label: str) -> Array:
    """Grad-CAM of every class (c, h, w) on one picture."""
    seen = evidence()
    A = seen.picture(label).A
    alphas = np.stack([seen.alpha(A, c) for c in range(len(seen.classes))])
    maps: Array = np.maximum(np.tensordot(alphas, A, 1), 0)
    return maps


def _share(heat: Array, mask: Any) -> float:
    total = float(heat.sum())
    return float(heat[mask].sum()) / total if total else 0.0


def class_slider(**state: Any) -> ClassSlider:
    """Exploration of class sensitivity: Grad-CAM for each of ten classes on pictures that hold two of them.

    Parameters
        target : class name.
        pair : "cat | coffee" and the like, left and right object; "retina | astronaut" fails.
        scale : "one" (colours end at the largest value of all ten classes) or "own" (at this map's own).
    Raises
        OptionError: an unknown name or value.
    """
    return ClassSlider(**state)
