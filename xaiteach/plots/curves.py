"""Curves with bands, and bars with whiskers: what came of a measurement, readable without colour."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from xaiteach.errors import OptionError, ShapeError
from xaiteach.plots.reading import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from xaiteach.plots.figure import ReadableFigure

__all__ = ["Series", "bars", "curves"]

_COLOURS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#e69f00",
    "#000000",
    "#7f3c8d",
    "#8c510a",
    "#5c5c5c",
)
"""Okabe and Ito's colours, which the colour-blind tell apart, and three more; markers tell the rest."""
_MARKERS = "osD^vP*X<>"
_LINES = ("-", "--", "-.")


@dataclass(frozen=True, eq=False)
class Series:
    """One curve.

    Parameters
        values : one number for each point; NaN leaves a gap.
        low, high : as many, or None. The ends of its band.
        dashed : bool. A floor or a control, drawn thin and grey.
    """

    values: Sequence[float] | Any
    low: Sequence[float] | Any = None
    high: Sequence[float] | Any = None
    dashed: bool = False


def curves(
    series: Mapping[str, Series],
    x: Sequence[str] | Sequence[float],
    *,
    x_label: str,
    y_label: str,
    title: str = "",
    y_range: tuple[float, float] | None = None,
) -> ReadableFigure:
    """Curves over the same points, each with its band; the legend stands beside them, in the order of the last point.

    Parameters
        series : name -> Series, as long as x.
        x : names (drawn evenly, in their order) or numbers.
        x_label, y_label : with units, where there are any.
        y_range : (low, high), or None for what the curves need.
    Returns
        Figure whose `.alt_text` names the highest and the lowest curve at both ends.
    Raises
        OptionError: no series.
        ShapeError: a series of another length than x, or without any number.
    """
    from matplotlib.ticker import MaxNLocator

    from xaiteach.plots.figure import ReadableFigure

    if not series:
        raise OptionError("curves: `series` must be one or more; got none. Try {'saliency': Series([1.0, 0.2])}.")
    names = all(isinstance(point, str) for point in x)
    places = np.arange(len(x)) if names else np.asarray(x, dtype=np.float64)
    values = {name: _numbers(one.values, len(x), name) for name, one in series.items()}
    rows = max(len(series), 8)
    figure = ReadableFigure(figsize=(7.8, max(3.6, 0.21 * rows + 1.4)), facecolor="white", layout="constrained")
    axes = figure.add_subplot()
    for count, (name, one) in enumerate(series.items()):
        _curve(axes, places, values[name], one, name, count, len(x))
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.set_title(title, fontsize=10)
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    if names:
        long = sum(len(str(point)) for point in x) > 60
        axes.set_xticks(
            places, [str(point) for point in x], rotation=45 if long else 0, ha="right" if long else "center"
        )
    elif np.equal(places, np.round(places)).all():  # a count is ticked at whole numbers
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if y_range is not None:
        axes.set_ylim(*y_range)
    _legend(axes, values)
    return _with_reading(figure, _read_curves({n: v for n, v in values.items() if not series[n].dashed} or values, x))


