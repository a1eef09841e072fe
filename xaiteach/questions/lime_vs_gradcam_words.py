"""Unit 06, what the numbers mean: where edges come from, what agreement shows, six scenarios, and an essay."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from xaiteach.questions.lime_vs_gradcam_asked import asked, known
from xaiteach.questions.model import Case, Mistake, Question, Rubric, Size, Variant

__all__ = ["AGREEMENT", "BESIDE", "EDGES", "SCENARIOS", "borders", "halves_covered"]

UNIT = "06_lime_vs_gradcam"
CHOICE = "def probe(answer, case):\n    return {'choice': str(answer)}\n"


def borders(heat: Any, labels: Any) -> float:
    """Share of all jumps between neighbouring pixels, by size, that lie on a border of superpixels."""
    heat, labels = np.asarray(heat, dtype=np.float64), np.asarray(labels)
    inside = total = 0.0
    for axis in (0, 1):
        jumps = np.abs(np.diff(heat, axis=axis))
        total += jumps.sum()
        inside += jumps[np.diff(labels, axis=axis) != 0].sum()
    return float(inside / total)


def _one(name: str) -> Any:
    def cases(seed: int, size: Size) -> list[Case]:
        return [Case(name, {})] if size == "public" else []

    return cases


def _edges_expected(case: Case) -> Mapping[str, Any]:
    """Each statement put as a computation on the first scene: coefficients that know nothing have the same edges."""
    each = known()[0]
    random = each["random"].numpy()
    grid = np.add.outer(np.arange(64) // 13 * 5, np.arange(64) // 13)
    drawn = np.random.default_rng(0).normal(size=25)
    true = {
        "a": borders(random, each["labels"]) < 0.99,  # did edges need a network, random ones would lie elsewhere
        "b": borders(random, each["labels"]) > 0.99 and borders(drawn[grid], grid) > 0.99,
        "c": borders(random, each["labels"]) < 0.5,
        "d": False,  # whatever the number of samples, a map that is constant within superpixels jumps on borders alone
    }
    return {"choice": "".join(letter for letter, holds in true.items() if holds)}


EDGES = Question(
    id="lime_vs_gradcam.edges",
    unit=UNIT,
    title="Where do sharp edges come from?",
    points=1,
    minutes=3,
    difficulty=2,
    importance=5,
    kind="choice",
    answer="edges",
    stub="edges = ...",
    cases=_one("the four statements"),
    probe=CHOICE,
    expected=_edges_expected,
    options={
        "a": "The network has found the object's outline; Grad-CAM, at 8 by 8, is too coarse to show it.",
        "b": "The segmentation put a border there before the network was asked; any coefficients would jump there.",
        "c": "The kernel gives near samples a large weight, and that sharpens the map.",
        "d": "There are enough samples: with fewer, the edges of the map would be blurred.",
    },
    shape_words='one of the letters, in quotes: "a", "b", "c" or "d"',
    mistakes=(
        Mistake(
            "a",
            'edges = "a"\n',
            "The network gave one number for each perturbed image, and never an outline. On the grid the same network "
            "gave maps with the grid's edges.",
        ),
        Mistake(
            "c",
            'edges = "c"\n',
            "The kernel weighs samples, not pixels. Whatever its width, the map is constant within a superpixel.",
        ),
        Mistake(
            "d",
            'edges = "d"\n',
            "Few samples make the coefficients unsure, not the edges soft: a map from 30 samples is as sharp as "
            "one from "
            "3000. That is what makes it so convincing.",
        ),
    ),
    variants=(Variant("capital", 'edges = "B "\n'),),
    hints=(
        "Which numbers of the map came from the network, and which from the picture alone?",
        "Would the edges have moved if the coefficients had been drawn at random?",
        "The map is constant within each superpixel; it can jump only where the segmentation has a border.",
    ),
)


@functools.cache
def halves_covered() -> dict[str, tuple[float, float, float]]:
    """Fill -> logit of astronaut on retina | astronaut: whole, with the retina covered, with the astronaut covered."""
    import torch

    from xaiteach import models

    each = asked()[4]
    x, half = each["x"], each["x"].shape[2] // 2
    network, found = models.load("crops_cnn"), {}
    for name, fill in (("grey", x.mean((1, 2), keepdim=True).expand_as(x)), ("black", torch.zeros_like(x))):
        images = x.repeat(3, 1, 1, 1)
        images[1, :, :, :half], images[2, :, :, half:] = fill[:, :, :half], fill[:, :, half:]
        with torch.no_grad():
            whole, no_retina, no_astronaut = network(images)[:, each["pair"].y].tolist()
        found[name] = (whole, no_retina, no_astronaut)
    return found


def _agreement_expected(case: Case) -> Mapping[str, Any]:
    """By covering either half, which asks the network and neither map."""
    lives_on_retina = all(
        no_retina < whole < no_astronaut for whole, no_retina, no_astronaut in halves_covered().values()
    )
    true = {"a": not lives_on_retina, "b": False, "c": lives_on_retina, "d": not lives_on_retina}
    return {"choice": "".join(letter for letter, holds in true.items() if holds)}


AGREEMENT = Question(
    id="lime_vs_gradcam.agreement",
    unit=UNIT,
    title="Two maps that agree",
    points=1,
    minutes=4,
    difficulty=3,
    importance=5,
    kind="choice",
    answer="agreement",
    stub="agreement = ...",
    cases=_one("retina | astronaut"),
    probe=CHOICE,
    expected=_agreement_expected,
    options={
        "a": "Two independent methods agree, so the astronaut must be where they point.",
        "b": "Two independent methods agree, so both are right about the network; no further test is needed.",
        "c": "That they agree shows neither. The mask says that the retina is no astronaut; covering the halves says "
        "that the score they explain comes from it all the same.",
        "d": "Both put little energy inside the mask, so both are wrong about the network.",
    },
    shape_words='one of the letters, in quotes: "a", "b", "c" or "d"',
    mistakes=(
        Mistake(
            "a",
            'agreement = "a"\n',
            "The picture was put together from two crops: the astronaut is on the right, and both maps point to "
            "the left.",
        ),
        Mistake(
            "b",
            'agreement = "b"\n',
            "They happen to be right about the score that they explain, but their agreement is no proof: two "
            "methods may "
            "share a fault, such as following contrast. It was the test with covered halves that showed it.",
            0.3,
        ),
        Mistake(
            "d",
            'agreement = "d"\n',
            "The mask is the truth about the picture, not about the network. Cover the retina and the logit "
            "falls, cover "
            "the astronaut and it rises: the score does come from there, and the maps say so.",
        ),
    ),
    variants=(Variant("capital", 'agreement = "C"\n'),),
    hints=(
        "There are two truths here: what is in the picture, and what the network does with it. Which does a mask know?",
        "Look at the logits: which half has to be covered to make this score fall?",
        "What was shown by the masks, what by the covered halves, and what by the agreement alone?",
    ),
)

BEST = "LLGLGL"

_WRONG = (
    (
        "api",
        "The first: an API hands out scores, and Grad-CAM needs feature maps and gradients. LIME needs nothing "
        "but scores.",
    ),
    (
        "table",
        "The second: a table has no feature maps with places, so there is nothing for Grad-CAM to lay a map over. LIME "
        "perturbs the columns.",
    ),
    (
        "video",
        "The third: 30 maps a second leave some 33 ms for each. One forward and one short backward pass fit; "
        "hundreds of "
        "forward passes do not.",
    ),
    (
        "transformer",
        "The fourth: the class is read from one token of the last block, so no gradient reaches its patch tokens, and "
        "Grad-CAM there is blank. Scores of masked images need no such layer.",
    ),
    (
        "debugging",
        "The fifth: it asks which maps of the last layer fire, for 20,000 pictures. That is what Grad-CAM "
        "weighs, at one "
        "pass each; LIME knows nothing of layers.",
    ),
    (
        "regulator",
        "The sixth: one procedure for models of different build, run from outside, can only use scores. State "
        "its fill, "
        "segmentation, number of samples and seeds, and others can repeat it.",
    ),
)


def _scenarios_expected(case: Case) -> Mapping[str, Any]:
    """The letters; each has its reason in `_WRONG`."""
    return {"letters": BEST}


def _turned(*places: int) -> str:
    letters = [("G" if letter == "L" else "L") if i in places else letter for i, letter in enumerate(BEST)]
    return f'scenarios = "{"".join(letters)}"\n'


def _two_turned() -> Iterator[Mistake]:
    """Two wrong letters, but for the two that make all six LIME's."""
    for i, j in itertools.combinations(range(6), 2):
        if _turned(i, j) != 'scenarios = "LLLLLL"\n':
            (one, first), (other, second) = _WRONG[i], _WRONG[j]
            yield Mistake(f"{one}_and_{other}", _turned(i, j), f"{first} {second}", 0.6)


