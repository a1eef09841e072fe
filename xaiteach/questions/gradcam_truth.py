"""Unit 02, the map against what is known: energy in the mask beside two controls, and the roles in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from xaiteach.questions.model import Case, Mistake, Question, Rubric, Size, Tolerance, Variant

__all__ = ["ENERGY", "PREDICT_CONTROLS", "ROLES"]

UNIT = "02_gradcam"

PREDICT_CONTROLS = Question(
    id="gradcam.predict_controls",
    unit=UNIT,
    title="Predict: does the class matter?",
    points=0,
    minutes=1,
    difficulty=1,
    importance=3,
    kind="prediction",
    answer="predict_controls",
    stub="predict_controls = ...",
    shape_words="a whole number from 0 to 14",
    rubric=Rubric(reveal="The next item computes it.", least=0, most=14),
    hints=(
        "Nothing can be wrong here. Think of the pictures of the lesson: where is the network active at all?",
        "The sum of the maps is the same whichever class you ask for; the object asked for is half of the picture.",
        "Write any whole number from 0 to 14 and go on: the next item shows what it is.",
    ),
)


def _pairs_case(seed: int, size: Size) -> list[Case]:
    return [Case("the fourteen pictures", {}, symbols={"pictures": 14})] if size == "public" else []


def _energy_expected(case: Case) -> Mapping[str, Any]:
    """Weights read off the trained head in float64 and plain loops over the positions; no gradient is taken."""
    import torch

    from xaiteach import data, models

    model: Any = models.load("crops_cnn").double()
    V = model.classifier.weight.detach().numpy()
    pairs = data.crops(split="test").pairs
    noise = torch.rand(len(pairs), 8, 16, generator=torch.Generator().manual_seed(0)).numpy()
    table = []
    for pair, random in zip(pairs, noise, strict=True):
        with torch.no_grad():
            maps = model.features(pair.x.double())[0].numpy()
        heat, blind, inside = np.zeros((8, 16)), np.zeros((8, 16)), np.zeros((8, 16), dtype=bool)
        for i, j in np.ndindex(8, 16):
            heat[i, j] = max(sum(V[pair.y] * maps[:, i, j]) / 128, 0.0)
            blind[i, j] = sum(maps[:, i, j])
            inside[i, j] = pair.mask[8 * i, 8 * j]
        table.append([each[inside].sum() / each.sum() for each in (heat, blind, random.astype(np.float64))])
    return {"energies": np.asarray(table)}


_SETTING = """\
import torch
from xaiteach import data, models
model = models.load("crops_cnn")
crops = data.crops(split="test")
pictures = []
for pair in crops.pairs:
    maps = model.features(pair.x).detach().requires_grad_()
    (slope,) = torch.autograd.grad(model.classifier(maps.mean((2, 3)))[0, pair.y], maps)
    pictures.append((maps.detach()[0], slope[0], torch.from_numpy(pair.mask)[::8, ::8]))
noise = torch.rand(len(pictures), 8, 16, generator=torch.Generator().manual_seed(0))
def energy_share(heat, mask):
    return heat[mask].sum() / heat.sum()
def heatmap(A, gradient):
    return (gradient.mean((1, 2))[:, None, None] * A).sum(0).relu()
