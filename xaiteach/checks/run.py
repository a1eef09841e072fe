"""What a student calls under an exercise: check, hint, solution, ready, mine. None of them raises at a student."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import CodeType
from typing import Any

from xaiteach.checks import freshness, history, references
from xaiteach.errors import XaiTeachError
from xaiteach.questions import Question, Verdict, find, judge
from xaiteach.questions.judging import AnswerKey
from xaiteach.questions.running import answer_namespace, cases_of, keys_of, probe_namespace
from xaiteach.questions.sealing import sealed_keys
from xaiteach.questions.sources import defined_names, forbidden_names
from xaiteach.questions.wording import Words, words_of

__all__ = [
    "FailedCheckError",
    "Feedback",
    "check",
    "hint",
    "mine",
    "pause",
    "paused",
    "public_keys",
    "ready",
    "solution",
    "verdict_in",
]


_paused = False


def pause() -> None:
    """Let `check` and `ready` in this process answer at once, without running anything: somebody else judges."""
    global _paused
    _paused = True


def paused() -> bool:
    """Whether `pause` was called."""
    return _paused


class FailedCheckError(XaiTeachError, AssertionError):
    """A check failed while nbgrader grades or validates; elsewhere a check never raises."""


class Feedback:
    """What a check says: HTML in a notebook, the same words elsewhere. `passed` is True when it is right."""

    def __init__(self, words: Words, verdict: Verdict | None = None, note: str | None = None) -> None:
        self.words, self.verdict, self.note = words, verdict, note

    @property
    def passed(self) -> bool:
        """Whether the answer is right, or, where no program judges, recorded."""
        return self.verdict is not None and self.verdict.outcome in ("right", "recorded")

    def __repr__(self) -> str:
        return self.words.text() + (f"\n  {self.note}" if self.note else "")

    def _repr_html_(self) -> str:
        return self.words.html()


@functools.lru_cache(maxsize=128)
def public_keys(question_id: str) -> tuple[AnswerKey, ...]:
    """Keys of the public cases, computed once in a process."""
    question = find(question_id)
    cases = cases_of(question, 0, fresh=False)
    return tuple(keys_of(question, cases) if question.sealed is None else sealed_keys(question, cases))


def verdict_in(question: Question, namespace: dict[str, Any]) -> Verdict:
    """Verdict on the answer in a namespace, on the public cases; a fault of ours comes back as "could_not_check"."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            keys = public_keys(question.id)
    except Exception as error:
        sentence = f"The question itself could not be set up ({type(error).__name__}: {error}). Try: xaiteach doctor"
        return Verdict(question.id, "could_not_check", sentence=sentence)
    payloads = probe_namespace(question, namespace, [key.case for key in keys])
    return judge(question, keys, payloads)


def _caller() -> dict[str, Any]:
    """Globals of the notebook (or module) that called the public function."""
    return sys._getframe(2).f_globals


def _answer_source(question: Question, namespace: dict[str, Any]) -> str:
    """Source of the last executed cell that defines the answer; outside IPython the one in the saved notebook."""
    cells = namespace.get("In")
    if isinstance(cells, list):
        found = next((str(c) for c in reversed(cells) if question.answer in defined_names(str(c))), "")
        if found:
            return found
    try:
        return references.student_answer(question.id) or ""
    except XaiTeachError:
        return ""


def _stale(question: Question, source: str, namespace: dict[str, Any]) -> str | None:
    """Why a right answer would not be right from a fresh start; None where it would, or nobody can tell."""
    cells = namespace.get("In")
    if not isinstance(cells, list) or not source or not question.machine_judged:
        return None
    executed = [str(cell) for cell in cells]
    made = freshness.program(question, source, executed)
    with _pausing():
        names, error = freshness.run_afresh(made)
    verdict = None if error is not None else verdict_in(question, names)
    return freshness.why_stale(made, error, verdict, executed, namespace)


@contextlib.contextmanager
def _pausing() -> Iterator[None]:
    """Checks inside answer at once."""
    global _paused
    before, _paused = _paused, True
    try:
        yield
    finally:
        _paused = before


