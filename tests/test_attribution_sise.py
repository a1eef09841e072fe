"""SISE: a slow form from the paper, a toy by hand, its properties, and the layers that it chooses."""

from __future__ import annotations

from typing import Any

import helpers_attribution as h
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import slow_cam
from skimage.filters import threshold_otsu
from torch import Tensor, nn
from torch.nn import functional

from xaiteach import explain
from xaiteach.attribution.layers import observe
from xaiteach.attribution.sise import block_ends
from xaiteach.errors import ModelError, OptionError

RANKS = [1, 2, 3]
HEADS = ["flatten", "gap", "hidden"]


def layer_maps(net: nn.Sequential, x: Tensor, c: list[int], layers: list[int], output: str, mu: float) -> list[Tensor]:
    """Each layer's maps (n, *spatial) by the slow form; gradients by autograd on the part that follows the layer."""
    found = []
    for layer in layers:
        A = net[: layer + 1](x).detach().requires_grad_()
        logits = net[layer + 1 :](A)
        scores = logits.softmax(1) if output == "probability" else logits
        (g,) = torch.autograd.grad(scores[range(len(x)), c].sum(), A)
        samples = zip(x, c, A.detach(), g, strict=True)
        found.append(torch.stack([slow_cam.sise_layer(net, one, i, a, b, output, mu) for one, i, a, b in samples]))
    return found


@pytest.mark.parametrize("mu", [0.0, 0.6])
@pytest.mark.parametrize("output", ["logit", "probability"])
@pytest.mark.parametrize("rank", RANKS)
def test_sise_is_the_papers_four_steps(rank: int, output: str, mu: float) -> None:
    net, x = h.conv_net(rank, "hidden", seed=2).eval(), h.batch(2, rank)
    first, last = layer_maps(net, x, [2, 1], [1, 5], output, mu)
    expected = torch.stack([slow_cam.sise_fused(pair) for pair in zip(first, last, strict=True)])
    a = explain(net, x, [2, 1], "sise", output=output, mu=mu)
    assert a.options["layers"] == ["1", "5"]
    torch.testing.assert_close(a.values[:, 0], expected, atol=1e-15, rtol=1e-11)  # float64 rounding
    assert a.map.abs().max() > 0
    assert (a.map == 0).any()


def toy() -> nn.Sequential:
    """Two layers of one channel each on four positions, and a sum: y = 2 (x1 + x2) + 2 (x3 + x4), for x >= 0."""
    net = nn.Sequential(
        nn.Conv1d(1, 1, 1), nn.ReLU(), nn.AvgPool1d(2), nn.Conv1d(1, 1, 1), nn.ReLU(), nn.Flatten(), nn.Linear(2, 1)
    )
    values = [[[[1.0]]], [0.0], [[[2.0]]], [0.0], [[2.0, 2.0]], [0.0]]
    for p, value in zip(net.parameters(), values, strict=True):
        p.data.copy_(torch.tensor(value))
    return net.double()


def test_sise_of_two_layers_by_hand() -> None:
    net, x = toy(), torch.tensor([[[0.0, 1.0, 2.0, 4.0]]], dtype=torch.float64)
    assert net(x).tolist() == [[14.0]]
    # First layer: m = x / 4, y(x m) = 2 (0 + 1 + 4 + 16) / 4 = 10.5, shared out as (0, 1, 2, 4) / 7.
    first = explain(net, x, 0, "sise", layers=["1"], output="logit").values
    torch.testing.assert_close(first, torch.tensor([[[0.0, 1.5, 3.0, 6.0]]]).double(), atol=1e-15, rtol=0.0)
    # Second: its map (1, 6) resized by centres is (1, 2.25, 4.75, 6), so m = (0, .25, .75, 1);
    # y(x m) = 2 (0 + .25 + 1.5 + 4) = 11.5, shared out as (0, 1, 3, 4) / 8.
    second = explain(net, x, 0, "sise", layers=["4"], output="logit").values
    torch.testing.assert_close(second, torch.tensor([[[0.0, 1.4375, 4.3125, 5.75]]]).double(), atol=1e-15, rtol=0.0)
    # Otsu splits (0, 1.4375 | 4.3125, 5.75): the fine map's first half goes.
    both = explain(net, x, 0, "sise", output="logit")
    assert both.options["layers"] == ["1", "4"]
    torch.testing.assert_close(both.values, torch.tensor([[[0.0, 0.0, 7.3125, 11.75]]]).double(), atol=1e-15, rtol=0.0)


