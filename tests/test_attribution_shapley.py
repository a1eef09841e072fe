"""Shapley values: a game by hand, the axioms, brute force, shap and Captum; sampling and KernelSHAP."""

from __future__ import annotations

import importlib
import itertools
import warnings
from fractions import Fraction
from typing import Any

import captum.attr
import helpers_attribution as h
import helpers_oracles as o
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import slow_shapley as slow
from torch import Tensor, nn

from xaiteach import explain
from xaiteach.attribution import coalitions, shapley, shapley_kernel
from xaiteach.attribution.shapley import shapley_values
from xaiteach.errors import OptionError, ShapeError

METHODS = ("shapley_exact", "shapley_sampling", "kernel_shap")
FARES = torch.tensor([6.0, 12.0, 18.0, 42.0], dtype=torch.float64)


@pytest.fixture(scope="module")
def shap() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of matplotlib and numba, as shap is imported
        return importlib.import_module("shap")


def seeded(seed: int = 5) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def table_net(d: int = 5, seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(d, 8), nn.ReLU(), nn.Linear(8, 3)).double()


def table(n: int = 3, d: int = 5, seed: int = 1) -> Tensor:
    return torch.randn(n, d, generator=seeded(seed), dtype=torch.float64)


def quadrants(rank: int = 2, parts: int = 2) -> Tensor:
    """Labels of a `parts`^rank grid over the positions of `helpers_attribution.batch`."""
    found = torch.zeros(h.SPATIAL[rank], dtype=torch.long)
    for axis, side in enumerate(h.SPATIAL[rank]):
        place = torch.arange(side) * parts // side
        found = found * parts + place.reshape([-1 if a == axis else 1 for a in range(rank)])
    return found


def random_game(M: int, seed: int) -> tuple[Tensor, Any]:
    """Payoffs (2^M,) in the order of the coalitions' bits, and the game that looks them up."""
    payoffs = torch.randn(2**M, generator=seeded(seed), dtype=torch.float64)
    return payoffs, lambda z: payoffs[(z * 2 ** torch.arange(M)).sum(1)]


def by_set(game: Any, M: int) -> slow.Payoff:
    return lambda S: float(game(torch.tensor([[i in S for i in range(M)]]))[0])


# The game itself


def test_the_ride_home_by_hand() -> None:
    # Four friends live along one route (seed 002, section 6.1, which names no fares); a ride costs what its farthest
    # stop costs: 6, 12, 18 or 42. Each stretch of road is shared by those who still sit in the car:
    # 6 by four, 6 by three, 6 by two, and 24 by Don alone.
    shares = shapley_values(lambda riders: (riders * FARES).max(1).values, 4)
    ashley = 6 / 4
    ben = ashley + 6 / 3
    claire = ben + 6 / 2
    don = claire + 24
    expected = torch.tensor([ashley, ben, claire, don], dtype=torch.float64)
    torch.testing.assert_close(shares, expected, atol=1e-14, rtol=0.0)  # rounding of sums of eight terms


def test_dons_share_by_the_table_of_his_eight_marginal_fares() -> None:
    # Seed 002 (6.4) to (6.6): to nobody, A, B, C, AB, AC, BC and ABC Don adds
    added = {"": 42, "A": 36, "B": 30, "C": 24, "AB": 30, "AC": 24, "BC": 24, "ABC": 24}
    don = Fraction(1, 4) * sum(Fraction(v, {0: 1, 1: 3, 2: 3, 3: 1}[len(S)]) for S, v in added.items())
    assert don == Fraction(61, 2)
    shares = shapley_values(lambda riders: (riders * FARES).max(1).values, 4)
    assert float(shares[3]) == pytest.approx(30.5, abs=1e-13)  # rounding


@given(M=st.integers(1, 6), seed=st.integers(0, 10**6))
@settings(deadline=None, max_examples=25)
def test_values_are_the_mean_gain_over_all_orders(M: int, seed: int) -> None:
    _, game = random_game(M, seed)
    expected = torch.tensor(slow.by_orders(by_set(game, M), M), dtype=torch.float64)
    torch.testing.assert_close(shapley_values(game, M), expected, atol=1e-13, rtol=0.0)  # rounding, values near 1


