"""LIME for any callable: neighbourhoods, kernels, superpixels, beside the lime package and SmoothGrad."""

from __future__ import annotations

from typing import Any

import helpers_attribution as h
import numpy as np
import pytest
import torch
from helpers_lime import by_the_lime_package
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from reference import slow_lime as slow
from sklearn import linear_model as sk
from torch import Tensor

from xaiteach import explain, lime
from xaiteach.errors import ModelError, OptionError, ShapeError
from xaiteach.lime import explainer

Array = NDArray[np.float64]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def image(seed: int = 0, size: int = 12) -> tuple[Array, NDArray[np.int64]]:
    """Random colours (3, size, size), and 4 x 3 blocks as labels."""
    rng = np.random.default_rng(seed)
    rows, columns = np.arange(size) * 4 // size, np.arange(size) * 3 // size
    labels = np.add.outer(rows * 3, columns)
    return rng.uniform(size=(3, size, size)), labels


def two_classes(images: Array) -> Array:
    """Probabilities (B, 2) of images (B, h, w, 3): bright corners with an interaction."""
    s = 4 * images[:, :4, :4].mean((1, 2, 3)) - images[:, 6:, 6:, 0].mean((1, 2)) * images[:, :3, -3:, 1].mean((1, 2))
    return np.stack([1 / (1 + np.exp(s)), 1 / (1 + np.exp(-s))], 1)


# Beside the lime package


