"""Backward passes with a rule of their own for the ReLU, step by step through a list of modules, with matrices."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from reference.slow_lrp import Numbers, matrix, to_winners

Rule = Callable[[Numbers, Numbers], Numbers]
"""(z, g) -> what goes to the ReLU's inputs z for what comes to its outputs."""


def plain(z: Numbers, g: Numbers) -> Numbers:
    """The derivative."""
    return [gi if zi > 0 else 0.0 for zi, gi in zip(z, g, strict=True)]


def deconvnet(_: Numbers, g: Numbers) -> Numbers:
    """Zeiler, Fergus (2014): a ReLU on the way back as well, whatever z was."""
    return [gi if gi > 0 else 0.0 for gi in g]


def guided(z: Numbers, g: Numbers) -> Numbers:
    """Springenberg et al. (2015): both masks."""
    return [gi if zi > 0 and gi > 0 else 0.0 for zi, gi in zip(z, g, strict=True)]


def rectified(quantile: float | None = None, tau: float = 0.0) -> Rule:
    """Kim et al. (2019): where a g exceeds the threshold, a quantile over this sample's units, or tau."""

    def rule(z: Numbers, g: Numbers) -> Numbers:
        importance = [max(zi, 0.0) * gi for zi, gi in zip(z, g, strict=True)]
        threshold = tau if quantile is None else float(np.quantile(importance, quantile))
        return [gi if v > threshold else 0.0 for v, gi in zip(importance, g, strict=True)]

    return rule


def start(logits: Numbers, target: int, output: str) -> Numbers:
    """Derivative of the score by each logit."""
    if output == "logit":
        return [1.0 if j == target else 0.0 for j in range(len(logits))]
    powers = [math.exp(s) for s in logits]
    y = [p / sum(powers) for p in powers]
    return [y[target] * ((1.0 if j == target else 0.0) - y[j]) for j in range(len(y))]


def backward(steps: Sequence[nn.Module], sample: Tensor, target: int, rule: Rule, output: str = "logit") -> Tensor:
    """What arrives at one sample's values, (channels, *spatial) or (features,)."""
    at = [sample]
    for step in steps:
        with torch.no_grad():
            at.append(step(at[-1][None])[0])
    g = start(at[-1].tolist(), target, output)
    for step, x in zip(reversed(steps), reversed(at[:-1]), strict=True):
        if isinstance(step, nn.ReLU):
            g = rule(x.reshape(-1).tolist(), g)
        elif isinstance(step, nn.MaxPool1d | nn.MaxPool2d | nn.MaxPool3d):
            g = to_winners(step, x, g)
        elif not isinstance(step, nn.Flatten):
            W, _ = matrix(step, x.shape)
            g = [sum(W[j][i] * g[j] for j in range(len(g))) for i in range(x.numel())]
    return torch.tensor(g, dtype=torch.float64).reshape(sample.shape)


def rectgrad(steps: Sequence[nn.Module], sample: Tensor, target: int, rule: Rule, output: str = "logit") -> Tensor:
    """Kim et al. (2019): the input times what arrives, where that is positive."""
    found = sample * backward(steps, sample, target, rule, output)
    return torch.where(found > 0, found, torch.zeros_like(found))
