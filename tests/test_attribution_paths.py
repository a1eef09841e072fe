"""Integrated and expected gradients: against loops from the papers, Captum, closed forms, and the axioms."""

from __future__ import annotations

from collections.abc import Iterator

import captum.attr
import helpers_attribution as h
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import slow_paths as slow
from torch import Tensor, nn

from xaiteach import explain
from xaiteach.attribution.work import normal, uniform
from xaiteach.errors import OptionError, ShapeError

RANKS = [1, 2, 3]
HEADS = ["flatten", "gap", "hidden"]
OUTPUTS = ["logit", "probability"]
DOUBLE = torch.float64


def seeded(seed: int = 5) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=DOUBLE)


def smooth_net(seed: int = 0, features: int = 4) -> nn.Sequential:
    """A net without kinks, of which every rule of quadrature converges fast."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(features, 6), nn.Tanh(), nn.Linear(6, h.CLASSES)).double()


class Quadratic(nn.Module):
    """s_c = x . Q_c x + b_c . x, with Q_c of no symmetry."""

    def __init__(self, seed: int, features: int = 4) -> None:
        super().__init__()
        self.Q, self.b = randn(3, features, features, seed=seed), randn(3, features, seed=seed + 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("ni,cij,nj->nc", x, self.Q, x) + x @ self.b.T


@pytest.fixture
def captum_in_double(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Captum rounds the quadrature's weights to float32, which moves a float64 map by 1e-10; here it may not."""
    monkeypatch.setattr(Tensor, "float", Tensor.double)
    torch.set_default_dtype(DOUBLE)
    yield
    torch.set_default_dtype(torch.float32)


# Integrated gradients


@pytest.mark.usefixtures("captum_in_double")
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("rank", RANKS)
def test_integrated_gradients_equal_captums_at_the_same_nodes(rank: int, head: str) -> None:
    net, x, c, base = h.conv_net(rank, head).eval(), h.batch(3, rank), h.targets(3), h.batch(3, rank, seed=9)
    a = explain(net, x, c, "integrated_gradients", baseline=base, n_steps=20)
    oracle, delta = captum.attr.IntegratedGradients(net).attribute(
        x, base, c, n_steps=20, method="gausslegendre", return_convergence_delta=True
    )
    torch.testing.assert_close(a.values, oracle.detach(), atol=1e-12, rtol=0.0)  # float64 rounding
    torch.testing.assert_close(a.residual, -delta.detach(), atol=1e-12, rtol=0.0)  # Captum's has the other sign


@pytest.mark.usefixtures("captum_in_double")
def test_integrated_gradients_of_the_probability_equal_captums_through_a_softmax() -> None:
    net, x, c = h.conv_net().eval(), h.batch(3), h.targets(3)
    a = explain(net, x, c, "integrated_gradients", output="probability", n_steps=20)
    oracle = captum.attr.IntegratedGradients(nn.Sequential(net, nn.Softmax(1))).attribute(x, 0.0, c, n_steps=20)
    torch.testing.assert_close(a.values, oracle.detach(), atol=1e-12, rtol=0.0)  # float64 rounding


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("n_steps", [1, 2, 7, 30])
def test_integrated_gradients_are_the_papers_formula(n_steps: int, output: str) -> None:
    net, x, base = h.conv_net(1, "hidden").eval(), h.batch(2, 1), h.batch(2, 1, seed=9)
    a = explain(net, x, [2, 1], "integrated_gradients", baseline=base, n_steps=n_steps, output=output)
    expected = slow.integrated_gradients(net, x, [2, 1], base, slow.legendre_rule(n_steps), output)
    torch.testing.assert_close(a.values, expected, atol=1e-12, rtol=0.0)  # nodes agree to 1e-15


@pytest.mark.parametrize("output", OUTPUTS)
def test_the_quadrature_finds_what_a_fine_riemann_sum_finds(output: str) -> None:
    net, x, base = smooth_net(), randn(2, 4), randn(2, 4, seed=1)
    a = explain(net, x, [2, 1], "integrated_gradients", baseline=base, output=output)
    expected = slow.integrated_gradients(net, x, [2, 1], base, slow.midpoint_rule(2000), output)
    torch.testing.assert_close(a.values, expected, atol=1e-6, rtol=0.0)  # the midpoint rule's h^2 / 24, some 1e-7


