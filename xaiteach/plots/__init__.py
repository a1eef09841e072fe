"""Figures: arrays in, a matplotlib Figure out, and the one line that reads it.

Importing this loads no matplotlib, and drawing leaves pyplot's global state alone.
"""

from __future__ import annotations

from xaiteach.plots.cascade import cascade
from xaiteach.plots.curves import Series, bars, curves
from xaiteach.plots.heat_maps import compare, heat_map
from xaiteach.plots.reading import alt_text
from xaiteach.plots.strip import Panel, strip
from xaiteach.plots.table import html_table, text_table

__all__ = [
    "Panel",
    "Series",
    "alt_text",
    "bars",
    "cascade",
    "compare",
    "curves",
    "heat_map",
    "html_table",
    "strip",
    "text_table",
]
