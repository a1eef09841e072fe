"""The verb of the grader: a folder of submissions in, a gradebook out."""

from __future__ import annotations

import contextlib
import hashlib
import json
import platform
import secrets
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xaiteach import __version__
from xaiteach.errors import OptionError, SetupError
from xaiteach.grading import report, schedule
from xaiteach.grading.collect import Submission, collect
from xaiteach.grading.sandbox import bubblewrap_problem
from xaiteach.runtime import course_root

__all__ = ["Grading", "grade"]


@dataclass(frozen=True)
class Grading:
    """What a grading run brought: its rows, the gradebook, and who moved since the last run in this folder."""

    rows: Sequence[schedule.Graded]
    book: dict[str, Any]
    moved: Sequence[str]
    seed: int
    sandboxed: bool


def _master_hash(unit: str) -> str:
    return hashlib.sha256((course_root() / "solutions" / f"{unit}.ipynb").read_bytes()).hexdigest()


def _versions() -> dict[str, str]:
    import nbval
    import numpy
    import torch

    return {
        "nbval": str(getattr(nbval, "__version__", "?")),
        "numpy": numpy.__version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "xaiteach": __version__,
    }


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def _seed_of(out: Path, asked: int | None) -> int:
    """Seed of this output folder: drawn once, kept in run.json, the same when the run goes on."""
    kept = _read_json(out / "run.json").get("seed")
    if isinstance(kept, int):
        if asked is not None and asked != kept:
            raise OptionError(f"{out} was graded with seed {kept}; --seed {asked} needs an --out of its own.")
        return kept
    return asked if asked is not None else secrets.randbits(32)


@contextlib.contextmanager
def _locked(out: Path) -> Iterator[None]:
    """Keep a second grader out of the same folder; the lock goes with the process, however it ends."""
    try:
        import fcntl
    except ImportError:  # Windows: no lock, as there is no sandbox
        yield
        return
    try:
        lock = (out / ".lock").open("w")
    except OSError as error:
        raise SetupError(f"{out} cannot be written ({error.strerror}). Choose another --out.") from error
    with lock as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise SetupError(
                f"another grading run is at work in {out}. Wait for it, or choose another --out."
            ) from None
        yield


def grade(
    folder: Path,
    out: Path,
    *,
    seed: int | None = None,
    workers: int = 1,
    sandboxed: bool = True,
    units: Sequence[str] = (),
    progress: schedule.Progress | None = None,
) -> Grading:
    """Grade a folder of submissions.

    Parameters
        folder : `folder`/STUDENT/NN_slug.ipynb.
        out : results; a run that was killed goes on where it stopped, and ends with the same gradebook.
        seed : of the fresh cases; default: drawn once and kept in `out`.
        workers : submissions at a time.
        sandboxed : False runs students' code with the rights of this user; only for code that you trust.
        units : full names; default: every unit that someone handed in.
        progress : called with a student's id when a row is done.
    Returns
        Grading.
    Raises
        SetupError: no working bubblewrap, the output folder cannot be written, or the model answers do not pass here.
        OptionError: a wrong folder or seed.
    """
    problem = bubblewrap_problem() if sandboxed else None
    if problem:
        raise SetupError(
            f"grading runs students' code inside bubblewrap, which does not work here: {problem} "
            "Only for code that you trust: --no-sandbox."
        )
    if folder.resolve() == out.resolve() or folder.resolve() in out.resolve().parents:
        raise OptionError(f"--out {out} lies inside {folder}, and would be taken for a student. Choose one outside.")
    submissions = collect(folder, units)
    started = time.time()
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SetupError(f"{out} cannot be made ({error.strerror}). Choose another --out.") from error
    with _locked(out):
        number = _seed_of(out, seed)
        names = sorted({submission.unit for submission in submissions})
        record = {
            "masters": {name: _master_hash(name) for name in names},
            "sandbox": "bubblewrap" if sandboxed else "none",
            "seed": number,
            "versions": _versions(),
        }
        report.write_text(out / "run.json", json.dumps(record, indent=1, sort_keys=True) + "\n")
        shutil.rmtree(out / "work", ignore_errors=True)  # of a run that was killed
        rows = _rows(submissions, names, number, out, sandboxed, workers, progress)
        shutil.rmtree(out / "work", ignore_errors=True)
        before = _read_json(out / "grades.json")
        book = report.write(out, rows)
        times = {
            "rows": {f"{row.submission.student}/{row.submission.unit}": row.seconds for row in rows},
            "seconds": round(time.time() - started, 3),
            "workers": workers,
        }
        report.write_text(out / "run.json", json.dumps({**record, "times": times}, indent=1, sort_keys=True) + "\n")
    return Grading(rows, book, report.moves(before, book), number, sandboxed)


def _rows(
    submissions: Sequence[Submission],
    names: Sequence[str],
    seed: int,
    out: Path,
    sandboxed: bool,
    workers: int,
    progress: schedule.Progress | None,
) -> list[schedule.Graded]:
    with contextlib.ExitStack() as stack:
        units = {}
        for name in names:
            unit = stack.enter_context(schedule.prepare(name, seed, out / "cache", sandboxed=sandboxed))
            schedule.canary(unit)
            units[name] = unit
        return schedule.grade_all(units, submissions, workers, progress or (lambda _: None))
