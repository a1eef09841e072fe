"""DeconvNet, guided backprop, RectGrad: against loops from the papers, zennit, Captum, and by hand."""

from __future__ import annotations

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
from reference import slow_backprop as slow
from torch import Tensor, nn
from torch.nn import functional

from xaiteach import explain
from xaiteach.errors import ModelError, OptionError

D = torch.float64
METHODS = ["deconvnet", "guided_backprop", "rectgrad"]
ORACLES = {"deconvnet": "Deconvolution", "guided_backprop": "GuidedBackprop"}


def captums(net: nn.Module, x: Tensor, target: Any, kind: str) -> Tensor:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Setting (forward, )?backward hooks|Input Tensor")
        found: Tensor = getattr(captum.attr, kind)(net).attribute(x.clone().requires_grad_(), target=target)
    return found.detach()


def seeded(make: Callable[[], nn.Module], seed: int = 0) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make().to(D).eval()


def two_layers(W: list[list[float]], V: list[list[float]]) -> nn.Sequential:
    """V ReLU(W x), with one row of V for each class."""
    net = nn.Sequential(nn.Linear(len(W[0]), len(W), bias=False), nn.ReLU(), nn.Linear(len(W), len(V), bias=False)).to(
        D
    )
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor(W))
        net[2].weight.copy_(torch.tensor(V))
    return net


# By hand


def test_the_four_rules_differ_unit_by_unit() -> None:
    # z = (3, -1, 2, -4), and 1, 5, -2, -3 come back: on and for, off and for, on and against, off and against.
    net = two_layers([[3.0], [-1.0], [2.0], [-4.0]], [[0.0] * 4, [1.0, 5.0, -2.0, -3.0]])
    x = torch.ones(1, 1, dtype=D)
    arrives = {method: float(explain(net, x, 1, method).values) for method in ("saliency", "deconvnet")}
    assert arrives == {"saliency": 3.0 * 1 - 2 * 2, "deconvnet": 3.0 * 1 - 1 * 5}
    assert float(explain(net, x, 1, "guided_backprop").values) == 3.0
    assert float(explain(net, x, 1, "rectgrad", tau=2.5).values) == 3.0  # a g = 3, 0, -4, 0
    assert float(explain(net, x, 1, "rectgrad", tau=3.0).values) == 0.0  # it must exceed


def test_captums_deconvnet_is_no_hybrid_of_mask_and_sign() -> None:
    # A thesis says it is. Unit 1 is off and in favour: with a mask nothing of it would come back.
    net = two_layers([[3.0], [-1.0]], [[0.0, 0.0], [1.0, 5.0]])
    x = torch.ones(1, 1, dtype=D)
    assert captums(net, x, 1, "Deconvolution").tolist() == [[3.0 - 5.0]]
    assert explain(net, x, 1, "deconvnet").values.tolist() == [[3.0 - 5.0]]
    assert captums(net, x, 1, "GuidedBackprop").tolist() == [[3.0]]  # this one has mask and sign


def test_rectgrad_lets_units_through_that_are_off_where_its_quantile_is_negative() -> None:
    # a g = -4, -6, 0: the paper's inequality, taken at its word; of a unit that is off a g = 0 exceeds the median, -4.
    net = two_layers([[2.0], [3.0], [-1.0]], [[0.0] * 3, [-2.0, -2.0, -5.0]])
    assert explain(net, torch.ones(1, 1, dtype=D), 1, "rectgrad", quantile=0.5).values.tolist() == [[5.0]]


# Written out as loops


def conv_steps(seed: int) -> list[nn.Module]:
    def make() -> nn.Module:
        layers = [nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(3, 4, 2), nn.ReLU()]
        layers += [nn.AvgPool2d((1, 2)), nn.Flatten(), nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)]
        return nn.Sequential(*layers)

    return list(seeded(make, seed))


