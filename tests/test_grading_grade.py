"""Real grading: injected notebooks through real nbval in real sandboxes, judged outside, into a gradebook."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from helpers_submissions import GAP, HEAD, LOGIT, UNIT, blank, code_cell, filled, hand_in, right_answers

from xaiteach.errors import OptionError, SetupError
from xaiteach.grading import grade as grading
from xaiteach.grading import report, schedule
from xaiteach.grading.collect import Submission
from xaiteach.grading.grade import grade
from xaiteach.grading.inject import Answer, load_master
from xaiteach.grading.judge import Raw, result_of
from xaiteach.questions import find, of_unit
from xaiteach.questions.running import cases_of, keys_of

pytestmark = [pytest.mark.slow, pytest.mark.bubblewrap]

RIGHT = right_answers(only=(LOGIT, GAP, HEAD))  # the quick ones; the rest of the notebook stays blank
POSSIBLE = sum(q.points for q in of_unit(UNIT) if not q.stretch)
FORGED_EQ = """\
import numpy as np
class Yes(np.ndarray):
    def __eq__(self, other): return True
    def __array_ufunc__(self, *inputs, **options): return True
    def __array_function__(self, *inputs, **options): return True
    def __bool__(self): return True
def logit_gradient(A, V, b, c):
    return np.zeros(tuple(A.shape)).view(Yes)
"""
PATCHED = """\
import json, sys, types
import numpy as np, torch
import xaiteach.checks
from IPython import get_ipython
from IPython.display import publish_display_data
for name in ("check", "verdict_in", "judge"):
    setattr(xaiteach.checks, name, lambda *a, **k: True)
sys.modules["xaiteach.questions"] = types.SimpleNamespace(judge=lambda *a: True)
torch.allclose = np.allclose = lambda *a, **k: True
np.testing.assert_allclose = lambda *a, **k: None
publish_display_data({"application/vnd.xaiteach.probe+json": {
    "v": 1, "question": "gradcam.logit_gradient", "case": "fresh 0", "values": {}, "error": None}})
print("gradcam.logit_gradient: right, 3 of 3 points")
def logit_gradient(A, V, b, c):
    return torch.zeros_like(A)
"""
PEEK = """\
import xaiteach.questions
def logit_gradient(A, V, b, c):
    return xaiteach.questions.find("gradcam.logit_gradient").expected(None)
"""
SILENCER = """\
from IPython import get_ipython
get_ipython().input_transformers_cleanup.append(lambda lines: ["pass\\n"])
def logit_gradient(A, V, b, c):
    return A
"""
BREAKER = "model = None\n" + RIGHT[LOGIT]
LATE_BOMB = """\
import os, threading, time
def die():
    time.sleep(0.05)
    os._exit(0)
threading.Thread(target=die, daemon=True).start()
""" + RIGHT[LOGIT]
EXITS = "import sys\ndef logit_gradient(A, V, b, c):\n    sys.exit(3)\n"
SURROGATE = "def logit_gradient(A, V, b, c):\n    raise ValueError(chr(0xd800) + '<script>')\n"
LEAK = """\
calls = []
def logit_gradient(A, V, b, c):
    import gc, sys
    calls.append(c)
    frame, seen = sys._getframe(), ""
    while frame is not None:
        seen += str(frame.f_locals.get("request", ""))
        frame = frame.f_back
    raise ValueError(f"LEAK {len(calls)} {'fresh' in seen} {A.flatten()[:3].tolist()}")
