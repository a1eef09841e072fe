"""Gradients of the class score by the input: saliency, and gradient times input.

Both wrap Captum, which has them and keeps every promise of ours (float64, any rank, a target per sample, no hooks).
Captum is given a score built from a cotangent on the logits as its forward function, so that the probability's gradient
does not cancel either; and a leaf that requires a gradient already, so that it neither warns nor changes a flag.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from xaiteach.attribution.scores import cotangent, run

__all__ = ["input_x_gradient", "saliency"]

Model = Callable[[Tensor], Any]


def saliency(model: Model, x: Tensor, target: Tensor, *, output: str = "logit", abs: bool = False) -> Tensor:
    """Gradient of the class score by the input, signed.

    It answers by how much the score would change for a small change of each input value, not how much of the score
    that value makes up. The paper takes absolute values and the largest channel; here the sign stays.

    Parameters
        model : callable from (n, ...) to logits (n, classes), in evaluation mode.
        x : Tensor, shape (n, ...). Samples.
        target : Tensor, shape (n,), long. Class index, 0-based.
        output : "logit" or "probability". Which score. Default "logit".
        abs : bool. Whether to take absolute values. Default False: half of the answer is the sign.
    Returns
        Tensor of x's shape, in logits (or probability) per input unit.
    Raises
        ModelError: the output is not (n, classes), finite and differentiable.
        OptionError: unknown `output`.
    Cost
        1 forward and 1 backward pass.
    Source
        Simonyan, Vedaldi, Zisserman (2014), section 3. Differs in: signed, channels kept.
    """
    from captum.attr import Saliency

    score = _score(model, target, output, "saliency")
    found: Tensor = Saliency(score).attribute(x.detach().requires_grad_(), abs=abs)
    return found.detach()


def input_x_gradient(model: Model, x: Tensor, target: Tensor, *, output: str = "logit") -> Tensor:
    """Input times the gradient of the class score, value by value.

    For a linear model without bias the values sum to the score; for others they are a first-order estimate of what
    setting each value to 0 would take away.

    Parameters
        model : callable from (n, ...) to logits (n, classes), in evaluation mode.
        x : Tensor, shape (n, ...). Samples.
        target : Tensor, shape (n,), long. Class index, 0-based.
        output : "logit" or "probability". Which score. Default "logit".
    Returns
        Tensor of x's shape, in logits (or probability), signed.
    Raises
        ModelError: the output is not (n, classes), finite and differentiable.
        OptionError: unknown `output`.
    Cost
        1 forward and 1 backward pass.
    Source
        Shrikumar, Greenside, Shcherbina, Kundaje (2016), section 2.
    """
    from captum.attr import InputXGradient

    score = _score(model, target, output, "input_x_gradient")
    found: Tensor = InputXGradient(score).attribute(x.detach().requires_grad_())
    return found.detach()


def _score(model: Model, target: Tensor, output: str, who: str) -> Callable[[Tensor], Tensor]:
    def score(x: Tensor) -> Tensor:
        """One number per sample, whose gradient is that of the score (its value is not the score's)."""
        logits = run(model, x, who)
        return (logits * cotangent(logits, target, output)).sum(1)  # (n,)

    return score
