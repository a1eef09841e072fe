"""Unit 06: the pictures, samples and scores that the exercises' setup cells make, for truths, mistakes and tests.

By the package's own LIME functions, where the notebook writes them out; made once per process.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

__all__ = ["PAIRS", "SCENES", "WIDTH", "asked", "fitted", "known", "seeds"]

Array = np.ndarray[Any, Any]

PAIRS = (1, 2, 4, 7, 12, 13)
"""Pictures of two crops: coffee | cat comes first, retina | astronaut is the fifth."""
SCENES = 8
WIDTH = 0.25


def _scores(network: Any, x: Any, fill: Any, labels: Any, on: Any, c: int) -> Any:
    """Scores (N,) of class c, float64."""
    import torch

    from xaiteach.lime import apply_masks

    with torch.no_grad():
        parts = [network(apply_masks(x, fill, labels, part > 0))[:, c] for part in on.split(50)]
    return torch.cat(parts).double()


def _pieces(x: Any, n: int) -> tuple[Any, Any, Any]:
    """Superpixels, grey and blurred fill of a picture."""
    import torch
    from skimage.filters import gaussian

    from xaiteach.lime import slic

    blur = torch.from_numpy(gaussian(x.numpy(), sigma=8.0, channel_axis=0))
    return slic(x, n), x.mean((1, 2), keepdim=True).expand_as(x), blur


def _drawn(N: int, n: int, seed: int) -> Any:
    import torch

    return (torch.rand(N, n, generator=torch.Generator().manual_seed(seed)) < 0.5).double()


@functools.cache
def asked() -> list[dict[str, Any]]:
    """Of each picture of two crops: labels, on/off vectors, and the scores of both fills."""
    from xaiteach import data, models

    network, pairs = models.load("crops_cnn"), data.crops(split="test").pairs
    found = []
    for i in PAIRS:
        x = pairs[i].x[0]
        labels, grey, blur = _pieces(x, 24)
        on = _drawn(200, int(labels.max()) + 1, 0)
        y = {name: _scores(network, x, fill, labels, on, pairs[i].y) for name, fill in (("grey", grey), ("blur", blur))}
        found.append({"pair": pairs[i], "x": x, "labels": labels, "on": on, **y})
    return found


@functools.cache
def seeds() -> tuple[Any, Any]:
    """Ten draws of 200 on/off vectors on the first picture, (10, 200, n), and their scores under grey, (10, 200)."""
    import torch

    from xaiteach import data, models

    network, pair = models.load("crops_cnn"), data.crops(split="test").pairs[PAIRS[0]]
    labels, grey, _ = _pieces(pair.x[0], 24)
    ons = torch.stack([_drawn(200, int(labels.max()) + 1, seed) for seed in range(10)])
    return ons, torch.stack([_scores(network, pair.x[0], grey, labels, on, pair.y) for on in ons])


@functools.cache
def known() -> list[dict[str, Any]]:
    """Of each scene: labels, on/off vectors, scores of both fills, maps and gradient of Grad-CAM, mask, random map."""
    import torch

    from xaiteach import data, models

    network, scenes = models.load("vgg64_narrow"), data.scenes("test", n=100)
    body, head = _cut(network)
    found = []
    for i in range(SCENES):
        x, c = torch.tensor(scenes.x[i]), int(scenes.object[i])
        labels, grey, blur = _pieces(x, 32)
        n = int(labels.max()) + 1
        on = _drawn(200, n, i)
        A = body(x[None]).detach().requires_grad_()
        (gradient,) = torch.autograd.grad(head(A)[0, c], A)
        y = {name: _scores(network, x, fill, labels, on, c) for name, fill in (("grey", grey), ("blur", blur))}
        random = torch.rand(n, generator=torch.Generator().manual_seed(100 + i), dtype=torch.float64)[labels]
        truth = {"mask": torch.tensor(scenes.mask[i]), "A": A.detach()[0], "gradient": gradient[0]}
        found.append({"x": x, "c": c, "labels": labels, "on": on, **y, **truth, "random": random})
    return found


def _cut(network: Any) -> tuple[Any, Any]:
    """The network up to its last convolution's ReLU, and the rest."""
    import torch

    parts = dict(network.named_children())
    place = list(parts).index("relu10") + 1
    layers = list(parts.values())
    return torch.nn.Sequential(*layers[:place]).eval(), torch.nn.Sequential(*layers[place:]).eval()


def fitted(on: Any, y: Any, width: float = WIDTH) -> Array:
    """Coefficients of the weighted plane: normal equations of what is left after the weighted means, in numpy."""
    Z, scores = np.asarray(on, dtype=np.float64), np.asarray(y, dtype=np.float64)
    w = np.array([np.exp(-(((1 - np.sqrt(row.sum() / len(row))) / width) ** 2)) for row in Z])
    Zc, yc = Z - np.average(Z, axis=0, weights=w), scores - np.average(scores, weights=w)
    found: Array = np.linalg.solve(Zc.T @ (w[:, None] * Zc), Zc.T @ (w * yc))
    return found
