"""Unit 02: the gradient behind Grad-CAM, the weights it gives to the feature maps, and where it goes blank.

Symbols: A feature maps (K, d1, d2), z = vec(A) in channel, row, column order, V class matrix (C, K d1 d2), b bias (C,),
s = V z + b logits, y = softmax(s), alpha_k the mean of ds_c/dA^k over the Z = d1 d2 positions.

Source
    Selvaraju et al. (2017), eq. 1; the derivation for a linear head on flattened maps is elementary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from xaiteach.questions.gradcam_mistakes import ALPHA_GAP_MISTAKES, LOGIT_GRADIENT_MISTAKES
from xaiteach.questions.model import Case, Mistake, Question, Size, Tolerance, Variant

__all__ = ["QUESTIONS", "WITHHELD"]

UNIT = "02_gradcam"
WITHHELD = ("attribution/cam.py",)
"""Not in the grader's kernel: the unit asks the student to write it."""


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
    forbids=("autograd", "backward", "captum", "jacrev", "jacobian", "vjp"),
    tolerance=Tolerance(1e-4, 1e-6, "the answer may compute in float32; entries are of order 0.1 to 1"),
    shape_words="(K, d1, d2), like A",
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


def _pair_case(seed: int, size: Size) -> list[Case]:
    """One public case: the picture of the lesson. A value has no fresh inputs."""
    return [Case("cat | coffee", {}, symbols={"K": 48, "Z": 8 * 16})] if size == "public" else []


def _gap_expected(case: Case) -> Mapping[str, Any]:
    """Central differences in float64: raise map k everywhere by a little, watch both logits; no gradient is taken."""
    import torch

    from xaiteach import data, models

    model = models.load("crops_cnn").double()
    crops = data.crops(split="test")
    cat, coffee = (crops.class_names.index(name) for name in ("cat", "coffee"))
    with torch.no_grad():
        maps = model.get_submodule("features")(crops.pairs[0].x.double())
        channels, positions = maps.shape[1], maps[0, 0].numel()
        gap, step = np.zeros(channels), 1e-3
        for k in range(channels):
            scores = []
            for sign in (1, -1):
                moved = maps.clone()
                moved[:, k] += sign * step
                scores.append(model.get_submodule("classifier")(moved.mean((2, 3)))[0])
            slope = (scores[0] - scores[1]) / (2 * step) / positions
            gap[k] = float(slope[cat] - slope[coffee])
    return {"gap": gap}


_SETTING = """\
import torch
from xaiteach import data, models
model = models.load("crops_cnn")
crops = data.crops(split="test")
pair = crops.pairs[0]
cat, coffee = crops.class_names.index("cat"), crops.class_names.index("coffee")
A = model.features(pair.x).detach().requires_grad_()
scores = model.classifier(A.mean((2, 3)))[0]
"""

_SLOPE = "def slope(score):\n    return torch.autograd.grad(score, A, retain_graph=True)[0][0]\n"

ALPHA_GAP = Question(
    id="gradcam.alpha_gap",
    unit=UNIT,
    title="For which class does each map speak?",
    points=2,
    minutes=7,
    difficulty=3,
    importance=4,
    kind="value",
    answer="alpha_gap",
    stub="alpha_gap = ...",
    cases=_pair_case,
    probe="def probe(answer, case):\n    return {'gap': answer}\n",
    expected=_gap_expected,
    requires=("data.crops", "models.crops_cnn"),
    forbids=("captum",),
    tolerance=Tolerance(1e-3, 1e-7, "float32 gradients against float64 differences"),
    deadline_s=60.0,
    shape_words="(K,), one number for each feature map",
    context=_SETTING + _SLOPE,
    mistakes=ALPHA_GAP_MISTAKES,
    variants=(
        Variant(
            "one_backward",
            "alpha_gap = slope(scores[cat] - scores[coffee]).mean((1, 2)).numpy()\n",
        ),
        Variant(
            "flat_list",
            "g = [slope(scores[i]).reshape(A.shape[1], -1) for i in (cat, coffee)]\n"
            "alpha_gap = [float(v) for v in (g[0] - g[1]).sum(1) / g[0].shape[1]]\n",
        ),
    ),
    hints=(
        "For one class: gradient of its logit with respect to A, then the mean over the two spatial axes.",
        "torch.autograd.grad(scores[cat], A, retain_graph=True)[0] has shape (1, K, d1, d2). Do it for both classes.",
        "alpha for the cat minus alpha for the coffee, each the mean over axes 1 and 2 of the gradient's first sample.",
    ),
)

