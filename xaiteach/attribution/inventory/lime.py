"""LIME, the local surrogate."""

from __future__ import annotations

from xaiteach.attribution.entry import Entry

__all__ = ["ENTRIES"]

ENTRIES: dict[str, Entry] = {
    "lime": Entry(
        target="xaiteach.attribution.surrogate:lime",
        family="masking",
        summary="what each superpixel adds to the score, by a linear surrogate fitted to hidden superpixels",
        units="score per superpixel",
        needs="scores",
        cost="n_samples forward, one linear fit",
        source="Ribeiro et al. (2016)",
        class_discriminative="yes",
        sanity_check="passes",
        options={
            "superpixels": None,
            "n_samples": 1000,
            "baseline": None,
            "kernel_width": 0.25,
            "n_features": None,
            "selection": "auto",
            "solver": None,
            "output": "logit",
        },
    ),
}
