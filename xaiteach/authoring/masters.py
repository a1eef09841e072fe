"""Read a percent-format source and make its notebook: cells, roles, ids, item headers, and the student's copy.

Nothing is executed here. A cell's role stands in its header, such as
`# %% xaiteach={"role": "answer", "question": "gradcam.alpha_gap"}`.
"""

from __future__ import annotations

import copy
import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from xaiteach import __version__
from xaiteach.checks.references import BEGIN, END
from xaiteach.errors import NotebookSourceError, XaiTeachError
from xaiteach.questions import UNITS, Question, find, of_unit
from xaiteach.questions.wording import points_text
from xaiteach.runtime import require

__all__ = ["Notebook", "Source", "read_source", "student_copy"]

Kind = Literal["lesson", "solution", "exercise"]
Notebook = dict[str, Any]
ROLES = ("setup", "answer", "check", "demo", "full")
FOLDERS: dict[Kind, str] = {"lesson": "notebooks", "solution": "solutions", "exercise": "exercises"}


@dataclass(frozen=True)
class Source:
    """A lesson or master: where it lies, its unit, its text, and the notebook it makes (not executed)."""

    path: Path
    unit: str
    kind: Kind
    notebook: Notebook

    @property
    def built(self) -> Path:
        """The notebook file beside it."""
        return self.path.with_suffix(".ipynb")


def read_source(path: Path) -> Source:
    """Source of a lesson (in notebooks/) or a master (in solutions/).

    Raises
        NotebookSourceError: an unbalanced or misplaced fence, an unknown role or question; it names file and line.
        MissingExtraError: jupytext is not installed.
    """
    kind: Kind = "solution" if path.parent.name == "solutions" else "lesson"
    text = path.read_text(encoding="utf-8")
    _check_fences(path, text)
    jupytext = require("jupytext")
    parsed = jupytext.reads(text, fmt="py:percent")
    unit = path.stem
    cells = [_cell(path, dict(cell.metadata), cell.cell_type, cell.source) for cell in parsed.cells]
    if kind == "solution":
        _check_items(path, unit, cells)
    _number(unit, cells)
    return Source(path, unit, kind, _notebook(unit, kind, cells, _digest(unit, text)))


def _digest(unit: str, text: str) -> str:
    """Hash of all that a built notebook depends on: its source and what the questions put into it."""
    shown = [
        [
            q.id,
            q.kind,
            q.title,
            q.points,
            q.minutes,
            q.difficulty,
            q.importance,
            q.stretch,
            q.answer,
            q.stub,
            dict(q.options),
        ]
        for q in (of_unit(unit) if unit in UNITS else ())
    ]
    return hashlib.sha256(json.dumps([text, shown, __version__], ensure_ascii=False).encode("utf-8")).hexdigest()


