"""One training loop for small nets: seeded, on the net's own device, and without a trace in the global random state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from xaiteach import runtime
from xaiteach.errors import OptionError, ShapeError, unknown

__all__ = ["accuracy", "fit", "hits", "permuted"]

OPTIMISERS = ("adamw", "sgd")


def permuted(y: Tensor, seed: int = 0) -> Tensor:
    """Labels in another order: as many of each class as before, and none of them tied to its input any more.

    Parameters
        y : Tensor, shape (n,). Classes.
        seed : int. Draws the order; the same seed and number of labels give the same order.
    Source
        Adebayo et al. (2018), "Sanity checks for saliency maps": training on these is the data randomisation test.
    Examples
        >>> permuted(torch.tensor([0, 0, 1, 1, 2, 2]), seed=1).sort().values.tolist()
        [0, 0, 1, 1, 2, 2]
    """
    return y[torch.randperm(len(y), generator=runtime.generator(seed)).to(y.device)]


def hits(net: nn.Module, x: Tensor, y: Tensor, batch: int = 100) -> Tensor:
    """Bool (n,): whether each input's largest logit is that of its class."""
    with torch.no_grad():
        predicted = torch.cat([net(part).argmax(dim=1) for part in torch.split(x, batch)])
    return predicted == y


def accuracy(net: nn.Module, x: Tensor, y: Tensor, batch: int = 100) -> float:
    """Fraction of the inputs whose largest logit is that of their class."""
    return float(hits(net, x, y, batch).float().mean())


def fit(
    net: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    epochs: int,
    generator: torch.Generator,
    batch: int = 64,
    rate: float = 2e-3,
    weight_decay: float = 1e-3,
    optimiser: str = "adamw",
    augment: Callable[[Tensor, torch.Generator], Tensor] | None = None,
    after_epoch: Callable[[int, float], object] | None = None,
) -> list[float]:
    """Train `net` in place by cross-entropy and return the mean loss of each epoch; `net` ends in eval mode.

    Parameters
        net : any classifier; x and y lie on its device.
        x : Tensor, shape (n, ...), and y : Tensor, shape (n,) long. Inputs and classes.
        epochs : int >= 1. Passes over the inputs.
        generator : on the CPU. Draws the order of the inputs, what `augment` asks for, and the net's dropout.
        batch : int >= 1. Inputs per step.
        rate : float > 0. AdamW's highest rate on a one-cycle schedule; SGD's, which stays.
        weight_decay : float >= 0. AdamW's on all parameters; SGD's on weights alone, as an L2 bill of half of it.
        optimiser : "adamw" or "sgd" (without momentum).
        augment : of a batch and the generator; a new batch of the same shape.
        after_epoch : called with the number of the epoch, from 1, and its loss; the net is in eval mode.
    Raises
        OptionError: no epoch, an empty batch, another optimiser.
        ShapeError: not as many classes as inputs.
    Cost
        epochs x n forward and backward passes. Images are trained with the channels last in memory when `net` has
        been turned so (`net.to(memory_format=torch.channels_last)`): on a CPU about twice as fast.
    Examples
        >>> net, x = nn.Linear(2, 2), torch.eye(2).repeat(8, 1)
        >>> losses = fit(net, x, x.argmax(1), epochs=20, rate=0.1, generator=runtime.generator(0))
        >>> accuracy(net, x, x.argmax(1))
        1.0
    """
    if epochs < 1 or batch < 1:
        raise OptionError(f"fit: `epochs` and `batch` must be at least 1; got {epochs} and {batch}. Try batch=64.")
    if y.shape != x.shape[:1]:
        raise ShapeError(
            f"fit: `y` must hold one class per input, shape ({len(x)},); got {tuple(y.shape)}. Try y.flatten()."
        )
    step = _stepper(net, optimiser, rate, weight_decay, steps=epochs * -(-len(x) // batch))
    losses = []
    devices = [x.device] if x.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        if any(isinstance(module, nn.modules.dropout._DropoutNd) for module in net.modules()):
            torch.manual_seed(int(torch.randint(2**62, (1,), generator=generator)))  # dropout knows no other source
        for epoch in range(1, epochs + 1):
            net.train()
            total = 0.0
            for rows in torch.split(torch.randperm(len(x), generator=generator).to(x.device), batch):
                part = x[rows]
                loss = nn.functional.cross_entropy(net(augment(part, generator) if augment else part), y[rows])
                step(loss)
                total += float(loss.detach()) * len(rows)
            losses.append(total / len(x))
            net.eval()
            if after_epoch:
                after_epoch(epoch, losses[-1])
    return losses


def _stepper(
    net: nn.Module, optimiser: str, rate: float, weight_decay: float, *, steps: int
) -> Callable[[Tensor], None]:
    """One step down the loss, by the optimiser's name."""
    if optimiser not in OPTIMISERS:
        raise unknown("optimiser", optimiser, OPTIMISERS)
    method: torch.optim.Optimizer
    schedule = None
    if optimiser == "adamw":
        method = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=weight_decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(method, rate, total_steps=steps)
    else:
        weights = [p for p in net.parameters() if p.ndim > 1]
        others = [p for p in net.parameters() if p.ndim <= 1]
        groups: list[dict[str, Any]] = [{"params": weights, "weight_decay": weight_decay}, {"params": others}]
        method = torch.optim.SGD(groups, lr=rate)

    def step(loss: Tensor) -> None:
        method.zero_grad()
        torch.autograd.backward(loss)
        method.step()
        if schedule:
            schedule.step()

    return step
