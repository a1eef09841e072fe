"""Shapley values: each player's marginal contribution, averaged over the ways in which a coalition can form.

Symbols: M players, S a coalition, v(S) its payoff (the score when only S is present), phi_i the value of player i,
S(x) the score, x' the baseline.
"""

from __future__ import annotations

from collections.abc import Callable
from math import comb
from typing import Any

import torch
from torch import Tensor

from xaiteach.attribution.coalitions import Game, Table, players_of
from xaiteach.attribution.paths import as_baseline
from xaiteach.attribution.work import Work, at_least
from xaiteach.errors import OptionError, ShapeError
from xaiteach.guards import check_finite, describe

__all__ = ["MOST_PLAYERS", "shapley_exact", "shapley_sampling", "shapley_values"]

Model = Callable[[Tensor], Any]

MOST_PLAYERS = 16
"""Most players for which every coalition is tried: 2^16 = 65536."""


def shapley_values(game: Callable[[Tensor], Any], n_players: int) -> Tensor:
    """Shapley value of each player of a game, by the definition.

    phi_i = sum over S without i of |S|! (M - |S| - 1)! / M! (v(S with i) - v(S)): the payoff is shared out by what each
    player adds, averaged over all orders in which they can join. It is the only way to share that is efficient,
    symmetric, additive and gives nothing to a player who never adds anything.

    Parameters
        game : callable from coalitions (2^M, M), bool, to their payoffs (2^M,).
        n_players : int from 1 to 16. M.
    Returns
        Tensor, shape (M,), float64, in units of the payoff. It sums to v(all) - v(nobody).
    Raises
        OptionError: no player, or more than 16.
        ShapeError: the game does not return one finite payoff for each coalition.
    Cost
        2^M payoffs, each once.
    Source
        Shapley (1953); seed 002 (6.1). The weight of seed 002 (6.18), whose S has player i in it, should be
        (|S| - 1)! (M - |S|)! / M!.
    Examples
        A ride home costs what its farthest stop costs: 6, 12 or 42.

        >>> fares = torch.tensor([6.0, 12.0, 42.0])
        >>> shapley_values(lambda riders: (riders * fares).max(1).values, 3)
        tensor([ 2.,  5., 35.], dtype=torch.float64)
    """
    at_least(n_players, 1, "n_players", "shapley_values")
    _check_count(n_players, "shapley_values", f"n_players={MOST_PLAYERS}")
    coalitions = _subsets(torch.arange(2**n_players), n_players)
    payoffs = game(coalitions)
    if not isinstance(payoffs, Tensor) or payoffs.shape != (len(coalitions),):
        raise ShapeError(
            f"shapley_values: `game` must return a tensor of shape ({len(coalitions)},), a payoff for each coalition; "
            f"it returned {describe(payoffs)}. Try a game that sums over axis 1, the players."
        )
    return _from_payoffs(check_finite(payoffs.double().cpu(), "shapley_values", "payoffs"))


def shapley_exact(
    model: Model,
    x: Tensor,
    target: Tensor,
    *,
    baseline: Tensor | float | None = None,
    superpixels: Tensor | None = None,
    output: str = "logit",
    work: Work,
) -> tuple[Tensor, Tensor]:
    """Shapley values of the input's players, from the score under every coalition of them.

    What a player adds to the score, averaged over everything that may be there already. Absent players are at the
    baseline, so the question is relative to it. This is the truth that the estimates are measured by; it is affordable
    for up to 16 players.

    Parameters
        model : any callable from (n, ...) to logits (n, classes); it need not be differentiable.
        x : Tensor, shape (n, ...). Samples.
        target : Tensor, shape (n,), long. Class index, 0-based.
        baseline : Tensor of x's shape or (1, ...), float, or None for zeros.
        superpixels : integers, shape spatial or (n, *spatial); for a table (d,) or (n, d). Positions with the same
            label are one player, with all their channels. None: every value is a player of its own.
        output : "logit" or "probability". Default "logit".
    Returns
        Tensor of x's shape, or with superpixels (n, 1, *spatial), in units of the score: a player's value is divided
        evenly among its positions, so that the sum is the score's gain over the baseline. And the residual
        S(x) - S(x') - sum, shape (n,), which is rounding.
    Raises
        ShapeError: the baseline or the superpixels do not match x.
        OptionError: more than 16 players, or unknown `output`.
    Cost
        2^M forward passes, each coalition once.
    Source
        Shapley (1953); Lundberg, Lee (2017), eq. 4; seed 002 (6.13), with the baseline for what is absent (6.19).
    Examples
        >>> from xaiteach import explain
        >>> a = explain(lambda x: x.prod(1, keepdim=True), torch.tensor([[2.0, 3.0]]), 0, "shapley_exact")
        >>> a.values  # neither factor has any effect alone: they share 6
        tensor([[3., 3.]])
    """
    who = "shapley_exact"
    players = players_of(superpixels, x, who)
    _check_count(max(players.counts), who, "fewer superpixels, or 'kernel_shap' or 'shapley_sampling'")
    game = Game(model, x, target, as_baseline(baseline, x, who), players, output, who)

    def table(sample: int) -> Table:
        return lambda number: _subsets(number, players.counts[sample])

    payoffs = game.payoffs([2**M for M in players.counts], table, work)
    return game.shared_out([_from_payoffs(v) for v in payoffs], [v[-1] - v[0] for v in payoffs])


