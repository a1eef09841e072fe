"""DASP and the moments that it is made of: closed forms, integrals, brute force, refusals."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import helpers_attribution as h
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import slow_shapley as slow
from scipy import integrate, stats
from torch import Tensor, nn
from torch.nn import functional

from xaiteach import explain
from xaiteach.attribution import dasp as module
from xaiteach.attribution.dasp import coalition_sizes
from xaiteach.attribution.moments import max_moments, moments, relu_moments
from xaiteach.errors import ModelError, OptionError, ShapeError

ROUNDING = {"atol": 1e-13, "rtol": 1e-11}
"""float64, sums of some dozens of values near 1."""


def seeded(seed: int = 5) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def dense(*sizes: int, seed: int = 0) -> nn.Sequential:
    """Dense layers with ReLUs between them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[nn.Module] = []
        for a, b in itertools.pairwise(sizes):
            layers += [nn.Linear(a, b), nn.ReLU()]
        return nn.Sequential(*layers[:-1]).double()


def strips(rank: int = 2) -> Tensor:
    """Four players: strips along the first spatial axis."""
    side = h.SPATIAL[rank][0]
    rows = torch.arange(side) * 4 // side
    return rows.reshape(-1, *[1] * (rank - 1)).expand(h.SPATIAL[rank]).clone()


