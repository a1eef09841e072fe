"""Compare what a probe brought back with the truth and with the known mistakes: arrays in, a verdict out.

No student code runs here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

import numpy as np

from xaiteach.questions import diagnoses, formulas, probing, showing
from xaiteach.questions.model import Case, Mistake, Question, Tolerance, Values
from xaiteach.questions.showing import show

__all__ = ["AnswerKey", "Key", "Outcome", "Verdict", "judge", "read_values"]

Outcome = Literal["right", "recorded", "wrong_value", "wrong_form", "not_attempted", "could_not_check"]
Payload = Mapping[str, Any]
_FEW = 16  # numbers in a case that is shown whole
_LONGEST = 20_000  # characters of an essay
SCHEMA = 2
"""Version of the judging rules; part of every cached grade's key."""

_DTYPES = {"bool", "int64", "float32", "float64", "str"}


class AnswerKey(Protocol):
    """What one case is compared with. `Key` holds the values; `sealing.SealedKey` holds only fingerprints of them."""

    @property
    def case(self) -> Case:
        """The case it belongs to."""

    def is_true(self, question: Question, got: Values) -> bool:
        """Whether `got` is right for this case."""

    def is_mistake(self, name: str, got: Values) -> bool:
        """Whether `got` is what the mistake `name` brings for this case."""

    def shapes(self) -> Mapping[str, tuple[int, ...] | None]:
        """Shape of each named array of the truth; None for a text."""

    def expected(self, digits: int = 3, start: int = 0) -> str | None:
        """Text of the truth, where it may be known."""


@dataclass(frozen=True)
class Key:
    """The truth of a case, and what each known mistake would bring (None: it brings no values)."""

    case: Case
    truth: Values
    mistakes: Mapping[str, Values | None] = field(default_factory=dict)
    tolerance: Tolerance = field(default_factory=Tolerance)

    def is_true(self, question: Question, got: Values) -> bool:
        """Whether `got` is right for this case."""
        if question.judge is not None:
            return question.judge(self.case, got, self.truth)
        return agree(got, self.truth, self.tolerance)

    def is_mistake(self, name: str, got: Values) -> bool:
        """Whether `got` is what the mistake `name` brings for this case."""
        wrong = self.mistakes.get(name)
        return wrong is not None and agree(got, wrong, self.tolerance)

    def shapes(self) -> dict[str, tuple[int, ...] | None]:
        """Shape of each named array of the truth; None for a text."""
        return {name: None if a.dtype.kind == "U" else a.shape for name, a in self.truth.items()}

    def expected(self, digits: int = 3, start: int = 0) -> str | None:
        """Text of the truth."""
        return show(self.truth, digits, start)


@dataclass(frozen=True)
class Verdict:
    """Outcome of a question, with all that may be said about it.

    `credit` is the share of the points (1 right, a mistake's credit, else 0). `mistake` and `diagnosis` are names for
    the item analysis. `got` and `expected` show the smallest public case that fails and nothing of a fresh one.
    "recorded" is the outcome of what no program judges, an essay or a prediction; `text` holds it.
    """

    question: str
    outcome: Outcome
    credit: float = 0.0
    sentence: str = ""
    mistake: str | None = None
    diagnosis: str | None = None
    case: str | None = None
    inputs: str | None = None
    got: str | None = None
    expected: str | None = None
    public: tuple[int, int] = (0, 0)
    fresh: tuple[int, int] = (0, 0)
    text: str = ""


def read_values(payload: Payload) -> Values:
    """Named arrays of a payload that came out of a kernel nobody trusts; raises ValueError where it is not in order."""
    values: Values = {}
    items = payload.get("values")
    if not isinstance(items, dict):
        raise ValueError("values is not an object")
    for name, item in items.items():
        if not isinstance(item, dict) or item.get("dtype") not in _DTYPES or not isinstance(item.get("b64"), str):
            raise ValueError(f"value {str(name)[:40]!r} is not {{dtype, shape, b64}}")
        shape = item.get("shape")
        if not isinstance(shape, list) or any(type(n) is not int or n < 0 for n in shape):
            raise ValueError(f"value {str(name)[:40]!r} has no proper shape")
        values[str(name)] = np.asarray(probing.decode(item))
    return values