def test_both_ways_to_write_the_weight_give_the_same_in_fractions() -> None:
    # Seed 002 (6.18) sums over coalitions z' that have player i with the weight |z'|! (M - |z'| - 1)! / M!, which
    # belongs to coalitions without; with everybody in z' it would be the factorial of -1.
    payoffs, game = random_game(4, 3)
    exact = {z: Fraction(float(payoffs[sum(2**i for i in z)])) for z in slow.subsets(range(4))}
    right = slow.by_definition(exact.__getitem__, 4)
    assert slow.by_members(exact.__getitem__, 4) == right
    found = shapley_values(game, 4)
    assert [float(v) for v in right] == pytest.approx(found.tolist(), abs=1e-14)  # rounding of sums of eight terms


@given(M=st.integers(1, 7), seed=st.integers(0, 10**6))
@settings(deadline=None, max_examples=25)
def test_efficiency(M: int, seed: int) -> None:
    payoffs, game = random_game(M, seed)
    total = float(shapley_values(game, M).sum())
    assert total == pytest.approx(float(payoffs[-1] - payoffs[0]), abs=1e-12)  # rounding


@given(M=st.integers(2, 6), seed=st.integers(0, 10**6))
@settings(deadline=None, max_examples=25)
def test_symmetry_players_who_always_add_the_same_get_the_same(M: int, seed: int) -> None:
    _, game = random_game(M, seed)

    def symmetric(z: Tensor) -> Tensor:
        swapped = z.clone()
        swapped[:, [0, 1]] = z[:, [1, 0]]
        return game(z) + game(swapped)

    phi = shapley_values(symmetric, M)
    assert float(phi[0]) == pytest.approx(float(phi[1]), abs=1e-12)  # rounding


@given(M=st.integers(2, 6), seed=st.integers(0, 10**6), player=st.integers(0, 5))
@settings(deadline=None, max_examples=25)
def test_a_player_who_never_adds_anything_gets_nothing_and_changes_nothing(M: int, seed: int, player: int) -> None:
    player %= M
    _, game = random_game(M - 1, seed)
    others = [i for i in range(M) if i != player]
    phi = shapley_values(lambda z: game(z[:, others]), M)
    assert phi[player] == 0
    torch.testing.assert_close(phi[others], shapley_values(game, M - 1), atol=1e-13, rtol=0.0)  # rounding


@given(M=st.integers(1, 6), seed=st.integers(0, 10**6), a=st.floats(-3, 3))
@settings(deadline=None, max_examples=25)
def test_additivity(M: int, seed: int, a: float) -> None:
    (_, v), (_, w) = random_game(M, seed), random_game(M, seed + 1)
    both = shapley_values(lambda z: v(z) + a * w(z), M)
    torch.testing.assert_close(both, shapley_values(v, M) + a * shapley_values(w, M), atol=1e-12, rtol=0.0)  # rounding


def test_the_game_is_asked_once_for_each_coalition() -> None:
    asked: list[Tensor] = []

    def game(z: Tensor) -> Tensor:
        asked.append(z)
        return z.double().sum(1)

    assert torch.equal(shapley_values(game, 5), torch.ones(5, dtype=torch.float64))
    (z,) = asked
    assert z.dtype == torch.bool
    assert len(z) == len(z.unique(dim=0)) == 32


@pytest.mark.parametrize("n_players", [0, True, 2.0])
def test_no_players_are_refused(n_players: Any) -> None:
    with h.fails(OptionError, "`n_players` must be an integer from 1 up"):
        shapley_values(lambda z: z.double().sum(1), n_players)


def test_seventeen_players_are_refused_by_the_number_of_coalitions() -> None:
    with h.fails(OptionError, "at most 16 players", "got 17, 2^17 = 1.3e+05 coalitions"):
        shapley_values(lambda z: z.double().sum(1), 17)


