"""Unit 01, by hand: the two-layer net's gradient by its input and by its weights, and gradient x input.

Symbols: x input (n,), W1 (H, n) and b1 (H,) the hidden layer, V (C, H) and b (C,) the last one,
s = V relu(W1 x + b1) + b logits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from xaiteach.questions.gradients_hand_mistakes import (
    INPUT_GRADIENT_MISTAKES,
    PRODUCT_MISTAKES,
    WEIGHT_GRADIENT_MISTAKES,
)
from xaiteach.questions.model import NO_AUTOGRAD, Case, Question, Size, Tolerance, Variant

__all__ = ["BY_HAND", "GRADIENT_X_INPUT", "INPUT_GRADIENT", "WEIGHT_GRADIENT", "net_case"]

UNIT = "01_gradients"
BY_HAND = (*NO_AUTOGRAD, "explain")

Array = np.ndarray[Any, Any]


def net_case(name: str, rng: np.random.Generator, sizes: tuple[int, int, int], c: int) -> Case:
    """A two-layer net of (n, H, C) and a point, where some hidden units are on, some off, and none on the edge."""
    n, hidden, classes = sizes
    for _ in range(200):
        x, W1, b1 = rng.normal(size=n), rng.normal(size=(hidden, n)), rng.normal(size=hidden)
        before = W1 @ x + b1
        on, without = before > 0, W1 @ x > 0
        # Units on and off, and the wrong gates (on x, without the bias) open on others than the right one.
        if np.abs(before).min() > 0.2 and 0 < on.sum() < hidden and (on != without).any() and (x > 0).any():
            break
    return Case(
        name,
        {"x": x, "W1": W1, "b1": b1, "V": rng.normal(size=(classes, hidden)), "b": rng.normal(size=classes), "c": c},
        symbols={"n": n, "H": hidden, "C": classes},
    )


def net_cases(seed: int, size: Size) -> list[Case]:
    """Small nets."""
    if size == "public":
        rng = np.random.default_rng(10)
        tiny = net_case("3 inputs, 4 hidden units, class 1 of 3", rng, (3, 4, 3), 1)
        return [tiny, net_case("5 inputs, 8 hidden units, class 0 of 4", rng, (5, 8, 4), 0)]
    rng = np.random.default_rng([seed, 11])
    return [net_case(str(i), rng, s, int(rng.integers(s[2]))) for i, s in enumerate([(4, 9, 3), (7, 6, 5), (3, 12, 2)])]


def _logit(case: Case, x: Array, W1: Array) -> float:
    hidden = np.maximum(W1 @ x + case.inputs["b1"], 0.0)
    return float(case.inputs["V"][case.inputs["c"]] @ hidden + case.inputs["b"][case.inputs["c"]])


def slopes(case: Case, step: float = 1e-4) -> Array:
    """ds_c/dx by central differences in float64: exact, as no hidden unit is so near its edge."""
    x, W1 = case.inputs["x"], case.inputs["W1"]
    moves = step * np.eye(len(x))
    return np.array([(_logit(case, x + m, W1) - _logit(case, x - m, W1)) / (2 * step) for m in moves])


def _input_expected(case: Case) -> Mapping[str, Any]:
    return {"gradient": slopes(case)}


_READ = "    x, W1, b1, V, b = (torch.tensor(case[name]).float() for name in ('x', 'W1', 'b1', 'V', 'b'))\n"
_FLOAT32 = Tolerance(1e-4, 1e-5, "the answer may compute in float32; entries are of order 0.1 to 10")

INPUT_GRADIENT = Question(
    id="gradients.input_gradient",
    unit=UNIT,
    title="The gradient of a logit by the input",
    points=3,
    minutes=9,
    difficulty=3,
    importance=5,
    kind="function",
    answer="input_gradient",
    stub="return ...",
    cases=net_cases,
    probe=(
        "def probe(answer, case):\n"
        "    import torch\n" + _READ + "    return {'gradient': answer(x, W1, b1, V, b, case['c'])}\n"
    ),
    expected=_input_expected,
    forbids=BY_HAND,
    tolerance=_FLOAT32,
    shape_words="(n,), one number for each input",
    context="import torch\n",
    mistakes=INPUT_GRADIENT_MISTAKES,
    variants=(
        Variant(
            "matrices",
            "import torch\n"
            "def input_gradient(x, W1, b1, V, b, c):\n"
            "    D = torch.diag((W1 @ x + b1 > 0).to(W1.dtype))\n"
            "    return (V @ D @ W1)[c]\n",
        ),
        Variant(
            "loops",
            "def input_gradient(x, W1, b1, V, b, c):\n"
            "    g = [0.0] * len(x)\n"
            "    for h in range(len(b1)):\n"
            "        z = float(b1[h]) + sum(float(W1[h, i]) * float(x[i]) for i in range(len(x)))\n"
            "        if z > 0:\n"
            "            for i in range(len(x)):\n"
            "                g[i] += float(V[c, h]) * float(W1[h, i])\n"
            "    return g\n",
        ),
        Variant(
            "numpy_mask",
            "import numpy as np\n"
            "def input_gradient(x, W1, b1, V, b, c):\n"
            "    x, W1, b1, V = (np.asarray(a) for a in (x, W1, b1, V))\n"
            "    on = W1 @ x + b1 > 0\n"
            "    return V[c][on] @ W1[on]\n",
        ),
    ),
    hints=(
        "Go back from s_c: to the hidden units, through the ReLU, then through W1 to x. The chain rule multiplies.",
        "ds_c/dh is row c of V. The ReLU hands on a unit's share where W1 x + b1 > 0, and nothing elsewhere.",
        "(V[c] * gate) @ W1, where gate is 1 for W1 x + b1 > 0 and 0 otherwise.",
    ),
)


def _weight_expected(case: Case) -> Mapping[str, Any]:
    """Central differences in float64, weight by weight."""
    x, W1, step = case.inputs["x"], case.inputs["W1"], 1e-4
    found = np.zeros_like(W1)
    for place in np.ndindex(W1.shape):
        moved = [W1.copy(), W1.copy()]
        moved[0][place] += step
        moved[1][place] -= step
        found[place] = (_logit(case, x, moved[0]) - _logit(case, x, moved[1])) / (2 * step)
    return {"gradient": found}


WEIGHT_GRADIENT = Question(
    id="gradients.weight_gradient",
    unit=UNIT,
    title="The gradient of the same logit by the weights",
    points=2,
    minutes=6,
    difficulty=3,
    importance=4,
    kind="function",
    answer="weight_gradient",
    stub="return ...",
    cases=net_cases,
    probe=INPUT_GRADIENT.probe,
    expected=_weight_expected,
    forbids=BY_HAND,
    tolerance=_FLOAT32,
    shape_words="(H, n), like W1",
    context="import torch\n",
    mistakes=WEIGHT_GRADIENT_MISTAKES,
    variants=(
        Variant(
            "columns",
            "def weight_gradient(x, W1, b1, V, b, c):\n"
            "    gate = (W1 @ x + b1 > 0).to(V.dtype)\n"
            "    return (V[c] * gate)[:, None] * x[None]\n",
        ),
        Variant(
            "loops",
            "def weight_gradient(x, W1, b1, V, b, c):\n"
            "    rows = []\n"
            "    for h in range(len(b1)):\n"
            "        on = float(W1[h] @ x + b1[h]) > 0\n"
            "        rows.append([float(V[c, h]) * float(v) if on else 0.0 for v in x])\n"
            "    return rows\n",
        ),
    ),
    hints=(
        "W1[h, i] reaches s_c only through hidden unit h. By how much does W1 x + b1 rise there when W1[h, i] does?",
        "The derivative is V[c, h], times the gate of unit h, times x[i].",
        "torch.outer(V[c] * gate, x), with the gate of the last item.",
    ),
)


def _product_expected(case: Case) -> Mapping[str, Any]:
    """X times central differences; what is left is the logit less their sum."""
    product = case.inputs["x"] * slopes(case)
    return {"product": product, "rest": _logit(case, case.inputs["x"], case.inputs["W1"]) - product.sum()}


GRADIENT_X_INPUT = Question(
    id="gradients.gradient_x_input",
    unit=UNIT,
    title="Gradient times input, and what it leaves over",
    points=3,
    minutes=8,
    difficulty=3,
    importance=5,
    kind="function",
    answer="gradient_x_input",
    stub="return ...",
    cases=net_cases,
    probe=(
        "def probe(answer, case):\n"
        "    import torch\n" + _READ + "    found = answer(x, W1, b1, V, b, case['c'])\n"
        "    if found is ... or found is None:\n"
        "        return {'product': found}\n"
        "    product, rest = found\n"
        "    return {'product': product, 'rest': rest}\n"
    ),
    expected=_product_expected,
    depends_on=("gradients.input_gradient",),
    forbids=BY_HAND,
    tolerance=_FLOAT32,
    shape_words="a pair: (n,), one number for each input, and a single number",
    context=(
        "import torch\n"
        "def input_gradient(x, W1, b1, V, b, c):\n"
        "    return (V[c] * (W1 @ x + b1 > 0).to(V.dtype)) @ W1\n"
        "def logit(x, W1, b1, V, b, c):\n"
        "    return V[c] @ (W1 @ x + b1).relu() + b[c]\n"
    ),
    mistakes=PRODUCT_MISTAKES,
    variants=(
        Variant(
            "biases",
            "def gradient_x_input(x, W1, b1, V, b, c):\n"
            "    on = (W1 @ x + b1 > 0).to(V.dtype)\n"
            "    return ((V[c] * on) @ W1) * x, V[c] @ (on * b1) + b[c]\n",
        ),
        Variant(
            "list",
            "def gradient_x_input(x, W1, b1, V, b, c):\n"
            "    g = input_gradient(x, W1, b1, V, b, c)\n"
            "    product = [float(a) * float(v) for a, v in zip(g, x)]\n"
            "    return [product, float(logit(x, W1, b1, V, b, c)) - sum(product)]\n",
        ),
    ),
    hints=(
        "The first part is one multiplication, entry by entry, signs kept. For the second you need s_c itself.",
        "s_c is V[c] @ relu(W1 x + b1) + b[c]. Subtract the sum of the products.",
        "g = input_gradient(x, W1, b1, V, b, c); return x * g, V[c] @ (W1 @ x + b1).relu() + b[c] - (x * g).sum()",
    ),
)
