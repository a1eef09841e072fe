"""Build, and the greens that can go red: stale notebooks, sabotaged solutions, mistakes that slip through."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from xaiteach.authoring import build, verify
from xaiteach.errors import NotebookSourceError, OptionError
from xaiteach.questions import Mistake, find, of_unit
from xaiteach.runtime import course_root

UNIT = "00_start_here"


@pytest.fixture
def course(tmp_path):
    """Copy of unit 00 of the course, built as it lies in the checkout."""
    for folder in ("notebooks", "solutions", "exercises"):
        (tmp_path / folder).mkdir()
        for path in (course_root() / folder).glob(f"{UNIT}.*"):
            shutil.copy(path, tmp_path / folder)
    return tmp_path


def edit(path, old, new):
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def lax(path: Path) -> subprocess.CompletedProcess[str]:
    """Real nbval, as an instructor calls it."""
    options = ["--nbval-lax", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", "."]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *options, path.name],
        capture_output=True, text=True, cwd=path.parent, check=False,
    )  # fmt: skip


def test_the_course_in_the_checkout_is_fresh():
    assert build.stale() == []


def test_a_changed_source_is_stale(course):
    edit(course / "notebooks" / f"{UNIT}.py", "Start here", "Begin here")
    assert build.stale(course) == [f"notebooks/{UNIT}.ipynb was built from another source: xaiteach build {UNIT}"]


def test_a_changed_master_makes_both_its_notebooks_stale(course):
    edit(course / "solutions" / f"{UNIT}.py", "heat[mask].sum()", "(heat * mask).sum()")
    assert [line.split()[0] for line in build.stale(course)] == [f"solutions/{UNIT}.ipynb", f"exercises/{UNIT}.ipynb"]


def test_an_edit_by_hand_is_stale(course):
    edit(course / "exercises" / f"{UNIT}.ipynb", "return ...", "return 0")
    assert build.stale(course) == [
        f"exercises/{UNIT}.ipynb was edited by hand (its source was not): xaiteach build {UNIT}"
    ]


def test_a_missing_a_broken_and_an_orphan_notebook_are_findings(course):
    (course / "exercises" / f"{UNIT}.ipynb").unlink()
    (course / "notebooks" / f"{UNIT}.ipynb").write_text("{", encoding="utf-8")
    (course / "solutions" / "77_gone.ipynb").write_text("{}", encoding="utf-8")
    found = "\n".join(build.stale(course))
    assert f"exercises/{UNIT}.ipynb is missing" in found
    assert f"notebooks/{UNIT}.ipynb cannot be read" in found
    assert "solutions/77_gone.ipynb has no source" in found


def test_a_changed_question_makes_its_notebooks_stale(course, monkeypatch):
    from xaiteach.authoring import masters

    changed = tuple(dataclasses.replace(question, points=2) for question in of_unit(UNIT))
    monkeypatch.setattr(masters, "of_unit", lambda unit: changed)
    assert len(build.stale(course)) == 3  # the lesson's hash holds the unit's questions, too


def test_an_unknown_unit_is_refused():
    with pytest.raises(OptionError, match="did you mean '02_gradcam'"):
        build.sources(units=["02_gradcamm"])


def test_units_go_by_number_slug_or_full_name():
    for name in ("02", "gradcam", "02_gradcam"):
        assert {source.unit for source in build.sources(units=[name])} == {"02_gradcam"}


@pytest.mark.slow
def test_two_builds_give_the_same_bytes_and_those_of_the_checkout(course):
    twice = []
    for _ in range(2):
        list(build.build(course, [UNIT]))
        twice.append({p.name + p.parent.name: p.read_bytes() for p in course.rglob("*.ipynb")})
    assert twice[0] == twice[1]
    notebooks = {json.dumps(_without_pictures(json.loads(text))) for text in twice[0].values()}
    kept = [course_root() / folder / f"{UNIT}.ipynb" for folder in ("notebooks", "solutions", "exercises")]
    assert notebooks == {json.dumps(_without_pictures(json.loads(p.read_bytes()))) for p in kept}


def _without_pictures(notebook):
    """Pixels and last digits may differ between versions of matplotlib and torch; everything else must not."""
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                output.clear()
    return notebook


@pytest.mark.slow
def test_a_master_whose_own_answer_is_wrong_is_not_built(course):
    edit(course / "solutions" / f"{UNIT}.py", "heat[mask].sum()", "heat[mask].mean()")
    before = (course / "solutions" / f"{UNIT}.ipynb").read_bytes()
    with pytest.raises(NotebookSourceError, match="own answer does not pass"):
        list(build.build(course))
    assert (course / "solutions" / f"{UNIT}.ipynb").read_bytes() == before


@pytest.mark.slow
def test_a_cell_that_raises_or_warns_is_not_built(course):
    path = course / "notebooks" / f"{UNIT}.py"
    edit(path, "import torch\n", "import torch, sys\nsys.stderr.write('careful')\n")
    with pytest.raises(NotebookSourceError, match="writes to stderr"):
        list(build.build(course, [UNIT]))
    edit(path, "sys.stderr.write('careful')", "1 / 0")
    with pytest.raises(NotebookSourceError, match="ZeroDivisionError"):
        list(build.build(course, [UNIT]))


@pytest.mark.slow
def test_nbval_lax_passes_on_the_solution_and_fails_on_a_sabotaged_one(course):
    path = course / "solutions" / f"{UNIT}.ipynb"
    assert lax(path).returncode == 0
    edit(path, "return heat[mask].sum() / heat.sum()", "return heat[mask].mean() / heat.mean()")
    done = lax(path)
    assert done.returncode == 1
    assert "Cell outputs differ" in done.stdout


def test_verify_finds_everything_in_order():
    rows = verify.verify_all(seeds=range(2))
    assert [(row.question, row.problems) for row in rows if not row.ok] == []
    assert all(row.mistakes_caught == row.mistakes for row in rows)


@pytest.mark.parametrize(("question", "times"), [("start_here.energy_share", 3), ("lime_vs_gradcam.edges", 1)])
def test_a_question_is_verified_as_often_as_its_seeds_make_a_difference(question, times, monkeypatch):
    tried = []
    monkeypatch.setattr(verify, "_verify_seed", lambda question, master, seed, *rest: tried.append(seed))
    verify.verify_question(find(question), seeds=range(3))
    assert tried == list(range(times))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("def energy_share(heat, mask):\n    return heat[mask].sum() / heat.sum()\n", "tolerances apart"),
        ("def energy_share(heat, mask):\n    return heat[mask].sum() / heat.sum() * 1.0003\n", "tolerances apart"),
        ("def energy_share(heat, mask):\n    return mask.double().mean()\n", "is told as 'area'"),
        ("def energy_share(heat, mask):\n    return 1 / 0\n", "is told as 'wrong_form'"),
        ("def energy_share(heat, mask)\n", "its own code stops with SyntaxError"),
    ],
)
def test_a_mistake_that_slips_through_fails_verify(wrong, words):
    question = find("start_here.energy_share")
    bad = dataclasses.replace(question, mistakes=(*question.mistakes, Mistake("slips", wrong, "s", 0.1)))
    row = verify.verify_question(bad, seeds=range(2))
    assert not row.ok
    assert any(words in problem for problem in row.problems), row.problems


def test_a_variant_that_is_wrong_and_an_expected_that_is_wrong_fail_verify():
    question = find("start_here.energy_share")
    off = dataclasses.replace(question, expected=lambda case: {"share": 0.123})
    master = verify.master_namespaces(UNIT)[question.id]
    problems = "\n".join(verify.verify_question(off, master, seeds=range(1)).problems)
    assert "the model answer does not pass" in problems
    assert "variant 'product' does not pass" in problems


def test_verify_reports_the_fields_of_the_contract():
    row = verify.verify_question(find("gradcam.blank_head"), seeds=range(1))
    assert list(row.as_json()) == [
        "question", "unit", "kind", "points", "minutes", "stretch", "mistakes", "mistakes_caught", "variants",
        "variants_passed", "ok",
    ]  # fmt: skip