@pytest.mark.parametrize("wrong", [lambda z: z.double(), lambda z: 3.0, lambda z: z[:3].double().sum(1)])
def test_a_game_without_one_payoff_for_each_coalition_is_refused(wrong: Any) -> None:
    with h.fails(ShapeError, "`game` must return a tensor of shape (8,)"):
        shapley_values(wrong, 3)


def test_a_payoff_that_is_no_number_is_refused() -> None:
    with h.fails(ShapeError, "`payoffs` must hold finite numbers"):
        shapley_values(lambda z: z.double().sum(1).log(), 3)


# Exact values of a model


@pytest.mark.parametrize("output", ["logit", "probability"])
def test_exact_values_are_those_of_all_orders(output: str) -> None:
    net, x, c = table_net(), table(), [2, 0, 1]
    baseline = table(1, seed=9)
    a = explain(net, x, c, "shapley_exact", baseline=baseline, output=output)
    for i, sample in enumerate(x):
        payoff = slow.payoff_of(net, sample, baseline[0], torch.arange(5), c[i], output)
        expected = torch.tensor(slow.by_orders(payoff, 5), dtype=torch.float64)
        torch.testing.assert_close(a.values[i], expected, atol=1e-14, rtol=1e-12)  # rounding
    assert a.residual is not None
    assert float(a.residual.abs().max()) < 1e-14  # rounding


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_superpixels_are_players_whose_value_is_spread_over_their_positions(rank: int) -> None:
    net, x, labels = h.conv_net(rank).eval(), h.batch(2, rank), quadrants(rank)
    a = explain(net, x, [1, 3], "shapley_exact", superpixels=labels, baseline=0.5)
    assert a.values.shape == (2, 1, *h.SPATIAL[rank])
    for i, c in enumerate((1, 3)):
        own = labels.expand(x.shape[1:])
        payoff = slow.payoff_of(net, x[i], torch.full_like(x[i], 0.5), own, c)
        phi = [float(v) for v in slow.by_definition(lambda S, payoff=payoff: Fraction(payoff(S)), 2**rank)]
        torch.testing.assert_close(a.values[i, 0], slow.spread(phi, labels), atol=1e-14, rtol=1e-11)  # rounding
        torch.testing.assert_close(a.map[i], a.values[i, 0], atol=0.0, rtol=0.0)


def test_of_a_linear_model_each_value_gets_its_weight_times_its_distance() -> None:
    net, x, baseline = nn.Linear(9, 3).double(), table(4, 9), table(4, 9, seed=2)
    a = explain(net, x, 1, "shapley_exact", baseline=baseline)
    expected = net.weight[1].detach() * (x - baseline)
    torch.testing.assert_close(a.values, expected, atol=1e-13, rtol=0.0)  # rounding of 512 sums


def test_a_model_that_cannot_be_differentiated_is_explained() -> None:
    def rounded(x: Tensor) -> Tensor:
        return torch.as_tensor(np.round(x.numpy())).sum(1, keepdim=True)

    x = table(3, 4) * 3
    for method in METHODS:
        values = explain(rounded, x, 0, method).values
        torch.testing.assert_close(values, x.round(), atol=1e-12, rtol=0.0)  # rounding


