"""Unit 02, beyond the core: three channels that keep the peak, and predictions that leave the explanation open."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from xaiteach.questions.model import Case, Mistake, Question, Size, Tolerance, Values, Variant

__all__ = ["PAINT", "THREE_CHANNELS"]

UNIT = "02_gradcam"
_PICTURE, _CLASS = ("gravel", "astronaut"), "astronaut"


@functools.cache
def _products() -> np.ndarray[Any, Any]:
    """alpha_k A^k (k, h, w) of the picture that is asked about, in float64."""
    import torch

    from xaiteach import data, models

    model: Any = models.load("crops_cnn").double()
    crops = data.crops(split="test")
    pair = next(pair for pair in crops.pairs if pair.names == _PICTURE)
    with torch.no_grad():
        maps = model.features(pair.x.double())[0].numpy()
    weights = model.classifier.weight.detach().numpy()[crops.class_names.index(_CLASS)]
    products: np.ndarray[Any, Any] = weights[:, None, None] * maps / maps[0].size
    return products


def _peak(products: np.ndarray[Any, Any]) -> list[int]:
    total = products.sum(0)
    return [int(i) for i in np.unravel_index(int(total.argmax()), total.shape)]


def _channels_case(seed: int, size: Size) -> list[Case]:
    return [Case("gravel | astronaut", {})] if size == "public" else []


def _channels_expected(case: Case) -> Mapping[str, Any]:
    return {"peak": np.asarray(_peak(_products())), "different": np.asarray(3)}


def _channels_judge(case: Case, got: Values, truth: Values) -> bool:
    """Recomputed here from the channels alone: what the kernel says of the peak counts for nothing."""
    channels = [int(k) for k in got["channels"].reshape(-1)]
    products = _products()
    if len(channels) != 3 or len(set(channels)) != 3 or not all(0 <= k < len(products) for k in channels):
        return False
    return bool(_peak(products[channels]) == truth["peak"].tolist())


_SETTING = """\
import torch
from xaiteach import data, models
model = models.load("crops_cnn")
crops = data.crops(split="test")
_pair = crops.pairs[10]
_maps = model.features(_pair.x).detach()[0]
_alpha = model.classifier.weight.detach()[crops.class_names.index("astronaut")] / 128
"""

THREE_CHANNELS = Question(
    id="gradcam.three_channels",
    unit=UNIT,
    title="Three channels that keep the peak",
    points=1,
    minutes=5,
    difficulty=2,
    importance=2,
    stretch=True,
    kind="value",
    answer="three_channels",
    stub="three_channels = ...",
    cases=_channels_case,
    probe=(
        "def probe(answer, case):\n"
        "    from xaiteach import data, models\n"
        "    channels = sorted(int(k) for k in answer)\n"
        "    model, crops = models.load('crops_cnn'), data.crops(split='test')\n"
        "    pair = next(pair for pair in crops.pairs if pair.names == ('gravel', 'astronaut'))\n"
        "    maps = model.features(pair.x).detach()[0]\n"
        "    weights = model.classifier.weight.detach()[crops.class_names.index('astronaut')]\n"
        "    total = (weights[channels, None, None] * maps[channels]).sum(0)\n"
        "    place = int(total.argmax())\n"
        "    peak = [place // total.shape[1], place % total.shape[1]]\n"
        "    return {'channels': channels, 'different': len(set(channels)), 'peak': peak}\n"
    ),
    expected=_channels_expected,
    judge=_channels_judge,
    requires=("data.crops", "models.crops_cnn"),
    deadline_s=60.0,
    shape_words="a list of three different channel numbers from 0 to 47, such as [0, 1, 2]",
    context=_SETTING,
    tolerance=Tolerance(0.0, 0.1, "positions and channels are whole numbers"),
    mistakes=(
        Mistake(
            "largest_weights",
            "three_channels = _alpha.topk(3).indices.tolist()\n",
            "Those have the three largest weights, and their peak lies on the gravel. A weight says how much the class "
            "cares about a map, wherever it is active; look at the products alpha_k A^k.",
            0.3,
        ),
        Mistake(
            "most_active",
            "three_channels = _maps.sum((1, 2)).topk(3).indices.tolist()\n",
            "Those are the three most active maps. They never saw the class; look at the products alpha_k A^k.",
            0.3,
        ),
        Mistake(
            "smallest_weights",
            "three_channels = (-_alpha).topk(3).indices.tolist()\n",
            "Those have the three most negative weights: they argue against the astronaut.",
            0.0,
        ),
    ),
    variants=(
        Variant(
            "products_at_the_peak",
            "_p = _alpha[:, None, None] * _maps\n"
            "_at = int(_p.sum(0).argmax())\n"
            "three_channels = _p.flatten(1)[:, _at].topk(3).indices\n",
        ),
    ),
    hints=(
        "Open gradcam_pieces() in the lesson and move through the channels: which are bright where the ring is?",
        "The whole map's peak is at row 2, column 13. Which products alpha_k A^k are large there?",
        "Sort the 48 values of alpha_k A^k at that position and take the three largest.",
    ),
)


def _paint_case(name: str, rng: np.random.Generator, sizes: tuple[int, int, int, int], c: int) -> Case:
    channels, height, width, classes = sizes
    return Case(
        name,
        {
            "A": np.maximum(rng.normal(size=(channels, height, width)), 0.0),
            "V": rng.normal(size=(classes, channels)),
            "c": c,
            "target": rng.uniform(size=(height, width)),
        },
        symbols={"K": channels, "d1": height, "d2": width, "Z": height * width},
    )


def _paint_cases(seed: int, size: Size) -> list[Case]:
    if size == "public":
        rng = np.random.default_rng(27)
        tiny = _paint_case("2 maps of 2 by 3", rng, (2, 2, 3, 3), 1)
        return [tiny, _paint_case("5 maps of 4 by 5", rng, (5, 4, 5, 4), 2)]
    rng = np.random.default_rng([seed, 28])
    shapes = [(3, 4, 3, 3), (6, 4, 6, 5)]
    return [_paint_case(str(i), rng, s, int(rng.integers(s[3]))) for i, s in enumerate(shapes)]


def _paint_expected(case: Case) -> Mapping[str, Any]:
    """The best map is the projection of the target on what the maps span: Gram-Schmidt, no linear system is solved."""
    target = case.inputs["target"].reshape(-1)
    basis: list[np.ndarray[Any, Any]] = []
    for flat in case.inputs["A"].reshape(len(case.inputs["A"]), -1):
        rest = flat - sum((b @ flat) * b for b in basis)
        rest = rest - sum((b @ rest) * b for b in basis)  # twice: the first pass leaves rounding behind
        if float(np.linalg.norm(rest)) > 1e-9 * float(np.linalg.norm(flat)):
            basis.append(rest / np.linalg.norm(rest))
    map = np.sum([(b @ target) * b for b in basis], axis=0)
    return {"map": map.reshape(case.inputs["target"].shape)}


_LSTSQ = (
    "import torch\n"
    "def paint(A, V, c, target):\n"
    "    basis = A.reshape(len(A), -1).T{z}\n"
    "    best = torch.linalg.lstsq(basis, target.reshape(-1, 1)).solution[:, 0]\n"
    "    return {result}\n"
)

PAINT = Question(
    id="gradcam.paint",
    unit=UNIT,
    title="Paint an explanation",
    points=3,
    minutes=12,
    difficulty=5,
    importance=3,
    stretch=True,
    kind="function",
    answer="paint",
    stub="return ...",
    cases=_paint_cases,
    probe=(
        "def probe(answer, case):\n"
        "    import torch\n"
        "    A, V, target = (torch.tensor(case[name]).float() for name in ('A', 'V', 'target'))\n"
        "    v = answer(A, V, case['c'], target)\n"
        "    if v is ... or v is None or v is NotImplemented:\n"
        "        return {'map': v}\n"
        "    v = torch.as_tensor(v, dtype=torch.float32).reshape(len(A))\n"
        "    return {'map': (((V[case['c']] + v) / A[0].numel())[:, None, None] * A).sum(0)}\n"
    ),
    expected=_paint_expected,
    tolerance=Tolerance(5e-3, 1e-4, "least squares in float32; the map, not v, is compared"),
    shape_words="(K,), one number to add for each map",
    context="import torch\n",
    mistakes=(
        Mistake(
            "row_not_subtracted",
            _LSTSQ.format(z=" / A[0].numel()", result="best"),
            "That is the whole row that the class should have. v is what has to be added to the row that is there: "
            "subtract V_c.",
            0.6,
        ),
        Mistake(
            "no_z",
            _LSTSQ.format(z="", result="best - V[c]"),
            "The map comes out Z times too small: alpha_k is (V_ck + v_k) / Z, so the columns of the least squares "
            "problem are A^k / Z.",
            0.7,
        ),
        Mistake(
            "wrong_row",
            _LSTSQ.format(z=" / A[0].numel()", result="best - V.mean(0)"),
            "You subtracted the mean row. The map of class c starts from its own row V_c.",
            0.4,
        ),
        Mistake(
            "inner_products",
            "def paint(A, V, c, target):\n    return (A * target).sum((1, 2)) - V[c]\n",
            "Inner products of each map with the target are the weights only where the maps are orthonormal. Solve the "
            "least squares problem.",
            0.3,
        ),
        Mistake(
            "nothing_added",
            "def paint(A, V, c, target):\n    return 0 * V[c]\n",
            "Nothing was added: this is the map as it was.",
            0.0,
        ),
    ),
    variants=(
        Variant(
            "pseudo_inverse",
            "import torch\n"
            "def paint(A, V, c, target):\n"
            "    Z = target.numel()\n"
            "    return Z * torch.linalg.pinv(A.flatten(1)).T @ target.flatten() - V[c]\n",
        ),
        Variant(
            "normal_equations_numpy",
            "import numpy as np\n"
            "def paint(A, V, c, target):\n"
            "    B = A.double().numpy().reshape(len(A), -1) / target.numel()\n"
            "    return np.linalg.solve(B @ B.T, B @ target.double().numpy().ravel()) - V[c].double().numpy()\n",
        ),
    ),
    hints=(
        "After v is added to every row, alpha_k is (V_ck + v_k) / Z. Which numbers x_k = V_ck + v_k would be best?",
        "Least squares: find x for which sum_k x_k A^k / Z is closest to the target. torch.linalg.lstsq solves it.",
        "basis = A.reshape(K, -1).T / Z, x = lstsq(basis, target as a column).solution[:, 0], and v = x - V_c.",
    ),
)
