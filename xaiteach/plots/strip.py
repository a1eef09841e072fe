"""Rows of small panels with a fixed layout, drawn fast enough to follow a slider (some 50 ms).

The panels stand on white in every theme: a heat map's colours mean numbers and must not change with the page. Colours
and contours are those of `heat_map`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from xaiteach.errors import OptionError
from xaiteach.plots.heat_maps import Extent, draw_map, draw_outline, draw_picture, picture_of
from xaiteach.plots.reading import as_map, as_mask, number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from xaiteach.plots.figure import ReadableFigure

__all__ = ["Panel", "strip"]

_WIDTH, _GAP, _ABOVE, _BELOW = 2.3, 0.12, 0.28, 0.36  # inches


@dataclass(frozen=True)
class Panel:
    """One panel: a map (with units), a picture (no units), bars, or curves.

    Parameters
        title : str. Put over it.
        values : (h, w) for a map; (3, h, w), (h, w) or None for a picture; left out for bars and curves.
        units : of a map; shown with the two ends of its colour bar. Empty for a picture.
        limit : float > 0. Where a map's colours end; None: at its own largest absolute value.
        signed : bool. Diverging colours from -limit to limit, else sequential ones from 0.
        mark : (row, column) to ring, or None.
        mask : bool (h, w), outlined, or None.
        bars : label -> value in [0, 1], for a panel of bars.
        curves : label -> one number for each step, two curves at most; zero is drawn in.
        at : step of the curves to mark, or None.
    """

    title: str
    values: Any = None
    units: str = ""
    limit: float | None = None
    signed: bool = False
    mark: tuple[int, int] | None = None
    mask: Any = None
    bars: Mapping[str, float] = field(default_factory=dict)
    curves: Mapping[str, Sequence[float]] = field(default_factory=dict)
    at: int | None = None


def strip(panels: Sequence[Panel], reading: str, *, aspect: float = 0.5, columns: int = 3) -> ReadableFigure:
    """Panels side by side in rows, each with its own scale stated under it.

    Parameters
        panels : one or more.
        reading : the line that reads the figure; it becomes its `.alt_text` and is not drawn.
        aspect : height over width of a map.
        columns : panels in a row; three make a figure that is readable in a window of 600 pixels.
    Returns
        Figure; every panel is 2.3 inches wide.
    Raises
        OptionError: no panel.
        ShapeError: a batch of maps, NaN, or a mask of another shape.
    """
    from xaiteach.plots.figure import ReadableFigure

    if not panels:
        raise OptionError("strip: one or more panels were expected; got none. Try strip([Panel(...)], reading).")
    columns, height = min(columns, len(panels)), _WIDTH * aspect
    rows, row_height = -(-len(panels) // columns), height + _ABOVE + _BELOW
    size = (columns * (_WIDTH + _GAP) + _GAP, rows * row_height)
    figure = ReadableFigure(figsize=size, facecolor="white")
    figure.alt_text = reading
    axes = figure.add_axes((0, 0, 1, 1))  # one for all, in inches: making axes is what takes the time
    axes.set_axis_off()
    for place, panel in enumerate(panels):
        left = _GAP + place % columns * (_WIDTH + _GAP)
        bottom = _BELOW + (rows - 1 - place // columns) * row_height
        _draw(axes, panel, (left, left + _WIDTH, bottom, bottom + height))
    axes.set_xlim(0, size[0])
    axes.set_ylim(0, size[1])
    return figure


def _draw(axes: Axes, panel: Panel, extent: Extent) -> None:
    left, right, _, top = extent
    axes.text((left + right) / 2, top + 0.06, panel.title, fontsize=9, ha="center", va="bottom")
    if panel.bars:
        _bars(axes, panel, extent)
        return
    if panel.curves:
        _curves(axes, panel, extent)
        return
    if panel.units:
        values = as_map(panel.values)
        limit = panel.limit or float(np.abs(values).max()) or 1.0
        low, palette = (-limit, "RdBu_r") if panel.signed else (0.0, "viridis")
        draw_map(axes, values, low, limit, palette, extent)
        _scale(axes, extent, low, limit, palette, panel.units)
        shape = values.shape
    else:
        shape = tuple(np.shape(panel.values)[-2:])
        draw_picture(axes, picture_of(panel.values, shape), extent)
    if panel.mask is not None:
        draw_outline(axes, as_mask(panel.mask, shape), extent)
    if panel.mark is not None:
        _ring(axes, panel.mark, shape, extent)


def _ring(axes: Axes, place: tuple[int, int], shape: tuple[int, ...], extent: Extent) -> None:
    left, right, bottom, top = extent
    x = left + (right - left) * (place[1] + 0.5) / shape[1]
    y = top + (bottom - top) * (place[0] + 0.5) / shape[0]
    for colour, width in (("black", 2.6), ("white", 1.2)):
        axes.plot([x], [y], "o", ms=11, mfc="none", mec=colour, mew=width)


def _scale(axes: Axes, extent: Extent, low: float, high: float, palette: str, units: str) -> None:
    """A thin colour bar under the panel with its ends and the units."""
    left, right, bottom, _ = extent
    bar = (left, right, bottom - 0.13, bottom - 0.05)
    axes.imshow(np.linspace(0, 1, 64)[None], cmap=palette, aspect="auto", extent=bar)
    for place, text, side in (
        (left, number(low), "left"), ((left + right) / 2, units, "center"), (right, number(high), "right"),
    ):  # fmt: skip
        axes.text(place, bottom - 0.16, text, fontsize=7.5, ha=side, va="top")


def _bars(axes: Axes, panel: Panel, extent: Extent) -> None:
    left, right, bottom, top = extent
    zero, one = left + 0.42 * (right - left), left + 0.86 * (right - left)
    step = (top - bottom) / len(panel.bars)
    for place, (label, value) in enumerate(panel.bars.items()):
        y = top - (place + 0.5) * step
        colour = "#b2182b" if place == 0 else "#8c8c8c"
        axes.barh(y, value * (one - zero), 0.7 * step, zero, color=colour, edgecolor="black", linewidth=0.4)
        axes.text(zero - 0.05, y, label, fontsize=8, ha="right", va="center")
        axes.text(zero + value * (one - zero) + 0.04, y, f"{value:.2f}", fontsize=8, va="center")
    axes.plot([zero, zero, one], [top, bottom, bottom], color="black", linewidth=0.8)
    for share, text in ((0.0, "0"), (0.5, ".5"), (1.0, "1")):
        axes.text(zero + share * (one - zero), bottom - 0.04, text, fontsize=7.5, ha="center", va="top")


_STYLES = (("#b2182b", "-", "o"), ("#2166ac", "--", "s"))  # told apart without colour, too


def _curves(axes: Axes, panel: Panel, extent: Extent) -> None:
    """Curves over whole steps, on one axis that holds zero; the marked step has a line and its values have rings."""
    if len(panel.curves) > len(_STYLES):
        raise OptionError(
            f"strip: a panel's `curves` must be {len(_STYLES)} at most; got {len(panel.curves)}. Try plots.curves."
        )
    left, right, bottom, top = extent
    left, right = left + 0.36, right - 0.08
    rows = {label: np.asarray(values, dtype=np.float64) for label, values in panel.curves.items()}
    low = min(0.0, *(float(row.min()) for row in rows.values()))
    high = max(0.0, *(float(row.max()) for row in rows.values()))
    steps = len(next(iter(rows.values())))
    tall, wide = (top - bottom) / ((high - low) or 1.0), (right - left) / max(steps - 1, 1)
    zero = bottom - low * tall
    axes.plot([left, left], [bottom, top], color="black", linewidth=0.8)
    axes.plot([left, right], [zero, zero], color="black", linewidth=0.8)
    if panel.at is not None:
        axes.plot([left + panel.at * wide] * 2, [bottom, top], color="#666666", linewidth=0.9, linestyle=":")
    for (label, row), (colour, line, marker), place in zip(rows.items(), _STYLES, (0.0, 0.5), strict=False):
        across, up = left + wide * np.arange(steps), bottom + (row - low) * tall
        axes.plot(across, up, line, marker=marker, ms=3.2, color=colour, linewidth=1.3)
        if panel.at is not None:
            axes.plot(across[panel.at], up[panel.at], marker, ms=8, mfc="none", mec=colour, mew=1.4)
        start = left + place * (right - left)
        axes.plot([start, start + 0.24], [bottom - 0.25] * 2, line, marker=marker, ms=3.2, color=colour, linewidth=1.3)
        axes.text(start + 0.3, bottom - 0.25, label, fontsize=7.5, va="center")
    for value in sorted({low, 0.0, high}):
        axes.text(left - 0.05, bottom + (value - low) * tall, number(value), fontsize=7.5, ha="right", va="center")
    for step in sorted({0, steps // 2, steps - 1}):
        axes.text(left + step * wide, bottom - 0.04, str(step), fontsize=7.5, ha="center", va="top")
