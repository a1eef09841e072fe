"""Heat maps of one sample, alone or several on one scale.

A signed map is drawn with a diverging palette centred at exactly 0, limits symmetric; at half the limit a solid
(positive) or dashed (negative) line keeps the sign in a grey print. A map with no negative value gets a sequential one.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from xaiteach.errors import OptionError, ShapeError
from xaiteach.plots.reading import alt_text, as_map, as_mask, number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from xaiteach.plots.figure import ReadableFigure

__all__ = ["compare", "draw_map", "draw_outline", "draw_picture", "heat_map", "picture_of"]

Extent = tuple[float, float, float, float]
"""Left, right, bottom and top of a map within its axes; None: the axes are the map's own, in positions."""

_COLUMNS = 4


class Scale(NamedTuple):
    """Colours and limits that all maps of a figure share."""

    low: float
    high: float
    palette: str
    label: str
    clipped: bool


def heat_map(
    image: Any,
    map: Any,
    *,
    title: str = "",
    units: str = "attribution",
    mask: Any = None,
    signed: bool | None = None,
    clip: float = 100.0,
    palette: str = "RdBu_r",
) -> ReadableFigure:
    """One sample's map beside (2-D) or below (1-D) what it explains, with a labelled colour bar.

    Parameters
        image : Tensor or array, shape (h, w), (c, h, w), (length,), (c, length), or None to draw the map alone.
        map : Tensor or array, shape (h, w) or (length,).
        title : str. Put over the map.
        units : str. Label of the colour bar.
        mask : bool, the map's shape, or None. Outlined.
        signed : bool or None. None: signed where a value is negative.
        clip : float in (0, 100]. Percentile of the absolute values at which colours saturate; stated on the figure.
        palette : name of a diverging colour map for a signed map; "PuOr_r" is safer for some colour deficiencies.
    Returns
        Figure; `.alt_text` is the line that reads it, also drawn below it.
    Raises
        ShapeError: a batch, NaN, or image or mask of another size than the map.
        OptionError: clip outside (0, 100].
    """
    values = as_map(map)
    scale = _scale([values], units, signed, clip, palette)
    figure = _figure([values], [title or "map"], scale, image, mask)
    return _read(figure, alt_text(values, mask=mask, name=title))


def compare(
    maps: Sequence[Any],
    titles: Sequence[str],
    *,
    image: Any = None,
    units: str = "attribution",
    mask: Any = None,
    signed: bool | None = None,
    clip: float = 100.0,
    palette: str = "RdBu_r",
) -> ReadableFigure:
    """Several maps on one shared scale: the same colour is the same number in each.

    Parameters
        maps : sequence of maps, each (h, w) or each (length,), of one shape.
        titles : one for each map.
        image, units, mask, signed, clip, palette : as for `heat_map`; `image` and `mask` belong to all maps.
    Returns
        Figure; `.alt_text` reads each map in turn.
    Raises
        ShapeError: no map, maps of several shapes, or not as many titles as maps.
        OptionError: clip outside (0, 100].
    """
    arrays = [as_map(values, f"maps[{place}]") for place, values in enumerate(maps)]
    shapes = sorted({values.shape for values in arrays})
    if len(shapes) != 1:
        raise ShapeError(
            f"compare: `maps` must be one or more maps of one shape; got {shapes or 'none'}. "
            "Try Attribution.map, which has the input's size for every method."
        )
    if len(titles) != len(arrays):
        raise ShapeError(
            f"compare: `titles` must name each of the {len(arrays)} maps; got {len(titles)}. Try one for each."
        )
    scale = _scale(arrays, units, signed, clip, palette)
    figure = _figure(arrays, list(titles), scale, image, mask)
    readings = [alt_text(values, mask=mask, name=name) for values, name in zip(arrays, titles, strict=True)]
    return _read(figure, f"One scale, {number(scale.low)} to {number(scale.high)}. {' '.join(readings)}")