@pytest.mark.parametrize("n_features", [None, 4, 9])
@pytest.mark.parametrize("fill", ["mean", 0.3])
def test_superpixel_masking_equals_the_lime_package(
    fill: Any, n_features: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, labels = image()
    near = lime.superpixel_neighbourhood(
        lambda b: two_classes(b.transpose(0, 2, 3, 1))[:, 1],
        x,
        labels=labels,
        fill=fill,
        n_samples=150,
        generator=seeded(),
    )
    ours = near.explain(n_features=n_features)
    options = {"hide_color": None if fill == "mean" else fill, "num_features": n_features or 100_000}
    coef, intercept = by_the_lime_package(x, labels, near.X, two_classes, monkeypatch, **options)
    # Both in float64; sums of 150 in another order.
    np.testing.assert_allclose(ours.coef, coef, atol=1e-12, rtol=0)
    assert ours.intercept == pytest.approx(intercept, abs=1e-12)
    assert np.count_nonzero(ours.coef) == (n_features or 12)


def test_hidden_images_and_weights_are_those_of_plain_loops() -> None:
    x, labels = image(size=6)
    seen: list[Array] = []

    def f(batch: Array) -> Array:
        seen.append(batch.copy())
        return batch[:, 0, 0, 0]

    near = lime.superpixel_neighbourhood(f, x, labels=labels, n_samples=9, batch_size=4, generator=seeded())
    assert [len(batch) for batch in seen] == [4, 4, 1]
    # Means of a dozen numbers, summed in another order.
    np.testing.assert_allclose(np.concatenate(seen), slow.hidden_images(x, labels, near.X), atol=1e-15)
    np.testing.assert_allclose(near.weights, slow.mask_weights(near.X, 0.25), rtol=1e-13)
    assert (near.X[0] == 1).all()
    assert (near.y == np.concatenate(seen)[:, 0, 0, 0]).all()


@pytest.mark.parametrize("how", ["largest", "forward", "lasso", "omp", "best_subset", "iht"])
def test_every_selection_finds_the_superpixels_that_matter(how: str) -> None:
    x, labels = image()
    weights = np.where(labels == 3, 2.0, 0.0) - np.where(labels == 7, 1.0, 0.0)
    near = lime.superpixel_neighbourhood(
        lambda b: (b * weights).sum((1, 2, 3)), x, labels=labels, fill=0.0, n_samples=120, generator=seeded()
    )
    found = near.explain(lime.LeastSquares(), n_features=2, selection=how)
    expected = [(x * weights)[:, labels == j].sum() for j in (3, 7)]
    assert found.support.tolist() == [3, 7]
    np.testing.assert_allclose(found.coef[[3, 7]], expected, rtol=1e-12)  # rounding
    assert found.fidelity == pytest.approx(1, abs=1e-12)
    assert found.values.shape == (12, 12)
    assert (found.values[labels == 7] == found.coef[7]).all()


# The bridge to SmoothGrad


A = torch.tensor([1.1, -0.7, 0.4], dtype=torch.float64)


def wave(x: Tensor) -> Tensor:
    """sin(a . x) + x_1 x_2, with a gradient that noise changes."""
    return torch.sin(x @ A) + x[..., 0] * x[..., 1]


def smoothed_gradient(x0: Tensor, sigma: float) -> Array:
    """E grad wave(x0 + e) in closed form: cos under Gaussian noise shrinks by exp(-sigma^2 |a|^2 / 2)."""
    shrunk = torch.cos(x0 @ A) * torch.exp(-(sigma**2) * (A @ A) / 2)
    return (A * shrunk + torch.stack([x0[1], x0[0], torch.zeros(())])).numpy()


@pytest.mark.parametrize(("sigma", "width"), [(0.8, 1.0), (0.5, 0.4), (1.0, None)])
def test_gaussian_lime_with_a_gaussian_kernel_is_smoothgrad_of_a_smaller_noise(
    sigma: float, width: float | None
) -> None:
    x0 = torch.tensor([0.3, -0.2, 0.9], dtype=torch.float64)
    near = lime.gaussian_neighbourhood(
        wave, x0, sigma=sigma, width=width, n_samples=200_000, batch_size=50_000, generator=seeded(), progress=False
    )
    found = near.explain()
    effective = sigma if width is None else lime.smoothgrad_sigma(sigma, width)
    if width is not None:
        assert 1 / effective**2 == pytest.approx(1 / sigma**2 + 2 / width**2, rel=1e-14)
    # Standard error of a weighted slope: the root of sum (w e r)^2 over sum w e^2, e the feature, r the residual.
    residual = near.y - found.predict(near.X)
    error = np.sqrt((near.weights * residual) ** 2 @ near.X**2) / (near.weights @ near.X**2)
    expected = smoothed_gradient(x0, effective)
    assert (error < 0.01).all()
    assert (np.abs(found.coef - expected) < 4 * error).all()  # 4 sigma: one in 5000 for each of 9
    plain = smoothed_gradient(x0, 0.0)
    assert np.abs(found.coef - plain).max() > 10 * error.max()  # it is not the gradient itself


def test_that_smoothgrad_is_the_one_of_the_registry() -> None:
    x0 = torch.tensor([[0.3, -0.2, 0.9]], dtype=torch.float64)
    effective = lime.smoothgrad_sigma(0.8, 1.0)
    n = 10_000
    a = explain(
        lambda x: wave(x)[:, None],
        x0,
        0,
        "smoothgrad",
        sigma=effective / float(x0.max() - x0.min()),  # a fraction of the sample's range
        n_samples=n,
        generator=seeded(),
    )
    # Gradients lie within 1.4 + noise of each other: a standard error of at most 1.5 / sqrt(n), 4 of them.
    np.testing.assert_allclose(a.values[0], smoothed_gradient(x0[0], effective), atol=4 * 1.5 / n**0.5)


@pytest.mark.parametrize(("n", "sigma", "width"), [(1, 1.0, 1.0), (3, 0.5, 1.0), (6, 1.0, 2.0)])
def test_expected_sample_size_is_what_drawing_finds(n: int, sigma: float, width: float) -> None:
    N = 200_000
    e = lime.gaussian(torch.zeros(n, dtype=torch.float64), N, sigma, seeded())
    weights = lime.gaussian_kernel(lime.euclidean_distance(e, np.zeros(n)), width)
    drawn = lime.effective_sample_size(weights)
    expected = lime.expected_sample_size(N, n, sigma, width)
    assert drawn == pytest.approx(expected, rel=0.02)  # means of 200 000 weights between 0 and 1: .2 % each
    a = (sigma / width) ** 2
    assert expected == pytest.approx(N * ((1 + 4 * a) ** 0.5 / (1 + 2 * a)) ** n, rel=1e-12)


def test_a_thousand_samples_can_be_worth_three() -> None:
    assert 2.5 < lime.expected_sample_size(1000, 20, sigma=1.0, width=1.0) < 3
    near = lime.gaussian_neighbourhood(
        lambda x: x[:, 0], np.zeros(20), sigma=1.0, width=1.0, generator=seeded(), progress=False
    )
    assert 1 <= near.effective_size < 30  # one draw of a heavy-tailed sum


# Kernels


def test_kernels_and_distances_by_hand() -> None:
    assert lime.gaussian_kernel([2.0], 2.0) == pytest.approx([np.exp(-1)], rel=1e-15)
    assert lime.lime_kernel([2.0], 2.0) == pytest.approx([np.exp(-0.5)], rel=1e-15)
    np.testing.assert_allclose(lime.lime_kernel([0.3], 0.25), lime.gaussian_kernel([0.3], 0.25 * 2**0.5), rtol=1e-14)
    Z = np.array([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]])
    np.testing.assert_allclose(lime.cosine_distance(Z, np.ones(4)), [0, 1 - 0.5**0.5, 0.5, 1], atol=1e-15)
    np.testing.assert_allclose(lime.euclidean_distance(Z, np.ones(4)), [0, 2**0.5, 3**0.5, 2], rtol=1e-15)
    assert lime.effective_sample_size([3.0, 3.0, 3.0]) == pytest.approx(3)
    assert lime.effective_sample_size([1e-300, 0.0]) == 1
    assert lime.effective_sample_size([2.0, 1.0]) == pytest.approx(9 / 5)


