"""Figures: scales that mean the same in every panel, bytes that repeat, and the line that reads them."""

from __future__ import annotations

import io

import helpers_attribution as h
import matplotlib as mpl
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib import image as mpl_image
from matplotlib.figure import Figure

from xaiteach import explain, plots
from xaiteach.errors import OptionError, ShapeError
from xaiteach.plots.reading import number

SIGNED = np.array([[0.0, 2.0, -1.0], [0.0, 0.0, 1.0]])
MASK = np.array([[False, True, False], [False, False, True]])


def limits(figure: Figure) -> list[tuple[float, float]]:
    """Colour limits of each panel that shows a map."""
    return [image.get_clim() for axes in figure.axes for image in axes.get_images() if image.get_cmap().name != "gray"]


def palettes(figure: Figure) -> set[str]:
    return {image.get_cmap().name for axes in figure.axes for image in axes.get_images()}


def labels(figure: Figure) -> str:
    return " ".join(axes.get_ylabel() for axes in figure.axes)


# The line that reads a map


def test_alt_text_reads_peak_sides_mask_and_signs() -> None:
    assert plots.alt_text(SIGNED, mask=MASK, name="a", units="logits") == (
        "a: peak 2 logits at row 0, column 1 of 2 x 3; 75 % of the weight in the right half, 75 % in the upper half; "
        "75 % inside the mask, which covers 33 % of the area; weight 75 % positive, 25 % negative."
    )


def test_alt_text_of_a_signal_names_positions() -> None:
    assert plots.alt_text(torch.tensor([0.0, -4.0, 0.0, 0.0])) == (
        "peak -4 at position 1 of 4; 100 % of the weight in the left half; nothing positive."
    )


def test_alt_text_of_a_blank_map_says_so() -> None:
    assert plots.alt_text(np.zeros((2, 3)), name="b") == "b: blank, 0 at all 2 x 3 positions."


def test_alt_text_never_rounds_a_sign_away() -> None:
    assert "weight 99 % positive, 1 % negative" in plots.alt_text(np.array([1000.0, -1.0]))


def test_the_middle_of_an_odd_map_counts_half_to_each_side() -> None:
    assert "62 % of the weight in the right half" in plots.alt_text(np.array([0.0, 3.0, 1.0]))


@given(values=arrays(np.float64, (3, 5), elements=st.floats(-5, 5, allow_subnormal=False)))
@settings(deadline=None, max_examples=50)
def test_alt_text_of_the_mirror_image_swaps_the_sides(values: np.ndarray) -> None:
    line, mirrored = plots.alt_text(values), plots.alt_text(values[:, ::-1])
    share = [
        int(text.split(" % of the weight")[0].rsplit(" ", 1)[1]) for text in (line, mirrored) if "blank" not in text
    ]
    assert ("blank" in line) == (not values.any())
    if share and share[0] not in (50, 51):  # at a tie rounding decides which side is named
        assert share[0] == share[1]
        assert ("right half" in line) != ("right half" in mirrored)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.123, "0.12"), (-14.2, "-14"), (1234.0, "1234"), (2.06e-9, "2.1e-09"), (1e7, "1e+07")],
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert number(value) == text


def test_a_bfloat16_map_is_read() -> None:
    assert "peak 2 " in plots.alt_text(torch.tensor([[0.0, 2.0]], dtype=torch.bfloat16))


# Scales


def test_a_signed_map_is_centred_at_exactly_zero() -> None:
    figure = plots.heat_map(None, SIGNED)
    assert limits(figure) == [(-2.0, 2.0)]
    assert palettes(figure) == {"RdBu_r"}


def test_a_map_without_negative_values_gets_a_sequential_palette_from_zero() -> None:
    figure = plots.heat_map(None, np.abs(SIGNED))
    assert limits(figure) == [(0.0, 2.0)]
    assert palettes(figure) == {"viridis"}


def test_signed_can_be_asked_for() -> None:
    assert limits(plots.heat_map(None, np.abs(SIGNED), signed=True, palette="PuOr_r")) == [(-2.0, 2.0)]


def test_a_blank_map_has_a_scale_all_the_same() -> None:
    assert limits(plots.heat_map(None, np.zeros((2, 3)))) == [(0.0, 1.0)]


def test_compared_maps_share_one_scale() -> None:
    figure = plots.compare([SIGNED, 3 * SIGNED, SIGNED - 1], ["a", "b", "c"])
    assert limits(figure) == [(-6.0, 6.0)] * 3
    assert figure.alt_text.startswith("One scale, -6 to 6. a: peak 2 ")


