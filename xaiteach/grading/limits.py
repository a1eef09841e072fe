"""What a graded kernel may use: the limits, who sets them inside the kernel, and who watches the rest from outside.

Three layers, because none is enough alone:

- rlimits, set by the launcher before the kernel starts: per process, so many processes together exceed them;
- a system-call filter: closes the ways to hold memory that no process's counters show (memfd, System V shared memory)
  and the parts of the kernel that no exercise needs;
- a watch over the whole process tree, four times a second: total memory and the number of threads.
"""

from __future__ import annotations

import contextlib
import platform
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

__all__ = ["LAUNCHER", "Excess", "Limits", "Watch", "rlimits", "syscall_filter"]

_MIB = 1 << 20


@dataclass(frozen=True)
class Limits:
    """Limits of one kernel and everything it starts.

    Parameters
        memory_mib : data of one process; all of them together may have a quarter more. torch alone takes about 750.
        cpu_s : processor seconds of one process. A backstop: the deadlines of the cells are what normally ends a run.
        file_mib : size of one file.
        processes : processes and threads together.
        open_files : of one process.
        tmp_mib : size of /tmp (which holds the home folder), and again of /dev/shm. Both are in memory.
    """

    memory_mib: int = 4096
    cpu_s: int = 1800
    file_mib: int = 64
    processes: int = 256
    open_files: int = 1024
    tmp_mib: int = 256


def rlimits(limits: Limits) -> dict[str, int]:
    """Names of the resource module and the values the launcher sets, soft and hard alike."""
    table = {
        "RLIMIT_CORE": 0,
        "RLIMIT_CPU": limits.cpu_s,
        "RLIMIT_DATA": limits.memory_mib * _MIB,
        "RLIMIT_FSIZE": limits.file_mib * _MIB,
        "RLIMIT_NOFILE": limits.open_files,
    }
    # Since Linux 5.14 the count is kept per user namespace; before, every process of the grader's user would count.
    # It never binds where the grader is root: the watch does.
    release = re.match(r"(\d+)\.(\d+)", platform.release())
    if release is not None and (int(release[1]), int(release[2])) >= (5, 14):
        table["RLIMIT_NPROC"] = limits.processes
    return table


LAUNCHER = """
import json, os, resource, sys
given = json.loads(sys.argv[1])
for name, value in given["rlimits"].items():
    resource.setrlimit(getattr(resource, name), (value, value))
os.nice(5)
try:
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")
except OSError:
    pass
import zmq
sockets, bind = given["sockets"], zmq.Socket.bind
def bind_given(self, address):
    if self.type in (zmq.PUB, zmq.XPUB):
        self.setsockopt(zmq.XPUB_NODROP, 1)
    if address in sockets:
        self.setsockopt(zmq.USE_FD, sockets.pop(address))
    return bind(self, address)
zmq.Socket.bind = bind_given
import mmap
from IPython.core.interactiveshell import InteractiveShell
room, show = mmap.mmap(-1, 64 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS), InteractiveShell.showtraceback
def show_with_room(self, *args, **kwargs):  # after a MemoryError, IPython needs some to say where it was
    room.close()
    return show(self, *args, **kwargs)
InteractiveShell.showtraceback = show_with_room
from ipykernel.kernelapp import launch_new_instance
launch_new_instance(argv=given["argv"])
"""
"""Program of the sandboxed kernel: limits itself, takes over the listening sockets, becomes an ordinary ipykernel."""


@dataclass(frozen=True)
class Excess:
    """Which limit the process tree went over ("memory" or "processes"), in words that are the same in every run."""

    kind: str
    detail: str


class Watch:
    """Total memory and number of threads of a process and all its descendants.

    Reads /proc only along the tree, so that its cost does not grow with the host.
    """

    def __init__(self, pid: int, limits: Limits) -> None:
        self.pid = pid
        self.limits = limits

    def excess(self) -> Excess | None:
        """First limit that is exceeded now, or None."""
        pids, threads = self._tree()
        if threads > self.limits.processes:
            return Excess("processes", f"more than {self.limits.processes} processes and threads")
        allowed = self.limits.memory_mib * 5 // 4
        # RSS counts what forked processes share once for each of them; PSS does not, but costs milliseconds.
        if sum(map(_rss_mib, pids)) > allowed and sum(map(_pss_mib, pids)) > allowed:
            return Excess("memory", f"more than {allowed} MiB of memory")
        return None

    def _tree(self) -> tuple[list[int], int]:
        pids, threads, todo = [], 0, [self.pid]
        while todo:
            pid = todo.pop()
            pids.append(pid)
            children, n_threads = _look(pid)
            todo += children
            threads += n_threads
        return pids, threads


def _look(pid: int) -> tuple[list[int], int]:
    """Children and number of threads of one process; nothing for one that has just ended."""
    children: list[int] = []
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        for task in tasks:
            with contextlib.suppress(ProcessLookupError):
                children += [int(word) for word in (task / "children").read_text().split()]
        return children, len(tasks)
    except OSError:  # it has ended, or there is no such /proc (macOS, a kernel without CONFIG_PROC_CHILDREN)
        pass
    try:
        process = psutil.Process(pid)
        return [child.pid for child in process.children()], process.num_threads()
    except psutil.Error:
        return [], 0


def _rss_mib(pid: int) -> float:
    try:
        return float(psutil.Process(pid).memory_info().rss) / _MIB
    except psutil.Error:
        return 0.0


def _pss_mib(pid: int) -> float:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    return _rss_mib(pid)


_DENIED = {  # system call: number on (x86_64, aarch64)
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "msgget": (68, 186),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "mount": (165, 40),
    "unshare": (272, 97),
    "setns": (308, 268),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "open_by_handle_at": (304, 265),
}
_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column above, AUDIT_ARCH of linux/audit.h


def syscall_filter() -> bytes | None:
    """Program for seccomp (classic BPF) that refuses the calls above with EPERM; None on other processors.

    Source
        linux/seccomp.h, linux/filter.h: struct seccomp_data has the call's number at 0 and the architecture at 4.
    """
    if platform.machine() not in _ARCHITECTURES:
        return None
    column, architecture = _ARCHITECTURES[platform.machine()]
    load, equal, at_least, answer = 0x20, 0x15, 0x35, 0x06
    allow, refuse, kill = 0x7FFF0000, 0x00050001, 0x80000000

    def program() -> Iterator[tuple[int, int, int, int]]:
        yield load, 0, 0, 4
        yield equal, 1, 0, architecture
        yield answer, 0, 0, kill
        yield load, 0, 0, 0
        if architecture == _ARCHITECTURES["x86_64"][1]:  # the x32 calls carry this bit and would pass the list
            yield at_least, 0, 1, 0x40000000
            yield answer, 0, 0, refuse
        for numbers in _DENIED.values():
            yield equal, 0, 1, numbers[column]
            yield answer, 0, 0, refuse
        yield answer, 0, 0, allow

    return b"".join(struct.pack("=HBBI", *step) for step in program())
