"""nbval's collector, cell and kernel, made fit for code that nobody trusts. Run by runner.py, as a process of its own.

The only module that knows nbval's inside; tests/test_grading_adapter.py says which parts it leans on. The runner may
kill it at any time. What it replaces in nbval 0.11, and why:

- its message loop waits for each message anew, so a kernel that never goes quiet is never stopped;
- a dead kernel is noticed by that timeout only, and a timeout of one cell marks all later ones;
- comments in a cell's source (`# NBVAL_SKIP`) steer it.

The job is a JSON file (fields: class Job in runner.py). One JSON line per event goes to the original standard output:
{"event": "kernel_ready"}, {"event": "no_kernel", "reason"}, {"event": "cell_start", "index"},
{"event": "cell_end", "index", "status", "error", "probes", "stdout", "seconds"}, {"event": "done", "stopped_at"},
{"event": "failed", "reason"}. `status` is ok, error, timeout, crashed, flooded or memory; after the last four the run
stops. `error` is null or {ename, evalue, line, code}.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest
from jupyter_client.manager import KernelManager
from jupyter_client.provisioning.factory import KernelProvisionerFactory
from nbval.kernel import NbvalKernelspecManager, RunningKernel
from nbval.plugin import IPyNbCell, IPyNbFile

from xaiteach.grading.conversation import Caps, Conversation, Heard, error_of, limited_context
from xaiteach.grading.limits import Limits, Watch
from xaiteach.grading.sandbox import PROVISIONER

__all__ = ["BoundedKernel", "JobCell", "JobFile", "main"]

GRACE_S = 1.0
_PROBE_BYTES = 8 << 20  # on top of the output cap, in cells that are probes
_OWN_DATA_BYTES = 1 << 30
_STOPS = {"timeout", "crashed", "flooded", "memory"}


class _Events:
    """Lines of JSON on the standard output this process was started with; prints of others go to its standard error."""

    def __init__(self) -> None:
        self._fd = os.dup(1)
        os.dup2(2, 1)

    def send(self, event: str, **fields: Any) -> None:
        data = (json.dumps({"event": event, **fields}) + "\n").encode()
        while data:
            data = data[os.write(self._fd, data) :]


class NoKernelError(Exception):
    """The kernel did not come up: the machine's fault, not the submission's."""


class BoundedKernel(RunningKernel):  # type: ignore[misc]
    """A running kernel that is asked under one deadline and can always be stopped."""

    def __init__(self, kernel_name: str, cwd: str, startup_timeout: float, limits: Limits) -> None:
        self._context = limited_context()
        self._tail = _Tail()
        self.km = KernelManager(
            kernel_name=kernel_name, kernel_spec_manager=NbvalKernelspecManager(), context=self._context
        )
        try:
            self.km.start_kernel(stderr=self._tail.write_end, stdout=subprocess.DEVNULL, cwd=cwd)
        except Exception as error:
            raise NoKernelError(f"{type(error).__name__}: {error}") from error
        finally:
            os.close(self._tail.write_end)
        self.kc = self.km.client(context=self._context)
        self.kc.start_channels(stdin=False, hb=False)
        pid: int = self.km.provisioner.pid  # type: ignore[union-attr]  # LocalProvisioner's, as ours is
        self._conversation = Conversation(self.kc, self.is_alive, Watch(pid, limits).excess)
        heard = self._conversation.greet(startup_timeout)
        if heard.how != "finished":
            self.stop()
            raise NoKernelError(f"{heard.detail}. Its last words: {self._tail.text() or 'none'}")

    def ask(self, source: str, deadline_s: float, caps: Caps) -> Heard:
        """Run `source`; past the deadline interrupt it, and give it a second to say where it was."""
        request = self.execute_cell_input(source, allow_stdin=False)
        heard = self._conversation.listen(request, deadline_s, caps)
        if heard.how == "timeout":
            self.interrupt()
            detail = heard.detail
            self._conversation.listen(request, GRACE_S, caps, heard)
            heard.how, heard.detail = "timeout", detail
        return heard

    def stop(self) -> None:
        """Kill the kernel and close everything; any number of times."""
        if hasattr(self, "km"):
            self._conversation.close()
            super().stop()
            self._context.destroy(linger=0)


class _Tail:
    """Last bytes written to a pipe, read by a thread so that the writer never waits."""

    def __init__(self) -> None:
        self._read_end, self.write_end = os.pipe()
        self._pieces: deque[bytes] = deque(maxlen=8)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        while piece := os.read(self._read_end, 512):
            self._pieces.append(piece)
        os.close(self._read_end)

    def text(self) -> str:
        return b"".join(self._pieces).decode(errors="replace").strip()[-1000:]


class JobFile(IPyNbFile):  # type: ignore[misc]
    """The injected notebook: only the cells that the job names, with the job's options."""

    job: dict[str, Any]
    events: _Events
    kernel: BoundedKernel | None = None

    def collect(self) -> Iterator[JobCell]:
        """Cells of the job; comments and tags in the notebook steer nothing."""
        self.nb = nbformat.read(self.path, as_version=4)
        for wanted in self.job["cells"]:
            index = wanted["index"]
            options = {"skip": False, "check": False, "check_exception": False}
            cell = JobCell.from_parent(
                self, name=f"cell {index}", cell_num=index, cell=self.nb.cells[index], options=options
            )
            cell.wanted = wanted
            yield cell

    def setup(self) -> None:
        """Start the kernel."""
        try:
            self.kernel = BoundedKernel(
                self.config.option.nbval_kernel_name,
                cwd=str(self.path.parent),
                startup_timeout=self.job["startup_s"],
                limits=Limits(**self.job["limits"]),
            )
        except NoKernelError as error:
            self.events.send("no_kernel", reason=str(error))
            self.session.shouldstop = "no kernel"
            raise
        _limit_own_memory()
        self.events.send("kernel_ready")

    def teardown(self) -> None:
        """Stop the kernel, dead or alive."""
        if self.kernel is not None:
            self.kernel.stop()
            self.kernel = None


