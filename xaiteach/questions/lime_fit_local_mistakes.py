"""Unit 04: classic wrong answers to the questions on the local fit, as code, with the sentence that helps."""

from __future__ import annotations

from xaiteach.questions.model import Mistake

__all__ = ["EFFECTIVE_MISTAKES", "FIDELITY_MISTAKES", "LOCAL_FIT_MISTAKES", "SMOOTHED_MISTAKES"]


def _local(*lines: str) -> str:
    body = "".join(f"    {line}\n" for line in lines)
    return f"import torch\ndef local_fit(Z, y, w):\n    A = torch.cat([torch.ones_like(Z[:, :1]), Z], 1)\n{body}"


LOCAL_FIT_MISTAKES = (
    Mistake(
        "through_the_origin",
        _local("return 0.0, weighted_fit(Z, y, w)"),
        "There is still no intercept: the plane goes through the origin, and even f = 1 gets an explanation. Give it a "
        "column of ones.",
        0.2,
    ),
    Mistake(
        "weights_squared",
        _local(
            "both = torch.linalg.pinv(w[:, None] * A) @ (w * y)",
            "return both[0], both[1:]",
        ),
        "Both sides were multiplied by the weights, and the square squares them: use their root.",
        0.5,
    ),
    Mistake(
        "plain_means",
        _local(
            "beta = weighted_fit(Z - Z.mean(0), y - y.mean(), w)",
            "return y.mean() - Z.mean(0) @ beta, beta",
        ),
        "You took the intercept out with plain means. With weights it is the weighted means that must be subtracted: "
        "sum(w y) / sum(w), and the same for each feature.",
        0.5,
    ),
    Mistake(
        "mean_as_intercept",
        _local("both = weighted_fit(A, y, w)", "return (w @ y) / w.sum(), both[1:]"),
        "The coefficients are right. The intercept is the score of the plane at 0, not the mean of the scores: "
        "the mean "
        "is its height at the mean of the samples.",
        0.7,
    ),
    Mistake(
        "unweighted_ones",
        _local(
            "root = w.sqrt()",
            "both = torch.linalg.pinv(torch.cat([A[:, :1], root[:, None] * Z], 1)) @ (root * y)",
            "return both[0], both[1:]",
        ),
        "The column of ones was put in after the rows had got their weights: it is part of each row, and gets the root "
        "of w as well.",
        0.5,
    ),
    Mistake(
        "unweighted",
        _local("both = torch.linalg.pinv(A) @ y", "return both[0], both[1:]"),
        "The weights are not used.",
        0.3,
    ),
)


def _fidelity(body: str) -> str:
    return (
        "def fidelity(y, found, w):\n"
        "    mean = (w @ y) / w.sum()\n"
        "    missed, spread = w @ (y - found) ** 2, w @ (y - mean) ** 2\n"
        f"    return {body}\n"
    )


FIDELITY_MISTAKES = (
    Mistake(
        "unweighted",
        _fidelity("1 - ((y - found) ** 2).sum() / ((y - y.mean()) ** 2).sum()"),
        "Every sample counts the same here. The surrogate is meant for the neighbourhood, and the weights say where "
        "that is: they belong into both sums, and into the mean.",
        0.4,
    ),
    Mistake(
        "plain_mean",
        _fidelity("1 - missed / (w @ (y - y.mean()) ** 2)"),
        "Nearly: the constant to compare with is the best one under the weights, their weighted mean.",
        0.7,
    ),
    Mistake(
        "around_zero",
        _fidelity("1 - missed / (w @ y**2)"),
        "The squares below are taken around 0. A constant would do as well as that, and this fidelity would praise it: "
        "subtract the weighted mean.",
        0.4,
    ),
    Mistake(
        "share_missed",
        _fidelity("missed / spread"),
        "That is the share that is missed. Fidelity is 1 less it: 1 for a perfect surrogate.",
        0.6,
    ),
    Mistake(
        "mean_error",
        _fidelity("missed / w.sum()"),
        "That is the mean squared error, in squared units of the score. Compare it with what the best constant misses.",
        0.3,
    ),
    Mistake(
        "spread_explained",
        _fidelity("(w @ (found - mean) ** 2) / spread"),
        "That is how much the surrogate varies. It can vary as much as the score and miss it everywhere; what "
        "counts is "
        "y - found. The two agree only on the samples it was fitted to.",
        0.3,
    ),
)

EFFECTIVE_MISTAKES = (
    Mistake(
        "sum",
        "def effective_size(w):\n    return w.sum()\n",
        "The sum of the weights triples when they all do, and yet nothing is learnt by that. Divide out their scale.",
        0.3,
    ),
    Mistake(
        "above_zero",
        "def effective_size(w):\n    return (w > 0).sum().double()\n",
        "That counts the samples that count at all. One that counts a thousandth is not worth a sample.",
        0.1,
    ),
    Mistake(
        "over_largest",
        "def effective_size(w):\n    return w.sum() / w.max()\n",
        "That measures in units of the heaviest sample. Asked is the number of equal samples whose mean varies "
        "as much.",
        0.4,
    ),
    Mistake(
        "squares_the_wrong_way",
        "def effective_size(w):\n    return (w**2).sum() / w.sum() ** 2\n",
        "That is one over it: a number from 1/N to 1.",
        0.6,
    ),
)

SMOOTHED_MISTAKES = (
    Mistake(
        "one_for_two",
        'smoothed = "1/sqrt(1/sigma^2 + 1/w^2)"\n',
        "The density has a 2 below, exp(-e^2/(2 sigma^2)), and this kernel has none, exp(-e^2/w^2): so its share "
        "counts "
        "twice.",
        0.6,
    ),
    Mistake(
        "wider",
        'smoothed = "sqrt(sigma^2 + w^2/2)"\n',
        "That is wider than both. The weights cut the cloud down: what adds up are the inverse squares, and not the "
        "squares.",
        0.3,
    ),
    Mistake(
        "squared",
        'smoothed = "1/(1/sigma^2 + 2/w^2)"\n',
        "That is the variance. Its root is the standard deviation.",
        0.7,
    ),
    Mistake(
        "noise_alone",
        'smoothed = "sigma"\n',
        "That is the spread of the samples before they are weighted.",
        0.1,
    ),
    Mistake(
        "kernel_alone",
        'smoothed = "w/sqrt(2)"\n',
        "That is the kernel's own width, as if the samples were spread evenly. They thin out with sigma as well.",
        0.3,
    ),
)
