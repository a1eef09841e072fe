"""The command line: every command is a few lines over the module that does the work, imported when it is called."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xaiteach import __version__
from xaiteach.errors import MissingExtraError, NotebookSourceError, SetupError, XaiTeachError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console

    from xaiteach.authoring.verify import Row
    from xaiteach.checks.course import CourseCopy

__all__ = ["FINDINGS", "UNABLE", "WRONG_USE", "app", "main"]

FINDINGS, WRONG_USE, UNABLE = 1, 2, 3
"""Exit codes besides 0: a check failed; the command was called wrongly; the environment cannot do it."""

app = typer.Typer(
    name="xaiteach",
    help="Explainable AI, taught in Jupyter: open the course, check answers, build and grade it.",
    epilog="Students start with: xaiteach lab",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # main() prints our own errors; a bug shows its plain traceback
)


def main() -> None:
    """Entry point: our errors become one message on stderr and an exit code, never a traceback."""
    try:
        app()
    except XaiTeachError as error:
        _say(f"xaiteach: {error}", to_stderr=True)
        sys.exit(_exit_code(error))
    except Exception as error:
        if isinstance(error, ImportError) and not (error.name or "xaiteach").startswith("xaiteach"):
            _say(f"xaiteach: {error.name} could not be loaded ({error}). Try: pip install {error.name}", to_stderr=True)
            sys.exit(UNABLE)
        traceback.print_exc()
        _say("xaiteach: a fault of its own, not of what you did. Please report the lines above.", to_stderr=True)
        sys.exit(UNABLE)


def _exit_code(error: XaiTeachError) -> int:
    if isinstance(error, (SetupError, MissingExtraError)):
        return UNABLE
    return FINDINGS if isinstance(error, NotebookSourceError) else WRONG_USE


def _console(*, to_stderr: bool = False) -> Console:
    from rich.console import Console

    return Console(stderr=to_stderr, highlight=False)


def _say(text: str, *, to_stderr: bool = False) -> None:
    # Paths and messages hold brackets, which are no markup; and a line that was cut at 80 columns cannot be pasted.
    _console(to_stderr=to_stderr).print(text, markup=False, soft_wrap=True)


def _version(wanted: bool) -> None:
    if wanted:
        _say(__version__)
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command(
    epilog="Example: xaiteach lab --port 9000 --no-browser",
    context_settings={"allow_extra_args": True},
)
def lab(
    context: typer.Context,
    folder: Annotated[
        Path | None, typer.Argument(metavar="DIR", help="Your course folder. Default: ./xaiteach-course.")
    ] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port to listen on.", show_default=False)] = None,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only print the address.")] = False,
) -> None:
    """Open the course in JupyterLab; the first time, copy it next to you. Your answers are never overwritten.

    Inside a course folder it opens that course. What follows `--` goes to `jupyter lab` as it is.
    """
    from xaiteach.checks.course import copy_course
    from xaiteach.checks.lab import choose_course, is_root, serve

    extra = list(context.args)
    if folder is not None and str(folder).startswith("-"):  # `lab -- --option`: no folder was given
        extra.insert(0, str(folder))
        folder = None
    _report(copy_course(choose_course(folder)))
    if is_root():
        _say("You are root: JupyterLab is started with --allow-root.")
    _say("Stop it with Ctrl-C; your work is saved in the folder above.")
    serve(choose_course(folder), port=port, browser=not no_browser, extra=extra)


@app.command(epilog="Example: xaiteach init my-course")
def init(folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to copy the course to.")]) -> None:
    """Copy the course to DIR, or complete the copy there; a file that exists is never overwritten."""
    from xaiteach.checks.course import copy_course

    _report(copy_course(folder))
    _say(f"Next: xaiteach lab {folder}")


def _report(copy: CourseCopy) -> None:
    _say(
        f"Course in {copy.folder}: {len(copy.copied)} copied, {len(copy.kept)} kept as yours, "
        f"{len(copy.current)} already current."
    )
    for name in copy.kept:
        _say(f"  kept yours: {name}")


def _bubblewrap_problem() -> str | None:
    from xaiteach.grading.sandbox import bubblewrap_problem  # here, so that a broken install is one row of the table

    return bubblewrap_problem()


@app.command(epilog="Example: xaiteach doctor")
def doctor() -> None:
    """Examine this machine: what students need, what grading needs, and the line that mends what is missing."""
    from rich.table import Table
    from rich.text import Text

    from xaiteach.checks.doctor import State, able, examine

    findings = examine(_bubblewrap_problem)
    colours = {State.OK: "green", State.WARN: "yellow", State.PROBLEM: "red"}
    table = Table("state", "what", "found")
    for row in findings:
        table.add_row(Text(row.state.value, style=colours[row.state]), Text(row.name), Text(row.found))
    _console().print(table)
    for row in findings:
        if row.advice:  # below the table and uncut, so that a command can be pasted
            _say(f"{row.state.value}: {row.name}: {row.advice}")
    if not able(findings):
        _say("Students cannot work here yet: mend the rows marked problem.")
        raise typer.Exit(UNABLE)
    _say("Students can work here.")


Units = Annotated[list[str] | None, typer.Argument(metavar="UNIT", help="02, gradcam or 02_gradcam. Default: all.")]


@app.command(epilog="Example: xaiteach check exercises/02_gradcam.ipynb")
def check(notebook: Annotated[Path, typer.Argument(metavar="NOTEBOOK", help="Notebook of exercises/.")]) -> None:
    """Run your notebook from a fresh start, on a copy, and say how each answer stands on the public cases."""
    from xaiteach.checks.notebook import check_notebook
    from xaiteach.questions.wording import words_of

    checked = check_notebook(notebook)
    for item in checked.items:
        _say(words_of(item.question, item.verdict, student=True).text())
    for note in checked.notes:
        _say(note)
    right = sum(item.verdict.outcome == "right" for item in checked.items)
    _say(f"{right} of {len(checked.items)} right.")
    if any(item.verdict.outcome == "could_not_check" for item in checked.items):
        raise typer.Exit(UNABLE)
    if right < len(checked.items):
        raise typer.Exit(FINDINGS)


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
            _say(line)
        if found:
            raise typer.Exit(FINDINGS)
        _say("All built notebooks are fresh.")
    elif student:
        wheel = _for_instructors("xaiteach.authoring.release").student_wheel(out)
        _say(f"{wheel} ({wheel.stat().st_size / 1024:.0f} KiB): without solutions and expected values.")
    else:
        for path in building.build(units=units or ()):
            _say(f"built {path.parent.name}/{path.name}")


@app.command(epilog="Example: xaiteach verify 02 --json")
def verify(
    units: Units = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
) -> None:
    """Prove that each question accepts right answers, and catches each known mistake and tells it apart."""
    verifying = _for_instructors("xaiteach.authoring.verify")
    rows = verifying.verify_all([_full_unit(unit) for unit in units or ()])
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
    _console().print(table)
    for row in rows:
        for problem in row.problems:
            _say(f"{row.question}: {problem}")


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
    names = [_full_unit(unit) for unit in units or ()]
    with _progress() as tick:
        run = grading.grade(
            folder, out, seed=seed, workers=workers, sandboxed=not no_sandbox, units=names, progress=tick
        )
    _grades_table(run.book)
    for line in run.moved:
        _say(line)
    if not run.sandboxed:
        _say("Graded WITHOUT a sandbox: students' code ran with your rights.", to_stderr=True)
    lost = [row.submission.student for row in run.rows if "grader_fault" in row.submission.flags]
    _say(f"{len(run.rows)} rows, seed {run.seed}: {out / 'grades.csv'}, {out / 'grades.json'}, {out / 'feedback'}")
    if lost:
        _say(f"NOT graded, through no fault of theirs: {', '.join(lost)}. Run the same command again.", to_stderr=True)
        raise typer.Exit(UNABLE)


def _full_unit(unit: str) -> str:
    from xaiteach.errors import unknown
    from xaiteach.questions import UNITS

    for name in UNITS:
        if unit in (name, *name.split("_", 1)):
            return name
    raise unknown("unit", unit, UNITS)


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """A line that counts the rows done, on stderr and only at a terminal."""
    done = 0
    with _console(to_stderr=True).status("starting the kernels") as status:

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
    _console().print(table)


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


if __name__ == "__main__":
    main()
