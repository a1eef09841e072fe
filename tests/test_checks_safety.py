"""Nothing that a student wrote is lost: stale kernels are told, answers come back, what is handed in is known."""

from __future__ import annotations

import json
import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from helpers_submissions import GAP, HEAD, LOGIT, UNIT, blank, filled, right_answers
from IPython.core.interactiveshell import InteractiveShell

from xaiteach.checks import check, freshness, handing_in, history, progress, receipt, references, restoring, standing
from xaiteach.checks import run as checks_run
from xaiteach.errors import OptionError
from xaiteach.questions import find, of_unit

ENERGY = "start_here.energy_share"
RIGHT = "def energy_share(heat, mask):\n    return heat[mask].sum() / heat.sum()\n"
MISTAKE = "def energy_share(heat, mask):\n    return heat[mask].mean() / heat.mean()\n"


@pytest.fixture(autouse=True)
def no_memory(monkeypatch, tmp_path):
    monkeypatch.setattr(history, "_session", [])
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def course(tmp_path):
    (tmp_path / ".xaiteach").mkdir()
    (tmp_path / "exercises").mkdir()
    return tmp_path


@pytest.fixture
def shell():
    made = InteractiveShell()
    yield made
    made.history_manager.end_session()


def run(shell, *cells):
    """Run cells as a notebook does; an error in one is part of the story."""
    for cell in cells:
        shell.run_cell(cell, store_history=True, silent=False)


