"""SISE: the input seen through the model's own feature maps, block by block.

Symbols: A^k feature map k of a layer, Psi the score of class c (the probability, by default), m a mask in [0, 1] of the
input's size, lambda a position, V a layer's map, all of the input's size.

The four steps are the paper's. Where its text leaves room, this is our reading: a feature map that is constant makes no
mask; a layer's map V is not rescaled before it is added to another, as it is in units of the score already; where V is
0 everywhere, nothing is left of the earlier layers. No code of the authors was used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from itertools import takewhile
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node
from torch.nn.modules.conv import _ConvNd

from xaiteach.attribution.coalitions import cached
from xaiteach.attribution.feature_maps import choose_layer, layer_gradient, resized
from xaiteach.attribution.layers import Call, Run, functional_relus, upstream
from xaiteach.attribution.scores import score
from xaiteach.attribution.work import Work
from xaiteach.errors import ModelError, OptionError
from xaiteach.guards import check_model, describe

__all__ = ["block_ends", "choose_layers", "sise"]

Layer = str | nn.Module


def choose_layers(model: Callable[[Tensor], Any], run: Run, options: Mapping[str, Any], who: str) -> dict[str, Any]:
    """Options with `layers` as dotted names: those given, or the last of every block for None.

    Raises
        ModelError, OptionError: the model is a plain function, lacks one of the layers, or has no block.
    """
    check_model(model, who, module=True)
    given = options["layers"]
    if given is None and isinstance(model, nn.Module):
        return {**options, "layers": block_ends(model, run, who)}
    given = [given] if isinstance(given, str | nn.Module) else given
    if not isinstance(given, Sequence) or not given:
        raise OptionError(
            f"{who}: `layers` must be a list of at least one layer, from the input on; got {describe(given)}. "
            "Try layers=None for the last layer of every block."
        )
    return {**options, "layers": [choose_layer(model, run, {"layer": layer}, who)["layer"] for layer in given]}


def block_ends(model: nn.Module, run: Run, who: str) -> list[str]:
    """Names of the layers whose output is the last at its resolution: what a pooling or a stride then makes smaller.

    A block is everything from one halving of some spatial axis to the next; a convolution that only trims the border
    starts none. Its end is its last layer that everything passes through, not one branch of several.

    Raises
        ModelError: no such layer, or one whose ReLU is a function, which cannot be hooked.
    """
    sources = _sources(model, run)
    ends = [end for block in _blocks(run) if (end := _end(block, run, sources)) is not None]
    if not ends:
        raise ModelError(
            f"{who}: the default layers must be the last of each block of convolutions, which everything passes "
            "through; this model has none. Try naming them, from the input on: layers=['...', '...']."
        )
    order = {id(call): place for place, call in enumerate(run.calls)}
    names = [_name(end, run) for end in sorted(ends, key=lambda end: order[id(end)])]
    hidden = [name for name in names if name.partition("#")[0] in functional_relus(run)]
    if hidden:
        raise ModelError(
            f"{who}: the last activation of each block must be a module's output; after {hidden[0]!r} it is computed "
            "by a function, which cannot be hooked. Try making it a module: self.relu = nn.ReLU() in __init__, "
            "self.relu(...) in forward."
        )
    return names


def _blocks(run: Run) -> list[list[Call]]:
    """Calls at each resolution that a convolution works at, from the first convolution to the last one's activation."""
    calls = [call for call in run.calls if call.node in run.nodes]
    convs = [place for place, call in enumerate(calls) if _is_convolution(call)]
    if not convs:
        return []
    last = calls[convs[-1]]
    # Not what a pooling enlarges after it has made it smaller, as some nets do before their dense layers.
    after = takewhile(lambda call: prod(call.shape[2:]) >= prod(last.shape[2:]), calls[convs[-1] :])
    sizes = {calls[place].shape[2:] for place in convs}
    blocks: list[list[Call]] = []
    for call in [*calls[convs[0] : convs[-1]], *after]:
        if call.shape[2:] not in sizes or len(call.shape) != len(last.shape):
            continue
        # Branches may alternate between two resolutions: the finest block that the call is not half of takes it.
        block = next((block for block in blocks if not _halved(block, call)), None)
        if block is None:
            blocks.append(block := [])
        block.append(call)
    return blocks


def _is_convolution(call: Call) -> bool:
    return isinstance(call.module, _ConvNd) and prod(call.shape[2:]) > 1


