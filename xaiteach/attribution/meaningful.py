"""Meaningful perturbation: the smallest part of the input whose deletion takes the score away, found by descent.

Symbols, the paper's: m the mask on coarse cells, 1 where the input is kept and 0 where it is deleted; M the mask on
positions; Phi the input seen through it; S the score; tau the jitter, in positions; beta the total variation's power.

Of the paper's two games this is the deletion game: delete as little as possible so that the score falls.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from xaiteach.attribution.paths import as_baseline
from xaiteach.attribution.scores import input_gradient, score
from xaiteach.attribution.smoothing import along, blurred, cells_of, enlarging, shifted, total_variation
from xaiteach.attribution.work import Work, at_least, laid_out, normal, uniform
from xaiteach.errors import OptionError, ShapeError, unknown
from xaiteach.guards import describe

__all__ = ["Adam", "Prices", "meaningful_perturbation"]

Model = Callable[[Tensor], Any]

_FILLS = ("blur", "noise")
_DISCS = 20
"""Radii tried for the mask to begin with, beside nothing."""
_EDGE = 3
"""Width of a disc's edge, in cells of the longest axis."""
_SUPPRESSED = 0.99
_GRID = 28
"""The paper's cells along a side, by which slopes of coarser masks are measured."""


def meaningful_perturbation(
    model: Model,
    x: Tensor,
    target: Tensor,
    *,
    baseline: Tensor | float | str | None = "blur",
    sigma: float | None = None,
    grid: int = 28,
    iterations: int = 300,
    l1: float = 0.08,
    tv: float = 8.0,
    tv_beta: float = 3.0,
    jitter: int = 2,
    learning_rate: float = 0.1,
    output: str = "probability",
    generator: torch.Generator | None = None,
    work: Work,
) -> Tensor:
    """How far each position is deleted by the smallest smooth mask that makes the score fall.

    Adam looks for the mask m that makes l1 mean(1 - m) + tv mean |grad m|^beta + E S(Phi) small, cut to [0, 1] after
    every step: delete little, with smooth edges, and lose the score all the same, however the input is jittered.
    Phi = M x + (1 - M) fill. It answers which part is enough to break the decision, by this way of deleting. Another
    start may end elsewhere, and a class whose score is near 0 has nothing to lose: its map is 0.

    Parameters
        model : callable from (n, ...) to logits (n, classes), in evaluation mode, differentiable.
        x : Tensor, shape (n, c, ...). Samples with 1 to 3 spatial axes.
        target : Tensor, shape (n,), long. Class index, 0-based.
        baseline : the fill. "blur", the paper's, takes texture away, but a smooth signal outlives it; "noise" is normal
            with mean and deviation of each channel, drawn once for each sample; or a Tensor of x's shape or (1, ...),
            a float, or None for zeros.
        sigma : float > 0, in positions, or None. Standard deviation of the blur. None: 10/224 of the shorter side.
        grid : int >= 1. Cells along the longest axis, at most its positions, and as many as fit along the others.
            Default 28, the paper's.
        iterations : int >= 1. Steps of Adam. Default 300, the paper's.
        l1 : float >= 0. Price of deleting everything, in units of the score.
        tv : float >= 0. Price of the mean over cells of |grad m|^beta, with slopes per 1/28 of the longest axis.
        tv_beta : float >= 1. Power beta. Default 3, the paper's.
        jitter : int >= 0. In every step the input is shifted, by up to so many positions either way along each axis,
            under a mask that stays.
        learning_rate : float > 0. Adam's. Default 0.1, the paper's.
        output : "logit" or "probability". Default "probability", as the paper: l1 and tv are weighed against a score
            between 0 and 1.
    Returns
        Tensor, shape (n, 1, *spatial), 1 - M: from 0, kept, to 1, deleted.
    Raises
        ModelError: the output is not (n, classes), finite and differentiable.
        ShapeError: a table, whose columns are no neighbours, more than 3 spatial axes, or a baseline unlike x.
        OptionError: a number out of its range, an unknown fill or `output`.
    Cost
        iterations forward and backward passes, 21 forward passes for the start.
    Source
        Fong, Vedaldi (2017), eq. 4 and sections 4.1 and 4.3; seed 003, section 2.3.3. As there, the mask starts as the
        smallest disc in the middle that takes away 99 % of what deleting everything does. Differs from it in: the
        disc's proportions, which are the image's, and its edge, three cells wide; means over cells, where the paper has
        sums over its 28 x 28, so that a price holds for every size (its 1e-4 and 1e-2 are 0.08 and 8 here); a jitter
        either way, where 0 to 3 pixels to one side would move the map; a mix with the blurred input, where its formula
        blurs each pixel as its mask says (as printed, most where m = 1, against its two other fills).
    Examples
        >>> from xaiteach import explain
        >>> left = lambda x: torch.nn.functional.pad(x[:, :, :4].sum(2), (0, 1))  # the sum of the left half, and 0
        >>> a = explain(left, torch.ones(1, 1, 8), 0, "meaningful_perturbation", baseline=-1.0, jitter=0)
        >>> bool(a.map[0, :3].min() > 0.9), bool(a.map[0, 6:].max() < 0.1)
        (True, True)
    """
    who = "meaningful_perturbation"
    for value, least, option in ((grid, 1, "grid"), (iterations, 1, "iterations"), (jitter, 0, "jitter")):
        at_least(value, least, option, who)
    prices = Prices(_number(l1, 0, "l1", who), _number(tv, 0, "tv", who), _number(tv_beta, 1, "tv_beta", who))
    rate = _positive(learning_rate, "learning_rate", who, 0.1)
    sd = None if sigma is None else _positive(sigma, "sigma", who, 3.0)
    if not 3 <= x.ndim <= 5:
        raise ShapeError(
            f"{who}: `x` must have 1 to 3 spatial axes, (n, c, ...), along which a mask can be smooth; got "
            f"{describe(x)}. Try 'occlusion' or 'shapley_sampling'."
        )
    axes = x.ndim - 2
    cells = cells_of(x.shape[2:], grid)
    matrices = [enlarging(count, side).to(x) for count, side in zip(cells, x.shape[2:], strict=True)]
    parts = list(Work(work.rows, progress=False).slices(len(x)))
    steps = Work(1, work.progress).slices(len(parts) * iterations, "step")
    found = []
    for part in parts:
        # Of each sample in turn: the jitter of every step, then the noise.
        u = uniform(x[part], iterations * axes + _noisy(baseline) * x[0].numel(), generator)
        fill = laid_out(_fill(baseline, x, part, sd, u[:, iterations * axes :], who), x)
        taus = (u[:, : iterations * axes] * (2 * jitter + 1)).long() - jitter
        game = _Deletion(model, x[part], target[part], fill, matrices, prices, output)
        m = game.start(work)
        descent = game.descent(m, rate, taus.reshape(-1, iterations, axes).unbind(1))
        for m, _ in zip(descent, steps, strict=False):  # noqa: B007 - the last one stays
            pass
        found.append(along(matrices, (1 - m)[:, None]).clamp(0, 1))  # but for rounding it is there
    return torch.cat(found)


