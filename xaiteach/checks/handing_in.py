"""What would be handed in: the saved file against what was last checked, run from a fresh start, with a receipt."""

from __future__ import annotations

import datetime
import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xaiteach import __version__
from xaiteach.checks import history
from xaiteach.checks.freshness import saved_notebook
from xaiteach.checks.notebook import Checked, check_notebook
from xaiteach.checks.references import answer_cells, cell_source, read_notebook
from xaiteach.checks.run import Feedback, paused
from xaiteach.errors import XaiTeachError, unknown
from xaiteach.questions import UNITS, Question, of_unit
from xaiteach.questions.sources import clean, defined_names
from xaiteach.questions.wording import Words, points_text
from xaiteach.runtime import COURSE_MARKER, find_course

__all__ = ["RECEIPTS", "HandedIn", "examine", "matches", "receipt", "words_of_receipt", "write_receipt"]

RECEIPTS = "receipts"
"""Folder of the receipts, in the marker folder of the course."""

_STATES = {
    "same": "as you last checked it",
    "changed": "CHANGED since you last checked it",
    "unchecked": "never checked",
    "unsaved": "what you last checked is NOT in the saved file",
    "blank": "still blank",
    "missing": "its cell is MISSING",
}
_OUTCOMES = {
    "right": "right",
    "recorded": "recorded",
    "wrong_value": "not right",
    "wrong_form": "no value of the right form",
    "not_attempted": "not attempted",
    "could_not_check": "could not be checked (our fault)",
}


@dataclass(frozen=True)
class HandedIn:
    """A saved notebook as it would be handed in: its bytes' hash, and for each question its state and its outcome."""

    path: Path
    unit: str
    sha256: str
    size: int
    states: Mapping[str, str]
    sources: Mapping[str, str]
    items: Sequence[Checked]
    notes: Sequence[str]

    @property
    def differs(self) -> bool:
        """Whether the file holds something else than what was checked."""
        return any(state in ("changed", "unsaved", "missing") for state in self.states.values())


def examine(path: Path, unit: str) -> HandedIn:
    """Saved notebook compared with the history, and run in a fresh kernel.

    Raises
        NotebookSourceError: not a notebook, or of no unit.
    """
    content = path.read_bytes()
    sources = _sources(read_notebook(path), of_unit(unit))
    checked = check_notebook(path)
    states = {q.id: _state(q, sources.get(q.id)) for q in of_unit(unit)}
    for item in checked.items:
        if item.verdict.outcome == "not_attempted" and states[item.question.id] in ("same", "unchecked"):
            states[item.question.id] = "blank"
    digest = hashlib.sha256(content).hexdigest()
    return HandedIn(path, unit, digest, len(content), states, sources, checked.items, checked.notes)


def _sources(notebook: dict[str, Any], questions: Sequence[Question]) -> dict[str, str]:
    """Question id -> source of its answer: the cell marked for it, else the last one that defines it."""
    marked = answer_cells(notebook)
    code = [cell_source(cell) for cell in notebook["cells"] if cell.get("cell_type") == "code"]
    found = {}
    for question in questions:
        named = [source for source in code if question.answer in defined_names(str(clean(source)))]
        source = marked.get(question.id) or (named[-1] if named else None)
        if source is not None:
            found[question.id] = str(clean(source)).strip()
    return found


def _state(question: Question, source: str | None) -> str:
    checks = [e for e in history.entries(question.id) if e.get("what") == "check" and e.get("source")]
    attempts = [e for e in checks if e.get("outcome") != "not_attempted"]
    last = str(clean(str(checks[-1]["source"]))).strip() if checks else None
    if source is None:
        return "missing"
    if last is None:
        return "unchecked"
    if source == last:
        return "same"
    return (
        "unsaved" if attempts and not any(source == str(clean(str(e["source"]))).strip() for e in checks) else "changed"
    )


