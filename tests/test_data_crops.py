from __future__ import annotations

import socket
import sys

import numpy as np
import pytest
import torch

from xaiteach import data
from xaiteach.data import SOURCES
from xaiteach.errors import MissingExtraError, OptionError

SMALL = 6


@pytest.fixture(params=["train", "test"])
def crops(request):
    return data.crops(request.param, n_per_class=SMALL)


def test_shapes_types_and_range(crops):
    assert (crops.x.shape, crops.x.dtype) == ((10 * SMALL, 3, 64, 64), np.float32)
    assert (crops.y.shape, crops.y.dtype, len(crops.class_names)) == ((10 * SMALL,), np.int64, 10)
    assert crops.x.min() >= 0
    assert crops.x.max() <= 1


def test_classes_take_turns(crops):
    assert crops.y.tolist() == list(range(10)) * SMALL


def test_train_and_test_crops_share_no_column():
    train, test = (data.crops(split, n_per_class=50) for split in ("train", "test"))
    for c in range(10):
        last_train = train.corner[train.y == c, 1].max() + 63
        assert last_train < test.corner[test.y == c, 1].min()


def test_border_lies_at_sixty_per_cent_of_the_columns():
    from xaiteach.data.crops import _split_columns

    cat = next(source for source in SOURCES if source.name == "cat")  # 451 columns
    assert [_split_columns(cat, split).shape[2] for split in ("train", "test")] == [270, 181]


def test_a_crop_is_the_source_at_its_corner(crops):
    from skimage import data as bundled

    image = bundled.chelsea()
    index = crops.class_names.index("cat")
    row, column = crops.corner[index]
    expected = image[row : row + 64, column : column + 64].transpose(2, 0, 1) / 255
    np.testing.assert_allclose(crops.x[index], expected, atol=1e-7)  # float32 rounding of values up to 1


def test_a_shrunk_source_holds_means_of_its_pixels(crops):
    from skimage import data as bundled

    index = crops.class_names.index("retina")
    row, column = crops.corner[index]
    block = bundled.retina()[3 * row : 3 * row + 3, 3 * column : 3 * column + 3]
    # float32 rounding of values up to 1
    np.testing.assert_allclose(crops.x[index, :, 0, 0], block.mean(axis=(0, 1)) / 255, atol=1e-7)


def test_grey_sources_repeat_their_channel(crops):
    for name in ("brick", "grass", "gravel"):
        x = crops.x[crops.y == crops.class_names.index(name)]
        np.testing.assert_array_equal(x[:, 0], x[:, 2])


def test_no_crop_comes_twice(crops):
    places = {(int(y), *corner) for y, corner in zip(crops.y, crops.corner.tolist(), strict=True)}
    assert len(places) == len(crops.y)


def test_seed_decides_and_arguments_are_shared():
    a = data.crops("test", 1, SMALL)
    assert data.crops(split="test", seed=1, n_per_class=SMALL) is a
    assert not np.array_equal(a.x, data.crops("test", 2, SMALL).x)


def test_arrays_are_read_only_and_tensors_are_copies(crops):
    with pytest.raises(ValueError, match="read-only"):
        crops.x[0] = 0
    x, y = crops.tensors()
    before = crops.x.copy()
    x.zero_()
    np.testing.assert_array_equal(crops.x, before)
    assert (x.dtype, y.dtype) == (torch.float32, torch.int64)


def test_pairs_hold_the_asked_class_on_the_masked_half(crops):
    for pair in crops.pairs:
        assert (pair.x.shape, pair.x.dtype) == ((1, 3, 64, 128), torch.float32)
        assert crops.class_names[pair.y] == pair.names[1]
        assert crops.class_names[pair.other] == pair.names[0]
        assert pair.mask.shape == (64, 128)
        assert pair.mask[:, 64:].all()
        assert not pair.mask[:, :64].any()


def test_pairs_come_in_both_orders_with_the_same_halves(crops):
    pairs = crops.pairs
    assert pairs[0].names == ("cat", "coffee")
    for one, other in zip(pairs[::2], pairs[1::2], strict=True):
        assert one.names == other.names[::-1]
        assert torch.equal(one.x[..., :64], other.x[..., 64:])


def test_windows_of_pairs_lie_in_the_columns_of_their_split():
    from xaiteach.data.crops import _image

    for source in SOURCES:
        _, h, w = _image(source).shape
        border = int(0.6 * w)
        (row, column), (test_row, test_column) = source.train_window, source.test_window
        assert max(row, test_row) + 64 <= h
        assert column + 64 <= border <= test_column
        assert test_column + 64 <= w


def test_swapped_asks_about_the_other_half(crops):
    pair = crops.pairs[0]
    swapped = pair.swapped()
    assert (swapped.y, swapped.other, swapped.names) == (pair.other, pair.y, pair.names)
    assert torch.equal(swapped.x, pair.x)
    np.testing.assert_array_equal(swapped.mask, ~pair.mask)


def test_changing_a_pair_changes_no_other(crops):
    crops.pairs[0].x.zero_()
    assert crops.pairs[0].x.max() > 0


def test_pair_joins_any_two_crops(crops):
    pair = crops.pair(2, 13)
    np.testing.assert_array_equal(pair.x[0, :, :, :64].numpy(), crops.x[2])
    np.testing.assert_array_equal(pair.x[0, :, :, 64:].numpy(), crops.x[13])
    assert (pair.y, pair.other) == (3, 2)


@pytest.mark.parametrize(("left", "right"), [(0, 10), (0, 10 * SMALL), (-1, 3)])
def test_pair_of_one_class_or_out_of_range_is_refused(crops, left, right):
    with pytest.raises(OptionError, match=r"Try pair\(0, 1\)"):
        crops.pair(left, right)


def test_every_source_states_a_licence_and_the_table_lists_it():
    from xaiteach.data.crops import Crops

    table = sys.modules[Crops.__module__].__doc__
    for source in SOURCES:
        assert f"| {source.file} " in table
        assert source.licence in table


def test_nothing_is_downloaded(monkeypatch):
    from xaiteach.data.crops import _image

    def refused(*args, **kwargs):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refused)
    _image.cache_clear()
    assert data.crops("test", seed=99, n_per_class=1).x.shape[0] == 10


def test_a_missing_image_says_what_to_install():
    from xaiteach.data.crops import _pixels

    with pytest.raises(MissingExtraError, match="pip install --force-reinstall scikit-image"):
        _pixels("skin.jpg")


def test_unknown_split_lists_the_known_ones():
    with pytest.raises(OptionError, match="unknown split 'valid'"):
        data.crops("valid")


@pytest.mark.parametrize("wrong", [{"n_per_class": 0}, {"seed": -1}, {"n_per_class": 10**7}])
def test_arguments_out_of_range_are_refused(wrong):
    with pytest.raises(OptionError, match=r"at (least|most)"):
        data.crops("test", **wrong)
