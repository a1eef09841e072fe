"""One seed of LIME beside nine others and beside Grad-CAM: which superpixel comes out on top, and how sure that is.

The picture has two objects, coffee on the left and a cat on the right. A pool of samples is scored once for each fill;
a seed shuffles the pool and takes the first N.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xaiteach.lime import cosine_distance, gaussian_kernel
from xaiteach.plots import Panel, strip
from xaiteach.widgets.base import Drawing, Exploration, Preset, State
from xaiteach.widgets.fields import Field, Options, numbers

__all__ = ["COUNTS", "SEEDS", "SeedRoulette", "fits", "least", "seed_roulette", "unanimous"]

Array = np.ndarray[Any, Any]

PAIR, PIECES, POOL = 1, 24, 320
TARGETS = ("coffee", "cat")
FILLS = {"grey": "grey, the mean colour", "blur": "the picture, blurred"}
COUNTS = (25, 30, 35, 40, 50, 60, 80, 120, 160)
WIDTHS = (0.1, 0.25, 1.0)
SEEDS = tuple(range(10))


@dataclass(frozen=True, eq=False)
class Scene:
    """The picture (3, H, W), its superpixels (H, W), Grad-CAM of both classes (h, w), and which half is whose."""

    x: Any
    labels: Array
    maps: dict[str, Array]
    masks: dict[str, Array]
    classes: dict[str, int]


@functools.cache
def scene() -> Scene:
    """Cut and mapped once; Grad-CAM of a net that averages its maps is the head's row over them."""
    import torch

    from xaiteach import data, lime, models

    model: Any = models.load("crops_cnn")
    crops: Any = data.crops(split="test")
    pair = crops.pairs[PAIR]
    with torch.no_grad():
        A = model.features(pair.x)[0].double().numpy()
    V = model.classifier.weight.detach().double().numpy()
    classes = {name: crops.class_names.index(name) for name in TARGETS}
    maps = {name: np.maximum(np.tensordot(V[c], A, 1), 0) / A[0].size for name, c in classes.items()}
    masks = {name: pair.mask if c == pair.y else ~pair.mask for name, c in classes.items()}
    return Scene(pair.x[0], lime.slic(pair.x[0], PIECES).numpy(), maps, masks, classes)


@functools.cache
def pool(fill: str) -> tuple[Array, dict[str, Array]]:
    """On/off vectors (POOL, n), and the logits (POOL,) of both classes under a fill."""
    import torch

    from xaiteach import lime, models

    seen = scene()
    labels: Any = torch.from_numpy(seen.labels)
    n, generator = int(labels.max()) + 1, torch.Generator().manual_seed(0)
    on = torch.rand(POOL, n, generator=generator) < 0.5
    grey = seen.x.mean((1, 2), keepdim=True).expand_as(seen.x)
    shown = grey if fill == "grey" else lime.fill_of("blur", seen.x, labels)
    images: Any = lime.apply_masks(seen.x, shown, labels, on).contiguous(memory_format=torch.channels_last)
    model = models.load("crops_cnn")
    with torch.no_grad():
        logits = torch.cat([model(part) for part in images.split(40)]).double().numpy()
    return on.double().numpy(), {name: logits[:, c] for name, c in seen.classes.items()}


@functools.lru_cache(maxsize=256)
def fits(target: str, fill: str, n_samples: int, width: float) -> Array:
    """Coefficients of all ten seeds, (10, n): weighted planes with an intercept."""
    on, scores = pool(fill)
    found = []
    for seed in SEEDS:
        chosen = np.random.default_rng(seed).permutation(POOL)[:n_samples]
        Z = on[chosen]
        root = np.sqrt(gaussian_kernel(cosine_distance(Z, np.ones(Z.shape[1])), width))
        A = np.column_stack([np.ones(n_samples), Z])
        found.append(np.linalg.lstsq(root[:, None] * A, root * scores[target][chosen], rcond=None)[0][1:])
    return np.stack(found)


def unanimous(target: str, fill: str, n_samples: int, width: float) -> bool:
    """Whether all ten seeds name the same top superpixel."""
    return len(set(fits(target, fill, n_samples, width).argmax(1).tolist())) == 1


def least(target: str, fill: str, width: float) -> int | None:
    """Number of samples on the slider from which on all ten seeds name the same top superpixel; None for none."""
    found = None
    for N in reversed(COUNTS):
        if not unanimous(target, fill, N, width):
            break
        found = N
    return found


