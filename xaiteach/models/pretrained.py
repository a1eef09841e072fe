"""Networks of torchvision, for those who have its weights or a network to fetch them."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from xaiteach import runtime
from xaiteach.errors import SetupError, unknown

__all__ = ["pretrained"]


def pretrained(name: str, weights: str | None = "DEFAULT") -> nn.Module:
    """Return a torchvision classifier in eval mode, its ReLUs not in place so that methods can hook them.

    The only function here that may use the network; all else works without. Untrained nets (weights=None) are
    drawn from the global random state, which is put back.

    Parameters
        name : torchvision's name, such as "resnet18" or "vgg16".
        weights : torchvision's name of the weights, or None for an untrained network. Default "DEFAULT": its best.
    Raises
        MissingExtraError: torchvision is not there or does not load; the message says what to install.
        OptionError: no classifier or weights of that name.
        SetupError: the weights are not in torch's cache and cannot be downloaded.
    Source
        torchvision.models; weights come under the terms that torchvision states for each.
    """
    zoo = runtime.require("torchvision").models
    known = zoo.list_models(module=zoo)
    if name not in known:
        raise unknown("torchvision model", name, known)
    if weights is not None:
        labels = [entry.name for entry in zoo.get_model_weights(name)]
        if weights not in (*labels, "DEFAULT"):
            raise unknown(f"weights of {name}", weights, [*labels, "DEFAULT"])
    try:
        with torch.random.fork_rng(devices=[]):
            net: nn.Module = zoo.get_model(name, weights=weights)
    except OSError as error:
        raise SetupError(
            f"pretrained: the weights {weights!r} of {name} are expected in {torch.hub.get_dir()} or from the network; "
            f"neither worked ({error}). Try weights=None, or put the file there from a machine with a network."
        ) from error
    hookable: list[Any] = [module for module in net.modules() if getattr(module, "inplace", False)]
    for module in hookable:
        module.inplace = False
    return net.eval()
