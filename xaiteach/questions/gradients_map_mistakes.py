"""Unit 01: classic wrong answers to the questions on maps, as code, with the sentence that helps."""

from __future__ import annotations

from xaiteach.questions.model import Mistake

__all__ = ["ENERGY_MISTAKES", "SALIENCY_MISTAKES", "SATURATED_MISTAKES"]


def _saliency(score: str, after: str = "g.abs()") -> str:
    return f"leaf = x.clone().requires_grad_()\ng = torch.autograd.grad({score}, leaf)[0][:, 0]\nsaliency = {after}\n"


_RIGHT = "model(leaf).gather(1, predicted[:, None]).sum()"

SALIENCY_MISTAKES = (
    Mistake(
        "signed",
        _saliency(_RIGHT, "g"),
        "Those are the gradients with their signs. Saliency is their size: how much a nudge matters, up or down.",
        0.6,
    ),
    Mistake(
        "probability",
        _saliency("model(leaf).softmax(1).gather(1, predicted[:, None]).sum()"),
        "That is the gradient of the probability (or of the loss -log y_c, whose size is nearly the same here). Both "
        "are nearly flat where the network is sure. Take the logit.",
        0.5,
    ),
    Mistake(
        "mean_over_signals",
        _saliency("model(leaf).gather(1, predicted[:, None]).mean()"),
        "Every number is ten times too small: you took the mean over the ten signals, so each is divided by 10.",
        0.7,
    ),
    Mistake(
        "all_classes",
        _saliency("model(leaf).sum()"),
        "You added up the logits of all ten classes. Take each signal's predicted class only.",
        0.4,
    ),
    Mistake(
        "one_class_for_all",
        _saliency("model(leaf)[:, predicted[0]].sum()"),
        "You asked every signal about the class of the first one. Each has a predicted class of its own.",
        0.4,
    ),
    Mistake(
        "times_input",
        _saliency(_RIGHT, "(g * x[:, 0]).abs()"),
        "That is the size of gradient times input. Saliency is the size of the gradient alone.",
        0.5,
    ),
    Mistake(
        "scaled",
        _saliency(_RIGHT, "g.abs() / g.abs().amax(1, keepdim=True)"),
        "You divided each map by its own maximum. That makes pictures alike in brightness, and their numbers useless: "
        "how steep the score is can no longer be compared.",
        0.6,
    ),
)

SATURATED_MISTAKES = (
    Mistake(
        "a",
        'saturated = "a"\n',
        "Without x, at x = 0, f is 0 and not 1. The gradient is 0 because f is flat around 2, not because x is unused.",
    ),
    Mistake(
        "c",
        'saturated = "c"\n',
        "2 times a gradient of 0 is 0: multiplying by the input brings nothing back. What it takes is a look at the "
        "whole way from 0 to 2 (unit 08).",
    ),
    Mistake(
        "d",
        'saturated = "d"\n',
        "A little noise around 2 stays where f is flat: every gradient in the average is 0. Only noise that reaches "
        "below 1 would see the slope.",
    ),
)

_LOOP = (
    "rows = []\n"
    "for i in range(10):\n"
    "    at, here, mask = slope(i), x[i, 0], masks[i]\n"
    "    g = at(here)\n"
    "    s = smoothgrad(at, here, noise)\n"
    "    rows.append([float(v) for v in ({0}, {1}, {2}, {3})])\n"
    "energies = torch.tensor(rows)\n"
)


def _energies(*cells: str) -> str:
    return _LOOP.format(*cells)


_GOOD = (
    "energy_share(g.abs(), mask)", "energy_share((here * g).abs(), mask)", "energy_share(s.abs(), mask)",
    "energy_share(random[i], mask)",
)  # fmt: skip

ENERGY_MISTAKES = (
    Mistake(
        "outside",
        _energies(*(cell.replace("mask)", "~mask)") for cell in _GOOD)),
        "Those are the shares outside the mask. The mask is True where the digit's template lies.",
        0.5,
    ),
    Mistake(
        "signed",
        _energies(*(cell.replace(".abs()", "") for cell in _GOOD)),
        "The maps still have their signs: what is negative takes away from the total, and a share of it means nothing "
        "(it may pass 1). Take absolute values first.",
        0.4,
    ),
    Mistake(
        "sizes_averaged",
        _energies(
            _GOOD[0],
            _GOOD[1],
            "energy_share(torch.stack([at(here + draw).abs() for draw in noise]).mean(0), mask)",
            _GOOD[3],
        ),
        "In the third column you averaged |gradient|. Average the signed gradients, as your smoothgrad does, and take "
        "the size of the average.",
        0.6,
    ),
    Mistake(
        "smoothgrad_at_zero",
        _energies(_GOOD[0], _GOOD[1], "energy_share(smoothgrad(at, 0 * here, noise).abs(), mask)", _GOOD[3]),
        "The third column was smoothed around a signal of zeros. Hand the signal itself to smoothgrad.",
        0.5,
    ),
    Mistake(
        "first_class_for_all",
        _energies(
            "energy_share(slope(0)(here).abs(), mask)",
            "energy_share((here * slope(0)(here)).abs(), mask)",
            "energy_share(smoothgrad(slope(0), here, noise).abs(), mask)",
            _GOOD[3],
        ),
        "Every row asks about the class of the first signal. slope(i) knows the class of signal i.",
        0.4,
    ),
    Mistake(
        "columns_exchanged",
        _energies(_GOOD[0], _GOOD[2], _GOOD[1], _GOOD[3]),
        "The numbers are right, but two columns are exchanged: gradient times input comes second, SmoothGrad third.",
        0.7,
    ),
    Mistake(
        "averaged",
        _energies(*_GOOD) + "energies = energies.mean(0)\n",
        "Those are the four means over the signals, and they are right. Keep a row for each signal: which ones fail is "
        "the point.",
        0.7,
    ),
    Mistake(
        "area_for_random",
        _energies(_GOOD[0], _GOOD[1], _GOOD[2], "mask.float().mean()"),
        "The fourth column is the mask's share of the length, which a random map has only on average. Score the random "
        "map itself.",
        0.6,
    ),
)
