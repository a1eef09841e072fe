"""Occlusion: what the score loses when a window of the input is hidden.

Symbols: S the score, x' the baseline, r a position, W_k the k-th window, h_k the sample with x' inside W_k.

Captum's Occlusion is the oracle of the tests and is not wrapped: its mean is a division in float32, whatever x is, and
it runs all samples under a window at once, whatever memory there is. Here each sample under each window is a row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor

from xaiteach.attribution.coalitions import cached
from xaiteach.attribution.paths import as_baseline, scores_of
from xaiteach.attribution.scores import score
from xaiteach.attribution.work import Work
from xaiteach.errors import OptionError

__all__ = ["field_of", "occlusion", "over_channels", "per_axis", "usual_window"]

Model = Callable[[Tensor], Any]


def field_of(x: Tensor) -> tuple[int, ...]:
    """Sides of what a mask covers: the spatial axes of x, or the features of a table (n, d)."""
    return tuple(x.shape[2:] if x.ndim > 2 else x.shape[1:])


def over_channels(mask: Tensor, x: Tensor) -> Tensor:
    """Masks (r, *field) with an axis of length 1 for x's channels; a table has none."""
    return mask[:, None] if x.ndim > 2 else mask


def per_axis(value: object, field: Sequence[int], option: str, who: str) -> tuple[int, ...]:
    """`value` for each axis of the field: one integer for all of them, or one for each.

    Raises
        OptionError: not integers from 1 up, or not one for each axis.
    """
    given = tuple(value) if isinstance(value, tuple | list) else (value,) * len(field)
    each = tuple(v for v in given if isinstance(v, int) and not isinstance(v, bool) and v >= 1)
    if not len(given) == len(each) == len(field):
        advice = "4" if len(field) == 1 else f"{(4,) * len(field)}"
        raise OptionError(
            f"{who}: `{option}` must be an integer from 1 up, or {len(field)} of them, one for each axis of "
            f"{tuple(field)}; got {value!r}. Try {option}={advice}."
        )
    return each