"""
_TABLE = (
    "energies = torch.tensor([[{0}, {1}, {2}] for (maps, slope, mask), random in zip(pictures, noise)])\n"
)  # fmt: skip
_GOOD = ("energy_share(heatmap(maps, slope), mask)", "energy_share(maps.sum(0), mask)", "energy_share(random, mask)")

ENERGY = Question(
    id="gradcam.energy",
    unit=UNIT,
    title="A score, beside its controls",
    points=3,
    minutes=8,
    difficulty=3,
    importance=5,
    kind="value",
    answer="energies",
    stub="energies = ...",
    cases=_pairs_case,
    probe="def probe(answer, case):\n    return {'energies': answer}\n",
    expected=_energy_expected,
    depends_on=("gradcam.heatmap",),
    requires=("data.crops", "models.crops_cnn", "00_start_here"),
    forbids=("captum", "explain"),
    tolerance=Tolerance(2e-4, 1e-7, "float32 gradients and sums against float64, about 1e-6 apart"),
    deadline_s=60.0,
    shape_words="(14, 3), a row for each picture: Grad-CAM, sum of A, random",
    context=_SETTING,
    mistakes=(
        Mistake(
            "other_half",
            _TABLE.format(*(each.replace("mask)", "~mask)") for each in _GOOD)),
            "Those are the shares outside the mask. The mask is True on the object that is asked about.",
            0.5,
        ),
        Mistake(
            "mean_ratio",
            _TABLE.format(*(f"2 * {each}" for each in _GOOD)),
            "Every number is twice too large: that is the mean inside over the mean everywhere. A share is a sum over "
            "a sum, and never above 1.",
            0.5,
        ),
        Mistake(
            "no_relu",
            _TABLE.format("energy_share((slope.mean((1, 2))[:, None, None] * maps).sum(0), mask)", _GOOD[1], _GOOD[2]),
            "The first column was made without the ReLU: with negative entries a share of the total means nothing "
            "(it may pass 1 or fall below 0). Use your heatmap.",
            0.5,
        ),
        Mistake(
            "peak_only",
            _TABLE.format(
                "float(mask.flatten()[heatmap(maps, slope).argmax()])",
                "float(mask.flatten()[maps.sum(0).argmax()])",
                "float(mask.flatten()[random.argmax()])",
            ),
            "You asked only whether the peak lies inside: that is the pointing game. Energy counts the whole map.",
            0.3,
        ),
        Mistake(
            "columns_exchanged",
            _TABLE.format(_GOOD[1], _GOOD[0], _GOOD[2]),
            "The numbers are right, but the first two columns are exchanged: Grad-CAM comes first, then the sum of A.",
            0.7,
        ),
        Mistake(
            "averaged",
            _TABLE.format(*_GOOD) + "energies = energies.mean(0)\n",
            "Those are the three means over the pictures, and they are right. Keep a row for each picture: which "
            "pictures fail is the point.",
            0.7,
        ),
        Mistake(
            "area_for_random",
            _TABLE.format(_GOOD[0], _GOOD[1], "mask.float().mean()"),
            "The third column is the mask's share of the area, which a random map has only on average. Score the "
            "random map itself.",
            0.6,
        ),
    ),
    variants=(
        Variant(
            "list",
            "energies = []\n"
            "for (maps, slope, mask), random in zip(pictures, noise):\n"
            "    three = heatmap(maps, slope), maps.sum(0), random\n"
            "    energies.append([float(energy_share(heat, mask)) for heat in three])\n",
        ),
        Variant(
            "numpy",
            "import numpy as np\n"
            "def share(heat, mask):\n"
            "    heat = np.asarray(heat)\n"
            "    return (heat * mask.numpy()).sum() / heat.sum()\n"
            "energies = np.array([[share(heatmap(a, g), m) for a, g, m in pictures],\n"
            "                     [share(a.sum(0), m) for a, g, m in pictures],\n"
            "                     [share(n, m) for (a, g, m), n in zip(pictures, noise)]]).T\n",
        ),
    ),
    hints=(
        "One row for each picture. For each of the three maps of a row: energy_share(map, mask).",
        "for (maps, slope, mask), random in zip(pictures, noise): the three maps are heatmap(maps, slope), maps.sum(0) "
        "and random.",
        "torch.tensor([[energy_share(heatmap(maps, slope), mask), energy_share(maps.sum(0), mask), "
        "energy_share(random, mask)] for ... in zip(pictures, noise)])",
    ),
)

ROLES = Question(
    id="gradcam.roles",
    unit=UNIT,
    title="Who does what?",
    points=3,
    minutes=7,
    difficulty=3,
    importance=5,
    kind="essay",
    answer="roles",
    stub='roles = """\n...\n"""',
    shape_words="two to five sentences between the quotes",
    rubric=Rubric(
        criteria=(
            (0.75, "A^k says where: at which positions feature k is present, for no class in particular"),
            (0.75, "alpha_k says how the score of this class reacts to feature k on average, and may be negative"),
            (0.75, "the ReLU comes after the sum over the channels, so that channels argue against c before the cut"),
            (0.75, "alpha_k is no contribution: a large weight on a map that is silent here adds nothing"),
        ),
        weak="A are the feature maps, alpha are the importances of the maps and the ReLU removes negative values.",
        weak_notes=(
            "It names the three and says what none of them does. Importance for what, and where? A large alpha on a "
            "silent map matters to nobody; and it leaves open whether the cut comes before or after the sum."
        ),
        least_words=30,
    ),
    hints=(
        "One sentence for each: A^k, alpha_k, ReLU. What would be lost if it were left out?",
        "Which of them knows the class? Which of them knows the place? Which of them can be negative?",
        "Where, how much and in which direction, and what is kept; then one sentence on alpha_k A^k against alpha_k.",
    ),
)
