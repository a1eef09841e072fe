"""The recipes that made the packaged weights; run from the command line they make them again from scratch.

    python -m xaiteach.models.training vgg64_narrow --out vgg64_narrow.safetensors

One to five minutes on two CPU cores. Training on the same machine with the same number of threads gives the same
weights; elsewhere sums round differently, and the accuracy may move by a per cent or two.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import importlib.metadata
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as serialised
from torch import Tensor, nn

from xaiteach import data, runtime
from xaiteach.errors import OptionError, unknown
from xaiteach.models.fitting import accuracy, fit, hits, permuted
from xaiteach.models.registry import build, card

__all__ = [
    "RECIPES",
    "Recipe",
    "Trained",
    "accuracy",
    "augmented",
    "main",
    "save",
    "train",
    "train_crops_cnn",
    "train_digits_cnn",
]


@dataclass(frozen=True)
class Recipe:
    """Settings of one training run.

    Parameters
        epochs, batch : int. Passes over the train split, and inputs per step.
        rate : float. Highest learning rate of AdamW on a one-cycle schedule; SGD's constant one.
        weight_decay : float. See `fit`.
        jitter : float in [0, 1). Brightness, contrast and saturation vary by this fraction, each channel by half of
            it, and images are flipped. 0: inputs are taken as they are.
        n_per_class : int. Inputs per class in the train split; of MNIST-1D in both splits; of digits, all there are.
        seed : int. Draws the weights, the order of the inputs and their augmentation.
        optimiser : "adamw" or "sgd".
        bare : float in [0, 1]. This fraction of the scenes is shown without its object.
        permuted_labels : bool. Train on labels in a drawn order, for the label randomisation test.
    """

    epochs: int = 30
    batch: int = 64
    rate: float = 2e-3
    weight_decay: float = 1e-3
    jitter: float = 0.3
    n_per_class: int = 150
    seed: int = 0
    optimiser: str = "adamw"
    bare: float = 0.0
    permuted_labels: bool = False


_DIGITS = Recipe(epochs=12, batch=32, jitter=0.0, n_per_class=144)
RECIPES = {
    "convnet1d": Recipe(
        epochs=200, batch=32, rate=0.01, weight_decay=1e-3, jitter=0.0, n_per_class=500, optimiser="sgd"
    ),
    "crops_cnn": Recipe(),
    "digits_cnn": _DIGITS,
    "digits_cnn_norm": _DIGITS,
    "vgg64_narrow": Recipe(epochs=40, rate=4e-3, n_per_class=500),
    "vgg64_narrow_scenes": Recipe(epochs=20, rate=4e-3, n_per_class=300, bare=0.5),
}
"""How each net is trained: by name."""


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained network and what it reached.

    Parameters
        net : the network, in eval mode.
        recipe : how it was trained.
        history : (loss, test accuracy) after each epoch.
        per_class : test accuracy by class name.
        train_accuracy : on the labels it was trained on, without augmentation. Of a net with permuted labels the one
            that tells whether it learnt them.
    """

    net: nn.Module
    recipe: Recipe
    history: tuple[tuple[float, float], ...]
    per_class: dict[str, float]
    train_accuracy: float = float("nan")


def augmented(x: Tensor, jitter: float, rng: torch.Generator) -> Tensor:
    """Images flipped and recoloured at random, each on its own; a new tensor, clipped to [0, 1].

    Without the recolouring the net leans on one colour per class, and its maps light up wherever that colour is.

    Parameters
        x : Tensor, shape (n, 3, h, w), in [0, 1].
        jitter : see Recipe.
        rng : generator that draws.
    """
    n = len(x)

    def factor(*shape: int) -> Tensor:
        return 2 * torch.rand(n, *shape, generator=rng) - 1

    for axis in (3, 2):
        x = torch.where(factor(1, 1, 1) > 0, x.flip(axis), x)
    x = x * (1 + jitter * factor(1, 1, 1))
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    x = mean + (x - mean) * (1 + jitter * factor(1, 1, 1))
    grey = x.mean(dim=1, keepdim=True)
    x = grey + (x - grey) * (1 + jitter * factor(1, 1, 1))
    return (x * (1 + jitter / 2 * factor(3, 1, 1))).clamp(0, 1)


