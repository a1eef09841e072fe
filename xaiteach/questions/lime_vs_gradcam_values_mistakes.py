"""Unit 06: classic wrong answers to the measured questions, as code, with the sentence that helps."""

from __future__ import annotations

from xaiteach.questions.model import Mistake

__all__ = ["ENERGY_MISTAKES", "FILL_MISTAKES", "STABILITY_MISTAKES"]


def _fills(grey: str, blur: str, after: str = "torch.corrcoef(torch.stack([a, b]))[0, 1]") -> str:
    return (
        "fills_agree = []\n"
        "for each in asked:\n"
        "    on, labels = each['on'], each['labels']\n"
        "    w = kernel_weights(on, 0.25)\n"
        f"    a, b = {grey}, {blur}\n"
        f"    fills_agree.append(float({after}))\n"
    )


_GREY, _BLUR = "local_fit(on, each['grey'], w)[1]", "local_fit(on, each['blur'], w)[1]"

FILL_MISTAKES = (
    Mistake(
        "scores",
        _fills("each['grey']", "each['blur']"),
        "Those are the correlations of the two lists of scores. Fit first: the explanation is the coefficients.",
        0.3,
    ),
    Mistake(
        "with_intercepts",
        _fills(*(f"torch.cat([{part[:-3]}[0].reshape(1), {part}])" for part in (_GREY, _BLUR))),
        "The intercepts are among the numbers you correlated, and being large they decide everything. Take only the "
        "coefficients, the second part of what local_fit returns.",
        0.5,
    ),
    Mistake(
        "unweighted",
        _fills(_GREY.replace(", w)", ", torch.ones_like(w))"), _BLUR.replace(", w)", ", torch.ones_like(w))")),
        "All samples count the same in your fits. Near ones count more: local_fit takes the weights as its third "
        "argument.",
        0.6,
    ),
    Mistake(
        "sizes",
        _fills(f"{_GREY}.abs()", f"{_BLUR}.abs()"),
        "You correlated the sizes. A superpixel that speaks for the class under one fill and against it under "
        "the other "
        "then counts as agreement.",
        0.5,
    ),
    Mistake(
        "cosine",
        _fills(_GREY, _BLUR, "torch.nn.functional.cosine_similarity(a, b, dim=0)"),
        "That is the cosine of the two lists. A correlation subtracts the means first: what all coefficients have in "
        "common is not agreement about which of them is large.",
        0.7,
    ),
    Mistake(
        "ranks",
        _fills(f"{_GREY}.argsort().argsort().double()", f"{_BLUR}.argsort().argsort().double()"),
        "That is the correlation of the ranks. It is a fair measure, but the next item's; here take the coefficients "
        "themselves.",
        0.7,
    ),
)


def _stable(
    found: str, *, fit: str = "local_fit(on[:N], y[:N], kernel_weights(on[:N], 0.25))[1]", after: str = ""
) -> str:
    return (
        "stability = []\n"
        "for N in (40, 200):\n"
        f"    betas = [{fit} for on, y in zip(ons, ys)]\n"
        f"    found = {found}\n"
        "    stability.append(sum(found) / len(found))\n" + after
    )


_PAIRS = "[rank_correlation(a, b) for a, b in combinations(betas, 2)]"

STABILITY_MISTAKES = (
    Mistake(
        "with_itself",
        _stable("[rank_correlation(a, b) for a in betas for b in betas]"),
        "Among your hundred pairs are ten of a seed with itself, whose correlation is 1. Leave them out: 45 pairs.",
        0.6,
    ),
    Mistake(
        "first_seed_only",
        _stable("[rank_correlation(betas[0], b) for b in betas[1:]]"),
        "You compared all with the first seed. If that one happens to be odd, all nine numbers are low: take all 45 "
        "pairs.",
        0.6,
    ),
    Mistake(
        "same_top",
        _stable("[float(a.argmax() == b.argmax()) for a, b in combinations(betas, 2)]"),
        "You counted how often two seeds have the same top superpixel. Worth knowing, but asked is how alike the whole "
        "rankings are.",
        0.4,
    ),
    Mistake(
        "sizes",
        _stable("[rank_correlation(a.abs(), b.abs()) for a, b in combinations(betas, 2)]"),
        "You ranked the sizes: what speaks most strongly against the class then stands at the top. Keep the signs.",
        0.5,
    ),
    Mistake(
        "exchanged",
        _stable(_PAIRS, after="stability = stability[::-1]\n"),
        "The numbers are right, in the other order: 40 samples first, then 200.",
        0.7,
    ),
    Mistake(
        "unweighted",
        _stable(_PAIRS, fit="local_fit(on[:N], y[:N], torch.ones_like(y[:N]))[1]"),
        "The fits are unweighted. Give them kernel_weights(on[:N], 0.25).",
        0.6,
    ),
)

