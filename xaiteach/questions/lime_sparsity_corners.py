"""Unit 05, corners: the soft threshold, from when zero is the best, the projection on the l1 ball, a constrained fit.

Symbols: z = X' W y for a design with X' W X = I, lambda the price of |beta|_1 beside squares without a 1/2, k the
radius of the l1 ball, G the matrix X' W X of two features, b a free optimum.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np

from xaiteach.questions.lime_fit_printed import NO_LIBRARY, design
from xaiteach.questions.lime_sparsity_corner_mistakes import (
    CONSTRAINED_MISTAKES,
    PROJECT_MISTAKES,
    SOFT_MISTAKES,
    STAYS_MISTAKES,
)
from xaiteach.questions.model import Case, Question, Size, Tolerance, Variant

__all__ = ["CONSTRAINED", "PROJECT_L1", "SOFT_THRESHOLD", "ZERO_STAYS", "exact", "optima"]

UNIT = "05_lime_sparsity"

Array = np.ndarray[Any, Any]

_FLOAT32 = Tolerance(1e-4, 1e-6, "a handful of float32 operations")


def _soft_cases(seed: int, size: Size) -> list[Case]:
    if size == "public":
        drawn = [(np.array([3.0, -0.5, -2.0, 0.25]), 2.0), (np.array([0.6, -1.4, 0.2, 2.5, -0.9]), 1.0)]
    else:
        rng = np.random.default_rng([seed, 63])
        drawn = []
        for n in (6, 9):
            lam = float(0.8 + rng.uniform())
            sizes = np.concatenate([rng.uniform(0.05, 0.4, 2), rng.uniform(0.6, 0.9, 2), rng.uniform(1.2, 3, n - 4)])
            drawn.append((rng.permutation(sizes * lam * rng.choice([-1, 1], size=n)), lam))
    return [Case(f"{len(z)} values, lambda = {lam:.3g}", {"z": z, "lam": lam}, symbols={"lambda": lam})
            for z, lam in drawn]  # fmt: skip


def _soft_expected(case: Case) -> Mapping[str, Any]:
    """Minimum of b^2 - 2 z b + lambda |b| for each z, by thirds of an interval that surely holds it."""
    lam, found = case.inputs["lam"], []
    for z in case.inputs["z"].tolist():
        low, high = -abs(z) - 1.0, abs(z) + 1.0
        for _ in range(120):
            left, right = low + (high - low) / 3, high - (high - low) / 3
            costs = [b * b - 2 * z * b + lam * abs(b) for b in (left, right)]
            low, high = (low, right) if costs[0] < costs[1] else (left, high)
        found.append((low + high) / 2)
    return {"beta": np.round(found, 9) + 0.0}  # + 0.0: no -0


SOFT_THRESHOLD = Question(
    id="lime_sparsity.soft_threshold",
    unit=UNIT,
    title="The soft threshold",
    points=2,
    minutes=7,
    difficulty=3,
    importance=4,
    kind="function",
    answer="soft_threshold",
    stub="return ...",
    cases=_soft_cases,
    probe=(
        "def probe(answer, case):\n"
        "    import torch\n"
        "    return {'beta': answer(torch.tensor(case['z']), case['lam'])}\n"
    ),
    expected=_soft_expected,
    forbids=("softshrink", *NO_LIBRARY),
    tolerance=Tolerance(1e-4, 1e-6, "thirds of an interval, some 1e-8 off; float32 answers"),
    shape_words="(n,), like z",
    context="import torch\n",
    mistakes=SOFT_MISTAKES,
    variants=(
        Variant(
            "two_relus",
            "def soft_threshold(z, lam):\n    return torch.relu(z - lam / 2) - torch.relu(-z - lam / 2)\n",
        ),
        Variant(
            "loop",
            "def soft_threshold(z, lam):\n"
            "    found = []\n"
            "    for v in z.tolist():\n"
            "        size = max(abs(v) - lam / 2, 0.0)\n"
            "        found.append(size if v > 0 else -size)\n"
            "    return found\n",
        ),
        Variant("clamp", "def soft_threshold(z, lam):\n    return z - z.clamp(-lam / 2, lam / 2)\n"),
    ),
    hints=(
        "With X' Π X = I each coefficient is on its own: minimise b^2 - 2 z b + lambda |b|.",
        "For b > 0 the slope is 2 b - 2 z + lambda: zero at z - lambda/2, if that is above 0. For b < 0 the same "
        "mirrored.",
        "torch.sign(z) * (z.abs() - lam / 2).clamp(min=0)",
    ),
)


def _stays_case(name: str, rng: np.random.Generator, N: int, n: int) -> Case:
    found = design(rng, N, n)
    beta = rng.choice([-1, 1], size=n) * rng.uniform(0.5, 1.5, size=n)
    return Case(name, {**found, "beta": beta, "j": int(rng.integers(n))}, symbols={"N": N, "n": n})


def _stays_cases(seed: int, size: Size) -> list[Case]:
    if size == "public":
        rng = np.random.default_rng(64)
        return [_stays_case("4 samples, 2 features", rng, 4, 2), _stays_case("9 samples, 4 features", rng, 9, 4)]
    rng = np.random.default_rng([seed, 65])
    return [_stays_case(str(i), rng, N, n) for i, (N, n) in enumerate([(7, 3), (12, 5), (15, 3)])]


def _stays_expected(case: Case) -> Mapping[str, Any]:
    """Size of the slope of the squares at beta_j = 0, by differences: a price above it keeps the minimum there."""
    X, y, w, beta, j = (case.inputs[name] for name in ("X", "y", "w", "beta", "j"))

    def squares(b: float) -> float:
        moved = beta.copy()
        moved[j] = b
        return float(w @ (y - X @ moved) ** 2)

    return {"price": abs(squares(1e-3) - squares(-1e-3)) / 2e-3}


ZERO_STAYS = Question(
    id="lime_sparsity.zero_stays",
    unit=UNIT,
    title="From which price on is zero the best?",
    points=2,
    minutes=6,
    difficulty=4,
    importance=4,
    kind="function",
    answer="zero_stays",
    stub="return ...",
    cases=_stays_cases,
    probe=(
        "def probe(answer, case):\n"
        "    import torch\n"
        "    X, y, w, beta = (torch.tensor(case[name]) for name in ('X', 'y', 'w', 'beta'))\n"
        "    return {'price': answer(X, y, w, beta, case['j'])}\n"
    ),
    expected=_stays_expected,
    forbids=NO_LIBRARY,
    tolerance=Tolerance(1e-4, 1e-6, "differences of a parabola, some 1e-9 off; float32 answers"),
    shape_words="one number, 0 or above",
    context="import torch\n",
    mistakes=STAYS_MISTAKES,
    variants=(
        Variant(
            "without_j",
            "def zero_stays(X, y, w, beta, j):\n"
            "    others = beta.clone()\n"
            "    others[j] = 0\n"
            "    return 2 * (X[:, j] @ (w * (y - X @ others))).abs()\n",
        ),
        Variant(
            "loop",
            "def zero_stays(X, y, w, beta, j):\n"
            "    total = 0.0\n"
            "    for row, t, v in zip(X.tolist(), y.tolist(), w.tolist()):\n"
            "        rest = t - sum(r * float(b) for i, (r, b) in enumerate(zip(row, beta)) if i != j)\n"
            "        total += v * row[j] * rest\n"
            "    return 2 * abs(total)\n",
        ),
    ),
    hints=(
        "Let only beta_j move, from 0. The squares have a slope there, lambda |beta_j| has slope lambda to both sides.",
        "Zero is the best where lambda is at least the size of that slope. The slope is -2 x_j' Π r, with r what "
        "is left "
        "when beta_j is 0.",
        "r = y - X @ beta + X[:, j] * beta[j]; 2 * abs(X[:, j] @ (w * r))",
    ),
)


def _project_cases(seed: int, size: Size) -> list[Case]:
    if size == "public":
        drawn = [
            (np.array([2.0, -0.5, 0.25]), 1.0),
            (np.array([0.25, -0.5]), 1.0),
            (np.array([1.5, -1.0, 0.75, 0.1, -2.0]), 2.0),
        ]
    else:
        rng = np.random.default_rng([seed, 66])
        drawn = [(rng.normal(size=n) * 2, share) for n, share in ((4, 0.4), (7, 0.6), (3, 1.4))]
        drawn = [(v, float(share * np.abs(v).sum())) for v, share in drawn]
    return [Case(f"{len(v)} values, k = {k:.3g}", {"v": v, "k": k}, symbols={"k": k}) for v, k in drawn]


def _project_expected(case: Case) -> Mapping[str, Any]:
    """The amount by which all shrink, found by halving: the sum of what stays falls with it."""
    v, k = case.inputs["v"], case.inputs["k"]
    if np.abs(v).sum() <= k:
        return {"beta": v}
    low, high = 0.0, float(np.abs(v).max())
    for _ in range(200):
        t = (low + high) / 2
        low, high = (t, high) if np.maximum(np.abs(v) - t, 0).sum() > k else (low, t)
    return {"beta": np.sign(v) * np.maximum(np.abs(v) - high, 0)}


PROJECT_L1 = Question(
    id="lime_sparsity.project_l1",
    unit=UNIT,
    title="The nearest point of the l1 ball",
    points=3,
    minutes=9,
    difficulty=4,
    importance=4,
    kind="function",
    answer="project_l1",
    stub="return ...",
    cases=_project_cases,
    probe=(
        "def probe(answer, case):\n    import torch\n    return {'beta': answer(torch.tensor(case['v']), case['k'])}\n"
    ),
    expected=_project_expected,
    forbids=NO_LIBRARY,
    tolerance=_FLOAT32,
    shape_words="(n,), like v",
    context="import torch\n",
    mistakes=PROJECT_MISTAKES,
    variants=(
        Variant(
            "halving",
            "def project_l1(v, k):\n"
            "    if v.abs().sum() <= k:\n"
            "        return v\n"
            "    low, high = 0.0, float(v.abs().max())\n"
            "    for _ in range(100):\n"
            "        t = (low + high) / 2\n"
            "        if (v.abs() - t).clamp(min=0).sum() > k:\n"
            "            low = t\n"
            "        else:\n"
            "            high = t\n"
            "    return v.sign() * (v.abs() - high).clamp(min=0)\n",
        ),
        Variant(
            "dropping",
            "def project_l1(v, k):\n"
            "    sizes = [abs(a) for a in v.tolist()]\n"
            "    if sum(sizes) <= k:\n"
            "        return v.tolist()\n"
            "    alive = list(range(len(sizes)))\n"
            "    while True:\n"
            "        t = (sum(sizes[i] for i in alive) - k) / len(alive)\n"
            "        fewer = [i for i in alive if sizes[i] > t]\n"
            "        if len(fewer) == len(alive):\n"
            "            break\n"
            "        alive = fewer\n"
            "    return [max(s - t, 0.0) * (1 if a > 0 else -1) for s, a in zip(sizes, v.tolist())]\n",
        ),
    ),
    hints=(
        "Inside the ball nothing happens. Outside, all sizes shrink by the same amount t, and what would fall "
        "below 0 is 0: "
        "a soft threshold.",
        "Find the t at which what stays adds up to k: halve an interval from 0 to the largest size, or sort.",
        "s = v.abs().sort(descending=True).values; t_m = (s.cumsum(0) - k) / m for the m largest; the last m "
        "with s_m > t_m "
        "is right.",
    ),
)

GRAM, BALL = np.array([[1.0, 0.3], [0.3, 0.25]]), 1.0
"""Correlation .6, and the second feature half as long. (With equal lengths every side of the ball lies along an axis of
the ellipses, and the fit is the plain projection whatever the correlation.)"""


def optima() -> Array:
    """Free optima, drawn evenly from [-3, 3]^2, of which those outside the ball are kept, (40, 2)."""
    import torch

    drawn = 6 * torch.rand(80, 2, generator=torch.Generator().manual_seed(5), dtype=torch.float64) - 3
    found: Array = drawn[drawn.abs().sum(1) > BALL][:40].numpy()
    return found


def exact(G: Array, b: Array, k: float) -> Array:
    """Minimum of (beta - b)' G (beta - b) on the edge of the l1 ball: the best point of each of its four sides."""
    found = []
    for s1, s2 in itertools.product((1, -1), repeat=2):
        start, along = np.array([0.0, s2 * k]), np.array([s1, -s2], dtype=np.float64)
        t = float(np.clip(-(along @ G @ (start - b)) / (along @ G @ along), 0.0, k))
        beta = start + t * along
        found.append((float((beta - b) @ G @ (beta - b)), beta))
    best: Array = min(found, key=lambda pair: pair[0])[1]
    return best