def test_clipping_is_stated_on_the_figure() -> None:
    values = np.append(np.ones(99), 50.0).reshape(10, 10)
    figure = plots.heat_map(None, values, clip=90, units="logits")
    assert limits(figure) == [(0.0, 1.0)]
    assert "logits\n(colours end at percentile 90 of |map|)" in labels(figure)
    assert "percentile" not in labels(plots.heat_map(None, values))


@pytest.mark.parametrize("clip", [0, -5, 101])
def test_a_clip_that_is_no_percentile_is_refused(clip: float) -> None:
    with h.fails(OptionError, "`clip`", "clip=99"):
        plots.heat_map(None, SIGNED, clip=clip)


def test_the_colour_bar_carries_the_units() -> None:
    assert "logits per input unit" in labels(plots.heat_map(None, SIGNED, units="logits per input unit"))


def test_sign_lines_are_drawn_where_the_map_reaches_half_the_limit() -> None:
    figure = plots.heat_map(None, np.array([[2.0, 0.0], [0.0, -2.0]]))
    assert len(figure.axes[0].collections) == 2
    assert not plots.heat_map(None, np.abs(SIGNED)).axes[0].collections


# Pictures


@pytest.mark.parametrize(
    "image", [torch.rand(2, 3), torch.rand(1, 2, 3), torch.rand(3, 2, 3), 9 * torch.rand(3, 2, 3) - 4]
)
def test_an_image_is_drawn_beside_the_map(image: torch.Tensor) -> None:
    figure = plots.heat_map(image, SIGNED, mask=MASK, title="map of c")
    assert [axes.get_title() for axes in figure.axes[:2]] == ["input", "map of c"]
    assert figure.alt_text.startswith("map of c: ")


@pytest.mark.parametrize("signal", [torch.rand(6), torch.rand(2, 6)])
def test_a_signal_is_drawn_above_bars(signal: torch.Tensor) -> None:
    values = torch.tensor([0.0, 1.0, -2.0, 0.0, 1.0, 0.0])
    figure = plots.heat_map(signal, values, mask=values > 0)
    assert len(figure.axes[0].lines) == (2 if signal.ndim == 2 else 1)
    assert [bar.get_height() for bar in figure.axes[1].containers[0]] == values.tolist()
    assert figure.axes[1].get_ylim() == (-2.1, 2.1)


def test_compare_draws_the_image_once_and_no_empty_panel() -> None:
    figure = plots.compare([SIGNED] * 5, list("abcde"), image=torch.rand(2, 3))
    assert [axes.get_title() for axes in figure.axes[:-1]] == ["input", *"abcde"]


def test_the_reading_is_printed_below_the_figure() -> None:
    figure = plots.heat_map(None, SIGNED)
    assert figure.get_supxlabel().replace("\n", " ") == figure.alt_text


@pytest.mark.parametrize("values", [np.zeros((1, 2, 3)), np.zeros(()), np.zeros((0, 2)), np.array([[np.nan]])])
def test_what_is_no_map_of_one_sample_is_refused(values: np.ndarray) -> None:
    with h.fails(ShapeError, "`map` must be"):
        plots.heat_map(None, values)


def test_a_batch_of_maps_is_told_to_take_one() -> None:
    with h.fails(ShapeError, "(1, 2, 3)", "map[0]"):
        plots.alt_text(np.zeros((1, 2, 3)))


@pytest.mark.parametrize(
    ("image", "advice"),
    [(np.zeros((1, 3, 2, 3)), "image[0]"), (np.zeros((2, 3, 3)), "channels last"), (np.zeros((4, 6)), "size (2, 3)")],
)
def test_an_image_that_does_not_fit_is_refused(image: np.ndarray, advice: str) -> None:
    with h.fails(ShapeError, "`image` must have the map's size", advice):
        plots.heat_map(image, SIGNED)


@pytest.mark.parametrize("mask", [np.zeros((3, 2)), np.full((2, 3), 0.5)])
def test_a_mask_that_does_not_fit_is_refused(mask: np.ndarray) -> None:
    with h.fails(ShapeError, "`mask` must be bool", "mask > 0"):
        plots.heat_map(None, SIGNED, mask=mask)


@pytest.mark.parametrize("mask", [np.zeros((2, 3)), np.ones((2, 3), dtype=int)])
def test_a_mask_of_nothing_or_everything_is_drawn(mask: np.ndarray) -> None:
    assert plots.heat_map(None, SIGNED, mask=mask).png()


