"""Unit 04, the fit with an intercept: how good it is, what the samples are worth, and what it says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from xaiteach.questions.lime_fit_local_mistakes import (
    EFFECTIVE_MISTAKES,
    FIDELITY_MISTAKES,
    LOCAL_FIT_MISTAKES,
    SMOOTHED_MISTAKES,
)
from xaiteach.questions.lime_fit_printed import NO_LIBRARY, SOLVED, design
from xaiteach.questions.model import Case, Question, Rubric, Size, Tolerance, Variant

__all__ = ["EFFECTIVE_SIZE", "FIDELITY", "LOCAL_FIT", "PREDICT_WORTH", "READING", "SMOOTHED"]

UNIT = "04_lime_fit"


def _local_case(name: str, rng: np.random.Generator, N: int, n: int) -> Case:
    found = design(rng, N, n)
    return Case(name, {"Z": found["X"], "y": found["y"], "w": found["w"]}, symbols={"N": N, "n": n})


def _local_cases(seed: int, size: Size) -> list[Case]:
    if size == "public":
        rng = np.random.default_rng(46)
        return [_local_case("5 samples, 2 features", rng, 5, 2), _local_case("20 samples, 4 features", rng, 20, 4)]
    rng = np.random.default_rng([seed, 47])
    return [_local_case(str(i), rng, N, n) for i, (N, n) in enumerate([(9, 3), (15, 5), (40, 7)])]


def _local_expected(case: Case) -> Mapping[str, Any]:
    """Slopes of what is left of the scores after the weighted means, by least squares; then the height at 0."""
    Z, y, w = (case.inputs[name] for name in ("Z", "y", "w"))
    z_mean, y_mean = np.average(Z, axis=0, weights=w), np.average(y, weights=w)
    root = np.sqrt(w)
    beta = np.linalg.lstsq(root[:, None] * (Z - z_mean), root * (y - y_mean), rcond=None)[0]
    return {"intercept": float(y_mean - z_mean @ beta), "coefficients": beta}


PAIR_PROBE = (
    "    if found is ... or found is None:\n"
    "        return {'intercept': found}\n"
    "    intercept, coefficients = found\n"
    "    return {'intercept': intercept, 'coefficients': coefficients}\n"
)

LOCAL_FIT = Question(
    id="lime_fit.local_fit",
    unit=UNIT,
    title="With an intercept",
    points=3,
    minutes=7,
    difficulty=2,
    importance=5,
    kind="function",
    answer="local_fit",
    stub="return ...",
    cases=_local_cases,
    probe=(
        "def probe(answer, case):\n"
        "    import torch\n"
        "    found = answer(*(torch.tensor(case[name]) for name in ('Z', 'y', 'w')))\n" + PAIR_PROBE
    ),
    expected=_local_expected,
    depends_on=("lime_fit.weighted_fit",),
    forbids=NO_LIBRARY,
    tolerance=SOLVED,
    shape_words="a pair: a single number and (n,)",
    context=(
        "import torch\n"
        "def weighted_fit(X, y, w):\n"
        "    root = w.sqrt()\n"
        "    return torch.linalg.pinv(root[:, None] * X) @ (root * y)\n"
    ),
    mistakes=LOCAL_FIT_MISTAKES,
    variants=(
        Variant(
            "centred",
            "def local_fit(Z, y, w):\n"
            "    share = w / w.sum()\n"
            "    z0, y0 = share @ Z, share @ y\n"
            "    beta = weighted_fit(Z - z0, y - y0, w)\n"
            "    return y0 - z0 @ beta, beta\n",
        ),
        Variant(
            "numpy",
            "import numpy as np\n"
            "def local_fit(Z, y, w):\n"
            "    Z, y, w = np.asarray(Z), np.asarray(y), np.asarray(w)\n"
            "    A = np.column_stack([np.ones(len(y)), Z])\n"
            "    both = np.linalg.solve(A.T @ (w[:, None] * A), A.T @ (w * y))\n"
            "    return [both[0], both[1:].tolist()]\n",
        ),
        Variant(
            "last_column",
            "def local_fit(Z, y, w):\n"
            "    both = weighted_fit(torch.cat([Z, torch.ones(len(Z), 1, dtype=Z.dtype)], 1), y, w)\n"
            "    return both[-1], both[:-1]\n",
        ),
    ),
    hints=(
        "An intercept is the coefficient of a feature that is 1 for every sample.",
        "Put a column of ones before Z, fit that with weighted_fit, and take the first coefficient apart.",
        "both = weighted_fit(torch.cat([torch.ones_like(Z[:, :1]), Z], 1), y, w); return both[0], both[1:]",
    ),
)


def _fidelity_case(name: str, rng: np.random.Generator, N: int) -> Case:
    y = 3.0 + 2 * rng.normal(size=N)
    found = y + 0.8 * rng.normal(size=N) + 0.3
    return Case(name, {"y": y, "found": found, "w": rng.permutation(np.geomspace(0.05, 1, N))}, symbols={"N": N})


def _fidelity_cases(seed: int, size: Size) -> list[Case]:
    if size == "public":
        rng = np.random.default_rng(48)
        return [_fidelity_case("4 samples", rng, 4), _fidelity_case("12 samples", rng, 12)]
    rng = np.random.default_rng([seed, 49])
    return [_fidelity_case(str(i), rng, N) for i, N in enumerate((7, 20, 33))]


def _fidelity_expected(case: Case) -> Mapping[str, Any]:
    """In plain sums, sample by sample."""
    y, found, w = (case.inputs[name].tolist() for name in ("y", "found", "w"))
    total = sum(w)
    mean = sum(v * t for v, t in zip(w, y, strict=True)) / total
    missed = sum(v * (t - p) ** 2 for v, t, p in zip(w, y, found, strict=True))
    return {"fidelity": 1 - missed / sum(v * (t - mean) ** 2 for v, t in zip(w, y, strict=True))}


FIDELITY = Question(
    id="lime_fit.fidelity",
    unit=UNIT,
    title="How faithful is the line?",
    points=2,
    minutes=5,
    difficulty=2,
    importance=5,
    kind="function",
    answer="fidelity",
    stub="return ...",
    cases=_fidelity_cases,
    probe=(
        "def probe(answer, case):\n"
        "    import torch\n"
        "    return {'fidelity': answer(*(torch.tensor(case[name]) for name in ('y', 'found', 'w')))}\n"
    ),
    expected=_fidelity_expected,
    forbids=NO_LIBRARY,
    tolerance=Tolerance(1e-4, 1e-6, "float32 sums of some dozens of numbers"),
    shape_words="one number, at most 1",
    context="import torch\n",
    mistakes=FIDELITY_MISTAKES,
    variants=(
        Variant(
            "shares",
            "def fidelity(y, found, w):\n"
            "    share = w / w.sum()\n"
            "    return 1 - (share @ (y - found) ** 2) / (share @ y**2 - (share @ y) ** 2)\n",
        ),
        Variant(
            "numpy",
            "import numpy as np\n"
            "def fidelity(y, found, w):\n"
            "    y, found, w = np.asarray(y), np.asarray(found), np.asarray(w)\n"
            "    mean = np.average(y, weights=w)\n"
            "    return 1 - np.average((y - found) ** 2, weights=w) / np.average((y - mean) ** 2, weights=w)\n",
        ),
    ),
    hints=(
        "Two sums of weighted squares: what the surrogate misses, and what the best constant would miss.",
        "The best constant is the weighted mean, sum(w y) / sum(w).",
        "mean = (w @ y) / w.sum(); 1 - (w @ (y - found) ** 2) / (w @ (y - mean) ** 2)",
    ),
)

PREDICT_WORTH = Question(
    id="lime_fit.predict_worth",
    unit=UNIT,
    title="Predict: what are 1000 samples worth?",
    points=0,
    minutes=1,
    difficulty=1,
    importance=3,
    kind="prediction",
    answer="predict_worth",
    stub="predict_worth = ...",
    shape_words="a number from 1 to 1000",
    rubric=Rubric(reveal="The cell below computes it.", least=1, most=1000, whole=False),
    hints=(
        "Nothing can be wrong here. How far from x0 does a sample of 20 features usually lie, when each has sigma 1?",
        "Its squared distance is about 20, so that a usual weight is exp(-20); a lucky one is many times that.",
        "Write any number from 1 to 1000 and go on: the next cell shows what it is.",
    ),
)

READING = Question(
    id="lime_fit.reading",
    unit=UNIT,
    title="What does a coefficient of LIME say?",
    points=3,
    minutes=7,
    difficulty=3,
    importance=5,
    kind="essay",
    answer="reading",
    stub='reading = """\n...\n"""',
    shape_words="three to six sentences between the quotes",
    rubric=Rubric(
        criteria=(
            (0.75, "it is the slope of a plane fitted to the scores of perturbed samples, not of the true function"),
            (0.75, "how wide the samples and the weights reach decides what it is the slope of: a smoothed gradient"),
            (0.5, "what is approximated is the score around x0, not the boundary between classes"),
            (0.5, "without an intercept it carries the height of the score, so that a constant gets an explanation"),
            (0.5, "fidelity, measured on fresh samples, and what the samples are worth, say whether to trust it"),
        ),
        weak="LIME explains the prediction with a simple model, and big coefficients are the important features.",
        weak_notes=(
            "Simple where, and fitted to what? It says nothing of the neighbourhood that the slope belongs to, nor of "
            "whether the plane fits there."
        ),
        least_words=30,
    ),
    hints=(
        "Think of the last figure that you read with a slope in it: over which stretch was the slope taken?",
        "Which of your functions would tell you that a coefficient cannot be trusted, and how?",
        "Say what it is the slope of, over which samples, with which weights; what the intercept is for; how to "
        "test it.",
    ),
)


def _weights_cases(seed: int, size: Size) -> list[Case]:
    if size == "public":
        drawn = [np.array([1.0, 1.0, 1.0, 0.0]), np.array([2.0, 0.5, 0.25, 0.25, 1.0])]
    else:
        rng = np.random.default_rng([seed, 50])
        drawn = [rng.exponential(size=n) ** 2 for n in (6, 11, 30)]
    return [Case(f"{len(w)} weights" if size == "public" else str(i), {"w": w}, symbols={"N": len(w)})
            for i, w in enumerate(drawn)]  # fmt: skip


def _effective_expected(case: Case) -> Mapping[str, Any]:
    """From the variance of a weighted mean: how many equal samples would have the same."""
    w = case.inputs["w"].tolist()
    shares = [v / sum(w) for v in w]
    variance = sum(share**2 for share in shares)  # of the mean of draws with variance 1
    return {"size": 1 / variance}


EFFECTIVE_SIZE = Question(
    id="lime_fit.effective_size",
    unit=UNIT,
    title="What weighted samples are worth",
    points=1,
    minutes=5,
    difficulty=2,
    importance=4,
    stretch=True,
    kind="function",
    answer="effective_size",
    stub="return ...",
    cases=_weights_cases,
    probe=(
        "def probe(answer, case):\n"
        "    import torch\n"
        "    w = torch.tensor(case['w'])\n"
        "    return {'size': answer(w), 'size of tripled weights': answer(3 * w)}\n"
    ),
    expected=lambda case: {**_effective_expected(case), "size of tripled weights": _effective_expected(case)["size"]},
    forbids=NO_LIBRARY,
    tolerance=Tolerance(1e-4, 1e-6, "a float32 quotient of sums"),
    shape_words="one number, from 1 to N",
    context="import torch\n",
    mistakes=EFFECTIVE_MISTAKES,
    variants=(
        Variant("shares", "def effective_size(w):\n    share = w / w.sum()\n    return 1 / (share**2).sum()\n"),
        Variant(
            "loop",
            "def effective_size(w):\n    w = [float(v) for v in w]\n    return sum(w) ** 2 / sum(v * v for v in w)\n",
        ),
    ),
    hints=(
        "A mean of N draws with equal weights has a variance of 1/N. Which variance has a mean with shares p_i?",
        "The sum of p_i^2, where p_i = w_i / sum(w). Of which N is that 1/N?",
        "w.sum() ** 2 / (w**2).sum()",
    ),
)


def _smoothed_cases(seed: int, size: Size) -> list[Case]:
    if size == "public":
        drawn = [(1.0, 1.0), (0.5, 2.0)]
    else:
        rng = np.random.default_rng([seed, 51])
        drawn = [(0.3 + rng.exponential(), 0.3 + rng.exponential()) for _ in range(4)]
    return [Case(f"sigma = {s:.3g}, w = {w:.3g}", {"sigma": float(s), "w": float(w)}) for s, w in drawn]


def _smoothed_expected(case: Case) -> Mapping[str, Any]:
    """The spread of the weighted density, summed on a fine grid."""
    sigma, w = case.inputs["sigma"], case.inputs["w"]
    e = np.linspace(-8 * sigma, 8 * sigma, 200_001)
    density = np.exp(-(e**2) / (2 * sigma**2)) * np.exp(-(e**2) / w**2)
    return {"value": float(np.sqrt((density @ e**2) / density.sum()))}


SMOOTHED = Question(
    id="lime_fit.smoothed",
    unit=UNIT,
    title="The SmoothGrad inside LIME",
    points=2,
    minutes=8,
    difficulty=4,
    importance=4,
    stretch=True,
    kind="formula",
    answer="smoothed",
    stub="smoothed = ...",
    cases=_smoothed_cases,
    expected=_smoothed_expected,
    tolerance=Tolerance(1e-4, 1e-6, "a sum on a grid, some 1e-9 off; numbers may be typed with a few digits"),
    shape_words="a formula in sigma and w, in quotes",
    mistakes=SMOOTHED_MISTAKES,
    variants=(
        Variant("one_root", 'smoothed = "sigma*w / sqrt(w^2 + 2*sigma^2)"\n'),
        Variant("power", 'smoothed = "(1/σ² + 2/w²)^(-0.5)"\n'),
    ),
    hints=(
        "Density times weight is exp of a sum: collect what stands before e^2.",
        "exp(-e^2/(2 sigma^2)) exp(-e^2/w^2) is exp(-e^2/(2 s^2)) with 1/(2 s^2) = 1/(2 sigma^2) + 1/w^2.",
        "1/s^2 = 1/sigma^2 + 2/w^2; solve for s.",
    ),
)