SCENARIOS = Question(
    id="lime_vs_gradcam.scenarios",
    unit=UNIT,
    title="Six scenarios",
    points=2,
    minutes=6,
    difficulty=2,
    importance=4,
    kind="value",
    answer="scenarios",
    stub="scenarios = ...",
    cases=_one("the six scenarios"),
    probe=(
        "def probe(answer, case):\n"
        "    letters = [v for v in ''.join(str(v) for v in answer).upper() if v not in ' ,.;']\n"
        "    if len(letters) != 6 or set(letters) - {'L', 'G'}:\n"
        "        raise ValueError('six letters are asked for, each of them L or G')\n"
        "    return {'letters': ''.join(letters)}\n"
    ),
    expected=_scenarios_expected,
    shape_words='six letters, L or G, in one text in quotes, such as "LGLGLG"',
    mistakes=(
        *(Mistake(name, _turned(i), sentence, 0.8) for i, (name, sentence) in enumerate(_WRONG)),
        *_two_turned(),
        Mistake(
            "always_lime",
            'scenarios = "LLLLLL"\n',
            "LIME can be run in all six, but not in time for the third, and it has no answer to the fifth's question, "
            "which is about maps inside the network.",
            0.5,
        ),
        Mistake(
            "always_gradcam",
            'scenarios = "GGGGGG"\n',
            "Grad-CAM needs feature maps that have places, and the gradient that arrives there. In which of the "
            "six does "
            "one of these lack?",
            0.2,
        ),
        Mistake(
            "letters_exchanged",
            'scenarios = "GGLGLG"\n',
            "All six are the wrong way round: L stands for LIME, G for Grad-CAM.",
            0.5,
        ),
    ),
    variants=(
        Variant("small_letters", 'scenarios = "llglgl"\n'),
        Variant("list", 'scenarios = ["L", "L", "G", "L", "G", "L"]\n'),
        Variant("spaced", 'scenarios = "L, L, G, L, G, L"\n'),
    ),
    hints=(
        "For each: can you get gradients of a layer whose maps have places? How much time is there? What is asked?",
        "Where only scores can be had, or models of different build are compared, there is no layer to look into.",
        "Two of the six are Grad-CAM's: one for its speed, one because the question is about the last layer's maps.",
    ),
)