def values(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


# Moments of one operation


@pytest.mark.parametrize("m", [-6.0, -1.5, -0.1, 0.0, 0.7, 4.0])
@pytest.mark.parametrize("s", [0.05, 1.0, 3.0])
def test_a_relus_moments_are_its_integrals(m: float, s: float) -> None:
    mean, variance = relu_moments(values(m), values(s**2))
    density = stats.norm(m, s).pdf
    low, high = max(0.0, m - 12 * s), max(0.0, m + 12 * s)
    first = integrate.quad(lambda z: z * density(z), low, high, epsabs=1e-13)[0]
    second = integrate.quad(lambda z: z * z * density(z), low, high, epsabs=1e-13)[0]
    assert float(mean) == pytest.approx(first, abs=1e-10)  # of the quadrature
    assert float(variance) == pytest.approx(second - first**2, abs=1e-9)  # of the quadrature, squared


@given(m1=st.floats(-3, 3), m2=st.floats(-3, 3), s1=st.floats(0.1, 2), s2=st.floats(0.1, 2))
@settings(deadline=None, max_examples=15)
def test_moments_of_the_larger_of_two_are_their_integrals(m1: float, m2: float, s1: float, s2: float) -> None:
    mean, variance = max_moments(values(m1), values(s1**2), values(m2), values(s2**2))
    a, b = stats.norm(m1, s1), stats.norm(m2, s2)

    def moment(power: int) -> float:
        def weighted(z: float) -> float:
            return z**power * float(a.pdf(z) * b.cdf(z) + b.pdf(z) * a.cdf(z))

        points = sorted({m1, m2, m1 - 3 * s1, m1 + 3 * s1, m2 - 3 * s2, m2 + 3 * s2})
        return float(integrate.quad(weighted, -30, 30, points=points, limit=300, epsabs=1e-11)[0])

    assert float(mean) == pytest.approx(moment(1), abs=1e-8)  # of the quadrature
    assert float(variance) == pytest.approx(moment(2) - moment(1) ** 2, abs=1e-7)  # of the quadrature, squared


def test_by_hand_a_standard_gaussian_cut_at_zero() -> None:
    mean, variance = relu_moments(values(0.0), values(1.0))
    assert float(mean) == pytest.approx((2 * torch.pi) ** -0.5, rel=1e-15)
    assert float(variance) == pytest.approx(0.5 - 1 / (2 * torch.pi), rel=1e-14)  # rounding


def test_a_variance_does_not_cancel_far_from_zero() -> None:
    # The difference of E[X^2] and E[X]^2 would be 0, or worse, here: both are 1e16.
    mean, variance = relu_moments(values(1e8, -1e8, -40.0), values(1e-4, 1e-4, 1.0))
    assert mean.tolist()[:2] == [1e8, 0]
    assert variance.tolist()[:2] == [1e-4, 0]
    assert bool((variance >= 0).all())


def test_without_variance_a_nonlinearity_is_itself() -> None:
    z, zero = noise(50), torch.zeros(50, dtype=torch.float64)
    mean, variance = relu_moments(z, zero)
    assert torch.equal(mean, z.relu())
    assert torch.equal(variance, zero)
    other = noise(50, seed=2)
    mean, variance = max_moments(z, zero, other, zero)
    assert torch.equal(mean, torch.maximum(z, other))
    assert torch.equal(variance, zero)


def normed(kind: type[nn.Module]) -> nn.Module:
    norm = kind(4).double().eval()
    norm.running_mean.copy_(noise(4))
    norm.running_var.copy_(noise(4, seed=2).exp())
    norm.weight.data.copy_(noise(4, seed=3))
    norm.bias.data.copy_(noise(4, seed=4))
    return norm


SUMS: dict[str, tuple[Callable[[Tensor], Tensor], tuple[int, ...]]] = {
    "dense": (nn.Linear(6, 5).double(), (6,)),
    "dense on the last axis": (nn.Linear(6, 5).double(), (4, 6)),
    "conv1d, stride and dilation": (nn.Conv1d(4, 6, 3, stride=2, dilation=2).double(), (4, 11)),
    "conv2d, groups and padding": (nn.Conv2d(4, 6, 3, padding=1, groups=2).double(), (4, 5, 6)),
    "conv2d, circular": (nn.Conv2d(4, 6, 3, padding=1, padding_mode="circular").double(), (4, 5, 6)),
    "conv3d": (nn.Conv3d(4, 2, 2).double(), (4, 3, 4, 3)),
    "transposed": (nn.ConvTranspose2d(4, 3, 3, stride=2).double(), (4, 3, 4)),
    "batch norm 1d": (normed(nn.BatchNorm1d), (4,)),
    "batch norm 2d": (normed(nn.BatchNorm2d), (4, 3, 2)),
    "average pooling, overlapping": (nn.AvgPool2d(3, stride=2, padding=1), (4, 7, 9)),
    "average pooling by pairs": (nn.AvgPool1d(2), (4, 9)),
    "average pooling, oblong": (nn.AvgPool2d((1, 3), padding=(0, 1)), (4, 3, 7)),
    "average pooling, a divisor": (nn.AvgPool2d(2, divisor_override=3, ceil_mode=True), (4, 5, 5)),
    "average pooling 3d": (nn.AvgPool3d(2), (4, 4, 2, 4)),
    "adaptive, even": (nn.AdaptiveAvgPool2d((2, 3)), (4, 6, 6)),
    "global": (nn.AdaptiveAvgPool2d(1), (4, 5, 3)),
    "mean": (lambda z: z.mean((2, 3)), (4, 5, 3)),
    "sum": (lambda z: z.sum(2), (4, 5)),
    "nearest": (nn.Upsample(scale_factor=2), (4, 5, 3)),
    "a constant factor": (lambda z: 3 * z / torch.arange(1, 6) - z.neg(), (4, 5)),
    "a constant term": (lambda z: 3 - (z + torch.arange(5)) - 1, (4, 5)),
    "dropout": (nn.Dropout().eval(), (4, 5)),
    "moved": (lambda z: functional.pad(z.transpose(1, 2).flip(1), (1, 2)).unsqueeze(1), (4, 5)),
}


@pytest.mark.parametrize("name", SUMS)
def test_of_a_sum_with_fixed_weights_the_moments_are_exact(name: str) -> None:
    f, shape = SUMS[name]
    m, v = noise(2, *shape), noise(2, *shape, seed=3) ** 2
    mean, variance = moments(lambda z: f(z).flatten(1), m, v)
    J = torch.autograd.functional.jacobian(lambda z: f(z[None]).flatten(), m[0])  # (outputs, *shape)
    torch.testing.assert_close(mean, f(m).flatten(1).detach(), **ROUNDING)
    if name == "a constant factor":  # z twice, taken for two that are independent
        c = 3 / torch.arange(1, 6).double()
        torch.testing.assert_close(variance, (v * (c**2 + 1)).flatten(1), **ROUNDING)
    else:
        expected = torch.stack([(J.flatten(1) ** 2) @ one.flatten() for one in v])
        torch.testing.assert_close(variance, expected, **ROUNDING)


POOLS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "pairs": (nn.MaxPool1d(2), (3, 8)),
    "overlapping": (nn.MaxPool1d(3, stride=2, padding=1), (3, 9)),
    "dilated": (nn.MaxPool1d(2, stride=1, dilation=3), (3, 9)),
    "ceiling": (nn.MaxPool1d(2, ceil_mode=True), (3, 9)),
    "squares": (nn.MaxPool2d(2), (3, 6, 4)),
    "oblong": (nn.MaxPool2d((3, 2), stride=(1, 2), padding=(1, 0)), (3, 6, 5)),
    "cubes": (nn.MaxPool3d(2), (3, 4, 2, 4)),
    "adaptive, uneven": (nn.AdaptiveMaxPool2d((3, 4)), (3, 5, 7)),
    "global": (nn.AdaptiveMaxPool1d(1), (3, 7)),
}


