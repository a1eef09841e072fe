"""Unit 06, LIME on an image piece by piece: perturbed images, the kernel's weights, and the map.

Symbols: x (3, H, W) the image, labels (H, W) the superpixel of each pixel, from 0 to n - 1; on (N, n) is 1 where a
sample keeps a superpixel and 0 where it is replaced by the fill, (3, H, W).

Source
    Ribeiro, Singh, Guestrin (2016), section 3.4; the distance is the lime package's, the kernel the paper's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from xaiteach.questions.lime_vs_gradcam_pieces_mistakes import (
    KERNEL_WEIGHTS_MISTAKES,
    LIME_MAP_MISTAKES,
    MASK_IMAGE_MISTAKES,
)
from xaiteach.questions.model import Case, Question, Size, Tolerance, Variant

__all__ = ["BY_HAND", "FIT", "KERNEL", "KERNEL_WEIGHTS", "LIME_MAP", "MASK_IMAGE"]

UNIT = "06_lime_vs_gradcam"
BY_HAND = ("captum", "explain", "sklearn", "superpixel_neighbourhood", "lime_kernel", "gaussian_kernel", "apply_masks")

Array = np.ndarray[Any, Any]

KERNEL = "import torch\ndef kernel_weights(on, width):\n    return torch.exp(-((1 - on.mean(1).sqrt()) / width) ** 2)\n"
FIT = (
    "import torch\n"
    "def local_fit(Z, y, w):\n"
    "    root = w.sqrt()\n"
    "    A = torch.cat([torch.ones_like(Z[:, :1]), Z], 1)\n"
    "    both = torch.linalg.pinv(root[:, None] * A) @ (root * y)\n"
    "    return both[0], both[1:]\n"
)
MASK = (
    "import torch\n"
    "def mask_image(x, fill, labels, on):\n"
    "    return torch.where((on > 0)[:, labels][:, None], x, fill)\n"
)


def _labels(rng: np.random.Generator, shape: tuple[int, int], n: int) -> Array:
    """Superpixels of different sizes that are no product of rows and columns; every label occurs."""
    rows, columns = shape
    while True:
        centres = rng.uniform(0, 1, (n, 2)) * shape
        place = np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"), -1)
        found: Array = ((place[:, :, None] - centres) ** 2).sum(-1).argmin(-1)
        counts = np.bincount(found.ravel(), minlength=n)
        if counts.min() > 0 and len(set(counts.tolist())) > 1:
            return found


def _picture(rng: np.random.Generator, shape: tuple[int, int], n: int, N: int) -> dict[str, Any]:
    """An image, a fill that is not grey, superpixels, and on/off vectors with all on first and no row all off."""
    on = rng.integers(0, 2, (N, n)).astype(float)
    on[0], on[on.sum(1) == 0, 0] = 1, 1
    # Every superpixel is once on and once off in what follows, whatever the draw.
    on[1], on[2] = np.arange(n) % 2, (np.arange(n) + 1) % 2
    return {
        "x": rng.uniform(0, 1, (3, *shape)),
        "fill": rng.uniform(0, 1, (3, 1, 1)) + 0.3 * rng.uniform(0, 1, (3, *shape)),
        "labels": _labels(rng, shape, n),
        "on": on,
    }


def _mask_cases(seed: int, size: Size) -> list[Case]:
    if size == "public":
        rng, sizes = np.random.default_rng(60), [("2 by 3 pixels", (2, 3), 2, 3), ("5 by 4 pixels", (5, 4), 4, 5)]
    else:
        rng, sizes = np.random.default_rng([seed, 61]), [("0", (4, 6), 3, 4), ("1", (6, 5), 5, 7), ("2", (3, 8), 4, 6)]
    return [
        Case(name, _picture(rng, shape, n, N), symbols={"N": N, "n": n, "H": shape[0], "W": shape[1]})
        for name, shape, n, N in sizes
    ]


def _masked(inputs: Mapping[str, Any]) -> Array:
    """Pixel by pixel."""
    x, fill, labels, on = (inputs[name] for name in ("x", "fill", "labels", "on"))
    found = np.zeros((len(on), *x.shape))
    for s, c, i, j in np.ndindex(*found.shape):
        found[s, c, i, j] = x[c, i, j] if on[s, labels[i, j]] == 1 else fill[c, i, j]
    return found


MASK_IMAGE = Question(
    id="lime_vs_gradcam.mask_image",
    unit=UNIT,
    title="Superpixels, on and off",
    points=3,
    minutes=7,
    difficulty=2,
    importance=4,
    kind="function",
    answer="mask_image",
    stub="return ...",
    cases=_mask_cases,
    probe=(
        "def probe(answer, case):\n"
        "    import torch\n"
        "    given = [torch.tensor(case[name]) for name in ('x', 'fill', 'labels', 'on')]\n"
        "    return {'images': answer(*given)}\n"
    ),
    expected=lambda case: {"images": _masked(case.inputs)},
    forbids=BY_HAND,
    tolerance=Tolerance(1e-5, 1e-6, "values are copied; the answer may be float32"),
    shape_words="(N, 3, H, W), one image for each row of `on`",
    context="import torch\n",
    mistakes=MASK_IMAGE_MISTAKES,
    variants=(
        Variant(
            "blend",
            "def mask_image(x, fill, labels, on):\n"
            "    kept = on[:, labels][:, None]\n"
            "    return kept * x + (1 - kept) * fill\n",
        ),
        Variant(
            "numpy_loop",
            "import numpy as np\n"
            "def mask_image(x, fill, labels, on):\n"
            "    x, fill, labels, on = (np.asarray(v) for v in (x, fill, labels, on))\n"
            "    made = []\n"
            "    for row in on:\n"
            "        image = x.copy()\n"
            "        for j in np.flatnonzero(row == 0):\n"
            "            image[:, labels == j] = fill[:, labels == j]\n"
            "        made.append(image)\n"
            "    return np.stack(made)\n",
        ),
    ),
    hints=(
        "First one sample: which pixels does it keep? The label of a pixel picks its entry of the on/off row.",
        "on[:, labels] has shape (N, H, W): 1 where a pixel's superpixel is on. It needs an axis for the channels.",
        "torch.where(on[:, labels][:, None] > 0, x, fill)",
    ),
)


def _kernel_case(name: str, on: Array, width: float, trap: str = "") -> Case:
    return Case(name, {"on": on, "width": width}, symbols={"N": len(on), "n": on.shape[1]}, trap=trap)


def _kernel_cases(seed: int, size: Size) -> list[Case]:
    """Samples with different numbers of superpixels on; all off is a case of its own."""
    if size == "public":
        small = np.array([[1.0, 1, 1, 1], [1, 0, 0, 0], [0, 1, 1, 0], [1, 0, 1, 1]])
        off = np.array([[0.0, 0, 0], [1, 1, 0]])
        return [_kernel_case("4 samples, 4 superpixels", small, 0.4), _kernel_case("one all off", off, 0.6, "all off")]
    rng = np.random.default_rng([seed, 62])
    found = []
    for i, (N, n) in enumerate([(6, 5), (9, 12), (7, 20)]):
        on = (rng.uniform(size=(N, n)) < rng.uniform(0.2, 0.9, size=(N, 1))).astype(float)
        on[on.sum(1) == 0, 0] = 1
        on[0], on[1] = 1, np.arange(n) < max(1, n // 4)
        found.append(_kernel_case(str(i), on, float(rng.uniform(0.35, 0.6))))
    return [*found, _kernel_case("3", np.array([[1.0, 1, 0, 1], [0, 0, 0, 0]]), 0.7, "all off")]


def _kernel_expected(case: Case) -> Mapping[str, Any]:
    """The cosine from its definition, by scipy; a vector without a direction is at distance 1."""
    from scipy.spatial.distance import cosine

    on = case.inputs["on"]
    d = [cosine(row, np.ones(len(row))) if row.any() else 1.0 for row in on]
    return {"weights": np.array([np.e ** (-((v / case.inputs["width"]) ** 2)) for v in d])}


KERNEL_WEIGHTS = Question(
    id="lime_vs_gradcam.kernel_weights",
    unit=UNIT,
    title="Which samples are near?",
    points=2,
    minutes=6,
    difficulty=2,
    importance=4,
    kind="function",
    answer="kernel_weights",
    stub="return ...",
    cases=_kernel_cases,
    probe=(
        "def probe(answer, case):\n"
        "    import torch\n"
        "    return {'weights': answer(torch.tensor(case['on']), case['width'])}\n"
    ),
    expected=_kernel_expected,
    forbids=BY_HAND,
    tolerance=Tolerance(1e-4, 1e-6, "the answer may compute in float32"),
    shape_words="(N,), one weight for each sample, from 0 to 1",
    context="import torch\n",
    mistakes=KERNEL_WEIGHTS_MISTAKES,
    variants=(
        Variant(
            "cosine_similarity",
            "def kernel_weights(on, width):\n"
            "    cosine = torch.nn.functional.cosine_similarity(on, torch.ones_like(on), dim=1)\n"
            "    return torch.exp(-((1 - cosine) ** 2) / width**2)\n",
        ),
        Variant(
            "loop",
            "import math\n"
            "def kernel_weights(on, width):\n"
            "    weights = []\n"
            "    for row in on.tolist():\n"
            "        length = math.sqrt(sum(v * v for v in row)) * math.sqrt(len(row))\n"
            "        d = 1 - sum(row) / length if length else 1\n"
            "        weights.append(math.exp(-d * d / width**2))\n"
            "    return weights\n",
        ),
    ),
    hints=(
        "The angle between an on/off vector and all ones: what are their product, and their two lengths?",
        "The product is the number that are on, m; the lengths are sqrt(m) and sqrt(n). So the cosine is sqrt(m / n).",
        "d = 1 - on.mean(1).sqrt(); torch.exp(-(d / width) ** 2)",
    ),
)

ASK = (
    "    def score(images):\n"
    "        flat = images.double().reshape(len(images), -1)\n"
    "        return flat @ taste + 2 * torch.tanh(flat[:, 0] * flat[:, -1]) + 3\n"
)
"""A score with an interaction, of which no fit through the origin is right."""


def _map_cases(seed: int, size: Size) -> list[Case]:
    if size == "public":
        rng, sizes = np.random.default_rng(63), [("2 by 4 pixels", (2, 4), 3, 9), ("5 by 6 pixels", (5, 6), 5, 30)]
    else:
        rng, sizes = np.random.default_rng([seed, 64]), [("0", (4, 7), 4, 25), ("1", (6, 5), 6, 60)]
    cases = []
    for name, shape, n, N in sizes:
        given = _picture(rng, shape, n, N)
        given["on"] = np.concatenate([given["on"], 1 - np.eye(n)])  # whatever the draw, the fit has one solution
        given["x"][0], given["fill"][1:] = 0.2 * given["x"][0], 0.2 * given["fill"][1:]  # images far apart as vectors
        given |= {"taste": rng.normal(size=3 * shape[0] * shape[1]), "width": 0.3}
        cases.append(Case(name, given, symbols={"n": n, "H": shape[0], "W": shape[1]}))
    return cases


def _map_expected(case: Case) -> Mapping[str, Any]:
    """Images pixel by pixel, weights from the number that are on, and numpy's least squares about weighted means."""
    inputs = case.inputs
    flat = _masked(inputs).reshape(len(inputs["on"]), -1)
    y = flat @ inputs["taste"] + 2 * np.tanh(flat[:, 0] * flat[:, -1]) + 3
    Z = inputs["on"]
    w = np.exp(-(((1 - np.sqrt(Z.mean(1))) / inputs["width"]) ** 2))
    root = np.sqrt(w)[:, None]
    left = root * (Z - np.average(Z, axis=0, weights=w))
    beta = np.linalg.lstsq(left, root[:, 0] * (y - np.average(y, weights=w)), rcond=None)[0]
    heat = np.zeros(inputs["labels"].shape)
    for i, j in np.ndindex(*heat.shape):
        heat[i, j] = beta[inputs["labels"][i, j]]
    return {"coefficients": beta, "map": heat}