_LOOP = (
    "rows = []\n"
    "for each in known:\n"
    "    on, labels, mask = each['on'], each['labels'], each['mask']\n"
    "    w = kernel_weights(on, 0.25)\n"
    "    grey, blur = (local_fit(on, each[name], w)[1] for name in ('grey', 'blur'))\n"
    "    cam, blind = enlarged(heatmap(each['A'], each['gradient'])), enlarged(each['A'].sum(0))\n"
    "    random = each['random']\n"
    "    rows.append([float(v) for v in ({0}, {1}, {2}, {3}, {4})])\n"
    "energies = torch.tensor(rows)\n"
)
_GOOD = (
    "energy_share(grey[labels].clamp(min=0), mask)", "energy_share(blur[labels].clamp(min=0), mask)",
    "energy_share(cam, mask)", "energy_share(blind, mask)", "energy_share(random, mask)",
)  # fmt: skip
_NO_RELU = "energy_share(enlarged((each['gradient'].mean((1, 2))[:, None, None] * each['A']).sum(0)), mask)"


def _energies(*cells: str, after: str = "") -> str:
    return _LOOP.format(*cells) + after


ENERGY_MISTAKES = (
    Mistake(
        "outside",
        _energies(*(cell.replace("mask)", "~mask)") for cell in _GOOD)),
        "Those are the shares outside the mask. The mask is True on the object.",
        0.5,
    ),
    Mistake(
        "sizes",
        _energies(*(cell.replace(".clamp(min=0)", ".abs()") for cell in _GOOD)),
        "In LIME's columns you counted what speaks against the class as if it spoke for it. Take the positive part, as "
        "Grad-CAM's ReLU does.",
        0.6,
    ),
    Mistake(
        "signed",
        _energies(*(cell.replace(".clamp(min=0)", "") for cell in _GOOD)),
        "LIME's maps still have their negative part: it takes away from the total, and a share of that means nothing. "
        "Cut it at 0 first.",
        0.5,
    ),
    Mistake(
        "fills_exchanged",
        _energies(_GOOD[1], _GOOD[0], *_GOOD[2:]),
        "The numbers are right, but the first two columns are exchanged: grey comes first, then blur.",
        0.8,
    ),
    Mistake(
        "controls_exchanged",
        _energies(*_GOOD[:3], _GOOD[4], _GOOD[3]),
        "The numbers are right, but the last two columns are exchanged: the sum of A comes before the random map.",
        0.8,
    ),
    Mistake(
        "averaged",
        _energies(*_GOOD, after="energies = energies.mean(0)\n"),
        "Those are the five means over the scenes, and they are right. Keep a row for each scene: where one method "
        "fails and another does not is the point.",
        0.7,
    ),
    Mistake(
        "top_superpixel",
        _energies(
            "energy_share((labels == grey.argmax()).double(), mask)",
            "energy_share((labels == blur.argmax()).double(), mask)",
            *_GOOD[2:],
        ),
        "In LIME's columns only the top superpixel counts. Energy is the share of the whole positive part.",
        0.5,
    ),
    Mistake(
        "no_relu",
        _energies(*_GOOD[:2], _NO_RELU, *_GOOD[3:]),
        "The third column was made without Grad-CAM's ReLU: with negative entries a share of the total means nothing. "
        "Use your heatmap.",
        0.6,
    ),
    Mistake(
        "area_for_random",
        _energies(*_GOOD[:4], "mask.double().mean()"),
        "The last column is the mask's share of the area, which a random map has only on average. Score the random map "
        "itself.",
        0.7,
    ),
)
