"""Bring back an earlier answer: every one that was checked is in the history of the course folder."""

from __future__ import annotations

import datetime
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from xaiteach.checks import history
from xaiteach.checks.references import cell_source, read_notebook
from xaiteach.errors import OptionError, SetupError
from xaiteach.questions import find
from xaiteach.questions.sources import clean
from xaiteach.runtime import COURSE_MARKER, find_course

__all__ = ["Version", "best", "chosen", "put_back", "versions"]


@dataclass(frozen=True)
class Version:
    """One kept answer: its number (1 is the oldest), when it was last checked (local time), how that went."""

    number: int
    source: str
    time: str
    outcome: str


def versions(question_id: str) -> list[Version]:
    """Kept answers to a question, oldest first; the same text counts once, at its latest check.

    Raises
        OptionError: no such question; the message names the nearest.
    """
    find(question_id)
    latest: dict[str, tuple[str, str, str]] = {}
    known: dict[str, str] = {}  # a text that was put away is still as right as its last check said
    for entry in history.entries(question_id):
        source = entry.get("source")
        if entry.get("what") not in ("check", "replaced") or not source or entry.get("outcome") == "not_attempted":
            continue
        key = str(clean(str(source))).strip()
        latest.pop(key, None)
        if entry.get("outcome"):
            known[key] = str(entry["outcome"])
        latest[key] = (str(source), _local(str(entry.get("time", ""))), known.get(key, "not checked"))
    return [Version(i, *parts) for i, parts in enumerate(latest.values(), start=1)]


def _local(time: str) -> str:
    try:
        return datetime.datetime.fromisoformat(time).astimezone().strftime("%Y-%m-%d %H:%M")
    except ValueError:
        return "at an unknown time"


def best(kept: Sequence[Version]) -> Version | None:
    """Newest version that was right, else the newest; None where there is none."""
    good = [version for version in kept if version.outcome in ("right", "recorded")]
    return good[-1] if good else (kept[-1] if kept else None)


def chosen(question_id: str, kept: Sequence[Version], number: int | None) -> Version:
    """Version of this number, or the best one.

    Raises
        OptionError: no answer was kept, or none of that number.
    """
    found = best(kept) if number is None else next((v for v in kept if v.number == number), None)
    if found is None:
        known = f"versions 1 to {len(kept)}" if kept else "no checked answer of yours"
        raise OptionError(f"a kept answer to {question_id} was expected; the history here holds {known}.")
    return found


def put_back(question_id: str, source: str) -> tuple[Path, Path]:
    """Put a source into its answer cell of the course's notebook; what stood there is kept twice.

    Returns
        (the notebook, the copy that was made of it before).
    Raises
        OptionError: not in a course folder, or the notebook has no cell for this question.
        NotebookSourceError: the notebook cannot be read.
        SetupError: it cannot be written; it is as before.
    """
    course = find_course()
    if course is None:
        raise OptionError("a course folder was expected here; there is none. Go to yours, or open it: xaiteach lab")
    path = course / "exercises" / f"{find(question_id).unit}.ipynb"
    notebook = read_notebook(path)
    cell = next((c for c in notebook["cells"] if _answers(c, question_id)), None)
    if cell is None:
        raise OptionError(f"{path.name} has no cell for {question_id}. Copy the answer in by hand: xaiteach restore.")
    try:
        backup = _backup(path, course)
        history.append(question_id, "replaced", source=cell_source(cell))
        cell["source"], cell["outputs"], cell["execution_count"] = source, [], None
        partial = path.with_suffix(".ipynb.partial")
        partial.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise SetupError(f"{path} cannot be written ({error.strerror}). Your answers are as they were.") from error
    return path, backup


def _answers(cell: dict[str, object], question_id: str) -> bool:
    metadata = cell.get("metadata")
    mark = metadata.get("xaiteach") if isinstance(metadata, dict) else None
    return isinstance(mark, dict) and mark.get("role") == "answer" and mark.get("question") == question_id


def _backup(path: Path, course: Path) -> Path:
    folder = course / COURSE_MARKER / "backups"
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{path.stem}-{datetime.datetime.now(datetime.UTC):%Y%m%dT%H%M%S%fZ}"
    return Path(shutil.copyfile(path, folder / f"{stem}.ipynb"))
