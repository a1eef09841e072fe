"""Saliency and input times gradient: against finite differences, Captum, and closed forms."""

from __future__ import annotations

import captum.attr
import helpers_attribution as h
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import slow_attribution as slow
from torch import nn

from xaiteach import explain
from xaiteach.attribution.scores import cotangent
from xaiteach.errors import ModelError, OptionError

RANKS = [1, 2, 3]
HEADS = ["flatten", "gap", "hidden"]


@pytest.mark.parametrize("output", ["logit", "probability"])
@pytest.mark.parametrize("rank", RANKS)
def test_saliency_is_the_slow_gradient(rank: int, output: str) -> None:
    net, x = h.conv_net(rank, "hidden").eval(), h.batch(2, rank)
    found = explain(net, x, h.targets(2), "saliency", output=output).values
    # The net is piecewise linear, so a step of 1e-6 leaves only rounding: 1e-16 of the score over the step.
    torch.testing.assert_close(found, slow.saliency(net, x, [0, 1], output), atol=1e-8, rtol=1e-6)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("rank", RANKS)
def test_saliency_equals_captums_to_rounding(rank: int, head: str) -> None:
    net, x, c = h.conv_net(rank, head), h.batch(3, rank), h.targets(3)
    found = explain(net, x, c, "saliency").values
    oracle = captum.attr.Saliency(net.eval()).attribute(x.requires_grad_(), c, abs=False)
    torch.testing.assert_close(found, oracle, atol=1e-12, rtol=1e-12)  # float64 rounding


@pytest.mark.parametrize("rank", RANKS)
def test_input_x_gradient_equals_captums_to_rounding(rank: int) -> None:
    net, x, c = h.conv_net(rank), h.batch(3, rank), h.targets(3)
    found = explain(net, x, c, "input_x_gradient").values
    oracle = captum.attr.InputXGradient(net.eval()).attribute(x.requires_grad_(), c)
    torch.testing.assert_close(found, oracle, atol=1e-12, rtol=1e-12)  # float64 rounding


def test_saliency_of_a_linear_model_is_its_row_of_weights() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(6, 3)).double()
    a = explain(net, torch.randn(2, 1, 6, dtype=torch.float64), [2, 0], "saliency")
    assert torch.equal(a.map, net[1].weight[[2, 0]].detach())


def test_input_x_gradient_of_a_linear_model_sums_to_the_score_less_its_bias() -> None:
    net, x = nn.Linear(6, 3).double(), torch.randn(2, 6, dtype=torch.float64)
    a = explain(net, x, [2, 0], "input_x_gradient")
    score = net(x)[[0, 1], [2, 0]] - net.bias[[2, 0]]
    torch.testing.assert_close(a.values.sum(1), score.detach(), atol=1e-14, rtol=1e-12)  # six terms in float64


def test_saliency_is_signed_unless_told_otherwise() -> None:
    net, x = h.conv_net(), h.batch()
    signed = explain(net, x, 1, "saliency")
    assert signed.values.min() < 0
    assert torch.equal(explain(net, x, 1, "saliency", abs=True).values, signed.values.abs())


def test_a_function_that_is_no_module_has_a_gradient_too() -> None:
    def model(x: torch.Tensor) -> torch.Tensor:
        return torch.stack([(x**2).sum(1), x.sum(1)], 1)

    x = torch.tensor([[1.0, -3.0]])
    assert explain(model, x, 0, "saliency").values.tolist() == [[2.0, -6.0]]


