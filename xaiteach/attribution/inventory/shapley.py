"""Shapley values, exact and estimated."""

from __future__ import annotations

from xaiteach.attribution.entry import Entry

__all__ = ["ENTRIES"]

_SHAPLEY = "xaiteach.attribution.shapley"

ENTRIES: dict[str, Entry] = {
    "shapley_exact": Entry(
        target=f"{_SHAPLEY}:shapley_exact",
        family="shapley",
        summary="mean of what each player adds to the score, over all coalitions",
        units="score",
        needs="scores",
        cost="2^M forward for M players, 16 at most",
        source="Shapley (1953); Lundberg, Lee (2017)",
        class_discriminative="yes",
        sanity_check="passes",
        options={"baseline": None, "superpixels": None, "output": "logit"},
    ),
    "shapley_sampling": Entry(
        target=f"{_SHAPLEY}:shapley_sampling",
        family="shapley",
        summary="mean of what each player adds to the score, over random orders of joining",
        units="score",
        needs="scores",
        cost="n_samples (M - 1) + 2 forward for M players",
        source="Castro et al. (2009)",
        class_discriminative="yes",
        sanity_check="passes",
        options={
            "baseline": None,
            "superpixels": None,
            "n_samples": 25,
            "antithetic": False,
            "output": "logit",
        },
    ),
    "kernel_shap": Entry(
        target=f"{_SHAPLEY}_kernel:kernel_shap",
        family="shapley",
        summary="Shapley values by a weighted regression on coalitions",
        units="score",
        needs="scores",
        cost="n_samples + 2 forward, at most 2^M for M players",
        source="Lundberg, Lee (2017)",
        class_discriminative="yes",
        sanity_check="passes",
        options={"baseline": None, "superpixels": None, "n_samples": 2048, "output": "logit"},
    ),
    "dasp": Entry(
        target="xaiteach.attribution.dasp:dasp",
        family="shapley",
        summary="Shapley values by means and variances of random coalitions, layer by layer",
        units="logits",
        needs="operations",
        cost="4 M n_steps + M + 3 forward for M players",
        source="Ancona et al. (2019)",
        class_discriminative="yes",
        sanity_check="passes",
        options={"baseline": None, "superpixels": None, "n_steps": 10},
    ),
}
