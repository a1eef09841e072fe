"""Unit 04, a budget for the coefficients: the ridge, and the multiplier that a ball of radius k asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from xaiteach.questions.lime_fit_ball_mistakes import IN_BALL_MISTAKES, MULTIPLIER_MISTAKES, RIDGE_FIT_MISTAKES
from xaiteach.questions.lime_fit_local import PAIR_PROBE
from xaiteach.questions.lime_fit_printed import NO_LIBRARY, SOLVED, design
from xaiteach.questions.model import Case, Question, Size, Tolerance, Variant

__all__ = ["IN_BALL", "MULTIPLIER", "RIDGE_FIT"]

UNIT = "04_lime_fit"

Array = np.ndarray[Any, Any]


def _ridge_case(name: str, rng: np.random.Generator, N: int, n: int) -> Case:
    found = design(rng, N, n)
    lam = float(0.5 + 2 * rng.uniform())
    return Case(name, {"Z": found["X"], "y": found["y"], "w": found["w"], "lam": lam}, symbols={"N": N, "n": n})


def _ridge_cases(seed: int, size: Size) -> list[Case]:
    if size == "public":
        rng = np.random.default_rng(52)
        return [_ridge_case("5 samples, 2 features", rng, 5, 2), _ridge_case("20 samples, 4 features", rng, 20, 4)]
    rng = np.random.default_rng([seed, 53])
    return [_ridge_case(str(i), rng, N, n) for i, (N, n) in enumerate([(9, 3), (15, 5), (30, 7)])]


def ridge(Z: Array, y: Array, w: Array, lam: float) -> tuple[float, Array]:
    """Intercept and coefficients: least squares of the root-weighted samples with sqrt(lambda) I below them."""
    n = Z.shape[1]
    A = np.column_stack([np.ones(len(y)), Z]) * np.sqrt(w)[:, None]
    below = np.column_stack([np.zeros(n), np.sqrt(lam) * np.eye(n)])
    both = np.linalg.lstsq(np.vstack([A, below]), np.concatenate([np.sqrt(w) * y, np.zeros(n)]), rcond=None)[0]
    return float(both[0]), both[1:]


def _ridge_expected(case: Case) -> Mapping[str, Any]:
    intercept, coefficients = ridge(*(case.inputs[name] for name in ("Z", "y", "w", "lam")))
    return {"intercept": intercept, "coefficients": coefficients}


RIDGE_FIT = Question(
    id="lime_fit.ridge_fit",
    unit=UNIT,
    title="A price for large coefficients",
    points=3,
    minutes=8,
    difficulty=3,
    importance=4,
    kind="function",
    answer="ridge_fit",
    stub="return ...",
    cases=_ridge_cases,
    probe=(
        "def probe(answer, case):\n"
        "    import torch\n"
        "    found = answer(*(torch.tensor(case[name]) for name in ('Z', 'y', 'w')), case['lam'])\n" + PAIR_PROBE
    ),
    expected=_ridge_expected,
    forbids=NO_LIBRARY,
    tolerance=SOLVED,
    shape_words="a pair: a single number and (n,)",
    context="import torch\n",
    mistakes=RIDGE_FIT_MISTAKES,
    variants=(
        Variant(
            "one_system",
            "import torch\n"
            "def ridge_fit(Z, y, w, lam):\n"
            "    A = torch.cat([torch.ones_like(Z[:, :1]), Z], 1)\n"
            "    price = lam * torch.eye(A.shape[1], dtype=Z.dtype)\n"
            "    price[0, 0] = 0\n"
            "    both = torch.linalg.solve(A.T @ (w[:, None] * A) + price, A.T @ (w * y))\n"
            "    return both[0], both[1:]\n",
        ),
        Variant(
            "numpy_rows_below",
            "import numpy as np\n"
            "def ridge_fit(Z, y, w, lam):\n"
            "    Z, y, w = np.asarray(Z), np.asarray(y), np.asarray(w)\n"
            "    z0, y0 = np.average(Z, axis=0, weights=w), np.average(y, weights=w)\n"
            "    root = np.sqrt(w)\n"
            "    A = np.vstack([root[:, None] * (Z - z0), np.sqrt(lam) * np.eye(Z.shape[1])])\n"
            "    t = np.concatenate([root * (y - y0), np.zeros(Z.shape[1])])\n"
            "    beta = np.linalg.lstsq(A, t, rcond=None)[0]\n"
            "    return float(y0 - z0 @ beta), beta.tolist()\n",
        ),
    ),
    hints=(
        "Take the intercept out first: subtract the weighted means of Z and y. What is left has none.",
        "With Zc = Z - mean and yc = y - mean, set the gradient of w (yc - Zc beta)^2 + lam |beta|^2 to zero: "
        "(Zc' W Zc + lam I) beta = Zc' W yc.",
        "beta = torch.linalg.solve(Zc.T @ (w[:, None] * Zc) + lam * torch.eye(n, dtype=Z.dtype), Zc.T @ (w * yc)); the "
        "intercept is y_mean - z_mean @ beta.",
    ),
)


def _ball_case(name: str, rng: np.random.Generator, N: int, n: int, share: float) -> Case:
    """A radius that is `share` of the free solution's length."""
    found = design(rng, N, n)
    free = ridge(found["X"], found["y"], found["w"], 0.0)[1]
    k = float(share * np.linalg.norm(free))
    return Case(name, {"Z": found["X"], "y": found["y"], "w": found["w"], "k": k}, symbols={"N": N, "n": n, "k": k})


