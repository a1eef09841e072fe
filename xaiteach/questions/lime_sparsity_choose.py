"""Unit 05, k features: the best ones by enumeration, greedy choices, and where they miss.

Symbols: X samples (N, n), y scores (N,), w weights (N,), RSS the weighted residual sum of squares after a refit.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from xaiteach.errors import OptionError
from xaiteach.questions.lime_fit_printed import NO_LIBRARY, SOLVED
from xaiteach.questions.lime_sparsity_choose_mistakes import (
    BEST_SUBSET_MISTAKES,
    FORWARD_MISTAKES,
    MISSED_MISTAKES,
    OMP_MISTAKES,
)
from xaiteach.questions.model import Case, Question, Size, Tolerance, Variant

__all__ = ["BEST_SUBSET", "FORWARD_SELECTION", "MISSED", "OMP", "WEIGHTED_FIT", "refitted"]

UNIT = "05_lime_sparsity"

Array = np.ndarray[Any, Any]

WEIGHTED_FIT = (
    "import torch\n"
    "from itertools import combinations\n"
    "def weighted_fit(X, y, w):\n"
    "    root = w.sqrt()\n"
    "    return torch.linalg.pinv(root[:, None] * X) @ (root * y)\n"
)
"""What the setup cells bring from unit 04."""


def refitted(X: Array, y: Array, w: Array, chosen: Collection[int]) -> tuple[float, Array]:
    """RSS and coefficients (n,) after a weighted fit of the chosen features alone."""
    beta = np.zeros(X.shape[1])
    if len(chosen):
        root = np.sqrt(w)
        beta[list(chosen)] = np.linalg.lstsq(root[:, None] * X[:, list(chosen)], root * y, rcond=None)[0]
    return float(w @ (y - X @ beta) ** 2), beta


def _best(X: Array, y: Array, w: Array, k: int) -> list[int]:
    sets = itertools.combinations(range(X.shape[1]), k)
    return list(min(sets, key=lambda some: refitted(X, y, w, tuple(some))[0]))


def _greedy(X: Array, y: Array, w: Array, k: int, *, omp: bool = False) -> list[int]:
    """Features one by one: by the RSS after a refit, or by the correlation with what is left."""
    chosen: list[int] = []
    for _ in range(k):
        rest = [j for j in range(X.shape[1]) if j not in chosen]
        left = y - X @ refitted(X, y, w, chosen)[1]
        lengths = np.sqrt(w @ X**2)
        if omp:
            chosen.append(max(rest, key=lambda j: abs(float(X[:, j] @ (w * left))) / float(lengths[j])))
        else:
            chosen.append(min(rest, key=lambda j: refitted(X, y, w, [*chosen, j])[0]))
    return chosen


def _choices(X: Array, y: Array, w: Array, k: int) -> list[tuple[int, ...]]:
    """Sets that enumeration, both greedies, the largest coefficients, unweighted choices and the best alone make."""
    full, one = refitted(X, y, w, range(X.shape[1]))[1], np.ones_like(w)
    largest = np.argsort(-np.abs(full))[:k].tolist()
    found = [_best(X, y, w, k), _greedy(X, y, w, k), _greedy(X, y, w, k, omp=True), largest]
    found += [_best(X, y, one, k), _greedy(X, y, one, k)]
    found.append(sorted(range(X.shape[1]), key=lambda j: refitted(X, y, w, [j])[0])[:k])
    return [tuple(sorted(int(j) for j in some)) for some in found]


def _chosen_case(name: str, rng: np.random.Generator, N: int, n: int, k: int) -> Case:
    """Correlated features, on which the ways to choose k of them part."""
    for _ in range(5000):
        mixed = np.eye(n) + 0.8 * rng.normal(size=(n, n))
        X = rng.normal(size=(N, n)) @ mixed * rng.uniform(0.5, 2.0, size=n)
        y = X @ rng.normal(size=n) + 0.5 * rng.normal(size=N)
        w = rng.permutation(np.geomspace(0.05, 1.0, N))
        if tuple(sorted(_best(X, y, w, k))) == tuple(sorted(_greedy(X, y, w, k))):
            continue  # which is cheap to see, and the usual case
        best, forward, omp, largest, plain, plain_forward, alone = _choices(X, y, w, k)
        apart = len({best, forward, omp, alone}) == 4 and largest not in (best, forward)
        if apart and best != plain and forward != plain_forward:
            return Case(name, {"X": X, "y": y, "w": w, "k": k}, symbols={"N": N, "n": n, "k": k})
    raise OptionError(f"no design of {(N, n, k)} was drawn on which the choices part. Try another seed.")


def _choose_cases(seed: int, size: Size) -> list[Case]:
    if size == "public":
        # Seeds whose first draws are such designs: a check in a notebook makes these each time.
        return [
            _chosen_case("2 of 4 features, 8 samples", np.random.default_rng(0), 8, 4, 2),
            _chosen_case("3 of 6 features, 15 samples", np.random.default_rng(33), 15, 6, 3),
        ]
    rng = np.random.default_rng([seed, 61])
    return [_chosen_case(str(i), rng, *sizes) for i, sizes in enumerate([(12, 6, 2), (14, 6, 3), (20, 7, 2)])]


def _best_expected(case: Case) -> Mapping[str, Any]:
    """Every set of k, fitted by least squares on root-weighted rows."""
    X, y, w, k = (case.inputs[name] for name in ("X", "y", "w", "k"))
    return {"beta": refitted(X, y, w, _best(X, y, w, k))[1]}


_PROBE = (
    "def probe(answer, case):\n"
    "    import torch\n"
    "    X, y, w = (torch.tensor(case[name]) for name in ('X', 'y', 'w'))\n"
    "    return {'beta': answer(X, y, w, case['k'])}\n"
)

BEST_SUBSET = Question(
    id="lime_sparsity.best_subset",
    unit=UNIT,
    title="The best k features",
    points=3,
    minutes=9,
    difficulty=3,
    importance=5,
    kind="function",
    answer="best_subset",
    stub="return ...",
    cases=_choose_cases,
    probe=_PROBE,
    expected=_best_expected,
    requires=("04_lime_fit",),
    forbids=NO_LIBRARY,
    tolerance=SOLVED,
    shape_words="(n,), with k entries that are not 0",
    context=WEIGHTED_FIT,
    mistakes=BEST_SUBSET_MISTAKES,
    variants=(
        Variant(
            "bits",
            "def best_subset(X, y, w, k):\n"
            "    n, best = X.shape[1], None\n"
            "    for code in range(2**n):\n"
            "        chosen = [j for j in range(n) if code >> j & 1]\n"
            "        if len(chosen) != k:\n"
            "            continue\n"
            "        part = weighted_fit(X[:, chosen], y, w)\n"
            "        rss = float(w @ (y - X[:, chosen] @ part) ** 2)\n"
            "        if best is None or rss < best[0]:\n"
            "            beta = [0.0] * n\n"
            "            for j, b in zip(chosen, part.tolist()):\n"
            "                beta[j] = b\n"
            "            best = rss, beta\n"
            "    return best[1]\n",
        ),
        Variant(
            "numpy",
            "import numpy as np\n"
            "def best_subset(X, y, w, k):\n"
            "    A, b = np.asarray(w.sqrt()[:, None] * X), np.asarray(w.sqrt() * y)\n"
            "    def rss(S):\n"
            "        return float(((b - A[:, S] @ np.linalg.pinv(A[:, S]) @ b) ** 2).sum())\n"
            "    S = min((list(c) for c in combinations(range(A.shape[1]), k)), key=rss)\n"
            "    beta = np.zeros(A.shape[1])\n"
            "    beta[S] = np.linalg.pinv(A[:, S]) @ b\n"
            "    return beta\n",
        ),
    ),
    hints=(
        "itertools.combinations(range(n), k) gives every set. For each: fit those columns alone, and see what is left.",
        "Keep the set with the smallest w @ (y - X[:, S] @ part) ** 2, and put its coefficients into n zeros.",
        "for S in combinations(range(n), k): part = weighted_fit(X[:, list(S)], y, w); ...; beta[list(S)] = part",
    ),
)


def _forward_expected(case: Case) -> Mapping[str, Any]:
    """One feature after the other, each by the RSS after a refit."""
    X, y, w, k = (case.inputs[name] for name in ("X", "y", "w", "k"))
    return {"beta": refitted(X, y, w, _greedy(X, y, w, k))[1]}


FORWARD_SELECTION = Question(
    id="lime_sparsity.forward_selection",
    unit=UNIT,
    title="One feature after the other",
    points=3,
    minutes=9,
    difficulty=3,
    importance=4,
    kind="function",
    answer="forward_selection",
    stub="return ...",
    cases=_choose_cases,
    probe=_PROBE,
    expected=_forward_expected,
    requires=("04_lime_fit",),
    forbids=NO_LIBRARY,
    tolerance=SOLVED,
    shape_words="(n,), with k entries that are not 0",
    context=WEIGHTED_FIT,
    mistakes=FORWARD_MISTAKES,
    variants=(
        Variant(
            "what_is_left_of_each",
            "def forward_selection(X, y, w, k):\n"
            "    A, r, S = w.sqrt()[:, None] * X, w.sqrt() * y, []\n"
            "    D = A.clone()\n"
            "    for _ in range(k):\n"
            "        gain = (D.T @ r) ** 2 / (D**2).sum(0).clamp(min=1e-12)\n"
            "        gain[S] = -1\n"
            "        j = int(gain.argmax())\n"
            "        S.append(j)\n"
            "        q = D[:, j] / D[:, j].norm()\n"
            "        r = r - q * (q @ r)\n"
            "        D = D - q[:, None] * (q @ D)[None]\n"
            "    beta = torch.zeros(X.shape[1], dtype=X.dtype)\n"
            "    beta[S] = weighted_fit(X[:, S], y, w)\n"
            "    return beta\n",
        ),
        Variant(
            "list",
            "def forward_selection(X, y, w, k):\n"
            "    S = []\n"
            "    while len(S) < k:\n"
            "        trials = []\n"
            "        for j in set(range(X.shape[1])) - set(S):\n"
            "            T = S + [j]\n"
            "            r = y - X[:, T] @ weighted_fit(X[:, T], y, w)\n"
            "            trials.append((float((w * r * r).sum()), T))\n"
            "        S = min(trials)[1]\n"
            "    beta = [0.0] * X.shape[1]\n"
            "    for j, b in zip(S, weighted_fit(X[:, S], y, w)):\n"
            "        beta[j] = float(b)\n"
            "    return beta\n",
        ),
    ),
    hints=(
        "Start with no feature. In each round try every feature that is not yet in, together with those that are.",
        "The one to take leaves the smallest RSS after a refit of all that are in then. What was taken stays.",
        "S.append(min(rest, key=lambda j: rss(S + [j]))), k times; at last beta[S] = weighted_fit(X[:, S], y, w).",
    ),
)


def _missed_cases(seed: int, size: Size) -> list[Case]:
    fresh = np.random.default_rng([seed, 62]).uniform(0.3, 1.3, size=4).tolist()
    drawn = [1.0, 0.5] if size == "public" else fresh
    return [Case(f"d = {d:.3g}", {"d": float(d)}) for d in drawn]


def twins(d: float) -> tuple[Array, Array]:
    """The design where greedy misses: x1, x2 and e at right angles, x3 between the two with a little of e."""
    x3 = np.array([1.0, 1.0, d]) / np.sqrt(2 + d**2)
    return np.column_stack([[1.0, 0, 0], [0, 1.0, 0], x3]), np.array([1.0, 1.0, 0])


def _missed_expected(case: Case) -> Mapping[str, Any]:
    """Forward selection of two on that design, as numbers."""
    X, y = twins(case.inputs["d"])
    one = np.ones(3)
    return {"value": refitted(X, y, one, _greedy(X, y, one, 2))[0]}


MISSED = Question(
    id="lime_sparsity.missed",
    unit=UNIT,
    title="What greedy misses",
    points=2,
    minutes=8,
    difficulty=4,
    importance=4,
    kind="formula",
    answer="missed",
    stub="missed = ...",
    cases=_missed_cases,
    expected=_missed_expected,
    tolerance=Tolerance(1e-4, 1e-6, "numbers may be typed with a few digits"),
    shape_words="a formula in d, in quotes",
    mistakes=MISSED_MISTAKES,
    variants=(
        Variant("one_less", 'missed = "1 - 1/(1 + d^2)"\n'),
        Variant("negative_power", 'missed = "(1 + d^-2)^-1"\n'),
    ),
    hints=(
        "Which of the three is taken first: which has the largest (x_j' y)^2, when all have length 1?",
        "x3 is first, for (x3' y)^2 = 4/(2 + d^2) > 1. Then x1, say. What is left of y = x1 + x2 beside x1 is x2; "
        "how much of "
        "x2 lies along what x3 has beside x1?",
        "Beside x1, x3 points along x2 + d e. The part of x2 along it has squared length 1/(1 + d^2); the rest "
        "is missed.",
    ),
)


def _omp_expected(case: Case) -> Mapping[str, Any]:
    """One feature after the other, by the normalised correlation with what is left, all refitted."""
    X, y, w, k = (case.inputs[name] for name in ("X", "y", "w", "k"))
    return {"beta": refitted(X, y, w, _greedy(X, y, w, k, omp=True))[1]}


OMP = Question(
    id="lime_sparsity.omp",
    unit=UNIT,
    title="Orthogonal matching pursuit",
    points=2,
    minutes=9,
    difficulty=3,
    importance=2,
    stretch=True,
    kind="function",
    answer="omp",
    stub="return ...",
    cases=_choose_cases,
    probe=_PROBE,
    expected=_omp_expected,
    requires=("04_lime_fit",),
    forbids=NO_LIBRARY,
    tolerance=SOLVED,
    shape_words="(n,), with k entries that are not 0",
    context=WEIGHTED_FIT,
    mistakes=OMP_MISTAKES,
    variants=(
        Variant(
            "normalised_columns",
            "def omp(X, y, w, k):\n"
            "    A, b, S = w.sqrt()[:, None] * X, w.sqrt() * y, []\n"
            "    U = A / A.norm(dim=0)\n"
            "    r = b\n"
            "    for _ in range(k):\n"
            "        score = (U.T @ r).abs()\n"
            "        score[S] = -1\n"
            "        S.append(int(score.argmax()))\n"
            "        r = b - A[:, S] @ (torch.linalg.pinv(A[:, S]) @ b)\n"
            "    beta = torch.zeros(X.shape[1], dtype=X.dtype)\n"
            "    beta[S] = torch.linalg.pinv(A[:, S]) @ b\n"
            "    return beta\n",
        ),
        Variant(
            "loop",
            "def omp(X, y, w, k):\n"
            "    S, r = [], y\n"
            "    for _ in range(k):\n"
            "        rest = [j for j in range(X.shape[1]) if j not in S]\n"
            "        size = lambda j: float((w * X[:, j] ** 2).sum()) ** 0.5\n"
            "        S.append(max(rest, key=lambda j: abs(float((w * X[:, j] * r).sum())) / size(j)))\n"
            "        part = weighted_fit(X[:, S], y, w)\n"
            "        r = y - X[:, S] @ part\n"
            "    beta = [0.0] * X.shape[1]\n"
            "    for j, b in zip(S, part):\n"
            "        beta[j] = float(b)\n"
            "    return beta\n",
        ),
    ),
    hints=(
        "In each round: the feature that points most along what is left, in the geometry of the weights.",
        "|x_j' Π r| over the weighted length of x_j, sqrt(x_j' Π x_j). After each choice refit all, and take the "
        "new r.",
        "j = argmax of abs(X.T @ (w * r)) / (w @ X**2).sqrt() among the rest; then part = weighted_fit(X[:, S], y, w).",
    ),
)
