"""The nets of the evaluation: their sizes, names and starting weights, by hand where that is possible."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from xaiteach import data, explain, models
from xaiteach.errors import OptionError

PACKAGED = ("convnet1d", "vgg64_narrow", "vgg64_narrow_scenes")


def size(net):
    return sum(p.numel() for p in net.parameters())


def kinds(net, kind):
    return [name for name, module in net.named_modules() if isinstance(module, kind)]


def test_convnet1d_has_the_assignments_parameters():
    net = models.build("convnet1d", 0)
    assert size(net) == 25 * 5 + 25 + 2 * (25 * 25 * 3 + 25) + 1000 * 10 + 10 == 13_960
    assert net[:6](torch.zeros(2, 1, 40)).shape == (2, 25, 40)
    assert kinds(net, nn.Conv1d) == ["conv1", "conv2", "conv3"]


def test_convnet1ds_dense_layer_starts_at_half_a_standard_deviation():
    weight = models.build("convnet1d", 0).classifier.weight
    # Standard error of an SD over 10,000 draws: 0.5 / sqrt(20,000); four of them. The L2 bill is 5e-4 x 10,000 / 4.
    assert float(weight.detach().std()) == pytest.approx(0.5, abs=4 * 0.5 / math.sqrt(20_000))


@pytest.mark.parametrize("name", ["convnet1d", "vgg64_narrow", "digits_cnn"])
def test_a_slice_of_a_net_is_its_layers(name):
    net = models.build(name, 0)
    x = torch.rand(1, *models.card(name).input_shape, generator=torch.Generator().manual_seed(0))
    for cut in (1, 5, -2):
        assert torch.equal(net[cut:](net[:cut](x)), net(x))
    assert net[0] is net.conv1


def test_full_vgg_is_the_theses_net():
    net = models.vgg64()
    convolutions = [getattr(net, f"conv{i}") for i in range(1, 11)]
    assert [c.out_channels for c in convolutions] == [64, 64, 128, 128, 256, 256, 256, 512, 512, 512]
    assert {(c.kernel_size, c.padding, c.stride) for c in convolutions} == {((3, 3), (1, 1), (1, 1))}
    assert [(net.fc1.in_features, net.fc1.out_features), net.fc2.out_features, net.fc3.out_features] == [
        (512 * 4 * 4, 2048),
        2048,
        200,
    ]
    names = list(dict(net.named_children()))
    for i in range(1, 11):
        assert names[names.index(f"conv{i}") :][1:3] == [f"norm{i}", f"relu{i}"]
    for i, last in enumerate((2, 4, 7, 10), start=1):
        assert names[names.index(f"relu{last}") :][1:3] == [f"pool{i}", f"drop{i}"]
    assert [net.drop1.p, net.drop4.p, net.fc_drop1.p, net.fc_drop2.p] == [0.25, 0.25, 0.5, 0.5]


def test_full_vgg_costs_what_the_sweep_is_planned_for():
    # Two operations per multiply-add, by the formula: sides 64, 32, 16, 8.
    net, total = models.vgg64(), 0
    sides = [64] * 2 + [32] * 2 + [16] * 3 + [8] * 3
    for i, side in enumerate(sides, start=1):
        conv = getattr(net, f"conv{i}")
        total += 2 * conv.in_channels * conv.out_channels * 9 * side**2
    total += sum(2 * getattr(net, f"fc{i}").weight.numel() for i in (1, 2, 3))
    assert total / 1e9 == pytest.approx(2.32, abs=0.01)


def test_narrow_vggs_scale_every_layer():
    net = models.vgg64(width=1 / 8, classes=7)
    assert [net.conv1.out_channels, net.conv10.out_channels, net.fc1.out_features] == [8, 64, 256]
    assert (models.vgg64(width=1e-6, classes=2).conv10.out_channels, net.fc3.out_features) == (1, 7)
    assert models.build("vgg64_narrow", 0).fc1.out_features == 128


def test_vgg_without_batch_norm_has_none():
    net = models.vgg64(width=1 / 16, batch_norm=False)
    assert kinds(net, nn.modules.batchnorm._BatchNorm) == []
    assert len(kinds(models.vgg64(width=1 / 16), nn.modules.batchnorm._BatchNorm)) == 12


@pytest.mark.parametrize("wrong", [{"width": 0}, {"classes": 0}, {"dense": 0}])
def test_vggs_of_nothing_are_refused(wrong):
    with pytest.raises(OptionError, match="vgg64: `width` must be above 0"):
        models.vgg64(**wrong)


def test_weights_start_by_he_and_biases_at_zero():
    net = models.vgg64(width=1 / 4, classes=10, seed=3)
    for name, parameter in net.named_parameters():
        if name.startswith(("conv", "fc1", "fc2")) and name.endswith("weight") and parameter.ndim > 1:
            fan_in = parameter[0].numel()
            # Four standard errors of an SD over that many draws.
            tolerance = 4 / math.sqrt(2 * parameter.numel())
            assert float(parameter.detach().std()) * math.sqrt(fan_in / 2) == pytest.approx(1, abs=tolerance)
        elif name.endswith("bias"):
            assert not parameter.any()
    assert torch.equal(net.norm1.running_var, torch.ones(16))
    assert torch.equal(net.norm1.running_mean, torch.zeros(16))
    assert int(net.norm1.num_batches_tracked) == 0


def test_vgg64_draws_by_its_seed_and_not_from_the_global_state():
    state = torch.get_rng_state()
    a, b, c = (models.vgg64(width=1 / 16, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(a.fc3.weight, b.fc3.weight)
    assert not torch.equal(a.fc3.weight, c.fc3.weight)


def test_digits_cnn_has_seven_convolutions_of_the_replicas_widths():
    net, normed = models.build("digits_cnn", 0), models.build("digits_cnn_norm", 0)
    widths = [16, 16, 32, 32, 64, 64, 64]
    assert [getattr(net, f"conv{i}").out_channels for i in range(1, 8)] == widths
    assert (net.fc1.in_features, kinds(net, nn.BatchNorm2d)) == (64 * 4 * 4, [])
    assert kinds(normed, nn.BatchNorm2d) == [f"norm{i}" for i in range(1, 8)]


def test_class_names_of_scenes_and_objects_are_those_of_the_data():
    d = data.scenes("test", n=1)
    assert models.card("vgg64_narrow").class_names == d.object_names
    assert models.card("vgg64_narrow_scenes").class_names == d.scene_names


METHODS = ("saliency", "hirescam", "guided_backprop", "lrp_alpha_beta", "deeplift", "rap", "lrp_epsilon")
LAST = {"convnet1d": "relu3", "vgg64_narrow": "relu10", "digits_cnn_norm": "relu7"}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["convnet1d", "vgg64_narrow", "digits_cnn_norm"])
def test_methods_with_hooks_and_rules_take_the_nets(name, method):
    net = models.build(name, 0)
    x = torch.rand(2, *models.card(name).input_shape, generator=torch.Generator().manual_seed(0))
    found = explain(net, x, target=1, method=method, **({"layer": LAST[name]} if method == "hirescam" else {}))
    assert torch.isfinite(found.values).all()
    assert found.values.abs().amax() > 0
