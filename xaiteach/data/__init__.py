"""Data sets that need no network, each with the truth that an explanation can be held against.

>>> from xaiteach import data
>>> data.mnist1d().mask_test.shape
(1000, 40)
"""

from xaiteach.data.crops import SOURCES, Crops, Pair, Source, crops
from xaiteach.data.mnist1d import Mnist1D, mnist1d, templates
from xaiteach.data.scenes import OBJECTS, SCENES, Scenes, scenes

__all__ = [
    "OBJECTS",
    "SCENES",
    "SOURCES",
    "Crops",
    "Mnist1D",
    "Pair",
    "Scenes",
    "Source",
    "crops",
    "mnist1d",
    "scenes",
    "templates",
]