def agree(got: Values, wanted: Values, tolerance: Tolerance) -> bool:
    """Whether every named array has the wanted shape and lies within the tolerance, elementwise; texts are equal."""
    if got.keys() != wanted.keys():
        return False
    for name, expected in wanted.items():
        mine = got[name]
        if (mine.dtype.kind == "U") != (expected.dtype.kind == "U"):
            return False
        if expected.dtype.kind == "U":
            if str(mine).strip().lower() != str(expected).strip().lower():
                return False
        elif expected.ndim == 0 and mine.size == 1:  # one number is one number, in a list or not
            if not _within(mine.reshape(()), expected, tolerance):
                return False
        elif mine.shape != expected.shape or not _within(mine, expected, tolerance):
            return False
    return True


def _within(mine: np.ndarray[Any, Any], expected: np.ndarray[Any, Any], tolerance: Tolerance) -> bool:
    if not np.isfinite(mine).all():
        return False
    difference = np.abs(mine.astype(np.float64) - expected.astype(np.float64))
    return float(difference.max(initial=0.0)) <= tolerance.bound(expected)


def judge(question: Question, keys: Sequence[AnswerKey], payloads: Sequence[Payload]) -> Verdict:
    """Verdict on a question from the payloads of its probe.

    Parameters
        keys : one for each case, smallest case first.
        payloads : as `probing.probe` makes them, in any order; unknown cases and surplus payloads count for nothing.
    Returns
        Verdict; never raises for what a student's payload holds.
    """
    blank = next((p for p in payloads if p.get("case") is None and p.get("error")), None)
    by_case = {p["case"]: p for p in payloads if isinstance(p.get("case"), str) and p.get("question") == question.id}
    if blank is not None and not by_case:
        return _blank(question, blank, keys)
    if not by_case:
        return Verdict(question.id, "not_attempted", sentence="Nothing came back from this answer.")
    got: list[Values | None] = []
    errors: list[Payload | None] = []
    read = ""
    for key in keys:
        values, error = _read(by_case.get(key.case.name))
        if values is not None and question.kind == "formula":
            values, error, read = formulas.numbers(values, key.case)
        got.append(values)
        errors.append(error)
    if all(error is not None and error.get("kind") == "unfinished" for error in errors):
        return Verdict(question.id, "not_attempted", sentence="The blank is still there.")
    if not question.machine_judged:
        return _recorded(question, keys[0], got[0], errors[0])
    passed = [values is not None and key.is_true(question, values) for key, values in zip(keys, got, strict=True)]
    public = _count(keys, passed, public=True)
    fresh = _count(keys, passed, public=False)
    if all(passed):
        return Verdict(question.id, "right", 1.0, public=public, fresh=fresh)
    verdict = _wrong(question, keys, got, errors, passed, public, fresh)
    return replace(verdict, got=f"{verdict.got}, which is {read}") if read and verdict.got else verdict


def _recorded(question: Question, key: AnswerKey, values: Values | None, error: Payload | None) -> Verdict:
    """Verdict on an essay or a prediction: what was written, or why it cannot be taken."""
    if values is None:
        return Verdict(question.id, "wrong_form", sentence=_error_words(question, error or {}, key))
    written = next(iter(values.values()), np.asarray(""))
    text = str(written).strip() if written.dtype.kind == "U" else show({"written": written})
    if text in ("", "..."):
        return Verdict(question.id, "not_attempted", sentence="The blank is still there.")
    wanted = f" What is wanted: {question.shape_words}." if question.shape_words else ""
    if question.options and text.lower() not in question.options:
        return Verdict(question.id, "wrong_form", sentence=f"That is none of the options.{wanted}", text=text)
    if question.rubric and not question.rubric.takes(written):
        return Verdict(question.id, "wrong_form", sentence=f"That cannot be the answer.{wanted}", text=text)
    words, least = len(text.split()), question.rubric.least_words if question.rubric else 0
    if question.kind == "essay":
        if written.dtype.kind != "U":
            return Verdict(question.id, "wrong_form", sentence=f"A text in quotes is asked for.{wanted}")
        if words < least:
            sentence = f"That is {words} word{'s' if words != 1 else ''}; at least {least} are asked for."
            return Verdict(question.id, "wrong_form", sentence=sentence, text=text)
        if len(text) > _LONGEST:
            sentence = f"That is {len(text)} characters; at most {_LONGEST} are taken. Please shorten it."
            return Verdict(question.id, "wrong_form", sentence=sentence, text=text[:_LONGEST])
    return Verdict(question.id, "recorded", text=text)


