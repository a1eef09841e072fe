"""Class activation maps: where the last convolution sees evidence for a class.

Symbols: A activation of the layer (n, k, *coarse), alpha (n, k) one weight per channel, c the target class.

Captum's LayerGradCam is the oracle of the tests and is not wrapped: it keeps the graph below the layer as well, says
nothing of a layer that is called several times, and differentiates the output itself, where ours takes a cotangent on
the logits (the probability's gradient cancels otherwise).
"""

from __future__ import annotations

from torch import Tensor, nn

from xaiteach.attribution.feature_maps import layer_gradient

__all__ = ["grad_cam"]


def grad_cam(
    model: nn.Module, x: Tensor, target: Tensor, *, layer: str | nn.Module, output: str = "logit", relu: bool = True
) -> Tensor:
    """Weighted sum of a layer's channels, weighted by the channel's mean gradient: ReLU(sum_k alpha_k A^k).

    alpha_k = (1/Z) sum_ij dS_c/dA^k_ij, with Z the number of positions, says how the score reacts to channel k; A^k
    says where the channel is active. The ReLU comes after the sum: channels may argue against the class before the cut.

    Parameters
        model : nn.Module from (n, ...) to logits (n, classes), in evaluation mode.
        x : Tensor, shape (n, c, ...). Samples with 1, 2 or 3 spatial axes.
        target : Tensor, shape (n,), long. Class index, 0-based.
        layer : dotted name, "name#k" for its k-th call, or module; its output is (n, k, *coarse). `explain` takes None
            for the last convolution's activation after its ReLU and before pooling.
        output : "logit" or "probability" (computed without cancellation). Which score S_c. Default "logit".
        relu : bool. Whether to cut negative evidence. Default True; False gives the signed map.
    Returns
        Tensor, shape (n, 1, *coarse), in units of the score, per position. With average pooling and one dense layer
        for a head, and relu=False, it sums to the score less its bias.
    Raises
        ModelError: the layer is not called exactly once, has no spatial axes, or the score does not depend on it.
        OptionError: no such layer, or unknown `output`.
    Cost
        1 forward pass, 1 backward pass down to the layer.
    Source
        Selvaraju et al. (2017), eqs. 1 and 2. Z is the number of positions, as there: not the sum of the weights.
    Examples
        >>> from xaiteach import explain
        >>> import torch
        >>> net = nn.Sequential(nn.Conv1d(1, 1, 1), nn.ReLU(), nn.Flatten(), nn.Linear(2, 2))
        >>> for p, value in zip(net.parameters(), [[[[1.0]]], [0.0], [[0.0, 0.0], [1.0, 3.0]], [0.0, 0.0]]):
        ...     _ = p.data.copy_(torch.tensor(value))
        >>> explain(net, torch.tensor([[[5.0, 7.0]]]), 1, "grad_cam").values  # alpha = (1 + 3) / 2
        tensor([[[10., 14.]]])
    """
    A, g = layer_gradient(model, x, target, layer, output, "grad_cam")
    alpha = g.flatten(2).mean(2)  # (n, k)
    values = (alpha.reshape(*alpha.shape, *[1] * (A.ndim - 2)) * A).sum(1, keepdim=True)  # (n, 1, *coarse)
    return values.relu() if relu else values