def images(seed: int, n: int = 2) -> Tensor:
    return torch.randn(n, 2, 4, 6, dtype=D, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("output", ["logit", "probability"])
@pytest.mark.parametrize(
    ("method", "options", "rule"),
    [
        ("deconvnet", {}, slow.deconvnet),
        ("guided_backprop", {}, slow.guided),
        ("rectgrad", {}, slow.rectified(0.98)),
        ("rectgrad", {"quantile": 0.5}, slow.rectified(0.5)),
        ("rectgrad", {"quantile": 0}, slow.rectified(0.0)),
        ("rectgrad", {"tau": 2e-4}, slow.rectified(tau=2e-4)),
    ],
)
def test_rules_are_those_of_the_papers(method: str, options: dict[str, Any], rule: slow.Rule, output: str) -> None:
    steps, x = conv_steps(3), images(3)
    loop = slow.rectgrad if method == "rectgrad" else slow.backward
    expected = torch.stack([loop(steps, s, c, rule, output) for s, c in zip(x, (2, 1), strict=True)])
    assert float(expected.abs().max()) > 1e-4
    found = explain(nn.Sequential(*steps), x, [2, 1], method, output=output, **options).values
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-14)  # rounding of sums of some 50 terms


@pytest.mark.parametrize("q", [0.0, 0.3, 0.5, 0.75, 0.98])
def test_rectgrads_threshold_is_numpys_quantile_of_each_sample(q: float) -> None:
    x = torch.randn(4, 25, dtype=D, generator=torch.Generator().manual_seed(2)) * torch.tensor([[1.0], [9], [0.1], [2]])
    net = seeded(lambda: nn.Sequential(nn.ReLU(), nn.Linear(25, 2)))
    importance = (x.relu() * net[1].weight[1]).detach().numpy()
    kept = importance > np.quantile(importance, q, axis=1, keepdims=True)
    expected = (x * net[1].weight[1] * torch.as_tensor(kept)).relu().detach()
    assert torch.equal(explain(net, x, 1, "rectgrad", quantile=q).values, expected)


def test_each_sample_has_its_own_threshold() -> None:
    net, x = h.conv_net(2, "hidden"), h.batch(4) * torch.tensor([1.0, 10, 0.1, 3], dtype=D).reshape(-1, 1, 1, 1)
    whole = explain(net, x, h.targets(4), "rectgrad", quantile=0.7).values
    single = [explain(net, x[i : i + 1], int(c), "rectgrad", quantile=0.7).values for i, c in enumerate(h.targets(4))]
    torch.testing.assert_close(whole, torch.cat(single), rtol=1e-12, atol=1e-14)  # rounding


# Other people's libraries


@pytest.mark.parametrize("head", ["flatten", "gap", "hidden"])
@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("method", ORACLES)
def test_rules_are_zennits_and_captums_bit_for_bit(method: str, rank: int, head: str) -> None:
    net, x, c = h.conv_net(rank, head).eval(), h.batch(3, rank), h.targets()
    found = explain(net, x, c, method).values
    composite = {"deconvnet": "DeconvNet", "guided_backprop": "GuidedBackprop"}[method]
    assert torch.equal(found, o.zennit_backprop(net, x, c, composite))
    assert torch.equal(found, captums(net, x, c, ORACLES[method]))


class Deconv(torch.autograd.Function):
    @staticmethod
    def forward(_: Any, z: Tensor) -> Tensor:
        return z.relu()

    @staticmethod
    def backward(_: Any, g: Tensor) -> Tensor:
        return g.relu()


