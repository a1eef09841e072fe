"""Public image sets that you have on disk: Tiny ImageNet, Imagenette, Food-101, MNIST and Kather's tissue tiles.

Nothing is downloaded here. Where the files are missing, the error says which archive to get and where to unpack it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from xaiteach import runtime
from xaiteach.errors import OptionError, SetupError, unknown

if TYPE_CHECKING:
    import torch

__all__ = ["KINDS", "Folder", "Kind", "folder"]

Item = tuple[Callable[[], Any], int]
"""How to read one picture (a PIL image), and its class."""


@dataclass(frozen=True)
class Kind:
    """One public set: what it is called, what to download, and how its files lie.

    Parameters
        title : as people say it.
        archive : what to download.
        place : folder under `root` that the archive unpacks into.
        splits : names that `folder` takes.
        size : int. Height and width that pictures are brought to, unless asked otherwise.
        terms : under which it may be used, in a few words.
    """

    title: str
    archive: str
    place: str
    splits: tuple[str, ...]
    size: int
    terms: str


KINDS = {
    "tiny_imagenet": Kind(
        "Tiny ImageNet",
        "http://cs231n.stanford.edu/tiny-imagenet-200.zip (237 MB)",
        "tiny-imagenet-200",
        ("train", "val"),
        64,
        "non-commercial research and teaching, as ImageNet",
    ),
    "imagenette": Kind(
        "Imagenette",
        "https://s3.amazonaws.com/fast-ai-imageclas/imagenette2-160.tgz (94 MB)",
        "imagenette2-160",
        ("train", "val"),
        128,
        "Apache-2.0 for the selection; the pictures as ImageNet",
    ),
    "food101": Kind(
        "Food-101",
        "http://data.vision.ee.ethz.ch/cvl/food-101.tar.gz (4.7 GB)",
        "food-101",
        ("train", "test"),
        224,
        "research use; the pictures belong to their authors",
    ),
    "mnist": Kind(
        "MNIST",
        "train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz, t10k-images-idx3-ubyte.gz "
        "and t10k-labels-idx1-ubyte.gz of https://ossci-datasets.s3.amazonaws.com/mnist/ (11 MB)",
        "MNIST/raw",
        ("train", "test"),
        28,
        "CC BY-SA 3.0",
    ),
    "kather2016": Kind(
        "Kather's colorectal tissue tiles",
        "Kather_texture_2016_image_tiles_5000.zip of https://zenodo.org/records/53169 (251 MB)",
        "Kather_texture_2016_image_tiles_5000",
        ("train", "test"),
        150,
        "CC BY 4.0",
    ),
}
"""The sets that `folder` knows, by name."""

_TEST_SHARE = 62 / 625  # of each class of Kather's: 62 of 625, so 496 of 5,000


@dataclass(frozen=True, eq=False)
class Folder:
    """Pictures on disk, read when asked for.

    Parameters
        kind, split : as asked for.
        class_names : by class index.
        y : int64 array, shape (n,). Class of every picture, read-only.
        size : int. Height and width that pictures are brought to.
    """

    kind: str
    split: str
    class_names: tuple[str, ...]
    y: npt.NDArray[np.int64]
    size: int
    _read: tuple[Callable[[], Any], ...]

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.y)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        """One picture (c, size, size), float32 in [0, 1], and its class.

        The shorter side is resized to `size` (bilinear, antialiased), and the middle square cut out.
        """
        transforms = runtime.require("torchvision.transforms.functional")
        picture = self._read[index]()
        if picture.size != (self.size, self.size):
            picture = transforms.center_crop(transforms.resize(picture, self.size), [self.size, self.size])
        x: torch.Tensor = transforms.to_tensor(picture)
        return x, int(self.y[index])

    def tensors(self, n: int | None = None, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
        """Pictures and classes as tensors: (n, c, size, size) float32 in [0, 1] and (n,) long.

        Parameters
            n : int >= 1 or None. That many, drawn without replacement; None: all, in their order on disk.
            seed : int >= 0. Draws which.
        Raises
            OptionError: no picture, or more than there are.
        """
        import torch

        if n is not None and not 1 <= n <= len(self):
            raise OptionError(f"tensors: `n` must be from 1 to {len(self)} here; got {n!r}. Try n=None for all.")
        rows = range(len(self)) if n is None else np.random.default_rng(seed).permutation(len(self))[:n].tolist()
        pictures = [self[i] for i in rows]
        return torch.stack([x for x, _ in pictures]), torch.tensor([y for _, y in pictures])


def folder(kind: str, root: str | os.PathLike[str], split: str = "train", *, size: int | None = None) -> Folder:
    """Return one split of a public image set that lies under `root`.

    Parameters
        kind : "tiny_imagenet", "imagenette", "food101", "mnist" or "kather2016".
        root : folder that holds the unpacked archive, itself a folder of the name in `KINDS[kind].place`.
        split : one of `KINDS[kind].splits`. Kather's tiles come in one lump: of each class the 62 in 625 for testing
            are drawn once and for all, which gives 4,504 and 496.
        size : int >= 8 or None. Height and width to bring pictures to; None: `KINDS[kind].size`.
    Raises
        OptionError: unknown kind, a split it does not have, or a size below 8.
        SetupError: the files are not there; the message says what to download and where to put it.
        MissingExtraError: torchvision is not there or does not load.
    Cost
        Reading the list of files; pictures are read when asked for.
    Source
        Each set's terms are in `KINDS[kind].terms`; they are yours to keep.
    """
    if kind not in KINDS:
        raise unknown("kind of folder", kind, KINDS)
    facts = KINDS[kind]
    if split not in facts.splits:
        raise unknown(f"split of {facts.title}", split, facts.splits)
    side = facts.size if size is None else size
    if side < 8:
        raise OptionError(f"folder: `size` must be at least 8; got {size!r}. Try size={facts.size}.")
    zoo = runtime.require("torchvision.datasets")
    try:
        names, items = _LISTS[kind](zoo, Path(root), split)
    except (OSError, RuntimeError, ValueError) as error:
        raise _missing(facts, Path(root), error) from error
    y = np.asarray([c for _, c in items], dtype=np.int64)
    y.flags.writeable = False
    return Folder(kind, split, tuple(names), y, side, tuple(read for read, _ in items))


def _missing(facts: Kind, root: Path, error: Exception) -> SetupError:
    # torchvision's own RuntimeError says no more than "not found", and advises to download.
    why = f" ({type(error).__name__}: {error})" if not isinstance(error, RuntimeError) else ""
    return SetupError(
        f"folder: {facts.title} is expected in {root / facts.place}; it is not there, or not whole{why}. "
        f"Try downloading {facts.archive} and unpacking it so that "
        f"{root / facts.place} exists; terms: {facts.terms}."
    )


def _listed(dataset: Any) -> list[Item]:
    """Readers and classes of a torchvision set that keeps (path, class) pairs in `_samples` or `samples`."""
    samples = getattr(dataset, "samples", None) or dataset._samples
    return [(_reader(Path(path)), int(c)) for path, c in samples]


def _reader(path: Path) -> Callable[[], Any]:
    def read() -> Any:
        from PIL import Image

        with Image.open(path) as picture:
            return picture.convert("RGB")

    return read


def _tiny_imagenet(zoo: Any, root: Path, split: str) -> tuple[Sequence[str], list[Item]]:
    place = root / KINDS["tiny_imagenet"].place
    ids = sorted((place / "wnids.txt").read_text(encoding="utf-8").split())
    words = dict(line.split("\t", 1) for line in (place / "words.txt").read_text(encoding="utf-8").splitlines())
    names = [words.get(wnid, wnid).split(",")[0] for wnid in ids]
    if split == "train":
        return names, _listed(zoo.ImageFolder(str(place / "train")))
    rows = [line.split("\t") for line in (place / "val" / "val_annotations.txt").read_text("utf-8").splitlines()]
    number = {wnid: i for i, wnid in enumerate(ids)}
    return names, [(_reader(place / "val" / "images" / row[0]), number[row[1]]) for row in rows]


def _imagenette(zoo: Any, root: Path, split: str) -> tuple[Sequence[str], list[Item]]:
    dataset = zoo.Imagenette(str(root), split=split, size="160px", download=False)
    return [names[0] for names in dataset.classes], _listed(dataset)


def _food101(zoo: Any, root: Path, split: str) -> tuple[Sequence[str], list[Item]]:
    dataset = zoo.Food101(str(root), split=split, download=False)
    readers = [_reader(Path(path)) for path in dataset._image_files]
    return dataset.classes, list(zip(readers, dataset._labels, strict=True))


def _mnist(zoo: Any, root: Path, split: str) -> tuple[Sequence[str], list[Item]]:
    dataset = zoo.MNIST(str(root), train=split == "train", download=False)

    def reader(index: int) -> Callable[[], Any]:
        return lambda: dataset[index][0]

    return [str(digit) for digit in range(10)], [(reader(i), int(c)) for i, c in enumerate(dataset.targets)]


def _kather2016(zoo: Any, root: Path, split: str) -> tuple[Sequence[str], list[Item]]:
    dataset = zoo.ImageFolder(str(root / KINDS["kather2016"].place))
    items: list[Item] = []
    for c in range(len(dataset.classes)):
        paths = sorted(Path(path) for path, label in dataset.samples if label == c)
        drawn = np.random.default_rng((2016, c)).permutation(len(paths))
        n_test = max(round(_TEST_SHARE * len(paths)), 1)
        chosen = sorted(drawn[:n_test] if split == "test" else drawn[n_test:])
        items += [(_reader(paths[i]), c) for i in chosen]
    return [name.split("_", 1)[-1].lower() for name in dataset.classes], items


_LISTS: dict[str, Callable[[Any, Path, str], tuple[Sequence[str], list[Item]]]] = {
    "tiny_imagenet": _tiny_imagenet,
    "imagenette": _imagenette,
    "food101": _food101,
    "mnist": _mnist,
    "kather2016": _kather2016,
}
