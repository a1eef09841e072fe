"""How much runs at once: rows, their number within a budget, and the bar.

A row is one copy of one sample that goes through the model: the sample itself, or one step, noise draw, baseline, mask
or coalition of it. Rows are numbered sample by sample, all of the first before any of the second, and random numbers
are drawn row by row in that order: so the same generator gives the same map however the rows are split.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from xaiteach.errors import OptionError
from xaiteach.runtime import require

__all__ = ["DEFAULT_BUDGET_MIB", "Rows", "Work", "at_least", "laid_out", "normal", "rows_within", "uniform"]

DEFAULT_BUDGET_MIB = {"cpu": 128, "gpu": 1024}
"""Fixed rather than taken from the machine: another split rounds differently, and may flip a ReLU's gate in float32.

On a CPU larger chunks cost page faults: integrated gradients ran twice as fast at 128 MiB as at 1024.
"""

_BAR_AFTER_S = 2.0


@dataclass(frozen=True, eq=False)
class Rows:
    """Some rows that run together.

    Parameters
        x : Tensor, shape (r, ...). Copies of the samples.
        target : Tensor, shape (r,), long.
        sample : Tensor, shape (r,), long. Which sample each row is a copy of.
        number : Tensor, shape (r,), long. Which copy it is, from 0.
    """

    x: Tensor
    target: Tensor
    sample: Tensor
    number: Tensor


@dataclass(frozen=True)
class Work:
    """How many rows may run at once, and whether to show a bar.

    Parameters
        rows : int >= 1.
        progress : bool or None. None: a bar once it takes over 2 s.
    """

    rows: int
    progress: bool | None = None

    def slices(self, total: int, unit: str = "sample") -> Iterator[slice]:
        """Slices of at most `rows` of `total`; a bar appears once they take long."""
        start = time.monotonic()
        bar: Any = None
        with ExitStack() as stack:
            for first in range(0, total, self.rows):
                late = self.progress is None and first > 0 and time.monotonic() - start > _BAR_AFTER_S
                if bar is None and (self.progress or late):
                    bar = _bar(total, first, unit)
                    stack.callback(bar.close)
                yield slice(first, min(first + self.rows, total))
                if bar is not None:
                    bar.update(min(self.rows, total - first))

    def copies(self, x: Tensor, target: Tensor, times: int, unit: str) -> Iterator[Rows]:
        """Every sample `times` times, in rows that fit the budget."""
        for part in self.slices(len(x) * times, unit):
            row = torch.arange(part.start, part.stop, device=x.device)
            sample = row // times
            yield Rows(x[sample], target[sample], sample, row % times)


def _bar(total: int, done: int, unit: str) -> Any:
    return require("tqdm.auto").tqdm(total=total, initial=done, unit=unit, desc="explaining", leave=False)


def rows_within(saved_bytes: int, x: Tensor, budget_mib: float | None, *, ruled: bool = False) -> int:
    """Rows that fit into the budget, at least one.

    A row costs what autograd saves for one sample, as much again for gradients on the way back, and copies of x; all of
    it twice where rules keep the operations' inputs, too. Weights and their parts come on top.

    Raises
        OptionError: a budget of nothing.
    """
    usual = DEFAULT_BUDGET_MIB["cpu" if x.device.type == "cpu" else "gpu"]
    budget = usual if budget_mib is None else budget_mib
    if not budget > 0:
        raise OptionError(f"`budget_mib` must be above 0; got {budget_mib!r}. Try None for {usual} MiB.")
    row = (2 * saved_bytes + 4 * x[0].numel() * x.element_size()) * (2 if ruled else 1)
    return max(1, int(budget * 2**20 // row))


def laid_out(t: Tensor, like: Tensor) -> Tensor:
    """`t` in the memory layout of `like`: what is mixed with samples, or takes their place, is then as fast."""
    last = like.ndim == 4 and not like.is_contiguous() and like.is_contiguous(memory_format=torch.channels_last)
    return t.contiguous(memory_format=torch.channels_last) if last else t


def uniform(x: Tensor, width: int, generator: torch.Generator | None) -> Tensor:
    """Numbers on [0, 1), `width` for every row of x, drawn row by row: shape (r, width), float64.

    In double, whatever x is: float32 and float64 models then see the same draws.
    """
    device = x.device if generator is None else generator.device
    if device.type == "cpu":  # which hands its numbers out one after the other: one call draws what r calls would
        return torch.rand(len(x), width, generator=generator, dtype=torch.float64)
    draws = [torch.rand(width, generator=generator, device=device, dtype=torch.float64) for _ in x]
    return torch.stack(draws)


def normal(u: Tensor, like: Tensor) -> Tensor:
    """Standard normal numbers from uniform ones, of the shape, dtype and device of `like`; `u` is used up.

    By the inverse of the distribution function, sqrt(2) erfinv(2 u - 1). For u = k 2^-53 the number 2 u - 1 + 2^-53 is
    exact, symmetric around 0, and never 1 in size, where the inverse is infinite.
    """
    z = u.mul_(2).add_(2.0**-53 - 1).erfinv_().mul_(math.sqrt(2))
    return z.reshape(like.shape).to(like)


def at_least(value: object, least: int, option: str, who: str) -> int:
    """`value`, when it is a whole number from `least` up.

    Raises
        OptionError: anything else.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise OptionError(f"{who}: `{option}` must be an integer from {least} up; got {value!r}. Try {option}=50.")
    return value
