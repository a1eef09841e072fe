"""Check a whole notebook from a fresh start: run it in a new kernel and judge each answer right after its cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
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

__all__ = ["Checked", "CheckedNotebook", "check_notebook", "unit_of_notebook"]

OTHER_SECONDS = 120.0
_PAUSE = (
    "from xaiteach.checks.run import pause as _pause; _pause()"  # the notebook's own checks would run answers again
)


@dataclass(frozen=True)
class Checked:
    """Verdict on one question of a notebook."""

    question: Question
    verdict: Verdict


@dataclass(frozen=True)
class CheckedNotebook:
    """Verdicts on all questions of a notebook, and what else went wrong in its cells, a sentence each."""

    items: Sequence[Checked]
    notes: Sequence[str]


@dataclass(frozen=True)
class _Cell:
    """A cell to run: its number among the student's code cells (from 1), and the question it answers or probes."""

    source: str
    number: int
    question: Question | None = None
    probe: bool = False

    @property
    def seconds(self) -> float:
        return self.question.deadline_s if self.question else OTHER_SECONDS


def check_notebook(path: Path) -> CheckedNotebook:
    """Verdicts on all questions of a notebook's unit, from a fresh start, on the public cases.

    The file is only read. A cell that raises does not stop the others; an answer that does not end is stopped at its
    question's deadline.

    Raises
        NotebookSourceError: not a notebook, or of no unit.
    """
    notebook = read_notebook(path)
    questions = of_unit(_unit(path, notebook))
    cells = _cells(notebook, questions)
    nodes: list[dict[str, Any]] = [
        {
            "cell_type": "code", "execution_count": None, "metadata": {"seconds": cell.seconds},
            "outputs": [], "source": cell.source,
        }
        for cell in cells
    ]  # fmt: skip
    plain = {"cells": nodes, "metadata": {}, "nbformat": 4, "nbformat_minor": 4}
    died = ""
    try:
        executed = execute(plain, path.resolve().parent, seconds=OTHER_SECONDS, allow_errors=True)
    except (CellTimeoutError, DeadKernelError) as error:
        died = "the Python process died" if isinstance(error, DeadKernelError) else "a cell could not be stopped"
        executed = getattr(error, "partial", plain)
    outputs = [cell.get("outputs", []) for cell in executed["cells"]]
    items = [_checked(question, cells, outputs, died) for question in questions]
    return CheckedNotebook(items, _notes(cells, outputs))


def _errors(cells: Sequence[_Cell], outputs: Sequence[list[dict[str, Any]]]) -> list[tuple[_Cell, dict[str, Any]]]:
    return [
        (cell, output)
        for cell, shown in zip(cells, outputs, strict=True)
        for output in shown
        if output.get("output_type") == "error"
    ]


def _checked(question: Question, cells: Sequence[_Cell], outputs: Sequence[list[dict[str, Any]]], died: str) -> Checked:
    payloads = [
        output["data"][probing.MIME]
        for cell, shown in zip(cells, outputs, strict=True)
        if cell.probe and cell.question is question
        for output in shown
        if probing.MIME in output.get("data", {})
    ]
    verdict = judge(question, public_keys(question.id), payloads)
    stopped = [output for cell, output in _errors(cells, outputs) if cell.question is question]
    if verdict.outcome not in ("right", "recorded") and stopped:
        first = stopped[0]
        if first["ename"] == "KeyboardInterrupt":
            words = f"It did not end within {question.deadline_s:g} seconds and was stopped: is there an endless loop?"
        else:
            words = (
                f"Its cell stops with {first['ename']}: {first['evalue'].splitlines()[0] if first['evalue'] else ''}"
            )
        verdict = replace(verdict, outcome="wrong_form", credit=0.0, sentence=words)
    elif not payloads and died:
        verdict = replace(verdict, outcome="not_attempted", sentence=f"Not reached: {died}.")
    return Checked(question, verdict)


def _notes(cells: Sequence[_Cell], outputs: Sequence[list[dict[str, Any]]]) -> list[str]:
    return [
        f"Code cell {cell.number}, which holds no answer, stops with {error['ename']}: {error['evalue'][:200]}"
        for cell, error in _errors(cells, outputs)
        if cell.question is None
    ]


def unit_of_notebook(path: Path) -> str:
    """Unit whose exercises a notebook holds.

    Raises
        NotebookSourceError: not a notebook, or of no unit.
    """
    return _unit(path, read_notebook(path))


def _unit(path: Path, notebook: dict[str, Any]) -> str:
    mark = (notebook.get("metadata") or {}).get("xaiteach") or {}
    unit = mark.get("unit") or path.stem
    if unit not in UNITS or mark.get("kind") == "lesson":
        units = ", ".join(f"{name}.ipynb" for name in UNITS)
        raise NotebookSourceError(f"{path} holds no exercises. Expected a notebook of exercises/: {units}.")
    return str(unit)


def _cells(notebook: dict[str, Any], questions: Sequence[Question]) -> list[_Cell]:
    """Cells to run: each answer followed by its probe; a question that no cell answers is probed at the end."""
    sources = [str(clean(cell_source(cell))) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    last: dict[str, int] = {}
    for index, source in enumerate(sources):
        for question in questions:
            if question.answer in defined_names(source):
                last[question.id] = index
    cells = [_Cell(_PAUSE, 0)]
    for index, source in enumerate(sources):
        here = [question for question in questions if last.get(question.id) == index]
        cells.append(_Cell(source, index + 1, here[0] if here else None))
        cells += [_Cell(_probe(question), index + 1, question, probe=True) for question in here]
    lost = [question for question in questions if question.id not in last]
    return [*cells, *(_Cell(_probe(question), len(sources), question, probe=True) for question in lost)]


def _probe(question: Question) -> str:
    return probe_source(request(question, [key.case for key in public_keys(question.id)]))
