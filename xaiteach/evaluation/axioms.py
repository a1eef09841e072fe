"""Axioms of attribution as properties that can be called: each holds for a model and a sample, or is broken there.

An axiom says what an explanation must not do, whatever the model. Whether one holds cannot be measured on a sample;
that one does not, can. So each property first makes sure that its premise is met (that a position is not read, that
two networks compute the same), and then compares. A premise that is not met is an error and no verdict.

Symbols: M a map, S a score, x' the baseline.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from xaiteach.errors import OptionError
from xaiteach.evaluation.base import Explainer, maps_of, named_explainers, samples_and_classes, scores_of
from xaiteach.evaluation.fills import Replacement, replacement, scores_by_row
from xaiteach.evaluation.rankings import degraded, field_of
from xaiteach.guards import check_input

__all__ = [
    "AXIOMS",
    "Verdict",
    "completeness",
    "dummy",
    "implementation_invariance",
    "linearity",
    "missingness",
    "monotonicity",
    "symmetry",
]

AXIOMS = (
    "completeness",
    "dummy",
    "linearity",
    "symmetry",
    "implementation_invariance",
    "monotonicity",
    "missingness",
)

Model = Callable[[Tensor], Any]
Target = int | Tensor | Sequence[int]

_DRAWS, _MOST_POSITIONS = 64, 12
_SAME = 1e-6
"""How far, of the largest score, two scores may be apart and still count as the same, in a premise."""


@dataclass(frozen=True, eq=False, repr=False)
class Verdict:
    """What came of one property.

    Parameters
        axiom, explainer : names.
        holds : bool. Whether the largest deviation is within the tolerance.
        deviation : float. Largest |found - expected| (of monotonicity: what is lacking) over the largest size among the
            numbers compared and the map's own.
        found, expected : float. Where they are furthest apart.
        words : what was found, as the sentence says it.
        least : bool. Whether it had to be at least what was expected, and not equal to it.
    """

    axiom: str
    explainer: str
    holds: bool
    deviation: float
    found: float
    expected: float
    words: str
    least: bool = False

    @property
    def sentence(self) -> str:
        """The case in words."""
        told = f"{self.found:.4g}, {'at least ' if self.least else ''}{self.expected:.4g} expected"
        axiom = self.axiom.replace("_", " ")
        return f"{self.explainer} {'keeps' if self.holds else 'breaks'} {axiom}: {self.words} {told}."

    def __repr__(self) -> str:
        return self.sentence


def _verdict(axiom: str, explainer: Explainer, found: Tensor, expected: Tensor, size: Tensor, tolerance: float,
             words: str, *, least: bool = False) -> Verdict:  # fmt: skip
    """Verdict on numbers that must be equal, or, with `least`, at least as large."""
    (name,) = named_explainers(explainer)
    found, expected = (t.detach().double().cpu().flatten() for t in (found, expected))
    off = (expected - found).clamp(min=0) if least else (found - expected).abs()
    scale = max(float(torch.cat([found, expected, size.detach().double().cpu().flatten()]).abs().max()), 1e-300)
    worst = int(off.argmax())
    deviation = float(off[worst]) / scale
    return Verdict(
        axiom, name, deviation <= tolerance, deviation, float(found[worst]), float(expected[worst]), words, least
    )


def completeness(
    explainer: Explainer, model: Model, x: Tensor, target: Target, *, baseline: Replacement = 0.0,
    output: str = "logit", tolerance: float = 1e-6, seed: int = 0,
) -> Verdict:  # fmt: skip
    """The values add up to S(x) - S(x').

    Parameters
        explainer : see `maps_of`; it has to take the same baseline, by its own option where it has one.
        model : callable from (n, ...) to logits (n, classes).
        x : Tensor, shape (n, ...).
        target : int, or (n,) long.
        baseline : number, or Tensor that broadcasts to x, or a name, see `fills.replacement`. Default 0.
        output : "logit" or "probability". Which score.
        tolerance : float. Largest deviation that still holds, see `Verdict`.
        seed : int. What a random explainer draws from.
    Returns
        Verdict.
    Raises
        As `maps_of`.
    Source
        Sundararajan, Taly, Yan (2017), section 3; Shapley's efficiency.
    Examples
        >>> net = torch.nn.Linear(2, 1)
        >>> completeness("input_x_gradient", net, torch.ones(1, 2), 0).holds
        True
    """
    x = check_input(x, "completeness")
    maps = maps_of(explainer, model, x, target, generator=torch.Generator().manual_seed(seed))
    here, there = (scores_of(model, at, target, "completeness", output=output) for at in (x, replacement(x, baseline)))
    words = "the map adds up to"
    return _verdict("completeness", explainer, maps.flatten(1).sum(1), here - there, maps, tolerance, words)


def dummy(
    explainer: Explainer, model: Model, x: Tensor, target: Target, positions: Tensor, *, tolerance: float = 1e-6,
    seed: int = 0,
) -> Verdict:  # fmt: skip
    """Positions that the model does not read get 0 (sensitivity (b)).

    Parameters
        explainer, model, x, target, tolerance, seed : as `completeness`.
        positions : Tensor, shape (*spatial), or (d,) for a table, bool. The positions that are not read.
    Returns
        Verdict.
    Raises
        OptionError: no position, another shape, or the score changes when they are drawn anew.
        Others: as `maps_of`.
    Source
        Sundararajan, Taly, Yan (2017), section 3.
    Examples
        >>> first = lambda x: x[:, :1]
        >>> dummy("random_map", first, torch.ones(1, 2), 0, torch.tensor([False, True])).holds
        False
    """
    x = check_input(x, "dummy")
    spatial = field_of(x)
    where = torch.as_tensor(positions)
    if where.dtype != torch.bool or where.shape != spatial or not bool(where.any()):
        raise OptionError(
            f"dummy: `positions` must be bool, shape {tuple(spatial)}, and True somewhere; got {where.dtype}, shape "
            f"{tuple(where.shape)}. Try torch.arange(d) == 1 for a table's second feature."
        )
    same, many = x.repeat(_DRAWS, *[1] * (x.ndim - 1)), _many(target)
    moved = degraded(same, where.to(x.device).flatten().expand(len(same), -1), _draws(x))
    still, changed = (scores_of(model, at, many, "dummy") for at in (same, moved))
    _same_scores(still, changed, "dummy", "must not read the positions", "positions that it does not read")
    maps = maps_of(explainer, model, x, target, generator=torch.Generator().manual_seed(seed))
    found = maps.flatten(1)[:, where.flatten().to(maps.device)]
    words = "at a position that the model does not read it has"
    return _verdict("dummy", explainer, found, torch.zeros_like(found), maps, tolerance, words)


def linearity(
    explainer: Explainer, first: nn.Module, second: nn.Module, x: Tensor, target: Target, *,
    weights: tuple[float, float] = (1.0, 1.0), tolerance: float = 1e-6, seed: int = 0,
) -> Verdict:  # fmt: skip
    """The map of a f + b g is a times that of f plus b times that of g.

    Parameters
        explainer, x, target, tolerance, seed : as `completeness`.
        first, second : nn.Module. f and g, of the same inputs and classes.
        weights : (a, b).
    Returns
        Verdict.
    Raises
        As `maps_of`.
    Source
        Sundararajan, Taly, Yan (2017), section 3; Shapley's additivity.
    Examples
        >>> linearity("saliency", torch.nn.Linear(2, 1), torch.nn.Linear(2, 1), torch.ones(1, 2), 0).holds
        True
    """
    x = check_input(x, "linearity")
    a, b = weights
    both, one, two = (
        maps_of(explainer, model, x, target, generator=torch.Generator().manual_seed(seed))
        for model in (_Sum(first, second, a, b).to(x.device), first, second)
    )
    words = "for the sum of two models it has"
    return _verdict("linearity", explainer, both, a * one + b * two, both, tolerance, words)


class _Sum(nn.Module):
    def __init__(self, first: nn.Module, second: nn.Module, a: float, b: float) -> None:
        super().__init__()
        self.first, self.second, self.a, self.b = first, second, a, b

    def forward(self, x: Tensor) -> Any:
        return self.a * self.first(x) + self.b * self.second(x)


def symmetry(
    explainer: Explainer, model: Model, x: Tensor, target: Target, pair: tuple[int, int], *, tolerance: float = 1e-6,
    seed: int = 0,
) -> Verdict:  # fmt: skip
    """Two positions that the model treats alike, and that hold the same, get the same.

    Parameters
        explainer, model, x, target, tolerance, seed : as `completeness`.
        pair : two positions, counted in the order of rows.
    Returns
        Verdict.
    Raises
        OptionError: x differs there, or the score changes when the two are exchanged, for x or for drawn samples.
        Others: as `maps_of`.
    Source
        Sundararajan, Taly, Yan (2017), section 4; Shapley's symmetry.
    Examples
        >>> symmetry("saliency", lambda x: x.sum(1, keepdim=True), torch.ones(1, 2), 0, (0, 1)).holds
        True
    """
    x = check_input(x, "symmetry")
    i, j = pair
    if not torch.equal(_exchanged(x, i, j), x):
        raise OptionError(
            f"symmetry: `x` must hold the same at positions {i} and {j}; it does not, or differs between them. "
            "Try a sample that does."
        )
    drawn, many = _draws(x), _many(target)
    one, other = (scores_of(model, at, many, "symmetry") for at in (drawn, _exchanged(drawn, i, j)))
    must = f"must treat positions {i} and {j} alike"
    _same_scores(one, other, "symmetry", must, "two positions that can be exchanged")
    flat = maps_of(explainer, model, x, target, generator=torch.Generator().manual_seed(seed)).flatten(1)
    words = f"at position {i} it has"
    return _verdict("symmetry", explainer, flat[:, i], flat[:, j], flat, tolerance, words)


def _exchanged(x: Tensor, i: int, j: int) -> Tensor:
    flat = x.clone() if x.ndim == 2 else x.flatten(2).clone()
    flat[..., [i, j]] = flat[..., [j, i]]
    return flat.reshape(x.shape)


def implementation_invariance(
    explainer: Explainer, first: Model, second: Model, x: Tensor, target: Target, *, tolerance: float = 1e-6,
    seed: int = 0,
) -> Verdict:  # fmt: skip
    """Two networks that compute the same function get the same map. A random explainer draws anew for the second.

    Parameters
        explainer, x, target, tolerance, seed : as `completeness`.
        first, second : callables from (n, ...) to logits (n, classes).
    Returns
        Verdict.
    Raises
        OptionError: their scores differ, on x or on drawn samples.
        Others: as `maps_of`.
    Source
        Sundararajan, Taly, Yan (2017), section 2.2.
    Examples
        >>> double, sum_ = (lambda x: 2 * x[:, :1]), (lambda x: x[:, :1] + x[:, :1])
        >>> implementation_invariance("saliency", double, sum_, torch.ones(1, 2), 0).holds
        True
    """
    who = "implementation_invariance"
    x = check_input(x, who)
    for sample, classes in ((x, target), (_draws(x), _many(target))):
        a, b = (scores_of(model, sample, classes, who) for model in (first, second))
        _same_scores(a, b, who, "must compute the same function", "two ways to write one function")
    generator = torch.Generator().manual_seed(seed)
    one, two = (maps_of(explainer, model, x, target, generator=generator) for model in (first, second))
    return _verdict(who, explainer, two, one, one, tolerance, "for the same function written otherwise it has")


def monotonicity(
    explainer: Explainer, first: Model, second: Model, x: Tensor, target: Target, position: int, *,
    baseline: Replacement = 0.0, tolerance: float = 1e-6, seed: int = 0,
) -> Verdict:  # fmt: skip
    """Where a position gains the second model at least as much as the first, it gets at least as much (consistency).

    Parameters
        explainer, x, target, baseline, tolerance, seed : as `completeness`.
        first, second : callables from (n, ...) to logits (n, classes).
        position : int, counted in the order of rows.
    Returns
        Verdict.
    Raises
        OptionError: more than 12 positions, or some set of the others to which adding it gains the second less.
        Others: as `maps_of`.
    Cost
        2^positions forward passes of each model.
    Source
        Lundberg, Lee (2017), property 3; Young (1985).
    Examples
        >>> steep, high = (lambda x: 2 * (x[:, :1] - 0.9).relu()), (lambda x: 0.5 * x[:, :1])
        >>> monotonicity("saliency", steep, high, torch.ones(1, 2), 0, 0)
        saliency breaks monotonicity: where the second model gains no less, it gets 0.5, at least 2 expected.
    """
    who = "monotonicity"
    x = check_input(x, who)
    positions = x[0].numel() if x.ndim == 2 else x[0, 0].numel()
    if positions > _MOST_POSITIONS or not 0 <= position < positions:
        raise OptionError(
            f"{who}: `x` must have at most {_MOST_POSITIONS} positions, and `position` be one of them; got {positions} "
            f"and {position}. Try a smaller model."
        )
    sets = torch.arange(2**positions)
    without = sets[(sets >> position) % 2 == 0]
    scores = [_scores_of_sets(model, x, target, replacement(x, baseline), positions, who) for model in (first, second)]
    gains = [score[:, without + 2**position] - score[:, without] for score in scores]
    less = gains[1] < gains[0] - _SAME * max(1.0, float(gains[0].abs().max()))
    if bool(less.any()):
        there = int(without[less.any(0)][0])
        raise OptionError(
            f"{who}: the second model must gain at least as much by position {position} as the first, whatever "
            f"else is there; with {[p for p in range(positions) if there >> p & 1]} it gains less. Try "
            "exchanging the two."
        )
    generator = torch.Generator().manual_seed(seed)
    one, two = (maps_of(explainer, m, x, target, generator=generator).flatten(1) for m in (first, second))
    words = "where the second model gains no less, it gets"
    return _verdict(who, explainer, two[:, position], one[:, position], one, tolerance, words, least=True)


def _scores_of_sets(model: Model, x: Tensor, target: Target, fill: Tensor, positions: int, who: str) -> Tensor:
    """Score of each sample with each set of positions kept, shape (n, 2^positions); bit p of a set's number is p."""
    x, classes = samples_and_classes(model, x, target, who)
    bits = torch.arange(positions, device=x.device)

    def made(rows: Tensor) -> tuple[Tensor, Tensor]:
        sample, kept = rows // 2**positions, rows % 2**positions
        return degraded(x[sample], (kept[:, None] >> bits) % 2 == 0, fill[sample]), classes[sample]

    return scores_by_row(model, made, len(x) * 2**positions, x, "logit", who).reshape(len(x), -1)


def missingness(
    explainer: Explainer, model: Model, x: Tensor, target: Target, *, baseline: Replacement = 0.0,
    tolerance: float = 1e-6, seed: int = 0,
) -> Verdict:  # fmt: skip
    """What is as in the baseline, in all channels, gets 0.

    Parameters
        explainer, model, x, target, baseline, tolerance, seed : as `completeness`.
    Returns
        Verdict.
    Raises
        OptionError: x is nowhere as in the baseline.
        Others: as `maps_of`.
    Source
        Lundberg, Lee (2017), property 2.
    Examples
        >>> missingness("input_x_gradient", torch.nn.Linear(2, 1), torch.tensor([[1.0, 0.0]]), 0).holds
        True
    """
    x = check_input(x, "missingness")
    same = x == replacement(x, baseline)
    missing = (same if x.ndim == 2 else same.all(1)).flatten(1)
    if not bool(missing.any()):
        raise OptionError("missingness: `x` must be as in the baseline somewhere; it is nowhere. Try x with a 0 in it.")
    flat = maps_of(explainer, model, x, target, generator=torch.Generator().manual_seed(seed)).flatten(1)
    found = flat[missing.to(flat.device)]
    words = "where the input is as in the baseline it has"
    return _verdict("missingness", explainer, found, torch.zeros_like(found), flat, tolerance, words)


def _draws(x: Tensor) -> Tensor:
    """Drawn samples, shape (_DRAWS * n, ...)."""
    generator = torch.Generator().manual_seed(0)
    return 2 * torch.randn((_DRAWS * len(x), *x.shape[1:]), generator=generator, dtype=torch.float64).to(x)


def _many(target: Target) -> Target:
    """The classes of `_draws`."""
    return target if isinstance(target, int) else torch.as_tensor(target).repeat(_DRAWS)


def _same_scores(a: Tensor, b: Tensor, who: str, must: str, advice: str) -> None:
    off = float((a - b).abs().max())
    if off > _SAME * max(1.0, float(a.abs().max())):
        raise OptionError(
            f"{who}: the model(s) {must}; scores differ by {off:.3g}. Try {advice}, or find out what the model does."
        )
