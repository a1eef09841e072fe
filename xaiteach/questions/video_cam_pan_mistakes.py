"""Unit 03: classic wrong answers to the questions on the clip, as code, with the sentence that helps."""

from __future__ import annotations

from xaiteach.questions.model import Mistake

__all__ = ["ENTRY_MISTAKES", "PER_FRAME_MISTAKES", "POOLED_MISTAKES", "SHARES_MISTAKES", "WINDOW_MISTAKES"]

POOLED_MISTAKES = (
    Mistake(
        "stacked",
        'pooled = "a"\n',
        "There every frame has its own block of V, and so its own alpha. Pooling throws away what this head can tell.",
    ),
    Mistake(
        "late",
        'pooled = "c"\n',
        "There alpha has the factor y_c y_j of its frame: it fades where the frame is sure. Pooling would hide that.",
    ),
    Mistake(
        "every",
        'pooled = "d"\n',
        "alpha is an average over places, not over time. Pooling over time as well is a choice, and for two of "
        "the heads it "
        "changes the maps.",
    ),
)

ENTRY_MISTAKES = (
    Mistake(
        "any_column",
        "def entry(masks):\n    return int(masks.any(2).any(1).int().argmax())\n",
        "That is the first frame with anything new in it. A pan has no single frame of entry; here half of the "
        "columns is "
        "the mark.",
        0.4,
    ),
    Mistake(
        "more_than_half",
        "def entry(masks):\n    return int((masks.double().mean((1, 2)) > 0.5).int().argmax())\n",
        "Exactly half counts: at least 50 per cent.",
        0.6,
    ),
    Mistake(
        "from_one",
        "def entry(masks):\n    return int((masks.double().mean((1, 2)) >= 0.5).int().argmax()) + 1\n",
        "Frames count from 0 here.",
        0.7,
    ),
    Mistake(
        "fullest",
        "def entry(masks):\n    return int(masks.double().mean((1, 2)).argmax())\n",
        "That is the frame with the most new columns. Asked is the first with at least half.",
        0.2,
    ),
)


def _shares(share: str, energy: str) -> str:
    return f"L = frame_cam(A, G)\nshares = torch.stack([{share}, {energy}], 1)\n"


_C, _E = "(G * A).sum((1, 2, 3))", "L.sum((1, 2))"

SHARES_MISTAKES = (
    Mistake(
        "own_maximum",
        _shares(_C, "(L / L.amax((1, 2), keepdim=True)).sum((1, 2))"),
        "Each frame's map was divided by its own maximum before it was added up: an empty frame now has as much "
        "energy as the "
        "one that decides.",
        0.5,
    ),
    Mistake(
        "T_times_too_big",
        _shares(f"12 * {_C}", f"12 * {_E}"),
        "T times too big: each frame holds 1/T of the average, and G has it already.",
        0.6,
    ),
    Mistake(
        "cut_share",
        _shares("(G * A).sum(1).relu().sum((1, 2))", _E),
        "The share was cut below 0 before it was added up. A frame can speak against the class, and only with "
        "its sign do the "
        "shares add up to the score.",
        0.5,
    ),
    Mistake(
        "columns_exchanged",
        _shares(_E, _C),
        "The columns are exchanged: the share first, then the energy.",
        0.7,
    ),
    Mistake(
        "means",
        _shares(f"{_C} / 64", f"{_E} / 64"),
        "Those are means over the 64 places. Add them up: only sums make the score.",
        0.6,
    ),
    Mistake(
        "signed_energy",
        _shares(_C, "(G.mean((2, 3), keepdim=True) * A).sum((1, 2, 3))"),
        "The energy is that of the map after its cut. Without the cut it is the share once more, for this head.",
        0.5,
    ),
    Mistake(
        "gradient_alone",
        _shares("G.sum((1, 2, 3))", _E),
        "That is the gradient alone, which for this head is the same in every frame. A share is gradient times "
        "activation.",
        0.3,
    ),
)

PER_FRAME_MISTAKES = (
    Mistake(
        "as_much",
        'per_frame = "a"\n',
        "Every frame's brightest place is 1 because it was divided by itself. Look at the energies: frame 0 has "
        "next to none.",
    ),
    Mistake(
        "blank",
        'per_frame = "b"\n',
        "It is not blank: a little speaks for the rocket there, and after the scaling it is as bright as any.",
    ),
    Mistake(
        "against",
        'per_frame = "d"\n',
        "On the whole it does, but this map cannot say so: what speaks against the class was cut.",
    ),
)

WINDOW_MISTAKES = (
    Mistake(
        "no_padding",
        "def window(T, kernel, stride, padding, t):\n"
        "    first = t * stride\n"
        "    return max(first, 0), min(first + kernel - 1, T - 1)\n",
        "The clip was padded in front: output 0 begins `padding` frames before frame 0.",
        0.5,
    ),
    Mistake(
        "no_stride",
        "def window(T, kernel, stride, padding, t):\n"
        "    first = t - padding\n"
        "    return max(first, 0), min(first + kernel - 1, T - 1)\n",
        "From one output to the next the kernel moves by `stride` frames.",
        0.4,
    ),
    Mistake(
        "one_too_many",
        "def window(T, kernel, stride, padding, t):\n"
        "    first = t * stride - padding\n"
        "    return max(first, 0), min(first + kernel, T)\n",
        "One frame too many: a kernel of three covers first, first + 1 and first + 2.",
        0.6,
    ),
    Mistake(
        "outside",
        "def window(T, kernel, stride, padding, t):\n"
        "    first = t * stride - padding\n"
        "    return first, first + kernel - 1\n",
        "At the ends the kernel stands partly on padding, which is no frame: stay between 0 and T - 1.",
        0.6,
    ),
    Mistake(
        "one_frame",
        "def window(T, kernel, stride, padding, t):\n    return t * stride, t * stride\n",
        "That is one frame. After a convolution in time, index t' is a window of frames.",
        0.3,
    ),
)
