"""Class insensitivity on a net whose classes lie in known halves, and what is blind to the class."""

from __future__ import annotations

from typing import Any

import helpers_attribution as h
import pytest
import scipy.stats
import torch
from skimage.metrics import structural_similarity
from torch import Tensor, nn

from xaiteach import data, models
from xaiteach.errors import OptionError, TargetError
from xaiteach.evaluation.base import maps_of
from xaiteach.evaluation.classes import class_insensitivity
from xaiteach.evaluation.similarity import scaled

DOUBLE = torch.float64


class Halves(nn.Module):
    """Class 0 by the left half of an 8 x 8 image, class 1 by the right, class 2 by both."""

    def forward(self, x: Tensor) -> Tensor:
        left, right = x[:, 0, :, :4].sum((1, 2)), x[:, 0, :, 4:].sum((1, 2))
        return torch.stack([left, right, left + right], 1)


def images(n: int = 4) -> Tensor:
    return torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(0), dtype=DOUBLE)


def test_maps_of_two_halves_are_opposites_and_what_ignores_the_class_scores_one() -> None:
    found = class_insensitivity(Halves(), images(), 0, 1, ["saliency", "input_x_gradient"])
    for measure in (("spearman", "all"), ("pearson", "all")):
        torch.testing.assert_close(found.of("saliency", measure), -torch.ones(4, dtype=DOUBLE), atol=1e-12, rtol=0.0)
    assert (found.of("saliency") < 0.1).all()
    for control in ("edge_detector", "random_map"):
        assert found.of(control).tolist() == pytest.approx([1.0] * 4)
        assert found.floors[control][0] < 0.9


def test_similarities_are_those_of_scikit_image_and_scipy() -> None:
    net, x = h.conv_net(), torch.nn.functional.interpolate(h.batch(), size=(8, 6))
    first, second = torch.tensor([0, 1, 2]), torch.tensor([3, 0, 1])
    found = class_insensitivity(net, x, first, second, "saliency", measures=[("ssim", "absolute"), ("spearman", "all")])
    a, b = (maps_of("saliency", net, x, target) for target in (first, second))
    ssim = [
        structural_similarity(p.numpy(), q.numpy(), data_range=1.0, win_size=5)
        for p, q in zip(scaled(a, "absolute"), scaled(b, "absolute"), strict=True)
    ]
    rank = [scipy.stats.spearmanr(p.flatten(), q.flatten()).statistic for p, q in zip(a, b, strict=True)]
    torch.testing.assert_close(found.values["saliency"], torch.tensor([ssim, rank]), atol=1e-12, rtol=0.0)
    floor = [scipy.stats.spearmanr(a[i].flatten(), b[(i + 1) % 3].flatten()).statistic for i in range(3)]
    assert found.floors["saliency"][1].item() == pytest.approx(sum(floor) / 3, abs=1e-12)


def test_it_does_not_matter_which_class_comes_first() -> None:
    net, x = h.conv_net(), h.batch()
    one, two = (class_insensitivity(net, x, *pair, ["saliency", "grad_cam"]) for pair in ((0, 1), (1, 0)))
    for name, values in one.values.items():
        torch.testing.assert_close(values, two.values[name], atol=1e-12, rtol=0.0)


def test_the_probability_of_two_classes_is_one_map_with_two_signs() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 2)).double()
    explainer: Any = ("saliency", {"output": "probability"})
    found = class_insensitivity(
        net, images(), 0, 1, {"p": explainer}, measures=[("pearson", "all"), ("ssim", "absolute")]
    )
    torch.testing.assert_close(found.values["p"][0], -torch.ones(4, dtype=DOUBLE), atol=1e-9, rtol=0.0)
    torch.testing.assert_close(found.values["p"][1], torch.ones(4, dtype=DOUBLE), atol=1e-9, rtol=0.0)


