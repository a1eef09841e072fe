"""The networks of the course: small, readable, every ReLU a module of its own and never in place.

Attribution methods hook layers: a functional ReLU cannot be hooked, and an in-place one overwrites the activation they
came for.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import nn

Net = TypeVar("Net", bound=nn.Module)

__all__ = ["CropsCNN", "FlatHead", "Stack", "crops_cnn", "flat_head", "flat_head_blank", "initialised"]


class CropsCNN(nn.Module):
    """Four convolutions, global average pooling and one dense layer; takes (n, 3, h, w) of any size from 8 up.

    `features` ends with the ReLU of the last convolution: 8 x 8 maps for a crop of 64 x 64, 8 x 16 for two side
    by side. The head averages each map, so it has no notion of place.

    Parameters
        n_classes : int. Number of logits.
        widths : four ints. Maps after each convolution.
    """

    def __init__(self, n_classes: int = 10, widths: tuple[int, int, int, int] = (16, 32, 32, 48)) -> None:
        super().__init__()
        w1, w2, w3, w4 = widths
        self.features = nn.Sequential(
            OrderedDict(
                conv1=nn.Conv2d(3, w1, 3, padding=1),
                relu1=nn.ReLU(),
                pool1=nn.MaxPool2d(2),
                conv2=nn.Conv2d(w1, w2, 3, padding=1),
                relu2=nn.ReLU(),
                pool2=nn.MaxPool2d(2),
                conv3=nn.Conv2d(w2, w3, 3, padding=1),
                relu3=nn.ReLU(),
                pool3=nn.MaxPool2d(2),
                conv4=nn.Conv2d(w3, w4, 3, padding=1),
                relu4=nn.ReLU(),
            )
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.classifier = nn.Linear(w4, n_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (n, n_classes) of images (n, 3, h, w) in [0, 1]."""
        maps = self.features(x)  # (n, 48, h / 8, w / 8)
        logits: torch.Tensor = self.classifier(self.flatten(self.pool(maps)))
        return logits


class Stack(nn.Sequential):
    """Named layers one after the other; a slice of them is a plain `nn.Sequential` of the same layers."""

    def __getitem__(self, index: slice | int) -> Any:
        if isinstance(index, slice):  # torch's own would call the constructor of the net
            return nn.Sequential(OrderedDict(list(self._modules.items())[index]))
        return super().__getitem__(index)


class FlatHead(nn.Module):
    """One convolution, ReLU, flatten, dense: the homework's s = V vec(A) + b, with 4 maps A of 8 x 8 and 3 classes.

    `classifier.weight` is V, shape (3, 256); vec runs channel, row, column, so V[c].reshape(4, 8, 8) is ds_c/dA.
    """

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(OrderedDict(conv1=nn.Conv2d(1, 4, 3, padding=1), relu1=nn.ReLU()))
        self.flatten = nn.Flatten()
        self.classifier = nn.Linear(4 * 8 * 8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (n, 3) of inputs (n, 1, 8, 8)."""
        logits: torch.Tensor = self.classifier(self.flatten(self.features(x)))
        return logits


def crops_cnn(rng: torch.Generator) -> CropsCNN:
    """Untrained classifier of the ten crops, drawn from `rng`."""
    return initialised(CropsCNN, rng)


def flat_head(rng: torch.Generator) -> FlatHead:
    """Untrained flatten-head net, drawn from `rng`."""
    return initialised(FlatHead, rng)


def flat_head_blank(rng: torch.Generator) -> FlatHead:
    """Flatten-head net whose class 2 is blank in Grad-CAM: its row of V has mean exactly 0 over every map.

    The score of class 2 still depends on the maps: it weighs the right half of each against the left.
    """
    net = initialised(FlatHead, rng)
    with torch.no_grad():
        # Multiples of 1/256 below 1 add without rounding in any order, so the means are 0 and not merely small.
        left = (net.classifier.weight[2].reshape(4, 8, 8)[:, :, :4] * 256).round().clamp(-255, 255) / 256
        net.classifier.weight[2] = torch.cat([left, -left.flip(2)], dim=2).flatten()
    return net


def initialised(kind: Callable[[], Net], rng: torch.Generator) -> Net:
    """Net with He-normal weights and zero biases from `rng`, in eval mode; the global random state is not touched.

    A layer named `classifier` is drawn with variance 1 / fan-in, since no ReLU follows it; batch norms start as
    the identity.
    """
    with torch.device("meta"):  # torch's own initialisation would draw from the global state
        net = kind()
    net.to_empty(device="cpu")
    for name, module in net.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.reset_parameters()
            continue
        for kind_of, parameter in module.named_parameters(recurse=False):
            if kind_of == "bias":
                nn.init.zeros_(parameter)
            elif name == "classifier":
                nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5, generator=rng)
            else:
                nn.init.kaiming_normal_(parameter, nonlinearity="relu", generator=rng)
    return net.eval()
