"""Unit 05: classic wrong answers to the questions on corners, as code, with the sentence that helps."""

from __future__ import annotations

from xaiteach.questions.model import Mistake

__all__ = ["CONSTRAINED_MISTAKES", "PROJECT_MISTAKES", "SOFT_MISTAKES", "STAYS_MISTAKES"]


def _soft(body: str) -> str:
    return f"def soft_threshold(z, lam):\n    return {body}\n"


SOFT_MISTAKES = (
    Mistake(
        "whole_lambda",
        _soft("z.sign() * (z.abs() - lam).clamp(min=0)"),
        "The squares stand here without a 1/2, and their derivative has a 2: the threshold is lambda/2.",
        0.6,
    ),
    Mistake(
        "deleted_only",
        _soft("torch.where(z.abs() > lam / 2, z, torch.zeros_like(z))"),
        "You deleted the small ones and left the others as they were: a hard threshold. The price is paid by "
        "every survivor, "
        "too: each gives up lambda/2.",
        0.4,
    ),
    Mistake(
        "sign_lost",
        _soft("(z.abs() - lam / 2).clamp(min=0)"),
        "The sizes are right, and the signs are lost: a coefficient may argue against the score.",
        0.6,
    ),
    Mistake(
        "not_cut",
        _soft("z.sign() * (z.abs() - lam / 2)"),
        "The small ones came out on the other side of zero: they stop there.",
        0.5,
    ),
    Mistake(
        "shrunk",
        _soft("z / (1 + lam)"),
        "That is what lambda |beta|^2 does: all shrink by the same factor, and none is ever 0.",
        0.2,
    ),
    Mistake(
        "positive_alone",
        _soft("(z - lam / 2).clamp(min=0)"),
        "For positive z that is right; every negative z became 0.",
        0.4,
    ),
)


def _stays(*lines: str) -> str:
    return "def zero_stays(X, y, w, beta, j):\n" + "".join(f"    {line}\n" for line in lines)


_LEFT = "r = y - X @ beta + X[:, j] * beta[j]"

STAYS_MISTAKES = (
    Mistake(
        "no_two",
        _stays(_LEFT, "return (X[:, j] @ (w * r)).abs()"),
        "The 2 of the square's derivative is missing: there is no 1/2 in front of this objective.",
        0.7,
    ),
    Mistake(
        "still_in",
        _stays("return 2 * (X[:, j] @ (w * (y - X @ beta))).abs()"),
        "What is left was taken with beta_j still in. The question is what happens at beta_j = 0: put its share "
        "back first.",
        0.5,
    ),
    Mistake(
        "unweighted",
        _stays(_LEFT, "return 2 * (X[:, j] @ r).abs()"),
        "The weights are missing.",
        0.3,
    ),
    Mistake(
        "all_out",
        _stays("return 2 * (X[:, j] @ (w * y)).abs()"),
        "You took all coefficients out. Only beta_j is set to 0; the others stay where they are.",
        0.4,
    ),
    Mistake(
        "over_length",
        _stays(_LEFT, "return 2 * (X[:, j] @ (w * r)).abs() / (w @ X[:, j] ** 2)"),
        "You divided by x_j' Π x_j, as if for the coefficient itself. The price is weighed against a slope, and "
        "that is not divided.",
        0.6,
    ),
    Mistake(
        "of_all",
        _stays(_LEFT, "return 2 * (X.T @ (w * r)).abs().max()"),
        "That is the largest over all features. Asked is feature j's.",
        0.4,
    ),
)


def _project(*lines: str) -> str:
    return "def project_l1(v, k):\n" + "".join(f"    {line}\n" for line in lines)


