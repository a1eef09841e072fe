"""States of a broken model, the sanity check on them, and what is known of its outcome."""

from __future__ import annotations

import copy
import warnings

import helpers_attribution as h
import numpy as np
import pytest
import quantus
import scipy.stats
import torch
from torch import Tensor, nn

from xaiteach import explain
from xaiteach.errors import ModelError, OptionError
from xaiteach.evaluation import weights
from xaiteach.evaluation.complexity import discrete_entropy, efficient_randomization
from xaiteach.evaluation.randomization import label_randomization, parameter_randomization
from xaiteach.evaluation.rank_one import convergence, stages_of
from xaiteach.evaluation.similarity import similarity
from xaiteach.evaluation.weights import INITS, Randomizer, State, layers_of, states

DOUBLE = torch.float64


def weights_of(net: nn.Module) -> dict[str, Tensor]:
    return {name: t.clone() for name, t in net.state_dict().items()}


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    return {name.rpartition(".")[0] for name in before if not torch.equal(before[name], after[name])}


# States


def test_layers_come_in_the_order_in_which_they_run_with_their_batch_norms() -> None:
    class Backwards(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last, self.norm, self.first = nn.Linear(4, 2), nn.BatchNorm1d(4), nn.Linear(3, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.norm(self.first(x)).relu())

    assert layers_of(Backwards(), torch.zeros(2, 3)) == {"first": ("first", "norm"), "last": ("last",)}
    with h.fails(ModelError, "at least one layer with weights"):
        layers_of(nn.ReLU(), torch.zeros(2, 3))


@pytest.mark.parametrize("init", INITS)
def test_a_state_changes_the_layers_it_names_and_no_other(init: str) -> None:
    net, x = h.conv_net(1), h.batch(2, 1)
    before, layers = weights_of(net), layers_of(net, x)
    assert list(layers) == ["0", "3", "7"]
    randomizer = Randomizer(net, layers, init=init)
    norm = set() if init == "shuffle" else {"4"}
    for state, expected in {
        State("cascading", "7"): {"7"},
        State("cascading", "3"): {"3", "7"} | norm,
        State("cascading", "0"): {"0", "3", "7"} | norm,
        State("independent", "3"): {"3"} | norm,
        State(): set(),
    }.items():
        with randomizer.at(state) as model:
            assert changed(before, weights_of(model)) == expected
        assert changed(before, weights_of(randomizer.model)) == set()
    assert changed(before, weights_of(net)) == set()


def test_bottom_up_starts_at_the_first_layer() -> None:
    net, x = h.conv_net(1), h.batch(2, 1)
    randomizer = Randomizer(net, layers_of(net, x), bottom_up=True)
    assert randomizer.changed(State("cascading", "3")) == ("0", "3")
    assert [s.layer for s in states(list(randomizer.layers), modes=["cascading"], seeds=1, bottom_up=True)][1:] == [
        *("0", "3", "7")
    ]


def test_each_layer_and_seed_has_a_draw_of_its_own_that_no_other_layer_moves() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)).double()
    x = torch.zeros(1, 4, dtype=DOUBLE)
    randomizer = Randomizer(net, layers_of(net, x))
    draws = {(layer, seed): randomizer.drawn(layer, seed) for layer in ("0", "2") for seed in (0, 1)}
    values = [draw[f"{layer}.weight"] for (layer, _), draw in draws.items()]
    assert all(not torch.equal(a, b) for i, a in enumerate(values) for b in values[:i])  # same shape, other numbers
    with randomizer.at(State("cascading", "0", 1)) as all_of_them:
        assert torch.equal(all_of_them[2].weight, draws["2", 1]["2.weight"])
    with randomizer.at(State("independent", "2", 1)) as alone:
        assert torch.equal(alone[2].weight, draws["2", 1]["2.weight"])
    few = Randomizer(net, {"2": ("2",)})
    assert torch.equal(few.drawn("2", 1)["2.weight"], draws["2", 1]["2.weight"])


def test_drawing_leaves_the_global_random_state() -> None:
    net, x = h.conv_net(1), h.batch(2, 1)
    before = torch.get_rng_state()
    Randomizer(net, layers_of(net, x)).drawn("0", 3)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_initialisations_are_what_they_say() -> None:
    net = nn.Sequential(nn.Linear(400, 300)).double()
    trained = {name: t.clone() for name, t in net.state_dict().items()}
    layers = {"0": ("0",)}
    own, he, shuffled = (Randomizer(net, layers, init=init).drawn("0", 0) for init in ("own", "he", "shuffle"))
    assert own["0.weight"].abs().max() <= 400**-0.5  # nn.Linear's own: uniform
    assert he["0.weight"].std().item() == pytest.approx((2 / 400) ** 0.5, rel=0.02)
    assert (he["0.bias"] == 0).all()
    for name, value in shuffled.items():
        assert torch.equal(value.flatten().sort().values, trained[name].flatten().sort().values)
        assert not torch.equal(value, trained[name])


