"""LRP, Deep Taylor, excitation backprop and RAP: against matrices written out, zennit, Captum, and their theorems."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import captum.attr
import helpers_attribution as h
import helpers_oracles as o
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import slow_lrp as slow
from torch import Tensor, nn
from torch.nn import functional

from xaiteach import explain
from xaiteach.errors import ModelError, OptionError

D = torch.float64
PAIRS = [(1.0, 0.0), (2.0, 1.0), (3.0, 2.0), (5.0, 4.0)]
AB = [{"alpha": alpha, "beta": beta, "bias": bias} for alpha, beta in PAIRS for bias in (False, True)]

Options = dict[str, Any]
RULES: list[tuple[str, Options, slow.Share]] = [
    ("lrp_epsilon", {}, slow.epsilon(1e-6)),
    ("lrp_epsilon", {"epsilon": 0.1}, slow.epsilon(0.1)),
    ("lrp_gamma", {"bias": False}, slow.gamma(0.25)),
    ("lrp_gamma", {"gamma": 2.0}, slow.gamma(2.0, True)),
    ("lrp_zplus", {}, slow.alpha_beta(1, 0)),
    ("lrp_zplus", {"bias": True}, slow.alpha_beta(1, 0, True)),
    *[("lrp_alpha_beta", ab, slow.alpha_beta(ab["alpha"], ab["beta"], ab["bias"])) for ab in AB],
    ("excitation_backprop", {}, slow.alpha_beta(1, 0)),
]
METHODS: list[tuple[str, Options]] = [
    *[(method, options) for method, options, _ in RULES],
    ("deep_taylor", {}),
    ("excitation_backprop", {"contrastive": True}),
    ("rap", {}),
]


def name(value: object) -> str | None:
    if isinstance(value, dict):
        return "-".join(f"{key}={option}" for key, option in value.items()) or "defaults"
    return "" if callable(value) and not isinstance(value, type) else None


def seeded(make: Callable[[], nn.Module], seed: int = 0) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make().to(D).eval()


def dense(seed: int = 0, *, bias: bool = True) -> nn.Sequential:
    def make() -> nn.Module:
        layers = [nn.Linear(i, k, bias=bias) for i, k in pairwise((4, 6, 5, 3))]
        return nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])

    return seeded(make, seed)


def vectors(n: int = 3, features: int = 4, seed: int = 1) -> Tensor:
    return torch.randn(n, features, dtype=D, generator=torch.Generator().manual_seed(seed))


SMALL = {1: (8,), 2: (4, 4), 3: (2, 4, 2)}
AVERAGE = {1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d}


def conv_steps(rank: int) -> list[nn.Module]:
    """conv, ReLU, max pool, conv and batch norm, ReLU, average pool, dense: steps of the slow form."""

    def make() -> nn.Module:
        conv, norm = h.CONV[rank], h.NORM[rank](3)
        norm.running_mean.normal_(std=0.1)
        norm.running_var.uniform_(0.5, 1.5)
        with torch.no_grad():
            norm.weight.uniform_(-1, 1)
        both = nn.Sequential(conv(3, 3, 3, padding=1), norm)
        last = nn.Linear(3, 3)
        pool = AVERAGE[rank](tuple(side // 2 for side in SMALL[rank]))
        first = conv(2, 3, 3, padding=1)
        return nn.Sequential(first, nn.ReLU(), h.POOL[rank](2), both, nn.ReLU(), pool, nn.Flatten(), last)

    return list(seeded(make, seed=rank))


def images(rank: int, n: int = 2, seed: int = 1) -> Tensor:
    return torch.randn(n, 2, *SMALL[rank], dtype=D, generator=torch.Generator().manual_seed(seed))


def by_matrices(steps: list[nn.Module], x: Tensor, target: Tensor, shares: list[slow.Share], logit: bool) -> Tensor:
    def start(c: int) -> Callable[[list[float]], list[float]]:
        return lambda logits: [(v if logit else 1.0) if j == c else 0.0 for j, v in enumerate(logits)]

    return torch.stack([slow.relevance(steps, s, start(int(c)), shares) for s, c in zip(x, target, strict=True)])


def close(found: Tensor, expected: Tensor, rtol: float = 1e-11) -> None:
    """Equal to float64 rounding of sums of some hundred terms, some of which cancel; relative to the largest value."""
    assert float(expected.abs().max()) > 0, "a map that is 0 everywhere shows nothing"
    torch.testing.assert_close(found, expected, rtol=0, atol=rtol * float(expected.abs().max()))


# By hand


@pytest.mark.parametrize(
    ("alpha", "beta", "bias", "expected"),
    [
        (1.0, 0.0, False, [-1.0, 0.0]),
        (1.0, 0.0, True, [-1.0, 0.0]),
        (2.0, 1.0, False, [-2.0, 1.0]),
        (2.0, 1.0, True, [-2.0, 0.5]),
    ],
)
def test_a_bias_counts_in_alpha_beta_only_when_asked_to(
    alpha: float, beta: float, bias: bool, expected: list[float]
) -> None:
    # z = (1, -1), b = -1, logit -1: z^+ = 1; z^- = -1, or -2 with the bias in it.
    net = nn.Linear(2, 1).to(D)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[1.0, -1.0]]))
        net.bias.fill_(-1.0)
    x = torch.ones(1, 2, dtype=D)
    found = explain(net, x, 0, "lrp_alpha_beta", alpha=alpha, beta=beta, bias=bias, start="logit").values
    assert found.tolist() == [expected]
    zennit = o.zennit_values(
        net, x, torch.tensor([0]), "AlphaBeta", alpha, beta, zero_params=None if bias else "bias", **o.EXACT
    )
    assert (-zennit).tolist() == [expected]  # from the logit, -1, where the helper starts from 1


def test_start_at_the_logit_is_start_at_one_times_the_logit() -> None:
    net, x, c = h.conv_net(2, "hidden").eval(), h.batch(), h.targets()
    logit = net(x).detach().gather(1, c[:, None]).reshape(-1, 1, 1, 1)
    for method in ("lrp_epsilon", "lrp_gamma", "lrp_zplus", "lrp_alpha_beta", "deep_taylor"):
        one = explain(net, x, c, method).values
        close(explain(net, x, c, method, start="logit").values, one * logit)


def test_a_negative_logit_makes_a_blind_method_look_as_if_it_saw_the_last_layer() -> None:
    net, x = h.conv_net(2, "hidden").eval(), h.batch(8)
    other = copy.deepcopy(net)
    with torch.no_grad():
        other[-1].weight.normal_(generator=torch.Generator().manual_seed(4))
        other[-1].bias.zero_()

    def likeness(start: str) -> Tensor:
        a, b = (explain(m, x, 1, "lrp_zplus", start=start).values.flatten(1) for m in (net, other))
        return functional.cosine_similarity(a, b)

    turned = (net(x)[:, 1] * other(x)[:, 1]).detach() < 0
    assert 0 < int(turned.sum()) < len(x)
    assert float(likeness("one_hot").min()) > 0.8  # another last layer, nearly the same map
    assert bool(((likeness("logit") < -0.8) == turned).all())


# Written out as matrices


@pytest.mark.parametrize("start", ["one_hot", "logit"])
@pytest.mark.parametrize(("method", "options", "share"), RULES, ids=name)
def test_rules_are_those_of_the_papers_in_a_dense_net(
    method: str, options: Options, share: slow.Share, start: str
) -> None:
    net, x, c = dense(), vectors(), torch.tensor([2, 0, 1])
    if method == "excitation_backprop":
        start = "one_hot"
    else:
        options = {**options, "start": start}
    expected = by_matrices(list(net), x, c, [share] * 3, start == "logit")
    close(explain(net, x, c, method, **options).values, expected)


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize(("method", "options", "share"), RULES, ids=name)
def test_rules_are_those_of_the_papers_in_a_convolutional_net(
    method: str, options: Options, share: slow.Share, rank: int
) -> None:
    steps, x, c = conv_steps(rank), images(rank), torch.tensor([2, 0])
    expected = by_matrices(steps, x, c, [share] * 3, logit=False)
    close(explain(nn.Sequential(*steps), x, c, method, **options).values, expected)


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("bounds", [None, (-4.0, 5.0), (-4, 4)], ids=str)
def test_deep_taylor_has_its_own_rule_for_the_input(bounds: tuple[float, float] | None, rank: int) -> None:
    steps, x, c = conv_steps(rank), images(rank), torch.tensor([2, 0])
    zplus = slow.alpha_beta(1, 0)
    first = slow.squared if bounds is None else slow.box(*bounds)
    options = {} if bounds is None else {"low": bounds[0], "high": bounds[1]}
    expected = by_matrices(steps, x, c, [first, zplus, zplus], logit=False)
    close(explain(nn.Sequential(*steps), x, c, "deep_taylor", **options).values, expected)


LAYERS: dict[str, tuple[int, Callable[[], nn.Module]]] = {
    "strided": (2, lambda: nn.Conv2d(2, 3, 3, stride=2, padding=1)),
    "dilated": (2, lambda: nn.Conv2d(2, 3, 2, dilation=2)),
    "grouped": (2, lambda: nn.Conv2d(2, 4, 3, padding=1, groups=2)),
    "depthwise": (1, lambda: nn.Conv1d(2, 2, 3, groups=2)),
    "same": (2, lambda: nn.Conv2d(2, 3, (3, 1), padding="same", bias=False)),
    "circular": (2, lambda: nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular")),
    "unbiased": (3, lambda: nn.Conv3d(2, 3, 2, bias=False)),
    "transposed 1": (1, lambda: nn.ConvTranspose1d(2, 3, 3, stride=2, padding=1, output_padding=1)),
    "transposed 2": (2, lambda: nn.ConvTranspose2d(2, 3, 2)),
    "transposed 3": (3, lambda: nn.ConvTranspose3d(2, 3, 2, stride=2)),
    "transposed in groups": (2, lambda: nn.ConvTranspose2d(2, 4, 2, groups=2)),
    "on the last axis": (2, lambda: nn.Linear(4, 3)),
    "weight norm": (2, lambda: nn.utils.parametrizations.weight_norm(nn.Conv2d(2, 3, 3))),
    "spectral norm": (2, lambda: nn.utils.parametrizations.spectral_norm(nn.Conv2d(2, 3, 3))),
}


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize(
    ("method", "options", "share", "first"),
    [
        ("lrp_epsilon", {}, slow.epsilon(1e-6), slow.epsilon(1e-6)),
        ("lrp_gamma", {"bias": False}, slow.gamma(0.25), slow.gamma(0.25)),
        ("lrp_alpha_beta", {}, slow.alpha_beta(2, 1), slow.alpha_beta(2, 1)),
        ("deep_taylor", {}, slow.alpha_beta(1, 0), slow.squared),
        ("deep_taylor", {"low": -5.0, "high": 4.0}, slow.alpha_beta(1, 0), slow.box(-5, 4)),
    ],
    ids=name,
)
def test_every_kind_of_layer_is_its_matrix(
    kind: str, method: str, options: Options, share: slow.Share, first: slow.Share
) -> None:
    rank, make = LAYERS[kind]
    x = images(rank)
    layer = seeded(make)
    head = seeded(lambda: nn.Linear(layer(x)[0].numel(), 3), seed=2)
    steps = [layer, nn.ReLU(), nn.Flatten(), head]
    expected = by_matrices(steps, x, torch.tensor([2, 0]), [first, share], logit=False)
    close(explain(nn.Sequential(*steps), x, [2, 0], method, **options).values, expected)


# Other people's libraries


def zennit_first(net: nn.Module, x: Tensor, target: Tensor, rule: str, *arguments: object) -> Tensor:
    """zennit's z^+ with another rule for the first layer."""
    from zennit import composites, rules, types
    from zennit.attribution import Gradient

    table = [(types.Activation, rules.Pass()), (types.AvgPool, rules.Norm(**o.EXACT))]
    table.append((types.Linear, rules.ZPlus(zero_params="bias", **o.EXACT)))
    own = [(types.Linear, getattr(rules, rule)(*arguments, zero_params="bias", **o.EXACT))]
    composite = composites.SpecialFirstLayerMapComposite(table, own)
    with Gradient(net, composite) as attributor:
        _, found = attributor(x.clone().requires_grad_(), torch.eye(h.CLASSES, dtype=D)[target])
    return found.detach()


