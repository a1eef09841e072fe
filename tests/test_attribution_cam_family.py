"""CAM, HiResCAM, Grad-CAM++ and the guided versions: papers' formulas, pytorch-grad-cam, Captum, theorems."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Any

import captum.attr
import helpers_attribution as h
import helpers_oracles as o
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_grad_cam import GradCAMPlusPlus, HiResCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from reference import slow_attribution as slow
from reference import slow_cam
from torch import Tensor, nn
from torch.nn import functional

from xaiteach import explain
from xaiteach.attribution.feature_maps import resized
from xaiteach.errors import MissingExtraError, ModelError, OptionError, ShapeError

RANKS = [1, 2, 3]
HEADS = ["flatten", "gap", "hidden"]


def activation(net: nn.Sequential, x: Tensor) -> Tensor:
    return h.features(net.eval())(x).detach()


# CAM


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("rank", RANKS)
def test_cam_is_the_papers_formula(rank: int, relu: bool) -> None:
    net, x = h.conv_net(rank, "gap"), h.batch(2, rank)
    found = explain(net, x, [2, 1], "cam", relu=relu).values
    assert found.shape == (2, 1, *(side // 2 for side in h.SPATIAL[rank]))
    for one, A, c in zip(found, activation(net, x), (2, 1), strict=True):
        expected = slow_cam.weighted(net[-1].weight[c].tolist(), A, relu)
        torch.testing.assert_close(one[0], expected, atol=1e-14, rtol=1e-12)  # five terms in float64


@pytest.mark.parametrize("output", ["logit", "probability"])
@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("rank", RANKS)
def test_grad_cam_is_cam_over_the_number_of_positions(rank: int, relu: bool, output: str) -> None:
    net, x, c = h.conv_net(rank, "gap"), h.batch(3, rank), h.targets(3)
    cam = explain(net, x, c, "cam", relu=relu, output=output).values
    grad_cam = explain(net, x, c, "grad_cam", relu=relu, output=output).values
    torch.testing.assert_close(cam / cam[0].numel(), grad_cam, atol=1e-15, rtol=1e-12)  # float64 rounding


def test_signed_cam_averages_to_the_logit_less_its_bias() -> None:
    net, x, c = h.conv_net(2, "gap").eval(), h.batch(3), torch.tensor([3, 0, 1])
    logit = net(x).gather(1, c[:, None])[:, 0] - net[-1].bias[c]
    found = explain(net, x, c, "cam", relu=False).values.flatten(1).mean(1)
    torch.testing.assert_close(found, logit.detach(), atol=1e-14, rtol=1e-12)  # float64 rounding


def test_cam_of_two_positions_by_hand() -> None:
    net = nn.Sequential(nn.Conv1d(1, 2, 1), nn.ReLU(), h.Mean(), nn.Linear(2, 2))
    for p, value in zip(
        net.parameters(), [[[[1.0]], [[-1.0]]], [0.0, 0.0], [[1.0, 0.0], [2.0, -3.0]], [5.0, 7.0]], strict=True
    ):
        p.data.copy_(torch.tensor(value))
    # A = ((4, 0), (0, 1)): the second class gets 2 * (4, 0) - 3 * (0, 1).
    assert explain(net, torch.tensor([[[4.0, -1.0]]]), 1, "cam", relu=False).values.tolist() == [[[8.0, -3.0]]]
    assert explain(net, torch.tensor([[[4.0, -1.0]]]), 1, "cam").values.tolist() == [[[8.0, 0.0]]]


class Head(nn.Module):
    """A convolution, its ReLU, and a head made of functions around one dense layer."""

    def __init__(self, before: Callable[[Tensor], Tensor], after: Callable[[Tensor], Tensor] = lambda s: s) -> None:
        super().__init__()
        self.conv, self.relu, self.fc = nn.Conv2d(h.CHANNELS, 5, 3), nn.ReLU(), nn.Linear(5, h.CLASSES)
        self.before, self.after = before, after

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.fc(self.before(self.relu(self.conv(x)))))


MEANS: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda A: A.mean((2, 3)),
    "flatten and mean": lambda A: A.flatten(2).mean(-1),
    "adaptive pooling": lambda A: functional.adaptive_avg_pool2d(A, 1).flatten(1),
    "sum over positions": lambda A: A.sum((2, 3)) / A[0, 0].numel(),
    "dropout, which is off": lambda A: functional.dropout(A.mean((2, 3)), training=False),
}


@pytest.mark.parametrize("name", MEANS)
def test_cam_takes_the_means_however_they_are_written(name: str) -> None:
    torch.manual_seed(0)
    net, x = Head(MEANS[name]).double(), h.batch()
    found = explain(net, x, 1, "cam", relu=False)
    expected = torch.einsum("k,nkij->nij", net.fc.weight[1], net.relu(net.conv(x))).detach()
    torch.testing.assert_close(found.values[:, 0], expected, atol=1e-14, rtol=1e-12)  # float64 rounding
    assert found.options["layer"] == "relu"


def test_cam_takes_the_means_in_float32_of_many_positions() -> None:
    net = nn.Sequential(nn.Conv2d(1, 3, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4))
    assert explain(net, torch.rand(2, 1, 128, 128), 1, "cam").values.shape == (2, 1, 128, 128)


def test_cam_takes_a_parametrised_dense_layer() -> None:
    net = h.conv_net(2, "gap")
    nn.utils.parametrizations.weight_norm(net[-1])
    torch.testing.assert_close(
        explain(net, h.batch(), 0, "cam").values,
        explain(net, h.batch(), 0, "grad_cam").values * 12,  # the number of positions
        atol=1e-14,  # float64 rounding
        rtol=1e-12,
    )


def test_cam_takes_means_of_a_layer_that_is_dead() -> None:
    net = h.conv_net(2, "gap")
    with torch.no_grad():
        net[4].weight.zero_()
        net[4].bias.fill_(-1.0)
    assert not explain(net, h.batch(), 1, "cam").values.any()


@pytest.mark.parametrize(
    ("net", "words"),
    [
        (h.conv_net(2, "flatten"), ["after layer '5'", "'6' (Flatten), '7' (Linear)", "what '7' is given is not"]),
        (h.conv_net(2, "hidden"), ["'8' (ReLU), '9' (Linear)", "what '9' is given is not the means"]),
        (Head(lambda A: A.amax((2, 3))).double(), ["what follows is 'fc' (Linear)", "is not the means"]),
        (Head(lambda A: functional.normalize(A.mean((2, 3)))).double(), ["is not the means"]),
        (Head(MEANS["mean"], lambda s: 2 * s).double(), ["what 'fc' computes is not the logits"]),
        (Head(MEANS["mean"], lambda s: s.flip(1)).double(), ["what 'fc' computes is not the logits"]),
        (nn.Sequential(h.features(h.conv_net()), h.Mean()), ["after layer '0.5'", "'1' (Mean)", "no nn.Linear"]),
    ],
    ids=["flatten", "hidden", "maximum", "unit length", "doubled", "reversed", "no dense layer"],
)
def test_cam_refuses_another_head_and_names_it(net: nn.Module, words: list[str]) -> None:
    with h.fails(ModelError, *words, "cam: ", "Try 'grad_cam'"):
        explain(net, h.batch(), 1, "cam")


def test_cam_refuses_a_layer_that_is_not_the_pooled_one() -> None:
    with h.fails(ModelError, "after layer '3'", "'4' (BatchNorm2d), '5' (ReLU), '6' (Mean), '7' (Linear)"):
        explain(h.conv_net(2, "gap"), h.batch(), 1, "cam", layer="3")


def used_gap_model() -> h.Wrapped:
    model = h.Wrapped(lambda s: s + 0 * torch.rand(()), h.conv_net(2, "gap"))
    model.net[4].eval()
    model.net(h.batch()).sum().backward()
    model.net[1].register_forward_hook(lambda *_: None)
    return model


@pytest.mark.parametrize("raises", [False, True])
def test_cam_leaves_no_trace(raises: bool) -> None:
    # The shared test's nets have another head.
    model, x = used_gap_model(), h.batch()
    if raises:
        model.change = lambda _: (_ for _ in ()).throw(h.BoomError())
    before = h.Snapshot(model)
    if raises:
        with pytest.raises(h.BoomError):
            explain(model, x, h.targets(), "cam")
    else:
        explain(model, x, h.targets(), "cam", budget_mib=1e-6)
    assert before.changes() == []


def test_cam_of_a_batch_is_that_of_a_loop() -> None:
    net, x, c = h.conv_net(2, "gap"), h.batch(4), h.targets(4)
    whole = explain(net, x, c, "cam").values
    loop = torch.cat([explain(net, x[i : i + 1], int(c[i]), "cam").values for i in range(4)])
    torch.testing.assert_close(whole, loop, atol=1e-10, rtol=0.0)  # contracts.md


# HiResCAM


@pytest.mark.parametrize("output", ["logit", "probability"])
@pytest.mark.parametrize("rank", RANKS)
def test_hirescam_is_the_papers_formula(rank: int, output: str) -> None:
    net, x = h.conv_net(rank, "hidden").eval(), h.batch(2, rank)
    signed = explain(net, x, [2, 1], "hirescam", relu=False, output=output).values
    expected = slow_cam.hirescam(h.features(net), h.head_of(net), x, [2, 1], output)
    # The head is piecewise linear: finite differences leave rounding, 1e-16 of the score over a step of 1e-6.
    torch.testing.assert_close(signed[:, 0], expected, atol=1e-8, rtol=1e-6)
    assert torch.equal(explain(net, x, [2, 1], "hirescam", output=output).values, signed.relu())


@pytest.mark.parametrize("head", HEADS)
def test_hirescam_equals_pytorch_grad_cams(head: str) -> None:
    net, x, c = h.conv_net(2, head).eval(), h.batch(3), h.targets(3)
    A, g = taken(HiResCAM, net, x, c)
    found = explain(net, x, c, "hirescam", relu=False).values[:, 0]
    oracle = HiResCAM(net, [net[5]]).get_cam_image(x, net[5], [], A, g, False)
    o.agreed("hirescam", "grad-cam HiResCAM", found, torch.as_tensor(oracle), 1e-12)  # float64 rounding


@pytest.mark.parametrize("rank", RANKS)
def test_hirescam_of_a_flatten_head_sums_to_the_logit_less_its_bias(rank: int) -> None:
    net, x, c = h.conv_net(rank, "flatten").eval(), h.batch(3, rank), torch.tensor([3, 0, 1])
    logit = net(x).gather(1, c[:, None])[:, 0] - net[-1].bias[c]
    a = explain(net, x, c, "hirescam", relu=False)
    torch.testing.assert_close(a.values.flatten(1).sum(1), logit.detach(), atol=1e-14, rtol=1e-12)  # rounding
    assert a.residual is None  # promised of linear heads only
    grad_cam = explain(net, x, c, "grad_cam", relu=False).values.flatten(1).sum(1)
    assert (grad_cam - logit).abs().min() > 1e-3  # which Grad-CAM's does not


def test_hirescam_of_a_gap_head_is_grad_cam() -> None:
    net, x, c = h.conv_net(2, "gap"), h.batch(3), h.targets(3)
    found = explain(net, x, c, "hirescam", relu=False).values
    torch.testing.assert_close(found, explain(net, x, c, "grad_cam", relu=False).values, atol=1e-15, rtol=1e-12)


def test_hirescam_sees_what_the_mean_gradient_hides() -> None:
    net = h.conv_net(2, "flatten")
    with torch.no_grad():
        V = net[-1].weight.reshape(h.CLASSES, 5, -1)
        V -= V.mean(2, keepdim=True)
    assert explain(net, h.batch(), 1, "grad_cam", relu=False).values.abs().max() < 1e-15  # rounding of means that are 0
    assert explain(net, h.batch(), 1, "hirescam", relu=False).values.abs().max() > 1e-3


# Grad-CAM++


def taken(method: type, net: nn.Module, x: Tensor, c: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Activations and gradients as pytorch-grad-cam takes them."""
    cam = method(net, [net[5]])
    outputs = cam.activations_and_grads(x)
    loss = sum(ClassifierOutputTarget(int(i))(one) for one, i in zip(outputs, c, strict=True))
    loss.backward()
    found = cam.activations_and_grads
    A, g = found.activations[0].numpy(), found.gradients[0].numpy()
    found.release()
    net.zero_grad()
    return A, g


