"""Checks inside a notebook: feedback, hints, solutions, and functions carried from unit to unit.

The names are resolved on first use, so that `xaiteach doctor` still speaks where numpy is broken.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xaiteach.checks.run import Feedback, check, hint, mine, ready, solution

__all__ = ["Feedback", "check", "hint", "mine", "ready", "solution"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(importlib.import_module("xaiteach.checks.run"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
