"""Unit 00: a first question, with which a student meets checks and hints, and a diagnostic of four."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from xaiteach.questions.model import Case, Mistake, Question, Size, Tolerance, Variant
from xaiteach.questions.start_here_diagnostic import BROADCASTING, CHAIN_RULE, INPUT_SLOPE, UNROLLED

__all__ = ["QUESTIONS"]


def _energy_cases(seed: int, size: Size) -> list[Case]:
    if size == "public":
        heat = np.array([[0.0, 1.0], [3.0, 0.0]])
        mask = np.array([[False, False], [True, True]])
        # No zero, a total below 1, and no round share: what a habit (shifting, clamping, rounding) would hide is seen.
        wide = np.array([[0.03, 0.07, 0.02, 0.05], [0.11, 0.04, 0.09, 0.02], [0.06, 0.01, 0.13, 0.08]])
        inside = np.zeros((3, 4), dtype=bool)
        inside[:2, 1:3] = True
        shapes = [("2 by 2", heat, mask), ("3 by 4", wide, inside)]
    else:
        rng = np.random.default_rng([seed, 1])
        shapes = []
        for i in range(4):
            height, width = (int(n) for n in rng.integers(3, 9, size=2))
            mask = np.zeros((height, width), dtype=bool)
            mask[: int(rng.integers(1, height)), : int(rng.integers(1, width))] = True
            shapes.append((f"{i}", rng.exponential(size=(height, width)), mask))
    return [
        Case(name, {"heat": heat, "mask": mask}, symbols={"H": heat.shape[0], "W": heat.shape[1]})
        for name, heat, mask in shapes
    ]


def _energy_expected(case: Case) -> Mapping[str, Any]:
    """Sum pixel by pixel, in Python's own numbers: no array library in the way."""
    heat, mask = case.inputs["heat"], case.inputs["mask"]
    pixels = list(zip(heat.ravel().tolist(), mask.ravel().tolist(), strict=True))
    total = sum(value for value, _ in pixels)
    share = sum(value for value, inside in pixels if inside) / total
    return {"share": share, "share of the rest": 1 - share}


ENERGY_SHARE = Question(
    id="start_here.energy_share",
    unit="00_start_here",
    title="How much of a map lies inside a mask?",
    points=1,
    minutes=5,
    difficulty=1,
    importance=3,
    kind="function",
    answer="energy_share",
    stub="return ...",
    cases=_energy_cases,
    probe=(
        "def probe(answer, case):\n"
        "    import torch\n"
        "    heat, mask = torch.tensor(case['heat']).float(), torch.tensor(case['mask'])\n"
        "    share = answer(heat, mask)\n"
        "    return {'share': share, 'share of the rest': answer(heat, ~mask)}\n"
    ),
    expected=_energy_expected,
    tolerance=Tolerance(1e-4, 1e-6, "a float32 sum of at most 64 numbers"),
    shape_words="one number between 0 and 1 from each call",
    mistakes=(
        Mistake(
            "mean_inside",
            "def energy_share(heat, mask):\n    return heat[mask].mean() / heat.mean()\n",
            "You compared means: that says how much brighter the inside is, and it can exceed 1. "
            "A share compares sums: what lies inside over what lies anywhere.",
            0.4,
        ),
        Mistake(
            "area",
            "def energy_share(heat, mask):\n    return mask.double().mean()\n",
            "That is the share of the area, which any map would get. Weigh each pixel by the map's value there.",
            0.1,
        ),
        Mistake(
            "inside_over_outside",
            "def energy_share(heat, mask):\n    return heat[mask].sum() / heat[~mask].sum()\n",
            "You divided the inside by the outside, which is odds. A share divides by the whole.",
            0.4,
        ),
        Mistake(
            "outside",
            "def energy_share(heat, mask):\n    return heat[~mask].sum() / heat.sum()\n",
            "That is the share outside the mask: the mask is true where the object is.",
            0.5,
        ),
        Mistake(
            "sum_inside",
            "def energy_share(heat, mask):\n    return heat[mask].sum()\n",
            "That is how much lies inside, in the map's own units. A share says how much of the whole that is: divide.",
            0.4,
        ),
        Mistake(
            "brightness_inside",
            "def energy_share(heat, mask):\n    return heat[mask].mean()\n",
            "That is the mean value inside the mask. Asked is a share: the sum inside over the sum everywhere.",
            0.2,
        ),
        Mistake(
            "rescaled",
            "def energy_share(heat, mask):\n"
            "    heat = (heat - heat.min()) / (heat.max() - heat.min())\n"
            "    return heat[mask].sum() / heat.sum()\n",
            "You rescaled the map first. Dividing by a constant would do no harm, but subtracting the minimum changes "
            "every share: the faint places lose all they had.",
            0.6,
        ),
        Mistake(
            "changed_in_place",
            "def energy_share(heat, mask):\n"
            "    total = heat.sum()\n"
            "    heat[~mask] = 0\n"
            "    return heat.sum() / total\n",
            "The share is right, but the map that was handed in is not what it was: `heat[~mask] = 0` writes into the "
            "caller's tensor. Read from it instead, or work on heat.clone().",
            0.7,
        ),
    ),
    variants=(
        Variant("product", "def energy_share(heat, mask):\n    return (heat * mask).sum() / heat.sum()\n"),
        Variant(
            "numpy_loop",
            "import numpy as np\n"
            "def energy_share(heat, mask):\n"
            "    heat, mask = np.asarray(heat, dtype='float32'), np.asarray(mask)\n"
            "    total = 0.0\n"
            "    for i, j in np.argwhere(mask):\n"
            "        total += heat[i, j]\n"
            "    return float(total / heat.sum())\n",
        ),
    ),
    hints=(
        "A mask of true and false picks entries: heat[mask] is a vector of the values inside.",
        "Two sums, one over the other: which one goes below, so that a mask that is true everywhere gives 1?",
        "Sum of heat[mask], divided by the sum of heat.",
    ),
)

QUESTIONS = (ENERGY_SHARE, CHAIN_RULE, UNROLLED, BROADCASTING, INPUT_SLOPE)
