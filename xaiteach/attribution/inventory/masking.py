"""What hiding parts of the input does to the score."""

from __future__ import annotations

from xaiteach.attribution.entry import Entry

__all__ = ["ENTRIES"]

ENTRIES: dict[str, Entry] = {
    "occlusion": Entry(
        target="xaiteach.attribution.masking:occlusion",
        family="masking",
        summary="what the score loses when a window is hidden",
        units="score",
        needs="scores",
        cost="1 forward, and 1 for each window",
        source="Zeiler, Fergus (2014)",
        class_discriminative="yes",
        sanity_check="passes",
        options={"window": None, "stride": None, "baseline": None, "output": "logit"},
    ),
    "rise": Entry(
        target="xaiteach.attribution.rise:rise",
        family="masking",
        summary="mean score of the input seen through random masks that keep a position",
        units="score",
        needs="scores",
        cost="n_samples forward",
        source="Petsiuk et al. (2018)",
        class_discriminative="yes",
        sanity_check="passes",
        options={"n_samples": 2000, "grid": 7, "keep": 0.5, "baseline": None, "output": "probability"},
    ),
    "meaningful_perturbation": Entry(
        target="xaiteach.attribution.meaningful:meaningful_perturbation",
        family="masking",
        summary="the smallest smooth mask whose deletion makes the score fall",
        units="share deleted",
        needs="gradients",
        cost="iterations forward and backward, 21 forward",
        source="Fong, Vedaldi (2017)",
        class_discriminative="yes",
        sanity_check="passes",
        options={
            "baseline": "blur",
            "sigma": None,
            "grid": 28,
            "iterations": 300,
            "l1": 0.08,
            "tv": 8.0,
            "tv_beta": 3.0,
            "jitter": 2,
            "learning_rate": 0.1,
            "output": "probability",
        },
    ),
}
