"""LIME's solvers, each by another route: exact fractions, conditions of a minimum, scikit-learn, every subset."""

from __future__ import annotations

import copy
import pickle
from math import inf
from typing import Any

import helpers_attribution as h
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lime.lime_base import LimeBase
from numpy.typing import NDArray
from reference import slow_lime as slow
from sklearn import linear_model as sk
from sklearn.base import clone

import xaiteach
from xaiteach import lime
from xaiteach.errors import ModelError, OptionError, ShapeError
from xaiteach.lime.path import lasso_path

Array = NDArray[np.float64]
SOLVERS: list[lime.LinearModel] = [
    lime.LeastSquares(),
    lime.Ridge(penalty=1.0),
    lime.Ridge(k=0.5),
    lime.Lasso(penalty=1.0),
    lime.Lasso(k=0.5),
    lime.Lasso(penalty=1.0, solver="gradient"),
    lime.Lasso(k=0.5, solver="gradient"),
    lime.BestSubset(2),
    lime.ForwardSelection(2),
    lime.OrthogonalMatchingPursuit(2),
    lime.IterativeHardThresholding(2),
    lime.LassoThenRefit(2),
    lime.LargestCoefficients(2),
]
SPARSE = [s for s in SOLVERS if isinstance(s, lime.SparseModel)]
every_solver = pytest.mark.parametrize("solver", SOLVERS, ids=repr)
every_sparse = pytest.mark.parametrize("kind", [type(s) for s in SPARSE])
intercepts = pytest.mark.parametrize("intercept", [True, False])


