"""The VGG of the sanity checks at any width: plain stacks of layers, named in the order in which they run.

`conv1` ... `conv10`, `fc1` ... `fc3`; beside each its `norm` and `relu` of the same number, and after each block a
`pool` and a `drop`. So `model.conv10` and `layer="conv10"` name the same thing, and cascading randomisation is a walk
from the end of the list to its beginning.

Source
    Simonyan and Zisserman (2015), "Very deep convolutional networks for large-scale image recognition": the shape. A
    thesis on sanity checks cut it for 64 x 64 images: ten convolutions, dense layers of 2048, batch norm after every
    convolution and after both hidden dense layers, dropout .25 and .5, He's initialisation.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import nn

from xaiteach import runtime
from xaiteach.errors import OptionError
from xaiteach.models.nets import Stack, initialised

__all__ = ["VGG", "digits_cnn", "digits_cnn_norm", "vgg64", "vgg64_full", "vgg64_narrow"]

_BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512))
_DENSE = 2048
_NARROW = 1 / 8


class VGG(Stack):
    """Blocks of 3 x 3 convolutions with a max-pool after each, then three dense layers.

    Parameters
        blocks : for each block the number of maps after each of its convolutions.
        dense : int. Units of the two hidden dense layers.
        classes : int. Number of logits.
        side : int. Height and width of an input; a multiple of 2 to the number of blocks.
        channels : int. Of an input.
        batch_norm : bool. After every convolution.
        dense_norm : bool. After both hidden dense layers.
        dropout : (after each block, after each hidden dense layer), probabilities.
    """

    def __init__(
        self,
        blocks: Sequence[Sequence[int]],
        dense: int,
        classes: int,
        *,
        side: int,
        channels: int = 3,
        batch_norm: bool = True,
        dense_norm: bool = False,
        dropout: tuple[float, float] = (0.25, 0.5),
    ) -> None:
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        number, before = 0, channels
        for block, widths in enumerate(blocks, start=1):
            for width in widths:
                number += 1
                layers[f"conv{number}"] = nn.Conv2d(before, width, 3, padding=1)
                if batch_norm:
                    layers[f"norm{number}"] = nn.BatchNorm2d(width)
                layers[f"relu{number}"] = nn.ReLU()
                before = width
            layers[f"pool{block}"] = nn.MaxPool2d(2)
            layers[f"drop{block}"] = nn.Dropout(dropout[0])
        layers["flatten"] = nn.Flatten()
        before *= (side >> len(blocks)) ** 2
        for i in (1, 2):
            layers[f"fc{i}"] = nn.Linear(before, dense)
            if dense_norm:
                layers[f"fc_norm{i}"] = nn.BatchNorm1d(dense)
            layers[f"fc_relu{i}"] = nn.ReLU()
            layers[f"fc_drop{i}"] = nn.Dropout(dropout[1])
            before = dense
        layers["fc3"] = nn.Linear(dense, classes)
        super().__init__(layers)


def vgg64(
    width: float = 1.0,
    classes: int = 200,
    batch_norm: bool = True,
    *,
    dense: int | None = None,
    dropout: tuple[float, float] = (0.25, 0.5),
    seed: int = 0,
) -> VGG:
    """Return the untrained VGG for 64 x 64 images, in eval mode; the thesis's own with the defaults.

    Parameters
        width : float > 0. Factor on every number of maps and of hidden dense units; 1 is the thesis's net.
        classes : int >= 1. Number of logits; Tiny ImageNet has 200.
        batch_norm : bool. After every convolution and both hidden dense layers.
        dense : int >= 1 or None. Hidden dense units; None: 2048 times `width`.
        dropout : (after each block, after each hidden dense layer). They do nothing in eval mode.
        seed : int. Draws the weights (He), from a generator of its own; biases are 0.
    Raises
        OptionError: no width, class or unit.
    Cost
        29 million parameters at width 1: 116 MB, and 2.32 GFLOP for one image forward.
    Examples
        >>> net = vgg64(width=1 / 16, classes=10)
        >>> net.conv10, net.fc3.out_features
        (Conv2d(32, 32, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1)), 10)
    """
    return _vgg64(runtime.generator(seed), width, classes, batch_norm, dense, dropout)


def _vgg64(
    rng: torch.Generator,
    width: float,
    classes: int,
    batch_norm: bool = True,
    dense: int | None = None,
    dropout: tuple[float, float] = (0.25, 0.5),
) -> VGG:
    if width <= 0 or classes < 1 or (dense is not None and dense < 1):
        raise OptionError(
            "vgg64: `width` must be above 0, and `classes` and `dense` at least 1; "
            f"got {width!r}, {classes!r} and {dense!r}. Try width=1 / 8."
        )
    blocks = [[max(round(maps * width), 1) for maps in block] for block in _BLOCKS]
    units = max(round(_DENSE * width), 1) if dense is None else dense
    return initialised(
        lambda: VGG(blocks, units, classes, side=64, batch_norm=batch_norm, dense_norm=batch_norm, dropout=dropout), rng
    )


def vgg64_full(rng: torch.Generator) -> VGG:
    """Untrained net of the thesis: full width, 200 classes."""
    return _vgg64(rng, 1.0, 200)


def vgg64_narrow(rng: torch.Generator) -> VGG:
    """Untrained net of an eighth of the width: 128 dense units, ten classes, and less dropout, having less to drop."""
    return _vgg64(rng, _NARROW, 10, dense=128, dropout=(0.0, 0.2))


def digits_cnn(rng: torch.Generator) -> VGG:
    """Untrained net for 32 x 32 digits: seven convolutions of 16, 32 and 64 maps, dense 128-128-10, no batch norm."""
    return _digits(rng, batch_norm=False)


def digits_cnn_norm(rng: torch.Generator) -> VGG:
    """The same with batch norm after every convolution."""
    return _digits(rng, batch_norm=True)


def _digits(rng: torch.Generator, *, batch_norm: bool) -> VGG:
    blocks = ((16, 16), (32, 32), (64, 64, 64))
    return initialised(
        lambda: VGG(blocks, 128, 10, side=32, channels=1, batch_norm=batch_norm, dropout=(0.0, 0.2)), rng
    )