def _halved(block: Sequence[Call], call: Call) -> bool:
    """Whether some axis of the call's output is at most half of the block's smallest, rounded up."""
    smallest = [min(sides) for sides in zip(*(c.shape[2:] for c in block), strict=True)]
    return any(side < least and side <= (least + 1) // 2 for side, least in zip(call.shape[2:], smallest, strict=True))


def _sources(model: nn.Module, run: Run) -> set[Node]:
    """Nodes at which the graph starts, parameters left out: the input."""
    own = {parameter.data_ptr() for parameter in model.parameters()}
    starts = [(node, getattr(node, "variable", None)) for node in run.nodes]
    return {node for node, leaf in starts if leaf is not None and leaf.data_ptr() not in own}


def _end(block: Sequence[Call], run: Run, sources: Set[Node]) -> Call | None:
    """Last call of the block on every way from the input to the scores."""
    for call in reversed(block):
        if not sources & upstream(run.logits.grad_fn, without=call.node):
            return call
    return None


def _name(end: Call, run: Run) -> str:
    same = [call for call in run.calls if call.node is end.node]
    once = next((call.name for call in same if run.times(call.name) == 1 and call.name), None)
    return once or f"{same[0].name}#{same[0].number}"


def sise(
    model: nn.Module,
    x: Tensor,
    target: Tensor,
    *,
    layers: Sequence[Layer],
    mu: float = 0.0,
    output: str = "probability",
    work: Work,
) -> Tensor:
    """How well the class is recognised through the model's own feature maps, by layers that are fused, fine to coarse.

    Random masks, as in RISE, need thousands of tries; a feature map is a mask that the model drew itself. In each layer
    the maps whose summed gradient speaks for the class, alpha_k = sum dPsi/dA^k > mu max_k alpha_k, are resized to the
    input and scaled to [0, 1]; the layer's map is the mean over these masks of Psi(x m) m(lambda) / sum m. From the
    first layer on, the next one's map is added, and what lies where the next one's map is low is set to 0: the fine
    layers give the detail, the deep ones say where it matters. The cut is Otsu's threshold (256 bins) of that map.

    Parameters
        model : nn.Module from (n, ...) to logits (n, classes), in evaluation mode.
        x : Tensor, shape (n, c, ...). Samples with 1, 2 or 3 spatial axes. Where a mask is 0, x is 0.
        target : Tensor, shape (n,), long. Class index, 0-based.
        layers : list of dotted names or modules, from the input on. `explain` takes None for the last layer of every
            block, before a pooling or a stride.
        mu : float in [0, 1). How much of the largest gradient a feature map must have. Default 0: any that is positive.
        output : "logit" or "probability". Default "probability": of scores below 0 the weighted masks argue backwards.
    Returns
        Tensor, shape (n, 1, *spatial of x), in units of the score, per position. 0 where the last layer's map is low,
        and everywhere if that layer has no feature map for the class. Of a single layer it sums to the mean score.
    Raises
        ModelError: a layer is not called exactly once, has no spatial axes, or the score does not depend on it.
        OptionError: `mu` outside [0, 1), no such layer, or unknown `output`.
    Cost
        1 forward and backward pass for each layer, 1 forward pass for each feature map kept.
    Source
        Sattarzadeh, Sudhakar, Lem, Mehryar, Plataniotis, Jang, Kim, Jeong, Lee, Bae (2021). In the authors' own summary
        the condition on alpha_k is printed the other way round.
    Examples
        >>> from xaiteach import explain
        >>> net = nn.Sequential(nn.Conv1d(1, 1, 1), nn.ReLU(), nn.Flatten(), nn.Linear(3, 1, bias=False))
        >>> _ = net[0].weight.data.fill_(1.0), net[0].bias.data.zero_(), net[3].weight.data.fill_(1.0)
        >>> explain(net, torch.tensor([[[0.0, 1.0, 2.0]]]), 0, "sise", output="logit").values  # 2.5 * (0, 1, 2) / 3
        tensor([[[0.0000, 0.8333, 1.6667]]])
    """
    who = "sise"
    if isinstance(mu, bool) or not isinstance(mu, int | float) or not 0 <= mu < 1:
        raise OptionError(f"{who}: `mu` must be a number from 0 to below 1; got {mu!r}. Try mu=0.")
    parts = []
    for part in Work(work.rows, progress=False).slices(len(x)):  # the bar is the masks'
        fused: Tensor | None = None
        for layer in layers:
            V = _layer_map(model, x[part], target[part], layer, mu, output, work)
            fused = V if fused is None else torch.where(_high(V), fused + V, 0)
        parts.append(torch.empty(0) if fused is None else fused[:, None])
    return torch.cat(parts)


def _layer_map(model: nn.Module, x: Tensor, target: Tensor, layer: Layer, mu: float, output: str, work: Work) -> Tensor:
    """Mean over a layer's masks of score times share, shape (n, *spatial of x); 0 where there is no mask."""
    A, g = layer_gradient(model, x, target, layer, output, "sise")
    alpha, flat = g.flatten(2).sum(2), A.flatten(2)  # (n, k), (n, k, positions)
    beta = alpha.max(1, keepdim=True).values
    kept = (alpha > mu * beta) & (flat.max(2).values > flat.min(2).values)
    pairs = kept.nonzero()  # (m, 2): sample and channel, all of the first sample before any of the second
    total = x.new_zeros(len(x), *x.shape[2:])
    for part in cached(work, x).slices(len(pairs), "mask"):
        sample, channel = pairs[part].T
        m = _scaled(resized(A[sample, channel][:, None], x.shape[2:], "sise"))  # (r, 1, *spatial)
        psi = score(model, x[sample] * m, target[sample], output, "sise")  # (r,)
        share = m[:, 0] / m.flatten(1).sum(1).reshape(-1, *[1] * (x.ndim - 2))
        total.index_add_(0, sample, psi.reshape(-1, *[1] * (x.ndim - 2)) * share)
    return total / kept.sum(1).clamp(min=1).reshape(-1, *[1] * (x.ndim - 2))


def _scaled(maps: Tensor) -> Tensor:
    """Each map (r, 1, *spatial) from its least value at 0 to its largest at 1."""
    axes = tuple(range(1, maps.ndim))
    low, high = maps.amin(axes, keepdim=True), maps.amax(axes, keepdim=True)
    return (maps - low) / (high - low)


def _high(maps: Tensor) -> Tensor:
    """Where each of the maps (n, *spatial) is above Otsu's threshold; nowhere, if it is constant."""
    from skimage.filters import threshold_otsu

    cuts = [float(threshold_otsu(one)) for one in maps.flatten(1).double().cpu().numpy()]
    cut = torch.tensor(cuts, dtype=torch.float64, device=maps.device).reshape(-1, *[1] * (maps.ndim - 1))
    return maps > cut