@pytest.mark.parametrize("output", ["logit", "probability"])
@pytest.mark.parametrize("layer", ["1", "5"])
def test_the_map_of_one_layer_sums_to_the_mean_score_of_its_masks(layer: str, output: str) -> None:
    net, x = h.conv_net(2, "gap", seed=3).eval(), h.batch(1)
    scores: list[Tensor] = []
    net.register_forward_hook(lambda _, __, s: scores.append(s.detach()))
    found = explain(net, x, 1, "sise", layers=[layer], output=output).values
    masked = torch.cat(scores[2:])  # a sample to look at, one for the gradient
    values = masked.softmax(1)[:, 1] if output == "probability" else masked[:, 1]
    assert 1 <= len(values) <= 5
    torch.testing.assert_close(found.sum(), values.mean(), atol=1e-15, rtol=1e-12)  # float64 rounding


def test_masks_are_the_models_own_maps_between_nothing_and_the_input() -> None:
    net, x = h.conv_net(2, "gap", seed=3).eval(), torch.ones(1, h.CHANNELS, *h.SPATIAL[2], dtype=torch.float64)
    x += torch.rand(x.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    seen: list[Tensor] = []
    net.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].detach()))
    explain(net, x, 1, "sise", layers=["1"])
    masks = torch.cat(seen[2:]) / x
    assert torch.equal(masks.amin((1, 2, 3)), torch.zeros(len(masks), dtype=torch.float64))
    torch.testing.assert_close(masks.amax((1, 2, 3)), torch.ones(len(masks)).double(), atol=1e-15, rtol=0.0)  # rounding
    torch.testing.assert_close(masks[:, 0], masks[:, 1], atol=1e-15, rtol=0.0)  # one mask for all channels


def test_a_larger_mu_keeps_fewer_feature_maps() -> None:
    net, x, counts = h.conv_net(2, "hidden", seed=2), h.batch(1), []
    for mu in (0.0, 0.5, 0.99):
        rows: list[int] = []
        handle = net.register_forward_hook(lambda _, inputs, __, rows=rows: rows.append(len(inputs[0])))
        explain(net, x, 1, "sise", layers=["1", "5"], mu=mu)
        handle.remove()
        counts.append(sum(rows) - 3)
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[-1] == 2  # the one with the largest gradient, in each layer


def test_what_the_last_layer_does_not_light_up_is_zero() -> None:
    net, x = h.conv_net(2, "gap", seed=3), h.batch(3)
    last = explain(net, x, 1, "sise", layers=["5"]).map
    fused = explain(net, x, 1, "sise").map
    for one, both in zip(last, fused, strict=True):
        high = one > threshold_otsu(one.numpy())
        assert high.any()
        assert not high.all()
        assert torch.equal(both != 0, high)
        assert (both[high] >= one[high]).all()


def test_a_class_that_no_feature_map_speaks_for_gets_nothing() -> None:
    net, x = h.conv_net(2, "gap").eval(), h.batch(2)
    with torch.no_grad():
        net[-1].weight[1] = -1.0
    assert not explain(net, x, 1, "sise", layers=["5"], output="logit").values.any()
    assert not explain(net, x, 1, "sise", output="logit").values.any()


def test_a_feature_map_that_the_class_ignores_is_not_kept() -> None:
    net, x, rows = h.conv_net(2, "gap", seed=3).eval(), h.batch(1), list[int]()
    with torch.no_grad():
        net[-1].weight[1] = torch.tensor([1.0, 0.0, 0.0, 0.0, 0.0])
    net.register_forward_hook(lambda _, inputs, __: rows.append(len(inputs[0])))
    explain(net, x, 1, "sise", layers=["5"], output="logit")
    assert rows == [1, 1, 1]  # a look, the gradient, one mask


def test_feature_maps_that_are_constant_make_no_mask() -> None:
    net, x = h.conv_net(2, "gap", seed=3).eval(), h.batch(2)
    with torch.no_grad():
        net[4].weight[:4] = 0.0  # four constant channels, the fourth of which the class loves
        net[4].bias[:4] = 1.0
        net[-1].weight[2] = torch.tensor([0.0, 0.0, 0.0, 9.0, 1.0])
    alone = explain(net, x, 2, "sise", layers=["5"]).values
    with torch.no_grad():
        net[-1].weight[2, 3] = 0.0
        net[-1].bias[2] += 9.0
    torch.testing.assert_close(explain(net, x, 2, "sise", layers=["5"]).values, alone, atol=1e-15, rtol=1e-12)