@given(w=st.lists(st.floats(0, 1), min_size=1, max_size=9))
@settings(deadline=None, max_examples=25)
def test_effective_size_lies_between_one_and_the_number_of_weights(w: list[float]) -> None:
    if max(w) > 0:
        assert 1 - 1e-12 <= lime.effective_sample_size(w) <= len(w) + 1e-12


def test_a_kernel_refuses_what_makes_no_sense() -> None:
    with h.fails(OptionError, "gaussian_kernel: `width` must be a number, above 0; got 0"):
        lime.gaussian_kernel([1.0], 0)
    with h.fails(OptionError, "lime_kernel: `width`", "got -1.0"):
        lime.lime_kernel([1.0], -1.0)
    with h.fails(ShapeError, "`origin` must have a direction"):
        lime.cosine_distance([[1.0]], [0.0])
    with h.fails(ShapeError, "`origin` must be real numbers of shape (2,)"):
        lime.euclidean_distance([[1.0, 2.0]], [0.0])
    with h.fails(ShapeError, "effective_sample_size: `weights` must be 0 or above, not all 0"):
        lime.effective_sample_size([0.0, 0.0])
    with h.fails(OptionError, "unknown distance 'manhattan'"):
        lime.masked_neighbourhood(torch.ones(2, 2, dtype=torch.bool), [0, 1], torch.arange(2), metric="manhattan")
    with h.fails(OptionError, "expected_sample_size: `n_features` must be an integer from 1 up"):
        lime.expected_sample_size(10, 0, 1.0, 1.0)


# Gaussian neighbourhoods


def test_gaussian_noise_is_one_number_for_each_value() -> None:
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.float64)
    noise = lime.gaussian(x, 20_000, torch.tensor([[0.1], [1.0]]), seeded()) - x
    assert noise.shape == (20_000, 2, 2)
    deviations = noise.std(0)
    # A standard deviation from 20 000 draws is known to .5 %.
    torch.testing.assert_close(deviations, torch.tensor([[0.1, 0.1], [1, 1]]).double(), rtol=0.03, atol=0)
    assert torch.linalg.matrix_rank(noise.flatten(1)) == 4  # one scalar for all would leave 1
    correlation = torch.corrcoef(noise.flatten(1).T)
    assert (correlation - torch.eye(4)).abs().max() < 0.04  # .7 % each, times 5


