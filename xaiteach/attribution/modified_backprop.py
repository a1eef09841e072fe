"""Backward passes in which every ReLU follows another rule than its derivative.

Symbols: g what comes for a ReLU's output, z its input, a = max(z, 0) its output. The derivative hands on g 1[z > 0].
All other operations keep theirs; max pooling hands to its winner. ReLUs are seen where they are called (`operations`):
as a module or a function, in place or not, and one that is used several times. Captum, which hooks modules, gives the
plain gradient for a function; and where a ReLU's input feeds other branches too, it changes what comes back from those.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from xaiteach.attribution.operations import OTHERS, PLAIN, Operation, Rule, propagated
from xaiteach.attribution.scores import cotangent
from xaiteach.errors import ModelError, OptionError

__all__ = ["deconvnet", "guided_backprop", "rectgrad"]

Model = Callable[[Tensor], Any]


def deconvnet(model: Model, x: Tensor, target: Tensor, *, output: str = "logit") -> Tensor:
    """Backward pass in which each ReLU hands on what is positive, whatever its own input was: max(g, 0).

    It reconstructs what could have led to the score rather than saying what did: without the mask of the forward pass
    only max pooling ties it to this input. Captum has exactly this rule; a claim in a thesis on sanity checks, that
    it mixes mask and sign, describes guided backprop instead.

    Parameters
        model : callable from (n, ...) to logits (n, classes), in evaluation mode. Its nonlinearities are ReLUs.
        x : Tensor, shape (n, ...). Samples.
        target : Tensor, shape (n,), long. Class index, 0-based.
        output : "logit" or "probability". Which score. Default "logit".
    Returns
        Tensor of x's shape, in logits (or probability) per input unit, as far as rules of this kind have units.
    Raises
        ModelError: no ReLU, another nonlinearity, or one that cannot be seen; the message names the layer.
        OptionError: unknown `output`.
    Cost
        1 forward and 1 backward pass.
    Source
        Zeiler, Fergus (2014), section 2.1.
    Examples
        >>> from xaiteach import explain
        >>> net = torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Linear(2, 2))
        >>> a = explain(net, torch.tensor([[-1.0, 1.0]]), 1, "deconvnet")  # the first input is off: no matter
        >>> torch.equal(a.values[0], net[1].weight[1].relu())
        True
    """
    return _backprop(model, x, target, lambda _: lambda g: g.relu(), output, "deconvnet")


def guided_backprop(model: Model, x: Tensor, target: Tensor, *, output: str = "logit") -> Tensor:
    """Backward pass in which each ReLU hands on what is positive, where its own input was: max(g, 0) 1[z > 0].

    Sharp and pleasing, and nearly blind to the class and to the weights of the upper layers: it recovers edges of the
    input (Nie et al., 2018) and fails the sanity check.

    Parameters
        model : callable from (n, ...) to logits (n, classes), in evaluation mode. Its nonlinearities are ReLUs.
        x : Tensor, shape (n, ...). Samples.
        target : Tensor, shape (n,), long. Class index, 0-based.
        output : "logit" or "probability". Which score. Default "logit".
    Returns
        Tensor of x's shape, in logits (or probability) per input unit, as far as rules of this kind have units.
    Raises
        ModelError: no ReLU, another nonlinearity, or one that cannot be seen; the message names the layer.
        OptionError: unknown `output`.
    Cost
        1 forward and 1 backward pass.
    Source
        Springenberg, Dosovitskiy, Brox, Riedmiller (2015), section 3.4.
    Examples
        >>> from xaiteach import explain
        >>> net = torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Linear(2, 2))
        >>> a = explain(net, torch.tensor([[-1.0, 1.0]]), 1, "guided_backprop")
        >>> torch.equal(a.values[0], net[1].weight[1].relu() * torch.tensor([0.0, 1.0]))
        True
    """

    def rule(relu: Operation) -> Callable[[Tensor], Tensor]:
        on = _on(relu)
        return lambda g: g.relu().mul_(on)

    return _backprop(model, x, target, rule, output, "guided_backprop")


def rectgrad(
    model: Model,
    x: Tensor,
    target: Tensor,
    *,
    quantile: float = 0.98,
    tau: float | None = None,
    output: str = "logit",
) -> Tensor:
    """Backward pass in which each ReLU hands on only where a g exceeds a threshold: g 1[a g > tau].

    What is left are the units that matter most in each layer; at the input it is x times what arrives, cut at 0. With
    tau = 0 it is guided backprop times the input.

    Parameters
        model : callable from (n, ...) to logits (n, classes), in evaluation mode. Its nonlinearities are ReLUs.
        x : Tensor, shape (n, ...). Samples.
        target : Tensor, shape (n,), long. Class index, 0-based.
        quantile : float in [0, 1). tau is this quantile of a g over each sample's units of the layer. Default .98, the
            authors'. Where it is negative, units that are off (a g = 0) exceed it, and pass.
        tau : float >= 0 or None. One threshold for all layers instead, in units of the score. Default None.
        output : "logit" or "probability". Which score. Default "logit".
    Returns
        Tensor of x's shape, in units of the score, never negative.
    Raises
        ModelError: no ReLU, another nonlinearity, or one that cannot be seen; the message names the layer.
        OptionError: a quantile outside [0, 1), a negative tau, or unknown `output`.
    Cost
        1 forward and 1 backward pass.
    Source
        Kim, Seo, Jeon, Koo, Choe, Jeon (2019), section 4.
    Examples
        >>> from xaiteach import explain
        >>> net = torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Linear(2, 2, bias=False))
        >>> _ = net[1].weight.data.copy_(torch.tensor([[1.0, 2.0], [3.0, -1.0]]))
        >>> explain(net, torch.tensor([[5.0, 1.0]]), 0, "rectgrad", tau=3.0).values
        tensor([[5., 0.]])
    """
    if isinstance(quantile, bool) or not isinstance(quantile, int | float) or not 0 <= quantile < 1:
        raise OptionError(f"rectgrad: `quantile` must be a number from 0 to below 1; got {quantile!r}. Try .98.")
    if tau is not None and (isinstance(tau, bool) or not isinstance(tau, int | float) or not tau >= 0):
        raise OptionError(f"rectgrad: `tau` must be None or a number from 0 up; got {tau!r}. Try quantile=.98 instead.")

    def rule(relu: Operation) -> Callable[[Tensor], Tensor]:
        a = relu.value

        def back(g: Tensor) -> Tensor:
            product = a * g
            threshold = _quantile(product, quantile) if tau is None else tau
            return g * (product > threshold)

        return back

    arrived = x * _backprop(model, x, target, rule, output, "rectgrad", keep=True)
    return arrived.relu()


def _on(relu: Operation) -> Tensor:
    """The ReLU's derivative: 1 above 0 (and, for a ReLU6, below 6), else 0."""
    if relu.name in ("relu", "relu_"):
        return relu.value.sign()  # in the dtype of g: a product with a mask of bools copies it first
    (found,) = relu.pullback(torch.ones_like(relu.value))
    return found


