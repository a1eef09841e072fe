"""Explorations that run from the keyboard, and checks with a panel; only notebooks import this.

The names are resolved on first use. Without anywidget explorations are pictures, and checks are as in `checks`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xaiteach.checks import hint, mine, progress, ready, receipt, solution
    from xaiteach.widgets.check_panel import check
    from xaiteach.widgets.classes import class_slider
    from xaiteach.widgets.frames import frame_slider
    from xaiteach.widgets.landscape import gradient_landscape
    from xaiteach.widgets.optima import plane_of_optima
    from xaiteach.widgets.paint import paint_explanation
    from xaiteach.widgets.pieces import gradcam_pieces
    from xaiteach.widgets.roulette import seed_roulette
    from xaiteach.widgets.sampling import lime_sampling

__all__ = [
    "check", "class_slider", "frame_slider", "gradcam_pieces", "gradient_landscape", "hint", "lime_sampling", "mine",
    "paint_explanation", "plane_of_optima", "progress", "ready", "receipt", "seed_roulette", "solution",
]  # fmt: skip

_HOMES = {
    **dict.fromkeys(("hint", "mine", "progress", "ready", "receipt", "solution"), "xaiteach.checks"),
    "check": "xaiteach.widgets.check_panel",
    "class_slider": "xaiteach.widgets.classes",
    "frame_slider": "xaiteach.widgets.frames",
    "gradcam_pieces": "xaiteach.widgets.pieces",
    "gradient_landscape": "xaiteach.widgets.landscape",
    "lime_sampling": "xaiteach.widgets.sampling",
    "paint_explanation": "xaiteach.widgets.paint",
    "plane_of_optima": "xaiteach.widgets.optima",
    "seed_roulette": "xaiteach.widgets.roulette",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
