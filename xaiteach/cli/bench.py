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

    from xaiteach.cli.bench_measuring import Row

__all__ = ["BENCHES"]

BENCHES = {"methods": "xaiteach.cli.bench_methods", "sanity": "xaiteach.cli.bench_sanity"}
"""What can be measured: NAME -> module with `rows(repeats, cases)`, which yields a Row as soon as it is measured."""

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
    repeats: Annotated[int, typer.Option(min=1, help="Timed runs of each side, in turn; the median counts.")] = 5,
) -> None:
    """Measure our methods or our sanity-check sweep beside others: seconds, agreement, memory."""
    if name not in BENCHES:
        raise unknown("bench", name, BENCHES)
    if json_file not in (None, _STDOUT) and not Path(json_file).resolve().parent.is_dir():
        raise OptionError(f"--json must be a file in a folder that exists; got {json_file}. Try --json bench.json.")
    module = importlib.import_module(BENCHES[name])
    rows: list[Row] = []
    with console(to_stderr=True).status("warming up") as status:
        for row in module.rows(repeats, cases or ()):
            rows.append(row)
            status.update(f"{len(rows)} done, last: {row.case}")
    text = f"{json.dumps([row.as_json() for row in rows], indent=1)}\n"
    if json_file == _STDOUT:
        sys.stdout.write(text)
    else:
        _table(rows)
        say(module.conditions())
        if json_file:
            _write(Path(json_file), text)
    for row in rows:
        if row.note:
            say(f"{row.case}: {row.note}", to_stderr=True)
    if any(row.failed for row in rows):
        raise typer.Exit(FINDINGS)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SetupError(f"{path} must be a file that can be written; {error.strerror}. Try another.") from error


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
