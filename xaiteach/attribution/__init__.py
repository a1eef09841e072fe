"""Attribution: what a model's score rests on, by many methods through one verb.

>>> from xaiteach.attribution import methods
>>> "grad_cam" in methods("cam")
True
"""

from __future__ import annotations

from xaiteach.attribution.base import Attribution, explain
from xaiteach.attribution.registry import methods

__all__ = ["Attribution", "explain", "methods"]
