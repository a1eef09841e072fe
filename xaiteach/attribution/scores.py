"""The scores that can be explained, as cotangents on the logits.

Symbols: s logits, y = softmax(s), c the target class. A cotangent u holds the derivative of the score by each logit, so
that one vector-Jacobian product, sum_j u_j ds_j/dA, is the gradient of the score by anything the logits depend on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from xaiteach.errors import ModelError, unknown
from xaiteach.guards import check_logits

__all__ = ["OUTPUTS", "cotangent", "gradient", "input_gradient", "run", "score"]

OUTPUTS = ("logit", "probability")


def run(model: Callable[[Tensor], Any], x: Tensor, who: str, *, gradient: bool = True) -> Tensor:
    """Logits of `x`, shape (n, classes), checked.

    The model gets a copy, so that a layer that works in place can come first and changes nobody's data.

    Raises
        ModelError: not (n, classes), not finite, not differentiable, or the output of a softmax, which is no logit.
    """
    logits = check_logits(model(x.clone()), len(x), who, gradient=gradient)
    # By the graph, not by the values: the logits of a toy model made by hand may well sum to one.
    if logits.grad_fn is not None and logits.grad_fn.name().startswith("SoftmaxBackward"):
        raise _probabilities(who)
    return logits


def _probabilities(who: str) -> ModelError:
    return ModelError(
        f"{who}: `model` must return logits; it ends in a softmax. Try leaving the softmax out, and "
        "output='probability' where the probability is to be explained (or, where only scores are needed, "
        "output='logit', which takes them as they come)."
    )


def cotangent(logits: Tensor, target: Tensor, output: str) -> Tensor:
    """Derivative of each sample's score by its logits, shape (n, classes), detached.

    For "probability" it is y_c (sum_{j != c} y_j) at c and -y_c y_j at every other j. On paper the first is
    y_c (1 - y_c), but 1 - y_c cancels where the model is sure: in float32 half of it is wrong at a margin of 15.

    Parameters
        logits : Tensor, shape (n, classes).
        target : Tensor, shape (n,), long.
        output : "logit" or "probability".
    Raises
        OptionError: any other output.
        ModelError: the probability of a model with a single class, which is always 1.

    Examples
        >>> cotangent(torch.tensor([[20.0, 0.0]]), torch.tensor([0]), "probability")
        tensor([[ 2.0612e-09, -2.0612e-09]])
    """
    if output not in OUTPUTS:
        raise unknown("output", output, OUTPUTS)
    one_hot = torch.zeros_like(logits).scatter_(1, target[:, None], 1)
    if output == "logit":
        return one_hot
    if logits.shape[1] < 2:
        raise ModelError(
            "output='probability' must have at least two classes to compare; the model has one, whose probability is "
            "always 1. Try output='logit'."
        )
    probs = logits.detach().softmax(1)
    own = probs.gather(1, target[:, None])  # (n, 1)
    rivals = probs.scatter(1, target[:, None], 0)  # (n, classes)
    return own * (one_hot * rivals.sum(1, keepdim=True) - rivals)


def gradient(logits: Tensor, target: Tensor, output: str, by: Tensor) -> Tensor | None:
    """Gradient of the scores by the tensor `by`, or None where the logits do not depend on it."""
    (found,) = torch.autograd.grad(logits, by, cotangent(logits, target, output), allow_unused=True)
    return found


def input_gradient(model: Callable[[Tensor], Any], x: Tensor, target: Tensor, output: str, who: str) -> Tensor:
    """Gradient of each sample's score by its own values, of x's shape, detached.

    Raises
        ModelError: see `run`; or the scores do not depend on x.
    """
    leaf = x.detach().requires_grad_()
    found = gradient(run(model, leaf, who), target, output, leaf)
    if found is None:
        raise ModelError(
            f"{who}: the score must depend on `x`; its gradient there does not exist. Try a model that uses its input."
        )
    return found


def score(model: Callable[[Tensor], Any], x: Tensor, target: Tensor, output: str, who: str) -> Tensor:
    """Each sample's score, shape (n,), without a graph: the target's logit or probability.

    Raises
        OptionError, ModelError: as `cotangent` and `run`.
    """
    if output not in OUTPUTS:
        raise unknown("output", output, OUTPUTS)
    with torch.no_grad():
        logits = run(model, x, who, gradient=False)
        if output == "probability" and _sum_to_one(logits):  # there is no graph to tell it by
            raise _probabilities(who)
        scores = logits.softmax(1) if output == "probability" else logits
        return scores.gather(1, target[:, None])[:, 0]


def _sum_to_one(logits: Tensor) -> bool:
    """Whether every row is a distribution over at least two classes, to rounding."""
    off = (logits.sum(1) - 1).abs().max()
    return logits.shape[1] > 1 and bool((logits >= 0).all()) and float(off) < 1e-4
