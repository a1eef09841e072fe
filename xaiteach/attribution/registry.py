"""The methods that have a name, as plain data: nothing is imported before it is used.

A method that a unit asks its student to write can be absent from the package there; using its name then says so.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from xaiteach.attribution.entry import Entry, MethodTable
from xaiteach.attribution.inventory import (
    cam,
    controls,
    deeplift,
    gradients,
    lime,
    lrp,
    masking,
    modified_backprop,
    paths,
    shapley,
)
from xaiteach.errors import MissingExtraError, unknown

__all__ = ["REGISTRY", "entry", "methods", "resolve"]

_FAMILIES = (gradients, cam, modified_backprop, lrp, paths, deeplift, shapley, masking, lime, controls)

REGISTRY: dict[str, Entry] = {name: entry for family in _FAMILIES for name, entry in family.ENTRIES.items()}


def methods(family: str | None = None) -> MethodTable:
    """Names of the methods, each with what it computes, its cost and its source; as a table when shown.

    Parameters
        family : str or None. Only this family.
    Raises
        OptionError: unknown family.

    Examples
        >>> methods("gradients")["input_x_gradient"]
        'input times gradient (1 forward, 1 backward; Shrikumar et al. (2016))'
    """
    families = {entry.family for entry in REGISTRY.values()}
    if family is not None and family not in families:
        raise unknown("family", family, families)
    return MethodTable({name: entry for name, entry in REGISTRY.items() if family in (None, entry.family)})


def entry(name: str) -> Entry:
    """Entry of the method `name`.

    Raises
        OptionError: unknown name; the message lists the known ones and the nearest.
    """
    if name not in REGISTRY:
        raise unknown("method", name, REGISTRY)
    return REGISTRY[name]


def resolve(target: str, name: str) -> Callable[..., Any]:
    """Function that "module:function" stands for.

    Parameters
        target : "module:function".
        name : method that needs it, for the message.
    Raises
        MissingExtraError: module or function is not there, because the student is to write it.
    """
    module, _, function = target.partition(":")
    try:
        found: Callable[..., Any] = getattr(importlib.import_module(module), function)
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("xaiteach."):
            raise
    except AttributeError:
        pass
    else:
        return found
    raise MissingExtraError(
        f"method {name!r} must come from {target}; it is not here, because in this unit this is what you are asked to "
        "write. Try your own function: explain(model, x, target, method=your_function)."
    )
