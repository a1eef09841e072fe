"""Maps that no explanation may be beaten by."""

from __future__ import annotations

from xaiteach.attribution.entry import Entry

__all__ = ["ENTRIES"]

ENTRIES: dict[str, Entry] = {
    "edge_detector": Entry(
        target="xaiteach.attribution.controls:edge_detector",
        family="controls",
        summary="edges of the input itself, whatever the model",
        units="input units per position",
        needs="scores",
        cost="none",
        source="Adebayo et al. (2018)",
        class_discriminative="no",
        sanity_check="fails (control)",
    ),
    "random_map": Entry(
        target="xaiteach.attribution.controls:random_map",
        family="controls",
        summary="noise, whatever the model and the input",
        units="noise",
        needs="scores",
        cost="none",
        source="chance; Binder et al. (2022)",
        class_discriminative="no",
        sanity_check="passes (control): why passing is not enough",
    ),
}
