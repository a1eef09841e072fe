"""One request to a kernel that may be hostile: one deadline over everything, and a cap on what is read.

Whatever arrives is counted before it is decoded, only answers to this request are decoded, and only what the report
needs is kept. The kernel's liveness is looked at four times a second, whether or not messages keep coming.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import zmq

from xaiteach.grading.limits import Excess

__all__ = ["PROBE_MIME", "Caps", "Conversation", "Heard", "error_of", "limited_context"]

PROBE_MIME = "application/vnd.xaiteach.probe+json"
LOOK_EVERY_S = 0.25

_MAX_MESSAGE = 4 << 20  # bytes; the largest honest message is a probe of 1 MiB or a figure
_MAX_PROBE = 1 << 20
_MAX_WAITING = 200  # messages that may wait unread, on our side
_HEADERS = 1024  # bytes of every message that are not its content, about
_KEPT_TEXT = 2000

_Json = dict[str, Any]


def limited_context() -> zmq.Context[zmq.Socket[bytes]]:
    """Context whose sockets drop a peer that announces a message larger than any honest one."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    context.setsockopt(zmq.MAXMSGSIZE, _MAX_MESSAGE)
    context.setsockopt(zmq.RCVHWM, _MAX_WAITING)
    context.setsockopt(zmq.LINGER, 0)
    return context


@dataclass(frozen=True)
class Caps:
    """What one cell may send: bytes beside the headers, and messages."""

    n_bytes: int
    n_messages: int = 20_000


@dataclass
class Heard:
    """What came back from one cell.

    `how` is "finished", "timeout", "crashed", "flooded", "memory" or "processes"; `detail` says more.
    """

    how: str = "finished"
    detail: str = ""
    reply: _Json | None = None
    error: _Json | None = None
    stdout: str = ""
    probes: list[_Json] = field(default_factory=list)
    idle: bool = False

    def take(self, message: _Json, size: int) -> None:
        """Keep what the report needs of one message on the output channel."""
        kind, content = message["msg_type"], message["content"]
        if kind == "status":
            self.idle = self.idle or content["execution_state"] == "idle"
        elif kind == "stream" and content["name"] == "stdout":
            self.stdout = (self.stdout + str(content["text"]))[:_KEPT_TEXT]
        elif kind == "error" and self.error is None:
            self.error = content
        elif kind in ("display_data", "execute_result") and PROBE_MIME in content["data"] and size <= _MAX_PROBE:
            probe = content["data"][PROBE_MIME]
            probe = json.loads(probe) if isinstance(probe, str) else probe
            if isinstance(probe, dict):
                self.probes.append(probe)


