"""Questions: what is asked, probed and expected, and which mistakes are known. One module for each unit."""

from __future__ import annotations

import functools
import importlib
import json
from pathlib import Path

from xaiteach.errors import OptionError, unknown
from xaiteach.questions.judging import Verdict, judge
from xaiteach.questions.model import Case, Mistake, Question, Rubric, Tolerance, Variant

__all__ = [
    "UNITS",
    "Case",
    "Mistake",
    "Question",
    "Rubric",
    "Tolerance",
    "Variant",
    "Verdict",
    "find",
    "judge",
    "of_unit",
    "unit_of",
    "withheld",
]

UNITS = {
    "00_start_here": "xaiteach.questions.start_here",
    "01_gradients": "xaiteach.questions.gradients",
    "02_gradcam": "xaiteach.questions.gradcam",
    "03_video_cam": "xaiteach.questions.video_cam",
    "04_lime_fit": "xaiteach.questions.lime_fit",
    "05_lime_sparsity": "xaiteach.questions.lime_sparsity",
    "06_lime_vs_gradcam": "xaiteach.questions.lime_vs_gradcam",
}
"""Units with questions, in teaching order: full name -> module with a tuple QUESTIONS."""

RELEASED = Path(__file__).with_name("released.json")
"""Questions of a student's release, sealed; in the full package there is no such file."""


@functools.cache
def of_unit(unit: str) -> tuple[Question, ...]:
    """Questions of a unit ("02_gradcam"), in the order in which they are asked.

    Raises
        OptionError: no such unit.
    """
    if unit not in UNITS:
        raise unknown("unit", unit, UNITS)
    questions: tuple[Question, ...]
    if RELEASED.is_file():
        from xaiteach.questions.sealing import unseal

        questions = tuple(unseal(data) for data in json.loads(RELEASED.read_text(encoding="utf-8"))[unit])
    else:
        questions = importlib.import_module(UNITS[unit]).QUESTIONS
    for question in questions:
        if question.unit != unit:
            raise OptionError(f"question {question.id!r} says unit {question.unit!r} but stands in {unit!r}.")
    return questions


@functools.cache
def withheld(unit: str) -> tuple[str, ...]:
    """Files of the package, relative to it, that a unit's grading kernel must lack: what students write there."""
    of_unit(unit)
    files: tuple[str, ...] = getattr(importlib.import_module(UNITS[unit]), "WITHHELD", ())
    return files


def unit_of(question_id: str) -> str:
    """Full name of the unit a question id belongs to ("gradcam.alpha_gap" -> "02_gradcam")."""
    slug = question_id.partition(".")[0]
    for unit in UNITS:
        if unit.partition("_")[2] == slug:
            return unit
    raise unknown("question", question_id, [question.id for unit in UNITS for question in of_unit(unit)])


def find(question_id: str) -> Question:
    """Return the question with this id.

    Raises
        OptionError: no such question; the message names the nearest.
    """
    for question in of_unit(unit_of(question_id)):
        if question.id == question_id:
            return question
    raise unknown("question", question_id, [question.id for question in of_unit(unit_of(question_id))])
