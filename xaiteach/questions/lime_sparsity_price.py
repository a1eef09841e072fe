"""Unit 05, the price of k features: fidelity on fresh samples, the comparison of three budgets, and two predictions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from xaiteach.questions.lime_fit_printed import NO_LIBRARY
from xaiteach.questions.lime_sparsity_choose import WEIGHTED_FIT, refitted
from xaiteach.questions.lime_sparsity_price_mistakes import PRICE_MISTAKES
from xaiteach.questions.model import Case, Question, Rubric, Size, Tolerance, Variant

__all__ = ["COMPARED", "PREDICT_CORNERS", "PREDICT_PEAK", "PRICE", "curve"]

UNIT = "05_lime_sparsity"

Array = np.ndarray[Any, Any]

SETTING = (
    WEIGHTED_FIT + "from xaiteach import data, models\n"
    "model = models.load('convnet1d')\n"
    "signal = torch.tensor(data.mnist1d().x_test[4])\n"
    "with torch.no_grad():\n"
    "    predicted = int(model(signal[None, None]).argmax())\n"
    "def ask(N, seed):\n"
    "    on = torch.randint(0, 2, (N, 20), generator=torch.Generator().manual_seed(seed)).double()\n"
    "    with torch.no_grad():\n"
    "        y = model((signal * on.repeat_interleave(2, 1).float())[:, None])[:, predicted].double()\n"
    "    return on, y, torch.exp(-((1 - on).sum(1) / 10) ** 2)\n"
    "Z, y, w = ask(40, seed=1)\n"
    "fresh_Z, fresh_y, fresh_w = ask(2000, seed=2)\n"
    "z_mean, y_mean = (w @ Z) / w.sum(), (w @ y) / w.sum()\n"
    "Z, fresh_Z, y, fresh_y = Z - z_mean, fresh_Z - z_mean, y - y_mean, fresh_y - y_mean\n"
    "def fidelity(y, found, w):\n"
    "    mean = (w @ y) / w.sum()\n"
    "    return 1 - (w @ (y - found) ** 2) / (w @ (y - mean) ** 2)\n"
    "def forward_selection(X, y, w, k):\n"
    "    S = []\n"
    "    for _ in range(k):\n"
    "        rest = [j for j in range(X.shape[1]) if j not in S]\n"
    "        rss = lambda T: float(w @ (y - X[:, T] @ weighted_fit(X[:, T], y, w)) ** 2)\n"
    "        S.append(min(rest, key=lambda j: rss(S + [j])))\n"
    "    beta = torch.zeros(X.shape[1], dtype=X.dtype)\n"
    "    beta[S] = weighted_fit(X[:, S], y, w)\n"
    "    return beta\n"
)
"""What the setup cells of the exercises make, with references in place of the student's own functions."""


def _asked(N: int, seed: int) -> tuple[Array, Array, Array]:
    """Segments on or off (N, 20), scores and weights (N,)."""
    import torch

    from xaiteach import data, models

    model, signal = models.load("convnet1d"), torch.tensor(data.mnist1d().x_test[4])
    on = torch.randint(0, 2, (N, 20), generator=torch.Generator().manual_seed(seed)).double()
    with torch.no_grad():
        c = int(model(signal[None, None]).argmax())
        y = model((signal * on.repeat_interleave(2, 1).float())[:, None])[:, c].double()
    return on.numpy(), y.numpy(), np.exp(-(((1 - on.numpy()).sum(1) / 10) ** 2))


def curve() -> tuple[list[float], list[float]]:
    """Fidelity on the samples that were fitted to and on fresh ones, for 1 to 20 features.

    By another route than the exercises: intercepts as a column that is always in, sets grown in one pass, plain sums.
    """
    Z, y, w = _asked(40, 1)
    F, fresh_y, fresh_w = _asked(2000, 2)
    A, B = (np.column_stack([np.ones(len(part)), part]) for part in (Z, F))
    chosen: list[int] = [0]
    own: list[float] = []
    there: list[float] = []
    for _ in range(20):
        rest = [j for j in range(1, 21) if j not in chosen]
        chosen.append(min(rest, key=lambda j: refitted(A, y, w, [*chosen, j])[0]))
        beta = refitted(A, y, w, chosen)[1]
        for values, target, weight, found in ((A, y, w, own), (B, fresh_y, fresh_w, there)):
            mean = np.average(target, weights=weight)
            missed = np.average((target - values @ beta) ** 2, weights=weight)
            found.append(float(1 - missed / np.average((target - mean) ** 2, weights=weight)))
    return own, there


def _one(seed: int, size: Size) -> list[Case]:
    return [Case("1 to 20 features", {}, symbols={"n": 20, "N": 40})] if size == "public" else []


def _price_expected(case: Case) -> Mapping[str, Any]:
    return {"price": np.array(curve()[1])}


