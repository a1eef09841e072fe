"""The line that reads a map aloud, from the numbers that the figure draws."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from xaiteach.errors import ShapeError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["alt_text", "as_map", "as_mask", "number"]


def as_map(value: Any, name: str = "map") -> NDArray[np.float64]:
    """`value`, a tensor or array, as a finite float64 array (length,) or (h, w).

    Raises
        ShapeError: another rank, empty, or not finite.
    """
    array = np.asarray(_on_cpu(value), dtype=np.float64)
    if array.ndim not in (1, 2) or array.size == 0:
        advice = f"one sample of the batch, {name}[0]" if array.ndim > 2 else "the map of one sample"
        raise ShapeError(
            f"`{name}` must be the map of one sample, (length,) or (h, w); got {array.shape}. Try {advice}."
        )
    if not np.isfinite(array).all():
        bad = int((~np.isfinite(array)).sum())
        raise ShapeError(
            f"`{name}` must be finite; got {bad} NaN or infinite values. Try looking where they come from."
        )
    return array


def as_mask(value: Any, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """`value` as a bool array of the map's shape.

    Raises
        ShapeError: another shape, or entries that are neither bool nor 0 and 1.
    """
    array = np.asarray(_on_cpu(value))
    if array.shape != shape or not np.isin(array, (0, 1)).all():
        raise ShapeError(
            f"`mask` must be bool, of the map's shape {shape}; got {array.dtype} of shape {array.shape}. Try mask > 0."
        )
    return array.astype(bool)


def _on_cpu(value: Any) -> Any:
    """NumPy-readable form of a tensor, without importing torch (numpy has no bfloat16)."""
    return value.detach().double().cpu().numpy() if hasattr(value, "detach") else value


def alt_text(map: Any, *, mask: Any = None, name: str = "", units: str = "") -> str:
    """One line that reads a map: its peak, where its weight lies, and its signs.

    Weight is the absolute value, so that positive and negative evidence both count. Shares are in percent of the whole.

    Parameters
        map : Tensor or array, shape (length,) or (h, w). One sample's map.
        mask : bool, the map's shape, or None. Adds the share of the weight inside, and of the area, which is what a
            map that knows nothing would put there.
        name : str. What the line starts with.
        units : str. Put after the peak's value.
    Raises
        ShapeError: a batch of maps, an empty map, NaN, or a mask of another shape.

    Examples
        >>> import numpy as np
        >>> alt_text(np.array([0.0, 3.0, -1.0, 0.0]), name="toy")
        'toy: peak 3 at position 1 of 4; 75 % of the weight in the left half; weight 75 % positive, 25 % negative.'
    """
    values = as_map(map)
    start = f"{name}: " if name else ""
    weight = np.abs(values)
    total = float(weight.sum())
    if total == 0:
        return f"{start}blank, 0 at all {_size(values)} positions."
    weight = weight / total
    peak = np.unravel_index(int(np.argmax(weight)), values.shape)
    value = number(float(values[peak])) + (f" {units}" if units else "")
    parts = [f"peak {value} at {_place(peak)} of {_size(values)}", _sides(weight)]
    if mask is not None:
        inside = as_mask(mask, values.shape)
        share, area = 100 * weight[inside].sum(), 100 * inside.mean()
        parts.append(f"{share:.0f} % inside the mask, which covers {area:.0f} % of the area")
    positive = float(weight[values > 0].sum())
    parts.append(_signs(positive, bool((values > 0).any()), bool((values < 0).any())))
    return f"{start}{'; '.join(parts)}."


def number(value: float) -> str:
    """`value` with two significant digits, in plain notation where that is short.

    Examples
        >>> number(0.123), number(-14.2), number(2.0612e-09)
        ('0.12', '-14', '2.1e-09')
    """
    return f"{value:.0f}" if 10 <= abs(value) < 1e5 else f"{value:.2g}"


def _size(values: NDArray[np.float64]) -> str:
    return " x ".join(map(str, values.shape))


def _place(index: tuple[Any, ...]) -> str:
    names = ("position",) if len(index) == 1 else ("row", "column")
    return ", ".join(f"{name} {int(i)}" for name, i in zip(names, index, strict=True))


def _sides(weight: NDArray[np.float64]) -> str:
    sides = [_heavier(weight, -1, ("left", "right"))]
    if weight.ndim == 2:
        sides.append(_heavier(weight, 0, ("upper", "lower")))
    texts = [f"{100 * share:.0f} % {{}}in {name}" for share, name in sides]
    return ", ".join(text.format("of the weight " if place == 0 else "") for place, text in enumerate(texts))


def _heavier(weight: NDArray[np.float64], axis: int, names: tuple[str, str]) -> tuple[float, str]:
    """Share and name of the heavier half along `axis`; of an odd length the middle counts half to each."""
    line = np.moveaxis(weight, axis, 0).reshape(weight.shape[axis], -1).sum(1)
    half = len(line) // 2
    first = float(line[:half].sum() + (line[half] / 2 if len(line) % 2 else 0))
    if round(100 * first) == 50:
        return 0.5, f"each of the {names[0]} and the {names[1]} half"
    return (first, f"the {names[0]} half") if first > 0.5 else (1 - first, f"the {names[1]} half")


def _signs(positive: float, any_positive: bool, any_negative: bool) -> str:
    if not any_negative:
        return "nothing negative"
    if not any_positive:
        return "nothing positive"
    # Rounded inwards: a sign that occurs is never said to have 0 %.
    percent = min(max(round(100 * positive), 1), 99)
    return f"weight {percent} % positive, {100 - percent} % negative"
