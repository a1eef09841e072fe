"""Copy the course to a student's folder: what is missing is added, what is there is never touched."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xaiteach import __version__
from xaiteach.errors import OptionError, SetupError
from xaiteach.runtime import COURSE_MARKER, course_root

__all__ = ["RECORD", "CourseCopy", "copy_course", "course_files"]

RECORD = "course.json"
"""File in the marker folder: the release, and the sha256 of every file as that release shipped it."""

_FOLDERS = ("notebooks", "exercises")


@dataclass(frozen=True)
class CourseCopy:
    """What `copy_course` did: paths relative to `folder`, sorted.

    Parameters
        folder : the student's course folder.
        copied : files that were not there and now are.
        kept : files that were there and differ from the release: the student's, left alone.
        current : files that were there and are the release's.
    """

    folder: Path
    copied: tuple[str, ...]
    kept: tuple[str, ...]
    current: tuple[str, ...]


def course_files(source: Path) -> list[str]:
    """Paths, relative to `source`, of the notebooks a student gets: lessons and exercises, never sources or solutions.

    Raises
        SetupError: there is none (a checkout in which nothing was built).
    """
    files = [f"{folder}/{path.name}" for folder in _FOLDERS for path in sorted((source / folder).glob("*.ipynb"))]
    if not files:
        raise SetupError(
            f"built notebooks were expected in {' and '.join(f'{folder}/' for folder in _FOLDERS)} of {source}; "
            "there is none. Try `xaiteach build`, or install xaiteach again."
        )
    return files


def copy_course(target: Path, source: Path | None = None) -> CourseCopy:
    """Course copied to `target`, or completed there; a file that exists is left as it is, byte for byte.

    Deleting a file and copying again brings back the release's version of it, so a student can always start over.

    Parameters
        target : the student's folder; made when it is not there.
        source : the course to copy. Default: the one that came with this package.
    Raises
        OptionError: `target` is a file, or is the course that the package itself uses.
        SetupError: there are no notebooks to copy, or `target` cannot be written.
    """
    source = source or course_root()
    if target.exists() and not target.is_dir():
        raise OptionError(f"a folder was expected for the course; {target} is a file. Try another name.")
    if target.resolve() == source.resolve():
        raise OptionError(
            f"a folder of your own was expected; {target} holds the original that copies are made from. "
            "Try `xaiteach init my-course`."
        )
    files = course_files(source)
    try:
        return _copy(source, target, files)
    except OSError as error:
        raise SetupError(
            f"a folder that can be written was expected for the course; {error.filename or target}: {error.strerror}. "
            "Try another folder, or free some space."
        ) from error


def _copy(source: Path, target: Path, files: list[str]) -> CourseCopy:
    for name in (*_FOLDERS, COURSE_MARKER):
        (target / name).mkdir(parents=True, exist_ok=True)
    record = target / COURSE_MARKER / RECORD
    shipped = _shipped_before(record)
    fates: dict[str, list[str]] = {"copied": [], "kept": [], "current": []}
    for name in files:
        content = (source / name).read_bytes()
        fate = _place(content, target / name)
        fates[fate].append(name)
        if fate != "kept":  # a kept file goes on from the version it was copied as
            shipped[name] = hashlib.sha256(content).hexdigest()
    text = json.dumps({"release": __version__, "files": shipped}, indent=1, sort_keys=True) + "\n"
    if not (record.exists() and record.read_bytes() == text.encode()):
        _write(record, text.encode())
    return CourseCopy(target, *(tuple(fates[fate]) for fate in ("copied", "kept", "current")))


def _place(content: bytes, path: Path) -> str:
    if not os.path.lexists(path):  # a dangling link is the student's too
        _write(path, content)
        return "copied"
    return "current" if path.is_file() and path.read_bytes() == content else "kept"


def _write(path: Path, content: bytes) -> None:
    # Under another name first: a full disk must not leave half a notebook that would later count as the student's.
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".copying-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(name).chmod(0o644)  # mkstemp makes files private; a course on a shared drive is not
        Path(name).replace(path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise


def _shipped_before(record: Path) -> dict[str, str]:
    try:
        found: Any = json.loads(record.read_text(encoding="utf-8"))
        return {str(name): str(digest) for name, digest in found["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}  # absent or damaged: it is rebuilt from what is there
