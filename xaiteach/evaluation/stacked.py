"""Several weight sets of one network as one network, so that small layers are computed for all sets at once.

Symbols: K weight sets, n samples of each; the K n rows hold all samples of the first set before any of the second.

A convolution with K sets of weights is one with K groups, a dense layer the same with kernels of one position. What
has no weights (ReLU, pooling, flattening) does not notice. So the stacked network is an ordinary one: whatever
explains a network explains it, its rules for convolutions included, as long as the rows stay where they are.
Small layers are then computed K times faster than one after the other, at most; large ones gain nothing.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from xaiteach.errors import ModelError

__all__ = ["RowsSplitError", "stackable", "stacked"]

_CONV = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}


class RowsSplitError(ModelError):
    """Rows came that are not all samples of all sets."""


def stackable(model: nn.Module) -> bool:
    """Whether every module with weights of its own is a convolution, a dense layer or a batch norm."""
    kinds = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear, _BatchNorm)
    owners = [module for module in model.modules() if any(True for _ in module.parameters(recurse=False))]
    return all(isinstance(module, kinds) and not _padded(module) for module in owners)


def _padded(module: nn.Module) -> bool:
    return isinstance(module, _ConvNd) and (module.padding_mode != "zeros" or isinstance(module.padding, str))


def stacked(models: Sequence[nn.Module], n: int) -> nn.Module:
    """One network for copies of a network that differ in their weights, from (K n, ...) to logits (K n, classes).

    Parameters
        models : K networks of one structure, for which `stackable` holds.
        n : samples of each set. A single row is taken for the first set's: for a first look at the network.
    Raises
        RowsSplitError: from its forward, where neither one row comes nor a multiple of K n.
        ModelError: a layer that cannot be stacked.
    """
    if not stackable(models[0]):
        raise ModelError(
            "stacked: every layer with weights must be a convolution with zero padding, a dense layer or a batch norm; "
            "another kind is among them. Try one weight set at a time."
        )
    found = copy.deepcopy(models[0])
    for name, module in list(found.named_modules()):
        if any(True for _ in module.parameters(recurse=False)):
            sets = [model.get_submodule(name) for model in models]
            found.set_submodule(name, _Norms(sets, n) if isinstance(module, _BatchNorm) else _Layers(sets, n))
    return found.eval()


class _Sets(nn.Module):
    def __init__(self, sets: Sequence[nn.Module], n: int) -> None:
        super().__init__()
        self.K, self.n = len(sets), n

    def _count(self, x: Tensor) -> int:
        """Sets that the rows of x stand for: all, or the first where there is a single row."""
        if len(x) == 1:
            return 1
        if len(x) % (self.K * self.n):
            raise RowsSplitError(
                f"stacked: rows must be all {self.n} samples of all {self.K} sets, or several times as many; got "
                f"{len(x)}. Try a larger budget, or one weight set at a time."
            )
        return self.K


class _Layers(_Sets):
    """K convolutions or dense layers."""

    def __init__(self, sets: Sequence[Any], n: int) -> None:
        super().__init__(sets, n)
        first = sets[0]
        conv = isinstance(first, _ConvNd)
        self.rank = first.weight.ndim - 2 if conv else 1
        weight = torch.stack([one.weight.detach() for one in sets])  # (K, out, in, ...)
        self.weight = nn.Parameter(weight if conv else weight[..., None], requires_grad=False)
        bias = None if first.bias is None else torch.stack([one.bias.detach() for one in sets])
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)
        self.conv = conv
        self.options = (first.stride, first.padding, first.dilation, first.groups) if conv else (1, 0, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        K = self._count(x)
        stride, padding, dilation, groups = self.options
        h = x if self.conv else x[..., None]  # (K n, channels, *spatial)
        rows, shape = len(h) // K, h.shape[1:]
        if K > 1:
            h = h.reshape(K, rows, *shape).transpose(0, 1).reshape(rows, K * shape[0], *shape[1:])
        weight = self.weight[:K].flatten(0, 1)
        bias = None if self.bias is None else self.bias[:K].flatten()
        found = _CONV[self.rank](h, weight, bias, stride, padding, dilation, K * groups)
        if K > 1:
            out = self.weight.shape[1]
            found = (
                found.reshape(rows, K, out, *found.shape[2:]).transpose(0, 1).reshape(K * rows, out, *found.shape[2:])
            )
        return found if self.conv else found[..., 0]


class _Norms(_Sets):
    """K batch norms in evaluation mode: one of K times as many channels."""

    def __init__(self, sets: Sequence[Any], n: int) -> None:
        super().__init__(sets, n)
        self.eps = sets[0].eps
        self.values = tuple(
            None if getattr(sets[0], name) is None else torch.stack([getattr(one, name).detach() for one in sets])
            for name in ("running_mean", "running_var", "weight", "bias")
        )

    def forward(self, x: Tensor) -> Tensor:
        K = self._count(x)
        rows, shape = len(x) // K, x.shape[1:]
        h = x.reshape(K, rows, *shape).transpose(0, 1).reshape(rows, K * shape[0], *shape[1:]) if K > 1 else x
        mean, var, weight, bias = (None if t is None else t[:K].flatten() for t in self.values)
        found = functional.batch_norm(h, mean, var, weight, bias, False, 0.0, self.eps)
        if K == 1:
            return found
        return found.reshape(rows, K, *shape).transpose(0, 1).reshape(K * rows, *shape)
