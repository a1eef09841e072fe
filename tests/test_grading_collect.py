"""Finding and reading submissions: every file ends as one row, and nothing in it is run or followed."""

from __future__ import annotations

import json
import os

import pytest
from helpers_submissions import HEAD, UNIT, bare, blank, filled, hand_in, right_answers
from hypothesis import given
from hypothesis import strategies as st

from xaiteach.errors import OptionError
from xaiteach.grading import collect as collecting
from xaiteach.grading.collect import collect, safe_ids


def only(folder, **options):
    rows = collect(folder, **options)
    assert len(rows) == 1
    return rows[0]


def test_a_proper_submission_is_read(tmp_path):
    hand_in(tmp_path, "ann", blank())
    row = only(tmp_path)
    assert (row.student, row.unit, row.status, row.flags) == ("ann", UNIT, "ok", ())


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"  \n", "empty"),
        (b'{"cells": [', "not valid JSON"),
        (b"\xff\xfe\x00", "not valid JSON"),
        (b"[1, 2]", "not a notebook"),
        (b'{"nbformat": 4}', "no list of cells"),
        (b'{"cells": 3}', "no list of cells"),
        (b"[" * 100_000, "not valid JSON"),
    ],
)
def test_a_broken_file_is_unreadable_with_its_reason(tmp_path, content, reason):
    hand_in(tmp_path, "ann", content)
    row = only(tmp_path)
    assert row.status == "unreadable"
    assert reason in row.reason


def test_a_huge_file_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(collecting, "MAX_BYTES", 1000)
    hand_in(tmp_path, "ann", blank())
    assert "larger than" in only(tmp_path).reason


def test_a_student_folder_that_cannot_be_read_is_a_row(tmp_path, monkeypatch):
    hand_in(tmp_path, "ann", blank())
    hand_in(tmp_path, "bob", blank())
    listed = type(tmp_path).iterdir

    def refuse(path):
        if path.name == "bob":
            raise PermissionError(13, "Permission denied")
        return listed(path)

    monkeypatch.setattr(type(tmp_path), "iterdir", refuse)
    assert [(row.student, row.status) for row in collect(tmp_path)] == [("ann", "ok"), ("bob", "unreadable")]


def test_a_cell_that_is_too_long_says_so_and_is_not_parsed(tmp_path):
    hand_in(tmp_path, "ann", filled({HEAD: "x=1\n" * 100_000}))
    cells = {cell.question: cell.source for cell in only(tmp_path).cells if cell.role == "answer"}
    assert "too long to be graded (400000 characters)" in cells[HEAD]


def test_no_id_can_take_anothers_page():
    assert len(set(safe_ids(["~x", "x-52fa2173", "A-ca978112", "a-ca978112", "con"]).values())) == 5
    assert safe_ids(["con"])["con"] != "con"


def test_a_folder_where_no_notebook_tells_its_unit_is_refused(tmp_path):
    hand_in(tmp_path, "ann", "{", "homework.ipynb")
    with pytest.raises(OptionError, match="--unit"):
        collect(tmp_path)
    assert only(tmp_path, units=[UNIT]).status == "unreadable"


def test_links_folders_and_pipes_are_not_followed(tmp_path):
    secret = hand_in(tmp_path / "elsewhere", "x", filled(right_answers()))
    for student in ("link", "folder", "pipe"):
        (tmp_path / "subs" / student).mkdir(parents=True)
    (tmp_path / "subs" / "link" / f"{UNIT}.ipynb").symlink_to(secret)
    (tmp_path / "subs" / "folder" / f"{UNIT}.ipynb").mkdir()
    os.mkfifo(tmp_path / "subs" / "pipe" / f"{UNIT}.ipynb")
    (tmp_path / "subs" / "home").symlink_to(secret.parent)
    rows = {row.student: row for row in collect(tmp_path / "subs", [UNIT])}
    assert {row.status for row in rows.values()} == {"unreadable"}
    assert "symbolic link" in rows["link"].reason
    assert "symbolic link" in rows["home"].reason
    assert "regular file" in rows["pipe"].reason