ORACLE: list[tuple[str, Options, str, tuple[object, ...], Options]] = [
    ("lrp_epsilon", {}, "Epsilon", (1e-6,), {}),
    ("lrp_epsilon", {"epsilon": 0.25}, "Epsilon", (0.25,), {}),
    ("lrp_gamma", {"bias": False}, "Gamma", (0.25,), {"zero_params": "bias", **o.EXACT}),
    ("lrp_gamma", {}, "Gamma", (0.25,), o.EXACT),
    ("lrp_zplus", {}, "ZPlus", (), {"zero_params": "bias", **o.EXACT}),
    ("lrp_zplus", {"bias": True}, "ZPlus", (), o.EXACT),
    *[
        (
            "lrp_alpha_beta",
            ab,
            "AlphaBeta",
            (ab["alpha"], ab["beta"]),
            o.EXACT if ab["bias"] else {"zero_params": "bias", **o.EXACT},
        )
        for ab in AB
    ],
]


@pytest.mark.parametrize(("rank", "head"), [(1, "hidden"), (2, "flatten"), (2, "hidden"), (3, "flatten")])
@pytest.mark.parametrize(("method", "options", "rule", "arguments", "theirs"), ORACLE, ids=name)
def test_rules_agree_with_zennit(
    method: str, options: Options, rule: str, arguments: tuple[object, ...], theirs: Options, rank: int, head: str
) -> None:
    net, x, c = h.conv_net(rank, head).eval(), h.batch(3, rank), h.targets()
    expected = o.zennit_values(o.folded(net), x, c, rule, *arguments, **theirs)
    # Rounding; the epsilon rule divides by sums that may nearly cancel, which multiplies it.
    close(explain(net, x, c, method, **options).values, expected, rtol=1e-10 if rule == "Epsilon" else 1e-11)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_deep_taylor_agrees_with_zennit(rank: int) -> None:
    net, x, c = h.conv_net(rank, "hidden").eval(), h.batch(3, rank), h.targets()
    net_0 = o.folded(net)
    low, high = -4.0, 5.0  # numbers that float32 holds: zennit keeps them so
    close(explain(net, x, c, "deep_taylor").values, zennit_first(net_0, x, c, "WSquare"))
    close(explain(net, x, c, "deep_taylor", low=low, high=high).values, zennit_first(net_0, x, c, "ZBox", low, high))


