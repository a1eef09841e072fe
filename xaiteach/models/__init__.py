"""Networks to explain: small packaged ones, untrained ones by name and seed, and torchvision's.

>>> from xaiteach import models
>>> model = models.load("crops_cnn")
>>> models.provenance("crops_cnn")["licence"]
'Apache-2.0'
"""

from xaiteach.models.convnet1d import ConvNet1D
from xaiteach.models.fitting import fit, permuted
from xaiteach.models.nets import CropsCNN, FlatHead
from xaiteach.models.pretrained import pretrained
from xaiteach.models.registry import ModelCard, available, build, card, load, provenance
from xaiteach.models.vgg import VGG, vgg64

__all__ = [
    "VGG",
    "ConvNet1D",
    "CropsCNN",
    "FlatHead",
    "ModelCard",
    "available",
    "build",
    "card",
    "fit",
    "load",
    "permuted",
    "pretrained",
    "provenance",
    "vgg64",
]