class Conversation:
    """Requests and answers over a kernel client's shell and output channels.

    Parameters
        client : a blocking kernel client whose channels run; made on a `limited_context`.
        alive : says whether the kernel's process is there.
        excess : says which limit its process tree is over, if any.
    """

    def __init__(self, client: Any, alive: Callable[[], bool], excess: Callable[[], Excess | None]) -> None:
        self._client, self._alive, self._excess = client, alive, excess
        self._shell, self._output = client.shell_channel.socket, client.iopub_channel.socket
        self._cuts = [s.get_monitor_socket(zmq.EVENT_DISCONNECTED) for s in (self._shell, self._output)]
        self._poller = zmq.Poller()
        for each in (self._shell, self._output, *self._cuts):
            self._poller.register(each, zmq.POLLIN)

    def close(self) -> None:
        """Stop watching the sockets; they stay the client's."""
        for each in (self._shell, self._output):
            with contextlib.suppress(zmq.ZMQError):
                each.disable_monitor()

    def greet(self, timeout_s: float) -> Heard:
        """Ask for the kernel's information until it answers on both channels."""
        end = time.monotonic() + timeout_s
        turn = 0.2
        while True:  # the first output may be lost: a subscription takes effect only after a while
            left = max(0.0, end - time.monotonic())
            heard = self.listen(self._client.kernel_info(), min(turn, left), Caps(_MAX_MESSAGE))
            if heard.how != "timeout" or left <= turn:
                return heard
            turn *= 2  # on a loaded machine an answer takes longer than a short turn

    def listen(self, request: str, timeout_s: float, caps: Caps, heard: Heard | None = None) -> Heard:
        """Read until the answer to `request` is complete, the time is over, or the kernel is gone or out of bounds."""
        heard = heard or Heard()
        tally = _Tally(caps)
        end = time.monotonic() + timeout_s
        next_look = 0.0
        while True:
            self._poller.poll(max(0, int(min(LOOK_EVERY_S, end - time.monotonic()) * 1000)))
            self._drain(request.encode(), heard, tally)
            if heard.reply is not None and heard.idle:
                return heard
            now = time.monotonic()
            problem = tally.problem() or (self._look() if now >= next_look else None)
            if problem is None and now >= end:
                problem = ("timeout", f"not finished after {timeout_s:g} s")
            if problem is not None:
                heard.how, heard.detail = problem
                return heard
            next_look = max(next_look, now + LOOK_EVERY_S) if now >= next_look else next_look

    def _look(self) -> tuple[str, str] | None:
        if not self._alive():
            return "crashed", "the kernel's process ended"
        if any(cut.poll(0) for cut in self._cuts):
            if self._dies():
                return "crashed", "the kernel's process ended"
            return "flooded", f"a message of more than {_MAX_MESSAGE >> 20} MiB, or a connection closed from inside"
        if (over := self._excess()) is not None:
            return over.kind, over.detail
        return None

    def _dies(self) -> bool:
        """Whether a kernel whose connections have just closed is gone a moment later: a large process ends slowly."""
        end = time.monotonic() + 1.0
        while self._alive() and time.monotonic() < end:
            time.sleep(0.02)
        return not self._alive()

    def _drain(self, request: bytes, heard: Heard, tally: _Tally) -> None:
        for each in (self._shell, self._output):
            for _ in range(_MAX_WAITING):
                try:
                    frames = each.recv_multipart(zmq.NOBLOCK)
                except zmq.Again:
                    break
                size = tally.add(frames)
                message = self._decode(frames, request)
                if message is None:
                    continue
                # Anything may stand in a forged message; one that does not fit the protocol is no message.
                with contextlib.suppress(KeyError, TypeError, ValueError, AttributeError, RecursionError):
                    if each is self._output:
                        heard.take(message, size)
                    elif message["msg_type"].endswith("_reply") and isinstance(message["content"], dict):
                        heard.reply = message["content"]

    def _decode(self, frames: list[bytes], request: bytes) -> _Json | None:
        """Message of these frames where it answers `request` and is signed and well formed."""
        try:
            _identities, parts = self._client.session.feed_identities(frames)
            if request not in parts[2]:
                return None
            message: _Json = self._client.session.deserialize(parts)
            return message if message["parent_header"]["msg_id"].encode() == request else None
        except Exception:  # whatever a forged message makes the decoder raise
            return None


class _Tally:
    def __init__(self, caps: Caps) -> None:
        self.caps, self.n_bytes, self.n_messages = caps, 0, 0

    def add(self, frames: list[bytes]) -> int:
        """Count one message and return the size of its content."""
        size = max(0, sum(map(len, frames)) - _HEADERS)
        self.n_bytes += size
        self.n_messages += 1
        return size

    def problem(self) -> tuple[str, str] | None:
        if self.n_bytes > self.caps.n_bytes:
            return "flooded", f"more than {self.caps.n_bytes / 1e6:g} MB of output"
        if self.n_messages > self.caps.n_messages:
            return "flooded", f"more than {self.caps.n_messages} messages"
        return None


_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_FILE = re.compile(r" \((?:\d+\.py|<[^>]*>), line \d+\)$")  # IPython's name for a cell, which tells nobody anything
_FRAME = re.compile(r"Cell In ?\[\d*\], line (\d+)")
_ARROW = re.compile(r"^-+> (\d+) ?(.*)$", re.MULTILINE)


def error_of(heard: Heard, source: str) -> _Json | None:
    """Name, text and place of the error that ended a cell, or None.

    Returns
        {ename, evalue, line, code}: `code` is the text of the innermost line of notebook code, `line` its number where
        that line is in this cell (a function may come from an earlier one).
    """
    reply = heard.reply or {}
    content = heard.error or (reply if reply.get("status") not in (None, "ok") else None)
    if content is None:
        return None
    line, code = _place(content.get("traceback"), source)
    name = str(content.get("ename") or content.get("status") or "error")
    text = _FILE.sub("", str(content.get("evalue", ""))[:_KEPT_TEXT])
    return {"ename": name[:200], "evalue": text, "line": line, "code": code}


def _place(traceback: object, source: str) -> tuple[int | None, str | None]:
    if not isinstance(traceback, list):
        return None, None
    text = _COLOUR.sub("", "\n".join(str(part) for part in traceback))
    frames = list(_FRAME.finditer(text))
    if not frames:
        return None, None
    line, lines = int(frames[-1].group(1)), source.splitlines()
    arrow = next((found for found in _ARROW.finditer(text, frames[-1].end()) if int(found.group(1)) == line), None)
    code = arrow.group(2).strip()[:200] if arrow else None
    # A syntax error shows no arrow: it is always in this cell.
    here = line <= len(lines) and (code is None or lines[line - 1].strip().startswith(code))
    return (line if here else None), code