def problem(seed: int = 0, N: int = 30, n: int = 6) -> tuple[Array, Array, Array]:
    """Correlated features away from the origin, scores with noise, weights with zeros among them."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(N, n)) @ rng.normal(size=(n, n)) + rng.normal(size=n)
    y = X @ rng.normal(size=n) + 3 + rng.normal(size=N)
    return X, y, rng.uniform(size=N) * (rng.uniform(size=N) > 0.1)


def ugly(seed: int) -> tuple[Array, Array, Array]:
    """Few small integers: columns tie, repeat, depend on each other or are constant; often more of them than rows."""
    rng = np.random.default_rng(seed)
    N, n = rng.integers(1, 8, size=2)
    X = rng.integers(-1, 2, size=(N, n)).astype(float)
    w = rng.integers(0, 3, size=N).astype(float)
    w[0] += not w.any()
    return X, rng.integers(-2, 3, size=N).astype(float), w


def l1_violation(A: Array, b: Array, beta: Array, lam: float) -> float:
    """How far beta is from the conditions of a minimum of ||b - A beta||^2 + lambda ||beta||_1."""
    correlation = 2 * A.T @ (b - A @ beta)
    wrong = [abs(c - lam * np.sign(v)) if v else max(abs(c) - lam, 0.0) for c, v in zip(correlation, beta, strict=True)]
    return float(max(wrong))


# Least squares


@intercepts
@given(seed=st.integers(0, 10**6))
@settings(deadline=None, max_examples=25)
def test_least_squares_is_the_exact_solution_of_smallest_norm(seed: int, intercept: bool) -> None:
    X, y, w = ugly(seed)
    solver = lime.LeastSquares(fit_intercept=intercept).fit(X, y, w)
    beta, b0 = slow.least_squares(X, y, w, intercept)
    # Rounding of a dozen numbers below 10, in problems whose condition is some tens.
    np.testing.assert_allclose(solver.coef_, beta, atol=1e-12, rtol=0)
    assert solver.intercept_ == pytest.approx(b0, abs=1e-12)
    rank = np.linalg.matrix_rank(slow.weighted(X, y, w, intercept)[0])
    assert (solver.rank_, solver.unique_) == (rank, rank == X.shape[1])


@intercepts
def test_least_squares_equals_scikit_learns(intercept: bool) -> None:
    X, y, w = problem()
    ours = lime.LeastSquares(fit_intercept=intercept).fit(X, y, w)
    theirs = sk.LinearRegression(fit_intercept=intercept).fit(X, y, w)
    # float64 rounding, times the condition of the features, some tens.
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-11)
    assert ours.intercept_ == pytest.approx(theirs.intercept_, rel=1e-11)
    assert ours.score(X, y, w) == pytest.approx(theirs.score(X, y, w), rel=1e-12)


@intercepts
def test_the_residual_is_pi_orthogonal_to_the_columns(intercept: bool) -> None:
    X, y, w = problem()
    residual = y - lime.LeastSquares(fit_intercept=intercept).fit(X, y, w).predict(X)
    columns = np.column_stack([X, np.ones(len(X))]) if intercept else X
    assert np.abs(columns.T @ (w * residual)).max() < 1e-12  # sums of 30 numbers near 10, rounded


def test_collinear_columns_far_from_the_origin_are_seen_as_such() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 2)) + 1e4
    X = np.column_stack([X, X.sum(1)])
    y = X[:, 0] - X[:, 1] + rng.normal(size=200)
    solver = lime.LeastSquares().fit(X, y)
    assert (solver.rank_, solver.unique_) == (2, False)
    assert np.abs(solver.coef_).max() < 1.2
    # The smallest norm has no part along (1, 1, -1), which changes nothing. Centring at 1e4 costs four digits of 16.
    assert solver.coef_ @ [1, 1, -1] == pytest.approx(0.0, abs=1e-10)


def test_features_in_very_different_units_are_not_taken_for_collinear() -> None:
    X, y, w = problem()
    units = 10.0 ** np.array([-9, -5, 0, 3, 7, 9])
    solver = lime.LeastSquares().fit(X * units, y, w)
    assert solver.unique_
    np.testing.assert_allclose(solver.coef_ * units, lime.LeastSquares().fit(X, y, w).coef_, rtol=1e-10)  # rounding


def test_a_constant_column_beside_the_intercept_gets_nothing() -> None:
    X, y, w = problem()
    solver = lime.LeastSquares().fit(np.column_stack([X, np.full(len(X), 1e6 + 0.1)]), y, w)
    assert solver.coef_[-1] == 0
    np.testing.assert_allclose(solver.coef_[:-1], lime.LeastSquares().fit(X, y, w).coef_, rtol=1e-12)  # rounding


@every_solver
def test_a_constant_score_gets_no_explanation(solver: lime.LinearModel) -> None:
    X, _, w = problem()
    fitted = copy.copy(solver).fit(X, np.full(len(X), 0.1), w)
    assert not fitted.coef_.any()
    assert fitted.intercept_ == pytest.approx(0.1, rel=1e-14)  # a rounded mean of 0.1
    assert fitted.score(X, np.full(len(X), 0.1), w) == 1


@every_solver
def test_scores_that_no_column_can_explain_get_no_explanation(solver: lime.LinearModel) -> None:
    # y is Pi-orthogonal to every centred column, to rounding: what is left of it must not be explained.
    X = np.array([[1.0, 0.3], [1.0, 0.3], [-1.0, 0.1], [-1.0, 0.1]])
    fitted = copy.copy(solver).fit(X, [0.1, -0.1, 0.7, -0.7], np.array([0.3, 0.3, 0.7, 0.7]))
    assert not fitted.coef_.any()


def around(x0: Array, sigma: float) -> Array:
    """2 n points with mean x0 and covariance sigma^2 I exactly, but for rounding."""
    n = len(x0)
    return x0 + sigma * np.sqrt(n) * np.vstack([np.eye(n), -np.eye(n)])


def test_without_intercept_even_a_constant_model_gets_an_explanation() -> None:
    # The homework as printed, of f = a + g^T x: g + a x0 / (sigma^2 + ||x0||^2).
    x0, g, a, sigma = np.array([1.0, -2.0, 0.5]), np.array([0.3, 0.0, -1.0]), 4.0, 0.2
    X = around(x0, sigma)
    as_printed = lime.LeastSquares(fit_intercept=False).fit(X, a + X @ g)
    np.testing.assert_allclose(as_printed.coef_, g + a * x0 / (sigma**2 + x0 @ x0), rtol=1e-12)  # rounding
    constant = lime.LeastSquares(fit_intercept=False).fit(X, np.ones(len(X)))
    assert np.abs(constant.coef_).max() > 0.3
    mended = lime.LeastSquares().fit(X - x0, a + X @ g)
    np.testing.assert_allclose(mended.coef_, g, atol=1e-13)  # rounding
    assert mended.intercept_ == pytest.approx(a + x0 @ g, rel=1e-12)


def test_one_noise_for_all_features_leaves_rank_two() -> None:
    rng = np.random.default_rng(0)
    X = np.array([1.0, -2.0, 0.5, 3.0]) + rng.normal(size=(50, 1))
    solver = lime.LeastSquares(fit_intercept=False).fit(X, rng.normal(size=50))
    assert (solver.rank_, solver.unique_) == (2, False)


@every_solver
def test_a_whole_weight_is_so_many_copies_of_the_sample(solver: lime.LinearModel) -> None:
    X, y, _ = problem()
    w = np.arange(len(X)) % 4  # zeros among them
    weighted = copy.copy(solver).fit(X, y, w)
    copied = copy.copy(solver).fit(np.repeat(X, w, 0), np.repeat(y, w))
    # Rounding, times the condition; gradient steps stop at 1e-12 of the largest correlation.
    np.testing.assert_allclose(weighted.coef_, copied.coef_, atol=1e-9)
    assert weighted.intercept_ == pytest.approx(copied.intercept_, abs=1e-9)


@every_solver
def test_the_intercept_is_neither_penalised_nor_counted(solver: lime.LinearModel) -> None:
    X, y, w = problem()
    there, far = copy.copy(solver).fit(X, y, w), copy.copy(solver).fit(X, y + 1000, w)
    np.testing.assert_allclose(far.coef_, there.coef_, atol=1e-9)  # 1e3 costs three digits
    assert far.intercept_ - there.intercept_ == pytest.approx(1000, rel=1e-12)


# Ridge


@intercepts
@pytest.mark.parametrize("penalty", [0.0, 1e-6, 0.7, 30.0])
@given(seed=st.integers(0, 10**6))
@settings(deadline=None, max_examples=10)
def test_ridge_is_the_exact_solution_of_its_normal_equations(seed: int, penalty: float, intercept: bool) -> None:
    X, y, w = ugly(seed)
    solver = lime.Ridge(penalty=penalty, fit_intercept=intercept).fit(X, y, w)
    beta, b0 = slow.least_squares(X, y, w, intercept, penalty)
    np.testing.assert_allclose(solver.coef_, beta, atol=1e-12)  # rounding, of numbers below 10
    assert solver.intercept_ == pytest.approx(b0, abs=1e-12)
    assert solver.lambda_ == penalty


def test_lambda_is_scikit_learns_alpha_for_ridge() -> None:
    X, y, w = problem()
    ours, theirs = lime.Ridge(penalty=2.5).fit(X, y, w), sk.Ridge(alpha=2.5, solver="svd").fit(X, y, w)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-12)  # rounding


@intercepts
@given(seed=st.integers(0, 10**6), share=st.floats(0.01, 0.99))
@settings(deadline=None, max_examples=20)
def test_ridge_within_a_ball_is_on_its_sphere_with_the_multiplier_of_bisection(
    seed: int, share: float, intercept: bool
) -> None:
    X, y, w = problem(seed)
    k = share * float(np.linalg.norm(lime.LeastSquares(fit_intercept=intercept).fit(X, y, w).coef_))
    solver = lime.Ridge(k=k, fit_intercept=intercept).fit(X, y, w)
    assert np.linalg.norm(solver.coef_) == pytest.approx(k, rel=1e-13)  # rounding
    # Both are roots of the same function, from normal equations there: condition squared, some 1e4, of rounding.
    assert solver.lambda_ == pytest.approx(slow.ridge_multiplier(X, y, w, k, intercept), rel=1e-8)
    same = lime.Ridge(penalty=solver.lambda_, fit_intercept=intercept).fit(X, y, w)
    np.testing.assert_allclose(same.coef_, solver.coef_, rtol=1e-12)
    assert solver.n_iter_ < 30


def test_newton_on_the_secular_equation_only_goes_up() -> None:
    from xaiteach.lime.ridge import _multiplier

    s, g = np.array([5.0, 1.0, 1e-3]), np.array([1.0, -2.0, 3.0])
    root, steps = _multiplier(s, g, 0.1)
    assert root > 0
    assert steps > 3
    previous = 0.0
    for k in (1000.0, 100.0, 10.0, 1.0, 0.1, 1e-3, 1e-9):  # a smaller ball, a higher price
        root, steps = _multiplier(s, g, k)
        assert root > previous
        assert np.linalg.norm(s * g / (s**2 + root)) == pytest.approx(k, rel=1e-13)  # rounding
        assert np.linalg.norm(s * g / (s**2 + root)) >= k * (1 - 1e-15)  # never past the root, but for rounding
        previous = root


def test_a_free_minimum_within_the_ball_has_no_price() -> None:
    X, y, w = problem()
    free = lime.LeastSquares().fit(X, y, w).coef_
    for k in (np.linalg.norm(free) * 1.001, inf):
        solver = lime.Ridge(k=k).fit(X, y, w)
        assert (solver.lambda_, solver.n_iter_) == (0.0, 0)
        np.testing.assert_allclose(solver.coef_, free, rtol=1e-11)  # rounding


def test_a_singular_problem_takes_the_free_minimum_of_smallest_norm() -> None:
    # Twins: the whole line beta_1 + beta_2 = 2 is free; its point nearest to 0 is inside a ball of radius 1.5.
    X, y = np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]]), np.array([1.0, 3.0, 5.0])
    for solver in (lime.Ridge(k=1.5), lime.Ridge(penalty=0.0), lime.LeastSquares()):
        np.testing.assert_allclose(solver.fit(X, y).coef_, [1.0, 1.0], rtol=1e-14)  # rounding
    assert lime.Ridge(k=1.5).fit(X, y).lambda_ == 0
    np.testing.assert_allclose(lime.Ridge(k=1.0).fit(X, y).coef_, [0.5**0.5] * 2, rtol=1e-14)


@pytest.mark.parametrize("kind", [lime.Ridge, lime.Lasso])
def test_no_budget_means_zeros_and_no_finite_price(kind: Any) -> None:
    X, y, w = problem()
    solver = kind(k=0.0).fit(X, y, w)
    assert not solver.coef_.any()
    assert solver.lambda_ == inf
    assert solver.intercept_ == pytest.approx(np.average(y, weights=w), rel=1e-14)
    assert not kind(penalty=inf).fit(X, y, w).coef_.any()


@pytest.mark.parametrize(
    ("kind", "norm", "rate"),
    [
        (lime.Ridge, lambda v: np.linalg.norm(v), lambda k, lam: 2 * k * lam),
        (lime.Lasso, lambda v: np.abs(v).sum(), lambda _, lam: lam),
    ],
    ids=["ridge", "lasso"],
)
def test_the_multiplier_is_what_a_larger_budget_saves(kind: Any, norm: Any, rate: Any) -> None:
    # dRSS/dk is -lambda for ||beta||_1 <= k, and -2 k lambda for ||beta||^2 <= k^2.
    X, y, w = problem()
    k = 0.4 * float(norm(lime.LeastSquares().fit(X, y, w).coef_))

    def rss(budget: float) -> float:
        return float(w @ (y - kind(k=budget).fit(X, y, w).predict(X)) ** 2)

    step = 1e-5
    saved = (rss(k - step) - rss(k + step)) / (2 * step)
    # Central differences: the third derivative times 1e-10, and 1e-16 of the RSS over 1e-5.
    assert saved == pytest.approx(rate(k, kind(k=k).fit(X, y, w).lambda_), rel=1e-6)


# Lasso


@intercepts
@pytest.mark.parametrize("solver", ["path", "gradient"])
def test_lasso_equals_one_coordinate_at_a_time_and_scikit_learns(solver: str, intercept: bool) -> None:
    X, y, w = problem()
    A, b = slow.weighted(X, y, w, intercept)
    for lam in (0.5, 5.0, 50.0):
        ours = lime.Lasso(penalty=lam, solver=solver, fit_intercept=intercept).fit(X, y, w)
        # Coordinate descent stops at changes of 1e-15, gradient steps at 1e-12 of the largest correlation; between
        # those and the coefficients lies the condition of A^T A, some thousands.
        np.testing.assert_allclose(ours.coef_, slow.lasso(A, b, lam), atol=1e-8)
        theirs = sk.Lasso(alpha=lam / (2 * w.sum()), fit_intercept=intercept, tol=1e-12, max_iter=100_000).fit(X, y, w)
        np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-6)  # its tolerance is on the duality gap
        assert ((ours.coef_ == 0) == (theirs.coef_ == 0)).all()


@intercepts
@given(seed=st.integers(0, 10**6), lam=st.sampled_from([0.0, 0.1, 0.5, 1.0, 2.0, 3.0]))
@settings(deadline=None, max_examples=60)
def test_lasso_meets_its_conditions_whatever_ties_or_depends(seed: int, lam: float, intercept: bool) -> None:
    X, y, w = ugly(seed)
    A, b = slow.weighted(X, y, w, intercept)
    beta = lime.Lasso(penalty=lam, fit_intercept=intercept).fit(X, y, w).coef_
    assert l1_violation(A, b, beta, lam) < 1e-10  # rounding; small integers, but nearly parallel sums of them
    k = 0.6 * float(np.abs(lime.LeastSquares(fit_intercept=intercept).fit(X, y, w).coef_).sum())
    for solver in ("path", "gradient"):
        within = lime.Lasso(k=k, solver=solver, fit_intercept=intercept).fit(X, y, w)
        assert np.abs(within.coef_).sum() <= k * (1 + 1e-12)
        if k:
            assert l1_violation(A, b, within.coef_, within.lambda_) < 1e-8
            assert within.lambda_ == pytest.approx(0, abs=1e-8) or np.abs(within.coef_).sum() == pytest.approx(k)


@given(seed=st.integers(0, 10**6), share=st.floats(0.05, 0.95))
@settings(deadline=None, max_examples=10)
def test_lasso_in_a_ball_is_what_projected_gradient_finds(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    X, w = rng.normal(size=(30, 3)), rng.uniform(size=30)
    y = X @ rng.normal(size=3) + rng.normal(size=30)
    A, b = slow.weighted(X, y, w)
    k = share * float(np.abs(lime.LeastSquares().fit(X, y, w).coef_).sum())
    found = lime.Lasso(k=k).fit(X, y, w)
    # Independent features: plain steps halve the error at least every ten.
    np.testing.assert_allclose(found.coef_, slow.lasso_within(A, b, k, steps=500), atol=1e-10)
    priced = lime.Lasso(penalty=found.lambda_).fit(X, y, w)
    np.testing.assert_allclose(priced.coef_, found.coef_, atol=1e-12)  # rounding, times the condition


def test_lasso_path_has_the_knots_of_scikit_learns() -> None:
    X, y, w = problem()
    path = lime.Lasso(penalty=0.0).fit(X, y, w).path_
    A, b = slow.weighted(X, y, w)
    alphas, _, coefs = sk.lars_path(A, b, method="lasso")
    np.testing.assert_allclose(path.lambdas, 2 * len(A) * alphas, atol=1e-9)  # theirs accumulates rounding
    np.testing.assert_allclose(path.coefs, coefs.T, atol=1e-9)
    assert (np.diff(path.norms) > 0).all()
    np.testing.assert_allclose(path.coefs[-1], lime.LeastSquares().fit(X, y, w).coef_, rtol=1e-11)


def test_lasso_of_many_masks_has_an_exact_path() -> None:
    rng = np.random.default_rng(0)
    Z = rng.integers(0, 2, size=(300, 40)).astype(float)
    y = Z[:, :5] @ [3.0, -2.0, 1.0, 1.0, 0.5] + Z[:, 0] * Z[:, 1] + 0.1 * rng.normal(size=300)
    w = rng.uniform(size=300)
    A, b = slow.weighted(Z, y, w)
    path = lime.Lasso(penalty=0.0).fit(Z, y, w).path_
    for lam, beta in zip(path.lambdas, path.coefs, strict=True):
        assert l1_violation(A, b, beta, lam) < 1e-11  # rounding of sums of 300
    for lam in (0.1, 1.0, 10.0):
        assert l1_violation(A, b, path.at_penalty(lam), lam) < 1e-11


def test_orthonormal_columns_make_the_lasso_a_soft_threshold_at_half_of_lambda() -> None:
    rng = np.random.default_rng(0)
    Q = np.linalg.qr(rng.normal(size=(20, 5)))[0]
    y, lam = rng.normal(size=20), 0.6
    z = Q.T @ y
    found = lime.Lasso(penalty=lam, fit_intercept=False).fit(Q, y).coef_
    np.testing.assert_allclose(found, np.sign(z) * np.maximum(np.abs(z) - lam / 2, 0), atol=1e-14)  # rounding
    np.testing.assert_allclose(found, lime.soft_threshold(z, lam / 2), atol=1e-14)
    assert 0 < np.count_nonzero(found) < 5


def test_zero_is_optimal_for_an_interval_under_l1_and_for_one_value_under_l2() -> None:
    X, y, w = problem()
    A, b = slow.weighted(X, y, w)
    beta = lime.Lasso(penalty=50.0).fit(X, y, w).coef_
    zeros = beta == 0
    assert 0 < zeros.sum() < len(zeros)
    inside = np.abs(2 * A.T @ (b - A @ beta))[zeros]
    assert (inside < 50.0).all()
    assert (lime.Ridge(penalty=50.0).fit(X, y, w).coef_ != 0).all()


def test_twins_under_the_lasso_are_shared_or_not_at_the_same_cost() -> None:
    X, y, w = problem(n=2)
    one = lime.Lasso(penalty=1.0).fit(X, y, w)
    two = lime.Lasso(penalty=1.0).fit(np.column_stack([X, X]), y, w)
    assert np.abs(two.coef_).sum() == pytest.approx(np.abs(one.coef_).sum(), rel=1e-10)
    np.testing.assert_allclose(two.coef_[:2] + two.coef_[2:], one.coef_, rtol=1e-10)  # rounding


@given(v=st.lists(st.floats(-5, 5), min_size=1, max_size=8), k=st.floats(0, 12))
@settings(deadline=None, max_examples=25)
def test_projection_on_the_l1_ball_is_the_nearest_point(v: list[float], k: float) -> None:
    found = lime.project_l1_ball(v, k)
    np.testing.assert_allclose(found, slow.project_l1(np.array(v), k), atol=1e-13)  # bisection to rounding
    assert np.abs(found).sum() <= k * (1 + 1e-14) + 1e-14
    # The nearest point of a convex set: no corner of the ball is at less than a right angle beyond it.
    beyond = np.array(v) - found
    corners = k * np.vstack([np.eye(len(v)), -np.eye(len(v))])
    assert ((corners - found) @ beyond <= 1e-12).all()


def test_projection_by_hand() -> None:
    # (3, -1, 0.5) to radius 2: only 3 exceeds its threshold (3 - 2)/1 = 1; of the two largest, (4 - 2)/2 = 1 = |-1|.
    np.testing.assert_array_equal(lime.project_l1_ball([3.0, -1.0, 0.5], 2.0), [2.0, 0.0, 0.0])
    np.testing.assert_array_equal(lime.project_l1_ball([3.0, -2.0, 0.5], 3.0), [2.0, -1.0, 0.0])
    np.testing.assert_array_equal(lime.project_l1_ball([0.3, -0.2], 3.0), [0.3, -0.2])
    np.testing.assert_array_equal(lime.project_l1_ball([0.3, -0.2], 0.0), [0.0, 0.0])


# At most k


def greedy_miss(d: float = 0.1) -> tuple[Array, Array]:
    """x1, x2 orthonormal, x3 = (x1 + x2 + d e) / sqrt(2 + d^2), y = x1 + x2."""
    x1, x2, e = np.eye(4)[:3]
    return np.column_stack([x1, x2, (x1 + x2 + d * e) / np.sqrt(2 + d**2)]), x1 + x2


def test_best_subset_hits_where_every_greedy_method_misses() -> None:
    d = 0.1
    X, y = greedy_miss(d)
    best = lime.BestSubset(2, fit_intercept=False).fit(X, y)
    assert best.support_.tolist() == [0, 1]
    np.testing.assert_allclose(best.coef_, [1.0, 1.0, 0.0], atol=1e-15)
    for kind in (lime.ForwardSelection, lime.OrthogonalMatchingPursuit):
        greedy = kind(2, fit_intercept=False).fit(X, y)
        assert greedy.order_.tolist() == [2, 0]
        rss = float(((y - greedy.predict(X)) ** 2).sum())
        assert rss == pytest.approx(d**2 / (1 + d**2), rel=1e-12)  # rounding
    path = lasso_path(X, y)
    assert (path.coefs[1] != 0).tolist() == [False, False, True]
    assert lime.Lasso(k=1.0, fit_intercept=False).fit(X, y).coef_[2] > 0.9  # and it stays until lambda is nearly 0


@given(seed=st.integers(0, 10**6), k=st.integers(0, 7))
@settings(deadline=None, max_examples=25)
def test_best_subset_is_the_best_of_every_choice(seed: int, k: int) -> None:
    for X, y, w in (problem(seed, N=12, n=5), ugly(seed)):
        A, b = slow.weighted(X, y, w)
        solver = lime.BestSubset(k).fit(X, y, w)
        least, _ = slow.best_subset(A, b, min(k, X.shape[1]))
        # RSS to the rounding of ||b||^2.
        assert ((b - A @ solver.coef_) ** 2).sum() == pytest.approx(least, abs=1e-12 * (b @ b))
        assert len(solver.support_) <= k
        if len(solver.support_):  # and no smaller choice is as good
            smaller, _ = slow.best_subset(A, b, len(solver.support_) - 1)
            assert smaller > least + 1e-12 * (b @ b)


@given(seed=st.integers(0, 10**6))
@settings(deadline=None, max_examples=20)
def test_greedy_methods_choose_what_plain_loops_choose(seed: int) -> None:
    X, y, w = problem(seed)
    A, b = slow.weighted(X, y, w)
    assert lime.ForwardSelection(4).fit(X, y, w).order_.tolist() == slow.forward(A, b, 4)
    assert lime.OrthogonalMatchingPursuit(4).fit(X, y, w).order_.tolist() == slow.matching_pursuit(A, b, 4)


def test_forward_selection_and_matching_pursuit_are_not_the_same() -> None:
    differ = []
    for seed in range(30):
        X, y, w = problem(seed)
        orders = [
            kind(3).fit(X, y, w).order_.tolist() for kind in (lime.ForwardSelection, lime.OrthogonalMatchingPursuit)
        ]
        differ.append(orders[0] != orders[1])
    assert 0 < sum(differ) < 30


def test_matching_pursuit_of_columns_of_length_one_is_scikit_learns() -> None:
    X, y, w = problem()
    A, b = slow.weighted(X, y, w)
    A = A / np.sqrt((A**2).sum(0))
    theirs = sk.OrthogonalMatchingPursuit(n_nonzero_coefs=3, fit_intercept=False).fit(A, b)
    ours = lime.OrthogonalMatchingPursuit(3, fit_intercept=False).fit(A, b)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-10)  # theirs by normal equations


@every_sparse
@intercepts
def test_on_the_support_it_is_least_squares(kind: Any, intercept: bool) -> None:
    X, y, w = problem()
    for k in range(8):
        solver = kind(k, fit_intercept=intercept).fit(X, y, w)
        assert np.flatnonzero(solver.coef_).tolist() == solver.support_.tolist() == sorted(solver.order_)
        assert len(solver.support_) == min(k, 6) or (kind is lime.LassoThenRefit and len(solver.support_) <= k)
        if len(solver.support_):
            alone = lime.LeastSquares(fit_intercept=intercept).fit(X[:, solver.support_], y, w)
            np.testing.assert_allclose(solver.coef_[solver.support_], alone.coef_, rtol=1e-9)  # rounding, conditioned
            assert solver.intercept_ == pytest.approx(alone.intercept_, rel=1e-9)


@every_sparse
@pytest.mark.filterwarnings("ignore:IterativeHardThresholding. coefficients still move")
@given(seed=st.integers(0, 10**6), k=st.integers(0, 9))
@settings(deadline=None, max_examples=15)
def test_no_choice_explains_more_than_best_subset_and_none_more_than_all(kind: Any, seed: int, k: int) -> None:
    for X, y, w in (problem(seed, N=15, n=5), ugly(seed)):
        A, b = slow.weighted(X, y, w)

        def rss(solver: lime.LinearModel) -> float:
            if isinstance(solver, lime.IterativeHardThresholding):
                solver.max_iter = 300
            return float(((b - A @ solver.fit(X, y, w).coef_) ** 2).sum())  # noqa: B023 - called within the loop

        slack = 1e-12 * float(b @ b)  # rounding
        assert rss(kind(k)) >= rss(lime.BestSubset(k)) - slack
        if k >= X.shape[1] and kind is not lime.IterativeHardThresholding:
            assert rss(kind(k)) <= rss(lime.LeastSquares()) + slack


@every_sparse
def test_a_perfect_fit_takes_no_more_features_than_it_needs(kind: Any) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(50, 8))
    solver = kind(6).fit(X, 2 * X[:, 1] - X[:, 5] + 3)
    np.testing.assert_allclose(solver.coef_, [0, 2, 0, 0, 0, -1, 0, 0], atol=1e-9)  # IHT stops at 1e-10
    greedy = (lime.BestSubset, lime.ForwardSelection, lime.OrthogonalMatchingPursuit)
    if kind in greedy:
        assert solver.support_.tolist() == [1, 5]


def test_best_subset_of_twins_takes_the_first() -> None:
    X, y, w = problem(n=3)
    twice = np.column_stack([X, X])
    assert lime.BestSubset(2).fit(twice, y, w).support_.tolist() == lime.BestSubset(2).fit(X, y, w).support_.tolist()
    assert len(lime.BestSubset(5).fit(twice, y, w).support_) == 3


def test_best_subset_refuses_more_than_twenty_features() -> None:
    X = np.random.default_rng(0).normal(size=(30, 21))
    with h.fails(OptionError, "BestSubset", "at most 20 features", "got 21", "ForwardSelection(3)"):
        lime.BestSubset(3).fit(X, X[:, 0])
    assert lime.BestSubset(1).fit(X[:, :20], X[:, 7]).support_.tolist() == [7]


def test_the_top_k_of_the_full_fit_can_be_worse_than_best_subset() -> None:
    # Big twins of opposite sign cancel; the full fit gives them the largest coefficients.
    rng = np.random.default_rng(0)
    z = rng.normal(size=(200, 3))
    X = np.column_stack([z[:, 0], z[:, 0] + 0.05 * z[:, 1], z[:, 2]])
    y = 0.2 * (X[:, 1] - X[:, 0]) / 0.05 + 2 * X[:, 2]
    top, best = lime.LargestCoefficients(1).fit(X, y), lime.BestSubset(1).fit(X, y)
    assert best.support_.tolist() == [2]
    assert top.support_.tolist() != [2]
    assert best.score(X, y) > 0.9 > top.score(X, y)


def test_iterative_hard_thresholding_never_raises_the_rss_and_stops_at_a_fixed_point() -> None:
    X, y, w = problem()
    A, b = slow.weighted(X, y, w)
    step = 1 / np.linalg.eigvalsh(A.T @ A)[-1]
    beta, history = np.zeros(6), []
    for _ in range(3000):
        history.append(float(((b - A @ beta) ** 2).sum()))
        beta = lime.hard_threshold(beta + step * A.T @ (b - A @ beta), 2)
    assert (np.diff(history) <= 1e-12).all()  # rounding
    solver = lime.IterativeHardThresholding(2).fit(X, y, w)
    assert solver.converged_
    assert np.flatnonzero(beta).tolist() == solver.support_.tolist()
    np.testing.assert_allclose(solver.coef_, beta, atol=1e-7)  # steps of 1e-10 left, times the condition
    again = lime.hard_threshold(solver.coef_ + step * A.T @ (b - A @ solver.coef_), 2)
    np.testing.assert_allclose(again, solver.coef_, atol=1e-10)


def test_iterative_hard_thresholding_refuses_a_step_that_may_climb_and_says_when_it_is_not_done() -> None:
    X, y, w = problem()
    A, _ = slow.weighted(X, y, w)
    longest = 1 / float(np.linalg.eigvalsh(A.T @ A)[-1])
    assert lime.IterativeHardThresholding(2, step=longest / 2).fit(X, y, w).converged_
    with h.fails(OptionError, "`step` must be at most 1/lambda_max"):
        lime.IterativeHardThresholding(2, step=1.1 * longest).fit(X, y, w)
    with pytest.warns(RuntimeWarning, match="still move after 2 steps") as caught:
        solver = lime.IterativeHardThresholding(2, max_iter=2).fit(X, y, w)
    assert (solver.converged_, solver.n_iter_) == (False, 2)
    assert caught[0].filename == __file__


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize(
    ("kind", "theirs"),
    [
        (lime.ForwardSelection, "forward_selection"),
        (lime.LargestCoefficients, "highest_weights"),
        (lime.LassoThenRefit, "lasso_path"),
    ],
)
def test_choices_are_those_of_the_lime_package(kind: Any, theirs: str, k: int) -> None:
    rng = np.random.default_rng(k)
    Z = rng.integers(0, 2, size=(80, 9))
    Z[0] = 1
    y, w = Z @ rng.normal(size=9) + 0.3 * rng.normal(size=80), rng.uniform(0.1, 1, size=80)
    expected = LimeBase(lambda d: d).feature_selection(Z, y, w, k, theirs)
    assert kind(k).fit(Z, y, w).support_.tolist() == sorted(int(j) for j in expected)


# Manners


@every_solver
def test_solvers_are_scikit_learns_kind_of_object(solver: lime.LinearModel) -> None:
    X, y, w = problem()
    fresh = clone(solver)
    assert repr(fresh) == repr(solver)
    assert fresh is not solver
    assert fresh.fit(X, y, sample_weight=w) is fresh
    assert fresh.coef_.shape == (6,)
    assert isinstance(fresh.intercept_, float)
    assert fresh.n_features_in_ == 6
    np.testing.assert_allclose(fresh.predict(X), fresh.intercept_ + X @ fresh.coef_, rtol=1e-14)
    copied = pickle.loads(pickle.dumps(fresh))
    assert (copied.predict(X) == fresh.predict(X)).all()
    assert fresh.set_params(fit_intercept=False).fit(X, y, w).intercept_ == 0
    with h.fails(OptionError, f"unknown parameter of {type(solver).__name__} 'alpha'"):
        fresh.set_params(alpha=1)


@every_solver
def test_lists_tensors_and_single_precision_are_taken(solver: lime.LinearModel) -> None:
    X, y, w = (np.float32(part).astype(float) for part in problem())
    expected = copy.copy(solver).fit(X, y, w).coef_
    tensors = [torch.tensor(part, dtype=torch.float32, requires_grad=True) for part in (X, y, w)]
    for given_X, given_y, given_w in (tensors, (X.tolist(), y.tolist(), w.tolist())):
        assert (copy.copy(solver).fit(given_X, given_y, given_w).coef_ == expected).all()


@every_solver
def test_fewer_samples_than_features_and_single_samples_are_taken(solver: lime.LinearModel) -> None:
    X, y, _ = problem()
    few = copy.copy(solver).fit(X[:3], y[:3], [1, 2, 0.5])
    assert np.isfinite(few.coef_).all()
    one = copy.copy(solver).fit(X[:1], y[:1])  # a single sample says nothing beyond the intercept
    assert not one.coef_.any()
    assert one.intercept_ == pytest.approx(y[0], rel=1e-15)
    weighed = copy.copy(solver).fit(X, y, np.eye(len(X))[2])
    assert not weighed.coef_.any()
    assert weighed.intercept_ == pytest.approx(y[2], rel=1e-15)


@every_solver
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"X": np.zeros(4)}, ["`X` must be real numbers of shape (N, n)", "got (4,)", "X.reshape(-1, 1)"]),
        ({"X": np.zeros((0, 3))}, ["`X`", "got (0, 3)", "at least one sample"]),
        ({"X": [[1.0, 2.0], [3.0]]}, ["`X` must be real numbers"]),
        ({"X": np.array([["a", "b"]] * 4)}, ["`X` must be real numbers", "<U1 array"]),
        ({"X": np.zeros((4, 2), complex)}, ["`X` must be real numbers", "complex128"]),
        ({"X": np.full((4, 2), np.nan)}, ["`X` must hold finite numbers", "8 NaN", "(0, 0)"]),
        ({"y": np.zeros((4, 1))}, ["`y` must be real numbers of shape (4,)", "got (4, 1)", "y.ravel()"]),
        ({"y": np.zeros(3)}, ["`y`", "got (3,)", "one row for each sample"]),
        ({"y": [0.0, np.inf, 0.0, 0.0]}, ["`y` must hold finite numbers", "1 infinite", "(1,)"]),
        ({"sample_weight": [1, 1, -1, 1]}, ["`sample_weight` must be 0 or above", "-1.0 for sample 2"]),
        ({"sample_weight": np.zeros(4)}, ["above 0 for at least one sample", "4 zeros", "wider kernel"]),
        ({"sample_weight": [1, np.nan, 1, 1]}, ["`sample_weight` must hold finite numbers"]),
        ({"sample_weight": np.ones(5)}, ["`sample_weight`", "shape (4,)", "got (5,)"]),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_what_is_no_regression_problem_is_refused(
    solver: lime.LinearModel, change: dict[str, Any], words: list[str]
) -> None:
    given = {"X": np.arange(8.0).reshape(4, 2), "y": np.arange(4.0), "sample_weight": np.ones(4), **change}
    with h.fails(ShapeError, type(solver).__name__, *words):
        copy.copy(solver).fit(**given)


def test_a_nan_under_a_weight_of_zero_is_refused_too() -> None:
    X = np.array([[1.0], [np.nan], [2.0]])
    with h.fails(ShapeError, "1 NaN", "(1, 0)", "a weight of 0 does not do that"):
        lime.LeastSquares().fit(X, [1, 2, 3], [1, 0, 1])


@pytest.mark.parametrize(
    ("solver", "words"),
    [
        (lime.Ridge(), "one of `penalty` (lambda) and `k` (the budget) must be given; got neither"),
        (lime.Lasso(penalty=1.0, k=1.0), "got penalty=1.0 and k=1.0"),
        (lime.Ridge(penalty=-1.0), "`penalty` must be a number, 0 or above; got -1.0"),
        (lime.Ridge(k=float("nan")), "`k` must be a number, 0 or above; got nan"),
        (lime.Lasso(k="2"), "`k` must be a number, 0 or above; got '2'"),
        (lime.Lasso(k=1.0, solver="lars"), "unknown solver of Lasso 'lars'"),
        (lime.BestSubset(-1), "`k` must be an integer from 0 up; got -1"),
        (lime.ForwardSelection(1.5), "`k` must be an integer from 0 up; got 1.5"),
        (lime.OrthogonalMatchingPursuit(True), "`k` must be an integer from 0 up; got True"),
        (lime.LargestCoefficients(1, penalty=-0.1), "`penalty` must be a number, 0 or above"),
        (lime.IterativeHardThresholding(1, step=0.0), "`step` must be a number, above 0; got 0.0"),
        (lime.IterativeHardThresholding(1, max_iter=0), "`max_iter` must be an integer from 1 up"),
        (lime.LeastSquares(fit_intercept="no"), "`fit_intercept` must be True or False; got 'no'"),
    ],
    ids=repr,
)
def test_an_argument_that_makes_no_sense_is_refused(solver: lime.LinearModel, words: str) -> None:
    X, y, w = problem()
    with h.fails(OptionError, words):
        solver.fit(X, y, w)


def test_predicting_needs_a_fit_and_its_features() -> None:
    with h.fails(ModelError, "LeastSquares: it must be fitted"):
        lime.LeastSquares().predict(np.zeros((1, 2)))
    X, y, w = problem()
    with h.fails(ShapeError, "`X` must be real numbers of shape (N, 6)", "got (1, 2)"):
        lime.LeastSquares().fit(X, y, w).predict(np.zeros((1, 2)))


def test_columns_told_apart_by_rounding_alone_end_in_an_answer_or_in_a_refusal() -> None:
    rng = np.random.default_rng(0)
    for near in (1e-6, 1e-9, 1e-12, 1e-14, 1e-16):
        X = rng.normal(size=(40, 3))
        X = np.column_stack([X, X + near * rng.normal(size=(40, 3))])
        y = X @ rng.normal(size=6) + rng.normal(size=40)
        A, b = slow.weighted(X, y, np.ones(40))
        try:
            beta = lime.Lasso(penalty=1.0).fit(X, y).coef_
        except ShapeError as error:
            assert "told apart by more than rounding" in str(error)  # noqa: PT017 - a refusal is as good
        else:
            top = float(np.abs(2 * A.T @ b).max())
            assert l1_violation(A, b, beta, 1.0) < 2e-8 * top  # what Lasso lets through


def test_fidelity_by_hand() -> None:
    # mean 2.5; spread 2 * 2.25 + 0.25 + 0.25; missed 0.5 * ... the weights count twice for the first.
    y, p = [1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 3.0]
    assert lime.fidelity(y, p) == pytest.approx(1 - 1 / 5, rel=1e-15)
    assert lime.fidelity(y, p, [1, 1, 1, 0]) == 1
    assert lime.fidelity([2.0, 2.0], [2.0, 2.0]) == 1
    assert lime.fidelity([2.0, 2.0], [2.0, 3.0]) == 0
    assert lime.fidelity(y, [4.0, 3.0, 2.0, 1.0]) < 0


def test_every_public_name_is_listed_and_every_listed_name_is_there() -> None:
    listed = set(lime.__all__)
    assert list(lime.__all__) == sorted(
        lime.__all__, key=lambda name: (not name.isupper(), not name[0].isupper(), name)
    )
    assert all(hasattr(lime, name) for name in listed)
    imported = {
        name
        for name, value in vars(lime).items()
        if not name.startswith("_") and getattr(value, "__module__", "").startswith("xaiteach.lime")
    }
    assert imported <= listed
    assert listed - imported == {"SELECTIONS"}  # a dictionary, which has no module
    assert xaiteach.lime is lime
