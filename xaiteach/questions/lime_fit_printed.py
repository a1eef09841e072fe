"""Unit 04, the fit as it is printed: no intercept, its minimum, and what it makes of a constant.

Symbols: X samples (N, n), y their scores (N,), w their weights (N,), beta coefficients (n,). The printed form is the
minimum of sum_i w_i (y_i - x_i beta)^2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from xaiteach.questions.lime_fit_mistakes import (
    BOWL_MISTAKES,
    NO_INTERCEPT_MISTAKES,
    SCALAR_MISTAKES,
    WEIGHTED_FIT_MISTAKES,
)
from xaiteach.questions.model import Case, Question, Rubric, Size, Tolerance, Variant

__all__ = [
    "BOWL", "NO_INTERCEPT", "NO_LIBRARY", "PREDICT_CONSTANT", "SCALAR_NOISE", "SOLVED", "WEIGHTED_FIT", "design",
]  # fmt: skip

UNIT = "04_lime_fit"
NO_LIBRARY = ("sklearn", "statsmodels", "lime", "explain")
"""Names that a fit by hand may not use; a solver of linear systems is none of them."""
SOLVED = Tolerance(1e-4, 1e-6, "the answer may solve in float32; the systems are well conditioned")

Array = np.ndarray[Any, Any]


def design(rng: np.random.Generator, N: int, n: int) -> dict[str, Array]:
    """Samples around a point that is not 0, scores that no plane meets, and weights that are far from equal."""
    X = 1.5 + rng.normal(size=n) + rng.normal(size=(N, n))
    y = 2.0 + X @ rng.normal(size=n) + rng.normal(size=N)
    return {"X": X, "y": y, "w": rng.permutation(np.geomspace(0.05, 1.0, N))}


def _fit_case(name: str, rng: np.random.Generator, N: int, n: int, singular: str = "") -> Case:
    found = design(rng, N, n)
    if singular == "one feature twice":
        found["X"][:, n - 1] = found["X"][:, 0]
    elif singular == "a feature that is always 0":
        found["X"][:, n - 1] = 0.0
    return Case(name, found, symbols={"N": N, "n": n})


def _fit_cases(seed: int, size: Size) -> list[Case]:
    if size == "public":
        rng = np.random.default_rng(40)
        return [
            _fit_case("4 samples, 2 features", rng, 4, 2),
            _fit_case("3 features, the last is always 0", rng, 9, 3, "a feature that is always 0"),
            _fit_case("20 samples, 5 features", rng, 20, 5),
        ]
    rng = np.random.default_rng([seed, 41])
    return [
        _fit_case("0", rng, 12, 3),
        _fit_case("1", rng, 15, 4, "one feature twice"),
        _fit_case("2", rng, 30, 6),
        _fit_case("3", rng, 10, 4, "a feature that is always 0"),
    ]


def _fit_expected(case: Case) -> Mapping[str, Any]:
    """Minimum-norm solution from the singular values of the root-weighted samples; no normal equations."""
    X, y, w = (case.inputs[name] for name in ("X", "y", "w"))
    U, s, Vt = np.linalg.svd(np.sqrt(w)[:, None] * X, full_matrices=False)
    kept = s > 1e-9 * s.max()
    return {"beta": Vt[kept].T @ ((U[:, kept].T @ (np.sqrt(w) * y)) / s[kept])}


_READ = "    X, y, w = (torch.tensor(case[name]) for name in ('X', 'y', 'w'))\n"

WEIGHTED_FIT = Question(
    id="lime_fit.weighted_fit",
    unit=UNIT,
    title="Weighted least squares, as it is printed",
    points=3,
    minutes=9,
    difficulty=3,
    importance=5,
    kind="function",
    answer="weighted_fit",
    stub="return ...",
    cases=_fit_cases,
    probe="def probe(answer, case):\n    import torch\n" + _READ + "    return {'beta': answer(X, y, w)}\n",
    expected=_fit_expected,
    forbids=NO_LIBRARY,
    tolerance=SOLVED,
    shape_words="(n,), a coefficient for each feature",
    context="import torch\n",
    mistakes=WEIGHTED_FIT_MISTAKES,
    variants=(
        Variant(
            "pseudo_inverse",
            "import torch\n"
            "def weighted_fit(X, y, w):\n"
            "    root = w.sqrt()\n"
            "    return torch.linalg.pinv(root[:, None] * X) @ (root * y)\n",
        ),
        Variant(
            "normal_equations",
            "import torch\n"
            "def weighted_fit(X, y, w):\n"
            "    P = torch.diag(w)\n"
            "    return torch.linalg.pinv(X.T @ P @ X, hermitian=True, rtol=1e-10) @ X.T @ P @ y\n",
        ),
        Variant(
            "numpy_list",
            "import numpy as np\n"
            "def weighted_fit(X, y, w):\n"
            "    X, y, w = np.asarray(X), np.asarray(y), np.asarray(w)\n"
            "    A = np.array([[np.sqrt(v) * x for x in row] for row, v in zip(X, w)])\n"
            "    return np.linalg.lstsq(A, np.sqrt(w) * y, rcond=1e-10)[0].tolist()\n",
        ),
    ),
    hints=(
        "A sum of w_i r_i^2 is a sum of (sqrt(w_i) r_i)^2: ordinary least squares of other rows and other scores.",
        "Multiply each row of X and each y by sqrt(w). torch.linalg.pinv gives the solution of smallest length where "
        "there are many.",
        "root = w.sqrt(); torch.linalg.pinv(root[:, None] * X) @ (root * y)",
    ),
)


def _bowl_case(name: str, rng: np.random.Generator, N: int, n: int) -> Case:
    return Case(name, {**design(rng, N, n), "beta": rng.normal(size=n)}, symbols={"N": N, "n": n})


def _bowl_cases(seed: int, size: Size) -> list[Case]:
    if size == "public":
        rng = np.random.default_rng(42)
        return [_bowl_case("3 samples, 2 features", rng, 3, 2), _bowl_case("9 samples, 4 features", rng, 9, 4)]
    rng = np.random.default_rng([seed, 43])
    return [_bowl_case(str(i), rng, N, n) for i, (N, n) in enumerate([(8, 3), (12, 5)])]


def _bowl_expected(case: Case) -> Mapping[str, Any]:
    """Central differences of the objective, sample by sample in plain sums: exact, for it is a parabola."""
    X, y, w, beta = (case.inputs[name] for name in ("X", "y", "w", "beta"))

    def cost(b: Array) -> float:
        return sum(float(v) * (float(t) - float(row @ b)) ** 2 for row, t, v in zip(X, y, w, strict=True))

    moves = 1e-2 * np.eye(len(beta))
    gradient = [(cost(beta + m) - cost(beta - m)) / 2e-2 for m in moves]
    hessian = [
        [(cost(beta + a + b) - cost(beta + a - b) - cost(beta - a + b) + cost(beta - a - b)) / 4e-4 for b in moves]
        for a in moves
    ]
    return {"gradient": np.array(gradient), "hessian": np.array(hessian)}


BOWL = Question(
    id="lime_fit.bowl",
    unit=UNIT,
    title="Why a zero gradient is a minimum here",
    points=3,
    minutes=8,
    difficulty=3,
    importance=4,
    kind="function",
    answer="bowl",
    stub="return ...",
    cases=_bowl_cases,
    probe=(
        "def probe(answer, case):\n"
        "    import torch\n"
        "    found = answer(*(torch.tensor(case[name]) for name in ('X', 'y', 'w', 'beta')))\n"
        "    if found is ... or found is None:\n"
        "        return {'gradient': found}\n"
        "    gradient, hessian = found\n"
        "    return {'gradient': gradient, 'hessian': hessian}\n"
    ),
    expected=_bowl_expected,
    forbids=("autograd", "backward", "hessian", "jacrev", "jacobian"),
    tolerance=Tolerance(1e-4, 1e-6, "differences of a parabola, some 1e-9 apart; float32 answers"),
    shape_words="a pair: (n,) and (n, n)",
    context="import torch\n",
    mistakes=BOWL_MISTAKES,
    variants=(
        Variant(
            "diagonal",
            "import torch\n"
            "def bowl(X, y, w, beta):\n"
            "    P = torch.diag(w)\n"
            "    return 2 * (X.T @ P @ X @ beta - X.T @ P @ y), 2 * X.T @ P @ X\n",
        ),
        Variant(
            "loops",
            "def bowl(X, y, w, beta):\n"
            "    n = X.shape[1]\n"
            "    g, H = [0.0] * n, [[0.0] * n for _ in range(n)]\n"
            "    for row, t, v in zip(X, y, w):\n"
            "        r = float(t - row @ beta)\n"
            "        for j in range(n):\n"
            "            g[j] -= 2 * float(v) * r * float(row[j])\n"
            "            for k in range(n):\n"
            "                H[j][k] += 2 * float(v) * float(row[j]) * float(row[k])\n"
            "    return g, H\n",
        ),
    ),
    hints=(
        "Differentiate w_i (y_i - x_i beta)^2 by beta_j: the outer square, then the inner sum. Then once more.",
        "With r = y - X beta the gradient is -2 X' (w r). One more derivative leaves X, the weights, and X again.",
        "r = y - X @ beta; return -2 * X.T @ (w * r), 2 * X.T @ (w[:, None] * X)",
    ),
)

PREDICT_CONSTANT = Question(
    id="lime_fit.predict_constant",
    unit=UNIT,
    title="Predict: an explanation of nothing",
    points=0,
    minutes=1,
    difficulty=1,
    importance=3,
    kind="prediction",
    answer="predict_constant",
    stub="predict_constant = ...",
    shape_words="a number",
    rubric=Rubric(reveal="The cell below fits it.", least=-1e9, most=1e9, whole=False),
    hints=(
        "Nothing can be wrong here. Does the line have to go through a certain point?",
        "A line through the origin that is to be 1 near x = 2 must have a slope.",
        "Write any number and go on: the next cell shows what it is.",
    ),
)


def _constant_cases(seed: int, size: Size) -> list[Case]:
    if size == "public":
        drawn = [(0.0, 1.0, 2.0, 1.0), (1.5, -2.0, -3.0, 0.5)]
    else:
        rng = np.random.default_rng([seed, 44])
        drawn = [(2 * rng.normal(), 2 * rng.normal(), 1.0 + rng.exponential(), 0.5 + rng.uniform()) for _ in range(4)]
    return [
        Case(
            f"g = {g:.3g}, a = {a:.3g}, x0 = {x0:.3g}, sigma = {sigma:.3g}",
            {"g": float(g), "a": float(a), "x0": float(x0), "sigma": float(sigma)},
        )
        for g, a, x0, sigma in drawn
    ]


def _constant_expected(case: Case) -> Mapping[str, Any]:
    """Expectations by a quadrature that is exact for polynomials under a normal density; then one division."""
    g, a, x0, sigma = (case.inputs[name] for name in ("g", "a", "x0", "sigma"))
    places, shares = np.polynomial.hermite_e.hermegauss(8)
    x = x0 + sigma * places
    return {"value": float(shares @ (x * (a + g * x)) / (shares @ x**2))}


NO_INTERCEPT = Question(
    id="lime_fit.no_intercept",
    unit=UNIT,
    title="What the printed form makes of a constant",
    points=3,
    minutes=10,
    difficulty=4,
    importance=5,
    kind="formula",
    answer="no_intercept",
    stub="no_intercept = ...",
    cases=_constant_cases,
    expected=_constant_expected,
    tolerance=Tolerance(1e-4, 1e-6, "numbers may be typed with a few digits"),
    shape_words="a formula in g, a, x0 and sigma, in quotes",
    mistakes=NO_INTERCEPT_MISTAKES,
    variants=(
        Variant("one_fraction", 'no_intercept = "(g*(σ² + x0²) + a*x0) / (σ² + x0²)"\n'),
        Variant("stepwise", 'no_intercept = "g + a/(x0 + sigma^2/x0)"\n'),
    ),
    hints=(
        "The minimum over beta of E (f(x) - x beta)^2 is E[x f(x)] / E[x^2]. Put f(x) = a + g x in.",
        "E[x^2] is variance plus squared mean, sigma^2 + x0^2; E[x] is x0.",
        "E[x (a + g x)] = a x0 + g (sigma^2 + x0^2). Divide by sigma^2 + x0^2.",
    ),
)

_RANKS = {
    "a": "20: there are 20 features and 200 samples.",
    "b": "2: every sample lies on one line through x0.",
    "c": "1: every sample is x0 times a number.",
    "d": "200: every sample is another draw.",
}


def _rank_cases(seed: int, size: Size) -> list[Case]:
    return [Case("200 samples of 20 features", {})] if size == "public" else []


def _rank_expected(case: Case) -> Mapping[str, Any]:
    """The rank of such a matrix, as numpy counts it."""
    rng = np.random.default_rng(45)
    X = rng.normal(size=20) + rng.normal(size=(200, 1))
    letters = {20: "a", 2: "b", 1: "c", 200: "d"}
    return {"choice": letters[int(np.linalg.matrix_rank(X))]}


SCALAR_NOISE = Question(
    id="lime_fit.scalar_noise",
    unit=UNIT,
    title="One draw for all features",
    points=1,
    minutes=3,
    difficulty=2,
    importance=3,
    kind="choice",
    answer="scalar_noise",
    stub="scalar_noise = ...",
    cases=_rank_cases,
    probe="def probe(answer, case):\n    return {'choice': str(answer)}\n",
    expected=_rank_expected,
    options=_RANKS,
    shape_words='one of the letters, in quotes: "a", "b", "c" or "d"',
    mistakes=SCALAR_MISTAKES,
    variants=(Variant("capital", 'scalar_noise = "B"\n'),),
    hints=(
        "Write a sample as x0 plus e_i times the vector (1, ..., 1). How many different vectors is it made of?",
        "Every row is a mix of two fixed vectors. Can the rows then fill more than a plane?",
        "x0 and (1, ..., 1): two vectors.",
    ),
)
