"""The recipes that made the packaged weights; run from the command line they make them again from scratch.

    python -m xaiteach.models.training crops_cnn --out crops_cnn.safetensors

About a minute on two CPU cores. Training on the same machine with the same number of threads gives the same weights;
elsewhere sums round differently, and the accuracy may move by a per cent or two.
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
from torch import nn

from xaiteach import data, runtime
from xaiteach.errors import OptionError, unknown
from xaiteach.models.registry import build

__all__ = ["Recipe", "Trained", "accuracy", "augmented", "main", "save", "train_crops_cnn"]


@dataclass(frozen=True)
class Recipe:
    """Settings of one training run.

    Parameters
        epochs, batch : int. Passes over the train split, and crops per step.
        rate : float. Highest learning rate of AdamW on a one-cycle schedule.
        weight_decay : float. AdamW's.
        jitter : float in [0, 1). Brightness, contrast and saturation vary by this fraction, each channel by half of it.
        n_per_class : int. Crops per class in the train split.
        seed : int. Draws the weights, the order of the crops and their augmentation.
    """

    epochs: int = 30
    batch: int = 64
    rate: float = 2e-3
    weight_decay: float = 1e-3
    jitter: float = 0.3
    n_per_class: int = 150
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained network and what it reached.

    Parameters
        net : the network, in eval mode.
        recipe : how it was trained.
        history : (loss, test accuracy) after each epoch.
        per_class : test accuracy by class name.
    """

    net: nn.Module
    recipe: Recipe
    history: tuple[tuple[float, float], ...]
    per_class: dict[str, float]


def augmented(x: torch.Tensor, jitter: float, rng: torch.Generator) -> torch.Tensor:
    """Images flipped and recoloured at random, each on its own; a new tensor, clipped to [0, 1].

    Without the recolouring the net leans on one colour per class, and its maps light up wherever that colour is.

    Parameters
        x : Tensor, shape (n, 3, h, w), in [0, 1].
        jitter : see Recipe.
        rng : generator that draws.
    """
    n = len(x)

    def factor(*shape: int) -> torch.Tensor:
        return 2 * torch.rand(n, *shape, generator=rng) - 1

    for axis in (3, 2):
        x = torch.where(factor(1, 1, 1) > 0, x.flip(axis), x)
    x = x * (1 + jitter * factor(1, 1, 1))
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    x = mean + (x - mean) * (1 + jitter * factor(1, 1, 1))
    grey = x.mean(dim=1, keepdim=True)
    x = grey + (x - grey) * (1 + jitter * factor(1, 1, 1))
    return (x * (1 + jitter / 2 * factor(3, 1, 1))).clamp(0, 1)


def accuracy(net: nn.Module, x: torch.Tensor, y: torch.Tensor, batch: int = 100) -> float:
    """Fraction of the inputs whose largest logit is that of their class."""
    return float(_hits(net, x, y, batch).float().mean())


def train_crops_cnn(recipe: Recipe | None = None, report: Callable[[str], object] | None = None) -> Trained:
    """Train the classifier of the ten crops from scratch, on the CPU.

    Parameters
        recipe : settings. Default: those of the packaged weights.
        report : called with one line of text after each epoch.
    Raises
        OptionError: no epoch, or an empty batch.
    Cost
        About 2 s per epoch on two cores.
    """
    recipe = recipe or Recipe()
    if recipe.epochs < 1 or recipe.batch < 1:
        raise OptionError(
            f"train_crops_cnn: `epochs` and `batch` are at least 1; got {recipe.epochs} and {recipe.batch}."
        )
    train = data.crops("train", seed=recipe.seed, n_per_class=recipe.n_per_class)
    (x, y), (x_test, y_test) = train.tensors(), data.crops("test").tensors()
    net = build("crops_cnn", recipe.seed)
    rng = runtime.generator(recipe.seed)
    optimiser = torch.optim.AdamW(net.parameters(), lr=recipe.rate, weight_decay=recipe.weight_decay)
    steps = recipe.epochs * -(-len(x) // recipe.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.rate, total_steps=steps)
    history = []
    for epoch in range(1, recipe.epochs + 1):
        net.train()
        total = 0.0
        for rows in _batches(torch.randperm(len(x), generator=rng), recipe.batch):
            loss = nn.functional.cross_entropy(net(augmented(x[rows], recipe.jitter, rng)), y[rows])
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
            schedule.step()
            total += float(loss.detach()) * len(rows)
        history.append((total / len(x), accuracy(net.eval(), x_test, y_test)))
        if report:
            report(
                f"epoch {epoch:2d} of {recipe.epochs}: loss {history[-1][0]:.3f}, test accuracy {history[-1][1]:.3f}"
            )
    hits = _hits(net, x_test, y_test)
    per_class = {name: float(hits[y_test == c].float().mean()) for c, name in enumerate(train.class_names)}
    return Trained(net, recipe, tuple(history), per_class)


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
        "training_images": {s.name: f"{s.file} of scikit-image, {s.licence}" for s in data.SOURCES},
        "recipe": dataclasses.asdict(trained.recipe),
        "loss": round(trained.history[-1][0], 4),
        "test_accuracy": round(trained.history[-1][1], 4),
        "test_accuracy_per_class": {key: round(value, 3) for key, value in trained.per_class.items()},
        "parameters": sum(value.numel() for value in weights.values()),
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "versions": {package: importlib.metadata.version(package) for package in ("torch", "numpy", "scikit-image")},
    }
    text = json.dumps(facts, indent=1, ensure_ascii=False) + "\n"
    path.with_suffix(".json").write_text(text, encoding="utf-8")
    return facts


def main(arguments: Sequence[str] | None = None) -> int:
    """Train a packaged model again: NAME [--out PATH] [--epochs N] [--seed N] [--threads N]."""
    parser = argparse.ArgumentParser(prog="python -m xaiteach.models.training", description=main.__doc__)
    parser.add_argument("name", help="the model: crops_cnn")
    parser.add_argument("--out", type=Path, help="weights file to write (default: NAME.safetensors here)")
    parser.add_argument("--epochs", type=int, default=Recipe.epochs)
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default 2, as for the packaged weights)")
    chosen = parser.parse_args(arguments)
    if chosen.name != "crops_cnn":
        raise unknown("model with a recipe", chosen.name, ["crops_cnn"])

    def report(line: str) -> None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    before = torch.get_num_threads()
    torch.set_num_threads(chosen.threads)
    try:
        trained = train_crops_cnn(Recipe(epochs=chosen.epochs, seed=chosen.seed), report)
    finally:
        torch.set_num_threads(before)
    path = chosen.out or Path(f"{chosen.name}.safetensors")
    facts = save(trained, path, chosen.name)
    report(f"test accuracy {facts['test_accuracy']}; wrote {path} and {path.with_suffix('.json').name}")
    return 0


def _batches(x: torch.Tensor, size: int) -> list[torch.Tensor]:
    return [x[start : start + size] for start in range(0, len(x), size)]


def _hits(net: nn.Module, x: torch.Tensor, y: torch.Tensor, batch: int = 100) -> torch.Tensor:
    with torch.no_grad():
        predicted = torch.cat([net(part).argmax(dim=1) for part in _batches(x, batch)])
    return predicted == y


if __name__ == "__main__":
    sys.exit(main())
