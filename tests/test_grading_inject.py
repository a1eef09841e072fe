"""Matching a student's cells to questions: by id, by name, by similarity; flagged, and never by running anything."""

from __future__ import annotations

import copy

import pytest
from helpers_submissions import GAP, HEAD, LOGIT, UNIT, bare, blank, code_cell, filled, right_answers

from xaiteach.grading.collect import cell_of
from xaiteach.grading.inject import injected, load_master, match

MASTER = load_master(UNIT)


def cells_of(notebook):
    return [cell_of(i, cell) for i, cell in enumerate(notebook["cells"]) if cell["cell_type"] == "code"]


def matched(notebook):
    return match(MASTER, cells_of(notebook))


def place(notebook, question):
    return next(
        i
        for i, cell in enumerate(notebook["cells"])
        if (cell["metadata"].get("xaiteach") or {}).get("role") == "answer"
        and cell["metadata"]["xaiteach"]["question"] == question
    )


def test_answers_in_their_cells_carry_no_flag():
    answers = matched(filled(right_answers()))
    assert {q: a.flags for q, a in answers.items()} == dict.fromkeys(right_answers(), ())
    assert all(answer.attempted for answer in answers.values())


def test_the_untouched_notebook_is_not_attempted():
    assert not any(answer.attempted for answer in matched(blank()).values())


def test_a_deleted_cell_becomes_the_stub():
    notebook = filled(right_answers())
    del notebook["cells"][place(notebook, LOGIT)]
    answer = matched(notebook)[LOGIT]
    assert answer.flags == ("cell_missing",)
    assert answer.source == MASTER.stubs[LOGIT]


def test_reordered_cells_are_graded_in_the_masters_order_and_flagged():
    notebook = filled(right_answers())
    first, last = place(notebook, LOGIT), place(notebook, HEAD)
    notebook["cells"][first], notebook["cells"][last] = notebook["cells"][last], notebook["cells"][first]
    answers = matched(notebook)
    assert all("reordered" in answer.flags for answer in answers.values())
    assert "return V[c]" in answers[LOGIT].source


def test_of_copied_cells_the_last_filled_one_counts():
    notebook = filled(right_answers())
    index = place(notebook, HEAD)
    first = copy.deepcopy(notebook["cells"][index])
    first["source"] = 'blank_head = "a"'
    empty = copy.deepcopy(notebook["cells"][index])
    empty["source"] = MASTER.stubs[HEAD]
    notebook["cells"].insert(index, first)
    notebook["cells"].append(empty)
    answer = matched(notebook)[HEAD]
    assert '"b"' in answer.source
    assert "duplicate_cell" in answer.flags


def test_without_metadata_and_ids_the_defined_name_decides():
    answers = matched(bare(filled(right_answers())))
    assert all("matched_by_name" in answer.flags for answer in answers.values())
    assert "return V[c]" in answers[LOGIT].source


def test_an_answer_written_into_another_cell_is_found_by_its_name():
    notebook = blank()
    notebook["cells"].append(code_cell('blank_head = "b"'))
    answer = matched(notebook)[HEAD]
    assert answer.source.strip() == 'blank_head = "b"'
    assert "matched_by_name" in answer.flags


def test_a_misspelt_function_is_found_by_similarity_and_given_its_name():
    source = right_answers()[LOGIT].replace("def logit_gradient", "def logit_gradients")
    answers = matched({"cells": [code_cell(source)]})
    assert "matched_by_similarity" in answers[LOGIT].flags
    assert "renamed_answer" in answers[LOGIT].flags
    assert "logit_gradient = logit_gradients" in answers[LOGIT].source


def test_a_broken_answer_is_still_matched():
    notebook = filled({LOGIT: "def logit_gradient(A, V, b, c):\n    return V[c.reshape(A.shape)\n"})
    answer = matched(notebook)[LOGIT]
    assert answer.attempted
    assert answer.flags == ()


