"""A kernel that sees a view, not the machine: bubblewrap as a jupyter_client kernel provisioner.

Inside there are the system's and Python's libraries (read-only), the view of the package in the package's place, a
private /tmp of limited size that holds the home folder, and processes of its own. There is no network, nothing of the
repository, of other submissions or of the grader's environment, and nothing of the host that can be written to: even
the kernel's sockets are opened outside and handed in as file descriptors.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import json
import os
import shutil
import site
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.provisioning.local_provisioner import LocalProvisioner
from traitlets import Dict, List, Unicode

from xaiteach.errors import SetupError
from xaiteach.grading.limits import LAUNCHER, Limits, rlimits, syscall_filter

__all__ = ["KERNEL_NAME", "PROVISIONER", "RUN_MARK", "BubblewrapProvisioner", "bubblewrap_problem", "write_kernelspec"]

KERNEL_NAME = "xaiteach-graded"
PROVISIONER = "xaiteach-bubblewrap"
RUN_MARK = "XAITEACH_RUN"
"""Variable by which the runner finds what belongs to a run."""

_INSTALL = (
    "Install it (apt-get install bubblewrap, dnf install bubblewrap); on macOS and Windows grade in a Linux container "
    "or in WSL2; or give --no-sandbox, which runs the students' code as you."
)
_ALLOW = (
    "This system may refuse user namespaces to ordinary programs. Try: sysctl kernel.unprivileged_userns_clone=1 "
    "(Debian), sysctl kernel.apparmor_restrict_unprivileged_userns=0 or an AppArmor profile for bwrap (Ubuntu 24.04 "
    "and later), a container started with --security-opt seccomp=unconfined; or give --no-sandbox, which runs the "
    "students' code as you."
)

_ISOLATION = (  # --unshare-user in words: as root bubblewrap would do without, and root would stay root
    "--unshare-all --unshare-user --uid 1000 --gid 1000 --hostname sandbox "
    "--die-with-parent --new-session --cap-drop ALL"
)
_HOME = "/tmp/home"
_VIEW = Path("/opt/xaiteach")
_PACKAGE = Path(__file__).resolve().parents[1]
# Started as ../venv/bin/python, the name runs through a folder that is not there inside. The last link stays: a virtual
# environment is found beside it.
_PYTHON = str(Path(sys.executable).parent.resolve() / Path(sys.executable).name)
_LIBRARY_NAMES = {"site-packages", "dist-packages"}
_TOP = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_USR = ("bin", "sbin", "lib", "lib32", "lib64", "libx32", "libexec", "share", "local/bin", "local/lib", "local/share")
_ETC = ("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "localtime", "fonts")
_STORES = ("/nix/store", "/gnu/store")  # where a Python of these systems and all its libraries lie
# Not a prefix as a whole: a checkout may lie beside these (python -m venv . , <venv>/src).
_PREFIX = ("bin", "lib", "lib64", "libexec", "share", "etc", "ssl", "pyvenv.cfg")


@functools.cache
def bubblewrap_problem() -> str | None:
    """Reason why a sandboxed kernel cannot run here, with what to install or allow; None where one really ran.

    Cost
        One start of Python inside bubblewrap, once per process.
    """
    if not sys.platform.startswith("linux") or shutil.which("bwrap") is None:
        return f"bubblewrap (the program bwrap) was expected on the PATH and is not there. {_INSTALL}"
    try:
        with _filter_option() as (option, fds):
            command = [*sandbox_command(), *option, "--", _PYTHON, "-c", "pass"]
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=30, pass_fds=fds, check=False, stdin=subprocess.DEVNULL
            )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"bubblewrap is there but does not run ({type(error).__name__}: {error}). {_ALLOW}"
    if done.returncode == 0:
        return None
    reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    return f"bubblewrap is there but a sandbox does not start ({reason}). {_ALLOW}"


def sandbox_command(
    *,
    view: Path | None = None,
    hide: Iterable[Path] = (),
    limits: Limits | None = None,
    connection_file: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> list[str]:
    """Program and options, up to but without the `--` before what runs inside.

    Parameters
        view : folder with the allowed part of the package in `xaiteach/`; without it there is no xaiteach inside.
        hide : folders that must look empty inside.
        connection_file : shown inside, read-only, under its own name.
        env : variables for the kernel, over the few it always has.
    """
    limits = limits or Limits()
    mounts = _mounts()
    command = [shutil.which("bwrap") or "bwrap", *_ISOLATION.split(), *_disable_userns()]
    command += ["--proc", "/proc", "--dev", "/dev", *_tmpfs("/dev/shm", limits), *_tmpfs("/tmp", limits)]
    command += ["--perms", "0777", "--dir", _HOME]
    for option, source, place in mounts:
        command += [option, source, place]
    command += _view_options(view, mounts)
    for folder in hide:
        if _within(folder.resolve(), mounts) and folder.is_dir():
            command += _empty(folder.resolve())
    if connection_file is not None:
        command += ["--ro-bind", str(connection_file), str(connection_file)]
    command += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", _HOME, "--clearenv"]
    for name, value in (_environment() | dict(env or {})).items():
        command += ["--setenv", name, value]
    return command


def _tmpfs(place: str, limits: Limits) -> list[str]:
    return ["--perms", "1777", "--size", str(limits.tmp_mib << 20), "--tmpfs", place]


def _empty(place: Path) -> list[str]:
    return ["--tmpfs", str(place), "--remount-ro", str(place)]


@functools.cache
def _disable_userns() -> tuple[str, ...]:
    """Option that forbids user namespaces inside, where this bubblewrap has it (0.8.0)."""
    usage = subprocess.run(["bwrap", "--help"], capture_output=True, text=True, check=False, timeout=30)
    return ("--disable-userns",) if "--disable-userns" in usage.stdout + usage.stderr else ()


def _environment() -> dict[str, str]:
    """All that the kernel gets: nothing of the grader's, one thread for each library, the same hashes every time."""
    paths = [str(_VIEW), *([str(_user_site())] if _user_site() else [])]
    return {
        "PATH": f"{Path(_PYTHON).parent}:/usr/local/bin:/usr/bin:/bin",
        "HOME": _HOME,
        "TMPDIR": "/tmp",
        "USER": "student",
        "LOGNAME": "student",
        "LANG": "C.UTF-8",
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    }


