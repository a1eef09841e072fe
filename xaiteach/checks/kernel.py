"""Run a notebook in a fresh kernel of this very Python."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import nbformat
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

__all__ = ["execute"]


class _ThisPython(AsyncKernelManager):
    """Kernel of this very interpreter, whichever kernelspecs are installed.

    It warns that its loopback sockets are not encrypted, as those of every local kernel: hence its log level.
    """

    @property
    def kernel_spec(self) -> KernelSpec:
        command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}", "--log-level=40"]
        return KernelSpec(argv=command, display_name="Python 3", language="python")


def execute(notebook: dict[str, Any], folder: Path, *, seconds: float, allow_errors: bool = False) -> dict[str, Any]:
    """Notebook with its outputs; the one given stays as it is.

    Parameters
        notebook : of format 4, as plain JSON.
        folder : working folder of the kernel.
        seconds : that one cell may take; "seconds" in a cell's metadata comes before it.
        allow_errors : go on after a cell that raises.
    Raises
        CellExecutionError, CellTimeoutError, DeadKernelError: of nbclient; `.partial` holds what had been run.
    """
    node = nbformat.from_dict(notebook)
    client = NotebookClient(
        node,
        timeout_func=lambda cell: cell.metadata.get("seconds", seconds),
        interrupt_on_timeout=allow_errors,
        allow_errors=allow_errors,
        kernel_manager_class=_ThisPython,
        record_timing=False,
        coalesce_streams=True,  # how a text is cut into messages depends on the clock
        resources={"metadata": {"path": str(folder)}},
    )
    try:
        client.execute()
    except Exception as error:
        error.partial = _plain(node)  # type: ignore[attr-defined]
        raise
    executed: dict[str, Any] = _plain(node)
    return executed


def _plain(node: Any) -> Any:
    """Notebook nodes as plain dictionaries and lists."""
    if isinstance(node, dict):
        return {key: _plain(value) for key, value in node.items()}
    return [_plain(item) for item in node] if isinstance(node, list) else node