def shap_values(shap: Any, net: nn.Module, x: Tensor, baseline: Tensor) -> Tensor:
    """Shap's regression over all coalitions, for class 1."""

    def scores(rows: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return net(torch.as_tensor(rows)).numpy()

    oracle = shap.KernelExplainer(scores, baseline.numpy())
    found = oracle.shap_values(x.numpy(), nsamples=2 ** x.shape[1] - 2, l1_reg=False, silent=True)
    return torch.as_tensor(found)[..., 1]


@pytest.mark.parametrize("d", [3, 5, 8])
def test_exact_values_and_kernel_shap_are_shaps(d: int, shap: Any) -> None:
    net, x, baseline = table_net(d), table(2, d), table(1, d, seed=4)
    expected = shap_values(shap, net, x, baseline)
    for method in ("shapley_exact", "kernel_shap"):
        found = explain(net, x, 1, method, baseline=baseline).values
        o.agreed(method, "shap KernelExplainer", found, expected, 1e-12)  # rounding, of two solvers


def test_exact_values_are_captums() -> None:
    net, x, baseline = table_net(), table(2), table(1, seed=4)
    found = explain(net, x, 2, "shapley_exact", baseline=baseline).values
    captums = captum.attr.ShapleyValues(net).attribute(x, baseline, target=2)
    # Captum goes through all 5! orders, and sums in float32.
    o.agreed("shapley_exact", "Captum ShapleyValues", found, captums.detach().double(), 1e-6)


def test_every_coalition_runs_once() -> None:
    rows: list[Tensor] = []
    net = table_net(4)
    net.register_forward_pre_hook(lambda _, inputs: rows.append(inputs[0].detach().clone()))
    explain(net, table(3, 4), 1, "shapley_exact")
    seen = torch.cat(rows[1:])  # the first is the look at one sample
    assert len(seen) == 3 * 16
    assert len(seen.unique(dim=0)) == 3 * 15 + 1  # nobody is the baseline, for all three


def test_more_than_sixteen_players_are_refused_with_what_to_do() -> None:
    with h.fails(OptionError, "shapley_exact", "at most 16 players", "got 17", "kernel_shap", "fewer superpixels"):
        explain(table_net(17), table(1, 17), 1, "shapley_exact")
    with h.fails(OptionError, "got 96", "fewer superpixels"):
        explain(h.conv_net(), h.batch(), 1, "shapley_exact")


# Players


@pytest.mark.parametrize("method", METHODS)
def test_labels_may_be_any_integers(method: str) -> None:
    net, x, labels = h.conv_net(), h.batch(2), quadrants()
    plain = explain(net, x, 1, method, superpixels=labels, generator=seeded())
    for other in (labels * 7 - 11, labels.int(), labels.numpy(), labels.expand(2, 8, 6)):
        a = explain(net, x, 1, method, superpixels=other, generator=seeded())
        assert torch.equal(a.values, plain.values)


@pytest.mark.parametrize("method", METHODS)
def test_a_mask_of_two_is_two_players(method: str) -> None:
    net, x, mask = h.conv_net(), h.batch(2), quadrants() == 3
    a = explain(net, x, 1, method, superpixels=mask, generator=seeded())
    exact = explain(net, x, 1, "shapley_exact", superpixels=mask.long())
    # Two players have two coalitions beside the ends and two orders: KernelSHAP is exact, sampling is not.
    if method != "shapley_sampling":
        torch.testing.assert_close(a.values, exact.values, atol=1e-13, rtol=0.0)  # rounding
    assert len(a.values[0].unique()) == 2


@pytest.mark.parametrize("method", METHODS)
def test_each_sample_may_have_players_of_its_own(method: str) -> None:
    net, x = h.conv_net(), h.batch(3)
    labels = torch.stack([quadrants(), quadrants(parts=3), torch.zeros(8, 6, dtype=torch.long)])
    c, generator = [1, 2, 0], seeded()
    together = explain(net, x, c, method, superpixels=labels, generator=seeded())
    alone = [
        explain(net, x[i : i + 1], c[i], method, superpixels=labels[i], generator=generator).values for i in range(3)
    ]
    torch.testing.assert_close(together.values, torch.cat(alone), atol=1e-12, rtol=0.0)  # rounding
    assert len(together.values[1].unique()) == 9
    assert len(together.values[2].unique()) == 1


@pytest.mark.parametrize("method", METHODS)
def test_features_of_a_table_may_be_grouped(method: str) -> None:
    net, x, groups = table_net(6), table(2, 6), torch.tensor([0, 1, 0, 2, 2, 2])
    a = explain(net, x, 1, method, superpixels=groups, generator=seeded())
    assert a.values.shape == (2, 6)
    assert torch.equal(a.values[:, 0], a.values[:, 2])
    assert torch.equal(a.values[:, 3], a.values[:, 5])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "wrong", [torch.zeros(6, 8).long(), torch.zeros(2, 8, 6).long(), torch.zeros(8, 6), "slic", torch.zeros(3, 2, 8, 6)]
)
def test_superpixels_that_do_not_fit_are_refused(method: str, wrong: Any) -> None:
    with h.fails(ShapeError, method, "`superpixels` must hold an integer label", "(8, 6) or (3, 8, 6)"):
        explain(h.conv_net(), h.batch(3), 1, method, superpixels=wrong)


