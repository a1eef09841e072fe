"""Where the course lies, on which device to compute, how to seed, and how to import what may be broken."""

from __future__ import annotations

import enum
import functools
import importlib
import os
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from xaiteach.errors import MissingExtraError, OptionError, SetupError

if TYPE_CHECKING:
    import torch

__all__ = [
    "COURSE_MARKER",
    "Scale",
    "course_root",
    "device",
    "find_course",
    "generator",
    "keep_freed_memory",
    "needs_usual_layout",
    "require",
    "scale",
]

COURSE_MARKER = ".xaiteach"
"""Folder that marks a student's copy of the course; it holds the history of checked answers."""

_FOLDERS = ("notebooks", "exercises")

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Names of mallopt's parameters, from malloc.h."""

_ADVICE = {
    "torchvision": "install a torchvision built for your torch: pip install --upgrade torch torchvision",
    "sklearn": "pip install scikit-learn",
    "skimage": "pip install scikit-image",
    "jupytext": 'install the authoring tools: pip install "xaiteach[author]"',
    "hatchling": 'install the authoring tools: pip install "xaiteach[author]"',
}


class Scale(enum.Enum):
    """How large an experiment runs: SMALL on a CPU, FULL (the paper's counts) on a GPU."""

    SMALL = "small"
    FULL = "full"


def scale(choice: str | Scale | None = None) -> Scale:
    """Scale to run at: the argument, else the variable XAITEACH_SCALE, else FULL where there is a GPU.

    Parameters
        choice : "small", "full", a Scale or None.
    Raises
        OptionError: any other word, in the argument or in the variable.
    """
    if isinstance(choice, Scale):
        return choice
    word = choice or os.environ.get("XAITEACH_SCALE")
    if word is None:
        return Scale.FULL if device().type == "cuda" else Scale.SMALL
    try:
        return Scale(word.lower())
    except ValueError:
        raise OptionError(f"scale is 'small' or 'full'; got {word!r}.") from None


def device(choice: str | None = None) -> torch.device:
    """Device to compute on: the argument, else a CUDA GPU where there is one, else the CPU."""
    import torch

    if choice is not None:
        return torch.device(choice)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def generator(seed: int, on: str = "cpu") -> torch.Generator:
    """Random generator of its own, seeded; the global random state stays as it is.

    Examples
        >>> import torch
        >>> torch.equal(torch.rand(3, generator=generator(0)), torch.rand(3, generator=generator(0)))
        True
    """
    import torch

    return torch.Generator(device=on).manual_seed(seed)


@functools.cache
def keep_freed_memory() -> bool:
    """Let the C library keep 64 MiB of what was freed, once for this process; whether it could be told.

    Each pass of a small network frees some blocks of a few MiB and asks for the same again. Handed back to the system
    and fetched anew in between, they cost more than the pass: of integrated gradients of 1-D signals two fifths.
    glibc raises these limits to the same values by itself, but only for what frees such large blocks. Without glibc
    nothing happens.
    """
    import ctypes

    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, 32 * 2**20) and mallopt(_M_TRIM_THRESHOLD, 64 * 2**20))


def needs_usual_layout(error: RuntimeError) -> bool:
    """Whether a model failed because it takes a view that only tensors with the channels first in memory allow."""
    return "view size is not compatible" in str(error)


def require(module: str) -> ModuleType:
    """Import `module`, or say what to install.

    A broken install counts as missing: a torchvision compiled for another torch raises RuntimeError on import.

    Parameters
        module : dotted name.
    Raises
        MissingExtraError: it is not there, or does not load; the message names the cause and the command that mends it.
    """
    try:
        return importlib.import_module(module)
    except (ImportError, RuntimeError, OSError, AttributeError) as error:
        top = module.partition(".")[0]
        advice = _ADVICE.get(top, f"pip install {top}")
        raise MissingExtraError(
            f"{top} is needed here and could not be loaded ({type(error).__name__}: {error}). Try: {advice}"
        ) from error


def course_root() -> Path:
    """Folder that holds the course (notebooks/, exercises/, and solutions/ where the release has them).

    In a checkout it is the folder beside the package; in an installed wheel it is `xaiteach/_course`.

    Raises
        SetupError: neither is there (a broken install).
    """
    package = Path(__file__).resolve().parent
    for root in (package / "_course", package.parent):
        if all((root / name).is_dir() for name in _FOLDERS):
            return root
    raise SetupError(
        f"the course folders ({', '.join(_FOLDERS)}) were expected in {package / '_course'} or beside the package; "
        "neither has them. Try installing xaiteach again."
    )


def find_course(start: Path | None = None) -> Path | None:
    """Student's course folder that `start` (default: the working folder) lies in, or None outside any."""
    here = (start or Path.cwd()).resolve()
    return next((folder for folder in (here, *here.parents) if (folder / COURSE_MARKER).is_dir()), None)
