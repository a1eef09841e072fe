"""KernelSHAP: Shapley values as the coefficients of a weighted regression on coalitions.

Symbols: M players, z in {0, 1}^M a coalition of |z| players, v(z) its payoff, pi(z) the Shapley kernel, phi the
coefficients.

Captum's KernelShap is not wrapped. It draws from the global random state in float32, one sample and by default one
coalition at a time; it never enumerates, so that it is not exact for few players either; and it gives the two ends,
nobody and everybody, a weight of a million where the sum of the coefficients can be made exact.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from math import comb
from typing import Any

import torch
from torch import Tensor

from xaiteach.attribution.coalitions import Game, Table, players_of
from xaiteach.attribution.paths import as_baseline
from xaiteach.attribution.work import Work, at_least
from xaiteach.errors import OptionError

__all__ = ["kernel_shap", "shapley_kernel"]

Model = Callable[[Tensor], Any]


def shapley_kernel(size: int, M: int) -> float:
    """Weight of one coalition of `size` players: (M - 1) / (C(M, |z|) |z| (M - |z|)).

    Infinite for nobody and everybody, where the regression is a constraint instead.

    Source
        Lundberg, Lee (2017), theorem 2; seed 002 (6.22), whose last parenthesis is missing.
    Examples
        >>> [round(shapley_kernel(size, 4), 4) for size in (1, 2, 3)]
        [0.25, 0.125, 0.25]
    """
    return float("inf") if size in (0, M) else (M - 1) / (comb(M, size) * size * (M - size))


def kernel_shap(
    model: Model,
    x: Tensor,
    target: Tensor,
    *,
    baseline: Tensor | float | None = None,
    superpixels: Tensor | None = None,
    n_samples: int = 2048,
    output: str = "logit",
    generator: torch.Generator | None = None,
    work: Work,
) -> tuple[Tensor, Tensor]:
    """Shapley values by regression: sum_z pi(z) (v(z) - phi_0 - z . phi)^2 is least, with phi_0 and the sum held exact.

    Over all coalitions the minimum is the Shapley values, to rounding. Where there are more than n_samples of them, the
    sizes that the kernel weighs most are taken whole, from one player (and all but one) inwards, as long as drawing
    would only repeat them; of the others coalitions are drawn by the kernel, each with its complement.

    Parameters
        model, x, target, baseline, superpixels, output : as `shapley_exact`.
        n_samples : int >= 1. Most coalitions to try besides nobody and everybody. From 2^M - 2 on the result is exact;
            below that it must be at least 2 M + 2, so that the regression has one solution. Default 2048: exact for up
            to 11 players.
    Returns
        Tensor of x's shape, or with superpixels (n, 1, *spatial), in units of the score, shared out as by
        `shapley_exact`; and the residual S(x) - S(x') - sum, shape (n,), which is rounding.
    Raises
        ShapeError: the baseline or the superpixels do not match x.
        OptionError: too few samples, superpixels=None with more than 1024 values, or unknown `output`.
    Cost
        n_samples + 2 forward passes, or 2^M where that is less; one solution of M linear equations.
    Source
        Lundberg, Lee (2017), theorem 2; seed 002 (6.20)-(6.23). Pairs: Covert, Lee (2021).
    Examples
        >>> from xaiteach import explain
        >>> a = explain(lambda x: x.prod(1, keepdim=True), torch.tensor([[2.0, 3.0, 1.0]]), 0, "kernel_shap")
        >>> a.values
        tensor([[2., 2., 2.]])
    """
    who = "kernel_shap"
    at_least(n_samples, 1, "n_samples", who)
    players = players_of(superpixels, x, who)
    plans = {M: _plan(M, n_samples, who) for M in set(players.counts)}
    game = Game(model, x, target, as_baseline(baseline, x, who), players, output, who)
    designs: list[Tensor] = []

    def table(sample: int) -> Table:
        designs.append(z := plans[players.counts[sample]].coalitions(generator))
        return lambda number: z[number]

    payoffs = game.payoffs([2 + len(plans[M].weights) for M in players.counts], table, work)
    phi = [_solve(z, plans[z.shape[1]].weights, v) for z, v in zip(designs, payoffs, strict=True)]
    return game.shared_out(phi, [v[1] - v[0] for v in payoffs])


@dataclass(frozen=True, eq=False)
class _Plan:
    """Which coalitions of M players are tried.

    Parameters
        whole : Tensor, shape (k, M), bool. Those taken for certain.
        sizes : Tensor, shape (s,), long. Sizes to draw from, with
        chances : Tensor, shape (s,), float64. How likely each is.
        pairs : int. Coalitions to draw, each with its complement.
        weights : Tensor, shape (k + 2 pairs,), float64. Of all of them, in the regression.
    """

    whole: Tensor
    sizes: Tensor
    chances: Tensor
    pairs: int
    weights: Tensor

    def coalitions(self, generator: torch.Generator | None) -> Tensor:
        """Nobody, everybody, the certain ones and the drawn ones, shape (2 + k + 2 pairs, M), bool."""
        M = self.whole.shape[1]
        parts = [torch.zeros(1, M, dtype=torch.bool), torch.ones(1, M, dtype=torch.bool), self.whole]
        if self.pairs:
            device = "cpu" if generator is None else generator.device
            u = torch.rand(self.pairs, M + 1, generator=generator, dtype=torch.float64, device=device).cpu()
            # The last edge is 1 but for rounding, and u is below 1.
            chosen = torch.searchsorted(self.chances.cumsum(0)[:-1], u[:, 0].contiguous(), right=True)
            z = u[:, 1:].argsort(1) < self.sizes[chosen][:, None]
            parts += [z, ~z]
        return torch.cat(parts)


def _plan(M: int, n_samples: int, who: str) -> _Plan:
    """Sizes that are taken whole and sizes that are drawn from.

    The regression's loss is a sum over all coalitions. The whole sizes are in it as they are; the rest is estimated
    without bias by draws from the kernel, which share the rest's weight evenly.
    """
    if n_samples < min(2**M - 2, 2 * M + 2):
        raise OptionError(
            f"{who}: `n_samples` must be at least {2 * M + 2} for {M} players, two for each and a pair that is drawn; "
            f"got {n_samples}. Try n_samples={4 * M + 2}, or fewer superpixels."
        )
    mass = {size: (M - 1) / (size * (M - size)) for size in range(1, M)}  # of all coalitions of a size
    rest, left = list(range(1, M)), n_samples
    whole = [torch.zeros(0, M, dtype=torch.bool)]
    while rest:
        ends = {rest[0], rest[-1]}
        number = sum(comb(M, size) for size in ends)
        share = sum(mass[size] for size in ends) / sum(mass[size] for size in rest)
        # Single players, and all but one, always: they make the equations have one solution.
        if rest[0] > 1 and number > share * left:
            break
        z = _of_size(rest[0], M)
        whole += [z, ~z] if len(ends) == 2 else [z]
        rest, left = rest[1:-1], left - number
    taken = torch.cat(whole)
    certain = [shapley_kernel(int(size), M) for size in taken.sum(1)]
    kernel = torch.tensor([mass[size] for size in rest], dtype=torch.float64)
    pairs = left // 2 if rest else 0
    drawn = kernel.sum().expand(2 * pairs) / max(2 * pairs, 1)
    weights = torch.cat([torch.tensor(certain, dtype=torch.float64), drawn])
    return _Plan(taken, torch.tensor(rest), kernel / kernel.sum(), pairs, weights)


def _of_size(size: int, M: int) -> Tensor:
    """All coalitions of `size` of M players, shape (C(M, size), M), bool."""
    members = torch.tensor(list(combinations(range(M), size)))
    return torch.zeros(len(members), M, dtype=torch.bool).scatter_(1, members, True)


def _solve(z: Tensor, weights: Tensor, payoffs: Tensor) -> Tensor:
    """Coefficients (M,) of the regression, whose sum is exactly v(everybody) - v(nobody).

    With A = sum pi z z^T and b = sum pi z (v(z) - v(nobody)), Lagrange's condition is A phi = b + lambda 1; lambda
    follows from the sum. Single players are among z: A is at least their weight times the identity.
    """
    gain = payoffs[1] - payoffs[0]
    M = z.shape[1]
    if M == 1:
        return gain[None]
    design = z[2:].double()
    A = design.T @ (weights[:, None] * design)
    b = design.T @ (weights * (payoffs[2:] - payoffs[0]))
    free, ones = torch.linalg.solve(A, torch.stack([b, torch.ones_like(b)], 1)).T
    phi: Tensor = free + ones * (gain - free.sum()) / ones.sum()
    return phi