def _curve(
    axes: Axes, places: NDArray[Any], values: NDArray[np.float64], one: Series, name: str, count: int, length: int
) -> None:
    if one.dashed:
        axes.plot(places, values, linestyle=":", color="#444444", linewidth=1.4, label=name, zorder=1)
        return
    colour, marker = _COLOURS[count % len(_COLOURS)], _MARKERS[count % len(_MARKERS)]
    line = _LINES[count // len(_COLOURS) % len(_LINES)]
    if one.low is not None and one.high is not None:
        low, high = _numbers(one.low, length, f"{name}, low"), _numbers(one.high, length, f"{name}, high")
        axes.fill_between(places, low, high, color=colour, alpha=0.13, linewidth=0)
    edge: dict[str, Any] = {"markersize": 4.5, "markeredgecolor": "white", "markeredgewidth": 0.4}
    axes.plot(places, values, linestyle=line, marker=marker, color=colour, linewidth=1.5, label=name, zorder=2, **edge)


def _legend(axes: Axes, values: Mapping[str, NDArray[np.float64]]) -> None:
    handles, labels = axes.get_legend_handles_labels()
    last = {name: next((v for v in reversed(row) if not np.isnan(v)), -np.inf) for name, row in values.items()}
    order = sorted(range(len(labels)), key=lambda i: -last[labels[i]])
    axes.legend(
        [handles[i] for i in order], [labels[i] for i in order], loc="center left", bbox_to_anchor=(1.01, 0.5),
        fontsize=8, frameon=False,
    )  # fmt: skip


def _read_curves(values: Mapping[str, NDArray[np.float64]], x: Sequence[Any]) -> str:
    parts = [f"{len(values)} curves over {len(x)} points."]
    for at in (0, len(x) - 1) if len(x) > 1 else (0,):
        there = {name: row[at] for name, row in values.items() if not np.isnan(row[at])}
        if not there:
            continue
        top, bottom = max(there, key=lambda name: there[name]), min(there, key=lambda name: there[name])
        if there[top] == there[bottom]:
            parts.append(f"At {x[at]} all are {number(there[top])}.")
        else:
            parts.append(f"At {x[at]} the highest is {top} ({number(there[top])}), the lowest {bottom} "
                         f"({number(there[bottom])}).")  # fmt: skip
    return " ".join(parts)


def bars(
    values: Mapping[str, float],
    *,
    label: str,
    title: str = "",
    spread: Mapping[str, float] | None = None,
    reference: float | None = None,
) -> ReadableFigure:
    """Horizontal bars, the first on top, with whiskers and a dashed line of reference.

    Parameters
        values : name -> number; NaN is an empty row.
        label : what is measured, with units.
        spread : name -> half the length of its whisker, or None.
        reference : where the dashed line stands, or None.
    Returns
        Figure whose `.alt_text` names the largest, the smallest, and how many exceed the reference.
    Raises
        OptionError: no bar.
        ShapeError: no number among the values.
    """
    from xaiteach.plots.figure import ReadableFigure

    if not values:
        raise OptionError("bars: `values` must be one or more; got none. Try {'saliency': 0.2}.")
    heights = _numbers(list(values.values()), len(values), "values")
    figure = ReadableFigure(figsize=(7.0, 0.32 * len(values) + 1.3), facecolor="white", layout="constrained")
    axes = figure.add_subplot()
    places = np.arange(len(values))[::-1]
    whiskers = None if spread is None else [spread.get(name, 0.0) for name in values]
    axes.barh(places, heights, 0.66, xerr=whiskers, color="#9ecae1", edgecolor="black", linewidth=0.5,
              error_kw={"elinewidth": 1.0, "capsize": 2.5})  # fmt: skip
    axes.set_yticks(places, list(values), fontsize=9)
    axes.set_xlabel(label)
    axes.set_title(title, fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    if reference is not None:
        axes.axvline(reference, color="#444444", linestyle="--", linewidth=1.2)
    there = {name: value for name, value in zip(values, heights, strict=True) if not np.isnan(value)}
    top, bottom = max(there, key=lambda name: there[name]), min(there, key=lambda name: there[name])
    text = f"{len(values)} bars of {label}: the largest is {top} ({number(there[top])}), the smallest {bottom} "
    text += f"({number(there[bottom])})."
    if reference is not None:
        text += f" {sum(v > reference for v in there.values())} exceed the dashed line at {number(reference)}."
    return _with_reading(figure, text)


def _with_reading(figure: ReadableFigure, text: str) -> ReadableFigure:
    figure.alt_text = text
    figure.supxlabel("\n".join(textwrap.wrap(text, int(figure.get_figwidth() * 15))), fontsize=8)
    return figure


def _numbers(values: Any, length: int, name: str) -> NDArray[np.float64]:
    array = np.asarray(values.detach().cpu() if hasattr(values, "detach") else values, dtype=np.float64)
    if array.shape != (length,) or not np.isfinite(array).any() or np.isinf(array).any():
        raise ShapeError(
            f"curves: {name!r} must hold {length} numbers, one for each point; got shape {array.shape} with "
            f"{int(np.isfinite(array).sum())} finite ones. Try NaN for a point that is missing."
        )
    return array
