"""Values in words: a dozen numbers of them, and where they part from the truth. Arrays in, text out."""

from __future__ import annotations

from typing import Any

import numpy as np

from xaiteach.questions.model import Tolerance, Values

__all__ = ["hidden", "off", "show"]

SHOWN = 12
"""Numbers of an array that a student sees."""

Array = np.ndarray[Any, Any]


def show(values: Values, digits: int = 3, start: int = 0) -> str:
    """Short text of the values: three digits, at most a dozen numbers of each array, with its shape.

    Parameters
        start : place of the first number shown, of an array with more than a dozen.
    Examples
        >>> show({"beta": np.array([1.0, -0.5])})
        '[1, -0.5] of shape (2,)'
    """
    texts = {name: _text(array, digits, start) for name, array in values.items()}
    return "; ".join(texts.values() if len(texts) == 1 else (f"{name} {text}" for name, text in texts.items()))


def _text(array: Array, digits: int, start: int) -> str:
    if array.dtype.kind == "U":
        return repr(str(array))[:60]
    if array.ndim == 0:
        return str(bool(array)) if array.dtype.kind == "b" else f"{float(array) + 0.0:.{digits}g}"
    start = start if SHOWN < array.size > start else 0
    numbers = [f"{float(v) + 0.0:.{digits}g}" for v in array.reshape(-1)[start : start + SHOWN]]  # + 0.0: no -0
    before, after = "..., " if start else "", ", ..." if array.size > start + SHOWN else ""
    return f"[{before}{', '.join(numbers)}{after}] of shape {tuple(array.shape)}"


def off(truth: Values, got: Values, tolerance: Tolerance) -> str:
    """Which part of an array is right and where to look; empty where no part is, or where the forms differ.

    Examples
        >>> off({"t": np.eye(3)}, {"t": np.eye(3) + [0, 1, 0]}, Tolerance())
        '2 of 3 columns are right: look at column 1 (counted from 0).'
    """
    for name, wrong in _wrong(truth, got, tolerance).items():
        if wrong.all() or not wrong.any():
            continue
        title = f" of `{name}`" if len(truth) > 1 else ""
        for axis, part in ((1, "column"), (0, "row")) if wrong.ndim == 2 else ():
            bad = np.atleast_1d(wrong.any(axis=1 - axis))
            if not bad.all():
                return f"{_right(~bad, part, title)}: look at {part} {int(bad.argmax())} (counted from 0)."
        place = ", ".join(str(int(i)) for i in np.unravel_index(int(wrong.argmax()), wrong.shape))
        return f"{_right(~wrong, 'number', title)}: the first that is not stands at [{place}]."
    return ""


def hidden(truth: Values, got: Values, tolerance: Tolerance) -> int:
    """Place of the first wrong number behind the dozen that are shown of an array; 0 where there is none."""
    wrong = [each.reshape(-1) for each in _wrong(truth, got, tolerance).values() if each.any()]
    return max((int(each.argmax()) for each in wrong if not each[:SHOWN].any()), default=0)


def _right(right: Array, part: str, title: str) -> str:
    return f"{int(right.sum())} of {right.size} {part}s{title} {'is' if right.sum() == 1 else 'are'} right"


def _wrong(truth: Values, got: Values, tolerance: Tolerance) -> dict[str, Array]:
    """Of each array of numbers, where it lies beyond the tolerance; nothing of one whose shape differs."""
    return {
        name: ~(np.abs(got[name].astype(np.float64) - wanted.astype(np.float64)) <= tolerance.bound(wanted))
        for name, wanted in truth.items()
        if wanted.dtype.kind != "U"
        and wanted.ndim
        and name in got
        and got[name].shape == wanted.shape
        and got[name].dtype.kind != "U"
    }