@pytest.mark.parametrize("kind", ["array", "tensor"])
@pytest.mark.parametrize("width", [None, 0.2])
def test_a_linear_score_is_found_exactly_about_x_and_not_as_printed(kind: str, width: float | None) -> None:
    rng = np.random.default_rng(0)
    g, x = rng.normal(size=(2, 3)), rng.normal(size=(2, 3)) + 2
    seen: set[type] = set()

    def f(batch: Any) -> Any:
        seen.add(type(batch))
        return 5 + (batch * (g if kind == "array" else torch.as_tensor(g))).sum((1, 2))

    given = x if kind == "array" else torch.as_tensor(x)
    options: dict[str, Any] = {"sigma": 0.1, "width": width, "n_samples": 200}
    near = lime.gaussian_neighbourhood(f, given, generator=seeded(), **options)
    found = near.explain()
    np.testing.assert_allclose(found.coef.reshape(2, 3), g, atol=1e-12)  # rounding of 5 over noise of 0.1
    torch.testing.assert_close(found.values, torch.as_tensor(g), atol=1e-12, rtol=0)
    assert found.intercept == pytest.approx(float(5 + (g * x).sum()), abs=1e-12)
    assert seen == {np.ndarray if kind == "array" else Tensor}
    raw = lime.gaussian_neighbourhood(
        f, x if kind == "array" else torch.as_tensor(x), raw=True, generator=seeded(), **options
    )
    printed = raw.explain(lime.LeastSquares(fit_intercept=False)).coef.reshape(2, 3)
    assert np.abs(printed - g).max() > 0.1  # about 5 x / ||x||^2 off
    mended = raw.explain().coef.reshape(2, 3)
    np.testing.assert_allclose(mended, g, atol=1e-11)  # an intercept mends raw features, too


def test_features_are_what_the_model_saw_in_single_precision() -> None:
    x = torch.full((2,), 1000.0)
    seen: list[Tensor] = []

    def f(batch: Tensor) -> Tensor:
        seen.append(batch)
        return batch.sum(1)

    near = lime.gaussian_neighbourhood(f, x, sigma=1e-3, n_samples=10, generator=seeded())
    assert seen[0].dtype == torch.float32
    assert ((torch.cat(seen).double() - 1000).numpy() == near.X).all()


def test_equal_weights_without_a_width() -> None:
    near = lime.gaussian_neighbourhood(lambda x: x[:, 0], np.zeros(2), sigma=1.0, n_samples=7, generator=seeded())
    assert (near.weights == 1).all()
    assert near.effective_size == 7
    assert repr(near) == "Neighbourhood(7 samples, worth 7; 2 features)"


# Surrogates


def test_fidelity_on_fresh_samples_is_the_price_of_k() -> None:
    x, labels = image()
    rng = np.random.default_rng(3)
    push = rng.normal(size=12)

    def f(batch: Array) -> Array:
        on = np.stack([batch[:, :, labels == j].mean((1, 2)) for j in range(12)], 1)
        return np.tanh(2 * on @ push)

    own, fresh = (
        lime.superpixel_neighbourhood(f, x, labels=labels, fill=0.0, n_samples=60, generator=seeded(s)) for s in (0, 1)
    )
    ks = range(13)
    curve = lime.fidelity_curve(own, fresh, ks, solver=lime.LeastSquares())
    flattering = lime.fidelity_curve(own, own, ks, solver=lime.LeastSquares())
    assert (np.diff(flattering) >= -1e-12).all()  # forward selection nests: RSS only falls
    assert (flattering[1:] > curve[1:]).all()
    assert curve[0] <= 0 < curve[6]
    again = own.explain(lime.LeastSquares(), 6, "forward")
    assert curve[6] == again.fidelity_on(fresh)
    assert again.fidelity == flattering[6]
    assert repr(again) == f"Explanation(6 of 12 features, fidelity {again.fidelity:.2f} on its own samples)"
    other = lime.gaussian_neighbourhood(lambda b: b[:, 0], np.zeros(2), sigma=1.0, n_samples=5)
    with h.fails(ShapeError, "`fresh` must have the 12 features", "got 2"):
        again.fidelity_on(other)


