"""Natural crops from images that travel inside scikit-image's wheel, and two-class images made of two of them.

Ten sources, 64 x 64 RGB. Train crops lie in the left 60 % of the columns, test crops in the right 40 %: the two
share no pixel, and often not the content either (the cat's nose is left, the blurred blanket right), which keeps the
test honest.

Sources, all bundled and none downloaded; `SOURCES` holds the same table:

| class     | file                  | colour | licence                                                        |
|-----------|-----------------------|--------|----------------------------------------------------------------|
| astronaut | astronaut.png         | yes    | public domain (NASA)                                           |
| brick     | brick.png             | grey   | CC0 (CC0Textures)                                              |
| cat       | chelsea.png           | yes    | CC0 (Stefan van der Walt)                                      |
| coffee    | coffee.png            | yes    | CC0 (Rachel Michetti)                                          |
| grass     | grass.png             | grey   | CC0 (DeviantArt, linolafett)                                   |
| gravel    | gravel.png            | grey   | CC0 (CC0Textures)                                              |
| retina    | retina.jpg            | yes    | CC0 (Mikael Häggström); shrunk to a third before cropping      |
| rocket    | rocket.jpg            | yes    | public domain (SpaceX)                                         |
| stars     | hubble_deep_field.jpg | yes    | public domain (NASA, Hubble)                                   |
| tissue    | ihc.png               | yes    | no known copyright restrictions (CMMI)                         |

Grey sources repeat their one channel three times. Left out on purpose: the motorcycle pair (not ours to hand on), moon
and page (no licence stated), and whatever scikit-image would download.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from xaiteach.errors import MissingExtraError, OptionError, unknown

if TYPE_CHECKING:
    import torch

__all__ = ["SIZE", "SOURCES", "Crops", "Pair", "Source", "crops"]

SIZE = 64
"""Height and width of a crop, in pixels."""

_TRAIN_SHARE = 0.6
_COUNTS = {"train": 150, "test": 50}


@dataclass(frozen=True)
class Source:
    """One bundled image, and where in it the windows of the two-class images lie.

    Parameters
        name : class name.
        file : file name inside scikit-image's data folder.
        licence : under which the image may be shown and handed on.
        train_window, test_window : (row, column), top left corner of the recognisable crop used for pairs.
        shrink : int. The image is averaged over shrink x shrink pixels first.
    """

    name: str
    file: str
    licence: str
    train_window: tuple[int, int]
    test_window: tuple[int, int]
    shrink: int = 1


SOURCES = (
    Source("astronaut", "astronaut.png", "public domain (NASA)", (60, 190), (180, 340)),
    Source("brick", "brick.png", "CC0 (CC0Textures)", (200, 120), (200, 360)),
    Source("cat", "chelsea.png", "CC0 (Stefan van der Walt)", (80, 140), (90, 282)),
    Source("coffee", "coffee.png", "CC0 (Rachel Michetti)", (110, 200), (200, 362)),
    Source("grass", "grass.png", "CC0 (DeviantArt, linolafett)", (200, 120), (200, 360)),
    Source("gravel", "gravel.png", "CC0 (CC0Textures)", (200, 120), (200, 360)),
    Source("retina", "retina.jpg", "CC0 (Mikael Häggström)", (110, 50), (130, 310), shrink=3),
    Source("rocket", "rocket.jpg", "public domain (SpaceX)", (330, 260), (330, 400)),
    Source("stars", "hubble_deep_field.jpg", "public domain (NASA, Hubble)", (600, 300), (450, 680)),
    Source("tissue", "ihc.png", "no known copyright restrictions (CMMI)", (100, 150), (330, 310)),
)
"""The ten sources, in the order of the classes."""

_PAIRS = (
    ("cat", "coffee"),
    ("retina", "rocket"),
    ("grass", "tissue"),
    ("coffee", "stars"),
    ("brick", "cat"),
    ("gravel", "astronaut"),
    ("retina", "astronaut"),
)


@dataclass(frozen=True, eq=False)
class Pair:
    """Two crops side by side: an image that holds two classes, and where each of them is.

    Parameters
        x : Tensor, shape (1, 3, 64, 128), float32 in [0, 1].
        y : int. Class of one half, the one to explain.
        other : int. Class of the other half.
        mask : bool array, shape (64, 128). True on the half of class `y`.
        names : (left, right) class names.
    """

    x: torch.Tensor
    y: int
    other: int
    mask: npt.NDArray[np.bool_]
    names: tuple[str, str]

    def swapped(self) -> Pair:
        """Return the same image, asked about the other class: y and other exchanged, the mask inverted."""
        return Pair(self.x.clone(), self.other, self.y, ~self.mask, self.names)


@dataclass(frozen=True, eq=False)
class Crops:
    """Crops of one split; the arrays are read-only, so copy before you change one.

    Parameters
        x : float32 array, shape (n, 3, 64, 64), in [0, 1]. The classes take turns: x[:10] holds one crop of each.
        y : int64 array, shape (n,). Class index.
        class_names : the ten names, by class index.
        corner : int64 array, shape (n, 2). Row and column of each crop's top left pixel in its (shrunk) source.
        split : "train" or "test".
    """

    x: npt.NDArray[np.float32]
    y: npt.NDArray[np.int64]
    class_names: tuple[str, ...]
    corner: npt.NDArray[np.int64]
    split: str

    def tensors(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Crops and classes as tensors of your own: (n, 3, 64, 64) float32 and (n,) long."""
        import torch

        return torch.tensor(self.x), torch.tensor(self.y)

    def pair(self, left: int, right: int) -> Pair:
        """Crops number `left` and `right` of this split side by side; `y` is the class of the right one.

        Parameters
            left, right : int. Indices into x, of two different classes.
        Raises
            OptionError: an index out of range, or twice the same class.
        """
        n = len(self.y)
        if not (0 <= left < n and 0 <= right < n) or self.y[left] == self.y[right]:
            raise OptionError(
                f"pair: `left` and `right` are indices from 0 to {n - 1} of crops of two classes; "
                f"got {left!r} and {right!r}. Try pair(0, 1)."
            )
        return _side_by_side((self.x[left], self.x[right]), (int(self.y[left]), int(self.y[right])), self.class_names)

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """Stated two-class images from this split's columns, each in both orders; `y` is always the class on the right.

        The windows are fixed, chosen so that a person sees what they show; they do not depend on the seed. The last
        pair of classes, retina and astronaut, is there to fail: the astronaut's training columns are mostly orange
        suit, and a net that learnt orange looks for the astronaut in the retina. Every access makes new tensors, so
        that changing one changes nothing else.
        """
        classes = {name: index for index, name in enumerate(self.class_names)}
        ordered = [order for pair in _PAIRS for order in (pair, pair[::-1])]
        return tuple(
            _side_by_side((_window(a, self.split), _window(b, self.split)), (classes[a], classes[b]), self.class_names)
            for a, b in ordered
        )


