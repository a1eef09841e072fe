"""Unit 01, maps of a trained net: saliency, where a gradient goes flat, energies beside a control, and the reading."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from xaiteach.questions.gradients_map_mistakes import ENERGY_MISTAKES, SALIENCY_MISTAKES, SATURATED_MISTAKES
from xaiteach.questions.model import Case, Question, Rubric, Size, Tolerance, Variant

__all__ = ["ENERGIES", "PREDICT_INSIDE", "PREDICT_SMOOTH", "READING", "SALIENCY", "SATURATED"]

UNIT = "01_gradients"

Array = np.ndarray[Any, Any]

SETTING = """\
import torch
from xaiteach import data, models
model = models.load("convnet1d")
signals = data.mnist1d()
x = torch.tensor(signals.x_test[:10])[:, None]
labels = torch.tensor(signals.y_test[:10])
masks = torch.tensor(signals.mask_test[:10])
with torch.no_grad():
    predicted = model(x).argmax(1)
def slope(i):
    def gradient_at(point):
        leaf = point.reshape(1, 1, 40).detach().requires_grad_()
        return torch.autograd.grad(model(leaf)[0, predicted[i]], leaf)[0].reshape(40)
    return gradient_at
noise = 0.2 * torch.randn(20, 40, generator=torch.Generator().manual_seed(0))
random = torch.rand(10, 40, generator=torch.Generator().manual_seed(1))
def energy_share(heat, mask):
    return heat[mask].sum() / heat.sum()
def smoothgrad(gradient_at, x, noise):
    return torch.stack([gradient_at(x + draw) for draw in noise]).mean(0)
"""
"""What the setup cells of the exercises make, with references in place of the student's own functions."""


def _signals_case(seed: int, size: Size) -> list[Case]:
    return [Case("the ten signals", {}, symbols={"signals": 10})] if size == "public" else []


def _slopes(points: Array, classes: Array) -> Array:
    """Central differences in float64 of each point's logit, (n, 40) to (n, 40); no gradient is taken."""
    import torch

    from xaiteach import models

    model, step = models.load("convnet1d").double(), 1e-6
    moves = step * torch.eye(40, dtype=torch.float64)
    found = []
    with torch.no_grad():
        for point, c in zip(torch.tensor(points, dtype=torch.float64), classes.tolist(), strict=True):
            up, down = (model((point + sign * moves)[:, None])[:, c] for sign in (1, -1))
            found.append(((up - down) / (2 * step)).numpy())
    return np.stack(found)


def _signals() -> tuple[Array, Array, Array]:
    """The ten signals (10, 40), the classes predicted for them, and the templates' places."""
    import torch

    from xaiteach import data, models

    d = data.mnist1d()
    with torch.no_grad():
        predicted = models.load("convnet1d")(torch.tensor(d.x_test[:10])[:, None]).argmax(1)
    return d.x_test[:10].astype(np.float64), predicted.numpy(), d.mask_test[:10]


def _saliency_expected(case: Case) -> Mapping[str, Any]:
    x, predicted, _ = _signals()
    return {"saliency": np.abs(_slopes(x, predicted))}


SALIENCY = Question(
    id="gradients.saliency",
    unit=UNIT,
    title="Saliency of ten signals",
    points=2,
    minutes=7,
    difficulty=2,
    importance=4,
    kind="value",
    answer="saliency",
    stub="saliency = ...",
    cases=_signals_case,
    probe="def probe(answer, case):\n    return {'saliency': answer}\n",
    expected=_saliency_expected,
    requires=("data.mnist1d", "models.convnet1d"),
    forbids=("captum", "explain"),
    tolerance=Tolerance(1e-4, 1e-6, "float32 gradients against float64 differences, some 1e-6 apart"),
    deadline_s=60.0,
    shape_words="(10, 40), a row for each signal",
    context=SETTING,
    mistakes=SALIENCY_MISTAKES,
    variants=(
        Variant(
            "one_by_one",
            "saliency = [slope(i)(x[i]).abs().tolist() for i in range(10)]\n",
        ),
        Variant(
            "backward",
            "leaf = x.clone().requires_grad_()\n"
            "model(leaf)[range(10), predicted].sum().backward()\n"
            "saliency = leaf.grad.abs().squeeze(1).numpy()\n",
        ),
    ),
    hints=(
        "All ten at once: each logit depends on its own signal alone, so the gradient of their sum holds all ten.",
        "leaf = x.clone().requires_grad_(); the logits that count are model(leaf).gather(1, predicted[:, None]).",
        "torch.autograd.grad(model(leaf).gather(1, predicted[:, None]).sum(), leaf)[0][:, 0].abs()",
    ),
)