def _user_site() -> Path | None:
    """Folder of pip install --user, where this Python uses it."""
    folder = site.getusersitepackages() if site.ENABLE_USER_SITE else None
    return Path(folder).resolve() if folder in sys.path and folder is not None else None


_Mount = tuple[str, str, str]  # bwrap's option, what, where


def _mounts() -> list[_Mount]:
    """Read-only mounts and links of the system and of this Python, each named once."""
    mounts: list[_Mount] = []
    for name in _TOP:
        mounts += _one(Path("/") / name, mounts)
    for name in _USR:
        mounts += _one(Path("/usr") / name, mounts)
    for name in _ETC:
        mounts += _one(Path("/etc") / name, mounts, follow=True)
    mounts += _one(Path("/sys/devices/system/cpu"), mounts)  # torch asks it for the processor's abilities
    real = os.path.realpath(_PYTHON)
    for store in _STORES:
        if real.startswith(store):
            mounts += _one(Path(store), mounts)
    for prefix in dict.fromkeys((sys.base_prefix, sys.base_exec_prefix, sys.prefix, sys.exec_prefix)):
        mounts += _prefix(Path(prefix), mounts)
    if (folder := _user_site()) is not None:
        mounts += _one(folder, mounts)
    mounts += _links_to_python(mounts)
    return mounts