def test_a_method_that_draws_differs_by_the_class_alone() -> None:
    class Twins(nn.Module):
        """Two classes with one logit, and a third."""

        def __init__(self) -> None:
            super().__init__()
            self.net = h.conv_net()

        def forward(self, x: Tensor) -> Tensor:
            logits = self.net(x)
            return torch.stack([logits[:, 0], logits[:, 0], logits[:, 1]], 1)

    noisy: Any = {"noisy": ("smoothgrad", {"n_samples": 4})}
    same = class_insensitivity(Twins(), h.batch(), 0, 1, noisy).of("noisy", ("pearson", "all"))
    other = class_insensitivity(Twins(), h.batch(), 0, 2, noisy).of("noisy", ("pearson", "all"))
    torch.testing.assert_close(same, torch.ones(3, dtype=DOUBLE), atol=1e-12, rtol=0.0)
    assert (other < 0.9).all()


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_any_rank_and_tables_are_taken_and_nothing_is_left_behind(rank: int) -> None:
    net, x = h.conv_net(rank), h.batch(2, rank)
    before = h.Snapshot(net)
    found = class_insensitivity(net, x, 0, 1, "saliency")
    assert before.changes() == []
    assert found.values["saliency"].shape == (3, 2)
    table = class_insensitivity(nn.Linear(9, 3).double(), torch.randn(2, 9, dtype=DOUBLE), 0, 1, "saliency")
    assert list(table.values) == ["saliency", "random_map"]


def test_a_single_image_has_no_floor() -> None:
    found = class_insensitivity(Halves(), images(1), 0, 1, "saliency")
    assert found.floors["saliency"].isnan().all()
    assert "nan" in found.rows()[0]
    assert found.plot().alt_text
    assert found.columns == ("explainer", "SSIM", "floor", "spearman", "floor", "pearson", "floor")


def test_bad_classes_and_measures_are_refused() -> None:
    with h.fails(TargetError, "two classes of each image; got class 1 twice for image 2"):
        class_insensitivity(Halves(), images(), [0, 0, 1, 0], 1, "saliency")
    with h.fails(TargetError, "`target` must be a class index from 0 to 2"):
        class_insensitivity(Halves(), images(), 0, 3, "saliency")
    for measures in ([], ["ssim"], [("ssim",)]):
        with h.fails(OptionError, "`measures` must be pairs"):
            class_insensitivity(Halves(), images(), 0, 1, "saliency", measures=measures)  # type: ignore[arg-type]
    with h.fails(OptionError, "unknown similarity 'sim'"):
        class_insensitivity(Halves(), images(), 0, 1, "saliency", measures=[("sim", "all")])
    with h.fails(OptionError, "unknown keep"):
        class_insensitivity(Halves(), images(), 0, 1, "saliency", measures=[("ssim", "some")])
    found = class_insensitivity(Halves(), images(), 0, 1, "saliency")
    with h.fails(OptionError, "unknown measure"):
        found.of("saliency", ("hog", "all"))
    with h.fails(OptionError, "unknown explainer"):
        found.of("grad_cam")


@pytest.mark.slow
def test_guided_backprop_hardly_knows_which_of_two_photographs_it_is_asked_about() -> None:
    pairs = data.crops("test").pairs
    x = torch.cat([pair.x for pair in pairs])
    left, right = [pair.other for pair in pairs], [pair.y for pair in pairs]
    net = models.load("crops_cnn")
    found = class_insensitivity(net, x, left, right, ["saliency", "guided_backprop", "grad_cam"])
    means = {name: float(found.of(name).mean()) for name in found.values}
    assert means["guided_backprop"] > 0.7 > 0.3 > max(means["saliency"], means["grad_cam"])  # .85 against .14, .14
    assert means["edge_detector"] == pytest.approx(1.0)
    rank = {name: float(found.of(name, ("spearman", "all")).mean()) for name in found.values}
    assert rank["guided_backprop"] > 0.85 > 0.3 > max(rank["saliency"], rank["grad_cam"])
