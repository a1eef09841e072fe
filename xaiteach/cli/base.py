"""What all commands share: the application, exit codes, and how they speak."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from xaiteach import __version__

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["FINDINGS", "UNABLE", "WRONG_USE", "Units", "app", "console", "full_unit", "say"]

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


Units = Annotated[list[str] | None, typer.Argument(metavar="UNIT", help="02, gradcam or 02_gradcam. Default: all.")]


def console(*, to_stderr: bool = False) -> Console:
    """Terminal to write to."""
    from rich.console import Console

    return Console(stderr=to_stderr, highlight=False)


def say(text: str, *, to_stderr: bool = False) -> None:
    """Write a line."""
    # Paths and messages hold brackets, which are no markup; and a line that was cut at 80 columns cannot be pasted.
    console(to_stderr=to_stderr).print(text, markup=False, soft_wrap=True)


def full_unit(unit: str) -> str:
    """Full name of a unit that was given by number, slug or full name."""
    from xaiteach.errors import unknown
    from xaiteach.questions import UNITS

    for name in UNITS:
        if unit in (name, *name.split("_", 1)):
            return name
    raise unknown("unit", unit, UNITS)


def _version(wanted: bool) -> None:
    if wanted:
        say(__version__)
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass
