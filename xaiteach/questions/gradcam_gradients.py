"""Unit 02, the gradients: of the logit, of the probability, and of the logit through a hidden layer.

Symbols: A feature maps (K, d1, d2), z = vec(A) in channel, row, column order, V class matrix (C, K d1 d2), b bias (C,),
s = V z + b logits, y = softmax(s); with a hidden layer s = V relu(W1 z + b1) + b.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from xaiteach.questions.gradcam_gradient_mistakes import (
    HIDDEN_MISTAKES,
    LOGIT_GRADIENT_MISTAKES,
    PROBABILITY_MISTAKES,
)
from xaiteach.questions.model import NO_AUTOGRAD, Case, Question, Size, Tolerance, Variant

__all__ = ["HIDDEN_RELU", "LOGIT_GRADIENT", "PROBABILITY_GRADIENT"]

UNIT = "02_gradcam"


def _gradient_case(name: str, rng: np.random.Generator, sizes: tuple[int, int, int, int], c: int) -> Case:
    channels, height, width, classes = sizes
    maps = np.maximum(rng.normal(size=(channels, height, width)), 0.0)  # a ReLU precedes A
    class_matrix = rng.normal(size=(classes, channels * height * width))
    class_matrix *= 1.5 / np.linalg.norm(maps)  # logits of order one: margins stay well below 5
    return Case(
        name,
        {"A": maps, "V": class_matrix, "b": 0.3 * rng.normal(size=classes), "c": c},
        symbols={"K": channels, "d1": height, "d2": width, "C": classes},
    )


def _gradient_cases(seed: int, size: Size) -> list[Case]:
    if size == "public":
        rng = np.random.default_rng(20)
        tiny = _gradient_case("2 maps of 2 by 3, class 1 of 3", rng, (2, 2, 3, 3), 1)
        return [tiny, _gradient_case("4 maps of 3 by 5, class 0 of 4", rng, (4, 3, 5, 4), 0)]
    rng = np.random.default_rng([seed, 2])
    shapes = [(3, 4, 2, 5), (5, 2, 4, 3), (2, 5, 3, 4)]
    return [_gradient_case(str(i), rng, s, int(rng.integers(s[3]))) for i, s in enumerate(shapes)]


def _gradient_expected(case: Case) -> Mapping[str, Any]:
    """Automatic differentiation of the printed network in float64; no formula of the solution is used."""
    import torch

    maps = torch.tensor(case.inputs["A"], dtype=torch.float64, requires_grad=True)
    logits = torch.tensor(case.inputs["V"], dtype=torch.float64) @ maps.reshape(-1) + torch.tensor(case.inputs["b"])
    (gradient,) = torch.autograd.grad(logits[case.inputs["c"]], maps)
    return {"gradient": gradient.numpy()}


LOGIT_GRADIENT = Question(
    id="gradcam.logit_gradient",
    unit=UNIT,
    title="The gradient of a logit with respect to the feature maps",
    points=3,
    minutes=7,
    difficulty=2,
    importance=5,
    kind="function",
    answer="logit_gradient",
    stub="return ...",
    cases=_gradient_cases,
    probe=(
        "def probe(answer, case):\n"
        "    import torch\n"
        "    A, V, b = (torch.tensor(case[name]).float() for name in ('A', 'V', 'b'))\n"
        "    return {'gradient': answer(A, V, b, case['c'])}\n"
    ),
    expected=_gradient_expected,
    forbids=NO_AUTOGRAD,
    tolerance=Tolerance(1e-4, 1e-6, "the answer may compute in float32; entries are of order 0.1 to 1"),
    shape_words="(K, d1, d2), like A",
    context="import torch\n",
    mistakes=LOGIT_GRADIENT_MISTAKES,
    variants=(
        Variant("view_numpy", "def logit_gradient(A, V, b, c):\n    return V.numpy()[c].reshape(tuple(A.shape))\n"),
        Variant(
            "loops",
            "def logit_gradient(A, V, b, c):\n"
            "    K, h, w = A.shape\n"
            "    row = V[c].tolist()\n"
            "    return [[[row[(k * h + i) * w + j] for j in range(w)] for i in range(h)] for k in range(K)]\n",
        ),
        Variant(
            "chain_rule_float32",
            "import torch\n"
            "def logit_gradient(A, V, b, c):\n"
            "    one_hot = torch.zeros(len(b)); one_hot[c] = 1\n"
            "    return (one_hot @ V.float()).view_as(A)\n",
        ),
    ),
    hints=(
        "Write out s_c = sum over all positions p of V[c, p] z[p], plus b[c]. What is its derivative in one z[p]?",
        "The answer is one row of V. What is left is to put its K d1 d2 numbers where their entries of A are.",
        "Take V[c] and reshape it to A's shape: PyTorch's reshape runs channel, row, column, as z does.",
    ),
)


def _led(case: Case, margin: float, name: str = "", trap: str = "") -> Case:
    """The same case with class c's bias set so that its logit leads the best rival's by `margin`."""
    maps, V, b, c = (case.inputs[key] for key in ("A", "V", "b", "c"))
    s = V @ maps.reshape(-1) + b
    b = b.copy()
    b[c] += margin - (s[c] - np.delete(s, c).max())
    return Case(name or case.name, {**case.inputs, "b": b}, symbols=case.symbols, trap=trap)


def _probability_cases(seed: int, size: Size) -> list[Case]:
    """Moderate margins, where neither y_c nor 1 - y_c is small, and one of 20 where float32 cancels."""
    cases = [_led(case, 0.5 * (i + 1)) for i, case in enumerate(_gradient_cases(seed, size))]
    return [*cases, _led(cases[-1], 20.0, "the network is sure: margin 20", "cancellation")]


def _probability_expected(case: Case) -> Mapping[str, Any]:
    """Automatic differentiation in float64 of y_c written as sigmoid(s_c - log sum_{j != c} exp s_j)."""
    import torch

    maps = torch.tensor(case.inputs["A"], dtype=torch.float64, requires_grad=True)
    logits = torch.tensor(case.inputs["V"], dtype=torch.float64) @ maps.reshape(-1) + torch.tensor(case.inputs["b"])
    c = case.inputs["c"]
    rivals = torch.cat([logits[:c], logits[c + 1 :]])
    (gradient,) = torch.autograd.grad(torch.sigmoid(logits[c] - torch.logsumexp(rivals, 0)), maps)
    return {"gradient": gradient.numpy()}


PROBABILITY_GRADIENT = Question(
    id="gradcam.probability_gradient",
    unit=UNIT,
    title="The gradient of the probability",
    points=4,
    minutes=11,
    difficulty=4,
    importance=4,
    kind="function",
    answer="probability_gradient",
    stub="return ...",
    cases=_probability_cases,
    probe=LOGIT_GRADIENT.probe,
    expected=_probability_expected,
    forbids=NO_AUTOGRAD,
    tolerance=Tolerance(1e-3, 0.0, "float32, relative to the largest entry, which may be as small as 1e-9"),
    shape_words="(K, d1, d2), like A",
    context="import torch\n",
    mistakes=PROBABILITY_MISTAKES,
    variants=(
        Variant(
            "rivals_only",
            "import torch\n"
            "def probability_gradient(A, V, b, c):\n"
            "    y = torch.softmax(V @ A.reshape(-1) + b, 0)\n"
            "    total = torch.zeros_like(V[c])\n"
            "    for j in range(len(b)):\n"
            "        if j != c:\n"
            "            total = total + y[j] * (V[c] - V[j])\n"
            "    return (y[c] * total).reshape(A.shape)\n",
        ),
        Variant(
            "double_precision",
            "import torch\n"
            "def probability_gradient(A, V, b, c):\n"
            "    A, V, b = A.double(), V.double(), b.double()\n"
            "    y = torch.softmax(V @ A.reshape(-1) + b, 0)\n"
            "    return (y[c] * (V[c] - y @ V)).reshape(A.shape)\n",
        ),
        Variant(
            "margin_form",
            "import torch\n"
            "def probability_gradient(A, V, b, c):\n"
            "    s = V @ A.reshape(-1) + b\n"
            "    others = torch.arange(len(b)) != c\n"
            "    m = s[c] - torch.logsumexp(s[others], 0)\n"
            "    rivals = torch.softmax(s[others], 0) @ V[others]\n"
            "    return (torch.sigmoid(m) * torch.sigmoid(-m) * (V[c] - rivals)).reshape(A.shape).numpy()\n",
        ),
    ),
    hints=(
        "Chain rule over all logits: dy_c/dA = sum_j dy_c/ds_j ds_j/dA, and ds_j/dA is row j of V, as before.",
        "dy_c/ds_c = y_c (1 - y_c) and dy_c/ds_j = -y_c y_j. Write 1 - y_c as the sum of the rivals' y_j and collect "
        "the terms of each rival.",
        "y_c times the sum over j of y_j (V_c - V_j), reshaped like A. Form the differences before you weigh them: so "
        "nothing cancels where y_c is close to 1.",
    ),
)


def _hidden_case(name: str, rng: np.random.Generator, sizes: tuple[int, int, int, int, int], c: int) -> Case:
    channels, height, width, hidden, classes = sizes
    maps = np.maximum(rng.normal(size=(channels, height, width)), 0.0)
    W1 = rng.normal(size=(hidden, maps.size)) / np.linalg.norm(maps)
    b1 = 0.5 * rng.normal(size=hidden)
    before = W1 @ maps.reshape(-1) + b1
    b1 += np.where(np.abs(before) < 0.1, np.where(before < 0, -0.2, 0.2), 0.0)  # no unit sits on the ReLU's edge
    return Case(
        name,
        {"A": maps, "W1": W1, "b1": b1, "V": rng.normal(size=(classes, hidden)), "c": c},
        symbols={"K": channels, "d1": height, "d2": width, "C": classes},
    )


def _hidden_cases(seed: int, size: Size) -> list[Case]:
    if size == "public":
        rng = np.random.default_rng(21)
        tiny = _hidden_case("2 maps of 2 by 3, 4 hidden units", rng, (2, 2, 3, 4, 3), 1)
        return [tiny, _hidden_case("3 maps of 3 by 4, 8 hidden units", rng, (3, 3, 4, 8, 4), 0)]
    rng = np.random.default_rng([seed, 22])
    shapes = [(3, 4, 2, 9, 5), (4, 2, 3, 12, 3)]
    return [_hidden_case(str(i), rng, s, int(rng.integers(s[4]))) for i, s in enumerate(shapes)]


def _hidden_expected(case: Case) -> Mapping[str, Any]:
    """Central differences in float64: between two units' edges the score is linear, so they are exact."""
    maps, W1, b1, V, c = (case.inputs[name] for name in ("A", "W1", "b1", "V", "c"))

    def score(z: np.ndarray[Any, Any]) -> float:
        return float(V[c] @ np.maximum(W1 @ z + b1, 0.0))

    z, step = maps.reshape(-1), 1e-4
    moves = step * np.eye(len(z))
    gradient = [(score(z + move) - score(z - move)) / (2 * step) for move in moves]
    return {"gradient": np.asarray(gradient).reshape(maps.shape)}


