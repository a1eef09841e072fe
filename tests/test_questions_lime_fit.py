"""Facts of unit 04: what its cases show, its truths by a second route, its lesson's claims, and the samples' worth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from xaiteach import data, lime, models
from xaiteach.questions import find, of_unit
from xaiteach.questions.formulas import parse
from xaiteach.questions.lime_fit_ball import ridge
from xaiteach.questions.running import answer_namespace, cases_of, keys_of
from xaiteach.widgets import lime_sampling, sampling

UNIT = "04_lime_fit"


def keys(question: str, seed: int = 0) -> list[Any]:
    asked = find(f"lime_fit.{question}")
    return keys_of(asked, cases_of(asked, seed, fresh=True))


def given(key: Any, *names: str) -> tuple[Any, ...]:
    return tuple(key.case.inputs[name] for name in names)


@pytest.mark.parametrize("seed", range(3))
def test_the_printed_fit_is_the_packages_least_squares(seed: int) -> None:
    for key in keys("weighted_fit", seed):
        X, y, w = given(key, "X", "y", "w")
        solver = lime.LeastSquares(fit_intercept=False).fit(X, y, sample_weight=w)
        np.testing.assert_allclose(key.truth["beta"], solver.coef_, atol=1e-8)


def test_some_cases_are_singular_and_the_shortest_solution_is_wanted_there() -> None:
    ranks = [np.linalg.matrix_rank(given(key, "X")[0]) - given(key, "X")[0].shape[1] for key in keys("weighted_fit")]
    assert sorted(set(ranks)) == [-1, 0]
    for key in keys("weighted_fit"):
        X, y, w = given(key, "X", "y", "w")
        null = np.linalg.svd(X)[2][np.linalg.matrix_rank(X) :]
        np.testing.assert_allclose(null @ key.truth["beta"], 0, atol=1e-9)  # nothing of it is without effect
        np.testing.assert_allclose(X.T @ (w * (y - X @ key.truth["beta"])), 0, atol=1e-8)


def test_differences_of_the_bowl_agree_with_automatic_differentiation() -> None:
    for key in keys("bowl"):
        X, y, w, beta = (torch.tensor(v) for v in given(key, "X", "y", "w", "beta"))
        beta.requires_grad_()
        (gradient,) = torch.autograd.grad((w * (y - X @ beta) ** 2).sum(), beta, create_graph=True)
        hessian = [torch.autograd.grad(part, beta, retain_graph=True)[0].numpy() for part in gradient]
        np.testing.assert_allclose(key.truth["gradient"], gradient.detach().numpy(), atol=1e-7)
        np.testing.assert_allclose(key.truth["hessian"], np.array(hessian), atol=1e-6)
        assert np.linalg.eigvalsh(key.truth["hessian"]).min() > -1e-6


@pytest.mark.parametrize("seed", range(3))
def test_the_constants_share_follows_from_the_homeworks_formula(seed: int) -> None:
    for key in keys("no_intercept", seed):
        g, a, x0, sigma = given(key, "g", "a", "x0", "sigma")
        assert float(key.truth["value"]) == pytest.approx(g + a * x0 / (sigma**2 + x0**2), rel=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_local_fit_and_ridge_are_the_packages(seed: int) -> None:
    for key in keys("local_fit", seed):
        Z, y, w = given(key, "Z", "y", "w")
        solver = lime.LeastSquares().fit(Z, y, sample_weight=w)
        np.testing.assert_allclose(key.truth["coefficients"], solver.coef_, atol=1e-8)
        assert float(key.truth["intercept"]) == pytest.approx(solver.intercept_, abs=1e-8)
    for key in keys("ridge_fit", seed):
        Z, y, w, lam = given(key, "Z", "y", "w", "lam")
        priced = lime.Ridge(penalty=lam).fit(Z, y, sample_weight=w)
        np.testing.assert_allclose(key.truth["coefficients"], priced.coef_, atol=1e-8)
        assert float(key.truth["intercept"]) == pytest.approx(priced.intercept_, abs=1e-8)
        shifted = ridge(Z, y + 100, w, lam)
        np.testing.assert_allclose(shifted[1], key.truth["coefficients"], atol=1e-8)  # the intercept is free


@pytest.mark.parametrize("seed", range(3))
def test_the_ball_is_the_packages_and_both_cases_occur(seed: int) -> None:
    found = keys("in_ball", seed)
    assert {float(key.truth["lam"]) > 0 for key in found} == {True, False}
    for key in found:
        Z, y, w, k = given(key, "Z", "y", "w", "k")
        solver = lime.Ridge(k=k).fit(Z, y, sample_weight=w)
        assert float(key.truth["lam"]) == pytest.approx(solver.lambda_, rel=1e-6, abs=1e-9)
        np.testing.assert_allclose(key.truth["coefficients"], solver.coef_, rtol=1e-6, atol=1e-9)


def test_fidelity_worth_and_spread_are_the_packages() -> None:
    for key in keys("fidelity"):
        assert float(key.truth["fidelity"]) == pytest.approx(lime.fidelity(*given(key, "y", "found", "w")), abs=1e-12)
    for key in keys("effective_size"):
        assert float(key.truth["size"]) == pytest.approx(lime.effective_sample_size(given(key, "w")[0]), abs=1e-12)
    for key in keys("smoothed"):
        assert float(key.truth["value"]) == pytest.approx(lime.smoothgrad_sigma(*given(key, "sigma", "w")), rel=1e-9)


def test_the_other_multiplier_is_two_k_lambda() -> None:
    for key in keys("multiplier"):
        lam, k = given(key, "lambda", "k")
        assert float(key.truth["value"]) == pytest.approx(2 * k * lam, rel=1e-9)


def test_a_unit_takes_75_minutes_and_says_what_it_gives() -> None:
    core = [question for question in of_unit(UNIT) if not question.stretch]
    assert sum(question.minutes for question in core) == 71
    assert sum(question.points for question in core) == 25
    assert sum(question.minutes for question in of_unit(UNIT) if question.stretch) == 18


def test_formulas_may_use_only_the_names_that_are_asked_for() -> None:
    for question in of_unit(UNIT):
        if question.kind == "formula":
            names = list(cases_of(question, 0, fresh=False)[0].inputs)
            assert all(name in question.shape_words for name in names)
            source = next(variant.source for variant in question.variants)
            text = answer_namespace(question, source)[question.answer]
            assert set(names) >= parse(text, names).names


def asked(n_samples: int, seed: int = 0) -> lime.Neighbourhood:
    model, x = models.load("convnet1d"), torch.tensor(data.mnist1d().x_test[0])
    with torch.no_grad():
        c = int(model(x[None, None]).argmax())

    def score(batch: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            scores: torch.Tensor = model(batch[:, None])[:, c]
            return scores

    generator = torch.Generator().manual_seed(seed)
    return lime.gaussian_neighbourhood(score, x, sigma=0.3, n_samples=n_samples, width=2.0, generator=generator)


def test_what_the_lesson_says_of_few_samples_and_of_budgets_holds() -> None:
    fresh = asked(5000, seed=99)
    own, there = zip(
        *((f.fidelity, f.fidelity_on(fresh)) for f in (asked(n).explain() for n in (50, 2000))), strict=True
    )
    assert own[0] > 0.8
    assert there[0] < 0  # worse than a constant
    assert there[1] > 0.5
    few = asked(100)
    free = float(np.linalg.norm(few.explain().coef))
    told = [few.explain(lime.Ridge(k=share * free)).fidelity_on(fresh) for share in (1.0, 0.7, 0.1)]
    assert told[1] > told[0] > told[2]


def test_lime_on_features_is_smoothgrad_of_the_spread_that_was_derived() -> None:
    """Stein's lemma, on the exploration's net: with many samples the slopes are the mean of the gradients."""
    for sigma, width in ((1.0, 1.0), (0.5, 2.0), (0.25, 0.25)):
        noise = sigma * np.random.default_rng(1).normal(size=(400_000, 2))
        y, w = sampling._weighted(noise, width)
        slopes = sampling._fitted(noise, y, w)[1:]
        np.testing.assert_allclose(slopes, sampling.smoothed(sigma, width), atol=0.03)


def test_a_thousand_samples_can_be_worth_three_and_then_unread_features_get_slopes() -> None:
    shown = lime_sampling()
    frame = shown.answer({"id": "1", "values": {}, "action": "thousand"})
    assert "1000 samples of 20 features are worth 2.8" in frame["reading"]
    state = shown.state
    found = sampling.measured(*(state[name] for name in ("sigma", "width", "n_samples", "features", "seed")))
    assert np.abs(found["slopes"][2:]).max() > 0.5  # beside a gradient of (3, 1.8)


def test_worth_is_bought_in_two_ways_and_only_one_of_them_keeps_the_gradient() -> None:
    assert not lime_sampling(features=10).frame()["solved"]
    assert lime_sampling(features=10, sigma=0.1).frame()["solved"]
    wider = lime_sampling(features=10, width=8.0).frame()
    assert not wider["solved"]
    assert "Worth enough" in wider["note"]
