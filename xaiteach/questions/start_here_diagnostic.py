"""Unit 00, the diagnostic: four short questions on what the course takes for granted, each with its refresher.

The refreshers stand in the lesson of the unit; the sentence of a mistake names the one that helps.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import exp
from typing import Any

import numpy as np

from xaiteach.questions.model import Case, Mistake, Question, Size, Tolerance, Variant

__all__ = ["BROADCASTING", "CHAIN_RULE", "INPUT_SLOPE", "UNROLLED"]

UNIT = "00_start_here"


def _chain_cases(seed: int, size: Size) -> list[Case]:
    if size == "public":
        drawn = [(1.0, 2.0, -1.0), (-0.5, 1.5, 2.0)]
    else:  # w x + b from .7 to 1.2, and x and w far apart: no wrong factor is 1 by chance
        rng = np.random.default_rng([seed, 2])
        pairs = [(-rng.uniform(0.5, 1.5), rng.uniform(0.9, 1.6)) for _ in range(4)]
        drawn = [(x, w, rng.uniform(0.7, 1.2) - w * x) for x, w in pairs]
    return [Case(f"x = {x:.3g}, w = {w:.3g}, b = {b:.3g}", {"x": float(x), "w": float(w), "b": float(b)})
            for x, w, b in drawn]  # fmt: skip


def _chain_expected(case: Case) -> Mapping[str, Any]:
    """A central difference of fourth order."""
    x, w, b = (case.inputs[name] for name in ("x", "w", "b"))

    def f(at: float) -> float:
        return exp(-((w * at + b) ** 2))

    h = 1e-3
    return {"value": (8 * (f(x + h) - f(x - h)) - (f(x + 2 * h) - f(x - 2 * h))) / (12 * h)}


CHAIN_RULE = Question(
    id="start_here.chain_rule",
    unit=UNIT,
    title="Diagnostic 1: the chain rule",
    points=1,
    minutes=3,
    difficulty=2,
    importance=5,
    kind="formula",
    answer="chain_rule",
    stub="chain_rule = ...",
    cases=_chain_cases,
    expected=_chain_expected,
    tolerance=Tolerance(
        1e-4, 1e-6, "differences of fourth order, some 1e-11 off; numbers may be typed with a few digits"
    ),
    shape_words="a formula in x, w and b, in quotes",
    mistakes=(
        Mistake(
            "inner_forgotten",
            'chain_rule = "-2*(w*x + b)*exp(-(w*x + b)^2)"\n',
            "One factor is missing: w x + b changes w times as fast as x. See refresher 1 in the lesson.",
            0.5,
        ),
        Mistake(
            "square_forgotten",
            'chain_rule = "-w*exp(-(w*x + b)^2)"\n',
            "The square in the exponent has a derivative of its own, 2 (w x + b). See refresher 1 in the lesson.",
            0.4,
        ),
        Mistake(
            "outer_alone",
            'chain_rule = "exp(-(w*x + b)^2)"\n',
            "That is f itself: exp is its own derivative, but what stands inside moves too. See refresher 1 in "
            "the lesson.",
            0.1,
        ),
        Mistake(
            "by_the_weight",
            'chain_rule = "-2*x*(w*x + b)*exp(-(w*x + b)^2)"\n',
            "That is the derivative by w. Asked is the one by x: w x + b then brings the factor w, not x.",
            0.4,
        ),
        Mistake(
            "power_rule_on_exp",
            'chain_rule = "-2*w*(w*x + b)*exp(-2*w*(w*x + b))"\n',
            "The derivative of exp(u) is exp(u) u': the exponent stays as it is. See refresher 1 in the lesson.",
            0.3,
        ),
    ),
    variants=(
        Variant("other_order", 'chain_rule = "-exp(-(b + w*x)^2) * 2*w*(b + w*x)"\n'),
        Variant("expanded", 'chain_rule = "(-2*w^2*x - 2*w*b)*exp(-(w*x+b)²)"\n'),
    ),
    hints=(
        "Take it apart: u = w x + b, v = -u^2, f = exp(v). Each has an easy derivative.",
        "df/dx = df/dv dv/du du/dx, which is exp(v) times -2u times w.",
        '"-2*w*(w*x + b)*exp(-(w*x + b)^2)", with * for every product.',
    ),
)


def _unrolled_cases(seed: int, size: Size) -> list[Case]:
    if size == "public":
        drawn = [(2, 2, 3, 1, 0, 2), (3, 4, 5, 2, 3, 1)]
    else:
        rng = np.random.default_rng([seed, 3])
        drawn = []
        for _ in range(4):
            K, d1, d2 = (int(n) for n in rng.choice(np.arange(3, 9), size=3, replace=False))
            drawn.append((K, d1, d2, int(rng.integers(1, K)), int(rng.integers(1, d1)), int(rng.integers(1, d2))))
    names = ("K", "d1", "d2", "k", "i", "j")
    return [
        Case(
            f"A of shape ({K}, {d1}, {d2}), entry [{k}, {i}, {j}]", dict(zip(names, (K, d1, d2, k, i, j), strict=True))
        )
        for K, d1, d2, k, i, j in drawn
    ]


def _unrolled_expected(case: Case) -> Mapping[str, Any]:
    """Number the entries and look."""
    K, d1, d2, k, i, j = (case.inputs[name] for name in ("K", "d1", "d2", "k", "i", "j"))
    return {"value": float(np.arange(K * d1 * d2).reshape(K, d1, d2)[k, i, j])}


UNROLLED = Question(
    id="start_here.unrolled",
    unit=UNIT,
    title="Diagnostic 2: in which order is a tensor unrolled?",
    points=1,
    minutes=3,
    difficulty=2,
    importance=5,
    kind="formula",
    answer="unrolled",
    stub="unrolled = ...",
    cases=_unrolled_cases,
    expected=_unrolled_expected,
    tolerance=Tolerance(0.0, 1e-6, "whole numbers"),
    shape_words="a formula in k, i, j and the sizes K, d1, d2, in quotes",
    mistakes=(
        Mistake(
            "channels_last",
            'unrolled = "(i*d2 + j)*K + k"\n',
            "That runs through the channels first, as images are often stored on disk. PyTorch's last index runs "
            "first: "
            "row by row, map by map. See refresher 2 in the lesson.",
            0.4,
        ),
        Mistake(
            "columns_first",
            'unrolled = "k*d1*d2 + j*d1 + i"\n',
            "Within a map you went down the columns. The last index runs first: along the row. See refresher 2 in the "
            "lesson.",
            0.5,
        ),
        Mistake(
            "from_one",
            'unrolled = "k*d1*d2 + i*d2 + j + 1"\n',
            "Counted from 0, the first entry of all has place 0.",
            0.7,
        ),
        Mistake(
            "height_for_width",
            'unrolled = "k*d1*d2 + i*d1 + j"\n',
            "One row down are as many entries as a row has: its length is d2.",
            0.6,
        ),
        Mistake(
            "reversed",
            'unrolled = "j*d1*K + i*K + k"\n',
            "That is the order of Fortran, where the first index runs first. Here the last one does. See "
            "refresher 2 in "
            "the lesson.",
            0.4,
        ),
    ),
    variants=(
        Variant("nested", 'unrolled = "(k*d1 + i)*d2 + j"\n'),
        Variant("other_order", 'unrolled = "j + d2*i + d2*d1*k"\n'),
    ),
    hints=(
        "How many entries come before map k begins? How many before row i of that map?",
        "A map has d1*d2 entries, a row d2. Before [k, i, j] stand k whole maps, i whole rows and j entries.",
        '"k*d1*d2 + i*d2 + j"',
    ),
)

_LINES = {
    "a": "(alpha * A).sum(0)",
    "b": "(alpha[:, None, None] * A).sum(0)",
    "c": "(alpha[None, None, :] * A).sum(0)",
    "d": "(alpha[:, None] * A).sum(0)",
}


def _one(seed: int, size: Size) -> list[Case]:
    return [Case("4 maps of 4 by 4", {})] if size == "public" else []


def _broadcasting_expected(case: Case) -> Mapping[str, Any]:
    """Each line, as Python writes it, beside the sum map by map."""
    rng = np.random.default_rng(4)
    alpha, A = rng.normal(size=4), rng.normal(size=(4, 4, 4))
    wanted = sum(float(weight) * one for weight, one in zip(alpha, A, strict=True))
    found = {
        "a": (alpha * A).sum(0),
        "b": (alpha[:, None, None] * A).sum(0),
        "c": (alpha[None, None, :] * A).sum(0),
        "d": (alpha[:, None] * A).sum(0),
    }
    return {"choice": "".join(letter for letter, value in found.items() if np.allclose(value, wanted))}


BROADCASTING = Question(
    id="start_here.broadcasting",
    unit=UNIT,
    title="Diagnostic 3: broadcasting",
    points=1,
    minutes=2,
    difficulty=2,
    importance=4,
    kind="choice",
    answer="broadcasting",
    stub="broadcasting = ...",
    cases=_one,
    probe="def probe(answer, case):\n    return {'choice': str(answer)}\n",
    expected=_broadcasting_expected,
    options=_LINES,
    shape_words='one of the letters, in quotes: "a", "b", "c" or "d"',
    mistakes=(
        Mistake(
            "last_axis",
            'broadcasting = "a"\n',
            "Shapes are lined up from the right: alpha meets the last axis, the columns. With 4 by 4 maps nothing "
            "complains. See refresher 3 in the lesson.",
        ),
        Mistake(
            "last_axis_written_out",
            'broadcasting = "c"\n',
            "That puts alpha on the columns, and says so. The maps are the first axis. See refresher 3 in the lesson.",
        ),
        Mistake(
            "rows",
            'broadcasting = "d"\n',
            "(4, 1) is lined up from the right with (4, 4, 4): alpha meets the rows of every map. See refresher "
            "3 in the "
            "lesson.",
        ),
    ),
    variants=(Variant("capital", 'broadcasting = "B"\n'),),
    hints=(
        "Write both shapes under each other, the right ends in line. What does each entry of alpha meet?",
        "alpha has to meet axis 0 of A, the third from the right: it needs two axes of length 1 behind it.",
        "alpha[:, None, None] has shape (4, 1, 1).",
    ),
)


def _slope_case(name: str, rng: np.random.Generator, n: int) -> Case:
    return Case(
        name,
        {"x": rng.normal(size=n), "M": rng.normal(size=(n + 1, n)), "v": rng.normal(size=n + 1)},
        symbols={"n": n},
    )


def _slope_cases(seed: int, size: Size) -> list[Case]:
    if size == "public":
        rng = np.random.default_rng(5)
        return [_slope_case("2 inputs", rng, 2), _slope_case("5 inputs", rng, 5)]
    rng = np.random.default_rng([seed, 6])
    return [_slope_case(str(i), rng, n) for i, n in enumerate((3, 6))]


def _slope_expected(case: Case) -> Mapping[str, Any]:
    """Central differences of fourth order of f(x) = v tanh(M x), in float64."""
    x, M, v = (case.inputs[name] for name in ("x", "M", "v"))
    moves = 1e-3 * np.eye(len(x))

    def f(at: np.ndarray[Any, Any]) -> float:
        return float(v @ np.tanh(M @ at))

    slope = [(8 * (f(x + m) - f(x - m)) - (f(x + 2 * m) - f(x - 2 * m))) / 12e-3 for m in moves]
    return {"slope": np.array(slope), "x needs a gradient": 0}


def _slope(*lines: str) -> str:
    return "import torch\ndef input_slope(f, x):\n" + "".join(f"    {line}\n" for line in lines)


INPUT_SLOPE = Question(
    id="start_here.input_slope",
    unit=UNIT,
    title="Diagnostic 4: a gradient by PyTorch",
    points=1,
    minutes=4,
    difficulty=2,
    importance=5,
    kind="function",
    answer="input_slope",
    stub="return ...",
    cases=_slope_cases,
    probe=(
        "def probe(answer, case):\n"
        "    import torch\n"
        "    x, M, v = (torch.tensor(case[name]).float() for name in ('x', 'M', 'v'))\n"
        "    slope = answer(lambda at: v @ torch.tanh(M @ at), x)\n"
        "    if torch.is_tensor(slope):\n"
        "        slope = slope.detach()\n"
        "    return {'slope': slope, 'x needs a gradient': int(x.requires_grad)}\n"
    ),
    expected=_slope_expected,
    tolerance=Tolerance(1e-4, 1e-5, "float32 gradients of order 1 against float64 differences"),
    shape_words="(n,), like x",
    context="import torch\n",
    mistakes=(
        Mistake(
            "times_input",
            _slope(
                "leaf = x.clone().requires_grad_()",
                "return x * torch.autograd.grad(f(leaf), leaf)[0]",
            ),
            "You multiplied by x. That is another quantity, which unit 01 comes to; here the gradient alone is asked.",
            0.5,
        ),
        Mistake(
            "value",
            _slope("return f(x) * torch.ones_like(x)"),
            "That is f(x). Its gradient says how f changes when x does: torch.autograd.grad. See refresher 4 in "
            "the lesson.",
            0.1,
        ),
        Mistake(
            "marked_in_place",
            _slope("x.requires_grad_()", "return torch.autograd.grad(f(x), x)[0]"),
            "The gradient is right, but the caller's x now asks for gradients in all that comes after: work on "
            "x.clone() or x.detach(), and mark that. See refresher 4 in the lesson.",
            0.7,
        ),
        Mistake(
            "only_sign",
            _slope("leaf = x.clone().requires_grad_()", "return torch.autograd.grad(f(leaf), leaf)[0].sign()"),
            "You kept only its sign.",
            0.2,
        ),
    ),
    variants=(
        Variant(
            "backward",
            _slope("leaf = x.detach().clone().requires_grad_(True)", "f(leaf).backward()", "return leaf.grad"),
        ),
        Variant(
            "functional",
            _slope("return torch.autograd.functional.jacobian(f, x)"),
        ),
        Variant(
            "list",
            _slope("leaf = x.clone().requires_grad_()", "return torch.autograd.grad(f(leaf), [leaf])[0].tolist()"),
        ),
    ),
    hints=(
        "PyTorch keeps the way back only for tensors that ask for it: requires_grad_().",
        "Take a copy, leaf = x.clone().requires_grad_(), compute f(leaf), and ask torch.autograd.grad(value, leaf).",
        "torch.autograd.grad(f(leaf), leaf)[0]",
    ),
)
