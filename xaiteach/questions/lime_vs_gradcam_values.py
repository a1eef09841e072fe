"""Unit 06, LIME measured: two fills, ten seeds, and energies on scenes whose truth is known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from xaiteach.questions.lime_vs_gradcam_asked import asked, fitted, known, seeds
from xaiteach.questions.lime_vs_gradcam_pieces import BY_HAND, FIT, KERNEL
from xaiteach.questions.lime_vs_gradcam_values_mistakes import ENERGY_MISTAKES, FILL_MISTAKES, STABILITY_MISTAKES
from xaiteach.questions.model import Case, Question, Rubric, Size, Tolerance, Variant

__all__ = ["ENERGIES", "FILLS", "PREDICT_BETTER", "PREDICT_SIGNS", "STABILITY"]

UNIT = "06_lime_vs_gradcam"
MEASURED = Tolerance(1e-3, 1e-6, "float32 scores, which machines round in other places")

PREDICT_SIGNS = Question(
    id="lime_vs_gradcam.predict_signs",
    unit=UNIT,
    title="Predict: does the fill matter?",
    points=0,
    minutes=1,
    difficulty=1,
    importance=3,
    kind="prediction",
    answer="predict_signs",
    stub="predict_signs = ...",
    shape_words="a whole number from 0 to 19",
    rubric=Rubric(reveal="The next item computes it.", least=0, most=19),
    hints=(
        "Nothing can be wrong here. What is left of a fur's texture under grey, and what under a blur?",
        "If the fill did not matter, no sign would change; if it were all that matters, half of them would.",
        "Write any whole number from 0 to 19 and go on: the next item shows what it is.",
    ),
)


def _fills_case(seed: int, size: Size) -> list[Case]:
    return [Case("six pictures", {}, symbols={"pictures": 6})] if size == "public" else []


def _fills_expected(case: Case) -> Mapping[str, Any]:
    """Normal equations about weighted means, and the correlation from its definition."""
    found = []
    for each in asked():
        a, b = (v - v.mean() for v in (fitted(each["on"], each[name]) for name in ("grey", "blur")))
        found.append(float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum())))
    return {"correlations": np.array(found)}


PICTURES = KERNEL + FIT + "from xaiteach.questions.lime_vs_gradcam_asked import asked\nasked = asked()\n"

FILLS = Question(
    id="lime_vs_gradcam.fills",
    unit=UNIT,
    title="Two fills, two explanations",
    points=2,
    minutes=6,
    difficulty=2,
    importance=5,
    kind="value",
    answer="fills_agree",
    stub="fills_agree = ...",
    cases=_fills_case,
    probe="def probe(answer, case):\n    return {'correlations': answer}\n",
    expected=_fills_expected,
    depends_on=("lime_vs_gradcam.kernel_weights",),
    requires=("data.crops", "models.crops_cnn", "04_lime_fit"),
    forbids=BY_HAND,
    tolerance=MEASURED,
    deadline_s=90.0,
    shape_words="(6,), one correlation for each picture",
    context=PICTURES,
    mistakes=FILL_MISTAKES,
    variants=(
        Variant(
            "corrcoef",
            "fills_agree = []\n"
            "for each in asked:\n"
            "    w = kernel_weights(each['on'], 0.25)\n"
            "    both = torch.stack([local_fit(each['on'], each[name], w)[1] for name in ('grey', 'blur')])\n"
            "    fills_agree.append(float(torch.corrcoef(both)[0, 1]))\n",
        ),
        Variant(
            "numpy",
            "import numpy as np\n"
            "def coefficients(each, name):\n"
            "    return local_fit(each['on'], each[name], kernel_weights(each['on'], 0.25))[1].numpy()\n"
            "fills_agree = np.array([np.corrcoef(coefficients(e, 'grey'), coefficients(e, 'blur'))[0, 1] for e "
            "in asked])\n",
        ),
    ),
    hints=(
        "For each picture two fits, with the same on/off vectors and weights and other scores; then one correlation.",
        "local_fit(each['on'], each['grey'], kernel_weights(each['on'], 0.25))[1] are the coefficients under grey.",
        "torch.corrcoef(torch.stack([grey, blur]))[0, 1] for each picture in asked, put into a list.",
    ),
)


def _seeds_case(seed: int, size: Size) -> list[Case]:
    return [Case("coffee | cat, ten seeds", {}, symbols={"N": 200})] if size == "public" else []


def _stability_expected(case: Case) -> Mapping[str, Any]:
    """All 45 pairs one by one, with scipy's rank correlation."""
    from scipy.stats import spearmanr

    ons, ys = seeds()
    found = []
    for N in (40, 200):
        betas = [fitted(on[:N], y[:N]) for on, y in zip(ons, ys, strict=True)]
        alike = [float(spearmanr(betas[s], betas[t]).statistic) for s in range(10) for t in range(s)]
        found.append(sum(alike) / len(alike))
    return {"stability": np.array(found)}


