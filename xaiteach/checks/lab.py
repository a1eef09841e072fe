"""Serve a course in JupyterLab: no network, no news, and the kernel of this very interpreter."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from xaiteach.errors import SetupError
from xaiteach.runtime import COURSE_MARKER, find_course, require

__all__ = ["FIRST_PAGE", "choose_course", "is_root", "lab_command", "lab_environment", "serve"]

FIRST_PAGE = "notebooks/00_start_here.ipynb"

_DEFAULT_FOLDER = "xaiteach-course"

_SETTINGS = {
    # Without this Lab asks every new student whether to fetch news, even where `news_url` is off (seen in 4.6).
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
    # Panels are saved with the notebook: opened again tomorrow, without a kernel, they still show what they showed.
    "@jupyter-widgets/jupyterlab-manager:plugin": {"saveState": True},
}


def choose_course(folder: Path | None = None) -> Path:
    """Course folder to open: the one that `folder` lies in, else `folder` itself, to be filled.

    Parameters
        folder : what the student asked for. Default: the working folder's course, else `xaiteach-course` in it.
    """
    if folder is None:
        return find_course() or Path.cwd() / _DEFAULT_FOLDER
    return (find_course(folder) if folder.is_dir() else None) or folder


def is_root() -> bool:
    """Whether this process runs as root, whom Jupyter refuses unless told otherwise."""
    return hasattr(os, "geteuid") and os.geteuid() == 0


def lab_command(course: Path, *, port: int | None = None, browser: bool = True, extra: Sequence[str] = ()) -> list[str]:
    """Command that serves `course` in JupyterLab and opens its first page.

    Parameters
        course : the student's course folder.
        port : port to listen on. Default: Jupyter's, or the next free one.
        browser : open the web browser.
        extra : further options for `jupyter lab`; they come last, so they win.
    """
    root = course.resolve()
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        "--Application.log_level=WARN",  # leaves the box with the address
        f"--ServerApp.root_dir={root}",
        f"--LabApp.default_url=/lab/tree/{FIRST_PAGE}",
        # Tabs of another project's layout would open as errors here.
        f"--LabApp.workspaces_dir={root / COURSE_MARKER / 'workspaces'}",
        "--LabApp.news_url=None",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        "--LabApp.extension_manager=readonly",
    ]
    if port is not None:
        command.append(f"--ServerApp.port={port}")
    if not browser:
        command.append("--no-browser")
    if is_root():
        command.append("--allow-root")
    return [*command, *extra]


@contextmanager
def lab_environment() -> Iterator[dict[str, str]]:
    """Environment for the server, with a private folder that lasts as long as the context.

    The folder names this interpreter as the kernel `python3`, before any of that name in the user's home: a student's
    notebook must run where xaiteach is installed.

    Raises
        MissingExtraError: ipykernel is not there.
    """
    kernelspec = require("ipykernel.kernelspec")
    with tempfile.TemporaryDirectory(prefix="xaiteach-lab-") as name:
        folder = Path(name)
        # Quiet: ipykernel 7 warns that TCP is not encrypted, which on the loopback alarms for nothing.
        kernelspec.write_kernel_spec(folder / "kernels" / "python3", extra_arguments=["--log-level=ERROR"])
        (folder / "labconfig").mkdir()
        (folder / "labconfig" / "default_setting_overrides.json").write_text(json.dumps(_SETTINGS), encoding="utf-8")
        searched = ("JUPYTER_PATH", "JUPYTER_CONFIG_PATH")
        yield os.environ | {key: os.pathsep.join(filter(None, (name, os.environ.get(key)))) for key in searched}


def serve(course: Path, *, port: int | None = None, browser: bool = True, extra: Sequence[str] = ()) -> None:
    """Run JupyterLab on `course` until the student stops it.

    Raises
        MissingExtraError: JupyterLab or ipykernel is not there.
        SetupError: the server did not start or ended badly.
    """
    require("jupyterlab")
    with lab_environment() as environment:
        status = _run_until_stopped(lab_command(course, port=port, browser=browser, extra=extra), environment)
    if status:
        raise SetupError(
            f"JupyterLab was expected to run until you stop it; it ended with status {status}. "
            "Its own message is above. Try `xaiteach doctor`, or another --port."
        )


def _run_until_stopped(command: list[str], environment: dict[str, str]) -> int:
    server = subprocess.Popen(command, env=environment)

    def stop_server(_number: int, _frame: FrameType | None) -> None:
        server.terminate()

    asked_to_stop = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.signal(number, stop_server) for number in asked_to_stop}
    try:
        while True:
            try:
                return server.wait()
            except KeyboardInterrupt:
                # The terminal sent it to the server as well, which asks the student before it stops.
                continue
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
