"""Best subset: at most k features, exactly, by enumeration (homework Q2c).

Symbols: as in `linear`; RSS = ||b - A beta||^2.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, islice

import numpy as np

from xaiteach.errors import OptionError
from xaiteach.lime.checks import Array
from xaiteach.lime.sparse import DEPENDENT, Indices, SparseModel

__all__ = ["MOST_FEATURES", "BestSubset"]

MOST_FEATURES = 20
"""Features that best subset takes: 2^20 is about a million choices."""

_HELD = 2**22
"""Numbers held at once while choices are tried."""


@dataclass(eq=False)
class BestSubset(SparseModel):
    """Minimum of ||Pi^(1/2) (y - b0 - X beta)||^2 subject to ||beta||_0 <= k, by trying every choice of k features.

    Exact, and the yardstick for the others. Of choices that are equally good to rounding, the smallest, and then the
    first in the order of the columns, is taken.

    Parameters
        k, fit_intercept : see `SparseModel`.
    Attributes
        coef_, intercept_, order_, support_ : see `SparseModel`.
    Raises
        OptionError: more than 20 features.
    Cost
        C(n, k) and C(n, k - 1) Gram-Schmidt factorisations of n x k: some seconds at most.
    Source
        Homework Q2 (1). NP-hard in general: Natarajan (1995).
    Examples
        >>> X = np.array([[1.0, 0, 1], [0, 1, 1], [0, 0, 0.1]])  # the third is nearly the sum of the others
        >>> BestSubset(2, fit_intercept=False).fit(X, [1, 1, 0]).support_
        array([0, 1])
    """

    def _choose(self, A: Array, b: Array, k: int) -> Indices | list[int]:
        n = A.shape[1]
        if n > MOST_FEATURES:
            raise OptionError(
                f"BestSubset: `X` must have at most {MOST_FEATURES} features, whose choices can all be tried; got {n}. "
                f"Try ForwardSelection({k}), OrthogonalMatchingPursuit({k}) or LassoThenRefit({k})."
            )
        rss, chosen = _best_of(A, b, k)
        # A smaller choice can only be as good where columns depend on each other or nothing is left to explain.
        for size in range(k - 1, 0, -1):
            smaller, candidate = _best_of(A, b, size)
            if smaller > rss + DEPENDENT**2 * (b @ b):
                break
            chosen = candidate
        return chosen


def _best_of(A: Array, b: Array, size: int) -> tuple[float, Indices]:
    """Least RSS over all choices of `size` columns, and the first choice that has it, to rounding."""
    best, chosen = np.inf, np.zeros(0, dtype=np.intp)
    margin = DEPENDENT**2 * float(b @ b)
    for choices in _chunks(A.shape[1], size, max(1, _HELD // (A.shape[0] * size + 1))):
        rss = _residual_squares(A, b, choices)
        least = float(rss.min())
        if least < best - margin:
            best, chosen = least, choices[np.flatnonzero(rss <= least + margin)[0]]
    return best, chosen


def _chunks(n: int, size: int, length: int) -> Iterator[Indices]:
    choices = combinations(range(n), size)
    while chunk := list(islice(choices, length)):
        yield np.array(chunk, dtype=np.intp)


def _residual_squares(A: Array, b: Array, choices: Indices) -> Array:
    """RSS (B,) of each choice (B, k) of columns, by Gram-Schmidt on all of them at once.

    A column that depends on those before it is passed over.
    """
    columns = A[:, choices].transpose(1, 0, 2).copy()  # (B, r, k)
    left = np.repeat(b[None], len(choices), 0)  # (B, r)
    lengths = np.sqrt((columns**2).sum(1))  # (B, k)
    for j in range(choices.shape[1]):
        q = columns[:, :, j]
        length = np.sqrt((q**2).sum(1))
        counts = length > DEPENDENT * lengths[:, j]
        q = q * np.where(counts, 1 / np.where(counts, length, 1.0), 0.0)[:, None]
        left -= (q * left).sum(1)[:, None] * q
        rest = columns[:, :, j + 1 :]
        rest -= q[:, :, None] * np.einsum("br,brk->bk", q, rest)[:, None]
    found: Array = (left**2).sum(1)
    return found
