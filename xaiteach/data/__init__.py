"""Data sets that need no network, each with the truth that an explanation can be held against.

>>> from xaiteach import data
>>> data.mnist1d().mask_test.shape
(1000, 40)
"""

from xaiteach.data.clips import Clip, pan
from xaiteach.data.crops import SOURCES, Crops, Pair, Source, crops
from xaiteach.data.digits import Digits, digits
from xaiteach.data.folders import KINDS, Folder, Kind, folder
from xaiteach.data.mnist1d import Mnist1D, mnist1d, templates
from xaiteach.data.scenes import OBJECTS, SCENES, Scenes, scenes

__all__ = [
    "KINDS",
    "OBJECTS",
    "SCENES",
    "SOURCES",
    "Clip",
    "Crops",
    "Digits",
    "Folder",
    "Kind",
    "Mnist1D",
    "Pair",
    "Scenes",
    "Source",
    "crops",
    "digits",
    "folder",
    "mnist1d",
    "pan",
    "scenes",
    "templates",
]
