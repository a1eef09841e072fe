"""Rankings, many networks trained at once beside the loop, ROAR and KAR on toys, and the leak through the mask."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import helpers_attribution as h
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import slow_evaluation_truth as slow
from torch import Tensor, nn

from xaiteach import data
from xaiteach.errors import MissingExtraError, ModelError, OptionError, ShapeError
from xaiteach.evaluation import parallel_training as pt
from xaiteach.evaluation.rankings import degraded, ranking, replaced
from xaiteach.evaluation.retraining import _fill, digits_net, kar, mask_leak, retrain, roar

DOUBLE = torch.float64
SMALL = pt.Recipe(epochs=2, batch=16, rate=0.05, momentum=0.9, weight_decay=1e-3)


def gen(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(net: nn.Module, generator: torch.Generator) -> nn.Module:
    for parameter in net.parameters():
        with torch.no_grad():
            parameter.copy_(0.4 * torch.randn(parameter.shape, generator=generator))
    return net


def dense(generator: torch.Generator) -> nn.Module:
    return drawn(nn.Sequential(nn.Flatten(), nn.Linear(12, 6), nn.ReLU(), nn.Linear(6, 3)), generator)


def conv(generator: torch.Generator) -> nn.Module:
    layers = (nn.Conv1d(2, 4, 3, padding=1), nn.ReLU(), nn.MaxPool1d(2), nn.Flatten(), nn.Linear(12, 3))
    return drawn(nn.Sequential(*layers), generator)


def samples(D: int = 2, n: int = 40, seed: int = 0, dtype: torch.dtype = DOUBLE) -> tuple[Tensor, Tensor, Tensor]:
    g = gen(seed)
    x = torch.randn(D, n, 2, 6, generator=g, dtype=DOUBLE).to(dtype)
    return x, torch.randint(3, (n,), generator=g), torch.randn(D, 11, 2, 6, generator=g, dtype=DOUBLE).to(dtype)


# Rankings


@given(seed=st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_a_ranking_is_a_permutation_from_the_largest_value_down(seed: int) -> None:
    maps = torch.randn(3, 4, 5, generator=gen(seed)).round(decimals=1)
    order = ranking(maps, generator=gen(seed))
    assert (order.sort(1).values == torch.arange(20)).all()
    assert (maps.flatten(1).gather(1, order).diff(dim=1) <= 0).all()


def test_equal_values_come_in_a_drawn_order_that_no_batch_changes() -> None:
    maps = torch.zeros(3000, 4)
    maps[:, 2] = 1.0
    order = ranking(maps, generator=gen())
    assert (order[:, 0] == 2).all()
    second = order[:, 1].bincount(minlength=4).double() / 3000
    assert second[2] == 0
    assert (second[[0, 1, 3]] - 1 / 3).abs().max() < 0.035  # four standard errors
    assert torch.equal(order, ranking(maps, generator=gen()))
    assert not torch.equal(order, ranking(maps, generator=gen(1)))
    again = gen()
    parts = [ranking(part, generator=again) for part in maps.split(700)]
    assert torch.equal(order, torch.cat(parts))


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5, 0.8, 1.0])
def test_degraded_samples_are_those_of_a_loop(keep: bool, fraction: float) -> None:
    x, fill = torch.randn(4, 3, 5, 2, generator=gen()), torch.tensor([1.0, 2.0, 3.0])
    order = ranking(torch.randn(4, 5, 2, generator=gen(1)), generator=gen())
    found = degraded(x, replaced(order, fraction, "kar" if keep else "roar"), fill.reshape(1, 3, 1, 1))
    expected = [
        slow.degraded(one, ranks, fraction, fill.tolist(), keep) for one, ranks in zip(x, order.tolist(), strict=True)
    ]
    assert torch.equal(found, torch.stack(expected))


def test_replacing_and_keeping_the_same_fraction_are_complements() -> None:
    order = ranking(torch.randn(4, 10, generator=gen()), generator=gen())
    for fraction in (0.1, 0.3, 0.55):
        assert torch.equal(replaced(order, fraction), ~replaced(order, fraction, "kar"))


def test_bad_rankings_and_fractions_are_refused() -> None:
    with h.fails(ShapeError, "`maps` must be a batch"):
        ranking(torch.zeros(3))
    with h.fails(ShapeError, "1 NaN"):
        ranking(torch.tensor([[float("nan"), 1.0]]))
    with h.fails(OptionError, "`fraction` must be from 0 to 1", "10"):
        replaced(torch.zeros(1, 4, dtype=torch.long), 10)
    with h.fails(OptionError, "unknown kind"):
        replaced(torch.zeros(1, 4, dtype=torch.long), 0.1, "road")


# Training many at once


@pytest.mark.parametrize("build", [dense, conv])
def test_many_networks_are_those_of_the_loop(build: pt.Builder) -> None:
    x, y, x_test = samples()
    found = pt.train_many(build, x, y, x_test, SMALL, seeds=[0, 5, 7])
    with torch.no_grad():
        expected = torch.stack(
            [torch.stack([pt.train_one(build, x[d], y, SMALL, s)(x_test[d]) for s in (0, 5, 7)]) for d in range(2)]
        )
    torch.testing.assert_close(found, expected, atol=1e-11, rtol=0.0)


def test_float32_stays_close_to_the_loop() -> None:
    x, y, x_test = samples(dtype=torch.float32)
    found = pt.train_many(dense, x, y, x_test, SMALL, seeds=[0])
    with torch.no_grad():
        expected = torch.stack([pt.train_one(dense, x[d], y, SMALL, 0)(x_test[d]) for d in range(2)])
    torch.testing.assert_close(found[:, 0], expected, atol=1e-5, rtol=0.0)


def test_the_loop_is_gradient_descent_with_momentum_as_on_paper() -> None:
    x, y, x_test = samples(1)
    net = dense(gen(3)).double()
    slow.trained(net, x[0], y, pt._batches(40, SMALL, 3), 0.05, 0.9, 1e-3)
    with torch.no_grad():
        torch.testing.assert_close(
            pt.train_one(dense, x[0], y, SMALL, 3)(x_test[0]), net(x_test[0]), atol=1e-11, rtol=0.0
        )


def test_every_epoch_sees_every_sample_once_in_an_order_of_its_seed() -> None:
    batches = pt._batches(40, SMALL, 0)
    assert [len(rows) for rows in batches] == [16, 16, 8] * 2
    first, second = torch.cat(batches[:3]), torch.cat(batches[3:])
    assert first.sort().values.tolist() == second.sort().values.tolist() == list(range(40))
    assert not torch.equal(first, second)
    assert not torch.equal(first, torch.cat(pt._batches(40, SMALL, 1)[:3]))


def test_a_network_depends_on_neither_its_neighbours_nor_the_group() -> None:
    x, y, x_test = samples(3)
    whole = pt.train_many(conv, x, y, x_test, SMALL, seeds=[0, 1])
    calls: list[tuple[int, int]] = []
    small = pt.train_many(
        conv, x, y, x_test, SMALL, seeds=[0, 1], at_once=4, progress=lambda done, of: calls.append((done, of))
    )
    torch.testing.assert_close(small, whole, atol=1e-11, rtol=0.0)
    assert calls == [(4, 6), (6, 6)]
    one = pt.train_many(conv, x[1:2], y, x_test[1:2], SMALL, seeds=[1])
    torch.testing.assert_close(one[0, 0], whole[1, 1], atol=1e-11, rtol=0.0)


def test_a_seed_means_the_same_weights_and_batches_on_every_data_set() -> None:
    x, y, x_test = samples(1)
    twice = pt.train_many(dense, x.repeat(2, 1, 1, 1), y, x_test.repeat(2, 1, 1, 1), SMALL, seeds=[0, 1])
    torch.testing.assert_close(twice[0], twice[1], atol=1e-12, rtol=0.0)
    assert (twice[0, 0] - twice[0, 1]).abs().max() > 0.01


def test_training_works_where_gradients_are_switched_off() -> None:
    x, y, x_test = samples(1)
    expected = pt.train_many(dense, x, y, x_test, SMALL, seeds=[0])
    for off in (torch.no_grad, torch.inference_mode):
        with off():
            many = pt.train_many(dense, x, y, x_test, SMALL, seeds=[0])
            one = pt.train_one(dense, x[0], y, SMALL, 0)(x_test[0])
        assert torch.equal(many, expected)
        torch.testing.assert_close(one, expected[0, 0], atol=1e-11, rtol=0.0)


def test_training_leaves_the_global_random_state_alone() -> None:
    x, y, x_test = samples()
    state = torch.get_rng_state()
    pt.train_many(lambda g: nn.Sequential(nn.Flatten(), nn.Linear(12, 3)), x, y, x_test, SMALL, seeds=[0])
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("layer", "part"),
    [
        (lambda: nn.BatchNorm1d(2), "the buffer '0.running_mean'"),
        (lambda: nn.Dropout(0.2), "the dropout '0'"),
    ],
)
def test_networks_with_more_state_than_parameters_are_refused(layer: Callable[[], nn.Module], part: str) -> None:
    x, y, x_test = samples()
    with h.fails(ModelError, "`build` must make networks", part):
        pt.train_many(lambda g: nn.Sequential(layer(), nn.Flatten(), nn.Linear(12, 3)), x, y, x_test, SMALL)


@pytest.mark.filterwarnings("ignore:overflow")
def test_bad_training_is_refused() -> None:
    x, y, x_test = samples()
    with h.fails(ModelError, "training must end with finite numbers", "rate"):
        pt.train_many(dense, x, y, x_test, pt.Recipe(epochs=30, rate=1e30), seeds=[0])
    with h.fails(OptionError, "at least one seed"):
        pt.train_many(dense, x, y, x_test, SMALL, seeds=[])
    with h.fails(OptionError, "as many test sets"):
        pt.train_many(dense, x, y, x_test[:1], SMALL, seeds=[0])
    with h.fails(ShapeError, "`y` must be classes"):
        pt.train_many(dense, x, y[:3], x_test, SMALL, seeds=[0])
    with h.fails(ShapeError, "data sets must be floating-point"):
        pt.train_many(dense, x[0, :, 0, :1].long(), y, x_test, SMALL, seeds=[0])
    with h.fails(ModelError, "`build` must return an nn.Module"):
        pt.train_one(lambda g: 3, x[0], y, SMALL, 0)  # type: ignore[arg-type, return-value]
    for options in ({"rate": 0.0}, {"momentum": 1.0}, {"weight_decay": -1.0}):
        with h.fails(OptionError, "Recipe", "`rate` must be above 0"):
            pt.Recipe(**options)
    for options in ({"epochs": 0}, {"batch": 0}):
        with h.fails(OptionError, "must be"):
            pt.Recipe(**options)  # type: ignore[arg-type]


# ROAR and KAR on a toy whose evidence is known


def planted(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Signals (n, 1, 10) of noise whose class, 0 or 1, is written at position 6 and nowhere else."""
    g = gen(seed)
    x, y = torch.randn(n, 1, 10, generator=g), torch.arange(n) % 2
    x[:, 0, 6] = 2.0 * y - 1 + 0.3 * torch.randn(n, generator=g)
    return x, y