class JobCell(IPyNbCell):  # type: ignore[misc]
    """One cell: run, reported as an event, and to pytest as passed or failed."""

    wanted: dict[str, Any]

    def setup(self) -> None:
        """Nothing: nbval marks cells after a timeout as expected failures, and we stop there."""

    def runtest(self) -> None:
        """Run the cell under its deadline and report it.

        Raises
            NbCellError: the cell failed in any way.
        """
        job, events, kernel = self.parent.job, self.parent.events, self.parent.kernel
        caps = Caps(job["output_cap_bytes"] + (_PROBE_BYTES if self.wanted["role"] == "probe" else 0))
        events.send("cell_start", index=self.cell_num)
        start = time.monotonic()
        heard = kernel.ask(self.cell.source, self.wanted["deadline_s"], caps)
        seconds = time.monotonic() - start
        status, error = _verdict(heard, self.cell.source)
        if status in _STOPS:
            self.parent.teardown()
            self.session.shouldstop = status
            self.parent.stopped_at = self.cell_num
        events.send(
            "cell_end",
            index=self.cell_num,
            status=status,
            error=error,
            probes=heard.probes,
            stdout=heard.stdout,
            seconds=round(seconds, 3),
        )
        if status != "ok":
            self.raise_cell_error(status)


def _verdict(heard: Heard, source: str) -> tuple[str, dict[str, Any] | None]:
    error = error_of(heard, source)
    if heard.how == "finished":
        if error is None:
            return "ok", None
        # Out of memory, the kernel may be of no use to the cells that follow.
        out = "MemoryError" in error["ename"] or "DefaultCPUAllocator" in error["evalue"]
        return ("memory" if out else "error"), error
    status = "crashed" if heard.how == "processes" else heard.how
    name = {"timeout": "Timeout", "crashed": "KernelDied", "flooded": "TooMuchOutput", "memory": "MemoryError"}[status]
    if heard.how == "processes":
        name = "TooManyProcesses"
    place = {"line": error["line"], "code": error["code"]} if error else {"line": None, "code": None}
    return status, {"ename": name, "evalue": heard.detail, **place}


class _Plugin:
    """Hands the job's notebook to our collector; nbval's own stays idle without --nbval."""

    def __init__(self, job: dict[str, Any], events: _Events) -> None:
        self.job, self.events = job, events
        self.file: JobFile | None = None

    def pytest_collect_file(self, file_path: Path, parent: pytest.Collector) -> JobFile | None:
        if file_path != Path(self.job["notebook"]):
            return None
        self.file = JobFile.from_parent(parent, path=file_path)
        self.file.job, self.file.events, self.file.stopped_at = self.job, self.events, None
        return self.file


def _limit_own_memory() -> None:
    """Bound what a malicious peer can make this process hold; after the kernel's start, which would inherit it."""
    if sys.platform.startswith("linux"):
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (_OWN_DATA_BYTES, resource.getrlimit(resource.RLIMIT_DATA)[1]))


def _end_with_parent(folder: Path) -> None:
    """When the runner is gone (its end of our standard input closes), take the kernel and the folder along."""

    def wait() -> None:
        while os.read(0, 1024):
            pass
        with contextlib.suppress(psutil.Error):
            for process in reversed(psutil.Process().children(recursive=True)):
                with contextlib.suppress(psutil.Error):
                    process.kill()
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(70)

    threading.Thread(target=wait, daemon=True).start()


def _register_provisioner() -> None:
    """Make the provisioner known where the package is used without having been installed."""
    factory = KernelProvisionerFactory.instance()
    if PROVISIONER not in factory.provisioners:
        target = "xaiteach.grading.sandbox:BubblewrapProvisioner"
        factory.provisioners[PROVISIONER] = EntryPoint(PROVISIONER, target, factory.GROUP_NAME)


def main(path: str) -> int:
    """Run the job in the file `path`; see the module's docstring for what it prints."""
    events = _Events()
    job = json.loads(Path(path).read_text(encoding="utf-8"))
    folder = Path(path).parent
    if job.get("ends_with_stdin"):
        _end_with_parent(folder)
    _register_provisioner()
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    plugin = _Plugin(job, events)
    arguments = ["-c", str(folder / "pytest.ini"), "--rootdir", str(folder), "--noconftest", "-p", "no:cacheprovider"]
    arguments += ["-p", "nbval.plugin", "--nbval-kernel-name", job["kernel_name"], "-s", "-q", "--tb=short"]
    code = pytest.main([*arguments, job["notebook"]], plugins=[plugin])
    # Findings (a failed cell) and a stop are ordinary; anything else means that pytest or nbval refused the job.
    if code in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED) and plugin.file:
        events.send("done", stopped_at=plugin.file.stopped_at)
        return 0
    events.send("failed", reason=f"pytest ended with code {int(code)}")
    return 3


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
