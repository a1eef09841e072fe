"""Gradients of the score by the input, and their averages over noise."""

from __future__ import annotations

from xaiteach.attribution.entry import Entry

__all__ = ["ENTRIES"]

_GRADIENTS = "xaiteach.attribution.gradients"
_NOISE = "xaiteach.attribution.noise"
_NOISE_OPTIONS = {"base": "saliency", "sigma": 0.15, "n_samples": 50, "output": None, "base_options": None}

ENTRIES: dict[str, Entry] = {
    "saliency": Entry(
        target=f"{_GRADIENTS}:saliency",
        family="gradients",
        summary="gradient of the class score by the input",
        units="score per input unit",
        needs="gradients",
        cost="1 forward, 1 backward",
        source="Simonyan et al. (2014)",
        class_discriminative="weakly",
        sanity_check="passes",
        options={"output": "logit", "abs": False},
    ),
    "input_x_gradient": Entry(
        target=f"{_GRADIENTS}:input_x_gradient",
        family="gradients",
        summary="input times gradient",
        units="score",
        needs="gradients",
        cost="1 forward, 1 backward",
        source="Shrikumar et al. (2016)",
        class_discriminative="weakly",
        sanity_check="passes",
        options={"output": "logit"},
    ),
    "smoothgrad": Entry(
        target=f"{_NOISE}:smoothgrad",
        family="gradients",
        summary="mean of a base method over noisy copies of the input",
        units="units of the base",
        needs="gradients",
        cost="n_samples times the base",
        source="Smilkov et al. (2017)",
        class_discriminative="as the base",
        sanity_check="as the base",
        options=_NOISE_OPTIONS,
        prepare=f"{_NOISE}:choose_base",
    ),
    "smoothgrad_squared": Entry(
        target=f"{_NOISE}:smoothgrad_squared",
        family="gradients",
        summary="mean square of a base method over noisy copies of the input",
        units="units of the base, squared",
        needs="gradients",
        cost="n_samples times the base",
        source="Hooker et al. (2019)",
        class_discriminative="as the base",
        sanity_check="as the base",
        options=_NOISE_OPTIONS,
        prepare=f"{_NOISE}:choose_base",
    ),
    "vargrad": Entry(
        target=f"{_NOISE}:vargrad",
        family="gradients",
        summary="variance of a base method over noisy copies of the input",
        units="units of the base, squared",
        needs="gradients",
        cost="n_samples times the base",
        source="Adebayo et al. (2018)",
        class_discriminative="as the base",
        sanity_check="as the base",
        options=_NOISE_OPTIONS,
        prepare=f"{_NOISE}:choose_base",
    ),
}
