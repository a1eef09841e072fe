"""What a question is: one object that serves the check, the grader, the hints and the item analysis.

Its fields are those of the project's contract. Only `probe` ever touches what a student wrote; `expected` reaches
the truth by another route than the solution; `mistakes` are the classic wrong answers as code.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from xaiteach.errors import OptionError

__all__ = ["NO_AUTOGRAD", "Case", "Kind", "Mistake", "Question", "Rubric", "Size", "Tolerance", "Values", "Variant"]

Kind = Literal["function", "value", "choice", "prediction", "essay", "formula"]
Size = Literal["public", "fresh"]
Values = dict[str, np.ndarray[Any, Any]]
"""What a probe returns for one case: named arrays (a text is a zero-dimensional array of str)."""

NO_AUTOGRAD = ("autograd", "backward", "captum", "jacrev", "jacobian", "vjp")
"""Names that a gradient by hand may not use."""

LEAST = {"function": (3, 2), "formula": (3, 2), "value": (3, 1), "choice": (1, 0)}
"""Least numbers of mistakes and of variants for each machine-judged kind."""


@dataclass(frozen=True)
class Tolerance:
    """Accept a value within `atol + rtol * max |expected|` of the truth, elementwise; `why` gives the reason."""

    rtol: float = 1e-4
    atol: float = 1e-6
    why: str = "float32 arithmetic in another order"

    def bound(self, expected: np.ndarray[Any, Any]) -> float:
        """Largest difference that still counts as equal, in units of `expected`."""
        finite = np.abs(expected[np.isfinite(expected)]) if expected.size else expected
        return self.atol + self.rtol * float(finite.max(initial=0.0))


@dataclass(frozen=True)
class Case:
    """One set of inputs for a probe.

    Parameters
        name : short text that a student may read for a public case.
        inputs : JSON scalars, texts, lists of them, numpy arrays. A model is a registry name plus a seed.
        public : False for the fresh cases of the grader, which no feedback ever shows.
        symbols : sizes by their printed name, in which a wrong constant factor is told ("1/(d1 d2)").
        trap : name of the one trap that this case exists to show; empty for an ordinary case.
    """

    name: str
    inputs: Mapping[str, Any]
    public: bool = True
    symbols: Mapping[str, float] = field(default_factory=dict)
    trap: str = ""


@dataclass(frozen=True)
class Mistake:
    """A classic wrong answer: its code, the sentence that helps, and its share of the points (in [0, 1)).

    It is recognised by its numbers; with `trap`, by being right on every case but those of that trap (where what comes
    out is rounding noise, which no two machines share).
    """

    name: str
    wrong: str
    sentence: str
    credit: float = 0.0
    trap: str = ""


@dataclass(frozen=True)
class Variant:
    """A right answer written differently."""

    name: str
    source: str


@dataclass(frozen=True)
class Rubric:
    """By what a person marks an essay, or what is said of a prediction once it is recorded.

    Parameters
        criteria : (points, text) of each thing a full answer says; the points add up to the question's.
        weak, weak_notes : a weak answer, and what it lacks.
        least_words : of an essay; a shorter one is not taken.
        reveal : what is said when a prediction has been recorded; empty where the notebook goes on to show it.
        least, most : of a prediction that is a number; another one is not taken. None: anything is.
        whole : whether such a number must be a whole one.
    """

    criteria: tuple[tuple[float, str], ...] = ()
    weak: str = ""
    weak_notes: str = ""
    least_words: int = 20
    reveal: str = ""
    least: float | None = None
    most: float | None = None
    whole: bool = True

    def takes(self, written: np.ndarray[Any, Any]) -> bool:
        """Whether a prediction is a number that can be what is asked for."""
        if self.least is None or self.most is None:
            return True
        if written.dtype.kind not in "iuf" or written.size != 1:
            return False
        number = float(written.reshape(()))
        return self.least <= number <= self.most and (number.is_integer() or not self.whole)


def _one_case(seed: int, size: Size) -> Sequence[Case]:
    return [Case("as written", {})] if size == "public" else []


def _nothing_expected(case: Case) -> Mapping[str, Any]:
    return {}


@dataclass(frozen=True, kw_only=True)
class Question:
    """One item of a unit; see the module docstring. `validate` checks it when it is made.

    Parameters beyond the contract's
        options : letter -> text, for kind "choice".
        context : source that stands for the notebook's setup cells when mistakes and variants are run on their own.
        shape_words : how the form of the answer is told to students, such as "(K, d1, d2), like A".
        sealed : fingerprints of the public cases, in a release without expected values; None in the full one.
    """

    id: str
    unit: str
    title: str
    points: float
    minutes: int
    difficulty: int
    importance: int
    kind: Kind
    answer: str
    stub: str
    cases: Callable[[int, Size], Sequence[Case]] = _one_case
    probe: str = "def probe(answer, case):\n    return {'written': answer}\n"
    expected: Callable[[Case], Mapping[str, Any]] = _nothing_expected
    hints: tuple[str, str, str]
    stretch: bool = False
    depends_on: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    forbids: tuple[str, ...] = ()
    tolerance: Tolerance = Tolerance()
    deadline_s: float = 20.0
    judge: Callable[[Case, Values, Values], bool] | None = None
    mistakes: tuple[Mistake, ...] = ()
    variants: tuple[Variant, ...] = ()
    rubric: Rubric | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    context: str = ""
    shape_words: str = ""
    sealed: Sequence[Mapping[str, Any]] | None = None

    def __post_init__(self) -> None:
        for problem in self.problems():
            raise OptionError(f"question {self.id!r}: {problem}")

    @property
    def slug(self) -> str:
        """Part of the id before the dot, which is the unit's name without its number."""
        return self.id.partition(".")[0]

    @property
    def machine_judged(self) -> bool:
        """Whether a program, not a person, gives the points."""
        return self.kind in LEAST

    def problems(self) -> list[str]:
        """What is out of order in the fields themselves (the code in them is `verify`'s business)."""
        found = []
        if not re.fullmatch(r"[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*", self.id):
            found.append("an id is slug.name in small letters, such as 'gradcam.alpha_gap'")
        elif self.slug != self.unit.partition("_")[2]:
            found.append(f"the slug {self.slug!r} must be that of its unit {self.unit!r}")
        if not self.answer.isidentifier():
            found.append(f"the answer must be a Python name; got {self.answer!r}")
        for scale_name in ("difficulty", "importance"):
            if not 1 <= getattr(self, scale_name) <= 5:
                found.append(f"{scale_name} goes from 1 to 5; got {getattr(self, scale_name)}")
        if self.points < 0 or self.minutes <= 0 or self.deadline_s <= 0:
            found.append("points must not be negative, minutes and deadline_s must be positive")
        if any(not 0 <= mistake.credit < 1 for mistake in self.mistakes):
            found.append("a mistake's credit lies in [0, 1)")
        names = [mistake.name for mistake in self.mistakes]
        if len(set(names)) != len(names):
            found.append(f"two mistakes share a name: {sorted(names)}")
        least_mistakes, least_variants = LEAST.get(self.kind, (0, 0))
        if self.kind == "choice":
            least_mistakes = max(len(self.options) - 1, 1)
        if self.sealed is None and (len(self.mistakes) < least_mistakes or len(self.variants) < least_variants):
            found.append(
                f"kind {self.kind!r} needs at least {least_mistakes} mistakes and {least_variants} variants; "
                f"got {len(self.mistakes)} and {len(self.variants)}"
            )
        return [*found, *self._rubric_problems()]

    def _rubric_problems(self) -> list[str]:
        if self.machine_judged:
            return []
        if self.rubric is None:
            return [f"kind {self.kind!r} needs a rubric"]
        if self.kind == "prediction":
            return [] if self.points == 0 else ["a prediction is recorded, never scored: points must be 0"]
        found = []
        if abs(sum(points for points, _ in self.rubric.criteria) - self.points) > 1e-9:
            found.append(f"the points of the rubric must add up to {self.points:g}")
        if not (self.rubric.weak and self.rubric.weak_notes):
            found.append("an essay needs a weak answer and what it lacks")
        return found
