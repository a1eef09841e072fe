"""Examine the machine: what students need, what only grading needs, and the line that mends each."""

from __future__ import annotations

import enum
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from xaiteach.errors import SetupError, XaiTeachError
from xaiteach.runtime import course_root, find_course, require

__all__ = ["Finding", "State", "able", "examine"]

_LEAST_MEMORY_GIB = 2.0  # torch, JupyterLab and one kernel of unit 02 together hold about 1.3
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_GIB = 2**30


class State(enum.Enum):
    """How one thing stands: in order, missing but not needed by students, or in a student's way."""

    OK = "ok"
    WARN = "warn"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Finding:
    """One row of the doctor's table: the thing, how it stands, what was found, and what mends it ("" when ok)."""

    name: str
    state: State
    found: str
    advice: str = ""


@dataclass(frozen=True)
class _Probe:
    name: str
    look: Callable[[], str]  # says what it found; raises when that is not in order
    advice: str
    needed: bool = False  # by students: then what is missing is a problem, not a warning


def examine(bubblewrap: Callable[[], str | None]) -> list[Finding]:
    """Every finding on this machine, in the order of the table; it never raises.

    Parameters
        bubblewrap : the grader's own trial of its sandbox: says why it does not run here, or None where it does.
    """
    return [_examine(probe) for probe in (*_FOR_STUDENTS, _sandbox(bubblewrap), *_FOR_OTHERS)]


def able(findings: list[Finding]) -> bool:
    """Whether everything that students need is in order."""
    return all(finding.state is not State.PROBLEM for finding in findings)


def _examine(probe: _Probe) -> Finding:
    try:
        return Finding(probe.name, State.OK, probe.look())
    except Exception as error:  # a broken install may raise anything; the table must still be printed
        lines = str(error).strip().splitlines() or [""]
        found = lines[0] if isinstance(error, XaiTeachError) else f"{type(error).__name__}: {lines[0]}"
        return Finding(probe.name, State.PROBLEM if probe.needed else State.WARN, found, probe.advice)


def _sandbox(trial: Callable[[], str | None]) -> _Probe:
    def look() -> str:
        if (problem := trial()) is not None:
            raise SetupError(problem)
        return "runs"

    return _Probe("bubblewrap", look, "only grading needs it: apt-get install bubblewrap, or README.md, Platforms")


def _python() -> str:
    return f"{platform.python_version()} in {sys.prefix}"


def _torch() -> str:
    torch = require("torch")
    torch.ones(2, requires_grad=True).sum().backward()  # an install can import and still not compute
    device = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "CPU"
    return f"{torch.__version__} on {device}"


def _torchvision() -> str:
    return str(require("torchvision").__version__)


def _kernel() -> str:
    specs = require("jupyter_client.kernelspec").KernelSpecManager(kernel_dirs=[])  # so: this interpreter's own kernel
    manager = require("jupyter_client.manager").KernelManager(kernel_spec_manager=specs)
    manager.start_kernel(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    client = manager.blocking_client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        reply = client.execute_interactive("import xaiteach", timeout=60, output_hook=lambda _message: None)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    if reply["content"]["status"] != "ok":
        raise SetupError(f"a kernel starts, but cannot import xaiteach ({reply['content'].get('evalue')}).")
    return f"JupyterLab {version('jupyterlab')}; a kernel starts and imports xaiteach"


def _widgets() -> str:
    return f"ipywidgets {require('ipywidgets').__version__}"


def _nbval() -> str:
    require("nbval")
    return version("nbval")


def _course() -> str:
    root = course_root()
    if not (root / "notebooks" / "00_start_here.ipynb").is_file():
        raise SetupError(f"notebooks/00_start_here.ipynb was expected in {root}; it is not there.")
    yours = find_course()
    return f"yours is {yours}" if yours else "found; `xaiteach lab` copies it for you"


def _browser() -> str:
    chosen = os.environ.get("XAITEACH_CHROMIUM") or next(filter(None, map(shutil.which, _BROWSERS)), None)
    if chosen is None:
        raise SetupError("not found, neither by XAITEACH_CHROMIUM nor on PATH.")
    said = subprocess.run([chosen, "--version"], capture_output=True, text=True, timeout=30, check=True).stdout.strip()
    return f"{said or 'runs'} ({chosen})"


def _memory() -> str:
    free = require("psutil").virtual_memory().available / _GIB
    limit = _container_limit()
    free = min(free, limit) if limit else free
    if free < _LEAST_MEMORY_GIB:
        raise SetupError(f"{free:.1f} GiB free; {_LEAST_MEMORY_GIB:.0f} GiB are comfortable.")
    return f"{free:.1f} GiB free"


def _container_limit() -> float | None:
    try:
        return int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii")) / _GIB
    except (OSError, ValueError):  # not Linux, no limit ("max"), or the older layout
        return None


def _cores() -> str:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return f"{usable} usable"


_FOR_STUDENTS = (
    _Probe("Python", _python, "install Python 3.11 or newer", needed=True),
    _Probe("torch", _torch, "pip install --upgrade torch torchvision", needed=True),
    _Probe("torchvision", _torchvision, "pip install --upgrade torch torchvision (only pretrained networks need it)"),
    _Probe("Jupyter", _kernel, "pip install --upgrade jupyterlab ipykernel jupyter-client", needed=True),
    _Probe("widgets", _widgets, "pip install --upgrade ipywidgets (figures show without it)"),
    _Probe("course", _course, "pip install --force-reinstall xaiteach, or `xaiteach build` in a checkout", needed=True),
    _Probe("memory", _memory, "close other kernels and programs"),
    _Probe("cores", _cores, ""),
)

_FOR_OTHERS = (
    _Probe("nbval", _nbval, "only grading needs it: pip install --upgrade nbval"),
    _Probe("chromium", _browser, "only browser tests need it: apt-get install chromium, or set XAITEACH_CHROMIUM"),
)
