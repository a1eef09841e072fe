"""Many small networks trained at once, as one network whose parameters have one more axis.

Symbols: K networks of one structure, D data sets of n samples, S seeds, b samples in a batch.

A small network keeps no processor busy: most of a training step is overhead, paid once for each network. Stacked, the K
networks pay it once (`torch.func`: one functional call, vectorised over parameters and batches, and its gradient). Each
network still sees its own batches and has its own weights and momentum, so that the numbers are those of K loops.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, stack_module_state, vmap
from torch.nn import functional
from torch.nn.modules.dropout import _DropoutNd

from xaiteach.attribution.work import at_least
from xaiteach.errors import ModelError, OptionError, ShapeError
from xaiteach.guards import check_finite, describe

__all__ = ["Builder", "Recipe", "train_many", "train_one"]

Builder = Callable[[torch.Generator], nn.Module]
"""Makes an untrained network, whose weights it draws from the generator."""


@dataclass(frozen=True)
class Recipe:
    """How each network is trained: stochastic gradient descent on the cross-entropy.

    Parameters
        epochs, batch : int >= 1. Passes over the train samples, and samples in a step; the last batch may be smaller.
        rate : float > 0. Learning rate.
        momentum : float in [0, 1).
        weight_decay : float >= 0.
    """

    epochs: int = 10
    batch: int = 64
    rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        at_least(self.epochs, 1, "epochs", "Recipe")
        at_least(self.batch, 1, "batch", "Recipe")
        if not self.rate > 0 or not 0 <= self.momentum < 1 or not self.weight_decay >= 0:
            raise OptionError(
                "Recipe: `rate` must be above 0, `momentum` in [0, 1) and `weight_decay` at least 0; got "
                f"{self.rate!r}, {self.momentum!r} and {self.weight_decay!r}. Try Recipe(rate=0.1)."
            )


def train_one(build: Builder, x: Tensor, y: Tensor, recipe: Recipe, seed: int) -> nn.Module:
    """One network trained by the plain loop, in eval mode: what `train_many` computes for each of its networks.

    Weights are drawn from a generator that starts from `seed`, the order of the samples in each epoch from another.

    Parameters
        build : from a torch.Generator to an nn.Module. It is cast to x's dtype and device.
        x, y : Tensor, shape (n, ...) and (n,) long. Train samples and classes.
        recipe, seed : settings, and what draws.
    Raises
        ShapeError, ModelError: as `train_many`.
    """
    _check(x[None], y, "train_one")
    with torch.inference_mode(False), torch.enable_grad():  # whatever the caller has switched off
        net = _built(build, seed, x, "train_one")
        optimiser = _optimiser(list(net.parameters()), recipe)
        for rows in _batches(len(y), recipe, seed):
            at = rows.to(x.device)
            loss = functional.cross_entropy(net(x[at]), y[at])
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
    return net.eval()


def train_many(
    build: Builder,
    x: Tensor,
    y: Tensor,
    x_test: Tensor,
    recipe: Recipe,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    at_once: int = 60,
    progress: Callable[[int, int], object] | None = None,
) -> Tensor:
    """Logits on the test samples of networks trained on every data set from every seed, shape (D, S, m, classes).

    A seed stands for the same initial weights and the same order of samples on every data set, so that what differs
    between two data sets is the data. The network of (d, s) depends on neither the others nor on `at_once`, but for
    rounding; in float64 it is the one of `train_one` to 1e-9.

    Parameters
        build : from a torch.Generator to an nn.Module without state beside its parameters: no batch norm, no dropout.
        x : Tensor, shape (D, n, ...). The data sets' train samples.
        y : Tensor, shape (n,), long. Their classes, the same in every data set.
        x_test : Tensor, shape (D, m, ...). The data sets' test samples.
        recipe : settings.
        seeds : int, several. Default three.
        at_once : int >= 1. Networks trained at a time; more need more memory.
        progress : called with (networks done, networks in all) after each group, or None.
    Raises
        ShapeError: data that do not fit together, or are not finite.
        ModelError: a network that cannot be stacked, or that came out with numbers that are not finite.
        OptionError: no seed.
    Cost
        D S times one training, in about a seventh of the time of so many loops for small dense networks, and a third
        for small convolutions (two CPU cores).
    Examples
        >>> g = torch.Generator().manual_seed(0)
        >>> x = torch.rand(2, 40, 3, generator=g)
        >>> def build(generator):
        ...     net = torch.nn.Linear(3, 2)
        ...     torch.nn.init.normal_(net.weight, generator=generator)
        ...     return net
        >>> train_many(build, x, (x[0, :, 0] > 0.5).long(), x, Recipe(epochs=2), seeds=[0, 1]).shape
        torch.Size([2, 2, 40, 2])
    """
    who = "train_many"
    _check(x, y, who)
    _check(x_test, None, who)
    at_least(at_once, 1, "at_once", who)
    if len(seeds) == 0 or x_test.shape[2:] != x.shape[2:] or len(x_test) != len(x):
        raise OptionError(
            f"{who}: there must be at least one seed, and as many test sets as data sets, of samples of one shape; got "
            f"{len(seeds)} seeds, {tuple(x.shape)} and {tuple(x_test.shape)}. Try seeds=range(5)."
        )
    plan = [(d, s) for s in seeds for d in range(len(x))]
    found: dict[tuple[int, int], Tensor] = {}
    for start in range(0, len(plan), at_once):
        group = plan[start : start + at_once]
        with torch.inference_mode(False), torch.enable_grad():  # whatever the caller has switched off
            logits = _train_group(build, x, y, x_test, recipe, group, who)
        found |= dict(zip(group, logits, strict=True))
        if progress:
            progress(len(found), len(plan))
    return torch.stack([torch.stack([found[d, s] for s in seeds]) for d in range(len(x))])


def _train_group(
    build: Builder, x: Tensor, y: Tensor, x_test: Tensor, recipe: Recipe, group: Sequence[tuple[int, int]], who: str
) -> Tensor:
    """Test logits (K, m, classes) of the networks of (data set, seed)."""
    nets = [_built(build, seed, x, who) for _, seed in group]
    state, buffers = stack_module_state(nets)  # name -> (K, ...)
    if buffers:
        raise _unstackable(who, f"the buffer {next(iter(buffers))!r}")
    parameters = {name: value.detach().requires_grad_() for name, value in state.items()}
    frame = nets[0].train()

    def loss(own: dict[str, Tensor], samples: Tensor, classes: Tensor) -> Tensor:
        return functional.cross_entropy(functional_call(frame, own, (samples,)), classes)

    slope = vmap(grad_and_value(loss))
    optimiser = _optimiser(list(parameters.values()), recipe)
    data = torch.tensor([d for d, _ in group], device=x.device)[:, None]  # (K, 1)
    orders = {seed: _batches(len(y), recipe, seed) for _, seed in group}
    for batches in zip(*(orders[seed] for _, seed in group), strict=True):
        rows = torch.stack(batches).to(x.device)  # (K, b)
        with torch.no_grad():
            slopes, _ = slope({name: value.detach() for name, value in parameters.items()}, x[data, rows], y[rows])
        for name, value in parameters.items():
            value.grad = slopes[name]
        optimiser.step()
    frame.eval()
    with torch.no_grad():
        own = {name: value.detach() for name, value in parameters.items()}
        logits: Tensor = vmap(lambda p, samples: functional_call(frame, p, (samples,)))(own, x_test[data[:, 0]])
    if not bool(logits.isfinite().all()):
        raise ModelError(
            f"{who}: training must end with finite numbers; some network's logits are not. Try a smaller rate than "
            f"{recipe.rate:g}."
        )
    return logits


def _batches(n: int, recipe: Recipe, seed: int) -> list[Tensor]:
    """Rows of every step, from a generator of the seed that no weight was drawn from."""
    generator = torch.Generator().manual_seed(seed + 2**32)
    epochs = [torch.randperm(n, generator=generator) for _ in range(recipe.epochs)]
    return [rows for order in epochs for rows in torch.split(order, recipe.batch)]


def _optimiser(parameters: list[Tensor], recipe: Recipe) -> torch.optim.SGD:
    return torch.optim.SGD(parameters, recipe.rate, recipe.momentum, weight_decay=recipe.weight_decay)


def _built(build: Builder, seed: int, like: Tensor, who: str) -> nn.Module:
    with torch.random.fork_rng(devices=[]):  # layers draw from the global state before `build` overwrites them
        torch.manual_seed(seed)
        net = build(torch.Generator().manual_seed(seed))
    if not isinstance(net, nn.Module):
        raise ModelError(
            f"{who}: `build` must return an nn.Module; got {describe(net)}. Try a function of a generator."
        )
    random = next((name for name, module in net.named_modules() if isinstance(module, _DropoutNd) and module.p), None)
    if random is not None:
        raise _unstackable(who, f"the dropout {random!r}")
    return net.to(like).train()


def _unstackable(who: str, what: str) -> ModelError:
    return ModelError(
        f"{who}: `build` must make networks whose parameters are all their state, without batch norm and dropout; got "
        f"{what}. Try leaving it out: these networks are small."
    )


def _check(x: Tensor, y: Tensor | None, who: str) -> None:
    if not isinstance(x, Tensor) or not x.is_floating_point() or x.ndim < 3 or x.numel() == 0:
        raise ShapeError(
            f"{who}: data sets must be floating-point tensors of shape (D, n, ...); got {describe(x)}. "
            "Try x[None] for a single one."
        )
    check_finite(x, who)
    if y is not None and (y.dtype != torch.long or tuple(y.shape) != (x.shape[1],)):
        raise ShapeError(
            f"{who}: `y` must be classes, long, one for each of the {x.shape[1]} samples; got {describe(y)}. "
            "Try y.long()."
        )