@given(seed=st.integers(0, 10**6), n_steps=st.integers(1, 12))
@settings(deadline=None, max_examples=25)
def test_a_quadratic_score_is_shared_out_exactly(seed: int, n_steps: int) -> None:
    # The gradient is linear on the path, so its mean is its value half way: (Q + Q^T) (x + x') / 2 + b.
    net, x, base = Quadratic(seed), randn(3, 4, seed=seed + 2), randn(3, 4, seed=seed + 3)
    c = torch.tensor([0, 2, 1])
    a = explain(net, x, c, "integrated_gradients", baseline=base, n_steps=n_steps)
    Q, b = net.Q[c], net.b[c]
    half_way = torch.einsum("nij,nj->ni", Q + Q.transpose(1, 2), (x + base) / 2) + b
    torch.testing.assert_close(a.values, (x - base) * half_way, atol=1e-12, rtol=1e-12)  # float64 rounding
    assert a.residual is not None
    assert a.residual.abs().max() < 1e-11  # sums of 16 products


@pytest.mark.parametrize("n_steps", [1, 2, 3, 5])
def test_n_steps_are_exact_up_to_degree_two_n(n_steps: int) -> None:
    def power(degree: int) -> Tensor:
        return explain(
            lambda x: (x**degree).sum(1, keepdim=True), x, 0, "integrated_gradients", n_steps=n_steps
        ).residual.abs()

    x = torch.tensor([[1.5, -0.7]], dtype=DOUBLE)
    assert power(2 * n_steps) < 1e-12  # rounding
    assert power(2 * n_steps + 2) > 1e-6


@pytest.mark.parametrize("n_steps", [2, 50])
def test_captum_alone_differs_by_its_float32_weights(n_steps: int) -> None:
    net, x = h.conv_net().eval(), h.batch()
    a = explain(net, x, 1, "integrated_gradients", n_steps=n_steps)
    oracle = captum.attr.IntegratedGradients(net).attribute(x, target=1, n_steps=n_steps)
    off = float((a.values - oracle.detach()).abs().max() / a.values.abs().max())
    assert off < 1e-7  # half a unit in the last place of float32 is 6e-8
    assert (off < 1e-14) == (n_steps == 2)  # whose weights, 1/2 and 1/2, float32 holds


def test_a_saturated_score_by_hand() -> None:
    # s = 1 - ReLU(1 - x) rises to 1 at x = 1 and stays: at x = 2 the gradient is 0, the difference to 0 is 1. The two
    # places (1 -+ 1/sqrt(3)) / 2 lie on either side of the kink, with gradients 1 and 0.
    x = torch.tensor([[2.0]])
    model = lambda x: 1 - (1 - x).relu()  # noqa: E731
    assert explain(model, x, 0, "saliency").values.tolist() == [[0.0]]
    a = explain(model, x, 0, "integrated_gradients", n_steps=2)
    assert (a.values.tolist(), a.residual.tolist()) == ([[1.0]], [0.0])


@pytest.mark.parametrize("n_steps", [1, 2, 9])
@pytest.mark.parametrize("rank", RANKS)
def test_a_linear_score_needs_one_step(rank: int, n_steps: int) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(h.batch(1, rank).numel(), 3)).double()
    x, base = h.batch(2, rank), h.batch(2, rank, seed=9)
    a = explain(net, x, [2, 0], "integrated_gradients", baseline=base, n_steps=n_steps)
    w = net[1].weight[[2, 0]].reshape(x.shape)
    torch.testing.assert_close(a.values, ((x - base) * w).detach(), atol=1e-14, rtol=1e-12)  # float64 rounding


@pytest.mark.parametrize("output", OUTPUTS)
def test_residual_is_the_difference_of_the_scores_less_the_sum(output: str) -> None:
    net, x, base, c = h.conv_net(head="hidden").eval(), h.batch(3), h.batch(3, seed=9), h.targets(3)
    a = explain(net, x, c, "integrated_gradients", baseline=base, n_steps=3, output=output)

    def score(z: Tensor) -> Tensor:
        s = net(z).detach()
        return (s.softmax(1) if output == "probability" else s).gather(1, c[:, None])[:, 0]

    missing = score(x) - score(base) - a.values.flatten(1).sum(1)
    torch.testing.assert_close(a.residual, missing, atol=1e-14, rtol=0.0)  # float64 rounding
    assert missing.abs().max() > 1e-4  # three steps do not do for a net with kinks


