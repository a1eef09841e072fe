"""Every method beside an oracle that somebody else wrote, in float64; the table of differences is printed at the end.

Methods that nobody else has runnable stand beside the slow reference in tests/reference.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import captum.attr
import helpers_attribution as h
import helpers_oracles as o
import pytest
import torch
from torch import Tensor, nn

from xaiteach import explain


@dataclass(frozen=True)
class Row:
    """One comparison: `both` gives ours and theirs; they may differ by `promised` of the largest value."""

    method: str
    oracle: str
    promised: float
    both: Callable[[], tuple[Tensor, Tensor]]


def captum_row(of: str, name: str, promised: float, ours: dict[str, Any] | None = None, **theirs: object) -> Row:
    def both() -> tuple[Tensor, Tensor]:
        net, x, c = h.conv_net(head="hidden").eval(), h.batch(), h.targets()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Setting (forward, )?backward hooks|Input Tensor")
            found = getattr(captum.attr, name)(net).attribute(x.clone().requires_grad_(), target=c, **theirs)
        return explain(net, x, c, of, **(ours or {})).values, found.detach()

    return Row(of, f"Captum {name}", promised, both)


def zennit_row(method: str, rule: str, promised: float, *arguments: object, **ours: object) -> Row:
    def both() -> tuple[Tensor, Tensor]:
        net, x, c = h.conv_net(head="hidden").eval(), h.batch(), h.targets()
        biased = {} if rule == "Epsilon" or ours.get("bias") else {"zero_params": "bias"}
        exact = {} if rule == "Epsilon" else o.EXACT
        found = o.zennit_values(o.folded(net), x, c, rule, *arguments, **biased, **exact)
        return explain(net, x, c, method, **ours).values, found

    return Row(method, f"zennit {rule}{arguments or ''}", promised, both)


def zennit_backprop_row(method: str, composite: str) -> Row:
    def both() -> tuple[Tensor, Tensor]:
        net, x, c = h.conv_net(head="hidden").eval(), h.batch(), h.targets()
        return explain(net, x, c, method).values, o.zennit_backprop(net, x, c, composite)

    return Row(method, f"zennit {composite}", 0.0, both)


def touching() -> nn.Module:
    """Nonlinearities that touch, which Captum mistakes."""
    layers = [nn.Conv2d(h.CHANNELS, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.ReLU(), nn.Conv2d(4, 5, 3)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(*layers, nn.Tanh(), nn.Flatten(), nn.Linear(10, h.CLASSES)).double().eval()


def shap_row(method: str, baselines: int) -> Row:
    def both() -> tuple[Tensor, Tensor]:
        net, x, c, data = touching(), h.batch(), h.targets(), h.batch(baselines, seed=3)
        return explain(net, x, c, method, baseline=data).values, o.shap_values(net, x, c, data)

    return Row(method, "shap DeepExplainer", 1e-12, both)


ROUNDING = 1e-12
"""Of the largest value: the same sums in another order."""

ROWS = [
    captum_row("saliency", "Saliency", ROUNDING, abs=False),
    captum_row("input_x_gradient", "InputXGradient", ROUNDING),
    captum_row("guided_backprop", "GuidedBackprop", 0.0),
    captum_row("deconvnet", "Deconvolution", 0.0),
    # Captum rounds the weights of the quadrature to float32, whatever x is.
    captum_row("integrated_gradients", "IntegratedGradients", 1e-8, n_steps=50, method="gausslegendre"),
    zennit_backprop_row("guided_backprop", "GuidedBackprop"),
    zennit_backprop_row("deconvnet", "DeconvNet"),
    zennit_row("lrp_epsilon", "Epsilon", ROUNDING, 1e-6),
    zennit_row("lrp_gamma", "Gamma", ROUNDING, 0.25, bias=False),
    zennit_row("lrp_gamma", "Gamma", ROUNDING, 0.25, bias=True),
    zennit_row("lrp_zplus", "ZPlus", ROUNDING),
    zennit_row("excitation_backprop", "ZPlus", ROUNDING),
    *(zennit_row("lrp_alpha_beta", "AlphaBeta", ROUNDING, a, a - 1, alpha=a, beta=a - 1) for a in (1.0, 2.0, 3.0, 5.0)),
    zennit_row("lrp_alpha_beta", "AlphaBeta", ROUNDING, 2.0, 1.0, alpha=2.0, beta=1.0, bias=True),
    shap_row("deeplift", 1),
    shap_row("deep_shap", 4),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.method}-{row.oracle}")
def test_a_method_agrees_with_its_oracle(row: Row) -> None:
    ours, theirs = row.both()
    o.agreed(row.method, row.oracle, ours, theirs, row.promised)
