"""Class activation maps."""

from __future__ import annotations

from xaiteach.attribution.entry import Entry

__all__ = ["ENTRIES"]

ENTRIES: dict[str, Entry] = {
    "grad_cam": Entry(
        target="xaiteach.attribution.cam:grad_cam",
        family="cam",
        summary="channels of a layer, weighted by their mean gradient",
        units="score, per position",
        needs="layer",
        cost="1 forward, 1 backward down to the layer",
        source="Selvaraju et al. (2017)",
        class_discriminative="yes",
        sanity_check="passes",
        options={"layer": None, "output": "logit", "relu": True},
        prepare="xaiteach.attribution.cam:choose_layer",
    ),
}