def write_receipt(found: HandedIn, folder: Path) -> Path:
    """Receipt written into `folder`, a file of its own for each; returns its path.

    Raises
        OSError: it cannot be written.
    """
    now = datetime.datetime.now(datetime.UTC)
    folder.mkdir(parents=True, exist_ok=True)
    versions = {name: importlib.metadata.version(name) for name in ("torch", "numpy")}
    text = {
        "file": found.path.name,
        "unit": found.unit,
        "sha256": found.sha256,
        "size": found.size,
        "time": now.isoformat(timespec="seconds"),
        "versions": {"python": platform.python_version(), "xaiteach": __version__, **versions},
        "questions": {
            item.question.id: {
                "outcome": item.verdict.outcome,
                "credit": round(item.verdict.credit, 4),
                "state": found.states[item.question.id],
                "source_sha256": hashlib.sha256(found.sources.get(item.question.id, "").encode()).hexdigest(),
            }
            for item in found.items
        },
    }
    stem = f"{found.unit}-{now:%Y%m%dT%H%M%SZ}"
    path = folder / f"{stem}.json"
    for number in range(2, 1000):  # two within one second
        if not path.exists():
            break
        path = folder / f"{stem}-{number}.json"
    path.write_text(json.dumps(text, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return path


def matches(receipt_path: Path, notebook: Path) -> bool:
    """Whether a receipt was written for exactly this file."""
    recorded = json.loads(receipt_path.read_text(encoding="utf-8")).get("sha256")
    return bool(recorded == hashlib.sha256(notebook.read_bytes()).hexdigest())


def words_of_receipt(found: HandedIn, written: Path | None, problem: str = "") -> Words:
    """Words of what would be handed in, a row for each question."""
    rows = tuple((item.question.id, _row(item, found.states[item.question.id])) for item in found.items)
    core = [item for item in found.items if not item.question.stretch]
    stretch = [item for item in found.items if item.question.stretch]
    body = [f"From a fresh start, on the public cases: {_points_of(core)} points as it stands."]
    awaiting = sum(item.question.points for item in core if item.verdict.outcome == "recorded")
    body += [f"A person has still to mark {points_text(awaiting)} points beside these."] if awaiting else []
    body += [f"Stretch, on top of that: {_points_of(stretch)} points."] if stretch else []
    body += found.notes
    if found.differs:
        body.append(
            "The saved file is not what you last checked. Save (Ctrl+S, Cmd+S), check, and run this cell again."
        )
    footer = problem or f"Receipt: {written.name if written else ''}, sha256 {found.sha256[:12]}…, {found.size} bytes"
    symbol = "⚠" if found.differs or problem else "✓"
    outcome = "could_not_check" if found.differs or problem else "recorded"
    return Words(outcome, f"{symbol} What would be handed in: {found.path.name}", tuple(body), rows, footer)


def _row(item: Checked, state: str) -> str:
    return _STATES[state] if state in ("blank", "missing") else f"{_told(item)}; {_STATES[state]}"


def _points_of(items: Sequence[Checked]) -> str:
    earned = sum(item.verdict.credit * item.question.points for item in items)
    return f"{points_text(earned)} of {points_text(sum(item.question.points for item in items))}"


def _told(item: Checked) -> str:
    question, verdict = item.question, item.verdict
    if verdict.outcome == "recorded" and question.kind == "essay":
        return f"handed in, {points_text(question.points)} points for a person to give"
    told = _OUTCOMES[verdict.outcome]
    if question.points:
        told += f", {points_text(verdict.credit * question.points)} of {points_text(question.points)}"
    return told


def receipt(unit: str = "") -> Feedback:
    """Say what would be handed in if the saved notebook were taken now, and write a receipt for it.

    The saved file is compared with what was last checked, run from a fresh start in a kernel of its own, and named by
    its hash in `.xaiteach/receipts/`. It never raises.

    Parameters
        unit : full name, such as "02_gradcam".
    """
    if paused():
        return Feedback(Words("not_attempted", "left to whoever runs this notebook", ()))
    try:
        if unit not in UNITS:
            raise unknown("unit", unit, UNITS)
        course = find_course()
        if course is None:
            body = ("A receipt is made in your own copy of the course: open it with xaiteach lab.",)
            return Feedback(Words("not_attempted", "○ What would be handed in: nothing from here", body))
        path = saved_notebook(unit)
        if path is None:
            body = (f"No saved notebook was found as exercises/{unit}.ipynb. Save it there and run this cell again.",)
            return Feedback(Words("could_not_check", "⚠ What would be handed in: nothing", body))
        return Feedback(_examined(path, unit, course))
    except XaiTeachError as error:
        return Feedback(Words("could_not_check", "⚠ No receipt", (str(error),)))
    except Exception as error:
        body = (f"{type(error).__name__}: {error}. Your work is safe. Try: xaiteach check exercises/{unit}.ipynb",)
        return Feedback(Words("could_not_check", "⚠ No receipt (our fault)", body))


def _examined(path: Path, unit: str, course: Path) -> Words:
    found = examine(path, unit)
    try:
        written = write_receipt(found, course / COURSE_MARKER / RECEIPTS)
    except OSError as error:
        return words_of_receipt(found, None, f"The receipt could not be written: {error.strerror}.")
    return words_of_receipt(found, written)