@pytest.mark.parametrize("margin", [0.5, 5.0, 20.0])
def test_probability_gradient_in_float32_is_right_at_any_margin(margin: float) -> None:
    V = [[1.0, 2.0, -1.0], [0.5, -1.5, 3.0], [0.25, 1.0, 1.0]]
    net = nn.Linear(3, 3, bias=True)
    with torch.no_grad():
        net.weight.copy_(torch.tensor(V))
        net.bias.copy_(torch.tensor([margin, 0.0, 0.0]))
    found = explain(net, torch.zeros(1, 3), 0, "saliency", output="probability").values[0].double()
    exact = torch.tensor(slow.probability_gradient(V, [margin, 0.0, 0.0], 0), dtype=torch.float64)
    # float32 holds 1e-7; the exponent of 20 loses a digit of that.
    torch.testing.assert_close(found, exact, rtol=1e-5, atol=0.0)


def test_differentiating_a_float32_softmax_cancels_where_ours_does_not() -> None:
    logits = torch.tensor([[15.0, 0.0]], requires_grad=True)
    (naive,) = torch.autograd.grad(logits.softmax(1)[0, 0], logits)
    ours = cotangent(logits, torch.tensor([0]), "probability")
    exact = slow.probability_gradient([[1.0, 0.0], [0.0, 1.0]], [15.0, 0.0], 0)[0]
    assert abs(naive[0, 0].item() / exact - 1) > 0.1
    assert abs(ours[0, 0].item() / exact - 1) < 1e-5  # float32 rounding of e^-15


def test_cotangent_of_the_probability_sums_to_zero_over_classes() -> None:
    # Adding one number to every logit changes no probability.
    logits = torch.randn(5, 4, dtype=torch.float64)
    u = cotangent(logits, torch.arange(5) % 4, "probability")
    torch.testing.assert_close(u.sum(1), torch.zeros(5, dtype=torch.float64), atol=1e-16, rtol=0.0)  # rounding


def test_a_model_that_ends_in_softmax_has_no_logit() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.Softmax(1))
    for output in ("logit", "probability"):
        with h.fails(ModelError, "saliency: `model` must return logits", "softmax"):
            explain(net, torch.zeros(1, 3), 0, "saliency", output=output)


def test_probability_of_a_single_class_is_refused() -> None:
    with h.fails(ModelError, "two classes", "output='logit'"):
        explain(nn.Linear(3, 1), torch.zeros(1, 3), 0, "saliency", output="probability")


def test_unknown_output_lists_the_two() -> None:
    with h.fails(OptionError, "unknown output 'prob'", "did you mean 'probability'", "logit"):
        explain(nn.Linear(3, 2), torch.zeros(1, 3), 0, "saliency", output="prob")


@given(seed=st.integers(0, 10**6), a=st.floats(-3, 3), b=st.floats(-3, 3))
@settings(deadline=None, max_examples=25)
def test_gradient_of_the_logit_is_linear_in_the_heads_weights(seed: int, a: float, b: float) -> None:
    first, second, mixed = (h.conv_net(1, "gap", seed) for _ in range(3))
    second[-1].reset_parameters()
    with torch.no_grad():
        mixed[-1].weight.copy_(a * first[-1].weight + b * second[-1].weight)
    x, c = h.batch(2, 1, seed), h.targets(2)
    one, two, both = (explain(net, x, c, "saliency").values for net in (first, second, mixed))
    torch.testing.assert_close(both, a * one + b * two, atol=1e-12, rtol=1e-10)  # float64 rounding


@given(seed=st.integers(0, 10**6), shift=st.floats(-5, 5))
@settings(deadline=None, max_examples=25)
def test_probability_gradient_ignores_what_moves_every_logit(seed: int, shift: float) -> None:
    # One vector added to every row of V leaves the probabilities, and so their gradient; the logit's moves.
    net, moved = h.conv_net(1, "gap", seed), h.conv_net(1, "gap", seed)
    with torch.no_grad():
        moved[-1].weight += shift
    x, c = h.batch(2, 1, seed), h.targets(2)
    one, two = (explain(m, x, c, "saliency", output="probability").values for m in (net, moved))
    torch.testing.assert_close(one, two, atol=1e-12, rtol=1e-9)  # float64, the shift cancelled
