"""What `xaiteach.checks` and `xaiteach.widgets` are inside the grader's kernel: the same names, no verdict.

Self-contained: it is put in the place of both packages there, so that imports in setup cells work.
"""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["check", "hint", "mine", "progress", "ready", "receipt", "solution"]


def check(question_id: str = "", namespace: Any = None) -> None:
    """Do nothing: the grader probes answers itself."""


def hint(question_id: str = "", step: int | None = None) -> None:
    """Do nothing."""


def solution(question_id: str = "", force: bool = False) -> None:
    """Do nothing."""


def receipt(unit: str = "") -> None:
    """Do nothing."""


def progress() -> None:
    """Do nothing."""


def ready(question_id: str, namespace: Any = None) -> bool:
    """Return True: a demonstration runs here only where an answer builds on what it defines."""
    return True


def mine(question_id: str) -> Any:
    """Return the reference of an earlier unit's question, which the grader has put into the view."""
    slug, _, name = question_id.partition(".")
    module = importlib.import_module(f"xaiteach.references.{slug}_{name}")
    return getattr(module, module.ANSWER)
