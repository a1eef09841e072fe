"""Words of a verdict: the same text for a terminal, a notebook and a feedback page."""

from __future__ import annotations

import html
from dataclasses import dataclass

from xaiteach.questions.judging import Verdict
from xaiteach.questions.model import Question, Rubric

__all__ = ["Words", "points_text", "words_of"]

_SYMBOL = {
    "right": "✓",
    "recorded": "✓",
    "wrong_value": "✗",
    "wrong_form": "✗",
    "not_attempted": "○",
    "could_not_check": "⚠",
}
_HEAD = {
    "right": "right",
    "recorded": "recorded",
    "wrong_value": "not yet",
    "wrong_form": "not yet: no value of the right form",
    "not_attempted": "not attempted",
    "could_not_check": "could not be checked (our fault, no attempt counted)",
}
_GRADED_HEAD = {**_HEAD, "wrong_value": "not right", "wrong_form": "no value of the right form"}
_COLOUR = {
    "right": "var(--jp-success-color1, #2e7d32)",
    "recorded": "var(--jp-brand-color1, #1565c0)",
    "wrong_value": "var(--jp-error-color1, #c62828)",
    "wrong_form": "var(--jp-error-color1, #c62828)",
    "not_attempted": "var(--jp-ui-font-color2, #666)",
    "could_not_check": "var(--jp-warn-color1, #b26a00)",
}


def points_text(points: float) -> str:
    """Points without trailing zeros: 3, 1.5, 2.1."""
    return f"{round(points, 3):g}"


@dataclass(frozen=True)
class Words:
    """Head line and body of a verdict, as text and as HTML of the same words."""

    outcome: str
    head: str
    body: tuple[str, ...]
    table: tuple[tuple[str, str], ...] = ()
    footer: str = ""
    code: str = ""

    def text(self) -> str:
        """Plain text, as printed without a front end."""
        width = max([9, *(len(label) for label, _ in self.table)])
        rows = [f"    {label:<{width}} {value}" for label, value in self.table]
        code = [f"    {line}" for line in self.code.rstrip().splitlines()]
        footer = [f"  {self.footer}"] if self.footer else []
        return "\n".join([self.head, *(f"  {line}" for line in self.body), *rows, *code, *footer])

    def html(self) -> str:
        """HTML of the same words; everything is escaped, colours follow Lab's theme."""
        paragraphs = "".join(f"<div>{html.escape(line)}</div>" for line in self.body)
        rows = "".join(
            f"<tr><th style='text-align:left;font-weight:normal;padding-right:1em'>{html.escape(label)}</th>"
            f"<td style='text-align:left'><code>{html.escape(value)}</code></td></tr>"
            for label, value in self.table
        )
        table = f"<table style='margin:0.3em 0'>{rows}</table>" if rows else ""
        code = f"<pre>{html.escape(self.code.rstrip())}</pre>" if self.code else ""
        footer = f"<div><em>{html.escape(self.footer)}</em></div>" if self.footer else ""
        return (
            f"<div class='xaiteach-check' style='border-left:4px solid {_COLOUR[self.outcome]};padding:0.2em 0.8em'>"
            f"<div><strong>{html.escape(self.head)}</strong></div>{paragraphs}{table}{code}{footer}</div>"
        )


def words_of(question: Question, verdict: Verdict, *, student: bool, model_answer: bool = True) -> Words:
    """Words for a verdict.

    Parameters
        student : True in a notebook, where points are provisional and a hint is on offer; False on a graded page.
        model_answer : whether there is one to open.
    """
    earned, possible = points_text(verdict.credit * question.points), points_text(question.points)
    if verdict.outcome == "recorded":
        return _recorded_words(question, verdict, student=student, model_answer=model_answer)
    heads = _HEAD if student else _GRADED_HEAD
    head = f"{_SYMBOL[verdict.outcome]} {question.id}: {heads[verdict.outcome]}"
    body = [verdict.sentence] if verdict.sentence else []
    table: list[tuple[str, str]] = []
    if verdict.outcome == "right":
        head += f" ({earned} of {possible} points)" if not student else ""
        if student and question.kind in ("function", "formula"):
            body.append(
                f"{verdict.public[1]} public cases pass. When it is graded, fresh ones of the same kind follow."
            )
    footer = ""
    if verdict.outcome in ("wrong_value", "wrong_form"):
        if not student or verdict.credit:
            head += f" ({earned} of {possible} points{' as it stands' if student else ''})"
        if verdict.case is not None and verdict.public[1] > 1:
            body.append(f"Smallest case that fails: {verdict.case}.")
        if verdict.inputs is not None:
            table.append(("input", verdict.inputs))
        if verdict.got is not None:
            table.append(("got", verdict.got))
            if verdict.expected is not None:
                table.append(("expected", verdict.expected))
        footer = f'A hint, in three steps: hint("{question.id}")' if student else ""
    return Words(verdict.outcome, head, tuple(body), tuple(table), footer)


def _recorded_words(question: Question, verdict: Verdict, *, student: bool, model_answer: bool) -> Words:
    """Words for what no program judges: an essay with its rubric, or a prediction."""
    head, rubric = f"{_SYMBOL['recorded']} {question.id}: recorded", question.rubric or Rubric()
    if question.kind == "prediction":
        body = [f"You predicted {verdict.text}. Predictions are never scored."]
        return Words("recorded", head, (*body, rubric.reveal) if rubric.reveal else tuple(body))
    head = f"{_SYMBOL['recorded']} {question.id}: handed in, for a person to mark"
    lines = [f"{len(verdict.text.split())} words. They are marked by these criteria:"]
    lines += [f"· {text} ({_points(points)})" for points, text in rubric.criteria]
    if student:
        lines += [f"A weak answer: {rubric.weak}", f"What it lacks: {rubric.weak_notes}"]
        more = f' A model answer: solution("{question.id}")' if model_answer else ""
        return Words("recorded", head, tuple(lines), footer=f"Mark yourself by them.{more}")
    return Words("recorded", head, tuple(lines), code=verdict.text)


def _points(points: float) -> str:
    return f"{points_text(points)} point{'s' if points != 1 else ''}"
