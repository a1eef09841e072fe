"""Run one injected notebook in a process of its own, and come back whatever it does.

The clock is held here, outside the process that talks to the kernel: a missed deadline, a death, a line that is no
event, a cancellation all end the same way, with the whole process tree killed and its temporary folder removed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from xaiteach.grading.limits import Limits
from xaiteach.grading.sandbox import RUN_MARK, write_kernelspec

__all__ = ["CellError", "CellOutcome", "Fault", "Job", "JobCell", "RunOutcome", "run"]

STARTING_S = 60.0  # importing pytest, nbval and jupyter_client on a loaded machine, on top of the kernel's start
GRACE_S = 12.0  # the adapter's own interrupt (1 s) and kill (5 s at most), and the same again
# jsonschema loads this where it is installed, for a format that no notebook has: a second of every run.
_BOOT = """
import sys
sys.modules["rfc3987_syntax"] = None
from xaiteach.grading.nbval_adapter import main
sys.exit(main(sys.argv[1]))
"""
_MAX_LINE = 64 << 20
_TICK_S = 0.25
_PACKAGE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class JobCell:
    """A code cell to run: its place among all cells of the notebook, and how long it may take.

    Parameters
        role : "setup", "answer" or "probe"; a probe may send more.
        question : id of the question it belongs to.
    """

    index: int
    deadline_s: float
    role: str = "setup"
    question: str | None = None


@dataclass(frozen=True)
class Job:
    """A notebook, the cells of it to run in this order, and the kernel to run them in.

    Parameters
        view : folder with the allowed part of the package in `xaiteach/`; None: none of it in a sandbox.
        hide : folders that look empty inside the sandbox.
        sandboxed : False runs an ordinary kernel as the current user.
        env : variables for the kernel.
        output_cap_bytes : what one cell may print and display.
    """

    notebook: Path
    cells: tuple[JobCell, ...]
    view: Path | None = None
    hide: tuple[Path, ...] = ()
    limits: Limits = field(default_factory=Limits)
    sandboxed: bool = True
    env: tuple[tuple[str, str], ...] = ()
    startup_s: float = 60.0
    output_cap_bytes: int = 2_000_000


@dataclass(frozen=True)
class CellError:
    """How a cell failed: the student's exception, or ours (Timeout, KernelDied, TooMuchOutput, TooManyProcesses).

    `code` is the innermost line of notebook code; `line` its number where it lies in this very cell.
    """

    ename: str
    evalue: str
    line: int | None
    code: str | None


@dataclass(frozen=True)
class CellOutcome:
    """What became of one cell; `status` is ok, error, timeout, crashed, flooded or memory.

    `probes` are the decoded objects of our MIME type, in order, as sent: nothing about them is checked here.
    """

    index: int
    status: str
    error: CellError | None
    probes: tuple[dict[str, Any], ...]
    stdout: str
    seconds: float


@dataclass(frozen=True)
class Fault:
    """Why a run ended outside a cell's own status.

    `kind`: "environment" (no kernel: our fault), "timeout" (the adapter missed a deadline), "crashed" (the adapter
    died), "protocol" (it sent what is no event), "cancelled". `index` is the last cell that had begun.
    """

    kind: str
    index: int | None
    detail: str = ""


@dataclass(frozen=True)
class RunOutcome:
    """Cells that ended, by index, and what cut the run short: a cell (`stopped_at`), a fault, or nothing."""

    cells: dict[int, CellOutcome]
    fault: Fault | None
    kernel_ready: bool
    stopped_at: int | None
    seconds: float


def run(
    job: Job, *, log_dir: Path | None = None, cancel: threading.Event | None = None, total_s: float | None = None
) -> RunOutcome:
    """Run `job` and wait for it; may be called from several threads.

    Parameters
        log_dir : keeps what pytest printed, under the notebook's name.
        cancel : set it to end the run within a second, with a fault "cancelled".
        total_s : cap on the whole run, over the sum of the deadlines.
    Returns
        RunOutcome; nothing that the notebook does makes this raise.
    Raises
        SetupError: a sandbox is wanted and cannot be had here.
    """
    start = time.monotonic()
    folder = _short_folder()
    try:
        log = (log_dir or folder) / f"{job.notebook.stem}.log"
        with log.open("wb") as errors:
            child = _start(job, folder, errors)
        progress = _Progress(job, total_s)
        try:
            _follow(progress, child, cancel or threading.Event())
        finally:
            through = progress.done and progress.fault is None
            _end(child, folder.name, wait_s=GRACE_S if through else 0.0, thorough=not job.sandboxed)
        if progress.fault is not None and not progress.ready:
            printed = log.read_text(errors="replace")[-2000:]
            progress.fault = dataclasses.replace(progress.fault, detail=f"{progress.fault.detail}\n{printed}".strip())
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    seconds = round(time.monotonic() - start, 3)
    return RunOutcome(progress.cells, progress.fault, progress.ready, progress.stopped_at, seconds)


def _short_folder() -> Path:
    """Temporary folder; below it lie sockets, whose paths have 107 bytes at most."""
    place = tempfile.gettempdir()
    return Path(tempfile.mkdtemp(prefix=f"xg-{uuid.uuid4().hex[:8]}-", dir=place if len(place) < 60 else "/tmp"))


def _start(job: Job, folder: Path, errors: Any) -> subprocess.Popen[bytes]:
    name, found = write_kernelspec(
        folder, view=job.view, limits=job.limits, hide=job.hide, sandboxed=job.sandboxed, env=dict(job.env)
    )
    notebook = folder / "work" / "notebook.ipynb"  # away from any conftest.py or __init__.py beside the original
    notebook.parent.mkdir()
    shutil.copyfile(job.notebook, notebook)
    request = {
        "notebook": str(notebook),
        "cells": [dataclasses.asdict(cell) for cell in job.cells],
        "kernel_name": name,
        "startup_s": job.startup_s,
        "output_cap_bytes": job.output_cap_bytes,
        "limits": dataclasses.asdict(job.limits),
        "ends_with_stdin": True,
    }
    (folder / "job.json").write_text(json.dumps(request), encoding="utf-8")
    return subprocess.Popen(
        [sys.executable, "-c", _BOOT, str(folder / "job.json")],
        stdin=subprocess.PIPE,  # stays open; when this process dies it closes, and the adapter ends itself
        stdout=subprocess.PIPE,
        stderr=errors,
        cwd=folder,
        env=_child_environment(folder) | found,
        start_new_session=True,
    )


def _child_environment(folder: Path) -> dict[str, str]:
    """Ours, without what would change pytest, Jupyter or IPython."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "JUPYTER_", "NBVAL_"))}
    env |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "TMPDIR": str(folder), RUN_MARK: folder.name}
    for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
        env[name] = str(folder / name.lower())
    if _PACKAGE.parent.name not in ("site-packages", "dist-packages"):  # used from a checkout, perhaps not installed
        env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(_PACKAGE.parent), env.get("PYTHONPATH")]))
    return env


