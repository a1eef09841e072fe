"""Unit 04: classic wrong answers to the questions on the printed fit, as code, with the sentence that helps."""

from __future__ import annotations

from xaiteach.questions.model import Mistake

__all__ = ["BOWL_MISTAKES", "NO_INTERCEPT_MISTAKES", "SCALAR_MISTAKES", "WEIGHTED_FIT_MISTAKES"]


def _fit(body: str) -> str:
    return f"import torch\ndef weighted_fit(X, y, w):\n    pinv = torch.linalg.pinv\n    return {body}\n"


WEIGHTED_FIT_MISTAKES = (
    Mistake(
        "weights_squared",
        _fit("pinv(w[:, None] * X) @ (w * y)"),
        "You multiplied both sides by the weights. The square squares them too, and what is minimised has w^2: "
        "multiply "
        "both sides by the root of w.",
        0.5,
    ),
    Mistake(
        "unweighted",
        _fit("pinv(X) @ y"),
        "The weights are not used: a sample far from x0 counts as much as one beside it.",
        0.2,
    ),
    Mistake(
        "rows_only",
        _fit("pinv(w.sqrt()[:, None] * X) @ y"),
        "The rows of X have their weights and the scores do not: each equation has two sides, and the root goes "
        "on both.",
        0.3,
    ),
    Mistake(
        "inverse_weights",
        _fit("pinv((1 / w).sqrt()[:, None] * X) @ ((1 / w).sqrt() * y)"),
        "You divided by the weights, as if they were variances. Here a large weight means near x0, and counts more.",
        0.3,
    ),
    Mistake(
        "intercept_dropped",
        _fit("(pinv(w.sqrt()[:, None] * torch.cat([torch.ones_like(X[:, :1]), X], 1)) @ (w.sqrt() * y))[1:]"),
        "You fitted an intercept and left it out of the answer. That is the better fit, and it comes two items "
        "on; here "
        "the form is asked as it is printed, a plane through the origin.",
        0.4,
    ),
    Mistake(
        "right_hand_side",
        _fit("X.T @ (w * y)"),
        "That is X' W y, the right-hand side of the normal equations. Solve (X' W X) beta = X' W y for beta.",
        0.2,
    ),
)


def _bowl(gradient: str, hessian: str) -> str:
    return f"import torch\ndef bowl(X, y, w, beta):\n    r = y - X @ beta\n    return {gradient}, {hessian}\n"


_G, _H = "-2 * X.T @ (w * r)", "2 * X.T @ (w[:, None] * X)"

BOWL_MISTAKES = (
    Mistake(
        "no_two",
        _bowl("-X.T @ (w * r)", "X.T @ (w[:, None] * X)"),
        "The 2 of the square is missing from both: there is no 1/2 in front of this objective. (It matters in unit 05, "
        "where lambda is compared with it.)",
        0.7,
    ),
    Mistake(
        "hessian_without_two",
        _bowl(_G, "X.T @ (w[:, None] * X)"),
        "The gradient is right; the second derivative lost its 2 on the way.",
        0.7,
    ),
    Mistake(
        "unweighted",
        _bowl("-2 * X.T @ r", "2 * X.T @ X"),
        "The weights are missing: each sample's square stands in the sum with its w.",
        0.3,
    ),
    Mistake(
        "sign_of_gradient",
        _bowl("2 * X.T @ (w * r)", _H),
        "The gradient has the wrong sign: y - X beta falls when X beta rises, and the chain rule brings that "
        "minus out.",
        0.6,
    ),
    Mistake(
        "weights_squared",
        _bowl("-2 * X.T @ (w**2 * r)", "2 * X.T @ (w[:, None] ** 2 * X)"),
        "Here the weights are squared; they stand in the sum as they are, outside the square.",
        0.4,
    ),
    Mistake(
        "at_zero",
        _bowl("-2 * X.T @ (w * y)", _H),
        "That is the gradient at beta = 0. It is asked at the beta that is handed in: the residual is y - X beta.",
        0.4,
    ),
)

NO_INTERCEPT_MISTAKES = (
    Mistake(
        "slope_alone",
        'no_intercept = "g"\n',
        "g is what an intercept would leave. Without one the line has to go through the origin, so that a has to be "
        "carried by the slope too.",
        0.2,
    ),
    Mistake(
        "noiseless",
        'no_intercept = "g + a/x0"\n',
        "That is the slope of the line from the origin to the score at x0: right where all samples sit at x0. "
        "The noise "
        "adds sigma^2 to the mean of x^2.",
        0.5,
    ),
    Mistake(
        "variance_alone",
        'no_intercept = "g + a*x0/sigma^2"\n',
        "E[x^2] is not the variance alone: x lies around x0, so that the squared mean belongs to it, sigma^2 + x0^2.",
        0.5,
    ),
    Mistake(
        "standard_deviation",
        'no_intercept = "g + a*x0/(sigma + x0^2)"\n',
        "Nearly: sigma is the standard deviation, and its square belongs below.",
        0.7,
    ),
    Mistake(
        "constant_alone",
        'no_intercept = "a*x0/(sigma^2 + x0^2)"\n',
        "That is what comes of the constant. The slope g of f itself comes on top.",
        0.5,
    ),
    Mistake(
        "no_position",
        'no_intercept = "g + a/(sigma^2 + x0^2)"\n',
        "The mean of x times a is a x0: the x0 above is missing.",
        0.6,
    ),
    Mistake(
        "height",
        'no_intercept = "a + g*x0"\n',
        "That is the score at x0. Asked is the coefficient beta of the line x beta that is fitted around it.",
        0.1,
    ),
)

SCALAR_MISTAKES = (
    Mistake(
        "features",
        'scalar_noise = "a"\n',
        "There are 20 columns, but they move together: x0 plus the same number everywhere. No fit can tell them apart.",
    ),
    Mistake(
        "one",
        'scalar_noise = "c"\n',
        "For that the noise would have to stretch x0. It adds the same number to each feature, and x0 is no "
        "multiple of "
        "(1, ..., 1).",
    ),
    Mistake(
        "draws",
        'scalar_noise = "d"\n',
        "A rank is at most the number of columns. And these rows are all made of the same two vectors.",
    ),
)
