"""Players, coalitions of them, and the score when only a coalition is present.

Symbols: M players of a sample, z in {0, 1}^M a coalition, x' the baseline. A player is a set of positions of the input.
h(z) is the sample whose absent players are at the baseline; the payoff of z is the score of h(z). Players may differ
from sample to sample in number and shape.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xaiteach.attribution.scores import score
from xaiteach.attribution.work import Work
from xaiteach.errors import OptionError, ShapeError
from xaiteach.guards import describe

__all__ = ["MOST_VALUES", "Game", "Players", "Table", "cached", "players_of"]

MOST_VALUES = 1024
"""Most values of a sample that become one player each without being asked for."""

_CACHED_BYTES = 2 * 2**20
"""Inputs that run at once on a CPU, at most: of more, the activations leave the cache, which can double the time.
It does not depend on the machine, so that the same call rounds in the same way everywhere."""

Table = Callable[[Tensor], Tensor]
"""From numbers (k,), long, to the coalitions that have them, (k, M), bool."""


@dataclass(frozen=True, eq=False)
class Players:
    """Who plays: a partition of each sample's positions.

    Parameters
        labels : Tensor, shape (n, 1 or channels, *spatial), or (n, d) for a table, long. Which player a position
            belongs to, from 0; of one channel where a player has all channels of its positions.
        counts : tuple of n ints >= 1. Players M of each sample.
    """

    labels: Tensor
    counts: tuple[int, ...]

    def present(self, sample: int, coalitions: Tensor) -> Tensor:
        """Which positions coalitions (k, M) of one sample cover, shape (k, *labels' shape), bool."""
        return coalitions.to(self.labels.device)[:, self.labels[sample]]

    def spread(self, phi: Sequence[Tensor], like: Tensor) -> Tensor:
        """Each player's value divided evenly among its positions, shape of labels; the sum stays that of the players.

        Parameters
            phi : for each sample a Tensor, shape (M,), float64.
            like : Tensor whose dtype the result has.
        """
        shares = [
            (value / torch.bincount(labels.flatten(), minlength=len(value)))[labels]
            for value, labels in zip(phi, self.labels.cpu(), strict=True)
        ]
        return torch.stack(shares).to(like)


def players_of(superpixels: object, x: Tensor, who: str) -> Players:
    """Players that the option `superpixels` stands for.

    Parameters
        superpixels : integers, shape spatial or (n, *spatial), or for a table (d,) or (n, d): positions with the same
            label are one player. None: one player for each value of a sample.
        x : Tensor, shape (n, ...).
    Raises
        ShapeError: not integers, or of another shape.
        OptionError: None, and a sample has more than 1024 values.
    """
    if superpixels is None:
        values = x[0].numel()
        if values > MOST_VALUES:
            raise OptionError(
                f"{who}: players must be named for samples of more than {MOST_VALUES} values; got samples of {values} "
                "and superpixels=None, one player for each value. Try superpixels=labels, an integer for each position."
            )
        return Players(torch.arange(values, device=x.device).reshape(x.shape[1:]).expand(x.shape), (values,) * len(x))
    labels = _integers(superpixels, x, who)
    if labels.ndim == x.ndim - (1 if x.ndim == 2 else 2):  # the same for every sample
        _, inverse = torch.unique(labels, return_inverse=True)
        labels, counts = inverse.expand(len(x), *labels.shape), (int(inverse.max()) + 1,) * len(x)
    else:
        labels = torch.stack([torch.unique(one, return_inverse=True)[1] for one in labels])
        counts = tuple(int(one.max()) + 1 for one in labels)
    return Players(labels if x.ndim == 2 else labels[:, None], counts)


def _integers(superpixels: object, x: Tensor, who: str) -> Tensor:
    spatial = tuple(x.shape[1:] if x.ndim == 2 else x.shape[2:])
    found = torch.as_tensor(superpixels) if isinstance(superpixels, np.ndarray) else superpixels
    fits = isinstance(found, Tensor) and tuple(found.shape) in (spatial, (len(x), *spatial))
    if not isinstance(found, Tensor) or not fits or found.is_floating_point() or found.is_complex():
        advice = "labels.long()" if fits else f"labels of shape {spatial}, the same for every sample"
        raise ShapeError(
            f"{who}: `superpixels` must hold an integer label for each position, shape {spatial} or "
            f"{(len(x), *spatial)}; got {describe(superpixels)}. Try {advice}."
        )
    return found.to(x.device, torch.long)


def cached(work: Work, x: Tensor) -> Work:
    """`work` with no more rows at once than stay in the cache of a CPU."""
    if x.device.type != "cpu":
        return work
    return Work(max(1, min(work.rows, _CACHED_BYTES // (x[0].numel() * x.element_size()))), work.progress)


@dataclass(frozen=True, eq=False)
class Game:
    """Each sample's score as a game among its players.

    Parameters
        model, x, target, output : as of the method.
        baseline : Tensor of x's shape. What an absent player is replaced by.
        players : of the samples.
        who : name the messages start with.
    """

    model: Callable[[Tensor], Any]
    x: Tensor
    target: Tensor
    baseline: Tensor
    players: Players
    output: str
    who: str

    def payoffs(self, counts: Sequence[int], table: Callable[[int], Table], work: Work) -> list[Tensor]:
        """Payoff of each coalition asked for, one Tensor (counts[i],) for each sample, float64, on the CPU.

        Parameters
            counts : coalitions of each sample.
            table : from the number of a sample to its coalitions. It is called once for each, in their order: what it
                draws does not depend on how the rows are split.
            work : how many rows run at once.
        """
        ends = torch.tensor(list(accumulate(counts)))
        starts = ends - torch.tensor(counts)
        found = torch.empty(int(ends[-1]), dtype=torch.float64)
        held: dict[int, Table] = {}
        for part in cached(work, self.x).slices(len(found), "coalition"):
            row = torch.arange(part.start, part.stop)
            sample = torch.searchsorted(ends, row, right=True)
            number = row - starts[sample]
            here = range(int(sample[0]), int(sample[-1]) + 1)
            held = {i: held[i] if i in held else table(i) for i in here}
            present = torch.cat([self.players.present(i, held[i](number[sample == i])) for i in here])
            sample = sample.to(self.x.device)
            h = torch.where(present, self.x[sample], self.baseline[sample])  # (r, ...)
            found[part] = score(self.model, h, self.target[sample], self.output, self.who).cpu().double()
        return list(torch.split(found, list(counts)))

    def shared_out(self, phi: Sequence[Tensor], gain: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Values of labels' shape, and what they miss of each sample's gain S(x) - S(x'), shape (n,)."""
        values = self.players.spread(phi, self.x)
        return values, torch.stack(list(gain)).to(values.device) - values.double().flatten(1).sum(1)
