"""A wheel for students: no solutions, questions without expected values, neither grading nor authoring."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from pathlib import Path

from xaiteach.errors import SetupError
from xaiteach.questions import RELEASED, UNITS, of_unit
from xaiteach.questions.sealing import seal
from xaiteach.runtime import course_root, require

__all__ = ["student_wheel"]

_KEPT = ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE", "xaiteach", "notebooks", "exercises")
_LEFT_OUT = ("authoring", "grading")


def student_wheel(out: Path) -> Path:
    """Build the students' wheel into `out` and return its path.

    Questions travel as sentences, public cases and fingerprints (see `questions.sealing`), so checks and their
    diagnoses work; lessons and exercises travel as notebooks only.

    Raises
        SetupError: not a checkout.
        MissingExtraError: hatchling is not installed.
    """
    require("hatchling")
    from hatchling.builders.wheel import WheelBuilder

    root = course_root()
    if not (root / "pyproject.toml").is_file():
        raise SetupError(f"a student release is built from a checkout; {root} has no pyproject.toml.")
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="xaiteach-release-") as temporary:
        stage = Path(temporary) / "stage"
        _stage(root, stage)
        built = Path(
            next(WheelBuilder(str(stage)).build(directory=str(Path(temporary) / "dist"), versions=["standard"]))
        )
        target = out / built.name
        shutil.copyfile(built, target)
    return target


def _stage(root: Path, stage: Path) -> None:
    """Copy what students get, without what they must not have."""
    stage.mkdir()
    skip = shutil.ignore_patterns("__pycache__", "_course", "*.partial")
    for name in _KEPT:
        source = root / name
        if source.is_dir():
            shutil.copytree(source, stage / name, ignore=skip)
        elif source.is_file():
            shutil.copyfile(source, stage / name)
    for name in _LEFT_OUT:
        shutil.rmtree(stage / "xaiteach" / name)
    for folder in ("notebooks", "exercises"):
        for path in (stage / folder).glob("*.py"):
            path.unlink()
    for module in UNITS.values():
        for path in (stage / "xaiteach" / "questions").glob(f"{module.rpartition('.')[2]}*.py"):
            path.unlink()
    sealed = {unit: [seal(question) for question in of_unit(unit)] for unit in UNITS}
    text = json.dumps(sealed, sort_keys=True, ensure_ascii=False)
    (stage / "xaiteach" / "questions" / RELEASED.name).write_text(text, encoding="utf-8")
    _mark_version(stage / "pyproject.toml")


def _mark_version(path: Path) -> None:
    """Tell the two wheels apart by a local version, and drop the entry point of the grader's kernels."""
    text = path.read_text(encoding="utf-8")
    text = re.sub(r'^version = "([^"+]+)"$', r'version = "\1+student"', text, count=1, flags=re.MULTILINE)
    text = re.sub(r"^\[project\.entry-points\.[^\]]*\]\n(?:[^\[\n].*\n)*", "", text, count=1, flags=re.MULTILINE)
    path.write_text(text, encoding="utf-8")
