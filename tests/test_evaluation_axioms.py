"""Axioms as properties: who keeps and who breaks them by hand, premises that are not met, and broken explainers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import helpers_attribution as h
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from xaiteach.errors import OptionError
from xaiteach.evaluation import axiom_cases as cases
from xaiteach.evaluation import axioms as a

DOUBLE = torch.float64


def point(*values: float) -> Tensor:
    return torch.tensor([values], dtype=DOUBLE)


def mlp(seed: int, width: int = 3) -> nn.Module:
    net = nn.Sequential(nn.Linear(width, 5), nn.ReLU(), nn.Linear(5, 2)).double()
    generator = torch.Generator().manual_seed(seed)
    for parameter in net.parameters():
        with torch.no_grad():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=DOUBLE))
    return net


def test_shapley_values_and_integrated_gradients_keep_every_axiom_here() -> None:
    found = cases.check_axioms(["shapley_exact", "integrated_gradients"])
    assert found.counterexamples() == []
    assert len(found.verdicts) == 14
    assert found.refused == {}


@pytest.mark.parametrize(
    ("explainer", "axiom", "got", "expected"),
    [
        # f = 1 - ReLU(1 - x1) at x1 = 2 is flat: gradient 0, while f(2) - f(0) = 1.
        ("saliency", "completeness", 0.0, 1.0),
        ("input_x_gradient", "completeness", 0.0, 1.0),
        # ReLU(2 x1 + x2) at (1, 0): slope 1 in x2, whose value is the baseline's.
        ("saliency", "missingness", 1.0, 0.0),
        # 2 ReLU(x1 - .9) has slope 2 at 1 and is worth .2; ReLU(x1) / 2 has slope .5 and is worth .5.
        ("saliency", "monotonicity", 0.5, 2.0),
        ("input_x_gradient", "monotonicity", 0.5, 2.0),
        # ReLU(ReLU(x1) - 1 - ReLU(x2)) at (3, 1): the outer sum goes from -1 to 1, its ReLU from 0 to 1, so the
        # multiplier is 1/2 and x1 gets 3/2. ReLU(ReLU(x1 - 1) - ReLU(x2)): x1 - 1 goes from -1 to 2, its ReLU from 0 to
        # 2, multiplier 2/3; the outer ReLU from 0 to 1 of 1; x1 gets 3 2/3 = 2.
        ("deeplift", "implementation_invariance", 2.0, 1.5),
    ],
)
def test_counterexamples_are_those_worked_by_hand(explainer: str, axiom: str, got: float, expected: float) -> None:
    verdict = cases.check_axioms(explainer, chosen=[axiom]).verdicts[explainer, axiom]
    assert not verdict.holds
    assert (verdict.found, verdict.expected) == (pytest.approx(got, abs=1e-9), pytest.approx(expected, abs=1e-9))
    assert f"{explainer} breaks {axiom.replace('_', ' ')}" in repr(verdict)


def test_gradients_are_linear_blind_to_how_a_function_is_written_and_see_dummies() -> None:
    found = cases.check_axioms(["saliency", "input_x_gradient"])
    for name in found.explainers:
        for axiom in ("dummy", "linearity", "symmetry", "implementation_invariance"):
            assert found.verdicts[name, axiom].holds


def test_the_two_ways_to_write_one_function_do_and_other_pairs_do_not() -> None:
    x = 3 * torch.randn(500, 2, generator=torch.Generator().manual_seed(0), dtype=DOUBLE)
    with torch.no_grad():
        assert torch.allclose(cases.at_once()(x), cases.in_two_steps()(x), atol=1e-12)
        assert not torch.allclose(cases.at_once()(x), cases.alike()(x))


def test_noise_breaks_all_but_what_it_may_keep_by_chance() -> None:
    found = cases.check_axioms("random_map")
    broken = {axiom for axiom in found.axioms if not found.verdicts["random_map", axiom].holds}
    assert broken >= {"completeness", "dummy", "linearity", "symmetry", "implementation_invariance", "missingness"}


@given(seed=st.integers(0, 10_000))
@settings(max_examples=10, deadline=None)
def test_exact_shapley_values_keep_them_on_random_nets(seed: int) -> None:
    first, second = mlp(seed), mlp(seed + 1)
    x = torch.randn(2, 3, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)
    with_zero = x.clone()
    with_zero[:, 1] = 0
    blind = nn.Sequential(nn.Linear(3, 3).double(), first)
    with torch.no_grad():
        blind[0].weight.copy_(torch.diag(torch.tensor([1.0, 0.0, 1.0])))
        blind[0].bias.zero_()
    assert a.completeness("shapley_exact", first, x, 0).holds
    assert a.missingness("shapley_exact", first, with_zero, 1).holds
    assert a.linearity("shapley_exact", first, second, x, 0, weights=(0.7, -2.0)).holds
    assert a.dummy("shapley_exact", blind, x, 0, torch.tensor([False, True, False])).holds
    assert a.implementation_invariance("shapley_exact", first, nn.Sequential(first, nn.Identity()), x, 1).holds


Broken = Callable[[Any, Tensor, Tensor], Tensor]


@pytest.mark.parametrize(
    ("axiom", "broken"),
    [
        ("completeness", lambda m, x, t: torch.zeros_like(x)),
        ("dummy", lambda m, x, t: torch.ones_like(x)),
        ("linearity", lambda m, x, t: torch.ones_like(x)),
        ("symmetry", lambda m, x, t: torch.arange(2, dtype=x.dtype).expand_as(x)),
        ("implementation_invariance", lambda m, x, t: torch.full_like(x, float(m[2].bias.detach()[0]))),
        ("monotonicity", lambda m, x, t: -m(x)[:, :1].detach().expand_as(x)),
        ("missingness", lambda m, x, t: torch.ones_like(x)),
    ],
)
def test_every_property_catches_an_explainer_that_breaks_it(axiom: str, broken: Broken) -> None:
    verdict = cases.check_axioms({"broken": broken}, chosen=[axiom]).verdicts["broken", axiom]
    assert not verdict.holds
    assert verdict.deviation > 0.1
    assert verdict.sentence.startswith("broken breaks")


def test_images_are_compared_position_by_position() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(24, 2)).double()
    x = torch.rand(2, 2, 3, 4, generator=torch.Generator().manual_seed(0), dtype=DOUBLE)
    x[:, :, 0, 1] = 0
    with torch.no_grad():
        net[1].weight.reshape(2, 2, 3, 4)[..., 2, 3] = 0
        net[1].bias.zero_()
    where = torch.zeros(3, 4, dtype=torch.bool)
    where[2, 3] = True
    assert a.dummy("saliency", net, x, 0, where).holds
    assert a.missingness("input_x_gradient", net, x, 0).holds
    assert not a.missingness("saliency", net, x, 0).holds
    assert a.completeness("input_x_gradient", net, x, torch.tensor([0, 1])).holds


def test_premises_that_are_not_met_are_no_verdict() -> None:
    x = point(2.0, 1.0)
    with h.fails(OptionError, "must not read the positions"):
        a.dummy("saliency", cases.weighted(), x, 0, torch.tensor([False, True]))
    for positions in (torch.tensor([False, False]), torch.tensor([True]), torch.tensor([0, 1])):
        with h.fails(OptionError, "`positions`"):
            a.dummy("saliency", cases.weighted(), x, 0, positions)
    with h.fails(OptionError, "must hold the same at positions 0 and 1"):
        a.symmetry("saliency", cases.alike(), x, 0, (0, 1))
    with h.fails(OptionError, "must treat positions 0 and 1 alike"):
        a.symmetry("saliency", cases.weighted(), point(1.0, 1.0), 0, (0, 1))
    with h.fails(OptionError, "must compute the same function"):
        a.implementation_invariance("saliency", cases.alike(), cases.weighted(), x, 0)
    with h.fails(OptionError, "must gain at least as much by position 0"):
        a.monotonicity("saliency", cases.high(), cases.steep(), point(1.0, 1.0), 0, 0)
    with h.fails(OptionError, "at most 12 positions", "13"):
        a.monotonicity("saliency", lambda t: t, lambda t: t, torch.ones(1, 13), 0, 0)
    with h.fails(OptionError, "position", "5"):
        a.monotonicity("saliency", cases.high(), cases.steep(), point(1.0, 1.0), 0, 5)
    with h.fails(OptionError, "as in the baseline somewhere"):
        a.missingness("saliency", cases.weighted(), x, 0)


def test_a_table_shows_what_holds_breaks_and_is_refused() -> None:
    found = cases.check_axioms(["saliency", "grad_cam"], chosen=["completeness", "dummy"])
    assert found.columns == ("explainer", "completeness", "dummy")
    assert found.rows() == [("saliency", "breaks (1.00)", "holds"), ("grad_cam", "-", "-")]
    assert "no convolution" in found.refused["grad_cam", "dummy"]
    assert found.counterexamples() == [
        "saliency breaks completeness: the map adds up to 0, 1 expected. (f = 1 - ReLU(1 - x1) at (2, 1).)"
    ]
    assert "the largest is saliency (1)" in found.plot().alt_text
    with h.fails(OptionError, "unknown axiom"):
        cases.check_axioms("saliency", chosen=["efficiency"])
    with h.fails(OptionError, "unknown axiom"):
        found.plot(axiom="symmetry")