DRAWS = (
    KERNEL + FIT + "from itertools import combinations\n"
    "from xaiteach.questions.lime_vs_gradcam_asked import seeds\n"
    "ons, ys = seeds()\n"
    "def rank_correlation(a, b):\n"
    "    ranks = torch.stack([torch.as_tensor(v).argsort().argsort().double() for v in (a, b)])\n"
    "    return float(torch.corrcoef(ranks)[0, 1])\n"
)

STABILITY = Question(
    id="lime_vs_gradcam.stability",
    unit=UNIT,
    title="Ten seeds",
    points=3,
    minutes=8,
    difficulty=3,
    importance=5,
    kind="value",
    answer="stability",
    stub="stability = ...",
    cases=_seeds_case,
    probe="def probe(answer, case):\n    return {'stability': answer}\n",
    expected=_stability_expected,
    depends_on=("lime_vs_gradcam.kernel_weights",),
    requires=("data.crops", "models.crops_cnn", "04_lime_fit"),
    forbids=BY_HAND,
    tolerance=Tolerance(2e-3, 1e-6, "float32 scores may turn two ranks that are almost equal"),
    deadline_s=90.0,
    shape_words="(2,), the mean rank correlation with 40 samples and with 200",
    context=DRAWS,
    mistakes=STABILITY_MISTAKES,
    variants=(
        Variant(
            "combinations",
            "stability = []\n"
            "for N in (40, 200):\n"
            "    betas = [local_fit(on[:N], y[:N], kernel_weights(on[:N], 0.25))[1] for on, y in zip(ons, ys)]\n"
            "    found = [rank_correlation(a, b) for a, b in combinations(betas, 2)]\n"
            "    stability.append(sum(found) / len(found))\n",
        ),
        Variant(
            "matrix",
            "import numpy as np\n"
            "def mean_of(N):\n"
            "    betas = np.stack([local_fit(o[:N], y[:N], kernel_weights(o[:N], 0.25))[1].numpy() "
            "for o, y in zip(ons, ys)])\n"
            "    table = np.corrcoef(betas.argsort(1).argsort(1))\n"
            "    return (table.sum() - 10) / 90\n"
            "stability = np.array([mean_of(40), mean_of(200)])\n",
        ),
    ),
    hints=(
        "For one N: ten fits, one for each seed. Then compare each with each other one, 45 pairs, and take the mean.",
        "With ons[s][:N] and ys[s][:N]: local_fit(ons[s][:N], ys[s][:N], kernel_weights(ons[s][:N], 0.25))[1].",
        "betas = [...ten of them]; found = [rank_correlation(a, b) for a, b in combinations(betas, 2)]; "
        "sum(found) / len(found)",
    ),
)

PREDICT_BETTER = Question(
    id="lime_vs_gradcam.predict_better",
    unit=UNIT,
    title="Predict: which lies on the object?",
    points=0,
    minutes=1,
    difficulty=1,
    importance=3,
    kind="prediction",
    answer="predict_better",
    stub="predict_better = ...",
    shape_words="a whole number from 0 to 8",
    rubric=Rubric(reveal="The next item computes it.", least=0, most=8),
    hints=(
        "Nothing can be wrong here. The objects cover some 5 to 15 % of a scene; which map can be so small?",
        "Grad-CAM has 8 by 8 positions here, and is then smoothed; LIME has about 27 superpixels.",
        "Write any whole number from 0 to 8 and go on: the next item shows what it is.",
    ),
)


def _known_case(seed: int, size: Size) -> list[Case]:
    return [Case("eight scenes", {}, symbols={"scenes": 8})] if size == "public" else []


def _doubled(heat: Any) -> np.ndarray[Any, Any]:
    """An 8 by 8 map at 64 by 64, linear between the centres of its positions; written as two products."""
    place = (np.arange(64) + 0.5) / 8 - 0.5
    low = np.clip(np.floor(place), 0, 7).astype(int)
    high, part = np.minimum(low + 1, 7), np.clip(place, 0, 7) - np.clip(np.floor(place), 0, 7)
    weights = np.zeros((64, 8))
    weights[np.arange(64), low] += 1 - part
    weights[np.arange(64), high] += part
    found: np.ndarray[Any, Any] = weights @ np.asarray(heat, dtype=np.float64) @ weights.T
    return found


