"""Objects pasted into scenes, each with a label of its own: images whose true evidence is known.

A network trained on the objects' classes must use the object's pixels, and one trained on the scenes' need not: the two
labels are independent, and the object's mask is known to the pixel. So an explanation can be right or wrong here.

Objects are the ten shapes of `shapes`. Scenes are 64 x 64 cuts from ten images inside scikit-image's wheel, train
scenes from the left 60 % of the columns and test scenes from the right 40 %, as in `crops`; `SCENES` lists them:

| scene     | file                  | licence                                                       |
|-----------|-----------------------|---------------------------------------------------------------|
| brick     | brick.png             | CC0 (CC0Textures)                                             |
| cat       | chelsea.png           | CC0 (Stefan van der Walt)                                     |
| coffee    | coffee.png            | CC0 (Rachel Michetti); shrunk to a half before cutting        |
| coins     | coins.png             | no known copyright restrictions (Brooklyn Museum)             |
| grass     | grass.png             | CC0 (DeviantArt, linolafett)                                  |
| gravel    | gravel.png            | CC0 (CC0Textures)                                             |
| retina    | retina.jpg            | CC0 (Mikael Häggström); shrunk to a third before cutting      |
| rocket    | rocket.jpg            | public domain (SpaceX)                                        |
| stars     | hubble_deep_field.jpg | public domain (NASA, Hubble)                                  |
| tissue    | ihc.png               | no known copyright restrictions (CMMI)                        |

Source
    Yang and Kim (2019), "Benchmarking attribution methods with relative feature importance" (BAM). Differs from it in:
    drawn shapes for COCO's objects, cuts of ten images for MiniPlaces' scenes, objects of any place and rotation.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from xaiteach.data.crops import SIZE, SOURCES, Source, _first_column, _split_columns
from xaiteach.data.shapes import SHAPES, Look, drawn_look, paint
from xaiteach.errors import OptionError, unknown

if TYPE_CHECKING:
    import torch

__all__ = ["OBJECTS", "SCENES", "Scenes", "scenes"]

OBJECTS = tuple(SHAPES)
"""Names of the objects, in the order of their classes."""

_BY_NAME = {source.name: source for source in SOURCES} | {
    "coins": Source("coins", "coins.png", "no known copyright restrictions (Brooklyn Museum)", (10, 20), (10, 260))
}
_BY_NAME["coffee"] = dataclasses.replace(_BY_NAME["coffee"], train_window=(55, 100), test_window=(100, 200), shrink=2)
SCENES = tuple(
    _BY_NAME[name]
    for name in ("brick", "cat", "coffee", "coins", "grass", "gravel", "retina", "rocket", "stars", "tissue")
)
"""Where the scenes are cut from, in the order of their classes."""

_COUNTS = {"train": 2000, "test": 500}
_COMMON = Look(46.0, 18.0, 14.0, 0.0, ((0.95, 0.85, 0.25), (0.35, 0.1, 0.4)), 6.0, 0.0, math.pi / 4)
"""The look of the common feature: lower left, always the same."""


@dataclass(frozen=True, eq=False)
class Scenes:
    """Scenes with one object each; the arrays are read-only, so copy before you change one.

    Parameters
        x : float32 array, shape (n, 3, 64, 64), in [0, 1].
        object, scene : int64 arrays, shape (n,). Class of the object and of the scene.
        mask : bool array, shape (n, 64, 64). True on every pixel that the object touches; elsewhere x is `background`.
        object_names, scene_names : ten names each, by class.
        corner : int64 array, shape (n, 2). Row and column of each scene's top left pixel in its (shrunk) source.
        split : "train" or "test".
    """

    x: npt.NDArray[np.float32]
    object: npt.NDArray[np.int64]
    scene: npt.NDArray[np.int64]
    mask: npt.NDArray[np.bool_]
    object_names: tuple[str, ...]
    scene_names: tuple[str, ...]
    corner: npt.NDArray[np.int64]
    split: str

    @functools.cached_property
    def background(self) -> npt.NDArray[np.float32]:
        """The same scenes without their objects, shape (n, 3, 64, 64), read-only; cut when first asked for."""
        areas = [_split_columns(source, self.split) for source in SCENES]
        starts = [_first_column(source, self.split) for source in SCENES]
        x = np.empty_like(self.x)
        for i, (c, (row, column)) in enumerate(zip(self.scene, self.corner, strict=True)):
            left = column - starts[c]
            x[i] = areas[c][:, row : row + SIZE, left : left + SIZE]
        x.flags.writeable = False
        return x

    def tensors(self, label: str = "object") -> tuple[torch.Tensor, torch.Tensor]:
        """Images and classes as tensors of your own: (n, 3, 64, 64) float32 and (n,) long.

        Parameters
            label : "object" or "scene". Which of the two classes.
        Raises
            OptionError: any other label.
        """
        import torch

        if label not in ("object", "scene"):
            raise unknown("label", label, ("object", "scene"))
        return torch.tensor(self.x), torch.tensor(self.object if label == "object" else self.scene)

    def common(self, name: str = "heart") -> Scenes:
        """Return the same scenes with one object everywhere: same shape, colours, size and place in every image.

        A common feature tells the scenes apart in nothing, so a network of the scenes should give it less than what
        `background` has in its place. That is BAM's question of input dependence.

        Parameters
            name : one of `object_names`.
        Raises
            OptionError: another name.
        """
        if name not in self.object_names:
            raise unknown("object", name, self.object_names)
        painted = [paint(picture, name, _COMMON) for picture in self.background]
        x, mask = np.stack([x for x, _ in painted]), np.stack([mask for _, mask in painted])
        object_ = np.full_like(self.object, self.object_names.index(name))
        for array in (x, mask, object_):
            array.flags.writeable = False
        return dataclasses.replace(self, x=x, object=object_, mask=mask)


def scenes(split: str = "train", seed: int = 0, n: int | None = None) -> Scenes:
    """Return natural scenes, each with one drawn object, whose two labels are independent.

    Every hundred images hold each pair of an object and a scene once, in an order of their own; so over multiples of a
    hundred the labels are not only independent but exactly balanced. Image i depends on split, seed and i alone:
    fewer images are the first ones of more.

    Parameters
        split : "train" (left 60 % of the columns) or "test" (right 40 %); no pixel of a scene is in both.
        seed : int >= 0. Draws labels, places and looks.
        n : int >= 1. Images. Default 2000 for train and 500 for test.
    Returns
        Scenes; made once per process for the same arguments.
    Raises
        OptionError: another split, a negative seed, or no image.
        MissingExtraError: scikit-image's bundled images are not there.
    Cost
        About two seconds and 106 MB for the 2000 images of the default train split, as much again for `background`.
    Source
        See the module.
    Examples
        >>> d = scenes("test", n=100)
        >>> d.x.shape, d.object_names[d.object[0]], d.scene_names[d.scene[0]]
        ((100, 3, 64, 64), 'star', 'gravel')
    """
    if split not in _COUNTS:
        raise unknown("split", split, _COUNTS)
    count = _COUNTS[split] if n is None else n
    if count < 1 or seed < 0:
        raise OptionError(
            f"scenes: `n` must be at least 1 and `seed` at least 0; got {n!r} and {seed!r}. Try n=100, seed=0."
        )
    return _made(split, int(seed), int(count))


@functools.lru_cache(maxsize=4)
def _made(split: str, seed: int, n: int) -> Scenes:
    stream = (seed, list(_COUNTS).index(split))
    object_, scene = _labels(stream, n)
    areas = [_split_columns(source, split) for source in SCENES]
    corner = np.empty((n, 2), dtype=np.int64)
    x = np.empty((n, 3, SIZE, SIZE), dtype=np.float32)
    mask = np.empty((n, SIZE, SIZE), dtype=np.bool_)
    for i in range(n):
        rng = np.random.default_rng((*stream, 1, i))  # of its own, so that image i does not depend on n
        area = areas[scene[i]]
        row, column = (int(rng.integers(side - SIZE + 1)) for side in area.shape[1:])
        corner[i] = row, column
        background = area[:, row : row + SIZE, column : column + SIZE]
        x[i], mask[i] = paint(background, OBJECTS[object_[i]], drawn_look(rng, SIZE))
    corner[:, 1] += np.asarray([_first_column(source, split) for source in SCENES], dtype=np.int64)[scene]
    for array in (x, object_, scene, mask, corner):
        array.flags.writeable = False
    return Scenes(x, object_, scene, mask, OBJECTS, tuple(source.name for source in SCENES), corner, split)


def _labels(stream: tuple[int, int], n: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Classes of the objects and of the scenes: every pair once in each block, in a drawn order."""
    pairs = len(OBJECTS) * len(SCENES)
    blocks = [np.random.default_rng((*stream, 0, block)).permutation(pairs) for block in range(-(-n // pairs))]
    drawn = np.concatenate(blocks)[:n].astype(np.int64)
    return drawn // len(SCENES), drawn % len(SCENES)
