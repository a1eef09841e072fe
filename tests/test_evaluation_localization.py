"""Boxes and localisation scores beside loops, scikit-image and Quantus, and where chance lies."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import helpers_attribution as h
import pytest
import quantus
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import slow_evaluation_truth as slow
from skimage.measure import label, regionprops
from sklearn.metrics import jaccard_score
from torch import Tensor, nn

from xaiteach.errors import OptionError, ShapeError, TargetError
from xaiteach.evaluation import boxes as b
from xaiteach.evaluation.localization import (
    MEASURES,
    energy_in_mask,
    localize,
    mask_iou,
    pointing_game,
    saliency_metric,
)

DOUBLE = torch.float64
SHAPES = {1: (23,), 2: (11, 8), 3: (5, 6, 4)}


def maps(n: int = 12, rank: int = 2, seed: int = 0) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, *SHAPES[rank], generator=g, dtype=DOUBLE)


def masks(n: int = 12, rank: int = 2, seed: int = 1) -> Tensor:
    found = maps(n, rank, seed) > 0.8
    found.flatten(1)[:, 3] = True
    return found


def any_boxes(n: int, rank: int, seed: int) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    ends = [torch.randint(0, side + 1, (2, n), generator=g).sort(0).values for side in SHAPES[rank]]
    return torch.stack([*(low for low, _ in ends), *(high for _, high in ends)], 1)


# Boxes


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("threshold", [0.0, 0.2, 0.5])
@pytest.mark.parametrize("tight", [False, True])
def test_boxes_are_those_of_a_flood_fill(rank: int, threshold: float, tight: bool) -> None:
    for steps in range(1, rank + 1):
        found = b.boxes_of(maps(rank=rank), threshold=threshold, tight=tight, connectivity=steps)
        expected = [slow.box(slow.region(one, threshold, steps, not tight), rank) for one in maps(rank=rank)]
        assert found.tolist() == expected


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("connectivity", [1, 2])
def test_the_largest_part_is_scikit_images(rank: int, connectivity: int) -> None:
    x = maps(30, rank)
    found = b.boxes_of(x, threshold=0.3, connectivity=connectivity)
    for one, box in zip(x, found.tolist(), strict=True):
        regions = regionprops(label((one > 0.3 * one.max()).numpy(), connectivity=connectivity))
        largest = max(regions, key=lambda r: r.area)
        assert tuple(box) == largest.bbox


def test_diagonal_neighbours_belong_together_unless_told_otherwise() -> None:
    one = torch.tensor([[[5.0, 0.0, 0.0], [0.0, 5.0, 0.0], [0.0, 0.0, 0.0], [4.0, 0.0, 0.0]]])
    assert b.boxes_of(one).tolist() == [[0, 0, 2, 2]]
    assert b.boxes_of(one, connectivity=1).tolist() == [[0, 0, 1, 1]]


def test_the_threshold_is_a_fraction_of_each_maps_maximum_and_no_quantile() -> None:
    one = torch.tensor([[1.0, 2.0, 2.1, 10.0, 0.5]])
    assert b.regions_of(one, largest=False).tolist() == [[False, False, True, True, False]]  # 2.0 is not above 20 %
    assert torch.equal(b.boxes_of(torch.cat([one, 1000 * one])), b.boxes_of(one).repeat(2, 1))
    kept_by_quantile = (one > one.quantile(0.2)).sum()
    assert kept_by_quantile == 4


def test_a_map_without_positive_values_has_the_empty_box() -> None:
    x = torch.stack([torch.zeros(4, 4), -torch.ones(4, 4)])
    assert b.boxes_of(x).tolist() == [[0] * 4] * 2
    assert b.iou(b.boxes_of(x), torch.tensor([[0, 0, 4, 4]] * 2)).tolist() == [0.0, 0.0]


def test_one_stray_position_blows_the_tight_box_up_and_not_cams() -> None:
    one = torch.zeros(1, 10, 10)
    one[0, 2:5, 2:5] = 1.0
    one[0, 9, 9] = 0.3
    assert b.boxes_of(one).tolist() == [[2, 2, 5, 5]]
    assert b.boxes_of(one, tight=True).tolist() == [[2, 2, 10, 10]]


@given(seed=st.integers(0, 10_000), rank=st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_iou_is_that_of_sets_of_positions_and_symmetric(seed: int, rank: int) -> None:
    one, two = any_boxes(4, rank, seed), any_boxes(4, rank, seed + 1)
    found = b.iou(one, two)
    expected = [slow.iou(p, q) for p, q in zip(one.tolist(), two.tolist(), strict=True)]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=DOUBLE), atol=1e-15, rtol=0.0)
    assert torch.equal(found, b.iou(two, one))


@given(seed=st.integers(0, 10_000), rank=st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_a_box_of_its_own_filling_is_itself(seed: int, rank: int) -> None:
    boxes = any_boxes(4, rank, seed)
    full = b.filled(boxes, SHAPES[rank])
    empty = (boxes[:, :rank] >= boxes[:, rank:]).any(1, keepdim=True)
    assert torch.equal(b.mask_boxes(full), torch.where(empty, 0, boxes))
    assert full.flatten(1).sum(1).tolist() == [len(slow.inside(box)) for box in boxes.tolist()]


def test_iou_refuses_what_are_no_boxes() -> None:
    for one, two in (([[0, 1, 2]], [[0, 1, 2]]), ([0, 1], [0, 1]), ([[0, 1]], [[0, 1], [0, 1]])):
        with h.fails(ShapeError, "iou", "n boxes"):
            b.iou(torch.tensor(one), torch.tensor(two))


@pytest.mark.parametrize("threshold", [-0.1, 1.0, True, float("nan")])
def test_a_threshold_must_be_a_fraction(threshold: Any) -> None:
    with h.fails(OptionError, "`threshold` must be a fraction"):
        b.boxes_of(maps(), threshold=threshold)


def test_connectivity_and_maps_are_checked() -> None:
    with h.fails(OptionError, "`connectivity` must be from 1 to 2"):
        b.boxes_of(maps(), connectivity=3)
    with h.fails(ShapeError, "`maps` must be a batch"):
        b.boxes_of(torch.zeros(3))
    with h.fails(ShapeError, "1 NaN"):
        b.boxes_of(torch.tensor([[1.0, float("nan")]]))


# Truth


def test_truth_may_be_masks_or_boxes_one_or_several() -> None:
    mask = torch.zeros(2, 4, 4, dtype=torch.bool)
    mask[0, 1:3, 1:3] = mask[1, 0, 0] = True
    expected = [[[1, 1, 3, 3]], [[0, 0, 1, 1]]]
    boxes = torch.tensor(expected)
    for given_ in (mask, mask.numpy(), mask[:, None], list(mask), boxes, boxes[:, 0], [[1, 1, 3, 3], boxes[1]]):
        truth = b.as_truth(given_, 2, (4, 4), "t")
        assert [own.tolist() for own in truth.boxes] == expected
        assert torch.equal(truth.mask, mask)


def test_the_best_fitting_object_counts() -> None:
    truth = b.as_truth([torch.tensor([[0, 2], [4, 8]]), torch.tensor([[0, 8]])], 2, (8,), "t")
    assert b.best_iou(torch.tensor([[4, 6], [4, 6]]), truth).tolist() == [0.5, 0.25]
    assert truth.mask.tolist() == [[True, True, False, False, True, True, True, True], [True] * 8]


@pytest.mark.parametrize(
    ("truth", "part"),
    [
        (torch.zeros(2, 4, 4, dtype=torch.bool), "object 0 of sample 0"),
        (torch.ones(2, 4, 3, dtype=torch.bool), "sample 0 has a bool tensor of shape (4, 3)"),
        (torch.ones(3, 4, 4, dtype=torch.bool), "each of the 2 samples"),
        (torch.ones(2, 4, 4), "sample 0 has a float32"),
        (torch.tensor([[0, 0, 4, 4], [0, 0, 5, 4]]), "object 0 of sample 1 has the box (0, 0, 5, 4)"),
        (torch.tensor([[0, 0, 4, 4], [2, 0, 2, 4]]), "object 0 of sample 1"),
        ([torch.tensor([[0, 0, 4, 4]]), torch.zeros(0, 4, dtype=torch.long)], "sample 1"),
        (None, "each of the 2 samples"),
    ],
)
def test_truth_that_is_none_is_refused(truth: Any, part: str) -> None:
    with h.fails(ShapeError, "t: ", part):
        b.as_truth(truth, 2, (4, 4), "t")


# Scores


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_energy_and_pointing_are_those_of_loops(rank: int) -> None:
    x, mask = maps(rank=rank), masks(rank=rank)
    expected = [slow.energy(one, own) for one, own in zip(x, mask, strict=True)]
    torch.testing.assert_close(energy_in_mask(x, mask), torch.tensor(expected, dtype=DOUBLE), atol=1e-14, rtol=0.0)
    coarse = (x / 2).round()  # with ties
    for tolerance in (0.0, 1.0, 1.5, 2.0):
        hits = [slow.pointing(one, own, tolerance) for one, own in zip(coarse, mask, strict=True)]
        found = pointing_game(coarse, mask, tolerance=tolerance)
        torch.testing.assert_close(found, torch.tensor(hits, dtype=DOUBLE), atol=1e-14, rtol=0.0)


def test_quantus_agrees_on_maps_that_are_never_negative() -> None:
    x, mask = maps(20).abs(), masks(20)
    mass = quantus.RelevanceMassAccuracy(disable_warnings=True)
    ours, theirs = energy_in_mask(x, mask), mass.evaluate_batch(a_batch=x.numpy(), s_batch=mask.numpy())
    torch.testing.assert_close(ours, torch.tensor(theirs), atol=1e-14, rtol=0.0)
    game = quantus.PointingGame(disable_warnings=True)
    hits = game.evaluate_batch(a_batch=x.numpy(), s_batch=mask.numpy())
    assert pointing_game(x, mask).tolist() == [float(hit) for hit in hits]
    assert 0 < sum(map(float, hits)) < 20


def test_quantus_takes_the_negative_values_off_the_energy() -> None:
    x, mask = torch.tensor([[3.0, 1.0, -1.0]]), torch.tensor([[True, False, False]])
    mass = quantus.RelevanceMassAccuracy(disable_warnings=True)
    (theirs,) = mass.evaluate_batch(a_batch=x.numpy(), s_batch=mask.numpy())
    assert theirs == 1.0  # 3 of 3 + 1 - 1
    assert energy_in_mask(x, mask).item() == 0.75
    assert energy_in_mask(x, mask, absolute=True).item() == 0.6


@given(seed=st.integers(0, 10_000), scale=st.floats(1e-3, 1e3))
@settings(max_examples=30, deadline=None)
def test_scores_are_shares_and_take_no_notice_of_scale(seed: int, scale: float) -> None:
    x, mask = maps(5, seed=seed), masks(5, seed=seed + 1)
    energy, rest = energy_in_mask(x, mask), energy_in_mask(x, ~mask)
    torch.testing.assert_close(energy + rest, torch.ones(5, dtype=DOUBLE), atol=1e-12, rtol=0.0)
    torch.testing.assert_close(energy_in_mask(scale * x, mask), energy, atol=1e-12, rtol=0.0)
    assert torch.equal(b.boxes_of(2.0**5 * x), b.boxes_of(x))
    near = [pointing_game(x, mask, tolerance=t) for t in (0.0, 1.0, 3.0, 20.0)]
    assert all((p <= q).all() for p, q in pairwise(near))
    assert near[-1].tolist() == [1.0] * 5


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("largest", [False, True])
def test_the_regions_iou_is_a_loops_and_scikit_learns(rank: int, largest: bool) -> None:
    found = mask_iou(maps(rank=rank), masks(rank=rank), threshold=0.3, largest=largest)
    for one, mask, score in zip(maps(rank=rank), masks(rank=rank), found.tolist(), strict=True):
        region = slow.region(one, 0.3, rank, largest)
        true = {at for at in slow.places(mask.shape) if mask[at]}
        assert score == pytest.approx(len(region & true) / len(region | true), abs=1e-12)
        above = [at in region for at in slow.places(mask.shape)]
        assert score == pytest.approx(jaccard_score(mask.flatten().tolist(), above), abs=1e-12)
    assert 0 < float(found.mean()) < 1


def test_a_box_forgives_the_holes_that_the_region_shows() -> None:
    ring = torch.ones(1, 5, 5)
    ring[0, 1:4, 1:4] = 0
    mask = torch.ones(1, 5, 5, dtype=torch.bool)
    assert mask_iou(ring, mask).item() == pytest.approx(16 / 25)
    assert b.iou(b.boxes_of(ring), torch.tensor([[0, 0, 5, 5]])).item() == 1.0
    assert mask_iou(-ring, torch.zeros_like(mask)).item() == 0.0


def test_chance_is_the_masks_share_of_the_area() -> None:
    mask = torch.zeros(1, 40, 40, dtype=torch.bool)
    mask[0, 5:15, 5:21] = True
    assert energy_in_mask(torch.ones(1, 40, 40), mask).item() == 0.1
    assert pointing_game(torch.ones(1, 40, 40), mask).item() == 0.1
    noise = torch.randn(400, 40, 40, generator=torch.Generator().manual_seed(0))
    energies = energy_in_mask(noise, mask.expand(400, -1, -1))
    hits = pointing_game(noise, mask.expand(400, -1, -1))
    assert abs(energies.mean() - 0.1) < 4 * energies.std() / 20  # four standard errors
    assert abs(hits.mean() - 0.1) < 4 * math.sqrt(0.09 / 400)


def test_a_blank_map_has_no_energy_and_masks_are_checked() -> None:
    mask = torch.tensor([[True, False]])
    assert energy_in_mask(torch.tensor([[0.0, -1.0]]), mask).item() == 0.0
    assert pointing_game(torch.zeros(1, 2), torch.zeros(1, 2, dtype=torch.bool), tolerance=3).item() == 0.0
    for score in (energy_in_mask, pointing_game):
        with h.fails(ShapeError, "`mask` must be bool", "float32"):
            score(torch.ones(1, 2), torch.ones(1, 2))
        with h.fails(ShapeError, "`mask` must be bool", "(1, 2)"):
            score(torch.ones(1, 3), mask)
    with h.fails(OptionError, "`tolerance` must be 0 or more"):
        pointing_game(torch.ones(1, 2), mask, tolerance=-1)


# Dabkowski and Gal


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_the_saliency_metric_is_that_of_a_loop(rank: int) -> None:
    net, x, y = h.conv_net(rank).eval(), h.batch(4, rank), h.targets(4)
    g = torch.Generator().manual_seed(3)
    ends = [torch.randint(0, side + 1, (2, 4), generator=g).sort(0).values for side in h.SPATIAL[rank]]
    boxes = torch.stack([*(low for low, _ in ends), *(high for _, high in ends)], 1)
    boxes[0] = 0
    found = saliency_metric(net, x, y, boxes)
    with torch.no_grad():
        expected = [slow.saliency_metric(net, *parts) for parts in zip(x, y.tolist(), boxes.tolist(), strict=True)]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=DOUBLE), atol=1e-12, rtol=0.0)


def test_the_whole_image_scores_minus_log_p_and_small_crops_stop_gaining() -> None:
    net, x = h.conv_net().eval(), h.batch()
    whole = torch.tensor([[0, 0, 8, 6]] * 3)
    with torch.no_grad():
        log_p = net(x).log_softmax(1)[:, 1]
    torch.testing.assert_close(saliency_metric(net, x, 1, whole), -log_p, atol=1e-12, rtol=0.0)
    even = lambda x: torch.zeros(len(x), 5)  # noqa: E731
    one = saliency_metric(even, torch.zeros(2, 1, 10, 10), 0, torch.tensor([[0, 0, 1, 1], [0, 0, 1, 5]]))
    torch.testing.assert_close(one, torch.tensor([math.log(0.05) + math.log(5)] * 2, dtype=DOUBLE))


def test_the_saliency_metric_survives_a_sure_model_and_refuses_bad_boxes() -> None:
    sure = lambda x: torch.tensor([[0.0, 400.0]]).expand(len(x), 2)  # noqa: E731
    x = torch.zeros(1, 1, 8)
    assert saliency_metric(sure, x, 0, torch.tensor([[0, 8]])).item() == 400.0
    for boxes in ([[0, 9]], [[-1, 4]], [[0, 1, 2, 3]], [[0, 8], [0, 8]]):
        with h.fails(ShapeError, "`boxes` must be 1 boxes of 2 numbers"):
            saliency_metric(sure, x, 0, torch.tensor(boxes))
    with h.fails(OptionError, "`least`"):
        saliency_metric(sure, x, 0, torch.tensor([[0, 8]]), least=0.0)
    with h.fails(ShapeError, "signals, images or clips"):
        saliency_metric(sure, torch.zeros(1, 8), 0, torch.tensor([[0, 8]]))


# The protocol


class Corner(nn.Module):
    """Class 0 by the top left quarter of an 8 x 8 image, class 1 by nothing."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([x[:, 0, :4, :4].sum((1, 2)), x[:, 0, 0, 0] * 0], 1)