@pytest.mark.parametrize("method", METHODS)
def test_thousands_of_players_come_only_when_asked_for(method: str) -> None:
    x = torch.zeros(1, 3, 20, 20)
    net = nn.Sequential(nn.Flatten(), nn.Linear(1200, 2))
    with h.fails(OptionError, "more than 1024 values", "got samples of 1200", "superpixels=labels"):
        explain(net, x, 1, method)
    a = explain(net, torch.ones(1, 1200), 1, "shapley_sampling", n_samples=1, superpixels=torch.arange(1200))
    assert len(a.values[0].unique()) > 1000


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("baseline", [torch.zeros(3, 4), torch.zeros(2, 5), "zero"])
def test_a_baseline_that_does_not_fit_is_refused(method: str, baseline: Any) -> None:
    with h.fails(ShapeError, method, "`baseline` must match `x`"):
        explain(table_net(), table(), 1, method, baseline=baseline)


# Rows


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("budget_mib", [1e-6, 0.003])
def test_the_budget_splits_rows_and_changes_nothing(method: str, budget_mib: float) -> None:
    sizes: list[int] = []
    net, x, labels = h.conv_net(), h.batch(2), quadrants(parts=2)
    net.register_forward_hook(lambda _, inputs, __: sizes.append(len(inputs[0])))
    options = {"superpixels": labels, "generator": seeded()}
    whole = explain(net, x, [1, 2], method, **options)
    total = sum(sizes)
    assert len(sizes) == 2  # one sample to look at, then all rows
    sizes.clear()
    options["generator"] = seeded()
    split = explain(net, x, [1, 2], method, budget_mib=budget_mib, **options)
    assert sum(sizes) == total
    assert len(sizes) > 3
    torch.testing.assert_close(split.values, whole.values, atol=1e-10, rtol=0.0)  # contracts.md


@pytest.mark.parametrize("method", ["shapley_sampling", "kernel_shap"])
def test_the_generator_decides_and_nothing_else(method: str) -> None:
    net, x, few = table_net(12), table(3, 12), {"n_samples": 30}
    a, b, c = (explain(net, x, 1, method, generator=seeded(s), **few).values for s in (5, 5, 6))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    generator = seeded(5)
    alone = [explain(net, x[i : i + 1], 1, method, generator=generator, **few).values for i in range(3)]
    torch.testing.assert_close(a, torch.cat(alone), atol=1e-10, rtol=0.0)  # contracts.md


@pytest.mark.parametrize("method", METHODS)
def test_single_precision_agrees_with_double(method: str) -> None:
    net, x, labels = h.conv_net(), h.batch(2), quadrants()
    single = h.conv_net(dtype=torch.float32)
    exact = explain(net, x, 1, method, superpixels=labels, generator=seeded()).values
    found = explain(single, x.float(), 1, method, superpixels=labels, generator=seeded()).values
    assert found.dtype == torch.float32
    # The draws are the same; 1e-7 per operation of the model, some tens of them.
    torch.testing.assert_close(found.double(), exact, atol=1e-6, rtol=1e-5)


# Sampling


