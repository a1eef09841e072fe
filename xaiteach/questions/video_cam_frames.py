"""Unit 03, the definition for any network, and the gradient that three heads send back to a frame.

Symbols: A maps (T, K, d1, d2) of T frames, z_t = vec(A_t) (channel, row, column), S_c the score of the clip, G its
gradient by A.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from xaiteach.questions.model import NO_AUTOGRAD, Case, Question, Size, Tolerance, Variant
from xaiteach.questions.video_cam_frame_mistakes import (
    FRAME_CAM_MISTAKES,
    LATE_MISTAKES,
    MEAN_MISTAKES,
    STACKED_MISTAKES,
)

__all__ = ["FRAME_CAM", "LATE_GRADIENT", "MEAN_GRADIENT", "STACKED_GRADIENT", "softmax"]

UNIT = "03_video_cam"
BY_HAND = (*NO_AUTOGRAD, "explain")

Array = np.ndarray[Any, Any]


def softmax(s: Array) -> Array:
    """Probabilities along the last axis."""
    e = np.exp(s - s.max(-1, keepdims=True))
    found: Array = e / e.sum(-1, keepdims=True)
    return found


def _cam_case(name: str, rng: np.random.Generator, sizes: tuple[int, int, int, int]) -> Case:
    """Maps and gradients whose weights have both signs, change over time, and leave some places at 0."""
    T, K, d1, d2 = sizes
    for _ in range(200):
        A = rng.exponential(size=sizes) * (rng.uniform(size=sizes) > 0.2) * np.linspace(0.3, 2, T)[:, None, None, None]
        sign = np.where((np.arange(T)[:, None] + np.arange(K)) % 2, -1.0, 1.0) * rng.uniform(0.4, 1.2, size=(T, K))
        G = sign[:, :, None, None] + 0.8 * rng.normal(size=sizes)
        signed = (G.mean((2, 3), keepdims=True) * A).sum(1)
        if (signed.max((1, 2)) > 0.1).all() and signed.min() < 0:  # no frame is blank, and something is cut
            break
    return Case(name, {"A": A, "G": G}, symbols={"T": T, "K": K, "d1 d2": d1 * d2})


def _cam_cases(seed: int, size: Size) -> list[Case]:
    if size == "public":
        rng = np.random.default_rng(70)
        return [
            _cam_case("2 frames, 2 maps of 2 by 2", rng, (2, 2, 2, 2)),
            _cam_case("3 frames, 4 maps of 2 by 3", rng, (3, 4, 2, 3)),
        ]
    rng = np.random.default_rng([seed, 71])
    return [_cam_case(str(i), rng, sizes) for i, sizes in enumerate([(4, 3, 3, 2), (5, 6, 2, 4)])]


def _cam_expected(case: Case) -> Mapping[str, Any]:
    """Frame by frame, map by map, place by place."""
    A, G = case.inputs["A"], case.inputs["G"]
    T, K, d1, d2 = A.shape
    found = np.zeros((T, d1, d2))
    for t in range(T):
        weights = [sum(G[t, k].ravel().tolist()) / (d1 * d2) for k in range(K)]
        for i, j in np.ndindex(d1, d2):
            found[t, i, j] = max(sum(weights[k] * A[t, k, i, j] for k in range(K)), 0.0)
    return {"maps": found}


FRAME_CAM = Question(
    id="video_cam.frame_cam",
    unit=UNIT,
    title="A heat map for every frame",
    points=3,
    minutes=8,
    difficulty=3,
    importance=5,
    kind="function",
    answer="frame_cam",
    stub="return ...",
    cases=_cam_cases,
    probe=(
        "def probe(answer, case):\n"
        "    import torch\n"
        "    A, G = (torch.tensor(case[name]).float() for name in ('A', 'G'))\n"
        "    return {'maps': answer(A, G)}\n"
    ),
    expected=_cam_expected,
    forbids=("captum", "explain"),
    tolerance=Tolerance(1e-4, 1e-5, "float32 sums of at most a few dozen numbers of order 1"),
    shape_words="(T, d1, d2), a map for each frame",
    context="import torch\n",
    mistakes=FRAME_CAM_MISTAKES,
    variants=(
        Variant(
            "einsum",
            "import torch\n"
            "def frame_cam(A, G):\n"
            "    return torch.einsum('tk,tkij->tij', G.mean((-2, -1)), A).clamp(min=0)\n",
        ),
        Variant(
            "loop",
            "def frame_cam(A, G):\n"
            "    maps = []\n"
            "    for a, g in zip(A, G):\n"
            "        heat = sum(float(g[k].mean()) * a[k] for k in range(len(a)))\n"
            "        maps.append((heat * (heat > 0)).tolist())\n"
            "    return maps\n",
        ),
    ),
    hints=(
        "It is Grad-CAM of unit 02 with one more axis in front: every frame has its own gradient and its own maps.",
        "alpha[t, k] is the mean of G[t, k] over its d1 d2 places. Weigh the maps, add over k, and cut below 0 "
        "at the end.",
        "(G.mean((2, 3), keepdim=True) * A).sum(1).relu()",
    ),
)

Logits = Callable[[Array, Array, Array], Array]


def _head_case(
    name: str, rng: np.random.Generator, sizes: tuple[int, int, int, int, int], c: int, *, stacked: bool
) -> Case:
    """Maps, weights and a class; the logits of the frames differ by up to some 3, so that none is all but certain."""
    T, K, d1, d2, C = sizes
    length = K * d1 * d2 * (T if stacked else 1)
    A = rng.exponential(size=(T, K, d1, d2))
    V = rng.normal(size=(C, length))
    spread = np.ptp(A.reshape(T, -1) @ V.T, axis=1).max() if not stacked else 1.0
    return Case(
        name,
        {"A": A, "V": V * (1.0 if stacked else 3.0 / spread), "b": 0.3 * rng.normal(size=C), "c": c},
        symbols={"T": T, "K": K, "d1 d2": d1 * d2, "C": C},
    )


def _stacked_cases(seed: int, size: Size) -> list[Case]:
    if size == "public":
        rng = np.random.default_rng(72)
        tiny = _head_case("2 frames, 2 maps of 1 by 2", rng, (2, 2, 1, 2, 3), 1, stacked=True)
        return [tiny, _head_case("3 frames, 4 maps of 2 by 3", rng, (3, 4, 2, 3, 4), 2, stacked=True)]
    rng = np.random.default_rng([seed, 73])
    return [_head_case(str(i), rng, s, int(rng.integers(s[4])), stacked=True)
            for i, s in enumerate([(4, 3, 3, 2, 3), (3, 5, 2, 4, 5)])]  # fmt: skip


def _frame_cases(seed: int, size: Size) -> list[Case]:
    if size == "public":
        rng = np.random.default_rng(74)
        tiny = _head_case("2 frames, 2 maps of 1 by 2", rng, (2, 2, 1, 2, 3), 1, stacked=False)
        return [tiny, _head_case("3 frames, 4 maps of 2 by 3", rng, (3, 4, 2, 3, 4), 2, stacked=False)]
    rng = np.random.default_rng([seed, 75])
    return [_head_case(str(i), rng, s, int(rng.integers(s[4])), stacked=False)
            for i, s in enumerate([(4, 3, 3, 2, 3), (5, 5, 2, 4, 5)])]  # fmt: skip


def _slopes(case: Case, score: Callable[[Array], float]) -> Array:
    """Central differences of fourth order of the clip's score by every entry of A, in float64."""
    A, h = case.inputs["A"], 1e-3
    found = np.zeros_like(A)
    for place in np.ndindex(A.shape):
        move = np.zeros_like(A)
        move[place] = h
        near, far = score(A + move) - score(A - move), score(A + 2 * move) - score(A - 2 * move)
        found[place] = (8 * near - far) / (12 * h)
    slopes: Array = found
    return slopes