def shapley_sampling(
    model: Model,
    x: Tensor,
    target: Tensor,
    *,
    baseline: Tensor | float | None = None,
    superpixels: Tensor | None = None,
    n_samples: int = 25,
    antithetic: bool = False,
    output: str = "logit",
    generator: torch.Generator | None = None,
    work: Work,
) -> tuple[Tensor, Tensor]:
    """Shapley values estimated from random orders in which the players join, one by one.

    Each order gives every player one marginal contribution; they add up to the gain of the score in every order, so
    completeness is exact whatever the number of orders. Unbiased; the error shrinks as 1/sqrt(n_samples).

    Parameters
        model, x, target, baseline, superpixels, output : as `shapley_exact`.
        n_samples : int >= 1. Orders. Default 25.
        antithetic : bool. Whether every second order is the one before it reversed: a player who came early then comes
            late, which mostly lowers the variance. Default False, as in the paper.
    Returns
        Tensor of x's shape, or with superpixels (n, 1, *spatial), in units of the score, shared out as by
        `shapley_exact`; and the residual S(x) - S(x') - sum, shape (n,), which is rounding.
    Raises
        ShapeError: the baseline or the superpixels do not match x.
        OptionError: no orders, superpixels=None with more than 1024 values, or unknown `output`.
    Cost
        n_samples (M - 1) + 2 forward passes.
    Source
        Castro, Gómez, Tejada (2009); antithetic orders: Mitchell, Cooper, Frank, Holmes (2022).
    Examples
        >>> from xaiteach import explain
        >>> a = explain(torch.nn.Linear(3, 2), torch.ones(1, 3), 1, "shapley_sampling", n_samples=2)
        >>> a.values.shape, bool(a.residual.abs() < 1e-6)
        (torch.Size([1, 3]), True)
    """
    who = "shapley_sampling"
    at_least(n_samples, 1, "n_samples", who)
    players = players_of(superpixels, x, who)
    game = Game(model, x, target, as_baseline(baseline, x, who), players, output, who)
    places: list[Tensor] = []

    def table(sample: int) -> Table:
        M = players.counts[sample]
        places.append(place := _orders(n_samples, M, antithetic, generator))
        return lambda number: _joined(place, number)

    payoffs = game.payoffs([2 + n_samples * (M - 1) for M in players.counts], table, work)
    phi = [_mean_gain(v, place) for v, place in zip(payoffs, places, strict=True)]
    return game.shared_out(phi, [v[1] - v[0] for v in payoffs])


def _check_count(count: int, who: str, advice: str) -> None:
    if count > MOST_PLAYERS:
        raise OptionError(
            f"{who}: there must be at most {MOST_PLAYERS} players, because all 2^M coalitions are tried; got {count}, "
            f"2^{count} = {2.0**count:.2g} coalitions. Try {advice}."
        )


def _subsets(number: Tensor, M: int) -> Tensor:
    """Coalitions whose members are the bits of `number`, shape (k, M), bool."""
    return (number[:, None] >> torch.arange(M)) & 1 == 1


def _from_payoffs(payoffs: Tensor) -> Tensor:
    """Shapley values (M,) from the payoffs (2^M,) of the coalitions in the order of their bits."""
    M = len(payoffs).bit_length() - 1
    number = torch.arange(len(payoffs))
    member = _subsets(number, M)
    # |S|! (M - |S| - 1)! / M!, written without large factorials.
    weight = torch.tensor([1 / (M * comb(M - 1, size)) for size in range(M)], dtype=torch.float64)
    phi = torch.empty(M, dtype=torch.float64)
    for i in range(M):
        without = number[~member[:, i]]
        gains = payoffs[without + 2**i] - payoffs[without]
        phi[i] = (weight[member[without].sum(1)] * gains).sum()
    return phi


def _orders(n_samples: int, M: int, antithetic: bool, generator: torch.Generator | None) -> Tensor:
    """At which place each player joins, from 0, in every order: shape (n_samples, M)."""
    drawn = (n_samples + 1) // 2 if antithetic else n_samples
    device = "cpu" if generator is None else generator.device
    place = torch.rand(drawn, M, generator=generator, dtype=torch.float64, device=device).argsort(1).cpu()
    return torch.stack([place, M - 1 - place], 1).flatten(0, 1)[:n_samples] if antithetic else place


def _joined(place: Tensor, number: Tensor) -> Tensor:
    """Coalitions (k, M): 0 is nobody, 1 everybody, then every order's first 1, 2, ..., M - 1 players."""
    M = place.shape[1]
    inner = (number - 2).clamp(min=0)
    size = 1 + inner % max(M - 1, 1)
    size = torch.where(number == 0, 0, torch.where(number == 1, M, size))
    return place[inner // max(M - 1, 1)] < size[:, None]


def _mean_gain(payoffs: Tensor, place: Tensor) -> Tensor:
    """Mean over the orders of what each player added when it joined, shape (M,)."""
    n_samples = len(place)
    nobody, everybody = payoffs[0].expand(n_samples, 1), payoffs[1].expand(n_samples, 1)
    path = torch.cat([nobody, payoffs[2:].reshape(n_samples, -1), everybody], 1)  # (n_samples, M + 1)
    return path.diff(dim=1).gather(1, place).mean(0)