def test_a_model_that_uses_the_object_is_localised_to_the_pixel() -> None:
    x = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0), dtype=DOUBLE) + 0.1
    mask = torch.zeros(5, 8, 8, dtype=torch.bool)
    mask[:, :4, :4] = True
    found = localize(Corner(), x, 0, ["saliency", "occlusion"], mask)
    assert found.of("saliency", "iou").tolist() == found.of("saliency", "energy").tolist() == [1.0] * 5
    assert found.error("saliency") == found.error("saliency", tight=True) == 0.0
    assert list(found.values) == ["saliency", "occlusion", "random_map", "whole image", "true mask"]
    assert found.of("whole image", "energy").tolist() == found.of("whole image", "pointing").tolist() == [0.25] * 5
    assert found.of("whole image", "iou").tolist() == [0.25] * 5
    for measure in ("iou", "tight_iou", "energy", "pointing"):
        assert found.of("true mask", measure).tolist() == [1.0] * 5
    assert found.blank == dict.fromkeys(found.values, 0)


def test_maps_may_be_ready_made_and_count_with_their_sign() -> None:
    x = h.batch(3).abs()
    negative = -torch.ones(3, 8, 6)
    truth = torch.tensor([[0, 0, 8, 6]] * 3)
    signed = localize(h.conv_net(), x, 0, {"negative": negative}, truth)
    assert signed.blank["negative"] == 3
    assert signed.error("negative") == 1.0
    sizes = localize(h.conv_net(), x, 0, {"negative": negative}, truth, absolute=True)
    assert sizes.of("negative", "iou").tolist() == [1.0] * 3
    with h.fails(ShapeError, "maps ready made must have shape (3, 8, 6)"):
        localize(h.conv_net(), x, 0, {"short": negative[:2]}, truth)