def linear(generator: torch.Generator) -> nn.Module:
    return drawn(nn.Sequential(nn.Flatten(), nn.Linear(10, 2)), generator)


def one_hot(at: int) -> Callable[..., Tensor]:
    return lambda model, x, target: torch.eye(10)[at].expand(len(x), 10)


TOY: dict[str, Any] = {
    "build": linear, "train": planted(200, 0), "test": planted(400, 1), "fractions": [0.1, 0.5], "seeds": [0, 1, 2],
    "recipe": pt.Recipe(epochs=8, batch=20),
}  # fmt: skip


def test_roar_and_kar_find_the_only_evidence_there_is() -> None:
    explainers = {"truth": one_hot(6), "elsewhere": one_hot(2)}
    removed, kept = roar(explainers, **TOY), kar(explainers, **TOY)
    chance, sure = (0.4, 0.6), 0.97
    assert removed.whole.min() > sure
    assert chance[0] < removed.accuracy["truth"].min() <= removed.accuracy["truth"].max() < chance[1]
    assert removed.accuracy["elsewhere"][0].min() > sure
    assert kept.accuracy["truth"].min() > sure
    assert chance[0] < kept.accuracy["elsewhere"][0].mean() < chance[1]
    for found in (removed, kept):
        assert (found.beyond("truth") > 0.15).all()
        assert found.beyond("random_map").tolist() == [0.0] * 3
        assert found.base_accuracy > sure