def _quantile(product: Tensor, q: float) -> Tensor:
    """Largest value at or below each sample's quantile, shaped to be compared with: the same units exceed either."""
    flat = product.flatten(1)
    found = flat.kthvalue(int(q * (flat.shape[1] - 1)) + 1, 1).values
    return found.reshape(-1, *[1] * (product.ndim - 1))


def _backprop(
    model: Model,
    x: Tensor,
    target: Tensor,
    rule: Callable[[Operation], Callable[[Tensor], Tensor]],
    output: str,
    who: str,
    *,
    keep: bool = False,
) -> Tensor:
    seen: list[str] = []

    def relu(operation: Operation) -> Tensor:
        seen.append(operation.layer)
        back = rule(operation)
        return operation.replaced(lambda g: (back(g),), keep=keep)

    def refuse(operation: Operation) -> Tensor:
        raise operation.refused(who)

    def own(operation: Operation) -> Tensor:
        return operation.replaced(operation.pullback)

    rules: dict[str, Rule] = {"relu": relu, "normalisation": own, OTHERS: PLAIN}
    rules |= dict.fromkeys(("activation", "comparison", "softmax", "attention", "recurrent", "gate"), refuse)
    found = propagated(model, x, rules, who, lambda logits: cotangent(logits, target, output))
    if not seen:
        raise ModelError(
            f"{who}: the model must have a ReLU, whose derivative is what changes; it has none, and the result would "
            "be the plain gradient. Try 'saliency'."
        )
    return found