@pytest.mark.parametrize("name", POOLS)
def test_a_pool_without_variance_is_itself(name: str) -> None:
    pool, shape = POOLS[name]
    m = 10 * noise(2, *shape) - 20
    mean, variance = moments(lambda z: pool(z).flatten(1), m, torch.zeros_like(m))
    assert torch.equal(mean, pool(m).flatten(1))
    assert not variance.any()


@pytest.mark.parametrize("name", POOLS)
def test_a_pools_moments_are_those_of_many_draws(name: str) -> None:
    pool, shape = POOLS[name]
    m, v = noise(1, *shape), 0.5 + noise(1, *shape, seed=3).sigmoid()
    mean, variance = moments(lambda z: pool(z).flatten(1), m, v)
    draws = pool(m + v.sqrt() * noise(40_000, *shape, seed=4)).flatten(1)
    # The larger of two is exact: 4 standard errors, of .005 and .007. The largest of up to 9 takes it for Gaussian in
    # between, which was off by at most .02 in the mean and 21 % in the variance.
    exact = name in ("pairs", "dilated", "ceiling")
    torch.testing.assert_close(mean[0], draws.mean(0), atol=0.02 if exact else 0.05, rtol=0.0)
    torch.testing.assert_close(variance[0], draws.var(0), atol=0.03, rtol=0.0 if exact else 0.2)


def test_behind_one_hidden_layer_means_are_exact() -> None:
    # Each hidden unit is a sum of independent Gaussians, so Gaussian; a mean needs no independence of the units.
    net, m, v = dense(4, 12, 3), noise(1, 4), noise(1, 4, seed=3) ** 2
    mean, _ = moments(net, m, v)
    with torch.no_grad():
        draws = net(m + v.sqrt() * noise(200_000, 4, seed=4))
    error = draws.std(0) / 200_000**0.5
    assert bool(((mean[0] - draws.mean(0)).abs() < 4 * error).all())


@pytest.mark.parametrize("variance", [torch.zeros(2, 3), -torch.ones(2, 4), torch.full((2, 4), torch.nan), None])
def test_variances_that_are_none_are_refused(variance: Any) -> None:
    with h.fails(ShapeError, "moments", "`variance`"):
        moments(nn.Linear(4, 2), torch.zeros(2, 4), variance)


# Sizes


