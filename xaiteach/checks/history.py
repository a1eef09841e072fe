"""Every checked answer, kept: a line of JSON each, in the student's course folder, or in memory outside one."""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from xaiteach.runtime import COURSE_MARKER, find_course

__all__ = ["append", "attempted", "entries", "hints_used", "path"]

_session: list[dict[str, Any]] = []


def path() -> Path | None:
    """File of the history, or None outside a course folder."""
    course = find_course()
    return course / COURSE_MARKER / "history.jsonl" if course else None


def append(question: str, what: str, **more: Any) -> str | None:
    """Add a line; returns a sentence for the student when it could not be written, None when all is well.

    One write of one line with O_APPEND: two kernels that check at once do not mix their lines.
    """
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    entry = {"time": now, "question": question, "what": what, **more}
    _session.append(entry)
    target = path()
    if target is None:
        return None
    try:
        handle = os.open(target, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            size = os.fstat(handle).st_size
            torn = size and os.lseek(handle, size - 1, os.SEEK_SET) >= 0 and os.read(handle, 1) != b"\n"
            os.write(handle, ("\n" * bool(torn) + json.dumps(entry, sort_keys=True) + "\n").encode("utf-8"))
        finally:
            os.close(handle)
    except OSError as error:
        return f"(The history of answers could not be written: {error.strerror}.)"
    return None


def entries(question: str | None = None) -> Iterator[dict[str, Any]]:
    """All lines, oldest first, of one question or of all; a damaged line is passed over."""
    target = path()
    lines: list[dict[str, Any]] = list(_session)
    if target is not None and target.is_file():
        lines = []
        for line in target.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict):
                lines.append(entry)
    return (entry for entry in lines if question is None or entry.get("question") == question)


def attempted(question: str) -> bool:
    """Whether an answer other than the blank has been checked."""
    return any(e.get("what") == "check" and e.get("outcome") != "not_attempted" for e in entries(question))


def hints_used(question: str) -> int:
    """How many steps of the hint have been opened."""
    return max((int(e.get("step", 0)) for e in entries(question) if e.get("what") == "hint"), default=0)