class Guided(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        ctx.on = z > 0
        return z.relu()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return g.relu() * ctx.on


OWN = {"deconvnet": Deconv, "guided_backprop": Guided}


class Mixed(nn.Module):
    """Layer norm, a residual sum, a concatenation, a maximum over an axis, a product; a ReLU beside other branches."""

    def __init__(self, relu: Callable[[Tensor], Tensor] | None = None) -> None:
        super().__init__()
        self.one, self.two, self.fc = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(20, 3)
        self.norm = nn.LayerNorm(8)
        self.relu, self.relu2 = (nn.ReLU(), nn.ReLU()) if relu is None else (relu, relu)

    def forward(self, x: Tensor) -> Tensor:
        z = self.relu(self.norm(self.one(x)))
        z = z + self.two(z)
        return self.fc(torch.cat([self.relu2(z), z.reshape(-1, 4, 2).max(2).values, z * z], 1))


@pytest.mark.parametrize("method", OWN)
def test_other_operations_keep_their_own_derivative(method: str) -> None:
    net, x, c = seeded(Mixed), vectors(), torch.tensor([0, 1, 2, 1])
    leaf = x.clone().requires_grad_()
    logits = seeded(lambda: Mixed(OWN[method].apply))(leaf)
    (expected,) = torch.autograd.grad(logits.gather(1, c[:, None]).sum(), leaf)
    assert torch.equal(explain(net, x, c, method).values, expected)
    # Captum hooks the tensor that goes into the ReLU, and so changes what comes back from the other branches, too.
    assert float((captums(net, x, c, ORACLES[method]) - expected).abs().max()) > 0.1 * float(expected.abs().max())


def vectors() -> Tensor:
    return torch.randn(4, 6, dtype=D, generator=torch.Generator().manual_seed(1))


# ReLUs that hooks do not see


class AsModules(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu1 = nn.Conv2d(h.CHANNELS, 4, 3), nn.ReLU()
        self.fc1, self.relu2, self.fc2 = nn.Linear(4 * 24, 7), nn.ReLU(), nn.Linear(7, h.CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.relu2(self.fc1(self.relu1(self.conv(x)).flatten(1))))


class AsFunctions(AsModules):
    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(functional.relu(self.fc1(torch.relu(self.conv(x)).flatten(1))))


class InPlace(AsModules):
    def forward(self, x: Tensor) -> Tensor:
        z = self.conv(x)
        functional.relu(z, inplace=True)
        z = self.fc1(z.flatten(1))
        z.relu_()
        return self.fc2(z)


class OneForAll(AsModules):
    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.relu1(self.fc1(self.relu1(self.conv(x)).flatten(1))))


class Clamped(AsModules):
    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.fc1(self.conv(x).clamp(min=0).flatten(1)).clamp_min(0))


@pytest.mark.parametrize("kind", [AsFunctions, InPlace, OneForAll, Clamped])
@pytest.mark.parametrize("method", METHODS)
def test_it_does_not_matter_how_a_relu_is_called(method: str, kind: type[AsModules]) -> None:
    net = seeded(AsModules)
    other = kind().to(D)
    other.load_state_dict(net.state_dict())
    x, c = h.batch(), h.targets()
    assert torch.equal(explain(other, x, c, method).values, explain(net, x, c, method).values)


@pytest.mark.parametrize("method", ORACLES)
def test_captum_gives_the_plain_gradient_where_relus_are_functions(method: str) -> None:
    net, x, c = seeded(AsFunctions), h.batch(), h.targets()
    plain = explain(net, x, c, "saliency").values
    assert torch.equal(captums(net, x, c, ORACLES[method]), plain)  # and says nothing
    assert float((explain(net, x, c, method).values - plain).abs().max()) > 0.1 * float(plain.abs().max())


def test_a_relu6_hands_on_below_its_ceiling() -> None:
    net = two_layers([[3.0], [7.0], [-1.0]], [[0.0] * 3, [1.0, 2.0, 4.0]])
    net[1] = nn.ReLU6()
    x = torch.ones(1, 1, dtype=D)
    assert explain(net, x, 1, "guided_backprop").values.tolist() == [[3.0]]
    assert explain(net, x, 1, "deconvnet").values.tolist() == [[3.0 + 14.0 - 4.0]]


# Theorems


@given(seed=st.integers(0, 10**6), output=st.sampled_from(["logit", "probability"]))
@settings(deadline=None, max_examples=25)
def test_rectgrad_at_threshold_0_is_guided_backprop_times_the_input_cut_at_0(seed: int, output: str) -> None:
    net, x, c = h.conv_net(2, "hidden", seed), h.batch(2, seed=seed), h.targets(2)
    guided = explain(net, x, c, "guided_backprop", output=output).values
    assert torch.equal(explain(net, x, c, "rectgrad", tau=0, output=output).values, (x * guided).relu())


