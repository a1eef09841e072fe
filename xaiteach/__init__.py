"""xaiteach: explainable AI, taught in Jupyter.

Importing this package loads neither torch nor matplotlib; its names are resolved on first use.

>>> import xaiteach
>>> xaiteach.__version__
'0.1.0'
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"
__all__ = [
    "Attribution",
    "__version__",
    "attribution",
    "checks",
    "data",
    "evaluation",
    "explain",
    "lime",
    "models",
    "plots",
]

_NAMES = {"explain": "attribution", "Attribution": "attribution"}
_MODULES = ("attribution", "checks", "data", "evaluation", "lime", "models", "plots")


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(importlib.import_module(f"{__name__}.{_NAMES[name]}"), name)
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