@pytest.mark.parametrize("replacement", ["channel", "position"])
@pytest.mark.parametrize("kind", ["roar", "kar"])
def test_the_table_is_that_of_a_loop_over_fractions_and_seeds(kind: str, replacement: str) -> None:
    (x, y), (x_test, y_test) = TOY["train"], TOY["test"]
    found = retrain({"truth": one_hot(6)}, kind, replacement=replacement, **{**TOY, "fractions": [0.1]})
    other = [at for at in range(10) if (at != 6) == (kind == "kar")]  # what is replaced
    own, of_test = x.clone(), x_test.clone()
    for at in other:
        own[:, 0, at] = of_test[:, 0, at] = x.mean() if replacement == "channel" else x[:, 0, at].mean()
    for i, seed in enumerate(TOY["seeds"]):
        net = pt.train_one(linear, own, y, TOY["recipe"], seed)
        with torch.no_grad():
            accuracy = (net(of_test).argmax(1) == y_test).double().mean()
        # Test samples that differ in nothing but rounding may fall on either side: one of 400.
        assert found.accuracy["truth"][0, i].item() == pytest.approx(accuracy.item(), abs=1 / 400)


def test_the_fill_is_a_mean_for_each_channel_or_position_and_for_each_column_of_a_table() -> None:
    x = torch.randn(7, 2, 3, 4, generator=gen())
    channel, position, table = _fill(x, "channel"), _fill(x, "position"), _fill(x[:, 0, 0], "channel")
    assert channel.shape == (1, 2, 1, 1)
    torch.testing.assert_close(channel[0, 1, 0, 0], x[:, 1].mean())
    assert position.shape == (1, 2, 3, 4)
    torch.testing.assert_close(position[0, 1, 2, 3], x[:, 1, 2, 3].mean())
    torch.testing.assert_close(table, x[:, 0, 0].mean(0, keepdim=True))