def test_odd_cells_do_not_stop_the_reading(tmp_path):
    notebook = blank()
    notebook["cells"] += [None, 3, {"cell_type": "code"}, {"cell_type": "code", "source": None, "metadata": 7}]
    notebook["cells"].append({"cell_type": "code", "source": ["x = ", 1], "metadata": {"xaiteach": []}})
    hand_in(tmp_path, "ann", notebook)
    row = only(tmp_path)
    assert row.status == "ok"
    assert row.cells[-1].source == "x = 1"


@pytest.mark.parametrize(
    "notebook",
    [
        {"cells": [], "metadata": {"xaiteach": {"unit": ["02_gradcam"]}}},
        {"cells": [], "metadata": {"xaiteach": {"unit": {}}}},
        {"worksheets": [3, {"cells": 4}], "metadata": {}},
    ],
)
def test_metadata_of_the_wrong_kind_does_not_stop_the_batch(tmp_path, notebook):
    hand_in(tmp_path, "ann", notebook)
    hand_in(tmp_path, "bob", blank())
    assert [row.student for row in collect(tmp_path)] == ["ann", "bob"]


def test_a_notebook_of_format_3_is_read(tmp_path):
    cells = [{"cell_type": "code", "input": cell["source"]} for cell in blank()["cells"] if cell["cell_type"] == "code"]
    hand_in(tmp_path, "ann", {"nbformat": 3, "metadata": {}, "worksheets": [{"cells": cells}]})
    row = only(tmp_path)
    assert row.status == "ok"
    assert "metadata_stripped" in row.flags


def test_the_wrong_notebook_is_a_row_of_its_own(tmp_path):
    hand_in(tmp_path, "ann", blank("00_start_here"))
    row = only(tmp_path)
    assert (row.unit, row.status) == (UNIT, "wrong_assignment")
    assert "00_start_here" in row.reason


def test_a_renamed_file_is_known_by_its_metadata_and_a_stripped_one_by_its_answers(tmp_path):
    hand_in(tmp_path, "ann", blank(), "homework final.ipynb")
    hand_in(tmp_path, "bob", bare(filled(right_answers())), "untitled.ipynb")
    rows = collect(tmp_path)
    assert [(row.student, row.unit, row.status) for row in rows] == [("ann", UNIT, "ok"), ("bob", UNIT, "ok")]
    assert rows[0].flags == ("renamed_file",)
    assert rows[1].flags == ("renamed_file", "metadata_stripped")


def test_of_several_files_the_properly_named_one_counts(tmp_path):
    hand_in(tmp_path, "ann", filled(right_answers()))
    hand_in(tmp_path, "ann", blank(), f"{UNIT} (1).ipynb")
    row = only(tmp_path)
    assert row.file == f"{UNIT}.ipynb"
    assert "other_files" in row.flags


def test_a_student_who_handed_in_nothing_gets_a_row(tmp_path):
    hand_in(tmp_path, "ann", blank())
    (tmp_path / "bob").mkdir()
    assert [(row.student, row.status) for row in collect(tmp_path)] == [("ann", "ok"), ("bob", "missing")]


def test_checkpoints_and_hidden_files_are_passed_over(tmp_path):
    hand_in(tmp_path, "ann", blank())
    hand_in(tmp_path, "ann/.ipynb_checkpoints", "{")
    hand_in(tmp_path, ".git", "{")
    assert only(tmp_path).status == "ok"


def test_a_folder_that_is_none_or_holds_nobody_is_refused(tmp_path):
    with pytest.raises(OptionError, match="not a folder"):
        collect(tmp_path / "nowhere")
    with pytest.raises(OptionError, match=r"STUDENT/NN_slug.ipynb"):
        collect(tmp_path)


@given(st.lists(st.text(min_size=1, max_size=12), max_size=8, unique=True))
def test_safe_ids_are_distinct_file_names_whatever_the_student_ids(students):
    names = list(safe_ids(students).values())
    assert len({name.lower() for name in names}) == len(students)
    for name in names:
        assert name not in ("", ".", "..")
        assert not set(name) & set('/\\:*?"<>|\0\n')
        assert json.dumps(name).isascii()
