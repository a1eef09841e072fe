"""check, hint, solution, ready, mine: as a student meets them, in a plain namespace and in a course folder."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest
from helpers_submissions import GAP, LOGIT, code_cell, filled, hand_in, right_answers

from xaiteach.checks import check, hint, history, mine, ready, run, solution
from xaiteach.checks.notebook import check_notebook
from xaiteach.checks.run import FailedCheckError
from xaiteach.errors import NotebookSourceError
from xaiteach.questions import find

ENERGY = "start_here.energy_share"


@pytest.fixture(autouse=True)
def no_memory(monkeypatch, tmp_path):
    monkeypatch.setattr(history, "_session", [])
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def course(tmp_path):
    (tmp_path / ".xaiteach").mkdir()
    return tmp_path


def right(heat, mask):
    return heat[mask].sum() / heat.sum()


def test_right_answer_says_right_and_that_fresh_cases_follow():
    feedback = check(ENERGY, {"energy_share": right})
    assert feedback.passed
    assert repr(feedback).startswith("✓ start_here.energy_share: right")
    assert "fresh ones" in repr(feedback)


def test_a_known_mistake_shows_sentence_points_case_and_next_step():
    text = repr(check(ENERGY, {"energy_share": lambda heat, mask: heat[mask].mean() / heat.mean()}))
    assert "not yet (0.4 of 1 points as it stands)" in text
    assert "compared means" in text
    assert "Smallest case that fails: 2 by 2." in text
    assert "input     heat = [[0.0, 1.0], [3.0, 0.0]], mask = [[False, False], [True, True]]" in text
    assert "got       share 1.5; share of the rest 0.5" in text
    assert 'hint("start_here.energy_share")' in text


def test_html_says_the_same_words_escaped():
    feedback = check(ENERGY, {"energy_share": lambda heat, mask: (_ for _ in ()).throw(ValueError("<script>"))})
    assert "<script>" in repr(feedback)
    assert "<script>" not in feedback._repr_html_()
    assert "&lt;script&gt;" in feedback._repr_html_()


def test_check_finds_the_answer_in_the_callers_globals():
    scope = {"check": check, "energy_share": right}
    exec(f"found = check({ENERGY!r})", scope)
    assert scope["found"].passed


def test_an_unknown_question_is_told_and_not_raised():
    assert "did you mean 'gradcam.alpha_gap'" in repr(check("gradcam.alpha_gab", {}))
    assert "did you mean" in repr(hint("gradcam.alpha_gab"))
    assert not ready("gradcam.nothing", {})


def test_our_own_fault_is_called_ours_and_burns_no_attempt(monkeypatch):
    monkeypatch.setattr(run, "public_keys", lambda question: 1 / 0)
    feedback = check(ENERGY, {"energy_share": right})
    assert "our fault" in repr(feedback)
    assert not history.attempted(ENERGY)


def test_printing_and_warning_answers_keep_the_output_clean(capsys):
    def noisy(heat, mask):
        import warnings

        print("debug")
        warnings.warn("careful", stacklevel=1)
        return right(heat, mask)

    assert check(ENERGY, {"energy_share": noisy}).passed
    assert capsys.readouterr() == ("", "")


def test_hints_come_in_three_steps_and_stay_at_the_third():
    heads = [repr(hint(ENERGY)).splitlines()[0] for _ in range(4)]
    assert heads == [f"Hint {step} of 3 for {ENERGY}" for step in (1, 2, 3, 3)]


def test_solution_opens_after_a_try_or_by_force_and_says_which():
    assert "opens after a try" in repr(solution(ENERGY))
    check(ENERGY, {})  # not attempted: does not count as a try
    assert "opens after a try" in repr(solution(ENERGY))
    assert "opened by force" in repr(solution(ENERGY, force=True))
    check(ENERGY, {"energy_share": lambda heat, mask: 0.0})
    text = repr(solution(ENERGY))
    assert "(opened)" in text
    assert "return heat[mask].sum() / heat.sum()" in text


def test_ready_says_what_a_demonstration_waits_for(capsys):
    assert not ready(ENERGY, {"energy_share": lambda heat, mask: ...})
    assert "waits for a right answer to start_here.energy_share" in capsys.readouterr().out
    assert ready(ENERGY, {"energy_share": right})


def test_history_keeps_every_checked_answer_in_the_course_folder(course):
    scope = {"In": ["", "x = 1", "def energy_share(heat, mask):\n    return 0.0"], "energy_share": lambda h, m: 0.0}
    check(ENERGY, scope)
    lines = (course / ".xaiteach" / "history.jsonl").read_text(encoding="utf-8").splitlines()
    entry = json.loads(lines[0])
    assert entry["source"].startswith("def energy_share")
    assert entry["outcome"] == "wrong_value"


def test_a_damaged_history_line_loses_nothing_else(course):
    check(ENERGY, {"energy_share": lambda heat, mask: 0.0})
    path = course / ".xaiteach" / "history.jsonl"
    path.write_text("{broken\n" + path.read_text(encoding="utf-8") + "[1]\n", encoding="utf-8")
    assert history.attempted(ENERGY)


def test_a_history_that_cannot_be_written_is_said_and_the_check_still_works(course):
    (course / ".xaiteach" / "history.jsonl").mkdir()
    feedback = check(ENERGY, {"energy_share": right})
    assert feedback.passed
    assert "could not be written" in repr(feedback)


def test_mine_takes_the_students_function_when_it_passes(course, capsys):
    own = "def energy_share(heat, mask):\n    share = (heat * mask).sum() / heat.sum()\n    return share  # my own\n"
    hand_in(course, "exercises", filled({ENERGY: own}, "00_start_here"), "00_start_here.ipynb")
    function = mine(ENERGY)
    assert capsys.readouterr().out == "energy_share: yours, from 00_start_here.\n"
    assert function.__code__.co_varnames[2] == "share"


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("def energy_share(heat, mask):\n    return 0.5\n", "yours does not pass yet"),
        ("def energy_share(heat, mask):\n    return ...\n", "yours is still blank"),
        ("def energy_share(heat, mask)\n", "yours stops with SyntaxError"),
        ("raise SystemError\n", "yours stops with SystemError"),
    ],
)
def test_mine_falls_back_to_the_reference_and_says_so(course, capsys, source, why):
    hand_in(course, "exercises", filled({ENERGY: source}, "00_start_here"), "00_start_here.ipynb")
    function = mine(ENERGY)
    assert capsys.readouterr().out == f"energy_share: the course's own ({why}).\n"
    import torch

    assert float(function(torch.ones(2, 2), torch.tensor([[True, False], [False, False]]))) == 0.25


def test_under_nbgrader_a_failed_check_raises_and_writes_to_stdout_only(monkeypatch, capsys):
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    with pytest.raises(FailedCheckError):
        check(ENERGY, {"energy_share": lambda heat, mask: 0.0})
    out, err = capsys.readouterr()
    assert "not yet" in out
    assert err == ""
    assert check(ENERGY, {"energy_share": right}).passed


def test_text_of_a_check_has_no_number_beyond_three_significant_digits():
    import re

    for source in find(LOGIT).mistakes:
        scope: dict = {}
        exec(source.wrong, scope)
        numbers = re.findall(r"\d+\.\d+", repr(check(LOGIT, scope)))
        assert numbers
        assert max(len(number.replace(".", "").lstrip("0")) for number in numbers) <= 3


@pytest.mark.slow
def test_a_whole_notebook_is_checked_from_a_fresh_start(tmp_path):
    answers = right_answers()
    answers[LOGIT] = "def logit_gradient(A, V, b, c):\n    return -V[c].reshape(A.shape)\n"
    answers[GAP] = "alpha_gap = not_defined_here\n"
    path = hand_in(tmp_path, "me", filled(answers))
    before = path.read_bytes()
    outcomes = {item.question.id: item.verdict for item in check_notebook(path).items}
    assert outcomes[LOGIT].diagnosis == "sign"
    assert outcomes[GAP].outcome == "wrong_form"
    assert "NameError: name 'not_defined_here'" in outcomes[GAP].sentence
    assert outcomes["gradcam.blank_head"].outcome == "right"
    assert path.read_bytes() == before


@pytest.mark.slow
def test_a_whole_notebook_tells_loops_renamed_answers_and_cells_that_stop(tmp_path, monkeypatch):
    from xaiteach.checks import notebook as checking

    questions = checking.of_unit("02_gradcam")
    quick = tuple(replace(question, deadline_s=3.0) for question in questions)
    monkeypatch.setattr(checking, "of_unit", lambda unit: quick)
    answers = right_answers()
    answers[LOGIT] = "def logit_gradient(A, V, b, c):\n    while True: pass\n"
    answers[GAP] = answers[GAP].replace("alpha_gap", "gap")
    notebook = filled(answers)
    notebook["cells"].append(code_cell("import no_such_package"))
    checked = check_notebook(hand_in(tmp_path, "me", notebook))
    outcomes = {item.question.id: item.verdict for item in checked.items}
    assert "did not end within 3 seconds" in outcomes[LOGIT].sentence
    assert "`alpha_gap` is not defined here" in outcomes[GAP].sentence
    assert outcomes["gradcam.blank_head"].outcome == "right"
    assert any("ModuleNotFoundError: No module named 'no_such_package'" in note for note in checked.notes)


def test_mine_finds_what_was_checked_right_but_not_saved(course, capsys):
    source = "def energy_share(heat, mask):\n    return heat[mask].sum() / heat.sum()  # unsaved\n"
    check(ENERGY, {"In": [source], "energy_share": right})
    mine(ENERGY)
    assert capsys.readouterr().out == "energy_share: yours, as you last checked it.\n"


def test_mine_brings_the_helper_cells_along(course, capsys):
    notebook = filled({ENERGY: "def energy_share(heat, mask):\n    return helper(heat, mask)\n"}, "00_start_here")
    notebook["cells"].insert(1, code_cell("def helper(heat, mask):\n    return heat[mask].sum() / heat.sum()"))
    hand_in(course, "exercises", notebook, "00_start_here.ipynb")
    mine(ENERGY)
    assert capsys.readouterr().out == "energy_share: yours, from 00_start_here.\n"


def test_a_check_that_is_interrupted_shows_no_traceback():
    def stopped(heat, mask):
        raise KeyboardInterrupt

    feedback = check(ENERGY, {"energy_share": stopped})
    assert "interrupted" in repr(feedback)
    assert "endless loop" in repr(feedback)


@pytest.mark.parametrize("wrong", ["", None, right, 3])
def test_a_check_without_a_questions_name_says_what_to_write(wrong):
    for ask in (check, hint, solution):
        assert "in quotes" in repr(ask(wrong))


def test_an_answer_that_uses_what_was_asked_to_be_left_out_is_told():
    source = "def logit_gradient(A, V, b, c):\n    torch.autograd\n    return V[c].reshape(A.shape)\n"
    scope: dict = {"In": [source]}
    exec("import torch\n" + source, scope)
    feedback = check(LOGIT, scope)
    assert feedback.passed
    assert "It uses autograd; asked is an answer without." in repr(feedback)


def test_a_number_in_the_functions_place_is_named():
    assert "energy_share is no function here but a float" in repr(check(ENERGY, {"energy_share": 0.5}))


def test_a_hint_at_a_stated_step_counts_for_nothing():
    assert repr(hint(ENERGY, step=2)).startswith("Hint 2 of 3")
    assert repr(hint(ENERGY)).startswith("Hint 1 of 3")


@pytest.mark.parametrize("letter", ["b)", "e", "['b']", "None", "2"])
def test_a_choice_that_is_no_option_is_told_so(letter):
    assert "none of the options" in repr(check("gradcam.blank_head", {"blank_head": letter}))


def test_a_difference_behind_the_third_digit_is_shown():
    text = repr(check(ENERGY, {"energy_share": lambda heat, mask: right(heat, mask) + 3e-4}))
    assert "got       share 0.7503" in text


def test_one_number_in_a_list_is_one_number():
    assert check(ENERGY, {"energy_share": lambda heat, mask: [right(heat, mask)]}).passed


@pytest.mark.parametrize(
    "wrong",
    [
        lambda heat, mask: round(float(right(heat, mask)), 2),
        lambda heat, mask: heat[mask].sum() / heat.sum().clamp(min=1),
        lambda heat, mask: 1.0,
        lambda heat, mask: 100 * right(heat, mask),
    ],
    ids=["rounded", "clamped", "constant", "percent"],
)
def test_habits_that_the_cases_could_have_hidden_are_caught(wrong):
    assert not check(ENERGY, {"energy_share": wrong}).passed


@pytest.mark.parametrize(
    "other",
    [
        "return heat.flatten() @ mask.float().flatten() / heat.sum()",
        "return torch.einsum('ij,ij->', heat, mask.float()) / heat.sum()",
        "out = torch.zeros(heat.shape); out[mask] = heat[mask]; return out.sum() / heat.sum()",
    ],
)
def test_answers_in_float32_pass(other):
    scope: dict = {}
    exec(f"import torch\ndef energy_share(heat, mask):\n    {other}\n", scope)
    assert check(ENERGY, scope).passed


def test_checking_a_notebook_of_no_unit_says_what_was_expected(tmp_path):
    path = hand_in(tmp_path, "me", {"cells": [], "metadata": {}}, "notes.ipynb")
    with pytest.raises(NotebookSourceError, match="holds no exercises"):
        check_notebook(path)


def test_importing_checks_stub_needs_nothing_of_ours():
    code = "import sys, runpy; runpy.run_path(sys.argv[1]); print(sorted(m for m in sys.modules if 'xaiteach' in m))"
    from xaiteach.checks import stub

    done = subprocess.run([sys.executable, "-c", code, stub.__file__], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


SQUARED = "import torch\ndef weighted_fit(X, y, w):\n    return torch.linalg.pinv(w[:, None] * X) @ (w * y)\n"
CALLS = (
    "def local_fit(Z, y, w):\n"
    "    both = weighted_fit(torch.cat([torch.ones_like(Z[:, :1]), Z], 1), y, w)\n"
    "    return both[0], both[1:]\n"
)
OWN = (
    "def local_fit(Z, y, w):\n"
    "    A = torch.cat([torch.ones_like(Z[:, :1]), Z], 1)\n"
    "    both = torch.linalg.pinv(w[:, None] * A) @ (w * y)\n"
    "    return both[0], both[1:]\n"
)


@pytest.mark.parametrize(("source", "blamed"), [(CALLS, True), (OWN, False)])
def test_a_known_mistake_of_a_function_that_is_called_is_laid_at_its_door(source, blamed):
    names = {}
    exec(SQUARED + source, names)
    text = repr(check("lime_fit.local_fit", names))
    assert "Both sides were multiplied by the weights" in text
    assert ("It builds on `weighted_fit` (lime_fit.weighted_fit), which is not right yet" in text) is blamed
