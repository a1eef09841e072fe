"""Ten drawn objects: which points belong to a shape, and how it is painted.

Shapes lie around (0, 0) within the unit circle; u runs to the right, v down. An object's class is its shape alone:
size, place, rotation and the two colours of its stripes are drawn without regard to it, so that a network has to look
at the outline.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["LARGEST", "SHAPES", "Look", "drawn_look", "paint"]

Floats = npt.NDArray[np.floating[Any]]
Inside = Callable[[Floats, Floats], npt.NDArray[np.bool_]]

LARGEST = 17.0
"""Largest radius of an object, in pixels."""
_SMALLEST = 11.0
_FINE = 4  # sub-samples per pixel and axis


def _regular(corners: int, u: Floats, v: Floats) -> Floats:
    """Distance from the centre along the nearest side's normal; 1 on the sides of a polygon with inner radius 1."""
    angle = np.arctan2(u, -v)  # 0 at the top, where a corner lies
    return np.asarray(np.hypot(u, v) * np.cos((angle % (2 * np.pi / corners)) - np.pi / corners))


def _star(u: Floats, v: Floats) -> npt.NDArray[np.bool_]:
    """Five points at radius 1, five notches at radius 0.45."""
    half = np.pi / 5
    fold = np.abs((np.arctan2(u, -v) + half) % (2 * half) - half)  # angle to the nearest point's axis
    along, aside = np.hypot(u, v) * np.cos(fold), np.hypot(u, v) * np.sin(fold)
    notch_along, notch_aside = 0.45 * np.cos(half), 0.45 * np.sin(half)
    return np.asarray(aside * (1 - notch_along) <= (1 - along) * notch_aside)


def _heart(u: Floats, v: Floats) -> npt.NDArray[np.bool_]:
    a, b = 1.36 * u, 0.1 - 1.36 * v
    return np.asarray((a**2 + b**2 - 1) ** 3 - a**2 * b**3 <= 0)


SHAPES: dict[str, Inside] = {
    "disc": lambda u, v: np.hypot(u, v) <= 0.9,
    "ring": lambda u, v: np.abs(np.hypot(u, v) - 0.75) <= 0.25,
    "crescent": lambda u, v: (np.hypot(u, v) <= 1) & (np.hypot(u - 0.5, v) > 0.8),
    "triangle": lambda u, v: _regular(3, u, v) <= 0.5,
    "square": lambda u, v: np.maximum(np.abs(u), np.abs(v)) <= 0.7,
    "cross": lambda u, v: (np.minimum(np.abs(u), np.abs(v)) <= 0.28) & (np.maximum(np.abs(u), np.abs(v)) <= 0.95),
    "star": _star,
    "heart": _heart,
    "bar": lambda u, v: (np.abs(u) <= 0.95) & (np.abs(v) <= 0.28),
    "hourglass": lambda u, v: (np.abs(u) <= np.abs(v) + 0.08) & (np.abs(v) <= 0.66),
}
"""Name -> whether points (u, v) belong to the shape; each lies within the unit circle."""


@dataclass(frozen=True)
class Look:
    """How one object is drawn.

    Parameters
        row, column : float, in pixels from the image's top left edge. The centre.
        radius : float, in pixels. Of the circle that the shape lies in.
        angle : float, in radians. Clockwise rotation.
        colours : two RGB triples in [0, 1], which stripes take turns with.
        period, phase, direction : of the stripes: pixels from one to the next, and two angles in radians.
    """

    row: float
    column: float
    radius: float
    angle: float
    colours: tuple[tuple[float, float, float], tuple[float, float, float]]
    period: float
    phase: float
    direction: float


def drawn_look(rng: np.random.Generator, size: int) -> Look:
    """A look drawn at random, the whole object inside an image of `size` x `size`.

    One colour is light and one dark, so that part of every object stands out from any scene.
    """
    radius = rng.uniform(_SMALLEST, LARGEST)
    row, column = rng.uniform(radius + 1, size - radius - 1, size=2)
    light = colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(0.2, 0.9), rng.uniform(0.85, 1.0))
    dark = colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(0.3, 1.0), rng.uniform(0.15, 0.5))
    angle, phase, direction = rng.uniform(0, 2 * np.pi, size=3)
    return Look(row, column, radius, angle, (light, dark), rng.uniform(4.0, 9.0), phase, direction)


def paint(
    picture: npt.NDArray[np.float32], shape: str, look: Look
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Return the picture (3, h, w) with the object over it, and the mask (h, w) of the pixels that it touches.

    A pixel takes the object's colour by the share of it that the shape covers (of 4 x 4 points); outside the mask the
    picture is as before, bit for bit.

    Examples
        >>> look = Look(8.0, 8.0, 6.0, 0.0, ((1.0, 1.0, 1.0), (0.0, 0.0, 0.0)), 5.0, 0.0, 0.0)
        >>> x, mask = paint(np.zeros((3, 16, 16), np.float32), "square", look)
        >>> int(mask.sum())
        100
    """
    h, w = picture.shape[1:]
    top, left = (max(int(np.floor(centre - look.radius)), 0) for centre in (look.row, look.column))
    bottom, right = (
        min(int(np.ceil(centre + look.radius)), side) for centre, side in ((look.row, h), (look.column, w))
    )
    rows = top + (np.arange((bottom - top) * _FINE) + 0.5) / _FINE - look.row
    columns = left + (np.arange((right - left) * _FINE) + 0.5) / _FINE - look.column
    cos, sin = np.cos(look.angle) / look.radius, np.sin(look.angle) / look.radius
    u = columns[None, :] * cos + rows[:, None] * sin
    v = rows[:, None] * cos - columns[None, :] * sin
    inside = SHAPES[shape](u, v).reshape(bottom - top, _FINE, right - left, _FINE)
    cover = inside.mean(axis=(1, 3))  # (rows, columns) of the window

    painted, mask = picture.copy(), np.zeros((h, w), dtype=np.bool_)
    mask[top:bottom, left:right] = cover > 0
    window = painted[:, top:bottom, left:right]
    mixed = (1 - cover) * window + cover * _stripes(look, slice(top, bottom), slice(left, right))
    np.copyto(window, mixed.astype(np.float32), where=cover > 0)
    return painted, mask


def _stripes(look: Look, rows: slice, columns: slice) -> Floats:
    """Colours (3, h, w) of the stripes, which go over into each other as a sine does."""
    y = np.arange(rows.start, rows.stop) + 0.5 - look.row
    x = np.arange(columns.start, columns.stop) + 0.5 - look.column
    along = y[:, None] * np.sin(look.direction) + x[None, :] * np.cos(look.direction)
    mix = 0.5 + 0.5 * np.sin(2 * np.pi * along / look.period + look.phase)
    light, dark = (np.asarray(colour)[:, None, None] for colour in look.colours)
    return np.asarray(mix * light + (1 - mix) * dark)