def usual_window(x: Tensor) -> tuple[int, ...]:
    """An eighth of each side, rounded up; squares by the shorter side of an image or a frame; 1 feature of a table."""
    field = field_of(x)
    if x.ndim == 2:
        return (1,)
    eighths = [-(-side // 8) for side in field]
    return (*eighths[:-2], *[min(eighths[-2:])] * len(eighths[-2:]))


def occlusion(
    model: Model,
    x: Tensor,
    target: Tensor,
    *,
    window: int | Sequence[int] | None = None,
    stride: int | Sequence[int] | None = None,
    baseline: Tensor | float | None = None,
    output: str = "logit",
    work: Work,
) -> Tensor:
    """What the score loses when a window is hidden, averaged over the windows that hide a position.

    values(r) = mean over k with r in W_k of S(x) - S(h_k). It answers what the model misses when it does not see this
    part but sees all others: evidence that is there twice is worth nothing to it, for one copy is enough. The window's
    size is part of the question, and its grey edges are a new thing to see.

    Parameters
        model : any callable from (n, ...) to logits (n, classes); it need not be differentiable.
        x : Tensor, shape (n, ...). Samples: images, signals, clips, or a table (n, d).
        target : Tensor, shape (n,), long. Class index, 0-based.
        window : int, one for each spatial axis (or axis of a table), or None. Sides of the window in positions, through
            all channels. None: an eighth of the side, rounded up; along both axes of an image or a frame an eighth of
            the shorter one; of a table, one feature.
        stride : int, one for each axis, or None. Step from a window to the next, at most the window. None: half a
            window, rounded down, at least 1. The last window along an axis is cut off at the border where it does not
            fit, and so may hide less.
        baseline : Tensor of x's shape or (1, ...), float, or None for zeros. What a hidden position shows.
        output : "logit" or "probability". Which score S. Default "logit".
    Returns
        Tensor, shape (n, 1, *spatial), or (n, d) for a table, in units of the score, signed: above 0 where hiding
        lowers the score. It does not add up to anything.
    Raises
        ShapeError: the baseline does not match x.
        OptionError: a window beyond the input, a stride beyond the window, or unknown `output`.
    Cost
        1 forward pass, and 1 for each window: 15 along an axis by default, 225 for an image.
    Source
        Zeiler, Fergus (2014), section 4.2: they draw the score of h_k itself at the centre of a grey W_k. Differs from
        it in: the loss and not the score, so that 0 means no effect; the mean over all of a window, so that the map has
        the input's size.
    Examples
        >>> from xaiteach import explain
        >>> a = explain(lambda x: x.sum(2), torch.tensor([[[1.0, 2.0, 4.0, 8.0]]]), 0, "occlusion", window=2)
        >>> a.values  # windows of stride 1 take 3, 6 and 12 away; the inner positions are in two of them
        tensor([[[ 3.0000,  4.5000,  9.0000, 12.0000]]])
    """
    who = "occlusion"
    sides, steps = _windows(window, stride, x, who)
    base = as_baseline(baseline, x, who)
    field = field_of(x)
    counts = [1 + -(-(f - side) // step) for f, side, step in zip(field, sides, steps, strict=True)]
    whole = scores_of(model, x, target, output, work, who)  # (n,)
    total = torch.zeros(len(x), *field, dtype=x.dtype, device=x.device)
    for rows in cached(work, x).copies(x, target, prod(counts), "window"):
        hidden = _hidden(rows.number, counts, sides, steps, field)  # (r, *field), bool
        h = torch.where(over_channels(hidden, x), base[rows.sample], rows.x)
        loss = whole[rows.sample] - score(model, h, rows.target, output, who)  # (r,)
        total.index_add_(0, rows.sample, loss.reshape(-1, *[1] * len(field)) * hidden)
    every = torch.arange(prod(counts), device=x.device)
    return over_channels(total / _times_hidden(every, counts, sides, steps, field).to(x), x)


def _windows(window: object, stride: object, x: Tensor, who: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Sides and steps along each axis, checked."""
    field = field_of(x)
    sides = usual_window(x) if window is None else per_axis(window, field, "window", who)
    if any(side > f for side, f in zip(sides, field, strict=True)):
        raise OptionError(
            f"{who}: `window` must fit into {field}, the axes of a sample; got {sides}. Try {_shown(usual_window(x))}."
        )
    steps = tuple(max(1, side // 2) for side in sides) if stride is None else per_axis(stride, field, "stride", who)
    if any(step > side for step, side in zip(steps, sides, strict=True)):
        raise OptionError(
            f"{who}: `stride` must be at most the window, {sides}, or some positions would never be hidden; got "
            f"{steps}. Try {_shown(sides)}."
        )
    return sides, steps


def _shown(each: Sequence[int]) -> str:
    return str(tuple(each)) if len(each) > 1 else str(each[0])


def _hidden(
    number: Tensor, counts: Sequence[int], sides: Sequence[int], steps: Sequence[int], field: Sequence[int]
) -> Tensor:
    """Positions in the windows of these numbers, shape (r, *field), bool; the last axis counts fastest."""
    hidden = torch.ones(len(number), *[1] * len(field), dtype=torch.bool, device=number.device)
    for axis in reversed(range(len(field))):
        start = (number % counts[axis] * steps[axis])[:, None]
        number = number // counts[axis]
        place = torch.arange(field[axis], device=number.device)
        within = (place >= start) & (place < start + sides[axis])  # (r, side)
        hidden = hidden & within.reshape(-1, *[field[axis] if a == axis else 1 for a in range(len(field))])
    return hidden


def _times_hidden(
    every: Tensor, counts: Sequence[int], sides: Sequence[int], steps: Sequence[int], field: Sequence[int]
) -> Tensor:
    """How many windows hide each position, shape (*field,): along each axis alone, and then the product."""
    times = torch.ones([1] * len(field), device=every.device)
    for axis, f in enumerate(field):
        along = _hidden(every[: counts[axis]], counts[axis : axis + 1], [sides[axis]], [steps[axis]], [f]).sum(0)
        times = times * along.reshape([f if a == axis else 1 for a in range(len(field))])
    return times
