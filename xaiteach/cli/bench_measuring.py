"""Timing two calls in turn, and the memory that one of them takes."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import io
import statistics
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from xaiteach.runtime import require

__all__ = ["Row", "agreement", "conditions", "measure", "peak_mib"]

Call = Callable[[], Tensor]

_SAMPLED_EVERY_S = 0.001
_CONTRACT = ("case", "ours_s", "peer", "peer_s", "ratio", "agreement", "device", "peak_mib")


@dataclass(frozen=True)
class Row:
    """What one case came to.

    Parameters
        case : what was computed, on what.
        ours_s, peer_s : median seconds of one call; None where there is none.
        peer : whom we are compared with.
        ratio : peer_s / ours_s.
        agreement : largest absolute difference over the largest absolute value.
        device : "cpu", or the GPU's name.
        peak_mib : memory that our call took at its largest, in MiB above what was there before.
        trouble : why the peer was not measured, or "".
        wanted : the least ratio that is promised.
        draws : bool. Both sides draw, each its own numbers: agreement is then that of two samples.
        note : why our side was not measured, or "".
        failed : bool. Whether that is our fault.
    """

    case: str
    ours_s: float | None = None
    peer: str = ""
    peer_s: float | None = None
    ratio: float | None = None
    agreement: float | None = None
    device: str = "cpu"
    peak_mib: float | None = None
    trouble: str = ""
    wanted: float = 1.0
    draws: bool = False
    note: str = ""
    failed: bool = False

    def as_json(self) -> dict[str, Any]:
        """The fields of the contract, in its order; the peer's trouble stands beside its name."""
        fields = asdict(self)
        fields["peer"] = ": ".join(filter(None, (self.peer, self.trouble)))
        return {name: fields[name] for name in _CONTRACT}


def measure(ours: Call, theirs: Call | None, device: torch.device, repeats: int) -> dict[str, Any]:
    """Fields of a row: medians of `repeats` runs of each side, in turn, after one to warm up; agreement and memory.

    Parameters
        ours, theirs : calls without arguments that return what is compared; theirs may be None.
        device : where they compute.
        repeats : int >= 1.
    Raises
        Exception: whatever our side raises. What the peer raises is told as the field "trouble".
    """
    found = ours()
    fields: dict[str, Any] = {"device": _name(device), "peak_mib": peak_mib(ours, device)}
    if theirs is not None:
        try:
            with _quiet():
                fields["agreement"] = agreement(found, theirs())
        except Exception as error:
            fields["trouble"] = f"failed: {type(error).__name__}: {error}"
            theirs = None
    times: dict[Call, list[float]] = {side: [] for side in (ours, theirs) if side is not None}
    for number in range(repeats):
        for side in list(times) if number % 2 == 0 else reversed(times):  # neither always finds the other's cache
            with _quiet():
                times[side].append(_seconds(side, device))
    fields["ours_s"] = statistics.median(times[ours])
    if theirs is not None:
        fields["peer_s"] = statistics.median(times[theirs])
        fields["ratio"] = fields["peer_s"] / fields["ours_s"]
    return fields


def agreement(ours: Tensor, theirs: Tensor) -> float:
    """Largest absolute difference over the largest absolute value of the two.

    Examples
        >>> agreement(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 1.5]))
        0.25
    """
    a, b = (side.detach().double().cpu() for side in (ours, theirs))
    scale = float(torch.maximum(a.abs().max(), b.abs().max()))
    return float((a - b).abs().max()) / scale if scale else 0.0


def conditions(device: torch.device) -> str:
    """One line on what was measured how."""
    if device.type == "cuda":
        where, memory = f"{_name(device)}", "torch.cuda.max_memory_allocated"
    else:
        where = f"CPU, {torch.get_num_threads()} threads"
        memory = f"the process's resident size, looked at every {_SAMPLED_EVERY_S * 1000:g} ms"
    return (
        f"{where}, torch {torch.__version__}. Seconds are medians of runs in turn; ratio is theirs / ours. Peak memory "
        f"is that of our call above what was there before: {memory}."
    )


def peak_mib(call: Call, device: torch.device) -> float:
    """Memory that a call takes at its largest, in MiB above what is there before it."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        torch.cuda.synchronize(device)
        return float(torch.cuda.max_memory_allocated(device) - before) / 2**20
    _give_back_free_memory()
    with _watched() as sizes:
        call()
    return float(max(sizes) - sizes[0]) / 2**20


@contextlib.contextmanager
def _watched() -> Iterator[list[int]]:
    """Resident sizes of this process in bytes, from before the block to its end, looked at by a thread."""
    process = require("psutil").Process()
    sizes = [process.memory_info().rss]
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(_SAMPLED_EVERY_S):
            sizes.append(process.memory_info().rss)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield sizes
    finally:
        ended.set()
        thread.join()
        sizes.append(process.memory_info().rss)


def _give_back_free_memory() -> None:
    """What glibc keeps for later goes back to the system, so that taking it again can be seen; elsewhere nothing."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def _seconds(call: Call, device: torch.device) -> float:
    gc.collect()
    _finish(device)
    start = time.perf_counter()
    call()
    _finish(device)
    return time.perf_counter() - start


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Context in which libraries keep their warnings and bars to themselves."""
    nowhere = io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        warnings.simplefilter("ignore")
        yield
