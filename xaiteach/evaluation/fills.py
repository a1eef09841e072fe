"""What shows where a position is taken away, and the scores of samples made by the row.

No replacement is neutral. Zeros are black holes, or the mean where the data are standardised; a sample's own mean keeps
its brightness; a blur keeps what is coarse; noise adds what was never there. A score that falls may fall because the
model was never shown such a sample, which is why every protocol shows a random order beside the others.

Symbols: n samples of so many positions, S the score, x' the replacement.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from xaiteach.attribution.scores import OUTPUTS, run
from xaiteach.attribution.smoothing import blurred
from xaiteach.attribution.work import uniform
from xaiteach.errors import OptionError, ShapeError, unknown
from xaiteach.evaluation.base import evaluating
from xaiteach.evaluation.rankings import degraded
from xaiteach.guards import check_finite, check_target, describe

__all__ = ["REPLACEMENTS", "Replacement", "counts_of", "curve", "named_replacement", "replacement", "scores_by_row"]

REPLACEMENTS = ("zero", "mean", "blur", "noise")

Replacement = str | float | Tensor
"""One of REPLACEMENTS, a number, or a tensor that broadcasts to the samples, such as a mean of the training data."""

_ROWS, _ROW_BYTES = 256, 2**25


def replacement(x: Tensor, kind: Replacement, *, generator: torch.Generator | None = None) -> Tensor:
    """What shows where positions are taken away, of x's shape.

    Parameters
        x : Tensor, shape (n, c, *spatial), or (n, d) for a table.
        kind : "zero"; "mean", the sample's mean of each channel; "blur", the sample under a Gaussian of 10/224 of its
            shorter side; "noise", uniform between the sample's least and largest value of each channel; or a number or
            a tensor that broadcasts to x. For a table: "zero", a number or a tensor, for its features share no scale.
        generator : what noise is drawn from, sample by sample; None: the global state.
    Raises
        OptionError: unknown kind, or one that a table does not have.
        ShapeError: a tensor that does not broadcast to x, or is not finite.
    Source
        Fong, Vedaldi (2017) for the blur; Samek, Binder, Montavon, Lapuschkin, Müller (2017) for uniform noise.
    Examples
        >>> replacement(torch.tensor([[[1.0, 2.0, 6.0]]]), "mean")
        tensor([[[3., 3., 3.]]])
    """
    if isinstance(kind, Tensor) or (isinstance(kind, int | float) and not isinstance(kind, bool)):
        return _given(x, torch.as_tensor(kind, dtype=x.dtype, device=x.device))
    if kind not in REPLACEMENTS:
        raise unknown("replacement", kind, REPLACEMENTS)
    if x.ndim == 2 and kind != "zero":
        raise OptionError(
            f"replacement: for a table, shape (n, d), it must be 'zero', a number or a tensor; got {kind!r}, which "
            "mixes features of different units. Try the mean of the training data, train.mean(0)."
        )
    if kind == "zero":
        return torch.zeros_like(x)
    if kind == "blur":
        return blurred(x)
    axes = tuple(range(2, x.ndim))
    if kind == "mean":
        return x.mean(axes, keepdim=True).expand_as(x).contiguous()
    low, high = x.amin(axes, keepdim=True), x.amax(axes, keepdim=True)
    drawn = uniform(x, x[0].numel(), generator).to(x).reshape(x.shape)
    return low + drawn * (high - low)


def _given(x: Tensor, fill: Tensor) -> Tensor:
    check_finite(fill, "replacement", "kind")
    try:
        return fill.expand_as(x).contiguous()
    except RuntimeError:
        raise ShapeError(
            f"replacement: it must broadcast to the samples, shape {tuple(x.shape)}; got {describe(fill)}. Try one "
            "value for each channel, mean.reshape(1, -1, 1, 1)."
        ) from None


def named_replacement(kind: Replacement) -> str:
    """What a table says of it."""
    return kind if isinstance(kind, str) else "given values" if isinstance(kind, Tensor) else f"{kind:g}"


def scores_by_row(
    model: Callable[[Tensor], Any],
    made: Callable[[Tensor], tuple[Tensor, Tensor]],
    count: int,
    like: Tensor,
    output: str,
    who: str,
) -> Tensor:
    """Scores S of `count` samples that are made when they are needed, shape (count,), float64, on the CPU.

    Parameters
        model : from (n, ...) to logits (n, classes).
        made : from the numbers of some rows (r,) to those rows (r, ...) and their classes (r,).
        count : int.
        like : Tensor (n, ...). Samples of the same shape, which say how many rows go into memory: 32 MiB of them.
        output : "logit" or "probability".
    Raises
        OptionError: unknown output.
        ModelError: as `logits_of`.
        TargetError: a class that the model does not have.
    """
    if output not in OUTPUTS:
        raise unknown("output", output, OUTPUTS)
    rows = max(1, min(_ROWS, _ROW_BYTES // (like[0].numel() * like.element_size())))
    found = []
    with evaluating(model, like.device):
        for part in torch.split(torch.arange(count, device=like.device), rows):
            samples, target = made(part)
            logits = run(model, samples, who, gradient=False).double()
            target = check_target(target, len(part), logits.shape[1], who, like.device)
            scores = logits.softmax(1) if output == "probability" else logits
            found.append(scores.gather(1, target[:, None])[:, 0].cpu())
    return torch.cat(found)


def counts_of(positions: int, steps: int) -> Tensor:
    """Whole numbers from 0 to `positions`, evenly spread, `steps` + 1 of them, or all where there are fewer, long.

    Examples
        >>> counts_of(10, 4), counts_of(3, 100)
        (tensor([ 0,  2,  5,  8, 10]), tensor([0, 1, 2, 3]))
    """
    return torch.linspace(0, positions, min(steps, positions) + 1, dtype=torch.float64).round().long()


def curve(
    model: Callable[[Tensor], Any],
    x: Tensor,
    target: Tensor,
    places: Tensor,
    fill: Tensor,
    counts: Tensor,
    *,
    output: str,
    who: str,
) -> Tensor:
    """Score of each sample after the first so many of its positions were replaced, shape (n, counts), float64.

    Parameters
        model : from (n, ...) to logits (n, classes).
        x, fill : Tensor (n, c, *spatial), or (n, d).
        target : Tensor (n,), long.
        places : Tensor (n, positions), long. Place of each position in the order of its sample, from 0; those of one
            region share theirs.
        counts : Tensor (counts,), long. Places below this are replaced.
        output : "logit" or "probability".
    Raises
        As `scores_by_row`.
    Examples
        >>> x, places = torch.tensor([[1.0, 2.0, 4.0]]), torch.tensor([[1, 2, 0]])
        >>> curve(lambda x: x.cumsum(1), x, torch.tensor([2]), places, 0 * x, torch.arange(4), output="logit", who="")
        tensor([[7., 3., 2., 0.]], dtype=torch.float64)
    """
    points = len(counts)
    counts = counts.to(x.device)

    def made(rows: Tensor) -> tuple[Tensor, Tensor]:
        sample = rows // points
        where = places[sample] < counts[rows % points, None]
        return degraded(x[sample], where, fill[sample]), target[sample]

    return scores_by_row(model, made, len(x) * points, x, output, who).reshape(len(x), points)
