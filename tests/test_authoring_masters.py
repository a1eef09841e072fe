"""Masters to notebooks: roles, fences, ids, item headers, student copies."""

from __future__ import annotations

import json
from unittest import mock

import pytest

from xaiteach.authoring import masters
from xaiteach.authoring.masters import read_source, student_copy
from xaiteach.errors import NotebookSourceError
from xaiteach.questions import find, of_unit
from xaiteach.runtime import course_root

UNITS = [
    "00_start_here", "01_gradients", "02_gradcam", "03_video_cam", "04_lime_fit", "05_lime_sparsity",
    "06_lime_vs_gradcam",
]  # fmt: skip

ANSWER = """\
# %% xaiteach={"role": "answer", "question": "start_here.energy_share"}
def energy_share(heat, mask):
    ### BEGIN SOLUTION
    return heat[mask].sum() / heat.sum()
    ### END SOLUTION
"""
CHECK = """\
# %% xaiteach={"role": "check", "question": "start_here.energy_share"}
check("start_here.energy_share")
"""


def master(tmp_path, text):
    path = tmp_path / "solutions" / "00_start_here.py"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    with mock.patch.object(masters, "of_unit", return_value=(find("start_here.energy_share"),)):
        return read_source(path)


def answer_of(notebook):
    return next(c for c in notebook["cells"] if (c["metadata"].get("xaiteach") or {}).get("role") == "answer")


def test_stub_replaces_the_fence_at_its_indentation(tmp_path):
    source = master(tmp_path, ANSWER + "\n" + CHECK)
    assert answer_of(student_copy(source))["source"] == "def energy_share(heat, mask):\n    return ..."
    assert "BEGIN SOLUTION" in answer_of(source.notebook)["source"]


def test_cell_ids_come_from_the_question_and_the_role(tmp_path):
    source = master(tmp_path, "# %% [markdown]\n# # Title\n\n" + ANSWER + "\n" + CHECK)
    assert [c["id"] for c in source.notebook["cells"]][1:] == [
        "start_here-energy_share-answer", "start_here-energy_share-check",
    ]  # fmt: skip


def test_other_ids_stay_when_text_under_another_heading_changes(tmp_path):
    head = (
        "# %% [markdown]\n# # One\n\n# %%\nx = 1\n\n# %% [markdown]\n# # Two\n\n# %%\ny = 2\n\n" + ANSWER + "\n" + CHECK
    )
    before = [c["id"] for c in master(tmp_path, head).notebook["cells"]]
    more = head.replace("x = 1\n", "x = 1\n\n# %%\nz = 3\n")
    after = [c["id"] for c in master(tmp_path, more).notebook["cells"]]
    assert set(before) < set(after)


def test_check_cells_carry_nbvals_tag(tmp_path):
    cells = master(tmp_path, ANSWER + "\n" + CHECK).notebook["cells"]
    assert cells[-1]["metadata"]["tags"] == ["nbval-check-output"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (ANSWER.replace("    ### END SOLUTION\n", "") + "\n" + CHECK, r"line 3: ### BEGIN SOLUTION has no"),
        (ANSWER.replace("    ### END SOLUTION\n", ""), r"line 3: .* before the file ends"),
        (ANSWER.replace("    ### BEGIN SOLUTION\n", "") + CHECK, r"line 4: ### END SOLUTION without"),
        (ANSWER.replace("### END", "### BEGIN") + CHECK, r"line 5: ### BEGIN SOLUTION inside the one of line 3"),
        ("# %%\n### BEGIN SOLUTION\nx = 1\n### END SOLUTION\n", r"line 2: .* outside an answer cell"),
        (ANSWER.replace("### BEGIN SOLUTION", "## begin solution") + CHECK, r"line 3: a fence is exactly"),
        (ANSWER.replace("energy_share\"}", "energy_shar\"}") + CHECK, r"did you mean 'start_here.energy_share'"),
        ('# %% xaiteach={"role": "anser"}\nx = 1\n', r"role is one of setup, answer"),
        (ANSWER, r"one answer and one check cell"),
        (ANSWER + CHECK + "\n# %%\nplot();\n", r"no cell ends in ';'"),
        ("# %% [markdown]\n# {{ item nothing.here }}\n", r"unknown question"),
        ("# %% [markdown]\n# {{ points }}\n", r"are filled in"),
    ],
)  # fmt: skip
def test_a_source_out_of_order_is_refused_naming_file_and_reason(tmp_path, text, words):
    with pytest.raises(NotebookSourceError, match=words) as caught:
        master(tmp_path, text)
    assert "00_start_here" in str(caught.value)


@pytest.mark.parametrize("unit", UNITS)
def test_item_headers_say_points_minutes_difficulty_and_importance(unit):
    source = read_source(course_root() / "solutions" / f"{unit}.py")
    text = "\n".join(c["source"] for c in source.notebook["cells"] if c["cell_type"] == "markdown")
    for question in of_unit(unit):
        worth = "a prediction, not scored" if question.kind == "prediction" else f"{question.points:g} point"
        assert f"`{question.id}` · {worth}" in text
        assert f"{question.minutes} minute" in text
    assert "{{" not in text


@pytest.mark.parametrize("unit", UNITS)
def test_students_get_every_question_blank_and_no_word_of_a_solution(unit):
    source = read_source(course_root() / "solutions" / f"{unit}.py")
    text = json.dumps(student_copy(source))
    assert "SOLUTION" not in text
    for cell in source.notebook["cells"]:
        if (cell["metadata"].get("xaiteach") or {}).get("role") == "answer":
            fenced = cell["source"].partition("### BEGIN SOLUTION")[2].partition("### END SOLUTION")[0].strip()
            assert json.dumps(fenced)[1:-1] not in text


@pytest.mark.parametrize("folder", ["notebooks", "solutions"])
@pytest.mark.parametrize("unit", UNITS)
def test_cells_keep_to_the_house_lengths(folder, unit):
    """Style: a text cell has 120 words at most, a code cell 15 visible lines."""
    source = read_source(course_root() / folder / f"{unit}.py")
    for cell in source.notebook["cells"]:
        if cell["cell_type"] == "markdown":
            assert len(cell["source"].split()) <= 120, cell["source"]
        else:
            assert len(cell["source"].splitlines()) <= 15, cell["source"]
