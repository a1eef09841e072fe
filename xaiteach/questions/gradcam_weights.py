"""Unit 02, the weights and the map: alpha for two classes, what its sum does as a divisor, and the heat map.

Symbols: A feature maps (K, d1, d2), Z = d1 d2 positions, alpha_k the mean of ds_c/dA^k over them,
L = ReLU(sum_k alpha_k A^k).

Source
    Selvaraju et al. (2017), eqs. 1 and 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from xaiteach.errors import OptionError
from xaiteach.questions.gradcam_weight_mistakes import ALPHA_GAP_MISTAKES, ALPHA_SUMS_MISTAKES, HEATMAP_MISTAKES
from xaiteach.questions.model import Case, Question, Rubric, Size, Tolerance, Variant

__all__ = ["ALPHA_GAP", "ALPHA_SUMS", "HEATMAP", "PREDICT_FLIPS"]

UNIT = "02_gradcam"


def pair_case(seed: int, size: Size) -> list[Case]:
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


SETTING = """\
import torch
from xaiteach import data, models
model = models.load("crops_cnn")
crops = data.crops(split="test")
pair = crops.pairs[0]
cat, coffee = crops.class_names.index("cat"), crops.class_names.index("coffee")
A = model.features(pair.x).detach().requires_grad_()
scores = model.classifier(A.mean((2, 3)))[0]
"""

SLOPE = "def slope(score):\n    return torch.autograd.grad(score, A, retain_graph=True)[0][0]\n"

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
    cases=pair_case,
    probe="def probe(answer, case):\n    return {'gap': answer}\n",
    expected=_gap_expected,
    requires=("data.crops", "models.crops_cnn"),
    forbids=("captum",),
    tolerance=Tolerance(1e-3, 1e-7, "float32 gradients against float64 differences"),
    deadline_s=60.0,
    shape_words="(K,), one number for each feature map",
    context=SETTING + SLOPE,
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


PREDICT_FLIPS = Question(
    id="gradcam.predict_flips",
    unit=UNIT,
    title="Predict: how many maps flip?",
    points=0,
    minutes=1,
    difficulty=1,
    importance=3,
    kind="prediction",
    answer="predict_flips",
    stub="predict_flips = ...",
    shape_words="a whole number from 0 to 10",
    rubric=Rubric(reveal="The next item computes it.", least=0, most=10),
    hints=(
        "Nothing can be wrong here. How would you guess the signs of 48 trained weights to be spread?",
        "If the signs were a coin's, about half of the sums would be negative.",
        "Write any whole number from 0 to 10 and go on: the next item shows what it is.",
    ),
)


def _sums_expected(case: Case) -> Mapping[str, Any]:
    """Central differences in float64: raise every map everywhere by a little and watch the logits."""
    import torch

    from xaiteach import data, models

    model = models.load("crops_cnn").double()
    with torch.no_grad():
        maps = model.get_submodule("features")(data.crops(split="test").pairs[0].x.double())
        step, positions = 1e-3, maps[0, 0].numel()
        up, down = (model.get_submodule("classifier")((maps + sign * step).mean((2, 3)))[0] for sign in (1, -1))
    return {"sums": ((up - down) / (2 * step) / positions).numpy()}


ALPHA_SUMS = Question(
    id="gradcam.alpha_sums",
    unit=UNIT,
    title="What would dividing by the sum do?",
    points=2,
    minutes=4,
    difficulty=2,
    importance=4,
    kind="value",
    answer="alpha_sums",
    stub="alpha_sums = ...",
    cases=pair_case,
    probe="def probe(answer, case):\n    return {'sums': answer}\n",
    expected=_sums_expected,
    requires=("data.crops", "models.crops_cnn"),
    forbids=("captum",),
    tolerance=Tolerance(1e-3, 1e-7, "float32 gradients against float64 differences"),
    deadline_s=60.0,
    shape_words="(C,), one number for each of the ten classes",
    context=SETTING + SLOPE,
    mistakes=ALPHA_SUMS_MISTAKES,
    variants=(
        Variant("head", "alpha_sums = model.classifier.weight.sum(1) / A[0, 0].numel()\n"),
        Variant(
            "loop",
            "alpha_sums = []\n"
            "for c in range(10):\n"
            "    g = slope(scores[c]).flatten(1)\n"
            "    alpha_sums.append(float(g.mean(1).sum()))\n",
        ),
    ),
    hints=(
        "For one class: the gradient of its logit, its mean over the positions, then the sum of the K means.",
        "Do that for c in range(10) and put the ten numbers into one tensor or list.",
        "torch.autograd.grad(scores[c], A, retain_graph=True)[0][0].mean((1, 2)).sum() for each class c.",
    ),
)


def _heatmap_case(name: str, rng: np.random.Generator, sizes: tuple[int, int, int]) -> Case:
    """Maps and a gradient for which the sum of the weights is well away from 0 and the map has both signs."""
    maps = np.maximum(rng.normal(size=sizes), 0.0)
    for _ in range(100):
        gradient = rng.normal(size=sizes) + rng.normal(size=(sizes[0], 1, 1))
        alpha = gradient.mean((1, 2))
        signed = np.tensordot(alpha, maps, 1)
        mixed = signed.max() > 0.2 and signed.min() < -0.2 and alpha.max() > 0.1 and alpha.min() < -0.1
        if mixed and abs(alpha.sum()) > 0.3:
            return Case(
                name, {"A": maps, "gradient": gradient}, symbols=dict(zip(("K", "d1", "d2"), sizes, strict=True))
            )
    raise OptionError(f"no draw in a hundred has maps of both signs for sizes {sizes}. Try larger ones.")


def _heatmap_cases(seed: int, size: Size) -> list[Case]:
    if size == "public":
        rng = np.random.default_rng(23)
        tiny = _heatmap_case("2 maps of 2 by 3", rng, (2, 2, 3))
        return [tiny, _heatmap_case("5 maps of 3 by 4", rng, (5, 3, 4))]
    rng = np.random.default_rng([seed, 24])
    return [_heatmap_case(str(i), rng, sizes) for i, sizes in enumerate([(3, 4, 2), (6, 2, 5), (4, 5, 3)])]


def _heatmap_expected(case: Case) -> Mapping[str, Any]:
    """The definition, written out position by position in plain Python."""
    maps, gradient = case.inputs["A"].tolist(), case.inputs["gradient"].tolist()
    rows, columns = range(len(maps[0])), range(len(maps[0][0]))
    alpha = [sum(g[i][j] for i in rows for j in columns) / (len(rows) * len(columns)) for g in gradient]
    heat = [[max(sum(a * m[i][j] for a, m in zip(alpha, maps, strict=True)), 0.0) for j in columns] for i in rows]
    return {"map": np.asarray(heat)}


HEATMAP = Question(
    id="gradcam.heatmap",
    unit=UNIT,
    title="The heat map",
    points=3,
    minutes=7,
    difficulty=2,
    importance=5,
    kind="function",
    answer="heatmap",
    stub="return ...",
    cases=_heatmap_cases,
    probe=(
        "def probe(answer, case):\n"
        "    import torch\n"
        "    A, gradient = (torch.tensor(case[name]).float() for name in ('A', 'gradient'))\n"
        "    return {'map': answer(A, gradient)}\n"
    ),
    expected=_heatmap_expected,
    forbids=("captum", "LayerGradCam", "explain"),
    tolerance=Tolerance(1e-4, 1e-6, "the answer may compute in float32; entries are of order 1"),
    shape_words="(d1, d2), one number for each position",
    mistakes=HEATMAP_MISTAKES,
    variants=(
        Variant(
            "einsum",
            "import torch\n"
            "def heatmap(A, gradient):\n"
            "    return torch.clamp(torch.einsum('k,kij->ij', gradient.flatten(1).mean(1), A), min=0)\n",
        ),
        Variant(
            "numpy_loop",
            "import numpy as np\n"
            "def heatmap(A, gradient):\n"
            "    heat = np.zeros(tuple(A.shape[1:]))\n"
            "    for map, g in zip(A.numpy(), gradient.numpy()):\n"
            "        heat += g.sum() / g.size * map\n"
            "    return np.maximum(heat, 0)\n",
        ),
    ),
    hints=(
        "Two steps: a weight for each map, then the weighted sum of the maps. The ReLU comes last.",
        "alpha = gradient.mean((1, 2)) has shape (K,). To multiply map k by alpha_k, give alpha two more axes.",
        "(alpha[:, None, None] * A).sum(0), and of that the ReLU.",
    ),
)
