"""DeepLIFT: what the difference to a baseline did, by multipliers that stand for finite slopes.

Symbols: x' baseline, D = x - x' a difference, m a multiplier, so that m D is a contribution; f a nonlinearity. All
tensors of a run hold several parts one after the other along the first axis: sample and baseline for Rescale; baseline,
positive and negative part of the difference for RevealCancel. Multipliers travel back where gradients would, through
every operation where it is called (`operations`): so nonlinearities that touch, a ReLU before a max pooling or after,
are no special case, where hooks on modules mistake one's input for the other's output.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from xaiteach.attribution.operations import PLAIN, Operation, Rule, propagated
from xaiteach.attribution.paths import as_baseline, as_baselines
from xaiteach.attribution.relevance import affine, only_scaled
from xaiteach.attribution.reveal_cancel import followed, only_input, quotient, reveal_cancel_rules, rows_first
from xaiteach.attribution.scores import run
from xaiteach.attribution.work import Work
from xaiteach.errors import ModelError

__all__ = ["deep_shap", "deeplift", "deeplift_reveal_cancel"]

Model = Callable[[Tensor], Any]


def deeplift(
    model: Model, x: Tensor, target: Tensor, *, baseline: Tensor | float | None = None, work: Work
) -> tuple[Tensor, Tensor]:
    """Difference to a baseline times multipliers, by the Rescale rule: m = (f(z) - f(z')) / (z - z').

    It answers what each value's difference to the baseline did to the logit. A slope over the whole difference, where a
    gradient has one at the end, does not vanish where a unit is saturated. Contributions sum to the difference of the
    logits.

    Parameters
        model : callable from (n, ...) to logits (n, classes), in evaluation mode, of operations that have a rule.
        x : Tensor, shape (n, ...). Samples.
        target : Tensor, shape (n,), long. Class index, 0-based.
        baseline : Tensor of x's shape or (1, ...), float, or None for zeros.
    Returns
        Tensor of x's shape, in logits, signed; and the residual S(x) - S(x') - sum, shape (n,), rounding alone.
    Raises
        ShapeError: the baseline does not match x.
        ModelError: an operation without a rule, or one that cannot be seen; samples that depend on each other;
            contributions that do not add up.
    Cost
        1 forward and 1 backward pass of sample and baseline, 2 forward passes.
    Source
        Shrikumar, Greenside, Kundaje (2017), section 3.5.2, which is seed 002 (4.24)-(4.26). Of max pooling they say
        nothing; as in the library shap, the difference of the maxima goes to the winner that made it, the sample's or
        the baseline's. Of a product of two activations each factor gets its Shapley value. The seed's (4.23) has x for
        the target t.
    Examples
        >>> from xaiteach import explain
        >>> net = torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.ReLU())
        >>> _ = net[0].weight.data.fill_(2.0), net[0].bias.data.fill_(-1.0)
        >>> explain(net, torch.ones(1, 1), 0, "deeplift").values  # from ReLU(-1) = 0 to ReLU(1) = 1
        tensor([[1.]])
    """
    base = as_baseline(baseline, x, "deeplift")
    pairs = _paired(model, x, base, target, work, "deeplift")
    return _checked(_rescaled(model, pairs, work, "deeplift"), pairs, "deeplift")


def deep_shap(
    model: Model, x: Tensor, target: Tensor, *, baseline: Tensor | None = None, work: Work
) -> tuple[Tensor, Tensor]:
    """Mean of DeepLIFT over a set of baselines.

    It answers what sets this sample's logit apart from the data's. Where the model is linear these are Shapley values,
    absent values being taken from the baselines; elsewhere those of its layers, chained.

    Parameters
        model, x, target : as `deeplift`.
        baseline : Tensor, shape (m, ...). The data, in input units; needed. Every one is used.
    Returns
        Tensor of x's shape, in logits, signed; and the residual S(x) - mean S(baseline) - sum, shape (n,).
    Raises
        ShapeError: no baselines, or not like x.
        ModelError: as `deeplift`.
    Cost
        m forward and backward passes of sample and baseline, 1 forward pass, and m forward passes for all samples
        together.
    Source
        Lundberg, Lee (2017), section 4.2, which is seed 002 (6.24). Both have one reference, the mean of the data; the
        mean over references is what the library shap made of it.
    Examples
        >>> from xaiteach import explain
        >>> net, data = torch.nn.Linear(3, 2), torch.zeros(5, 3)
        >>> a = explain(net, torch.ones(1, 3), 1, "deep_shap", baseline=data)
        >>> torch.allclose(a.values[0], net.weight[1], atol=1e-6)
        True
    """
    data = as_baselines(baseline, x, "deep_shap")
    there, here = _logits(model, x, work, "deep_shap"), _logits(model, data, work, "deep_shap")
    total = torch.zeros_like(x)
    for rows in Work(max(1, work.rows // 2), work.progress).copies(x, target, len(data), "baseline"):
        pairs = _Pairs(rows.x, data[rows.number], rows.target, there[rows.sample], here[rows.number])
        values = _rescaled(model, pairs, Work(2 * len(rows.x), progress=False), "deep_shap")
        total.index_add_(0, rows.sample, _checked(values, pairs, "deep_shap")[0])
    values = total / len(data)
    difference = there.gather(1, target[:, None])[:, 0] - here.mean(0)[target]
    return values, difference - values.flatten(1).sum(1)


def deeplift_reveal_cancel(
    model: Model, x: Tensor, target: Tensor, *, baseline: Tensor | float | None = None, work: Work
) -> tuple[Tensor, Tensor]:
    """Difference to a baseline times multipliers, by the RevealCancel rule: positive and negative parts apart.

    What raises and what lowers a unit's input each get their mean effect over both orders of coming in. A unit in which
    the two cancel is no longer silent about them: of min(a, b) with positive a and b Rescale gives all to the smaller,
    this half to each. Where small differences are noise below a threshold, Rescale is the one that gives them 0.

    Parameters
        model, x, target, baseline : as `deeplift`.
    Returns
        Tensor of x's shape, in logits, signed; and the residual S(x) - S(x') - sum, shape (n,), rounding alone.
    Raises
        ShapeError: the baseline does not match x.
        ModelError: as `deeplift`; or a product of two activations.
    Cost
        About 4 times `deeplift`: a layer with weights has 5 rows for each sample on the way there, 4 on the way back.
    Source
        Shrikumar, Greenside, Kundaje (2017), section 3.5.3, which is seed 002 (4.27)-(4.30). For what they leave open,
        batch norm, sums and max pooling, see `reveal_cancel`. The seed gives both inputs half of min(a, b) whatever
        they are: below 0 they get their Shapley values, which differ.
    Examples
        >>> from xaiteach import explain
        >>> net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU(), torch.nn.Linear(2, 1))
        >>> _ = net[0].weight.data.copy_(torch.tensor([[1.0, 0.0], [1.0, -1.0]])), net[0].bias.data.zero_()
        >>> _ = net[2].weight.data.copy_(torch.tensor([[1.0, -1.0]])), net[2].bias.data.zero_()  # min(a, b)
        >>> explain(net, torch.tensor([[3.0, 2.0]]), 0, "deeplift_reveal_cancel").values.round(decimals=3)
        tensor([[1., 1.]])
    """
    who = "deeplift_reveal_cancel"
    pairs = _paired(model, x, as_baseline(baseline, x, who), target, work, who)
    rules, parts = reveal_cancel_rules(who), []
    for part in Work(max(1, work.rows // 3), work.progress).slices(len(x)):
        own = pairs.rows(part)
        D = own.x - own.base

        def start(logits: Tensor, own: _Pairs = own) -> Tensor:
            here, P, N = logits.detach().chunk(3)
            _check_alone(own, here + P + N, here, P, N, who=who)
            return torch.cat([torch.zeros_like(here), _one_hot(own), _one_hot(own)])

        thirds = torch.cat([own.base, D.clamp(min=0), D.clamp(max=0)])
        _, up, down = propagated(model, thirds, rules, who, start, ("activation", "max_pool", "linear")).chunk(3)
        parts.append(D * torch.where(D > 0, up, down))
    return _checked(torch.cat(parts), pairs, who)


class _Pairs(NamedTuple):
    """Samples and their baselines, shape (n, ...), targets (n,), and the logits of each by itself, (n, classes)."""

    x: Tensor
    base: Tensor
    target: Tensor
    there: Tensor
    here: Tensor

    def rows(self, part: slice) -> _Pairs:
        return _Pairs(*(tensor[part] for tensor in self))


def _paired(model: Model, x: Tensor, base: Tensor, target: Tensor, work: Work, who: str) -> _Pairs:
    return _Pairs(x, base, target, _logits(model, x, work, who), _logits(model, base, work, who))


def _logits(model: Model, x: Tensor, work: Work, who: str) -> Tensor:
    """Logits without a graph, shape (n, classes), within the budget; one row for all where all samples are equal."""
    rows = x[:1] if bool((x == x[:1]).all()) else x
    with torch.no_grad():
        slices = Work(work.rows, progress=False).slices(len(rows))
        return torch.cat([run(model, rows[part], who, gradient=False) for part in slices]).expand(len(x), -1)


def _rescaled(model: Model, pairs: _Pairs, work: Work, who: str) -> Tensor:
    """Contributions; two rows are at work for each sample."""
    rules, parts = _rescale_rules(who), []
    for part in Work(max(1, work.rows // 2), work.progress).slices(len(pairs.x)):
        own = pairs.rows(part)

        def start(logits: Tensor, own: _Pairs = own) -> Tensor:
            _check_alone(own, *logits.detach().chunk(2), who=who)
            return _first_half(_one_hot(own))

        both = torch.cat([own.x, own.base])
        m = propagated(model, both, rules, who, start, ("activation", "max_pool"))
        parts.append((own.x - own.base) * m.chunk(2)[0])
    return torch.cat(parts)


def _one_hot(pairs: _Pairs) -> Tensor:
    """1 at the target, where the way back starts."""
    return torch.zeros_like(pairs.there).scatter_(1, pairs.target[:, None], 1)


_ROUNDING = 1e4
"""What rounding may do, in eps of the scale. Nets reach 300 (vgg11, a baseline 1e-4 away), by what cancels inside."""


def _check_alone(pairs: _Pairs, there: Tensor, here: Tensor, *parts: Tensor, who: str) -> None:
    """Check that logits in a batch are what they are alone; `parts` are what they were summed from."""
    size = sum((t.abs() for t in (pairs.there, pairs.here, *parts)), torch.zeros_like(there)).amax(1, keepdim=True)
    off = (torch.maximum((there - pairs.there).abs(), (here - pairs.here).abs()) > _bound(size)).nonzero()
    if len(off):
        i, c = (int(v) for v in off[0])
        raise ModelError(
            f"{who}: a sample's logits must not depend on the rest of its batch; for class {c} sample {i} differs from "
            f"its baseline by {float(pairs.there[i, c] - pairs.here[i, c]):.4g}, in a batch with it by "
            f"{float(there[i, c] - here[i, c]):.4g}. Try keeping the samples apart, along the first axis."
        )


def _checked(values: Tensor, pairs: _Pairs, who: str) -> tuple[Tensor, Tensor]:
    """Values and what they miss of the difference of the scores, which may be rounding and no more."""
    there, here = (logits.gather(1, pairs.target[:, None])[:, 0] for logits in (pairs.there, pairs.here))
    residual = there - here - values.flatten(1).sum(1)
    off = ~(residual.abs() <= _bound(there.abs() + here.abs() + values.flatten(1).abs().sum(1)))  # NaN is off, too
    if bool(off.any()):
        i = int(off.nonzero()[0])
        raise ModelError(
            f"{who}: contributions must add up to the difference of the scores; for sample {i} they miss "
            f"{float(residual[i]):.3g} of {float((there - here)[i]):.3g}, as where an operation does not have the "
            "samples along its first axis. Try 'integrated_gradients'."
        )
    return values, residual


def _bound(size: Tensor) -> Tensor:
    return _ROUNDING * torch.finfo(size.dtype).eps * size


def _rescale_rules(who: str) -> dict[str, Rule]:
    def linear(operation: Operation) -> Any:
        only_input(operation, who, 2)
        return operation.plain()

    def batch_norm(operation: Operation) -> Any:
        affine(operation, who)
        return linear(operation)

    def scale(operation: Operation) -> Any:
        if len(operation.inputs) == 2 and "mul" in operation.name:
            return _product(operation, who)
        only_scaled(operation, who)
        return operation.plain()

    return {
        "linear": linear,
        "batch_norm": batch_norm,
        "relu": lambda operation: _slope(operation, who),
        "activation": lambda operation: _slope(operation, who),
        "max_pool": lambda operation: _pooled(operation, who),
        "scale": scale,
        **dict.fromkeys(("average", "add", "structure"), PLAIN),
    }


def _slope(operation: Operation, who: str) -> Tensor:
    """(f(z) - f(z')) / (z - z'), and f'(z) where the two are equal."""
    x = only_input(operation, who, 2)
    y, derivative = followed(operation, x, who)
    at, values = x.chunk(2), y.chunk(2)
    rounds = operation.kind != "relu"  # which takes its values from its inputs
    limit = derivative(torch.ones_like(y)).chunk(2)[0]
    m = quotient(values[0] - values[1], at[0] - at[1], limit, at if rounds else (), values if rounds else ())

    def back(g: Tensor) -> tuple[Tensor]:
        return (_first_half(g.chunk(2)[0] * m),)

    return operation.replaced(back, y)


def _pooled(operation: Operation, who: str) -> Tensor:
    """The difference of the maxima goes to the sample's winner where it is positive, else to the baseline's."""
    y, winners = followed(operation, only_input(operation, who, 2), who)
    rise = y.chunk(2)[0] - y.chunk(2)[1]

    def back(g: Tensor) -> tuple[Tensor]:
        half = g.chunk(2)[0]
        z, z0 = operation.inputs[0].chunk(2)
        won, lost = winners(torch.cat([half * rise.clamp(min=0), half * rise.clamp(max=0)])).chunk(2)
        limit = winners(_first_half(half * (rise == 0))).chunk(2)[0]
        return (_first_half(quotient(won + lost, z - z0, limit)),)

    return operation.replaced(back, y)


def _product(operation: Operation, who: str) -> Tensor:
    """Of a b each factor gets the other's mean over sample and baseline: the Shapley values of two factors."""
    rows_first(operation, who)

    def back(g: Tensor) -> list[Tensor]:
        half = g.chunk(2)[0]
        found = []
        for own, other in (operation.inputs, operation.inputs[::-1]):
            mean = (other.chunk(2)[0] + other.chunk(2)[1]) / 2
            found.append(_first_half((half * mean).sum_to_size(own.chunk(2)[0].shape)))
        return found

    return operation.replaced(back)


def _first_half(m: Tensor) -> Tensor:
    """Multipliers of the sample, and none for the baseline."""
    return torch.cat([m, torch.zeros_like(m)])
