"""Backward passes with rules of their own for the ReLU."""

from __future__ import annotations

from xaiteach.attribution.entry import Entry

__all__ = ["ENTRIES"]

ENTRIES: dict[str, Entry] = {}
