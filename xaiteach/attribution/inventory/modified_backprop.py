"""Backward passes with rules of their own for the ReLU."""

from __future__ import annotations

from xaiteach.attribution.entry import Entry

__all__ = ["ENTRIES"]

_MODULE = "xaiteach.attribution.modified_backprop"

ENTRIES: dict[str, Entry] = {
    "deconvnet": Entry(
        target=f"{_MODULE}:deconvnet",
        family="modified_backprop",
        summary="backward pass whose ReLUs hand on what is positive",
        units="score per input unit",
        needs="operations",
        cost="1 forward, 1 backward",
        source="Zeiler, Fergus (2014)",
        class_discriminative="no",
        sanity_check="depends: late layers hardly matter",
        options={"output": "logit"},
    ),
    "guided_backprop": Entry(
        target=f"{_MODULE}:guided_backprop",
        family="modified_backprop",
        summary="backward pass whose ReLUs hand on what is positive, where they were on",
        units="score per input unit",
        needs="operations",
        cost="1 forward, 1 backward",
        source="Springenberg et al. (2015)",
        class_discriminative="no",
        sanity_check="fails",
        options={"output": "logit"},
    ),
    "rectgrad": Entry(
        target=f"{_MODULE}:rectgrad",
        family="modified_backprop",
        summary="backward pass whose ReLUs hand on only what exceeds a threshold, times the input",
        units="score",
        needs="operations",
        cost="1 forward, 1 backward",
        source="Kim et al. (2019)",
        class_discriminative="no",
        sanity_check="fails",
        options={"quantile": 0.98, "tau": None, "output": "logit"},
    ),
}