def _stacked_expected(case: Case) -> Mapping[str, Any]:
    V, b, c = (case.inputs[name] for name in ("V", "b", "c"))
    return {"gradient": _slopes(case, lambda A: float(V[c] @ A.ravel() + b[c]))}


def _mean_expected(case: Case) -> Mapping[str, Any]:
    V, b, c = (case.inputs[name] for name in ("V", "b", "c"))
    return {"gradient": _slopes(case, lambda A: float(V[c] @ A.reshape(len(A), -1).mean(0) + b[c]))}


def _late_expected(case: Case) -> Mapping[str, Any]:
    V, b, c = (case.inputs[name] for name in ("V", "b", "c"))
    return {"gradient": _slopes(case, lambda A: float(softmax(A.reshape(len(A), -1) @ V.T + b)[:, c].mean()))}


_PROBE = (
    "def probe(answer, case):\n"
    "    import torch\n"
    "    A, V, b = (torch.tensor(case[name]).float() for name in ('A', 'V', 'b'))\n"
    "    return {'gradient': answer(A, V, b, case['c'])}\n"
)
_SHAPE = "(T, K, d1, d2), like A"
_FLOAT32 = Tolerance(1e-4, 1e-6, "float32 products against float64 differences, some 1e-9 apart")

STACKED_GRADIENT = Question(
    id="video_cam.stacked_gradient",
    unit=UNIT,
    title="Head 1: all frames in one vector",
    points=2,
    minutes=5,
    difficulty=2,
    importance=4,
    kind="function",
    answer="stacked_gradient",
    stub="return ...",
    cases=_stacked_cases,
    probe=_PROBE,
    expected=_stacked_expected,
    forbids=BY_HAND,
    tolerance=_FLOAT32,
    shape_words=_SHAPE,
    context="import torch\n",
    mistakes=STACKED_MISTAKES,
    variants=(
        Variant(
            "frame_by_frame",
            "import torch\n"
            "def stacked_gradient(A, V, b, c):\n"
            "    n = A[0].numel()\n"
            "    return torch.stack([V[c, t * n : (t + 1) * n].view(A.shape[1:]) for t in range(len(A))])\n",
        ),
        Variant(
            "numpy",
            "import numpy as np\n"
            "def stacked_gradient(A, V, b, c):\n"
            "    return np.asarray(V)[c].reshape(tuple(A.shape))\n",
        ),
    ),
    hints=(
        "S_c is linear in z, and z holds every entry of A once. What is the derivative of V_c z by one entry of z?",
        "Row c of V, folded back in the order in which z was unrolled: frame, channel, row, column.",
        "V[c].reshape(A.shape)",
    ),
)

