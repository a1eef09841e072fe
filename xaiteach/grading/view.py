"""The part of the package that a graded kernel may see: no questions, no grading, no course, no answers asked for."""

from __future__ import annotations

import functools
import importlib.util
import shutil
from collections.abc import Sequence
from pathlib import Path

from xaiteach.grading.inject import load_master
from xaiteach.questions import UNITS, find, of_unit, withheld

__all__ = ["ALLOWED", "ORACLES", "build_view", "hidden"]

ALLOWED = (
    "__init__.py", "errors.py", "guards.py", "runtime.py", "py.typed",
    "plots", "data", "models", "lime", "attribution", "evaluation",
)  # fmt: skip
"""Files and subpackages that may be seen, less what the unit asks the student to write."""

ORACLES = ("zennit", "pytorch_grad_cam", "lime", "shap", "quantus", "mnist1d")
"""Packages that may lie in an instructor's environment and hold what units ask students to write."""


@functools.cache
def hidden() -> tuple[Path, ...]:
    """Folders of the oracles that are installed here; the kernel finds them empty."""
    found = [importlib.util.find_spec(name) for name in ORACLES]
    return tuple(Path(place) for spec in found if spec for place in spec.submodule_search_locations or ())


def build_view(folder: Path, unit: str) -> Path:
    """Make the view of a unit in `folder` and return the folder to put on the path.

    Parameters
        folder : to be filled; must not exist yet.
        unit : full name; what it asks for is left out, references of earlier units are put in.
    """
    package = Path(__file__).resolve().parent.parent
    view = folder / "xaiteach"
    view.mkdir(parents=True)
    for name in ALLOWED:
        source = package / name
        if source.is_dir():
            shutil.copytree(source, view / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.is_file():
            shutil.copyfile(source, view / name)
    for name in withheld(unit):
        (view / name).unlink()
    for name in ("checks", "widgets"):
        (view / name).mkdir()
        shutil.copyfile(package / "checks" / "stub.py", view / name / "__init__.py")
    _write_references(view / "references", _earlier(unit))
    return folder


def _earlier(unit: str) -> Sequence[str]:
    names = list(UNITS)
    return names[: names.index(unit)]


def _write_references(folder: Path, units: Sequence[str]) -> None:
    folder.mkdir()
    (folder / "__init__.py").write_text('"""Model answers of earlier units."""\n', encoding="utf-8")
    for unit in units:
        for question in of_unit(unit):
            source = load_master(unit).references[question.id]
            text = f"{find(question.id).context}\n{source}\nANSWER = {question.answer!r}\n"
            (folder / f"{question.id.replace('.', '_')}.py").write_text(text, encoding="utf-8")