def _ball_cases(seed: int, size: Size) -> list[Case]:
    if size == "public":
        rng = np.random.default_rng(54)
        return [
            _ball_case("2 features, the ball cuts", rng, 6, 2, 0.5),
            _ball_case("3 features, the free fit lies inside", rng, 12, 3, 1.5),
            _ball_case("4 features, a narrow ball", rng, 20, 4, 0.1),
        ]
    rng = np.random.default_rng([seed, 55])
    return [
        _ball_case(str(i), rng, N, n, share)
        for i, (N, n, share) in enumerate([(9, 3, 0.3), (15, 5, 0.8), (12, 2, 1.2), (25, 4, 0.02)])
    ]


def _ball_expected(case: Case) -> Mapping[str, Any]:
    """Root of |beta(lambda)| = k by Brent's method on the logarithm of lambda; 0 where the free solution is inside."""
    from scipy.optimize import brentq

    Z, y, w, k = (case.inputs[name] for name in ("Z", "y", "w", "k"))

    def length(lam: float) -> float:
        return float(np.linalg.norm(ridge(Z, y, w, lam)[1]))

    if length(0.0) <= k:
        return {"lam": 0.0, "coefficients": ridge(Z, y, w, 0.0)[1]}
    lam = float(np.exp(brentq(lambda t: length(np.exp(t)) - k, -30.0, 30.0, xtol=1e-13)))
    return {"lam": lam, "coefficients": ridge(Z, y, w, lam)[1]}


