"""DASP: Shapley values from the mean score of random coalitions, one size at a time.

Symbols: M players, k the size of a random coalition without player i, drawn from the K = M - 1 others; c_j what player
j adds to a unit that is affine in the input.

Such a unit is a sum over the coalition, c_0 + sum of the c_j in it. A coalition is a sample without replacement: the
sum of k of K numbers has the mean k times theirs, and the variance k (K - k) / (K (K - 1)) times the sum of the squares
of their distances to the mean. (Each of them is in with probability k/K, two with k (k - 1) / (K (K - 1)); the variance
of a sum of indicators follows.) From there on `moments` takes over.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xaiteach.attribution.coalitions import Players, cached, players_of
from xaiteach.attribution.moments import Propagation
from xaiteach.attribution.operations import Operation, Rule
from xaiteach.attribution.paths import as_baseline, scores_of
from xaiteach.attribution.work import Work, at_least, laid_out
from xaiteach.errors import ModelError

__all__ = ["coalition_sizes", "dasp"]

Model = Callable[[Tensor], Any]

_ROWS_OF_A_PAIR = 8
"""Memory of a mean and its variance on their way, in rows: a maximum pools its window's values two by two."""


def dasp(
    model: Model,
    x: Tensor,
    target: Tensor,
    *,
    baseline: Tensor | float | None = None,
    superpixels: Tensor | None = None,
    n_steps: int | None = 10,
    work: Work,
) -> tuple[Tensor, Tensor]:
    """Shapley values of the logit, approximated by Gaussian activations instead of tried coalitions.

    A player's value is the mean over sizes k of E[S(coalition of k and it)] - E[S(coalition of k)]. Both expectations
    come from one pass of means and variances through the network, so that the cost grows with M^2 at most, not with
    2^M. Exact for a linear model, and where activations are Gaussian and independent; elsewhere an approximation, whose
    residual says how much is missing.

    Parameters
        model : callable from (n, ...) to logits (n, classes), in evaluation mode, of linear layers, convolutions, batch
            norm, ReLU, average and max pooling, sums, constant factors and operations that move values about.
        x : Tensor, shape (n, ...). Samples.
        target : Tensor, shape (n,), long. Class index, 0-based.
        baseline : Tensor of x's shape or (1, ...), float, or None for zeros.
        superpixels : integers, shape spatial or (n, *spatial); for a table (d,) or (n, d). Positions with the same
            label are one player, with all their channels. None: every value is a player of its own.
        n_steps : int >= 1, or None. Sizes k to take, by Gauss's quadrature over 0, ..., M - 1. Default 10; None, or M
            and more, takes them all.
    Returns
        Tensor of x's shape, or with superpixels (n, 1, *spatial), in logits: a player's value is divided evenly among
        its positions. And the residual S(x) - S(x') - sum, shape (n,): the error of the approximation.
    Raises
        ShapeError: the baseline or the superpixels do not match x.
        OptionError: no steps, or superpixels=None with more than 1024 values.
        ModelError: an operation without a rule, with the layer it is in.
    Cost
        4 M n_steps forward passes in batches of pairs (mean and variance), M + 3 others; it holds M copies of what the
        first nonlinearity reads.
    Source
        Ancona, Öztireli, Gross (2019); seed 002 (6.25) and (6.26), where the sizes are 0 <= k <= N - 1, not as printed
        0 >= k >= N - 1. Differs in: everything up to the first nonlinearity is one exact sum, so that a player may be
        many values; fewer sizes are taken at Gauss's points, not evenly.
    Examples
        >>> from xaiteach import explain
        >>> net = torch.nn.Linear(3, 2)
        >>> a = explain(net, torch.ones(1, 3), 1, "dasp")
        >>> torch.allclose(a.values[0], net.weight[1], atol=1e-6), bool(a.residual.abs() < 1e-6)
        (True, True)
    """
    who = "dasp"
    if n_steps is not None:
        at_least(n_steps, 1, "n_steps", who)
    players, base = players_of(superpixels, x, who), as_baseline(baseline, x, who)
    inner, phi = Work(work.rows, work.progress if len(x) == 1 else False), []
    for part in Work(1, work.progress).slices(len(x)):
        i = part.start
        one = _Sample(model, x[part], base[part], int(target[i]), players, i, who)
        phi.append(one.values(n_steps, inner))
    values = players.spread(phi, x)
    silent = Work(work.rows, progress=False)
    there, here = (scores_of(model, z, target, "logit", silent, who) for z in (x, base))
    return values, there - here - values.flatten(1).sum(1)


def coalition_sizes(M: int, n_steps: int | None = None) -> tuple[Tensor, Tensor]:
    """Sizes k and weights, shape (n_steps,) each, float64, whose weighted sum is a mean over k = 0, ..., M - 1.

    Gauss's quadrature for the uniform distribution on 0, ..., M - 1: exact for polynomials in k up to the degree
    2 n_steps - 1, and with n_steps = M the sizes themselves. The nodes are the eigenvalues of the Jacobi matrix of
    Gram's polynomials.

    Source
        Golub, Welsch (1969), with the recurrence of Gram's (discrete Chebyshev) polynomials.
    Examples
        >>> coalition_sizes(3)[0], coalition_sizes(100, 1)[0]
        (tensor([0., 1., 2.], dtype=torch.float64), tensor([49.5000], dtype=torch.float64))
    """
    if n_steps is None or n_steps >= M:
        return torch.arange(M, dtype=torch.float64), torch.full((M,), 1 / M, dtype=torch.float64)
    j = np.arange(1, n_steps, dtype=np.float64)
    beside = np.sqrt(j**2 * (M**2 - j**2) / (4 * (4 * j**2 - 1)))
    nodes, vectors = np.linalg.eigh(np.diag(beside, -1) + np.diag(np.full(n_steps, (M - 1) / 2)) + np.diag(beside, 1))
    return torch.as_tensor(nodes), torch.as_tensor(vectors[0] ** 2)