class SeedRoulette(Exploration):
    """LIME of one seed, Grad-CAM, the votes of ten seeds for the top superpixel, and the energies of all."""

    name = "seed_roulette"
    title = "One seed, or ten"
    task = (
        "Task: for the coffee under grey, find the least number of samples from which on all ten seeds name the same "
        "top superpixel. Predict first: and for the cat, will 160 do?"
    )

    def fields(self) -> Sequence[Field]:
        """Controls."""
        return (
            Options("n_samples", "samples, N", numbers(COUNTS), 60, kind="range"),
            Options("seed", "seed", numbers(SEEDS), 0, kind="range"),
            Options("target", "class", numbers(TARGETS), "cat"),
            Options("fill", "fill", FILLS, "grey"),
            Options("width", "kernel width", numbers(WIDTHS), 0.25),
        )

    def presets(self, state: State) -> Sequence[Preset]:
        """A seed that looks perfect with few samples, and the next draw of the same."""
        few = {"n_samples": 25, "target": "cat", "fill": "grey", "width": 0.25}
        return (
            Preset("perfect", "25 samples, a perfect map", {**few, "seed": _extreme(few, best=True)}),
            Preset("unlucky", "25 samples, another seed", {**few, "seed": _extreme(few, best=False)}),
        )

    def draw(self, state: State) -> Drawing:
        """Five panels: the picture, LIME of this seed, Grad-CAM, the votes for the top, the energies."""
        seen, target = scene(), state["target"]
        betas = fits(target, state["fill"], state["n_samples"], state["width"])
        mask, heat = seen.masks[target], betas[state["seed"]][seen.labels]
        shares = _shares(betas, target)
        cam = seen.maps[target]
        by_cam = _share(cam, mask[::8, ::8])
        tops = betas.argmax(1)
        votes = np.bincount(tops, minlength=betas.shape[1])
        low, high, mine = float(shares.min()), float(shares.max()), float(shares[state["seed"]])
        panels = [
            Panel("coffee | cat", seen.x.numpy(), mask=mask),
            Panel(f"LIME, seed {state['seed']}", heat, "logit", signed=True, mark=_middle(int(tops[state["seed"]]))),
            Panel(f"Grad-CAM for {target}", cam, "logit per position", mask=mask[::8, ::8]),
            Panel("seeds that have it on top", votes[seen.labels].astype(float), "of ten seeds", 10.0),
            Panel(
                f"energy on the {target}",
                bars={
                    "this seed": mine, "lowest of 10": low, "highest of 10": high, "Grad-CAM": by_cam, "chance": 0.5,
                },
            ),
        ]  # fmt: skip
        distinct = len(set(tops.tolist()))
        own = int(votes[tops[state["seed"]]])
        words = (
            f"Ten seeds name {distinct} different top superpixels; this seed's is named by {own}."
            if distinct > 1
            else "All ten seeds name the same top superpixel."
        )
        reading = (
            f"{state['n_samples']} of a pool of {POOL} samples, seed {state['seed']}: {mine:.0%} of LIME's positive "
            f"part lies on the {target}; over ten seeds {low:.0%} to {high:.0%}. Grad-CAM has {by_cam:.0%} there, "
            f"chance 50%. {words}"
        )
        return Drawing(strip(panels, reading), *_told(state, distinct))


def _told(state: State, distinct: int) -> tuple[str, bool]:
    target, fill, N = state["target"], state["fill"], state["n_samples"]
    if distinct > 1:
        more = "Try more samples." if COUNTS[-1] > N else "Even the most that the slider has do not settle it."
        return f"Not yet: for the {target} the top superpixel changes with the seed. {more}", False
    fewest = least(target, fill, state["width"])
    if fewest is None or fewest > N:
        return "All ten seeds name the same one, and with some more samples they do not: luck.", False
    if fewest < N:
        return "All ten seeds name the same one. Do they with fewer samples, too?", False
    if (target, fill) != ("coffee", "grey"):
        return f"{N} is the least for this class, fill and width. The task asks for the coffee under grey.", False
    return f"Solved: from {N} samples on the slider all ten seeds agree. Now ask for the cat.", True


def _share(heat: Array, mask: Array) -> float:
    total = float(heat.sum())
    return float(heat[mask].sum()) / total if total else 0.0


def _shares(betas: Array, target: str) -> Array:
    """Energy (10,) of each seed's positive part on the class's half."""
    seen = scene()
    return np.array([_share(np.maximum(beta, 0)[seen.labels], seen.masks[target]) for beta in betas])


def _extreme(state: dict[str, Any], *, best: bool) -> int:
    shares = _shares(fits(state["target"], state["fill"], state["n_samples"], state["width"]), state["target"])
    return int(shares.argmax() if best else shares.argmin())


@functools.cache
def _middle(label: int) -> tuple[int, int]:
    """Pixel of a superpixel that is nearest to its centre."""
    place = np.argwhere(scene().labels == label)
    row, column = place[((place - place.mean(0)) ** 2).sum(1).argmin()]
    return int(row), int(column)


def seed_roulette(**state: Any) -> SeedRoulette:
    """Exploration of LIME's seeds: one map beside the range of ten, and beside Grad-CAM.

    Parameters
        n_samples : 25, 30, 35, 40, 50, 60, 80, 120 or 160, of a pool of 320 that is scored once.
        seed : int from 0 to 9. Which of the pool are taken.
        target : "coffee" (left half) or "cat" (right half).
        fill : "grey" or "blur". What a superpixel that is off shows.
        width : .1, .25 or 1. Of the kernel, in cosine distance.
    Raises
        OptionError: an unknown name or value.
    Examples
        >>> [seed_roulette(target="coffee", n_samples=N).frame()["solved"] for N in (30, 35, 60)]
        [False, True, False]
    """
    return SeedRoulette(**state)
