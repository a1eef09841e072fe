"""Ablation-CAM: what the score loses when a channel is switched off.

Symbols: A activation of the layer (n, k, *coarse), y the score of class c, y_k the same with channel k at 0.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from xaiteach.attribution.feature_maps import check_feature_maps
from xaiteach.attribution.scores import cotangent
from xaiteach.attribution.tails import Tail
from xaiteach.attribution.work import Work
from xaiteach.errors import OptionError, unknown

__all__ = ["NORMALISE", "ablation_cam"]

NORMALISE = ("score", "norm", "none")

_COPIES_BYTES = 16 * 2**20
"""Copies of the activation that run at once on a CPU, at most: more is fetched anew from the system each time, which
takes twice the time. It does not depend on the machine, so that the same call rounds in the same way everywhere."""


def ablation_cam(
    model: nn.Module,
    x: Tensor,
    target: Tensor,
    *,
    layer: str | nn.Module,
    output: str = "logit",
    relu: bool = True,
    normalise: str = "score",
    work: Work,
) -> Tensor:
    """Weighted sum of a layer's channels, weighted by what the score loses without the channel: ReLU(sum_k w_k A^k).

    w_k = (y - y_k) / |y|, with y_k the score when channel k is 0 everywhere. No gradient is asked for its opinion, so
    that a saturated network gets weights as well; two channels that stand in for each other both get none.

    Parameters
        model, x, target, layer : as `grad_cam`.
        output : "logit" or "probability" (whose difference is computed without cancellation). Default "logit".
        relu : bool. Whether to cut negative evidence. Default True; False gives the signed map.
        normalise : what the loss is divided by: "score", |y|; "norm", the channel's sum of absolute values, which is
            the paper's slope; "none". Default "score", the paper's approximation of the slope.
    Returns
        Tensor, shape (n, 1, *coarse), in units of the activation; of the score for "norm", and of their product for
        "none".
    Raises
        ModelError: the layer is not called exactly once or has no spatial axes.
        OptionError: unknown `normalise` or `output`, no such layer, or a score of 0 to divide by.
    Cost
        1 forward pass, and k forward passes of what follows the layer (of everything, in a model that cannot be run
        from the layer on); 2 more, once, to find out which.
    Source
        Desai, Ramaswamy (2020), the slope and its approximation. Differs in: they divide by y, which turns the map
        upside down where a logit is negative; and where they leave the norm open it is the L1 norm: with A >= 0 and a
        linear head on the channels' means, the slope is then Grad-CAM's weight. A student's version (seed 000) takes
        the scores after the softmax, and sets all biases of the layer to 0, not the channel's alone.
    Examples
        >>> from xaiteach import explain
        >>> head = [nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(2, 3)]
        >>> net, x = nn.Sequential(nn.Conv1d(1, 2, 3), nn.ReLU(), *head), torch.ones(1, 1, 8)
        >>> slope = explain(net, x, 1, "ablation_cam", normalise="norm", relu=False)
        >>> torch.allclose(slope.values, explain(net, x, 1, "grad_cam", relu=False).values, atol=1e-6)
        True
    """
    who = "ablation_cam"
    if normalise not in NORMALISE:
        raise unknown(f"normalise of {who}", normalise, NORMALISE)
    tail = Tail(model, x[:1], layer, who)
    check_feature_maps(tail.A, x[:1], layer, who)
    cotangent(tail.logits, target[:1], output)  # refuses what is no output
    tail.direct = tail.holds(work.rows)
    n, k = len(x), tail.A.shape[1]
    A = tail.A.new_empty(n, *tail.A.shape[1:])
    loss, score = tail.logits.new_empty(n, k), tail.logits.new_empty(n)
    for sample, channels in _by_sample(n, k, _within_copies(work, tail.A)):
        c = int(target[sample])
        if channels.start == 0:
            if sample > 0:
                tail = Tail(model, x[sample : sample + 1], layer, who, direct=tail.direct)
            A[sample], score[sample] = tail.A[0], _score(tail.logits, output)[0, c]
        loss[sample, channels.start : channels.stop] = _loss(tail.logits, tail(_without(tail.A, channels)), c, output)
    w = loss / _divisor(A, score, normalise)
    values = torch.einsum("nk,nk...->n...", w, A)[:, None]  # (n, 1, *coarse)
    return values.relu() if relu else values


def _within_copies(work: Work, A: Tensor) -> Work:
    if A.device.type != "cpu":
        return work
    most = max(1, _COPIES_BYTES // (A.numel() * A.element_size()))
    return Work(min(work.rows, most), work.progress)


def _by_sample(n: int, k: int, work: Work) -> Iterator[tuple[int, range]]:
    """Channels of one sample that run together, all of the first sample before any of the second."""
    for part in work.slices(n * k, "channel"):
        for sample in range(part.start // k, (part.stop - 1) // k + 1):
            yield sample, range(max(part.start - sample * k, 0), min(part.stop - sample * k, k))


def _without(A: Tensor, channels: range) -> Tensor:
    """Copies of A (1, k, *coarse), each with one channel at 0, shape (r, k, *coarse)."""
    rows = A.expand(len(channels), *A.shape[1:]).clone()  # keeps the layout, as repeat would not
    rows[torch.arange(len(channels)), torch.tensor(channels)] = 0
    return rows


def _score(logits: Tensor, output: str) -> Tensor:
    return logits.softmax(1) if output == "probability" else logits


def _loss(logits: Tensor, ablated: Tensor, c: int, output: str) -> Tensor:
    """Difference y - y_k for logits (1, classes) and ablated ones (r, classes), shape (r,)."""
    y, y_k = _score(logits, output), _score(ablated, output)
    if output == "logit":
        return y[:, c] - y_k[:, c]
    # y (1 - y_k) - y_k (1 - y), with the rivals' sum for 1 - y: of two scores close to 1 nothing cancels.
    rivals = torch.arange(y.shape[1], device=y.device) != c
    return y[:, c] * y_k[:, rivals].sum(1) - y_k[:, c] * y[:, rivals].sum(1)


def _divisor(A: Tensor, score: Tensor, normalise: str) -> Tensor:
    """What the losses (n, k) are divided by."""
    if normalise == "none":
        return torch.ones_like(score)[:, None]
    if normalise == "norm":
        norm = A.abs().flatten(2).sum(2)
        return torch.where(norm > 0, norm, 1)  # a channel that is 0 loses nothing when it is set to 0
    empty = (score == 0).nonzero()
    if len(empty):
        raise OptionError(
            "ablation_cam: normalise='score' must have a score other than 0 to divide by; the score of sample "
            f"{int(empty[0])} is 0. Try normalise='norm' or 'none'."
        )
    return score.abs()[:, None]