PROJECT_MISTAKES = (
    Mistake(
        "scaled",
        _project("return v * min(1.0, k / float(v.abs().sum()))"),
        "You scaled the point down. It then lies in the ball, and no entry is 0; but it is not the nearest "
        "point. All sizes "
        "shrink by the same amount, not by the same factor.",
        0.3,
    ),
    Mistake(
        "l2_ball",
        _project("return v * min(1.0, k / float(v.norm()))"),
        "That is the nearest point of the l2 ball. Here the sum of the sizes is bounded.",
        0.2,
    ),
    Mistake(
        "not_cut",
        _project(
            "if v.abs().sum() <= k:",
            "    return v",
            "return v.sign() * (v.abs() - (v.abs().sum() - k) / len(v))",
        ),
        "You took the same amount from all, and some went through zero. Those stop at 0, and the others have to "
        "give more.",
        0.5,
    ),
    Mistake(
        "cut_once",
        _project(
            "if v.abs().sum() <= k:",
            "    return v",
            "return v.sign() * (v.abs() - (v.abs().sum() - k) / len(v)).clamp(min=0)",
        ),
        "The amount was computed as if none stopped at 0. Once some do, what stays adds up to more than k: the "
        "others have to "
        "give more.",
        0.5,
    ),
    Mistake(
        "threshold_k",
        _project("if v.abs().sum() <= k:", "    return v", "return v.sign() * (v.abs() - k).clamp(min=0)"),
        "k is the radius, not the threshold. The threshold is the one at which what stays adds up to k.",
        0.2,
    ),
    Mistake(
        "price_k",
        _project("if v.abs().sum() <= k:", "    return v", "return v.sign() * (v.abs() - k / 2).clamp(min=0)"),
        "That is the soft threshold with k as its price. k is the budget: find the price at which what stays "
        "adds up to k.",
        0.2,
    ),
    Mistake(
        "inside_moved",
        _project(
            "s = v.abs().sort(descending=True).values",
            "t = (s.cumsum(0) - k) / torch.arange(1, len(s) + 1)",
            "return v.sign() * (v.abs() - t[s > t][-1]).clamp(min=0)",
        ),
        "Right outside the ball. A point inside is its own nearest point: leave it.",
        0.6,
    ),
    Mistake(
        "sign_lost",
        _project(
            "s = v.abs().sort(descending=True).values",
            "t = (s.cumsum(0) - k) / torch.arange(1, len(s) + 1)",
            "return (v.abs() - t[s > t][-1].clamp(min=0)).clamp(min=0)",
        ),
        "The sizes are right, and the signs are lost.",
        0.6,
    ),
)


def _forty(*lines: str) -> str:
    body = "".join(f"    {line}\n" for line in lines)
    return f"rows = []\nfor b in optima:\n{body}    rows.append(beta)\nconstrained = torch.stack(rows)\n"


CONSTRAINED_MISTAKES = (
    Mistake(
        "projected",
        _forty("beta = project_l1(b, 1.0)"),
        "You projected the free optimum. That is the nearest point in plain distance; the cost of leaving it is "
        "measured by "
        "G, in which the features' correlation stands. The two agree only where G is a multiple of I.",
        0.3,
    ),
    Mistake(
        "one_step",
        _forty("beta = project_l1(b - 0.3 * 2 * G @ (project_l1(b, 1.0) - b), 1.0)"),
        "One step does not arrive. Go on until nothing changes any more.",
        0.4,
    ),
    Mistake(
        "shortened",
        _forty("beta = b / b.abs().sum()"),
        "The free optima were scaled down to the ball. On the way to it the best point moves sideways.",
        0.1,
    ),
    Mistake(
        "free",
        "constrained = optima\n",
        "Those are the free optima; all of them lie outside the ball.",
    ),
    Mistake(
        "l2",
        _forty(
            "beta = b",
            "for _ in range(300):",
            "    beta = beta - 0.3 * 2 * G @ (beta - b)",
            "    beta = beta / max(1.0, float(beta.norm()))",
        ),
        "That is the fit under |beta|_2 <= 1: round, and without corners.",
        0.2,
    ),
)
