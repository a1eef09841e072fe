"""Similarity of maps beside scikit-image and scipy, and what a wrong scale does to it."""

from __future__ import annotations

import helpers_attribution as h
import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.feature import hog
from skimage.metrics import structural_similarity
from torch import Tensor

from xaiteach.errors import OptionError, ShapeError
from xaiteach.evaluation import similarity as s

SHAPES = {1: (40,), 2: (16, 11), 3: (8, 9, 7)}


def maps(n: int = 4, rank: int = 2, seed: int = 0) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return s.scaled(torch.randn(n, *SHAPES[rank], generator=g, dtype=torch.float64))


def alike(a: Tensor, seed: int = 1) -> Tensor:
    return s.scaled(a + 0.5 * maps(len(a), a.ndim - 1, seed))


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("window", [3, 7])
@pytest.mark.parametrize("data_range", [1.0, 2.0])
def test_ssim_is_scikit_images(rank: int, window: int, data_range: float) -> None:
    a = maps(rank=rank)
    b = alike(a)
    expected = [
        structural_similarity(p.numpy(), q.numpy(), win_size=window, data_range=data_range)
        for p, q in zip(a, b, strict=True)
    ]
    found = s.ssim(a, b, data_range=data_range, window=window)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), atol=1e-12, rtol=0.0)


def test_ssim_by_hand_on_one_window() -> None:
    a, b = torch.zeros(1, 3), torch.tensor([[0.0, 0.0, 3.0]])
    # means 0 and 1, variances 0 and 3, covariance 0; C1 = (.01 * 3)^2, C2 = (.03 * 3)^2
    c1, c2 = 0.0009, 0.0081
    assert s.ssim(a, b, data_range=3.0, window=3).item() == pytest.approx(c1 * c2 / ((1 + c1) * (3 + c2)), rel=1e-12)


def test_ssim_of_maps_far_from_zero_does_not_cancel() -> None:
    a = maps()
    b = alike(a)
    far = s.ssim(a + 1e6, b + 1e6, data_range=2.0)
    expected = [
        structural_similarity((p + 1e6).numpy(), (q + 1e6).numpy(), data_range=2.0) for p, q in zip(a, b, strict=True)
    ]
    # scikit-image squares before it subtracts: it is the one that is off, and no variance can be far below 0 here.
    assert far.max() <= 1
    torch.testing.assert_close(far, torch.tensor(expected), atol=1e-2, rtol=0.0)


def test_the_range_of_pictures_makes_all_maps_alike() -> None:
    a, b = s.scaled(maps(seed=0), "absolute"), s.scaled(maps(seed=1), "absolute")
    assert (s.ssim(a, b, data_range=255.0) > 0.99).all()
    assert (s.ssim(a, b, data_range=1.0) < 0.3).all()


def test_two_disjoint_sparse_maps_are_quite_alike() -> None:
    a, b = torch.zeros(1, 32, 32), torch.zeros(1, 32, 32)
    a[0, 4, 4], b[0, 27, 27] = 1.0, 1.0
    assert 0.7 < s.ssim(a, b, data_range=1.0).item() < 0.95


def test_one_shared_outlier_lifts_noise() -> None:
    a, b = maps(1, seed=0), maps(1, seed=1)
    before = s.similarity(a, b).item()
    a[0, 5, 5] = b[0, 5, 5] = 50.0
    assert before < 0.2
    assert s.similarity(a, b).item() > before + 0.3


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("digits", [1, 15])
def test_spearman_is_scipys_with_and_without_ties(rank: int, digits: int) -> None:
    a = maps(rank=rank).round(decimals=digits)
    b = alike(a).round(decimals=digits)
    expected = [scipy.stats.spearmanr(p.flatten(), q.flatten()).statistic for p, q in zip(a, b, strict=True)]
    torch.testing.assert_close(s.spearman(a, b), torch.tensor(expected), atol=1e-12, rtol=0.0)