def test_helper_cells_come_along_transitively():
    notebook = filled({LOGIT: "def logit_gradient(A, V, b, c):\n    return like(V[c], A)\n"})
    notebook["cells"].insert(1, code_cell("import numpy as my_np\ndef inner(v):\n    return v"))
    notebook["cells"].insert(2, code_cell("def like(v, a):\n    return inner(v).reshape(a.shape)"))
    notebook["cells"].append(code_cell("def unrelated():\n    pass"))
    answer = matched(notebook)[LOGIT]
    assert "helper_cells" in answer.flags
    assert answer.source.index("def inner") < answer.source.index("def like") < answer.source.index("def logit")
    assert "unrelated" not in answer.source


def test_names_of_the_masters_setup_bring_no_helper():
    notebook = filled(right_answers())
    notebook["cells"].insert(1, code_cell("model = None"))
    assert matched(notebook)[GAP].flags == ()


@pytest.mark.parametrize(
    ("source", "flag"),
    [
        ('# NBVAL_SKIP\nblank_head = "b"\n', "nbval_marker"),
        ('!curl x\nblank_head = "b"\n', "magic"),
        ('%%bash\nblank_head="b"\n', "cell_magic"),
    ],
)
def test_markers_and_magics_are_taken_out_and_flagged(source, flag):
    answer = matched(filled({HEAD: source}))[HEAD]
    assert flag in answer.flags
    assert "!curl" not in answer.source
    assert "NBVAL" not in answer.source


def test_answers_merged_into_one_cell_are_both_found():
    notebook = filled({**right_answers(), GAP: f"{right_answers()[GAP]}\n{right_answers()[HEAD]}"})
    del notebook["cells"][place(notebook, HEAD)]
    answer = matched(notebook)[HEAD]
    assert 'blank_head = "b"' in answer.source
    assert "merged_cell" in answer.flags


def test_a_helper_that_is_filled_in_a_second_cell_comes_whole():
    notebook = filled({HEAD: 'blank_head = table["right"]\n'})
    notebook["cells"].append(code_cell("table = {}"))
    notebook["cells"].append(code_cell('table["right"] = "b"'))
    source = matched(notebook)[HEAD].source
    assert source.index("table = {}") < source.index('table["right"] = "b"') < source.index("blank_head")


def test_a_star_import_in_another_cell_comes_along_where_a_name_is_missing():
    notebook = filled({LOGIT: "def logit_gradient(A, V, b, c):\n    return reshape(V[c], A.shape)\n"})
    notebook["cells"].append(code_cell("from torch import *"))
    assert "from torch import *" in matched(notebook)[LOGIT].source


def test_a_very_long_sum_is_read():
    source = f"blank_head = 'b' if {'+'.join(['1'] * 5000)} else 'a'\n"
    assert matched(filled({HEAD: source}))[HEAD].attempted


def test_forbidden_names_are_flagged():
    source = "import torch\ndef logit_gradient(A, V, b, c):\n    return torch.autograd.grad(A, V)\n"
    assert matched(filled({LOGIT: source}))[LOGIT].flags == ("uses_autograd",)


def test_the_injected_notebook_holds_setup_answers_and_probes_and_nothing_else_of_the_student():
    notebook = filled(right_answers())
    notebook["cells"].insert(0, code_cell("import os; os._exit(1)"))
    sources = {question: answer.source for question, answer in matched(notebook).items()}
    built, cells = injected(MASTER, {q: sources[q] for q in (LOGIT, GAP, HEAD)}, {LOGIT: ("{}", "{}")})
    assert [(cell.role, cell.question) for cell in cells] == [
        ("setup", ""), ("setup", ""), ("answer", LOGIT), ("probe", LOGIT), ("probe", LOGIT),
        ("setup", ""), ("answer", GAP), ("setup", ""), ("answer", HEAD), ("setup", ""),
    ]  # fmt: skip
    text = "\n".join(cell["source"] for cell in built["cells"])
    assert "os._exit" not in text
    assert "check(" not in text
