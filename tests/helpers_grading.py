"""Notebooks run through the grading machinery, and a look at what they leave behind."""

import contextlib
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import nbformat
import psutil

from xaiteach.grading import runner, sandbox
from xaiteach.grading.runner import Job, JobCell, run

PROBE = "application/vnd.xaiteach.probe+json"


def write_notebook(path, sources):
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


def job_of(folder, *sources, deadline_s=20.0, roles=None, **fields):
    path = write_notebook(Path(folder) / "notebook.ipynb", sources)
    roles = roles or ["answer"] * len(sources)
    cells = tuple(JobCell(i, deadline_s, role, "unit.question") for i, role in enumerate(roles))
    return Job(path, cells, **fields)


def run_cells(folder, *sources, total_s=None, cancel=None, log_dir=None, **fields):
    return run(job_of(folder, *sources, **fields), total_s=total_s, cancel=cancel, log_dir=log_dir)


def statuses(outcome):
    return [outcome.cells[index].status for index in sorted(outcome.cells)]


def show(expression):
    """Source of a cell that sends the value of an expression out as a probe."""
    return f"display({{{PROBE!r}: {{'value': {expression}}}}}, raw=True)"


def value(outcome, index):
    (probe,) = outcome.cells[index].probes
    return probe["value"]


@contextlib.contextmanager
def own_temporary_folder():
    """Everything that a run makes lies below this folder, and so do the paths in its processes' command lines."""
    with tempfile.TemporaryDirectory(prefix="xt-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        # Not tempfile.tempdir: pytest would put its own folders there.
        here = SimpleNamespace(gettempdir=lambda: folder, mkdtemp=tempfile.mkdtemp)
        with mock.patch.object(runner, "tempfile", here), mock.patch.object(sandbox, "tempfile", here):
            yield Path(folder)


def processes_of(folder):
    """Processes whose command line or environment names the folder, this one aside; dead ones do not count."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            words = [*process.cmdline(), *process.environ().values()]
            if process.pid != psutil.Process().pid and any(str(folder) in word for word in words):
                found.append(process)
    return found


def eventually(condition, within_s=10.0):
    """Whether the condition comes true; for what the operating system finishes on its own."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return bool(condition())


def nothing_left(folder):
    """Whether neither a process nor a temporary folder of a run is there, now or in a moment."""
    return eventually(lambda: not processes_of(folder) and not list(Path(folder).glob("x[gk]-*")))