LIME_MAP = Question(
    id="lime_vs_gradcam.lime_map",
    unit=UNIT,
    title="LIME on an image",
    points=3,
    minutes=8,
    difficulty=3,
    importance=5,
    kind="function",
    answer="lime_map",
    stub="return ...",
    cases=_map_cases,
    probe=(
        "def probe(answer, case):\n"
        "    import torch\n"
        "    x, fill, labels, on, taste = (torch.tensor(case[k]) for k in ('x', 'fill', 'labels', 'on', 'taste'))\n"
        + ASK
        + "    found = answer(score, x, fill, labels, on, case['width'])\n"
        "    if found is ... or found is None:\n"
        "        return {'coefficients': found}\n"
        "    coefficients, heat = found\n"
        "    return {'coefficients': coefficients, 'map': heat}\n"
    ),
    expected=_map_expected,
    depends_on=("lime_vs_gradcam.mask_image", "lime_vs_gradcam.kernel_weights"),
    requires=("04_lime_fit",),
    forbids=BY_HAND,
    tolerance=Tolerance(1e-3, 1e-5, "images may be float32, and the fit magnifies their rounding"),
    shape_words="a pair: (n,) and (H, W)",
    context=MASK + KERNEL + FIT,
    mistakes=LIME_MAP_MISTAKES,
    variants=(
        Variant(
            "one_by_one",
            "def lime_map(score, x, fill, labels, on, width):\n"
            "    y = torch.stack([score(mask_image(x, fill, labels, row[None]))[0] for row in on])\n"
            "    beta = local_fit(on, y, kernel_weights(on, width))[1]\n"
            "    heat = torch.zeros(labels.shape, dtype=beta.dtype)\n"
            "    for j, value in enumerate(beta):\n"
            "        heat[labels == j] = value\n"
            "    return beta, heat\n",
        ),
        Variant(
            "numpy",
            "import numpy as np\n"
            "def lime_map(score, x, fill, labels, on, width):\n"
            "    y = score(mask_image(x, fill, labels, on)).numpy()\n"
            "    Z, root = on.numpy(), np.sqrt(np.asarray(kernel_weights(on, width)))\n"
            "    A = np.column_stack([np.ones(len(Z)), Z])\n"
            "    beta = np.linalg.lstsq(root[:, None] * A, root * y, rcond=None)[0][1:]\n"
            "    return [beta.tolist(), beta[labels.numpy()]]\n",
        ),
    ),
    hints=(
        "Four lines: the perturbed images, their scores, the weights, the fit. Then each pixel gets the coefficient of "
        "its superpixel.",
        "y = score(mask_image(x, fill, labels, on)); local_fit(on, y, kernel_weights(on, width)) is a pair, of which "
        "the second part counts.",
        "coefficients = local_fit(on, y, kernel_weights(on, width))[1]; return coefficients, coefficients[labels]",
    ),
)
