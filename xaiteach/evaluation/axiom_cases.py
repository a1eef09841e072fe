"""Toy networks on which the axioms come apart, each small enough to be worked by hand, and a table of who breaks which.

All are tables of two features x1, x2, in float64, with module ReLUs, two classes (the second scores 0), and baseline 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from xaiteach.errors import XaiTeachError, unknown
from xaiteach.evaluation import axioms
from xaiteach.evaluation.axioms import AXIOMS, Verdict
from xaiteach.evaluation.base import Explainer, Explainers, Result, named_explainers

if TYPE_CHECKING:
    from xaiteach.plots.figure import ReadableFigure

__all__ = ["CASES", "Axioms", "check_axioms"]


def _layer(rows: Sequence[Sequence[float]], bias: Sequence[float] | None = None) -> nn.Linear:
    layer = nn.Linear(len(rows[0]), len(rows)).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(rows, dtype=torch.float64))
        layer.bias.copy_(torch.tensor(bias or [0.0] * len(rows), dtype=torch.float64))
    return layer


def saturated() -> nn.Module:
    """F = 1 - ReLU(1 - x1): flat from x1 = 1 on; x2 is not read."""
    return nn.Sequential(_layer([[-1, 0]], [1]), nn.ReLU(), _layer([[-1], [0]], [1, 0]))


def at_once() -> nn.Module:
    """F = ReLU(ReLU(x1) - 1 - ReLU(x2))."""
    return nn.Sequential(
        _layer([[1, 0], [0, 1]]), nn.ReLU(), _layer([[1, -1]], [-1]), nn.ReLU(), _layer([[1], [0]])
    )  # fmt: skip


def in_two_steps() -> nn.Module:
    """F = ReLU(ReLU(x1 - 1) - ReLU(x2)): the same function, the 1 taken off earlier."""
    return nn.Sequential(
        _layer([[1, 0], [0, 1]], [-1, 0]), nn.ReLU(), _layer([[1, -1]]), nn.ReLU(), _layer([[1], [0]])
    )  # fmt: skip


def alike() -> nn.Module:
    """F = ReLU(x1 + x2 - 1)."""
    return nn.Sequential(_layer([[1, 1]], [-1]), nn.ReLU(), _layer([[1], [0]]))


def steep() -> nn.Module:
    """F = 2 ReLU(x1 - 0.9): .2 at x1 = 1, with slope 2."""
    return nn.Sequential(_layer([[1, 0]], [-0.9]), nn.ReLU(), _layer([[2], [0]]))


def high() -> nn.Module:
    """F = ReLU(x1) / 2: .5 at x1 = 1, with slope one half."""
    return nn.Sequential(_layer([[1, 0]]), nn.ReLU(), _layer([[0.5], [0]]))


def weighted() -> nn.Module:
    """F = ReLU(2 x1 + x2)."""
    return nn.Sequential(_layer([[2, 1]]), nn.ReLU(), _layer([[1], [0]]))


def _at(*values: float) -> Tensor:
    return torch.tensor([values], dtype=torch.float64)


CASES: Mapping[str, tuple[str, Callable[..., Verdict]]] = {
    "completeness": (
        "f = 1 - ReLU(1 - x1) at (2, 1)",
        lambda e, **o: axioms.completeness(e, saturated(), _at(2, 1), 0, **o),
    ),
    "dummy": (
        "f = 1 - ReLU(1 - x1) at (0.5, 3), which does not read x2",
        lambda e, **o: axioms.dummy(e, saturated(), _at(0.5, 3), 0, torch.tensor([False, True]), **o),
    ),
    "linearity": (
        "ReLU(2 x1 + x2) + 2 ReLU(x1 + x2 - 1) at (3, 1)",
        lambda e, **o: axioms.linearity(e, weighted(), alike(), _at(3, 1), 0, weights=(1.0, 2.0), **o),
    ),
    "symmetry": (
        "f = ReLU(x1 + x2 - 1) at (2, 2)",
        lambda e, **o: axioms.symmetry(e, alike(), _at(2, 2), 0, (0, 1), **o),
    ),
    "implementation_invariance": (
        "ReLU(ReLU(x1) - 1 - ReLU(x2)) and ReLU(ReLU(x1 - 1) - ReLU(x2)) at (3, 1)",
        lambda e, **o: axioms.implementation_invariance(e, at_once(), in_two_steps(), _at(3, 1), 0, **o),
    ),
    "monotonicity": (
        "2 ReLU(x1 - 0.9) and ReLU(x1) / 2 at (1, 1)",
        lambda e, **o: axioms.monotonicity(e, steep(), high(), _at(1, 1), 0, 0, **o),
    ),
    "missingness": (
        "f = ReLU(2 x1 + x2) at (1, 0)",
        lambda e, **o: axioms.missingness(e, weighted(), _at(1, 0), 0, **o),
    ),
}
"""Axiom -> the functions and the point, and the property on them."""


@dataclass(frozen=True, eq=False, repr=False)
class Axioms(Result):
    """Which explainers break which axioms on the toy networks.

    Parameters
        verdicts : (explainer, axiom) -> Verdict.
        refused : (explainer, axiom) -> why the explainer cannot take the network.
        explainers, axioms : names, in order.
    """

    verdicts: Mapping[tuple[str, str], Verdict]
    refused: Mapping[tuple[str, str], str]
    explainers: tuple[str, ...]
    axioms: tuple[str, ...]
    title: str = "Axioms on toy networks: holds there, or by how much of the largest value it is broken"

    def counterexamples(self) -> list[str]:
        """A sentence for every axiom that is broken, with the function and the point."""
        return [
            f"{verdict.sentence} ({CASES[axiom][0]}.)"
            for (_, axiom), verdict in self.verdicts.items()
            if not verdict.holds
        ]

    @property
    def columns(self) -> tuple[str, ...]:
        """Explainer, and the axioms."""
        return ("explainer", *(axiom.replace("_", " ") for axiom in self.axioms))

    def rows(self) -> list[tuple[str, ...]]:
        """One row for each explainer; "-" where it refuses the network."""
        return [(name, *(self._cell(name, axiom) for axiom in self.axioms)) for name in self.explainers]

    def _cell(self, explainer: str, axiom: str) -> str:
        verdict = self.verdicts.get((explainer, axiom))
        return "-" if verdict is None else "holds" if verdict.holds else f"breaks ({verdict.deviation:.2f})"

    def plot(self, *, axiom: str = "completeness", **options: Any) -> ReadableFigure:
        """Bars of the deviation from one axiom."""
        from xaiteach.plots import bars

        if axiom not in self.axioms:
            raise unknown("axiom", axiom, self.axioms)
        found = {name: self.verdicts.get((name, axiom)) for name in self.explainers}
        values = {name: float("nan") if verdict is None else verdict.deviation for name, verdict in found.items()}
        options.setdefault("title", CASES[axiom][0])
        return bars(values, label=f"deviation from {axiom.replace('_', ' ')}, of the largest value", **options)


def check_axioms(
    explainers: Explainers, *, chosen: Sequence[str] = AXIOMS, tolerance: float = 1e-6, seed: int = 0
) -> Axioms:
    """Each explainer on each axiom's toy networks. That one holds there proves nothing; that it breaks, does.

    Parameters
        explainers : see `maps_of`. They are asked with the options given, and baseline 0 where they have one.
        chosen : axioms. Default: all seven.
        tolerance, seed : as `axioms.completeness`.
    Returns
        Axioms.
    Raises
        OptionError: unknown axiom, or no explainer.
    Examples
        >>> found = check_axioms(["shapley_exact", "saliency"])
        >>> print(found.verdicts["saliency", "completeness"].sentence)
        saliency breaks completeness: the map adds up to 0, 1 expected.
        >>> [axiom for axiom in found.axioms if not found.verdicts["shapley_exact", axiom].holds]
        []
    """
    for axiom in chosen:
        if axiom not in CASES:
            raise unknown("axiom", axiom, CASES)
    verdicts: dict[tuple[str, str], Verdict] = {}
    refused: dict[tuple[str, str], str] = {}
    named: dict[str, Explainer] = named_explainers(explainers)
    for name, explainer in named.items():
        for axiom in chosen:
            try:
                found = CASES[axiom][1](explainer, tolerance=tolerance, seed=seed)
            except XaiTeachError as error:
                refused[name, axiom] = str(error)
                continue
            verdicts[name, axiom] = replace(found, explainer=name)
    return Axioms(verdicts, refused, tuple(named), tuple(chosen))
