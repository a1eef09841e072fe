"""Gradients of the class score by the input: saliency, and gradient times input.

Symbols: S_c the score of class c, x the sample that is explained, w = dS_c/dx the gradient there.

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
    """Gradient of the class score by the input, signed: w = dS_c(x)/dx.

    It answers by how much the score would change for a small change of each input value, not how much of the score
    that value makes up: of a score that is flat around x it is 0 everywhere. The paper takes absolute values and the
    largest channel; here sign and channels stay.

    Parameters
        model : callable from (n, ...) to logits (n, classes), in evaluation mode.
        x : Tensor, shape (n, ...). Samples.
        target : Tensor, shape (n,), long. Class index c, 0-based.
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
        Simonyan, Vedaldi, Zisserman (2014), section 3. Differs in: signed, channels kept. The score is near
        w . z + b for images z near x, with b = S_c(x) - w . x. Seed 002 (4.1) has the two images swapped: the score of
        the image explained on the left, a variable one on the right.
    Examples
        >>> import torch
        >>> from xaiteach import explain
        >>> product = lambda x: x.prod(1, keepdim=True)  # one class, the score x_0 x_1
        >>> explain(product, torch.tensor([[2.0, -3.0]]), 0, "saliency").values
        tensor([[-3.,  2.]])
    """
    from captum.attr import Saliency

    score = _score(model, target, output, "saliency")
    found: Tensor = Saliency(score).attribute(x.detach().requires_grad_(), abs=abs)
    return found.detach()


def input_x_gradient(model: Model, x: Tensor, target: Tensor, *, output: str = "logit") -> Tensor:
    """Input times the gradient of the class score, value by value: x * dS_c(x)/dx.

    It answers how much of the score each value makes up, if the score were linear: then the values sum to the score
    less its bias. For other models they are a first-order estimate of what setting each value to 0 would take away. A
    value of 0 gets 0, whatever the gradient says there.

    Parameters
        model : callable from (n, ...) to logits (n, classes), in evaluation mode.
        x : Tensor, shape (n, ...). Samples.
        target : Tensor, shape (n,), long. Class index c, 0-based.
        output : "logit" or "probability". Which score. Default "logit".
    Returns
        Tensor of x's shape, in logits (or probability), signed.
    Raises
        ModelError: the output is not (n, classes), finite and differentiable.
        OptionError: unknown `output`.
    Cost
        1 forward and 1 backward pass.
    Source
        Shrikumar, Greenside, Shcherbina, Kundaje (2016), section 2; seed 002 (4.7), which credits the 2017 paper.
    Examples
        >>> import torch
        >>> from xaiteach import explain
        >>> product = lambda x: x.prod(1, keepdim=True)  # of degree 2: both values get the whole score
        >>> explain(product, torch.tensor([[2.0, -3.0]]), 0, "input_x_gradient").values
        tensor([[-6., -6.]])
    """
    from captum.attr import InputXGradient

    score = _score(model, target, output, "input_x_gradient")
    found: Tensor = InputXGradient(score).attribute(x.detach().requires_grad_())
    return found.detach()


def _score(model: Model, target: Tensor, output: str, who: str) -> Callable[[Tensor], Tensor]:
    def score(x: Tensor) -> Tensor:
        """One number for all samples, whose gradient by each is that of its own score (its value is no score)."""
        logits = run(model, x, who)
        # Summed here: Captum would differentiate n numbers one by one, a third of the time of a small net.
        return (logits * cotangent(logits, target, output)).sum().reshape(1)

    return score