_STATEMENTS = {
    "a": "x does not matter to f here: without it the value would be the same.",
    "b": "A small change of x changes nothing here, and yet x is the reason why f is 1 and not 0.",
    "c": "Gradient times input would give x its due here.",
    "d": "A gradient averaged over a little noise around x = 2 would no longer be 0.",
}


def _saturated(seed: int, size: Size) -> list[Case]:
    return [Case("the four statements", {})] if size == "public" else []


def _saturated_expected(case: Case) -> Mapping[str, Any]:
    """Each statement put as a computation on f itself."""

    def f(x: float) -> float:
        return 1 - max(1 - x, 0.0)

    def slope(x: float) -> float:
        return (f(x + 1e-6) - f(x - 1e-6)) / 2e-6

    smooth = np.mean([slope(2 + 0.1 * e) for e in np.random.default_rng(0).normal(size=100)])
    true = {
        "a": f(2) == f(0),
        "b": slope(2) == 0 and f(2) == 1 and f(0) == 0,
        "c": 2 * slope(2) != 0,
        "d": smooth != 0,
    }
    return {"choice": "".join(letter for letter, holds in true.items() if holds)}


SATURATED = Question(
    id="gradients.saturated",
    unit=UNIT,
    title="A gradient of zero",
    points=1,
    minutes=4,
    difficulty=2,
    importance=5,
    kind="choice",
    answer="saturated",
    stub="saturated = ...",
    cases=_saturated,
    probe="def probe(answer, case):\n    return {'choice': str(answer)}\n",
    expected=_saturated_expected,
    options=_STATEMENTS,
    shape_words='one of the letters, in quotes: "a", "b", "c" or "d"',
    mistakes=SATURATED_MISTAKES,
    variants=(Variant("capital", 'saturated = "B "\n'),),
    hints=(
        "Draw f: it rises from 0 at x = 0 to 1 at x = 1, and stays there.",
        "What is f at 0, at 2, and at 2.01? Which of the statements compares 2 with 0, which 2 with 2.01?",
        "The gradient compares x with its neighbours; whether x matters compares it with what it could have been.",
    ),
)

PREDICT_INSIDE = Question(
    id="gradients.predict_inside",
    unit=UNIT,
    title="Predict: does the gradient lie on the digit?",
    points=0,
    minutes=1,
    difficulty=1,
    importance=3,
    kind="prediction",
    answer="predict_inside",
    stub="predict_inside = ...",
    shape_words="a whole number from 0 to 10",
    rubric=Rubric(reveal='The item "Scored on what is known" computes it.', least=0, most=10),
    hints=(
        "Nothing can be wrong here. Where would a nudge change the network's mind: on the digit, or beside it?",
        "A map that knows nothing would be above the mask's share of the length on about half of the signals.",
        "Write any whole number from 0 to 10 and go on.",
    ),
)

PREDICT_SMOOTH = Question(
    id="gradients.predict_smooth",
    unit=UNIT,
    title="Predict: does smoothing help?",
    points=0,
    minutes=1,
    difficulty=1,
    importance=3,
    kind="prediction",
    answer="predict_smooth",
    stub="predict_smooth = ...",
    shape_words="a whole number from 0 to 10",
    rubric=Rubric(reveal="The next item computes it.", least=0, most=10),
    hints=(
        "Nothing can be wrong here. What does averaging over noise take away, and from where?",
        "Its pictures look cleaner. Whether more of the map then lies on the digit is another question.",
        "Write any whole number from 0 to 10 and go on: the next item shows what it is.",
    ),
)


