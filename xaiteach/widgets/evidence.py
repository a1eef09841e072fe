"""What the explorations of Grad-CAM look at: the trained net's feature maps of the two-object pictures, in float64.

Symbols: A maps (k, h, w), V class matrix (c, k), b bias (c,), Z = h w, s = V mean(A) + b logits, y = softmax(s),
alpha_k the weight of map k, which for this head is V_ck / Z for the logit.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["Evidence", "Output", "Picture", "cosine", "evidence"]

Array = NDArray[np.float64]
Output = Literal["logit", "probability"]


@dataclass(frozen=True, eq=False)
class Picture:
    """A two-object picture: its image (3, H, W), the names of its halves, and its maps A (k, h, w)."""

    image: Array
    names: tuple[str, str]
    A: Array

    @property
    def label(self) -> str:
        """Names of the halves, left and right."""
        return f"{self.names[0]} | {self.names[1]}"

    def mask(self, name: str, shape: tuple[int, int]) -> NDArray[np.bool_] | None:
        """Half of the class `name`, or None where it is in neither."""
        if name not in self.names:
            return None
        mask = np.zeros(shape, dtype=np.bool_)
        half = shape[1] // 2
        mask[:, slice(half) if name == self.names[0] else slice(half, None)] = True
        return mask


@dataclass(frozen=True, eq=False)
class Evidence:
    """The net's last layer and its maps on every picture."""

    classes: tuple[str, ...]
    V: Array
    b: Array
    pictures: tuple[Picture, ...]

    def probabilities(self, A: Array, shift: Array | float = 0.0) -> Array:
        """Softmax of the logits (c,), with `shift` (k,) added to every row of V."""
        s = (self.V + shift) @ A.mean((1, 2)) + self.b
        e = np.exp(s - s.max())
        y: Array = e / e.sum()
        return y

    def alpha(self, A: Array, c: int, output: Output = "logit", shift: Array | float = 0.0) -> Array:
        """Weights (k,) of Grad-CAM for class c, the mean gradient over the positions, per position.

        The probability's is y_c sum_j y_j (V_c - V_j) / Z: no 1 - y_c is formed, so nothing cancels as y_c nears 1.
        """
        rows = self.V + shift
        Z = A[0].size
        if output == "logit":
            logit: Array = rows[c] / Z
            return logit
        y = self.probabilities(A, shift)
        probability: Array = y[c] * (y @ (rows[c] - rows)) / Z
        return probability

    def picture(self, label: str) -> Picture:
        """Picture of a label."""
        return next(picture for picture in self.pictures if picture.label == label)


@functools.cache
def evidence() -> Evidence:
    """Maps of crops_cnn on the stated pairs of the test split; made once, in one batch."""
    import torch

    from xaiteach import data, models

    crops: Any = data.crops(split="test")
    pairs = crops.pairs
    model: Any = models.load("crops_cnn").double()
    with torch.no_grad():
        maps = model.features(torch.cat([pair.x for pair in pairs]).double()).numpy()
    pictures = tuple(Picture(pair.x[0].double().numpy(), pair.names, A) for pair, A in zip(pairs, maps, strict=True))
    head = model.classifier
    return Evidence(crops.class_names, head.weight.detach().numpy(), head.bias.detach().numpy(), pictures)


def cosine(a: Array, b: Array) -> float:
    """Cosine similarity of two maps; 0 where one of them is blank."""
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float((a * b).sum()) / norms if norms else 0.0
