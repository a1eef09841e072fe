"""Grade a folder: what has to run, what is kept, and what is run once more. Resumable, local in failure."""

from __future__ import annotations

import concurrent.futures
import hashlib
import importlib.metadata
import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from xaiteach.errors import SetupError
from xaiteach.grading.collect import Submission
from xaiteach.grading.inject import PRELUDE, Answer, Cell, Master, injected, load_master, match
from xaiteach.grading.judge import Raw, Result, result_of
from xaiteach.grading.limits import Limits
from xaiteach.grading.runner import Job, JobCell, RunOutcome, run
from xaiteach.grading.view import build_view, hidden
from xaiteach.questions import Case, Question
from xaiteach.questions.judging import SCHEMA, Key
from xaiteach.questions.running import cases_of, keys_of, probe_source, request

__all__ = ["Graded", "Unit", "canary", "grade_all", "grade_submission", "prepare"]

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Unit:
    """All that is computed once for a unit and a seed: cases, truth, mistakes' values, requests, the kernel's view."""

    master: Master
    keys: Mapping[str, Sequence[Key]]
    requests: Mapping[str, Sequence[str]]
    view: Path
    base: str
    work: Path
    sandboxed: bool
    cache: Path
    cancel: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True)
class Graded:
    """A submission with its results, in the order of the master; none where nothing could be read."""

    submission: Submission
    results: tuple[Result, ...] = ()
    seconds: float = 0.0

    @property
    def status(self) -> str:
        """Word of the gradebook for this row."""
        if self.submission.status != "ok":
            return self.submission.status
        faults = {result.fault for result in self.results}
        if faults & {"crashed", "memory", "flooded"}:
            return "crashed"
        if "timeout" in faults:
            return "timeout"
        return "needs_marking" if any(result.awaits_marking for result in self.results) else "graded"

    @property
    def flags(self) -> tuple[str, ...]:
        """Flags of the file, and of each question as "flag:question"."""
        own = [f"{flag}:{result.question.id}" for result in self.results for flag in result.flags]
        through = [f"follow_through:{result.question.id}" for result in self.results if result.follow_through]
        return (*self.submission.flags, *own, *through)


@contextmanager
def prepare(name: str, seed: int, cache: Path, *, sandboxed: bool) -> Iterator[Unit]:
    """Everything a unit needs, and a folder for it that is gone afterwards.

    Parameters
        name : full name of the unit.
        seed : of the fresh cases.
        cache : folder of the kept raw data.
        sandboxed : run kernels inside bubblewrap.
    """
    master = load_master(name)
    cases = {q.id: cases_of(q, seed, fresh=True) for q in master.questions}
    keys = {q.id: keys_of(q, cases[q.id]) for q in master.questions}
    requests = {q.id: _requests(q, cases[q.id]) for q in master.questions}
    cache.mkdir(parents=True, exist_ok=True)
    work = cache.parent / "work"
    work.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=work, ignore_cleanup_errors=True) as temporary:
        view = build_view(Path(temporary) / "view", name)
        yield Unit(master, keys, requests, view, _base(view, sandboxed), work, sandboxed, cache)


def _base(view: Path, sandboxed: bool) -> str:
    """Hash of what every kernel of a unit has in common: the view, how answers are read, limits, library versions."""
    files = [(path.relative_to(view).as_posix(), path) for path in sorted(view.rglob("*")) if path.is_file()]
    seen = [(name, hashlib.sha256(path.read_bytes()).hexdigest()) for name, path in files]
    versions = [importlib.metadata.version(name) for name in ("torch", "numpy", "captum")]
    parts = [seen, probe_source(""), PRELUDE, repr(Limits()), sandboxed, versions]
    return hashlib.sha256(json.dumps(parts).encode("utf-8")).hexdigest()


def _requests(question: Question, cases: Sequence[Case]) -> tuple[str, ...]:
    """What to probe: first the public cases, then, in a cell of their own, the fresh ones.

    While a public case runs, nothing of a fresh one is in the kernel, so no message about it can carry one out.
    """
    parts = [[case for case in cases if case.public is public] for public in (True, False)]
    return tuple(request(question, part) for part in parts if part)


def _key(unit: Unit, sources: Mapping[str, str], question: str) -> str:
    """Hash of all that a question's raw data can depend on: its answer and those that ran before it in the kernel."""
    before: list[tuple[str, str]] = []
    for each in unit.master.questions:
        if each.id in sources:
            before.append((each.id, sources[each.id]))
        if each.id == question:
            break
    deadlines = [q.deadline_s for q in unit.master.questions if q.id in sources]
    parts = [SCHEMA, unit.base, unit.master.unit, unit.master.setups, before, deadlines, unit.requests[question]]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode("utf-8")).hexdigest()