class _Sample:
    """One sample, whose players' values are found."""

    def __init__(
        self, model: Model, x: Tensor, base: Tensor, target: int, players: Players, number: int, who: str
    ) -> None:
        self.model, self.x, self.base, self.target, self.who = model, x, base, target, who
        self.players, self.number, self.M = players, number, players.counts[number]

    def values(self, n_steps: int | None, work: Work) -> Tensor:
        """Value of each player, shape (M,), float64."""
        work = cached(work, self.x)
        readings, seen = self._contributions(work)
        sizes, weights = coalition_sizes(self.M, n_steps)
        phi = torch.zeros(self.M, dtype=torch.float64)
        pairs = Work(max(1, work.rows // _ROWS_OF_A_PAIR), work.progress)
        for part in pairs.slices(2 * self.M * len(sizes), "coalition"):
            row = torch.arange(part.start, part.stop)
            player, step, joins = row // (2 * len(sizes)), row // 2 % len(sizes), row % 2 == 1
            means = self._mean_scores(player, sizes[step], joins, readings, seen)
            phi.index_add_(0, player, torch.where(joins, weights[step], -weights[step]) * means)
        return phi

    def _contributions(self, work: Work) -> tuple[list[_Reading], list[tuple[str, str]]]:
        """What each player adds to the tensors that the nonlinearities read, in their order."""
        found: list[list[Tensor]] = []
        seen: list[tuple[str, str]] = []
        for part in Work(max(1, work.rows - 1), progress=False).slices(self.M):
            alone = torch.eye(self.M, dtype=torch.bool)[part]
            h = torch.where(self.players.present(self.number, alone), self.x, self.base)
            one = _Contributions(self.who, len(h))
            one.run(self.model, laid_out(torch.cat([self.base, h]), self.x))
            found.append(one.found)
            seen = one.seen
        return [_Reading(torch.cat(parts)) for parts in zip(*found, strict=True)], seen

    def _mean_scores(
        self, player: Tensor, k: Tensor, joins: Tensor, readings: list[_Reading], seen: list[tuple[str, str]]
    ) -> Tensor:
        """Mean score of coalitions of k of the others, with or without the player, shape (r,), float64."""
        others = max(self.M - 1, 1)
        share = torch.where(torch.eye(self.M, dtype=torch.bool)[player], joins[:, None].double(), (k / others)[:, None])
        share = self.players.present(self.number, share).to(self.x)  # (r, *labels)
        means = self.base + share * (self.x - self.base)
        left = iter(readings)

        def variance(mean: Tensor) -> Tensor:
            self._check_same(propagation.seen, seen[: len(propagation.seen)])
            return next(left).variance(player, k, mean)

        propagation = Propagation(self.who, variance)
        logits = propagation.run(self.model, laid_out(torch.cat([means, self.base.expand(means.shape)]), self.x))
        self._check_same(propagation.seen, seen)
        return logits[: len(player), self.target].cpu().double()

    def _check_same(self, now: list[tuple[str, str]], before: list[tuple[str, str]]) -> None:
        if now != before:
            raise ModelError(
                f"{self.who}: `model` must run the same operations for every input; it runs others for another. "
                "Try 'kernel_shap', which asks for scores alone."
            )


class _Contributions(Propagation):
    """A forward pass of the baseline and of players who are alone: their differences are what each of them adds.

    Nothing is changed on the way; what a nonlinearity reads is kept as long as it is affine in the input.
    """

    def __init__(self, who: str, alone: int) -> None:
        super().__init__(who, lambda mean: mean)
        self.alone = alone
        self.found: list[Tensor] = []

    def rules(self) -> dict[str, Rule]:
        table = super().rules()
        return {kind: self._kept(kind in ("relu", "max_pool")) for kind in table}

    def _kept(self, nonlinear: bool) -> Rule:
        def rule(operation: Operation) -> Any:
            self.seen.append((operation.layer, operation.name))
            random = [self.is_random(x, operation) for x in operation.attached]
            if nonlinear or any(random):
                self.random.add(operation)
                inputs = zip(operation.inputs, random, strict=True)
                self.found += [self._differences(x, operation) for x, known in inputs if not known]
            return operation.plain()

        return rule

    def _differences(self, x: Tensor, operation: Operation) -> Tensor:
        """Difference of each player's rows to the baseline's, shape (players, rows of one, ...)."""
        if len(x) % (self.alone + 1):
            raise operation.refused(self.who, "on a tensor that does not hold row after row of the batch")
        rows = x.reshape(self.alone + 1, -1, *x.shape[1:])
        return rows[1:] - rows[:1]


class _Reading:
    """What the players add to one tensor that a nonlinearity reads.

    Parameters
        c : Tensor, shape (M, rows of one, ...). Their contributions.
    """

    def __init__(self, c: Tensor) -> None:
        self.away = c - c.mean(0)
        self.squares = (self.away**2).sum(0)

    def variance(self, player: Tensor, k: Tensor, mean: Tensor) -> Tensor:
        """Variance of the sum over k of the players but one, of mean's shape.

        The squared distances of K numbers to their own mean are those of all M to theirs, less away_i^2 M / K.
        """
        K = len(self.away) - 1
        if K < 2:
            return torch.zeros_like(mean)
        factor = (k * (K - k) / (K * (K - 1))).to(mean)
        squares = self.squares - self.away[player.to(mean.device)] ** 2 * ((K + 1) / K)
        found = factor.reshape(-1, *[1] * (squares.ndim - 1)) * squares.clamp(min=0)
        return found.reshape(mean.shape)