def _energy_expected(case: Case) -> Mapping[str, Any]:
    """Superpixel by superpixel for LIME, and Grad-CAM from loops over its maps."""
    table = []
    for each in known():
        labels, mask = each["labels"].numpy(), each["mask"].numpy()
        sizes = np.bincount(labels.ravel())
        inside = np.bincount(labels[mask], minlength=len(sizes))
        row = []
        for name in ("grey", "blur"):
            beta = np.maximum(fitted(each["on"], each[name]), 0)
            row.append(float(beta @ inside / (beta @ sizes)))
        A, slope = each["A"].numpy().astype(np.float64), each["gradient"].numpy()
        signed = sum(slope[k].mean(dtype=np.float64) * A[k] for k in range(len(A)))
        for heat in (_doubled(np.maximum(signed, 0)), _doubled(A.sum(0)), each["random"].numpy()):
            row.append(float(heat[mask].sum() / heat.sum()))
        table.append(row)
    return {"energies": np.array(table)}


SCENES = (
    KERNEL + FIT + "from xaiteach.questions.lime_vs_gradcam_asked import known\n"
    "known = known()\n"
    "def energy_share(heat, mask):\n"
    "    return heat[mask].sum() / heat.sum()\n"
    "def heatmap(A, gradient):\n"
    "    return (gradient.mean((1, 2))[:, None, None] * A).sum(0).relu()\n"
    "def enlarged(heat):\n"
    "    return torch.nn.functional.interpolate(heat[None, None], size=(64, 64), mode='bilinear')[0, 0]\n"
)

ENERGIES = Question(
    id="lime_vs_gradcam.energies",
    unit=UNIT,
    title="Scored on what is known",
    points=3,
    minutes=9,
    difficulty=3,
    importance=5,
    kind="value",
    answer="energies",
    stub="energies = ...",
    cases=_known_case,
    probe="def probe(answer, case):\n    return {'energies': answer}\n",
    expected=_energy_expected,
    depends_on=("lime_vs_gradcam.kernel_weights",),
    requires=("data.scenes", "models.vgg64_narrow", "00_start_here", "02_gradcam", "04_lime_fit"),
    forbids=BY_HAND,
    tolerance=Tolerance(2e-4, 1e-6, "float32 scores and maps: some 1e-5 apart; the two fills differ by some 1e-2"),
    deadline_s=90.0,
    shape_words="(8, 5), a row for each scene: LIME grey, LIME blur, Grad-CAM, sum of A, random",
    context=SCENES,
    mistakes=ENERGY_MISTAKES,
    variants=(
        Variant(
            "list",
            "energies = []\n"
            "for each in known:\n"
            "    on, labels, w = each['on'], each['labels'], kernel_weights(each['on'], 0.25)\n"
            "    maps = [local_fit(on, each[name], w)[1][labels].clamp(min=0) for name in ('grey', 'blur')]\n"
            "    maps += [enlarged(heatmap(each['A'], each['gradient'])), enlarged(each['A'].sum(0)), each['random']]\n"
            "    energies.append([float(energy_share(heat, each['mask'])) for heat in maps])\n",
        ),
        Variant(
            "columns",
            "import numpy as np\n"
            "def lime(each, name):\n"
            "    return local_fit(each['on'], each[name], kernel_weights(each['on'], 0.25))[1][each['labels']].relu()\n"
            "makers = [lambda e: lime(e, 'grey'), lambda e: lime(e, 'blur'),\n"
            "          lambda e: enlarged(heatmap(e['A'], e['gradient'])), lambda e: enlarged(e['A'].sum(0)),\n"
            "          lambda e: e['random']]\n"
            "energies = np.array([[float(energy_share(m(e), e['mask'])) for e in known] for m in makers]).T\n",
        ),
    ),
    hints=(
        "One row for each scene: five maps of 64 by 64, none negative, each through energy_share(map, mask).",
        "LIME's map is local_fit(on, y, w)[1][labels].clamp(min=0); Grad-CAM's is enlarged(heatmap(A, gradient)).",
        "for each in known: maps = [grey, blur, enlarged(heatmap(each['A'], each['gradient'])), "
        "enlarged(each['A'].sum(0)), each['random']]; [float(energy_share(m, each['mask'])) for m in maps]",
    ),
)