def test_excitation_backprop_agrees_with_zennits_composite() -> None:
    from zennit.attribution import Gradient
    from zennit.composites import ExcitationBackprop

    net, x, c = h.conv_net(2, "hidden").eval(), h.batch().abs(), h.targets()
    start = torch.eye(h.CLASSES, dtype=D)[c]
    with Gradient(o.folded(net), ExcitationBackprop(zero_params="bias")) as attributor:
        _, expected = attributor(x.clone().requires_grad_(), start)
    # The composite has no way to set the stabiliser: 1e-6 on denominators of some .01.
    close(explain(net, x, c, "excitation_backprop").values, expected.detach(), rtol=1e-3)


def test_averages_and_leaky_activations_follow_zennit() -> None:
    # Signed values in the average, a negative slope in the activation: by contribution, and passed on.
    net = seeded(
        lambda: nn.Sequential(
            nn.AvgPool2d(2), nn.Conv2d(2, 4, 3, padding=1), nn.LeakyReLU(0.3), nn.AdaptiveAvgPool2d(2), nn.Tanh(),
            nn.Flatten(), nn.Linear(16, h.CLASSES),
        )
    )  # fmt: skip
    x, c = h.batch(), h.targets()
    for method, rule, options in (
        ("lrp_epsilon", ("Epsilon", 1e-6), {}),
        ("lrp_alpha_beta", ("AlphaBeta", 2.0, 1.0), {"zero_params": "bias", **o.EXACT}),
    ):
        close(explain(net, x, c, method).values, o.zennit_values(net, x, c, *rule, **options), rtol=1e-10)