@dataclass(frozen=True)
class Prices:
    """What a mask costs, beside the score that it leaves: the first two terms of eq. 4."""

    l1: float
    tv: float
    tv_beta: float

    def of(self, m: Tensor) -> Tensor:
        """Price of each mask (n, *cells), shape (n,)."""
        slopes = m * (max(m.shape[1:]) / _GRID)
        variation = total_variation(slopes, self.tv_beta) / m[0].numel()
        return self.l1 * (1 - m).flatten(1).mean(1) + self.tv * variation


@dataclass
class Adam:
    """Adam's steps for a batch, each entry with moments of its own, so that samples do not see each other.

    Written out because torch.optim loads PyTorch's compiler at its first step, which takes seconds; the tests compare.

    Parameters
        rate : float > 0. Learning rate.
    Source
        Kingma, Ba (2015), algorithm 1, with its beta_1 = 0.9, beta_2 = 0.999, epsilon = 1e-8.
    """

    rate: float
    moments: tuple[Tensor, Tensor] | None = field(default=None, repr=False)
    steps: int = 0

    def step(self, at: Tensor, g: Tensor) -> Tensor:
        """Where a step against the gradient g leads from `at`."""
        first, second = (torch.zeros_like(g), torch.zeros_like(g)) if self.moments is None else self.moments
        self.moments = first, second = 0.9 * first + 0.1 * g, 0.999 * second + 0.001 * g**2
        self.steps += 1
        mean, square = first / (1 - 0.9**self.steps), second / (1 - 0.999**self.steps)
        return at - self.rate * mean / (square.sqrt() + 1e-8)


