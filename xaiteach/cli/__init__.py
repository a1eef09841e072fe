"""The command line: every command is a few lines over the module that does the work, imported when it is called."""

from __future__ import annotations

import sys
import traceback

from xaiteach.cli import students  # isort: skip  # first, so that the help begins with what students need
from xaiteach.cli import bench, instructors
from xaiteach.cli.base import FINDINGS, UNABLE, WRONG_USE, app, say
from xaiteach.errors import MissingExtraError, NotebookSourceError, SetupError, XaiTeachError

__all__ = ["FINDINGS", "UNABLE", "WRONG_USE", "app", "bench", "instructors", "main", "students"]


def main() -> None:
    """Entry point: our errors become one message on stderr and an exit code, never a traceback."""
    try:
        app()
    except XaiTeachError as error:
        say(f"xaiteach: {error}", to_stderr=True)
        sys.exit(_exit_code(error))
    except Exception as error:
        if isinstance(error, ImportError) and not (error.name or "xaiteach").startswith("xaiteach"):
            say(f"xaiteach: {error.name} could not be loaded ({error}). Try: pip install {error.name}", to_stderr=True)
            sys.exit(UNABLE)
        traceback.print_exc()
        say("xaiteach: a fault of its own, not of what you did. Please report the lines above.", to_stderr=True)
        sys.exit(UNABLE)


def _exit_code(error: XaiTeachError) -> int:
    if isinstance(error, (SetupError, MissingExtraError)):
        return UNABLE
    return FINDINGS if isinstance(error, NotebookSourceError) else WRONG_USE
