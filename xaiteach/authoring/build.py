"""Build notebooks from their sources, executed, and tell which built ones are stale."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from nbclient.exceptions import CellExecutionError, CellTimeoutError

from xaiteach.authoring.masters import FOLDERS, Notebook, Source, read_source, student_copy
from xaiteach.checks.kernel import execute as run_notebook
from xaiteach.checks.references import cell_source, read_notebook
from xaiteach.errors import NotebookSourceError, unknown
from xaiteach.runtime import course_root

__all__ = ["Target", "build", "serialise", "sources", "stale", "targets"]

CELL_SECONDS = 300
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


@dataclass(frozen=True)
class Target:
    """One notebook to build: its file and its cells, not executed."""

    path: Path
    notebook: Notebook


def sources(root: Path | None = None, units: Sequence[str] = ()) -> list[Source]:
    """Lessons and masters of the course, by unit; `units` are full names, slugs or numbers ("02", "gradcam").

    Raises
        OptionError: a unit that no source has.
    """
    root = root or course_root()
    paths = sorted(p for folder in ("notebooks", "solutions") for p in (root / folder).glob("[0-9][0-9]_*.py"))
    known = sorted({path.stem for path in paths})
    chosen: set[str] = set()
    for unit in units:
        match = [name for name in known if unit in (name, name.partition("_")[0], name.partition("_")[2])]
        if not match:
            raise unknown("unit", unit, known)
        chosen.update(match)
    return [
        read_source(path)
        for path in sorted(paths, key=lambda p: (p.stem, p.parent.name))
        if not units or path.stem in chosen
    ]


def targets(root: Path | None = None, units: Sequence[str] = ()) -> Iterator[Target]:
    """All notebooks that the sources make: lessons, masters, and the student's copy of each master."""
    for source in sources(root, units):
        yield Target(source.built, source.notebook)
        if source.kind == "solution":
            folder = source.path.parent.parent / FOLDERS["exercise"]
            yield Target(folder / source.built.name, student_copy(source))


def serialise(notebook: Notebook) -> str:
    """Text of the notebook file: the same bytes for the same notebook."""
    text: str = nbformat.writes(nbformat.from_dict(notebook), version=4)
    return text + "\n"


def execute(target: Target) -> Notebook:
    """Run all cells in a fresh kernel and return the notebook with outputs, cleaned of all that differs between runs.

    Raises
        NotebookSourceError: a cell raised, wrote to stderr or ran too long; a check of a master did not pass.
    """
    before = os.environ.get("PYTHONHASHSEED")
    os.environ["PYTHONHASHSEED"] = "0"
    try:
        executed: Notebook = run_notebook(target.notebook, target.path.parent, seconds=CELL_SECONDS)
    except (CellExecutionError, CellTimeoutError) as error:
        raise NotebookSourceError(f"{target.path.name} does not run:\n{error}") from error
    finally:
        os.environ.pop("PYTHONHASHSEED") if before is None else os.environ.update(PYTHONHASHSEED=before)
    executed["metadata"] = target.notebook["metadata"]
    for cell in executed["cells"]:
        _drop_widgets(cell)
        _refuse_noise(target, cell)
    return executed


def _drop_widgets(cell: dict[str, Any]) -> None:
    """Take out the live side of each output, which names a model of a kernel that is gone; picture and text stay."""
    for output in cell.get("outputs", []):
        output.get("data", {}).pop(WIDGET_VIEW, None)
    if "outputs" in cell:
        cell["outputs"] = [output for output in cell["outputs"] if output.get("data", True)]


def _refuse_noise(target: Target, cell: dict[str, Any]) -> None:
    mark = cell["metadata"].get("xaiteach") or {}
    for output in cell.get("outputs", []):
        if output["output_type"] == "stream" and output["name"] == "stderr":
            raise NotebookSourceError(f"{target.path.name}, cell {cell['id']}: it writes to stderr:\n{output['text']}")
        shown = (output.get("data") or {}).get("text/plain", "")
        if mark.get("role") == "check" and _is_solution(target) and not shown.startswith("✓"):
            raise NotebookSourceError(f"{target.path.name}: the master's own answer does not pass:\n{shown}")


def _is_solution(target: Target) -> bool:
    return bool(target.notebook["metadata"]["xaiteach"]["kind"] == "solution")


def build(root: Path | None = None, units: Sequence[str] = ()) -> Iterator[Path]:
    """Build and write each notebook in turn, yielding its path; a file is replaced whole or not at all."""
    for target in targets(root, units):
        text = serialise(execute(target))
        partial = target.path.with_suffix(".ipynb.partial")
        partial.write_text(text, encoding="utf-8", newline="\n")
        partial.replace(target.path)
        yield target.path


def stale(root: Path | None = None, units: Sequence[str] = ()) -> list[str]:
    """What is out of date, a sentence each; executes nothing.

    A notebook is fresh when its recorded source hash, and every cell's source, id and metadata, are what its source
    would make now: that finds a changed source, a changed question, and an edit by hand.
    """
    root = root or course_root()
    found = []
    wanted = list(targets(root, units))
    for target in wanted:
        name = f"{target.path.parent.name}/{target.path.name}"
        if not target.path.is_file():
            found.append(f"{name} is missing: xaiteach build {target.path.stem}")
            continue
        try:
            present = read_notebook(target.path)
        except NotebookSourceError as error:
            found.append(f"{name} cannot be read: {error}")
            continue
        recorded = ((present.get("metadata") or {}).get("xaiteach") or {}).get("source_sha256")
        if recorded != target.notebook["metadata"]["xaiteach"]["source_sha256"]:
            found.append(f"{name} was built from another source: xaiteach build {target.path.stem}")
        elif _skeleton(present) != _skeleton(target.notebook):
            found.append(f"{name} was edited by hand (its source was not): xaiteach build {target.path.stem}")
    if not units:
        found += [f"{name} has no source beside it" for name in _orphans(root, {target.path for target in wanted})]
    return found


def _skeleton(notebook: Notebook) -> list[Any]:
    cells = [[c.get("id"), c["cell_type"], c["metadata"], cell_source(c)] for c in notebook["cells"]]
    return [notebook["metadata"], cells]


def _orphans(root: Path, known: Iterable[Path]) -> list[str]:
    built = {p for folder in FOLDERS.values() for p in (root / folder).glob("*.ipynb")}
    return sorted(f"{p.parent.name}/{p.name}" for p in built - set(known))
