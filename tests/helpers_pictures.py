"""Contact sheets: what every method says of one input, for a person to look at."""

from __future__ import annotations

import io
import os
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import helpers_attribution as h
import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from xaiteach import explain
from xaiteach.attribution import methods, registry
from xaiteach.errors import XaiTeachError
from xaiteach.plots.figure import ReadableFigure
from xaiteach.plots.heat_maps import draw_outline, draw_picture, picture_of

Told = Tensor | str
"""A map (*spatial), or the message of a refusal."""

MOST_BYTES = 300 * 1024
SMALL: dict[str, Any] = {"n_samples": 16, "n_steps": 4}
"""Options of any method that has them, so that a new one runs in no time."""
OWN: dict[str, dict[str, Any]] = {
    "integrated_gradients": {"n_steps": 32},
    "shapley_sampling": {"n_samples": 4},
    "kernel_shap": {"n_samples": 128},
    "rise": {"n_samples": 400},
    "lime": {"n_samples": 200},
    "meaningful_perturbation": {"iterations": 100},
}
PLAYERS = {"shapley_exact": 8, "dasp": 8}
"""Players of the methods that cost most; of the others with superpixels there are 32, or all positions if fewer."""


def options_for(method: str, x: Tensor, background: Tensor) -> dict[str, Any]:
    """Options with which `method` tells something of `x`, of one sample, in seconds."""
    own = registry.entry(method).options
    found = {name: value for name, value in SMALL.items() if name in own} | OWN.get(method, {})
    if method in h.NEED_DATA:
        found["baseline"] = background
    if "superpixels" in own and method != "lime":  # which has superpixels of its own
        found["superpixels"] = blocks(x.shape[2:], PLAYERS.get(method, 32))
    if method == "meaningful_perturbation" and x.ndim == 3:
        found["baseline"] = 0.0  # a smooth signal outlives being blurred
    if h.draws(method):
        found["generator"] = torch.Generator().manual_seed(0)
    return found