def _one(path: Path, present: Sequence[_Mount], *, follow: bool = False) -> list[_Mount]:
    if not path.exists() or _within(path, present):
        return []
    if path.is_symlink() and not follow:
        return [("--symlink", str(path.readlink()), str(path))]
    return [("--ro-bind", os.path.realpath(path), str(path))]


def _prefix(prefix: Path, present: Sequence[_Mount]) -> list[_Mount]:
    real = prefix.resolve()
    mounts: list[_Mount] = []
    for name in _PREFIX:
        mounts += _one(real / name, [*present, *mounts])
    if real != prefix and mounts and not _within(prefix, present):
        mounts.append(("--symlink", str(real), str(prefix)))
    return mounts


def _links_to_python(present: Sequence[_Mount]) -> list[_Mount]:
    """Links between a virtual environment's python and the real one that lie outside both (in some bin folder)."""
    mounts: list[_Mount] = []
    path = Path(_PYTHON)
    while path.is_symlink():
        path = Path(os.path.normpath(path.parent / path.readlink()))
        if not _within(path, [*present, *mounts]):
            mounts += _one(path, [*present, *mounts], follow=True)
    return mounts


def _within(path: Path, mounts: Iterable[_Mount]) -> bool:
    return any(path.is_relative_to(place) for _option, _source, place in mounts)


def _view_options(view: Path | None, mounts: Sequence[_Mount]) -> list[str]:
    """Mount the view in the package's place; where the package is not visible at all (a checkout), beside it."""
    options: list[str] = []
    if _within(_PACKAGE, mounts) and _PACKAGE.parent.name in _LIBRARY_NAMES:
        return ["--ro-bind", str(view / "xaiteach"), str(_PACKAGE)] if view else _empty(_PACKAGE)
    if _within(_PACKAGE, mounts):
        options += _empty(_PACKAGE.parent)
    return [*options, "--ro-bind", str(view), str(_VIEW)] if view else options


@contextlib.contextmanager
def _filter_option() -> Iterator[tuple[list[str], tuple[int, ...]]]:
    """Option for the system-call filter and the descriptors to pass; empty where it cannot be had."""
    program = syscall_filter()
    if program is None or "Seccomp:" not in Path("/proc/self/status").read_text():
        yield [], ()
        return
    read, write = os.pipe()
    try:
        os.write(write, program)  # far below a pipe's capacity
        os.close(write)
        yield ["--seccomp", str(read)], (read,)
    finally:
        os.close(read)