def _scale(maps: Sequence[NDArray[np.float64]], units: str, signed: bool | None, clip: float, palette: str) -> Scale:
    if not 0 < clip <= 100:
        raise OptionError(f"`clip` must be a percentile above 0, up to 100; got {clip!r}. Try clip=99.")
    everything = np.concatenate([values.ravel() for values in maps])
    limit = float(np.percentile(np.abs(everything), clip)) or float(np.abs(everything).max()) or 1.0
    if signed is None:
        signed = bool((everything < 0).any())
    clipped = bool((np.abs(everything) > limit).any())
    label = f"{units}\n(colours end at percentile {clip:g} of |map|)" if clipped else units
    return Scale(-limit if signed else 0.0, limit, palette if signed else "viridis", label, clipped)


def _read(figure: ReadableFigure, text: str) -> ReadableFigure:
    """`figure` with its reading, as an attribute and in small print below."""
    figure.alt_text = text
    width = int(figure.get_figwidth() * 15)
    figure.supxlabel("\n".join(textwrap.wrap(text, width)), fontsize=8)
    return figure


def _figure(
    maps: Sequence[NDArray[np.float64]], titles: Sequence[str], scale: Scale, image: Any, mask: Any
) -> ReadableFigure:
    shape = maps[0].shape
    picture = None if image is None else picture_of(image, shape)
    outline = None if mask is None else as_mask(mask, shape)
    flat = len(shape) == 1
    axes = _panels(len(maps) + (picture is not None), flat, aspect=1.0 if flat else shape[0] / shape[1])
    figure: ReadableFigure = axes[0].figure  # type: ignore[assignment]  # made by _panels
    shown = axes
    if picture is not None:
        (_draw_signal if flat else _draw_image)(axes[0], picture, outline)
        axes[0].set_title("input", fontsize=9)
        shown = axes[1:]
    for panel, values, title in zip(shown, maps, titles, strict=True):
        if flat:
            _draw_bars(panel, values, scale, outline)
        else:
            draw_map(panel, values, scale.low, scale.high, scale.palette)
            _finish(panel, outline)
        panel.set_title(title, fontsize=9)
    _colour_bar(figure, shown, scale)
    return figure


