"""Gradients gathered along a path from a baseline to the input."""

from __future__ import annotations

from xaiteach.attribution.entry import Entry

__all__ = ["ENTRIES"]

_PATHS = "xaiteach.attribution.paths"

ENTRIES: dict[str, Entry] = {
    "integrated_gradients": Entry(
        target=f"{_PATHS}:integrated_gradients",
        family="paths",
        summary="difference to a baseline, times the mean gradient on the way",
        units="score",
        needs="gradients",
        cost="n_steps forward and backward, 2 forward",
        source="Sundararajan et al. (2017)",
        class_discriminative="weakly",
        sanity_check="passes",
        options={"baseline": None, "n_steps": 50, "output": "logit"},
    ),
    "expected_gradients": Entry(
        target=f"{_PATHS}:expected_gradients",
        family="paths",
        summary="integrated gradients over baselines drawn from data",
        units="score",
        needs="gradients",
        cost="n_samples forward and backward, 1 + m forward",
        source="Erion et al. (2021)",
        class_discriminative="weakly",
        sanity_check="passes",
        options={"baseline": None, "n_samples": 100, "output": "logit"},
    ),
    "gradient_shap": Entry(
        target=f"{_PATHS}:gradient_shap",
        family="paths",
        summary="expected gradients with noise added to the input",
        units="score",
        needs="gradients",
        cost="n_samples forward and backward, 1 + m forward",
        source="Lundberg, Lee (2017); Smilkov et al. (2017)",
        class_discriminative="weakly",
        sanity_check="passes",
        options={"baseline": None, "n_samples": 100, "sigma": 0.0, "output": "logit"},
    ),
}