def test_maps_of_several_shapes_cannot_be_compared() -> None:
    with h.fails(ShapeError, "`maps` must be one or more maps of one shape", "(2, 3)", "(3, 2)"):
        plots.compare([SIGNED, SIGNED.T], ["a", "b"])
    with h.fails(ShapeError, "got none"):
        plots.compare([], [])


def test_every_compared_map_needs_a_title() -> None:
    with h.fails(ShapeError, "each of the 2 maps", "got 1"):
        plots.compare([SIGNED, SIGNED], ["a"])


# What a notebook gets


def test_a_figure_is_the_same_bytes_each_time() -> None:
    first, second = (plots.heat_map(np.ones((2, 3)), SIGNED, mask=MASK) for _ in range(2))
    assert first.png() == first.png() == second.png()
    assert b"Software" not in first.png()
    assert b"tIME" not in first.png()


def test_a_figure_shows_itself_as_png_and_as_its_reading() -> None:
    figure = plots.heat_map(None, SIGNED)
    data, metadata = figure._repr_mimebundle_(include=None, exclude=None)
    assert data["text/plain"] == figure.alt_text
    assert metadata == {"image/png": {"alt": figure.alt_text}}
    pixels = mpl_image.imread(io.BytesIO(figure.png()))
    assert pixels.shape[2] == 4
    assert pixels.std() > 0.05


def test_drawing_leaves_pyplot_and_the_settings_alone() -> None:
    from matplotlib import pyplot as plt

    before = dict(mpl.rcParams)
    plots.compare([SIGNED, SIGNED], ["a", "b"]).png()
    assert plt.get_fignums() == []
    assert dict(mpl.rcParams) == before


def test_an_attribution_draws_one_sample_or_all_on_one_scale() -> None:
    x = h.batch(10)
    a = explain(h.conv_net(), x, h.targets(10), "saliency")
    everything = a.plot()
    assert [axes.get_title() for axes in everything.axes[:3]] == ["0: class 0", "1: class 1", "2: class 2"]
    assert len(limits(everything)) == 8
    assert "logits per input unit" in labels(everything)
    one = a.plot(x, index=3)
    assert [axes.get_title() for axes in one.axes[:2]] == ["input", "saliency, class 3"]
    data, _ = a._repr_mimebundle_(include=None, exclude=None)
    assert data["text/plain"] == repr(a)
    assert "image/png" in data


def test_an_image_is_drawn_beside_one_map_only() -> None:
    x = h.batch(2)
    a = explain(h.conv_net(), x, 1)
    with h.fails(OptionError, "`image` can be drawn beside one map", "these are 2", "index=0"):
        a.plot(x)
    with h.fails(ShapeError, "`image` must be the batch explained", "image[None]"):
        a.plot(torch.zeros(3, 8, 6), index=0)
    with h.fails(OptionError, "from 0 to 1", "got 2"):
        a.plot(index=2)
    assert explain(h.conv_net(), x[:1], 1).plot(x[:1]).axes[0].get_title() == "input"


def test_units_follow_the_output() -> None:
    a = explain(h.conv_net(), h.batch(), 1, "grad_cam", output="probability")
    assert a.units == "probability, per position"
    assert explain(h.conv_net(), h.batch(), 1, lambda _, x, __: x).units == "attribution"


def test_a_clip_is_drawn_frame_by_frame() -> None:
    a = explain(h.conv_net(3), h.batch(1, 3), 1)
    with h.fails(ShapeError, "one or two axes", "plots.compare"):
        a.plot()
    assert a._repr_mimebundle_() == {"text/plain": repr(a)}


# Curves in a strip


def test_a_panel_of_curves_marks_its_step_and_draws_zero_in() -> None:
    panel = plots.Panel("over time", curves={"share": [-1.0, 0.5, 2.0], "energy": [0.0, 0.5, 2.0]}, at=1)
    figure = plots.strip([panel], "two curves")
    texts = {text.get_text() for text in figure.axes[0].texts}
    assert {"over time", "share", "energy", "-1", "0", "2", "1"} <= texts
    plain = plots.strip([plots.Panel("over time", curves=panel.curves)], "two curves")
    assert figure.png() != plain.png()


def test_a_third_curve_is_refused_and_not_left_out() -> None:
    panel = plots.Panel("three", curves={name: [0.0, 1.0] for name in "abc"})
    with h.fails(OptionError, "2 at most; got 3", "plots.curves"):
        plots.strip([panel], "three curves")


def test_a_curve_that_is_zero_everywhere_can_be_drawn() -> None:
    assert plots.strip([plots.Panel("flat", curves={"energy": [0.0, 0.0]}, at=0)], "flat").png()
