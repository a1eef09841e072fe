"""The check of `checks`, with a panel under it: check again, hint, solution, and the points as they stand."""

from __future__ import annotations

import html
import os
import sys
from collections.abc import Mapping
from typing import Any

from xaiteach import checks
from xaiteach.checks.references import has_solutions
from xaiteach.checks.run import Feedback, paused
from xaiteach.questions import Question, find
from xaiteach.questions.wording import points_text
from xaiteach.widgets.front import EMPTY_FRAME, VIEW, live_panel, missing

__all__ = ["CheckPanel", "check"]


class CheckPanel:
    """Feedback that can be asked for again, with hint and solution beside it; headless it is the feedback's text."""

    def __init__(self, question: Question, feedback: Feedback, namespace: dict[str, Any]) -> None:
        self.question, self.feedback, self.namespace = question, feedback, namespace
        self.shown = feedback
        self.refused = False
        self._panel: Any = None

    @property
    def passed(self) -> bool:
        """Whether the answer is right."""
        return self.feedback.passed

    def frame(self) -> dict[str, Any]:
        """What the panel shows."""
        words = self.shown._repr_html_()
        if self.shown.note:
            words += f"<div>{html.escape(self.shown.note)}</div>"
        return {**EMPTY_FRAME, "html": words, "note": self._points(), "solved": self.passed}

    def _points(self) -> str:
        """Points as the last check left them; nothing where a person gives them."""
        possible, verdict = self.question.points, self.feedback.verdict
        if not self.question.machine_judged or verdict is None or verdict.outcome == "could_not_check":
            return ""
        earned = points_text(verdict.credit * possible)
        return f"{earned} of {points_text(possible)} point{'s' if possible != 1 else ''} as it stands"

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Frame after one of the buttons."""
        action, question = request.get("action"), self.question.id
        if action == "check":
            self.feedback = self.shown = checks.check(question, self.namespace)
        elif action == "hint":
            self.shown = checks.hint(question)
        elif action == "solution":
            # The first press says what is missing; the second opens it all the same.
            self.shown = checks.solution(question, force=self.refused)
            self.refused = not self.shown.words.code
        return self.frame()

    @property
    def panel(self) -> Any:
        """The live panel, a widget; made on first use."""
        if self._panel is None:
            names = {"check": "Check again", "hint": "Hint"}
            if has_solutions(self.question.unit):
                names["solution"] = "Solution"
            actions = [{"name": name, "label": label} for name, label in names.items()]
            spec = {
                "title": f"Check of {self.question.id}", "heading": False, "task": "", "fields": [], "presets": [],
                "actions": actions,
            }  # fmt: skip
            self._panel = live_panel(spec, self.frame(), self.answer)
        return self._panel

    def __repr__(self) -> str:
        return repr(self.feedback)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        """Panel, HTML and text of the same words."""
        data: dict[str, Any] = {"text/html": self.feedback._repr_html_(), "text/plain": repr(self.feedback)}
        if not missing():
            data[VIEW] = {"version_major": 2, "version_minor": 0, "model_id": self.panel.model_id}
        return data


def check(question_id: str = "", namespace: dict[str, Any] | None = None) -> Feedback | CheckPanel:
    """Check an answer, as `xaiteach.checks.check`, and offer hint and solution with it.

    Parameters
        question_id : such as "gradcam.logit_gradient".
        namespace : where the answer is looked up; default: the caller's globals, which in a notebook are its variables.
    Returns
        CheckPanel; it displays itself. A plain Feedback where there is no such question, or where others judge
        (nbgrader, `xaiteach check`).
    """
    names = sys._getframe(1).f_globals if namespace is None else namespace
    feedback = checks.check(question_id, names)
    if paused() or os.environ.get("NBGRADER_EXECUTION") or feedback.verdict is None:
        return feedback
    return CheckPanel(find(question_id), feedback, names)