@pytest.mark.parametrize(
    ("method", "rule", "arguments", "options"),
    [
        ("lrp_epsilon", "Epsilon", (1e-6,), {}),
        ("lrp_zplus", "ZPlus", (), {"zero_params": "bias"}),
        ("lrp_alpha_beta", "AlphaBeta", (2.0, 1.0), {"zero_params": "bias"}),
    ],
)
def test_residual_nets_agree_with_zennits_canonizer(
    method: str, rule: str, arguments: tuple[object, ...], options: Options
) -> None:
    torchvision = pytest.importorskip("torchvision", reason="an optional or broken install", exc_type=ImportError)
    from torchvision.models.resnet import BasicBlock, ResNet
    from zennit import composites, rules, types
    from zennit.attribution import Gradient
    from zennit.layer import Sum
    from zennit.torchvision import ResNetCanonizer

    assert torchvision.__version__
    net = seeded(lambda: ResNet(BasicBlock, [1, 1, 1, 1], num_classes=4))
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_var.uniform_(0.5, 1.5, generator=torch.Generator().manual_seed(module.num_features))
    x, c = torch.randn(2, 3, 32, 32, dtype=D, generator=torch.Generator().manual_seed(1)), torch.tensor([1, 2])
    found = explain(net, x, c, method).values
    exact = {} if rule == "Epsilon" else o.EXACT
    table = [
        (types.Activation, rules.Pass()),
        (types.AvgPool, rules.Norm(**o.EXACT)),
        (Sum, rules.Norm(**o.EXACT)),
        (types.BatchNorm, rules.Pass()),
        (types.Linear, getattr(rules, rule)(*arguments, **options, **exact)),
    ]
    composite = composites.LayerMapComposite(table, canonizers=[ResNetCanonizer()])

    def theirs(*, mended: bool) -> Tensor:
        theirs_net = copy.deepcopy(net)
        with Gradient(theirs_net, composite) as attributor:
            if mended:  # batch norms that were folded keep their eps, and still divide by sqrt(1 + eps)
                for module in theirs_net.modules():
                    if isinstance(module, nn.BatchNorm2d):
                        module.eps = 0.0
            _, values = attributor(x.clone().requires_grad_(), torch.eye(4, dtype=D)[c])
        return values.detach()

    close(found, theirs(mended=True), rtol=1e-9)  # rounding, multiplied by sums that nearly cancel
    off = (found - theirs(mended=False)).abs().max() / found.abs().max()
    assert 1e-7 < float(off) < 1e-2


