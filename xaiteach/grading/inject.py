"""Put a student's answers into the instructor's master.

Only answer cells' sources are taken, and every fallback in finding them is flagged.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from xaiteach.authoring.masters import stubbed
from xaiteach.checks.references import cell_source, read_notebook, without_fences
from xaiteach.errors import NotebookSourceError
from xaiteach.grading.collect import StudentCell
from xaiteach.questions import Question, find, of_unit
from xaiteach.questions.running import probe_source
from xaiteach.questions.sources import clean, defined_names, forbidden_names, helpers
from xaiteach.runtime import course_root

__all__ = ["PRELUDE", "Answer", "Cell", "Master", "injected", "load_master", "match"]

SETUP_SECONDS = 180.0
SIMILAR = 0.6

PRELUDE = """\
import builtins, random, warnings
import numpy, torch
builtins.input = lambda *prompt: ""
builtins.exit = builtins.quit = lambda *code: None
get_ipython().user_ns.update(exit=builtins.exit, quit=builtins.quit)
random.seed(0); numpy.random.seed(0); torch.manual_seed(0); torch.set_num_threads(1)
warnings.simplefilter("ignore")
"""


@dataclass(frozen=True)
class Master:
    """A unit's master as the grader sees it: setup sources and questions in order, model answers and stubs."""

    unit: str
    steps: tuple[tuple[str, str], ...]  # ("setup", source) or ("answer", question id)
    references: Mapping[str, str]
    stubs: Mapping[str, str]

    @property
    def setups(self) -> tuple[str, ...]:
        """Sources of the setup cells, in order."""
        return tuple(text for role, text in self.steps if role == "setup")

    @property
    def questions(self) -> tuple[Question, ...]:
        """Questions in the order of their answer cells."""
        return tuple(find(text) for role, text in self.steps if role == "answer")


@dataclass(frozen=True)
class Answer:
    """Source that stands for a question's answer, and the flags that say how it was found."""

    source: str
    flags: tuple[str, ...] = ()
    attempted: bool = True


@dataclass(frozen=True)
class Cell:
    """A cell of an injected notebook; `question` is empty for setup."""

    role: str
    source: str
    question: str = ""
    deadline_s: float = SETUP_SECONDS


@functools.cache
def load_master(unit: str) -> Master:
    """Master of a unit, from its built notebook in the course.

    Raises
        NotebookSourceError: it is missing, or lacks a question's answer cell.
    """
    path = course_root() / "solutions" / f"{unit}.ipynb"
    steps: list[tuple[str, str]] = []
    references: dict[str, str] = {}
    stubs: dict[str, str] = {}
    for cell in read_notebook(path)["cells"]:
        mark = cell["metadata"].get("xaiteach") or {}
        if mark.get("role") == "setup":
            steps.append(("setup", cell_source(cell)))
        elif mark.get("role") == "answer":
            question = find(mark["question"])
            steps.append(("answer", question.id))
            references[question.id] = without_fences(cell_source(cell))
            stubs[question.id] = stubbed(cell_source(cell), question)
    missing = [question.id for question in of_unit(unit) if question.id not in references]
    if missing:
        raise NotebookSourceError(f"{path.name} has no answer cell for {missing}. Try: xaiteach build {unit}")
    return Master(unit, tuple(steps), references, stubs)


@dataclass
class _Search:
    """Matching in progress: which cells are taken, by index."""

    cells: Sequence[StudentCell]
    sources: dict[int, str] = field(default_factory=dict)
    flags: dict[int, tuple[str, ...]] = field(default_factory=dict)
    taken: dict[int, str] = field(default_factory=dict)  # index -> question id

    def __post_init__(self) -> None:
        for cell in self.cells:
            cleaned = clean(cell.source)
            self.sources[cell.index] = str(cleaned)
            self.flags[cell.index] = cleaned.flags


def match(master: Master, cells: Sequence[StudentCell]) -> dict[str, Answer]:
    """Answer for each question: by question id, then by the name that a cell defines, then by similarity.

    Parameters
        cells : the submission's code cells.
    Returns
        Question id -> Answer. A question without a cell gets the stub, flagged "cell_missing".
    """
    search = _Search(cells)
    chosen: dict[str, tuple[StudentCell, list[str]] | None] = {}
    for question in master.questions:
        chosen[question.id] = _by_id(search, question, master.stubs[question.id])
    for question in master.questions:
        if chosen[question.id] is None:
            chosen[question.id] = _by_name(search, question)
    for question in master.questions:
        if chosen[question.id] is None:
            chosen[question.id] = _by_similarity(search, question, master)
    for question in master.questions:
        if chosen[question.id] is None:
            chosen[question.id] = _in_anothers(search, question)
    places = [found[0].index for found in chosen.values() if found is not None]
    reordered = places != sorted(places)
    known = set().union(*(defined_names(text) for text in master.setups)) if master.setups else set()
    answers: dict[str, Answer] = {}
    for question in master.questions:
        answers[question.id] = _answer(search, question, master, chosen[question.id], known, reordered)
        known |= defined_names(answers[question.id].source)
    return answers