IN_BALL = Question(
    id="lime_fit.in_ball",
    unit=UNIT,
    title="A budget for their length",
    points=4,
    minutes=12,
    difficulty=4,
    importance=4,
    kind="function",
    answer="in_ball",
    stub="return ...",
    cases=_ball_cases,
    probe=(
        "def probe(answer, case):\n"
        "    import torch\n"
        "    found = answer(*(torch.tensor(case[name]) for name in ('Z', 'y', 'w')), case['k'])\n"
        "    if found is ... or found is None:\n"
        "        return {'lam': found}\n"
        "    lam, coefficients = found\n"
        "    return {'lam': lam, 'coefficients': coefficients}\n"
    ),
    expected=_ball_expected,
    depends_on=("lime_fit.ridge_fit",),
    forbids=NO_LIBRARY,
    tolerance=Tolerance(1e-3, 1e-5, "the multiplier comes from a search that may stop at some 1e-5 of it"),
    shape_words="a pair: lambda, a single number from 0 up, and the coefficients, (n,)",
    context=(
        "import torch\n"
        "def ridge_fit(Z, y, w, lam):\n"
        "    share = w / w.sum()\n"
        "    z0, y0 = share @ Z, share @ y\n"
        "    Zc = Z - z0\n"
        "    G = Zc.T @ (w[:, None] * Zc) + lam * torch.eye(Z.shape[1], dtype=Z.dtype)\n"
        "    beta = torch.linalg.solve(G, Zc.T @ (w * (y - y0)))\n"
        "    return y0 - z0 @ beta, beta\n"
    ),
    mistakes=IN_BALL_MISTAKES,
    variants=(
        Variant(
            "newton",
            "def in_ball(Z, y, w, k):\n"
            "    lam = 0.0\n"
            "    for _ in range(60):\n"
            "        beta = ridge_fit(Z, y, w, lam)[1]\n"
            "        length = beta.norm()\n"
            "        if length <= k * (1 + 1e-12):\n"
            "            break\n"
            "        share = w / w.sum()\n"
            "        Zc = Z - share @ Z\n"
            "        G = Zc.T @ (w[:, None] * Zc) + lam * torch.eye(len(beta), dtype=Z.dtype)\n"
            "        slope = (beta @ torch.linalg.solve(G, beta)) / length**3\n"
            "        lam = lam + float((1 / k - 1 / length) / slope)\n"
            "    return lam, beta\n",
        ),
        Variant(
            "brent",
            "def in_ball(Z, y, w, k):\n"
            "    from scipy.optimize import brentq\n"
            "    length = lambda lam: float(ridge_fit(Z, y, w, lam)[1].norm())\n"
            "    if length(0.0) <= k:\n"
            "        return 0, ridge_fit(Z, y, w, 0.0)[1].tolist()\n"
            "    lam = brentq(lambda lam: length(lam) - k, 0.0, 1e8)\n"
            "    return lam, ridge_fit(Z, y, w, lam)[1].tolist()\n",
        ),
    ),
    hints=(
        "First try lambda = 0. If those coefficients are no longer than k you are done: the budget costs nothing.",
        "Else the length falls as lambda grows: find where it is k. Double an upper end until the length is "
        "below k, then "
        "halve the interval.",
        "low, high = 0.0, 1.0; while ridge_fit(Z, y, w, high)[1].norm() > k: high *= 2; then a hundred times: middle = "
        "(low + high) / 2, and low or high moves there.",
    ),
)


def _multiplier_cases(seed: int, size: Size) -> list[Case]:
    if size == "public":
        drawn = [(2.0, 3.0), (0.5, 1.0)]
    else:
        rng = np.random.default_rng([seed, 56])
        drawn = [(0.2 + rng.exponential(), 0.2 + rng.exponential()) for _ in range(4)]
    return [Case(f"lambda = {lam:.3g}, k = {k:.3g}", {"lambda": float(lam), "k": float(k)}) for lam, k in drawn]


def _multiplier_expected(case: Case) -> Mapping[str, Any]:
    """One feature, J = (beta - t)^2 with t beyond k: the slope of J at k is the price of a longer beta, by differences.

    With the constraint beta^2 <= k^2 the multiplier is that slope over 2k; t is chosen so that this is lambda.
    """
    lam, k = case.inputs["lambda"], case.inputs["k"]
    t = k * (1 + lam)

    def cost(radius: float) -> float:
        return float((radius - t) ** 2)

    return {"value": (cost(k - 1e-4) - cost(k + 1e-4)) / 2e-4}


MULTIPLIER = Question(
    id="lime_fit.multiplier",
    unit=UNIT,
    title="The same ball, another multiplier",
    points=1,
    minutes=5,
    difficulty=3,
    importance=2,
    stretch=True,
    kind="formula",
    answer="multiplier",
    stub="multiplier = ...",
    cases=_multiplier_cases,
    expected=_multiplier_expected,
    tolerance=Tolerance(1e-4, 1e-6, "differences of a parabola, some 1e-9 off"),
    shape_words="a formula in lambda and k, in quotes",
    mistakes=MULTIPLIER_MISTAKES,
    variants=(Variant("greek", 'multiplier = "2·λ·k"\n'), Variant("order", 'multiplier = "k*lambda*2"\n')),
    hints=(
        "Set the gradient by beta of each Lagrangian to zero, at the same solution beta, and compare the last terms.",
        "The gradient of lambda (|beta|^2 - k^2) is 2 lambda beta; that of mu (|beta| - k) is mu beta / |beta|.",
        "They are equal at |beta| = k: 2 lambda = mu / k.",
    ),
)