def _guarded(question_id: str, run: Callable[[Question], Feedback]) -> Feedback:
    """Feedback of `run`, or our own fault told in words."""
    if not isinstance(question_id, str) or not question_id:
        example = 'Give the question\'s name in quotes, as in check("gradcam.alpha_gap").'
        return Feedback(Words("could_not_check", f"⚠ {example}", ()))
    try:
        question = find(question_id)
    except XaiTeachError as error:
        return Feedback(Words("could_not_check", f"⚠ {error}", ()))
    try:
        return run(question)
    except FailedCheckError:
        raise
    except KeyboardInterrupt:
        body = ("Your answer was still running. Is there an endless loop, or a very slow step?",)
        return Feedback(Words("wrong_form", f"✗ {question.id}: interrupted", body))
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        body = (f"{text}. Your work is safe. Try: xaiteach doctor",)
        return Feedback(Words("could_not_check", f"⚠ {question.id}: could not be checked (our fault)", body))


def check(question_id: str = "", namespace: dict[str, Any] | None = None) -> Feedback:
    """Check an answer on the public cases and say what is right, or which mistake it looks like.

    Parameters
        question_id : such as "gradcam.logit_gradient".
        namespace : where the answer is looked up; default: the caller's globals, which in a notebook are its variables.
    Returns
        Feedback; it displays itself. It never raises, except a failed check under nbgrader (NBGRADER_EXECUTION set to
        autograde or validate), which scores a cell by whether it raises.
    """
    names = _caller() if namespace is None else namespace

    if _paused:
        return Feedback(Words("not_attempted", "left to whoever runs this notebook", ()))

    def run(question: Question) -> Feedback:
        began = time.monotonic()
        verdict = verdict_in(question, names)
        took = time.monotonic() - began
        note, used, stale = None, [], None
        if verdict.outcome != "could_not_check":
            source = _answer_source(question, names)
            used = forbidden_names(source, question.forbids)
            if verdict.outcome == "right" and took < question.deadline_s / 4:  # a slow answer is not run again
                stale = _stale(question, source, names)
            note = history.append(
                question.id,
                "check",
                outcome=verdict.outcome,
                credit=verdict.credit,
                mistake=verdict.mistake,
                source=source,
                **({"fresh": False} if stale else {}),
            )
        words = _told(question, verdict, used, stale)
        return Feedback(replace(words, body=(*_reasons(question, verdict, names), *words.body)), verdict, note)

    feedback = _guarded(question_id, run)
    if os.environ.get("NBGRADER_EXECUTION") in ("autograde", "validate") and not feedback.passed:
        sys.stdout.write(f"{feedback!r}\n")
        raise FailedCheckError(feedback.words.head)
    return feedback


def _told(question: Question, verdict: Verdict, used: list[str], stale: str | None) -> Words:
    """Words of a check, with what is beyond its verdict."""
    words = words_of(question, verdict, student=True, model_answer=references.has_solutions(question.unit))
    if stale:
        advice = "To see what a grader sees: Kernel > Restart Kernel and Run All Cells."
        words = replace(
            words,
            outcome="could_not_check",
            head=f"⚠ {question.id}: passes here, not from a fresh start",
            body=(stale, *words.body),
            footer=advice,
        )
    if used:
        without = f"It uses {', '.join(used)}; asked is an answer without. A grader sees that, too."
        words = replace(words, body=(*words.body, without))
    return words


def _reasons(question: Question, verdict: Verdict, namespace: dict[str, Any]) -> list[str]:
    """What lies outside the answer: its cell stopped half-way, or it builds on an answer that is not right yet."""
    if verdict.outcome in ("right", "recorded", "could_not_check"):
        return []
    shell = namespace.get("get_ipython")
    last = getattr(shell() if callable(shell) else None, "last_execution_result", None)
    raised, source = getattr(last, "error_in_exec", None), str(getattr(getattr(last, "info", None), "raw_cell", ""))
    if raised is not None and question.answer in defined_names(source):
        told = " ".join(str(raised).split())[:200]
        return [f"The cell with your answer stopped with {type(raised).__name__}: {told}"]
    if verdict.outcome not in ("wrong_value", "wrong_form"):
        return []
    known, code = bool(verdict.mistake or verdict.diagnosis), getattr(namespace.get(question.answer), "__code__", None)
    # A mistake that was recognised may be that of a function which the answer calls.
    suspects = [other for other in map(find, question.depends_on) if not known or other.answer in _names_in(code)]
    return [builds_on(other) for other in suspects if verdict_in(other, namespace).outcome != "right"]