def save(course, *cells, unit="00_start_here"):
    nodes = [
        {"cell_type": "code", "execution_count": None, "id": f"c{i}", "metadata": {}, "outputs": [], "source": cell}
        for i, cell in enumerate(cells)
    ]
    path = course / "exercises" / f"{unit}.ipynb"
    path.write_text(json.dumps({"cells": nodes, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    return path


def told(shell, question=ENERGY):
    return repr(check(question, shell.user_ns))


STALE = "passes here, not from a fresh start"


def test_an_older_version_in_memory_is_told(shell, capsys):
    run(shell, RIGHT, "def energy_share(heat, mask)\n    return 0\n")
    assert STALE in told(shell)
    assert "SyntaxError" in told(shell)


def test_a_value_whose_cell_now_fails_is_told(shell):
    answer = "blank_head = 'b'\n"
    run(shell, answer, "blank_head = letter_b\n")
    text = told(shell, HEAD)
    assert STALE in text
    assert "NameError" in text


@pytest.mark.parametrize("saved", [True, False])
def test_a_helper_in_a_cell_of_its_own_is_no_alarm(shell, course, saved):
    helper = "import torch as t\ndef share(a, m):\n    return a[m].sum() / a.sum()\n"
    answer = "def energy_share(heat, mask):\n    return share(heat, mask)\n"
    if saved:
        save(course, helper, answer)
    run(shell, helper, answer)
    assert told(shell).startswith("✓")


def test_a_helper_whose_cell_was_deleted_is_told(shell, course):
    helper = "def share(a, m):\n    return a[m].sum() / a.sum()\n"
    answer = "def energy_share(heat, mask):\n    return share(heat, mask)\n"
    save(course, answer)
    run(shell, helper, answer)
    text = told(shell)
    assert STALE in text
    assert "`share`, which no cell of the saved notebook above it defines" in text
    assert "Restart Kernel and Run All" in text


def test_a_helper_that_stands_further_down_is_told(shell, course):
    helper = "def share(a, m):\n    return a[m].sum() / a.sum()\n"
    answer = "def energy_share(heat, mask):\n    return share(heat, mask)\n"
    save(course, answer, helper)
    run(shell, answer, helper)
    assert "only a cell further down defines" in told(shell)


def test_a_changed_variable_that_makes_a_value_right_is_told(shell, course):
    setup, answer, later = "letter = 'a'\n", "blank_head = letter\n", "letter = 'b'\n"
    save(course, setup, answer, later, unit=UNIT)
    run(shell, setup, later, answer)
    text = told(shell, HEAD)
    assert STALE in text
    assert "gives another result" in text


def test_a_cell_that_accumulates_is_told(shell, course):
    setup, answer = "letters = ['a', 'b']\n", "blank_head = letters.pop(0)\n"
    save(course, setup, answer, unit=UNIT)
    run(shell, setup, answer, answer)
    assert STALE in told(shell, HEAD)


@pytest.mark.parametrize(
    "cells",
    [
        (RIGHT,),
        ("%%time\n" + RIGHT,),
        (MISTAKE, RIGHT),
        ("from torch import *\n", RIGHT),
        ("parts = {}\n", "parts['sum'] = lambda a: a.sum()\n",
         "def energy_share(heat, mask):\n    return parts['sum'](heat[mask]) / parts['sum'](heat)\n"),
    ],
)  # fmt: skip
def test_ordinary_work_is_no_alarm(shell, course, cells):
    run(shell, *cells)
    assert told(shell).startswith("✓"), told(shell)
    save(course, *cells)
    assert told(shell).startswith("✓"), told(shell)


def test_what_nobody_can_tell_is_not_told(shell, course):
    save(course, "def energy_share(heat, mask):\n    return share(heat, mask)\n")
    shell.user_ns["share"] = lambda a, m: a[m].sum() / a.sum()  # from a magic, or a file that was run
    run(shell, "def energy_share(heat, mask):\n    return share(heat, mask)\n")
    assert told(shell).startswith("✓")


def test_running_it_afresh_leaves_names_random_states_and_output_alone(shell, course, capsys):
    answer = (
        "import random, numpy, torch\n"
        "random.random(); numpy.random.rand(); torch.rand(1); print('noise')\n"
        "blank_head = 'b'\n"
    )
    run(shell, answer)
    capsys.readouterr()
    states = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state().clone()  # noqa: NPY002
    names = set(shell.user_ns)
    told(shell, HEAD)
    assert capsys.readouterr().out == ""
    assert random.getstate() == states[0]
    assert np.array_equal(np.random.get_state()[1], states[1])  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), states[2])
    assert set(shell.user_ns) == names


def test_the_history_says_that_it_was_not_fresh(shell, course):
    run(shell, RIGHT, "def energy_share(heat, mask)\n    return 0\n")
    told(shell)
    assert [e.get("fresh") for e in history.entries(ENERGY)] == [False]


def test_an_answer_outside_ipython_is_not_run_again(monkeypatch):
    monkeypatch.setattr(freshness, "run_afresh", lambda made: pytest.fail("there is nothing to run"))
    scope: dict[str, object] = {}
    exec(RIGHT, scope)
    assert check(ENERGY, scope).passed


def test_the_saved_notebooks_place_comes_from_the_session_or_the_course(course, monkeypatch):
    assert freshness.saved_notebook("00_start_here") is None
    path = save(course, RIGHT)
    assert freshness.saved_notebook("00_start_here") == path
    other = save(course, RIGHT, unit="mine")
    monkeypatch.setenv("JPY_SESSION_NAME", str(other))
    assert freshness.saved_notebook("00_start_here") == other
    monkeypatch.setenv("JPY_SESSION_NAME", "exercises/mine.ipynb")
    assert freshness.saved_notebook("00_start_here").samefile(other)


def record(question, source, outcome, credit=0.0):
    history.append(question, "check", outcome=outcome, credit=credit, mistake=None, source=source)


def test_progress_without_a_history_names_the_first_item():
    text = repr(progress())
    assert "Next: start_here.energy_share in exercises/00_start_here.ipynb" in text
    assert "0 of 5 done" in text


def test_progress_counts_points_slips_hints_and_predictions(course):
    record(ENERGY, RIGHT, "right", 1.0)
    record(LOGIT, "a", "right", 1.0)
    record(LOGIT, "b", "wrong_value", 0.5)
    record("gradcam.predict_flips", "c", "recorded")
    record("gradcam.roles", "d", "recorded")
    history.append(LOGIT, "hint", step=2)
    text = repr(progress())
    assert "gradcam.logit_gradient was right once; its last check was not." in text
    assert "1.5 of 23 points as last checked" in text
    assert "1 predicted, 2 hints" in text
    assert "For a person to mark: gradcam.roles." in text
    assert "Next: start_here.chain_rule" in text


def test_progress_says_when_all_is_done(course):
    for unit in standing.standings().values():
        for each in unit:
            record(each.question.id, "x", "right" if each.question.machine_judged else "recorded", 1.0)
    assert "All is done." in repr(progress())


def test_a_long_history_with_a_torn_last_line_is_read(course):
    for i in range(3000):
        record(LOGIT, f"version {i}", "wrong_value")
    with history.path().open("a") as stream:
        stream.write('{"question": "gradcam.logit')
    assert len(restoring.versions(LOGIT)) == 3000
    record(LOGIT, "after", "right", 1.0)
    assert restoring.best(restoring.versions(LOGIT)).source == "after"


def test_versions_are_kept_once_each_and_the_newest_right_one_is_the_best(course):
    for source, outcome in (("a", "wrong_value"), ("b", "right"), ("a", "wrong_value"), ("c", "wrong_form")):
        record(LOGIT, source, outcome)
    record(LOGIT, "...", "not_attempted")
    kept = restoring.versions(LOGIT)
    assert [(v.number, v.source, v.outcome) for v in kept] == [
        (1, "b", "right"), (2, "a", "wrong_value"), (3, "c", "wrong_form"),
    ]  # fmt: skip
    assert restoring.best(kept).source == "b"
    assert restoring.chosen(LOGIT, kept, 3).source == "c"
    with pytest.raises(OptionError, match="versions 1 to 3"):
        restoring.chosen(LOGIT, kept, 4)
    with pytest.raises(OptionError, match="no checked answer"):
        restoring.chosen(GAP, restoring.versions(GAP), None)
    with pytest.raises(OptionError, match=r"gradcam\.heatmap"):
        restoring.versions("gradcam.heatmaps")


def test_a_text_that_was_put_away_is_still_as_right_as_its_last_check_said(course):
    record(LOGIT, "wrong", "wrong_value")
    record(LOGIT, "right", "right", 1.0)
    path = course / "exercises" / f"{UNIT}.ipynb"
    path.write_text(json.dumps(filled({LOGIT: "right"})))
    restoring.put_back(LOGIT, "wrong")
    restoring.put_back(LOGIT, "right")
    kept = restoring.versions(LOGIT)
    assert {v.source: v.outcome for v in kept} == {"right": "right", "wrong": "wrong_value"}
    assert restoring.best(kept).source == "right"


def test_a_cell_that_stopped_is_told_with_its_error(shell):
    run(shell, "from xaiteach.checks import check", "alpha_sums = None\nalpha_sums = 1 / 0")
    text = repr(shell.run_cell('check("gradcam.alpha_sums")', store_history=True, silent=False).result)
    assert "The cell with your answer stopped with ZeroDivisionError: division by zero" in text


def test_an_answer_that_builds_on_a_wrong_one_is_told_so():

    heat = references.reference("gradcam.heatmap")
    names: dict = {}
    exec(heat.replace(".relu()", ".abs()"), names)
    names["energies"] = np.random.default_rng(0).random((14, 3))
    assert "It builds on `heatmap` (gradcam.heatmap), which is not right yet" in repr(check("gradcam.energy", names))
    exec(heat, names)
    assert "It builds on" not in repr(check("gradcam.energy", names))


def test_where_a_release_has_no_model_answers_none_is_promised(monkeypatch):
    monkeypatch.setattr(references, "_master", lambda unit: references.course_root() / "nowhere" / unit)
    assert "solution(" not in repr(checks_run.hint(LOGIT, step=3))
    told = repr(checks_run.solution(LOGIT))
    assert "no model answer here" in told
    assert "not part of this release. Ask your instructor." in told
    assert "solution(" not in repr(check("gradcam.roles", {"roles": "word " * 40}))


def test_putting_an_answer_back_keeps_what_stood_there_twice(course):
    path = course / "exercises" / f"{UNIT}.ipynb"
    before = json.dumps(filled({LOGIT: "half an answer"}))
    path.write_text(before)
    written, backup = restoring.put_back(LOGIT, "the good one")
    assert written == path
    assert references.answer_cells(references.read_notebook(path))[LOGIT] == "the good one"
    assert backup.read_text() == before
    assert restoring.versions(LOGIT)[-1].source == "half an answer"


def test_a_notebook_that_cannot_be_written_is_left_as_it_is(course, monkeypatch):
    from pathlib import Path

    from xaiteach.errors import SetupError

    path = course / "exercises" / f"{UNIT}.ipynb"
    path.write_text(json.dumps(blank()))
    before = path.read_bytes()

    def full(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(SetupError, match=r"No space left.*as they were"):
        restoring.put_back(LOGIT, "the good one")
    assert path.read_bytes() == before


def test_nothing_can_be_put_back_outside_a_course():
    with pytest.raises(OptionError, match="xaiteach lab"):
        restoring.put_back(LOGIT, "x")


def test_a_receipt_outside_a_course_is_one_line_and_runs_nothing(monkeypatch):
    monkeypatch.setattr(handing_in, "examine", lambda *a: pytest.fail("nothing is to be run"))
    assert "xaiteach lab" in repr(receipt(UNIT))
    assert "02_gradcam" in repr(receipt("02_gradcamm"))
    monkeypatch.setattr(checks_run, "_paused", True)
    assert repr(receipt(UNIT)) == "left to whoever runs this notebook"


def test_a_receipt_without_a_saved_notebook_says_so(course):
    assert f"exercises/{UNIT}.ipynb" in repr(receipt(UNIT))


@pytest.mark.slow
def test_a_receipt_compares_runs_and_names_the_file_by_its_hash(course):
    answers = right_answers(only=(LOGIT, GAP))
    path = course / "exercises" / f"{UNIT}.ipynb"
    path.write_text(json.dumps(filled({**answers, HEAD: 'blank_head = "a"'})))
    record(LOGIT, answers[LOGIT], "right", 1.0)
    record(GAP, "alpha_gap = 0", "wrong_value")
    record(GAP, answers[GAP], "right", 1.0)
    record(GAP, "alpha_gap = something_newer", "wrong_value")
    record(HEAD, 'blank_head = "b"', "right", 1.0)
    text = repr(receipt(UNIT))
    assert "⚠ What would be handed in: 02_gradcam.ipynb" in text
    rows = {line.split()[0]: line for line in text.splitlines() if line.startswith("    gradcam.")}
    assert "right, 3 of 3; as you last checked it" in rows[LOGIT]
    assert "right, 2 of 2; CHANGED since you last checked it" in rows[GAP]
    assert "not right, 0 of 1; what you last checked is NOT in the saved file" in rows[HEAD]
    assert "still blank" in rows["gradcam.heatmap"]
    assert "5 of 23 points as it stands" in text
    assert "Stretch, on top of that: 0 of 6 points" in text
    assert "Ctrl+S" in text
    (written,) = (course / ".xaiteach" / "receipts").glob("*.json")
    assert written.name in text
    assert handing_in.matches(written, path)
    path.write_text(path.read_text() + "\n")
    assert not handing_in.matches(written, path)
    recorded = json.loads(written.read_text())
    assert recorded["questions"][LOGIT]["outcome"] == "right"
    assert set(recorded["questions"]) == {q.id for q in of_unit(UNIT)}


@pytest.mark.slow
def test_restore_progress_and_receipt_from_the_command_line(course):
    path = course / "exercises" / "00_start_here.ipynb"
    path.write_text(json.dumps(filled({ENERGY: RIGHT}, unit="00_start_here")))
    record(ENERGY, MISTAKE, "wrong_value", 0.4)
    record(ENERGY, RIGHT, "right", 1.0)

    def command(*words):
        done = subprocess.run(
            [sys.executable, "-m", "xaiteach.cli", *words], capture_output=True, text=True, check=False, cwd=course
        )
        return done.returncode, done.stdout + done.stderr

    status, text = command("progress")
    assert status == 0
    assert "Next: start_here.chain_rule" in text
    status, text = command("restore", ENERGY)
    assert status == 0
    assert "> version 2" in text
    assert RIGHT.strip() in text
    status, text = command("restore", ENERGY, "--version", "1", "--write")
    assert status == 0
    assert "Reload Notebook from Disk" in text
    status, text = command("check", str(path), "--receipt")
    assert status == 1
    assert "CHANGED" in text
    assert "0.4 of 5 points" in text
    status, text = command("restore", "start_here.energi_share")
    assert status == 2
    assert ENERGY in text


def test_find_knows_every_question_used_here():
    assert all(find(question) for question in (ENERGY, LOGIT, GAP, HEAD))
