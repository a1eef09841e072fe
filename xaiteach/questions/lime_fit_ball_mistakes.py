"""Unit 04: classic wrong answers to the questions on ridge and ball, as code, with the sentence that helps."""

from __future__ import annotations

from xaiteach.questions.model import Mistake

__all__ = ["IN_BALL_MISTAKES", "MULTIPLIER_MISTAKES", "RIDGE_FIT_MISTAKES"]


def _ridge(*lines: str) -> str:
    body = "".join(f"    {line}\n" for line in lines)
    return (
        "import torch\n"
        "def ridge_fit(Z, y, w, lam):\n"
        "    share = w / w.sum()\n"
        "    z0, y0 = share @ Z, share @ y\n"
        "    Zc, yc, I = Z - z0, y - y0, torch.eye(Z.shape[1], dtype=Z.dtype)\n"
        f"{body}"
        "    return y0 - z0 @ beta, beta\n"
    )


_RIGHT = "Zc.T @ (w * yc)"

RIDGE_FIT_MISTAKES = (
    Mistake(
        "intercept_penalised",
        _ridge(
            "A = torch.cat([torch.ones_like(Z[:, :1]), Z], 1)",
            "G = A.T @ (w[:, None] * A) + lam * torch.eye(A.shape[1], dtype=Z.dtype)",
            "both = torch.linalg.solve(G, A.T @ (w * y))",
            "return both[0], both[1:]",
        ),
        "The intercept pays the price too, so that adding 100 to every score would change the slopes. Put a 0 on its "
        "place of the diagonal, or take it out with the weighted means first.",
        0.5,
    ),
    Mistake(
        "added_to_the_samples",
        _ridge(
            "shifted = Zc + lam",
            "beta = torch.linalg.pinv(w.sqrt()[:, None] * shifted) @ (w.sqrt() * yc)",
        ),
        "You added lambda to the samples. It belongs on the diagonal of Z' W Z: what is penalised is beta, not Z.",
        0.2,
    ),
    Mistake(
        "every_entry",
        _ridge(f"beta = torch.linalg.solve(Zc.T @ (w[:, None] * Zc) + lam, {_RIGHT})"),
        "lambda was added to every entry of Z' W Z. The square of beta's length has only the diagonal: lambda I.",
        0.5,
    ),
    Mistake(
        "squared_price",
        _ridge(f"beta = torch.linalg.solve(Zc.T @ (w[:, None] * Zc) + lam**2 * I, {_RIGHT})"),
        "The price is lambda itself: it is the root of lambda that would go below Z as new rows.",
        0.6,
    ),
    Mistake(
        "half_price",
        _ridge(f"beta = torch.linalg.solve(Zc.T @ (w[:, None] * Zc) + 0.5 * lam * I, {_RIGHT})"),
        "Half of lambda: the 2 of the penalty's gradient cancels against the 2 of the squares, for neither has a 1/2 "
        "before it.",
        0.6,
    ),
    Mistake(
        "times_samples",
        _ridge(f"beta = torch.linalg.solve(Zc.T @ (w[:, None] * Zc) + lam * len(y) * I, {_RIGHT})"),
        "lambda times the number of samples: that is for an objective that is a mean. This one is a sum.",
        0.6,
    ),
    Mistake(
        "no_intercept",
        _ridge(
            "beta = torch.linalg.solve(Z.T @ (w[:, None] * Z) + lam * I, Z.T @ (w * y))",
            "return 0.0 * y0, beta",
        ),
        "The intercept is gone again: the plane goes through the origin. Subtract the weighted means first.",
        0.3,
    ),
)


def _ball(*lines: str) -> str:
    body = "".join(f"    {line}\n" for line in lines)
    return f"def in_ball(Z, y, w, k):\n    free = ridge_fit(Z, y, w, 0.0)[1]\n{body}"


IN_BALL_MISTAKES = (
    Mistake(
        "budget_as_price",
        _ball("return k, ridge_fit(Z, y, w, k)[1]"),
        "You put the budget in the place of the price. k bounds the length; lambda is what it costs, and has to "
        "be found: "
        "the one at which |beta(lambda)| = k, or 0 where the free coefficients are short enough.",
        0.2,
    ),
    Mistake(
        "scaled_down",
        _ball(
            "if free.norm() <= k:",
            "    return 0.0, free",
            "return 0.0, free * k / free.norm()",
        ),
        "You shortened the free solution to length k. The best point of the ball lies elsewhere: where the score is "
        "steep in one direction and flat in another, it gives up the flat one first.",
        0.3,
    ),
    Mistake(
        "always_on_the_edge",
        _ball(
            "low, high = -1e6, 1.0",
            "if free.norm() <= k:",
            "    return 0.0, free * k / free.norm()",
            "low = 0.0",
            "while ridge_fit(Z, y, w, high)[1].norm() > k:",
            "    high *= 2",
            "for _ in range(100):",
            "    lam = (low + high) / 2",
            "    low, high = (lam, high) if ridge_fit(Z, y, w, lam)[1].norm() > k else (low, lam)",
            "return lam, ridge_fit(Z, y, w, lam)[1]",
        ),
        "Right where the ball cuts. Where the free coefficients are shorter than k they are allowed as they are: "
        "lambda is 0 and nothing has to reach the edge.",
        0.6,
    ),
    Mistake(
        "squared_length",
        _ball(
            "if free.norm() ** 2 <= k:",
            "    return 0.0, free",
            "low, high = 0.0, 1.0",
            "while ridge_fit(Z, y, w, high)[1].norm() ** 2 > k:",
            "    high *= 2",
            "for _ in range(100):",
            "    lam = (low + high) / 2",
            "    low, high = (lam, high) if ridge_fit(Z, y, w, lam)[1].norm() ** 2 > k else (low, lam)",
            "return lam, ridge_fit(Z, y, w, lam)[1]",
        ),
        "You compared the squared length with k. Either both are squared or neither: |beta|^2 <= k^2.",
        0.5,
    ),
    Mistake(
        "multiplier_of_the_root",
        _ball(
            "if free.norm() <= k:",
            "    return 0.0, free",
            "low, high = 0.0, 1.0",
            "while ridge_fit(Z, y, w, high)[1].norm() > k:",
            "    high *= 2",
            "for _ in range(100):",
            "    lam = (low + high) / 2",
            "    low, high = (lam, high) if ridge_fit(Z, y, w, lam)[1].norm() > k else (low, lam)",
            "return 2 * k * lam, ridge_fit(Z, y, w, lam)[1]",
        ),
        "The coefficients are right, and 2 k lambda is the multiplier of |beta| - k. Here the constraint is "
        "written with "
        "squares, |beta|^2 - k^2, whose multiplier is lambda.",
        0.8,
    ),
    Mistake(
        "free",
        _ball("return 0.0, free"),
        "Those are the free coefficients; where they are longer than k, they are not allowed.",
        0.1,
    ),
)

MULTIPLIER_MISTAKES = (
    Mistake(
        "same",
        'multiplier = "lambda"\n',
        "The same solution, but not the same price: one buys squared length, the other length.",
    ),
    Mistake(
        "no_two",
        'multiplier = "k*lambda"\n',
        "Nearly: the square's derivative brings a 2.",
        0.5,
    ),
    Mistake(
        "the_other_way",
        'multiplier = "lambda/(2*k)"\n',
        "That is lambda in terms of mu, with the names exchanged.",
        0.5,
    ),
    Mistake(
        "no_length",
        'multiplier = "2*lambda"\n',
        "The derivative of |beta|^2 grows with |beta|, and that is k here.",
        0.4,
    ),
)
