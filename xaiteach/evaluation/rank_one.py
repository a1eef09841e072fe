"""Why some explanations forget the class: what comes back from different classes becomes the same on the way down.

Symbols: classes c, layers l; G_l (values, classes) what comes back to the input of layer l, one column for each class
it started from. sigma_1 >= sigma_2 >= ... are its singular values.

A rule that hands back by matrices without negative entries (z+, guided by no sign) multiplies them on the way; such
products tend to rank 1, whatever the matrices are, so that every start ends in the same direction. Then sigma_2 /
sigma_1 tends to 0 and the cosine between the columns to 1. A network is cut into stages, and each stage's rest is
explained as a network of its own, from the activations that reach it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from xaiteach.attribution.base import explain
from xaiteach.errors import ModelError, OptionError
from xaiteach.evaluation.base import Explainer, Result, evaluating, logits_of, named_explainers

if TYPE_CHECKING:
    from xaiteach.plots.figure import ReadableFigure

__all__ = ["Convergence", "convergence", "stages_of"]


def stages_of(model: nn.Module, x: Tensor) -> dict[str, nn.Module]:
    """Stages that, run one after the other, are the model: its children, nested sequences taken apart.

    Parameters
        x : Tensor, shape (n, ...). What it is tried out on.
    Raises
        ModelError: the children in their order are not the model, as in a network with branches.
    Examples
        >>> net = nn.Sequential(nn.Sequential(nn.Linear(3, 2), nn.ReLU()), nn.Linear(2, 2))
        >>> list(stages_of(net, torch.zeros(1, 3)))
        ['0.0', '0.1', '1']
    """
    found = dict(_taken_apart(model, ""))
    try:
        with evaluating(model, x.device):
            same = torch.allclose(_run(found.values(), x), model(x.clone()), rtol=1e-4, atol=1e-6)
    except RuntimeError:
        same = False
    if not same:
        raise ModelError(
            "stages_of: the model must be what its children are, run one after the other; it computes something else. "
            "Try stages={name: module, ...} whose composition is the model."
        )
    return found


def _taken_apart(module: nn.Module, name: str) -> list[tuple[str, nn.Module]]:
    children = list(module.named_children())
    if children and (isinstance(module, nn.Sequential) or not name):
        return [part for key, child in children for part in _taken_apart(child, f"{name}.{key}" if name else key)]
    return [(name, module)]


def _run(stages: Any, x: Tensor) -> Tensor:
    for stage in stages:
        x = stage(x.clone())  # a stage may work in place
    return x


@dataclass(frozen=True, eq=False, repr=False)
class Convergence(Result):
    """How alike what comes back from different classes is, layer by layer.

    Parameters
        layers : names of the stages with weights, from the last to the first.
        singular : explainer -> Tensor, shape (layers, n, classes), float64. Singular values of G_l, the largest first,
            its columns brought to length 1.
        cosines : explainer -> Tensor, shape (layers, n), float64. Mean cosine between two columns of G_l.
    """

    layers: tuple[str, ...]
    singular: Mapping[str, Tensor]
    cosines: Mapping[str, Tensor]
    title: str = "What comes back from different classes: mean cosine (sigma_2 / sigma_1), from the last layer down"

    def ratio(self, explainer: str) -> Tensor:
        """sigma_2 / sigma_1, shape (layers, n); 0 is rank 1."""
        values = self.singular[explainer]
        return values[..., 1] / torch.where(values[..., 0] > 0, values[..., 0], 1.0)

    @property
    def columns(self) -> tuple[str, ...]:
        """Explainer and layers."""
        return ("explainer", *self.layers)

    def rows(self) -> list[tuple[str, ...]]:
        """One row for each explainer."""
        found = []
        for name, cosines in self.cosines.items():
            cells = zip(cosines.mean(1).tolist(), self.ratio(name).mean(1).tolist(), strict=True)
            found.append((name, *(f"{cosine:.3f} ({ratio:.3f})" for cosine, ratio in cells)))
        return found

    def plot(self, *, singular: bool = False, **options: Any) -> ReadableFigure:
        """Curves of the mean cosines (or of sigma_2 / sigma_1), with a band of one SD over images."""
        from xaiteach.plots import Series, curves

        series = {}
        for name in self.cosines:
            values = self.ratio(name) if singular else self.cosines[name]
            mean, sd = values.mean(1), values.std(1, correction=0)
            series[name] = Series(mean.tolist(), (mean - sd).tolist(), (mean + sd).tolist())
        label = "sigma_2 / sigma_1" if singular else "mean cosine between classes"
        return curves(series, list(self.layers), x_label="at the input of", y_label=label, **options)


def convergence(
    model: nn.Module,
    x: Tensor,
    explainers: Explainer | list[Explainer] | Mapping[str, Explainer],
    *,
    classes: Sequence[int] | None = None,
    stages: Mapping[str, nn.Module] | None = None,
) -> Convergence:
    """Singular values and cosines of what comes back from different classes, at the input of every layer with weights.

    Parameters
        model : nn.Module that is its stages, one after the other.
        x : Tensor, shape (n, ...).
        explainers : whose values are what comes back: rules for the way back, or gradients. They explain each rest of
            the network from its activations on; those that need a convolution can only go down to the last.
        classes : two or more, or None for all. Columns of G_l.
        stages : name -> module, whose composition is the model; None: see `stages_of`.
    Returns
        Convergence.
    Raises
        ModelError: the model is not its stages; or as `explain`, with the layer.
        OptionError: fewer than two classes.
    Cost
        Each explainer once for every class and layer, on what is above the layer.
    Source
        Sixt, Granz, Landgraf (2020), sections 3 and 5 (cosine similarity convergence); they start from random vectors
        instead of classes.
    Examples
        >>> from xaiteach import models
        >>> net, x = models.build("flat_head", 0), torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        >>> found = convergence(net, x, ["lrp_zplus", "saliency"])
        >>> found.layers, found.singular["lrp_zplus"].shape
        (('classifier', 'features.conv1'), torch.Size([2, 2, 3]))
    """
    parts = dict(stages) if stages is not None else stages_of(model, x)
    logits = logits_of(model, x, "convergence")
    chosen = list(range(logits.shape[1])) if classes is None else [int(c) for c in classes]
    if len(set(chosen)) < 2:
        raise OptionError(f"convergence: `classes` must be two or more; got {chosen}. Try None for all.")
    names = list(parts)
    weighty = [at for at, name in enumerate(names) if any(True for _ in parts[name].parameters())]
    reached = _reached(model, parts, x)
    singular: dict[str, list[Tensor]] = {}
    cosines: dict[str, list[Tensor]] = {}
    for name, explainer in named_explainers(explainers).items():
        method, options = explainer if isinstance(explainer, tuple) else (explainer, {})
        for at in reversed(weighty):
            rest = nn.Sequential(*[parts[key] for key in names[at:]])
            G = _columns(method, options, rest, reached[at], chosen)  # (n, classes, values)
            singular.setdefault(name, []).append(torch.linalg.svdvals(G))
            cosines.setdefault(name, []).append(_mean_cosine(G))
    return Convergence(
        tuple(names[at] for at in reversed(weighty)),
        {name: torch.stack(values) for name, values in singular.items()},
        {name: torch.stack(values) for name, values in cosines.items()},
    )


def _reached(model: nn.Module, parts: Mapping[str, nn.Module], x: Tensor) -> list[Tensor]:
    """What reaches each stage."""
    found = []
    with evaluating(model, x.device):
        for part in parts.values():
            found.append(x)
            x = part(x.clone())
    return found


def _columns(method: Any, options: Mapping[str, Any], rest: nn.Module, A: Tensor, classes: Sequence[int]) -> Tensor:
    """What comes back from each class, of length 1, shape (n, classes, values), float64; a column of zeros stays so."""
    n, m = len(A), len(classes)
    target = torch.tensor(classes).repeat(n).to(A.device)
    values = explain(rest, A.repeat_interleave(m, 0), target, method, progress=False, **options).values
    G = values.detach().double().reshape(n, m, -1)
    length = G.norm(dim=2, keepdim=True)
    return G / torch.where(length > 0, length, 1.0)


def _mean_cosine(G: Tensor) -> Tensor:
    """Mean over pairs of different columns, shape (n,)."""
    gram = G @ G.transpose(1, 2)
    m = gram.shape[1]
    return (gram.sum((1, 2)) - gram.diagonal(dim1=1, dim2=2).sum(1)) / (m * (m - 1))