@pytest.mark.parametrize("head", ["flatten", "gap"])
@pytest.mark.parametrize("rank", RANKS)
def test_grad_cam_pp_is_the_papers_formula_with_derivatives_of_the_exponential(rank: int, head: str) -> None:
    net, x = h.conv_net(rank, head).eval(), h.batch(2, rank)
    found = explain(net, x, [2, 1], "grad_cam_pp").values
    for one, A, c in zip(found, activation(net, x), (2, 1), strict=True):
        expected = slow_cam.weighted(slow_cam.grad_cam_pp_weights(h.head_of(net), A, c), A, relu=True)
        torch.testing.assert_close(one[0], expected, atol=1e-14, rtol=1e-11)  # float64 rounding, cubes of it


@pytest.mark.parametrize("head", HEADS)
def test_grad_cam_pp_equals_pytorch_grad_cams(head: str) -> None:
    net, x, c = h.conv_net(2, head).eval(), h.batch(3), h.targets(3)
    with torch.no_grad():
        net[-1].weight *= 1e3  # gradients of hundreds: the oracle adds 1e-6 to 2 g^2 + ...
    A, g = taken(GradCAMPlusPlus, net, x, c)
    oracle = GradCAMPlusPlus(net, [net[5]])
    weights = oracle.get_cam_weights(x, net[5], [], A, g)
    expected = torch.einsum("nk,nkij->nij", torch.as_tensor(weights), torch.as_tensor(A))
    found = explain(net, x, c, "grad_cam_pp").values[:, 0]
    o.agreed("grad_cam_pp", "grad-cam GradCAMPlusPlus", found, expected, 2e-7)  # its added number