@pytest.mark.parametrize("antithetic", [False, True])
@pytest.mark.parametrize("n_samples", [1, 2, 5])
def test_sampling_is_the_mean_over_its_orders_as_captum_has_it(n_samples: int, antithetic: bool) -> None:
    net, x, baseline = table_net(), table(1), table(1, seed=9)
    options: dict[str, Any] = {"n_samples": n_samples, "antithetic": antithetic, "baseline": baseline}
    a = explain(net, x, 2, "shapley_sampling", generator=seeded(), **options)
    orders = shapley._orders(n_samples, 5, antithetic, seeded()).argsort(1).tolist()
    assert all(sorted(order) == list(range(5)) for order in orders)
    payoff = slow.payoff_of(net, x[0], baseline[0], torch.arange(5), 2)
    expected = torch.tensor([slow.by_orders(payoff, 5, orders)], dtype=torch.float64)
    torch.testing.assert_close(a.values, expected, atol=1e-14, rtol=1e-12)  # rounding
    oracle = captum.attr.ShapleyValueSampling(net)
    oracle.permutation_generator = lambda *_: iter(orders)
    captums = oracle.attribute(x, baseline, target=2, n_samples=n_samples)
    # Captum sums in float32.
    o.agreed("shapley_sampling", "Captum, same orders", a.values, captums.detach().double(), 1e-6)


@given(n_samples=st.integers(1, 4), antithetic=st.booleans(), seed=st.integers(0, 10**6))
@settings(deadline=None, max_examples=20)
def test_sampling_is_complete_whatever_the_orders(n_samples: int, antithetic: bool, seed: int) -> None:
    net, x = table_net(7, seed), table(2, 7, seed)
    a = explain(
        net, x, 1, "shapley_sampling", n_samples=n_samples, antithetic=antithetic, generator=seeded(seed), baseline=0.3
    )
    gain = (net(x) - net(torch.full_like(x, 0.3)))[:, 1].detach()
    torch.testing.assert_close(a.values.sum(1), gain, atol=1e-13, rtol=0.0)  # rounding
    assert a.residual is not None
    assert float(a.residual.abs().max()) < 1e-13  # rounding


def test_every_second_antithetic_order_is_the_first_reversed() -> None:
    place = shapley._orders(5, 6, True, seeded())
    assert place.shape == (5, 6)
    assert torch.equal(place[1], 5 - place[0])
    assert torch.equal(place[3], 5 - place[2])


def test_orders_are_all_equally_likely() -> None:
    place = shapley._orders(6000, 3, False, seeded())
    counts = [int((place == torch.tensor(order)).all(1).sum()) for order in itertools.permutations(range(3))]
    assert sum(counts) == 6000
    assert max(abs(count - 1000) for count in counts) < 150  # 5 standard deviations of a count, 29


def test_sampling_errs_as_its_variance_says() -> None:
    net, x = table_net(), table(1)
    payoff = slow.payoff_of(net, x[0], torch.zeros(5, dtype=torch.float64), torch.arange(5), 1)
    gains = torch.tensor([slow.by_orders(payoff, 5, [order]) for order in itertools.permutations(range(5))])
    exact, deviation = gains.double().mean(0), gains.double().std(0, correction=0)
    found = explain(net, x, 1, "shapley_sampling", n_samples=400, generator=seeded()).values[0]
    assert bool(((found - exact).abs() < 4 * deviation / 20 + 1e-6).all())  # 4 standard errors; float32 of the table
    assert bool(((found - exact).abs() > deviation / 2000).any())  # it is an estimate


def pairwise(d: int = 7, seed: int = 3) -> Any:
    """A model with interactions of two features and no more."""
    Q = torch.randn(d, d, generator=seeded(seed), dtype=torch.float64)
    b = torch.randn(d, generator=seeded(seed + 1), dtype=torch.float64)
    return lambda x: ((x @ Q) * x).sum(1, keepdim=True) + (x @ b)[:, None] + 2.0


@pytest.mark.parametrize(
    ("method", "options"),
    [("shapley_sampling", {"antithetic": True, "n_samples": 2}), ("kernel_shap", {"n_samples": 20})],
)
def test_with_interactions_of_two_a_pair_of_coalitions_says_it_all(method: str, options: dict[str, Any]) -> None:
    # In an order and its reverse, i meets each other player exactly once. In a pair z, 1 - z the even part of the
    # payoff drops out of the regression, and the odd part is linear.
    x, baseline = table(2, 9), table(1, 9, seed=8)
    model = pairwise(9)
    exact = explain(model, x, 0, "shapley_exact", baseline=baseline).values
    found = explain(model, x, 0, method, baseline=baseline, generator=seeded(), **options).values
    torch.testing.assert_close(found, exact, atol=1e-11, rtol=0.0)  # rounding of values near 10


