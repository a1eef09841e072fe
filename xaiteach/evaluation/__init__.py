"""Measuring explanations: every protocol takes anything that explains, and holds it against what is known.

Explainers are names of the registry, (name, options), Captum objects, or callables (model, x, target) -> map.
"""

from xaiteach.evaluation.base import Result, maps_of

__all__ = ["Result", "maps_of"]
