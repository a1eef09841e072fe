"""Checks inside a notebook: feedback, hints, solutions, and functions carried from unit to unit.

The names are resolved on first use, so that `xaiteach doctor` still speaks where numpy is broken.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xaiteach.checks.handing_in import receipt
    from xaiteach.checks.run import Feedback, check, hint, mine, ready, solution
    from xaiteach.checks.standing import progress

__all__ = ["Feedback", "check", "hint", "mine", "progress", "ready", "receipt", "solution"]

_HOMES = {
    **dict.fromkeys(("Feedback", "check", "hint", "mine", "ready", "solution"), "run"),
    "progress": "standing",
    "receipt": "handing_in",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"xaiteach.checks.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
