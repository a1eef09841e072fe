"""BAM's scores on scenes and nets whose truth is known, beside loops, and on the packaged classifiers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import helpers_attribution as h
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import slow_evaluation_truth as slow
from torch import Tensor, nn

from xaiteach import data, models
from xaiteach.errors import ModelError, OptionError, ShapeError
from xaiteach.evaluation import planted as p
from xaiteach.evaluation.patches import insignificant_patch

DOUBLE = torch.float64


@dataclass(frozen=True)
class Toy:
    """Images (n, 2, 6, 6): the object fills rows 1 and 2 of columns 1 to 3, its class shows in channel 0; the scene's
    class shows in channel 1, everywhere but there."""

    x: Any
    object: Any
    scene: Any
    mask: Any
    background: Any


def toy(n: int = 8, seed: int = 0) -> Toy:
    g = torch.Generator().manual_seed(seed)
    scene, object_ = torch.arange(n) % 2, torch.arange(n) // 2 % 2
    background = 0.1 * torch.rand(n, 2, 6, 6, generator=g, dtype=DOUBLE)
    background[:, 1] += 0.3 + 0.4 * scene[:, None, None]
    mask = torch.zeros(n, 6, 6, dtype=torch.bool)
    mask[:, 1:3, 1:4] = True
    pasted = torch.zeros(n, 2, 6, 6, dtype=DOUBLE)
    pasted[:, 0] = 0.3 + 0.5 * object_[:, None, None]
    x = torch.where(mask[:, None], pasted, background)
    return Toy(x, object_, scene, mask, background)


class Sum(nn.Module):
    """Two logits, +- (a weighted sum of one channel - a threshold)."""

    def __init__(self, channel: int, weight: Tensor, threshold: float) -> None:
        super().__init__()
        self.channel, self.threshold = channel, threshold
        self.weight = nn.Parameter(weight.double())

    def forward(self, x: Tensor) -> Tensor:
        s = (x[:, self.channel] * self.weight).sum((1, 2)) - self.threshold
        return torch.stack([-s, s], 1)


def by_object() -> Sum:
    weight = torch.zeros(6, 6)
    weight[1:3, 1:4] = 1.0
    return Sum(0, weight, 3.3)


def by_scene() -> Sum:
    return Sum(1, torch.ones(6, 6), 19.0)


# Attribution to a concept


def test_visible_and_concept_attribution_are_those_of_loops() -> None:
    g = torch.Generator().manual_seed(0)
    maps, mask = torch.randn(6, 9, 7, generator=g, dtype=DOUBLE), torch.rand(6, 9, 7, generator=g) > 0.6
    for quantile in (0.6, 0.99, 1.0):
        expected = torch.stack([slow.visible(one, quantile) for one in maps])
        torch.testing.assert_close(p.visible(maps, quantile=quantile), expected, atol=1e-14, rtol=0.0)
        means = [slow.concept_attribution(one, own, quantile) for one, own in zip(maps, mask, strict=True)]
        found = p.concept_attribution(maps, mask, quantile=quantile)
        torch.testing.assert_close(found, torch.tensor(means, dtype=DOUBLE), atol=1e-14, rtol=0.0)


def test_scales_by_hand() -> None:
    one = torch.tensor([[-4.0, 0.0, 2.0]])
    assert p.visible(one, "absolute", 1.0).tolist() == [[1.0, 0.0, 0.5]]
    assert p.visible(one, "positive", 1.0).tolist() == [[0.0, 0.0, 1.0]]
    assert p.visible(one, "none").tolist() == one.tolist()
    assert p.visible(torch.full((1, 4), 3.0)).tolist() == [[0.0] * 4]


def test_a_few_bright_positions_on_a_dark_map_stay_visible() -> None:
    one = torch.zeros(1, 400)
    one[0, 7] = 5.0  # the 99th percentile is 0
    assert p.visible(one)[0, 7] == 1.0
    assert p.visible(one).sum() == 1.0


@given(seed=st.integers(0, 10_000), scale=st.floats(0.01, 100))
@settings(max_examples=30, deadline=None)
def test_what_is_visible_lies_in_zero_to_one_whatever_the_scale(seed: int, scale: float) -> None:
    maps = torch.randn(3, 8, 5, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)
    found = p.visible(maps)
    assert found.min() == 0
    assert found.max() == 1
    torch.testing.assert_close(p.visible(scale * maps), found, atol=1e-10, rtol=0.0)


def test_large_batches_have_percentiles_too() -> None:
    maps = torch.arange(17_000_000.0).reshape(2, -1)  # more than torch.quantile takes
    assert p.visible(maps)[0, -1] == 1.0


def test_bad_scales_and_masks_are_refused() -> None:
    maps = torch.ones(2, 3)
    with h.fails(OptionError, "unknown scale 'positiv'; did you mean 'positive'?"):
        p.visible(maps, "positiv")
    with h.fails(OptionError, "`quantile` must be above 0"):
        p.visible(maps, quantile=0.0)
    with h.fails(ShapeError, "`mask` must be bool"):
        p.concept_attribution(maps, torch.ones(2, 3))
    with h.fails(ShapeError, "sample 1 is empty"):
        p.concept_attribution(maps, torch.tensor([[True, False, True], [False] * 3]))


# The three scores


def test_the_scores_by_hand() -> None:
    a, b = torch.tensor([0.5, 0.2, 0.3]), torch.tensor([0.4, 0.3, 0.3])
    torch.testing.assert_close(p.model_contrast(a, b), torch.tensor([0.1, -0.1, 0.0]))
    assert p.input_dependence(a, b).tolist() == [0.0, 1.0, 0.5]
    assert p.input_independence(torch.tensor([1.05, 1.15, 0.0, 0.1]), torch.tensor([1.0, 1.0, 0.0, 0.0])).tolist() == [
        1.0, 0.0, 1.0, 0.0,
    ]  # fmt: skip
    small = torch.tensor([0.1])
    assert p.input_independence(small + 0.05, small).item() == 0.0  # half of it, however little that is
    assert p.input_independence(small + 0.05, small, threshold=0.6).item() == 1.0
    with h.fails(OptionError, "`threshold` must be above 0"):
        p.input_independence(a, b, 0.0)


def test_an_explainer_that_tells_the_truth_scores_full_marks() -> None:
    scenes = toy()
    found = p.planted_truth(by_object(), by_scene(), scenes, "saliency", scale="absolute", quantile=1.0)
    # The object model's gradient is 1 on the object alone; the scene model's is 1 everywhere, so not visible as a map.
    assert found.of("saliency").tolist() == [1.0] * 8
    assert found.of("saliency", "input_independence").tolist() == [1.0] * 8


def test_gradient_times_input_gives_a_blank_patch_less_than_the_scene_it_covers() -> None:
    scenes = toy()
    found = p.planted_truth(by_object(), by_scene(), scenes, "input_x_gradient", scale="absolute")
    # The object is dark in the scene's channel.
    assert found.of("input_x_gradient", "input_dependence").tolist() == [1.0] * 8
    assert (found.of("input_x_gradient") > 0.3).all()


def test_independence_compares_the_patched_images_with_the_plain_ones() -> None:
    scenes = toy()
    same, other = (
        p.planted_truth(by_object(), by_scene(), scenes, "input_x_gradient", scale="absolute", patched=patched)
        for patched in (scenes.background, scenes.x)
    )
    assert same.of("input_x_gradient", "input_independence").tolist() == [1.0] * 8
    assert other.of("input_x_gradient", "input_independence").tolist() == [0.0] * 8  # dark where it was bright


def test_what_never_looks_at_the_model_has_no_contrast() -> None:
    found = p.planted_truth(by_object(), by_scene(), toy(), "saliency")
    for control in ("edge_detector", "random_map"):
        assert found.of(control).tolist() == [0.0] * 8
    assert found.of("random_map", "input_dependence").tolist() == [0.5] * 8


def test_scores_are_those_of_a_loop_over_images() -> None:
    scenes = toy()
    weight = torch.rand(6, 6, generator=torch.Generator().manual_seed(4))
    one, two = by_object(), Sum(1, weight / weight.sum() * 36, 19.0)
    found = p.planted_truth(one, two, scenes, "input_x_gradient")
    expected: dict[str, list[float]] = {"model_contrast": [], "input_dependence": []}
    for i in range(8):
        # input times gradient by hand: + w x for the class with the positive sum, - w x for the other
        signs = (1 if scenes.object[i] else -1), (1 if scenes.scene[i] else -1)
        a = (
            slow.concept_attribution(signs[0] * scenes.x[i, 0] * one.weight.detach(), scenes.mask[i])
            if signs[0] > 0
            else 0
        )
        b, c = (
            slow.concept_attribution(images[i, 1] * two.weight.detach(), scenes.mask[i]) if signs[1] > 0 else 0
            for images in (scenes.x, scenes.background)
        )
        expected["model_contrast"].append(float(a) - float(b))
        expected["input_dependence"].append(0.5 if b == c else float(b < c))
    for score, values in expected.items():
        want = torch.tensor(values, dtype=DOUBLE)
        torch.testing.assert_close(found.of("input_x_gradient", score), want, atol=1e-12, rtol=0.0)


def test_only_images_that_the_models_get_right_count() -> None:
    scenes = toy()
    wrong = scenes.object.clone()
    wrong[:3] = 1 - wrong[:3]
    found = p.planted_truth(by_object(), by_scene(), Toy(scenes.x, wrong, *_rest(scenes)), "saliency")
    assert len(found.of("saliency")) == 5
    assert len(found.of("saliency", "input_dependence")) == 8
    assert found.columns[1] == "model contrast (5 images)"
    both = Toy(scenes.x, wrong, 1 - scenes.scene, *_rest(scenes)[1:])
    turned = Sum(1, -torch.ones(6, 6), -19.0)  # right about the exchanged classes of the scenes
    shifted = both.scene.clone()
    shifted[5:7] = 1 - shifted[5:7]
    found = p.planted_truth(by_object(), turned, Toy(both.x, wrong, shifted, *_rest(scenes)[1:]), "saliency")
    assert [len(found.of("saliency", score)) for score in p.SCORES] == [3, 6, 6]
    with h.fails(ModelError, "at least one image right for the model contrast; of 8 they get none"):
        p.planted_truth(by_object(), by_scene(), Toy(scenes.x, 1 - scenes.object, *_rest(scenes)), "saliency")


def _rest(scenes: Toy) -> tuple[Any, Any, Any]:
    return scenes.scene, scenes.mask, scenes.background


def test_arrays_do_as_well_and_nothing_is_left_behind() -> None:
    scenes, nets = toy(), (by_object(), by_scene())
    before = [h.Snapshot(net) for net in nets]
    arrays = Toy(*(part.numpy() for part in (scenes.x, scenes.object, *_rest(scenes))))
    one, two = (p.planted_truth(*nets, given_, "input_x_gradient") for given_ in (scenes, arrays))
    assert [snapshot.changes() for snapshot in before] == [[], []]
    for score in p.SCORES:
        assert torch.equal(one.of("input_x_gradient", score), two.of("input_x_gradient", score))


def test_parts_that_do_not_fit_are_refused() -> None:
    scenes = toy()
    with h.fails(ShapeError, "`background` must match the images"):
        p.planted_truth(by_object(), by_scene(), Toy(*_but(scenes, background=scenes.background[:4])), "saliency")
    with h.fails(ShapeError, "`mask` must be bool"):
        p.planted_truth(by_object(), by_scene(), Toy(*_but(scenes, mask=scenes.mask.float())), "saliency")
    with h.fails(ShapeError, "`patched` must match"):
        p.planted_truth(by_object(), by_scene(), scenes, "saliency", patched=scenes.x[:, :1])
    found = p.planted_truth(by_object(), by_scene(), scenes, "saliency")
    with h.fails(OptionError, "unknown score"):
        found.of("saliency", "contrast")
    with h.fails(OptionError, "unknown explainer"):
        found.of("grad_cam")


def _but(scenes: Toy, **changes: Any) -> list[Any]:
    return list((vars(scenes) | changes).values())


def test_the_table_and_the_figures() -> None:
    found = p.planted_truth(by_object(), by_scene(), toy(), "saliency")
    assert [row[0] for row in found.rows()] == ["saliency", "edge_detector", "random_map"]
    assert all(len(row) == len(found.columns) for row in found.rows())
    for score in p.SCORES:
        assert found.plot(score=score).alt_text


# Patches


def test_a_patch_moves_back_where_the_model_looks_and_nowhere_outside_the_mask() -> None:
    scenes = toy()
    weight = torch.ones(6, 6)
    weight[1, 1:4] = 0.0  # the model does not see the object's upper row
    found = insignificant_patch(Sum(1, weight, 19.0), scenes.background, scenes.mask, start=scenes.x)
    assert (found.change < 0.02 * found.before).all()
    assert (found.before > 0.5).all()
    outside = ~scenes.mask[:, None].expand_as(scenes.x)
    assert torch.equal(found.x[outside], scenes.background[outside])
    assert (found.size > 0.5).all()
    assert found.x.min() >= 0
    assert found.x.max() <= 1
    net = Sum(1, weight, 19.0)
    with torch.no_grad():
        change = (net(found.x) - net(scenes.background)).norm(dim=1)
    torch.testing.assert_close(found.change, change, atol=1e-12, rtol=0.0)


def test_patches_do_not_depend_on_the_batch_and_leave_no_trace() -> None:
    net = h.conv_net()
    x, mask = h.batch(3).clamp(0, 1), torch.zeros(3, 8, 6, dtype=torch.bool)
    mask[:, 2:5, 2:5] = True
    start = torch.where(mask[:, None], 0.5, x)
    before = h.Snapshot(net)
    whole = insignificant_patch(net, x, mask, start=start, steps=20)
    assert before.changes() == []
    one = insignificant_patch(net, x[1:2], mask[1:2], start=start[1:2], steps=20)
    torch.testing.assert_close(whole.x[1:2], one.x, atol=1e-9, rtol=0.0)
    with h.fails(ShapeError, "`mask` must be bool"):
        insignificant_patch(net, x, mask.float(), start=start)
    with h.fails(ShapeError, "`start` must match `x`"):
        insignificant_patch(net, x, mask, start=start[:1])
    with h.fails(OptionError, "`rate` must be above 0"):
        insignificant_patch(net, x, mask, start=start, rate=0.0)
    with h.fails(OptionError, "`steps` must be"):
        insignificant_patch(net, x, mask, start=start, steps=0)


# The packaged classifiers


@pytest.mark.slow
def test_on_the_packaged_classifiers_explanations_beat_what_is_blind() -> None:
    scenes = data.scenes("test", n=60)
    nets = models.load("vgg64_narrow"), models.load("vgg64_narrow_scenes")
    methods = ["grad_cam", "integrated_gradients", "guided_backprop"]
    found = p.planted_truth(*nets, scenes, methods, common=scenes.common())
    contrast = {name: float(found.of(name).mean()) for name in methods}
    count = len(found.of("grad_cam"))
    assert count > 45
    spread = float(found.of("grad_cam").std()) / np.sqrt(count)
    assert contrast["grad_cam"] > 5 * spread
    assert contrast["integrated_gradients"] > 0.1 > contrast["guided_backprop"]
    dependence = {name: float(found.of(name, "input_dependence").mean()) for name in methods}
    assert dependence["grad_cam"] > 0.7  # the paper's winner, too
    assert dependence["guided_backprop"] < 0.5  # the paper's false positives
    assert found.of("edge_detector", "input_dependence").mean() < 0.1
