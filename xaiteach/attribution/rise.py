"""RISE: the mean of random masks, weighted by the score of what they let through.

Symbols, the paper's: N masks M_i of the field's size, made of coarse grids of s cells along an axis; p the probability
with which a cell is kept; C the cell's side in positions; lambda a position; x' the baseline.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from xaiteach.attribution.coalitions import cached
from xaiteach.attribution.masking import field_of, over_channels, per_axis
from xaiteach.attribution.paths import as_baseline
from xaiteach.attribution.scores import score
from xaiteach.attribution.work import Work, at_least
from xaiteach.errors import OptionError

__all__ = ["Masks", "draw_masks", "rise"]

Model = Callable[[Tensor], Any]


@dataclass(frozen=True, eq=False)
class Masks:
    """Random masks, kept as coarse grids and made when they are asked for.

    Parameters
        grids : Tensor, shape (N, *cells), float64, 0 or 1.
        shifts : Tensor, shape (N, axes), long. Where each mask is cut out of its enlarged grid.
        field : sides of a mask. Where they are those of the grid, and `smooth` is False, the grid is the mask.
        smooth : bool. Whether the grid is enlarged by linear interpolation.
    """

    grids: Tensor
    shifts: Tensor
    field: tuple[int, ...]
    smooth: bool

    def made(self, number: Tensor) -> Tensor:
        """Masks of these numbers, shape (r, *field), float64, in [0, 1]."""
        mask, shift = self.grids[number], self.shifts[number]
        if not self.smooth:
            return mask
        for axis, side in enumerate(self.field, start=1):
            s = mask.shape[axis]
            place = torch.arange(side, device=mask.device) + shift[:, axis - 1 : axis]  # (r, side), of the enlarged
            # In cells, measured between their centres; ahead of the first and behind the last there is only that one.
            u = ((place.double() + 0.5) * s / ((s + 1) * _cell(side, s)) - 0.5).clamp(0, s - 1)
            lower = u.floor()
            below, above = (self._along(mask, index.long(), axis) for index in (lower, (lower + 1).clamp(max=s - 1)))
            mask = torch.lerp(below, above, (u - lower).reshape(-1, *self._shape(side, axis)))
        return mask

    def _along(self, mask: Tensor, index: Tensor, axis: int) -> Tensor:
        return torch.take_along_dim(mask, index.reshape(-1, *self._shape(index.shape[1], axis)), axis)

    def _shape(self, side: int, axis: int) -> list[int]:
        return [side if a == axis else 1 for a in range(1, len(self.field) + 1)]


def _cell(side: int, s: int) -> int:
    return -(-side // s)


def draw_masks(count: int, x: Tensor, grid: object, keep: float, generator: torch.Generator | None, who: str) -> Masks:
    """`count` random masks for samples like x; the first of them are the same however many follow.

    Raises
        OptionError: `grid` is not an integer from 1 up, or one for each axis.
    """
    field = field_of(x)
    cells = [min(s, side) for s, side in zip(per_axis(grid, field, "grid", who), field, strict=True)]
    if x.ndim == 2:  # features next to each other are no neighbours: each has a cell of its own
        cells = list(field)
    device = x.device if generator is None else generator.device
    # Of each mask in turn: the cells, then the shifts. In double, so that every dtype sees the same masks.
    u = torch.rand(count, prod(cells) + len(field), generator=generator, device=device, dtype=torch.float64).to(
        x.device
    )
    longest = torch.tensor([_cell(side, s) for side, s in zip(field, cells, strict=True)], device=x.device)
    shifts = (u[:, prod(cells) :] * (longest + 1)).long()  # from 0 to C
    grids = (u[:, : prod(cells)] < keep).double().reshape(count, *cells)
    return Masks(grids, shifts, field, smooth=x.ndim > 2)


def rise(
    model: Model,
    x: Tensor,
    target: Tensor,
    *,
    n_samples: int = 2000,
    grid: int | Sequence[int] = 7,
    keep: float = 0.5,
    baseline: Tensor | float | None = None,
    output: str = "probability",
    generator: torch.Generator | None = None,
    work: Work,
) -> Tensor:
    """Mean score of the input seen through random masks that keep a position: 1/(N p) sum_i S(x M_i) M_i(lambda).

    On average the map at lambda is the mean score weighted by how far lambda is kept, so its level is the mean score of
    masked inputs and only differences within it explain; a score that ignores the input gives a map that is flat but
    for noise, which falls as 1/sqrt(N). A mask is a random grid of cells, kept or not, enlarged smoothly and shifted,
    so that no edge of it lies where another one does. Nothing is asked of the model but scores.

    Parameters
        model : any callable from (n, ...) to logits (n, classes); it need not be differentiable.
        x : Tensor, shape (n, ...). Samples: images, signals, clips, or a table (n, d).
        target : Tensor, shape (n,), long. Class index, 0-based.
        n_samples : int >= 1. Masks N. Default 2000: the paper takes 4000 for VGG16 and 8000 for ResNet50.
        grid : int >= 1 or one for each axis. Cells s along an axis, at most its positions. Default 7, the paper's. In a
            table each feature is a cell of its own, kept or not, without smoothing.
        keep : float in (0, 1). Probability p with which a cell is kept. Default 0.5, the paper's.
        baseline : Tensor of x's shape or (1, ...), float, or None for zeros. What shows where a mask is 0:
            the input is x' + M (x - x').
        output : "logit" or "probability". Default "probability", as the paper: a large score that all masked inputs
            have in common adds nothing but noise, and of scores below 0 the weighted masks argue backwards.
        generator : torch.Generator or None. One set of masks is drawn from it for all samples, so that a sample's map
            does not depend on what else is in the batch, and maps of two samples can be compared mask by mask.
    Returns
        Tensor, shape (n, 1, *spatial), or (n, d) for a table, in units of the score; of probabilities, never negative.
    Raises
        ShapeError: the baseline does not match x.
        OptionError: no masks, no cells, `keep` outside (0, 1), or unknown `output`.
    Cost
        n_samples forward passes.
    Source
        Petsiuk, Das, Saenko (2018), the Monte Carlo estimate that ends section 3.1, and section 3.2 for the masks: s
        cells are enlarged to (s + 1) C positions by linear interpolation, and a mask is cut out at a shift from 0 to C.
        C is the side divided by s, rounded up: rounded down, as printed there, the enlarged grid can be too small.
    Examples
        >>> from xaiteach import explain
        >>> first = lambda x: x[:, :1]  # the first feature decides: its masks have score 1, the others 1 in half
        >>> g = torch.Generator().manual_seed(0)
        >>> explain(first, torch.ones(1, 3), 0, "rise", output="logit", generator=g).values.round(decimals=1)
        tensor([[1.0000, 0.5000, 0.5000]])
    """
    who = "rise"
    at_least(n_samples, 1, "n_samples", who)
    p = _share(keep, who)
    base = as_baseline(baseline, x, who)
    masks = draw_masks(n_samples, x, grid, p, generator, who)
    total = torch.zeros(len(x), *masks.field, dtype=torch.float64, device=x.device)
    for rows in cached(work, x).copies(x, target, n_samples, "mask"):
        M = masks.made(rows.number)  # (r, *field)
        seen = torch.lerp(base[rows.sample], rows.x, over_channels(M, x).to(x))
        S = score(model, seen, rows.target, output, who).double()  # (r,)
        total.index_add_(0, rows.sample, S.reshape(-1, *[1] * len(masks.field)) * M)
    return over_channels(total / (n_samples * p), x).to(x)


def _share(keep: object, who: str) -> float:
    """`keep` as a float, when it is a number between 0 and 1.

    Raises
        OptionError: anything else.
    """
    if isinstance(keep, bool) or not isinstance(keep, Real) or not 0 < float(keep) < 1:
        raise OptionError(f"{who}: `keep` must be a number between 0 and 1, both left out; got {keep!r}. Try keep=0.5.")
    return float(keep)