def neighbourhood(n: int = 4) -> lime.Neighbourhood:
    rng = np.random.default_rng(0)
    X = rng.integers(0, 2, size=(40, n)).astype(float)
    return lime.Neighbourhood(X, X @ np.arange(n) + rng.normal(size=40), rng.uniform(size=40), torch.arange(n))


@pytest.mark.parametrize("solver", [sk.Ridge(alpha=2.0), sk.Lasso(alpha=0.01), sk.LinearRegression()])
def test_scikit_learns_estimators_are_solvers(solver: Any) -> None:
    near = neighbourhood()
    found = near.explain(solver)
    theirs = type(solver)(**solver.get_params()).fit(near.X, near.y, sample_weight=near.weights)
    np.testing.assert_allclose(found.coef, theirs.coef_, rtol=1e-12)  # columns copied in another layout: rounding
    assert found.intercept == pytest.approx(theirs.intercept_, rel=1e-12)
    assert not hasattr(solver, "coef_")  # a copy was fitted


def test_the_default_is_the_lime_packages_ridge() -> None:
    near = neighbourhood()
    theirs = sk.Ridge(alpha=1.0).fit(near.X, near.y, sample_weight=near.weights)
    np.testing.assert_allclose(near.explain().coef, theirs.coef_, rtol=1e-12)  # rounding


def test_no_features_leave_the_mean() -> None:
    near = neighbourhood()
    found = near.explain(n_features=0)
    assert not found.coef.any()
    assert found.intercept == pytest.approx(np.average(near.y, weights=near.weights), rel=1e-14)
    assert found.fidelity == pytest.approx(0, abs=1e-14)
    assert near.explain(n_features=9).support.tolist() == [0, 1, 2, 3]


def test_auto_is_forward_up_to_six_and_largest_above() -> None:
    near = neighbourhood(12)
    for k, name in ((6, "forward"), (7, "largest")):
        assert near.choose(k).tolist() == near.choose(k, name).tolist()
    assert near.choose(7, "forward").tolist() != near.choose(7).tolist() or len(near.choose(7)) == 7


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"selection": "lars"}, "unknown selection 'lars'"),
        ({"n_features": -1}, "`n_features` must be an integer from 0 up; got -1"),
        ({"n_features": 2.0}, "`n_features` must be an integer from 0 up; got 2.0"),
        ({"solver": "ridge"}, "`solver` must be an object with fit(X, y, sample_weight)"),
        ({"solver": lime.Ridge}, "`solver` must be an object"),
    ],
)
def test_a_surrogate_refuses_what_makes_no_sense(options: dict[str, Any], words: str) -> None:
    with h.fails(OptionError, words):
        neighbourhood().explain(**options)


# Superpixels and fills


@pytest.mark.parametrize(
    ("shape", "count"),
    [((7,), 7), ((2, 40), 20), ((1, 12), 6), ((3, 32, 32), 64), ((1, 5, 4), None), ((2, 4, 16, 16), 64)],
)
def test_every_rank_has_superpixels_by_default(shape: tuple[int, ...], count: int | None) -> None:
    x = torch.rand(shape, generator=seeded())
    labels = lime.default_superpixels(x)
    assert labels.shape == (shape if len(shape) == 1 else shape[1:])
    assert labels.dtype == torch.long
    assert torch.equal(labels.unique(), torch.arange(int(labels.max()) + 1))
    assert torch.equal(labels, lime.default_superpixels(x))
    if count is not None:
        assert count / 2 <= int(labels.max()) + 1 <= count  # SLIC's number is a wish, on noise most of all
    if len(shape) > 1:
        assert int(lime.default_superpixels(x, 4).max()) + 1 <= 6
    else:
        with h.fails(OptionError, "`n_superpixels` must be None for a row of a table"):
            lime.default_superpixels(x, 4)


