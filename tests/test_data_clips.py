from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from xaiteach import data
from xaiteach.data.clips import LEADS
from xaiteach.data.crops import SIZE, SOURCES, _first_column, _image
from xaiteach.errors import OptionError


def test_shapes_types_and_range():
    clip = data.pan("cat", "coffee")
    assert (tuple(clip.x.shape), clip.x.dtype) == ((12, 3, 64, 64), torch.float32)
    assert (clip.mask.shape, clip.mask.dtype) == ((12, 64, 64), np.bool_)
    assert 0 <= clip.x.min() <= clip.x.max() <= 1
    assert (SOURCES[clip.y].name, SOURCES[clip.other].name) == ("coffee", "cat") == clip.names[::-1]


@pytest.mark.parametrize("lead", LEADS)
def test_the_known_fraction_rises_by_an_eighth_from_the_lead_on(lead):
    clip = data.pan("cat", "coffee", lead=lead)
    assert clip.fraction.tolist() == [min(max(8 * t - lead, 0) / 64, 1) for t in range(12)]
    assert clip.t_star == 4 + lead // 8
    assert clip.fraction[clip.t_star] == 0.5


def test_only_the_camera_moves():
    clip = data.pan("brick", "gravel")
    for before, after in itertools.pairwise(clip.x):
        assert torch.equal(before[:, :, 8:], after[:, :, :-8])


def test_the_first_and_the_last_frame_are_the_windows_of_the_pairs():
    pair = data.crops(split="test", n_per_class=1).pairs[0]  # cat | coffee
    clip = data.pan("cat", "coffee")
    assert torch.equal(clip.x[0], pair.x[0, :, :, :64])
    assert torch.equal(clip.x[-1], pair.x[0, :, :, 64:])


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_no_clip_leaves_the_columns_of_its_split(split, source):
    column = (source.test_window if split == "test" else source.train_window)[1]
    low = _first_column(source, "test") if split == "test" else 0
    high = _image(source).shape[2] if split == "test" else _first_column(source, "test")
    assert low <= column
    assert column + SIZE + max(LEADS) <= high  # the widest stretch of a subject that leaves
    assert column + SIZE + 8 * 11 - SIZE <= high  # and of one that enters


def test_the_mask_is_true_on_the_pixels_of_the_second_subject():
    one, two = data.pan("cat", "coffee"), data.pan("cat", "gravel")
    same = torch.from_numpy(~one.mask)[:, None].expand_as(one.x)
    assert torch.equal(one.x[same], two.x[same])
    assert not torch.equal(one.x, two.x)


def test_two_calls_give_equal_clips_that_share_nothing():
    one, two = data.pan("cat", "coffee"), data.pan("cat", "coffee")
    assert torch.equal(one.x, two.x)
    one.x.zero_()
    assert not torch.equal(one.x, two.x)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"first": "dog"}, "unknown subject 'dog'"),
        ({"second": "cofee"}, "coffee"),
        ({"first": "coffee"}, "two different subjects"),
        ({"split": "val"}, "unknown split"),
        ({"lead": 25}, "unknown lead"),
        ({"lead": True}, "unknown lead"),
    ],
)
def test_what_is_no_clip_is_refused_in_words(given, words):
    with pytest.raises(OptionError, match=words):
        data.pan(**given)
