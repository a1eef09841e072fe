"""Checks of what comes in: arrays of numbers, whole numbers, numbers in a range."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from xaiteach.errors import OptionError, ShapeError
from xaiteach.guards import describe

__all__ = ["Array", "at_least", "floats", "number"]

Array = npt.NDArray[np.float64]


def floats(value: Any, shape: tuple[int | str, ...], name: str, who: str) -> Array:
    """`value` as a float64 array of this shape, finite.

    Parameters
        value : array, tensor (of any device, with or without a graph), nested sequence or data frame.
        shape : lengths of the axes; a word stands for any length from 1 up.
    Raises
        ShapeError: not numbers, another shape, NaN or infinite.
    """
    wanted = f"{who}: `{name}` must be real numbers of shape {_written(shape)}"
    source = value.detach().cpu().numpy() if isinstance(value, Tensor) else value
    try:
        raw = np.asarray(source)
        real = not np.iscomplexobj(raw) and raw.dtype.kind not in "SUMm"
        found = np.asarray(raw, dtype=np.float64) if real else None
    except (TypeError, ValueError):
        found = None
    if found is None:
        raise ShapeError(f"{wanted}; got {_kind(value)}. Try np.asarray({name}, dtype=float).")
    fits = len(found.shape) == len(shape) and all(
        got >= 1 if isinstance(length, str) else got == length for got, length in zip(found.shape, shape, strict=True)
    )
    if not fits:
        raise ShapeError(f"{wanted}; got {found.shape}. Try {_advice(name, found, shape)}.")
    bad = ~np.isfinite(found)
    if bad.any():
        first = tuple(int(i) for i in np.argwhere(bad)[0])
        nans = int(np.isnan(found).sum())
        raise ShapeError(
            f"{who}: `{name}` must hold finite numbers; got {nans} NaN and {int(bad.sum()) - nans} infinite of "
            f"{found.size}, the first at index {first}. Try leaving those samples out; a weight of 0 does not do that."
        )
    return found


def _written(shape: tuple[int | str, ...]) -> str:
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"


def _kind(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"a {value.dtype} array of shape {value.shape}"
    return describe(value)


def _advice(name: str, found: Array, shape: tuple[int | str, ...]) -> str:
    if len(shape) == 2 and found.ndim == 1:
        return f"{name}.reshape(-1, 1) for one feature, or {name}.reshape(1, -1) for one sample"
    if len(shape) == 1 and found.ndim == 2 and 1 in found.shape:
        return f"{name}.ravel()"
    return "one row for each sample, in the same order" if found.size else "at least one sample and one feature"


def at_least(value: object, least: int, option: str, who: str) -> int:
    """`value`, when it is a whole number from `least` up.

    Raises
        OptionError: anything else.
    """
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or int(value) < least:  # type: ignore[call-overload]
        raise OptionError(
            f"{who}: `{option}` must be an integer from {least} up; got {value!r}. Try {option}={max(least, 5)}."
        )
    return int(value)  # type: ignore[call-overload, no-any-return]


def number(value: object, option: str, who: str, *, zero: bool = False, infinite: bool = False) -> float:
    """`value`, when it is a number above 0.

    Parameters
        zero : bool. Whether 0 is allowed, too.
        infinite : bool. Whether infinity is.
    Raises
        OptionError: anything else.
    """
    real = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    found = float(value) if real else float("nan")  # type: ignore[arg-type]
    if isinstance(value, Tensor) and value.ndim == 0 and not torch.is_complex(value):
        found = float(value)
    if not (found > 0 or (zero and found == 0)) or (found == float("inf") and not infinite):
        least = "0 or above" if zero else "above 0"
        raise OptionError(f"{who}: `{option}` must be a number, {least}; got {value!r}. Try {option}=1.0.")
    return found
