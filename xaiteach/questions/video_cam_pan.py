"""Unit 03, a real clip: each frame's share and energy, what scaling and pooling hide, and the reading."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from xaiteach.questions.model import Case, Question, Rubric, Size, Tolerance, Variant
from xaiteach.questions.video_cam_frames import softmax
from xaiteach.questions.video_cam_pan_mistakes import PER_FRAME_MISTAKES, POOLED_MISTAKES, SHARES_MISTAKES

__all__ = [
    "PER_FRAME", "POOLED", "PREDICT_FRAME", "PREDICT_WEIGHTS", "READING", "SHARES", "clip_maps",
]  # fmt: skip

UNIT = "03_video_cam"

Array = np.ndarray[Any, Any]

PREDICT_WEIGHTS = Question(
    id="video_cam.predict_weights",
    unit=UNIT,
    title="Predict: how many weights?",
    points=0,
    minutes=1,
    difficulty=1,
    importance=3,
    kind="prediction",
    answer="predict_weights",
    stub="predict_weights = ...",
    shape_words="a whole number from 1 to 12",
    rubric=Rubric(reveal="The next item shows it.", least=1, most=12),
    hints=(
        "Nothing can be wrong here. What does a head that averages over time know of the order of the frames?",
        "Exchange two frames: does the score change?",
        "Write any whole number from 1 to 12 and go on: the next item shows what it is.",
    ),
)

_HEADS = {
    "a": "all frames in one vector",
    "b": "features averaged over time, and the logit explained",
    "c": "probabilities averaged over time",
    "d": "every head: alpha is an average anyway",
}


def _one(seed: int, size: Size) -> list[Case]:
    return [Case("the four statements", {})] if size == "public" else []


def _pooled_expected(case: Case) -> Mapping[str, Any]:
    """Alpha of every frame beside its mean over time, for each head on one drawn clip, by differences."""
    rng = np.random.default_rng(76)
    T, K, C, h = 4, 3, 3, 1e-4
    A, V, W, b = rng.exponential(size=(T, K)), rng.normal(size=(C, K)), rng.normal(size=(C, T * K)), rng.normal(size=C)
    heads: dict[str, Callable[[Array], float]] = {
        "a": lambda A: W[0] @ A.ravel() + b[0],
        "b": lambda A: V[0] @ A.mean(0) + b[0],
        "c": lambda A: softmax(A @ V.T + b)[:, 0].mean(),
    }
    same = []
    for letter, score in heads.items():
        alpha = np.zeros((T, K))
        for place in np.ndindex(T, K):
            move = np.zeros((T, K))
            move[place] = h
            alpha[place] = (score(A + move) - score(A - move)) / (2 * h)
        if np.abs(alpha - alpha.mean(0)).max() < 1e-6:
            same.append(letter)
    return {"choice": "d" if len(same) == 3 else "".join(same)}


POOLED = Question(
    id="video_cam.pooled",
    unit=UNIT,
    title="Pooling the weights over time, too",
    points=1,
    minutes=4,
    difficulty=3,
    importance=3,
    kind="choice",
    answer="pooled",
    stub="pooled = ...",
    cases=_one,
    probe="def probe(answer, case):\n    return {'choice': str(answer)}\n",
    expected=_pooled_expected,
    options=_HEADS,
    shape_words='one of the letters, in quotes: "a", "b", "c" or "d"',
    mistakes=POOLED_MISTAKES,
    variants=(Variant("capital", 'pooled = "B"\n'),),
    hints=(
        "Pooling changes nothing where all frames have the same alpha already. Which of your gradients did not "
        "depend on t?",
        "Look at the three functions that you wrote: in which of them does t not occur?",
        "The gradient of one head is V_c / T for every frame.",
    ),
)


PREDICT_FRAME = Question(
    id="video_cam.predict_frame",
    unit=UNIT,
    title="Predict: from which frame on?",
    points=0,
    minutes=1,
    difficulty=1,
    importance=3,
    kind="prediction",
    answer="predict_frame",
    stub="predict_frame = ...",
    shape_words="a whole number from 0 to 11",
    rubric=Rubric(reveal="The next item computes it.", least=0, most=11),
    hints=(
        "Nothing can be wrong here. The camera shows the first columns of the rocket in frame 4, and half of it "
        "in frame 7.",
        "The network was never shown half a rocket. Will the other half, a cat, argue against it?",
        "Write any whole number from 0 to 11 and go on: the next item shows what it is.",
    ),
)

SETTING = """\
import torch
from xaiteach import data, models
model = models.load("crops_cnn")
clip = data.pan("cat", "rocket")
A = model.features(clip.x).detach()
leaf = A.clone().requires_grad_()
score = model.classifier(leaf.mean((0, 2, 3)))[clip.y]
(G,) = torch.autograd.grad(score, leaf)
bias = float(model.classifier.bias.detach()[clip.y])
def frame_cam(A, G):
    return (G.mean((2, 3), keepdim=True) * A).sum(1).relu()
"""
"""What the setup cells of the exercises make, with a reference in place of the student's own function."""


def clip_maps() -> tuple[Array, Array, float]:
    """Feature maps of the clip (T, K, d1, d2), the row V_c (K,) and the bias, in float64."""
    import torch

    from xaiteach import data, models

    model: Any = models.load("crops_cnn").double()
    clip, head = data.pan("cat", "rocket"), model.classifier
    with torch.no_grad():
        A = model.features(clip.x.double()).numpy()
    return A, head.weight[clip.y].detach().numpy(), float(head.bias.detach()[clip.y])