"""
ROLES, ENERGY = "gradcam.roles", "gradcam.energy"
ESSAY = f"roles = {'A^k says where, <script>alert(1)</script>' + ' and alpha_k how much' * 10!r}\n"
WRONG_MAP = "def heatmap(A, gradient):\n    return (gradient.mean((1, 2))[:, None, None] * A).sum(0).abs()\n"
STUB_LOOP = "def logit_gradient(A, V, b, c):\n    while True:\n        pass\n"


def shuffled():
    """The student deleted one answer cell, copied another and turned the order round."""
    notebook = filled(RIGHT)
    cells = {
        (c["metadata"].get("xaiteach") or {}).get("question", ""): c
        for c in notebook["cells"]
        if "answer" in str(c["metadata"])
    }
    wrong = {**cells[HEAD], "id": "copy", "source": 'blank_head = "a"'}
    notebook["cells"] = [wrong, cells[HEAD], code_cell("x = 1"), cells[LOGIT]]
    return notebook


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    subs = tmp_path_factory.mktemp("submissions")
    hand_in(subs, "right", filled(RIGHT))
    hand_in(subs, "blank", blank())
    hand_in(subs, "whole", filled({**right_answers(), ROLES: ESSAY, "gradcam.heatmap": WRONG_MAP}))
    hand_in(subs, "mistake", filled({**RIGHT, LOGIT: find(LOGIT).mistakes[2].wrong}))
    hand_in(subs, "corrupt", '{"cells": [')
    hand_in(subs, "loop", filled({**RIGHT, LOGIT: STUB_LOOP}))
    hand_in(subs, "forged", filled({**RIGHT, LOGIT: FORGED_EQ}))
    hand_in(subs, "patched", filled({**RIGHT, LOGIT: PATCHED}))
    hand_in(subs, "peek", filled({**RIGHT, LOGIT: PEEK}))
    hand_in(subs, "shuffled", shuffled())
    hand_in(subs, "silencer", filled({**RIGHT, LOGIT: SILENCER}))
    hand_in(subs, "=cmd", filled({**RIGHT, HEAD: "import os; os._exit(0)"}))
    hand_in(subs, "breaker", filled({**RIGHT, LOGIT: BREAKER}))
    hand_in(subs, "bomb", filled({**RIGHT, LOGIT: LATE_BOMB}))
    hand_in(subs, "exits", filled({**RIGHT, LOGIT: EXITS}))
    hand_in(subs, "surrogate", filled({**RIGHT, LOGIT: SURROGATE}))
    hand_in(subs, "leak", filled({**RIGHT, LOGIT: LEAK}))
    hand_in(subs, "star", filled({**RIGHT, LOGIT: "from torch import *\n" + RIGHT[LOGIT]}))
    hand_in(subs, "timed", filled({**RIGHT, LOGIT: "%%time\n" + RIGHT[LOGIT]}))
    hand_in(subs, os.fsdecode(b"caf\xe9"), filled(RIGHT))
    (subs / "absent").mkdir()
    return subs


@pytest.fixture(scope="module")
def short_deadlines():
    """A loop need not take the 20 seconds that students get."""
    patch = pytest.MonkeyPatch()
    master = load_master(UNIT)
    quick = {q.id: dataclasses.replace(q, deadline_s=min(q.deadline_s, 6.0)) for q in master.questions}
    from xaiteach.grading import inject

    patch.setattr(inject, "find", lambda question: quick.get(question) or find(question))
    yield
    patch.undo()


@pytest.fixture(scope="module")
def graded(folder, tmp_path_factory, short_deadlines):
    out = tmp_path_factory.mktemp("out")
    run = grade(folder, out, seed=7, workers=2)
    return run, out, {row["student_id"]: row for row in run.book["rows"]}


def points(row):
    return [row["questions"][question]["points"] for question in (LOGIT, GAP, HEAD)]


def test_right_answers_get_full_points_without_a_flag(graded):
    row = graded[2]["right"]
    assert (row["total"], row["possible"], row["status"], row["flags"]) == (6, POSSIBLE, "graded", [])
    assert row["questions"][LOGIT]["fresh"] == [3, 3]


def test_an_essay_waits_for_a_person_and_a_prediction_earns_nothing(graded):
    _, out, rows = graded
    row = rows["whole"]
    assert row["status"] == "needs_marking"
    assert row["questions"][ROLES]["points"] is None
    assert row["questions"][ROLES]["text"].startswith("A^k says where, <script>")
    assert row["questions"]["gradcam.predict_flips"]["text"] == "5"
    with (out / "grades.csv").open(encoding="utf-8", newline="") as stream:
        cells = next(line for line in csv.DictReader(stream) if line["student_id"] == "whole")
    assert cells[ROLES] == ""
    assert "gradcam.predict_flips" not in cells
    page = (out / "feedback" / "whole.html").read_text(encoding="utf-8")
    assert "for a person to mark" in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_a_score_made_with_a_wrong_map_of_ones_own_follows_through(graded):
    row = graded[2]["whole"]
    wrong = row["questions"]["gradcam.heatmap"]
    assert (wrong["mistake"], wrong["points"]) == ("absolute", pytest.approx(1.2))
    assert row["questions"][ENERGY]["follow_through"]
    assert row["questions"][ENERGY]["points"] == 3
    everything = sum(q.points for q in of_unit(UNIT) if q.machine_judged)
    assert row["total"] == pytest.approx(everything - 1.8)


def test_a_blank_notebook_is_graded_as_not_attempted(graded):
    row = graded[2]["blank"]
    assert (row["total"], row["status"]) == (0, "graded")
    assert {q["outcome"] for q in row["questions"].values()} == {"not_attempted"}


def test_a_classic_mistake_gets_its_credit_and_its_sentence(graded):
    question = graded[2]["mistake"]["questions"][LOGIT]
    assert (question["mistake"], question["points"]) == ("channels_last", 1.5)
    assert "unrolled the channels last" in question["sentence"]


def test_a_corrupt_file_costs_only_its_own_row(graded):
    row = graded[2]["corrupt"]
    assert (row["status"], row["total"]) == ("unreadable", 0)
    assert "not valid JSON" in row["reason"]


def test_an_endless_loop_costs_one_question(graded):
    row = graded[2]["loop"]
    assert row["status"] == "timeout"
    assert points(row) == [0, 2, 1]


@pytest.mark.parametrize("student", ["forged", "patched", "peek", "silencer"])
def test_no_trick_inside_the_kernel_earns_a_point(graded, student):
    row = graded[2][student]
    assert points(row)[0] == 0


def test_the_questions_cannot_be_imported_in_the_kernel(graded):
    question = graded[2]["peek"]["questions"][LOGIT]
    assert "ModuleNotFoundError" in question["sentence"]
    assert "xaiteach.questions" in question["sentence"]


def test_silenced_probes_and_forged_messages_are_flagged(graded):
    assert f"probe_silenced:{LOGIT}" in graded[2]["silencer"]["flags"]
    assert points(graded[2]["patched"])[1:] == [2, 1]


def test_deleted_copied_and_reordered_cells_are_matched_and_flagged(graded):
    row = graded[2]["shuffled"]
    assert points(row) == [3, 0, 1]
    assert f"cell_missing:{GAP}" in row["flags"]
    assert f"duplicate_cell:{HEAD}" in row["flags"]
    assert f"reordered:{LOGIT}" in row["flags"]


def test_a_dead_kernel_costs_the_question_that_killed_it(graded):
    row = graded[2]["=cmd"]
    assert row["status"] == "crashed"
    assert points(row) == [3, 2, 0]


def test_a_student_without_a_file_is_missing(graded):
    assert graded[2]["absent"]["status"] == "missing"


def test_an_answer_that_breaks_a_later_setup_cell_costs_nobody_a_point(graded):
    row = graded[2]["breaker"]
    assert points(row) == [3, 2, 1]
    assert f"broke_setup:{LOGIT}" in row["flags"]


def test_a_thread_that_kills_the_kernel_later_costs_at_most_its_own_question(graded):
    assert points(graded[2]["bomb"])[1:] == [2, 1]


def test_sys_exit_and_half_a_surrogate_are_only_wrong_answers(graded):
    for student, words in (("exits", "SystemExit"), ("surrogate", "ValueError")):
        row = graded[2][student]
        assert (points(row), row["status"]) == ([0, 2, 1], "graded")
        assert words in row["questions"][LOGIT]["sentence"]


def test_a_right_answer_below_a_timing_magic_is_right_and_flagged(graded):
    row = graded[2]["timed"]
    assert (row["total"], row["flags"]) == (6, [f"magic:{LOGIT}"])


def test_a_star_import_does_not_silence_the_probe(graded):
    assert points(graded[2]["star"])[0] == 3  # what torch's `cat` then does to the notebook's own is the student's


def test_a_message_can_carry_no_fresh_case_out(graded):
    sentence = graded[2]["leak"]["questions"][LOGIT]["sentence"]
    assert "LEAK 1 False" in sentence
    page = (graded[1] / "feedback" / "leak.html").read_text(encoding="utf-8")
    assert "LEAK 3" not in page


def test_nothing_of_the_run_is_left_in_the_output_folder(graded):
    kept = {path.name for path in graded[1].iterdir()}
    assert kept == {"cache", "feedback", "grades.csv", "grades.json", "run.json", ".lock"}


def test_a_student_id_that_is_no_utf8_is_written_out(graded):
    row = graded[2]["caf\\xe9"]
    assert row["total"] == 6
    assert row["safe_id"].isascii()


def test_a_fault_of_our_own_costs_one_row_and_is_named(graded, folder, tmp_path, monkeypatch):
    def broken(unit, submission):
        if submission.student == "right":
            raise RuntimeError("a bug")
        return schedule.Graded(submission)

    monkeypatch.setattr(schedule, "grade_submission", broken)
    _, out, _ = graded
    run = grade(folder, out)
    row = next(r for r in run.book["rows"] if r["student_id"] == "right")
    assert row["flags"] == ["grader_fault"]
    assert "not the student's fault (RuntimeError: a bug)" in row["reason"]
    assert len(run.rows) == len(graded[2])
    monkeypatch.undo()
    grade(folder, out)  # what follows reads this folder


def test_the_csv_is_the_contracts_and_no_cell_is_a_formula(graded):
    _, out, _ = graded
    with (out / "grades.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.reader(stream))
    scored = [q.id for q in of_unit(UNIT) if q.kind != "prediction"]
    assert rows[0] == ["student_id", "unit", "status", *scored, "total", "possible", "flags"]
    assert [row[0] for row in rows[1:]] == sorted((row[0] for row in rows[1:]), key=lambda s: s.lstrip("'"))
    assert rows[1][0] == "'=cmd"


def test_every_student_has_a_page_that_shows_no_fresh_case_and_no_script(graded):
    _, out, rows = graded
    for row in rows.values():
        page = (out / "feedback" / f"{row['safe_id']}.html").read_text(encoding="utf-8")
        assert "fresh 0" not in page
        assert "<script" not in page
    assert "unrolled the channels last" in (out / "feedback" / "mistake.html").read_text(encoding="utf-8")


def test_the_run_is_recorded_with_seed_sandbox_and_versions(graded):
    record = json.loads((graded[1] / "run.json").read_text(encoding="utf-8"))
    assert (record["seed"], record["sandbox"]) == (7, "bubblewrap")
    assert set(record["versions"]) == {"nbval", "numpy", "python", "torch", "xaiteach"}


def test_a_second_run_reads_what_is_kept_and_changes_nothing(graded, folder, monkeypatch):
    _, out, _ = graded
    before = {name: (out / name).read_bytes() for name in ("grades.json", "grades.csv")}
    monkeypatch.setattr(schedule, "run", lambda *a, **k: pytest.fail("nothing had to run"))
    again = grade(folder, out, workers=2)
    assert {name: (out / name).read_bytes() for name in before} == before
    assert again.moved == []


def test_another_seed_for_the_same_folder_is_refused(graded, folder):
    with pytest.raises(OptionError, match="graded with seed 7"):
        grade(folder, graded[1], seed=8)


def test_a_changed_credit_is_judged_anew_without_running_anything(graded, folder, monkeypatch):
    _, out, rows = graded
    question = find(LOGIT)
    dearer = tuple(dataclasses.replace(m, credit=0.7) if m.name == "channels_last" else m for m in question.mistakes)
    monkeypatch.setattr(schedule, "run", lambda *a, **k: pytest.fail("nothing had to run"))
    unit = schedule.load_master(UNIT)
    keys = keys_of(question, cases_of(question, 7, fresh=True))
    assert rows["mistake"]["questions"][LOGIT]["points"] == 1.5
    raw = next(
        Raw.from_json(json.loads(path.read_text()))
        for path in (out / "cache").glob("*.json")
        if result_of(question, keys, Raw.from_json(json.loads(path.read_text())), Answer("")).verdict.mistake
        == "channels_last"
    )
    changed = dataclasses.replace(question, mistakes=dearer)
    assert result_of(changed, keys, raw, Answer(unit.references[LOGIT])).points == pytest.approx(2.1)


def test_who_moved_and_by_how_much_is_told(graded):
    book = graded[0].book
    before = json.loads(json.dumps(book))
    row = next(r for r in before["rows"] if r["student_id"] == "mistake")
    row["total"] = 3.0
    assert report.moves(before, book) == ["mistake, 02_gradcam: 3 -> 4.5 (+1.5)"]


def test_a_killed_run_goes_on_to_an_identical_gradebook(tmp_path, folder, graded):
    """SIGKILL in the middle, then the same command again; nothing is lost and no byte differs from a run in one go."""
    few = tmp_path / "subs"
    few.mkdir()
    for student in ("right", "mistake", "shuffled", "blank"):
        (few / student).symlink_to(folder / student)  # replaced by copies below: links are not followed
        (few / student).unlink()
        hand_in(few, student, (folder / student / f"{UNIT}.ipynb").read_bytes())
    out = tmp_path / "out"
    command = [
        sys.executable,
        "-m",
        "xaiteach.cli",
        "grade",
        str(few),
        "--out",
        str(out),
        "--seed",
        "7",
        "--workers",
        "1",
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 120
    while len(list((out / "cache").glob("*.json"))) < 4 and time.monotonic() < deadline:
        if process.poll() is not None:
            break
        time.sleep(0.1)
    assert process.poll() is None, "it was to be killed before it had finished"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (out / "grades.json").exists()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    whole = grade(few, tmp_path / "whole", seed=7, workers=2)
    assert (out / "grades.json").read_bytes() == (tmp_path / "whole" / "grades.json").read_bytes()
    assert (out / "grades.csv").read_bytes() == (tmp_path / "whole" / "grades.csv").read_bytes()
    assert {row["student_id"]: row["total"] for row in whole.book["rows"]}["mistake"] == 4.5


def test_grading_without_bubblewrap_refuses_and_names_the_way_out(tmp_path, folder, monkeypatch):
    monkeypatch.setattr(grading, "bubblewrap_problem", lambda: "bwrap is not installed: apt-get install bubblewrap.")
    with pytest.raises(SetupError, match=r"apt-get install bubblewrap.*--no-sandbox"):
        grade(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_two_graders_do_not_share_an_output_folder(graded, folder):
    import fcntl

    with (graded[1] / ".lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(SetupError, match="another grading run"):
            grade(folder, graded[1])


def test_an_output_folder_among_the_students_is_refused(folder):
    for out in (folder, folder / "out"):
        with pytest.raises(OptionError, match="taken for a student"):
            grade(folder, out)


def test_an_output_folder_that_cannot_be_made_is_said(folder, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(SetupError, match="cannot be made"):
        grade(folder, tmp_path / "file" / "out")


def test_without_a_sandbox_the_record_says_so(tmp_path):
    hand_in(tmp_path / "subs", "right", filled({**RIGHT}))
    run = grade(tmp_path / "subs", tmp_path / "out", seed=1, sandboxed=False)
    assert run.book["rows"][0]["total"] == 6
    assert json.loads((tmp_path / "out" / "run.json").read_text())["sandbox"] == "none"


@pytest.fixture
def chained(monkeypatch, tmp_path):
    """The unit with its second question made to build on the first one's function, as later units do."""
    from xaiteach.grading import inject

    master = load_master(UNIT)
    gap = dataclasses.replace(
        find(GAP), id="gradcam.built_on", kind="function", answer="twice", depends_on=(LOGIT,), context="",
        cases=find(LOGIT).cases, probe=find(LOGIT).probe,
        expected=lambda case: {"gradient": 2 * find(LOGIT).expected(case)["gradient"]},
        mistakes=tuple(
            dataclasses.replace(m, wrong=f"def twice(A, V, b, c):\n    return A * {i + 3}.0\n")
            for i, m in enumerate(find(GAP).mistakes[:3])
        ),
        variants=tuple(
            dataclasses.replace(v, source="def twice(A, V, b, c):\n    return 2 * V[c].reshape(A.shape)\n")
            for v in find(GAP).variants
        ),
    )  # fmt: skip
    known = {LOGIT: find(LOGIT), gap.id: gap}
    twice = "def twice(A, V, b, c):\n    return 2 * logit_gradient(A, V, b, c)\n"
    chain = dataclasses.replace(
        master, steps=(*master.steps[:2], ("answer", gap.id)),
        references={LOGIT: master.references[LOGIT], gap.id: twice},
        stubs={LOGIT: master.stubs[LOGIT], gap.id: "def twice(A, V, b, c):\n    return ...\n"},
    )  # fmt: skip
    monkeypatch.setattr(inject, "find", lambda question: known.get(question) or find(question))
    monkeypatch.setattr(schedule, "load_master", lambda unit: chain)
    with schedule.prepare(UNIT, 3, tmp_path / "cache", sandboxed=True) as unit:
        yield unit, twice, gap.id


