"""The method `lime`: beside the lime package, plain loops, and linear models whose coefficients are known."""

from __future__ import annotations

from typing import Any

import helpers_attribution as h
import helpers_oracles as o
import lime.lime_image as lime_image
import numpy as np
import pytest
import torch
from helpers_lime import by_the_lime_package
from reference import slow_lime as slow
from sklearn import linear_model as sk
from torch import Tensor, nn

from xaiteach import explain, lime
from xaiteach.errors import OptionError, ShapeError

FEW = {"n_samples": 60}
"""Masks enough for a dozen superpixels."""


def seeded(seed: int = 5) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def blocks(shape: torch.Size, n: int = 8) -> Tensor:
    return lime.grid(shape, n)


def rgb_net() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        layers = [nn.Conv2d(3, 5, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(45, 3)]
        return nn.Sequential(*layers).double().eval()


@pytest.mark.parametrize("n_features", [None, 3, 8])
@pytest.mark.parametrize("baseline", [None, 0.4])
def test_lime_equals_the_lime_packages_image_explainer(
    baseline: float | None, n_features: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, x = rgb_net(), torch.rand(2, 3, 12, 10, generator=seeded(), dtype=torch.float64)
    labels = torch.stack([blocks(x.shape[2:], 12), blocks(x.shape[2:], 9)])
    options: dict[str, Any] = {"superpixels": labels, "baseline": baseline, "n_features": n_features}
    a = explain(net, x, 1, "lime", output="probability", generator=seeded(), **options, **FEW)

    def classifier(images: Any) -> Any:
        with torch.no_grad():
            return net(torch.as_tensor(images).permute(0, 3, 1, 2)).softmax(1).numpy()

    draws = seeded()
    for i in range(2):
        where = labels[i].numpy()
        masks = lime.on_off(int(where.max()) + 1, 60, draws).numpy()
        extra = {"hide_color": baseline, "num_features": n_features or 100_000}
        coef, _ = by_the_lime_package(x[i].numpy(), where, masks, classifier, monkeypatch, **extra)
        # Both in float64; a convolution in another layout and sums of 60 in another order.
        np.testing.assert_allclose(a.values[i, 0], coef[where], atol=1e-12, rtol=0)
        o.agreed("lime", "lime LimeImageExplainer, same masks", a.values[i, 0], torch.as_tensor(coef[where]), 1e-10)
        assert np.abs(coef).max() > 1e-4


def test_the_package_that_it_equals_is_installed() -> None:
    assert lime_image.__name__ == "lime.lime_image"  # the oracle, not xaiteach.lime
    assert lime.__name__ == "xaiteach.lime"


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_lime_is_the_papers_regression_by_plain_loops(rank: int) -> None:
    net, x, c = h.conv_net(rank).eval(), h.batch(2, rank), torch.tensor([3, 0])
    labels = blocks(x.shape[2:])
    a = explain(net, x, c, "lime", superpixels=labels, generator=seeded(), **FEW)
    draws, where = seeded(), labels.numpy()
    for i in range(2):
        Z = lime.on_off(int(labels.max()) + 1, 60, draws).numpy().astype(float)
        hidden = slow.hidden_images(x[i].numpy(), where, Z)
        y = net(torch.as_tensor(hidden))[:, c[i]].detach().numpy()
        beta, _ = slow.least_squares(Z, y, slow.mask_weights(Z, 0.25), penalty=1.0)
        np.testing.assert_allclose(a.values[i, 0], beta[where], atol=1e-12)  # float64 rounding
    assert a.values.shape == (2, 1, *x.shape[2:])
    assert torch.equal(a.map, a.values[:, 0])
    assert a.residual is None
    assert (a.method, a.output, a.seed) == ("lime", "logit", 5)


def linear(x: Tensor, seed: int = 0) -> tuple[nn.Module, Tensor]:
    """A linear model of flattened samples, and its weights in x's shape for class 1."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Flatten(), nn.Linear(x[0].numel(), 3)).double()
    return net, net[1].weight.detach()[1].reshape(x.shape[1:])


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("baseline", ["zeros", "number", "image", "one", None])
def test_a_linear_model_gets_what_each_superpixel_adds_to_its_score(baseline: str | None, rank: int) -> None:
    x = h.batch(2, rank)
    net, weights = linear(x)
    labels = blocks(x.shape[2:])
    hidden = {"zeros": 0.0, "number": 0.7, "image": h.batch(2, rank, seed=9), "one": h.batch(1, rank, seed=9)}
    given = None if baseline is None else hidden[baseline]
    a = explain(
        net, x, 1, "lime", superpixels=labels, baseline=given, solver=lime.LeastSquares(), generator=seeded(), **FEW
    )
    for i in range(2):
        at = (
            lime.superpixel_means(x[i], labels)
            if given is None
            else torch.as_tensor(given, dtype=torch.float64).broadcast_to(x.shape)[i]
        )
        share = (weights * (x[i] - at)).sum(0)
        expected = torch.stack([share[labels == j].sum() for j in range(int(labels.max()) + 1)])[labels]
        torch.testing.assert_close(a.map[i], expected, atol=1e-12, rtol=0)  # float64 rounding


def test_a_table_gets_its_features_one_by_one_beside_zeros() -> None:
    x = torch.randn(3, 6, generator=seeded(), dtype=torch.float64)
    net, weights = linear(x)
    a = explain(net, x, 1, "lime", solver=lime.LeastSquares(), generator=seeded(), **FEW)
    torch.testing.assert_close(a.values, weights * x, atol=1e-12, rtol=0)  # float64 rounding
    pairs = torch.tensor([0, 0, 1, 1, 2, 2])
    a = explain(net, x, 1, "lime", superpixels=pairs, baseline=1.0, solver=lime.LeastSquares(), **FEW)
    expected = (weights * (x - 1)).reshape(3, 3, 2).sum(2)[:, pairs]
    torch.testing.assert_close(a.values, expected, atol=1e-12, rtol=0)


def test_a_superpixel_that_the_model_does_not_see_gets_nothing() -> None:
    x, labels = h.batch(), blocks(torch.Size(h.SPATIAL[2]))
    seen = (labels % 2 == 0).double()

    def model(x: Tensor) -> Tensor:
        visible = (x * seen).flatten(1)
        return torch.stack([visible.sum(1), visible.pow(2).sum(1)], 1)

    a = explain(model, x, 0, "lime", superpixels=labels, baseline=0.0, solver=lime.LeastSquares(), **FEW)
    assert a.map[:, seen == 0].abs().max() < 1e-12  # float64 rounding
    assert a.map[:, seen == 1].abs().max() > 0.1


def test_a_model_need_not_be_differentiable() -> None:
    x = h.batch()
    a = explain(lambda x: torch.stack([(x > 0).double().mean((1, 2, 3)), -x.amax((1, 2, 3))], 1), x, 0, "lime", **FEW)
    assert a.map.abs().max() > 0
    with torch.no_grad():
        assert explain(lambda x: x.detach().flatten(1).round(), x, 0, "lime", **FEW).map.isfinite().all()


def test_no_budget_and_no_neighbour_changes_a_map() -> None:
    net, x, c = h.conv_net(), h.batch(4), h.targets(4)
    options: dict[str, Any] = {"superpixels": 6, **FEW}
    whole = explain(net, x, c, "lime", generator=seeded(), **options)
    for budget in (1e-6, 0.05, 1.0):
        split = explain(net, x, c, "lime", generator=seeded(), budget_mib=budget, **options)
        torch.testing.assert_close(split.values, whole.values, atol=1e-10, rtol=0)  # contracts.md
    draws = seeded()  # one generator goes on from sample to sample, as in a batch
    one_by_one = [explain(net, x[i : i + 1], int(c[i]), "lime", generator=draws, **options).values for i in range(4)]
    torch.testing.assert_close(torch.cat(one_by_one), whole.values, atol=1e-10, rtol=0)


def test_other_seeds_give_other_maps() -> None:
    net, x = h.conv_net(), h.batch()
    first, other = (explain(net, x, 1, "lime", generator=seeded(s), **FEW).values for s in (1, 2))
    assert not torch.equal(first, other)
    assert torch.equal(first, explain(net, x, 1, "lime", generator=seeded(1), **FEW).values)


@pytest.mark.parametrize("selection", ["auto", "forward", "largest", "lasso", "omp", "best_subset", "iht"])
def test_so_many_superpixels_are_kept_and_no_more(selection: str) -> None:
    net, x, labels = h.conv_net(), h.batch(), blocks(torch.Size(h.SPATIAL[2]))
    a = explain(net, x, 1, "lime", superpixels=labels, n_features=3, selection=selection, **FEW)
    for one in a.map:
        kept = one.unique()
        assert len(kept) <= 4
        assert (kept == 0).any()
    everything = explain(net, x, 1, "lime", superpixels=labels, n_features=99, generator=seeded(), **FEW)
    assert torch.equal(everything.map, explain(net, x, 1, "lime", superpixels=labels, generator=seeded(), **FEW).map)
    assert explain(net, x, 1, "lime", superpixels=labels, n_features=0, **FEW).map.abs().max() == 0


@pytest.mark.parametrize("solver", [lime.Lasso(k=0.01), sk.Lasso(alpha=0.01), lime.BestSubset(2)])
def test_any_solver_serves(solver: Any) -> None:
    net, x, labels = h.conv_net(), h.batch(), blocks(torch.Size(h.SPATIAL[2]))
    a = explain(net, x, 1, "lime", superpixels=labels, solver=solver, generator=seeded(), **FEW)
    assert a.options["solver"] is solver
    assert not hasattr(solver, "coef_")
    first = torch.stack([a.map[0][labels == j][0] for j in range(int(labels.max()) + 1)])
    if isinstance(solver, lime.Lasso):
        assert float(first.abs().sum()) == pytest.approx(0.01, rel=1e-12)
    else:
        assert (first == 0).any()


def test_the_lasso_that_captum_prefers_leaves_nothing_of_probabilities() -> None:
    net, x, labels = h.conv_net(), h.batch(), blocks(torch.Size(h.SPATIAL[2]))
    options: dict[str, Any] = {"superpixels": labels, "solver": sk.Lasso(alpha=0.01), "generator": seeded(), **FEW}
    with torch.no_grad():
        net[-1].weight *= 0.2  # a small effect, such as that of a model that is sure
    assert explain(net, x, 1, "lime", output="probability", **options).map.abs().max() == 0
    ridge = {**options, "solver": None}
    assert explain(net, x, 1, "lime", output="probability", **ridge).map.abs().max() > 0


@pytest.mark.parametrize(
    ("shape", "labels"),
    [((2, 3, 16, 16), 64), ((2, 2, 30), 20), ((2, 2, 4, 8, 8), 64), ((2, 1, 8, 8), 16), ((2, 9), 9)],
)
def test_every_rank_has_superpixels_of_its_own_by_default(shape: tuple[int, ...], labels: int) -> None:
    x = torch.rand(shape, generator=seeded())
    model = lambda x: x.flatten(1)[:, :5] ** 2  # noqa: E731
    a = explain(model, x, 0, "lime", generator=seeded(), **FEW)
    assert a.values.shape == (shape if len(shape) == 2 else (2, 1, *shape[2:]))
    assert a.options["superpixels"] is None
    own = torch.stack([lime.default_superpixels(one) for one in x])
    assert torch.equal(a.values, explain(model, x, 0, "lime", superpixels=own, generator=seeded(), **FEW).values)
    assert labels / 2 <= int(own.max()) + 1 <= labels
    if len(shape) > 2:
        fewer = explain(model, x, 0, "lime", superpixels=4, generator=seeded(), **FEW)
        assert len(fewer.map[0].unique()) <= 6


def test_labels_may_be_an_array_or_one_map_for_each_sample() -> None:
    net, x, labels = h.conv_net(), h.batch(2), blocks(torch.Size(h.SPATIAL[2]))
    found = [
        explain(net, x, 1, "lime", superpixels=given, generator=seeded(), **FEW).values
        for given in (labels, labels.numpy(), labels.expand(2, 8, 6), 10 * labels - 3)
    ]
    assert all(torch.equal(other, found[0]) for other in found[1:])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"n_samples": 0}, "`n_samples` must be an integer from 1 up"),
        ({"kernel_width": 0.0}, "`width` must be a number, above 0"),
        ({"n_features": -1}, "`n_features` must be an integer from 0 up"),
        ({"selection": "lars"}, "unknown selection 'lars'"),
        ({"solver": 3}, "`solver` must be an object with fit"),
        ({"superpixels": 0}, "`n_segments` must be an integer from 1 up"),
        ({"superpixels": True}, "`n_segments` must be an integer from 1 up"),
        ({"superpixels": 1000}, "`n_segments` must be at most 48"),
        ({"output": "probs"}, "unknown output 'probs'"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused(change: dict[str, Any], words: str) -> None:
    with h.fails(OptionError, words):
        explain(h.conv_net(), h.batch(), 1, "lime", **{**FEW, **change})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"superpixels": torch.zeros(8, 6)}, "lime: `superpixels` must hold an integer label"),
        ({"superpixels": torch.zeros(2, 8, 6, dtype=torch.long)}, "lime: `superpixels` must hold an integer label"),
        ({"superpixels": "slic"}, "lime: `superpixels` must hold an integer label"),
        ({"baseline": torch.zeros(8, 6)}, "lime: `baseline` must match `x`"),
        ({"baseline": float("nan")}, "lime: `baseline` must hold finite numbers"),
    ],
)
def test_superpixels_and_baselines_that_do_not_fit_are_refused(change: dict[str, Any], words: str) -> None:
    with h.fails(ShapeError, words):
        explain(h.conv_net(), h.batch(), 1, "lime", **{**FEW, **change})


def test_single_positions_need_a_baseline_since_they_are_their_own_mean() -> None:
    x, one_by_one = h.batch(), torch.arange(48).reshape(8, 6)
    with h.fails(OptionError, "`baseline` must be named where a superpixel is a single position", "48"):
        explain(h.conv_net(), x, 1, "lime", superpixels=one_by_one)
    assert explain(h.conv_net(), x, 1, "lime", superpixels=one_by_one, baseline=0.0, **FEW).map.abs().max() > 0


def test_superpixels_of_a_table_cannot_be_counted() -> None:
    with h.fails(OptionError, "`n_superpixels` must be None for a row of a table"):
        explain(nn.Linear(5, 3), torch.randn(2, 5), 1, "lime", superpixels=3)