def train(
    name: str,
    recipe: Recipe | None = None,
    report: Callable[[str], object] | None = None,
    *,
    permuted_labels: bool = False,
) -> Trained:
    """Train a net of the course from scratch, on the CPU.

    Parameters
        name : one of `RECIPES`.
        recipe : settings. Default: those of the packaged weights.
        report : called with one line of text after each epoch.
        permuted_labels : bool. Train on labels in a drawn order, whatever the recipe says.
    Raises
        OptionError: a name without a recipe, no epoch, or an empty batch.
        MissingExtraError: digits without scikit-learn.
    Cost
        From half a minute (digits) to five minutes (vgg64_narrow) on two cores.
    """
    if name not in RECIPES:
        raise unknown("model with a recipe", name, RECIPES)
    recipe = recipe or RECIPES[name]
    if permuted_labels:
        recipe = dataclasses.replace(recipe, permuted_labels=True)
    if recipe.epochs < 1 or recipe.batch < 1:
        raise OptionError(
            f"train: `epochs` and `batch` must be at least 1; got {recipe.epochs} and {recipe.batch}. Try Recipe()."
        )
    (x, y), (x_test, y_test) = _MATERIAL[name](recipe)
    if recipe.permuted_labels:
        y = permuted(y, recipe.seed)
    net = build(name, recipe.seed)
    layout = torch.channels_last if x.ndim == 4 and name != "crops_cnn" else torch.contiguous_format
    net = net.to(memory_format=layout)
    x, x_test = x.contiguous(memory_format=layout), x_test.contiguous(memory_format=layout)
    history: list[tuple[float, float]] = []

    def after_epoch(epoch: int, loss: float) -> None:
        history.append((loss, accuracy(net, x_test, y_test)))
        if report:
            report(f"epoch {epoch:2d} of {recipe.epochs}: loss {loss:.3f}, test accuracy {history[-1][1]:.3f}")

    def augment(part: Tensor, rng: torch.Generator) -> Tensor:
        return augmented(part, recipe.jitter, rng).contiguous(memory_format=layout)

    settings = {key: getattr(recipe, key) for key in ("epochs", "batch", "rate", "weight_decay", "optimiser")}
    rng = runtime.generator(recipe.seed)
    fit(net, x, y, augment=augment if recipe.jitter else None, generator=rng, after_epoch=after_epoch, **settings)
    right = hits(net, x_test, y_test)
    per_class = {word: float(right[y_test == c].float().mean()) for c, word in enumerate(card(name).class_names)}
    net = net.to(memory_format=torch.contiguous_format)
    return Trained(net, recipe, tuple(history), per_class, accuracy(net, x, y))


def train_crops_cnn(recipe: Recipe | None = None, report: Callable[[str], object] | None = None) -> Trained:
    """Train the classifier of the ten crops from scratch: `train("crops_cnn")`, about a minute on two cores."""
    return train("crops_cnn", recipe, report)


def train_digits_cnn(
    batch_norm: bool = False,
    recipe: Recipe | None = None,
    report: Callable[[str], object] | None = None,
    *,
    permuted_labels: bool = False,
) -> Trained:
    """Train the small VGG on scikit-learn's digits at 32 x 32, with or without batch norm.

    Parameters
        batch_norm : bool. After every convolution.
        recipe, report, permuted_labels : see `train`.
    Raises
        MissingExtraError: scikit-learn is not there.
    Cost
        About a minute on two cores.
    """
    return train("digits_cnn_norm" if batch_norm else "digits_cnn", recipe, report, permuted_labels=permuted_labels)


Split = tuple[Tensor, Tensor]


def _crops(recipe: Recipe) -> tuple[Split, Split]:
    train = data.crops("train", seed=recipe.seed, n_per_class=recipe.n_per_class)
    return train.tensors(), data.crops("test").tensors()


def _signals(recipe: Recipe) -> tuple[Split, Split]:
    signals = data.mnist1d(n_per_class=recipe.n_per_class)
    return signals.tensors("train"), signals.tensors("test")


def _digits(_: Recipe) -> tuple[Split, Split]:
    return data.digits("train", size=32).tensors(), data.digits("test", size=32).tensors()