BESIDE = Question(
    id="lime_vs_gradcam.beside",
    unit=UNIT,
    title="LIME beside Grad-CAM",
    points=4,
    minutes=9,
    difficulty=3,
    importance=5,
    kind="essay",
    answer="beside",
    stub='beside = """\n...\n"""',
    shape_words="six to ten sentences between the quotes, at least 60 words",
    rubric=Rubric(
        criteria=(
            (0.75, "model access: LIME asks for scores only; Grad-CAM for a layer's maps and the gradient there"),
            (
                0.75,
                "resolution: LIME's is the segmentation's, whose edges are not the network's; Grad-CAM's the layer's",
            ),
            (0.75, "cost: N forward passes against one forward and one backward pass"),
            (0.75, "stability: LIME depends on the seed, and more samples help; Grad-CAM has no seed"),
            (
                1,
                "what each cannot say: LIME nothing beyond replacing by this fill, nor of joint effects; Grad-CAM "
                "nothing of where within a position, nor what an absent feature would do; neither whether the network "
                "is right, which takes a known truth, not agreement",
            ),
        ),
        weak="LIME is model-agnostic and has sharp maps, but it is slow. Grad-CAM is fast and gives smooth maps of the "
        "important regions. Both showed the same regions, so they can be trusted.",
        weak_notes=(
            "The sharp edges are the segmentation's, and agreement is not truth. It says nothing of seeds and of "
            "the fill, "
            "gives no number, and leaves out what neither can say."
        ),
        least_words=60,
    ),
    hints=(
        "One sentence on each method for each of the five headings, with a number that you measured where there "
        "is one.",
        "Your numbers: the correlation of two fills, the rank correlation at 40 and 200 samples, the energies.",
        "End with what each cannot say, and with what their agreement would not show either.",
    ),
)