def _count(keys: Sequence[AnswerKey], passed: Sequence[bool], *, public: bool) -> tuple[int, int]:
    flags = [ok for key, ok in zip(keys, passed, strict=True) if key.case.public is public]
    return sum(flags), len(flags)


def _blank(question: Question, payload: Payload, keys: Sequence[AnswerKey]) -> Verdict:
    error = payload.get("error")
    if isinstance(error, dict) and error.get("kind") == "form":
        return Verdict(question.id, "wrong_form", sentence=_error_words(question, error, keys[0]))
    if isinstance(error, dict) and error.get("kind") == "missing":
        sentence = f"`{question.answer}` is not defined here: run the cell that defines it, or keep that name."
        if question.kind == "formula":
            sentence += f' A formula is a text, so it stands in quotes: {question.answer} = "..."'
        return Verdict(question.id, "not_attempted", sentence=sentence)
    return Verdict(question.id, "not_attempted", sentence="The blank is still there.")


def _read(payload: Payload | None) -> tuple[Values | None, Payload | None]:
    """Values of a case, or what came instead of them."""
    if payload is None:
        return None, {"kind": "form", "type": "nothing", "message": "nothing came back for this case"}
    error = payload.get("error")
    if error:
        return None, error if isinstance(error, dict) else {"kind": "form", "type": "?", "message": ""}
    try:
        return read_values(payload), None
    except (ValueError, TypeError) as problem:
        return None, {"kind": "form", "type": "data", "message": str(problem)}


def _wrong(
    question: Question,
    keys: Sequence[AnswerKey],
    got: Sequence[Values | None],
    errors: Sequence[Payload | None],
    passed: Sequence[bool],
    public: tuple[int, int],
    fresh: tuple[int, int],
) -> Verdict:
    """Verdict on an answer that fails somewhere: a known mistake, a generic diagnosis, a wrong form, or just wrong."""
    first = next((i for i, key in enumerate(keys) if not passed[i] and key.case.public), None)
    where = _where(question, keys[first], got[first]) if first is not None else {}
    shared = {"public": public, "fresh": fresh, **where}
    if question.options and first is not None and got[first] is not None:
        came = next(iter((got[first] or {}).values()), None)
        if str(came).strip().lower() not in question.options:
            words = f"That is none of the options. What is wanted: {question.shape_words}."
            return Verdict(question.id, "wrong_form", 0.0, words, **shared)
    if all(values is not None for values in got):
        whole = [values for values in got if values is not None]
        for mistake in question.mistakes:
            if _makes(mistake, keys, whole, passed):
                return Verdict(
                    question.id, "wrong_value", mistake.credit, mistake.sentence, mistake=mistake.name, **shared
                )
        plain = [i for i, key in enumerate(keys) if not key.case.trap]
        found = _generic(question, [keys[i] for i in plain], [whole[i] for i in plain])
        if found is not None:
            return Verdict(question.id, "wrong_value", 0.0, found.sentence, diagnosis=found.name, **shared)
    index = next(i for i, ok in enumerate(passed) if not ok)
    index = first if first is not None else index
    error, values = errors[index], got[index]
    if error is not None:
        return Verdict(question.id, "wrong_form", 0.0, _error_words(question, error, keys[index]), **shared)
    if values is not None and not _same_form(keys[index], values):
        return Verdict(question.id, "wrong_form", 0.0, _form_words(question, keys[index], values), **shared)
    key, words = keys[index], _value_words(values, public, fresh)
    # Where the question judges by itself, what differs from the one truth kept here may be right all the same.
    if values is not None and first is not None and isinstance(key, Key) and question.judge is None:
        words = " ".join(filter(None, [words, showing.off(key.truth, values, key.tolerance)]))
    return Verdict(question.id, "wrong_value", 0.0, words, **shared)


def _makes(mistake: Mistake, keys: Sequence[AnswerKey], got: Sequence[Values], passed: Sequence[bool]) -> bool:
    """Whether these answers are the mistake's: by where they fail, or by their numbers on the ordinary cases."""
    if mistake.trap:
        return all(ok or key.case.trap == mistake.trap for key, ok in zip(keys, passed, strict=True))
    plain = [(key, values) for key, values in zip(keys, got, strict=True) if not key.case.trap]
    return all(key.is_mistake(mistake.name, values) for key, values in plain)


