"""Unit 05: classic wrong answers to the questions on choosing features, as code, with the sentence that helps."""

from __future__ import annotations

from xaiteach.questions.model import Mistake

__all__ = ["BEST_SUBSET_MISTAKES", "FORWARD_MISTAKES", "MISSED_MISTAKES", "OMP_MISTAKES"]


def _code(name: str, *lines: str) -> str:
    """A function with what all need: `fit`, coefficients of a set in n zeros, and `rss` of a set after a refit."""
    body = "".join(f"    {line}\n" for line in lines)
    return (
        f"def {name}(X, y, w, k):\n"
        "    n = X.shape[1]\n"
        "    def fit(S, w=w):\n"
        "        beta = torch.zeros(n, dtype=X.dtype)\n"
        "        beta[list(S)] = weighted_fit(X[:, list(S)], y, w)\n"
        "        return beta\n"
        "    def rss(S, w=w):\n"
        "        return float(w @ (y - X @ fit(S, w)) ** 2)\n"
        f"{body}"
    )


_FORWARD = (
    "S = []",
    "for _ in range(k):",
    "    S.append(min((j for j in range(n) if j not in S), key=lambda j: rss(S + [j])))",
    "return fit(S)",
)

BEST_SUBSET_MISTAKES = (
    Mistake(
        "largest_kept",
        _code(
            "best_subset",
            "full = fit(range(n))",
            "S = full.abs().argsort(descending=True)[:k]",
            "beta = torch.zeros(n, dtype=X.dtype)",
            "beta[S] = full[S]",
            "return beta",
        ),
        "You kept the k largest coefficients of the full fit. Two features that move together can both be large "
        "and cancel: "
        "without its twin each is wrong. The best set refits every choice.",
        0.2,
    ),
    Mistake(
        "largest_refitted",
        _code("best_subset", "return fit(fit(range(n)).abs().argsort(descending=True)[:k].tolist())"),
        "You refitted the features with the largest coefficients. Their size depends on the units of the "
        "features and on "
        "their twins; the best set is found by trying all.",
        0.4,
    ),
    Mistake(
        "not_refitted",
        _code(
            "best_subset",
            "full = fit(range(n))",
            "left = lambda S: float(w @ (y - X[:, list(S)] @ full[list(S)]) ** 2)",
            "S = list(min(combinations(range(n), k), key=left))",
            "beta = torch.zeros(n, dtype=X.dtype)",
            "beta[S] = full[S]",
            "return beta",
        ),
        "All sets are tried, but with the coefficients of the full fit. Each set has to be fitted on its own: "
        "what the others "
        "carried goes to those that stay.",
        0.4,
    ),
    Mistake(
        "greedy",
        _code("best_subset", *_FORWARD),
        "You took the features one by one. That is the next item; here every set of k is tried, and the two can "
        "differ.",
        0.4,
    ),
    Mistake(
        "unweighted",
        _code(
            "best_subset",
            "one = torch.ones_like(w)",
            "return fit(min(combinations(range(n), k), key=lambda S: rss(S, one)), one)",
        ),
        "The weights are not used: neither in the fit nor in what is left.",
        0.3,
    ),
    Mistake(
        "worst",
        _code("best_subset", "return fit(max(combinations(range(n), k), key=rss))"),
        "You kept the set that leaves the most. The best leaves the least.",
        0.3,
    ),
)

