"""Turn what came out of a kernel into a question's result, in the grader's own process, which alone knows the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from xaiteach.grading.inject import Answer
from xaiteach.questions import Question, Verdict, judge
from xaiteach.questions.judging import Key

__all__ = ["Raw", "Result", "result_of"]

_FAULTS = {
    "timeout": "It did not finish within {seconds:g} seconds, also when run on its own: is there an endless loop?",
    "crashed": "The Python process died while this answer ran.",
    "memory": "It used more memory or processes than a graded answer may.",
    "broke_setup": "After it a cell of the notebook's own no longer ran: does it reuse a name, such as `model`?",
    "flooded": "It printed more than a graded answer may.",
}


@dataclass(frozen=True)
class Raw:
    """Data of one question as the kernel left it: payloads, its cell's error, the fault that ended the run.

    Plain JSON, untrusted, and all that is cached: a changed sentence or credit is judged anew without running anything.
    """

    payloads: tuple[Mapping[str, Any], ...] = ()
    error: Mapping[str, Any] | None = None
    fault: str | None = None
    flags: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """JSON form, for the cache."""
        return {
            "payloads": list(self.payloads), "error": self.error, "fault": self.fault, "flags": list(self.flags),
        }  # fmt: skip

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Raw:
        """Inverse of `as_json`."""
        return cls(tuple(data["payloads"]), data["error"], data["fault"], tuple(data["flags"]))


@dataclass(frozen=True)
class Result:
    """A question's row in the gradebook: verdict, points, and flags for the instructor."""

    question: Question
    verdict: Verdict
    fault: str | None = None
    flags: tuple[str, ...] = ()
    follow_through: bool = False

    @property
    def points(self) -> float:
        """Points earned: the question's, times full, a recognised mistake's credit, or 0."""
        return round(self.verdict.credit * self.question.points, 4)

    @property
    def awaits_marking(self) -> bool:
        """Whether a person has still to give the points."""
        return self.question.kind == "essay" and self.verdict.outcome == "recorded"


def _merged(payloads: Sequence[Mapping[str, Any]], question: Question) -> tuple[list[Mapping[str, Any]], bool]:
    """One payload a case, and whether there were two that disagree: then the case counts as not answered.

    Nobody but a forger sends a second, different payload for the same case from the same cell.
    """
    by_case: dict[Any, Mapping[str, Any]] = {}
    forged: set[Any] = set()
    for payload in payloads:
        if payload.get("question") != question.id or not isinstance(payload.get("case"), (str, type(None))):
            continue
        case = payload.get("case")
        if case in by_case and by_case[case] != payload:
            forged.add(case)
        by_case[case] = payload
    return [payload for case, payload in by_case.items() if case not in forged], bool(forged)


def result_of(question: Question, keys: Sequence[Key], raw: Raw, answer: Answer) -> Result:
    """Result of one question.

    Parameters
        keys : public and fresh cases with their truth, for the run's seed.
        raw : what the kernel left.
        answer : what was put in, with its flags.
    """
    flags = list(dict.fromkeys([*answer.flags, *raw.flags]))
    if raw.fault is not None:
        sentence = _FAULTS[raw.fault].format(seconds=question.deadline_s)
        return Result(question, Verdict(question.id, "wrong_form", sentence=sentence), raw.fault, (*flags, raw.fault))
    payloads, forged = _merged(raw.payloads, question)
    if forged:
        flags.append("forged_output")
    if not answer.attempted:
        return Result(
            question, Verdict(question.id, "not_attempted", sentence="The blank is still there."), None, tuple(flags)
        )
    verdict = judge(question, keys, payloads)
    if not raw.payloads:
        flags.append("probe_silenced")
    if raw.error is not None and verdict.outcome not in ("right", "recorded"):
        line = raw.error.get("line")
        at = f", line {line} of the cell" if isinstance(line, int) else ""
        words = f"The cell stopped with {str(raw.error.get('ename'))[:80]}: {str(raw.error.get('evalue'))[:200]}{at}."
        if verdict.outcome == "not_attempted":
            verdict = replace(verdict, outcome="wrong_form", sentence=words)
    return Result(question, verdict, None, tuple(flags))
