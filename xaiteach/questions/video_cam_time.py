"""Unit 03, places in time: where a pan's new subject enters, and which frames an output after a stride looks at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from xaiteach.questions.model import Case, Question, Size, Tolerance, Variant
from xaiteach.questions.video_cam_pan_mistakes import ENTRY_MISTAKES, WINDOW_MISTAKES

__all__ = ["ENTRY", "WINDOW"]

UNIT = "03_video_cam"


def _entry_case(name: str, new: list[int], width: int) -> Case:
    """A pan with so many new columns in each frame, counted from the right."""
    masks = np.zeros((len(new), 4, width), dtype=bool)
    for t, count in enumerate(new):
        masks[t, :, width - count :] = True
    return Case(name, {"masks": masks}, symbols={"T": len(new)})


def _entry_cases(seed: int, size: Size) -> list[Case]:
    if size == "public":
        return [
            _entry_case("4 frames with 0, 2, 4, 6 of 8 columns new", [0, 2, 4, 6], 8),
            _entry_case("6 frames with 0, 1, 3, 6, 8, 9 of 10 columns new", [0, 1, 3, 6, 8, 9], 10),
        ]
    rng = np.random.default_rng([seed, 77])
    found = []
    for i in range(3):
        width, step = 2 * int(rng.integers(6, 12)), int(rng.integers(1, 3))
        new = [0, *range(step, width + 1, step)]
        found.append(_entry_case(str(i), new[: max(len(new) - 1, 3)], width))
    return found


def _entry_expected(case: Case) -> Mapping[str, Any]:
    """Count the new columns of each frame in turn."""
    for t, mask in enumerate(case.inputs["masks"].tolist()):
        new = sum(any(column) for column in zip(*mask, strict=True))
        if 2 * new >= len(mask[0]):
            return {"t": t}
    return {"t": -1}


ENTRY = Question(
    id="video_cam.entry",
    unit=UNIT,
    title="When does the new subject enter?",
    points=1,
    minutes=4,
    difficulty=2,
    importance=3,
    kind="function",
    answer="entry",
    stub="return ...",
    cases=_entry_cases,
    probe="def probe(answer, case):\n    import torch\n    return {'t': answer(torch.tensor(case['masks']))}\n",
    expected=_entry_expected,
    tolerance=Tolerance(0.0, 1e-6, "a whole number"),
    shape_words="one whole number, counted from 0",
    context="import torch\n",
    mistakes=ENTRY_MISTAKES,
    variants=(
        Variant("argmax", "def entry(masks):\n    return int((masks.double().mean((1, 2)) >= 0.5).int().argmax())\n"),
        Variant(
            "loop",
            "def entry(masks):\n"
            "    for t, mask in enumerate(masks):\n"
            "        if 2 * int(mask[0].sum()) >= mask.shape[1]:\n"
            "            return t\n",
        ),
    ),
    hints=(
        "A column is new as a whole, so its share of the columns is the mask's share of the frame.",
        "masks.double().mean((1, 2)) is that share for each frame. Which is the first that is 0.5 or more?",
        "int((masks.double().mean((1, 2)) >= 0.5).nonzero()[0, 0])",
    ),
)


def _window_cases(seed: int, size: Size) -> list[Case]:
    if size == "public":
        drawn = [(16, 3, 2, 1, 3), (16, 3, 2, 1, 0), (12, 5, 1, 2, 11)]
    else:
        rng = np.random.default_rng([seed, 78])
        drawn = []
        for place in ("first", "middle", "last", "middle"):
            kernel, stride = int(rng.choice([3, 5, 7])), int(rng.integers(2, 4))
            T, padding = int(rng.integers(20, 40)), kernel // 2
            last = (T + 2 * padding - kernel) // stride
            drawn.append((T, kernel, stride, padding, {"first": 0, "middle": last // 2, "last": last}[place]))
    names = ("T", "kernel", "stride", "padding", "t")
    return [
        Case(f"T = {T}, kernel {kernel}, stride {stride}, padding {padding}, t' = {t}",
             dict(zip(names, (T, kernel, stride, padding, t), strict=True)))
        for T, kernel, stride, padding, t in drawn
    ]  # fmt: skip


def _window_expected(case: Case) -> Mapping[str, Any]:
    """Change each input frame in turn, and see whether the sum that is frame t' of the output moves."""
    T, kernel, stride, padding, t = (case.inputs[name] for name in ("T", "kernel", "stride", "padding", "t"))
    seen = []
    for frame in range(T):
        clip = np.zeros(T + 2 * padding)
        clip[padding + frame] = 1
        out = [clip[start : start + kernel].sum() for start in range(0, len(clip) - kernel + 1, stride)]
        if out[t]:
            seen.append(frame)
    return {"window": np.array([seen[0], seen[-1]])}


WINDOW = Question(
    id="video_cam.window",
    unit=UNIT,
    title="Which frames does t' look at?",
    points=2,
    minutes=6,
    difficulty=3,
    importance=3,
    kind="function",
    answer="window",
    stub="return ...",
    cases=_window_cases,
    probe=(
        "def probe(answer, case):\n"
        "    found = answer(case['T'], case['kernel'], case['stride'], case['padding'], case['t'])\n"
        "    return {'window': found if found is ... or found is None else list(found)}\n"
    ),
    expected=_window_expected,
    tolerance=Tolerance(0.0, 1e-6, "whole numbers"),
    shape_words="a pair: the first and the last frame, counted from 0",
    mistakes=WINDOW_MISTAKES,
    variants=(
        Variant(
            "list",
            "def window(T, kernel, stride, padding, t):\n"
            "    frames = [t * stride - padding + i for i in range(kernel)]\n"
            "    frames = [f for f in frames if 0 <= f < T]\n"
            "    return [frames[0], frames[-1]]\n",
        ),
        Variant(
            "numpy",
            "import numpy as np\n"
            "def window(T, kernel, stride, padding, t):\n"
            "    start = t * stride - padding\n"
            "    return np.clip([start, start + kernel - 1], 0, T - 1)\n",
        ),
    ),
    hints=(
        "Put `padding` empty frames before the clip. Where does the kernel stand for output 0, and where for "
        "output t'?",
        "In the padded clip it covers t' stride to t' stride + kernel - 1. Take the padding off, and stay within "
        "the clip.",
        "first = t * stride - padding; return max(first, 0), min(first + kernel - 1, T - 1)",
    ),
)
