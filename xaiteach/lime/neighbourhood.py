"""Weighted samples around an input, and the sparse linear surrogate that is fitted to them.

Symbols: N samples, n features of the surrogate (superpixels, or the input's own values), X (N, n), y (N,) scores.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from xaiteach.errors import OptionError, ShapeError, unknown
from xaiteach.lime.best_subset import BestSubset
from xaiteach.lime.checks import Array, at_least, floats
from xaiteach.lime.greedy import ForwardSelection, OrthogonalMatchingPursuit
from xaiteach.lime.kernels import distance, effective_sample_size, lime_kernel
from xaiteach.lime.linear import LinearModel, fidelity
from xaiteach.lime.perturbation import spread
from xaiteach.lime.ridge import Ridge
from xaiteach.lime.sparse import IterativeHardThresholding, LargestCoefficients, LassoThenRefit, SparseModel

__all__ = ["SELECTIONS", "Explanation", "Neighbourhood", "fidelity_curve", "masked_neighbourhood"]

SELECTIONS: dict[str, type[SparseModel]] = {
    "best_subset": BestSubset,
    "forward": ForwardSelection,
    "omp": OrthogonalMatchingPursuit,
    "iht": IterativeHardThresholding,
    "lasso": LassoThenRefit,
    "largest": LargestCoefficients,
}
"""How the features of a sparse surrogate are chosen, by name; "auto" is forward up to 6 of them and largest above."""

_AUTO_FORWARD = 6


@dataclass(frozen=True, eq=False)
class Explanation:
    """A linear surrogate of a model around one input.

    Parameters
        coef : array, shape (n,), in units of the score per feature; of a superpixel, what switching it on adds. 0 where
            a feature was not chosen.
        intercept : float, in units of the score.
        support : array of int. The features chosen, sorted.
        fidelity : float. Weighted R^2 on the samples it was fitted to, which flatters it: see `fidelity_on`.
        labels : Tensor, the label map, or where every value is a feature their numbers in x's shape.
        solver : the fitted solver.
    """

    coef: Array
    intercept: float
    support: NDArray[np.intp]
    fidelity: float
    labels: Tensor
    solver: Any = field(repr=False)

    @property
    def values(self) -> Tensor:
        """Each position's coefficient, that of its superpixel, float64; shape of labels."""
        return spread(self.coef, self.labels)

    def predict(self, X: Any) -> Array:
        """Scores of the surrogate, shape (N,), for features (N, n)."""
        found: Array = self.intercept + np.asarray(X, dtype=np.float64) @ self.coef
        return found

    def fidelity_on(self, fresh: Neighbourhood) -> float:
        """Weighted R^2 on samples that it was not fitted to.

        Raises
            ShapeError: another number of features.
        """
        if fresh.X.shape[1] != len(self.coef):
            raise ShapeError(
                f"fidelity_on: `fresh` must have the {len(self.coef)} features of the surrogate; got "
                f"{fresh.X.shape[1]}. Try the same label map."
            )
        return fidelity(fresh.y, self.predict(fresh.X), fresh.weights)

    def __repr__(self) -> str:
        return (
            f"Explanation({len(self.support)} of {len(self.coef)} features, fidelity {self.fidelity:.2f} on its own "
            "samples)"
        )


