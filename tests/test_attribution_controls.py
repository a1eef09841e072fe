"""Controls: what they are made of, that the model does not matter, and that each is beaten where it should be."""

from __future__ import annotations

import math

import helpers_attribution as h
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from torch import Tensor, nn

from xaiteach import data, explain
from xaiteach.attribution import registry
from xaiteach.errors import ShapeError

CONTROLS = ("edge_detector", "random_map")
MIRRORED = "reflect"
"""scipy's name for what scikit-image does at a border: d c b a | a b c d | d c b a."""


def seeded(seed: int = 5) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def slow_sobel(image: Tensor) -> Tensor:
    """Length of the slope, each of its two parts smoothed by (1, 2, 1) / 4 across, borders mirrored."""
    rows, columns = image.shape
    inside = lambda i, side: min(max(i, -1 - i), 2 * side - 1 - i)  # noqa: E731 - mirrored: -1 is 0, side is side - 1
    out = torch.zeros_like(image)
    for i in range(rows):
        for j in range(columns):
            down = across = 0.0
            for k, weight in ((-1, 0.25), (0, 0.5), (1, 0.25)):
                left, right = (image[inside(i + k, rows), inside(j + step, columns)] for step in (-1, 1))
                above, below = (image[inside(i + step, rows), inside(j + k, columns)] for step in (-1, 1))
                across += weight * float(right - left) / 2
                down += weight * float(below - above) / 2
            out[i, j] = math.hypot(across, down)
    return out


@pytest.mark.parametrize("control", CONTROLS)
def test_a_control_is_the_same_whatever_the_model_and_the_class(control: str) -> None:
    x = h.batch()
    maps = [
        h.run(control, net, x, c).values for net in (h.conv_net(seed=0), h.conv_net(seed=1, head="gap")) for c in (0, 3)
    ]
    assert all(torch.equal(one, maps[0]) for one in maps)
    entry = registry.entry(control)
    assert (entry.class_discriminative, entry.cost) == ("no", "none")
    assert "control" in entry.sanity_check


@pytest.mark.parametrize("control", CONTROLS)
def test_a_control_does_not_call_the_model(control: str) -> None:
    rows: list[int] = []
    net = h.conv_net()
    net.register_forward_hook(lambda _, inputs, __: rows.append(len(inputs[0])))
    h.run(control, net, h.batch(5), 1)
    assert rows == [1]  # what explain itself looks at


def test_edges_of_an_image_are_sobels_slopes_of_the_mean_over_channels() -> None:
    x = h.batch(2)
    expected = torch.stack([slow_sobel(one.mean(0)) for one in x])
    found = explain(h.conv_net(), x, 1, "edge_detector").values
    assert found.shape == (2, 1, 8, 6)
    torch.testing.assert_close(found[:, 0], expected, atol=1e-14, rtol=1e-12)  # float64 rounding


def test_edges_agree_with_scipys_sobel() -> None:
    x = h.batch(1)
    grey = x[0].mean(0).numpy()
    slopes = [ndimage.sobel(grey, axis, mode=MIRRORED) / 8 for axis in (0, 1)]
    expected = torch.as_tensor(np.hypot(*slopes))
    found = explain(h.conv_net(), x, 1, "edge_detector").values[0, 0]
    torch.testing.assert_close(found, expected, atol=1e-14, rtol=1e-12)  # float64 rounding


def test_by_hand_an_upright_step() -> None:
    # From column 2 to 3 the value rises by 1: half of it over each of the two columns, and nothing the other way.
    x = torch.zeros(1, 1, 4, 6, dtype=torch.float64)
    x[..., 3:] = 1
    found = explain(lambda x: x.flatten(1), x, 0, "edge_detector").map[0]
    expected = torch.tensor([0, 0, 0.5, 0.5, 0, 0], dtype=torch.float64).expand(4, 6)
    torch.testing.assert_close(found, expected, atol=1e-15, rtol=1e-14)  # rounding of a root


def test_a_clip_is_taken_frame_by_frame() -> None:
    x = h.batch(2, 3)
    clips = explain(h.conv_net(3), x, 1, "edge_detector").values
    frames = [explain(nn.Flatten(), x[:, :, t], 1, "edge_detector").values for t in range(x.shape[2])]
    assert torch.equal(clips, torch.stack(frames, 2))


