"""Check a whole notebook from a fresh start: run it in a new kernel and judge each answer right after its cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nbclient.exceptions import CellTimeoutError, DeadKernelError

from xaiteach.checks.kernel import execute
from xaiteach.checks.references import cell_source, read_notebook
from xaiteach.checks.run import public_keys
from xaiteach.errors import NotebookSourceError
from xaiteach.questions import UNITS, Question, Verdict, judge, of_unit, probing
from xaiteach.questions.running import probe_source, request
from xaiteach.questions.sources import clean, defined_names

__all__ = ["Checked", "check_notebook"]

CELL_SECONDS = 120


@dataclass(frozen=True)
class Checked:
    """Verdict on one question of a notebook."""

    question: Question
    verdict: Verdict


def check_notebook(path: Path) -> list[Checked]:
    """Verdicts on all questions of a notebook's unit, from a fresh start, on the public cases.

    The file is only read. Cells that raise do not stop the others; one that never ends is stopped after two minutes.

    Raises
        NotebookSourceError: not a notebook, or of no unit.
    """
    notebook = read_notebook(path)
    unit = _unit(path, notebook)
    cells = _cells(notebook, of_unit(unit))
    nodes: list[dict[str, Any]] = [
        {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": [], "source": s} for s, _ in cells
    ]
    plain = {"cells": nodes, "metadata": {}, "nbformat": 4, "nbformat_minor": 4}
    stopped = ""
    try:
        executed = execute(plain, path.resolve().parent, seconds=CELL_SECONDS, allow_errors=True)
    except (CellTimeoutError, DeadKernelError) as error:
        stopped = "a cell did not end in time" if isinstance(error, CellTimeoutError) else "the Python process died"
        executed = getattr(error, "partial", plain)
    payloads = [
        output["data"][probing.MIME]
        for cell in executed["cells"]
        for output in cell.get("outputs", [])
        if probing.MIME in output.get("data", {})
    ]
    return [_checked(question, payloads, stopped) for question in of_unit(unit)]


def _checked(question: Question, payloads: Sequence[dict[str, Any]], stopped: str) -> Checked:
    mine = [payload for payload in payloads if payload.get("question") == question.id]
    if not mine and stopped:
        verdict = Verdict(question.id, "not_attempted", sentence=f"Not reached: {stopped}.")
        return Checked(question, verdict)
    return Checked(question, judge(question, public_keys(question.id), mine))


def _unit(path: Path, notebook: dict[str, Any]) -> str:
    mark = (notebook.get("metadata") or {}).get("xaiteach") or {}
    unit = mark.get("unit") or path.stem
    if unit not in UNITS:
        raise NotebookSourceError(
            f"{path} belongs to no unit with questions. Expected one of exercises/: {', '.join(UNITS)}"
        )
    return str(unit)


def _cells(notebook: dict[str, Any], questions: Sequence[Question]) -> list[tuple[str, str]]:
    """Sources to run, each answer cell followed by its probe; magics and markers are left out."""
    sources = [str(clean(cell_source(cell))) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    last: dict[str, int] = {}
    for index, source in enumerate(sources):
        for question in questions:
            if question.answer in defined_names(source):
                last[question.id] = index
    cells: list[tuple[str, str]] = []
    for index, source in enumerate(sources):
        cells.append((source, ""))
        cells += [
            (probe_source(_ask(question)), question.id) for question in questions if last.get(question.id) == index
        ]
    return cells


def _ask(question: Question) -> str:
    return request(question, [key.case for key in public_keys(question.id)])
