"""The methods that have a name, as plain data: nothing is imported before it is used.

A method that a unit asks its student to write can be absent from the package there; using its name then says so.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from xaiteach.errors import MissingExtraError, unknown

__all__ = ["REGISTRY", "Entry", "entry", "methods", "resolve"]


@dataclass(frozen=True)
class Entry:
    """One method.

    Parameters
        target : "module:function"; the function is called as `function(model, x, target, **options)`.
        family : "gradients", "cam", ...
        summary : what it computes, in a few words.
        units : of the values; "score" stands for what is explained, logits or probability.
        cost : passes through the model.
        source : the paper.
        options : keyword arguments and their defaults.
        prepare : "module:function" or None. Called once as `prepare(model, run, options, who)` before the samples are
            split, with one observed run; it returns the options to use.
    """

    target: str
    family: str
    summary: str
    units: str
    cost: str
    source: str
    options: Mapping[str, object] = field(default_factory=dict)
    prepare: str | None = None


REGISTRY: dict[str, Entry] = {
    "saliency": Entry(
        target="xaiteach.attribution.gradients:saliency",
        family="gradients",
        summary="gradient of the class score by the input",
        units="score per input unit",
        cost="1 forward, 1 backward",
        source="Simonyan et al. (2014)",
        options={"output": "logit", "abs": False},
    ),
    "input_x_gradient": Entry(
        target="xaiteach.attribution.gradients:input_x_gradient",
        family="gradients",
        summary="input times gradient",
        units="score",
        cost="1 forward, 1 backward",
        source="Shrikumar et al. (2016)",
        options={"output": "logit"},
    ),
    "grad_cam": Entry(
        target="xaiteach.attribution.cam:grad_cam",
        family="cam",
        summary="channels of a layer, weighted by their mean gradient",
        units="score, per position",
        cost="1 forward, 1 backward down to the layer",
        source="Selvaraju et al. (2017)",
        options={"layer": None, "output": "logit", "relu": True},
        prepare="xaiteach.attribution.cam:choose_layer",
    ),
}


def methods(family: str | None = None) -> dict[str, str]:
    """Names of the methods, each with what it computes, its cost and its source.

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
    return {
        name: f"{entry.summary} ({entry.cost}; {entry.source})"
        for name, entry in sorted(REGISTRY.items())
        if family in (None, entry.family)
    }


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