@given(M=st.integers(1, 60), n_steps=st.integers(1, 12))
@settings(deadline=None, max_examples=25)
def test_a_mean_over_sizes_is_exact_for_polynomials(M: int, n_steps: int) -> None:
    k, weights = coalition_sizes(M, n_steps)
    assert len(k) == min(M, n_steps)
    assert bool(((k >= -1e-9) & (k <= M - 1 + 1e-9)).all())
    u = torch.arange(M, dtype=torch.float64) / M
    for degree in range(2 * n_steps):
        expected = float((u**degree).mean())
        assert float((weights * (k / M) ** degree).sum()) == pytest.approx(expected, abs=1e-12)  # rounding


def test_all_sizes_are_taken_where_there_are_few() -> None:
    for n_steps in (None, 4, 9):
        k, weights = coalition_sizes(4, n_steps)
        assert k.tolist() == [0, 1, 2, 3]
        assert weights.tolist() == [0.25] * 4


@given(M=st.integers(1, 7), seed=st.integers(0, 10**6))
@settings(deadline=None, max_examples=15)
def test_the_variance_of_a_coalitions_sum_is_that_of_all_coalitions(M: int, seed: int) -> None:
    c = noise(M, 1, 3, seed=seed)
    reading = module._Reading(c)
    for player, k in itertools.product(range(M), range(M)):
        others = [j for j in range(M) if j != player]
        sums = torch.stack([c[list(chosen)].sum(0) for chosen in itertools.combinations(others, k)])
        found = reading.variance(torch.tensor([player]), values(k), c[:1, 0])
        torch.testing.assert_close(found, sums.var(0, correction=0), **ROUNDING)


# DASP


@given(seed=st.integers(0, 10**6), n_steps=st.sampled_from([None, 1, 3]))
@settings(deadline=None, max_examples=15)
def test_of_a_linear_model_it_is_exact(seed: int, n_steps: int | None) -> None:
    net, x, baseline = nn.Linear(7, 3).double(), noise(2, 7, seed=seed), noise(2, 7, seed=seed + 1)
    a = explain(net, x, 1, "dasp", baseline=baseline, n_steps=n_steps)
    torch.testing.assert_close(a.values, net.weight[1].detach() * (x - baseline), **ROUNDING)
    assert a.residual is not None
    assert float(a.residual.abs().max()) < 1e-12  # rounding


def test_an_affine_network_of_many_layers_is_linear() -> None:
    layers = [
        nn.Conv2d(2, 3, 3),
        nn.AvgPool2d(3, 2, 1, ceil_mode=True),
        nn.BatchNorm2d(3),
        nn.Flatten(),
        nn.Linear(36, 3),
    ]
    net, x = nn.Sequential(*layers).double(), h.batch(2)
    a = explain(net, x, 1, "dasp", superpixels=strips(), n_steps=2)
    exact = explain(net, x, 1, "shapley_exact", superpixels=strips())
    torch.testing.assert_close(a.values, exact.values, **ROUNDING)


@pytest.mark.parametrize("sizes", [(5, 6, 3), (4, 6, 5, 3)])
def test_it_is_the_slow_form_with_its_coalitions_tried(sizes: tuple[int, ...]) -> None:
    net, x, baseline = dense(*sizes), noise(1, sizes[0]), noise(1, sizes[0], seed=3)
    layers: list[slow.Layer] = [
        ("dense", m.weight.detach(), m.bias.detach()) if isinstance(m, nn.Linear) else ("relu", None, None) for m in net
    ]
    found = explain(net, x, 2, "dasp", baseline=baseline, n_steps=None).values[0]
    expected = values(*slow.dasp(layers, x[0], baseline[0], 2))
    torch.testing.assert_close(found, expected, atol=1e-13, rtol=1e-10)  # the slow variances cancel