def test_ranking_by_size_needs_to_be_asked_for() -> None:
    minus = {"minus": lambda model, x, target: -one_hot(6)(model, x, target)}
    assert roar(minus, **TOY).accuracy["minus"][1].min() > 0.9  # position 6 comes last
    assert roar(minus, absolute=True, **TOY).accuracy["minus"][0].max() < 0.6


def test_explaining_the_true_label_of_test_samples_gives_it_away() -> None:
    """A map that knows the class it is asked about and nothing else: at position 2 for class 0, at 3 for class 1."""
    teller = {"teller": lambda model, x, target: torch.eye(10)[2 + target]}
    noise = torch.randn(200, 1, 10, generator=gen(5)), torch.randint(2, (200,), generator=gen(6))
    noise_test = torch.randn(400, 1, 10, generator=gen(7)), torch.randint(2, (400,), generator=gen(8))
    options = {**TOY, "train": noise, "test": noise_test, "fractions": [0.1]}
    by_label = mask_leak(teller, target="label", **options)
    by_prediction = mask_leak(teller, target="predicted", **options)
    assert by_label.accuracy["teller"].min() == 1.0  # of labels that nobody could guess
    assert by_prediction.accuracy["teller"].mean() < 0.65


def test_tables_and_a_model_of_ones_own_are_taken() -> None:
    (x, y), (x_test, y_test) = planted(100, 0), planted(50, 1)
    flat = {**TOY, "build": lambda g: drawn(nn.Linear(10, 2), g), "train": (x[:, 0], y), "test": (x_test[:, 0], y_test)}
    asked: list[int] = []

    def model(z: Tensor) -> Tensor:
        asked.append(len(z))
        return torch.stack([-z[:, 6], z[:, 6]], 1)

    found = roar("input_x_gradient", model=model, **flat)
    assert sum(asked) >= 150
    assert list(found.accuracy) == ["input_x_gradient", "random_map"]  # no edges in a table
    assert found.accuracy["input_x_gradient"][0].max() < 0.7


