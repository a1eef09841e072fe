"""What all explorations share: a checked state, a pure figure of it, and a panel with the same words everywhere.

An exploration is a function `draw(state)` and a list of fields. Its state is a dictionary of plain values, written as
the call that makes it again. Without a live front end it is a picture and a text.
"""

from __future__ import annotations

import base64
import functools
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xaiteach.errors import XaiTeachError, unknown
from xaiteach.widgets.fields import Field
from xaiteach.widgets.front import EMPTY_FRAME, VIEW, live_panel, missing

if TYPE_CHECKING:
    from xaiteach.plots.figure import ReadableFigure

__all__ = ["Drawing", "Exploration", "Preset"]

State = dict[str, Any]
_KEPT = 200  # frames, some 20 kB each


@dataclass(frozen=True)
class Drawing:
    """One state, drawn: the figure (its alt_text reads it), a note on the task, and whether the task is solved."""

    figure: ReadableFigure
    note: str = ""
    solved: bool = False


@dataclass(frozen=True)
class Preset:
    """A named change of the state."""

    name: str
    label: str
    changes: Mapping[str, Any]


class Exploration(ABC):
    """An exploration in some state; show it as the last value of a cell.

    Subclasses set `name` (the function that makes it), `title` and `task`, and write `fields`, `draw` and, where they
    have any, `presets` and `act`.
    """

    name: str
    title: str
    task: str
    actions: Sequence[tuple[str, str]] = ()

    def __init__(self, **state: Any) -> None:
        self._fields = {field.name: field for field in self.fields()}
        self.opening = self.checked(state)
        self.state = dict(self.opening)
        self._frames: dict[str, dict[str, Any]] = {}
        self._shown: dict[str, Any] = {}

    @abstractmethod
    def fields(self) -> Sequence[Field]:
        """Controls, in the order of the panel."""

    @abstractmethod
    def draw(self, state: State) -> Drawing:
        """Drawing of a state; it depends on nothing else."""

    def presets(self, state: State) -> Sequence[Preset]:
        """Named changes that the panel offers; their names and labels do not depend on the state."""
        return ()

    def act(self, action: str, state: State) -> State:
        """State after an action of the panel other than Reset and the presets."""
        raise unknown("action", action, [name for name, _ in self.actions])

    def checked(self, state: Mapping[str, Any]) -> State:
        """Complete state, from its opening values and those given.

        Raises
            OptionError: an unknown name or value; it names the known ones.
        """
        for name in state:
            if name not in self._fields:
                raise unknown("state", name, self._fields)
        return {name: field.checked(state.get(name, field.opening)) for name, field in self._fields.items()}

    def figure(self, **state: Any) -> ReadableFigure:
        """Figure of the present state with these changes."""
        return self.draw(self.checked({**self.state, **state})).figure

    def line(self, state: State | None = None) -> str:
        """Call that makes this state again; what is as at the start is left out."""
        state = self.state if state is None else state
        given = [f"{name}={state[name]!r}" for name, f in self._fields.items() if state[name] != f.checked(f.opening)]
        return f"{self.name}({', '.join(given)})"

    def frame(self, state: State | None = None) -> dict[str, Any]:
        """Everything that the panel shows of a state; drawn once and kept."""
        state = self.state if state is None else state
        key = self.line(state)
        if key not in self._frames:
            drawing = self.draw(state)
            png = base64.b64encode(drawing.figure.png(compress=1)).decode("ascii")
            if len(self._frames) >= _KEPT:
                del self._frames[next(iter(self._frames))]
            self._frames[key] = {
                **EMPTY_FRAME, "picture": f"data:image/png;base64,{png}", "reading": drawing.figure.alt_text,
                "note": drawing.note, "solved": drawing.solved, "state": key, "values": state,
            }  # fmt: skip
        return self._frames[key]

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Frame after a request of the panel; what goes wrong is said in the panel, and the last state stays."""
        try:
            self.state, self._shown = self._followed(request)
        except XaiTeachError as error:
            return {**self._shown, "error": str(error)}
        except Exception as error:
            words = f"This state could not be drawn ({type(error).__name__}: {error}). Try Reset."
            return {**self._shown, "error": words}
        return self._shown

    def _followed(self, request: Mapping[str, Any]) -> tuple[State, dict[str, Any]]:
        action, values = request.get("action"), {**self.state, **request.get("values", {})}
        if action == "reset":
            values = self.opening
        elif action:
            state = self.checked(values)
            preset = next((each for each in self.presets(state) if each.name == action), None)
            values = self.act(action, state) if preset is None else {**state, **preset.changes}
        state = self.checked(values)
        return state, self.frame(state)

    @functools.cached_property
    def panel(self) -> Any:
        """The live panel, a widget; made on first use.

        Raises
            ImportError: anywidget is not installed.
        """
        spec = {
            "title": self.title, "heading": True, "task": self.task,
            "fields": [field.spec() for field in self._fields.values()],
            "presets": [{"name": each.name, "label": each.label} for each in self.presets(self.state)],
            "actions": [*({"name": n, "label": text} for n, text in self.actions), {"name": "reset", "label": "Reset"}],
        }  # fmt: skip
        self._shown = self.frame()
        return live_panel(spec, self._shown, self.answer)

    def text(self) -> str:
        """What the picture shows, in words, and the call that makes it again."""
        frame = self.frame()
        again = f"To come back here: {frame['state']}" if frame["state"] else ""
        return "\n".join(part for part in (self.title, self.task, frame["reading"], frame["note"], again) if part)

    def __repr__(self) -> str:
        return self.text()

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Live panel, picture and text at once: each front end shows the best that it can."""
        picture = self.frame()["picture"].partition(",")[2]
        lacking = missing()
        text = f"{self.text()}\n{lacking}" if lacking else self.text()
        data: dict[str, Any] = {"image/png": picture, "text/plain": text}
        if not lacking:
            data[VIEW] = {"version_major": 2, "version_minor": 0, "model_id": self.panel.model_id}
        return data, {"image/png": {"alt": self.frame()["reading"]}}
