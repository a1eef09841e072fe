"""What comes out of grading: grades.json is the truth; the CSV and one page for each student are made from it."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from xaiteach.errors import SetupError
from xaiteach.grading.collect import safe_ids
from xaiteach.grading.judge import Result
from xaiteach.grading.schedule import Graded
from xaiteach.questions import of_unit
from xaiteach.questions.wording import points_text, words_of

__all__ = ["csv_text", "gradebook", "moves", "write", "write_text"]

SCHEMA = 1


def _question_row(result: Result) -> dict[str, Any]:
    verdict = result.verdict
    written = {} if result.question.machine_judged else {"text": verdict.text}
    return {
        **written,
        "credit": round(verdict.credit, 4),
        "diagnosis": verdict.diagnosis,
        "fault": result.fault,
        "flags": list(result.flags),
        "follow_through": result.follow_through,
        "fresh": list(verdict.fresh),
        "mistake": verdict.mistake,
        "outcome": verdict.outcome,
        "points": None if result.awaits_marking else result.points,
        "public": list(verdict.public),
        "sentence": verdict.sentence,
    }


def gradebook(rows: Sequence[Graded]) -> dict[str, Any]:
    """All that was found, as JSON without a time in it: the same submissions and seed give the same bytes."""
    ids = safe_ids(sorted({row.submission.student for row in rows}))
    units = sorted({row.submission.unit for row in rows})
    return {
        "schema": SCHEMA,
        "units": {
            unit: {
                "possible": round(sum(q.points for q in of_unit(unit) if not q.stretch), 4),
                "questions": [
                    {"id": q.id, "kind": q.kind, "points": q.points, "stretch": q.stretch} for q in of_unit(unit)
                ],
            }
            for unit in units
        },
        "rows": [_row(row, ids) for row in sorted(rows, key=lambda r: (r.submission.student, r.submission.unit))],
    }


def _row(row: Graded, ids: Mapping[str, str]) -> dict[str, Any]:
    submission = row.submission
    questions = {result.question.id: _question_row(result) for result in row.results}
    possible = sum(q.points for q in of_unit(submission.unit) if not q.stretch)
    return {
        "file": submission.file,
        "flags": list(row.flags),
        "possible": round(possible, 4),
        "questions": questions,
        "reason": submission.reason,
        "safe_id": ids[submission.student],
        "status": row.status,
        "student_id": submission.student,
        "total": round(sum(question["points"] or 0 for question in questions.values()), 4),
        "unit": submission.unit,
    }


def _cell(text: str) -> str:
    """CSV cell that no spreadsheet takes for a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def csv_text(book: Mapping[str, Any]) -> str:
    """Gradebook as CSV: one row for each (student, unit); predictions, which earn no points, have no column.

    A question's cell is empty where it is not in the unit, or not yet marked.
    """
    scored = {
        name: [question["id"] for question in unit["questions"] if question["kind"] != "prediction"]
        for name, unit in book["units"].items()
    }
    names = [question for questions in scored.values() for question in questions]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["student_id", "unit", "status", *names, "total", "possible", "flags"])
    for row in book["rows"]:
        points = {name: row["questions"].get(name, {"points": 0})["points"] for name in scored[row["unit"]]}
        cells = ["" if points.get(name) is None else points_text(points[name]) for name in names]
        writer.writerow(
            [
                _cell(row["student_id"]), row["unit"], row["status"], *cells,
                points_text(row["total"]), points_text(row["possible"]), _cell(";".join(row["flags"])),
            ]
        )  # fmt: skip
    return stream.getvalue()


_PAGE = """\
<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Feedback: {{ student }}</title>
<style>
:root { color-scheme: light dark }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem }
h2 { margin-top: 2rem } .xaiteach-check { margin: 0.8rem 0 } th { padding-right: 1em }
code, pre { font-family: ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere }
</style></head><body>
<h1>Feedback for {{ student }}</h1>
{% for unit in units %}
<h2>{{ unit.name }}: {{ unit.total }} of {{ unit.possible }} points</h2>
<p>Status: {{ unit.status }}{% if unit.reason %} ({{ unit.reason }}){% endif %}.</p>
{% for item in unit.entries %}<section><h3>{{ item.title }}</h3>{{ item.words }}
{% if item.note %}<p>{{ item.note }}</p>{% endif %}</section>
{% endfor %}{% endfor %}
</body></html>
"""


def _pages(rows: Sequence[Graded]) -> dict[str, str]:
    """Student id -> page; the words of each verdict, and nothing of a fresh case."""
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(_PAGE)
    by_student: dict[str, list[Graded]] = {}
    for row in sorted(rows, key=lambda r: (r.submission.student, r.submission.unit)):
        by_student.setdefault(row.submission.student, []).append(row)
    return {s: template.render(student=s, units=[_unit_words(row) for row in own]) for s, own in by_student.items()}


def _unit_words(row: Graded) -> dict[str, Any]:
    through = "Counted in full: it is right once the earlier answer it builds on is."
    items = [
        {
            "title": result.question.title,
            # words_of(...).html() escapes every text it holds
            "words": Markup(words_of(result.question, result.verdict, student=False).html()),
            "note": through if result.follow_through else "",
        }
        for result in row.results
    ]
    return {
        "name": row.submission.unit,
        "status": row.status.replace("_", " "),
        "reason": row.submission.reason,
        "total": points_text(sum(result.points for result in row.results)),
        "possible": points_text(sum(q.points for q in of_unit(row.submission.unit) if not q.stretch)),
        "entries": items,
    }


def write_text(path: Path, text: str) -> None:
    """Replace a file whole or not at all.

    Raises
        SetupError: the folder is read-only or the disk is full; what was there before is still there.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # A student's error message may hold half a surrogate pair; in JSON its escape is valid.
        with partial.open("w", encoding="utf-8", errors="backslashreplace", newline="") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    except OSError as error:
        raise SetupError(
            f"{path} cannot be written ({error.strerror}). What was graded so far is kept; try again."
        ) from error


def write(out: Path, rows: Sequence[Graded]) -> dict[str, Any]:
    """Write grades.json, grades.csv and feedback/ into `out`; returns the gradebook."""
    book = gradebook(rows)
    for student, page in _pages(rows).items():
        safe = next(row["safe_id"] for row in book["rows"] if row["student_id"] == student)
        write_text(out / "feedback" / f"{safe}.html", page)
    write_text(out / "grades.csv", csv_text(book))
    write_text(out / "grades.json", json.dumps(book, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
    return book


def moves(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Who moved and by how much between two gradebooks, a sentence each."""
    old = {(row["student_id"], row["unit"]): row for row in before.get("rows", [])}
    found = []
    for row in after["rows"]:
        was = old.get((row["student_id"], row["unit"]))
        if was is None or (was["total"], was["status"]) == (row["total"], row["status"]):
            continue
        change = row["total"] - was["total"]
        status = "" if was["status"] == row["status"] else f", {was['status']} before, {row['status']} now"
        found.append(
            f"{row['student_id']}, {row['unit']}: {points_text(was['total'])} -> {points_text(row['total'])} "
            f"({change:+g}){status}"
        )
    return found