FORWARD_MISTAKES = (
    Mistake(
        "omp",
        _code(
            "forward_selection",
            "S, r = [], y",
            "for _ in range(k):",
            "    score = (X.T @ (w * r)).abs() / (w @ X**2).sqrt()",
            "    score[S] = -1",
            "    S.append(int(score.argmax()))",
            "    r = y - X @ fit(S)",
            "return fit(S)",
        ),
        "That is orthogonal matching pursuit: it takes the feature that points most along what is left. Forward "
        "selection "
        "looks further, at what is left after a refit. The two part from the second feature on.",
        0.5,
    ),
    Mistake(
        "alone",
        _code(
            "forward_selection",
            "return fit(sorted(range(n), key=lambda j: rss([j]))[:k])",
        ),
        "You took the k features that are best alone. The second is to be judged beside the first: a twin of the first "
        "adds nothing.",
        0.4,
    ),
    Mistake(
        "not_refitted",
        _code(
            "forward_selection",
            "beta, r, S = torch.zeros(n, dtype=X.dtype), y, []",
            "for _ in range(k):",
            "    step = (X.T @ (w * r)) / (w @ X**2)",
            "    gain = step**2 * (w @ X**2)",
            "    gain[S] = -1",
            "    j = int(gain.argmax())",
            "    S.append(j)",
            "    beta[j] = step[j]",
            "    r = r - step[j] * X[:, j]",
            "return beta",
        ),
        "Each new feature was fitted to what the earlier ones had left, and those stayed as they were. When a "
        "feature comes "
        "in, all that are in have to be refitted.",
        0.4,
    ),
    Mistake(
        "enumeration",
        _code("forward_selection", "return fit(min(combinations(range(n), k), key=rss))"),
        "That is the best set of all, by enumeration. Forward selection adds one feature at a time and never "
        "takes one back: "
        "it is cheaper and can miss.",
        0.5,
    ),
    Mistake(
        "unweighted",
        _code(
            "forward_selection",
            "one, S = torch.ones_like(w), []",
            "for _ in range(k):",
            "    S.append(min((j for j in range(n) if j not in S), key=lambda j: rss(S + [j], one)))",
            "return fit(S, one)",
        ),
        "The weights are not used.",
        0.3,
    ),
)

MISSED_MISTAKES = (
    Mistake(
        "nothing",
        'missed = "0"\n',
        "That is what the best two leave: x1 and x2 give y exactly. Greedy has taken x3 first, and never gives "
        "it back.",
        0.1,
    ),
    Mistake(
        "one_feature",
        'missed = "2 - 4/(2 + d^2)"\n',
        "That is what is left after x3 alone. A second feature comes in.",
        0.4,
    ),
    Mistake(
        "square",
        'missed = "d^2"\n',
        "It cannot exceed 1: already x1 alone would leave 1. What of x2 lies along what x3 has beside x1?",
        0.3,
    ),
    Mistake(
        "found",
        'missed = "1/(1 + d^2)"\n',
        "That is the part of x2 that is found. Asked is what is missed.",
        0.6,
    ),
    Mistake(
        "no_refit",
        'missed = "(4*d^2 + d^4)/(2 + d^2)^2"\n',
        "That is what matching pursuit leaves, which keeps the coefficient of x3 as it was. Forward selection refits "
        "both: x3's coefficient moves when x1 comes in.",
        0.5,
    ),
    Mistake(
        "of_the_whole",
        'missed = "d^2/(2 + d^2)"\n',
        "2 + d^2 is the squared length of x1 + x2 + d e. Once x1 is in, only what x3 has beside x1 counts: x2 + d e.",
        0.5,
    ),
)

OMP_MISTAKES = (
    Mistake(
        "raw_correlation",
        _code(
            "omp",
            "S, r = [], y",
            "for _ in range(k):",
            "    score = (X.T @ (w * r)).abs()",
            "    score[S] = -1",
            "    S.append(int(score.argmax()))",
            "    r = y - X @ fit(S)",
            "return fit(S)",
        ),
        "Long features win here by their length alone: measure one in other units, and the choice changes. "
        "Divide by the "
        "weighted length of each.",
        0.5,
    ),
    Mistake(
        "forward",
        _code("omp", *_FORWARD),
        "That is forward selection, which refits every candidate. OMP only looks at which feature points most "
        "along what is "
        "left.",
        0.5,
    ),
    Mistake(
        "not_refitted",
        _code(
            "omp",
            "beta, r, S = torch.zeros(n, dtype=X.dtype), y, []",
            "for _ in range(k):",
            "    score = (X.T @ (w * r)).abs() / (w @ X**2).sqrt()",
            "    score[S] = -1",
            "    j = int(score.argmax())",
            "    S.append(j)",
            "    beta[j] = (X[:, j] @ (w * r)) / (w @ X[:, j] ** 2)",
            "    r = r - beta[j] * X[:, j]",
            "return beta",
        ),
        "That is matching pursuit. The orthogonal one refits all features that are in after each choice, so that "
        "what is left "
        "is at right angles to all of them.",
        0.5,
    ),
    Mistake(
        "alone",
        _code(
            "omp",
            "score = (X.T @ (w * y)).abs() / (w @ X**2).sqrt()",
            "return fit(score.argsort(descending=True)[:k].tolist())",
        ),
        "You compared all features with y itself. From the second choice on it is what is left that counts.",
        0.4,
    ),
)
