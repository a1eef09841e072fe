"""The sweep engine beside a loop that computes one map after the other, and what may not change its numbers."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import helpers_attribution as h
import pytest
import torch
from torch import Tensor, nn

import xaiteach.evaluation.sweep as engine
from xaiteach import explain
from xaiteach.attribution import methods
from xaiteach.errors import OptionError, ShapeError
from xaiteach.evaluation.fold import fold, foldable
from xaiteach.evaluation.similarity import similarity
from xaiteach.evaluation.stacked import RowsSplitError, stackable, stacked
from xaiteach.evaluation.sweep import run_sweep
from xaiteach.evaluation.weights import Randomizer, State, layers_of, states

DOUBLE = torch.float64
MEASURES = (("ssim", "all"), ("spearman", "absolute"))
CLASSES = torch.tensor([[0, 1], [2, 3], [1, 0]])


def setting(rank: int = 1, seeds: int = 2) -> tuple[Randomizer, Tensor, list[State]]:
    net, x = h.conv_net(rank).eval(), h.batch(3, rank)
    layers = layers_of(net, x)
    return Randomizer(net, layers), x, states(list(layers), seeds=seeds)


def options_of(method: str, x: Tensor) -> dict[str, Any]:
    found = {key: value for key, value in h.quick(method, x).items() if key != "generator"}
    # Of a few masks two superpixels may come out equal, and rounding would decide between their ranks.
    return found | ({"n_samples": 30} if method == "lime" else {})


def naive(randomizer: Randomizer, x: Tensor, method: str, options: dict[str, Any], chosen: list[State]) -> Tensor:
    """Values (states, measures, n, m): a copy of the model for each state, and one measure after the other."""
    rows, classes = x.repeat_interleave(2, 0), CLASSES.flatten()

    def maps(state: State) -> Tensor:
        with randomizer.at(state) as model:
            net = copy.deepcopy(model)
        generator = torch.Generator().manual_seed(0) if h.draws(method) else None
        return explain(net, rows, classes, method, generator=generator, **options).map

    trained = maps(State())
    found = [[similarity(maps(state), trained, *measure) for measure in MEASURES] for state in chosen]
    return torch.stack([torch.stack(row) for row in found]).reshape(len(chosen), len(MEASURES), 3, 2)


@pytest.mark.parametrize("method", sorted(methods()))
def test_every_method_gives_what_the_loop_gives(method: str) -> None:
    randomizer, x, chosen = setting(2 if method in ("edge_detector",) else 1, seeds=1)
    if method == "cam":
        net = h.conv_net(1, "gap").eval()
        randomizer = Randomizer(net, layers_of(net, x))
    options = options_of(method, x)
    found = run_sweep(randomizer, x, CLASSES, {"it": (method, options)}, chosen, measures=MEASURES, stack=True)
    expected = naive(randomizer, x, method, options, chosen)
    torch.testing.assert_close(found.values["it"], expected, atol=1e-10, rtol=0.0)


def test_the_trained_model_is_like_itself_and_the_others_are_not() -> None:
    randomizer, x, chosen = setting()
    found = run_sweep(randomizer, x, CLASSES, ["saliency", "grad_cam"], chosen)
    for name in found.explainers:
        assert torch.equal(found.values[name][0], torch.ones(1, 3, 2, dtype=DOUBLE))
        assert (found.values[name][1:] < 0.999).any()
    # At the first layer both modes are one weight set only for a net of one layer; at the last they always are.
    last = list(randomizer.layers)[-1]
    both = [found.values["saliency"][chosen.index(State(mode, last, 0))] for mode in ("cascading", "independent")]
    assert torch.equal(*both)


@pytest.mark.parametrize("stack", [None, True, False])
@pytest.mark.parametrize("budget_mib", [None, 1e-3])
@pytest.mark.parametrize("cache_mib", [0.0, 256.0])
def test_neither_stacking_nor_budget_nor_cache_changes_a_number(
    stack: bool | None, budget_mib: float | None, cache_mib: float
) -> None:
    randomizer, x, chosen = setting()
    explainers = ["saliency", "grad_cam", "lrp_zplus", ("smoothgrad", {"n_samples": 3}), "deeplift", "occlusion"]
    found = run_sweep(
        randomizer, x, CLASSES, explainers, chosen, measures=MEASURES, stack=stack, budget_mib=budget_mib,
        cache_mib=cache_mib,
    )  # fmt: skip
    for name, explainer in zip(found.explainers, explainers, strict=True):
        method, options = explainer if isinstance(explainer, tuple) else (explainer, {})
        expected = naive(randomizer, x, method, options, chosen)
        torch.testing.assert_close(found.values[name], expected, atol=1e-10, rtol=0.0)


def test_what_can_be_stacked_is_and_what_draws_or_pairs_is_not() -> None:
    randomizer, x, chosen = setting()
    explainers = ["saliency", "guided_backprop", "lrp_zplus", "grad_cam", ("smoothgrad", {"n_samples": 2}), "deeplift"]
    found = run_sweep(randomizer, x, CLASSES, explainers, chosen, stack=True)
    stacked_ones = {name for name, way in found.ways.items() if way == "stacked"}
    assert {"saliency", "guided_backprop", "lrp_zplus"} <= stacked_ones
    assert not {"deeplift"} & stacked_ones
    assert not any(name.startswith("smoothgrad") for name in stacked_ones)


def test_the_order_of_states_and_explainers_changes_nothing() -> None:
    randomizer, x, chosen = setting()
    names = ["saliency", ("smoothgrad", {"n_samples": 3}), "random_map"]
    there = run_sweep(randomizer, x, CLASSES, names, chosen)
    back = run_sweep(randomizer, x, CLASSES, names[::-1], chosen[::-1])
    for name in there.explainers:
        torch.testing.assert_close(there.values[name], back.values[name].flip(0), atol=1e-10, rtol=0.0)


def test_a_killed_sweep_goes_on_after_its_last_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    randomizer, x, chosen = setting()
    explainers = ["saliency", ("smoothgrad", {"n_samples": 3})]
    monkeypatch.setattr(engine, "_MOST_SETS", 3)
    options = {"folder": tmp_path / "it", "keep": lambda state: state.seed == 0, "stack": True}
    whole = run_sweep(randomizer, x, CLASSES, explainers, chosen, **{**options, "folder": tmp_path / "other"})
    groups, group = [], engine._Engine.group

    def killed(self: Any, some: Any, keep: Any) -> Any:
        groups.append(len(some))
        if len(groups) == 3:
            raise KeyboardInterrupt
        return group(self, some, keep)

    monkeypatch.setattr(engine._Engine, "group", killed)
    with pytest.raises(KeyboardInterrupt):
        run_sweep(randomizer, x, CLASSES, explainers, chosen, **options)
    assert len(list((tmp_path / "it").glob("part-*"))) == 2
    again = run_sweep(randomizer, x, CLASSES, explainers, chosen, **options)
    all_groups = len(list((tmp_path / "it").glob("part-*")))
    assert len(groups) == 3 + all_groups - 2
    for name in whole.explainers:
        assert torch.equal(again.values[name], whole.values[name])
    assert again.kept.keys() == whole.kept.keys()
    assert all(torch.equal(again.kept[key], whole.kept[key]) for key in whole.kept)


def test_a_part_that_is_not_whole_is_computed_again(tmp_path: Path) -> None:
    randomizer, x, chosen = setting()
    first = run_sweep(randomizer, x, CLASSES, "saliency", chosen, folder=tmp_path)
    part = next(tmp_path.glob("part-*"))
    part.write_bytes(part.read_bytes()[:100])
    again = run_sweep(randomizer, x, CLASSES, "saliency", chosen, folder=tmp_path)
    assert torch.equal(first.values["saliency"], again.values["saliency"])


def test_a_folder_of_another_sweep_is_refused(tmp_path: Path) -> None:
    randomizer, x, chosen = setting()
    run_sweep(randomizer, x, CLASSES, "saliency", chosen, folder=tmp_path)
    with h.fails(OptionError, "`folder` must be new", "another explainers"):
        run_sweep(randomizer, x, CLASSES, "input_x_gradient", chosen, folder=tmp_path)
    with h.fails(OptionError, "another images"):
        run_sweep(randomizer, x + 1, CLASSES, "saliency", chosen, folder=tmp_path)


def test_prefixes_are_reused_where_nothing_comes_back_through_them(monkeypatch: pytest.MonkeyPatch) -> None:
    randomizer, x, chosen = setting(2)
    engines: list[Any] = []
    made = engine._Engine.__init__
    monkeypatch.setattr(
        engine._Engine, "__init__", lambda self, *a, **k: (engines.append(self), made(self, *a, **k))[1]
    )
    run_sweep(randomizer, x, CLASSES, ["saliency", "grad_cam", "occlusion"], chosen, stack=False)
    reused = {name: memory.reused for name, memory in engines[0].memory.items()}
    assert reused["saliency"] == 0  # its gradient has to come back through every layer
    assert reused["grad_cam"] >= 8
    assert reused["occlusion"] >= 8


def test_the_model_is_left_as_it_was() -> None:
    net, x = h.conv_net(1), h.batch(3, 1)
    before = h.Snapshot(net)
    layers = layers_of(net, x)
    run_sweep(Randomizer(net, layers), x, CLASSES, ["saliency", "lrp_zplus"], states(list(layers), seeds=1))
    assert before.changes() == []


def test_bad_measures_and_targets_are_refused() -> None:
    randomizer, x, chosen = setting()
    with h.fails(OptionError, "a measure must be", "ssim"):
        run_sweep(randomizer, x, CLASSES, "saliency", chosen, measures=[("sim", "all")])
    with h.fails(ShapeError, "`target` must hold", "(2, 2)"):
        run_sweep(randomizer, x, CLASSES[:2], "saliency", chosen)


# Stacked networks


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("head", ["flatten", "gap", "hidden"])
def test_a_stacked_network_computes_every_set(rank: int, head: str) -> None:
    nets = [h.conv_net(rank, head, seed=seed).eval() for seed in range(3)]
    x = h.batch(4, rank)
    both = stacked(nets, 4)(torch.cat([x, x + 1, 2 * x]))
    expected = torch.cat([net(z) for net, z in zip(nets, (x, x + 1, 2 * x), strict=True)])
    torch.testing.assert_close(both, expected, atol=1e-12, rtol=0.0)


def test_groups_strides_and_missing_biases_are_kept() -> None:
    def net(seed: int) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            layers = [nn.Conv2d(2, 4, 3, stride=2, groups=2, bias=False), nn.ReLU(), nn.Conv2d(4, 3, 2, dilation=2)]
            return nn.Sequential(*layers, nn.Flatten(), nn.Linear(3 * 3 * 1, 4, bias=False)).double().eval()

    nets, x = [net(seed) for seed in range(2)], torch.randn(5, 2, 11, 8, dtype=DOUBLE)
    expected = torch.cat([one(x) for one in nets])
    torch.testing.assert_close(stacked(nets, 5)(torch.cat([x, x])), expected, atol=1e-12, rtol=0.0)


def test_rows_that_are_not_all_sets_are_refused_but_for_a_first_look() -> None:
    nets, x = [h.conv_net(1, seed=seed).eval() for seed in range(2)], h.batch(3, 1)
    both = stacked(nets, 3)
    torch.testing.assert_close(both(x[:1]), nets[0](x[:1]), atol=1e-12, rtol=0.0)
    with pytest.raises(RowsSplitError, match="all 3 samples of all 2 sets"):
        both(torch.cat([x, x])[:4])


def test_other_layers_cannot_be_stacked() -> None:
    assert not stackable(nn.Sequential(nn.Embedding(3, 2)))
    assert not stackable(nn.Sequential(nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular")))
    assert stackable(h.conv_net())


# Folded batch norms


class Bypass(nn.Module):
    """The layer's own output is used beside its batch norm's."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.fc = nn.Conv1d(2, 3, 3), nn.BatchNorm1d(3), nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv(x)
        return self.fc((self.norm(h) + h).mean(2))


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_a_folded_network_is_the_same_function(rank: int) -> None:
    net, x = h.conv_net(rank).eval(), h.batch(3, rank)
    pairs = foldable(net, x)
    assert pairs == (("3", "4"),)
    folded = fold(net, pairs)
    torch.testing.assert_close(folded(x), net(x), atol=1e-12, rtol=1e-12)
    assert isinstance(folded[4], nn.Identity)
    assert isinstance(net[4], nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d)