PREDICT_PEAK = Question(
    id="lime_sparsity.predict_peak",
    unit=UNIT,
    title="Predict: how many features explain best?",
    points=0,
    minutes=1,
    difficulty=1,
    importance=3,
    kind="prediction",
    answer="predict_peak",
    stub="predict_peak = ...",
    shape_words="a whole number from 1 to 20",
    rubric=Rubric(reveal="The next item computes it.", least=1, most=20),
    hints=(
        "Nothing can be wrong here. On the 40 samples themselves every further feature helps. On others?",
        "A feature that helps by chance on 40 samples harms on all others.",
        "Write any whole number from 1 to 20 and go on: the next item shows what it is.",
    ),
)

PRICE = Question(
    id="lime_sparsity.price",
    unit=UNIT,
    title="What does a feature buy?",
    points=3,
    minutes=8,
    difficulty=3,
    importance=5,
    kind="value",
    answer="price",
    stub="price = ...",
    cases=_one,
    probe="def probe(answer, case):\n    return {'price': answer}\n",
    expected=_price_expected,
    depends_on=("lime_sparsity.forward_selection",),
    requires=("data.mnist1d", "models.convnet1d", "04_lime_fit"),
    forbids=NO_LIBRARY,
    tolerance=Tolerance(1e-3, 1e-5, "float32 scores, which machines round in other places"),
    deadline_s=60.0,
    shape_words="(20,), the fidelity for k = 1 to 20",
    context=SETTING,
    mistakes=PRICE_MISTAKES,
    variants=(
        Variant(
            "loop",
            "price = []\n"
            "for k in range(1, 21):\n"
            "    beta = forward_selection(Z, y, w, k)\n"
            "    price.append(float(fidelity(fresh_y, fresh_Z @ beta, fresh_w)))\n",
        ),
        Variant(
            "table",
            "betas = torch.stack([forward_selection(Z, y, w, k + 1) for k in range(20)], 1)\n"
            "missed = fresh_w @ (fresh_y[:, None] - fresh_Z @ betas) ** 2\n"
            "mean = (fresh_w @ fresh_y) / fresh_w.sum()\n"
            "price = (1 - missed / (fresh_w @ (fresh_y - mean) ** 2)).numpy()\n",
        ),
    ),
    hints=(
        "For each k: fit on the 40 samples, then ask how well that fit says the scores of the 2000 fresh ones.",
        "beta = forward_selection(Z, y, w, k); what it says of the fresh samples is fresh_Z @ beta.",
        "[fidelity(fresh_y, fresh_Z @ forward_selection(Z, y, w, k), fresh_w) for k in range(1, 21)]",
    ),
)

PREDICT_CORNERS = Question(
    id="lime_sparsity.predict_corners",
    unit=UNIT,
    title="Predict: how often does l1 give a zero?",
    points=0,
    minutes=1,
    difficulty=1,
    importance=3,
    kind="prediction",
    answer="predict_corners",
    stub="predict_corners = ...",
    shape_words="a whole number from 0 to 40",
    rubric=Rubric(reveal="The next item computes it.", least=0, most=40),
    hints=(
        "Nothing can be wrong here. The ball's corners are where one coefficient is 0. Do all ellipses touch "
        "there first?",
        "Draw the diamond, and ellipses around an optimum that lies well away from both axes.",
        "Write any whole number from 0 to 40 and go on: the next item shows what it is.",
    ),
)

COMPARED = Question(
    id="lime_sparsity.compared",
    unit=UNIT,
    title="Three budgets",
    points=3,
    minutes=10,
    difficulty=3,
    importance=5,
    kind="essay",
    answer="compared",
    stub='compared = """\n...\n"""',
    shape_words="five to ten sentences between the quotes",
    rubric=Rubric(
        criteria=(
            (
                0.75,
                "what k means: a count of features under l0, a sum of sizes under l1, a length under l2, with units",
            ),
            (0.5, "l1 and l2 are convex; the l0 set is a union of subspaces, no ball, and its search is combinatorial"),
            (0.5, "uniqueness and correlated columns: l2 shares between twins, l1 and l0 pick one, or are undecided"),
            (0.5, "shrinkage: l0 does not shrink what it keeps, l1 takes the same amount, l2 more from the large"),
            (
                0.75,
                "zeros: l0 always, l1 where the price beats the slope, l2 practically never; units of the features",
            ),
        ),
        weak="l0 is best but slow, l1 is sparse because of its corners, and l2 is smooth.",
        weak_notes=(
            "Nothing on what k counts and in which units, nothing on features that move together, and corners "
            "alone do not "
            "give zeros: about half of the forty fits had none."
        ),
        least_words=50,
    ),
    hints=(
        "Go through one list for all three: what k counts, convex or not, unique or not, twins, shrinkage, "
        "zeros, cost.",
        "What becomes of each when one feature is measured in other units?",
        "Use your numbers: what greedy missed, how many of the forty fits had a zero, where the fresh fidelity "
        "was highest.",
    ),
)
