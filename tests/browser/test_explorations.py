"""Each exploration of the lessons, worked from the keyboard in a real JupyterLab."""

from __future__ import annotations

import json
import os
import statistics

import pytest
from helpers_lab import MEASURED, LabNotebook

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.usefixtures("quiet")]

TITLES = {
    "gradcam_pieces": "The pieces of Grad-CAM",
    "class_slider": "One picture, ten classes",
    "paint_explanation": "Paint your own explanation",
    "gradient_landscape": "A landscape of gradients",
    "frame_slider": "A clip, frame by frame",
    "lime_sampling": "What are LIME's samples worth?",
    "plane_of_optima": "Which coefficient is zero?",
    "seed_roulette": "One seed, or ten",
}
LESSONS = {
    "gradient_landscape": "01_gradients",
    "frame_slider": "03_video_cam",
    "lime_sampling": "04_lime_fit",
    "plane_of_optima": "05_lime_sparsity",
    "seed_roulette": "06_lime_vs_gradcam",
}
GRADCAM = "02_gradcam"
"""Where the others are."""
SLIDERS = {
    "gradcam_pieces": ["channel k"],
    "class_slider": ["class", "picture"],
    "paint_explanation": ["strength of v"],
    "gradient_landscape": ["x1", "x2", "noise of SmoothGrad, sigma"],
    "frame_slider": ["frame t"],
    "lime_sampling": ["noise, sigma", "kernel width, w", "samples, N", "seed"],
    "plane_of_optima": ["free optimum, b1", "free optimum, b2", "budget, k (of l1 and l2)", "correlation"],
    "seed_roulette": ["samples, N", "seed"],
}
PRESSES = 30

FOCUSABLE = "button, input, select, [tabindex]"
NAMES = """panel => [...panel.querySelectorAll('button, input, select, [tabindex]')].map(e =>
    [e.outerHTML.slice(0, 80), e.getAttribute('aria-label') || (e.labels && e.labels[0]?.textContent) || e.textContent,
     e.getAttribute('data-lm-suppress-shortcuts')])"""
CONTRASTS = """panel => {
    const luminance = ([r, g, b]) => {
        const part = v => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
        return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
    };
    const parse = text => text.match(/[\\d.]+/g).map(Number);
    const behind = element => {
        for (let e = element; e; e = e.parentElement) {
            const colour = parse(getComputedStyle(e).backgroundColor);
            if (colour.length === 3 || colour[3] > 0.99) return colour;
        }
        return [255, 255, 255];
    };
    const texts = [...panel.querySelectorAll('p, label, button, select, output, code, span')]
        .filter(e => e.textContent.trim() && e.offsetParent !== null);
    return texts.map(e => {
        const [a, b] = [luminance(parse(getComputedStyle(e).color)), luminance(behind(e))];
        return [e.textContent.slice(0, 40), (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)];
    });
}"""
PRESS = """panel => {
    window.xaiteachTook = null;
    const began = {};
    const slider = panel.querySelector('input[type=range]');
    slider.addEventListener('input', () => { began.at = performance.now(); }, {once: true});
    const picture = panel.querySelector('img');
    const watch = new MutationObserver(() => {
        watch.disconnect();
        requestAnimationFrame(() => { window.xaiteachTook = performance.now() - began.at; });
    });
    watch.observe(picture, {attributes: true, attributeFilter: ['src']});
}"""


@pytest.fixture(scope="module")
def labs(browser, course):
    """Lessons by unit, each opened and run when it is first asked for."""
    opened = {}

    def lesson(unit):
        if unit not in opened:
            opened[unit] = LabNotebook(browser.do(browser.page), course, f"notebooks/{unit}.ipynb")
            browser.do(opened[unit].open)
            browser.do(opened[unit].run_all)
        return opened[unit]

    yield lesson
    for notebook in opened.values():
        browser.do(notebook.page.close)


@pytest.fixture
def lab(labs, request):
    """The lesson of the exploration that the test names; else that of unit 02."""
    named = request.getfixturevalue("name") if "name" in request.fixturenames else ""
    return labs(LESSONS.get(named, GRADCAM))


@pytest.fixture(params=TITLES)
def name(request):
    return request.param


@pytest.fixture
def panel(browser, lab, name):
    found = browser.do(lab.panel, TITLES[name])
    browser.do(found.scroll_into_view_if_needed)
    browser.do(press, lab, found, "Reset")
    return found


def press(lab, panel, button):
    panel.get_by_role("button", name=button, exact=True).click()
    lab.settle(panel)