def crops(split: str = "train", seed: int = 0, n_per_class: int | None = None) -> Crops:
    """Return natural 64 x 64 crops of ten classes, and side-by-side images of two classes.

    Parameters
        split : "train" (left 60 % of the columns) or "test" (right 40 %); no pixel is in both.
        seed : int >= 0. Draws where the crops lie, without replacement within a class.
        n_per_class : int >= 1. Default 150 for train and 50 for test.
    Returns
        Crops; made once per process for the same arguments.
    Raises
        OptionError: another split, a negative seed, or more crops than there are places.
        MissingExtraError: scikit-image's bundled images are not there.
    Cost
        49 kB per crop: 74 MB for the default train split, 25 MB for the test split. Nothing is downloaded.
    Examples
        >>> d = crops("test", n_per_class=2)
        >>> d.x.shape, d.class_names[int(d.y[2])], d.pairs[0].names
        ((20, 3, 64, 64), 'cat', ('cat', 'coffee'))
    """
    if split not in _COUNTS:
        raise unknown("split", split, _COUNTS)
    n = _COUNTS[split] if n_per_class is None else n_per_class
    if n < 1 or seed < 0:
        raise OptionError(f"crops: `n_per_class` is at least 1 and `seed` at least 0; got {n!r} and {seed!r}.")
    return _cut(split, int(seed), int(n))


