"""Planted truth: the object is where its mask says, its label tells nothing of the scene, and nothing else differs."""

from __future__ import annotations

import math
import socket
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xaiteach import data
from xaiteach.data.shapes import LARGEST, SHAPES, Look, drawn_look, paint
from xaiteach.errors import OptionError

SMALL = 200
GREY = np.full((3, 64, 64), 0.5, np.float32)


@pytest.fixture(params=["train", "test"])
def scenes(request):
    return data.scenes(request.param, n=SMALL)


def look(row=32.0, column=32.0, radius=16.0, angle=0.0):
    return Look(row, column, radius, angle, ((1.0, 1.0, 1.0), (0.0, 0.0, 0.0)), 6.0, 0.0, 0.0)


def test_shapes_types_and_range(scenes):
    assert (scenes.x.shape, scenes.x.dtype) == ((SMALL, 3, 64, 64), np.float32)
    assert (scenes.mask.shape, scenes.mask.dtype) == ((SMALL, 64, 64), np.bool_)
    assert {scenes.object.dtype, scenes.scene.dtype} == {np.dtype(np.int64)}
    assert (len(scenes.object_names), len(scenes.scene_names)) == (10, 10)
    assert scenes.x.min() >= 0
    assert scenes.x.max() <= 1


def test_outside_the_mask_the_scene_is_as_it_was_and_inside_it_is_not(scenes):
    differs = (scenes.x != scenes.background).any(axis=1)
    assert not (differs & ~scenes.mask).any()
    # An object's colour may meet the scene's by chance in single pixels.
    assert (differs & scenes.mask).sum() / scenes.mask.sum() > 0.99