def move(lab, slider):
    """One step on, or back from the end."""
    slider.focus()
    at_end = slider.input_value() == slider.get_attribute("max")
    lab.page.keyboard.press("ArrowLeft" if at_end else "ArrowRight")


def reading(panel):
    return panel.locator(".xaiteach-reading").inner_text()


def state(panel):
    return panel.locator(".xaiteach-state").inner_text()


@pytest.mark.parametrize("unit", [*LESSONS.values(), GRADCAM])
def test_the_lesson_runs_to_its_end(browser, labs, shots, unit):
    lesson = labs(unit)
    assert browser.do(lesson.errors) == []
    own = [title for name, title in TITLES.items() if LESSONS.get(name, GRADCAM) == unit]
    assert browser.do(lambda: [lesson.panel(title).count() for title in own]) == [1] * len(own)


def test_the_lesson_is_pictured_in_both_themes(browser, lab, shots):
    def picture(dark):
        lab.theme(dark)
        lab.show(lab.panel(TITLES["gradcam_pieces"]))
        return lab.page.screenshot(path=shots / f"lesson-{'dark' if dark else 'light'}.png")

    dark, light = (browser.do(picture, dark) for dark in (True, False))
    assert dark != light


def test_everything_that_takes_the_focus_has_a_name_and_keeps_the_keys_to_itself(browser, lab, panel):
    def keys():
        before, found = lab.count(), panel.locator(FOCUSABLE)
        for i in range(found.count()):
            found.nth(i).focus()
            for key in ("b", "a", "x"):
                lab.page.keyboard.press(key)
        lab.settle(panel)
        return panel.evaluate(NAMES), before, lab.count()

    named, before, after = browser.do(keys)
    assert len(named) > 5
    assert [element for element, name, own in named if not name.strip() or own != "true"] == []
    assert before == after


def test_every_slider_reaches_both_ends_by_keyboard(browser, lab, name, panel):
    def ends(label):
        slider = panel.get_by_role("slider", name=label, exact=True)
        slider.focus()
        seen = []
        for key in ("Home", "End"):
            lab.page.keyboard.press(key)
            lab.settle(panel)
            seen.append((slider.input_value(), state(panel), reading(panel)))
        return seen, slider.get_attribute("max")

    for label in SLIDERS[name]:
        (first, last), most = browser.do(ends, label)
        assert (first[0], last[0]) == ("0", most)
        assert first[1] != last[1]
        assert first[2] != last[2]


def test_the_line_below_a_picture_is_its_alternative_text(browser, panel):
    told, alt = browser.do(lambda: (reading(panel), panel.locator("img").get_attribute("alt")))
    assert told == alt
    assert len(told) > 60


def test_the_latest_of_many_quick_changes_wins(browser, lab, name, panel):
    def burst():
        slider = panel.get_by_role("slider", name=SLIDERS[name][0], exact=True)
        slider.focus()
        lab.page.keyboard.press("Home")
        for _ in range(8):
            lab.page.keyboard.press("ArrowRight")
        lab.settle(panel)
        return slider.input_value(), slider.get_attribute("max"), state(panel), reading(panel)

    value, last, line, told = browser.do(burst)
    assert int(value) == min(8, int(last))
    assert (
        browser.do(lab.execute, f"from xaiteach.widgets import {name}\n{line}.frame()['reading']").strip("'\"") == told
    )


def test_an_error_is_told_in_the_panel_which_goes_on_working(browser, lab, name, panel):
    def broken():
        lab.execute(
            "import gc\n"
            "from xaiteach.widgets.base import Exploration\n"
            f"it = [e for e in gc.get_objects() if isinstance(e, Exploration) and e.name == {name!r}]\n"
            "def fail(state): raise RuntimeError('no ink')\n"
            "for e in it: e._frames.clear(); e.draw = fail\n"
            "len(it)"
        )
        slider = panel.get_by_role("slider").first
        move(lab, slider)
        lab.settle(panel)
        told, kept = panel.get_by_role("alert").inner_text(), slider.input_value()
        lab.execute("for e in it: del e.draw\n''")
        move(lab, slider)
        lab.settle(panel)
        return told, panel.get_by_role("alert").count(), kept, slider.input_value()

    told, left, kept, value = browser.do(broken)
    assert "could not be drawn (RuntimeError: no ink). Try Reset." in told
    assert left == 0
    assert kept != value


def test_reset_brings_the_opening_state_back(browser, lab, name, panel):
    def there_and_back():
        opening = state(panel)
        move(lab, panel.get_by_role("slider").first)
        lab.settle(panel)
        moved = state(panel)
        press(lab, panel, "Reset")
        return opening, moved, state(panel)

    opening, moved, back = browser.do(there_and_back)
    assert opening == back != moved