@given(seed=st.integers(0, 10**6))
@settings(deadline=None, max_examples=25)
def test_without_negative_weights_or_inputs_every_rule_is_the_gradient(seed: int) -> None:
    net, x = h.conv_net(1, "hidden", seed), h.batch(2, 1, seed).abs() + 0.1
    with torch.no_grad():
        for p in net.parameters():
            p.abs_()
    net[4].running_mean.neg_().clamp_(max=0)
    plain = explain(net, x, 1, "saliency").values
    assert torch.equal(explain(net, x, 1, "deconvnet").values, plain)
    assert torch.equal(explain(net, x, 1, "guided_backprop").values, plain)
    assert torch.equal(explain(net, x, 1, "rectgrad", tau=0.0).values, x * plain)


@given(seed=st.integers(0, 10**6), quantiles=st.tuples(st.floats(0, 0.99), st.floats(0, 0.99)))
@settings(deadline=None, max_examples=25)
def test_a_higher_quantile_keeps_less_of_one_layer(seed: int, quantiles: tuple[float, float]) -> None:
    x = torch.randn(3, 20, dtype=D, generator=torch.Generator().manual_seed(seed))
    net = seeded(lambda: nn.Sequential(nn.ReLU(), nn.Linear(20, 3)), seed)
    more, less = (explain(net, x, 1, "rectgrad", quantile=q).values for q in sorted(quantiles))
    assert bool(((less == more) | (less == 0)).all())


@pytest.mark.parametrize("method", METHODS)
def test_opposite_classes_have_opposite_gradients_but_no_opposite_maps(method: str) -> None:
    net, x = seeded(AsModules), h.batch()
    with torch.no_grad():
        net.fc2.weight[2] = -net.fc2.weight[1]
    one, other = (explain(net, x, c, "saliency").values for c in (1, 2))
    assert torch.equal(one, -other)
    one, other = (explain(net, x, c, method).values for c in (1, 2))
    assert float((one + other).abs().max()) > 0.1 * float(one.abs().max())


# Errors


@pytest.mark.parametrize("method", METHODS)
def test_a_model_without_a_relu_is_refused(method: str) -> None:
    net = seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(96, 3)))
    with h.fails(ModelError, f"{method}: the model must have a ReLU", "plain gradient", "Try 'saliency'"):
        explain(net, h.batch(), 1, method)


@pytest.mark.parametrize("activation", [nn.LeakyReLU(), nn.GELU(), nn.Sigmoid(), nn.PReLU(), nn.Threshold(0, 0)])
@pytest.mark.parametrize("method", METHODS)
def test_another_nonlinearity_is_refused_by_the_name_of_its_layer(method: str, activation: nn.Module) -> None:
    net = h.conv_net()
    net[5] = activation.to(D)
    with h.fails(ModelError, f"{method}: every operation", "layer '5'", "a nonlinearity that is no ReLU"):
        explain(net, h.batch(), 1, method)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"quantile": 1.0}, "`quantile` must be a number from 0 to below 1; got 1.0"),
        ({"quantile": -0.1}, "`quantile` must be a number from 0 to below 1; got -0.1"),
        ({"quantile": 98}, "`quantile` must be a number from 0 to below 1; got 98"),
        ({"quantile": None}, "`quantile` must be a number from 0 to below 1; got None"),
        ({"quantile": float("nan")}, "`quantile` must be a number from 0 to below 1; got nan"),
        ({"tau": -1.0}, "`tau` must be None or a number from 0 up; got -1.0"),
        ({"tau": "0"}, "`tau` must be None or a number from 0 up; got '0'"),
        ({"output": "logits"}, "unknown output 'logits'; did you mean 'logit'?"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused(options: dict[str, Any], words: str) -> None:
    with h.fails(OptionError, words):
        explain(h.conv_net(), h.batch(), 1, "rectgrad", **options)
