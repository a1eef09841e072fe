"""Grad-CAM: against a slow form from the paper, Captum, and the theorems for simple heads."""

from __future__ import annotations

import captum.attr
import helpers_attribution as h
import helpers_oracles as o
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import slow_attribution as slow
from torch import Tensor, nn

from xaiteach import explain
from xaiteach.attribution.layers import capture
from xaiteach.attribution.scores import gradient, run
from xaiteach.errors import ModelError, OptionError

RANKS = [1, 2, 3]
HEADS = ["flatten", "gap", "hidden"]


@pytest.mark.parametrize("output", ["logit", "probability"])
@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("rank", RANKS)
def test_grad_cam_is_the_papers_formula(rank: int, relu: bool, output: str) -> None:
    net, x = h.conv_net(rank, "hidden").eval(), h.batch(2, rank)
    a = explain(net, x, [2, 1], "grad_cam", relu=relu, output=output)
    expected = slow.grad_cam(h.features(net), h.head_of(net), x, [2, 1], output, relu)
    # The head is piecewise linear: finite differences leave rounding, 1e-16 of the score over a step of 1e-6.
    torch.testing.assert_close(a.values[:, 0], expected, atol=1e-8, rtol=1e-6)


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("rank", RANKS)
def test_grad_cam_equals_captums_to_rounding(rank: int, head: str, relu: bool) -> None:
    net, x, c = h.conv_net(rank, head), h.batch(3, rank), h.targets(3)
    found = explain(net, x, c, "grad_cam", relu=relu).values
    oracle = captum.attr.LayerGradCam(net.eval(), net[5]).attribute(x, c, relu_attributions=relu)
    o.agreed("grad_cam", "Captum LayerGradCam", found, oracle.detach(), 1e-12)  # float64 rounding


