"""Make submissions as students hand them in: copies of the student notebook with cells filled in, or spoiled."""

from __future__ import annotations

import copy
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from xaiteach.checks.references import answer_cells, cell_source, read_notebook, reference
from xaiteach.questions import of_unit
from xaiteach.runtime import course_root

UNIT = "02_gradcam"
LOGIT, GAP, HEAD = "gradcam.logit_gradient", "gradcam.alpha_gap", "gradcam.blank_head"


def right_answers(unit: str = UNIT, only: Collection[str] = ()) -> dict[str, str]:
    """Model answers of a unit, or of some of its questions, as a student might hand them in."""
    return {question.id: reference(question.id) for question in of_unit(unit) if not only or question.id in only}


def blank(unit: str = UNIT) -> dict[str, Any]:
    """Student notebook, untouched."""
    return read_notebook(course_root() / "exercises" / f"{unit}.ipynb")


def filled(answers: Mapping[str, str], unit: str = UNIT) -> dict[str, Any]:
    """Student notebook with these answers in their cells; the rest stays blank."""
    notebook = copy.deepcopy(blank(unit))
    known = set(answer_cells(notebook))
    if not set(answers) <= known:
        raise KeyError(set(answers) - known)
    for cell in notebook["cells"]:
        mark = cell["metadata"].get("xaiteach") or {}
        if mark.get("role") == "answer" and mark["question"] in answers:
            cell["source"] = answers[mark["question"]]
    return notebook


def hand_in(folder: Path, student: str, notebook: Mapping[str, Any] | str | bytes, name: str = f"{UNIT}.ipynb") -> Path:
    """Write a submission; a text or bytes is written as it is."""
    path = folder / student / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(notebook, bytes):
        path.write_bytes(notebook)
    else:
        path.write_text(notebook if isinstance(notebook, str) else json.dumps(notebook), encoding="utf-8")
    return path


def bare(notebook: Mapping[str, Any]) -> dict[str, Any]:
    """Notebook as some editors leave it: no metadata, no ids, code cells only."""
    cells = [{"cell_type": "code", "source": cell_source(c)} for c in notebook["cells"] if c["cell_type"] == "code"]
    return {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 4}


def code_cell(source: str, **metadata: Any) -> dict[str, Any]:
    """New code cell, as a student would add one."""
    return {
        "cell_type": "code", "execution_count": None, "id": f"x{abs(hash(source)) % 10**8}",
        "metadata": metadata, "outputs": [], "source": source,
    }  # fmt: skip
