"""check, build, verify, grade from the command line: what is printed, and the exit codes of the contract."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from helpers_submissions import LOGIT, UNIT, blank, filled, hand_in, right_answers
from typer.testing import CliRunner

from xaiteach import cli
from xaiteach.authoring import build, verify
from xaiteach.errors import SetupError
from xaiteach.questions import of_unit

RUNNER = CliRunner()


def invoke(*arguments):
    return RUNNER.invoke(cli.app, list(arguments))


def command(*arguments, cwd=None):
    """The real entry point, with its handling of errors."""
    return subprocess.run(
        [sys.executable, "-m", "xaiteach.cli", *arguments], capture_output=True, text=True, check=False, cwd=cwd
    )


@pytest.mark.slow
def test_check_of_a_blank_and_of_a_right_notebook(tmp_path):
    done = invoke("check", str(hand_in(tmp_path, "me", blank())))
    assert done.exit_code == cli.FINDINGS
    judged = sum(question.machine_judged for question in of_unit(UNIT))
    assert f"0 of {judged} right." in done.output
    done = invoke("check", str(hand_in(tmp_path, "me", filled(right_answers()))))
    assert done.exit_code == 0, done.output
    assert f"{judged} of {judged} right." in done.output
    assert "gradcam.roles: handed in, for a person to mark" in done.output


def test_check_of_something_else_is_one_message(tmp_path):
    done = command("check", "nothing.ipynb", cwd=tmp_path)
    assert done.returncode == cli.FINDINGS
    assert "nothing.ipynb cannot be read" in done.stderr
    assert "Traceback" not in done.stderr


def test_build_check_lists_what_is_stale(monkeypatch):
    monkeypatch.setattr(build, "stale", lambda units: ["exercises/x.ipynb is missing"])
    done = invoke("build", "--check")
    assert (done.exit_code, done.output.strip()) == (cli.FINDINGS, "exercises/x.ipynb is missing")
    monkeypatch.setattr(build, "stale", lambda units: [])
    assert invoke("build", "--check").exit_code == 0


def test_build_of_an_unknown_unit_names_the_nearest():
    done = command("build", "--check", "gradcm")
    assert done.returncode == cli.WRONG_USE
    assert "unknown unit 'gradcm'" in done.stderr


def test_build_check_and_student_do_not_mix():
    assert invoke("build", "--check", "--student").exit_code == cli.WRONG_USE


def test_verify_prints_a_table_or_json_and_fails_on_findings(monkeypatch):
    row = verify.Row("a.b", "00_a", "value", 1, 2, False, 3, 2, 1, 1, False, ["mistake 'x' is told as 'y'"])
    monkeypatch.setattr(verify, "verify_all", lambda units: [row])
    done = invoke("verify")
    assert done.exit_code == cli.FINDINGS
    assert "a.b: mistake 'x' is told as 'y'" in done.output
    done = invoke("verify", "--json")
    assert done.exit_code == cli.FINDINGS
    assert json.loads(done.output)[0]["mistakes_caught"] == 2


@pytest.mark.slow
@pytest.mark.bubblewrap
def test_grade_prints_who_got_what_and_where_it_lies(tmp_path):
    hand_in(
        tmp_path / "subs", "ann", filled({**right_answers(), LOGIT: "def logit_gradient(A, V, b, c):\n    return A\n"})
    )
    core = sum(question.points for question in of_unit(UNIT) if not question.stretch)
    machine = sum(question.points for question in of_unit(UNIT) if question.machine_judged)
    done = invoke("grade", str(tmp_path / "subs"), "--out", str(tmp_path / "out"), "--seed", "1", "--unit", "02")
    assert done.exit_code == 0, done.output
    # 0.1 of 3 points for the gradient of the weights; the essay waits for a person
    assert f"{machine - 2.7:g} of {core:g}" in " ".join(done.output.split())
    assert "needs marking" in " ".join(done.output.split())
    assert (tmp_path / "out" / "grades.csv").is_file()


def test_grade_where_bubblewrap_is_missing_cannot_be_done(tmp_path, monkeypatch):
    from xaiteach.grading import grade

    hand_in(tmp_path / "subs", "ann", blank())
    monkeypatch.setattr(grade, "bubblewrap_problem", lambda: "not installed.")
    done = invoke("grade", str(tmp_path / "subs"), "--out", str(tmp_path / "out"))
    assert isinstance(done.exception, SetupError)


def test_grade_of_a_folder_without_students_is_wrong_use(tmp_path):
    (tmp_path / "subs").mkdir()
    done = command("grade", str(tmp_path / "subs"), "--out", str(tmp_path / "out"), "--no-sandbox")
    assert done.returncode == cli.WRONG_USE
    assert "STUDENT/NN_slug.ipynb" in done.stderr


def test_grade_of_an_unknown_unit_is_wrong_use(tmp_path):
    hand_in(tmp_path / "subs", "ann", blank())
    done = command("grade", str(tmp_path / "subs"), "--out", str(tmp_path / "out"), "--unit", "99")
    assert done.returncode == cli.WRONG_USE
    assert UNIT in done.stderr
