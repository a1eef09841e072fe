"""Controls: maps made without a look at the model, which an explanation must be able to beat.

Each passes for an explanation by one yardstick. An edge detector's maps look right to the eye; noise changes with every
draw and so passes the sanity check. What a control scores is where a measure's scale begins.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from xaiteach.attribution.work import normal, uniform
from xaiteach.errors import ShapeError
from xaiteach.guards import describe

__all__ = ["edge_detector", "random_map"]


def edge_detector(_model: Any, x: Tensor, _target: Tensor) -> Tensor:
    """How steep the input itself is, whatever the model and the class: sqrt(g_h^2 + g_w^2).

    g_h and g_w are Sobel's slopes of the mean over channels; of a signal it is the absolute central difference
    |x(t + 1) - x(t - 1)| / 2, one-sided at both ends. A map that resembles this one may be explained by the input
    alone; that it looks convincing says nothing about the model.

    Parameters
        _model : not called.
        x : Tensor, shape (n, c, length), (n, c, h, w), or (n, c, t, h, w), whose frames are taken one by one.
        _target : not used.
    Returns
        Tensor, shape (n, 1, *spatial), in input units per position, never negative.
    Raises
        ShapeError: a table, whose neighbouring columns are no neighbours, or more than 3 spatial axes.
    Cost
        No pass through the model beyond the one that every method is preceded by.
    Source
        Adebayo, Gilmer, Muelly, Goodfellow, Hardt, Kim (2018), figure 1, where it is a rival of saliency maps. Sobel's
        filter is scikit-image's, with mirrored borders; its value is for two positions and a mean square, ours for one
        position and a sum: ours is smaller by sqrt(2).
    Examples
        >>> from xaiteach import explain
        >>> anything = lambda x: x.flatten(1)
        >>> explain(anything, torch.tensor([[[0.0, 0.0, 4.0, 4.0]]]), 0, "edge_detector").values
        tensor([[[0., 2., 2., 0.]]])
    """
    if not 3 <= x.ndim <= 5:
        raise ShapeError(
            "edge_detector: `x` must be a batch of signals, images or clips, with 1 to 3 spatial axes; got "
            f"{describe(x)}. Try 'random_map' as the control for a table."
        )
    grey = x.double().mean(1, keepdim=True)  # (n, 1, *spatial)
    if x.ndim == 3:
        return _slope(grey).abs().to(x)
    from skimage.filters import sobel

    frames = grey.flatten(0, -3).cpu().numpy()  # (n * t, h, w)
    edges = torch.stack([torch.as_tensor(sobel(frame)) for frame in frames]) / math.sqrt(2)
    return edges.reshape(grey.shape).to(x)


def _slope(signal: Tensor) -> Tensor:
    """Central differences along the last axis, one-sided at both ends; 0 for a single position."""
    if signal.shape[-1] == 1:
        return torch.zeros_like(signal)
    (slope,) = torch.gradient(signal, dim=-1)
    return slope


def random_map(_model: Any, x: Tensor, _target: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
    """Standard normal noise at every position, whatever the model, the class and the input.

    What it scores is chance: its energy within a mask is the mask's share of the area, on average. Two maps of two
    models, each with its own draw, are unlike, so it passes every randomisation test perfectly: to change with the
    model's weights is necessary and not enough. (Drawn twice from the same seed it fails perfectly.)

    Parameters
        _model : not called.
        x : Tensor, shape (n, ...). Only its shape matters.
        _target : not used.
        generator : torch.Generator or None for the global state. Sample by sample.
    Returns
        Tensor, shape (n, 1, *spatial), or (n, d) for a table, without units, signed.
    Cost
        No pass through the model beyond the one that every method is preceded by.
    Source
        None: it is chance. That it passes randomisation tests is the argument of Binder et al. (2022) against reading
        more into a pass.
    Examples
        >>> from xaiteach import explain
        >>> g = torch.Generator().manual_seed(0)
        >>> explain(lambda x: x.flatten(1), torch.zeros(2, 3, 4, 4), 0, "random_map", generator=g).values.shape
        torch.Size([2, 1, 4, 4])
    """
    one_channel = x[:, :1] if x.ndim > 2 else x
    return normal(uniform(x, one_channel[0].numel(), generator), one_channel)
