"""Handwritten digits: scikit-learn's own, split once, upsampled as a bilinear formula says."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from xaiteach import data, runtime
from xaiteach.errors import MissingExtraError, OptionError

sklearn_datasets = pytest.importorskip("sklearn.datasets")


@pytest.fixture(params=["train", "test"])
def digits(request):
    return data.digits(request.param)


def test_shapes_types_and_range(digits):
    n = 1437 if digits.split == "train" else 360
    assert (digits.x.shape, digits.x.dtype) == ((n, 1, 8, 8), np.float32)
    assert (digits.y.shape, digits.y.dtype) == ((n,), np.int64)
    assert (digits.x.min(), digits.x.max()) == (0, 1)


def test_an_image_is_scikit_learns_divided_by_sixteen(digits):
    bundled = sklearn_datasets.load_digits()
    np.testing.assert_array_equal(digits.x[:, 0] * 16, bundled.images[digits.index])
    np.testing.assert_array_equal(digits.y, bundled.target[digits.index])


def test_the_splits_share_no_image_and_miss_none():
    both = np.concatenate([data.digits(split).index for split in ("train", "test")])
    np.testing.assert_array_equal(np.sort(both), np.arange(1797))


def test_every_digit_is_in_both_splits_about_equally_often(digits):
    share = np.bincount(digits.y, minlength=10) / len(digits.y)
    # Four standard deviations of a share of a tenth of 360.
    assert np.abs(share - 0.1).max() < 4 * (0.09 / 360) ** 0.5


def slow_bilinear(image, size):
    """Pixel centres at (i + 1/2) 8 / size - 1/2 of the old grid, held at the edges."""
    out = np.empty((size, size))
    at = np.clip((np.arange(size) + 0.5) * 8 / size - 0.5, 0, 7)
    for i, r in enumerate(at):
        for j, c in enumerate(at):
            r0, c0 = min(int(r), 6), min(int(c), 6)
            a, b = r - r0, c - c0
            top = (1 - b) * image[r0, c0] + b * image[r0, c0 + 1]
            bottom = (1 - b) * image[r0 + 1, c0] + b * image[r0 + 1, c0 + 1]
            out[i, j] = (1 - a) * top + a * bottom
    return out


@pytest.mark.parametrize("size", [8, 11, 32])
def test_upsampling_is_bilinear(size):
    small, large = data.digits("test"), data.digits("test", size=size)
    assert large.x.shape == (360, 1, size, size)
    np.testing.assert_array_equal(large.y, small.y)
    expected = slow_bilinear(small.x[3, 0].astype(float), size)
    np.testing.assert_allclose(large.x[3, 0], expected, atol=1e-6)  # float32 rounding of values up to 1


def test_seed_decides_the_split_and_arguments_are_shared(digits):
    assert data.digits(digits.split, size=8, seed=0) is digits
    assert not np.array_equal(data.digits(digits.split, seed=1).index, digits.index)


def test_arrays_are_read_only_and_tensors_are_copies(digits):
    with pytest.raises(ValueError, match="read-only"):
        digits.x[0] = 0
    x, y = digits.tensors()
    x.zero_()
    assert digits.x.max() > 0
    assert (x.dtype, y.dtype) == (torch.float32, torch.int64)


@pytest.mark.parametrize(
    ("wrong", "part"),
    [({"split": "val"}, "unknown split 'val'"), ({"size": 7}, "at least 8"), ({"seed": -1}, "at least 0")],
)
def test_wrong_arguments_are_refused(wrong, part):
    with pytest.raises(OptionError, match=part):
        data.digits(**wrong)


def test_without_scikit_learn_it_says_what_to_install(monkeypatch):
    def absent(name):
        raise ImportError("No module named 'sklearn'")

    monkeypatch.setattr(runtime.importlib, "import_module", absent)
    with pytest.raises(MissingExtraError, match="pip install scikit-learn"):
        data.digits("test", seed=77)
