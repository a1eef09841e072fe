"""What every protocol shares: explanations by anything that explains, scores without a trace, and results as tables.

Symbols: n samples, S the score of a class, M a map (n, *spatial).
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from xaiteach.attribution.base import Attribution, explain
from xaiteach.attribution.isolation import leaves_no_trace
from xaiteach.attribution.registry import entry
from xaiteach.attribution.scores import OUTPUTS, run
from xaiteach.errors import OptionError, unknown
from xaiteach.guards import check_input, check_target
from xaiteach.plots import html_table, text_table

if TYPE_CHECKING:
    from xaiteach.plots.figure import ReadableFigure

__all__ = [
    "Explainer",
    "Explainers",
    "Result",
    "attribution_of",
    "beside_controls",
    "evaluating",
    "explained",
    "logits_of",
    "looked_up",
    "maps_of",
    "mean_sd",
    "named_explainers",
    "samples_and_classes",
    "scores_of",
    "with_own_layer",
]

Explainer = Any
"""What explains: a name of the registry, (name, options), a Captum object, or a callable (model, x, target) -> map."""

Explainers = Explainer | Sequence[Explainer] | Mapping[str, Explainer]

_ROWS = 256


class Result(ABC):
    """Numbers of one protocol, which print as a table and draw themselves."""

    title: str = ""

    @property
    @abstractmethod
    def columns(self) -> tuple[str, ...]:
        """Header of the table."""

    @abstractmethod
    def rows(self) -> list[tuple[str, ...]]:
        """Cells of the table, formatted."""

    @abstractmethod
    def plot(self, **options: Any) -> ReadableFigure:
        """Figure of the numbers."""

    def __repr__(self) -> str:
        return f"{self.title}\n{text_table(self.columns, self.rows())}"

    def _repr_html_(self) -> str:
        return html_table(self.columns, self.rows(), self.title)


def named_explainers(explainers: Explainer | Sequence[Explainer] | Mapping[str, Explainer]) -> dict[str, Explainer]:
    """Explainers by name: one of them, several, or a mapping, whose names are kept.

    Raises
        OptionError: none, or two of one name.
    Examples
        >>> list(named_explainers(["saliency", ("lrp_alpha_beta", {"alpha": 1.0, "beta": 0.0})]))
        ['saliency', 'lrp_alpha_beta(alpha=1.0, beta=0.0)']
    """
    if isinstance(explainers, Mapping):
        found = dict(explainers)
    else:
        several = list(explainers) if isinstance(explainers, list) else [explainers]
        names = [_name(one) for one in several]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice:
            raise OptionError(
                f"explainers must have names of their own; got two {twice!r}. Try a dict: name -> explainer."
            )
        found = dict(zip(names, several, strict=True))
    if not found:
        raise OptionError("explainers must be one or more; got none. Try ['saliency', 'random_map'].")
    return found


def looked_up(values: Mapping[str, Tensor], explainer: str) -> Tensor:
    """Numbers of one explainer.

    Raises
        OptionError: it was not computed; the message names the nearest.
    """
    if explainer not in values:
        raise unknown("explainer", explainer, values)
    return values[explainer]


def mean_sd(values: Tensor, digits: int = 3) -> str:
    """Mean and standard deviation as a cell of a table, "0.512 (0.034)"."""
    return f"{values.mean():.{digits}f} ({values.std(correction=0):.{digits}f})"


def beside_controls(explainers: Explainers, x: Tensor) -> dict[str, Explainer]:
    """Explainers by name, and behind them what never looks at the model: the edge detector (but for tables) and noise.

    Raises
        OptionError: as `named_explainers`.
    """
    named = named_explainers(explainers)
    for control in ("edge_detector", "random_map") if x.ndim > 2 else ("random_map",):
        named.setdefault(control, control)
    return named


def samples_and_classes(
    model: Callable[[Tensor], Any], x: Tensor, target: int | Tensor | Sequence[int] | None, who: str
) -> tuple[Tensor, Tensor]:
    """Samples, checked, and a class for each: those given, or where there are none those that the model predicts."""
    x = check_input(x, who)
    logits = logits_of(model, x, who)
    return x, logits.argmax(1) if target is None else check_target(target, len(x), logits.shape[1], who, x.device)


def explained(
    model: Callable[[Tensor], Any],
    x: Tensor,
    target: int | Tensor | Sequence[int] | None,
    explainers: Explainers,
    who: str,
    *,
    seed: int = 0,
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Samples and classes, checked, and each explainer's and control's maps (n, *spatial); every one draws from `seed`.

    Parameters
        target : as of `maps_of`, or None for the classes that the model predicts.
    Raises
        ShapeError, TargetError, ModelError, OptionError: as `maps_of`.
    """
    x, classes = samples_and_classes(model, x, target, who)
    maps = {
        name: maps_of(explainer, model, x, classes, generator=torch.Generator().manual_seed(seed))
        for name, explainer in beside_controls(explainers, x).items()
    }
    return x, classes, maps


