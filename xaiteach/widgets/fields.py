"""The controls of an exploration: which values each takes, how it is labelled, and what its front end needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from xaiteach.errors import OptionError, unknown

__all__ = ["Cells", "Chosen", "Field", "Options", "Toggle", "numbers"]


@dataclass(frozen=True)
class Options:
    """One of a list of values, moved through with a slider or chosen from a list.

    Parameters
        name, label : keyword of the exploration, and what stands beside the control.
        options : value -> label, in order. Values are texts, whole numbers or decimals.
        opening : value at the start.
        kind : "range" for a slider, "choice" for a list.
    """

    name: str
    label: str
    options: Mapping[Any, str]
    opening: Any
    kind: Literal["range", "choice"] = "choice"

    def checked(self, value: Any) -> Any:
        """`value`, or an OptionError that names what is known."""
        if isinstance(value, bool) or value not in self.options:
            raise unknown(self.name, value, [str(option) for option in self.options])
        return next(option for option in self.options if option == value)

    def spec(self) -> dict[str, Any]:
        """What the front end draws."""
        options = [{"value": value, "label": label} for value, label in self.options.items()]
        return {"name": self.name, "label": self.label, "kind": self.kind, "options": options}


@dataclass(frozen=True)
class Toggle:
    """Yes or no."""

    name: str
    label: str
    opening: bool

    def checked(self, value: Any) -> bool:
        """`value`, or an OptionError."""
        if not isinstance(value, bool):
            raise OptionError(f"{self.name} is True or False; got {value!r}.")
        return value

    def spec(self) -> dict[str, Any]:
        """What the front end draws."""
        return {"name": self.name, "label": self.label, "kind": "toggle"}


@dataclass(frozen=True)
class Chosen:
    """A few different whole numbers below `below`, at most `most`; each can be dropped in the panel."""

    name: str
    label: str
    below: int
    most: int
    opening: tuple[int, ...] = ()

    def checked(self, value: Any) -> list[int]:
        """`value` as a list, or an OptionError."""
        given = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
        whole = all(isinstance(each, int) and not isinstance(each, bool) and 0 <= each < self.below for each in given)
        if not whole or len(set(given)) != len(given):
            raise OptionError(
                f"{self.name} takes different whole numbers from 0 to {self.below - 1}; got {value!r}. "
                f"Try {self.name}=[0, 1]."
            )
        if len(given) > self.most:
            raise OptionError(f"{self.name} takes at most {self.most}; got {len(given)}. Drop one first.")
        return given

    def spec(self) -> dict[str, Any]:
        """What the front end draws."""
        return {"name": self.name, "label": self.label, "kind": "chosen"}


@dataclass(frozen=True)
class Cells:
    """A grid of painted cells: hexadecimal digits, row by row, a bit for each cell (columns in fours)."""

    name: str
    label: str
    shape: tuple[int, int]
    opening: str

    @property
    def digits(self) -> int:
        """How many digits stand for the whole grid."""
        return self.shape[0] * self.shape[1] // 4

    def checked(self, value: Any) -> str:
        """`value` in small letters, or an OptionError."""
        text = str(value).lower()
        if len(text) != self.digits or any(digit not in "0123456789abcdef" for digit in text):
            raise OptionError(f"{self.name} takes {self.digits} hexadecimal digits, a bit for a cell; got {value!r}.")
        return text

    def spec(self) -> dict[str, Any]:
        """What the front end draws."""
        return {"name": self.name, "label": self.label, "kind": "cells", "shape": list(self.shape)}


Field = Options | Toggle | Chosen | Cells


def numbers(values: Sequence[Any]) -> dict[Any, str]:
    """Options that are labelled by themselves."""
    return {value: str(value) for value in values}