HIDDEN_RELU = Question(
    id="gradcam.hidden_relu",
    unit=UNIT,
    title="Through a hidden layer with ReLU",
    points=2,
    minutes=10,
    difficulty=4,
    importance=3,
    stretch=True,
    kind="function",
    answer="hidden_gradient",
    stub="return ...",
    cases=_hidden_cases,
    probe=(
        "def probe(answer, case):\n"
        "    import torch\n"
        "    A, W1, b1, V = (torch.tensor(case[name]).float() for name in ('A', 'W1', 'b1', 'V'))\n"
        "    return {'gradient': answer(A, W1, b1, V, case['c'])}\n"
    ),
    expected=_hidden_expected,
    forbids=NO_AUTOGRAD,
    tolerance=Tolerance(1e-3, 1e-6, "the answer may compute in float32; entries are of order 0.1 to 1"),
    shape_words="(K, d1, d2), like A",
    context="import torch\n",
    mistakes=HIDDEN_MISTAKES,
    variants=(
        Variant(
            "matrix",
            "import torch\n"
            "def hidden_gradient(A, W1, b1, V, c):\n"
            "    gate = torch.diag((W1 @ A.flatten() + b1 > 0).to(W1.dtype))\n"
            "    return (W1.T @ gate @ V[c]).view_as(A)\n",
        ),
        Variant(
            "loop",
            "def hidden_gradient(A, W1, b1, V, c):\n"
            "    g = 0 * W1[0]\n"
            "    for weight, row, bias in zip(V[c], W1, b1):\n"
            "        if row @ A.reshape(-1) + bias > 0:\n"
            "            g = g + weight * row\n"
            "    return g.reshape(A.shape).tolist()\n",
        ),
    ),
    hints=(
        "Go back layer by layer: from s_c to the hidden units, through the ReLU, then through W1 to z.",
        "The ReLU passes the gradient of a unit where W1 z + b1 > 0 and stops it elsewhere.",
        "(V_c * gate) @ W1, reshaped like A, where gate is 1 for W1 z + b1 > 0 and 0 otherwise.",
    ),
)