def test_both_themes_are_legible_and_nothing_is_cut_off_at_600_pixels(browser, lab, name, panel, shots):
    def look(dark):
        lab.theme(dark)
        lab.show(panel)
        panel.screenshot(path=shots / f"{name}-{'dark' if dark else 'light'}.png")
        return panel.evaluate(CONTRASTS)

    def narrow():
        lab.page.set_viewport_size({"width": 600, "height": 900})
        lab.show(panel)
        sizes = panel.evaluate("panel => [panel.scrollWidth, panel.clientWidth]")
        panel.screenshot(path=shots / f"{name}-600.png")
        lab.page.set_viewport_size({"width": 1200, "height": 1000})
        return sizes

    for dark in (True, False):
        weak = [(text, round(contrast, 2)) for text, contrast in browser.do(look, dark) if contrast < 4.5]
        assert weak == []
    scroll, client = browser.do(narrow)
    assert scroll <= client


def test_a_painting_is_made_with_arrows_and_space(browser, lab):
    def paint():
        panel = lab.panel(TITLES["paint_explanation"])
        press(lab, panel, "Clear")
        panel.get_by_role("application").focus()
        for key in ("Home", "Space", "ArrowRight", "Space", "ArrowDown", "Space", "End", "Space"):
            lab.page.keyboard.press(key)
        lab.settle(panel)
        told = panel.locator(".xaiteach-paint [aria-live]").inner_text()
        painted = state(panel)
        press(lab, panel, "Reset")
        return told, painted

    told, painted = browser.do(paint)
    assert told == "row 7, column 15: painted"
    assert "cells='c0004000" in painted
    assert painted.split("cells='")[1][:32].endswith("0001")


def test_three_kept_channels_solve_the_task_and_a_fourth_is_refused(browser, lab):
    def keep():
        panel = lab.panel(TITLES["gradcam_pieces"])
        press(lab, panel, "Reset")
        slider = panel.get_by_role("slider", name="channel k", exact=True)
        for channel in (22, 33, 1):
            slider.focus()
            lab.page.keyboard.press("Home")
            for _ in range(channel):
                lab.page.keyboard.press("ArrowRight")
            lab.settle(panel)
            press(lab, panel, "Keep this channel")
        solved = panel.locator(".xaiteach-note").inner_text()
        slider.focus()
        lab.page.keyboard.press("End")
        lab.settle(panel)
        press(lab, panel, "Keep this channel")
        told = panel.get_by_role("alert").inner_text()
        press(lab, panel, "drop 33")
        return solved, told, state(panel)

    solved, told, left = browser.do(keep)
    assert "Solved: channels [22, 33, 1] alone keep the peak" in solved
    assert "at most 3" in told
    assert "kept=[22, 1]" in left


def test_the_saved_file_holds_a_picture_and_a_text_of_each_exploration(browser, lab, course):
    browser.do(lab.command, "docmanager:save")
    notebook = json.loads((course.folder / lab.path).read_text(encoding="utf-8"))
    found = {}
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "application/vnd.jupyter.widget-view+json" in data:
                found[str("".join(data["text/plain"])).splitlines()[0]] = set(data)
    assert set(found) == {title for name, title in TITLES.items() if LESSONS.get(name, GRADCAM) == GRADCAM}
    assert all({"image/png", "text/plain"} <= kinds for kinds in found.values())


def test_how_long_a_picture_takes_is_measured(browser, lab, name, panel, shots):
    def measure():
        slider = panel.get_by_role("slider", name=SLIDERS[name][0], exact=True)
        slider.focus()
        lab.page.keyboard.press("Home")
        lab.settle(panel)
        took, most = [], int(slider.get_attribute("max"))
        for i in range(PRESSES):
            panel.evaluate(PRESS)
            lab.page.keyboard.press("ArrowLeft" if i // most % 2 else "ArrowRight")
            lab.page.wait_for_function("() => window.xaiteachTook !== null")
            took.append(lab.page.evaluate("() => window.xaiteachTook"))
        return took

    took = browser.do(measure)
    median, high = statistics.median(took), statistics.quantiles(took, n=20)[-1]
    MEASURED.append(f"{name}: median {median:.0f} ms, 95th percentile {high:.0f} ms, of {len(took)} key presses")
    if os.environ.get("XAITEACH_SHOTS"):
        (shots / f"{name}-latency.json").write_text(json.dumps({"ms": took}), encoding="utf-8")
    assert median < 5000  # only that it answers at all: how fast is for a person to read
