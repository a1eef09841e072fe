"""The student's notebook of unit 02 in a real JupyterLab: run, answer wrong and right, reload, hand in."""

from __future__ import annotations

import json

import pytest
from helpers_lab import LabNotebook

from xaiteach.checks.references import reference
from xaiteach.questions import of_unit

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.usefixtures("quiet")]

UNIT, QUESTION = "02_gradcam", "gradcam.logit_gradient"
WRONG = "def logit_gradient(A, V, b, c):\n    K, h, w = A.shape\n    return V[c].reshape(h, w, K).permute(2, 0, 1)\n"
HELPED = "def row(V, c):\n    return V[c]\n"


@pytest.fixture(scope="module")
def lab(browser, course):
    notebook = LabNotebook(browser.do(browser.page), course, f"exercises/{UNIT}.ipynb")
    browser.do(notebook.open)
    browser.do(notebook.run_all)
    yield notebook
    browser.do(notebook.page.close)


def outputs(lab, role, question=QUESTION):
    return lab.cell(lab.index(role, question)).locator(".jp-Cell-outputArea")


def answer(lab, source):
    place = lab.index("answer", QUESTION)
    lab.write(place, source)
    lab.run(place)
    lab.run(lab.index("check", QUESTION))
    return outputs(lab, "check").inner_text()


def history(course):
    text = (course.folder / ".xaiteach" / "history.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_the_untouched_notebook_runs_to_its_end(browser, lab):
    assert browser.do(lab.errors) == []
    told = browser.do(lambda: [outputs(lab, "check", question.id).text_content() for question in of_unit(UNIT)])
    assert all("not attempted" in each for each in told)


def test_a_wrong_answer_is_diagnosed_and_a_right_one_earns_its_points(browser, lab, course, shots):
    wrong = browser.do(answer, lab, WRONG)
    assert "You unrolled the channels last" in wrong
    assert "1.5 of 3 points as it stands" in wrong
    browser.do(lambda: outputs(lab, "check").screenshot(path=shots / "check-wrong-light.png"))
    right = browser.do(answer, lab, reference(QUESTION))
    assert "gradcam.logit_gradient: right" in right
    assert "3 of 3 points as it stands" in right
    checks = [e for e in history(course) if e["question"] == QUESTION and e["what"] == "check"]
    assert [e["outcome"] for e in checks] == ["not_attempted", "wrong_value", "right"]
    assert checks[1]["source"].strip() == WRONG.strip()


def test_the_check_panel_is_worked_by_keyboard(browser, lab):
    def work():
        browser_panel = lab.panel(f"Check of {QUESTION}")
        cells = lab.count()
        browser_panel.get_by_role("button", name="Check again").focus()
        told = []
        for name in ("Check again", "Hint", "Solution"):
            assert lab.page.evaluate("document.activeElement.textContent") == name
            lab.page.keyboard.press("b")
            lab.page.keyboard.press("Enter")
            lab.settle(browser_panel)
            told.append(browser_panel.locator(".xaiteach-html").inner_text())
            lab.page.keyboard.press("Tab")
        return told, cells, lab.count()

    (again, hint, solution), before, after = browser.do(work)
    assert "right" in again
    assert "Hint 1 of 3" in hint
    assert "return V[c].reshape(A.shape)" in solution
    assert before == after


def test_an_answer_that_leans_on_a_deleted_cell_passes_here_and_says_so(browser, lab):
    def lean():
        lab.execute(f"exec({HELPED!r}, get_ipython().user_ns)\n''")
        place = lab.index("answer", QUESTION)
        # The helper is written into a cell, run, and its text replaced: the kernel remembers what the notebook forgot.
        setup = lab.index("setup", None) if lab.index("setup", None) >= 0 else 1
        before = lab.source(setup)
        lab.write(setup, before + "\n" + HELPED)
        lab.run(setup)
        lab.write(setup, before)
        lab.write(place, "def logit_gradient(A, V, b, c):\n    return row(V, c).reshape(A.shape)\n")
        lab.run(place)
        lab.command("docmanager:save")
        lab.run(lab.index("check", QUESTION))
        told = outputs(lab, "check").inner_text()
        lab.write(place, reference(QUESTION))
        lab.run(place)
        lab.run(lab.index("check", QUESTION))
        return told, outputs(lab, "check").inner_text()

    stale, mended = browser.do(lean)
    assert "passes here, not from a fresh start" in stale
    assert "`row`" in stale
    assert "gradcam.logit_gradient: right" in mended


def test_a_panel_that_was_shown_again_and_again_is_saved_once(browser, lab, course):
    browser.do(lab.command, "docmanager:save")
    notebook = json.loads((course.folder / lab.path).read_text(encoding="utf-8"))
    (state,) = [each["state"] for each in notebook["metadata"]["widgets"].values()]
    titles = [model["state"]["spec"]["title"] for model in state.values() if "spec" in model["state"]]
    assert titles.count(f"Check of {QUESTION}") == 1


def test_after_a_reload_and_a_new_kernel_answer_and_panels_are_still_there(browser, lab, shots):
    def reload():
        lab.reload(restart=True)
        place = lab.index("answer", QUESTION)
        panel = lab.panel(f"Check of {QUESTION}")
        panel.scroll_into_view_if_needed()
        panel.wait_for()
        lab.page.screenshot(path=shots / "exercise-light.png")
        lab.theme(dark=True)
        lab.page.screenshot(path=shots / "exercise-dark.png")
        lab.theme(dark=False)
        return lab.source(place), panel.inner_text(), lab.page.get_by_text("Error displaying widget").count()

    source, told, failed = browser.do(reload)
    assert source.strip() == reference(QUESTION).strip()
    assert "right" in told
    assert failed == 0


def test_the_last_cell_says_what_would_be_handed_in_and_writes_a_receipt(browser, lab, course):
    def hand_in():
        lab.run_all()
        lab.command("docmanager:save")
        last = lab.count() - 1
        lab.run(last)
        return lab.cell(last).locator(".jp-Cell-outputArea").inner_text()

    told = browser.do(hand_in)
    assert "What would be handed in: 02_gradcam.ipynb" in told
    assert "as you last checked it" in told
    assert "still blank" in told
    receipts = sorted((course.folder / ".xaiteach" / "receipts").glob("*.json"))
    assert receipts[-1].name in told
    recorded = json.loads(receipts[-1].read_text(encoding="utf-8"))
    assert recorded["questions"][QUESTION]["outcome"] == "right"
    assert recorded["sha256"][:12] in told