def _notebook(unit: str, kind: Kind, cells: list[dict[str, Any]], digest: str) -> Notebook:
    return {
        "cells": cells,
        "metadata": {
            "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
            "xaiteach": {
                "course": "xaiteach",
                "kind": kind,
                "release": __version__,
                "source_sha256": digest,
                "unit": unit,
            },
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def _check_fences(path: Path, text: str) -> None:
    """Every fence opens and closes once, inside one answer cell."""
    opened: int | None = None
    role = None
    for number, line in enumerate(text.splitlines(), start=1):
        word = line.strip()
        if line.startswith("# %%"):
            if opened is not None:
                raise NotebookSourceError(f"{path.name}, line {opened}: {BEGIN} has no {END} in its cell.")
            match = re.search(r'"role":\s*"(\w+)"', line)
            role = match.group(1) if match else None
        elif word == BEGIN:
            if opened is not None:
                raise NotebookSourceError(f"{path.name}, line {number}: {BEGIN} inside the one of line {opened}.")
            if role != "answer":
                raise NotebookSourceError(f"{path.name}, line {number}: {BEGIN} stands outside an answer cell.")
            opened = number
        elif word == END:
            if opened is None:
                raise NotebookSourceError(f"{path.name}, line {number}: {END} without a {BEGIN} before it.")
            opened = None
        elif re.search(r"(BEGIN|END)\s+SOLUTION", word, flags=re.IGNORECASE):
            raise NotebookSourceError(
                f"{path.name}, line {number}: a fence is exactly {BEGIN!r} or {END!r}; got {word!r}."
            )
    if opened is not None:
        raise NotebookSourceError(f"{path.name}, line {opened}: {BEGIN} has no {END} before the file ends.")


def _cell(path: Path, metadata: dict[str, Any], cell_type: str, source: str) -> dict[str, Any]:
    metadata.pop("lines_to_next_cell", None)
    mark = metadata.get("xaiteach")
    if cell_type == "markdown":
        return {"cell_type": "markdown", "metadata": metadata, "source": _expand(path, source)}
    if mark is not None and (not isinstance(mark, dict) or mark.get("role") not in ROLES):
        raise NotebookSourceError(f"{path.name}: a cell's role is one of {', '.join(ROLES)}; got {mark!r}.")
    if mark and mark["role"] in ("answer", "check"):
        _known(path, str(mark.get("question")))
    if mark and mark["role"] == "check":
        metadata["tags"] = sorted({*metadata.get("tags", []), "nbval-check-output"})
    last = (source.rstrip().splitlines() or [""])[-1]
    if last.endswith(";"):
        raise NotebookSourceError(f"{path.name}: no cell ends in ';' (nbval runs it differently); got {last!r}.")
    return {"cell_type": "code", "execution_count": None, "metadata": metadata, "outputs": [], "source": source}


def _known(path: Path, question_id: str) -> Question:
    try:
        return find(question_id)
    except XaiTeachError as error:
        raise NotebookSourceError(f"{path.name}: {error}") from error


def _check_items(path: Path, unit: str, cells: list[dict[str, Any]]) -> None:
    """Every question of the unit has one answer cell with one fence, in order, and one check."""
    marks = [(cell, cell["metadata"].get("xaiteach") or {}) for cell in cells]
    answers = [(mark["question"], cell) for cell, mark in marks if mark.get("role") == "answer"]
    checks = [mark["question"] for _, mark in marks if mark.get("role") == "check"]
    wanted = [question.id for question in of_unit(unit)] if unit in UNITS else []
    if [question for question, _ in answers] != wanted or checks != wanted:
        raise NotebookSourceError(
            f"{path.name}: one answer and one check cell for each of {wanted} were expected, in that order; "
            f"got answers {[question for question, _ in answers]} and checks {checks}."
        )
    for question, cell in answers:
        if cell["source"].count(BEGIN) != 1:
            raise NotebookSourceError(f"{path.name}: the answer cell of {question} needs exactly one fence.")


def _expand(path: Path, text: str) -> str:
    """Fill in {{ item ID }} (the header of an item) and {{ options ID }} (a choice's list)."""

    def fill(match: re.Match[str]) -> str:
        question = _known(path, match.group(2))
        return _header(question) if match.group(1) == "item" else _options(question)

    filled = re.sub(r"\{\{\s*(item|options)\s+([\w.]+)\s*\}\}", fill, text)
    if "{{" in filled:
        raise NotebookSourceError(
            f"{path.name}: only {{{{ item ID }}}} and {{{{ options ID }}}} are filled in; got {text!r}."
        )
    return filled


def _header(question: Question) -> str:
    dots = [f"{'●' * n}{'○' * (5 - n)}" for n in (question.difficulty, question.importance)]
    points = f"{points_text(question.points)} point{'s' if question.points != 1 else ''}"
    points = {"prediction": "a prediction, not scored", "essay": f"{points}, marked by a person"}.get(
        question.kind, points
    )
    stretch = " · stretch" if question.stretch else ""
    return (
        f"### {question.title}\n\n"
        f"`{question.id}` · {points} · {question.minutes} minute{'s' if question.minutes != 1 else ''} · "
        f"difficulty {dots[0]} · importance {dots[1]}{stretch}"
    )


def _options(question: Question) -> str:
    return "\n".join(f"- **{letter}**: {text}" for letter, text in question.options.items())


def _number(unit: str, cells: list[dict[str, Any]]) -> None:
    """Give each cell the id that it keeps as long as its question, or its heading and place under it, stay."""
    heading, index = "", 0
    for cell in cells:
        mark = cell["metadata"].get("xaiteach") or {}
        found = re.match(r"#+\s+(.*)", cell["source"]) if cell["cell_type"] == "markdown" else None
        heading, index = (found.group(1), 0) if found else (heading, index + 1)
        if mark.get("role") in ("answer", "check"):
            cell["id"] = f"{re.sub(r'[^a-zA-Z0-9_-]', '-', mark['question'])}-{mark['role']}"
        else:
            cell["id"] = hashlib.sha256(json.dumps([unit, heading, index]).encode()).hexdigest()[:12]
    ids = [cell["id"] for cell in cells]
    if len(set(ids)) != len(ids):
        doubled = sorted({i for i in ids if ids.count(i) > 1})
        raise NotebookSourceError(
            f"{unit}: two cells would share an id {doubled}: give their headings different words."
        )


def stubbed(source: str, question: Question) -> str:
    """Answer cell as a student gets it: the question's stub in the place of the fenced block, as far indented."""
    before, _, rest = source.partition(BEGIN)
    _, _, after = rest.partition(END)
    indent = re.search(r"[ \t]*$", before)
    margin = indent.group(0) if indent else ""
    lines = [margin + line if line else line for line in question.stub.splitlines()]
    return f"{before[: len(before) - len(margin)]}{chr(10).join(lines)}{after}".strip("\n")


def student_copy(master: Source) -> Notebook:
    """Notebook that a student fills in: the master with every answer blanked."""
    notebook = copy.deepcopy(master.notebook)
    notebook["metadata"]["xaiteach"]["kind"] = "exercise"
    for cell in notebook["cells"]:
        mark = cell["metadata"].get("xaiteach") or {}
        if mark.get("role") == "answer":
            cell["source"] = stubbed(cell["source"], find(mark["question"]))
    return notebook