def test_grad_cam_pp_gets_the_papers_weights_though_gradients_are_tiny() -> None:
    # The same number added to the denominator takes nearly everything away from gradients of 1e-4.
    net, x = h.conv_net(2, "flatten").eval(), h.batch(1)
    with torch.no_grad():
        net[-1].weight *= 1e-3
    A = activation(net, x)[0]
    expected = slow_cam.weighted(slow_cam.grad_cam_pp_weights(h.head_of(net), A, 1), A)
    torch.testing.assert_close(explain(net, x, 1, "grad_cam_pp").values[0, 0], expected, atol=0.0, rtol=1e-10)
    A_, g = taken(GradCAMPlusPlus, net, x, torch.tensor([1]))
    weights = GradCAMPlusPlus(net, [net[5]]).get_cam_weights(x, net[5], [], A_, g)
    oracle = torch.einsum("k,kij->ij", torch.as_tensor(weights)[0], A)
    assert oracle.max() < 0.1 * expected.max()


def test_grad_cam_pp_depends_on_the_logits_scale() -> None:
    net, x = h.conv_net(2, "flatten"), h.batch(1)
    once = explain(net, x, 1, "grad_cam_pp").values
    with torch.no_grad():
        net[-1].weight *= 10
        net[-1].bias *= 10
    more = explain(net, x, 1, "grad_cam_pp").values
    assert (once / once.max() - more / more.max()).abs().max() > 0.01
    grad_cam = explain(net, x, 1, "grad_cam").values
    with torch.no_grad():
        net[-1].weight *= 10
    # Grad-CAM's does not: ten times the gradient is ten times the map.
    torch.testing.assert_close(explain(net, x, 1, "grad_cam").values, 10 * grad_cam, atol=1e-13, rtol=1e-12)


