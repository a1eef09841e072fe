"""Whether an answer that is right here would be right from a fresh start, too.

A kernel remembers what the notebook has forgotten: older versions of a cell, names whose cells are gone, values that a
cell further down has changed. So a right answer is run once more in an empty namespace, after only those cells above it
that define what it needs. The cells are those of the saved notebook where it holds this very answer, else those that
were executed. Where that cannot be decided, nothing is said.
"""

from __future__ import annotations

import contextlib
import io
import os
import random
import re
import warnings
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xaiteach.checks.references import cell_source, read_notebook
from xaiteach.errors import XaiTeachError
from xaiteach.questions import Question, Verdict, unit_of
from xaiteach.questions.sources import clean, defined_names, helpers
from xaiteach.runtime import find_course

__all__ = ["Program", "program", "run_afresh", "saved_notebook", "why_stale"]


@dataclass(frozen=True)
class Program:
    """What a fresh start would run for an answer: the helping cells in order, then the answer's own.

    `below` holds the names that only cells further down define; `saved` says whether the saved notebook was read.
    """

    cells: tuple[str, ...]
    answer: str
    below: frozenset[str]
    saved: bool


def saved_notebook(unit: str) -> Path | None:
    """File of the notebook that this kernel belongs to, as it was last saved; None where there is none."""
    course, session = find_course(), os.environ.get("JPY_SESSION_NAME", "")
    places = [Path(session)] if session.endswith(".ipynb") else []
    if course is not None:
        places += [course / place for place in list(places)]
        places.append(course / "exercises" / f"{unit}.ipynb")
    return next((place for place in places if place.is_file()), None)


def program(question: Question, source: str, executed: Sequence[str]) -> Program:
    """Cells that a fresh start would run for the answer with this source.

    Parameters
        source : of the answer's cell, as last executed.
        executed : sources of all cells that were executed, oldest first.
    """
    wanted = str(clean(source)).strip()
    cells = [str(clean(cell)) for cell in executed]
    saved = _saved_cells(question)
    places = [i for i, cell in enumerate(saved) if cell.strip() == wanted]
    if places:
        above, below = saved[: places[-1]], saved[places[-1] + 1 :]
    else:
        last = max((i for i, cell in enumerate(cells) if cell.strip() == wanted), default=len(cells))
        above, below = cells[:last], []
    above = [cell for cell in above if question.answer not in defined_names(cell)]
    needed = helpers(wanted, dict(enumerate(above)), {question.answer})
    later = frozenset().union(*(defined_names(cell) for cell in below)) if below else frozenset()
    return Program(tuple(needed), wanted, frozenset(later), bool(places))


def _saved_cells(question: Question) -> list[str]:
    path = saved_notebook(unit_of(question.id))
    if path is None:
        return []
    try:
        notebook = read_notebook(path)
    except XaiTeachError:
        return []
    return [str(clean(cell_source(cell))) for cell in notebook["cells"] if cell.get("cell_type") == "code"]


def run_afresh(made: Program) -> tuple[dict[str, Any], BaseException | None]:
    """Namespace after the program ran, and what its answer cell raised; a helping cell that raises is passed over.

    What it prints is dropped; random states come back as they were.
    """
    names: dict[str, Any] = {"__name__": "__main__", "display": lambda *_, **__: None}
    with _quiet():
        for cell in made.cells:
            with contextlib.suppress(Exception, SystemExit):
                exec(compile(cell, "<a cell above the answer>", "exec"), names)
        try:
            exec(compile(made.answer, "<the answer's cell>", "exec"), names)
        except (Exception, SystemExit) as error:
            return names, error
    return names, None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    import torch

    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002  # the students' own
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])  # noqa: NPY002
            torch.set_rng_state(states[2])


def why_stale(
    made: Program,
    error: BaseException | None,
    verdict: Verdict | None,
    executed: Sequence[str],
    live: Collection[str],
) -> str | None:
    """Sentence that says why the answer fails from a fresh start; None where it does not, or nobody can tell.

    Parameters
        error, verdict : what came of running it afresh; a verdict only where its cell did not raise.
        executed : sources of all cells that were executed.
        live : names that the kernel holds now.
    """
    if error is None and verdict is not None and verdict.outcome == "right":
        return None
    missing = _missing_name(error, verdict)
    if missing is not None and missing in live:
        return _missing_words(missing, made, executed)
    if error is not None:
        first = (str(error).splitlines() or [""])[0][:200]
        return f"Run alone, its cell stops with {type(error).__name__}: {first}. What is right is an older version."
    if verdict is None or verdict.outcome in ("could_not_check", "recorded"):
        return None
    return (
        "Run alone, after only the cells above it, it gives another result. Did a cell change something it uses, or "
        "was its own cell run twice?"
    )


def _missing_name(error: BaseException | None, verdict: Verdict | None) -> str | None:
    if isinstance(error, NameError) and error.name:
        return str(error.name)
    found = re.search(r"NameError: name '(\w+)' is not defined", verdict.sentence) if verdict is not None else None
    return found.group(1) if found else None


def _missing_words(name: str, made: Program, executed: Sequence[str]) -> str | None:
    if name in made.below:
        return f"It uses `{name}`, which only a cell further down defines. Move that cell up."
    if not any(name in defined_names(str(clean(cell))) for cell in executed):
        return None  # from a magic, a file, a star: nobody can tell
    if made.saved:
        return (
            f"It uses `{name}`, which no cell of the saved notebook above it defines: was that cell deleted or "
            "renamed? If you have only just written it, save (Ctrl+S) and check again."
        )
    return f"It uses `{name}`, which no cell that was run before it defines."