def test_with_pooling_it_is_the_slow_form() -> None:
    first, last = nn.Linear(4, 8).double(), nn.Linear(4, 3).double()
    net = nn.Sequential(first, nn.ReLU(), nn.Unflatten(1, (1, 8)), nn.MaxPool1d(2), nn.Flatten(), last)
    layers: list[slow.Layer] = [
        ("dense", first.weight.detach(), first.bias.detach()),
        ("relu", None, None),
        ("pairs", None, None),
        ("dense", last.weight.detach(), last.bias.detach()),
    ]
    x = noise(1, 4)
    found = explain(net, x, 0, "dasp").values[0]
    expected = values(*slow.dasp(layers, x[0], torch.zeros(4), 0))
    torch.testing.assert_close(found, expected, atol=1e-13, rtol=1e-10)  # the slow variances cancel


def test_a_convolution_is_the_dense_layer_that_it_is() -> None:
    conv, norm, last = nn.Conv1d(2, 3, 3, padding=1).double(), nn.BatchNorm1d(3).double().eval(), dense(18, 3)
    norm.running_var.copy_(values(0.5, 2.0, 1.5))
    net = nn.Sequential(conv, norm, nn.ReLU(), nn.Flatten(), last)
    x = noise(2, 2, 6)
    zero = torch.zeros(1, 2, 6, dtype=torch.float64)
    J = torch.autograd.functional.jacobian(lambda z: norm(conv(z)).flatten(), zero).reshape(18, 12)
    whole = nn.Linear(12, 18).double()
    whole.weight.data.copy_(J)
    whole.bias.data.copy_(norm(conv(zero)).flatten())
    found = explain(net, x, 1, "dasp", n_steps=5).values
    expected = explain(nn.Sequential(whole, nn.ReLU(), last), x.flatten(1), 1, "dasp", n_steps=5).values
    torch.testing.assert_close(found.flatten(1), expected, **ROUNDING)