def test_a_thesis_alpha_taken_literally_gives_no_channel_weight() -> None:
    # Seed 002 (4.14): alpha = 1 / sum g where g = 1, else 0.
    net, x, c = h.conv_net(2, "flatten").eval(), h.batch(3), h.targets(3)
    _, g = taken(GradCAMPlusPlus, net, x, c)
    assert not (g == 1).any()
    assert explain(net, x, c, "grad_cam_pp").values.max() > 1e-3


def test_grad_cam_pp_has_no_weight_for_a_channel_without_a_positive_gradient() -> None:
    net, x = h.conv_net(2, "gap").eval(), h.batch(2)
    with torch.no_grad():
        net[-1].weight[1] = torch.tensor([0.0, -2.0, -1.0, 0.0, -3.0])
    assert not explain(net, x, 1, "grad_cam_pp").values.any()
    assert explain(net, x, 1, "grad_cam", relu=False).values.min() < 0


def test_grad_cam_pp_refuses_activations_that_make_alpha_no_weight() -> None:
    net, x = h.conv_net(2, "gap"), h.batch(2)
    with torch.no_grad():
        net[3].bias.fill_(-100.0)
        net[4].running_mean.fill_(-100.0)
    with h.fails(ModelError, "grad_cam_pp: layer '3'", "no less than 0", "adds up to -1", "Try the ReLU"):
        explain(net, x, 1, "grad_cam_pp", layer="3")