def _energies_expected(case: Case) -> Mapping[str, Any]:
    """Differences in float64 for every gradient, and sums position by position."""
    import torch

    x, predicted, masks = _signals()
    noise = (0.2 * torch.randn(20, 40, generator=torch.Generator().manual_seed(0))).numpy().astype(np.float64)
    random = torch.rand(10, 40, generator=torch.Generator().manual_seed(1)).numpy().astype(np.float64)
    plain = _slopes(x, predicted)
    cloud = (x[:, None] + noise).reshape(-1, 40)
    smooth = _slopes(cloud, predicted.repeat(len(noise))).reshape(10, len(noise), 40).mean(1)
    table = []
    for i in range(10):
        maps = (np.abs(plain[i]), np.abs(x[i] * plain[i]), np.abs(smooth[i]), random[i])
        table.append([sum(m[masks[i]].tolist()) / sum(m.tolist()) for m in maps])
    return {"energies": np.array(table)}


ENERGIES = Question(
    id="gradients.energies",
    unit=UNIT,
    title="Scored on what is known",
    points=3,
    minutes=9,
    difficulty=3,
    importance=5,
    kind="value",
    answer="energies",
    stub="energies = ...",
    cases=_signals_case,
    probe="def probe(answer, case):\n    return {'energies': answer}\n",
    expected=_energies_expected,
    depends_on=("gradients.smoothgrad",),
    requires=("data.mnist1d", "models.convnet1d", "00_start_here"),
    forbids=("captum", "explain"),
    tolerance=Tolerance(1e-3, 1e-6, "float32 gradients and sums against float64 differences"),
    deadline_s=60.0,
    shape_words="(10, 4), a row for each signal: |gradient|, |x gradient|, |SmoothGrad|, random",
    context=SETTING,
    mistakes=ENERGY_MISTAKES,
    variants=(
        Variant(
            "list",
            "energies = []\n"
            "for i in range(10):\n"
            "    g, s = slope(i)(x[i, 0]), smoothgrad(slope(i), x[i, 0], noise)\n"
            "    four = (g.abs(), (x[i, 0] * g).abs(), s.abs(), random[i])\n"
            "    energies.append([float(energy_share(heat, masks[i])) for heat in four])\n",
        ),
        Variant(
            "columns",
            "import numpy as np\n"
            "def column(maps):\n"
            "    maps = np.abs(np.asarray(maps))\n"
            "    return (maps * masks.numpy()).sum(1) / maps.sum(1)\n"
            "g = torch.stack([slope(i)(x[i, 0]) for i in range(10)])\n"
            "s = torch.stack([smoothgrad(slope(i), x[i, 0], noise) for i in range(10)])\n"
            "energies = np.stack([column(g), column(g * x[:, 0]), column(s), column(random)], 1)\n",
        ),
    ),
    hints=(
        "One row for each signal i: four maps of 40 numbers, none negative, each through energy_share(map, masks[i]).",
        "slope(i) is a function: slope(i)(x[i, 0]) is the gradient there, and smoothgrad takes slope(i) itself.",
        "for i in range(10): g = slope(i)(x[i, 0]); the maps are g.abs(), (x[i, 0] * g).abs(), "
        "smoothgrad(slope(i), x[i, 0], noise).abs() and random[i].",
    ),
)

READING = Question(
    id="gradients.reading",
    unit=UNIT,
    title="What does a gradient say, and what does it not say?",
    points=3,
    minutes=7,
    difficulty=3,
    importance=5,
    kind="essay",
    answer="reading",
    stub='reading = """\n...\n"""',
    shape_words="three to six sentences between the quotes",
    rubric=Rubric(
        criteria=(
            (0.75, "a gradient says what a small change of the input would do to the score, near this input"),
            (0.75, "zero does not mean unused: where the score is saturated the input may be all that holds it up"),
            (
                0.75,
                "large does not mean that the input contributes: it may be 0; a product with it is another question",
            ),
            (0.75, "which score: the logit, the probability or the loss have different gradients, with other signs"),
        ),
        weak="The gradient shows which inputs are important for the network. Large values are important and small ones "
        "are not important for the decision.",
        weak_notes=(
            "It says important three times and never what for. What would happen to which score if the input moved? "
            "And f(x) = 1 - ReLU(1 - x) at x = 2 stands against its last sentence."
        ),
        least_words=35,
    ),
    hints=(
        "Begin with what is computed: which number changes by how much, when what is moved?",
        "One sentence for a gradient of zero, one for a large one: what may be wrongly read into each?",
        "A nudge; the flat place; steepness against share; and of which score.",
    ),
)