def _same_form(key: AnswerKey, values: Values) -> bool:
    wanted = key.shapes()
    return wanted.keys() <= values.keys() and all(
        values[name].dtype.kind == "U" if shape is None else values[name].shape == shape
        for name, shape in wanted.items()
    )


def _where(question: Question, key: AnswerKey, values: Values | None) -> dict[str, Any]:
    shown: dict[str, Any] = {"case": key.case.name, "inputs": _inputs(key.case)}
    if values is None:
        return shown
    wanted = key.expected() if question.kind in ("function", "formula") else None
    start, digits = 0, 3
    if wanted == show(values):  # what would be shown of the two is equal
        start = showing.hidden(key.truth, values, key.tolerance) if isinstance(key, Key) else 0
        digits = 3 if start else 6
    expected = key.expected(digits, start) if wanted else None
    return {**shown, "got": show(values, digits, start), "expected": expected}


def _inputs(case: Case) -> str | None:
    """Text of a case's inputs where they are few enough to follow by hand."""
    numbers = sum(np.asarray(value).size for value in case.inputs.values())
    if not 0 < numbers <= _FEW:
        return None
    return ", ".join(f"{name} = {_short(np.asarray(value).tolist())}" for name, value in case.inputs.items())


def _short(value: Any) -> Any:
    """A number, or a list of them, with five digits: enough to follow by hand."""
    if isinstance(value, list):
        return [_short(each) for each in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value


def _generic(question: Question, keys: Sequence[AnswerKey], got: Sequence[Values]) -> diagnoses.Diagnosis | None:
    texts = any(shape is None for key in keys for shape in key.shapes().values())
    if question.judge is not None or texts or any(a.dtype.kind == "U" for values in got for a in values.values()):
        return None
    mine = [{name: array.astype(np.float64) for name, array in values.items()} for values in got]
    open_keys = [key for key in keys if isinstance(key, Key)]
    if len(open_keys) == len(keys):
        truth = [{n: a.astype(np.float64) for n, a in key.truth.items()} for key in open_keys]
        return diagnoses.generic(mine, truth, [key.case.symbols for key in keys], question.tolerance)
    return diagnoses.by_trial(mine, keys, [key.case.symbols for key in keys])


def _error_words(question: Question, error: Payload, key: AnswerKey) -> str:
    kind, message = error.get("kind"), str(error.get("message") or "")[:300]
    if not key.case.public and kind in ("raised", "form"):  # a message may hold the inputs of a fresh case
        return f"It stopped with {str(error.get('type'))[:40]}, or gave no value of the right form, on a fresh case."
    if kind == "formula":
        return f"{message[:1].upper()}{message[1:]}"
    if kind == "unfinished":
        return "Part of the answer is still blank: some cases come back empty."
    if kind == "raised":
        line = error.get("line")
        at = f", line {line} of your answer" if isinstance(line, int) else ""
        return f"It stopped with {str(error.get('type'))[:80]}: {message}{at}."
    wanted = f" What is wanted: {question.shape_words}." if question.shape_words else ""
    if error.get("type") == "NoneType":
        back = "It returned None: does every way through it end in a return with a value?"
        return (back if question.kind == "function" else f"`{question.answer}` is None.") + wanted
    return f"The answer has the wrong type: {message}{'' if message.endswith('?') else '.'}{wanted}"


def _form_words(question: Question, key: AnswerKey, values: Values) -> str:
    wanted = "; ".join("a text" if shape is None else str(shape) for shape in key.shapes().values())
    came = "; ".join(str(tuple(a.shape)) for a in values.values())
    if not key.case.public:
        return "The shape is wrong on a fresh case: do the sizes in your code come from the inputs?"
    words = f" ({question.shape_words})" if question.shape_words else ""
    return f"The shape is wrong: expected {wanted}{words}, got {came}."


def _value_words(values: Values | None, public: tuple[int, int], fresh: tuple[int, int]) -> str:
    if values is not None and any(a.dtype.kind == "f" and not np.isfinite(a).all() for a in values.values()):
        return "The values are not all finite: there is a NaN or an infinity."
    if public[0] == public[1]:
        return (
            f"The {public[1]} public cases pass, {fresh[1] - fresh[0]} of {fresh[1]} fresh ones do not: "
            "does the answer lean on something special about the cases shown?"
        )
    return "The values are not right yet, and not a mistake that is known here."
