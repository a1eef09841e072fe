"""Find submissions in a folder and read them as text: nothing in them is run, loaded or followed.

One folder a student, notebooks in it. Whatever lies there, each (student, unit) ends as one row.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from xaiteach.errors import OptionError, SubmissionError
from xaiteach.questions import UNITS, of_unit
from xaiteach.questions.sources import defined_names

__all__ = ["MAX_BYTES", "StudentCell", "Submission", "collect", "read_cells", "read_submission", "safe_ids"]

MAX_BYTES = 50 << 20
"""Largest notebook file that is read; pictures in outputs make honest ones large, too."""

MAX_CELL, MAX_SOURCE = 256_000, 2_000_000
"""Longest cell, and longest sum of cells, that is parsed: parsing holds up everybody else's grading."""

_LIKE_ALTERED = re.compile(r"-[0-9a-f]{8}$", flags=re.IGNORECASE)  # a plain id that looks like one we made up
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", flags=re.IGNORECASE)  # no file names on Windows


@dataclass(frozen=True)
class StudentCell:
    """A code cell of a submission: its place, id, source, and what our metadata says (which students may edit)."""

    index: int
    id: str
    source: str
    role: str = ""
    question: str = ""


@dataclass(frozen=True)
class Submission:
    """One row to be: a student's notebook for a unit, or why there is none (`status` other than "ok")."""

    student: str
    unit: str
    status: str = "ok"
    reason: str = ""
    file: str = ""
    cells: tuple[StudentCell, ...] = ()
    flags: tuple[str, ...] = ()


def safe_ids(students: Sequence[str]) -> dict[str, str]:
    """File name for each student id: letters, digits, dot, dash, underscore; no two equal when case is ignored.

    Examples
        >>> safe_ids(["ann", "../x"])["ann"]
        'ann'
    """
    taken: set[str] = set()
    found: dict[str, str] = {}
    for student in sorted(students):
        safe = re.sub(r"[^A-Za-z0-9._-]", "_", student).strip("._")[:80] or "student"
        odd = safe != student or _LIKE_ALTERED.search(safe) or _RESERVED.fullmatch(safe)
        if odd or safe.lower() in taken:
            digest = hashlib.sha256(student.encode("utf-8", "surrogateescape")).hexdigest()[:8]
            safe = f"{safe}-{digest}"
        taken.add(safe.lower())
        found[student] = safe
    return found