@pytest.mark.parametrize("rank", RANKS)
def test_map_is_the_coarse_map_resized_by_cell_centres(rank: int) -> None:
    net, x = h.conv_net(rank), h.batch(2, rank)
    a = explain(net, x, 1, "grad_cam", relu=False)
    assert a.map.shape == (2, *h.SPATIAL[rank])
    assert a.values.shape == (2, 1, *(side // 2 for side in h.SPATIAL[rank]))
    expected = slow.resize_all(a.values[:, 0], h.SPATIAL[rank])
    torch.testing.assert_close(a.map, expected, atol=1e-14, rtol=1e-12)  # float64 rounding


@pytest.mark.parametrize("rank", RANKS)
def test_flatten_head_weights_are_the_spatial_means_of_the_class_row(rank: int) -> None:
    # ds_c/dA = V_c reshaped to (k, *coarse): z runs channel first.
    net, x, c = h.conv_net(rank, "flatten").eval(), h.batch(2, rank), torch.tensor([3, 0])
    A = h.features(net)(x).detach()
    V = net[-1].weight.detach().reshape(h.CLASSES, *A.shape[1:])
    with capture(net, "5", "test") as kept:
        logits = run(net, x, "test")
    found = gradient(logits, c, "logit", kept[0])
    assert found is not None
    assert torch.equal(found, V[c])
    alpha = V[c].flatten(2).mean(2)
    expected = torch.einsum("nk,nk...->n...", alpha, A)
    values = explain(net, x, c, "grad_cam", relu=False).values[:, 0]
    torch.testing.assert_close(values, expected, atol=1e-14, rtol=1e-12)  # float64 rounding


@pytest.mark.parametrize("rank", RANKS)
def test_gap_head_makes_grad_cam_the_class_activation_map_over_its_positions(rank: int) -> None:
    net, x, c = h.conv_net(rank, "gap").eval(), h.batch(2, rank), torch.tensor([3, 0])
    A, V = h.features(net)(x).detach(), net[-1].weight.detach()
    positions = A[0, 0].numel()
    cam = torch.einsum("nk,nk...->n...", V[c], A)
    values = explain(net, x, c, "grad_cam", relu=False).values[:, 0]
    torch.testing.assert_close(values, cam / positions, atol=1e-15, rtol=1e-12)  # float64 rounding


def test_signed_map_of_a_gap_head_sums_to_the_logit_less_its_bias() -> None:
    net, x, c = h.conv_net(2, "gap").eval(), h.batch(3), torch.tensor([3, 0, 1])
    total = explain(net, x, c, "grad_cam", relu=False).values.flatten(1).sum(1)
    logit = net(x).gather(1, c[:, None])[:, 0] - net[-1].bias[c]
    torch.testing.assert_close(total, logit.detach(), atol=1e-14, rtol=1e-12)  # float64 rounding


def test_flatten_head_can_be_blank_though_the_score_depends_on_the_layer() -> None:
    net = h.conv_net(2, "flatten")
    with torch.no_grad():
        V = net[-1].weight.reshape(h.CLASSES, 5, -1)
        V -= V.mean(2, keepdim=True)
    a = explain(net, h.batch(), 1, "grad_cam", relu=False)
    assert a.values.abs().max() < 1e-15  # rounding of means that are 0
    assert explain(net, h.batch(), 1, "saliency").values.abs().max() > 1e-3


def test_relu_comes_after_the_sum() -> None:
    net, x = h.conv_net(), h.batch()
    signed = explain(net, x, 1, "grad_cam", relu=False).values
    assert signed.min() < 0
    assert torch.equal(explain(net, x, 1, "grad_cam").values, signed.relu())


def test_probability_map_in_float32_is_right_at_a_margin_of_twenty() -> None:
    exact_net, x = h.conv_net(2, "gap").eval(), h.batch(3)
    with torch.no_grad():
        exact_net[-1].bias.copy_(torch.tensor([20.0, 0.0, 0.3, -0.2]))
    exact = explain(exact_net, x, 0, "grad_cam", output="probability", relu=False).values
    net = h.conv_net(2, "gap", dtype=torch.float32)
    net.load_state_dict(exact_net.state_dict())
    found = explain(net, x.float(), 0, "grad_cam", output="probability", relu=False).values.double()
    # float32 holds 1e-7 of each of 5 channels; sums of both signs, so relative to the largest value.
    assert float((found - exact).abs().max() / exact.abs().max()) < 1e-5
    assert 0 < exact.abs().max() < 1e-8


def test_the_given_layer_may_be_a_name_or_a_module() -> None:
    net, x = h.conv_net(), h.batch()
    by_name = explain(net, x, 1, "grad_cam", layer="3")
    assert torch.equal(by_name.values, explain(net, x, 1, "grad_cam", layer=net[3]).values)
    assert by_name.options == {"layer": "3", "output": "logit", "relu": True}


def test_an_in_place_relu_after_the_layer_does_not_change_its_activation() -> None:
    net, x = h.conv_net(), h.batch()
    expected = explain(net, x, 1, "grad_cam", layer="4", relu=False).values
    net[5] = nn.ReLU(inplace=True)
    assert torch.equal(explain(net, x, 1, "grad_cam", layer="4", relu=False).values, expected)
    default = explain(net, x, 1, "grad_cam")
    assert default.options["layer"] == "5"
    net[5] = nn.ReLU()
    assert torch.equal(explain(net, x, 1, "grad_cam").values, default.values)


def test_a_layer_called_twice_needs_its_call_named() -> None:
    net, x = h.Reused().double(), h.batch()
    with h.fails(ModelError, "'relu' must be called once", "called 2 times", "layer='relu#2'"):
        explain(net, x, 1, "grad_cam", layer="relu")
    last = explain(net, x, 1, "grad_cam", layer="relu#2")
    assert torch.equal(last.values, explain(net, x, 1, "grad_cam").values)
    assert last.values.shape != explain(net, x, 1, "grad_cam", layer="relu#1").values.shape
    with h.fails(ModelError, "at least 3 times", "called 2 times"):
        explain(net, x, 1, "grad_cam", layer="relu#3")


def test_a_layer_that_is_never_called_is_refused() -> None:
    net = h.Functional().double()
    net.spare = nn.Conv2d(1, 1, 1)
    with h.fails(ModelError, "'spare' must be called in the forward pass", "0 times"):
        explain(net, h.batch(), 1, "grad_cam", layer="spare")


def test_a_layer_without_spatial_axes_is_refused() -> None:
    with h.fails(ModelError, "'6' must have spatial axes", "(3, 60)"):
        explain(h.conv_net(), h.batch(), 1, "grad_cam", layer="6")


def test_a_layer_that_folds_frames_into_the_batch_is_refused() -> None:
    x = torch.randn(2, h.CHANNELS, 3, 6, 6, dtype=torch.float64)
    with h.fails(ModelError, "'relu' must have the samples, 2, as its first axis", "(6, 3, 4, 4)"):
        explain(h.Frames().double(), x, 1, "grad_cam")


def test_a_layer_that_the_score_does_not_depend_on_is_refused() -> None:
    class Aside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = h.conv_net(), nn.Conv2d(h.CHANNELS, 2, 1).double()

        def forward(self, x: Tensor) -> Tensor:
            self.unused(x)
            return self.used(x)

    with h.fails(ModelError, "must depend on layer 'unused'"):
        explain(Aside(), h.batch(), 1, "grad_cam", layer="unused")
    assert explain(Aside(), h.batch(), 1, "grad_cam").options["layer"] == "used.5"


def test_an_unknown_layer_lists_the_known_ones() -> None:
    with h.fails(OptionError, "grad_cam: unknown layer 'convv2'; did you mean 'conv2'?"):
        explain(h.Functional().double(), h.batch(), 1, "grad_cam", layer="convv2")


def test_a_function_has_no_layers() -> None:
    with h.fails(ModelError, "torch.nn.Module"):
        explain(lambda x: x.flatten(1), h.batch(), 1, "grad_cam")


def test_a_map_cannot_be_resized_from_a_flat_input() -> None:
    net = nn.Sequential(nn.Unflatten(1, (1, 4, 4)), nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3))
    with h.fails(ModelError, "as many axes as `x`", "(2, 16)", "(2, 2, 2, 2)"):
        explain(net, torch.randn(2, 16), 1, "grad_cam")


@given(seed=st.integers(0, 10**6), rank=st.sampled_from(RANKS), head=st.sampled_from(HEADS))
@settings(deadline=None, max_examples=25)
def test_grad_cam_of_any_net_is_the_weighted_sum_of_its_channels(seed: int, rank: int, head: str) -> None:
    net, x, c = h.conv_net(rank, head, seed).eval(), h.batch(2, rank, seed), h.targets(2)
    A = h.features(net)(x).detach().requires_grad_()
    score = h.head_of(net)(A).gather(1, c[:, None]).sum()
    (g,) = torch.autograd.grad(score, A)
    expected = torch.einsum("nk,nk...->n...", g.flatten(2).mean(2), A.detach()).relu()
    found = explain(net, x, c, "grad_cam").values[:, 0]
    torch.testing.assert_close(found, expected, atol=1e-13, rtol=1e-11)  # float64 rounding