def test_grad_cam_pp_takes_a_layer_whose_channels_are_negative_here_and_there() -> None:
    net, x = h.conv_net(1, "flatten").eval(), h.batch(2, 1)
    net[5] = nn.GELU()
    found = explain(net, x, [0, 1], "grad_cam_pp", relu=False).values
    for one, A, c in zip(found, activation(net, x), (0, 1), strict=True):
        expected = slow_cam.weighted(slow_cam.grad_cam_pp_weights(h.head_of(net), A, c), A)
        torch.testing.assert_close(one[0], expected, atol=1e-14, rtol=1e-11)  # float64 rounding
    assert torch.equal(explain(net, x, [0, 1], "grad_cam_pp").values, found.relu())


def test_grad_cam_pp_explains_the_logit_only() -> None:
    with h.fails(OptionError, "unknown option of grad_cam_pp 'output'"):
        explain(h.conv_net(), h.batch(), 1, "grad_cam_pp", output="probability")


@given(seed=st.integers(0, 10**6), rank=st.sampled_from(RANKS), head=st.sampled_from(HEADS))
@settings(deadline=None, max_examples=25)
def test_grad_cam_pp_weights_lie_between_nothing_and_half_the_positive_gradients(
    seed: int, rank: int, head: str
) -> None:
    # alpha = 1 / (2 + a_k g), with a_k >= 0 after a ReLU.
    net, x, c = h.conv_net(rank, head, seed).eval(), h.batch(2, rank, seed), h.targets(2)
    A = activation(net, x).requires_grad_()
    (g,) = torch.autograd.grad(h.head_of(net)(A).gather(1, c[:, None]).sum(), A)
    most = torch.einsum("nk,nk...->n...", g.relu().flatten(2).sum(2) / 2, A.detach())
    found = explain(net, x, c, "grad_cam_pp").values[:, 0]
    assert (found >= 0).all()
    assert (found <= most * (1 + 1e-12) + 1e-15).all()  # float64 rounding


# The guided versions


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize(("rank", "mode"), [(1, "linear"), (2, "bilinear"), (3, "trilinear")])
def test_guided_grad_cam_equals_captums_resized_linearly(rank: int, mode: str, head: str) -> None:
    net, x, c = h.conv_net(rank, head).eval(), h.batch(3, rank), h.targets(3)
    found = explain(net, x, c, "guided_grad_cam").values
    assert found.shape == x.shape
    oracle = captum.attr.GuidedGradCam(net, net[5])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Setting backward hooks on ReLU activations")
        expected = oracle.attribute(x.requires_grad_(), c, interpolate_mode=mode)
        nearest = oracle.attribute(x, c)  # "nearest"
    scale = float(expected.detach().abs().max())
    o.agreed("guided_grad_cam", "Captum GuidedGradCam", found, expected.detach(), 1e-12)  # float64 rounding
    assert (found - nearest.detach()).abs().max() > 0.01 * scale  # Captum's default is another map


