"""Facts of unit 00's diagnostic: its truths by a second route, and what its lesson's refreshers print."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from xaiteach.questions import find, of_unit
from xaiteach.questions.running import cases_of, keys_of


def keys(question: str, seed: int) -> list[Any]:
    asked = find(f"start_here.{question}")
    return keys_of(asked, cases_of(asked, seed, fresh=True))


@pytest.mark.parametrize("seed", range(5))
def test_the_bells_slope_is_that_of_automatic_differentiation(seed: int) -> None:
    for key in keys("chain_rule", seed):
        x = torch.tensor(key.case.inputs["x"], dtype=torch.float64, requires_grad=True)
        w, b = key.case.inputs["w"], key.case.inputs["b"]
        (slope,) = torch.autograd.grad(torch.exp(-((w * x + b) ** 2)), x)
        assert float(key.truth["value"]) == pytest.approx(float(slope), abs=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_a_place_is_where_flatten_puts_the_entry(seed: int) -> None:
    for key in keys("unrolled", seed):
        K, d1, d2, k, i, j = (key.case.inputs[name] for name in ("K", "d1", "d2", "k", "i", "j"))
        A = torch.zeros(K, d1, d2)
        A[k, i, j] = 1
        assert int(A.flatten().argmax()) == int(key.truth["value"])
        if not key.case.public:
            assert len({K, d1, d2}) == 3  # no wrong size is right by chance


def test_only_one_line_sums_the_maps() -> None:
    assert [str(key.truth["choice"]) for key in keys("broadcasting", 0)] == ["b"]


@pytest.mark.parametrize("seed", range(3))
def test_differences_agree_with_automatic_differentiation(seed: int) -> None:
    for key in keys("input_slope", seed):
        x, M, v = (torch.tensor(key.case.inputs[name]) for name in ("x", "M", "v"))
        x.requires_grad_()
        (slope,) = torch.autograd.grad(v @ torch.tanh(M @ x), x)
        np.testing.assert_allclose(key.truth["slope"], slope.numpy(), atol=1e-9)


def test_the_unit_stays_short() -> None:
    assert sum(question.minutes for question in of_unit("00_start_here")) == 17
    assert sum(question.points for question in of_unit("00_start_here")) == 5
