"""Relevance that is handed back layer by layer."""

from __future__ import annotations

from xaiteach.attribution.entry import Entry

__all__ = ["ENTRIES"]

_MODULE = "xaiteach.attribution.lrp"

ENTRIES: dict[str, Entry] = {
    "lrp_epsilon": Entry(
        target=f"{_MODULE}:lrp_epsilon",
        family="lrp",
        summary="relevance shared by signed contributions",
        units="share",
        needs="operations",
        cost="1 forward, 1 backward, 2 more per layer",
        source="Bach et al. (2015)",
        class_discriminative="weakly",
        sanity_check="passes",
        options={"epsilon": 1e-6, "start": "one_hot"},
    ),
    "lrp_gamma": Entry(
        target=f"{_MODULE}:lrp_gamma",
        family="lrp",
        summary="relevance in which favourable contributions count more",
        units="share",
        needs="operations",
        cost="1 forward, 1 backward, 5 more per layer",
        source="Montavon et al. (2019)",
        class_discriminative="no",
        sanity_check="depends: fails from gamma = .25 up",
        options={"gamma": 0.25, "bias": True, "start": "one_hot"},
    ),
    "lrp_zplus": Entry(
        target=f"{_MODULE}:lrp_zplus",
        family="lrp",
        summary="relevance shared by positive contributions",
        units="share",
        needs="operations",
        cost="1 forward, 1 backward, 2 more per layer",
        source="Montavon et al. (2017)",
        class_discriminative="no",
        sanity_check="fails",
        options={"bias": False, "start": "one_hot"},
    ),
    "lrp_alpha_beta": Entry(
        target=f"{_MODULE}:lrp_alpha_beta",
        family="lrp",
        summary="relevance shared by positive and by negative contributions apart",
        units="share",
        needs="operations",
        cost="1 forward, 1 backward, 4 more per layer",
        source="Bach et al. (2015)",
        class_discriminative="weakly",
        sanity_check="depends: fails for beta below 3",
        options={"alpha": 2.0, "beta": 1.0, "bias": False, "start": "one_hot"},
    ),
    "deep_taylor": Entry(
        target=f"{_MODULE}:deep_taylor",
        family="lrp",
        summary="z+ relevance, with a rule of its own for the input's domain",
        units="share",
        needs="operations",
        cost="1 forward, 1 backward, 2 more per layer",
        source="Montavon et al. (2017)",
        class_discriminative="no",
        sanity_check="fails",
        options={"low": None, "high": None, "start": "one_hot"},
    ),
    "excitation_backprop": Entry(
        target=f"{_MODULE}:excitation_backprop",
        family="lrp",
        summary="probability that a winner-take-all walk ends there",
        units="probability",
        needs="operations",
        cost="1 forward, 1 backward, 2 more per layer",
        source="Zhang et al. (2018)",
        class_discriminative="no",
        sanity_check="depends: fails, contrastive passes",
        options={"contrastive": False},
    ),
    "rap": Entry(
        target=f"{_MODULE}:rap",
        family="lrp",
        summary="influence above and below the average, in two flows",
        units="logits",
        needs="operations",
        cost="2 forward, 2 backward, 2 more per layer",
        source="Nam et al. (2020)",
        class_discriminative="weakly",
        sanity_check="depends: each flow fails, their balance moves",
        options={},
    ),
}