# KernelSHAP


def test_the_kernel_weighs_the_ends_most() -> None:
    # By hand, M = 5: 4 / (5 * 1 * 4), 4 / (10 * 2 * 3), and the same from the other side.
    weights = [shapley_kernel.shapley_kernel(size, 5) for size in range(6)]
    assert weights == pytest.approx([np.inf, 1 / 5, 1 / 15, 1 / 15, 1 / 5, np.inf], rel=1e-15)  # rounding


@pytest.mark.parametrize("d", [1, 2, 3, 6, 10])
def test_over_all_coalitions_kernel_shap_is_exact(d: int) -> None:
    net, x, baseline = table_net(d), table(2, d), table(2, d, seed=4)
    a = explain(net, x, [2, 0], "kernel_shap", baseline=baseline)
    exact = explain(net, x, [2, 0], "shapley_exact", baseline=baseline)
    torch.testing.assert_close(a.values, exact.values, atol=1e-13, rtol=1e-10)  # rounding of the linear equations
    assert a.residual is not None
    assert float(a.residual.abs().max()) < 1e-14  # rounding


def test_over_all_coalitions_kernel_shap_is_the_regression_of_the_paper() -> None:
    net, x, baseline = table_net(6), table(1, 6), table(1, 6, seed=9)
    payoff = slow.payoff_of(net, x[0], baseline[0], torch.arange(6), 2)
    found = explain(net, x, 2, "kernel_shap", baseline=baseline, n_samples=62).values[0]
    expected = torch.as_tensor(slow.by_regression(payoff, 6))
    torch.testing.assert_close(found, expected, atol=1e-13, rtol=1e-10)  # rounding of two solvers


@given(seed=st.integers(0, 10**6), n_samples=st.integers(18, 300))
@settings(deadline=None, max_examples=20)
def test_kernel_shap_is_complete_whatever_it_draws(seed: int, n_samples: int) -> None:
    net, x = table_net(8, seed), table(1, 8, seed)
    a = explain(net, x, 1, "kernel_shap", n_samples=n_samples, generator=seeded(seed))
    gain = (net(x) - net(torch.zeros_like(x)))[:, 1].detach()
    torch.testing.assert_close(a.values.sum(1), gain, atol=1e-13, rtol=0.0)  # rounding


@pytest.mark.parametrize(("M", "n_samples"), [(1, 5), (2, 2), (3, 6), (4, 10), (4, 13), (6, 61), (9, 100), (40, 300)])
def test_a_plan_holds_what_it_promises(M: int, n_samples: int) -> None:
    plan = shapley_kernel._plan(M, n_samples, "test")
    z = plan.coalitions(seeded())
    tried = z[2:]
    size = tried.sum(1)
    assert not z[0].any()
    assert z[1].all()
    assert len(tried) == len(plan.weights) <= n_samples
    assert n_samples >= 2**M - 2 or n_samples - len(tried) <= 1
    assert bool(((size > 0) & (size < M)).all())
    # Whatever is drawn: the kernel's whole weight is there, and as much of it on size s as on M - s.
    whole = sum((M - 1) / (s * (M - s)) for s in range(1, M))
    assert float(plan.weights.sum()) == pytest.approx(whole, rel=1e-12)  # rounding
    assert float((plan.weights * (size - M / 2)).sum()) == pytest.approx(0, abs=1e-12)  # rounding
    # Single players, and all but one, are there once each.
    assert all(int((size == s).sum()) == M for s in {1, M - 1} if 0 < s < M)
    assert len(plan.whole) == len(plan.whole.unique(dim=0))
    if n_samples >= 2**M - 2:
        assert plan.pairs == 0
        assert len(tried) == 2**M - 2


