"""The answers of the course itself and of the student, read from notebooks as text: nothing is run here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from xaiteach.errors import MissingExtraError, NotebookSourceError
from xaiteach.questions import find, unit_of
from xaiteach.questions.sources import clean, helpers
from xaiteach.runtime import course_root, find_course

__all__ = [
    "BEGIN",
    "END",
    "answer_cells",
    "cell_source",
    "read_notebook",
    "reference",
    "student_answer",
    "without_fences",
]

BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"


def read_notebook(path: Path) -> dict[str, Any]:
    """Notebook as plain JSON.

    Raises
        NotebookSourceError: no file, or not a notebook.
    """
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise NotebookSourceError(f"{path} cannot be read as a notebook ({error}).") from error
    if not isinstance(notebook, dict) or not isinstance(notebook.get("cells"), list):
        raise NotebookSourceError(f"{path} is JSON, but has no list of cells; it is not a notebook.")
    return notebook


def cell_source(cell: dict[str, Any]) -> str:
    """Source of a cell, which the format keeps as a text or as a list of lines."""
    source = cell.get("source", "")
    return "".join(source) if isinstance(source, list) else str(source)


def answer_cells(notebook: dict[str, Any]) -> dict[str, str]:
    """Question id -> source, for the cells whose metadata says they are answers; the first of several counts."""
    found: dict[str, str] = {}
    for cell in notebook["cells"]:
        mark = (cell.get("metadata") or {}).get("xaiteach") or {}
        if cell.get("cell_type") == "code" and mark.get("role") == "answer":
            found.setdefault(mark.get("question", ""), cell_source(cell))
    return found


def without_fences(source: str) -> str:
    """Source without its fence lines."""
    lines = [line for line in source.splitlines() if line.strip() not in (BEGIN, END)]
    return "\n".join(lines).strip("\n") + "\n"


def has_solutions(unit: str) -> bool:
    """Whether this release carries the model answers of a unit (full name)."""
    return _master(unit).is_file()


def _master(unit: str) -> Path:
    return course_root() / "solutions" / f"{unit}.ipynb"


def reference(question_id: str) -> str:
    """Model answer to a question, as in the master.

    Raises
        MissingExtraError: this release carries no solutions.
        NotebookSourceError: the master has no answer cell for it.
    """
    unit = unit_of(question_id)
    master = _master(unit)
    if not master.is_file():
        raise MissingExtraError(f"The model answers of unit {unit} are not part of this release. Ask your instructor.")
    answers = answer_cells(read_notebook(master))
    if question_id not in answers:
        raise NotebookSourceError(f"{master.name} has no answer cell for {question_id!r}. Try: xaiteach build {unit}")
    return without_fences(answers[question_id])


def student_answer(question_id: str) -> str | None:
    """Source of the student's own answer in the course folder here, helper cells before it; None where there is none.

    It is what was last saved: a notebook that is open may hold something newer.
    """
    course = find_course()
    if course is None:
        return None
    path = course / "exercises" / f"{unit_of(question_id)}.ipynb"
    if not path.is_file():
        return None
    notebook = read_notebook(path)
    source = answer_cells(notebook).get(question_id)
    if source is None or not source.strip():
        return None
    cells = [c for c in notebook["cells"] if c.get("cell_type") == "code"]
    free = {
        i: str(clean(cell_source(cell)))
        for i, cell in enumerate(cells)
        if ((cell.get("metadata") or {}).get("xaiteach") or {}).get("role") != "answer"
    }
    return "\n\n".join([*helpers(source, free, {find(question_id).answer}), source])