class BubblewrapProvisioner(LocalProvisioner):
    """Start an IPython kernel inside bubblewrap; named `xaiteach-bubblewrap` in a kernel.json.

    Its `config` there: `view` (folder), `hide` (folders), `limits` (fields of Limits).
    """

    view = Unicode("", config=True, help="folder that holds the allowed part of the package in xaiteach/")
    hide = List(Unicode(), config=True, help="folders that look empty inside")
    limits = Dict(config=True, help="fields of xaiteach.grading.limits.Limits")

    _folder: Path | None = None

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        """Sockets in a short folder of their own: a socket's path has 107 bytes at most."""
        self._folder = _short_folder()
        manager: Any = self.parent
        manager.transport = "ipc"
        manager.ip = str(self._folder / "s")
        manager.connection_file = str(self._folder / "connection.json")
        return await super().pre_launch(**kwargs)

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """Open the sockets here and start the kernel with them; `cmd` is only asked for its arguments."""
        ports = [value for name, value in self.connection_info.items() if name.endswith("_port")]
        ours = {f"{self.connection_info['ip']}-{port}": socket.socket(socket.AF_UNIX) for port in ports}
        try:
            for path, opened in ours.items():
                opened.bind(path)
                opened.listen()
            limits = Limits(**self.limits)
            manager: Any = self.parent
            options = ["--HistoryManager.enabled=False"]  # no database of inputs to open
            given = {
                "rlimits": rlimits(limits),
                "sockets": {f"ipc://{path}": opened.fileno() for path, opened in ours.items()},
                "argv": [*cmd[cmd.index("ipykernel_launcher") + 1 :], *options],
            }
            command = sandbox_command(
                view=Path(self.view) if self.view else None,
                hide=[Path(name) for name in self.hide],
                limits=limits,
                connection_file=Path(manager.connection_file),
                env=self.kernel_spec.env,
            )
            with _filter_option() as (option, fds):
                command += [*option, "--", _PYTHON, "-P", "-c", LAUNCHER, json.dumps(given)]
                kwargs["pass_fds"] = (*(opened.fileno() for opened in ours.values()), *fds)
                # Inside, /proc/1/environ and /proc/1/fd are bubblewrap's own: it must have nothing of the grader's.
                kwargs["env"] = {RUN_MARK: os.environ[RUN_MARK]} if RUN_MARK in os.environ else {}
                kwargs["stdout"] = subprocess.DEVNULL
                kwargs["cwd"] = "/"
                return await super().launch_kernel(command, **kwargs)
        finally:  # ours must close, or a dead kernel's sockets would still answer
            for opened in ours.values():
                opened.close()

    async def kill(self, restart: bool = False) -> None:
        """Kill the sandbox's first process: bubblewrap then collects it and ends, and leaves no orphan behind."""
        if self.process is not None:
            with contextlib.suppress(psutil.Error):
                for child in psutil.Process(self.process.pid).children():
                    child.kill()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._ended(), timeout=2)
        if await self.poll() is None:
            await super().kill(restart=restart)

    async def _ended(self) -> None:
        while await self.poll() is None:
            await asyncio.sleep(0.01)

    async def cleanup(self, restart: bool = False) -> None:
        """Remove the folder of the sockets."""
        await super().cleanup(restart=restart)
        if self._folder is not None and not restart:
            shutil.rmtree(self._folder, ignore_errors=True)


def _short_folder() -> Path:
    place = tempfile.gettempdir()
    return Path(tempfile.mkdtemp(prefix="xk-", dir=place if len(place) < 80 else "/tmp"))


def write_kernelspec(
    folder: Path,
    *,
    view: Path | None = None,
    limits: Limits | None = None,
    hide: Iterable[Path] = (),
    sandboxed: bool = True,
    env: Mapping[str, str] | None = None,
) -> tuple[str, dict[str, str]]:
    """Write a kernelspec under `folder` and return its name and the variables under which Jupyter finds it.

    Parameters
        view : folder with the allowed part of the package in `xaiteach/`.
        sandboxed : False for a student's own check and for --no-sandbox: an ordinary kernel, which sees all that the
            user sees, with the view first on its path.
        env : variables for the kernel.
    Raises
        SetupError: a sandbox is wanted and cannot be had; the message says what to install or allow.
    """
    spec: dict[str, Any] = {
        "argv": [_PYTHON, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": "Python (graded by xaiteach)",
        "language": "python",
        "interrupt_mode": "message" if sandboxed else "signal",
        "env": dict(env or {}),
    }
    if sandboxed:
        if (problem := bubblewrap_problem()) is not None:
            raise SetupError(problem)
        config = {
            "view": str(view.resolve()) if view else "",
            "hide": [str(path) for path in hide],
            "limits": dataclasses.asdict(limits or Limits()),
        }
        spec["metadata"] = {"kernel_provisioner": {"provisioner_name": PROVISIONER, "config": config}}
    else:
        same = ("PYTHONHASHSEED", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "MPLBACKEND")
        spec["env"] = {name: _environment()[name] for name in same} | spec["env"]
        if view is not None:
            spec["env"]["PYTHONPATH"] = str(view.resolve())
    place = folder / "kernels" / KERNEL_NAME
    place.mkdir(parents=True, exist_ok=True)
    (place / "kernel.json").write_text(json.dumps(spec, indent=1), encoding="utf-8")
    return KERNEL_NAME, {"JUPYTER_PATH": str(folder)}