def submission(sources):
    from xaiteach.grading.collect import StudentCell

    cells = tuple(StudentCell(i, "", source) for i, source in enumerate(sources))
    return Submission("ann", UNIT, cells=cells)


def test_an_answer_that_fails_only_through_an_earlier_one_counts_in_full(chained):
    unit, twice, later = chained
    wrong = "def logit_gradient(A, V, b, c):\n    return V[0].reshape(A.shape) + 1\n"
    row = schedule.grade_submission(unit, submission([wrong, twice]))
    first, second = row.results
    assert (first.verdict.outcome, first.points) == ("wrong_value", 0)
    assert (second.verdict.outcome, second.follow_through, second.points) == ("right", True, find(GAP).points)
    assert f"follow_through:{later}" in row.flags


def test_a_raised_deadline_and_a_changed_view_are_new_runs(chained):
    unit, twice, later = chained
    sources = {LOGIT: RIGHT[LOGIT], later: twice}
    key = schedule._key(unit, sources, later)
    assert schedule._key(dataclasses.replace(unit, base="another view"), sources, later) != key
    assert schedule._key(unit, {**sources, LOGIT: "# changed\n" + RIGHT[LOGIT]}, later) != key
    assert schedule._base(unit.view, sandboxed=True) == unit.base != schedule._base(unit.view, sandboxed=False)


def test_a_right_answer_after_a_blank_one_counts_in_full(chained):
    unit, twice, _ = chained
    blank_one = "def logit_gradient(A, V, b, c):\n    raise NotImplementedError\n"
    row = schedule.grade_submission(unit, submission([blank_one, twice]))
    assert [result.points for result in row.results] == [0, find(GAP).points]


def test_an_answer_that_is_wrong_itself_does_not_follow_through(chained):
    unit, _, _ = chained
    wrong = "def logit_gradient(A, V, b, c):\n    return V[0].reshape(A.shape) + 1\n"
    also = "def twice(A, V, b, c):\n    return 5 * logit_gradient(A, V, b, c) - 1\n"
    row = schedule.grade_submission(unit, submission([wrong, also]))
    assert [result.points for result in row.results] == [0, 0]
    assert not row.results[1].follow_through
