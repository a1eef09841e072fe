"""Results of the literature, found again here: the sanity check's finding on digits, theorems, and axioms.

Each report is a table with what is expected beside what was found, and a list of what does not hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from xaiteach.attribution import explain
from xaiteach.errors import unknown
from xaiteach.evaluation.axiom_cases import check_axioms
from xaiteach.evaluation.base import maps_of
from xaiteach.evaluation.replica import NETS, replicate

__all__ = ["CASES", "THEOREMS", "Report", "reports"]


@dataclass(frozen=True)
class Report:
    """One table.

    Parameters
        case : its name.
        title : what is shown.
        columns, rows : the table.
        faults : sentences about what does not hold.
    """

    case: str
    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]
    faults: list[str]

    def as_json(self) -> dict[str, Any]:
        """The fields, with a row as a mapping from column to cell."""
        cells = [[{"column": c, "cell": cell} for c, cell in zip(self.columns, row, strict=True)] for row in self.rows]
        return {"case": self.case, "title": self.title, "rows": cells, "faults": self.faults}


def _net(*, head: str, bias: bool = True, seed: int = 0) -> nn.Sequential:
    """Random net of two convolutions, float64, with a head of mean and dense layer ("mean") or a flat one."""
    layers: list[nn.Module] = [
        nn.Conv2d(2, 6, 3, padding=1, bias=bias), nn.ReLU(), nn.Conv2d(6, 5, 3, padding=1, bias=bias), nn.ReLU(),
    ]  # fmt: skip
    ends = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3, bias=bias)]
    flat = [nn.Flatten(), nn.Linear(5 * 8 * 7, 3, bias=bias)]
    net = nn.Sequential(*layers, *(ends if head == "mean" else flat)).double().eval()
    generator = torch.Generator().manual_seed(seed)
    for parameter in net.parameters():
        with torch.no_grad():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) / 3)
    return net


def _samples(seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1000 + seed)
    return torch.randn(4, 2, 8, 7, generator=generator, dtype=torch.float64), torch.tensor([0, 1, 2, 0])


def _off(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max() / b.abs().max())


def _complete(method: str, **options: Any) -> Callable[[int], float]:
    """How far the values of a method are from adding up to S(x) - S(0), relative to the largest such difference."""

    def off(seed: int) -> float:
        net, (x, target) = _net(head="flat", seed=seed), _samples(seed)
        found = explain(net, x, target, method, progress=False, **options)
        with torch.no_grad():
            change = (net(x) - net(torch.zeros_like(x))).gather(1, target[:, None])[:, 0]
        return _off(found.values.flatten(1).sum(1), change)

    return off


def _cam_is_grad_cam(seed: int) -> float:
    net, (x, target) = _net(head="mean", seed=seed), _samples(seed)
    layer = {"layer": "3"}
    cam, grad_cam = (maps_of((name, layer), net, x, target) for name in ("cam", "grad_cam"))
    return _off(grad_cam * 8 * 7, cam.clamp(min=0))


def _slope_is_weight(seed: int) -> float:
    """Ablation-CAM's (S - S without A^k) / |A^k|_1 beside Grad-CAM's mean gradient."""
    net, (x, target) = _net(head="mean", seed=seed), _samples(seed)
    with torch.no_grad():
        A = net[:4](x)
        whole = net[4:](A).gather(1, target[:, None])[:, 0]
        slopes = []
        for k in range(A.shape[1]):
            without = A.clone()
            without[:, k] = 0
            fall = whole - net[4:](without).gather(1, target[:, None])[:, 0]
            slopes.append(fall / A[:, k].flatten(1).norm(p=1, dim=1))
    leaf = A.clone().requires_grad_()
    (g,) = torch.autograd.grad(net[4:](leaf).gather(1, target[:, None]).sum(), leaf)
    return _off(torch.stack(slopes, 1), g.mean((2, 3)))


def _lrp_is_input_x_gradient(seed: int) -> float:
    net, (x, target) = _net(head="flat", bias=False, seed=seed), _samples(seed)
    relevance = explain(net, x, target, "lrp_epsilon", epsilon=0.0, start="logit", progress=False).values
    return _off(relevance, explain(net, x, target, "input_x_gradient", progress=False).values)


def _rectgrad_is_guided(seed: int) -> float:
    net, (x, target) = _net(head="flat", seed=seed), _samples(seed)
    found = explain(net, x, target, "rectgrad", tau=0.0, progress=False).values
    return _off(found, (x * explain(net, x, target, "guided_backprop", progress=False).values).relu())


def _hirescam_adds_up(seed: int) -> float:
    net, (x, target) = _net(head="mean", seed=seed), _samples(seed)
    found = explain(net, x, target, "hirescam", layer="3", relu=False, progress=False).values
    with torch.no_grad():
        bias: Any = net[6].bias
        own = net(x).gather(1, target[:, None])[:, 0] - bias[target]
    return _off(found.flatten(1).sum(1), own)


THEOREMS: Mapping[str, tuple[Callable[[int], float], float]] = {
    "Grad-CAM is ReLU(CAM) / Z, on a head of mean and dense layer": (_cam_is_grad_cam, 1e-12),
    "Ablation-CAM's slope under the L1 norm is Grad-CAM's weight there": (_slope_is_weight, 1e-10),
    "HiResCAM adds up to the logit less its bias there": (_hirescam_adds_up, 1e-12),
    "LRP-0 is input x gradient, without biases": (_lrp_is_input_x_gradient, 1e-10),
    "RectGrad with threshold 0 is ReLU(input x guided backprop)": (_rectgrad_is_guided, 1e-12),
    "DeepLIFT adds up to S(x) - S(0)": (_complete("deeplift"), 1e-10),
    "Integrated gradients add up to S(x) - S(0), 5000 steps": (_complete("integrated_gradients", n_steps=5000), 1e-3),
}
"""Statement -> how far off it is for a random net of a seed, relative to the largest value, and what is allowed."""

_SEEDS = 3


def _theorems(_trainings: int) -> Report:
    rows: list[tuple[str, ...]] = []
    faults = []
    for statement, (off, allowed) in THEOREMS.items():
        worst = max(off(seed) for seed in range(_SEEDS))
        rows.append((statement, f"{worst:.1e}", f"{allowed:.0e}"))
        if not worst <= allowed:
            faults.append(f"{statement}: off by {worst:.1e}, where {allowed:.0e} is allowed")
    title = f"Theorems on {_SEEDS} random nets, float64: largest difference over the largest value"
    return Report("theorems", title, ("theorem", "off by", "allowed"), rows, faults)


KEEPERS = ("shapley_exact", "integrated_gradients")
"""Those that keep every axiom on the toy networks."""
BREAKERS = {
    "deeplift": "implementation_invariance",
    "saliency": "completeness",
    "input_x_gradient": "completeness",
    "random_map": "dummy",
}
"""Those that break at least this one."""


def _axioms(_trainings: int) -> Report:
    found = check_axioms([*KEEPERS, *BREAKERS])
    faults = [f"{name} must keep {axiom}" for name in KEEPERS for axiom in found.axioms
              if not found.verdicts[name, axiom].holds]  # fmt: skip
    faults += [f"{name} must break {axiom}" for name, axiom in BREAKERS.items() if found.verdicts[name, axiom].holds]
    return Report("axioms", found.title, found.columns, found.rows(), faults)


def _digits(net: str) -> Callable[[int], Report]:
    def made(trainings: int) -> Report:
        found = replicate(net, trainings=trainings)
        return Report(f"digits, {net}", found.title, found.columns, found.rows(), found.faults())

    return made


CASES: Mapping[str, Callable[[int], Report]] = {
    "theorems": _theorems,
    "axioms": _axioms,
    **{f"digits, {net}": _digits(net) for net in NETS},
}


def reports(trainings: int, cases: Sequence[str] = ()) -> Iterator[Report]:
    """Reports of the cases, each as soon as it is there.

    Parameters
        trainings : int >= 1. Nets trained for each of the digits' tables.
        cases : only those with one of these in their name. Default: all.
    Raises
        OptionError: no such case; the message lists them.
        MissingExtraError: scikit-learn is not there.
    """
    for part in cases:
        if not any(part in case for case in CASES):
            raise unknown("case", part, CASES)
    for case, made in CASES.items():
        if not cases or any(part in case for part in cases):
            yield made(trainings)