def test_what_is_drawn_follows_the_kernel() -> None:
    plan = shapley_kernel._plan(12, 600, "test")  # whole: sizes 1, 2, 10 and 11
    assert sorted(plan.whole.sum(1).unique().tolist()) == [1, 2, 10, 11]
    generator = seeded()
    drawn = torch.cat([plan.coalitions(generator)[2 + len(plan.whole) :] for _ in range(200)])
    assert torch.equal(drawn[: plan.pairs], ~drawn[plan.pairs : 2 * plan.pairs])
    kernel = torch.tensor([1 / (s * (12 - s)) for s in range(3, 10)])
    share = torch.bincount(drawn.sum(1), minlength=13)[3:10] / len(drawn)
    # 44,400 pairs: a share of .2 has a standard error of .0019; 5 of them.
    torch.testing.assert_close(share, kernel / kernel.sum(), atol=0.0095, rtol=0.0)
    # All players are alike: each is in half of the first of the pairs, with a standard error of .0024.
    first = torch.cat([drawn[i : i + plan.pairs] for i in range(0, len(drawn), 2 * plan.pairs)])
    assert float((first.double().mean(0) - 0.5).abs().max()) < 5 * 0.0024


def test_kernel_shap_comes_closer_with_more_coalitions_and_closer_than_captums() -> None:
    net, x = table_net(12, 2), table(1, 12)
    exact = explain(net, x, 1, "shapley_exact").values

    def error(n_samples: int, seed: int) -> float:
        found = explain(net, x, 1, "kernel_shap", n_samples=n_samples, generator=seeded(seed)).values
        return float((found - exact).square().mean())

    def captums(n_samples: int, seed: int) -> float:
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            torch.manual_seed(seed)
            warnings.simplefilter("ignore")  # scikit-learn's, of its own inside
            found = captum.attr.KernelShap(net.float()).attribute(
                x.float(), target=1, n_samples=n_samples, perturbations_per_eval=n_samples
            )
        net.double()
        return float((found.detach().double() - exact).square().mean())

    few, more = (np.mean([error(n, seed) for seed in range(12)]) for n in (60, 600))
    assert more < few / 4  # 10 if all were drawn; of 12 runs each
    assert few < np.mean([captums(60, seed) for seed in range(12)])
    # Captum's own converges to the same values: after 3000 of its draws it is some 3 % of them away.
    assert captums(3000, 0) ** 0.5 < 0.06 * float(exact.abs().max())


@pytest.mark.parametrize("n_samples", [1, 17])
def test_too_few_coalitions_for_one_solution_are_refused(n_samples: int) -> None:
    with h.fails(OptionError, "kernel_shap", "at least 18 for 8 players", f"got {n_samples}", "n_samples=34"):
        explain(table_net(8), table(1, 8), 1, "kernel_shap", n_samples=n_samples)


@pytest.mark.parametrize("method", ["shapley_sampling", "kernel_shap"])
@pytest.mark.parametrize("n_samples", [0, -1, 2.5, True])
def test_a_number_of_samples_that_is_none_is_refused(method: str, n_samples: Any) -> None:
    with h.fails(OptionError, method, "`n_samples` must be an integer from 1 up"):
        explain(table_net(), table(), 1, method, n_samples=n_samples)


def test_the_limits_are_those_of_the_messages() -> None:
    assert (coalitions.MOST_VALUES, shapley.MOST_PLAYERS) == (1024, 16)


@pytest.mark.parametrize("method", METHODS)
def test_superpixels_leave_no_trace(method: str) -> None:
    model, x, labels = h.Wrapped(lambda s: s), h.batch(), quadrants()
    model.net(x).sum().backward()
    before, x_before, labels_before = h.Snapshot(model), x.clone(), labels.clone()
    explain(model, x, 1, method, superpixels=labels, baseline=x[:1], budget_mib=1e-6)
    assert before.changes() == []
    assert torch.equal(x, x_before)
    assert torch.equal(labels, labels_before)
