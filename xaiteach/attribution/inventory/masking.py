"""What hiding parts of the input does to the score."""

from __future__ import annotations

from xaiteach.attribution.entry import Entry

__all__ = ["ENTRIES"]

ENTRIES: dict[str, Entry] = {}