def blocks(field: Sequence[int], count: int) -> Tensor:
    """Labels of at most `count` blocks of the same size, nearly square."""
    size = 1
    while np.prod([-(-side // size) for side in field]) > count:
        size += 1
    labels = torch.zeros(tuple(field), dtype=torch.long)
    for axis, side in enumerate(field):
        place = torch.arange(side).reshape([side if a == axis else 1 for a in range(len(field))]) // size
        labels = labels * -(-side // size) + place
    return labels


def told(method: str, model: nn.Module, x: Tensor, target: int, background: Tensor, **changes: Any) -> Told:
    """Map of `x`, one sample, or what the method says when it refuses."""
    options = options_for(method, x, background) | changes
    try:
        a = explain(model, x, target, method, progress=False, **options)
    except XaiTeachError as error:
        return str(error)
    return a.map[0]


def told_by_all(
    model: nn.Module, x: Tensor, target: int, background: Tensor, **changes: Mapping[str, Any]
) -> dict[str, Told]:
    """What every method of the registry tells, by name; `changes` holds options for some of them."""
    return {method: told(method, model, x, target, background, **changes.get(method, {})) for method in methods()}


def check_told(tellings: Mapping[str, Told], refusals: Mapping[str, str]) -> None:
    """Assert that every method gives a map that says something, but for refusals that are known, with their words."""
    refused = {method: text for method, text in tellings.items() if isinstance(text, str)}
    assert set(refused) == set(refusals), refused
    for method, words in refusals.items():
        assert words in refused[method]
    maps = {method: found for method, found in tellings.items() if isinstance(found, Tensor)}
    blank = [method for method, found in maps.items() if not bool(found.isfinite().all()) or found.min() == found.max()]
    assert blank == []


def energy(found: Told, mask: Any) -> float:
    """Share of the positive part that lies in the mask; NaN where there is none."""
    if isinstance(found, str):
        return float("nan")
    positive = found.double().relu()
    return float(positive[torch.as_tensor(mask)].sum() / positive.sum())


# Drawing


@dataclass(frozen=True)
class Cell:
    """One panel: a map with the mask outlined, a refusal's text, or, where `picture` is True, the input itself."""

    title: str
    found: Any
    mask: Any = None
    picture: bool = False


def image_sheet(cells: Sequence[Cell], aspect: float, columns: int, heading: str) -> ReadableFigure:
    """Panels of images in rows, each map on a scale of its own."""
    width, height, gap, above = 1.4, 1.4 * aspect, 0.08, 0.2  # inches

    def draw(axes: Any, cell: Cell, left: float, bottom: float) -> None:
        extent = (left, left + width, bottom, bottom + height)
        axes.text(left, bottom + height + 0.03, cell.title, fontsize=6.5)
        if isinstance(cell.found, str):
            write(axes, cell.found, left, bottom + height, 40)
            return
        if cell.picture:
            draw_picture(axes, picture_of(cell.found, tuple(cell.found.shape[-2:])), extent)
        else:
            values = cell.found.double().numpy()
            low, high, palette = scale_of(values)
            axes.imshow(
                values, cmap=palette, vmin=low, vmax=high, interpolation="nearest", extent=extent, aspect="auto"
            )
        draw_outline(axes, None if cell.mask is None else np.asarray(cell.mask), extent)

    return sheet(cells, columns, (width + gap, height + above), heading, draw)


def signal_sheet(cells: Sequence[Cell], columns: int, heading: str) -> ReadableFigure:
    """Panels of signals: a map as bars from 0, the mask shaded."""
    width, height, gap, above = 2.2, 0.7, 0.12, 0.22  # inches

    def draw(axes: Any, cell: Cell, left: float, bottom: float) -> None:
        axes.text(left, bottom + height + 0.03, cell.title, fontsize=6.5)
        if isinstance(cell.found, str):
            write(axes, cell.found, left, bottom + height, 60)
            return
        values = cell.found.double().numpy()
        step = width / len(values)
        place = left + (np.arange(len(values)) + 0.5) * step
        for at in place[np.asarray(cell.mask)]:
            axes.fill_between([at - step / 2, at + step / 2], bottom, bottom + height, color="lime", alpha=0.25, lw=0)
        low, high = min(0.0, values.min()), max(1e-30, values.max())
        zero, unit = bottom - low / (high - low) * height, height / (high - low)
        if cell.picture:
            axes.plot(place, zero + values * unit, color="black", lw=1)
        else:
            colours = np.where(values > 0, "#b2182b", "#2166ac")
            axes.bar(place, values * unit, step, zero, color=colours)
        axes.plot([left, left + width], [zero, zero], color="black", lw=0.4)

    return sheet(cells, columns, (width + gap, height + above), heading, draw)


def sheet(
    cells: Sequence[Cell], columns: int, step: tuple[float, float], heading: str, draw: Callable[..., None]
) -> ReadableFigure:
    """Figure with one axes for all, in inches: making axes is what takes the time."""
    rows = -(-len(cells) // columns)
    size = (columns * step[0] + 0.08, rows * step[1] + 0.4)
    figure = ReadableFigure(figsize=size, facecolor="white")
    figure.alt_text = heading
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.text(0.08, size[1] - 0.2, heading, fontsize=8, weight="bold")
    for place, cell in enumerate(cells):
        draw(axes, cell, 0.08 + place % columns * step[0], 0.08 + (rows - 1 - place // columns) * step[1])
    axes.set_xlim(0, size[0])
    axes.set_ylim(0, size[1])
    return figure


def write(axes: Any, text: str, left: float, top: float, width: int) -> None:
    """A refusal, in small print, cut where it does not fit."""
    lines = textwrap.wrap(f"refuses: {text}", width, max_lines=8, placeholder=" ...")
    axes.text(left, top - 0.04, "\n".join(lines), fontsize=4.6, va="top", color="#7f0000")


def scale_of(values: np.ndarray) -> tuple[float, float, str]:
    """Limits and palette: around 0 where there are negative values, else from the least to the largest value."""
    if values.min() < 0:
        limit = float(np.percentile(np.abs(values), 99.5)) or float(np.abs(values).max())
        return -limit, limit, "RdBu_r"
    return float(values.min()), float(values.max()), "viridis"


def keep(figure: ReadableFigure, name: str) -> None:
    """Write the figure where XAITEACH_SHOTS says, in as many colours as fit into MOST_BYTES; else draw it only."""
    drawn = Image.open(io.BytesIO(figure.png())).convert("RGB")
    made = next(png for colours in (128, 64, 32, 16) if len(png := in_colours(drawn, colours)) <= MOST_BYTES)
    folder = os.environ.get("XAITEACH_SHOTS")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / f"{name}.png").write_bytes(made)


def in_colours(drawn: Image.Image, colours: int) -> bytes:
    """The picture as a PNG with a palette of so many colours."""
    buffer = io.BytesIO()
    drawn.quantize(colours, dither=Image.Dither.NONE).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
