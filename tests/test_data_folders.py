"""Public image sets on disk: tiny trees of the published layouts, and what is said where they are missing."""

from __future__ import annotations

import json
import socket
import struct

import numpy as np
import pytest
import torch
from PIL import Image

from xaiteach import data
from xaiteach.errors import OptionError, SetupError

pytest.importorskip("torchvision.datasets", exc_type=(ImportError, RuntimeError))

SIDES = {"tiny_imagenet": 64, "imagenette": 128, "food101": 224, "mnist": 28, "kather2016": 150}
SPLITS = {kind: facts.splits for kind, facts in data.KINDS.items()}


def save(path, level, size=(20, 16)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (level, 0, 0)).save(path)


def tiny_imagenet(root):
    place = root / "tiny-imagenet-200"
    for c, wnid in enumerate(("n01", "n02")):
        for i in range(3):
            save(place / "train" / wnid / "images" / f"{wnid}_{i}.JPEG", 40 * c + 10 * i)
        (place / "train" / wnid / f"{wnid}_boxes.txt").write_text("")
    for i in range(2):
        save(place / "val" / "images" / f"val_{i}.JPEG", 100 + i)
    (place / "val" / "val_annotations.txt").write_text("val_0.JPEG\tn02\t0\t0\t9\t9\nval_1.JPEG\tn01\t0\t0\t9\t9\n")
    (place / "wnids.txt").write_text("n02\nn01\n")
    (place / "words.txt").write_text("n01\tgoldfish, Carassius\nn02\tbullfrog\nn03\tunused\n")


def imagenette(root):
    for split in ("train", "val"):
        for c, wnid in enumerate(("n01440764", "n02102040")):
            save(root / "imagenette2-160" / split / wnid / f"{wnid}_0.JPEG", 50 * c, (200, 160))
            (root / "imagenette2-160" / split / wnid / f"{wnid}_0.JPEG").rename(
                root / "imagenette2-160" / split / wnid / f"{wnid}_0.jpeg"
            )


def food101(root):
    place = root / "food-101"
    (place / "meta").mkdir(parents=True)
    for split, numbers in (("train", (1, 2)), ("test", (3,))):
        listed = {name: [f"{name}/{i}" for i in numbers] for name in ("apple_pie", "waffles")}
        (place / "meta" / f"{split}.json").write_text(json.dumps(listed))
        for c, paths in enumerate(listed.values()):
            for path in paths:
                save(place / "images" / f"{path}.jpg", 60 * c, (300, 256))


def mnist(root):
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part, n in (("train", 6), ("t10k", 4)):
        pixels = (np.arange(n * 28 * 28) % 256).astype(np.uint8)
        (raw / f"{part}-images-idx3-ubyte").write_bytes(struct.pack(">IIII", 2051, n, 28, 28) + pixels.tobytes())
        labels = np.arange(n, dtype=np.uint8) % 10
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 2049, n) + labels.tobytes())


def kather2016(root):
    place = root / "Kather_texture_2016_image_tiles_5000"
    for c, name in enumerate(("01_TUMOR", "02_STROMA")):
        for i in range(20):
            save(place / name / f"tile_{i}.tif", 5 * i + 100 * c, (150, 150))