def test_residual_vanishes_on_a_smooth_net_and_shrinks_on_one_with_kinks() -> None:
    smooth = explain(smooth_net(), randn(3, 4), 1, "integrated_gradients", n_steps=40)
    assert smooth.residual.abs().max() < 1e-12  # converges faster than any power
    net, x = h.conv_net(head="hidden"), h.batch(8)
    few, many = (explain(net, x, 1, "integrated_gradients", n_steps=n).residual.abs().mean() for n in (5, 320))
    assert many < few / 8  # about 1 / n_steps


def test_a_baseline_may_be_nothing_a_number_one_sample_or_one_for_each() -> None:
    net, x = h.conv_net(), h.batch(3)

    def values(baseline: object) -> Tensor:
        return explain(net, x, 1, "integrated_gradients", baseline=baseline, n_steps=5).values

    zeros, halves = torch.zeros_like(x), torch.full_like(x, 0.5)
    for same in (0, 0.0, zeros, zeros[:1], zeros[:1].float(), zeros.long()):
        assert torch.equal(values(None), values(same))
    for same in (np.float32(0.5), halves[:1]):
        assert torch.equal(values(0.5), values(same))
    assert not torch.equal(values(None), values(0.5))
    each = h.batch(3, seed=9)
    loop = [
        explain(net, x[i : i + 1], 1, "integrated_gradients", baseline=each[i : i + 1], n_steps=5).values
        for i in range(3)
    ]
    torch.testing.assert_close(values(each), torch.cat(loop), atol=1e-14, rtol=0.0)  # float64 rounding


def test_a_sample_that_is_its_own_baseline_has_nothing_to_explain() -> None:
    x = h.batch()
    a = explain(h.conv_net(), x, 1, "integrated_gradients", baseline=x)
    assert not a.values.any()
    assert not a.residual.any()


# Integrated gradients: the axioms


@given(seed=st.integers(0, 10**6), value=st.floats(-5, 5))
@settings(deadline=None, max_examples=20)
def test_a_value_that_the_score_does_not_depend_on_gets_nothing(seed: int, value: float) -> None:
    net, x = smooth_net(seed), randn(2, 4, seed=seed)
    with torch.no_grad():
        net[0].weight[:, 2] = 0
    x[:, 2] = value
    for method, options in (("integrated_gradients", {}), ("expected_gradients", {"baseline": randn(5, 4)})):
        assert not explain(net, x, 1, method, **options).values[:, 2].any()


@given(seed=st.integers(0, 10**6), value=st.floats(-3, 3))
@settings(deadline=None, max_examples=20)
def test_values_that_can_be_exchanged_share_alike(seed: int, value: float) -> None:
    net, x, base = smooth_net(seed), randn(2, 4, seed=seed), randn(2, 4, seed=seed + 1)
    with torch.no_grad():
        net[0].weight[:, 3] = net[0].weight[:, 1]
    x[:, [1, 3]], base[:, [1, 3]] = value, 0.25
    values = explain(net, x, 2, "integrated_gradients", baseline=base).values
    torch.testing.assert_close(values[:, 1], values[:, 3], atol=1e-13, rtol=0.0)  # float64 rounding


@given(seed=st.integers(0, 10**6))
@settings(deadline=None, max_examples=20)
def test_two_nets_that_compute_the_same_get_the_same(seed: int) -> None:
    # ReLU(s z) = s ReLU(z) for s > 0: hidden units are exchanged and rescaled, and one is split into two halves.
    draw = seeded(seed)
    W, b, V = randn(6, 4, seed=seed), randn(6, seed=seed + 1), randn(h.CLASSES, 6, seed=seed + 2)
    order, s = torch.randperm(6, generator=draw), torch.rand(6, generator=draw, dtype=DOUBLE) + 0.5
    other_W, other_b, other_V = (W * s[:, None])[order], (b * s)[order], (V / s)[:, order]
    other_W, other_b = torch.cat([other_W, other_W[:1]]), torch.cat([other_b, other_b[:1]])
    other_V = torch.cat([other_V[:, :1] / 2, other_V[:, 1:], other_V[:, :1] / 2], 1)
    one, two = (
        lambda x, W=W, b=b, V=V: (x @ W.T + b).relu() @ V.T for W, b, V in ((W, b, V), (other_W, other_b, other_V))
    )
    x, c = randn(3, 4, seed=seed + 3), [0, 3, 1]
    for method, options in (
        ("integrated_gradients", {"n_steps": 11}),
        ("gradient_shap", {"baseline": randn(5, 4), "n_samples": 6, "sigma": 0.3}),
    ):
        first, second = (explain(net, x, c, method, generator=seeded(), **options).values for net in (one, two))
        # Rounding; a gate would have to lie within 1e-16 of its kink at one of the places.
        torch.testing.assert_close(first, second, atol=1e-12, rtol=0.0)


