"""The live side of a panel: one anywidget, whose kernel half answers each request with one frame.

The front end keeps one request under way and remembers only the newest change meanwhile, so that a slider that runs
ahead of the kernel is never followed frame by frame: the latest request wins.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

__all__ = ["EMPTY_FRAME", "VIEW", "live_panel", "missing"]

VIEW = "application/vnd.jupyter.widget-view+json"

EMPTY_FRAME: dict[str, Any] = {
    "id": "", "picture": "", "reading": "", "html": "", "note": "", "solved": False, "error": "", "state": "",
    "values": {},
}  # fmt: skip
"""What a front end shows: everything it needs at once, so that no two parts of a panel can disagree."""


def missing() -> str:
    """Line that installs what a live panel needs; empty where all is there."""
    try:
        import anywidget  # noqa: F401
    except (ImportError, RuntimeError) as error:
        return f"This picture moves once anywidget is installed ({error}): pip install ipywidgets anywidget"
    return ""


@functools.cache
def _widget_class() -> Any:
    """Class of the widget, made on first use: importing this module must not need anywidget."""
    import anywidget
    import traitlets

    here = Path(__file__).parent

    class LivePanel(anywidget.AnyWidget):  # type: ignore[misc]  # untyped library
        _esm = (here / "panel.js").read_text(encoding="utf-8")
        _css = (here / "panel.css").read_text(encoding="utf-8")
        spec = traitlets.Dict().tag(sync=True)
        request = traitlets.Dict().tag(sync=True)
        frame = traitlets.Dict().tag(sync=True)

    return LivePanel


def live_panel(
    spec: Mapping[str, Any], frame: Mapping[str, Any], answer: Callable[[Mapping[str, Any]], Mapping[str, Any]]
) -> Any:
    """Widget that shows `frame` and puts `answer(request)` in its place for every request of its front end.

    Parameters
        spec : title, heading (bool), task, fields, presets and actions, as panel.js reads them.
        frame : like EMPTY_FRAME.
        answer : from a request {id, values, action} to a frame; it must not raise.
    """
    widget = _widget_class()(spec=dict(spec), frame={**EMPTY_FRAME, **frame})

    def serve(change: Mapping[str, Any]) -> None:
        request = change["new"]
        widget.frame = {**EMPTY_FRAME, **answer(request), "id": str(request.get("id", ""))}

    widget.observe(serve, names="request")
    _retire_older(widget)
    return widget


_shown: dict[str, tuple[str, list[Any]]] = {}
"""Cell -> the run of it that made panels, and these; for front ends that say which cell they run."""


def _retire_older(widget: Any) -> None:
    """Close the panels of earlier runs of the present cell, or each run would leave one more in the saved notebook."""
    from IPython import get_ipython

    shell = get_ipython()
    parent = shell.get_parent() if hasattr(shell, "get_parent") else {}
    cell, run = parent.get("metadata", {}).get("cellId"), parent.get("header", {}).get("msg_id", "")
    if cell is None:
        return
    before, panels = _shown.get(cell, (run, []))
    if before != run:
        for panel in panels:
            panel.close()
        panels = []
    _shown[cell] = (run, [*panels, widget])
