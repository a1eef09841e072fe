"""Facts of unit 05: what its cases show, its truths by a second route, its lesson's claims, and the plane of optima."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from xaiteach import lime
from xaiteach.questions import find, of_unit
from xaiteach.questions.lime_sparsity_choose import _choices, refitted, twins
from xaiteach.questions.lime_sparsity_corners import BALL, GRAM, exact, optima
from xaiteach.questions.lime_sparsity_price import curve
from xaiteach.questions.running import cases_of, keys_of
from xaiteach.widgets import optima as plane
from xaiteach.widgets import plane_of_optima

UNIT = "05_lime_sparsity"


def keys(question: str, seed: int = 0) -> list[Any]:
    asked = find(f"lime_sparsity.{question}")
    return keys_of(asked, cases_of(asked, seed, fresh=True))


def given(key: Any, *names: str) -> tuple[Any, ...]:
    return tuple(key.case.inputs[name] for name in names)


@pytest.mark.parametrize("seed", range(3))
def test_the_ways_to_choose_part_on_every_case(seed: int) -> None:
    for case in cases_of(find("lime_sparsity.best_subset"), seed, fresh=True):
        found = _choices(*(case.inputs[name] for name in ("X", "y", "w", "k")))
        best, forward, omp, largest, plain, plain_forward, alone = found
        assert len({best, forward, omp, alone}) == 4
        assert largest not in (best, forward)
        assert best != plain
        assert forward != plain_forward


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(
    ("question", "solver"),
    [
        ("best_subset", lime.SELECTIONS["best_subset"]),
        ("forward_selection", lime.SELECTIONS["forward"]),
        ("omp", lime.SELECTIONS["omp"]),
    ],
)
def test_chosen_features_are_the_packages(question: str, solver: Any, seed: int) -> None:
    for key in keys(question, seed):
        X, y, w, k = given(key, "X", "y", "w", "k")
        theirs = solver(k)
        theirs.fit_intercept = False
        np.testing.assert_allclose(key.truth["beta"], theirs.fit(X, y, sample_weight=w).coef_, atol=1e-8)
        assert int((key.truth["beta"] != 0).sum()) == k


@pytest.mark.parametrize("seed", range(3))
def test_what_greedy_misses_is_the_homeworks_formula(seed: int) -> None:
    for key in keys("missed", seed):
        (d,) = given(key, "d")
        assert float(key.truth["value"]) == pytest.approx(d**2 / (1 + d**2), abs=1e-12)
        assert d**2 < 2
        X, y = twins(d)
        assert refitted(X, y, np.ones(3), [0, 1])[0] == pytest.approx(0, abs=1e-20)


@pytest.mark.parametrize("d", [0.1, 0.5, 1.0])
def test_the_lasso_takes_the_twin_first_as_well(d: float) -> None:
    X, y = twins(d)
    knots = lime.Lasso(penalty=2 * float(np.abs(X.T @ y).max()) * 0.999, fit_intercept=False).fit(X, y)
    assert np.flatnonzero(knots.coef_).tolist() == [2]


@pytest.mark.parametrize("seed", range(3))
def test_threshold_projection_and_price_of_zero_are_the_packages(seed: int) -> None:
    for key in keys("soft_threshold", seed):
        z, lam = given(key, "z", "lam")
        np.testing.assert_allclose(key.truth["beta"], lime.soft_threshold(z, lam / 2), atol=1e-7)
    for key in keys("project_l1", seed):
        v, k = given(key, "v", "k")
        np.testing.assert_allclose(key.truth["beta"], lime.project_l1_ball(v, k), atol=1e-9)
    for key in keys("zero_stays", seed):
        X, y, w, beta, j = given(key, "X", "y", "w", "beta", "j")
        others = np.where(np.arange(len(beta)) == j, 0, beta)
        slope = abs(2 * X[:, j] @ (w * (y - X @ others)))
        assert float(key.truth["price"]) == pytest.approx(slope, rel=1e-8)


@pytest.mark.parametrize("question", ["project_l1"])
def test_some_points_are_inside(question: str) -> None:
    inside = [np.abs(v).sum() <= k for key in keys(question) for v, k in [given(key, "v", "k")]]
    assert True in inside
    assert False in inside


def test_the_fits_on_the_side_are_the_lassos() -> None:
    """The squares (beta - b)' G (beta - b) as least squares of two rows, solved by the package under the budget."""
    root = np.linalg.cholesky(GRAM).T
    for b in optima():
        solver = lime.Lasso(k=BALL, fit_intercept=False).fit(root, root @ b)
        np.testing.assert_allclose(exact(GRAM, b, BALL), solver.coef_, atol=1e-7)


