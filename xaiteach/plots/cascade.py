"""Many small maps in rows and columns: methods by states of a model, each map with colours of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from xaiteach.errors import OptionError, ShapeError
from xaiteach.plots.heat_maps import draw_picture, picture_of
from xaiteach.plots.reading import as_map

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from xaiteach.plots.figure import ReadableFigure

__all__ = ["cascade"]

_PERCENTILE = 99.5
_MOST_WIDE, _NAME, _GAP, _TITLE, _FOOT = 8.0, 1.25, 0.05, 0.5, 0.34  # inches


def cascade(
    maps: Mapping[str, Sequence[Any]], columns: Sequence[str], *, image: Any = None, title: str = ""
) -> ReadableFigure:
    """Maps in rows, one for each method, and columns, one for each state; each map's colours end at its own extreme.

    Parameters
        maps : name -> as many maps as columns, (h, w) or (length,); signals are drawn as lines.
        columns : names of the states.
        image : (3, h, w), (h, w) or (length,), shown in a column of its own, or None.
        title : put over it.
    Returns
        Figure, 8 inches wide at most, whose `.alt_text` says where each method's maps change most.
    Raises
        OptionError: no row.
        ShapeError: a row of another length than `columns`, or maps of different shapes.
    """
    from xaiteach.plots.figure import ReadableFigure

    if not maps:
        raise OptionError("cascade: `maps` must have one or more rows; got none. Try {'saliency': [a, b]}.")
    rows = {name: [as_map(one, name) for one in row] for name, row in maps.items()}
    shape = next(iter(rows.values()))[0].shape if next(iter(rows.values())) else ()
    for name, row in rows.items():
        if len(row) != len(columns) or any(one.shape != shape for one in row):
            raise ShapeError(
                f"cascade: {name!r} must have {len(columns)} maps of shape {shape}, one for each column; got "
                f"{[one.shape for one in row]}. Try Attribution.map, which has the input's size."
            )
    shown = len(columns) + (image is not None)
    side = min(1.1, (_MOST_WIDE - _NAME) / shown - _GAP)
    height = side * (0.6 if len(shape) == 1 else shape[0] / shape[1])
    size = (_NAME + shown * (side + _GAP), _TITLE + len(rows) * (height + _GAP) + _FOOT)
    figure = ReadableFigure(figsize=size, facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))  # one for all, in inches: making axes is what takes the time
    axes.set_axis_off()
    names = [*(["input"] if image is not None else []), *columns]
    for place, name in enumerate(names):
        middle = _NAME + place * (side + _GAP) + side / 2
        axes.text(middle, size[1] - _TITLE + 0.05, name, fontsize=7.5, ha="center", va="bottom")
    axes.text(_NAME, size[1] - 0.06, title, fontsize=9, ha="left", va="top")
    for number, (name, row) in enumerate(rows.items()):
        bottom = size[1] - _TITLE - (number + 1) * (height + _GAP)
        axes.text(_NAME - 0.08, bottom + height / 2, _wrapped(name), fontsize=7.5, ha="right", va="center")
        for place, one in enumerate(row, start=int(image is not None)):
            left = _NAME + place * (side + _GAP)
            _draw(axes, one, (left, left + side, bottom, bottom + height))
        if image is not None and number == 0:
            _draw_input(axes, image, shape, (_NAME, _NAME + side, bottom, bottom + height))
    axes.set_xlim(0, size[0])
    axes.set_ylim(0, size[1])
    figure.alt_text = _reading(rows, columns)
    axes.text(
        0.08,
        0.06,
        f"Red for, blue against; each map's colours end at percentile {_PERCENTILE} of its own sizes.",
        fontsize=7,
    )
    return figure


def _draw(axes: Axes, values: Any, extent: tuple[float, float, float, float]) -> None:
    signed = bool((values < 0).any())
    if values.ndim == 1:
        _draw_line(axes, values / (float(np.abs(values).max()) or 1.0), extent, "#b2182b", signed=signed)
        return
    limit = float(np.percentile(np.abs(values), _PERCENTILE)) or float(np.abs(values).max()) or 1.0
    low, palette = (-limit, "RdBu_r") if signed else (0.0, "Reds")
    axes.imshow(values, cmap=palette, vmin=low, vmax=limit, extent=extent, aspect="auto", interpolation="nearest")
    _frame(axes, extent)


def _draw_input(axes: Axes, image: Any, shape: tuple[int, ...], extent: tuple[float, float, float, float]) -> None:
    picture = picture_of(image, shape)
    if len(shape) == 1:
        values = np.asarray(picture, dtype=np.float64).reshape(-1)
        _draw_line(axes, values / (np.abs(values).max() or 1.0), extent, "black", signed=bool((values < 0).any()))
        return
    draw_picture(axes, picture, extent)
    _frame(axes, extent)


def _draw_line(
    axes: Axes, values: Any, extent: tuple[float, float, float, float], colour: str, *, signed: bool
) -> None:
    left, right, bottom, top = extent
    low = -1.0 if signed else 0.0
    x = np.linspace(left, right, len(values))
    y = bottom + (top - bottom) * (0.06 + 0.88 * (values - low) / (1 - low))
    zero = bottom + (top - bottom) * (0.06 + 0.88 * (0 - low) / (1 - low))
    axes.plot([left, right], [zero, zero], color="#bbbbbb", linewidth=0.5)
    axes.plot(x, y, color=colour, linewidth=0.9)
    _frame(axes, extent)


def _frame(axes: Axes, extent: tuple[float, float, float, float]) -> None:
    left, right, bottom, top = extent
    axes.plot([left, right, right, left, left], [bottom, bottom, top, top, bottom], color="#999999", linewidth=0.4)


def _wrapped(name: str, width: int = 16) -> str:
    words, lines = name.replace("_", " ").split(), [""]
    for word in words:
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines)


def _reading(rows: Mapping[str, Sequence[Any]], columns: Sequence[str]) -> str:
    parts = [f"{len(rows)} methods in rows, {len(columns)} states in columns, from {columns[0]} to {columns[-1]}."]
    for name, row in rows.items():
        flat = [one.reshape(-1) / (np.linalg.norm(one) or 1.0) for one in row]
        cosines = [float(flat[0] @ one) for one in flat]
        parts.append(f"{name}: cosine to the first map {cosines[1]:.2f} after one step, {cosines[-1]:.2f} at the end."
                     if len(row) > 1 else f"{name}: one map.")  # fmt: skip
    return " ".join(parts)