class _Progress:
    """Events so far, and the moment by which the next one is due."""

    def __init__(self, job: Job, total_s: float | None) -> None:
        now = time.monotonic()
        self.cells: dict[int, CellOutcome] = {}
        self.fault: Fault | None = None
        self.ready = False
        self.done = False
        self.stopped_at: int | None = None
        self.current: int | None = None  # the last cell that began: what goes wrong after it is held against it
        self._deadlines = {cell.index: cell.deadline_s for cell in job.cells}
        self.due = now + STARTING_S + job.startup_s
        whole = sum(self._deadlines.values()) + GRACE_S
        self.end = self.due + (whole if total_s is None else min(whole, total_s))

    def take(self, line: bytes) -> None:
        """Take in one event; a line that is none is a fault."""
        try:
            self._take(json.loads(line))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            self.fail("protocol", f"{type(error).__name__}: {line[:200]!r}")

    def _take(self, event: dict[str, Any]) -> None:
        kind = event["event"]
        self.due = time.monotonic() + GRACE_S
        if kind == "kernel_ready":
            self.ready = True
        elif kind in ("no_kernel", "failed"):
            self.fail("environment", str(event["reason"]))
        elif kind == "cell_start":
            self.current = int(event["index"])
            self.due += self._deadlines[self.current]
        elif kind == "cell_end":
            error = CellError(**event["error"]) if event["error"] else None
            index, probes = int(event["index"]), tuple(event["probes"])
            self.cells[index] = CellOutcome(
                index, event["status"], error, probes, event["stdout"], float(event["seconds"])
            )
        elif kind == "done":
            self.done = True
            self.stopped_at = event["stopped_at"]
        else:
            raise ValueError(kind)

    def fail(self, kind: str, detail: str) -> None:
        """Note the first fault; before there is a kernel, it is the environment's."""
        if self.fault is None:
            self.fault = Fault(kind if self.ready or kind == "cancelled" else "environment", self.current, detail)
            self.stopped_at = self.current


def _follow(progress: _Progress, child: subprocess.Popen[bytes], cancel: threading.Event) -> None:
    """Read events until the run is done or something is wrong."""
    for line in _lines(child):
        if line is not None:
            progress.take(line)
        now = time.monotonic()
        if cancel.is_set():
            progress.fail("cancelled", "")
        elif now > progress.end:
            progress.fail("timeout", "the run took longer than all of it may take")
        elif now > progress.due:
            progress.fail("timeout", "no word from the process that talks to the kernel")
        if progress.done or progress.fault is not None:
            return
    progress.fail("crashed", "the process that talks to the kernel ended")


def _lines(child: subprocess.Popen[bytes]) -> Iterator[bytes | None]:
    """Lines that the child prints, and None at every tick without one; ends when it closes its output."""
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def read() -> None:
        with contextlib.suppress(ValueError):  # closed under our feet when the run is cut short
            while child.stdout is not None and (line := child.stdout.readline(_MAX_LINE)):
                lines.put(line)
        lines.put(b"")

    threading.Thread(target=read, daemon=True).start()
    while True:
        try:
            line = lines.get(timeout=_TICK_S)
        except queue.Empty:
            yield None
            continue
        if not line:
            return
        yield line


def _end(child: subprocess.Popen[bytes], mark: str, *, wait_s: float, thorough: bool) -> None:
    """Make sure that nothing of the run is left: wait for a child that is through, kill what is not."""
    try:
        child.wait(timeout=wait_s)
        clean = child.returncode == 0
    except subprocess.TimeoutExpired:
        clean = False
    if not clean:
        tree = _descendants(child.pid)
        for process in reversed(tree):  # from the leaves: a parent that still lives collects its children
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(tree, timeout=2 * _TICK_S)
        child.kill()
        child.wait()
    if thorough or not clean:
        _sweep(mark)
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            pipe.close()


def _descendants(pid: int) -> list[psutil.Process]:
    try:
        return list(psutil.Process(pid).children(recursive=True))
    except psutil.Error:
        return []


def _sweep(mark: str) -> None:
    """Kill what carries the run's mark in its environment, wherever it hangs in the process tree."""
    for _ in range(5):  # one that is just being forked may be missed by a pass
        found = [process for process in psutil.process_iter() if _marked(process, mark)]
        if not found:
            return
        for process in found:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(found, timeout=_TICK_S)


def _marked(process: psutil.Process, mark: str) -> bool:
    try:
        return bool(process.environ().get(RUN_MARK) == mark)
    except (psutil.Error, OSError):
        return False