def test_pearson_and_cosine_are_numpys() -> None:
    a = maps()
    b = alike(a)
    flat = [(p.flatten().numpy(), q.flatten().numpy()) for p, q in zip(a, b, strict=True)]
    pearson = [np.corrcoef(p, q)[0, 1] for p, q in flat]
    cosine = [p @ q / np.linalg.norm(p) / np.linalg.norm(q) for p, q in flat]
    torch.testing.assert_close(s.pearson(a, b), torch.tensor(pearson), atol=1e-12, rtol=0.0)
    torch.testing.assert_close(s.cosine(a, b), torch.tensor(cosine), atol=1e-12, rtol=0.0)


def test_hog_is_the_correlation_of_scikit_images_features() -> None:
    a = maps()
    b = alike(a)
    expected = [
        np.corrcoef(*(hog(m.numpy(), pixels_per_cell=(5, 5), cells_per_block=(1, 1)) for m in pair))[0, 1]
        for pair in zip(a, b, strict=True)
    ]
    torch.testing.assert_close(s.hog(a, b, cell=5), torch.tensor(expected), atol=1e-12, rtol=0.0)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), name=st.sampled_from(sorted(s.SIMILARITIES)), keep=st.sampled_from(s.KEEPS))
def test_a_map_is_like_itself_and_likeness_knows_no_order_and_no_scale(seed: int, name: str, keep: str) -> None:
    a, b = maps(2, seed=seed), maps(2, seed=seed + 1)
    one = s.similarity(a, a, name, keep)
    torch.testing.assert_close(one, torch.ones_like(one), atol=1e-9, rtol=0.0)
    there, back = s.similarity(a, b, name, keep), s.similarity(b, 3 * a, name, keep)
    torch.testing.assert_close(there, back, atol=1e-9, rtol=0.0)
    assert (there < 0.99).all()


def test_one_by_one_gives_what_a_batch_gives() -> None:
    a, b = maps(), maps(seed=1) * torch.tensor([1.0, 10.0, 100.0, 1000.0])[:, None, None]
    for name in s.SIMILARITIES:
        single = torch.cat([s.similarity(p[None], q[None], name) for p, q in zip(a, b, strict=True)])
        torch.testing.assert_close(single, s.similarity(a, b, name), atol=1e-12, rtol=0.0)


def test_what_is_kept() -> None:
    m = torch.tensor([[-4.0, 2.0, 1.0]])
    assert s.scaled(m).tolist() == [[-1.0, 0.5, 0.25]]
    assert s.scaled(m, "positive").tolist() == [[0.0, 1.0, 0.5]]
    assert s.scaled(m, "absolute").tolist() == [[1.0, 0.5, 0.25]]


def test_an_empty_map_has_no_order_and_is_like_another_empty_one() -> None:
    empty, full = torch.zeros(1, 16, 16), maps(1, seed=2).new_ones(1, 16, 16) * torch.arange(16.0)
    assert [s.similarity(empty, full, name).item() for name in ("spearman", "pearson", "cosine")] == [0.0, 0.0, 0.0]
    assert s.similarity(empty, empty).item() == pytest.approx(1.0)


def test_small_maps_get_the_largest_window_that_fits() -> None:
    a, b = maps()[:, :4, :6], maps(seed=1)[:, :4, :6]
    expected = s.ssim(s.scaled(a), s.scaled(b), data_range=2.0, window=3)
    assert torch.equal(s.similarity(a, b), expected)


def test_what_cannot_be_compared_is_refused() -> None:
    a = maps()
    with h.fails(ShapeError, "one shape", "(4, 16, 11)", "(3, 16, 11)"):
        s.ssim(a, a[:3], data_range=1.0)
    with h.fails(ShapeError, "a batch"):
        s.spearman(a[0, 0], a[0, 0])
    with h.fails(ShapeError, "finite"):
        s.pearson(a, a / 0)
    with h.fails(ShapeError, "at least 13 long"):
        s.ssim(a, a, data_range=1.0, window=13)
    with h.fails(OptionError, "`data_range`"):
        s.ssim(a, a, data_range=0.0)
    with h.fails(OptionError, "`window`"):
        s.ssim(a, a, data_range=1.0, window=4)
    with h.fails(OptionError, "similarity", "ssim"):
        s.similarity(a, a, "sim")
    with h.fails(OptionError, "keep"):
        s.scaled(a, "negative")
    with h.fails(ShapeError, "images"):
        s.hog(maps(rank=1), maps(rank=1))