class CaptumNet(nn.Module):
    """No Flatten module, for which Captum has no rule."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu, self.pool = nn.Conv2d(2, 4, 3), nn.ReLU(), nn.MaxPool2d(2)
        self.fc1, self.relu1, self.fc2 = nn.Linear(24, 6), nn.ReLU(), nn.Linear(6, h.CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.relu1(self.fc1(self.pool(self.relu(self.conv(x))).flatten(1))))


def test_epsilon_agrees_with_captum() -> None:
    net, x, c = seeded(CaptumNet), h.batch(), h.targets()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Setting (forward, )?backward hooks|Input Tensor")
        expected = captum.attr.LRP(net).attribute(x.clone().requires_grad_(), target=c)
    found = explain(net, x, c, "lrp_epsilon", epsilon=1e-9, start="logit").values
    close(found, expected.detach(), rtol=1e-8)  # Captum adds 1e-9 to the outputs of the max pooling, too


# Theorems


@given(seed=st.integers(0, 10**6))
@settings(deadline=None, max_examples=25)
def test_without_biases_epsilon_0_is_input_times_gradient(seed: int) -> None:
    net, x, c = dense(seed, bias=False), vectors(seed=seed), torch.tensor([2, 0, 1])
    expected = explain(net, x, c, "input_x_gradient").values
    found = explain(net, x, c, "lrp_epsilon", epsilon=0.0, start="logit").values
    # z / z by two roads: rounding, multiplied where a sum nearly cancels.
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-10)
    logit = net(x).detach().gather(1, c[:, None])
    one = explain(net, x, c, "lrp_epsilon", epsilon=0.0).values
    torch.testing.assert_close(one * logit, expected, rtol=1e-8, atol=1e-10)


def mixed(seed: int) -> tuple[nn.Sequential, Tensor]:
    """A net with every unit on, whose every output has contributions of both signs, and positive samples for it."""
    generator = torch.Generator().manual_seed(seed)
    net = dense(seed)
    for layer in net:
        if isinstance(layer, nn.Linear):
            with torch.no_grad():
                signs = torch.tensor([1.0, -1.0], dtype=D).repeat(layer.in_features)[: layer.in_features]
                layer.weight.copy_(signs * (0.1 + 0.1 * torch.rand(layer.weight.shape, generator=generator, dtype=D)))
                layer.bias.copy_(10 + layer.bias.abs())  # more than all that speaks against
    return net, 0.1 + torch.rand(3, 4, generator=generator, dtype=D)


@given(seed=st.integers(0, 10**6), beta=st.floats(0, 6))
@settings(deadline=None, max_examples=15)
def test_relevance_is_conserved(seed: int, beta: float) -> None:
    net, x = mixed(seed)
    for method, options in (
        ("lrp_alpha_beta", {"alpha": beta + 1, "beta": beta}),
        ("lrp_zplus", {}),
        ("deep_taylor", {}),
        ("deep_taylor", {"low": 0.0, "high": 2.0}),
        ("excitation_backprop", {}),
    ):
        total = explain(net, x, 1, method, **options).values.sum(1)
        # Terms of up to (2 beta + 1)^3 = 2197 cancel down to 1.
        torch.testing.assert_close(total, torch.ones(3, dtype=D), rtol=0, atol=1e-11)


@given(seed=st.integers(0, 10**6))
@settings(deadline=None, max_examples=15)
def test_a_bias_in_the_denominator_keeps_its_share(seed: int) -> None:
    layer, x = dense(seed)[0], vectors(seed=seed)
    z = x[:, None] * layer.weight.detach()  # (n, outputs, inputs)
    b = layer.bias.detach()
    up, down = z.clamp(min=0).sum(2), z.clamp(max=0).sum(2)
    against = torch.nan_to_num(down / (down + b.clamp(max=0)))  # nothing against it and no bias: 0 / 0
    expected = 2 * torch.nan_to_num(up / (up + b.clamp(min=0))) - against
    found = explain(layer, x, 1, "lrp_alpha_beta", bias=True).values.sum(1)
    torch.testing.assert_close(found, expected[:, 1], rtol=0, atol=1e-12)  # rounding
    kept = explain(layer, x, 1, "lrp_epsilon", epsilon=0.0).values.sum(1)
    torch.testing.assert_close(kept, (z.sum(2) / (z.sum(2) + b))[:, 1], rtol=1e-9, atol=1e-12)  # sums near 0


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_excitation_backprop_is_zplus_from_one(rank: int) -> None:
    net, x, c = h.conv_net(rank, "hidden"), h.batch(3, rank), h.targets()
    assert torch.equal(explain(net, x, c, "excitation_backprop").values, explain(net, x, c, "lrp_zplus").values)


def test_excitation_backprop_is_a_distribution_where_every_unit_has_a_way_on() -> None:
    net, x, c = h.conv_net(2, "hidden").eval(), h.batch(8).abs(), h.targets(8)
    values = explain(net, x, c, "excitation_backprop").values
    assert float(values.min()) >= 0
    with torch.no_grad():
        has_a_way = (net[:9](x) * net[9].weight[c].clamp(min=0)).sum(1) > 0
    assert 0 < int(has_a_way.sum()) < 8
    torch.testing.assert_close(values.flatten(1).sum(1), has_a_way.to(D), rtol=0, atol=1e-13)  # rounding


@pytest.mark.parametrize("head", ["flatten", "gap", "hidden"])
def test_contrastive_is_less_the_walk_from_a_negated_last_layer(head: str) -> None:
    net, x, c = h.conv_net(2, head).eval(), h.batch(), h.targets()
    negated = copy.deepcopy(net)
    with torch.no_grad():
        negated[-1].weight.neg_()
    for_class, against = (explain(m, x, c, "excitation_backprop").values for m in (net, negated))
    found = explain(net, x, c, "excitation_backprop", contrastive=True).values
    close(found, for_class - against)
    torch.testing.assert_close(found.flatten(1).sum(1), torch.zeros(3, dtype=D), rtol=0, atol=1e-13)  # rounding


def test_gamma_goes_from_epsilon_0_to_zplus() -> None:
    net, x = h.conv_net(2, "hidden").eval(), h.batch()
    c = net(x).argmax(1)
    assert bool((net(x).amax(1) > 0).all())
    epsilon = explain(net, x, c, "lrp_epsilon", epsilon=0.0).values
    close(explain(net, x, c, "lrp_gamma", gamma=0.0, bias=True).values, epsilon, rtol=1e-10)
    zplus = explain(net, x, c, "lrp_zplus", bias=True).values
    off = [(explain(net, x, c, "lrp_gamma", gamma=g, bias=True).values - zplus).abs().max() for g in (1e2, 1e4, 1e6)]
    assert off[0] / off[1] == pytest.approx(100, rel=0.2)  # of order 1/gamma
    assert off[2] < 1e-4 * zplus.abs().max()


# The same function, written otherwise


@pytest.mark.parametrize(("method", "options"), METHODS, ids=name)
def test_a_batch_norm_counts_as_part_of_the_layer_before_it(method: str, options: Options) -> None:
    net, x, c = h.conv_net(2, "hidden").eval(), h.batch(), h.targets()
    close(explain(net, x, c, method, **options).values, explain(o.folded(net), x, c, method, **options).values)


NORMED: dict[str, Callable[[], nn.Module]] = {
    "conv, nothing, norm": lambda: nn.Sequential(nn.Conv2d(2, 4, 3), nn.Identity(), nn.BatchNorm2d(4)),
    "conv, dropout, norm": lambda: nn.Sequential(nn.Conv2d(2, 4, 3), nn.Dropout(), nn.BatchNorm2d(4)),
    "conv, dropout in place, norm": lambda: nn.Sequential(nn.Conv2d(2, 4, 3), nn.Dropout(0.5, True), nn.BatchNorm2d(4)),
    "conv, contiguous, norm": lambda: Stepwise(nn.Conv2d(2, 4, 3), lambda t: t.contiguous(), nn.BatchNorm2d(4)),
    "conv, clone, norm": lambda: Stepwise(nn.Conv2d(2, 4, 3), lambda t: t.clone(), nn.BatchNorm2d(4)),
    "conv in groups, norm": lambda: nn.Sequential(nn.Conv2d(2, 4, 3, groups=2, bias=False), nn.BatchNorm2d(4)),
    "transposed conv, norm": lambda: nn.Sequential(nn.ConvTranspose2d(2, 4, 3), nn.BatchNorm2d(4, affine=False)),
    "dense, norm": lambda: nn.Sequential(nn.Flatten(), nn.Linear(96, 4), nn.BatchNorm1d(4)),
}


class Stepwise(nn.Module):
    """Modules and functions, one after the other."""

    def __init__(self, *steps: Any) -> None:
        super().__init__()
        self.steps = steps
        self.kept = nn.ModuleList([step for step in steps if isinstance(step, nn.Module)])

    def forward(self, x: Tensor) -> Tensor:
        for step in self.steps:
            x = step(x)
        return x


def with_statistics(module: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(3)
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
            norm.running_mean.normal_(std=0.1, generator=generator)
            norm.running_var.uniform_(0.5, 1.5, generator=generator)
            if norm.affine:
                with torch.no_grad():
                    norm.weight.uniform_(-1, 1, generator=generator)
                    norm.bias.normal_(generator=generator)
    return module


@pytest.mark.parametrize("kind", NORMED)
def test_every_layer_and_the_batch_norm_behind_it_are_one_matrix(kind: str) -> None:
    block = with_statistics(seeded(NORMED[kind]))
    x = h.batch(2)
    head = seeded(lambda: nn.Linear(block(x)[0].numel(), 3), seed=2)
    steps = [block, nn.ReLU(), nn.Flatten(), head]
    for method, share in (("lrp_epsilon", slow.epsilon(1e-6)), ("lrp_alpha_beta", slow.alpha_beta(2, 1))):
        expected = by_matrices(steps, x, torch.tensor([2, 0]), [share] * 2, logit=False)
        close(explain(nn.Sequential(*steps), x, [2, 0], method).values, expected)


class Unseen(nn.Module):
    """A module whose parameters the slow form does not see: it hands relevance on, value by value."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = [inner]

    def forward(self, x: Tensor) -> Tensor:
        return self.inner[0](x)


