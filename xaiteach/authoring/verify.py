"""Prove that each question does what it says: right answers pass, every mistake is caught and told apart."""

from __future__ import annotations

import contextlib
import io
import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from xaiteach.authoring.masters import stubbed
from xaiteach.checks.references import BEGIN, END, cell_source, read_notebook
from xaiteach.errors import NotebookSourceError, XaiTeachError
from xaiteach.questions import UNITS, Question, judge, of_unit
from xaiteach.questions.judging import Key
from xaiteach.questions.model import Tolerance, Values
from xaiteach.questions.running import answer_namespace, cases_of, keys_of, probe_namespace
from xaiteach.runtime import course_root

__all__ = ["SEEDS", "Row", "verify_question", "verify_unit"]

SEEDS = range(5)
APART = 10  # tolerances between a mistake and the truth, and between two mistakes


@dataclass
class Row:
    """What was proved of one question; `problems` says in words what was not."""

    question: str
    unit: str
    kind: str
    points: float
    minutes: int
    stretch: bool
    mistakes: int
    mistakes_caught: int
    variants: int
    variants_passed: int
    ok: bool = True
    problems: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Fields of the contract, without the words."""
        row = asdict(self)
        del row["problems"]
        return row


def verify_unit(unit: str, seeds: Sequence[int] = SEEDS) -> list[Row]:
    """Verify all questions of a unit, with the built master's own answers as the first right ones.

    Parameters
        unit : full name.
        seeds : of the fresh cases to try.
    Raises
        NotebookSourceError: the master is missing or does not run.
    """
    answers = master_namespaces(unit)
    return [verify_question(question, answers.get(question.id), seeds) for question in of_unit(unit)]


def master_namespaces(unit: str) -> dict[str, tuple[dict[str, Any], str]]:
    """For each question: the namespace just after its answer cell of the master ran, and the stub a student gets."""
    path = course_root() / "solutions" / f"{unit}.ipynb"
    questions = {question.id: question for question in of_unit(unit)}
    scope: dict[str, Any] = {"__name__": "__master__"}
    found: dict[str, tuple[dict[str, Any], str]] = {}
    for cell in read_notebook(path)["cells"]:
        mark = cell["metadata"].get("xaiteach") or {}
        if mark.get("role") not in ("setup", "answer"):
            continue
        source = cell_source(cell)
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                exec(compile(source, f"<{path.name}>", "exec"), scope)
        except Exception as error:
            raise NotebookSourceError(f"{path.name}: a {mark['role']} cell stops with {error!r}.") from error
        if mark["role"] == "answer" and mark.get("question") in questions:
            question = questions[mark["question"]]
            stub = stubbed(source, question) if BEGIN in source and END in source else question.stub
            found[question.id] = (dict(scope), stub)
    return found


def verify_question(
    question: Question, master: tuple[dict[str, Any], str] | None = None, seeds: Sequence[int] = SEEDS
) -> Row:
    """Verify one question on every seed.

    Parameters
        question : to verify.
        master : (namespace with the model answer, stub cell); without it only mistakes and variants are tried.
        seeds : of the fresh cases.
    Returns
        Row; `ok` is False where anything was not proved, and `problems` says what.
    """
    row = Row(
        question.id, question.unit, question.kind, question.points, question.minutes, question.stretch,
        len(question.mistakes), 0, len(question.variants), 0,
    )  # fmt: skip
    row.problems += question.problems()
    if not any(question.cases(seed, "fresh") for seed in seeds):
        seeds = seeds[:1]  # nothing in it depends on the seed: more of them would prove the same again
    caught = {mistake.name: 0 for mistake in question.mistakes}
    passed = {variant.name: 0 for variant in question.variants}
    for seed in seeds:
        try:
            _verify_seed(question, master, seed, row, caught, passed)
        except Exception as error:  # the question's own code: say which question, go on with the others
            row.problems.append(f"seed {seed}: its own code stops with {type(error).__name__}: {error}")
    row.mistakes_caught = sum(n == len(seeds) for n in caught.values())
    row.variants_passed = sum(n == len(seeds) for n in passed.values())
    row.problems = list(dict.fromkeys(row.problems))
    row.ok = not row.problems
    return row


def _verify_seed(
    question: Question,
    master: tuple[dict[str, Any], str] | None,
    seed: int,
    row: Row,
    caught: dict[str, int],
    passed: dict[str, int],
) -> None:
    cases = cases_of(question, seed, fresh=True)
    keys = keys_of(question, cases)

    def outcome(namespace: dict[str, Any]) -> Any:
        return judge(question, keys, probe_namespace(question, namespace, cases))

    if master is not None:
        namespace, stub = master
        verdict = outcome(namespace)
        if verdict.outcome != ("right" if question.machine_judged else "recorded"):
            row.problems.append(f"the model answer does not pass (seed {seed}): {verdict.sentence}")
        verdict = outcome(answer_namespace(question, stub))
        if verdict.outcome != "not_attempted":
            row.problems.append(f"the stub counts as {verdict.outcome}, not as not attempted")
    for variant in question.variants:
        verdict = outcome(answer_namespace(question, variant.source))
        passed[variant.name] += verdict.outcome == "right"
        if verdict.outcome != "right":
            row.problems.append(f"variant {variant.name!r} does not pass (seed {seed}): {verdict.sentence}")
    for mistake in question.mistakes:
        verdict = outcome(answer_namespace(question, mistake.wrong))
        caught[mistake.name] += verdict.mistake == mistake.name
        if verdict.mistake != mistake.name:
            told = verdict.mistake or verdict.diagnosis or verdict.outcome
            row.problems.append(f"mistake {mistake.name!r} is told as {told!r} (seed {seed})")
    row.problems += _too_close(question, keys, seed)


def _too_close(question: Question, keys: Sequence[Key], seed: int) -> list[str]:
    """Pairs among the truth and the mistakes that no case holds at least ten tolerances apart."""
    names = ["the truth", *(mistake.name for mistake in question.mistakes)]
    found = []
    for a, b in itertools.combinations(names, 2):
        if not any(_apart(_of(key, a), _of(key, b), key.tolerance) for key in keys):
            found.append(f"{a!r} and {b!r} are less than {APART} tolerances apart on every case (seed {seed})")
    return found


def _of(key: Key, name: str) -> Values | None:
    return key.truth if name == "the truth" else key.mistakes.get(name)


def _apart(a: Values | None, b: Values | None, tolerance: Tolerance) -> bool:
    if a is None or b is None:
        return (a is None) != (b is None)
    if a.keys() != b.keys():
        return True
    for name, left in a.items():
        right = b[name]
        if left.shape != right.shape or left.dtype.kind == "U" or right.dtype.kind == "U":
            if left.shape != right.shape or str(left) != str(right):
                return True
            continue
        limit = APART * max(tolerance.bound(left), tolerance.bound(right))
        difference = np.abs(left.astype(np.float64) - right.astype(np.float64))
        if not np.isfinite(difference).all() or float(difference.max(initial=0.0)) > limit:
            return True
    return False


def verify_all(units: Sequence[str] = (), seeds: Sequence[int] = SEEDS) -> list[Row]:
    """Rows for the units named (full names), or for all.

    Raises
        XaiTeachError: a unit that is unknown, or whose master cannot be read.
    """
    rows: list[Row] = []
    for unit in units or tuple(UNITS):
        rows += verify_unit(unit, seeds)
    if not rows:
        raise XaiTeachError("there is no question to verify.")
    return rows
