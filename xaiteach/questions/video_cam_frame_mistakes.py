"""Unit 03: classic wrong answers to the questions on frames and heads, as code, with the sentence that helps."""

from __future__ import annotations

from xaiteach.questions.model import Mistake

__all__ = ["FRAME_CAM_MISTAKES", "LATE_MISTAKES", "MEAN_MISTAKES", "STACKED_MISTAKES"]


def _cam(*lines: str) -> str:
    body = "".join(f"    {line}\n" for line in lines)
    return f"import torch\ndef frame_cam(A, G):\n    alpha = G.mean((2, 3), keepdim=True)\n{body}"


FRAME_CAM_MISTAKES = (
    Mistake(
        "own_maximum",
        _cam("L = (alpha * A).sum(1).relu()", "return L / L.amax((1, 2), keepdim=True)"),
        "You divided each frame by its own maximum: a frame in which almost nothing speaks for the class now shines as "
        "bright as the one that decides. Frames can only be compared unscaled.",
        0.5,
    ),
    Mistake(
        "pooled_over_time",
        _cam("return (alpha.mean(0, keepdim=True) * A).sum(1).relu()"),
        "The weights were averaged over time as well. Then one frame's importance is spread over all, and nobody "
        "can ask "
        "which time mattered: each frame keeps its own alpha.",
        0.5,
    ),
    Mistake(
        "relu_too_early",
        _cam("return (alpha * A).relu().sum(1)"),
        "The cut comes before the sum (of the weights or of the weighted maps: the same, for no map is "
        "negative). Channels must "
        "be allowed to argue against the class first.",
        0.4,
    ),
    Mistake(
        "no_relu",
        _cam("return (alpha * A).sum(1)"),
        "The map still has negative places: evidence against the class. Cut it below 0.",
        0.6,
    ),
    Mistake(
        "place_by_place",
        _cam("return (G * A).sum(1).relu()"),
        "That is gradient times activation, place by place. Grad-CAM weighs a whole map with the mean of its gradient.",
        0.4,
    ),
    Mistake(
        "sum_over_time",
        _cam("return (alpha * A).sum(1).relu().sum(0).expand(A.shape[0], -1, -1)"),
        "All frames show the same map: you added over time. Each frame has its own.",
        0.2,
    ),
)

STACKED_MISTAKES = (
    Mistake(
        "one_over_T",
        "def stacked_gradient(A, V, b, c):\n    return V[c].reshape(A.shape) / len(A)\n",
        "No mean is taken here: all frames stand in one vector, each entry once, so there is no 1/T.",
        0.6,
    ),
    Mistake(
        "channels_first",
        "def stacked_gradient(A, V, b, c):\n"
        "    T, K, d1, d2 = A.shape\n"
        "    return V[c].reshape(K, T, d1, d2).transpose(0, 1)\n",
        "You folded channel by channel. z runs frame after frame: frame, channel, row, column.",
        0.4,
    ),
    Mistake(
        "times_activation",
        "def stacked_gradient(A, V, b, c):\n    return V[c].reshape(A.shape) * A\n",
        "That is each entry's share of the score, gradient times activation. The gradient alone is asked.",
        0.4,
    ),
    Mistake(
        "mean_over_time",
        "def stacked_gradient(A, V, b, c):\n    return V[c].reshape(A.shape).mean(0).expand(A.shape)\n",
        "You averaged over time. In this head every frame has weights of its own; that is what it can tell.",
        0.4,
    ),
)


def _mean(body: str) -> str:
    return f"import torch\ndef mean_gradient(A, V, b, c):\n    one = V[c].reshape(A.shape[1:])\n    return {body}\n"


MEAN_MISTAKES = (
    Mistake(
        "T_times_too_big",
        _mean("one.expand(A.shape)"),
        "T times too big: each frame holds 1/T of the average.",
        0.6,
    ),
    Mistake(
        "times_activation",
        _mean("one * A / len(A)"),
        "That is each entry's share of the score. The gradient alone is asked; it does not depend on A here.",
        0.4,
    ),
    Mistake(
        "one_frame",
        _mean("one / len(A)"),
        "Right for one frame. Asked is A's whole shape, a gradient for each frame: the same, T times.",
        0.7,
    ),
    Mistake(
        "first_frame_alone",
        _mean("torch.cat([one[None], torch.zeros_like(A[1:])])"),
        "Only the first frame got something. All of them stand in the mean alike.",
        0.2,
    ),
    Mistake(
        "every_place",
        _mean("one.mean((1, 2), keepdim=True).expand(A.shape) / len(A)"),
        "You took the mean over the places already. That comes when alpha is made; the gradient keeps its places.",
        0.5,
    ),
)


def _late(*lines: str) -> str:
    body = "".join(f"    {line}\n" for line in lines)
    return (
        "import torch\n"
        "def late_gradient(A, V, b, c):\n"
        "    s = A.flatten(1) @ V.T + b\n"
        "    y, T = s.softmax(1), len(A)\n"
        f"{body}"
    )


LATE_MISTAKES = (
    Mistake(
        "T_times_too_big",
        _late("return (y[:, c : c + 1] * (V[c] - y @ V)).reshape(A.shape)"),
        "T times too big: the clip's score is the mean over frames, and each frame holds 1/T of it.",
        0.6,
    ),
    Mistake(
        "logit",
        _late("return V[c].reshape(A.shape[1:]).expand(A.shape) / T"),
        "That is the gradient of the averaged logit. Here probabilities are averaged, and a frame's softmax has to be "
        "differentiated: confident frames lose their weight.",
        0.2,
    ),
    Mistake(
        "softmax_of_the_mean",
        _late(
            "p = s.mean(0).softmax(0)",
            "return (p[c] * (V[c] - p @ V) / T).reshape(A.shape[1:]).expand(A.shape)",
        ),
        "You averaged the logits and took one softmax. In late fusion each frame has its own, and the "
        "probabilities are "
        "averaged.",
        0.4,
    ),
    Mistake(
        "own_prediction",
        _late(
            "own = s.argmax(1)",
            "yc = y.gather(1, own[:, None])",
            "return (yc * (V[own] - y @ V) / T).reshape(A.shape)",
        ),
        "Each frame's own prediction is explained here. The question is the clip's class c, also in frames that would "
        "answer otherwise.",
        0.3,
    ),
    Mistake(
        "without_y",
        _late("return ((V[c] - y @ V) / T).reshape(A.shape)"),
        "The factor y_c of the frame is missing: that is the gradient of log y_c.",
        0.5,
    ),
    Mistake(
        "own_weight_alone",
        _late("return (y[:, c : c + 1] * V[c] / T).reshape(A.shape)"),
        "The rivals are missing: y_c is a share, and what raises a rival lowers it. Subtract their average row.",
        0.4,
    ),
)