def test_superpixels_follow_edges_whatever_the_range() -> None:
    x = torch.zeros(3, 24, 24)
    x[:, :, 10:] = 1
    x += 0.02 * torch.rand(3, 24, 24, generator=seeded())
    for scaled in (x, 255 * x, -3 + 0.01 * x, x[:1]):
        labels = lime.slic(scaled, 16)
        assert len(labels.unique()) > 4
        assert not set(labels[:, :10].flatten().tolist()) & set(labels[:, 10:].flatten().tolist())
    assert len(lime.quickshift(x, kernel_size=2).unique()) > 1
    assert torch.equal(lime.quickshift(x), lime.quickshift(x))
    assert len(lime.slic(torch.ones(3, 8, 8), 4).unique()) == 4  # nothing to follow: a grid


@given(shape=st.lists(st.integers(1, 9), min_size=1, max_size=3), n=st.integers(1, 70))
@settings(deadline=None, max_examples=25)
def test_a_grid_has_at_most_so_many_blocks_and_each_is_a_box(shape: list[int], n: int) -> None:
    labels = lime.grid(shape, n)
    assert labels.shape == tuple(shape)
    blocks = int(labels.max()) + 1
    assert blocks <= n
    assert torch.equal(labels.unique(), torch.arange(blocks))
    for block in range(blocks):
        places = (labels == block).nonzero()
        sides = places.amax(0) - places.amin(0) + 1
        assert int(sides.prod()) == len(places)


def test_segments_are_even() -> None:
    sizes = torch.bincount(lime.segments(40, 7))
    assert len(sizes) == 7
    assert sizes.max() - sizes.min() == 1


def test_labels_that_skip_numbers_are_closed_up() -> None:
    x, labels = image()
    skipping = np.where(labels == 3, -5, labels * 10)
    f = lambda b: b[:, 0, 0, 0]  # noqa: E731
    near = lime.superpixel_neighbourhood(f, x, labels=skipping, n_samples=5)
    assert near.X.shape == (5, 12)
    assert near.labels[torch.as_tensor(labels == 3)].unique().tolist() == [0]


@pytest.mark.parametrize("labels", [np.zeros((12, 12)), np.zeros((3, 12, 12), int), [[0, 1], [1]], "slic"])
def test_labels_that_do_not_fit_are_refused(labels: Any) -> None:
    x, _ = image()
    with h.fails(ShapeError, "`labels` must hold an integer for each position, shape (12, 12)"):
        lime.superpixel_neighbourhood(lambda b: b[:, 0, 0, 0], x, labels=labels, n_samples=5)


def test_fills_are_means_blurs_numbers_and_images() -> None:
    x, labels = (torch.as_tensor(part) for part in image())
    means = lime.fill_of("mean", x, labels)
    for j in range(12):
        where = labels == j
        torch.testing.assert_close(means[:, where], x[:, where].mean(1, keepdim=True).expand(3, int(where.sum())))
    blurred = lime.fill_of("blur", x, labels)
    assert blurred.std() < 0.5 * x.std()
    assert float(blurred.mean() - x.mean()) == pytest.approx(0, abs=0.05)
    assert (lime.fill_of(2, x, labels) == 2).all()
    colour = torch.tensor([0.1, 0.2, 0.3]).reshape(3, 1, 1)
    assert torch.equal(lime.fill_of(colour, x, labels), colour.double().expand(3, 12, 12))
    assert torch.equal(lime.fill_of(x.numpy(), x, labels), x)
    with h.fails(OptionError, "unknown fill of fill_of 'grey'"):
        lime.fill_of("grey", x, labels)
    with h.fails(OptionError, "`fill` must be named where a superpixel is a single position", "fill=0.0"):
        lime.superpixel_neighbourhood(lambda b: b[:, 0], torch.zeros(4), n_samples=5)
    with h.fails(OptionError, "unknown fill", "a table"):
        lime.fill_of("blur", torch.zeros(4), torch.arange(4))
    with h.fails(ShapeError, "`fill` must be a number or broadcast to `x`, shape (3, 12, 12)", "(3, 1, 1)"):
        lime.fill_of(torch.zeros(3), x[:, :, :4].expand(3, 12, 4)[:, :, [0] * 12], labels)
    with h.fails(ShapeError, "`fill` must hold finite numbers"):
        lime.fill_of(float("nan"), x, labels)