@dataclass(frozen=True, eq=False)
class _Deletion:
    """The game of some samples, each played on its own: the batch's loss is the sum of theirs."""

    model: Model
    x: Tensor
    target: Tensor
    fill: Tensor
    matrices: Sequence[Tensor]
    prices: Prices
    output: str

    def start(self, work: Work) -> Tensor:
        """Smallest disc that takes away 99 % of what deleting everything does, shape (n, *cells).

        Where deleting everything makes the score rise, that is to delete nothing.
        """
        discs = self._discs()  # (radii, *cells)
        S = torch.empty(len(self.x), len(discs), dtype=self.x.dtype, device=self.x.device)
        for rows in Work(work.rows, progress=False).copies(self.x, self.target, len(discs), "disc"):
            M = along(self.matrices, discs[rows.number][:, None])
            phi = torch.lerp(self.fill[rows.sample], rows.x, M)
            S[rows.sample, rows.number] = score(self.model, phi, rows.target, self.output, "meaningful_perturbation")
        lost = S[:, :1] - S
        enough = lost >= _SUPPRESSED * lost[:, -1:]
        return discs[enough.int().argmax(1)]  # the first of those that are enough

    def _discs(self) -> Tensor:
        """The mask that deletes nothing, then discs up to everything, shape (1 + 20, *cells).

        Their edges are 3 cells wide. A sharp one costs so much at first that Adam, which divides by the gradients it
        remembers, moves the cells there too slowly ever after, and a ring of the disc stays in the map.
        """
        cells = [matrix.shape[1] for matrix in self.matrices]
        squares = torch.zeros(cells, dtype=torch.float64)
        for axis, count in enumerate(cells):
            place = (2 * torch.arange(count, dtype=torch.float64) + 1) / count - 1  # between -1 and 1
            squares = squares + place.reshape([count if a == axis else 1 for a in range(len(cells))]) ** 2
        away = squares.sqrt()
        share = torch.linspace(0, 1, _DISCS + 1, dtype=torch.float64).reshape(-1, *[1] * len(cells))
        kept = ((away - share * away.max()) * (max(cells) / (2 * _EDGE))).clamp(0, 1)
        kept[0] = 1
        return kept.to(self.x)

    def descent(self, m: Tensor, rate: float, taus: Iterable[Tensor]) -> Iterator[Tensor]:
        """Masks after each step; `taus` holds the jitter of each, (n, axes)."""
        adam = Adam(rate)
        for tau in taus:
            m = adam.step(m, self.gradient(m, tau)).clamp(0, 1)
            yield m

    def gradient(self, m: Tensor, tau: Tensor) -> Tensor:
        """Gradient of each sample's loss by its mask, shape (n, *cells)."""
        leaf = m.detach().requires_grad_()
        M = along(self.matrices, leaf[:, None])  # (n, 1, *spatial)
        x, fill = (laid_out(shifted(t, tau), self.x) for t in (self.x, self.fill))
        phi = torch.lerp(fill, x, M.detach())
        by_phi = input_gradient(self.model, phi, self.target, self.output, "meaningful_perturbation")
        by_M = (by_phi * (x - fill)).sum(1, keepdim=True)
        (found,) = torch.autograd.grad((M * by_M).sum() + self.prices.of(leaf).sum(), leaf)
        return found


def _noisy(baseline: object) -> bool:
    return isinstance(baseline, str) and baseline == "noise"


def _fill(baseline: object, x: Tensor, part: slice, sigma: float | None, u: Tensor, who: str) -> Tensor:
    """What shows where the samples of `part` are deleted, of their shape; `u` are numbers on [0, 1) for the noise."""
    if not isinstance(baseline, str):
        return as_baseline(baseline, x, who)[part]
    if baseline not in _FILLS:
        raise unknown("baseline", baseline, _FILLS)
    if baseline == "blur":
        return blurred(x[part], sigma)
    flat = x[part].flatten(2)  # (n, c, positions)
    noise = normal(u, flat) * flat.std(2, correction=0, keepdim=True) + flat.mean(2, keepdim=True)
    return noise.reshape(x[part].shape)


def _number(value: object, least: float, option: str, who: str) -> float:
    """`value` as a float, when it is a finite number from `least` up.

    Raises
        OptionError: anything else.
    """
    if isinstance(value, bool) or not isinstance(value, Real) or not least <= float(value) < math.inf:
        raise OptionError(
            f"{who}: `{option}` must be a finite number from {least} up; got {value!r}. Try {option}={least}."
        )
    return float(value)


def _positive(value: object, option: str, who: str, usual: float) -> float:
    """`value` as a float, when it is a finite number above 0.

    Raises
        OptionError: anything else; the message advises `usual`.
    """
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 < float(value) < math.inf:
        raise OptionError(f"{who}: `{option}` must be a finite number above 0; got {value!r}. Try {option}={usual}.")
    return float(value)