@given(seed=st.integers(0, 10**6), a=st.floats(-3, 3), b=st.floats(-3, 3))
@settings(deadline=None, max_examples=20)
def test_a_sum_of_two_scores_gets_the_sum_of_two_maps(seed: int, a: float, b: float) -> None:
    f, g, x = smooth_net(seed), smooth_net(seed + 1), randn(2, 4, seed=seed)
    for method, options in (
        ("integrated_gradients", {"n_steps": 6}),
        ("expected_gradients", {"baseline": randn(5, 4), "n_samples": 6}),
    ):
        one, two, both = (
            explain(
                model, x, 1, method, **options, **({"generator": seeded()} if "n_samples" in options else {})
            ).values
            for model in (f, g, lambda z: a * f(z) + b * g(z))
        )
        torch.testing.assert_close(both, a * one + b * two, atol=1e-12, rtol=0.0)  # float64 rounding


@given(seed=st.integers(0, 10**6), output=st.sampled_from(OUTPUTS))
@settings(deadline=None, max_examples=20)
def test_values_add_up_on_any_smooth_net(seed: int, output: str) -> None:
    net, x, base = smooth_net(seed), randn(2, 4, seed=seed), randn(2, 4, seed=seed + 1)
    a = explain(net, x, [0, 3], "integrated_gradients", baseline=base, output=output, n_steps=60)
    assert a.residual.abs().max() < 1e-10  # the rule's error for tanh over a distance of some units


# Random numbers, row by row


@pytest.mark.parametrize("width", [1, 2, 3, 7, 15, 16, 17, 40, 97, 1000])
def test_one_call_draws_what_a_call_for_each_number_draws(width: int) -> None:
    # PyTorch promises no such thing of its generator on a CPU; everything random here rests on it.
    at_once = uniform(torch.zeros(5, width, dtype=DOUBLE), width, seeded())
    row_by_row = seeded()
    assert torch.equal(
        at_once, torch.cat([uniform(torch.zeros(1, width, dtype=DOUBLE), width, row_by_row) for _ in range(5)])
    )
    assert at_once.flatten().tolist() == slow.uniform_numbers(seeded(), 5 * width)


def test_normal_numbers_are_the_standard_librarys() -> None:
    expected = slow.noise(seeded(), torch.empty(20, 50))
    found = normal(uniform(torch.zeros(20, 50, dtype=DOUBLE), 50, seeded()), torch.empty(20, 50, dtype=DOUBLE))
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-12)  # two approximations to 1e-15


def test_the_least_and_the_largest_uniform_number_are_finite_and_opposite() -> None:
    ends = normal(torch.tensor([0.0, 1 - 2**-53], dtype=DOUBLE), torch.empty(2, dtype=DOUBLE))
    assert ends.isfinite().all()
    assert ends[0] == -ends[1]
    assert 8 < ends[1] < 9


def test_float32_sees_the_draws_of_float64() -> None:
    wide = normal(uniform(torch.zeros(4, 6, dtype=DOUBLE), 6, seeded()), torch.zeros(4, 6, dtype=DOUBLE))
    single = torch.zeros(4, 6)
    assert torch.equal(normal(uniform(single, 6, seeded()), single), wide.float())


def test_without_a_generator_the_global_state_is_drawn_from() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        assert torch.equal(
            uniform(torch.zeros(3, 2, dtype=DOUBLE), 2, None), uniform(torch.zeros(3, 2, dtype=DOUBLE), 2, seeded(5))
        )