def test_a_coefficient_depends_on_the_fill() -> None:
    x, labels = image()
    f = lambda b: b[:, 0].mean((1, 2))  # noqa: E731
    by_fill = [
        lime.superpixel_neighbourhood(f, x, labels=labels, fill=fill, n_samples=80, generator=seeded()).explain().coef
        for fill in (0.0, 1.0, "mean")
    ]
    assert (by_fill[0] > 0).all()  # black hides colour
    assert (by_fill[1] < 0).all()  # white adds it
    assert np.abs(by_fill[2]).max() < 1e-14  # a superpixel's own mean changes no mean


def test_masks_are_drawn_from_the_generator_alone() -> None:
    state = torch.get_rng_state()
    first, again, other = (lime.on_off(6, 2000, seeded(s)) for s in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)
    assert first[0].all()
    assert float((first[1:].double().mean(0) - 0.5).abs().max()) < 0.05  # 1 % each, times 4.5
    with h.fails(OptionError, "on_off: `n_samples` must be an integer from 1 up"):
        lime.on_off(6, 0)


# Any callable


def test_the_batch_size_changes_nothing() -> None:
    x, labels = image()
    sizes: list[int] = []

    def f(batch: Array) -> Array:
        sizes.append(len(batch))
        return batch.mean((1, 2, 3)) ** 2

    found = []
    for size in (1, 7, 1000):
        found.append(
            lime.superpixel_neighbourhood(f, x, labels=labels, n_samples=20, batch_size=size, generator=seeded())
        )
    assert sizes == [1] * 20 + [7, 7, 6] + [20]
    for other in found[1:]:
        assert (other.X == found[0].X).all()
        np.testing.assert_allclose(other.y, found[0].y, rtol=1e-14)  # numpy sums by blocks


def test_a_model_gets_tensors_of_its_kind_and_no_graph() -> None:
    net, x = h.conv_net().eval(), h.batch(1)[0]
    kinds: list[Any] = []

    def f(batch: Tensor) -> Tensor:
        kinds.append((batch.dtype, batch.requires_grad, torch.is_grad_enabled()))
        return net(batch)[:, [1]]

    near = lime.superpixel_neighbourhood(f, x.requires_grad_(), n_samples=10, generator=seeded())
    assert set(kinds) == {(torch.float64, False, False)}
    assert near.y[0] == pytest.approx(net(x[None]).detach().numpy()[0, 1], rel=1e-12)
    assert all(p.grad is None for p in net.parameters())


def test_a_model_that_views_its_activations_gets_the_usual_layout() -> None:
    x = h.batch(1)[0]
    calls = []

    def f(batch: Tensor) -> Tensor:
        calls.append(batch.is_contiguous())
        return batch.view(len(batch), -1)[:, 0]

    near = lime.superpixel_neighbourhood(f, x, n_samples=10, batch_size=4, fill=0.0, generator=seeded())
    assert calls == [False, True, True, True]
    assert near.y[0] == float(x[0, 0, 0])

    def broken(batch: Tensor) -> Tensor:
        raise h.BoomError

    with pytest.raises(h.BoomError):
        lime.superpixel_neighbourhood(broken, x, n_samples=10)


class Bar:
    """A stand-in for tqdm that keeps what it was told."""

    bars: list[Bar] = []  # noqa: RUF012

    def __init__(self, total: int, initial: int, **_: Any) -> None:
        self.total, self.done, self.closed = total, initial, False
        Bar.bars.append(self)

    def update(self, by: int) -> None:
        self.done += by

    def close(self) -> None:
        self.closed = True


