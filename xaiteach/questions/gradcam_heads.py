"""Unit 02, where the flatten head blanks Grad-CAM, and what gradient times activation says there.

Source
    Draelos and Carin (2020) for gradient x activation (HiResCAM); the rest is elementary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from xaiteach.questions.model import Case, Mistake, Question, Size, Tolerance, Variant

__all__ = ["BLANK_HEAD", "GRADIENT_X_ACTIVATION"]

UNIT = "02_gradcam"

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
            "the original CAM, up to Z. All alpha_k are zero only if the class has no weights at all.",
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


def _product_case(name: str, rng: np.random.Generator, sizes: tuple[int, int, int]) -> Case:
    maps = np.maximum(rng.normal(size=sizes), 0.0)
    return Case(
        name,
        {"A": maps, "gradient": rng.normal(size=sizes)},
        symbols=dict(zip(("K", "d1", "d2"), sizes, strict=True)),
    )


def _product_cases(seed: int, size: Size) -> list[Case]:
    if size == "public":
        rng = np.random.default_rng(25)
        tiny = _product_case("2 maps of 2 by 3", rng, (2, 2, 3))
        return [tiny, _product_case("4 maps of 3 by 5", rng, (4, 3, 5))]
    rng = np.random.default_rng([seed, 26])
    return [_product_case(str(i), rng, sizes) for i, sizes in enumerate([(3, 4, 2), (5, 2, 4)])]


def _product_expected(case: Case) -> Mapping[str, Any]:
    """What is lost of a linear score when one position is wiped, exactly: the score is V . A with V the gradient."""
    maps, V = case.inputs["A"], case.inputs["gradient"]
    lost = np.zeros(maps.shape[1:])
    for place in np.ndindex(*lost.shape):
        wiped = maps.copy()
        wiped[(slice(None), *place)] = 0.0
        lost[place] = (V * maps).sum() - (V * wiped).sum()
    return {"map": lost}


GRADIENT_X_ACTIVATION = Question(
    id="gradcam.gradient_x_activation",
    unit=UNIT,
    title="Gradient times activation",
    points=2,
    minutes=5,
    difficulty=2,
    importance=4,
    kind="function",
    answer="gradient_x_activation",
    stub="return ...",
    cases=_product_cases,
    probe=(
        "def probe(answer, case):\n"
        "    import torch\n"
        "    A, gradient = (torch.tensor(case[name]).float() for name in ('A', 'gradient'))\n"
        "    return {'map': answer(A, gradient)}\n"
    ),
    expected=_product_expected,
    tolerance=Tolerance(1e-4, 1e-6, "the answer may compute in float32; entries are of order 1"),
    shape_words="(d1, d2), one number for each position",
    mistakes=(
        Mistake(
            "relu",
            "def gradient_x_activation(A, gradient):\n    return (gradient * A).sum(0).relu()\n",
            "You cut the negative part. Keep it: only with it does the map add up to the score.",
            0.7,
        ),
        Mistake(
            "grad_cam",
            "def gradient_x_activation(A, gradient):\n    return (gradient.mean((1, 2))[:, None, None] * A).sum(0)\n",
            "You averaged the gradient over each map first: that is Grad-CAM again, which goes blank here. Multiply "
            "position by position.",
            0.4,
        ),
        Mistake(
            "channels_kept",
            "def gradient_x_activation(A, gradient):\n    return gradient * A\n",
            "The product is right; now add it up over the K channels, so that one number is left for each position.",
            0.6,
        ),
        Mistake(
            "mean_over_maps",
            "def gradient_x_activation(A, gradient):\n    return (gradient * A).mean(0)\n",
            "You averaged over the channels: the map is K times too small, and no longer adds up to the score.",
            0.6,
        ),
        Mistake(
            "positions_summed",
            "def gradient_x_activation(A, gradient):\n    return (gradient * A).sum((1, 2))\n",
            "You added up over the positions: that says how much each channel contributes, and no longer where.",
            0.4,
        ),
        Mistake(
            "absolute",
            "def gradient_x_activation(A, gradient):\n    return (gradient * A).sum(0).abs()\n",
            "The absolute value turns evidence against the class into evidence for it. Keep the signs.",
            0.4,
        ),
    ),
    variants=(
        Variant(
            "einsum",
            "import torch\n"
            "def gradient_x_activation(A, gradient):\n    return torch.einsum('kij,kij->ij', A, gradient)\n",
        ),
        Variant(
            "loop",
            "def gradient_x_activation(A, gradient):\n"
            "    heat = 0\n"
            "    for map, g in zip(A, gradient):\n"
            "        heat = heat + map * g\n"
            "    return heat.tolist()\n",
        ),
    ),
    hints=(
        "No averaging this time: each entry of A is multiplied by its own entry of the gradient.",
        "gradient * A has shape (K, d1, d2). Which axis has to go?",
        "(gradient * A).sum(0): a sum over the channels, signs kept.",
    ),
)
