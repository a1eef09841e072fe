"""Facts of unit 06: what its cases show, its truths by a second route, the claims of its texts, and the ten seeds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from xaiteach import data, explain, lime, models
from xaiteach.evaluation.similarity import spearman
from xaiteach.questions import find, of_unit
from xaiteach.questions.lime_vs_gradcam_asked import PAIRS, WIDTH, asked, fitted, known, seeds
from xaiteach.questions.lime_vs_gradcam_words import BEST, borders, halves_covered
from xaiteach.questions.running import cases_of, keys_of
from xaiteach.widgets import roulette, seed_roulette

UNIT = "06_lime_vs_gradcam"


def keys(question: str, seed: int = 0) -> list[Any]:
    found = find(f"lime_vs_gradcam.{question}")
    return keys_of(found, cases_of(found, seed, fresh=True))


def truth(question: str) -> Any:
    """Truth of a question with one case, without running its mistakes."""
    found = find(f"lime_vs_gradcam.{question}")
    return next(iter(found.expected(cases_of(found, 0, fresh=False)[0]).values()))


def given(key: Any, *names: str) -> tuple[torch.Tensor, ...]:
    return tuple(torch.as_tensor(key.case.inputs[name]) for name in names)


def weighted(on: Any, y: Any) -> np.ndarray[Any, Any]:
    """Coefficients by the package: its distance, its kernel, its least squares."""
    Z = np.asarray(on, dtype=np.float64)
    w = lime.gaussian_kernel(lime.cosine_distance(Z, np.ones(Z.shape[1])), WIDTH)
    return lime.LeastSquares().fit(Z, np.asarray(y), sample_weight=w).coef_


@pytest.mark.parametrize("seed", range(3))
def test_perturbed_images_and_weights_are_the_packages(seed: int) -> None:
    for key in keys("mask_image", seed):
        x, fill, labels, on = given(key, "x", "fill", "labels", "on")
        np.testing.assert_array_equal(key.truth["images"], lime.apply_masks(x, fill, labels, on > 0).numpy())
    for key in keys("kernel_weights", seed):
        on = key.case.inputs["on"]
        wanted = lime.gaussian_kernel(lime.cosine_distance(on, np.ones(on.shape[1])), key.case.inputs["width"])
        np.testing.assert_allclose(key.truth["weights"], wanted, atol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_the_map_is_the_packages_neighbourhood_fitted_with_the_papers_kernel(seed: int) -> None:
    for key in keys("lime_map", seed):
        x, fill, labels, on, taste = given(key, "x", "fill", "labels", "on", "taste")
        flat = lime.apply_masks(x, fill, labels, on > 0).flatten(1)
        y = flat @ taste + 2 * torch.tanh(flat[:, 0] * flat[:, -1]) + 3
        # The package's kernel has a root: it is the paper's at sqrt(2) times the width.
        width = key.case.inputs["width"] / np.sqrt(2)
        near = lime.masked_neighbourhood(on > 0, y.numpy(), labels, width=width)
        found = near.explain(lime.LeastSquares())
        np.testing.assert_allclose(key.truth["coefficients"], found.coef, atol=1e-7)
        np.testing.assert_allclose(key.truth["map"], found.values.reshape(labels.shape).numpy(), atol=1e-7)


def test_every_superpixel_is_off_once_and_their_sizes_differ() -> None:
    for key in [*keys("mask_image"), *keys("lime_map")]:
        labels, on = given(key, "labels", "on")
        assert on.sum(1).min() > 0
        assert (on == 0).any(0).all()
        assert len(set(torch.bincount(labels.flatten()).tolist())) > 1


def test_the_only_trap_of_the_kernel_is_a_sample_with_everything_off() -> None:
    for key in keys("kernel_weights"):
        assert bool((key.case.inputs["on"].sum(1) == 0).any()) == (key.case.trap == "all off")


def test_two_fills_agree_on_textures_and_part_on_a_cat() -> None:
    found = truth("fills")
    wanted = [np.corrcoef(weighted(e["on"], e["grey"]), weighted(e["on"], e["blur"]))[0, 1] for e in asked()]
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    np.testing.assert_allclose(found, [0.635, 0.977, 1.0, 0.863, 0.725, 0.75], atol=0.01)
    both = [np.stack([fitted(e["on"], e[name]) for name in ("grey", "blur")]) for e in asked()]
    turned = [pair[0] * pair[1] < 0 for pair in both]
    assert [int(t.sum()) for t in turned] == [6, 11, 2, 2, 1, 6]
    most = [np.abs(pair[:, t]).max() / np.abs(pair).max() for pair, t in zip(both, turned, strict=True)]
    assert most[1] < 0.1  # small ones in the second picture, and not in the last
    assert most[5] > 0.5


def test_energies_on_the_cat_fall_from_grey_to_blur() -> None:
    first = asked()[0]
    shares = []
    for name in ("grey", "blur"):
        heat = np.maximum(fitted(first["on"], first[name]), 0)[first["labels"].numpy()]
        shares.append(heat[first["pair"].mask].sum() / heat.sum())
    np.testing.assert_allclose(shares, [0.98, 0.63], atol=0.01)
    assert first["pair"].names == ("coffee", "cat")


def test_ten_seeds_agree_better_with_more_samples_and_not_even_then_on_the_top() -> None:
    ons, ys = seeds()
    found, tops = [], []
    for N in (40, 200):
        betas = torch.tensor(np.stack([weighted(on[:N], y[:N]) for on, y in zip(ons, ys, strict=True)]))
        i, j = torch.triu_indices(10, 10, 1)
        found.append(float(spearman(betas[i], betas[j]).mean()))
        tops.append(len(set(betas.argmax(1).tolist())))
    np.testing.assert_allclose(truth("stability"), found, atol=1e-4)
    np.testing.assert_allclose(found, [0.33, 0.80], atol=0.01)
    assert tops == [6, 3]


def test_energies_are_those_of_the_packages_maps_and_lime_leads_on_six_of_eight() -> None:
    table = truth("energies")
    network = models.load("vgg64_narrow")
    for each, row in zip(known(), table, strict=True):
        cam = explain(network, each["x"][None], target=each["c"], method="grad_cam").map[0].double()
        assert row[2] == pytest.approx(float(cam[each["mask"]].sum() / cam.sum()), abs=1e-4)
        heat = np.maximum(weighted(each["on"], each["grey"]), 0)[each["labels"].numpy()]
        assert row[0] == pytest.approx(heat[each["mask"].numpy()].sum() / heat.sum(), abs=1e-4)
        with torch.no_grad():
            assert int(network(each["x"][None]).argmax()) == each["c"]
    np.testing.assert_allclose(table.mean(0), [0.48, 0.48, 0.34, 0.15, 0.09], atol=0.006)
    assert int((table[:, 0] > table[:, 2]).sum()) == 6


def test_on_squares_the_energy_falls_a_little_and_stays_above_grad_cam() -> None:
    network = models.load("vgg64_narrow")
    squares = (torch.arange(64) // 13)[:, None] * 5 + torch.arange(64) // 13
    shares = []
    for i, each in enumerate(known()):
        on = torch.rand(200, 25, generator=torch.Generator().manual_seed(i)) < 0.5
        grey = each["x"].mean((1, 2), keepdim=True).expand_as(each["x"])
        with torch.no_grad():
            y = network(lime.apply_masks(each["x"], grey, squares, on))[:, each["c"]].double()
        heat = np.maximum(weighted(on, y), 0)[squares.numpy()]
        shares.append(heat[each["mask"].numpy()].sum() / heat.sum())
    assert float(np.mean(shares)) == pytest.approx(0.44, abs=0.006)
    assert sum(share > cam for share, cam in zip(shares, truth("energies")[:, 2], strict=True)) == 6


def test_a_map_painted_on_superpixels_jumps_at_their_borders_alone() -> None:
    each = known()[5]
    assert borders(each["random"], each["labels"]) == pytest.approx(1)
    cam = explain(models.load("vgg64_narrow"), each["x"][None], target=each["c"], method="grad_cam").map[0]
    assert borders(cam, each["labels"]) == pytest.approx(0.10, abs=0.02)
    for key in keys("edge_share"):
        assert float(key.truth["share"]) == pytest.approx(borders(*given(key, "heat", "labels")))


def test_both_maps_lie_on_the_retina_and_the_network_looks_there() -> None:
    odd = asked()[4]
    assert odd["pair"].names == ("retina", "astronaut")
    model = models.load("crops_cnn")
    with torch.no_grad():
        assert float(model(odd["pair"].x).softmax(1)[0, odd["pair"].y]) == pytest.approx(0.94, abs=0.005)
    cam = explain(model, odd["pair"].x, target=odd["pair"].y, method="grad_cam").map[0].double().numpy()
    heat = fitted(odd["on"], odd["grey"])[odd["labels"].numpy()]
    assert np.corrcoef(cam.ravel(), heat.ravel())[0, 1] > 0.8
    for each in (np.maximum(heat, 0), cam):
        assert each[odd["pair"].mask].sum() / each.sum() < 0.25
    logits = halves_covered()
    for whole, no_retina, no_astronaut in logits.values():
        assert no_retina < 0.8 * whole
        assert no_astronaut > whole
    assert logits["grey"][1] < 0.5 * logits["grey"][0]


@pytest.mark.parametrize("name", ["grey", "black"])
def test_the_logit_comes_from_the_retina_and_the_decision_does_not(name: str) -> None:
    x, classes = asked()[4]["x"], data.crops(split="test").class_names
    fill = x.mean((1, 2), keepdim=True).expand_as(x) if name == "grey" else torch.zeros_like(x)
    covered = x.repeat(2, 1, 1, 1)
    covered[0, :, :, :64], covered[1, :, :, 64:] = fill[:, :, :64], fill[:, :, 64:]
    with torch.no_grad():
        first = models.load("crops_cnn")(covered).argmax(1)
    assert [classes[int(c)] for c in first] == ["astronaut", "retina"]


def test_the_first_map_of_the_exercises_is_the_luckiest_of_ten_seeds() -> None:
    ons, ys = seeds()
    labels, mask = asked()[0]["labels"].numpy(), asked()[0]["pair"].mask
    heats = [np.maximum(fitted(on, y), 0)[labels] for on, y in zip(ons, ys, strict=True)]
    shares = [heat[mask].sum() / heat.sum() for heat in heats]
    assert int(np.argmax(shares)) == 0


def test_the_scenarios_answer_holds_for_the_transformer() -> None:
    """No gradient of a class token's score reaches the other tokens of the same block's output."""
    tokens = torch.randn(1, 5, 8, requires_grad=True)  # after the last block; the class is read from token 0
    score = torch.nn.Linear(8, 3)(torch.nn.LayerNorm(8)(tokens)[:, 0])[0, 1]
    (gradient,) = torch.autograd.grad(score, tokens)
    assert not gradient[:, 1:].any()
    assert BEST == "LLGLGL"


def test_a_unit_takes_75_minutes_and_says_what_it_gives() -> None:
    core = [question for question in of_unit(UNIT) if not question.stretch]
    assert sum(question.minutes for question in core) == 68
    assert sum(question.points for question in core) == 24
    assert sum(question.minutes for question in of_unit(UNIT) if question.stretch) == 16


def test_the_lessons_numbers_on_one_scene_and_four_fills_hold() -> None:
    model, pair = models.load("crops_cnn"), data.crops(split="test").pairs[PAIRS[0]]
    x, labels = pair.x[0], lime.slic(pair.x[0], 24)

    def share(network: Any, image: Any, c: int, cut: Any, fill: Any, mask: Any, seed: int = 0) -> float:
        def score(batch: Any) -> Any:
            with torch.no_grad():
                return network(batch)[:, c]

        options = {"labels": cut, "fill": fill, "n_samples": 200, "generator": torch.Generator().manual_seed(seed)}
        near = lime.superpixel_neighbourhood(score, image, **options)
        heat = near.explain(lime.LeastSquares()).values.reshape(cut.shape).numpy().clip(min=0)
        return float(heat[mask].sum() / heat.sum())

    fills = (x.mean((1, 2), keepdim=True).expand_as(x), "blur", 0.0)
    shares = [share(model, x, pair.y, labels, fill, pair.mask) for fill in fills]
    assert shares[0] > 0.9
    assert max(shares[1:]) < 0.65
    own = [share(model, x, pair.y, labels, "mean", pair.mask, seed) for seed in range(5)]
    assert 0.15 < min(own) <= max(own) < 0.27  # with the lime package's fill the map lies on the coffee
    vgg, scenes = models.load("vgg64_narrow"), data.scenes("test", n=100)
    scene, c, mask = torch.tensor(scenes.x[11]), int(scenes.object[11]), scenes.mask[11]
    cuts = (lime.slic(scene, 32), lime.grid((64, 64), 25), lime.quickshift(scene, 3, 8, 0.5))
    slic, grid, quick = (share(vgg, scene, c, cut, scene.mean((1, 2), keepdim=True), mask) for cut in cuts)
    cam = explain(vgg, scene[None], target=c, method="grad_cam").map[0].numpy()
    assert quick > slic > float(cam[mask].sum() / cam.sum()) > grid


def test_one_seed_looks_perfect_where_ten_do_not() -> None:
    shown = seed_roulette()
    frame = shown.answer({"id": "1", "values": {}, "action": "perfect"})
    assert "100% of LIME's positive part lies on the cat; over ten seeds 29% to 100%" in frame["reading"]
    assert "7 different top superpixels" in frame["reading"]
    assert not frame["solved"]
    unlucky = shown.answer({"id": "2", "values": {}, "action": "unlucky"})
    assert unlucky["reading"].startswith("25 of a pool of 320 samples, seed 4: 29%")


def test_the_task_has_one_answer_and_the_cat_has_none() -> None:
    assert roulette.least("coffee", "grey", 0.25) == 35
    assert all(roulette.unanimous("coffee", "grey", N, 0.25) == (N >= 35) for N in roulette.COUNTS)
    assert roulette.least("cat", "grey", 0.25) is None
    solved = [N for N in roulette.COUNTS if seed_roulette(target="coffee", n_samples=N).frame()["solved"]]
    assert solved == [35]


def test_unanimity_that_goes_again_with_more_samples_is_called_luck() -> None:
    frame = seed_roulette(target="cat", fill="blur", n_samples=120).frame()
    assert "luck" in frame["note"]
    assert not frame["solved"]


def test_the_explorations_fits_are_the_packages_on_the_same_samples() -> None:
    on, scores = roulette.pool("grey")
    chosen = np.random.default_rng(3).permutation(roulette.POOL)[:60]
    wanted = weighted(on[chosen], scores["cat"][chosen])
    np.testing.assert_allclose(roulette.fits("cat", "grey", 60, 0.25)[3], wanted, atol=1e-8)
    cam = explain(models.load("crops_cnn"), data.crops(split="test").pairs[1].x, target=2, method="grad_cam").values[
        0, 0
    ]
    np.testing.assert_allclose(roulette.scene().maps["cat"], cam.numpy(), atol=1e-5)