def test_what_has_no_initialisation_of_its_own_is_refused() -> None:
    class Scale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.by = nn.Parameter(torch.ones(3))

        def forward(self, x: Tensor) -> Tensor:
            return self.by * x

    net = nn.Sequential(Scale())
    with h.fails(ModelError, "reset_parameters", "'0'", "shuffle"):
        Randomizer(net, {"0": ("0",)}).drawn("0", 0)
    assert set(Randomizer(net, {"0": ("0",)}, init="shuffle").drawn("0", 0)) == {"0.by"}


def test_unknown_names_are_refused() -> None:
    net, x = h.conv_net(1), h.batch(2, 1)
    layers = layers_of(net, x)
    with h.fails(OptionError, "init"):
        Randomizer(net, layers, init="hee")
    with h.fails(OptionError, "layer"):
        Randomizer(net, {"9": ("9",)})
    with h.fails(OptionError, "layer"):
        Randomizer(net, layers).changed(State("cascading", "5"))
    with h.fails(OptionError, "mode"):
        states(list(layers), modes=["topdown"])
    with h.fails(OptionError, "`seeds`"):
        states(list(layers), seeds=0)


# The sanity check


def test_values_are_those_of_copies_randomised_by_hand() -> None:
    net, x, target = h.conv_net(1).eval(), h.batch(3, 1), torch.tensor([0, 1, 2])
    found = parameter_randomization(
        net, x, target, ["saliency"], seeds=2, init="he", measures=[("spearman", "absolute")]
    )
    layers = layers_of(net, x)
    randomizer = Randomizer(net, layers, init="he")
    trained = explain(net, x, target, "saliency").map
    for place, layer in enumerate(found.layers):
        for mode in ("cascading", "independent"):
            names = [layer] if mode == "independent" else list(layers)[list(layers).index(layer) :]
            for seed in range(2):
                other = copy.deepcopy(net)
                for name in names:
                    own = dict(other.named_parameters()) | dict(other.named_buffers())
                    for key, value in randomizer.drawn(name, seed).items():
                        own[key].data.copy_(value)
                expected = similarity(explain(other, x, target, "saliency").map, trained, "spearman", "absolute")
                torch.testing.assert_close(
                    found.values("saliency", mode)[place, seed, :, 0], expected, atol=1e-10, rtol=0.0
                )


def test_quantus_finds_the_same_spearman_for_the_same_weights() -> None:
    net, x, target = h.conv_net(2).eval().float(), h.batch(3, 2, dtype=torch.float32), torch.tensor([0, 1, 2])
    trained = explain(net, x, target, "saliency").map
    with Randomizer(net, layers_of(net, x)).at(State("cascading", "3")) as model:
        other = explain(model, x, target, "saliency").map
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = [
            quantus.similarity_func.correlation_spearman(a.numpy().flatten(), b.numpy().flatten())
            for a, b in zip(trained, other, strict=True)
        ]
    ours = similarity(other, trained, "spearman")
    np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-9)