def _objects(recipe: Recipe) -> tuple[Split, Split]:
    return _scenes(recipe, "object")


def _places(recipe: Recipe) -> tuple[Split, Split]:
    return _scenes(recipe, "scene")


def _scenes(recipe: Recipe, label: str) -> tuple[Split, Split]:
    train = data.scenes("train", seed=recipe.seed, n=10 * recipe.n_per_class)
    x, y = train.tensors(label)
    bare = round(recipe.bare * len(x))
    if bare:
        x[:bare] = torch.tensor(train.background[:bare])
    return (x, y), data.scenes("test").tensors(label)


_MATERIAL: dict[str, Callable[[Recipe], tuple[Split, Split]]] = {
    "convnet1d": _signals,
    "crops_cnn": _crops,
    "digits_cnn": _digits,
    "digits_cnn_norm": _digits,
    "vgg64_narrow": _objects,
    "vgg64_narrow_scenes": _places,
}


def save(trained: Trained, path: Path, name: str = "crops_cnn") -> dict[str, Any]:
    """Write the weights as safetensors to `path` and what is known of them as JSON beside it; return the latter."""
    weights = {key: value.contiguous() for key, value in trained.net.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    # One entry only: safetensors writes several in no fixed order, and the same weights would differ in their bytes.
    path.write_bytes(serialised(weights, metadata={"licence": "Apache-2.0"}))
    facts = {
        "model": name,
        "command": f"python -m xaiteach.models.training {name}",
        "licence": "Apache-2.0",
        "training_images": _provenance_of_data(name),
        "recipe": dataclasses.asdict(trained.recipe),
        "loss": round(trained.history[-1][0], 4),
        "test_accuracy": round(trained.history[-1][1], 4),
        "train_accuracy": round(trained.train_accuracy, 4),
        "test_accuracy_per_class": {key: round(value, 3) for key, value in trained.per_class.items()},
        "parameters": sum(value.numel() for value in trained.net.parameters()),
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "versions": {package: importlib.metadata.version(package) for package in ("torch", "numpy", "scikit-image")},
    }
    text = json.dumps(facts, indent=1, ensure_ascii=False) + "\n"
    path.with_suffix(".json").write_text(text, encoding="utf-8")
    return facts


def _provenance_of_data(name: str) -> dict[str, str]:
    if name == "convnet1d":
        return {"MNIST-1D": "generated by data.mnist1d, after Greydanus and Kobak (2024), Apache-2.0"}
    if name.startswith("digits"):
        return {"digits": "scikit-learn's, UCI Machine Learning Repository, CC BY 4.0"}
    sources = data.SOURCES if name == "crops_cnn" else data.SCENES
    return {source.name: f"{source.file} of scikit-image, {source.licence}" for source in sources}


def main(arguments: Sequence[str] | None = None) -> int:
    """Train a packaged model again: NAME [--out PATH] [--epochs N] [--seed N] [--threads N]."""
    parser = argparse.ArgumentParser(prog="python -m xaiteach.models.training", description=main.__doc__)
    parser.add_argument("name", help=f"the model: {', '.join(RECIPES)}")
    parser.add_argument("--out", type=Path, help="weights file to write (default: NAME.safetensors here)")
    parser.add_argument("--epochs", type=int, help="default: the recipe's")
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default 2, as for the packaged weights)")
    chosen = parser.parse_args(arguments)
    if chosen.name not in RECIPES:
        raise unknown("model with a recipe", chosen.name, RECIPES)
    recipe = dataclasses.replace(RECIPES[chosen.name], seed=chosen.seed)
    if chosen.epochs is not None:
        recipe = dataclasses.replace(recipe, epochs=chosen.epochs)

    def report(line: str) -> None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    before = torch.get_num_threads()
    torch.set_num_threads(chosen.threads)
    try:
        trained = train(chosen.name, recipe, report)
    finally:
        torch.set_num_threads(before)
    path = chosen.out or Path(f"{chosen.name}.safetensors")
    facts = save(trained, path, chosen.name)
    report(f"test accuracy {facts['test_accuracy']}; wrote {path} and {path.with_suffix('.json').name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