# Expected gradients and GradientSHAP


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("rank", RANKS)
def test_expected_gradients_are_the_papers_mean_over_the_same_draws(rank: int, output: str) -> None:
    net, x, data = h.conv_net(rank, "hidden").eval(), h.batch(2, rank), h.batch(3, rank, seed=9)
    a = explain(net, x, [2, 1], "expected_gradients", baseline=data, n_samples=5, output=output, generator=seeded())
    expected = slow.expected_gradients(net, x, [2, 1], data, 5, seeded(), output=output)
    torch.testing.assert_close(a.values, expected, atol=1e-12, rtol=0.0)  # float64 rounding


@pytest.mark.parametrize("rank", RANKS)
def test_gradient_shap_is_the_same_with_noise(rank: int) -> None:
    net, x, data = h.conv_net(rank, "hidden").eval(), h.batch(2, rank), h.batch(3, rank, seed=9)
    a = explain(net, x, [2, 1], "gradient_shap", baseline=data, n_samples=4, sigma=0.3, generator=seeded())
    expected = slow.expected_gradients(net, x, [2, 1], data, 4, seeded(), sigma=0.3)
    torch.testing.assert_close(a.values, expected, atol=1e-11, rtol=0.0)  # two inverses of the normal distribution


def test_one_baseline_makes_it_a_random_riemann_sum_of_integrated_gradients() -> None:
    net, x, origin = h.conv_net().eval(), h.batch(1), h.batch(1, seed=9)
    found = explain(net, x, 2, "expected_gradients", baseline=origin, n_samples=6, generator=seeded()).values
    numbers = slow.uniform_numbers(seeded(), 12)  # which baseline, and where; six times
    expected = slow.integrated_gradients(net, x, [2], origin, (numbers[1::2], [1 / 6] * 6))
    torch.testing.assert_close(found, expected, atol=1e-13, rtol=0.0)  # float64 rounding


def test_their_expectation_is_the_mean_of_integrated_gradients_over_the_baselines() -> None:
    net, x, data = smooth_net(), randn(2, 4), randn(5, 4, seed=1)
    exact = torch.stack([explain(net, x, 2, "integrated_gradients", baseline=d[None]).values for d in data]).mean(0)
    runs = torch.stack(
        [explain(net, x, 2, "expected_gradients", baseline=data, generator=seeded(seed)).values for seed in range(60)]
    )
    error = runs.std(0) / len(runs) ** 0.5
    assert ((runs.mean(0) - exact).abs() < 4 * error).all()  # four standard errors of 60 runs of 100 draws
    assert (error < 0.05 * exact.abs().max()).all()  # and that says something


def test_noise_of_gradient_shap_has_the_deviation_asked_for() -> None:
    # Of s = w . x one draw is w (x + e - x'): the variance over draws of noise alone is w^2 sigma^2.
    net, x = nn.Linear(3, 2, bias=False).double(), torch.zeros(1, 3, dtype=DOUBLE)
    draws = torch.cat(
        [
            explain(net, x, 1, "gradient_shap", baseline=x, n_samples=1, sigma=0.7, generator=seeded(seed)).values
            for seed in range(400)
        ]
    )
    e = draws / net.weight[1].detach()
    assert abs(float(e.std()) - 0.7) < 4 * 0.7 / (2 * e.numel()) ** 0.5  # four standard errors of a deviation
    assert abs(float(e.mean())) < 4 * 0.7 / e.numel() ** 0.5


def test_every_baseline_is_drawn_equally_often() -> None:
    # Of s = sum x, x = 0 and baselines that are unit vectors, the map is minus the share of draws of each.
    data, x = torch.eye(5, dtype=DOUBLE), torch.zeros(1, 5, dtype=DOUBLE)
    share = -explain(
        lambda x: x.sum(1, keepdim=True), x, 0, "expected_gradients", baseline=data, n_samples=4000, generator=seeded()
    ).values
    assert float(share.sum()) == pytest.approx(1, abs=1e-12)
    assert ((share - 0.2).abs() < 4 * (0.2 * 0.8 / 4000) ** 0.5).all()  # four standard errors of a share


