"""Unit 05: classic wrong answers to the question on the price of features, as code, with the sentence that helps."""

from __future__ import annotations

from xaiteach.questions.model import Mistake

__all__ = ["PRICE_MISTAKES"]


def _price(beta: str, measured: str) -> str:
    return f"price = []\nfor k in range(1, 21):\n    beta = {beta}\n    price.append(float({measured}))\n"


_FRESH = "fidelity(fresh_y, fresh_Z @ beta, fresh_w)"

PRICE_MISTAKES = (
    Mistake(
        "on_its_own_samples",
        _price("forward_selection(Z, y, w, k)", "fidelity(y, Z @ beta, w)"),
        "That is the fidelity on the samples it was fitted to, which grows with every feature whatever the "
        "feature is worth. "
        "Measure on the fresh ones.",
        0.4,
    ),
    Mistake(
        "fitted_to_the_fresh",
        _price("forward_selection(fresh_Z, fresh_y, fresh_w, k)", _FRESH),
        "You fitted to the 2000 fresh samples, too. Then they are not fresh any more: fit on Z, y, w.",
        0.4,
    ),
    Mistake(
        "largest",
        "full = weighted_fit(Z, y, w)\nprice = []\n"
        "for k in range(1, 21):\n"
        "    S = full.abs().argsort(descending=True)[:k].tolist()\n"
        "    beta = torch.zeros(20, dtype=Z.dtype)\n"
        "    beta[S] = full[S]\n"
        f"    price.append(float({_FRESH}))\n",
        "You kept the k largest of the full fit. Choose by forward_selection, which refits.",
        0.4,
    ),
    Mistake(
        "from_zero",
        "price = []\n"
        "for k in range(20):\n"
        "    beta = forward_selection(Z, y, w, k) if k else torch.zeros(20, dtype=Z.dtype)\n"
        f"    price.append(float({_FRESH}))\n",
        "Your k runs from 0 to 19. It is asked for 1 to 20.",
        0.6,
    ),
    Mistake(
        "unweighted",
        _price("forward_selection(Z, y, w, k)", "fidelity(fresh_y, fresh_Z @ beta, torch.ones_like(fresh_w))"),
        "The fresh samples have weights too, which say what local means: fresh_w.",
        0.5,
    ),
    Mistake(
        "weights_in_the_fit_forgotten",
        _price("forward_selection(Z, y, torch.ones_like(w), k)", _FRESH),
        "The fit does not use its weights.",
        0.4,
    ),
)