def test_a_stray_position_costs_the_tight_box_its_hit_and_the_largest_part_keeps_it() -> None:
    one = torch.zeros(1, 8, 6)
    one[0, 1:4, 1:4] = 1.0
    one[0, 7, 5] = 0.5
    found = localize(h.conv_net(), h.batch(1), 0, {"stray": one}, torch.tensor([[1, 1, 4, 4]]))
    assert found.of("stray", "iou").item() == 1.0
    assert found.of("stray", "tight_iou").item() == pytest.approx(9 / 35)
    assert (found.error("stray"), found.error("stray", tight=True)) == (0.0, 1.0)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_any_rank_is_localised_and_nothing_is_left_behind(rank: int) -> None:
    net, x = h.conv_net(rank), h.batch(3, rank)
    before = h.Snapshot(net)
    truth = [torch.tensor([[0] * rank + [2] * rank, [1] * rank + [4] * rank])] * 3
    found = localize(net, x, h.targets(), ["saliency", "grad_cam"], truth, tolerance=1)
    assert before.changes() == []
    assert all(values.shape == (len(MEASURES), 3) for values in found.values.values())
    assert all(values.isfinite().all() for values in found.values.values())


def test_results_are_the_same_one_by_one_and_by_class() -> None:
    net, x, y = h.conv_net(), h.batch(4), torch.tensor([0, 1, 1, 2])
    mask = torch.zeros(4, 8, 6, dtype=torch.bool)
    mask[:, 2:6, 1:4] = True
    whole = localize(net, x, y, "saliency", mask)
    single = [localize(net, x[i : i + 1], y[i : i + 1], "saliency", mask[i : i + 1]) for i in range(4)]
    joined = torch.cat([one.values["saliency"] for one in single], 1)
    torch.testing.assert_close(whole.values["saliency"], joined, atol=1e-10, rtol=0.0)
    energy = whole.of("saliency", "energy")
    assert whole.by_class("saliency", "energy") == pytest.approx(
        {0: energy[0].item(), 1: energy[1:3].mean().item(), 2: energy[3].item()}
    )