def test_a_linear_score_is_exact_with_one_baseline_and_any_draws() -> None:
    net, x = nn.Linear(3, 2).double(), randn(2, 3)
    for method in ("expected_gradients", "gradient_shap"):
        a = explain(net, x, [1, 0], method, baseline=torch.ones(1, 3), n_samples=2)
        torch.testing.assert_close(a.values, ((x - 1) * net.weight[[1, 0]]).detach(), atol=1e-14, rtol=0.0)  # rounding
        assert a.residual.abs().max() < 1e-14


def test_gradient_shap_without_noise_is_expected_gradients_bit_for_bit() -> None:
    net, x, data = h.conv_net(), h.batch(2), h.batch(3, seed=9)
    one = explain(net, x, 1, "expected_gradients", baseline=data, n_samples=5, generator=seeded())
    two = explain(net, x, 1, "gradient_shap", baseline=data, n_samples=5, sigma=0, generator=seeded())
    assert torch.equal(one.values, two.values)
    assert torch.equal(one.residual, two.residual)


@pytest.mark.parametrize("sigma", [None, 0.3])
def test_one_generator_gives_one_map_however_the_rows_are_split(sigma: float | None) -> None:
    net, x, data, c = h.conv_net(), h.batch(4), h.batch(3, seed=9), h.targets(4)
    method = "expected_gradients" if sigma is None else "gradient_shap"
    options = {"baseline": data, "n_samples": 5} | ({} if sigma is None else {"sigma": sigma})
    whole = explain(net, x, c, method, generator=seeded(), **options).values
    for budget in (1e-6, 0.04, 0.1):
        split = explain(net, x, c, method, generator=seeded(), budget_mib=budget, **options).values
        torch.testing.assert_close(split, whole, atol=1e-10, rtol=0.0)  # contracts.md
    both = seeded()
    halves = [explain(net, x[i : i + 2], c[i : i + 2], method, generator=both, **options).values for i in (0, 2)]
    torch.testing.assert_close(torch.cat(halves), whole, atol=1e-10, rtol=0.0)  # contracts.md


@pytest.mark.parametrize("output", OUTPUTS)
def test_residual_compares_with_the_mean_score_of_all_the_data(output: str) -> None:
    net, x, data, c = h.conv_net().eval(), h.batch(3), h.batch(5, seed=9), torch.tensor([3, 0, 3])
    a = explain(net, x, c, "expected_gradients", baseline=data, n_samples=4, output=output)
    with torch.no_grad():
        here, there = (net(z).softmax(1) if output == "probability" else net(z) for z in (x, data))
    missing = here.gather(1, c[:, None])[:, 0] - there.mean(0)[c] - a.values.flatten(1).sum(1)
    torch.testing.assert_close(a.residual, missing, atol=1e-14, rtol=0.0)  # float64 rounding


def test_the_datas_scores_are_computed_once_for_all_samples() -> None:
    rows: list[int] = []
    net, x = h.conv_net(), h.batch(4)
    net.register_forward_hook(lambda _, inputs, __: rows.append(len(inputs[0])))
    explain(net, x, h.targets(4), "expected_gradients", baseline=h.batch(7, seed=9), n_samples=3)
    assert sum(rows) == 1 + 4 * 3 + 7 + 4  # a look, the draws, the data, the samples


def test_residual_is_zero_on_average() -> None:
    net, x, data = smooth_net(), randn(1, 4), randn(5, 4, seed=1)
    runs = torch.cat(
        [explain(net, x, 2, "expected_gradients", baseline=data, generator=seeded(s)).residual for s in range(60)]
    )
    assert abs(float(runs.mean())) < 4 * float(runs.std()) / len(runs) ** 0.5  # four standard errors


def test_a_baseline_that_is_the_sample_adds_nothing() -> None:
    net, x, other = nn.Linear(3, 2).double(), randn(1, 3), randn(1, 3, seed=1)
    options = {"n_samples": 400, "generator": seeded()}
    alone = explain(net, x, 1, "integrated_gradients", baseline=other).values
    beside = explain(net, x, 1, "expected_gradients", baseline=torch.cat([x, other]), **options).values
    share = beside / alone
    assert share.max() - share.min() < 1e-12  # one share of draws for every value, to rounding
    assert abs(float(share.mean()) - 0.5) < 4 * 0.5 / 20  # four standard errors of a share of 400


# Refusals