def test_a_norm_without_factors_behind_a_layer_without_a_bias() -> None:
    net = nn.Sequential(nn.Linear(3, 4, bias=False), nn.BatchNorm1d(4, affine=False), nn.ReLU()).double().eval()
    net[1].running_mean.normal_()
    x = torch.randn(5, 3, dtype=DOUBLE)
    torch.testing.assert_close(fold(net, foldable(net, x))(x), net(x), atol=1e-12, rtol=1e-12)


def test_what_cannot_be_folded_is_left_as_it_is() -> None:
    x = h.batch(3, 1)
    assert foldable(Bypass().double().eval(), x) == ()  # the sum would change
    apart = nn.Sequential(nn.Conv1d(2, 3, 3), nn.ReLU(), nn.BatchNorm1d(3), nn.Flatten(), nn.Linear(30, 4))
    assert foldable(apart.double().eval(), x) == ()
    twice = nn.Conv1d(2, 2, 1)
    shared = nn.Sequential(twice, nn.BatchNorm1d(2), twice, nn.Flatten(), nn.Linear(24, 4)).double().eval()
    assert foldable(shared, x) == ()


def test_an_explainer_that_may_look_inside_keeps_the_network_whole() -> None:
    randomizer, x, chosen = setting()
    seen: list[bool] = []

    def mine(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
        seen.append(isinstance(model.get_submodule("4"), nn.BatchNorm1d))
        return explain(model, x, target, "saliency").map

    run_sweep(randomizer, x, CLASSES, [mine], chosen, stack=False)
    assert all(seen)
