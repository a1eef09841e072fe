"""Which networks there are: names and plain data, resolved on use."""

from __future__ import annotations

import importlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from xaiteach import runtime
from xaiteach.errors import MissingExtraError, OptionError, unknown

__all__ = ["ModelCard", "available", "build", "card", "load", "provenance"]

_WEIGHTS = Path(__file__).parent / "weights"
_CROPS = ("astronaut", "brick", "cat", "coffee", "grass", "gravel", "retina", "rocket", "stars", "tissue")
_DIGITS = tuple(str(digit) for digit in range(10))


@dataclass(frozen=True)
class ModelCard:
    """What a network takes and gives.

    Parameters
        name : as in `load` and `build`.
        builder : "module:function", a function of a torch.Generator.
        input_shape : shape of one input, channels first, as trained or built for.
        class_names : what the logits stand for, in order.
        packaged : whether trained weights come with the package.
        summary : one line.
    """

    name: str
    builder: str
    input_shape: tuple[int, ...]
    class_names: tuple[str, ...]
    packaged: bool
    summary: str


_CARDS = {
    entry.name: entry
    for entry in (
        ModelCard(
            "crops_cnn",
            "xaiteach.models.nets:crops_cnn",
            (3, 64, 64),
            _CROPS,
            True,
            "four convolutions, global average pooling, dense; inputs of any height and width",
        ),
        ModelCard(
            "flat_head",
            "xaiteach.models.nets:flat_head",
            (1, 8, 8),
            ("0", "1", "2"),
            False,
            "one convolution of 4 maps, flatten, dense",
        ),
        ModelCard(
            "flat_head_blank",
            "xaiteach.models.nets:flat_head_blank",
            (1, 8, 8),
            ("0", "1", "2"),
            False,
            "flat_head whose class 2 is blank in Grad-CAM",
        ),
        ModelCard(
            "convnet1d",
            "xaiteach.models.convnet1d:convnet1d",
            (1, 40),
            _DIGITS,
            True,
            "three 1-D convolutions of 25 maps, flatten, dense: the digits assignment's net, for MNIST-1D",
        ),
        ModelCard(
            "vgg64",
            "xaiteach.models.vgg:vgg64_full",
            (3, 64, 64),
            tuple(str(c) for c in range(200)),
            False,
            "the sanity checks' VGG at full width: ten convolutions, dense 2048-2048-200, batch norm, dropout",
        ),
        ModelCard(
            "vgg64_narrow",
            "xaiteach.models.vgg:vgg64_narrow",
            (3, 64, 64),
            ("disc", "ring", "crescent", "triangle", "square", "cross", "star", "heart", "bar", "hourglass"),
            True,
            "vgg64 at an eighth of the width, dense 128-128-10, for the objects of data.scenes",
        ),
        ModelCard(
            "vgg64_narrow_scenes",
            "xaiteach.models.vgg:vgg64_narrow",
            (3, 64, 64),
            ("brick", "cat", "coffee", "coins", "grass", "gravel", "retina", "rocket", "stars", "tissue"),
            True,
            "the same net for the scenes of data.scenes",
        ),
        ModelCard(
            "digits_cnn",
            "xaiteach.models.vgg:digits_cnn",
            (1, 32, 32),
            _DIGITS,
            False,
            "seven convolutions of 16, 32 and 64 maps, dense 128-128-10, for data.digits(size=32)",
        ),
        ModelCard(
            "digits_cnn_norm",
            "xaiteach.models.vgg:digits_cnn_norm",
            (1, 32, 32),
            _DIGITS,
            False,
            "digits_cnn with batch norm after every convolution",
        ),
    )
}


def available() -> tuple[str, ...]:
    """Names that `build` knows, sorted; `card(name).packaged` tells for which of them `load` has trained weights.

    Examples
        >>> available()  # doctest: +ELLIPSIS
        ('convnet1d', 'crops_cnn', 'digits_cnn', 'digits_cnn_norm', ..., 'vgg64', 'vgg64_narrow', 'vgg64_narrow_scenes')
    """
    return tuple(sorted(_CARDS))


def card(name: str) -> ModelCard:
    """Return what the network `name` takes and gives.

    Raises
        OptionError: no network of that name; the message lists the known ones.
    """
    if name not in _CARDS:
        raise unknown("model", name, _CARDS)
    return _CARDS[name]


def build(name: str, seed: int) -> nn.Module:
    """Return the untrained network `name`, in eval mode, float32, on the CPU.

    Weights are He-normal and biases zero, drawn from a generator of their own: the same seed gives the same
    network, and the global random state stays as it is.

    Parameters
        name : see `available`.
        seed : int.
    Raises
        OptionError: no network of that name.
    Examples
        >>> net = build("flat_head", seed=0)
        >>> tuple(net.classifier.weight.shape)
        (3, 256)
    """
    module, _, function = card(name).builder.partition(":")
    net: nn.Module = getattr(importlib.import_module(module), function)(runtime.generator(seed))
    return net


def load(name: str, seed: int | None = None) -> nn.Module:
    """Return the network `name` with its packaged weights, in eval mode, float32, on the CPU.

    Every call makes a new network, so that changing one changes no other. `crops_cnn` tells the ten sources of
    `data.crops` apart with test accuracy .924 (500 crops from columns it was not trained on).

    Parameters
        name : see `available`.
        seed : int or None. With a seed it is `build(name, seed)`, the untrained network: a name and a seed name any
            network of the course.
    Raises
        OptionError: no network of that name, or one without packaged weights and no seed.
        MissingExtraError: the weights file is not there or not whole (a broken install).
    Source
        The weights are our own (Apache-2.0); see weights/README.md and `provenance`.
    Examples
        >>> import torch
        >>> net = load("crops_cnn")
        >>> net.training, net(torch.zeros(1, 3, 64, 128)).shape[1]
        (False, 10)
    """
    if seed is not None:
        return build(name, seed)
    if not card(name).packaged:
        raise OptionError(
            f"load: a model with packaged weights is expected where no seed is given; {name!r} has none. "
            f"Try load({name!r}, seed=0)."
        )
    net = build(name, 0)
    path = _WEIGHTS / f"{name}.safetensors"
    try:
        net.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise MissingExtraError(
            f"load: the packaged weights {path.name} are expected in the package; they cannot be read "
            f"({type(error).__name__}). Try: pip install --force-reinstall xaiteach"
        ) from error
    return net


def provenance(name: str) -> dict[str, Any]:
    """Return how the packaged weights were made: recipe, test accuracy, versions, licences.

    Raises
        OptionError: no packaged weights of that name.
    """
    if not card(name).packaged:
        raise unknown("model with packaged weights", name, (c.name for c in _CARDS.values() if c.packaged))
    facts: dict[str, Any] = json.loads((_WEIGHTS / f"{name}.json").read_text(encoding="utf-8"))
    return facts
