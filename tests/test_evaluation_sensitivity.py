"""Sensitivity-n, infidelity and max-sensitivity: linear models by hand, loops, and Captum."""

from __future__ import annotations

from typing import Any

import helpers_attribution as h
import numpy as np
import pytest
import torch
from captum.metrics import infidelity as captum_infidelity
from captum.metrics import sensitivity_max
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import slow_evaluation_masking as slow
from torch import Tensor, nn

from xaiteach.errors import OptionError, ShapeError
from xaiteach.evaluation import maps_of
from xaiteach.evaluation import sensitivity as s
from xaiteach.evaluation.robustness import max_sensitivity

DOUBLE = torch.float64


def gen(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def linear(width: int, seed: int = 0) -> nn.Module:
    net = nn.Sequential(nn.Flatten(), nn.Linear(width, 3)).double()
    for parameter in net.parameters():
        with torch.no_grad():
            parameter.copy_(torch.randn(parameter.shape, generator=gen(seed), dtype=DOUBLE))
    return net


def mlp(width: int, seed: int = 0) -> nn.Module:
    net = nn.Sequential(nn.Flatten(), nn.Linear(width, 9), nn.ReLU(), nn.Linear(9, 3)).double()
    for parameter in net.parameters():
        with torch.no_grad():
            parameter.copy_(torch.randn(parameter.shape, generator=gen(seed), dtype=DOUBLE) / 2)
    return net


def images(n: int = 3, c: int = 2, seed: int = 0) -> Tensor:
    return torch.randn(n, c, 5, 4, generator=gen(seed), dtype=DOUBLE)


# Sensitivity-n


@given(seed=st.integers(0, 10_000), baseline=st.floats(-1, 1))
@settings(max_examples=15, deadline=None)
def test_a_linear_model_is_foretold_by_weight_times_difference(seed: int, baseline: float) -> None:
    x = images(2, seed=seed)
    net = linear(40, seed)

    def weight_times_difference(_model: Any, x: Tensor, target: Tensor) -> Tensor:
        weights = net[1].weight[target].reshape(x.shape)  # type: ignore[index]
        return (weights * (x - baseline)).sum(1).detach()

    explainers = {"exact": weight_times_difference, "twice": lambda *given: 2 * weight_times_difference(*given)}
    found = s.sensitivity_n(net, x, explainers, fill=baseline, subsets=20)
    for name in explainers:
        torch.testing.assert_close(found.values[name], torch.ones(2, len(found.sizes), dtype=DOUBLE), atol=1e-9, rtol=0)
    lost = s.infidelity(net, x, explainers, fill=baseline, samples=20)
    assert float(lost.raw["exact"].max()) < 1e-20
    # Twice the change foretold is off by the change itself, and only its scale is wrong.
    torch.testing.assert_close(lost.raw["twice"], lost.change, atol=1e-12, rtol=1e-9)
    assert float(lost.scaled["twice"].max()) < 1e-20


def test_correlations_are_those_of_the_loop() -> None:
    x = images()
    net, target = mlp(40), torch.tensor([0, 2, 1])
    found = s.sensitivity_n(net, x, "input_x_gradient", target=target, sizes=[1, 6, 15], subsets=12, seed=4)
    generator = gen(5)  # the sets come from the seed after that of the explainers, sample by sample, size by size
    maps = maps_of("input_x_gradient", net, x, target)
    for i in range(3):
        for column, size in enumerate((1, 6, 15)):
            sums, lost = [], []
            for row in torch.rand(12, 20, generator=generator, dtype=DOUBLE):
                drawn = row.argsort()[:size].tolist()
                gone = [(p // 4, p % 4) for p in drawn]
                sums.append(sum(float(maps[(i, *at)]) for at in gone))
                rest = slow.with_replaced(x[i], torch.zeros_like(x[i]), gone)
                lost.append(
                    slow.score(net, x[i], int(target[i]), "logit") - slow.score(net, rest, int(target[i]), "logit")
                )
            expected = slow.correlation(sums, lost)
            assert float(found.values["input_x_gradient"][i, column]) == pytest.approx(expected, abs=1e-10)


def test_sets_have_their_size_and_each_position_its_turn() -> None:
    sets = s._subsets(4000, 10, 3, gen())
    assert (sets.sum(1) == 3).all()
    share = sets.double().mean(0)
    assert (share - 0.3).abs().max() < 4.5 * (0.3 * 0.7 / 4000) ** 0.5


def test_a_flat_map_and_noise_foretell_nothing() -> None:
    x = torch.randn(60, 12, generator=gen(), dtype=DOUBLE)
    found = s.sensitivity_n(mlp(12), x, {"flat": lambda m, x, t: torch.ones_like(x)}, sizes=[4])
    assert found.values["flat"].abs().max() == 0  # sums over sets of one size are all the same
    chance = found.values["random_map"][:, 0]
    assert abs(float(chance.mean())) < 4 * float(chance.std()) / 60**0.5


def test_usual_sizes_go_from_one_to_four_fifths() -> None:
    assert s._sizes(None, 40, "")[0] == 1
    assert s._sizes(None, 40, "")[-1] == 32
    assert s._sizes(None, 4096, "")[-1] == 3276
    assert s._sizes(None, 2, "") == (1,)


# Infidelity


@pytest.mark.parametrize("perturbation", ["remove", "square"])
def test_captum_finds_the_same_infidelity_of_removal(perturbation: str) -> None:
    x = images(c=1)
    net, target = mlp(20), torch.tensor([0, 2, 1])
    found = s.infidelity(
        net, x, "input_x_gradient", target=target, perturbation=perturbation, samples=25, share=0.3, fill=0.2, seed=4
    )
    generator = gen(5)
    places = torch.cat([s._places(25, one, perturbation, 0.3, generator) for one in x]).reshape(75, 1, 5, 4)
    maps = maps_of("input_x_gradient", net, x, target)[:, None]

    def perturbed(repeated: Tensor) -> tuple[Tensor, Tensor]:
        return places.double(), torch.where(places, 0.2, repeated)

    for values, scaled in ((found.raw, False), (found.scaled, True)):
        theirs = captum_infidelity(net, perturbed, x, maps, target=target, n_perturb_samples=25, normalize=scaled)
        torch.testing.assert_close(values["input_x_gradient"], theirs, atol=1e-12, rtol=1e-10)


def test_captum_finds_the_same_infidelity_under_noise() -> None:
    x = images()
    net, target = mlp(40), torch.tensor([0, 2, 1])
    found = s.infidelity(net, x, "saliency", target=target, perturbation="noise", samples=30, sigma=0.5, seed=4)
    generator = gen(5)
    noise = torch.cat([s._noise(30, one, 0.5, generator) for one in x])
    gradients = h.run("saliency", net, x, target).values
    for values, scaled in ((found.raw, False), (found.scaled, True)):
        theirs = captum_infidelity(
            net, lambda repeated: (noise, repeated - noise), x, gradients, target=target, n_perturb_samples=30,
            normalize=scaled,
        )  # fmt: skip
        torch.testing.assert_close(values["saliency"], theirs, atol=1e-12, rtol=1e-10)
    assert abs(float(noise.std()) - 0.5) < 4 * 0.5 / (2 * noise.numel()) ** 0.5


def test_the_gradient_foretells_a_linear_model_under_noise() -> None:
    x = images()
    found = s.infidelity(linear(40), x, "saliency", perturbation="noise")
    assert float(found.raw["saliency"].max()) < 1e-20
    assert float(found.unexplained("saliency").max()) < 1e-15
    # Of 40 numbers that know nothing, scaled at its best, each leaves 1 - 1/samples or less on average.
    assert float(found.unexplained("random_map").mean()) > 0.8


def test_a_map_of_zeros_leaves_everything_unexplained_and_no_map_more() -> None:
    x = images()
    found = s.infidelity(mlp(40), x, {"zeros": lambda m, x, t: 0 * x[:, 0], "saliency": "saliency"})
    assert torch.equal(found.raw["zeros"], found.change)
    assert (found.unexplained("zeros") == 1).all()
    for name in found.raw:
        assert (found.unexplained(name) <= 1 + 1e-12).all()
        assert (found.scaled[name] <= found.raw[name] + 1e-12).all()


def test_squares_are_whole_blocks_of_the_share_anywhere() -> None:
    one = torch.zeros(3, 10, 20)
    places = s._places(3000, one, "square", 0.25, gen()).reshape(-1, 10, 20)
    rows, columns = places.any(2), places.any(1)
    assert (rows.sum(1) == 5).all()
    assert (columns.sum(1) == 10).all()
    assert (places.sum((1, 2)) == 50).all()
    first = rows.double().argmax(1).bincount(minlength=10)
    assert (first[:6] / 3000 - 1 / 6).abs().max() < 4.5 * (5 / 36 / 3000) ** 0.5
    assert first[6:].sum() == 0


def test_bad_options_are_refused() -> None:
    x, net = images(), mlp(40)
    with h.fails(OptionError, "unknown perturbation"):
        s.infidelity(net, x, "saliency", perturbation="blur")
    for options in ({"share": 1.0}, {"share": 0.0}, {"sigma": 0.0}):
        with h.fails(OptionError, "`share`", "`sigma`"):
            s.infidelity(net, x, "saliency", **options)  # type: ignore[arg-type]
    with h.fails(OptionError, "samples"):
        s.infidelity(net, x, "saliency", samples=0)
    with h.fails(ShapeError, "every element", "perturbation='remove'"):
        s.infidelity(net, x, {"it": lambda m, x, t: x.sum(1)}, perturbation="noise")
    for sizes in ([20], [0], [], [1.5], [True]):
        with h.fails(OptionError, "`sizes`", "from 1 to 19"):
            s.sensitivity_n(net, x, "saliency", sizes=sizes)  # type: ignore[arg-type]
    with h.fails(OptionError, "subsets"):
        s.sensitivity_n(net, x, "saliency", subsets=1)
    with h.fails(OptionError, "unknown output"):
        s.sensitivity_n(net, x, "saliency", output="softmax")
    with h.fails(OptionError, "unknown replacement"):
        s.sensitivity_n(net, x, "saliency", fill="grey")
    with h.fails(OptionError, "unknown explainer"):
        s.infidelity(net, x, "saliency").unexplained("ig")
    for radius in (0.0, -1.0, True):
        with h.fails(OptionError, "`radius`"):
            max_sensitivity(net, x, "saliency", radius=radius)
    with h.fails(OptionError, "samples"):
        max_sensitivity(net, x, "saliency", samples=0)


# Max-sensitivity


def test_captum_finds_the_same_max_sensitivity() -> None:
    x = images(c=1)
    net, target = mlp(20), torch.tensor([0, 2, 1])
    found = max_sensitivity(net, x, "input_x_gradient", target=target, radius=0.3, samples=7, seed=4)
    draws = gen(5)
    moves = torch.stack(
        [0.3 * (2 * torch.rand(3, 20, generator=draws, dtype=DOUBLE) - 1) for _ in range(7)], dim=1
    )  # (samples of the batch, moves, positions)

    def perturbed(repeated: Tensor, _radius: float = 0.0) -> Tensor:
        return repeated + moves.reshape(repeated.shape)

    def explained(rows: Tensor | tuple[Tensor, ...]) -> tuple[Tensor]:
        rows = rows[0] if isinstance(rows, tuple) else rows
        classes = target.repeat_interleave(len(rows) // 3)
        return (maps_of("input_x_gradient", net, rows, classes)[:, None],)

    theirs = sensitivity_max(explained, x, perturb_func=perturbed, n_perturb_samples=7)
    torch.testing.assert_close(found.values["input_x_gradient"], theirs, atol=1e-12, rtol=1e-10)


def test_input_x_gradient_of_a_linear_model_moves_as_its_input() -> None:
    x = torch.tensor([[2.0, -1.0]], dtype=DOUBLE)
    net = linear(2)
    found = max_sensitivity(net, x, "input_x_gradient", target=0, radius=0.1, samples=300)
    weights = net[1].weight[0].detach()  # type: ignore[index]
    most = float((weights * 0.1).norm() / (weights * x[0]).norm())  # at a corner of the square
    assert 0.9 * most < float(found.values["input_x_gradient"]) <= most


def test_more_moves_can_only_find_more_and_steady_maps_do_not_move() -> None:
    x, net = images(), mlp(40)
    few, many = (max_sensitivity(net, x, {"ixg": "input_x_gradient", "same": lambda m, x, t: torch.ones(3, 5, 4)},
                                 samples=samples) for samples in (3, 12))  # fmt: skip
    assert (few.values["ixg"] <= many.values["ixg"]).all()
    assert (few.values["ixg"] < many.values["ixg"]).any()
    assert (many.values["same"] == 0).all()


def test_noise_moves_unless_its_draws_are_paired() -> None:
    x, net = images(n=40), mlp(40)
    free, paired = (max_sensitivity(net, x, "saliency", paired=paired) for paired in (False, True))
    # Two independent maps of 20 standard normal numbers differ by sqrt(2) of their size, the most of ten by more.
    assert 1.3 < float(free.values["random_map"].mean()) < 2.3
    assert (paired.values["random_map"] == 0).all()
    assert torch.equal(free.values["saliency"], paired.values["saliency"])


def test_a_map_of_zeros_has_no_relative_change() -> None:
    found = max_sensitivity(mlp(40), images(), {"zeros": lambda m, x, t: 0 * x[:, 0], "saliency": "saliency"})
    assert found.values["zeros"].isnan().all()
    assert found.rows()[0] == ("zeros", "no map", "no map")
    assert "saliency" in found.plot().alt_text
    np.testing.assert_array_equal(np.isnan(found.values["saliency"].numpy()), False)
