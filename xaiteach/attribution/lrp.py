"""Layer-wise relevance propagation: what the output is worth is handed back layer by layer, by shares.

Symbols: R_j relevance of output j of a layer, z_ij = x_i w_ij contribution of input i to it, z_j their sum,
(.)^+ and (.)^- positive and negative parts. Every method here is a table of shares from `relevance`.

Relevance starts as 1 at the target and 0 elsewhere (start="one_hot"), or as the target's logit (start="logit", Bach et
al.). One is the other times the logit. Prefer the first: where the logit is negative the second turns the whole map
round, and a method that never looks at the last layer then seems to change when that layer is randomised.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from typing import Any

import torch
from torch import Tensor

from xaiteach.attribution import relevance
from xaiteach.attribution.operations import Rule, propagated
from xaiteach.errors import ModelError, OptionError, unknown

__all__ = [
    "deep_taylor",
    "excitation_backprop",
    "lrp_alpha_beta",
    "lrp_epsilon",
    "lrp_gamma",
    "lrp_zplus",
    "rap",
]

Model = Callable[[Tensor], Any]
STARTS = ("one_hot", "logit")
_KEPT = ("structure", "batch_norm", "add")
"""What may stand behind the last layer: a batch norm is part of it, and a constant is added to its bias."""


def lrp_epsilon(model: Model, x: Tensor, target: Tensor, *, epsilon: float = 1e-6, start: str = "one_hot") -> Tensor:
    """Relevance shared by signed contributions: R_i = sum_j z_ij / (z_j + epsilon sign(z_j)) R_j.

    It answers what each input added to the score or took away, layer by layer. With epsilon = 0 and a net of ReLUs
    without biases it is input times gradient over the logit; a larger epsilon absorbs what hangs on small sums. Only
    layers with weights have it: sums and averages of tensors share without.

    Parameters
        model : callable from (n, ...) to logits (n, classes), in evaluation mode, of operations that have a rule.
        x : Tensor, shape (n, ...). Samples.
        target : Tensor, shape (n,), long. Class index, 0-based.
        epsilon : float >= 0, in units of the layers' outputs. Default 1e-6, which only keeps from dividing by 0.
        start : "one_hot" or "logit". Default "one_hot".
    Returns
        Tensor of x's shape, signed, as shares of the score (in logits for start="logit"). They sum to 1 less what
        biases and epsilon keep.
    Raises
        ModelError: an operation without a rule, or one that cannot be seen; the message names the layer.
        OptionError: a negative epsilon, or an unknown start.
    Cost
        1 forward and 1 backward pass, and 2 passes more through every layer with weights.
    Source
        Bach et al. (2015), eq. 58. What some texts print as epsilon-LRP, with positive weights, is `lrp_zplus`.
    Examples
        >>> from xaiteach import explain
        >>> net = torch.nn.Linear(2, 2, bias=False)
        >>> _ = net.weight.data.copy_(torch.tensor([[1.0, 2.0], [3.0, -1.0]]))
        >>> explain(net, torch.ones(1, 2), 1, "lrp_epsilon", epsilon=0.0).values
        tensor([[ 1.5000, -0.5000]])
    """
    share = relevance.epsilon_share(_not_negative(epsilon, "epsilon", "lrp_epsilon"))
    return _relevance(model, x, target, relevance.rules(share, "lrp_epsilon"), start, "lrp_epsilon")


def lrp_gamma(
    model: Model, x: Tensor, target: Tensor, *, gamma: float = 0.25, bias: bool = True, start: str = "one_hot"
) -> Tensor:
    """Relevance shared by contributions of which the favourable ones count 1 + gamma times.

    Between `lrp_epsilon` (gamma = 0) and `lrp_zplus` (gamma without bound). Where z_j, bias included, is
    negative, the negative contributions are the favourable ones.

    Parameters
        model, x, target, start : as `lrp_epsilon`.
        gamma : float >= 0. Default .25, the overview's.
        bias : bool. Whether biases take part in the denominators. Default True, as in the overview; without them
            relevance is conserved, but large where a bias has turned z_j's sign round.
    Returns
        Tensor of x's shape, signed, as shares of the score (in logits for start="logit").
    Raises
        ModelError: an operation without a rule, or one that cannot be seen; the message names the layer.
        OptionError: a negative gamma, or an unknown start.
    Cost
        1 forward and 1 backward pass, and some 5 passes more through every layer with weights.
    Source
        Montavon, Binder, Lapuschkin, Samek, Mueller (2019), section 10.2.1, for inputs and outputs of any sign.
    Examples
        >>> from xaiteach import explain
        >>> net = torch.nn.Linear(2, 2, bias=False)
        >>> _ = net.weight.data.copy_(torch.tensor([[1.0, 2.0], [3.0, -1.0]]))
        >>> explain(net, torch.ones(1, 2), 1, "lrp_gamma", gamma=1.0).values  # 6 and -1 of 5
        tensor([[ 1.2000, -0.2000]])
    """
    share = relevance.gamma_share(_not_negative(gamma, "gamma", "lrp_gamma"), bias=bias)
    return _relevance(model, x, target, relevance.rules(share, "lrp_gamma"), start, "lrp_gamma")


def lrp_zplus(model: Model, x: Tensor, target: Tensor, *, bias: bool = False, start: str = "one_hot") -> Tensor:
    """Relevance shared by positive contributions alone: R_i = sum_j z_ij^+ / z_j^+ R_j.

    In a net of ReLUs never negative, conserved, and close to blind: the product of many such matrices has rank 1 in the
    limit, so that neither the class nor the weights of the upper layers show (Sixt et al., 2020).

    Parameters
        model, x, target, start : as `lrp_epsilon`.
        bias : bool. Whether biases take part in the denominators, and keep their share. Default False.
    Returns
        Tensor of x's shape, as shares of the score (in logits for start="logit"). Without biases they sum to 1 where
        every output has a positive contribution; one that has none, such as a logit with nothing in its favour, hands
        nothing on.
    Raises
        ModelError: an operation without a rule, or one that cannot be seen; the message names the layer.
        OptionError: an unknown start.
    Cost
        1 forward and 1 backward pass, and 2 passes more through every layer with weights.
    Source
        Montavon et al. (2017), table 1. Often printed as epsilon-LRP, which is `lrp_epsilon`.
    Examples
        >>> from xaiteach import explain
        >>> net = torch.nn.Linear(2, 2, bias=False)
        >>> _ = net.weight.data.copy_(torch.tensor([[1.0, 2.0], [3.0, -1.0]]))
        >>> explain(net, torch.ones(1, 2), 1, "lrp_zplus").values
        tensor([[1., 0.]])
    """
    share = relevance.alpha_beta(1.0, 0.0, bias=bias)
    return _relevance(model, x, target, relevance.rules(share, "lrp_zplus"), start, "lrp_zplus")


def lrp_alpha_beta(
    model: Model,
    x: Tensor,
    target: Tensor,
    *,
    alpha: float = 2.0,
    beta: float = 1.0,
    bias: bool = False,
    start: str = "one_hot",
) -> Tensor:
    """Relevance shared by positive and by negative contributions, each on its own: weights alpha and -beta.

    R_i = sum_j (alpha z_ij^+ / z_j^+ - beta z_ij^- / z_j^-) R_j with alpha - beta = 1. The larger beta, the more the
    map depends on class and weights: (1, 0) and (2, 1) fail the sanity check, (5, 4) passes.

    Parameters
        model, x, target, start : as `lrp_epsilon`.
        alpha, beta : float, alpha - beta = 1, beta >= 0. Default 2 and 1.
        bias : bool. Whether biases take part in the denominators, and keep their share. Default False: conserved,
            as the rule is mostly printed. W = (1, -1), b = -1, x = (1, 1), start="logit" and (2, 1) give (-2, 1)
            without and (-2, .5) with.
    Returns
        Tensor of x's shape, signed, as shares of the score (in logits for start="logit"). Without biases they sum to 1
        where every output has contributions of both signs.
    Raises
        ModelError: an operation without a rule, or one that cannot be seen; the message names the layer.
        OptionError: alpha - beta is not 1, a negative beta, or an unknown start.
    Cost
        1 forward and 1 backward pass, and 4 passes more through every layer with weights.
    Source
        Bach et al. (2015), eq. 60.
    Examples
        >>> from xaiteach import explain
        >>> net = torch.nn.Linear(2, 2, bias=False)
        >>> _ = net.weight.data.copy_(torch.tensor([[1.0, 2.0], [3.0, -1.0]]))
        >>> explain(net, torch.ones(1, 2), 1, "lrp_alpha_beta", alpha=2.0, beta=1.0).values
        tensor([[ 2., -1.]])
    """
    who = "lrp_alpha_beta"
    _not_negative(alpha, "alpha", who)
    _not_negative(beta, "beta", who)
    if abs(alpha - beta - 1) > 1e-9:
        raise OptionError(
            f"{who}: `alpha` must be `beta` + 1, so that relevance is conserved; got {alpha!r} and {beta!r}. "
            f"Try alpha={beta + 1}."
        )
    share = relevance.alpha_beta(alpha, beta, bias=bias)
    return _relevance(model, x, target, relevance.rules(share, who), start, who)


def deep_taylor(
    model: Model,
    x: Tensor,
    target: Tensor,
    *,
    low: float | None = None,
    high: float | None = None,
    start: str = "one_hot",
) -> Tensor:
    """Deep Taylor decomposition: z^+ in every layer but the first, there the rule for the input's own domain.

    Each layer is expanded around a root point within its domain. Activations are not negative (z^+); inputs between
    `low` and `high` get z^B, inputs without bounds w^2, for which the input's values do not matter.

    Parameters
        model, x, target, start : as `lrp_epsilon`. The net's own biases are taken as not positive, as in the paper.
        low, high : float or None, in input units. Bounds of the domain, both or neither. Default None: w^2.
    Returns
        Tensor of x's shape, in a net of ReLUs not negative, as shares of the score (in logits for start="logit"); they
        sum to 1 where every output has a positive contribution.
    Raises
        ModelError: an operation without a rule, or no dense or convolution layer directly on the input.
        OptionError: one bound without the other, no numbers, or inputs outside them; unknown start.
    Cost
        1 forward and 1 backward pass, and 2 passes more through every layer with weights, 4 through the first.
    Source
        Montavon, Lapuschkin, Binder, Samek, Mueller (2017), table 1.
    Examples
        >>> from xaiteach import explain
        >>> net = torch.nn.Linear(2, 2, bias=False)
        >>> _ = net.weight.data.copy_(torch.tensor([[1.0, 2.0], [3.0, -1.0]]))
        >>> explain(net, torch.tensor([[1.0, 0.5]]), 1, "deep_taylor", low=0.0, high=1.0).values  # 3 and .5 of 3.5
        tensor([[0.8571, 0.1429]])
    """
    who = "deep_taylor"
    if low is None or high is None:
        if low is not high:
            raise OptionError(
                f"{who}: `low` and `high` must both be given, or neither; got {low!r}, {high!r}. Try 0, 1."
            )
        first: relevance.Share = relevance.squared_weights
    else:
        _number(low, "low", who)
        _number(high, "high", who)
        if not low <= float(x.min()) <= float(x.max()) <= high:
            raise OptionError(
                f"{who}: `x` must lie between `low` and `high`; it goes from {float(x.min()):.4g} to "
                f"{float(x.max()):.4g}, they are {low!r} and {high!r}. Try low={float(x.min()):.4g}, "
                f"high={float(x.max()):.4g}."
            )
        first = relevance.box(low, high)
    share = relevance.alpha_beta(1.0, 0.0, bias=False)
    met: list[bool] = []

    def on_input(layer: relevance.Layer, R: Tensor) -> Tensor:
        met.append(True)
        return first(layer, R)

    found = _relevance(model, x, target, relevance.rules(share, who, on_input), start, who)
    if not met:
        raise ModelError(
            f"{who}: a dense or convolution layer must take the input itself, for the rule of its domain; here "
            "something comes before. Try 'lrp_zplus', or normalising x outside the model."
        )
    return found


def excitation_backprop(model: Model, x: Tensor, target: Tensor, *, contrastive: bool = False) -> Tensor:
    """Probability that a winner-take-all walk from the class ends at each input.

    From an output the walk goes to input i with probability x_i w_ij^+ over their sum, which is `lrp_zplus` started at
    1. Contrastive: less the walk from "not the class", whose last weights are negated; what both reach cancels.

    Parameters
        model, x, target : as `lrp_epsilon`; activations are not negative.
        contrastive : bool. Whether to subtract the walk from the negated class. Default False.
    Returns
        Tensor of x's shape, as probability, not negative, sum 1 where every unit has a way on; contrastive: signed.
    Raises
        ModelError: an operation without a rule, or one that cannot be seen; the message names the layer. For
            contrastive, no one layer that is the last.
    Cost
        1 forward and 1 backward pass, and 2 passes more through every layer with weights.
    Source
        Zhang, Bargal, Lin, Brandt, Shen, Sclaroff (2018), eqs. 1-3 and section 3.3.
    Examples
        >>> from xaiteach import explain
        >>> net = torch.nn.Linear(2, 2, bias=False)
        >>> _ = net.weight.data.copy_(torch.tensor([[1.0, 2.0], [3.0, -1.0]]))
        >>> explain(net, torch.ones(1, 2), 1, "excitation_backprop", contrastive=True).values
        tensor([[ 1., -1.]])
    """
    who = "excitation_backprop"
    share = relevance.alpha_beta(1.0, 0.0, bias=False)
    last = relevance.Last(who, (*_KEPT, "relu", "activation", "average", "scale"))

    def contrast(layer: relevance.Layer, R: Tensor) -> Tensor:
        found = share(layer, R)
        return found - relevance.flow(layer, R, positive=False) if last.is_(layer) else found

    rules = relevance.rules(contrast, who)
    return _relevance(model, x, target, rules, "one_hot", who, last.find if contrastive else None)


def rap(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """Relative attributing propagation: what matters more than the average unit, against what matters less.

    The last layer shares the logit by influence, |z_ij|, whatever its sign; that is more than the logit, and the excess
    is taken off all active units alike, so that the sum is right and units of little influence turn negative. From
    there two flows go down apart: what is relevant by positive contributions (z^+), what is irrelevant by negative ones
    (z^-). The map is their sum. Each flow alone is as blind as `lrp_zplus`; what changes with class and weights is the
    balance of the two.

    Parameters
        model, x, target : as `lrp_epsilon`; the logits are the output of one dense or convolution layer.
    Returns
        Tensor of x's shape, signed, in logits. They sum to the logit less its bias where every unit reached has
        contributions of the sign that its flow needs.
    Raises
        ModelError: an operation without a rule, or one that cannot be seen; the message names the layer. Or logits
            that are not the output of one layer: a sum of two, a pooling.
    Cost
        2 forward and 2 backward passes, and 2 passes more through every layer with weights.
    Source
        Nam, Gur, Choi, Wolf, Lee (2020), after a summary of it, not checked against the paper's own equations. Our
        reading: one shift, at the last layer, over units that are not 0; the logit without its bias; batch norm,
        pooling and sums by the rules of `relevance`. A thesis finds that RAP fails the sanity check; this reading
        changes with the upper layers, by the balance of its two flows.
    Examples
        >>> from xaiteach import explain
        >>> net = torch.nn.Linear(3, 1, bias=False)
        >>> _ = net.weight.data.copy_(torch.tensor([[4.0, -1.0, 1.0]]))
        >>> explain(net, torch.ones(1, 3), 0, "rap").values  # 4, 1, 1 less 2/3 each
        tensor([[3.3333, 0.3333, 0.3333]])
    """
    return _one_flow(model, x, target, positive=True) + _one_flow(model, x, target, positive=False)


def _one_flow(model: Model, x: Tensor, target: Tensor, *, positive: bool) -> Tensor:
    last = relevance.Last("rap", _KEPT)

    def share(layer: relevance.Layer, R: Tensor) -> Tensor:
        if not last.is_(layer):
            return relevance.flow(layer, R, positive=positive)
        found = _relative(layer, R)
        return found.clamp(min=0) if positive else found.clamp(max=0)

    return _relevance(model, x, target, relevance.rules(share, "rap"), "one_hot", "rap", last.find)


def _relative(layer: relevance.Layer, one_hot: Tensor) -> Tensor:
    """|z_ij| of the target's output, less what exceeds its sum of z_ij, spread over the units that are not 0."""
    influence = layer.x.abs() * layer.backward(one_hot, layer.weight.abs())
    signed = layer.x * layer.backward(one_hot, layer.weight)
    active = (layer.x != 0).to(layer.x)
    axes = tuple(range(1, layer.x.ndim))
    excess = (influence - signed).sum(axes, keepdim=True)
    return influence - active * relevance.divided(excess, active.sum(axes, keepdim=True))


def _relevance(
    model: Model,
    x: Tensor,
    target: Tensor,
    rules: dict[str, Rule],
    start: str,
    who: str,
    look: Callable[[Tensor], None] | None = None,
) -> Tensor:
    if start not in STARTS:
        raise unknown("start", start, STARTS)

    def first(logits: Tensor) -> Tensor:
        if look is not None:
            look(logits)
        one_hot = torch.zeros_like(logits).scatter_(1, target[:, None], 1)
        return one_hot if start == "one_hot" else one_hot * logits.detach()

    return propagated(model, x, rules, who, first, replaces=("activation", "linear"))


def _not_negative(value: object, option: str, who: str) -> float:
    found = _number(value, option, who)
    if found < 0:
        raise OptionError(f"{who}: `{option}` must be a number from 0 up; got {value!r}. Try {option}=0.25.")
    return found


def _number(value: object, option: str, who: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise OptionError(f"{who}: `{option}` must be a finite number; got {value!r}. Try {option}=1.0.")
    return float(value)