@pytest.mark.parametrize(
    ("baseline", "words"),
    [
        (torch.zeros(8, 6), "Try baseline.expand(1, 2, 8, 6)."),
        (torch.zeros(2, 8, 6), "Try baseline[None]."),
        (torch.zeros(3, 1, 8, 6), "a float32 tensor of shape (3, 1, 8, 6). Try baseline=None"),
        (torch.zeros(2, 2, 8, 6), "(2, 2, 8, 6)"),
        (np.zeros((3, 2, 8, 6)), "Try torch.as_tensor(baseline)."),
        ("black", "got a str"),
        (True, "got a bool"),
        ([0.0], "a list of 1"),
    ],
)
def test_a_baseline_of_another_shape_is_told_what_fits(baseline: object, words: str) -> None:
    with h.fails(ShapeError, "integrated_gradients: `baseline` must match `x`, shape (3, 2, 8, 6)", words):
        explain(h.conv_net(), h.batch(), 1, "integrated_gradients", baseline=baseline)


def test_an_image_without_batch_and_channel_is_told_to_get_both() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, 3))
    with h.fails(ShapeError, "shape (8, 1, 28, 28)", "(28, 28). Try baseline[None, None]."):
        explain(net, torch.rand(8, 1, 28, 28), 1, "integrated_gradients", baseline=torch.zeros(28, 28))


@pytest.mark.parametrize("baseline", [float("nan"), torch.full((1, 2, 8, 6), torch.inf)])
def test_a_baseline_that_is_not_finite_is_refused(baseline: object) -> None:
    with h.fails(ShapeError, "`baseline` must hold finite numbers"):
        explain(h.conv_net(), h.batch(), 1, "integrated_gradients", baseline=baseline)


@pytest.mark.parametrize("method", ["expected_gradients", "gradient_shap"])
@pytest.mark.parametrize(
    ("baseline", "words"),
    [
        (None, "got a NoneType. Try baseline=x_train[:100]."),
        (0.0, "got a float"),
        (torch.zeros(2, 8, 6), "Try baseline[None]."),
        (torch.zeros(0, 2, 8, 6), "(0, 2, 8, 6)"),
        (torch.zeros(5, 2, 6, 8), "shape (m, 2, 8, 6)"),
        (torch.full((1, 2, 8, 6), torch.nan), "finite"),
    ],
)
def test_what_is_no_set_of_baselines_is_refused(method: str, baseline: object, words: str) -> None:
    with h.fails(ShapeError, f"{method}: `baseline` must", words):
        explain(h.conv_net(), h.batch(), 1, method, baseline=baseline)


@pytest.mark.parametrize("count", [0, -1, True, 2.5, "50", None])
def test_a_number_of_steps_or_draws_is_a_whole_number_from_one_up(count: object) -> None:
    net, x = h.conv_net(), h.batch()
    with h.fails(OptionError, "integrated_gradients: `n_steps` must be an integer from 1 up", repr(count)):
        explain(net, x, 1, "integrated_gradients", n_steps=count)
    for method in ("expected_gradients", "gradient_shap"):
        with h.fails(OptionError, f"{method}: `n_samples` must be an integer from 1 up", repr(count)):
            explain(net, x, 1, method, baseline=x, n_samples=count)


@pytest.mark.parametrize("sigma", [-0.1, float("nan"), float("inf"), True, "0.1", None, torch.tensor(0.1)])
def test_a_deviation_is_a_finite_number_from_zero_up(sigma: object) -> None:
    with h.fails(OptionError, "gradient_shap: `sigma` must be a finite number, 0 or above", "Try sigma=0.1."):
        explain(h.conv_net(), h.batch(), 1, "gradient_shap", baseline=h.batch(), sigma=sigma)


@pytest.mark.parametrize("method", ["integrated_gradients", "expected_gradients", "gradient_shap"])
def test_unknown_options_and_outputs_name_the_nearest(method: str) -> None:
    net, x = h.conv_net(), h.batch()
    with h.fails(OptionError, f"unknown option of {method} 'base_line'; did you mean 'baseline'?"):
        explain(net, x, 1, method, base_line=x)
    with h.fails(OptionError, "unknown output 'prob'; did you mean 'probability'?"):
        explain(net, x, 1, method, baseline=x, output="prob")