def _clip_case(seed: int, size: Size) -> list[Case]:
    return [Case("the clip", {}, symbols={"T": 12, "d1 d2": 64})] if size == "public" else []


def _shares_expected(case: Case) -> Mapping[str, Any]:
    """The head's own row, frame by frame and map by map: no gradient is taken."""
    A, row, _ = clip_maps()
    T, K, d1, d2 = A.shape
    table = []
    for maps in A:
        weights = row / (T * d1 * d2)
        parts = [weights[k] * maps[k] for k in range(K)]
        table.append([sum(float(part.sum()) for part in parts), float(np.maximum(sum(parts), 0).sum())])
    return {"shares": np.array(table)}


SHARES = Question(
    id="video_cam.shares",
    unit=UNIT,
    title="Each frame's share, and its energy",
    points=3,
    minutes=8,
    difficulty=3,
    importance=5,
    kind="value",
    answer="shares",
    stub="shares = ...",
    cases=_clip_case,
    probe="def probe(answer, case):\n    return {'shares': answer}\n",
    expected=_shares_expected,
    depends_on=("video_cam.frame_cam",),
    requires=("data.clips", "models.crops_cnn"),
    forbids=("captum", "explain"),
    tolerance=Tolerance(1e-3, 1e-6, "float32 sums over 48 maps of 64 places against float64"),
    deadline_s=60.0,
    shape_words="(12, 2), a row for each frame: share and energy",
    context=SETTING,
    mistakes=SHARES_MISTAKES,
    variants=(
        Variant(
            "loop",
            "shares = []\n"
            "for t in range(12):\n"
            "    heat = frame_cam(A[t : t + 1], G[t : t + 1])\n"
            "    shares.append([float((G[t] * A[t]).sum()), float(heat.sum())])\n",
        ),
        Variant(
            "numpy",
            "import numpy as np\n"
            "share = np.einsum('tkij,tkij->t', G.numpy(), A.numpy())\n"
            "shares = np.stack([share, frame_cam(A, G).sum((1, 2)).numpy()], 1)\n",
        ),
    ),
    hints=(
        "The share C_t adds G times A over all maps and places of frame t, with its sign. The energy adds up "
        "frame t's map.",
        "(G * A).sum((1, 2, 3)) has 12 entries; so has frame_cam(A, G).sum((1, 2)).",
        "torch.stack([(G * A).sum((1, 2, 3)), frame_cam(A, G).sum((1, 2))], 1)",
    ),
)

_SCALED = {
    "a": "In frame 0 the network finds as much rocket as in frame 11.",
    "b": "In frame 0 nothing speaks for the rocket: its map is blank.",
    "c": "Where in frame 0 the little that speaks for the rocket lies, but not how little it is.",
    "d": "Frame 0 speaks against the rocket.",
}


def _per_frame_expected(case: Case) -> Mapping[str, Any]:
    """Each statement as a computation on the maps scaled by their own maxima, and on those before."""
    A, row, _ = clip_maps()
    maps = np.maximum(np.einsum("k,tkij->tij", row, A), 0)
    scaled = maps / maps.max((1, 2), keepdims=True)
    unscaled_share = maps[0].sum() / maps[11].sum()
    true = {
        "a": unscaled_share > 0.5,
        "b": scaled[0].max() == 0,
        "c": scaled[0].max() == 1 and unscaled_share < 0.1,
        "d": scaled.min() < 0,
    }
    return {"choice": "".join(letter for letter, holds in true.items() if holds)}


PER_FRAME = Question(
    id="video_cam.per_frame",
    unit=UNIT,
    title="Each frame scaled by its own maximum",
    points=1,
    minutes=4,
    difficulty=2,
    importance=4,
    kind="choice",
    answer="per_frame",
    stub="per_frame = ...",
    cases=_one,
    probe="def probe(answer, case):\n    return {'choice': str(answer)}\n",
    expected=_per_frame_expected,
    options=_SCALED,
    shape_words='one of the letters, in quotes: "a", "b", "c" or "d"',
    mistakes=PER_FRAME_MISTAKES,
    variants=(Variant("capital", 'per_frame = "C"\n'),),
    hints=(
        "Every frame's map now has a place of value 1. What does that say about how much there was?",
        "Compare the energies in your table: frame 0 and frame 11.",
        "A scaled map says where, within its frame; how much is gone.",
    ),
)


READING = Question(
    id="video_cam.reading",
    unit=UNIT,
    title="What may be read from a frame's map?",
    points=3,
    minutes=7,
    difficulty=3,
    importance=5,
    kind="essay",
    answer="reading",
    stub='reading = """\n...\n"""',
    shape_words="four to eight sentences between the quotes",
    rubric=Rubric(
        criteria=(
            (0.75, "the map explains the clip's score and class, not what the frame alone would be called"),
            (0.75, "frames can be compared only on one scale; a scaling of each frame hides how much there is"),
            (
                0.75,
                "energy is what speaks for the class after the cut; the exact share can be negative, and shares add up",
            ),
            (
                0.75,
                "what the head can know: weights alike for every frame, or fading with confidence; windows after "
                "strides",
            ),
        ),
        weak="The bright frames are the important ones, because there the heat map is red.",
        weak_notes="On which scale, for which score, and what of frames that speak against the class?",
        least_words=40,
    ),
    hints=(
        "Four things went wrong or could have in this unit. Name each, and what helps.",
        "Which score? Which scale? What has the ReLU cut? What can this head not tell?",
        "Use your table: frames whose energy is 0 have a share that is not.",
    ),
)
