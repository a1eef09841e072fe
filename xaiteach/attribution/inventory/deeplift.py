"""DeepLIFT, its two rules, and its mean over baselines."""

from __future__ import annotations

from xaiteach.attribution.entry import Entry

__all__ = ["ENTRIES"]

ENTRIES: dict[str, Entry] = {
    "deeplift": Entry(
        target="xaiteach.attribution.deeplift:deeplift",
        family="paths",
        summary="difference to a baseline times finite slopes",
        units="logits",
        needs="operations",
        cost="2 forward and backward, 2 forward",
        source="Shrikumar et al. (2017)",
        class_discriminative="weakly",
        sanity_check="passes",
        options={"baseline": None},
    ),
    "deeplift_reveal_cancel": Entry(
        target="xaiteach.attribution.deeplift:deeplift_reveal_cancel",
        family="paths",
        summary="the same, with what raises and what lowers apart",
        units="logits",
        needs="operations",
        cost="5 forward, 4 backward, 2 forward",
        source="Shrikumar et al. (2017)",
        class_discriminative="weakly",
        sanity_check="passes",
        options={"baseline": None},
    ),
    "deep_shap": Entry(
        target="xaiteach.attribution.deeplift:deep_shap",
        family="shapley",
        summary="mean of DeepLIFT over a set of baselines",
        units="logits",
        needs="operations",
        cost="2 m forward and backward, 1 + m forward",
        source="Lundberg, Lee (2017)",
        class_discriminative="weakly",
        sanity_check="passes",
        options={"baseline": None},
    ),
}