def _load(unit: Unit, key: str) -> Raw | None:
    try:
        return Raw.from_json(json.loads((unit.cache / f"{key}.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError):
        return None  # not there, or cut off when an earlier run was killed: run it again


def _store(unit: Unit, key: str, raw: Raw) -> None:
    target = unit.cache / f"{key}.json"
    partial = target.with_suffix(f".{os.getpid()}-{threading.get_ident()}.partial")
    partial.write_text(json.dumps(raw.as_json(), sort_keys=True), encoding="utf-8")
    partial.replace(target)


def _run(unit: Unit, sources: Mapping[str, str], probe: Sequence[str]) -> tuple[dict[str, Raw], str | None, str]:
    """Run answers in one kernel: raw data of the probed questions that finished, and the fault that ended the run.

    Returns
        (raw data, kind of fault or None, the question it hit or "").
    """
    notebook, cells = injected(unit.master, sources, {q: unit.requests[q] for q in probe})
    with tempfile.TemporaryDirectory(dir=unit.work, ignore_cleanup_errors=True) as temporary:
        path = Path(temporary) / "injected.ipynb"
        path.write_text(json.dumps(notebook), encoding="utf-8")
        specs = tuple(JobCell(i, cell.deadline_s, cell.role, cell.question or None) for i, cell in enumerate(cells))
        job = Job(path, specs, view=unit.view, hide=hidden(), sandboxed=unit.sandboxed)
        outcome = _run_job(job, unit)
    raws: dict[str, Raw] = {}
    errors: dict[str, Mapping[str, Any] | None] = {}
    for i, cell in enumerate(cells):
        done = outcome.cells.get(i)
        if done is None or done.status not in ("ok", "error"):
            continue
        error = None if done.error is None else asdict(done.error)
        if cell.role == "setup" and error is not None:
            words = f"a setup cell stops with {error['ename']}: {error['evalue']}"
            return raws, "broke_setup", _blamed(unit, cells, i, sources, words)
        if cell.role == "answer":
            errors[cell.question] = error
        elif cell.role == "probe":
            before = raws[cell.question].payloads if cell.question in raws else ()
            raws[cell.question] = Raw((*before, *done.probes), errors.get(cell.question))
    return (raws, *_fault_of(unit, cells, outcome, sources))


def _run_job(job: Job, unit: Unit) -> RunOutcome:
    """Run a job; a kernel that does not start is tried once more before the machine is blamed."""
    for _ in range(2):
        outcome = run(job, cancel=unit.cancel)
        if outcome.fault is None or outcome.fault.kind != "environment":
            return outcome
    raise SetupError(f"the grading kernel does not start: {outcome.fault.detail[-800:] if outcome.fault else ''}")


def _blamed(unit: Unit, cells: Sequence[Cell], index: int, sources: Mapping[str, str], words: str) -> str:
    """Question that a cell's failure is held against: its own, else the last one before it that is not the stub.

    Raises
        SetupError: no answer ran before; then it is the machine.
    """
    for cell in reversed(cells[: index + 1]):
        if cell.question and sources[cell.question] != unit.master.stubs[cell.question]:
            return cell.question
    raise SetupError(f"{unit.master.unit}: the grading kernel did not get as far as the answers ({words}).")


def _fault_of(
    unit: Unit, cells: Sequence[Cell], outcome: RunOutcome, sources: Mapping[str, str]
) -> tuple[str | None, str]:
    """What ended the run early, and the question it is held against."""
    index = outcome.fault.index if outcome.fault is not None else outcome.stopped_at
    if outcome.fault is None and index is None:
        return None, ""
    kind = outcome.fault.kind if outcome.fault is not None else outcome.cells[index or 0].status
    if kind == "cancelled":
        raise KeyboardInterrupt
    place = index if index is not None and 0 <= index < len(cells) else -1
    hit = _blamed(unit, cells, place, sources, kind)
    return ("crashed" if kind == "protocol" else kind), hit


def _dependencies(question: Question, master: Master) -> list[str]:
    """Ids of the questions of this unit that an answer builds on, transitively, in the master's order."""
    wanted, todo = set(), list(question.depends_on)
    known = {q.id: q for q in master.questions}
    while todo:
        each = todo.pop()
        if each in known and each not in wanted:
            wanted.add(each)
            todo.extend(known[each].depends_on)
    return [q.id for q in master.questions if q.id in wanted]


def _collect_raws(unit: Unit, answers: Mapping[str, Answer]) -> dict[str, Raw]:
    """Raw data of every question of a submission: from the cache, else by running; one fault costs one question.

    A question that times out or kills the kernel is replaced by its stub and the rest is run again; it is then run once
    more on its own (with what it builds on), so that neither noise nor another answer's late thread is held against it.
    """
    sources = {question: answer.source for question, answer in answers.items()}
    keys = {q: _key(unit, sources, q) for q in unit.requests}
    raws = {q: raw for q, key in keys.items() if (raw := _load(unit, key)) is not None}
    faults: dict[str, str] = {}
    current = dict(sources)
    todo = [q for q in unit.requests if q not in raws and answers[q].attempted]
    for question in unit.requests:
        if question not in raws and not answers[question].attempted:
            raws[question] = Raw()
    while todo:
        done, fault, hit = _run(unit, current, todo)
        raws.update(done)
        if fault is not None:
            faults[hit] = fault
            current[hit] = unit.master.stubs[hit]
            raws.pop(hit, None)
        else:
            raws.update({q: Raw() for q in todo if q not in raws})
        todo = [q for q in todo if q not in raws and q not in faults]
    for question, fault in faults.items():
        raws[question] = _alone(unit, sources, question, fault)
    for question, key in keys.items():
        if answers[question].attempted:
            _store(unit, key, raws[question])
    return raws


def _alone(unit: Unit, sources: Mapping[str, str], question: str, fault: str) -> Raw:
    """Run a faulty question with only what it builds on."""
    wanted = next(q for q in unit.master.questions if q.id == question)
    few = {q: sources[q] for q in [*_dependencies(wanted, unit.master), question]}
    done, again, _ = _run(unit, few, [question])
    if question in done and again in (None, "broke_setup"):  # what it did to later cells is not its own value
        return replace(done[question], flags=("rerun_alone", *([again] if again else [])))
    return Raw(fault=again or fault)


def _follow_through(unit: Unit, answers: Mapping[str, Answer], results: dict[str, Result]) -> None:
    """Give full points to an answer that fails only because an earlier one is wrong: run it on the references."""
    for question in unit.master.questions:
        before = _dependencies(question, unit.master)
        result = results.get(question.id)
        settled = result is None or result.fault or result.verdict.outcome in ("right", "recorded")
        if settled or not answers[question.id].attempted:
            continue
        if not before or all(results[q].verdict.outcome == "right" for q in before if q in results):
            continue
        sources = {**{q: unit.master.references[q] for q in before}, question.id: answers[question.id].source}
        key = _key(unit, sources, question.id)
        raw = _load(unit, key)
        if raw is None:
            done, fault, _ = _run(unit, sources, [question.id])
            raw = done.get(question.id, Raw(fault=fault or "crashed"))
            _store(unit, key, raw)
        again = result_of(question, unit.keys[question.id], raw, answers[question.id])
        if again.verdict.outcome == "right":
            results[question.id] = replace(again, follow_through=True)


def grade_submission(unit: Unit, submission: Submission) -> Graded:
    """Grade one submission; a row comes back whatever the submission holds.

    Raises
        SetupError: the machine, not the submission, is at fault.
    """
    if submission.status != "ok":
        return Graded(submission)
    started = time.monotonic()
    answers = match(unit.master, submission.cells)
    raws = _collect_raws(unit, answers)
    results = {q.id: result_of(q, unit.keys[q.id], raws[q.id], answers[q.id]) for q in unit.master.questions}
    _follow_through(unit, answers, results)
    rows = tuple(results[q.id] for q in unit.master.questions)
    return Graded(submission, rows, round(time.monotonic() - started, 3))


def canary(unit: Unit) -> None:
    """Grade the master's own answers first: where they do not pass, the machine is not fit to grade others.

    Raises
        SetupError: a model answer does not pass here; no submission has been judged.
    """
    answers = {q: Answer(source) for q, source in unit.master.references.items()}
    raws = _collect_raws(unit, answers)
    for question in unit.master.questions:
        result = result_of(question, unit.keys[question.id], raws[question.id], answers[question.id])
        if result.verdict.outcome not in ("right", "recorded"):
            raise SetupError(
                f"the model answer to {question.id} does not pass in this kernel ({result.verdict.sentence}). "
                "Nothing was graded. Try: xaiteach verify, then xaiteach doctor"
            )


def _graded(unit: Unit, submission: Submission) -> Graded:
    """Row of a submission, also where our own code, or the machine, fails on it: the others go on."""
    try:
        return grade_submission(unit, submission)
    except Exception as error:
        words = f"it could not be graded, which is not the student's fault ({type(error).__name__}: {str(error)[:300]})"
        return Graded(replace(submission, status="crashed", reason=words, flags=(*submission.flags, "grader_fault")))


def grade_all(
    units: Mapping[str, Unit], submissions: Sequence[Submission], workers: int, progress: Progress
) -> list[Graded]:
    """Grade all submissions, `workers` at a time, in the order given; `progress` gets each student's id when done."""
    with concurrent.futures.ThreadPoolExecutor(max_workers=workers) as pool:
        waiting = {pool.submit(_graded, units[s.unit], s): i for i, s in enumerate(submissions)}
        rows: dict[int, Graded] = {}
        try:
            for future in concurrent.futures.as_completed(waiting):
                rows[waiting[future]] = future.result()
                progress(submissions[waiting[future]].student)
        except BaseException:
            for unit in units.values():
                unit.cancel.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [rows[i] for i in range(len(submissions))]