def test_by_hand_slopes_of_a_signal() -> None:
    x = torch.tensor([[[0.0, 0.0, 6.0, 4.0, 4.0], [0.0, 2.0, 0.0, 0.0, 0.0]]])  # their mean: 0, 1, 3, 2, 2
    found = explain(lambda x: x.flatten(1), x, 0, "edge_detector").values
    assert found.tolist() == [[[1, 1.5, 0.5, 0.5, 0]]]
    assert explain(lambda x: x.flatten(1), x[..., :1], 0, "edge_detector").values.tolist() == [[[0]]]


@given(seed=st.integers(0, 10**6), offset=st.floats(-5, 5))
@settings(deadline=None, max_examples=15)
def test_edges_ignore_what_is_added_to_all_and_turn_with_the_image(seed: int, offset: float) -> None:
    x = torch.rand(1, 3, 7, 7, generator=seeded(seed), dtype=torch.float64)
    anything = nn.Flatten()
    edges = explain(anything, x, 0, "edge_detector").map
    shifted = explain(anything, x + offset, 0, "edge_detector").map
    torch.testing.assert_close(shifted, edges, atol=1e-13, rtol=0.0)  # rounding of sums with the offset
    turned = explain(anything, x.rot90(1, (2, 3)), 0, "edge_detector").map
    torch.testing.assert_close(turned, edges.rot90(1, (1, 2)), atol=1e-14, rtol=0.0)  # rounding


@pytest.mark.parametrize("shape", [(2, 5), (1, 1, 2, 2, 2, 2)])
def test_what_has_no_edges_is_refused(shape: tuple[int, ...]) -> None:
    with h.fails(ShapeError, "edge_detector: `x` must be a batch of signals, images or clips", "random_map"):
        explain(lambda x: x.flatten(1), torch.zeros(shape), 0, "edge_detector")


@pytest.mark.parametrize(
    ("shape", "expected"), [((2, 3, 40), (2, 1, 40)), ((2, 5), (2, 5)), ((1, 2, 3, 4), (1, 1, 3, 4))]
)
def test_noise_has_one_channel_and_is_drawn_sample_by_sample(shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    x = torch.zeros(shape, dtype=torch.float64)
    found = explain(nn.Flatten(), x, 0, "random_map", generator=seeded()).values
    assert found.shape == expected
    g = seeded()
    rows = [explain(nn.Flatten(), one[None], 0, "random_map", generator=g).values for one in x]
    assert torch.equal(found, torch.cat(rows))


def test_noise_is_standard_normal() -> None:
    x = torch.zeros(1, 1, 200, 200, dtype=torch.float64)
    noise = explain(nn.Flatten(), x, 0, "random_map", generator=seeded()).map
    # 40 000 draws: 5 standard errors of the mean, 1/200, and of the deviation, 1/283.
    assert abs(float(noise.mean())) < 5 / 200
    assert abs(float(noise.std()) - 1) < 5 / 283


def test_noise_puts_the_masks_share_of_its_energy_into_a_mask() -> None:
    mask = torch.as_tensor(data.crops("test", n_per_class=1).pairs[0].mask)
    noise = explain(nn.Flatten(), torch.zeros(200, 1, *mask.shape), 0, "random_map", generator=seeded()).map.relu()
    share = noise[:, mask].sum(1) / noise.sum((1, 2))
    assert abs(float(share.mean()) - float(mask.double().mean())) < 0.002  # sqrt((pi - 1) / 8192 / 200) / 2, 5 times


def test_noise_of_two_draws_is_unlike_and_of_one_seed_alike() -> None:
    x = torch.zeros(1, 1, 64, 64, dtype=torch.float64)
    g = seeded()
    first, second = (explain(nn.Flatten(), x, 0, "random_map", generator=g).map.flatten() for _ in range(2))
    again = explain(nn.Flatten(), x, 0, "random_map", generator=seeded()).map.flatten()
    assert abs(float(torch.corrcoef(torch.stack([first, second]))[0, 1])) < 5 / 64  # 5 standard errors of 4096 draws
    assert torch.equal(first, again)