@given(
    seed=st.integers(0, 10**6),
    rank=st.sampled_from(RANKS),
    head=st.sampled_from(HEADS),
    output=st.sampled_from(["logit", "probability"]),
)
@settings(deadline=None, max_examples=20)
def test_each_layers_map_is_that_of_the_slow_form_on_any_net(seed: int, rank: int, head: str, output: str) -> None:
    net, x = h.conv_net(rank, head, seed).eval(), h.batch(2, rank, seed)
    for layer, expected in zip((1, 5), layer_maps(net, x, [3, 0], [1, 5], output, 0.0), strict=True):
        found = explain(net, x, [3, 0], "sise", layers=[str(layer)], output=output).values[:, 0]
        torch.testing.assert_close(found, expected, atol=1e-14, rtol=1e-10)  # float64 rounding


@given(values=st.lists(st.integers(-50, 50), min_size=2, max_size=40).filter(lambda v: len(set(v)) > 1))
@settings(deadline=None, max_examples=25)
def test_the_slow_cut_is_scikit_images(values: list[int]) -> None:
    x = torch.tensor(values, dtype=torch.float64)
    ours, theirs = slow_cam.otsu_cut(values), float(threshold_otsu(x.numpy()))
    assert torch.equal(x > ours, x > theirs)


@pytest.mark.parametrize("mu", [-0.1, 1, 1.5, float("nan"), True, "0"])
def test_mu_is_a_share(mu: Any) -> None:
    with h.fails(OptionError, "sise: `mu` must be a number from 0 to below 1", repr(mu)):
        explain(h.conv_net(), h.batch(), 1, "sise", mu=mu)


# Which layers


def ends(model: nn.Module, x: Tensor) -> list[str]:
    return block_ends(model, observe(model.eval(), x, "test", samples=1), "test")


def conv(a: int, b: int, **options: Any) -> list[nn.Module]:
    return [nn.Conv2d(a, b, 3, **{"padding": 1, **options}), nn.ReLU()]


@pytest.mark.parametrize("rank", RANKS)
def test_blocks_end_before_pooling_and_before_the_head(rank: int) -> None:
    assert ends(h.conv_net(rank, "flatten"), h.batch(1, rank)) == ["1", "5"]
    assert ends(h.conv_net(rank, "gap"), h.batch(1, rank)) == ["1", "5"]


def test_blocks_of_several_convolutions_end_with_the_last() -> None:
    layers = [*conv(1, 2), *conv(2, 2), nn.MaxPool2d(2), *conv(2, 3), *conv(3, 3), nn.AdaptiveAvgPool2d(1)]
    assert ends(nn.Sequential(*layers, nn.Flatten(), nn.Linear(3, 2)), torch.randn(1, 1, 16, 16)) == ["3", "8"]


def test_a_stride_ends_a_block_as_pooling_does() -> None:
    layers = [*conv(1, 2), *conv(2, 2, stride=2), *conv(2, 2), *conv(2, 2, stride=2), nn.Flatten(), nn.Linear(32, 2)]
    assert ends(nn.Sequential(*layers), torch.randn(1, 1, 16, 16)) == ["1", "5", "7"]


def test_a_border_that_is_trimmed_ends_none() -> None:
    layers = [*conv(1, 2, padding=0), *conv(2, 2, padding=0), nn.AvgPool2d(2), *conv(2, 2, padding=0), h.Mean()]
    assert ends(nn.Sequential(*layers, nn.Linear(2, 2)), torch.randn(1, 1, 32, 32)) == ["3", "6"]


def test_pooling_that_enlarges_before_the_head_is_no_block() -> None:
    # As VGG and AlexNet do with small images: pooled to 2 x 2, then blown up to the 4 x 4 that the head wants.
    layers = [*conv(1, 2), nn.MaxPool2d(2), *conv(2, 2), nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(4)]
    assert ends(nn.Sequential(*layers, nn.Flatten(), nn.Linear(32, 2)), torch.randn(1, 1, 8, 8)) == ["1", "4"]


def test_dropout_and_containers_give_the_layer_its_own_name() -> None:
    net = nn.Sequential(
        nn.Sequential(*conv(1, 2), nn.Dropout2d(0.5)), nn.MaxPool2d(2), *conv(2, 2), h.Mean(), nn.Linear(2, 2)
    )
    assert ends(net, torch.randn(1, 1, 8, 8)) == ["0.1", "3"]