def test_results_do_not_depend_on_how_many_are_trained_at_once() -> None:
    whole, small = (roar({"truth": one_hot(6)}, at_once=k, **TOY) for k in (100, 2))
    for name, accuracy in whole.accuracy.items():
        torch.testing.assert_close(small.accuracy[name], accuracy, atol=1 / 400, rtol=0.0)  # float32: one sample


def test_the_table_and_the_figure_say_what_they_show() -> None:
    for run, word in ((roar, "replaced"), (kar, "kept"), (mask_leak, "replaced")):
        found = run({"truth": one_hot(6)}, **TOY)
        assert found.columns == ("explainer", f"10 % {word}", f"50 % {word}", "beyond random")
        assert all(len(row) == 4 for row in found.rows())
        assert "most frequent class 50.0" in repr(found)
        assert "curves over 2 points" in found.plot().alt_text
    with h.fails(OptionError, "unknown explainer 'trooth'; did you mean 'truth'?"):
        found.beyond("trooth")


def test_bad_questions_to_retrain_are_refused() -> None:
    with h.fails(OptionError, "unknown kind"):
        retrain("saliency", "roars", **TOY)
    with h.fails(OptionError, "unknown target"):
        roar("saliency", target="labels", **TOY)
    with h.fails(OptionError, "unknown replacement"):
        roar("saliency", replacement="zero", **TOY)
    with h.fails(OptionError, "`train` and `test` must come together"):
        roar("saliency", train=TOY["train"])
    with h.fails(OptionError, "`fraction` must be from 0 to 1"):
        roar("saliency", **{**TOY, "fractions": [30]})
    with h.fails(ShapeError, "`train` and `test` must be samples of one shape"):
        roar("saliency", **{**TOY, "test": (TOY["test"][0], TOY["test"][1][:4])})


# Digits


def test_digits_are_the_default_and_say_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    data.digits.__globals__["_made"].cache_clear()
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(MissingExtraError, match="sklearn"):
        roar("saliency")


@pytest.mark.slow
def test_the_mask_alone_tells_the_digits_apart() -> None:
    recipe = pt.Recipe(epochs=6)
    found = mask_leak("input_x_gradient", fractions=[0.1, 0.5], seeds=[0, 1], recipe=recipe)
    assert found.whole.min() > 0.95
    assert found.majority < 0.14
    assert found.accuracy["input_x_gradient"].min() > 0.75  # no value of any digit was shown
    assert found.accuracy["random_map"].max() < 0.2


@pytest.mark.slow
def test_keeping_what_an_explanation_ranks_first_is_far_better_than_keeping_at_random() -> None:
    found = kar("input_x_gradient", fractions=[0.1, 0.3], seeds=[0, 1], recipe=pt.Recipe(epochs=6), absolute=True)
    assert (found.beyond("input_x_gradient") > 0.25).all()
    assert (found.beyond("edge_detector") < found.beyond("input_x_gradient")).all()


def test_the_net_for_digits_is_drawn_from_its_generator_alone() -> None:
    one, two, other = (digits_net(gen(seed)) for seed in (0, 0, 1))
    assert sum(p.numel() for p in one.parameters()) == 3818
    assert all(torch.equal(p, q) for p, q in zip(one.parameters(), two.parameters(), strict=True))
    assert not torch.equal(one.conv1.weight, other.conv1.weight)  # type: ignore[operator, arg-type]
