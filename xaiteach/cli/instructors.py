"""Commands for instructors: build the notebooks, verify the questions, grade a folder."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xaiteach.cli.base import FINDINGS, UNABLE, Units, app, console, full_unit, say
from xaiteach.errors import MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from xaiteach.authoring.verify import Row

__all__: list[str] = []


@app.command(epilog="Example: xaiteach build 02 && xaiteach build --check")
def build(
    units: Units = None,
    check_only: Annotated[bool, typer.Option("--check", help="Build nothing; list what is stale (exit 1).")] = False,
    student: Annotated[bool, typer.Option("--student", help="Build the students' wheel into --out.")] = False,
    out: Annotated[Path, typer.Option(help="Folder for the students' wheel.")] = Path("dist"),
) -> None:
    """Build the notebooks of the course from their sources, executed; or a wheel for students."""
    building = _for_instructors("xaiteach.authoring.build")
    if check_only and student:
        raise typer.BadParameter("--check and --student are two different things; give one.")
    if check_only:
        found = building.stale(units=units or ())
        for line in found:
            say(line)
        if found:
            raise typer.Exit(FINDINGS)
        say("All built notebooks are fresh.")
    elif student:
        wheel = _for_instructors("xaiteach.authoring.release").student_wheel(out)
        say(f"{wheel} ({wheel.stat().st_size / 1024:.0f} KiB): without solutions and expected values.")
    else:
        for path in building.build(units=units or ()):
            say(f"built {path.parent.name}/{path.name}")


@app.command(epilog="Example: xaiteach verify 02 --json")
def verify(
    units: Units = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
) -> None:
    """Prove that each question accepts right answers, and catches each known mistake and tells it apart."""
    verifying = _for_instructors("xaiteach.authoring.verify")
    rows = verifying.verify_all([full_unit(unit) for unit in units or ()])
    if as_json:
        sys.stdout.write(f"{json.dumps([row.as_json() for row in rows], indent=1)}\n")
    else:
        _verify_table(rows)
    if not all(row.ok for row in rows):
        raise typer.Exit(FINDINGS)


def _verify_table(rows: list[Row]) -> None:
    from rich.table import Table

    table = Table("question", "kind", "points", "min", "mistakes", "variants", "ok", padding=(0, 1, 0, 0))
    table.columns[0].no_wrap = True
    for row in rows:
        table.add_row(
            row.question, row.kind, f"{row.points:g}", str(row.minutes), f"{row.mistakes_caught}/{row.mistakes}",
            f"{row.variants_passed}/{row.variants}", "yes" if row.ok else "NO",
        )  # fmt: skip
    console().print(table)
    for row in rows:
        for problem in row.problems:
            say(f"{row.question}: {problem}")


@app.command(epilog="Example: xaiteach grade submissions --out grades --workers 2")
def grade(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="DIR/STUDENT/NN_slug.ipynb.")],
    out: Annotated[Path, typer.Option("--out", metavar="OUT", help="Results; the same OUT goes on where it was.")],
    units: Annotated[list[str] | None, typer.Option("--unit", help="Unit to grade; default: all handed in.")] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Of the fresh cases; default: drawn once.", show_default=False)
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Submissions at a time.")] = os.cpu_count() or 1,
    no_sandbox: Annotated[
        bool, typer.Option("--no-sandbox", help="Run students' code with your rights: only code that you trust.")
    ] = False,
) -> None:
    """Grade a folder of submissions: grades.csv, grades.json, and a page for each student under OUT/feedback."""
    grading = _for_instructors("xaiteach.grading.grade")
    names = [full_unit(unit) for unit in units or ()]
    with _progress() as tick:
        run = grading.grade(
            folder, out, seed=seed, workers=workers, sandboxed=not no_sandbox, units=names, progress=tick
        )
    _grades_table(run.book)
    for line in run.moved:
        say(line)
    if not run.sandboxed:
        say("Graded WITHOUT a sandbox: students' code ran with your rights.", to_stderr=True)
    lost = [row.submission.student for row in run.rows if "grader_fault" in row.submission.flags]
    say(f"{len(run.rows)} rows, seed {run.seed}: {out / 'grades.csv'}, {out / 'grades.json'}, {out / 'feedback'}")
    if lost:
        say(f"NOT graded, through no fault of theirs: {', '.join(lost)}. Run the same command again.", to_stderr=True)
        raise typer.Exit(UNABLE)


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """A line that counts the rows done, on stderr and only at a terminal."""
    done = 0
    with console(to_stderr=True).status("starting the kernels") as status:

        def tick(student: str) -> None:
            nonlocal done
            done += 1
            status.update(f"{done} done, last: {student!r}")

        yield tick


def _grades_table(book: dict[str, Any]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table("student", "unit", "status", "points", "flags or reason")
    for row in book["rows"]:
        note = row["reason"] or ", ".join(row["flags"])
        points = f"{row['total']:g} of {row['possible']:g}"
        table.add_row(Text(row["student_id"]), row["unit"], row["status"].replace("_", " "), points, Text(note))
    console().print(table)


def _for_instructors(module: str) -> Any:
    """Module of the instructors' part, or the word that this release has none."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and error.name.startswith("xaiteach"):
            raise MissingExtraError(
                "this is a students' release: building, verifying and grading need the instructors' package."
            ) from error
        raise
