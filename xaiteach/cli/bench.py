"""`xaiteach bench`: how fast we are, beside others, in one run."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xaiteach.cli.base import FINDINGS, app, console, say
from xaiteach.errors import OptionError, SetupError, unknown

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

    from xaiteach.cli.bench_measuring import Row
    from xaiteach.cli.bench_replica import Report

__all__ = ["BENCHES"]

TIMED = {"methods": "xaiteach.cli.bench_methods", "sanity": "xaiteach.cli.bench_sanity"}
"""What is timed: NAME -> module with `rows(repeats, cases)`, which yields a Row as soon as it is measured."""

FOUND_AGAIN = {"replica": "xaiteach.cli.bench_replica"}
"""What is found again: NAME -> module with `reports(repeats, cases)`, which yields a Report."""

BENCHES = {**TIMED, **FOUND_AGAIN}

_STDOUT = "-"


@app.command(epilog="Example: xaiteach bench methods --json bench.json")
def bench(
    name: Annotated[str, typer.Argument(metavar="NAME", help=f"What to measure: {', '.join(BENCHES)}.")],
    json_file: Annotated[
        str | None, typer.Option("--json", metavar="FILE", help="Write the rows there as JSON; - is stdout alone.")
    ] = None,
    cases: Annotated[
        list[str] | None, typer.Option("--case", help="Only cases with this in their name; can be repeated.")
    ] = None,
    repeats: Annotated[
        int | None,
        typer.Option(min=1, help="Timed runs of each side, in turn; the median counts. Of the replica: trainings."),
    ] = None,
) -> None:
    """Measure our methods or our sweep beside others (seconds, agreement, memory), or find results again (replica)."""
    if name not in BENCHES:
        raise unknown("bench", name, BENCHES)
    if json_file not in (None, _STDOUT) and not Path(json_file).resolve().parent.is_dir():
        raise OptionError(f"--json must be a file in a folder that exists; got {json_file}. Try --json bench.json.")
    module = importlib.import_module(BENCHES[name])
    if name in FOUND_AGAIN:
        _reports(module, repeats or 3, cases or (), json_file)
        return
    rows: list[Row] = []
    with console(to_stderr=True).status("warming up") as status:
        for row in module.rows(repeats or 5, cases or ()):
            rows.append(row)
            status.update(f"{len(rows)} done, last: {row.case}")
    if _written(rows, json_file):
        _table(rows)
        say(module.conditions())
    for row in rows:
        if row.note:
            say(f"{row.case}: {row.note}", to_stderr=True)
    if any(row.failed for row in rows):
        raise typer.Exit(FINDINGS)


def _reports(module: ModuleType, trainings: int, cases: Sequence[str], json_file: str | None) -> None:
    """Tables of what was found again; what does not hold is said on stderr, and by the exit code."""
    reports: list[Report] = []
    with console(to_stderr=True).status("computing") as status:
        for report in module.reports(trainings, cases):
            reports.append(report)
            status.update(f"{len(reports)} done, last: {report.case}")
    if _written(reports, json_file):
        from xaiteach.plots.table import text_table  # which needs numpy: a third of a command's start

        for report in reports:
            say(f"{report.title}\n{text_table(report.columns, report.rows)}\n")
    faults = [f"{report.case}: {fault}" for report in reports for fault in report.faults]
    for fault in faults:
        say(fault, to_stderr=True)
    if faults:
        raise typer.Exit(FINDINGS)


def _written(found: Sequence[Row] | Sequence[Report], json_file: str | None) -> bool:
    """Write what was found as JSON, where it was asked for; whether tables are to be shown, too."""
    text = f"{json.dumps([one.as_json() for one in found], indent=1)}\n"
    if json_file == _STDOUT:
        sys.stdout.write(text)
        return False
    if json_file:
        try:
            Path(json_file).write_text(text, encoding="utf-8")
        except OSError as error:
            raise SetupError(
                f"{json_file} must be a file that can be written; {error.strerror}. Try another."
            ) from error
    return True


def _table(rows: Sequence[Row]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table("case, and beside whom", "ours s", "theirs s", "ratio", "agreement", "MiB", padding=(0, 1, 0, 0))
    for row in rows:
        ratio = "" if row.ratio is None else f"{_figure(row.ratio)} (of {row.wanted:g})"
        agreement = "" if row.agreement is None else f"{row.agreement:.0e}{' *' if row.draws else ''}"
        cells = (f"{row.case}\n  {row.peer}", _figure(row.ours_s), _figure(row.peer_s), ratio, agreement)
        table.add_row(*(Text(cell) for cell in (*cells, _figure(row.peak_mib))))
    console().print(table)
    if any(row.draws and row.agreement is not None for row in rows):
        say("* Both sides draw, each its own numbers: two draws are compared.")
    for line in dict.fromkeys(f"{row.peer}: {row.trouble}" for row in rows if row.trouble):
        say(line)  # below the table and uncut, so that a command can be pasted


def _figure(value: Any) -> str:
    return "" if value is None else f"{value:#.3g}".rstrip(".")
