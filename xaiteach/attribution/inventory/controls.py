"""Maps that no explanation may be beaten by."""

from __future__ import annotations

from xaiteach.attribution.entry import Entry

__all__ = ["ENTRIES"]

ENTRIES: dict[str, Entry] = {}
