"""SmoothGrad, its square and VarGrad over any base: against loops over the same draws, closed forms, and identities."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from statistics import NormalDist
from typing import Any

import helpers_attribution as h
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import slow_paths
from torch import Tensor, nn

from xaiteach import explain
from xaiteach.errors import ModelError, OptionError, ShapeError

DOUBLE = torch.float64
MOMENTS = ["smoothgrad", "smoothgrad_squared", "vargrad"]


def seeded(seed: int = 5) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=DOUBLE)


def smooth_net(seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, h.CLASSES)).double()


class Cubic(nn.Module):
    """s = sum_i (w_i x_i + x_i^3): the gradient is w_i + 3 x_i^2."""

    def __init__(self, w: float = 0.0) -> None:
        super().__init__()
        self.w = w

    def forward(self, x: Tensor) -> Tensor:
        return (self.w * x + x**3).sum(1, keepdim=True)


def slow_bases(net: nn.Sequential) -> dict[str, slow_paths.Map]:
    """Maps of one sample, from the papers."""

    def grad_cam(sample: Tensor, c: int, _: float) -> Tensor:
        A = h.features(net)(sample[None])[0].detach()
        g = slow_paths.gradient(lambda a: h.head_of(net)(a), A, c)
        return sum(g[k].mean() * A[k] for k in range(len(A))).relu()[None]

    return {
        "saliency": lambda sample, c, _: slow_paths.gradient(net, sample, c),
        "input_x_gradient": lambda sample, c, _: sample * slow_paths.gradient(net, sample, c),
        "grad_cam": grad_cam,
        # One place on the path, of which the mean over draws is the integral.
        "integrated_gradients": lambda sample, c, alpha: sample * slow_paths.gradient(net, alpha * sample, c),
    }


def slow_path_of(net: nn.Sequential, n_steps: int) -> slow_paths.Map:
    rule = slow_paths.legendre_rule(n_steps)
    return lambda sample, c, _: slow_paths.integrated_gradients(
        net, sample[None], [c], torch.zeros_like(sample)[None], rule
    )[0]


# Against slow forms


@pytest.mark.parametrize("base", ["saliency", "input_x_gradient", "grad_cam"])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_moments_are_those_of_a_loop_over_the_same_draws(rank: int, base: str) -> None:
    net, x = h.conv_net(rank, "hidden").eval(), h.batch(2, rank)
    expected = slow_paths.over_noise(slow_bases(net)[base], x, [2, 1], 0.1, 4, seeded())
    for method, values in zip(MOMENTS, expected, strict=True):
        found = explain(net, x, [2, 1], method, base=base, sigma=0.1, n_samples=4, generator=seeded()).values
        # Two inverses of the normal distribution agree to 1e-15; the net and the squares take a few digits of that.
        torch.testing.assert_close(found, values, atol=1e-12, rtol=1e-9)


def test_noise_and_path_are_one_budget_of_draws() -> None:
    net, x = h.conv_net(head="hidden").eval(), h.batch(2)
    expected, _, _ = slow_paths.over_noise(slow_bases(net)["integrated_gradients"], x, [2, 1], 0.1, 5, seeded())
    rows: list[int] = []
    net.register_forward_hook(lambda _, inputs, __: rows.append(len(inputs[0])))
    options = {"base": "integrated_gradients", "sigma": 0.1, "n_samples": 5, "generator": seeded()}
    a = explain(net, x, [2, 1], "smoothgrad", **options)
    torch.testing.assert_close(a.values, expected, atol=1e-12, rtol=1e-9)  # as above
    assert sum(rows) == 1 + 2 * 5  # a look, and one row for each draw
    assert a.options["base_options"] == {"baseline": None}


def test_squares_over_a_path_integrate_it_for_every_draw() -> None:
    # The mean over places of a square is not the square of the mean: one place for each draw would say too much.
    net, x = h.conv_net(head="hidden").eval(), h.batch(2)
    _, *expected = slow_paths.over_noise(slow_path_of(net, 3), x, [2, 1], 0.1, 4, seeded())
    for method, values in zip(MOMENTS[1:], expected, strict=True):
        options = {"base": "integrated_gradients", "sigma": 0.1, "n_samples": 4, "base_options": {"n_steps": 3}}
        found = explain(net, x, [2, 1], method, generator=seeded(), **options).values
        torch.testing.assert_close(found, values, atol=1e-12, rtol=1e-9)  # as above


def test_smoothed_path_of_a_cube_by_hand() -> None:
    # Of s = sum x^3 from 0 the map is x^3; with noise of deviation d its mean is x^3 + 3 x d^2.
    x = torch.tensor([[1.0, -2.0, 0.5]], dtype=DOUBLE)
    d = 0.1 * 3.0
    exact = x**3 + 3 * x * d**2
    runs = torch.cat(
        [
            explain(
                Cubic(), x, 0, "smoothgrad", base="integrated_gradients", sigma=0.1, n_samples=64, generator=seeded(s)
            ).values
            for s in range(60)
        ]
    )
    error = runs.std(0) / len(runs) ** 0.5
    assert ((runs.mean(0) - exact[0]).abs() < 4 * error).all()  # four standard errors of 60 runs of 64 draws
    assert (error < 0.02 * exact.abs().max()).all()


def test_smoothgrad_rounds_off_a_kink_as_the_normal_distribution_does() -> None:
    # Of ReLU(x_0 - x_1) the mean gradient is the chance that the noise leaves it positive.
    x = torch.tensor([[0.3, 0.0]], dtype=DOUBLE)
    sigma = 0.5  # of a range of 0.3; two such noises
    chance = NormalDist().cdf(0.3 / (0.15 * 2**0.5))
    found = explain(
        lambda x: (x[:, :1] - x[:, 1:]).relu(), x, 0, "smoothgrad", sigma=sigma, n_samples=10000, generator=seeded()
    ).values[0]
    error = (chance * (1 - chance) / 10000) ** 0.5
    assert abs(float(found[0]) - chance) < 4 * error  # four standard errors of a share
    assert float(found[1]) == -float(found[0])


def test_variance_of_a_quadratic_gradient_is_the_noises() -> None:
    # Of sum w_i x_i^2 the gradient is 2 w_i x_i: its deviation is 2 w_i times the noise's.
    w, x = torch.tensor([1.0, 3.0], dtype=DOUBLE), torch.tensor([[1.0, 2.0]], dtype=DOUBLE)
    options = {"sigma": 0.2, "n_samples": 5000, "generator": seeded()}
    found = explain(lambda x: (w * x**2).sum(1, keepdim=True), x, 0, "vargrad", **options).values[0]
    relative = found / (2 * w * 0.2) ** 2 - 1
    assert (relative.abs() < 4 * (2 / 5000) ** 0.5).all()  # four standard errors of a variance


# Identities


@pytest.mark.parametrize("base", ["saliency", "grad_cam", "guided_backprop"])
def test_the_mean_square_is_the_variance_and_the_square_of_the_mean(base: str) -> None:
    net, x = h.conv_net(), h.batch()
    mean, square, variance = (
        explain(net, x, 1, method, base=base, n_samples=6, generator=seeded()).values for method in MOMENTS
    )
    torch.testing.assert_close(square, variance + mean**2, atol=1e-15, rtol=1e-12)  # float64 rounding
    assert variance.max() > 0
    assert variance.min() >= 0


@pytest.mark.parametrize("base", ["saliency", "input_x_gradient", "grad_cam"])
def test_without_noise_it_is_the_base(base: str) -> None:
    net, x, c = h.conv_net(), h.batch(), h.targets()
    mean, square, variance = (explain(net, x, c, method, base=base, sigma=0, n_samples=3).values for method in MOMENTS)
    values = explain(net, x, c, base).values
    torch.testing.assert_close(mean, values, atol=1e-14, rtol=0.0)  # a batch of another size rounds otherwise
    torch.testing.assert_close(square, values**2, atol=1e-14, rtol=0.0)
    assert variance.max() < 1e-28  # that rounding, squared


@pytest.mark.parametrize("base", ["saliency", "integrated_gradients"])
def test_a_constant_sample_gets_no_noise(base: str) -> None:
    net = h.conv_net()
    x = torch.full_like(h.batch(1), 0.7)
    found = explain(net, x, 1, "vargrad", base=base, sigma=0.5, n_samples=4).values
    assert found.max() < 1e-28  # rounding, squared
    beside = torch.cat([x, h.batch(1)])
    assert explain(net, beside, 1, "vargrad", base=base, sigma=0.5, n_samples=4).values[1].max() > 1e-6


def test_noise_is_a_fraction_of_each_samples_own_range() -> None:
    # A sample ten times as large gets noise ten times as large: of a cube the gradient grows a hundredfold.
    x = randn(1, 4)
    once = explain(Cubic(), x, 0, "smoothgrad", generator=seeded()).values
    both = explain(Cubic(), torch.cat([x, 10 * x]), 0, "smoothgrad", generator=seeded()).values
    torch.testing.assert_close(both[:1], once, atol=1e-13, rtol=0.0)  # float64 rounding
    ten_times = explain(Cubic(), 10 * x, 0, "smoothgrad", generator=seeded()).values
    torch.testing.assert_close(ten_times, 100 * once, atol=0.0, rtol=1e-12)  # float64 rounding


@given(seed=st.integers(0, 10**6), sigma=st.floats(0, 3), n=st.integers(1, 5))
@settings(deadline=None, max_examples=20)
def test_noise_does_not_move_the_gradient_of_a_linear_score(seed: int, sigma: float, n: int) -> None:
    net, x = nn.Sequential(nn.Flatten(), nn.Linear(12, 3)).double(), randn(2, 3, 4, seed=seed)
    options = {"sigma": sigma, "n_samples": n, "generator": seeded(seed)}
    mean, square, variance = (explain(net, x, [2, 0], method, **options).values for method in MOMENTS)
    w = net[1].weight[[2, 0]].reshape(x.shape).detach()
    assert torch.equal(mean, w)
    assert torch.equal(square, w**2)
    assert not variance.any()


@given(seed=st.integers(0, 10**6), a=st.floats(-3, 3), b=st.floats(-3, 3), base=st.sampled_from(["saliency", "path"]))
@settings(deadline=None, max_examples=20)
def test_a_sum_of_two_scores_gets_the_sum_of_two_means(seed: int, a: float, b: float, base: str) -> None:
    f, g, x = smooth_net(seed), smooth_net(seed + 1), randn(2, 4, seed=seed)
    models = (f, g, lambda z: a * f(z) + b * g(z))
    options = {"base": "integrated_gradients" if base == "path" else base, "n_samples": 5}
    one, two, both = (explain(m, x, 1, "smoothgrad", generator=seeded(seed), **options).values for m in models)
    torch.testing.assert_close(both, a * one + b * two, atol=1e-12, rtol=0.0)  # float64 rounding


@given(seed=st.integers(0, 10**6), method=st.sampled_from(MOMENTS))
@settings(deadline=None, max_examples=20)
def test_a_value_that_the_score_does_not_depend_on_gets_nothing(seed: int, method: str) -> None:
    net, x = smooth_net(seed), randn(2, 4, seed=seed)
    with torch.no_grad():
        net[0].weight[:, 2] = 0
    assert not explain(net, x, 1, method, n_samples=5).values[:, 2].any()


def test_a_large_mean_does_not_cancel_the_variance_away_in_float32() -> None:
    # Gradients of 1e4 that vary by 1: their squares have 8 digits before the variance begins, float32 holds 7.
    x = torch.tensor([[0.1, 0.5, -0.4]], dtype=DOUBLE)
    exact, found = (
        explain(Cubic(1e4), x.to(dtype), 0, "vargrad", sigma=0.3, n_samples=40, generator=seeded()).values.double()
        for dtype in (DOUBLE, torch.float32)
    )
    gradients = torch.tensor(1e4) + 3 * (x.float() + 0.27 * torch.randn(40, 3, generator=seeded())) ** 2
    naive = (gradients**2).mean(0) - gradients.mean(0) ** 2
    # A gradient near 1e4 is rounded by 5e-4, so a deviation of 0.2 is known to 0.3 %; the naive form misses by more.
    torch.testing.assert_close(found, exact, atol=0.0, rtol=2e-2)
    assert ((naive.double() - exact[0]).abs() > exact[0]).any()


# One generator, one map


@pytest.mark.parametrize(
    "base", ["saliency", "grad_cam", "integrated_gradients", "deeplift", "guided_backprop", "lrp_epsilon"]
)
@pytest.mark.parametrize("method", MOMENTS)
def test_one_generator_gives_one_map_however_the_rows_are_split(method: str, base: str) -> None:
    net, x, c = h.conv_net(), h.batch(4), h.targets(4)
    options: dict[str, Any] = {"base": base, "n_samples": 3}
    whole = explain(net, x, c, method, generator=seeded(), **options).values
    scale = max(1.0, float(whole.abs().max()))
    for budget in (1e-6, 0.1):
        split = explain(net, x, c, method, generator=seeded(), budget_mib=budget, **options).values
        torch.testing.assert_close(split, whole, atol=1e-10 * scale, rtol=0.0)  # contracts.md
    both = seeded()
    halves = [explain(net, x[i : i + 2], c[i : i + 2], method, generator=both, **options).values for i in (0, 2)]
    torch.testing.assert_close(torch.cat(halves), whole, atol=1e-10 * scale, rtol=0.0)  # contracts.md
    other = explain(net, x, c, method, generator=seeded(6), **options).values
    assert (other - whole).abs().max() > 1e-6


BOUNDED = ["smoothgrad", "integrated_gradients", "gradient_shap", "lime", "rise"]
BOUNDED += ["guided_backprop", "rectgrad", "lrp_alpha_beta", "lrp_gamma", "deeplift", "deeplift_reveal_cancel"]


@pytest.mark.parametrize("method", BOUNDED)
def test_memory_stays_near_the_budget(method: str, tmp_path: Path) -> None:
    # Rows are counted from what autograd saves of one sample, twice: gradients are not all there at once.
    net = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), h.Mean())
    x = torch.rand(16, 3, 32, 32)
    options = {"baseline": x[:4], "sigma": 0.1} if method == "gradient_shap" else {}
    activity = torch.profiler.ProfilerActivity.CPU
    with torch.profiler.profile(activities=[activity], profile_memory=True) as profile:
        h.run(method, net, x, 1, budget_mib=8, progress=False, **options)
    profile.export_chrome_trace(str(tmp_path / "trace.json"))
    events = json.loads((tmp_path / "trace.json").read_text(encoding="utf-8"))["traceEvents"]
    allocations = sorted((e["ts"], e["args"]["Bytes"]) for e in events if e.get("name") == "[memory]")
    most = max(itertools.accumulate(size for _, size in allocations)) / 2**20
    assert 4 < most < 1.75 * 8


# Bases and their options


def test_a_base_has_its_own_options_and_default_layer() -> None:
    net, x = h.conv_net(), h.batch()
    a = explain(net, x, 1, "smoothgrad", base="grad_cam", sigma=0, n_samples=2)
    assert a.options["base_options"] == {"layer": "5", "relu": True}
    assert a.values.shape == (3, 1, 4, 3)
    assert a.map.shape == (3, 8, 6)
    early = explain(
        net, x, 1, "smoothgrad", base="grad_cam", sigma=0, n_samples=2, base_options={"layer": net[1], "relu": False}
    )
    assert early.options["base_options"] == {"layer": "1", "relu": False}
    expected = explain(net, x, 1, "grad_cam", layer="1", relu=False).values
    torch.testing.assert_close(early.values, expected, atol=1e-14, rtol=0.0)  # float64 rounding


@pytest.mark.parametrize("base", ["saliency", "input_x_gradient", "grad_cam", "integrated_gradients"])
def test_output_is_the_bases(base: str) -> None:
    net, x = h.conv_net(), h.batch()
    a = explain(net, x, 1, "smoothgrad", base=base, output="probability", sigma=0, n_samples=400)
    assert a.output == "probability"
    assert explain(net, x, 1, "smoothgrad", base=base, n_samples=2).output == "logit"
    if base != "integrated_gradients":
        expected = explain(net, x, 1, base, output="probability").values
        torch.testing.assert_close(a.values, expected, atol=1e-14, rtol=0.0)  # float64 rounding
    else:
        exact = explain(net, x, 1, base, output="probability", n_steps=100).values
        # Draws of a place on the path: 400 of them leave a twentieth of their deviation.
        assert (a.values - exact).abs().max() < 0.3 * exact.abs().max()


@pytest.mark.parametrize("base", ["deeplift", "integrated_gradients"])
def test_each_samples_baseline_goes_with_its_draws(base: str) -> None:
    net, x, each = h.conv_net(), h.batch(3), h.batch(3, seed=9)

    def values(method: str, x: Tensor, baseline: object, generator: torch.Generator) -> Tensor:
        options = {"base": base, "n_samples": 3, "base_options": {"baseline": baseline}}
        return explain(net, x, 1, method, generator=generator, **options).values

    for method in ("smoothgrad", "smoothgrad_squared"):
        whole, generator = values(method, x, each, seeded()), seeded()
        loop = [values(method, x[i : i + 1], each[i : i + 1], generator) for i in range(3)]
        torch.testing.assert_close(whole, torch.cat(loop), atol=1e-11, rtol=0.0)  # float64 rounding
        assert torch.equal(values(method, x, None, seeded()), values(method, x, 0.0, seeded()))


@pytest.mark.parametrize("m", [3, 5])  # as many as samples, and more
def test_a_set_of_baselines_serves_every_draw(m: int) -> None:
    net, x, data = h.conv_net(), h.batch(3), h.batch(m, seed=9)
    options = {"base": "deep_shap", "sigma": 0, "n_samples": 2, "base_options": {"baseline": data}}
    found = explain(net, x, 1, "smoothgrad", budget_mib=1e-6, **options).values
    expected = explain(net, x, 1, "deep_shap", baseline=data).values
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0.0)  # float64 rounding


def test_a_base_that_wants_modules_is_told_so() -> None:
    with h.fails(ModelError, "torch.nn.Module"):
        explain(lambda x: x.flatten(1), h.batch(), 1, "smoothgrad", base="grad_cam")


# Refusals


@pytest.mark.parametrize("method", MOMENTS)
@pytest.mark.parametrize("base", ["smoothgrad", "expected_gradients", "shapley_exact", 3, None, ["saliency"]])
def test_a_base_that_draws_or_reads_scores_alone_is_refused(method: str, base: object) -> None:
    words = f"{method}: `base` must be a method that asks the model for more than scores and draws nothing"
    with h.fails(OptionError, words, repr(base), "saliency, input_x_gradient", "grad_cam", "integrated_gradients"):
        explain(h.conv_net(), h.batch(), 1, method, base=base)


def test_bases_that_are_advised_can_be_had() -> None:
    with pytest.raises(OptionError) as caught:
        explain(h.conv_net(), h.batch(), 1, "smoothgrad", base="vargrad")
    advised = str(caught.value).partition("Try one of ")[2].rstrip(".").split(", ")
    assert not {"smoothgrad", "vargrad", "random_map", "kernel_shap"} & set(advised)
    assert {"saliency", "grad_cam", "integrated_gradients", "deeplift", "lrp_epsilon"} <= set(advised)


@pytest.mark.parametrize("method", MOMENTS)
def test_unknown_bases_options_and_outputs_name_the_nearest(method: str) -> None:
    net, x = h.conv_net(), h.batch()
    with h.fails(OptionError, "unknown method 'salience'; did you mean 'saliency'?"):
        explain(net, x, 1, method, base="salience")
    with h.fails(OptionError, f"unknown option of {method} 'sigm'; did you mean 'sigma'?"):
        explain(net, x, 1, method, sigm=0.1)
    with h.fails(OptionError, "unknown option of grad_cam 'layr'; did you mean 'layer'?"):
        explain(net, x, 1, method, base="grad_cam", base_options={"layr": "5"})
    for base in ("saliency", "lrp_epsilon", "integrated_gradients"):
        with h.fails(OptionError, "unknown output 'prob'; did you mean 'probability'?"):
            explain(net, x, 1, method, base=base, output="prob")


@pytest.mark.parametrize("method", MOMENTS)
def test_options_that_are_in_the_wrong_place_are_told_their_place(method: str) -> None:
    net, x = h.conv_net(), h.batch()
    with h.fails(OptionError, f"{method}: `output` must be given to {method} itself", "Try output='probability'."):
        explain(net, x, 1, method, base_options={"output": "probability"})
    with h.fails(OptionError, f"{method}: `base_options` must be a dict", "'layer'"):
        explain(net, x, 1, method, base_options="layer")
    with h.fails(OptionError, f"{method}: `output` must be 'logit' for lrp_epsilon", "'probability'"):
        explain(net, x, 1, method, base="lrp_epsilon", output="probability")
    with h.fails(OptionError, "grad_cam: `relu` must be True or False"):
        explain(net, x, 1, method, base="grad_cam", base_options={"relu": "yes"})


def test_a_number_of_steps_beside_the_one_budget_is_refused() -> None:
    options = {"base": "integrated_gradients", "base_options": {"n_steps": 50}}
    with h.fails(OptionError, "smoothgrad: `n_samples` must count the draws of noise and path together", "n_steps=50"):
        explain(h.conv_net(), h.batch(), 1, "smoothgrad", **options)


@pytest.mark.parametrize("method", MOMENTS)
@pytest.mark.parametrize("count", [0, -1, True, 2.5, None])
def test_a_number_of_draws_is_a_whole_number_from_one_up(method: str, count: object) -> None:
    with h.fails(OptionError, f"{method}: `n_samples` must be an integer from 1 up", repr(count)):
        explain(h.conv_net(), h.batch(), 1, method, n_samples=count)


@pytest.mark.parametrize("method", MOMENTS)
@pytest.mark.parametrize("sigma", [-0.1, float("nan"), float("inf"), True, "0.1", None])
def test_a_deviation_is_a_finite_number_from_zero_up(method: str, sigma: object) -> None:
    with h.fails(OptionError, f"{method}: `sigma` must be a finite number, 0 or above", "Try sigma=0.15."):
        explain(h.conv_net(), h.batch(), 1, method, sigma=sigma)


@pytest.mark.parametrize("method", MOMENTS)
def test_a_baseline_of_another_shape_is_measured_against_the_samples(method: str) -> None:
    options = {"base": "integrated_gradients", "base_options": {"baseline": torch.zeros(2, 8, 6)}, "n_samples": 2}
    with h.fails(ShapeError, "`baseline` must match `x`, shape (3, 2, 8, 6)", "Try baseline[None]."):
        explain(h.conv_net(), h.batch(), 1, method, **options)