def test_the_table_and_the_figure_show_chance() -> None:
    mask = torch.zeros(3, 8, 6, dtype=torch.bool)
    mask[:, :4] = True
    found = localize(h.conv_net(), h.batch(), 0, "saliency", mask)
    rows = {row[0]: row for row in found.rows()}
    assert rows["whole image"][-2] == "0.50 (0.00)"
    assert all(len(row) == len(found.columns) for row in rows.values())
    assert "energy in mask" in repr(found)
    for measure in ("energy", "iou", "saliency_metric"):
        assert found.plot(measure=measure).alt_text


def test_bad_questions_to_localize_are_refused() -> None:
    net, x, truth = h.conv_net(), h.batch(), torch.tensor([[0, 0, 8, 6]] * 3)
    with h.fails(OptionError, "`iou_at` must be above 0"):
        localize(net, x, 0, "saliency", truth, iou_at=0)
    with h.fails(TargetError, "`target` must be a class index"):
        localize(net, x, 9, "saliency", truth)
    with h.fails(ShapeError, "signals, images or clips"):
        localize(nn.Linear(4, 2).double(), torch.zeros(2, 4, dtype=DOUBLE), 0, "saliency", truth)
    found = localize(net, x, 0, "saliency", truth)
    with h.fails(OptionError, "unknown measure"):
        found.of("saliency", "iuo")
    with h.fails(OptionError, "unknown explainer"):
        found.of("salience", "iou")