class Residual(nn.Module):
    """Two blocks: the second halves the size in its second convolution, past which a shortcut goes."""

    def __init__(self, by_function: bool = False) -> None:
        super().__init__()
        self.stem, self.block = nn.Sequential(*conv(h.CHANNELS, 4)), h.Block(4, by_function)
        self.small, self.stride, self.short = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 3, 2, 1), nn.Conv2d(4, 4, 1, 2)
        self.relu, self.fc = nn.ReLU(), nn.Linear(4, h.CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        h_ = self.block(self.stem(x))
        branch = self.stride(self.relu(self.small(h_)))
        return self.fc(self.relu(branch + self.short(h_)).mean((2, 3)))


@pytest.mark.parametrize("by_function", [False, True])
def test_one_branch_of_several_is_no_end(by_function: bool) -> None:
    # "relu#1" comes later at the first size, and the shortcut goes past it.
    model = Residual(by_function).double()
    assert ends(model, h.batch(1)) == ["block", "relu#2"]
    assert explain(model, h.batch(), 1, "sise").options["layers"] == ["block", "relu#2"]


def test_branches_at_two_sizes_do_not_split_a_block() -> None:
    class Reduction(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Sequential(*conv(1, 2))
            self.a, self.b1, self.b2 = nn.Conv2d(2, 2, 3, 2, 1), nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 3, 2, 1)
            self.join, self.fc = nn.Sequential(nn.Conv2d(4, 2, 1), nn.ReLU()), nn.Linear(2, 2)

        def forward(self, x: Tensor) -> Tensor:
            A = self.first(x)
            return self.fc(self.join(torch.cat([self.a(A), self.b2(self.b1(A))], 1)).mean((2, 3)))

    assert ends(Reduction(), torch.randn(1, 1, 16, 16)) == ["first.1", "join.1"]


def test_a_detour_through_a_smaller_size_does_not_end_a_block() -> None:
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.gate = nn.Sequential(*conv(1, 2)), nn.Sequential(*conv(2, 2))
            self.second, self.third = nn.Sequential(*conv(2, 2)), nn.Sequential(*conv(2, 2))
            self.fc = nn.Linear(2, 2)

        def forward(self, x: Tensor) -> Tensor:
            A = self.first(x)
            A = A * functional.interpolate(self.gate(functional.max_pool2d(A, 2)), scale_factor=2.0)
            return self.fc(self.third(functional.max_pool2d(self.second(A), 2)).mean((2, 3)))

    assert ends(Gated(), torch.randn(1, 1, 16, 16)) == ["second.1", "third.1"]


def test_an_activation_that_is_a_function_is_refused_by_name() -> None:
    with h.fails(ModelError, "sise: the last activation of each block must be a module's output", "after 'conv2'"):
        explain(h.Functional().double(), h.batch(), 1, "sise")
    assert explain(h.Functional().double(), h.batch(), 1, "sise", layers=["relu1"]).values.shape == (3, 1, 8, 6)


class Tokens(nn.Module):
    """Patches, then nothing that a convolution made."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(6, 5), nn.Linear(5, h.CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(functional.relu(self.fc1(x)).mean((1, 2)))


@pytest.mark.parametrize("model", [Tokens(), h.Branches()])
def test_a_model_without_a_block_is_refused(model: nn.Module) -> None:
    with h.fails(ModelError, "sise: the default layers must be the last of each block", "Try naming them"):
        explain(model.double(), h.batch(), 1, "sise")


def test_layers_can_be_named_or_given_as_modules() -> None:
    net, x = h.conv_net(2, "gap", seed=3), h.batch()
    default = explain(net, x, 1, "sise")
    assert default.values.any()
    for layers in (["1", "5"], [net[1], net[5]], (net[1], "5")):
        found = explain(net, x, 1, "sise", layers=layers)
        assert torch.equal(found.values, default.values)
        assert found.options["layers"] == ["1", "5"]
    assert explain(net, x, 2, "sise", layers="5").options["layers"] == ["5"]


def test_layers_that_are_no_list_of_layers_are_refused() -> None:
    net, x = h.conv_net(), h.batch()
    for wrong in ([], 3, {"5"}):
        with h.fails(OptionError, "sise: `layers` must be a list of at least one layer"):
            explain(net, x, 1, "sise", layers=wrong)
    with h.fails(OptionError, "sise: unknown layer '55'"):
        explain(net, x, 1, "sise", layers=["1", "55"])
    with h.fails(ModelError, "sise: layer '6' must have spatial axes"):
        explain(net, x, 1, "sise", layers=["6"])


def test_the_bar_counts_masks(capsys: pytest.CaptureFixture[str]) -> None:
    explain(h.conv_net(2, "gap", seed=3), h.batch(), 2, "sise", progress=True)
    assert "mask" in capsys.readouterr().err