_HEADS = {
    "a": "global average pooling, then a linear layer",
    "b": "flatten, then a linear layer whose weights, for each class and each map, average to zero over the positions",
    "c": "flatten, then a linear layer with weights that are all positive",
    "d": "global max pooling, then a linear layer",
}


def _head_case(seed: int, size: Size) -> list[Case]:
    return [Case("the four heads", {})] if size == "public" else []


def _head_expected(case: Case) -> Mapping[str, Any]:
    """Build the four heads at random and find the one whose Grad-CAM is blank while its score moves with A."""
    import torch

    rng = torch.Generator().manual_seed(0)
    maps = torch.rand(3, 4, 4, generator=rng, dtype=torch.float64)
    weight = torch.randn(3, 4, 4, generator=rng, dtype=torch.float64)
    heads: dict[str, Callable[[Any], Any]] = {
        "a": lambda a: (a.mean((1, 2)) * weight[:, 0, 0]).sum(),
        "b": lambda a: (a * (weight - weight.mean((1, 2), keepdim=True))).sum(),
        "c": lambda a: (a * weight.abs()).sum(),
        "d": lambda a: (a.amax((1, 2)) * weight[:, 0, 0]).sum(),
    }
    blank = []
    for letter, head in heads.items():
        leaf = maps.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(head(leaf), leaf)
        cam = (gradient.mean((1, 2), keepdim=True) * maps).sum(0)
        if cam.abs().max() < 1e-12 < gradient.abs().max():
            blank.append(letter)
    return {"choice": blank[0] if len(blank) == 1 else "?"}


BLANK_HEAD = Question(
    id="gradcam.blank_head",
    unit=UNIT,
    title="Which head makes Grad-CAM blank?",
    points=1,
    minutes=5,
    difficulty=3,
    importance=4,
    kind="choice",
    answer="blank_head",
    stub="blank_head = ...",
    cases=_head_case,
    probe="def probe(answer, case):\n    return {'choice': str(answer)}\n",
    expected=_head_expected,
    options=_HEADS,
    shape_words='one of the letters, in quotes: "a", "b", "c" or "d"',
    mistakes=(
        Mistake(
            "a",
            'blank_head = "a"\n',
            "With average pooling the gradient is V_ck / Z at every position, so alpha_k is V_ck / Z: Grad-CAM is then "
            "the original CAM, up to Z. It is blank only if the class has no weights.",
        ),
        Mistake(
            "c",
            'blank_head = "c"\n',
            "Positive weights have a positive mean: every alpha_k is above zero and the map shows every active place.",
        ),
        Mistake(
            "d",
            'blank_head = "d"\n',
            "Max pooling sends the whole gradient to one position, so alpha_k = V_ck / Z again: small, not zero.",
        ),
    ),
    variants=(Variant("capital", 'blank_head = " B"\n'),),
    hints=(
        "Grad-CAM sees the gradient only through its mean over the positions.",
        "Look for weights that differ from place to place and yet average to nothing.",
        "For a flattened linear head alpha_k is the mean of V_c^k over the positions. When is that zero for all k?",
    ),
)

QUESTIONS = (LOGIT_GRADIENT, ALPHA_GAP, BLANK_HEAD)