@functools.lru_cache(maxsize=4)
def _cut(split: str, seed: int, n_per_class: int) -> Crops:
    columns = [_split_columns(source, split) for source in SOURCES]
    drawn = [_drawn(area, (seed, list(_COUNTS).index(split), i), n_per_class) for i, area in enumerate(columns)]
    # One crop of each class in turn, so that the first ten are a fair first batch.
    corner = np.stack([rows for rows, _ in drawn], axis=1).reshape(-1, 2)
    x = np.stack([cut for _, cut in drawn], axis=1).reshape(-1, 3, SIZE, SIZE)
    y = np.tile(np.arange(len(SOURCES), dtype=np.int64), n_per_class)
    corner[:, 1] += np.asarray([_first_column(source, split) for source in SOURCES], dtype=np.int64)[y]
    for array in (x, y, corner):
        array.flags.writeable = False
    return Crops(x, y, tuple(source.name for source in SOURCES), corner, split)


def _drawn(
    area: npt.NDArray[np.float32], seed: Iterable[int], n: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Top left corners (n, 2) within the area (3, h, w), and the crops there (n, 3, 64, 64)."""
    rows, cols = (side - SIZE + 1 for side in area.shape[1:])
    if n > rows * cols:
        raise OptionError(f"crops: `n_per_class` is at most {rows * cols} here; got {n}.")
    place = np.random.default_rng(tuple(seed)).choice(rows * cols, size=n, replace=False)
    corner = np.stack([place // cols, place % cols], axis=1).astype(np.int64)
    return corner, np.stack([area[:, r : r + SIZE, c : c + SIZE] for r, c in corner])


def _side_by_side(
    halves: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]], classes: tuple[int, int], names: tuple[str, ...]
) -> Pair:
    import torch

    x = torch.tensor(np.concatenate(halves, axis=2))[None]  # (1, 3, 64, 128)
    mask = np.zeros((SIZE, 2 * SIZE), dtype=np.bool_)
    mask[:, SIZE:] = True
    return Pair(x, classes[1], classes[0], mask, (names[classes[0]], names[classes[1]]))


def _window(name: str, split: str) -> npt.NDArray[np.float32]:
    source = next(source for source in SOURCES if source.name == name)
    row, column = source.test_window if split == "test" else source.train_window
    return _image(source)[:, row : row + SIZE, column : column + SIZE]


def _first_column(source: Source, split: str) -> int:
    return int(_TRAIN_SHARE * _image(source).shape[2]) if split == "test" else 0


def _split_columns(source: Source, split: str) -> npt.NDArray[np.float32]:
    image, border = _image(source), _first_column(source, "test")
    return image[:, :, border:] if split == "test" else image[:, :, :border]


@functools.lru_cache(maxsize=len(SOURCES))
def _image(source: Source) -> npt.NDArray[np.float32]:
    """Source image (3, h, w) in [0, 1], grey repeated, shrunk by averaging."""
    pixels = _pixels(source.file)
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[:, :, None], 3, axis=2)
    s = source.shrink
    h, w = pixels.shape[0] // s, pixels.shape[1] // s
    means = pixels[: h * s, : w * s].reshape(h, s, w, s, 3).mean(axis=(1, 3)) / 255.0
    return np.ascontiguousarray(means.transpose(2, 0, 1), dtype=np.float32)


def _pixels(file: str) -> npt.NDArray[Any]:
    # Read from the package folder: skimage.data's functions may reach for the network when a file is missing.
    found = importlib.util.find_spec("skimage")
    path = Path(found.origin).parent / "data" / file if found and found.origin else None
    if path is None or not path.is_file():
        raise MissingExtraError(
            f"crops: the image {file} is expected inside scikit-image's package folder; "
            "it is not there. Try: pip install --force-reinstall scikit-image"
        )
    from skimage.io import imread

    return np.asarray(imread(path))
