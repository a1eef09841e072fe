"""Other people's libraries, asked the same question; they are in the extra `oracles` and never in the package."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import torch
from torch import Tensor, nn

EXACT = {"stabilizer": 1e-30}
"""zennit adds 1e-6 to denominators; this adds nothing that a double could hold."""

AGREED: list[tuple[str, str, float, float]] = []
"""(method, oracle, largest difference over the largest value, what was promised), for the table in CI's log."""


def agreed(method: str, oracle: str, ours: Tensor, theirs: Tensor, promised: float) -> None:
    """Assert and record that two maps differ by at most `promised` of the largest value."""
    scale = float(theirs.abs().max())
    assert scale > 0, "an oracle that is 0 everywhere agrees with nothing"
    difference = float((ours - theirs).abs().max()) / scale
    AGREED.append((method, oracle, difference, promised))
    assert difference <= promised, f"{method} differs from {oracle} by {difference:.2g} of the largest value"


def folded(net: nn.Sequential) -> nn.Sequential:
    """Copy of `conv_net` whose batch norm is in the convolution before it.

    zennit's own folding leaves the batch norm's eps behind, so that it is off by some 1e-6.
    """
    net = copy.deepcopy(net)
    conv, norm = net[3], net[4]
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    with torch.no_grad():
        conv.bias.copy_((conv.bias - norm.running_mean) * scale + norm.bias)
        conv.weight.mul_(scale.reshape(-1, *[1] * (conv.weight.ndim - 1)))
    net[4] = nn.Identity()
    return net


def zennit_values(net: nn.Module, x: Tensor, target: Tensor, rule: str, *arguments: Any, **options: Any) -> Tensor:
    """Relevance from a one-hot start, with one of zennit's rules for every layer with weights."""
    from zennit import composites, rules, types
    from zennit.attribution import Gradient
    from zennit.layer import Sum

    chosen = getattr(rules, rule)(*arguments, **options)
    table = [
        (types.Activation, rules.Pass()),
        (types.AvgPool, rules.Norm(**EXACT)),
        (Sum, rules.Norm(**EXACT)),
        (types.Linear, chosen),
    ]
    composite = composites.LayerMapComposite(table)
    start = torch.eye(net(x[:1]).shape[1], dtype=x.dtype)[target]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Setting forward, backward hooks")
        with Gradient(net, composite) as attributor:
            _, found = attributor(x.clone().requires_grad_(), start)
    return found.detach()


def zennit_backprop(net: nn.Module, x: Tensor, target: Tensor, composite: str) -> Tensor:
    """Guided backprop or DeconvNet by zennit."""
    from zennit import composites
    from zennit.attribution import Gradient

    start = torch.eye(net(x[:1]).shape[1], dtype=x.dtype)[target]
    with Gradient(net, getattr(composites, composite)()) as attributor:
        _, found = attributor(x.clone().requires_grad_(), start)
    return found.detach()


def shap_values(net: nn.Module, x: Tensor, target: Tensor, data: Tensor) -> Tensor:
    """shap's DeepExplainer, for each sample's own target."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import shap

        explainer = shap.DeepExplainer(net, data)
        found = torch.as_tensor(explainer.shap_values(x, check_additivity=False))
    return torch.stack([found[i][..., c] for i, c in enumerate(target.tolist())]).to(x)