MAKERS = {
    "tiny_imagenet": tiny_imagenet,
    "imagenette": imagenette,
    "food101": food101,
    "mnist": mnist,
    "kather2016": kather2016,
}
EXPECTED = {
    ("tiny_imagenet", "train"): ([0, 0, 0, 1, 1, 1], ("goldfish", "bullfrog")),
    ("tiny_imagenet", "val"): ([1, 0], ("goldfish", "bullfrog")),
    ("imagenette", "train"): ([0, 1], ("tench", "English springer")),
    ("imagenette", "val"): ([0, 1], ("tench", "English springer")),
    ("food101", "train"): ([0, 0, 1, 1], ("apple_pie", "waffles")),
    ("food101", "test"): ([0, 1], ("apple_pie", "waffles")),
    ("mnist", "train"): ([0, 1, 2, 3, 4, 5], tuple("0123456789")),
    ("mnist", "test"): ([0, 1, 2, 3], tuple("0123456789")),
    ("kather2016", "train"): ([0] * 18 + [1] * 18, ("tumor", "stroma")),
    ("kather2016", "test"): ([0, 0, 1, 1], ("tumor", "stroma")),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    place = tmp_path_factory.mktemp("sets")
    for make in MAKERS.values():
        make(place)
    return place


def test_every_kind_has_a_tree_here():
    assert set(MAKERS) == set(data.KINDS)
    assert {(kind, split) for kind, splits in SPLITS.items() for split in splits} == set(EXPECTED)


@pytest.mark.parametrize(("kind", "split"), EXPECTED)
def test_classes_and_pictures_are_those_of_the_tree(root, kind, split):
    labels, names = EXPECTED[kind, split]
    found = data.folder(kind, root, split)
    assert (found.y.tolist(), found.class_names, len(found)) == (labels, names, len(labels))
    x, y = found.tensors()
    side = SIDES[kind]
    assert (x.shape, x.dtype) == ((len(labels), 1 if kind == "mnist" else 3, side, side), torch.float32)
    assert y.tolist() == labels
    assert 0 <= x.min() <= x.max() <= 1


def test_a_picture_is_the_file_that_its_class_stands_for(root):
    x, _ = data.folder("tiny_imagenet", root, "val").tensors()
    # Levels 100 and 101 in red; JPEG keeps a plain picture to a step or two.
    np.testing.assert_allclose(x[:, 0].mean(dim=(1, 2)).numpy() * 255, [100, 101], atol=2)
    x, _ = data.folder("mnist", root, "test").tensors()
    np.testing.assert_array_equal((x[1, 0] * 255).round().numpy().ravel(), np.arange(784, 2 * 784) % 256)


def test_katers_split_takes_each_tile_once_and_always_the_same(root):
    splits = [data.folder("kather2016", root, split) for split in ("train", "test")]
    levels = [round(float(x[0].mean()) * 255) for part in splits for x, _ in (part[i] for i in range(len(part)))]
    assert sorted(levels) == sorted(5 * i + 100 * c for c in range(2) for i in range(20))
    again, _ = data.folder("kather2016", str(root), "test").tensors()
    assert torch.equal(again, splits[1].tensors()[0])


def test_five_thousand_tiles_would_split_as_the_assignment_did():
    from xaiteach.data.folders import _TEST_SHARE

    assert (8 * round(_TEST_SHARE * 625), 5000 - 8 * round(_TEST_SHARE * 625)) == (496, 4504)


def test_another_size_and_a_drawn_part(root):
    found = data.folder("food101", root, "train", size=32)
    x, y = found.tensors(n=3, seed=1)
    assert x.shape == (3, 3, 32, 32)
    again, labels = found.tensors(n=3, seed=1)
    assert torch.equal(x, again)
    assert torch.equal(y, labels)
    with pytest.raises(OptionError, match="from 1 to 4 here; got 5"):
        found.tensors(n=5)


def test_a_wide_picture_is_cut_from_its_middle(tmp_path):
    place = tmp_path / "Kather_texture_2016_image_tiles_5000"
    wide = np.zeros((16, 32, 3), np.uint8)
    wide[:, 8:24] = 255
    for i in range(2):
        (place / "01_TUMOR").mkdir(parents=True, exist_ok=True)
        Image.fromarray(wide).save(place / "01_TUMOR" / f"{i}.png")
    x, _ = data.folder("kather2016", tmp_path, "test", size=16)[0]
    assert (x == 1).all()


@pytest.mark.parametrize(("kind", "split"), EXPECTED)
def test_missing_files_say_what_to_download_and_where_to_put_it(tmp_path, monkeypatch, kind, split):
    def refused(*args, **kwargs):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refused)
    with pytest.raises(SetupError) as caught:
        data.folder(kind, tmp_path, split)
    facts, message = data.KINDS[kind], str(caught.value)
    for part in (facts.title, facts.archive, str(tmp_path / facts.place), facts.terms, "Try downloading"):
        assert part in message
    assert "download=True" not in message
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.parametrize("split", ["train", "val"])
def test_half_a_tree_counts_as_missing(tmp_path, split):
    tiny_imagenet(tmp_path)
    (tmp_path / "tiny-imagenet-200" / "words.txt").unlink()
    with pytest.raises(SetupError, match=r"words\.txt"):
        data.folder("tiny_imagenet", tmp_path, split)


def test_unknown_kind_split_and_size_are_refused(root):
    with pytest.raises(OptionError, match="unknown kind of folder 'imagenet'"):
        data.folder("imagenet", root)
    with pytest.raises(OptionError, match=r"unknown split of Tiny ImageNet 'test'.*Known: train, val"):
        data.folder("tiny_imagenet", root, "test")
    with pytest.raises(OptionError, match="at least 8; got 4"):
        data.folder("mnist", root, size=4)