MEAN_GRADIENT = Question(
    id="video_cam.mean_gradient",
    unit=UNIT,
    title="Head 2: features averaged over time",
    points=2,
    minutes=6,
    difficulty=3,
    importance=4,
    kind="function",
    answer="mean_gradient",
    stub="return ...",
    cases=_frame_cases,
    probe=_PROBE,
    expected=_mean_expected,
    forbids=BY_HAND,
    tolerance=_FLOAT32,
    shape_words=_SHAPE,
    context="import torch\n",
    mistakes=MEAN_MISTAKES,
    variants=(
        Variant(
            "stack",
            "import torch\n"
            "def mean_gradient(A, V, b, c):\n"
            "    one = V[c].reshape(A.shape[1:]) / len(A)\n"
            "    return torch.stack([one] * len(A))\n",
        ),
        Variant(
            "ones",
            "import torch\n"
            "def mean_gradient(A, V, b, c):\n"
            "    return torch.ones_like(A) * V[c].view(1, *A.shape[1:]) / A.shape[0]\n",
        ),
    ),
    hints=(
        "The mean over frames gives each of them the factor 1/T; from there on it is unit 02's logit.",
        "V has one weight for each channel and place, and none for time: every frame gets the same.",
        "(V[c] / len(A)).reshape(A.shape[1:]).expand(A.shape)",
    ),
)

LATE_GRADIENT = Question(
    id="video_cam.late_gradient",
    unit=UNIT,
    title="Head 3: probabilities averaged over time",
    points=3,
    minutes=10,
    difficulty=4,
    importance=4,
    kind="function",
    answer="late_gradient",
    stub="return ...",
    cases=_frame_cases,
    probe=_PROBE,
    expected=_late_expected,
    forbids=BY_HAND,
    tolerance=_FLOAT32,
    shape_words=_SHAPE,
    context="import torch\n",
    mistakes=LATE_MISTAKES,
    variants=(
        Variant(
            "mean_row",
            "import torch\n"
            "def late_gradient(A, V, b, c):\n"
            "    y = (A.flatten(1) @ V.T + b).softmax(1)\n"
            "    return (y[:, c : c + 1] * (V[c] - y @ V) / len(A)).reshape(A.shape)\n",
        ),
        Variant(
            "loops",
            "import torch\n"
            "def late_gradient(A, V, b, c):\n"
            "    rows = []\n"
            "    for a in A:\n"
            "        y = torch.softmax(V @ a.reshape(-1) + b, 0)\n"
            "        g = sum(y[c] * y[j] * (V[c] - V[j]) for j in range(len(V)) if j != c)\n"
            "        rows.append((g / A.shape[0]).reshape(a.shape))\n"
            "    return torch.stack(rows)\n",
        ),
    ),
    hints=(
        "Each frame has its own softmax, and frame t's maps reach only that one. The mean gives 1/T.",
        "For one frame it is unit 02's probability: y_c sum_j y_j (V_c - V_j), with the probabilities of that frame.",
        "y = (A.flatten(1) @ V.T + b).softmax(1); the row of frame t is y[t, c] * (y[t, :, None] * (V[c] - "
        "V)).sum(0) / T.",
    ),
)
