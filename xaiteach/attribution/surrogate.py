"""LIME as an attribution method: a sparse linear surrogate of the score, fitted to hidden superpixels.

Symbols: M superpixels of a sample, N masks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from xaiteach.attribution.coalitions import Game, Table, players_of
from xaiteach.attribution.paths import as_baseline
from xaiteach.attribution.work import Work, at_least
from xaiteach.errors import OptionError
from xaiteach.lime import default_superpixels, masked_neighbourhood, on_off, spread, superpixel_means

__all__ = ["lime"]

Model = Callable[[Tensor], Any]


def lime(
    model: Model,
    x: Tensor,
    target: Tensor,
    *,
    superpixels: Tensor | int | None = None,
    n_samples: int = 1000,
    baseline: Tensor | float | None = None,
    kernel_width: float = 0.25,
    n_features: int | None = None,
    selection: str = "auto",
    solver: Any = None,
    output: str = "logit",
    generator: torch.Generator | None = None,
    work: Work,
) -> Tensor:
    """What switching each superpixel on adds to the score, by a linear surrogate fitted around the sample.

    Superpixels are switched off at random, the scores weighted by how many are still on, and a ridge regression fitted.
    A coefficient is the effect of replacing a superpixel by this baseline, averaged over what else was hidden; its
    sharp edges are the segmentation's. The surrogate itself, its fidelity and every solver are in `xaiteach.lime`.

    Parameters
        model : callable from (n, ...) to logits (n, classes), in evaluation mode; it need not be differentiable.
        x : Tensor, shape (n, ...). Samples.
        target : Tensor, shape (n,), long. Class index, 0-based.
        superpixels : integers, shape spatial or (n, *spatial), or for a table (d,) or (n, d): positions with the same
            label are one superpixel. A number: about so many, by `lime.default_superpixels`, which None leaves to its
            default: SLIC for images, even segments for signals, blocks for clips, single features for tables.
        n_samples : int >= 1. Masks of each sample; the first hides nothing.
        baseline : what a superpixel that is off shows: Tensor of x's shape or (1, ...), or a number. Default None: its
            own mean, channel by channel; 0 for a table, where a feature's own mean would hide nothing.
        kernel_width : float > 0, in cosine distance between masks: the weight is sqrt(exp(-d^2 / width^2)).
        n_features : int >= 0 or None. Superpixels with a coefficient, at most. None: all.
        selection : how they are chosen, see `lime.Neighbourhood.explain`.
        solver : fitted to them: an object with fit(X, y, sample_weight), coef_ and intercept_, such as
            `lime.Lasso(k=1.0)` or scikit-learn's. None: `lime.Ridge(penalty=1.0)`, the lime package's.
        output : "logit" or "probability". Default "logit", as everywhere here: where the model is sure, the probability
            hardly moves, and penalties made for large coefficients leave nothing (Captum's lasso of 0.01 on
            probabilities returns zeros). The lime package explains whatever it is given, usually the probability.
    Returns
        Tensor, shape (n, 1, *spatial), or (n, d) for a table, in units of the score: each position has the whole
        coefficient of its superpixel, so that a map's sum means nothing.
    Raises
        ShapeError: the baseline or the superpixels do not match x.
        OptionError: a number out of its range, an unknown `selection` or `output`, no solver, or no baseline where
            superpixels are single positions.
    Cost
        n_samples forward passes, and a fit of n_samples x M.
    Source
        Ribeiro et al. (2016), algorithm 1; seed 002 (4.36). Masks, kernel, fill and ridge of the lime package's image
        explainer, whose coefficients it equals.
    Examples
        >>> from xaiteach import explain, lime
        >>> x, half = torch.tensor([[[1.0, 1.0, 0.0, 0.0]]]), torch.tensor([0, 0, 1, 1])
        >>> options = {"superpixels": half, "baseline": 0.5, "solver": lime.LeastSquares(), "n_samples": 50}
        >>> explain(lambda x: x.sum(2), x, 0, "lime", **options).values
        tensor([[[ 1.,  1., -1., -1.]]])
    """
    who = "lime"
    at_least(n_samples, 1, "n_samples", who)
    if superpixels is None or isinstance(superpixels, int):
        superpixels = torch.stack([default_superpixels(one, superpixels) for one in x])
    players = players_of(superpixels, x, who)
    labels = players.labels if x.ndim == 2 else players.labels[:, 0]
    if baseline is None and x.ndim > 2:
        if min(players.counts) == x[0, 0].numel():
            raise OptionError(
                f"{who}: `baseline` must be named where a superpixel is a single position, which is its own mean; got "
                f"None with {min(players.counts)} of them. Try baseline=0.0, or larger superpixels."
            )
        hidden = torch.stack([superpixel_means(one, where) for one, where in zip(x, labels, strict=True)])
    else:
        hidden = as_baseline(baseline, x, who)
    drawn: list[Tensor] = []

    def table(sample: int) -> Table:
        drawn.append(masks := on_off(players.counts[sample], n_samples, generator))
        return lambda number: masks[number]

    scores = Game(model, x, target, hidden, players, output, who).payoffs([n_samples] * len(x), table, work)
    found = []
    for masks, y, where in zip(drawn, scores, labels, strict=True):
        near = masked_neighbourhood(masks, y, where, width=kernel_width)
        found.append(spread(near.explain(solver, n_features, selection).coef, where))
    values = torch.stack(found).to(x)
    return values if x.ndim == 2 else values[:, None]