@pytest.mark.parametrize("sizes", [(6, 16, 3), (10, 64, 64, 3), (12, 32, 32, 3)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_comes_near_brute_force_and_nearer_than_a_path(sizes: tuple[int, ...], seed: int) -> None:
    net, x, baseline = dense(*sizes, seed=seed), noise(3, sizes[0], seed=seed), noise(1, sizes[0], seed=seed + 9)
    exact = explain(net, x, 1, "shapley_exact", baseline=baseline).values

    def error(method: str, **options: Any) -> float:
        found = explain(net, x, 1, method, baseline=baseline, **options).values
        return float((found - exact).norm() / exact.norm())

    # An approximation: of sums of 6 to 12 terms, not quite Gaussian, in units that share them. It was .03 to .15.
    assert error("dasp", n_steps=None) < 0.2
    assert error("dasp", n_steps=4) < 0.2
    assert error("dasp") < error("integrated_gradients")


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("head", ["flatten", "gap", "hidden"])
def test_on_convolutional_nets_it_comes_near_brute_force(rank: int, head: str) -> None:
    net, x, labels = h.conv_net(rank, head), h.batch(2, rank), strips(rank)
    exact = explain(net, x, 1, "shapley_exact", superpixels=labels).values
    a = explain(net, x, 1, "dasp", superpixels=labels)
    assert a.values.shape == exact.shape
    # Four players: a unit sees one or two of them, and is anything but Gaussian. It was .03 to .29.
    assert float((a.values - exact).norm() / exact.norm()) < 0.35


def test_players_who_never_meet_in_a_unit_are_exact() -> None:
    # Frames go through the net one by one; their scores are averaged. Behind a player's own frame nothing is random.
    net, x, labels = h.Frames().double(), h.batch(2, 3), torch.arange(4)[:, None, None].expand(h.SPATIAL[3])
    exact = explain(net, x, 1, "shapley_exact", superpixels=labels).values
    for n_steps in (1, None):
        found = explain(net, x, 1, "dasp", superpixels=labels, n_steps=n_steps).values
        torch.testing.assert_close(found, exact, **ROUNDING)


@pytest.mark.parametrize("M", [1, 2])
def test_few_players_need_no_approximation(M: int) -> None:
    # One of two others is there or not: k is 0 or 1, and both are certain.
    net, x = dense(M, 8, 8, 3), noise(2, M)
    a = explain(net, x, 1, "dasp")
    torch.testing.assert_close(a.values, explain(net, x, 1, "shapley_exact").values, **ROUNDING)
    assert a.residual is not None
    assert float(a.residual.abs().max()) < 1e-13  # rounding


def test_the_residual_is_what_the_values_miss() -> None:
    net, x, baseline = dense(8, 12, 12, 3), noise(3, 8), noise(1, 8, seed=3)
    a = explain(net, x, [0, 1, 2], "dasp", baseline=baseline)
    gain = (net(x) - net(baseline)).gather(1, a.target[:, None])[:, 0].detach()
    assert a.residual is not None
    torch.testing.assert_close(a.residual, gain - a.values.sum(1), **ROUNDING)
    assert float(a.residual.abs().min()) > 1e-6
    assert float((a.residual.abs() / a.values.abs().sum(1)).max()) < 0.1  # an approximation


def test_superpixels_are_players_with_all_their_channels() -> None:
    net, x = h.conv_net(), h.batch(2)
    labels = torch.stack([strips(), strips() // 2])
    a = explain(net, x, [1, 2], "dasp", superpixels=labels)
    assert a.values.shape == (2, 1, 8, 6)
    assert [len(one.unique()) for one in a.values] == [4, 2]
    alone = explain(net, x[1:], 2, "dasp", superpixels=labels[1])
    torch.testing.assert_close(a.values[1:], alone.values, **ROUNDING)


def test_every_value_is_a_player_unless_told_otherwise() -> None:
    net, x = h.conv_net(), h.batch(1)
    a = explain(net, x, 1, "dasp", n_steps=3)
    assert a.values.shape == x.shape
    assert len(a.values.unique()) == x.numel()
    with h.fails(OptionError, "dasp", "more than 1024 values"):
        explain(nn.Sequential(nn.Flatten(), nn.Linear(1200, 2)), torch.zeros(1, 3, 20, 20), 1, "dasp")


@pytest.mark.parametrize("budget_mib", [1e-6, 0.01])
def test_the_budget_splits_rows_and_changes_nothing(budget_mib: float) -> None:
    sizes: list[int] = []
    net, x = h.conv_net(head="hidden"), h.batch(2)
    net.register_forward_hook(lambda _, inputs, __: sizes.append(len(inputs[0])))
    whole = explain(net, x, [1, 2], "dasp", superpixels=strips())
    most = max(sizes)
    sizes.clear()
    split = explain(net, x, [1, 2], "dasp", superpixels=strips(), budget_mib=budget_mib)
    assert max(sizes) < most
    assert max(sizes) == 2 or budget_mib > 1e-6
    torch.testing.assert_close(split.values, whole.values, atol=1e-10, rtol=0.0)  # contracts.md


# Ways to write a model


class Inplace(nn.Module):
    """conv_net's layers written as functions, in place where that can be."""

    def __init__(self, net: nn.Sequential) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        conv1, _, pool, conv2, norm = self.net[:5]
        z = functional.max_pool2d(functional.relu(conv1(x), inplace=True), pool.kernel_size)
        z = norm(conv2(z)).clamp_(min=0)
        return self.net[7](torch.flatten(z, 1))


def test_functions_and_modules_in_place_or_not_are_one() -> None:
    x = h.batch(2)
    expected = explain(h.conv_net(), x, 1, "dasp", superpixels=strips()).values
    found = explain(Inplace(h.conv_net()), x, 1, "dasp", superpixels=strips()).values
    torch.testing.assert_close(found, expected, **ROUNDING)


@pytest.mark.parametrize("kind", [h.Functional, h.Reused, h.Branches, lambda: h.Reused(inplace=True)])
def test_functional_reused_and_joined_layers_come_near_brute_force(kind: Callable[[], nn.Module]) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = kind().double()
    x = h.batch(2)
    exact = explain(net, x, 1, "shapley_exact", superpixels=strips()).values
    found = explain(net, x, 1, "dasp", superpixels=strips()).values
    assert float((found - exact).norm() / exact.norm()) < 0.2  # an approximation; it was .01 to .13


@pytest.mark.parametrize("by_function", [False, True])
def test_residual_sums_come_near_brute_force(by_function: bool) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        blocks = [h.Block(4, by_function), h.Block(4, by_function)]
        net = nn.Sequential(nn.Conv2d(h.CHANNELS, 4, 3), *blocks, h.Mean(), nn.Linear(4, 3)).double()
    x = h.batch(2)
    exact = explain(net, x, 1, "shapley_exact", superpixels=strips()).values
    found = explain(net, x, 1, "dasp", superpixels=strips()).values
    assert float((found - exact).norm() / exact.norm()) < 0.1  # an approximation, with sums taken for independent


class Skipping(nn.Module):
    """What is random is joined and added to what is still affine in the input."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 4), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        z = self.first(x)
        return self.last(torch.cat([z, z.relu() - 2 * z], 1))


def test_what_is_affine_may_join_what_is_random() -> None:
    net, x = Skipping().double(), noise(2, 6)
    # A mean needs no independence: with one ReLU, all that is wrong is that a sum of 5 terms is not quite Gaussian.
    exact = explain(net, x, 1, "shapley_exact").values
    found = explain(net, x, 1, "dasp").values
    assert float((found - exact).norm() / exact.norm()) < 0.05  # an approximation
    apart = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).double()  # z is relu(z) - relu(-z)
    apart[0].weight.data.copy_(torch.cat([net.first.weight, -net.first.weight]).detach())
    apart[0].bias.data.copy_(torch.cat([net.first.bias, -net.first.bias]).detach())
    W = net.last.weight.detach()
    apart[2].weight.data.copy_(torch.cat([W[:, :4] - W[:, 4:], 2 * W[:, 4:] - W[:, :4]], 1))
    apart[2].bias.data.copy_(net.last.bias.detach())
    torch.testing.assert_close(explain(apart, x, 1, "dasp").values, found, **ROUNDING)


# Refusals


class Made(nn.Module):
    """A ReLU, something in the middle, and a dense layer."""

    def __init__(self, middle: Any, first: bool = False) -> None:
        super().__init__()
        self.fc, self.middle, self.first = nn.Linear(6, 6).double(), middle, first

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.middle(x if self.first else x.relu()))


def overwritten(z: Tensor) -> Tensor:
    z = z.clone()
    z[:, 0] = 0.0
    return z


def through_a_view(z: Tensor) -> Tensor:
    z = z.clone()
    z[:, :2].mul_(2.0)
    return z


class Square(torch.autograd.Function):
    @staticmethod
    def forward(_: Any, z: Tensor) -> Tensor:
        return z**2

    @staticmethod
    def backward(_: Any, g: Tensor) -> Tensor:
        return g


REFUSED: dict[str, tuple[Any, str]] = {
    "tanh": (nn.Tanh(), "layer 'middle' calls 'tanh', a nonlinearity that is no ReLU"),
    "gelu": (nn.GELU(), "a nonlinearity that is no ReLU"),
    "leaky": (nn.LeakyReLU(), "a nonlinearity that is no ReLU"),
    "layer norm": (nn.LayerNorm(6).double(), "whose scale depends on the input"),
    "softmax": (nn.Softmax(1), "which is no logit"),
    "a product": (lambda z: z * z, "a product of two activations"),
    "one over": (lambda z: 1 / (z + 1), "which it does not know"),
    "divided": (lambda z: torch.div(1, z + 1), "a division by an activation"),
    "rounding": (lambda z: torch.div(z, 2, rounding_mode="floor"), "which rounds"),
    "a maximum by hand": (lambda z: torch.maximum(z, z.flip(1)), "a nonlinearity made by hand"),
    "a factor of its own": (lambda z: torch.add(z, z, alpha=2), "with a factor of its own"),
    "writing": (overwritten, "which writes into a tensor"),
    "cut off": (lambda z: z + z.detach(), "which cuts its result off"),
    "the batch": (lambda z: z - z.mean(0), "which mixes rows of the batch"),
    "the batch turned": (lambda z: z.permute(1, 0).permute(1, 0), "which mixes rows of the batch"),
}


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_rule_is_refused_by_name(name: str, first: bool) -> None:
    middle, words = REFUSED[name]
    with h.fails(ModelError, "dasp", words):
        explain(Made(middle, first), noise(2, 6), 1, "dasp")


AFTER: dict[str, tuple[Any, str]] = {
    "a ceiling": (nn.ReLU6(), "a ReLU with a ceiling"),
    "constants among them": (lambda z: torch.cat([z[:, :3], torch.ones_like(z[:, :3])], 1), "with constants"),
    "uneven windows": (lambda z: functional.adaptive_avg_pool1d(z, 4).repeat(1, 2)[:, :6], "different sizes"),
    "a window over the edge": (
        lambda z: functional.avg_pool1d(z[:, None], 2, ceil_mode=True).repeat(1, 2, 1).flatten(1),
        "different sizes",
    ),
    "padding left out": (
        lambda z: functional.avg_pool1d(z[:, None], 3, 1, padding=1, count_include_pad=False)[:, 0],
        "different sizes",
    ),
    "unequal neighbours": (
        lambda z: functional.interpolate(z[:, None], scale_factor=2, mode="linear")[:, 0, :6],
        "different weights",
    ),
    "places": (
        lambda z: functional.max_pool1d(z[:, None], 1, return_indices=True)[0][:, 0],
        "a maximum that also returns its places",
    ),
    "a view": (through_a_view, "overwritten through a view"),
    "transposed": (lambda z: z.T.T, "transposed"),
}


@pytest.mark.parametrize("name", AFTER)
def test_what_random_values_cannot_pass_is_refused_by_name(name: str) -> None:
    middle, words = AFTER[name]
    with h.fails(ModelError, "dasp", words):
        explain(Made(middle), noise(2, 6), 1, "dasp")


@pytest.mark.parametrize("last", [True, False])
def test_what_cannot_be_seen_is_refused(last: bool) -> None:
    hidden: nn.Module = h.Wrapped(Square.apply, dense(4, 6, 3))
    if not last:
        hidden = nn.Sequential(hidden, nn.Linear(3, 3).double())
    with h.fails(ModelError, "dasp", "out of sight"):
        explain(hidden, noise(1, 4), 1, "dasp")


@pytest.mark.parametrize("more", [lambda s: s + 0.0, lambda s: s.relu()])
@pytest.mark.parametrize("before", [False, True])
def test_a_model_that_does_something_else_for_another_input_is_refused(more: Any, before: bool) -> None:
    net = dense(4, 6, 3)

    def model(x: Tensor) -> Tensor:
        if len(x) < 6:
            return net(x)
        return net(more(x)) if before else more(net(x))

    with h.fails(ModelError, "dasp", "must run the same operations", "kernel_shap"):
        explain(model, noise(1, 4), 1, "dasp")


@pytest.mark.parametrize("n_steps", [0, -1, 2.5, True])
def test_a_number_of_steps_that_is_none_is_refused(n_steps: Any) -> None:
    with h.fails(OptionError, "dasp", "`n_steps` must be an integer from 1 up"):
        explain(dense(4, 6, 3), noise(1, 4), 1, "dasp", n_steps=n_steps)


def test_a_baseline_that_does_not_fit_is_refused() -> None:
    with h.fails(ShapeError, "dasp", "`baseline` must match `x`"):
        explain(dense(4, 6, 3), noise(2, 4), 1, "dasp", baseline=torch.zeros(3, 4))
