"""The one-dimensional network of the digits assignment."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn

from xaiteach.models.nets import Stack, initialised

__all__ = ["ConvNet1D", "convnet1d"]


class ConvNet1D(Stack):
    """Three convolutions of 25 maps that keep the length, flatten, one dense layer; takes signals (n, 1, 40).

    13,960 parameters: 150 and twice 1,900 in the convolutions, 10,010 in the dense layer.
    """

    def __init__(self) -> None:
        super().__init__(
            OrderedDict(
                conv1=nn.Conv1d(1, 25, 5, padding=2),
                relu1=nn.ReLU(),
                conv2=nn.Conv1d(25, 25, 3, padding=1),
                relu2=nn.ReLU(),
                conv3=nn.Conv1d(25, 25, 3, padding=1),
                relu3=nn.ReLU(),
                flatten=nn.Flatten(),
                classifier=nn.Linear(1000, 10),
            )
        )


def convnet1d(rng: torch.Generator) -> ConvNet1D:
    """Untrained net drawn from `rng`: He's convolutions, the assignment's N(0, 0.5) dense weights, zero biases."""
    net = initialised(ConvNet1D, rng)
    nn.init.normal_(net.get_parameter("classifier.weight"), std=0.5, generator=rng)
    return net
