"""How far a student has come: the latest outcome of each question, from the history of the course folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from xaiteach.checks import history
from xaiteach.checks.run import Feedback, paused
from xaiteach.questions import UNITS, Question, of_unit
from xaiteach.questions.wording import Words, points_text

__all__ = ["Standing", "next_item", "progress", "standings"]

_DONE = ("right", "recorded")


@dataclass(frozen=True)
class Standing:
    """One question: its last checked outcome, whether it was ever right, hints opened, the solution opened."""

    question: Question
    outcome: str = "not_checked"
    credit: float = 0.0
    was_right: bool = False
    hints: int = 0
    solution: bool = False

    @property
    def done(self) -> bool:
        """Whether nothing is left to do."""
        return self.outcome in _DONE

    @property
    def slipped(self) -> bool:
        """Whether it was right once and is not now."""
        return self.was_right and not self.done

    @property
    def points(self) -> float:
        """Points as it stands; a person still has to give those of an essay."""
        return self.credit * self.question.points


def standings() -> dict[str, tuple[Standing, ...]]:
    """Unit -> standing of each of its questions, in the order in which they are asked."""
    by_question: dict[str, list[dict[str, Any]]] = {}
    for entry in history.entries():
        by_question.setdefault(str(entry.get("question")), []).append(entry)
    return {unit: tuple(_standing(q, by_question.get(q.id, [])) for q in of_unit(unit)) for unit in UNITS}


def _standing(question: Question, entries: Sequence[dict[str, Any]]) -> Standing:
    checks = [entry for entry in entries if entry.get("what") == "check"]
    last = checks[-1] if checks else {}
    credit = last.get("credit")
    return Standing(
        question,
        str(last.get("outcome", "not_checked")),
        float(credit) if isinstance(credit, (int, float)) else 0.0,
        any(entry.get("outcome") in _DONE for entry in checks),
        max((int(e.get("step", 0)) for e in entries if e.get("what") == "hint"), default=0),
        any(entry.get("what") == "solution" for entry in entries),
    )


def next_item(rows: dict[str, tuple[Standing, ...]]) -> Standing | None:
    """First core question that is not done, in teaching order; then the first stretch one; None when all are done."""
    todo = [standing for unit in rows.values() for standing in unit if not standing.done]
    return next((each for each in todo if not each.question.stretch), todo[0] if todo else None)


def unit_line(unit: Sequence[Standing]) -> str:
    """Words for one unit: right core items, points, stretch, predictions, hints."""
    core = [each for each in unit if not each.question.stretch and each.question.kind != "prediction"]
    stretch = [each for each in unit if each.question.stretch]
    possible = sum(each.question.points for each in core)
    parts = [
        f"{sum(each.done for each in core)} of {len(core)} done",
        f"{points_text(sum(each.points for each in core))} of {points_text(possible)} points as last checked",
    ]
    if stretch:
        parts.append(f"stretch {sum(each.done for each in stretch)} of {len(stretch)}")
    guesses = sum(each.done and each.question.kind == "prediction" for each in unit)
    hints = sum(each.hints for each in unit)
    parts += [f"{guesses} predicted"] * bool(guesses) + [f"{hints} hint{'s' * (hints != 1)}"] * bool(hints)
    return ", ".join(parts)


def remarks(rows: dict[str, tuple[Standing, ...]]) -> list[str]:
    """What slipped, which essays await a person, and what to do next, a sentence each."""
    everything = [each for unit in rows.values() for each in unit]
    told = [f"{each.question.id} was right once; its last check was not." for each in everything if each.slipped]
    essays = [e.question.id for e in everything if e.question.kind == "essay" and e.done]
    told += [f"For a person to mark: {', '.join(essays)}."] if essays else []
    following = next_item(rows)
    if following is None:
        told.append("All is done.")
    else:
        unit = following.question.unit
        told.append(f"Next: {following.question.id} in exercises/{unit}.ipynb ({following.question.minutes} minutes).")
    return told


def progress() -> Feedback:
    """What is done in each unit and what comes next, from the answers that were checked in this course folder."""
    if paused():
        return Feedback(Words("not_attempted", "left to whoever runs this notebook", ()))
    rows = standings()
    table = tuple((unit, unit_line(standing)) for unit, standing in rows.items())
    return Feedback(Words("recorded", "Your progress", tuple(remarks(rows)), table))