def _blank(source: str, stub: str) -> bool:
    return "".join(source.split()) in ("", "".join(stub.split()))


def _by_id(search: _Search, question: Question, stub: str) -> tuple[StudentCell, list[str]] | None:
    cell_id = f"{question.id.replace('.', '-')}-answer"
    hits = [
        cell
        for cell in search.cells
        if (cell.question == question.id and cell.role == "answer") or (cell.id == cell_id and not cell.question)
    ]
    filled = [c for c in hits if not _blank(search.sources[c.index], stub)]
    named = [c for c in filled if question.answer in defined_names(search.sources[c.index])]
    if not hits:
        return None
    flags = ["duplicate_cell"] if len(named or filled or hits) > 1 else []
    for cell in hits:
        search.taken[cell.index] = question.id
    if not named:
        elsewhere = _named_elsewhere(search, question)
        if elsewhere is not None:
            return elsewhere, ["matched_by_name"]
    return (named or filled or hits)[-1], flags


def _named_elsewhere(search: _Search, question: Question) -> StudentCell | None:
    hits = [
        cell
        for cell in search.cells
        if cell.index not in search.taken
        and cell.role not in ("setup", "check", "demo", "full")
        and question.answer in defined_names(search.sources[cell.index])
    ]
    if hits:
        search.taken[hits[-1].index] = question.id
    return hits[-1] if hits else None


def _by_name(search: _Search, question: Question) -> tuple[StudentCell, list[str]] | None:
    cell = _named_elsewhere(search, question)
    return None if cell is None else (cell, ["matched_by_name"])


def _in_anothers(search: _Search, question: Question) -> tuple[StudentCell, list[str]] | None:
    """Cell that was taken for another question and defines this one's answer, too: the student merged cells."""
    hits = [
        c for c in search.cells if c.index in search.taken and question.answer in defined_names(search.sources[c.index])
    ]
    return (hits[-1], ["merged_cell"]) if hits else None


def _by_similarity(search: _Search, question: Question, master: Master) -> tuple[StudentCell, list[str]] | None:
    best: tuple[float, StudentCell | None] = (SIMILAR, None)
    for cell in search.cells:
        if cell.index in search.taken or cell.role or not search.sources[cell.index]:
            continue
        for text in (master.stubs[question.id], master.references[question.id]):
            ratio = difflib.SequenceMatcher(None, search.sources[cell.index][:5000], text, autojunk=False).ratio()
            if ratio > best[0]:
                best = (ratio, cell)
    if best[1] is None:
        return None
    search.taken[best[1].index] = question.id
    return best[1], ["matched_by_similarity"]


def _answer(
    search: _Search,
    question: Question,
    master: Master,
    found: tuple[StudentCell, list[str]] | None,
    known: set[str],
    reordered: bool,
) -> Answer:
    stub = master.stubs[question.id]
    if found is None:
        return Answer(stub, ("cell_missing",), attempted=False)
    cell, how = found
    source = search.sources[cell.index]
    flags = [*how, *search.flags[cell.index], *(["reordered"] if reordered else [])]
    if _blank(source, stub):
        return Answer(stub, tuple(flags), attempted=False)
    if "matched_by_similarity" in how:
        names = defined_names(source)
        if question.answer not in names and len(names) == 1:
            source += f"\n{question.answer} = {names.pop()}\n"
            flags.append("renamed_answer")
    free = {index: text for index, text in search.sources.items() if index not in search.taken}
    needed = helpers(source, free, known | {question.answer})
    if needed:
        source = "\n\n".join([*needed, source])
        flags.append("helper_cells")
    used = forbidden_names(source, question.forbids)
    return Answer(source, tuple(dict.fromkeys([*flags, *(f"uses_{name}" for name in used)])))


def injected(
    master: Master, sources: Mapping[str, str], requests: Mapping[str, Sequence[str]]
) -> tuple[dict[str, Any], tuple[Cell, ...]]:
    """Notebook to run, and what each of its cells is.

    Parameters
        sources : question id -> source to run as its answer; a question that is left out is not run at all.
        requests : question id -> what to probe, a cell for each; a question that is left out runs, but is not probed.
    Returns
        (notebook of format 4, its cells in order): setup, then for each question its answer and at once its probe.
    """
    cells = [Cell("setup", PRELUDE)]
    for role, text in master.steps:
        if role == "setup":
            cells.append(Cell("setup", text))
        elif text in sources:
            deadline = find(text).deadline_s
            cells.append(Cell("answer", sources[text], text, deadline))
            for asked in requests.get(text, ()):
                cells.append(Cell("probe", probe_source(asked), text, deadline))
    notebook = {
        "cells": [
            {
                "cell_type": "code", "execution_count": None, "id": f"cell-{i}",
                "metadata": {}, "outputs": [], "source": cell.source,
            }
            for i, cell in enumerate(cells)
        ],
        "metadata": {"kernelspec": {"display_name": "xaiteach", "language": "python", "name": "xaiteach"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }  # fmt: skip
    return notebook, tuple(cells)