ELSEWHERE: dict[str, Callable[[], list[nn.Module]]] = {
    "first": lambda: [],
    "after a ReLU": lambda: [nn.Conv2d(2, 4, 3), nn.ReLU()],
    "by another axis": lambda: [nn.Flatten(2), nn.Linear(48, 2)],
    "of a transposed conv in groups": lambda: [nn.ConvTranspose2d(2, 4, 3, groups=2)],
}


@pytest.mark.parametrize("kind", ELSEWHERE)
def test_a_batch_norm_anywhere_else_hands_relevance_on(kind: str) -> None:
    x = h.batch(2)
    before = seeded(lambda: nn.Sequential(*ELSEWHERE[kind]()))
    made = before(x)
    norm = {3: nn.BatchNorm1d, 4: nn.BatchNorm2d}[made.ndim](made.shape[1])
    norm = with_statistics(seeded(lambda: norm))
    after = seeded(lambda: nn.Sequential(nn.ReLU(), nn.Flatten(), nn.Linear(made[0].numel(), 3)), seed=2)
    weights = sum(isinstance(step, nn.Linear | nn.Conv2d | nn.ConvTranspose2d) for step in [*before, *after])
    for method, share in (("lrp_epsilon", slow.epsilon(1e-6)), ("lrp_alpha_beta", slow.alpha_beta(2, 1))):
        steps = [*before, Unseen(norm), *after]
        expected = by_matrices(steps, x, torch.tensor([2, 0]), [share] * weights, logit=False)
        close(explain(nn.Sequential(before, norm, after), x, [2, 0], method).values, expected)