def _one(seed: int, size: Size) -> list[Case]:
    return [Case("the 40 optima", {}, symbols={"m": 40})] if size == "public" else []


def _constrained_expected(case: Case) -> Mapping[str, Any]:
    """Side by side of the ball, without an iteration."""
    return {"beta": np.stack([exact(GRAM, b, BALL) for b in optima()])}


CONSTRAINED = Question(
    id="lime_sparsity.constrained",
    unit=UNIT,
    title="Forty fits under l1",
    points=3,
    minutes=7,
    difficulty=4,
    importance=4,
    kind="value",
    answer="constrained",
    stub="constrained = ...",
    cases=_one,
    probe="def probe(answer, case):\n    return {'beta': answer}\n",
    expected=_constrained_expected,
    depends_on=("lime_sparsity.project_l1",),
    forbids=NO_LIBRARY,
    tolerance=Tolerance(1e-3, 1e-5, "an iteration that may stop at some 1e-5"),
    shape_words="(40, 2), a row for each optimum",
    context=(
        "import torch\n"
        "G = torch.tensor([[1.0, 0.3], [0.3, 0.25]], dtype=torch.float64)\n"
        "drawn = 6 * torch.rand(80, 2, generator=torch.Generator().manual_seed(5), dtype=torch.float64) - 3\n"
        "optima = drawn[drawn.abs().sum(1) > 1][:40]\n"
        "def project_l1(v, k):\n"
        "    if v.abs().sum() <= k:\n"
        "        return v\n"
        "    s = v.abs().sort(descending=True).values\n"
        "    t = (s.cumsum(0) - k) / torch.arange(1, len(s) + 1)\n"
        "    return v.sign() * (v.abs() - t[s > t][-1]).clamp(min=0)\n"
    ),
    mistakes=CONSTRAINED_MISTAKES,
    variants=(
        Variant(
            "sides",
            "rows = []\n"
            "for b in optima:\n"
            "    best = None\n"
            "    for s1 in (1.0, -1.0):\n"
            "        for s2 in (1.0, -1.0):\n"
            "            for t in torch.linspace(0, 1, 20001, dtype=torch.float64)[None]:\n"
            "                points = torch.stack([s1 * t, s2 * (1 - t)], 1)\n"
            "                away = points - b\n"
            "                cost = ((away @ G) * away).sum(1)\n"
            "                i = int(cost.argmin())\n"
            "                if best is None or cost[i] < best[0]:\n"
            "                    best = cost[i], points[i]\n"
            "    rows.append(best[1].tolist())\n"
            "constrained = rows\n",
        ),
        Variant(
            "one_by_one",
            "rows = []\n"
            "for b in optima:\n"
            "    beta = torch.zeros(2, dtype=torch.float64)\n"
            "    for _ in range(2000):\n"
            "        beta = project_l1(beta - 0.1 * 2 * G @ (beta - b), 1.0)\n"
            "    rows.append(beta)\n"
            "constrained = torch.stack(rows)\n",
        ),
    ),
    hints=(
        "The gradient of (beta - b)' G (beta - b) is 2 G (beta - b). Take a step against it, project, and again.",
        "A step of 0.4 is short enough: 1 over the largest eigenvalue of 2 G is .45. Three hundred rounds are plenty.",
        "for b in optima: beta = b; for _ in range(300): beta = project_l1(beta - 0.4 * 2 * G @ (beta - b), 1.0)",
    ),
)
