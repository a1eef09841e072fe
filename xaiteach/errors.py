"""Every error that xaiteach raises on purpose.

::

    XaiTeachError
    ├── ShapeError           (ValueError)           an array of the wrong rank, shape or kind
    ├── TargetError          (IndexError)           a class index the model does not have
    ├── ModelError           (ValueError)           a model that a method cannot take, or that misbehaves
    ├── OptionError          (ValueError)           an unknown method, option, question or name
    ├── MissingExtraError    (ImportError)          an optional or broken install
    ├── NotebookSourceError  (ValueError)           a master, lesson or built notebook that is not in order
    ├── SubmissionError      (ValueError)           a submission that cannot be read
    └── SetupError           (RuntimeError)         the machine cannot do what was asked (no bubblewrap, ...)

A message has three parts: what was expected, what came, what to try.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "MissingExtraError",
    "ModelError",
    "NotebookSourceError",
    "OptionError",
    "SetupError",
    "ShapeError",
    "SubmissionError",
    "TargetError",
    "XaiTeachError",
    "unknown",
]


class XaiTeachError(Exception):
    """Base of all errors raised on purpose; catching it catches nothing else."""

    def __str__(self) -> str:
        # KeyError-like builtins quote their message; ours are read by students.
        return str(self.args[0]) if self.args else ""


class ShapeError(XaiTeachError, ValueError):
    """An array has the wrong rank, shape, dtype or non-finite values."""


class TargetError(XaiTeachError, IndexError):
    """A target is not a class index of this model, or there is not one per sample."""


class ModelError(XaiTeachError, ValueError):
    """A model lacks what a method needs (a layer, a ReLU module, finite outputs)."""


class OptionError(XaiTeachError, ValueError):
    """A name or option is unknown; the message lists the known ones and the nearest."""


class MissingExtraError(XaiTeachError, ImportError):
    """Something that is needed here is not installed, or cannot be loaded."""


class NotebookSourceError(XaiTeachError, ValueError):
    """A notebook source is not in order; the message names file and line."""


class SubmissionError(XaiTeachError, ValueError):
    """A submission cannot be read; `status` is the gradebook's word for it."""

    def __init__(self, message: str, status: str = "unreadable") -> None:
        super().__init__(message)
        self.status = status


class SetupError(XaiTeachError, RuntimeError):
    """The machine cannot do what was asked; the message says what to install or allow."""


def unknown(kind: str, name: object, known: Iterable[str]) -> OptionError:
    """Error for an unknown `name`, naming the nearest of the `known` ones and listing them all.

    Examples
    --------
    >>> print(unknown("method", "gradcam", ["grad_cam", "saliency"]))
    unknown method 'gradcam'; did you mean 'grad_cam'? Known: grad_cam, saliency.
    """
    names = sorted(known)
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    guess = f"; did you mean {near[0]!r}?" if near else "."
    return OptionError(f"unknown {kind} {name!r}{guess} Known: {', '.join(names) or 'none'}.")