class Residual(nn.Module):
    def __init__(self, inplace: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 3, padding=1, bias=False)
        self.fc, self.inplace = nn.Linear(96, 3, bias=False), inplace

    def forward(self, x: Tensor) -> Tensor:
        z = self.conv(x).relu()
        if self.inplace:
            z += x
        else:
            z = x + z
        return self.fc(z.flatten(1))


class Concatenated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(2, 3, 1, bias=False), nn.Conv2d(2, 2, 3, padding=1, bias=False)
        self.fc = nn.Linear(240, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.cat([self.left(x).relu(), self.right(x).relu()], 1).flatten(1))


@pytest.mark.parametrize("make", [lambda: Residual(False), lambda: Residual(True), Concatenated])
def test_relevance_is_conserved_where_branches_join(make: Callable[[], nn.Module]) -> None:
    net, x = seeded(make), h.batch()
    for method, options in (("lrp_epsilon", {"epsilon": 0.0}), ("lrp_zplus", {})):
        total = explain(net, x, h.targets() % 3, method, **options).values.flatten(1).sum(1)
        torch.testing.assert_close(total, torch.ones(3, dtype=D), rtol=0, atol=1e-9)  # rounding of signed sums


def test_a_constant_that_is_added_outside_a_layer_takes_no_share() -> None:
    net = dense()
    shifted = Stepwise(net[0], lambda t: 0.3 + t, net[1], lambda t: 2 * t - 0.1, net[2], net[3], net[4])
    x, c = vectors(), torch.tensor([2, 0, 1])
    steps = [net[0], Stepwise(lambda t: 0.3 + t), net[1], Stepwise(lambda t: 2 * t - 0.1), net[2], net[3], net[4]]
    for method, share in (("lrp_epsilon", slow.epsilon(1e-6)), ("lrp_alpha_beta", slow.alpha_beta(2, 1))):
        close(explain(shifted, x, c, method).values, by_matrices(steps, x, c, [share] * 3, logit=False))


@pytest.mark.parametrize(("method", "options"), METHODS, ids=name)
def test_a_batch_is_its_samples(method: str, options: Options) -> None:
    net, x, c = h.conv_net(2, "hidden"), h.batch(4), h.targets(4)
    whole = explain(net, x, c, method, **options).values
    single = torch.cat([explain(net, x[i : i + 1], c[i : i + 1], method, **options).values for i in range(4)])
    close(whole, single, rtol=1e-10)  # other sums in the matrix products; the epsilon rule multiplies rounding
    close(whole, explain(net, x, c, method, budget_mib=1e-6, **options).values, rtol=1e-10)


# RAP


def test_rap_is_its_two_flows_written_out() -> None:
    net, x, c = dense(), vectors(), torch.tensor([2, 0, 1])
    expected = torch.stack([slow.rap(list(net), s, int(t)) for s, t in zip(x, c, strict=True)])
    close(explain(net, x, c, "rap").values, expected)


@pytest.mark.parametrize("rank", [1, 2])
def test_rap_is_its_two_flows_written_out_in_a_convolutional_net(rank: int) -> None:
    steps, x, c = conv_steps(rank), images(rank), torch.tensor([2, 0])
    expected = torch.stack([slow.rap(steps, s, int(t)) for s, t in zip(x, c, strict=True)])
    close(explain(nn.Sequential(*steps), x, c, "rap").values, expected)


@given(seed=st.integers(0, 10**6))
@settings(deadline=None, max_examples=25)
def test_rap_sums_to_the_logit_less_its_bias(seed: int) -> None:
    net, x = mixed(seed)
    total = explain(net, x, 1, "rap").values.sum(1)
    torch.testing.assert_close(total, (net(x)[:, 1] - net[-1].bias[1]).detach(), rtol=1e-9, atol=1e-10)  # rounding