def test_a_bar_shows_when_asked_for_or_when_it_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explainer, "require", lambda _: type("tqdm", (), {"tqdm": Bar}))

    def run(progress: bool | None) -> list[Bar]:
        Bar.bars = []
        f = lambda b: b[:, 0]  # noqa: E731
        lime.gaussian_neighbourhood(f, np.zeros(2), sigma=1.0, n_samples=10, batch_size=4, progress=progress)
        return Bar.bars

    assert run(None) == run(False) == []
    (bar,) = run(True)
    assert (bar.total, bar.done, bar.closed) == (10, 10, True)
    monkeypatch.setattr(explainer, "_BAR_AFTER_S", -1.0)
    assert run(False) == []
    (late,) = run(None)
    assert (late.done, late.closed) == (10, True)


@pytest.mark.parametrize(
    ("f", "words"),
    [
        (lambda b: np.zeros((len(b), 3)), ["shape (5, 3)", "a class c"]),
        (lambda b: np.zeros(len(b) - 1), ["shape (4,)"]),
        (lambda b: 0.0, ["shape ()"]),
        (lambda b: [{}] * len(b), ["one score for each of its 5 inputs"]),
        (lambda b: "score", ["one score for each of its 5 inputs"]),
        (lambda b: np.full(len(b), np.nan), ["finite scores", "nan"]),
    ],
)
def test_a_callable_that_returns_no_scores_is_refused(f: Any, words: list[str]) -> None:
    with h.fails(ModelError, "gaussian_neighbourhood", *words):
        lime.gaussian_neighbourhood(f, np.zeros(2), sigma=1.0, n_samples=5)


@pytest.mark.parametrize(
    ("x", "words"),
    [
        ([1.0, 2.0], "a tensor or array"),
        (np.zeros((2, 2), np.uint8), "a floating-point input"),
        (np.zeros(()), "a floating-point input"),
        (np.zeros((0, 2)), "not empty"),
        (np.array([1.0, np.nan]), "must hold finite numbers"),
    ],
)
def test_what_is_no_input_is_refused(x: Any, words: str) -> None:
    for run in (
        lambda: lime.gaussian_neighbourhood(lambda b: b[:, 0], x, sigma=1.0),
        lambda: lime.superpixel_neighbourhood(lambda b: b[:, 0], x, fill=0.0),
    ):
        with h.fails(ShapeError, "`x`", words):
            run()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sigma": 0.0}, "`sigma` must be a number, above 0; got 0.0"),
        ({"sigma": torch.tensor([1.0, -1.0])}, "`sigma` must be a number, above 0; got -1.0"),
        ({"n_samples": 0}, "`n_samples` must be an integer from 1 up; got 0"),
        ({"batch_size": 0}, "`batch_size` must be an integer from 1 up; got 0"),
        ({"width": 0.0}, "`width` must be a number, above 0; got 0.0"),
    ],
)
def test_a_number_out_of_range_is_refused(change: dict[str, Any], words: str) -> None:
    given = {"sigma": 1.0, "n_samples": 5, **change}
    with h.fails(OptionError, words):
        lime.gaussian_neighbourhood(lambda b: b[:, 0], torch.zeros(2), **given)


def test_a_sigma_that_does_not_fit_is_refused() -> None:
    with h.fails(ShapeError, "`sigma` must be a number or broadcast to `x`, shape (2,)"):
        lime.gaussian_neighbourhood(lambda b: b[:, 0], torch.zeros(2), sigma=torch.ones(3))


def test_weights_that_all_underflow_are_refused_when_they_are_used() -> None:
    near = lime.gaussian_neighbourhood(lambda b: b[:, 0], np.zeros(3), sigma=100.0, width=0.1, n_samples=20)
    with h.fails(ShapeError, "`sample_weight` must be above 0 for at least one sample", "wider kernel"):
        near.explain()
