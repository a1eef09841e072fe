"""Running order: the default layer, and ReLUs that are functions."""

from __future__ import annotations

import helpers_attribution as h
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from xaiteach.attribution.layers import capture, functional_relus, last_activation, observe, require_relu_modules
from xaiteach.errors import ModelError, ShapeError


def default_layer(net: nn.Module, x: Tensor | None = None) -> str:
    net = net.double().eval()
    return last_activation(observe(net, h.batch(1) if x is None else x, "grad_cam"), "grad_cam")


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_default_layer_is_the_relu_after_the_last_convolution(rank: int) -> None:
    assert default_layer(h.conv_net(rank), h.batch(1, rank)) == "5"


def test_default_layer_follows_the_run_not_the_registration() -> None:
    class Backwards(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(3, h.CLASSES)
            self.relu2, self.conv2 = nn.ReLU(), nn.Conv2d(3, 3, 3)
            self.relu1, self.conv1 = nn.ReLU(), nn.Conv2d(h.CHANNELS, 3, 3)
            self.unused = nn.Conv2d(3, 3, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.relu2(self.conv2(self.relu1(self.conv1(x)))).mean((2, 3)))

    assert default_layer(Backwards()) == "relu2"


@pytest.mark.parametrize("inplace", [True, False])
def test_default_layer_of_a_reused_relu_names_the_call(inplace: bool) -> None:
    assert default_layer(h.Reused(inplace)) == "relu#2"


@pytest.mark.parametrize("functional", [True, False])
def test_default_layer_after_a_residual_sum_is_the_block(functional: bool) -> None:
    k = h.CHANNELS
    net = nn.Sequential(h.Block(k, functional), h.Block(k, functional), h.Mean(), nn.Linear(k, h.CLASSES))
    assert default_layer(net) == "1"


@pytest.mark.parametrize("activation", [nn.GELU(), nn.SiLU(), nn.LeakyReLU(), nn.ReLU6(), nn.Tanh(), nn.PReLU()])
def test_default_layer_may_be_another_activation(activation: nn.Module) -> None:
    net = h.conv_net()
    net[5] = activation
    assert default_layer(net) == "5"


def test_dropout_between_convolution_and_relu_is_no_obstacle() -> None:
    net = h.conv_net()
    net[4] = nn.Dropout(0.5)
    assert default_layer(net) == "5"


def test_a_functional_relu_names_the_convolution_and_the_way_out() -> None:
    with h.fails(ModelError, "'conv2'", "by a function (Relu)", "self.relu = nn.ReLU()"):
        default_layer(h.Functional())


def test_a_model_without_convolution_is_refused() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(96, 5), nn.ReLU(), nn.Linear(5, h.CLASSES))
    with h.fails(ModelError, "no convolution", "layer='...'"):
        default_layer(net)


def test_a_convolution_without_activation_is_offered_itself() -> None:
    net = nn.Sequential(nn.Conv2d(h.CHANNELS, 3, 3), h.Mean(), nn.Linear(3, h.CLASSES))
    with h.fails(ModelError, "none follows '0'", "Try layer='0'"):
        default_layer(net)


def test_pooling_before_the_relu_leaves_no_default() -> None:
    net = nn.Sequential(nn.Conv2d(h.CHANNELS, 3, 3), nn.MaxPool2d(2), nn.ReLU(), h.Mean(), nn.Linear(3, h.CLASSES))
    with h.fails(ModelError, "none follows '0' directly"):
        default_layer(net)


def test_parallel_branches_leave_no_default() -> None:
    with h.fails(ModelError, "'right.0'", "'left.0' reaches the scores past it", "joins the branches"):
        default_layer(h.Branches())


def test_functional_relus_are_found_by_the_layer_before_them() -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.conv2, self.relu = nn.Conv2d(h.CHANNELS, 3, 3), nn.Conv2d(3, 3, 3), nn.ReLU()
            self.fc = nn.Linear(3, h.CLASSES)

        def forward(self, x: Tensor) -> Tensor:
            A = functional.relu(self.conv2(self.relu(functional.relu(self.conv1(torch.relu(x))) - 0.1)))
            return self.fc(A.mean((2, 3)))

    seen = observe(Mixed().double(), h.batch(1), "guided_backprop")
    assert functional_relus(seen) == ("the input", "conv1", "conv2")
    with h.fails(ModelError, "3 are functions", "'conv1', 'conv2'", "self.relu1 = nn.ReLU()"):
        require_relu_modules(seen, "guided_backprop")


@pytest.mark.parametrize("net", [h.conv_net(head="hidden"), h.Reused(True), h.Reused(False)])
def test_relu_modules_pass_also_in_place_and_reused(net: nn.Module) -> None:
    require_relu_modules(observe(net.double(), h.batch(1), "guided_backprop"), "guided_backprop")


def test_a_convolution_names_itself_when_the_rank_is_wrong() -> None:
    with h.fails(ShapeError, "layer '0' takes (n, 2, height, width)", "(2, 8, 6)", "x[None]"):
        observe(h.conv_net(), h.batch(1)[0], "grad_cam")


def test_a_missing_channel_axis_is_told_where_to_go() -> None:
    with h.fails(ShapeError, "x[:, None]"):
        observe(nn.Sequential(nn.Conv2d(1, 2, 3)), torch.zeros(5, 8, 8), "grad_cam")


def test_a_convolution_names_itself_when_the_channels_are_wrong() -> None:
    with h.fails(ShapeError, "layer '0' takes (n, 2, height, width)", "(1, 3, 8, 6)", "2 channel(s), on axis 1"):
        observe(h.conv_net(), torch.zeros(1, 3, 8, 6, dtype=torch.float64), "grad_cam")


def test_a_convolution_names_itself_when_the_axes_are_too_many() -> None:
    with h.fails(ShapeError, "an input with 4 axes"):
        observe(h.conv_net(), torch.zeros(1, 1, 2, 8, 6, dtype=torch.float64), "grad_cam")


def test_a_dense_layer_names_itself_when_the_image_has_another_size() -> None:
    with h.fails(ShapeError, "layer '7' takes 60 features", "(1, 2, 16, 12)", "gets (1, 240)"):
        observe(h.conv_net(), torch.zeros(1, 2, 16, 12, dtype=torch.float64), "grad_cam")


def test_saved_bytes_grow_with_the_batch() -> None:
    one, four = (observe(h.conv_net(), h.batch(n), "grad_cam").saved_bytes for n in (1, 4))
    assert one > 0
    assert one * 3 < four <= one * 4 + 1000


def test_observing_alone_removes_its_hooks_also_after_an_error() -> None:
    net = h.conv_net().eval()
    before = h.Snapshot(net)
    observe(net, h.batch(1), "grad_cam")
    assert before.changes() == []
    with pytest.raises(ShapeError):
        observe(net, h.batch(1)[:, :1], "grad_cam")
    assert before.changes() == []


def test_capturing_alone_removes_its_hook_also_after_an_error() -> None:
    net = h.conv_net().eval()
    before = h.Snapshot(net)
    with pytest.raises(h.BoomError), capture(net, "5", "grad_cam"):
        raise h.BoomError
    assert before.changes() == []
