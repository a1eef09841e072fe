"""Explorations and the check panel without a front end: states, pictures, requests, and what they fall back to."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from xaiteach import widgets
from xaiteach.checks import history
from xaiteach.checks import run as checks_run
from xaiteach.errors import OptionError
from xaiteach.widgets import (
    check,
    class_slider,
    frame_slider,
    gradcam_pieces,
    gradient_landscape,
    lime_sampling,
    paint_explanation,
    plane_of_optima,
    seed_roulette,
)
from xaiteach.widgets.classes import ClassSlider
from xaiteach.widgets.evidence import cosine, evidence
from xaiteach.widgets.fields import Options
from xaiteach.widgets.front import VIEW
from xaiteach.widgets.paint import RIDGE, fitted, painted

MAKERS = {
    "gradcam_pieces": gradcam_pieces,
    "class_slider": class_slider,
    "paint_explanation": paint_explanation,
    "gradient_landscape": gradient_landscape,
    "frame_slider": frame_slider,
    "lime_sampling": lime_sampling,
    "plane_of_optima": plane_of_optima,
    "seed_roulette": seed_roulette,
}


@pytest.fixture(autouse=True)
def no_memory(monkeypatch, tmp_path):
    monkeypatch.setattr(history, "_session", [])
    monkeypatch.chdir(tmp_path)


@pytest.fixture(params=MAKERS)
def exploration(request):
    return MAKERS[request.param]()


def another(exploration):
    """Name of its first list or slider, and the last value of it."""
    name, options = next((f.name, f.options) for f in exploration._fields.values() if isinstance(f, Options))
    return name, list(options)[-1]


def ask(exploration, values=None, action=None):
    return exploration.answer({"id": "1", "values": values or {}, "action": action})


def test_a_state_line_makes_the_same_state_and_the_same_picture(exploration):
    for preset in exploration.presets(exploration.state):
        frame = ask(exploration, action=preset.name)
        again = eval(frame["state"], dict(MAKERS))
        assert again.state == exploration.state
        assert again.frame() == frame


def test_reset_brings_back_the_opening_state(exploration):
    before = exploration.frame()
    ask(exploration, action=exploration.presets(exploration.state)[-1].name)
    assert exploration.frame() != before
    assert ask(exploration, action="reset") == before


def test_a_picture_is_a_pure_function_of_the_state(exploration):
    first = exploration.figure()
    assert first.png() == type(exploration)().figure().png()
    assert exploration.frame()["reading"] == first.alt_text
    assert first.png().startswith(b"\x89PNG")


def test_the_bundle_holds_live_view_picture_and_text_with_the_state_line(exploration):
    data, metadata = exploration._repr_mimebundle_()
    assert set(data) == {VIEW, "image/png", "text/plain"}
    assert data[VIEW]["model_id"] == exploration.panel.model_id
    assert data["text/plain"].splitlines()[0] == exploration.title
    assert data["text/plain"].splitlines()[-1] == f"To come back here: {exploration.name}()"
    assert exploration.task in data["text/plain"]
    assert metadata["image/png"]["alt"] == exploration.frame()["reading"]


def test_without_anywidget_there_is_a_picture_and_the_line_that_installs_it(exploration, monkeypatch):
    monkeypatch.setitem(sys.modules, "anywidget", None)
    data, _ = exploration._repr_mimebundle_()
    assert set(data) == {"image/png", "text/plain"}
    assert "pip install ipywidgets anywidget" in data["text/plain"]


def test_unknown_names_and_values_name_the_nearest(exploration):
    with pytest.raises(OptionError, match="nonsense"):
        type(exploration)(nonsense=1)
    name, last = another(exploration)
    with pytest.raises(OptionError, match=f"unknown {name} '{last}e'.*{last}"):
        type(exploration)(**{name: f"{last}e"})


def test_a_bad_request_is_told_and_the_last_state_stays(exploration):
    before = ask(exploration, {})
    name, last = another(exploration)
    frame = ask(exploration, {name: f"{last}e"})
    assert f"unknown {name} '{last}e'" in frame["error"]
    assert str(last) in frame["error"].partition("Known:")[2]
    assert (frame["picture"], frame["state"]) == (before["picture"], before["state"])
    assert ask(exploration, {})["error"] == ""
    assert (
        "no such" in ask(exploration, action="dance")["error"] or "dance" in ask(exploration, action="dance")["error"]
    )


def test_a_fault_while_drawing_is_told_and_the_last_picture_stays(exploration, monkeypatch):
    before = ask(exploration, {})
    monkeypatch.setattr(type(exploration), "draw", lambda self, state: 1 / 0)
    exploration._frames.clear()
    frame = ask(exploration, dict([another(exploration)]))
    assert "could not be drawn (ZeroDivisionError" in frame["error"]
    assert frame["picture"] == before["picture"]


def test_a_panel_answers_a_request_with_a_frame_of_its_id(exploration):
    panel = exploration.panel
    name, last = another(exploration)
    panel.request = {"id": "7", "values": {name: last}}
    assert panel.frame["id"] == "7"
    assert panel.frame["values"][name] == last
    assert {field["name"] for field in panel.spec["fields"]} == set(panel.frame["values"])


def test_the_pieces_add_up_to_grad_cam():
    from xaiteach import data, explain, models

    seen = evidence()
    pairs = data.crops(split="test").pairs
    model = models.load("crops_cnn").double()
    for place in (0, 12):
        A = seen.pictures[place].A
        for output in ("logit", "probability"):
            mine = np.tensordot(seen.alpha(A, 3, output), A, 1)
            theirs = explain(model, pairs[place].x.double(), 3, "grad_cam", output=output, relu=False)
            assert np.allclose(mine, theirs.values[0, 0].numpy(), rtol=1e-9, atol=1e-15)  # float64, other order


def test_the_three_largest_weights_mislead_and_the_three_largest_products_do_not():
    pieces = gradcam_pieces()
    misled = ask(pieces, action="weights")
    assert not misled["solved"]
    assert "on the gravel" in misled["note"]
    solved = ask(pieces, action="contributions")
    assert solved["solved"]
    assert solved["values"]["kept"] == [22, 33, 1]


def test_kept_channels_are_three_different_ones_at_most():
    pieces = gradcam_pieces()
    assert ask(pieces, {"channel": 5}, "keep")["values"]["kept"] == [5]
    assert "kept already" in ask(pieces, {}, "keep")["error"]
    ask(pieces, {"channel": 6}, "keep")
    ask(pieces, {"channel": 7}, "keep")
    assert "at most 3" in ask(pieces, {"channel": 8}, "keep")["error"]
    assert pieces.state["kept"] == [5, 6, 7]


@pytest.mark.parametrize("kept", [[1, 1], [48], [-1], ["a"], [True], "12", 3.5])
def test_channels_that_are_none_are_refused(kept):
    with pytest.raises(OptionError, match="different whole numbers"):
        gradcam_pieces(kept=kept)


def test_relu_cuts_the_whole_map_and_not_its_parts():
    assert "nothing negative" in gradcam_pieces().frame()["reading"]
    assert "% negative" in gradcam_pieces(relu=False).frame()["reading"]


def test_the_failing_pair_fails_and_is_told_with_its_controls():
    frame = class_slider(pair="retina | astronaut", target="astronaut").frame()
    assert frame["solved"]
    assert "21 % of the map lies on the astronaut; chance gives 50 %" in frame["note"]
    assert "94" in frame["reading"]


def test_a_class_in_neither_half_gets_no_score():
    frame = class_slider(target="stars").frame()
    assert "in neither half" in frame["note"]
    assert not frame["solved"]


def test_one_scale_keeps_a_weak_map_dark_and_its_own_scale_does_not():
    one, own = (class_slider(target="stars", scale=scale).figure().png() for scale in ("one", "own"))
    assert one != own


def test_the_fitted_vector_minimises_the_ridge_objective():
    rng = np.random.default_rng(0)
    A, row, target = rng.uniform(size=(5, 4, 6)), rng.normal(size=5), rng.uniform(size=(4, 6))
    v = fitted(A, row, target)
    basis = A.reshape(5, -1).T / 24
    wanted = target.ravel() * np.abs(basis @ row).max() - basis @ row
    ridge = RIDGE * np.linalg.svd(basis, compute_uv=False)[0] ** 2
    stacked = np.vstack([basis, np.sqrt(ridge) * np.eye(5)])  # the same problem as ordinary least squares
    best = np.linalg.lstsq(stacked, np.concatenate([wanted, np.zeros(5)]), rcond=None)[0]
    assert np.allclose(v, best, rtol=1e-8)


def test_painting_moves_the_logits_map_and_no_prediction():
    seen = evidence()
    A, c = seen.pictures[0].A, seen.classes.index("coffee")
    target = painted("ff00" * 8)
    v = fitted(A, seen.V[c], target)
    before, after = (np.maximum(np.tensordot(seen.alpha(A, c, "logit", s), A, 1), 0) for s in (0.0, v))
    assert cosine(before, target) < 0.3
    assert cosine(after, target) > 0.9
    assert np.abs(seen.probabilities(A, v) - seen.probabilities(A)).max() < 1e-12


def test_the_probabilitys_map_is_immune_to_the_painting():
    frames = [paint_explanation(output="probability", strength=s).frame() for s in (0.0, 1.0)]
    assert frames[0]["reading"] == frames[1]["reading"]
    assert "does not move at all" in frames[1]["note"]


def test_a_painting_is_read_row_by_row():
    cells = painted("8001" + "0000" * 6 + "0003")
    assert cells.shape == (8, 16)
    assert sorted(zip(*map(list, np.nonzero(cells)), strict=True)) == [(0, 0), (0, 15), (7, 14), (7, 15)]
    with pytest.raises(OptionError, match="32 hexadecimal digits"):
        paint_explanation(cells="xyz")


def test_a_shift_of_every_row_is_not_seen_by_the_softmax_at_any_size():
    seen = evidence()
    A = seen.pictures[4].A
    shift = 50 * np.random.default_rng(1).normal(size=48)
    assert np.allclose(seen.probabilities(A), seen.probabilities(A, shift), atol=1e-10)


def right(heat, mask):
    return heat[mask].sum() / heat.sum()


def test_the_check_panel_has_exactly_the_checks_text():
    from xaiteach import checks

    for answer in (right, lambda heat, mask: heat.sum(), ...):
        names = {"energy_share": answer}
        panel, plain = check("start_here.energy_share", names), checks.check("start_here.energy_share", names)
        data = panel._repr_mimebundle_()
        assert data["text/plain"] == repr(plain)
        assert data["text/html"] == plain._repr_html_()
        assert VIEW in data


def test_the_panel_checks_again_what_the_notebook_now_holds():
    names = {"energy_share": lambda heat, mask: heat[mask].mean() / heat.mean()}
    panel = check("start_here.energy_share", names)
    assert panel.frame()["note"] == "0.4 of 1 point as it stands"
    names["energy_share"] = right
    frame = panel.answer({"action": "check"})
    assert frame["note"] == "1 of 1 point as it stands"
    assert frame["solved"]
    assert "right" in frame["html"]


def test_the_panel_opens_hints_in_turn_and_the_solution_only_at_the_second_press_without_a_try():
    panel = check("start_here.energy_share", {"energy_share": ...})
    assert "Hint 1 of 3" in panel.answer({"action": "hint"})["html"]
    assert "Hint 2 of 3" in panel.answer({"action": "hint"})["html"]
    assert "opens after a try" in panel.answer({"action": "solution"})["html"]
    assert "heat[mask].sum()" in panel.answer({"action": "solution"})["html"]


def test_an_essays_panel_speaks_of_no_points():
    panel = check("gradcam.roles", {"roles": "word " * 40})
    assert panel.passed
    assert panel.frame()["note"] == ""


def test_where_others_judge_there_is_no_panel(monkeypatch):
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    assert not hasattr(check("start_here.energy_share", {"energy_share": right}), "panel")
    monkeypatch.delenv("NBGRADER_EXECUTION")
    monkeypatch.setattr(checks_run, "_paused", True)
    assert not hasattr(check("start_here.energy_share", {"energy_share": right}), "panel")


def test_an_unknown_question_is_told_and_does_not_raise():
    assert "start_here.energy_share" in repr(check("start_here.energy_shares"))


def test_a_cell_that_runs_again_retires_its_panels_and_no_other_cells(monkeypatch):
    parent = {"metadata": {"cellId": "one"}, "header": {"msg_id": "a"}}
    monkeypatch.setattr("IPython.get_ipython", lambda: SimpleNamespace(get_parent=lambda: parent))
    first, second = class_slider().panel, class_slider().panel
    parent.update(metadata={"cellId": "two"}, header={"msg_id": "b"})
    other = class_slider().panel
    assert all(panel.comm is not None for panel in (first, second, other))
    parent.update(metadata={"cellId": "one"}, header={"msg_id": "c"})
    third = class_slider().panel
    assert [panel.comm is None for panel in (first, second, other, third)] == [True, True, False, False]


def test_the_front_end_asks_nothing_of_a_network():
    panel = ClassSlider().panel
    assert "http" not in panel._esm
    assert "import " not in panel._esm
    assert "url(" not in panel._css


def test_the_package_names_what_it_offers():
    assert all(callable(getattr(widgets, name)) for name in widgets.__all__)
    with pytest.raises(AttributeError):
        widgets.nothing  # noqa: B018