@dataclass(frozen=True, eq=False)
class Neighbourhood:
    """Samples around one input, with the model's scores and the weights that say what local means.

    Parameters
        X : array, shape (N, n). Features: 0 or 1 for each superpixel, or the input's values.
        y : array, shape (N,). Scores.
        weights : array, shape (N,), >= 0.
        labels : Tensor, the label map, or where every value is a feature their numbers in x's shape.
        default : solver that `explain` uses when it is given none.
    """

    X: Array
    y: Array
    weights: Array
    labels: Tensor
    default: LinearModel = field(default_factory=lambda: Ridge(penalty=1.0))

    def __repr__(self) -> str:
        N, n = self.X.shape
        return f"Neighbourhood({N} samples, worth {self.effective_size:.0f}; {n} features)"

    @property
    def effective_size(self) -> float:
        """How many equally weighted samples these are worth."""
        return effective_sample_size(self.weights)

    def explain(self, solver: Any = None, n_features: int | None = None, selection: str = "auto") -> Explanation:
        """Surrogate fitted to these samples: features are chosen first, then the solver is fitted to them alone.

        Parameters
            solver : object with fit(X, y, sample_weight), coef_ and intercept_, such as those of this package and of
                scikit-learn, or None for the neighbourhood's default. It is copied, and stays as it is.
            n_features : int >= 0 or None. Features at most. None: all, unless the solver itself leaves some out.
            selection : how they are chosen: a name in SELECTIONS, or "auto", which is the lime package's: "forward" up
                to 6 of them, "largest" above.
        Raises
            OptionError: no solver, an unknown selection, no such number, or more than 20 features for "best_subset".
        Cost
            The selection's, and the solver's.
        Examples
            >>> X = np.array([[1.0, 1.0], [0.0, 1.0], [1.0, 0.0], [0.0, 0.0]])
            >>> near = Neighbourhood(X, X @ [3.0, 0.1], np.ones(4), labels=None, default=Ridge(penalty=0.0))
            >>> near.explain(n_features=1).coef
            array([3., 0.])
        """
        support = self.choose(n_features, selection)
        model = copy.deepcopy(self.default if solver is None else solver)
        if isinstance(model, type) or not callable(getattr(model, "fit", None)):
            raise OptionError(
                f"explain: `solver` must be an object with fit(X, y, sample_weight), coef_ and intercept_; got "
                f"{solver!r}. Try Ridge(penalty=1.0)."
            )
        coef = np.zeros(self.X.shape[1])
        if len(support):
            model.fit(self.X[:, support], self.y, sample_weight=self.weights)
            coef[support] = np.asarray(model.coef_, dtype=np.float64).ravel()
            intercept = float(np.ravel(model.intercept_)[0])
        else:
            intercept = float(np.average(self.y, weights=self.weights))
        own = fidelity(self.y, intercept + self.X @ coef, self.weights)
        return Explanation(coef, intercept, support, own, self.labels, model)

    def choose(self, n_features: int | None, selection: str = "auto") -> NDArray[np.intp]:
        """Features that a surrogate with at most n_features of them uses, sorted.

        Raises
            OptionError: an unknown selection, no such number, or more than 20 features for "best_subset".
        """
        if selection != "auto" and selection not in SELECTIONS:
            raise unknown("selection", selection, ["auto", *SELECTIONS])
        n = self.X.shape[1]
        if n_features is None or at_least(n_features, 0, "n_features", "explain") >= n:
            return np.arange(n)
        name = selection
        if name == "auto":
            name = "forward" if n_features <= _AUTO_FORWARD else "largest"
        return SELECTIONS[name](n_features).fit(self.X, self.y, self.weights).support_


def masked_neighbourhood(
    masks: Tensor, y: Any, labels: Tensor, *, width: float = 0.25, metric: str = "cosine"
) -> Neighbourhood:
    """Neighbourhood of on/off masks, weighted as by the lime package: sqrt(exp(-d^2 / w^2)), d to the mask all on.

    Parameters
        masks : Tensor, shape (N, M), bool.
        y : (N,) numbers. Scores of the inputs that the masks stand for.
        labels : Tensor. The label map.
        width : float > 0, in units of the distance. Default 0.25, the lime package's: half of the superpixels off
            (cosine distance 0.29) weigh exp(-0.69) = 0.5.
        metric : "cosine" or "euclidean".
    Raises
        OptionError: no width, or an unknown metric.
        ShapeError: not one score for each mask.
    """
    Z = masks.cpu().numpy().astype(np.float64)
    weights = lime_kernel(distance(metric, Z, np.ones(Z.shape[1])), width)
    return Neighbourhood(Z, floats(y, (len(Z),), "y", "masked_neighbourhood"), weights, labels)


def fidelity_curve(
    fitted: Neighbourhood,
    fresh: Neighbourhood,
    ks: Iterable[int],
    *,
    selection: str = "forward",
    solver: Any = None,
) -> Array:
    """Weighted R^2 on fresh samples of surrogates with at most k features, for each k: the price of being readable.

    Parameters
        fitted : samples that the surrogates are fitted to.
        fresh : others, drawn in the same way. On the fitted ones the curve could only rise.
        ks : numbers of features.
        selection, solver : as of `Neighbourhood.explain`.
    Raises
        OptionError, ShapeError: as `explain` and `fidelity_on`.
    Source
        Homework Q2a.
    """
    return np.array([fitted.explain(solver, k, selection).fidelity_on(fresh) for k in ks])