def test_what_the_unit_says_of_forty_fits_holds() -> None:
    fits = np.stack([exact(GRAM, b, BALL) for b in optima()])
    assert int((np.abs(fits).min(1) < 1e-9).sum()) == 21
    nearest = np.stack([lime.project_l1_ball(b, BALL) for b in optima()])
    assert int((np.abs(fits - nearest).max(1) > 0.01).sum()) == 31


def test_what_the_unit_says_of_fidelity_over_k_holds() -> None:
    own, there = curve()
    assert np.argmax(there) + 1 == 5
    assert there[4] > 0.8
    assert there[-1] < 0.55
    assert (np.diff(own) > -1e-9).all()  # on its own samples it only grows


def test_a_unit_takes_75_minutes_and_says_what_it_gives() -> None:
    core = [question for question in of_unit(UNIT) if not question.stretch]
    assert sum(question.minutes for question in core) == 75
    assert sum(question.points for question in core) == 24


@pytest.mark.parametrize("rho", [-0.6, 0.0, 0.6, 0.9])
def test_with_equal_lengths_the_l1_fit_is_the_plain_projection_whatever_the_correlation(rho: float) -> None:
    b = np.random.default_rng(0).uniform(-3, 3, size=(200, 2))
    found = plane.constrained(plane.gram(rho, 1.0), b, "l1", 1.0)
    np.testing.assert_allclose(found, np.stack([lime.project_l1_ball(row, 1.0) for row in b]), atol=1e-9)


@pytest.mark.parametrize(("rho", "s", "k"), [(0.6, 0.5, 1.0), (0.9, 1.0, 0.5), (-0.6, 0.5, 2.0)])
def test_the_planes_fits_are_the_packages(rho: float, s: float, k: float) -> None:
    G, b = plane.gram(rho, s), np.random.default_rng(1).uniform(-3, 3, size=(40, 2))
    root = np.linalg.cholesky(G).T
    for norm, solver in (("l1", lime.Lasso(k=k)), ("l2", lime.Ridge(k=k)), ("l0", lime.SELECTIONS["best_subset"](1))):
        solver.fit_intercept = False
        for row, found in zip(b, plane.constrained(G, b, norm, k), strict=True):
            np.testing.assert_allclose(found, solver.fit(root, root @ row).coef_, atol=1e-6, err_msg=norm)


def test_the_budget_moves_the_share_of_zeros_and_the_correlation_does_not() -> None:
    shares = {rho: plane.painted(rho, 1.0, "l1", 1.0)[1] for rho in plane.CORRELATIONS}
    assert len({round(share, 12) for share in shares.values()}) == 1
    assert shares[0.0] == pytest.approx(0.52, abs=0.01)
    falling = [plane.painted(0.0, 1.0, "l1", k)[1] for k in plane.BUDGETS]
    assert falling == sorted(falling, reverse=True)
    assert plane_of_optima(k=2.0).frame()["solved"]
    assert not plane_of_optima(rho=0.9).frame()["solved"]


def test_on_the_design_that_greedy_misses_the_lasso_lets_the_same_feature_in_first_and_gives_it_back() -> None:
    third = np.array([1.0, 1.0, 0.5]) / 1.5
    X, y = np.column_stack([np.eye(3)[:, :2], third]), np.array([1.0, 1.0, 0.0])
    in_first = lime.Lasso(penalty=2.5, fit_intercept=False).fit(X, y).coef_
    assert np.flatnonzero(np.abs(in_first) > 1e-9).tolist() == [2]
    at_last = lime.Lasso(penalty=1e-6, fit_intercept=False).fit(X, y).coef_
    np.testing.assert_allclose(at_last, [1, 1, 0], atol=1e-4)


def test_between_twins_l2_shares_and_the_others_choose_and_a_unit_moves_all_but_l0() -> None:
    u, v = np.random.default_rng(0).normal(size=(2, 200))
    found = {}
    for name, columns in (("plain", [u, u, v]), ("scaled", [u, u, v / 10])):
        for norm, solver in (
            ("l0", lime.SELECTIONS["best_subset"](2)),
            ("l1", lime.Lasso(k=2.0)),
            ("l2", lime.Ridge(k=1.5)),
        ):
            found[name, norm] = solver.fit(np.column_stack(columns), 2 * u + v).coef_
    assert found["plain", "l2"][0] == pytest.approx(found["plain", "l2"][1])
    for norm in ("l0", "l1"):
        assert found["plain", norm][1] == pytest.approx(0, abs=1e-9)
    np.testing.assert_allclose(found["plain", "l0"], [2, 0, 1], atol=1e-9)
    np.testing.assert_allclose(found["scaled", "l0"], [2, 0, 10], atol=1e-9)  # v is worth as much as before
    np.testing.assert_allclose(found["plain", "l1"], [1.47, 0, 0.53], atol=0.01)
    np.testing.assert_allclose(found["scaled", "l1"], [1.82, 0, 0.18], atol=0.01)