def test_every_pair_of_labels_comes_equally_often(scenes):
    table = np.zeros((10, 10), int)
    np.add.at(table, (scenes.object, scenes.scene), 1)
    assert (table == SMALL // 100).all()


def test_the_object_says_nothing_of_the_scene_in_any_part():
    # 550 images are five whole blocks and half of one; mutual information of two labels in nats, bias about 81/(2 n).
    d = data.scenes("train", seed=3, n=550)
    joint = np.zeros((10, 10))
    np.add.at(joint, (d.object, d.scene), 1 / 550)
    product = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    assert float(np.sum(joint * np.log(np.maximum(joint, 1e-12) / product))) < 81 / (2 * 550)


def test_neither_place_nor_size_nor_colour_depends_on_the_class():
    # The centre of the mask, per object and per scene, against that of all: 4 standard errors of a uniform spread.
    d = data.scenes("train", n=1000)
    rows = np.arange(64) + 0.5
    centre = (d.mask * rows[:, None]).sum(axis=(1, 2)) / d.mask.sum(axis=(1, 2))
    for label in (d.object, d.scene):
        means = [centre[label == c].mean() for c in range(10)]
        assert np.ptp(means) < 2 * 4 * 12 / math.sqrt(100)
    sizes = np.asarray([d.mask[d.scene == c].sum() for c in range(10)], float)
    assert np.ptp(sizes) / sizes.mean() < 0.3


def test_fewer_images_are_the_first_of_more_and_the_seed_decides():
    few, more = data.scenes("test", n=7), data.scenes("test", n=SMALL)
    np.testing.assert_array_equal(few.x, more.x[:7])
    np.testing.assert_array_equal(few.object, more.object[:7])
    assert data.scenes(n=7, split="test", seed=0) is few
    assert not np.array_equal(data.scenes("test", seed=1, n=7).x, few.x)


def test_train_and_test_scenes_share_no_column():
    train, test = (data.scenes(split, n=SMALL) for split in ("train", "test"))
    for c in range(10):
        assert train.corner[train.scene == c, 1].max() + 63 < test.corner[test.scene == c, 1].min()


def test_a_background_is_the_source_at_its_corner(scenes):
    from skimage import data as bundled

    index = int(np.flatnonzero(scenes.scene == scenes.scene_names.index("coins"))[0])
    row, column = scenes.corner[index]
    expected = bundled.coins()[row : row + 64, column : column + 64] / 255
    np.testing.assert_allclose(scenes.background[index, 1], expected, atol=1e-7)  # float32 rounding of values up to 1


def test_objects_lie_inside_the_image_and_have_a_fair_size(scenes):
    edge = np.ones((64, 64), bool)
    edge[1:-1, 1:-1] = False
    assert not (scenes.mask & edge).any()
    share = scenes.mask.mean(axis=(1, 2))
    assert share.min() > 0.02
    assert share.max() < 0.25


def test_arrays_are_read_only_and_tensors_are_copies(scenes):
    for array in (scenes.x, scenes.background, scenes.mask, scenes.object, scenes.common().x):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
    x, y = scenes.tensors()
    x.zero_()
    assert scenes.x.max() > 0
    assert (x.dtype, y.dtype) == (torch.float32, torch.int64)


def test_tensors_carry_the_label_that_was_asked_for(scenes):
    assert torch.equal(scenes.tensors("scene")[1], torch.tensor(scenes.scene))
    assert torch.equal(scenes.tensors("object")[1], torch.tensor(scenes.object))
    with pytest.raises(OptionError, match=r"unknown label 'objekt'; did you mean 'object'"):
        scenes.tensors("objekt")


def test_a_common_feature_is_the_same_in_every_image(scenes):
    common = scenes.common("star")
    assert (common.mask == common.mask[0]).all()
    assert {common.object_names[c] for c in common.object} == {"star"}
    np.testing.assert_array_equal(common.scene, scenes.scene)
    np.testing.assert_array_equal(common.background, scenes.background)
    whole = common.mask[0] & (np.ptp(common.x, axis=0).max(axis=0) < 1e-6)  # where no scene shines through
    assert whole.sum() / common.mask[0].sum() > 0.6
    assert not ((common.x != common.background).any(axis=1) & ~common.mask).any()


def test_unknown_common_object_lists_the_known_ones(scenes):
    with pytest.raises(OptionError, match="unknown object 'hart'; did you mean 'heart'"):
        scenes.common("hart")


# Areas in units of the radius squared, from the shapes' own geometry.
AREAS = {
    "disc": math.pi * 0.9**2,
    "ring": math.pi * (1 - 0.5**2),
    "square": 1.4**2,
    "triangle": 3 * math.sqrt(3) / 4,
    "cross": 2 * 1.9 * 0.56 - 0.56**2,
    "bar": 1.9 * 0.56,
    "star": 5 * math.sin(math.pi / 5) * 0.45,
    "hourglass": 2 * (0.66**2 + 2 * 0.08 * 0.66),
}


@pytest.mark.parametrize("name", AREAS)
def test_a_shape_has_the_area_of_its_geometry(name):
    grid = (np.arange(2000) + 0.5) / 1000 - 1
    u, v = np.meshgrid(grid, grid)
    assert SHAPES[name](u, v).mean() * 4 == pytest.approx(AREAS[name], rel=2e-3)  # a grid of 1/1000


@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_lies_within_the_unit_circle(name):
    u, v = np.meshgrid(np.linspace(-1.5, 1.5, 601), np.linspace(-1.5, 1.5, 601))
    assert np.hypot(u, v)[SHAPES[name](u, v)].max() <= 1


def test_a_square_by_hand():
    # Half side 0.7 x 10 = 7 pixels around (20, 30): 14 x 14 whole pixels.
    _, mask = paint(GREY, "square", look(20.0, 30.0, 10.0))
    expected = np.zeros((64, 64), bool)
    expected[13:27, 23:37] = True
    np.testing.assert_array_equal(mask, expected)


def test_edges_are_mixed_by_the_share_they_cover():
    # Half side 7.5: the outermost pixels are half covered, the corners a quarter.
    plain = Look(20.0, 30.0, 7.5 / 0.7, 0.0, ((1.0, 1.0, 1.0), (1.0, 1.0, 1.0)), 6.0, 0.0, 0.0)
    x, _ = paint(np.zeros((3, 64, 64), np.float32), "square", plain)
    np.testing.assert_allclose(x[0, 20, [22, 23, 37]], [0.5, 1.0, 0.5], atol=1e-6)
    assert x[0, 12, 22] == pytest.approx(0.25, abs=1e-6)


def test_a_turned_crescent_opens_the_other_way():
    # Unturned it is cut out on the right; turned clockwise by a quarter, below.
    _, mask = paint(GREY, "crescent", look())
    _, turned = paint(GREY, "crescent", look(angle=math.pi / 2))
    assert (mask[:, :32].sum() > 3 * mask[:, 32:].sum(), turned[:32].sum() > 3 * turned[32:].sum()) == (True, True)
    np.testing.assert_array_equal(np.rot90(mask, -1), turned)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(sorted(SHAPES)))
def test_any_drawn_look_fits_and_leaves_the_picture_alone(seed, name):
    drawn = drawn_look(np.random.default_rng(seed), 64)
    assert 0 < drawn.radius <= LARGEST
    before = GREY.copy()
    x, mask = paint(GREY, name, drawn)
    np.testing.assert_array_equal(GREY, before)
    rows, columns = np.nonzero(mask)
    reach = np.hypot(rows + 0.5 - drawn.row, columns + 0.5 - drawn.column).max()
    assert reach <= drawn.radius + math.sqrt(0.5)  # a touched pixel's centre lies at most half a diagonal further out
    assert min(rows.min(), columns.min()) >= 1
    assert max(rows.max(), columns.max()) <= 62
    assert (x.min() >= 0, x.max() <= 1) == (True, True)


def test_every_scene_states_a_licence_and_the_table_lists_it():
    table = sys.modules[data.Scenes.__module__].__doc__
    for source in data.SCENES:
        assert f"| {source.file} " in table
        assert source.licence in table


def test_nothing_is_downloaded(monkeypatch):
    from xaiteach.data.crops import _image

    def refused(*args, **kwargs):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refused)
    _image.cache_clear()
    assert len(data.scenes("test", seed=99, n=20).background) == 20


@pytest.mark.parametrize(
    ("wrong", "part"),
    [({"split": "valid"}, "unknown split 'valid'"), ({"n": 0}, "at least 1"), ({"seed": -1}, "at least 0")],
)
def test_wrong_arguments_are_refused(wrong, part):
    with pytest.raises(OptionError, match=part):
        data.scenes(**wrong)