def _read_bytes(path: Path) -> bytes:
    """Content of a regular file that is no link; raises SubmissionError with the reason otherwise."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    if path.is_symlink():
        raise SubmissionError("it is a symbolic link; hand in the file itself")
    try:
        handle = os.open(path, flags)
    except OSError as error:
        raise SubmissionError(f"it cannot be opened ({error.strerror})") from error
    try:
        info = os.fstat(handle)
        if not stat.S_ISREG(info.st_mode):
            raise SubmissionError("it is not a regular file")
        if info.st_size > MAX_BYTES:
            raise SubmissionError(f"it is larger than {MAX_BYTES >> 20} MiB; clear the outputs and save it again")
        with os.fdopen(os.dup(handle), "rb") as stream:
            return stream.read(MAX_BYTES + 1)
    finally:
        os.close(handle)


def read_cells(path: Path) -> tuple[tuple[StudentCell, ...], dict[str, Any]]:
    """Code cells and our part of the metadata.

    Parameters
        path : notebook of format 4 or 3.
    Raises
        SubmissionError: a link, a folder, too large, empty, not JSON, not a notebook; the message says which.
    """
    raw = _read_bytes(path)
    if not raw.strip():
        raise SubmissionError("the file is empty")
    try:
        notebook = json.loads(raw.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise SubmissionError(f"it is not valid JSON ({str(error)[:120]})") from error
    if not isinstance(notebook, dict):
        raise SubmissionError("it is JSON, but not a notebook")
    cells = notebook.get("cells")
    if cells is None and isinstance(notebook.get("worksheets"), list):  # format 3
        cells = [c for sheet in notebook["worksheets"] for c in _list(sheet)]
    if not isinstance(cells, list):
        raise SubmissionError("it is JSON, but it has no list of cells")
    found = [
        cell_of(i, cell) for i, cell in enumerate(cells) if isinstance(cell, dict) and cell.get("cell_type") == "code"
    ]
    return _bounded(found), _mark(notebook)


def _bounded(cells: Sequence[StudentCell]) -> tuple[StudentCell, ...]:
    """Cells with those that are too long replaced by one that says so when it runs."""
    kept, total = [], 0
    for cell in cells:
        total += len(cell.source)
        if len(cell.source) > MAX_CELL or total > MAX_SOURCE:
            words = f"this cell, or all cells together, are too long to be graded ({len(cell.source)} characters)"
            cell = replace(cell, source=f"raise ValueError({words!r})")
        kept.append(cell)
    return tuple(kept)


def _list(sheet: Any) -> list[Any]:
    cells = sheet.get("cells") if isinstance(sheet, dict) else None
    return cells if isinstance(cells, list) else []


def _mark(holder: Mapping[str, Any]) -> dict[str, Any]:
    metadata = holder.get("metadata")
    mark = metadata.get("xaiteach") if isinstance(metadata, dict) else None
    return mark if isinstance(mark, dict) else {}


def cell_of(index: int, cell: Mapping[str, Any]) -> StudentCell:
    """A code cell, whatever is wrong with its fields."""
    source = cell.get("source", cell.get("input", ""))
    text = "".join(str(part) for part in source) if isinstance(source, list) else str(source or "")
    mark = _mark(cell)
    return StudentCell(index, str(cell.get("id", "")), text, str(mark.get("role", "")), str(mark.get("question", "")))


def _unit_by_name(name: str) -> str | None:
    """Unit whose full name begins the file name, as in "02_gradcam (1).ipynb"."""
    return next((unit for unit in UNITS if re.match(rf"{unit}(?![A-Za-z0-9])", name)), None)


def _unit_by_content(cells: Sequence[StudentCell]) -> str | None:
    """Unit of which most answers are defined here; None when there is none."""
    names = set().union(*(defined_names(cell.source) for cell in cells)) if cells else set()
    ids = {cell.question for cell in cells}
    counts = {u: sum(q.answer in names or q.id in ids for q in of_unit(u)) for u in UNITS}
    best = max(counts, key=lambda unit: counts[unit])
    return best if counts[best] else None


def read_submission(student: str, path: Path) -> Submission:
    """Submission in one file, or why there is none."""
    named = _unit_by_name(path.name)
    file = path.name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    try:
        cells, mark = read_cells(path)
    except SubmissionError as error:
        return Submission(student, named or "", error.status, str(error), file)
    says = next((unit for unit in UNITS if unit == mark.get("unit")), None)
    unit = named or says or _unit_by_content(cells)
    flags = [] if named and path.stem == named else ["renamed_file"]
    if unit is None or (named and says and says != named):
        reason = f"it is the notebook of unit {says}" if says else "it holds no answer of any unit"
        return Submission(student, unit or "", "wrong_assignment", reason, file)
    if not says:
        flags.append("metadata_stripped")
        if named and _unit_by_content(cells) not in (None, named):
            reason = f"its answers are those of unit {_unit_by_content(cells)}"
            return Submission(student, named, "wrong_assignment", reason, file)
    return Submission(student, unit, "ok", "", file, cells, tuple(flags))


def _choose(found: Sequence[Submission]) -> Submission:
    """The one that counts of several: readable before not, the proper name before another, the last by name."""
    ranked = sorted(found, key=lambda s: (s.status == "ok", "renamed_file" not in s.flags, s.file))
    best = ranked[-1]
    extra = ("other_files",) if len(found) > 1 else ()
    return Submission(best.student, best.unit, best.status, best.reason, best.file, best.cells, best.flags + extra)


def _name(home: Path) -> str:
    """Student id of a folder; bytes that are no UTF-8 are written out."""
    return home.name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def collect(folder: Path, units: Sequence[str] = ()) -> list[Submission]:
    """One submission for each (student, unit), sorted by student, then unit.

    Parameters
        folder : one folder a student, notebooks in it; hidden files and checkpoints are passed over.
        units : full names to grade; none means every unit that some student handed in.
    Raises
        OptionError: `folder` is not a folder, or holds no student.
    """
    if not folder.is_dir():
        raise OptionError(f"a folder with one folder a student was expected; {folder} is not a folder.")
    students = sorted(p for p in folder.iterdir() if not p.name.startswith(".") and (p.is_dir() or p.is_symlink()))
    if not students:
        raise OptionError(f"{folder} holds no student: expected {folder}/STUDENT/NN_slug.ipynb.")
    found: dict[tuple[str, str], list[Submission]] = {}
    for home in students:
        if home.is_symlink():
            lone = Submission(_name(home), "", "unreadable", "the student's folder is a symbolic link")
            found.setdefault((_name(home), ""), []).append(lone)
            continue
        try:
            paths = sorted(p for p in home.iterdir() if p.suffix.lower() == ".ipynb" and not p.name.startswith("."))
        except OSError as error:
            words = f"the student's folder cannot be read ({error.strerror})"
            found.setdefault((_name(home), ""), []).append(Submission(_name(home), "", "unreadable", words))
            continue
        for path in paths:
            submission = read_submission(_name(home), path)
            found.setdefault((_name(home), submission.unit), []).append(submission)
    graded = list(units) or sorted({unit for _, unit in found if unit})
    if not graded:
        raise OptionError(f"no notebook in {folder} tells its unit: name it with --unit, as in --unit 02.")
    rows = []
    for home in students:
        stray = found.get((_name(home), ""), [])
        for unit in graded:
            here = found.get((_name(home), unit))
            if here:
                rows.append(_choose(here))
            elif stray:
                rows.append(Submission(_name(home), unit, stray[0].status, stray[0].reason, stray[0].file))
            else:
                rows.append(Submission(_name(home), unit, "missing", "nothing was handed in"))
    return rows
