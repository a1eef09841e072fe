"""Figures of measurements: what the reading says, and what cannot be drawn."""

from __future__ import annotations

import helpers_attribution as h
import numpy as np
import pytest

from xaiteach.errors import OptionError, ShapeError
from xaiteach.plots import Series, bars, cascade, curves

NAN = float("nan")


def test_curves_name_the_highest_and_the_lowest_at_both_ends() -> None:
    figure = curves(
        {"a": Series([1.0, 0.9, 0.8], [0.9, 0.8, 0.7], [1.0, 1.0, 0.9]), "b": Series([1.0, 0.5, 0.1]),
         "floor": Series([0.3, 0.3, 0.3], dashed=True)},
        ["trained", "fc", "conv"], x_label="layer", y_label="SSIM", title="it",
    )  # fmt: skip
    assert figure.alt_text == (
        "2 curves over 3 points. At trained all are 1. At conv the highest is a (0.8), the lowest b (0.1)."
    )
    legend = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert legend == ["a", "floor", "b"]  # in the order of the last point
    assert len(figure.png()) < 80_000


def test_a_gap_is_a_gap_and_numbers_are_places() -> None:
    figure = curves({"a": Series([1.0, NAN, 3.0])}, [0.1, 0.5, 0.9], x_label="fraction", y_label="accuracy")
    line = figure.axes[0].lines[0]
    assert line.get_xdata().tolist() == [0.1, 0.5, 0.9]
    assert np.isnan(line.get_ydata()[1])


def test_bars_name_the_ends_and_count_what_exceeds_the_line() -> None:
    figure = bars({"a": 0.2, "b": 0.9, "c": 0.5}, label="IoU", spread={"a": 0.1}, reference=0.4)
    assert figure.alt_text == (
        "3 bars of IoU: the largest is b (0.9), the smallest a (0.2). 2 exceed the dashed line at 0.4."
    )
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == ["a", "b", "c"]


@pytest.mark.parametrize("shape", [(8, 6), (40,)])
def test_a_cascade_has_a_panel_for_every_map(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    maps = {name: [rng.normal(size=shape) for _ in range(4)] for name in ("saliency", "guided_grad_cam_with_more")}
    figure = cascade(maps, ["trained", "fc3", "fc2", "fc1"], image=rng.random(shape), title="it")
    assert figure.get_figwidth() <= 8
    texts = {text.get_text() for text in figure.axes[0].texts}
    assert {"input", "trained", "fc3", "it", "saliency", "guided grad cam\nwith more"} <= texts
    assert "saliency: cosine to the first map" in figure.alt_text
    assert len(figure.axes[0].images) == (9 if len(shape) == 2 else 0)


def test_many_methods_and_states_still_fit() -> None:
    maps = {f"method {i}": [np.ones((64, 64)) * j for j in range(14)] for i in range(12)}
    figure = cascade(maps, [f"conv{j}" for j in range(14)])
    assert figure.get_figwidth() <= 8
    assert len(figure.png()) < 150_000


def test_what_cannot_be_drawn_is_refused() -> None:
    with h.fails(OptionError, "`series` must be one or more"):
        curves({}, [1], x_label="", y_label="")
    with h.fails(ShapeError, "'a' must hold 3 numbers"):
        curves({"a": Series([1.0, 2.0])}, [1, 2, 3], x_label="", y_label="")
    with h.fails(ShapeError, "0 finite"):
        bars({"a": NAN}, label="")
    with h.fails(OptionError, "`values` must be one or more"):
        bars({}, label="")
    with h.fails(OptionError, "`maps` must have one or more rows"):
        cascade({}, [])
    with h.fails(ShapeError, "must have 2 maps"):
        cascade({"a": [np.ones(3)]}, ["x", "y"])