def _name(explainer: Explainer) -> str:
    if isinstance(explainer, str):
        return explainer
    if isinstance(explainer, tuple) and len(explainer) == 2:
        options = ", ".join(f"{key}={value}" for key, value in explainer[1].items())
        return f"{explainer[0]}({options})"
    return str(getattr(explainer, "__name__", type(explainer).__name__)).strip("<>")


def maps_of(
    explainer: Explainer,
    model: Callable[[Tensor], Any],
    x: Tensor,
    target: int | Tensor | Sequence[int],
    *,
    generator: torch.Generator | None = None,
    budget_mib: float | None = None,
) -> Tensor:
    """Maps of the samples, shape (n, *spatial), signed, of x's dtype and on its device; nothing is left behind.

    Parameters
        explainer : see `Explainer`. A callable may return a map (n, *spatial), values (n, channels, *spatial) or an
            Attribution.
        model : from (n, ...) to logits (n, classes).
        x : Tensor, shape (n, ...).
        target : int, or (n,) long. Class index, 0-based.
        generator : what a random method draws from; None: the global state, put back.
        budget_mib : as of `explain`.
    Raises
        ShapeError, TargetError, ModelError, OptionError: as `explain`.
    Examples
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))
        >>> maps_of(lambda model, x, target: x[:, 0] ** 2, net, 3 * torch.ones(1, 1, 4), 0)
        tensor([[9., 9., 9., 9.]])
    """
    return attribution_of(explainer, model, x, target, generator=generator, budget_mib=budget_mib).map


def attribution_of(
    explainer: Explainer,
    model: Callable[[Tensor], Any],
    x: Tensor,
    target: int | Tensor | Sequence[int],
    *,
    generator: torch.Generator | None = None,
    budget_mib: float | None = None,
) -> Attribution:
    """As `maps_of`, the whole Attribution: its `values` may tell channels apart."""
    options: dict[str, Any] = {}
    method = explainer
    if isinstance(explainer, tuple) and len(explainer) == 2 and isinstance(explainer[1], Mapping):
        method, options = explainer[0], dict(explainer[1])
    if callable(method) and not isinstance(method, type) and not callable(getattr(method, "attribute", None)):
        method = _unwrapped(method)
    return explain(model, x, target, method, generator=generator, budget_mib=budget_mib, progress=False, **options)


def with_own_layer(explainer: Explainer, model: Any, x: Tensor, target: Tensor) -> Explainer:
    """The explainer with the layer spelled out that it chooses for this model, where it is a name with that option."""
    name, options = explainer if isinstance(explainer, tuple) else (explainer, {})
    if not isinstance(name, str) or options.get("layer") is not None or "layer" not in entry(name).options:
        return explainer
    found = explain(model, x, target, name, progress=False, **options)
    return (name, {**options, "layer": found.options["layer"]})


def _unwrapped(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)  # `explain` looks at the signature: whether it takes a generator, which options it has
    def call(model: Any, x: Tensor, target: Tensor, **options: Any) -> Any:
        found = method(model, x, target, **options)
        return found.map if isinstance(found, Attribution) else found

    call.__name__ = _name(method)
    return call


@contextmanager
def evaluating(model: object, device: torch.device) -> Iterator[None]:
    """Context in which the model is in evaluation mode and no graph is built; its modes and buffers come back."""
    with leaves_no_trace(model, device), torch.no_grad():
        yield


def logits_of(model: Callable[[Tensor], Any], x: Tensor, who: str, *, rows: int = _ROWS) -> Tensor:
    """Logits (n, classes), without a graph, in evaluation mode, `rows` samples at a time.

    Raises
        ModelError: the output is not (n, classes) and finite.
    """
    with evaluating(model, x.device):
        return torch.cat([run(model, x[at : at + rows], who, gradient=False) for at in range(0, len(x), rows)])


def scores_of(
    model: Callable[[Tensor], Any],
    x: Tensor,
    target: int | Tensor | Sequence[int],
    who: str,
    *,
    output: str = "logit",
    rows: int = _ROWS,
) -> Tensor:
    """Score of each sample's class, shape (n,): its logit or probability.

    Raises
        OptionError: unknown `output`.
        TargetError: a target is no class.
    """
    if output not in OUTPUTS:
        raise unknown("output", output, OUTPUTS)
    logits = logits_of(model, x, who, rows=rows)
    classes = check_target(target, len(x), logits.shape[1], who, x.device)
    scores = logits.softmax(1) if output == "probability" else logits
    return scores.gather(1, classes[:, None])[:, 0]