def _panels(count: int, flat: bool, aspect: float) -> list[Axes]:
    """Axes for `count` panels; `aspect`, height over width of a map, keeps a wide map's row as low as the map."""
    from xaiteach.plots.figure import ReadableFigure

    columns = 1 if flat else min(count, _COLUMNS)
    rows = -(-count // columns)
    size = (
        (6.5, 1.4 * rows + 0.8)
        if flat
        else (2.4 * columns + 1.2, (2.4 * min(max(aspect, 0.4), 2.0) + 0.3) * rows + 0.6)
    )
    figure = ReadableFigure(figsize=size, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharex=flat)
    panels = list(grid.ravel())
    for panel in panels[count:]:
        panel.remove()
    return panels[:count]


def picture_of(image: Any, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """`image` as (h, w), (h, w, 3) in [0, 1], or (c, length)."""
    array = np.asarray(image.detach().double().cpu().numpy() if hasattr(image, "detach") else image, dtype=np.float64)
    rank = len(shape)
    if array.ndim not in (rank, rank + 1) or array.shape[-rank:] != shape:
        batch = array.ndim == rank + 2 and array.shape[-rank:] == shape
        advice = (
            "image[0]"
            if batch
            else "image.transpose(2, 0, 1) for channels last, and Attribution.map, which has the input's size"
        )
        raise ShapeError(f"`image` must have the map's size {shape}, channels first; got {array.shape}. Try {advice}.")
    channels = array[None] if array.ndim == rank else array
    if rank == 1:
        return channels
    if len(channels) != 3:
        grey: NDArray[np.float64] = channels.mean(0)
        return grey
    low, high = float(channels.min()), float(channels.max())
    if low < 0 or high > 1:
        channels = (channels - low) / ((high - low) or 1.0)
    colours: NDArray[np.float64] = np.moveaxis(channels, 0, -1)
    return colours


def _draw_image(panel: Axes, picture: NDArray[np.float64], outline: NDArray[np.bool_] | None) -> None:
    draw_picture(panel, picture)
    _finish(panel, outline)


def draw_picture(panel: Axes, picture: NDArray[np.float64], extent: Extent | None = None) -> None:
    """Draw what `picture_of` made."""
    panel.imshow(picture, cmap="gray", extent=extent, aspect=None if extent is None else "auto")


def draw_map(
    panel: Axes, values: NDArray[np.float64], low: float, high: float, palette: str, extent: Extent | None = None
) -> None:
    """Draw a map (h, w) with the colours of `palette` from `low` to `high`; contours keep the sign of a signed one."""
    panel.imshow(
        values, cmap=palette, vmin=low, vmax=high, interpolation="nearest", extent=extent,
        aspect=None if extent is None else "auto",
    )  # fmt: skip
    if low < 0 and min(values.shape) > 1:
        for level, style in ((high / 2, "solid"), (low / 2, "dashed")):
            if values.min() < level < values.max():
                at = _positions(values.shape, extent)
                panel.contour(*at, values, levels=[level], colors="black", linewidths=0.6, linestyles=style)


def draw_outline(panel: Axes, outline: NDArray[np.bool_] | None, extent: Extent | None = None) -> None:
    """Draw the border of a mask (h, w); a mask of one kind of entry only has none."""
    if outline is not None and outline.any() and not outline.all() and min(outline.shape) > 1:
        at = _positions(outline.shape, extent)
        panel.contour(*at, outline, levels=[0.5], colors="lime", linewidths=1.2)


def _positions(shape: tuple[int, ...], extent: Extent | None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where the centres of columns and rows lie."""
    rows, columns = shape
    if extent is None:
        return np.arange(columns, dtype=np.float64), np.arange(rows, dtype=np.float64)
    left, right, bottom, top = extent
    across, down = (np.arange(columns) + 0.5) / columns, (np.arange(rows) + 0.5) / rows
    return left + (right - left) * across, top + (bottom - top) * down


def _finish(panel: Axes, outline: NDArray[np.bool_] | None) -> None:
    draw_outline(panel, outline)
    panel.set_xticks([])
    panel.set_yticks([])


def _draw_signal(panel: Axes, signal: NDArray[np.float64], outline: NDArray[np.bool_] | None) -> None:
    _shade(panel, outline)
    panel.plot(signal.T, linewidth=1)


def _draw_bars(panel: Axes, values: NDArray[np.float64], scale: Scale, outline: NDArray[np.bool_] | None) -> None:
    """The map as bars, whose heights carry the sign without colour."""
    from matplotlib import colormaps

    colours = colormaps[scale.palette]((values - scale.low) / (scale.high - scale.low))
    _shade(panel, outline)
    panel.bar(np.arange(len(values)), values, width=1.0, color=colours, edgecolor="black", linewidth=0.3)
    panel.axhline(0, color="black", linewidth=0.6)
    panel.set_ylim(1.05 * scale.low, 1.05 * scale.high)


def _shade(panel: Axes, outline: NDArray[np.bool_] | None) -> None:
    if outline is None:
        return
    steps = np.flatnonzero(np.diff(np.concatenate([[0], outline.astype(int), [0]])))
    for start, stop in zip(steps[::2], steps[1::2], strict=True):
        panel.axvspan(float(start) - 0.5, float(stop) - 0.5, color="lime", alpha=0.2, linewidth=0)


def _colour_bar(figure: ReadableFigure, panels: Sequence[Axes], scale: Scale) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    colours = ScalarMappable(Normalize(scale.low, scale.high), scale.palette)
    ends = ("both" if scale.low < 0 else "max") if scale.clipped else "neither"
    bar = figure.colorbar(colours, ax=list(panels), extend=ends)
    bar.set_label(scale.label, fontsize=8)
    bar.ax.tick_params(labelsize=8)