def test_rap_turns_units_of_little_influence_negative() -> None:
    # |z| = 4, 1, 1, 0 for z = 4, -1, 1, 0: they exceed the sum, 4, by 2, which is taken off the three that are on.
    net = nn.Linear(4, 2, bias=False).to(D)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[0.0, 1.0, 2.0, 3.0], [4.0, -1.0, 1.0, 5.0]]))
    x = torch.tensor([[1.0, 1.0, 1.0, 0.0]], dtype=D)
    close(explain(net, x, 1, "rap").values, torch.tensor([[10 / 3, 1 / 3, 1 / 3, 0.0]], dtype=D))
    with torch.no_grad():
        net.weight[1, 1] = -2.0  # an excess of 4: both small ones fall below their share
    close(explain(net, x, 1, "rap").values, torch.tensor([[8 / 3, 2 / 3, -1 / 3, 0.0]], dtype=D))


@pytest.mark.parametrize("change", [lambda s: s + 3.0, lambda s: s.unflatten(1, (2, 2)).flatten(1)])
def test_rap_sees_the_last_layer_through_constants_and_reshaping(change: Callable[[Tensor], Tensor]) -> None:
    net, x = h.conv_net(2, "hidden"), h.batch()
    expected = explain(net, x, 1, "rap").values
    assert torch.equal(explain(Stepwise(net, change), x, 1, "rap").values, expected)


# Errors


@pytest.mark.parametrize(
    ("method", "options", "words"),
    [
        ("lrp_epsilon", {"epsilon": -1.0}, "`epsilon` must be a number from 0 up; got -1.0"),
        ("lrp_epsilon", {"epsilon": float("nan")}, "`epsilon` must be a finite number; got nan"),
        ("lrp_epsilon", {"epsilon": "1"}, "`epsilon` must be a finite number; got '1'"),
        ("lrp_gamma", {"gamma": True}, "`gamma` must be a finite number; got True"),
        ("lrp_gamma", {"gamma": -0.5}, "`gamma` must be a number from 0 up; got -0.5"),
        ("lrp_alpha_beta", {"beta": -1.0}, "`beta` must be a number from 0 up; got -1.0"),
        ("lrp_alpha_beta", {"alpha": None}, "`alpha` must be a finite number; got None"),
        ("lrp_alpha_beta", {"alpha": 2.0, "beta": 0.0}, "`alpha` must be `beta` + 1"),
        ("deep_taylor", {"low": 0.0}, "`low` and `high` must both be given, or neither; got 0.0, None"),
        ("deep_taylor", {"low": 0.0, "high": 1.0}, "`x` must lie between `low` and `high`"),
        ("deep_taylor", {"low": "0", "high": 1.0}, "`low` must be a finite number; got '0'"),
        ("lrp_zplus", {"start": "one-hot"}, "unknown start 'one-hot'; did you mean 'one_hot'?"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused(method: str, options: Options, words: str) -> None:
    with h.fails(OptionError, words):
        explain(h.conv_net(), h.batch(), 1, method, **options)


def test_deep_taylor_needs_a_layer_on_the_input() -> None:
    net = nn.Sequential(nn.AvgPool2d(1), h.conv_net())
    with h.fails(ModelError, "must take the input itself"):
        explain(net, h.batch(), 1, "deep_taylor")
    shifted = Stepwise(lambda x: x - 0.5, h.conv_net())
    with h.fails(ModelError, "must take the input itself"):
        explain(shifted, h.batch(), 1, "deep_taylor")


def test_deep_taylor_knows_the_input_however_it_is_moved() -> None:
    net, x = h.conv_net(), h.batch()
    expected = explain(net, x, 1, "deep_taylor").values
    turned = Stepwise(lambda x: x.flip(-1).transpose(2, 3).contiguous(), lambda x: x.transpose(2, 3).flip(-1), net)
    assert torch.equal(explain(turned, x, 1, "deep_taylor").values, expected)


class TwoHeads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.one(x) + self.two(x)


@pytest.mark.parametrize(("method", "options"), [("rap", {}), ("excitation_backprop", {"contrastive": True})])
def test_a_rule_for_the_last_layer_needs_one_last_layer(method: str, options: Options) -> None:
    with h.fails(ModelError, "one dense or convolution layer must be the last", "'add' in the model's own forward"):
        explain(seeded(TwoHeads), vectors(), 1, method, **options)
    explain(seeded(TwoHeads), vectors(), 1, "excitation_backprop")


def test_rap_is_refused_where_a_pooling_makes_the_logits() -> None:
    # Positions of one class each have relevance there, and none of them is the logit.
    net = seeded(lambda: nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Conv2d(3, 4, 1), nn.ReLU(), h.Mean()))
    with h.fails(ModelError, "one dense or convolution layer must be the last", "'mean' in layer '4'"):
        explain(net, h.batch(), 1, "rap")
    found = explain(net, h.batch(), 1, "excitation_backprop", contrastive=True).values
    torch.testing.assert_close(found.flatten(1).sum(1), torch.zeros(3, dtype=D), rtol=0, atol=1e-13)  # rounding
