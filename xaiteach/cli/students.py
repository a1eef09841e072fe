"""Commands for students: open the course, check, see how far you are, bring an answer back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xaiteach.cli.base import FINDINGS, UNABLE, app, console, say

if TYPE_CHECKING:
    from xaiteach.checks.course import CourseCopy

__all__: list[str] = []


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
        say("You are root: JupyterLab is started with --allow-root.")
    say("Stop it with Ctrl-C; your work is saved in the folder above.")
    serve(choose_course(folder), port=port, browser=not no_browser, extra=extra)


@app.command(epilog="Example: xaiteach init my-course")
def init(folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to copy the course to.")]) -> None:
    """Copy the course to DIR, or complete the copy there; a file that exists is never overwritten."""
    from xaiteach.checks.course import copy_course

    _report(copy_course(folder))
    say(f"Next: xaiteach lab {folder}")


def _report(copy: CourseCopy) -> None:
    say(
        f"Course in {copy.folder}: {len(copy.copied)} copied, {len(copy.kept)} kept as yours, "
        f"{len(copy.current)} already current."
    )
    for name in copy.kept:
        say(f"  kept yours: {name}")


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
    console().print(table)
    for row in findings:
        if row.advice:  # below the table and uncut, so that a command can be pasted
            say(f"{row.state.value}: {row.name}: {row.advice}")
    if not able(findings):
        say("Students cannot work here yet: mend the rows marked problem.")
        raise typer.Exit(UNABLE)
    say("Students can work here.")


@app.command(epilog="Example: xaiteach check exercises/02_gradcam.ipynb")
def check(
    notebook: Annotated[Path, typer.Argument(metavar="NOTEBOOK", help="Notebook of exercises/.")],
    receipt: Annotated[
        bool, typer.Option("--receipt", help="Say what would be handed in, and write a receipt.")
    ] = False,
) -> None:
    """Run your notebook from a fresh start, on a copy, and say how each answer stands on the public cases."""
    from xaiteach.checks.notebook import check_notebook
    from xaiteach.checks.references import answer_cells, has_solutions, read_notebook
    from xaiteach.checks.run import builds_on
    from xaiteach.questions import find
    from xaiteach.questions.sources import clean, free_names
    from xaiteach.questions.wording import words_of

    if receipt:
        _receipt(notebook)
        return
    checked = check_notebook(notebook)
    wrong = {item.question.id for item in checked.items if item.verdict.outcome in ("wrong_value", "wrong_form")}
    written = answer_cells(read_notebook(notebook))
    for item in checked.items:
        there = has_solutions(item.question.unit)
        say(words_of(item.question, item.verdict, student=True, model_answer=there).text())
        if item.question.id in wrong:
            used = free_names(str(clean(written.get(item.question.id, ""))))
            for other in (find(each) for each in item.question.depends_on if each in wrong):
                if other.answer in used:
                    say(f"  {builds_on(other)}")
    for note in checked.notes:
        say(note)
    judged = [item for item in checked.items if item.question.machine_judged]
    right = sum(item.verdict.outcome == "right" for item in judged)
    say(f"{right} of {len(judged)} right.")
    if any(item.verdict.outcome == "could_not_check" for item in checked.items):
        raise typer.Exit(UNABLE)
    if right < len(judged):
        raise typer.Exit(FINDINGS)


def _receipt(notebook: Path) -> None:
    from xaiteach.checks.handing_in import RECEIPTS, examine, words_of_receipt, write_receipt
    from xaiteach.checks.notebook import unit_of_notebook
    from xaiteach.errors import SetupError
    from xaiteach.runtime import COURSE_MARKER, find_course

    course = find_course(notebook.resolve().parent)
    if course is None:
        raise SetupError(f"a notebook in a course folder was expected; {notebook} is in none. Try: xaiteach init DIR")
    found = examine(notebook, unit_of_notebook(notebook))
    try:
        written = write_receipt(found, course / COURSE_MARKER / RECEIPTS)
    except OSError as error:
        raise SetupError(f"the receipt could not be written ({error.strerror}). Try freeing some space.") from error
    say(words_of_receipt(found, written).text())
    if found.differs:
        raise typer.Exit(FINDINGS)


@app.command(epilog="Example: xaiteach progress")
def progress() -> None:
    """Show what is done in each unit of your course, and what comes next."""
    from rich.table import Table

    from xaiteach.checks.standing import remarks, standings, unit_line

    rows = standings()
    table = Table("unit", "standing")
    for unit, standing in rows.items():
        table.add_row(unit, unit_line(standing))
    console().print(table)
    for line in remarks(rows):
        say(line)


@app.command(epilog="Example: xaiteach answers exercises/04_lime_fit.ipynb")
def answers(
    notebook: Annotated[Path, typer.Argument(metavar="NOTEBOOK", help="Notebook of exercises/, as you saved it.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="File to write. Default: beside the notebook, NAME-answers.html.")
    ] = None,
) -> None:
    """Write your answers as pages to print: one for each question, with your own text cells as its derivation."""
    from xaiteach.checks.printable import pages, printable
    from xaiteach.errors import SetupError

    text, found = printable(notebook), pages(notebook)
    target = out or notebook.with_name(f"{notebook.stem}-answers.html")
    try:
        target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SetupError(f"{target} must be a file that can be written; got: {error.strerror}. Try --out.") from error
    blank = sum(page.blank for page in found)
    say(f"{len(found)} pages in {target}{f', {blank} of them not answered yet' if blank else ''}.")
    say("Open it in a browser and print it; each question begins a page.")


@app.command(epilog="Example: xaiteach restore gradcam.heatmap --version 2 --write")
def restore(
    item: Annotated[str, typer.Argument(metavar="ITEM", help="A question, such as gradcam.heatmap.")],
    number: Annotated[
        int | None,
        typer.Option("--version", min=1, help="Which kept answer. Default: the newest right one, else newest."),
    ] = None,
    write: Annotated[bool, typer.Option("--write", help="Put it into its cell of your notebook.")] = False,
) -> None:
    """Show an answer of yours as you once checked it, or put it back into its cell; nothing is lost."""
    from xaiteach.checks.restoring import chosen, put_back, versions

    kept = versions(item)
    wanted = chosen(item, kept, number)
    for version in kept:
        mark = ">" if version is wanted else " "
        say(f"{mark} version {version.number}  {version.time}  {version.outcome.replace('_', ' ')}")
    if not write:
        say(f"\n{wanted.source.rstrip()}\n")
        say(f"To put it back: xaiteach restore {item} --version {wanted.number} --write")
        return
    path, backup = put_back(item, wanted.source)
    say(f"Version {wanted.number} stands in {path} again. The notebook as it was: {backup}")
    say("Is it open in a tab? Then: File > Reload Notebook from Disk.")