@pytest.mark.parametrize("mode", ["cascading", "independent"])
def test_quantus_whole_test_finds_the_same_for_the_same_weights(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Quantus starts every layer from one seed, 43; given that seed for every layer, ours draws the same weights."""
    layers: list[nn.Module] = [nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.ReLU(), nn.Flatten()]
    net = nn.Sequential(*layers, nn.Linear(5 * 4 * 3, 3)).eval()
    x, target = torch.randn(3, 2, 8, 7, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2])

    def saliency(model: nn.Module, inputs: np.ndarray, targets: np.ndarray, **_: object) -> np.ndarray:
        maps = explain(model, torch.as_tensor(inputs), torch.as_tensor(targets), "saliency").map
        return maps[:, None].numpy()

    metric = quantus.MPRT(
        similarity_func=quantus.similarity_func.correlation_spearman, normalise=False, abs=False, disable_warnings=True,
        layer_order="top_down" if mode == "cascading" else "independent", display_progressbar=False, seed=42,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = metric(
            model=copy.deepcopy(net), x_batch=x.numpy(), y_batch=target.numpy(), a_batch=None, explain_func=saliency,
            channel_first=True,
        )  # fmt: skip
    monkeypatch.setattr(weights, "seeded", lambda name, seed: torch.Generator().manual_seed(43))
    found = parameter_randomization(
        net, x, target, "saliency", modes=[mode], seeds=1, measures=[("spearman", "all")], progress=False
    )
    for layer in ("5", "2", "0"):
        ours = found.values("saliency", mode)[found.layers.index(layer), 0, :, 0]
        np.testing.assert_allclose(ours.numpy(), theirs[layer], atol=1e-9)
        assert ours.abs().max() < 0.95


def test_noise_passes_with_the_same_draws_everywhere_and_edges_fail() -> None:
    net, x = h.conv_net(2).eval(), h.batch(3, 2)
    found = parameter_randomization(net, x, torch.tensor([0, 1, 2]), ["random_map", "edge_detector"], seeds=2)
    # One generator for every state: noise that looks at nothing is the same in all, and fails like the edge detector.
    for name in ("random_map", "edge_detector"):
        assert (found.values(name) == 1).all()
        assert found.floor(name) < 0.9
    # With draws of its own in every state, noise aces the test.
    fresh = parameter_randomization(net, x, torch.tensor([0, 1, 2]), ["random_map"], seeds=2, paired=False)
    assert fresh.values("random_map").max() < 0.9
    again = parameter_randomization(net, x, torch.tensor([0, 1, 2]), ["random_map"], seeds=2, paired=False)
    assert torch.equal(fresh.values("random_map"), again.values("random_map"))


def test_independent_and_cascading_agree_at_the_last_layer() -> None:
    net, x = h.conv_net(1).eval(), h.batch(3, 1)
    found = parameter_randomization(net, x, torch.tensor([0, 1, 2]), ["saliency"], seeds=3)
    assert torch.equal(found.values("saliency", "cascading")[0], found.values("saliency", "independent")[0])
    mean, sd = found.curve("saliency")
    assert mean.shape == sd.shape == (3,)
    assert mean[0].item() == pytest.approx(found.values("saliency")[0].mean().item())


def test_blocks_and_some_layers() -> None:
    net, x, y = h.conv_net(1).eval(), h.batch(3, 1), torch.tensor([0, 1, 2])
    blocks = parameter_randomization(
        net, x, y, "saliency", layers={"features": ["0", "3", "4"], "head": ["7"]}, seeds=1
    )
    assert blocks.layers == ("head", "features")
    some = parameter_randomization(net, x, y, "saliency", layers=["7", "0"], modes=["cascading"], seeds=1)
    assert some.layers == ("7", "0")
    with h.fails(OptionError, "layer with weights"):
        parameter_randomization(net, x, y, "saliency", layers=["1"])


def test_the_smooth_variant_averages_over_noisy_copies() -> None:
    net, x, y = h.conv_net(1).eval(), h.batch(2, 1), torch.tensor([0, 1])
    found = parameter_randomization(net, x, y, ["input_x_gradient"], seeds=1, smooth=4, sigma=0.2)
    generator = torch.Generator().manual_seed(0)
    spread = 0.2 * (x.flatten(1).amax(1) - x.flatten(1).amin(1)).reshape(-1, 1, 1)
    total = sum(
        explain(net, x + spread * torch.randn(x.shape, generator=generator, dtype=DOUBLE), y, "input_x_gradient").map
        for _ in range(4)
    )
    torch.testing.assert_close(found.sweep.trained["input_x_gradient"][:, 0], total / 4, atol=1e-12, rtol=0.0)
    with h.fails(OptionError, "`smooth`"):
        parameter_randomization(net, x, y, ["saliency"], smooth=0)


def test_the_table_has_every_explainer_layer_and_floor_and_draws() -> None:
    net, x, y = h.conv_net(2).eval(), h.batch(3, 2), torch.tensor([0, 1, 2])
    found = parameter_randomization(net, x, y, ["saliency", "grad_cam"], seeds=2, keep_seeds=1)
    text = repr(found)
    assert all(name in text for name in ("saliency", "grad_cam", "cascading", "independent", "floor", "7"))
    assert found.plot().alt_text
    assert found.plot(mode="independent", explainers=["saliency"]).alt_text
    assert found.cascade(x=x).alt_text
    with h.fails(OptionError, "`seed` must be a draw whose maps were kept"):
        found.cascade(seed=1)
    with h.fails(OptionError, "explainer"):
        found.values("saliensy")
    with h.fails(OptionError, "measure"):
        found.values("saliency", measure=("hog", "all"))


def test_label_randomization_compares_two_models() -> None:
    net, other = h.conv_net(2, seed=0).eval(), h.conv_net(2, seed=1).eval()
    x, y = h.batch(4, 2), torch.tensor([0, 1, 2, 3])
    found = label_randomization(net, other, x, y, ["saliency", "edge_detector"])
    expected = similarity(explain(net, x, y, "saliency").map, explain(other, x, y, "saliency").map, "ssim")
    torch.testing.assert_close(found.values["saliency"][0], expected, atol=1e-12, rtol=0.0)
    assert (found.values["edge_detector"] > 1 - 1e-9).all()  # it shows the image, whatever was learnt
    assert "edge_detector" in repr(found)
    assert found.plot().alt_text


# Entropy


def test_entropy_is_scipys_of_numpys_histogram() -> None:
    maps = h.batch(4, 2)[:, 0]
    expected = [scipy.stats.entropy(np.histogram(m.numpy(), 100)[0]) for m in maps]
    np.testing.assert_allclose(discrete_entropy(maps), expected, atol=1e-6)
    theirs = [quantus.complexity_func.discrete_entropy(m.numpy(), m.numpy(), n_bins=20) for m in maps]
    np.testing.assert_allclose(discrete_entropy(maps, 20), theirs, atol=1e-6)
    with h.fails(OptionError, "`bins`"):
        discrete_entropy(maps, 1)


def test_efficient_randomization_compares_two_states() -> None:
    net, x, y = h.conv_net(1).eval(), h.batch(3, 1), torch.tensor([0, 1, 2])
    found = efficient_randomization(net, x, y, ["saliency", "random_map"], seeds=2)
    with Randomizer(net, layers_of(net, x)).at(State("cascading", "0", 1)) as model:
        expected = discrete_entropy(explain(model, x, y, "saliency").map)
    assert torch.equal(found.random["saliency"][1], expected)
    before = found.trained["saliency"]
    torch.testing.assert_close(found.rise("saliency")[1], (expected - before) / before)
    assert (found.rise("random_map") == 0).all()
    assert "random_map" in repr(found)
    assert found.plot().alt_text


# Rank one


def dense(depth: int, width: int = 12, seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[nn.Module] = []
        for _ in range(depth):
            layers += [nn.Linear(width, width, bias=False), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(width, 5, bias=False)).double().eval()


def test_columns_are_the_product_of_the_z_plus_matrices() -> None:
    net, x = dense(3), torch.rand(2, 12, dtype=DOUBLE, generator=torch.Generator().manual_seed(0))
    found = convergence(net, x, "lrp_zplus")
    assert found.layers == ("6", "4", "2", "0")
    for i in range(2):
        a, matrices = x[i], []
        for layer in net:
            if isinstance(layer, nn.Linear):
                z = a[:, None] * layer.weight.detach().T.clamp(min=0)  # (in, out)
                matrices.append(torch.where(z.sum(0) > 0, z / z.sum(0), 0.0))
            a = layer(a).detach()
        G = torch.eye(5, dtype=DOUBLE)
        for place, M in enumerate(reversed(matrices)):
            G = M @ G
            unit = torch.where(G.norm(dim=0) > 0, G / G.norm(dim=0), 0.0)
            torch.testing.assert_close(
                found.singular["lrp_zplus"][place, i], torch.linalg.svdvals(unit), atol=1e-10, rtol=0.0
            )
            cosines = unit.T @ unit
            expected = (cosines.sum() - 5) / 20
            torch.testing.assert_close(found.cosines["lrp_zplus"][place, i], expected, atol=1e-10, rtol=0.0)


def test_z_plus_converges_and_the_gradient_does_not() -> None:
    net, x = dense(8, 40), torch.rand(2, 40, dtype=DOUBLE, generator=torch.Generator().manual_seed(1))
    found = convergence(net, x, ["lrp_zplus", "saliency"])
    zplus, gradient = found.cosines["lrp_zplus"].mean(1), found.cosines["saliency"].mean(1)
    assert zplus[-1] > 0.999
    assert (zplus.diff() > -1e-9).all()
    assert gradient[-1] < 0.9
    assert found.ratio("lrp_zplus")[-1].max() < 0.02
    assert "lrp_zplus" in repr(found)
    assert found.plot().alt_text
    assert found.plot(singular=True).alt_text


def test_stages_must_be_the_model() -> None:
    net = h.conv_net(2).eval()
    assert list(stages_of(net, h.batch(2, 2))) == [str(i) for i in range(len(net))]
    with h.fails(ModelError, "what its children are"):
        stages_of(h.Branches(), h.batch(2, 2, dtype=torch.float32))
    with h.fails(OptionError, "`classes` must be two or more"):
        convergence(net, h.batch(2, 2), "saliency", classes=[1])