def builds_on(other: Question) -> str:
    """What is said of an answer that builds on another one, which is not right."""
    return (
        f"It builds on `{other.answer}` ({other.id}), which is not right yet: mend that first, then check this again."
    )


def _names_in(code: Any) -> set[str]:
    """Names that a function's code reads, those of functions within it included."""
    if not isinstance(code, CodeType):
        return set()
    return set(code.co_names).union(*(_names_in(part) for part in code.co_consts))


def hint(question_id: str = "", step: int | None = None) -> Feedback:
    """Next of the three steps of a hint; after the last one, all three.

    Parameters
        question_id : such as "gradcam.alpha_gap".
        step : 1 to 3 shows the hint up to that step and counts for nothing; None is the next one.
    """

    def run(question: Question) -> Feedback:
        shown_step = min(max(step if step is not None else history.hints_used(question.id) + 1, 1), 3)
        shown = tuple(f"{i + 1}. {text}" for i, text in enumerate(question.hints[:shown_step]))
        note = history.append(question.id, "hint", step=shown_step) if step is None else None
        left = {1: "Two more steps", 2: "One more step", 3: ""}[shown_step]
        footer = f'{left}: call hint("{question.id}") again.' if left else ""
        if not left and references.has_solutions(question.unit):
            footer = f'The model answer: solution("{question.id}")'
        words = Words("not_attempted", f"Hint {shown_step} of 3 for {question.id}", shown, footer=footer)
        return Feedback(words, note=note)

    return _guarded(question_id, run)


def solution(question_id: str = "", force: bool = False) -> Feedback:
    """Model answer, after one honest try (a checked answer that is not the blank), or when forced."""

    def run(question: Question) -> Feedback:
        if references.has_solutions(question.unit) and not (force or history.attempted(question.id)):
            body = (f'Check an answer of yours first. To open it all the same: solution("{question.id}", force=True)',)
            return Feedback(Words("not_attempted", f"{question.id}: the solution opens after a try", body))
        try:
            source = references.reference(question.id)
        except XaiTeachError as error:
            return Feedback(Words("not_attempted", f"○ {question.id}: no model answer here", (str(error),)))
        note = history.append(question.id, "solution", forced=force)
        how = "opened by force, without a try" if force and not history.attempted(question.id) else "opened"
        return Feedback(Words("not_attempted", f"Model answer to {question.id} ({how})", (), code=source), note=note)

    return _guarded(question_id, run)


def ready(question_id: str, namespace: dict[str, Any] | None = None) -> bool:
    """Whether the answer is right, so that a demonstration may use it; says what is missing otherwise."""
    names = _caller() if namespace is None else namespace
    if _paused:
        return False
    try:
        verdict = verdict_in(find(question_id), names)
    except Exception as error:
        sys.stdout.write(f"Skipped: {question_id} could not be checked ({error}).\n")
        return False
    done = verdict.outcome in ("right", "recorded")
    if not done:
        sys.stdout.write(f"This part waits for a right answer to {question_id}.\n")
    return done


def mine(question_id: str) -> Any:
    """Return what the student wrote for an earlier question when it passes there, else the reference; says which.

    Tried in turn: the answer in the saved notebook of the course folder, then the last one that a check called right.

    Raises
        XaiTeachError: the question is unknown, or neither a passing answer nor the reference is there.
    """
    question = find(question_id)
    why = "no answer of yours here"
    for origin, source in _own_sources(question):
        try:
            names = answer_namespace(question, source)
            verdict = verdict_in(question, names)
        except Exception as error:
            why = f"yours stops with {type(error).__name__}"
            continue
        if verdict.outcome == "right":
            sys.stdout.write(f"{question.answer}: yours, {origin}.\n")
            return names[question.answer]
        why = "yours is still blank" if verdict.outcome == "not_attempted" else "yours does not pass yet"
    sys.stdout.write(f"{question.answer}: the course's own ({why}).\n")
    return answer_namespace(question, references.reference(question_id))[question.answer]


def _own_sources(question: Question) -> Iterator[tuple[str, str]]:
    """Where an answer of the student may be found, and its source."""
    try:
        saved = references.student_answer(question.id)
    except XaiTeachError:
        saved = None
    if saved is not None:
        yield f"from {question.unit}", saved
    checked = [e for e in history.entries(question.id) if e.get("what") == "check" and e.get("outcome") == "right"]
    if checked and checked[-1].get("source"):
        yield "as you last checked it", str(checked[-1]["source"])