@pytest.mark.parametrize(("guided", "cam"), [("guided_grad_cam", "grad_cam"), ("guided_grad_cam_pp", "grad_cam_pp")])
@pytest.mark.parametrize("rank", RANKS)
def test_guided_versions_are_the_product_of_their_parts(rank: int, guided: str, cam: str) -> None:
    net, x, c = h.conv_net(rank, "hidden"), h.batch(2, rank), h.targets(2)
    coarse = explain(net, x, c, cam).values[:, 0]
    expected = explain(net, x, c, "guided_backprop").values * slow.resize_all(coarse, h.SPATIAL[rank])[:, None]
    found = explain(net, x, c, guided).values
    torch.testing.assert_close(found, expected, atol=1e-18, rtol=1e-12)  # float64 rounding
    assert found.abs().max() > 0


def test_guided_grad_cam_explains_the_probability_as_well() -> None:
    net, x = h.conv_net(2, "gap"), h.batch()
    parts = [explain(net, x, 0, part, output="probability") for part in ("guided_backprop", "grad_cam")]
    found = explain(net, x, 0, "guided_grad_cam", output="probability")
    torch.testing.assert_close(
        found.values, parts[0].values * parts[1].map[:, None], atol=1e-18, rtol=1e-12
    )  # rounding
    assert found.output == "probability"
    assert found.values.abs().max() > 0


@pytest.mark.parametrize(
    ("guided", "hidden"),
    [("guided_grad_cam", "xaiteach.attribution.cam"), ("guided_grad_cam_pp", "xaiteach.attribution.cam_variants")],
)
def test_guided_versions_say_so_where_their_map_is_what_the_student_writes(
    guided: str, hidden: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, hidden, None)
    name = guided.removeprefix("guided_")
    with h.fails(MissingExtraError, f"'{name}'", "this is what you are asked to write"):
        explain(h.conv_net(), h.batch(), 1, guided)
    assert explain(h.conv_net(), h.batch(), 1, "ablation_cam").method == "ablation_cam"


def test_guided_grad_cam_refuses_what_guided_backprop_refuses() -> None:
    net = h.conv_net()
    net[1] = nn.Tanh()
    with h.fails(ModelError, "guided_backprop", "'1'"):
        explain(net, h.batch(), 1, "guided_grad_cam")


# Layers, shared by the family

FAMILY = ["cam", "grad_cam", "hirescam", "grad_cam_pp", "guided_grad_cam", "guided_grad_cam_pp", "ablation_cam"]


@pytest.mark.parametrize("method", FAMILY)
def test_the_family_chooses_the_same_layer(method: str) -> None:
    net, x = h.conv_net(2, "gap"), h.batch()
    default = explain(net, x, 0, method)
    assert default.options["layer"] == h.LAST
    assert default.values.abs().max() > 0
    for layer in (h.LAST, net[5]):
        found = explain(net, x, 0, method, layer=layer)
        assert torch.equal(found.values, default.values)
        assert found.options["layer"] == h.LAST


@pytest.mark.parametrize("method", FAMILY)
def test_the_family_refuses_layers_in_the_same_words(method: str) -> None:
    net, x = h.conv_net(2, "gap"), h.batch()
    map_of = method.removeprefix("guided_")
    with h.fails(ModelError, f"{map_of}: layer '6' must have spatial axes", ", 5)"):
        explain(net, x, 1, method, layer="6")
    with h.fails(OptionError, "unknown layer '55'"):
        explain(net, x, 1, method, layer="55")

    class Aside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = h.conv_net(2, "gap"), nn.Conv2d(h.CHANNELS, 2, 1).double()

        def forward(self, x: Tensor) -> Any:
            self.unused(x)
            return self.used(x)

    with h.fails(ModelError, f"{method}: the score must depend on layer 'unused'"):
        explain(Aside(), x, 1, method, layer="unused")


def test_maps_of_four_spatial_axes_cannot_be_resized() -> None:
    with h.fails(ShapeError, "1, 2 or 3 spatial axes; `x` has 4"):
        resized(torch.zeros(1, 1, 2, 2, 2, 2), (4, 4, 4, 4), "test")
    same = torch.zeros(1, 1, 2, 2, 2, 2)
    assert resized(same, (2, 2, 2, 2), "test") is same
