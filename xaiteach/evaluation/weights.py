"""States of a broken model: which layers have lost what they learnt, and how their new weights are drawn.

Symbols: L layers in the order in which they run; a state (mode, layer, seed). Cascading down to layer l, every layer
from the end to l is drawn anew; independent, l alone. A layer's new weights come from a generator of its own, made of
its name and the seed: the same in both modes, different for two layers of one shape, and untouched by how many other
layers there are. So all states together need L x S draws, and a state is a choice among them.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from xaiteach.attribution.isolation import leaves_no_trace
from xaiteach.errors import ModelError, OptionError, unknown
from xaiteach.guards import check_model

__all__ = ["INITS", "MODES", "Randomizer", "State", "layers_of", "seeded", "states"]

MODES = ("cascading", "independent")
INITS = ("own", "he", "shuffle")
"""How new weights are made: by the layer's own initialisation, He's, or the trained weights in another order."""


@dataclass(frozen=True)
class State:
    """Which weights a model has.

    Parameters
        mode : "trained", "cascading" or "independent".
        layer : name of the layer (or block) that the state is named after; "" for the trained model.
        seed : int. Which draw.
    """

    mode: str = "trained"
    layer: str = ""
    seed: int = 0

    def __str__(self) -> str:
        return self.mode if self.mode == "trained" else f"{self.mode} {self.layer}, seed {self.seed}"


def layers_of(model: nn.Module, x: Tensor) -> dict[str, tuple[str, ...]]:
    """Layers with weights in the order in which they first run, each with the batch norms that follow it.

    A batch norm is no layer of its own: it belongs to the layer before it, since it makes no sense with another's
    statistics.

    Parameters
        x : Tensor, shape (n, ...). What the model is run on, once, with one sample.
    Returns
        Dict, name of the layer -> names of the modules that lose their weights together.
    Raises
        ModelError: no layer with weights is called.
    Examples
        >>> net = nn.Sequential(nn.Conv1d(1, 2, 3), nn.BatchNorm1d(2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2))
        >>> layers_of(net, torch.zeros(1, 1, 6))
        {'0': ('0', '1'), '4': ('4',)}
    """
    check_model(model, "layers_of", module=True)
    order: list[str] = []
    with leaves_no_trace(model, x.device), torch.no_grad():
        handles = [
            module.register_forward_hook(lambda *_, name=name: order.append(name))
            for name, module in model.named_modules()
            if any(True for _ in module.parameters(recurse=False))
        ]
        try:
            model(x[:1].clone())
        finally:
            for handle in handles:
                handle.remove()
    found: dict[str, tuple[str, ...]] = {}
    last = ""
    for name in dict.fromkeys(order):
        if isinstance(model.get_submodule(name), _BatchNorm) and last:
            found[last] = (*found[last], name)
        else:
            found[name] = (name,)
            last = name
    if not found:
        raise ModelError(
            "layers_of: the model must call at least one layer with weights; it calls none. "
            "Try a model whose layers are modules."
        )
    return found


def states(
    layers: Sequence[str], *, modes: Sequence[str] = MODES, seeds: int = 5, bottom_up: bool = False
) -> list[State]:
    """Every state of a sweep: the trained model, then mode by mode, layer by layer, seed by seed.

    Parameters
        layers : names in the order in which they run.
        modes : of "cascading" and "independent".
        seeds : int >= 1.
        bottom_up : bool. Cascade from the first layer up instead of from the last down.
    Raises
        OptionError: unknown mode, no seed, or no layer.
    Examples
        >>> [str(state) for state in states(["conv", "fc"], modes=["cascading"], seeds=1)]
        ['trained', 'cascading fc, seed 0', 'cascading conv, seed 0']
    """
    for mode in modes:
        if mode not in MODES:
            raise unknown("mode", mode, MODES)
    if isinstance(seeds, bool) or not isinstance(seeds, int) or seeds < 1 or not layers:
        raise OptionError(
            f"states: `seeds` must be an integer from 1 up, and `layers` at least one; got {seeds!r} and "
            f"{len(layers)} layers. Try seeds=5."
        )
    order = list(layers) if bottom_up else list(layers)[::-1]
    return [State(), *(State(mode, layer, seed) for mode in modes for layer in order for seed in range(seeds))]


class Randomizer:
    """A copy of a model that takes on any state; the model itself stays as it is.

    Parameters
        model : nn.Module, trained.
        layers : name -> modules that lose their weights together, in the order in which they run (see `layers_of`).
        init : "own" (each module's reset_parameters; a batch norm's statistics, too), "he" (normal with variance
            2 / fan-in, biases 0, batch norms reset) or "shuffle" (the trained values of each weight in another order;
            batch norms keep theirs, so that only the arrangement is lost).
        bottom_up : bool. As of `states`.
    Raises
        OptionError: unknown `init`, or a module that the model does not have.
        ModelError: init="own", and a module has no reset_parameters.
    """

    def __init__(
        self, model: nn.Module, layers: Mapping[str, Sequence[str]], *, init: str = "own", bottom_up: bool = False
    ) -> None:
        if init not in INITS:
            raise unknown("init", init, INITS)
        known = dict(model.named_modules())
        for name in (name for names in layers.values() for name in names):
            if name not in known:
                raise unknown("layer", name, known)
        self.layers, self.init, self.bottom_up = {key: tuple(names) for key, names in layers.items()}, init, bottom_up
        self.model = copy.deepcopy(model)
        self._trained = {name: t.detach().clone() for name, t in _tensors(self.model).items()}

    def changed(self, state: State) -> tuple[str, ...]:
        """Layers that are drawn anew in a state, in the order in which they run.

        Raises
            OptionError: no such layer or mode.
        """
        if state.mode == "trained":
            return ()
        names = list(self.layers)
        if state.layer not in names:
            raise unknown("layer", state.layer, names)
        if state.mode not in MODES:
            raise unknown("mode", state.mode, MODES)
        at = names.index(state.layer)
        if state.mode == "independent":
            return (state.layer,)
        return tuple(names[: at + 1] if self.bottom_up else names[at:])

    def key(self, state: State) -> tuple[tuple[str, ...], int]:
        """What two states with the same weights share: cascading and independent are one at the first layer."""
        changed = self.changed(state)
        return changed, state.seed if changed else 0

    def drawn(self, layer: str, seed: int) -> dict[str, Tensor]:
        """New weights of a layer, by full name; the same each time."""
        found: dict[str, Tensor] = {}
        for name in self.layers[layer]:
            module = self.model.get_submodule(name)
            trained = {key: self._trained[_join(name, key)] for key in _own(module)}
            fresh = _fresh(module, trained, self.init, seeded(name, seed), name)
            found |= {_join(name, key): value for key, value in fresh.items()}
        return found

    @contextmanager
    def at(self, state: State) -> Iterator[nn.Module]:
        """Context in which `model` is in the state; afterwards it is as trained."""
        own = _tensors(self.model)
        new = {name: value for layer in self.changed(state) for name, value in self.drawn(layer, state.seed).items()}
        kept = {name: own[name].data for name in new}
        try:
            for name, value in new.items():
                own[name].data = value
            yield self.model
        finally:
            for name, value in kept.items():
                own[name].data = value


def _fresh(
    module: nn.Module, trained: Mapping[str, Tensor], init: str, generator: torch.Generator, name: str
) -> dict[str, Tensor]:
    """New values of a module's own parameters and buffers."""
    norm = isinstance(module, _BatchNorm)
    if init == "shuffle":
        return {key: value if norm else _shuffled(value, generator) for key, value in trained.items()}
    if init == "he" and not norm:
        return {
            key: _he(value, generator) if value.ndim > 1 else torch.zeros_like(value) for key, value in trained.items()
        }
    if not callable(getattr(module, "reset_parameters", None)):
        raise ModelError(
            f"randomization: with init='own' a layer must have reset_parameters; {name!r}, a {type(module).__name__}, "
            "has none. Try init='shuffle'."
        )
    other = copy.deepcopy(module).cpu()  # the same draw wherever the model is
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.default_generator.manual_seed(generator.initial_seed())  # a module draws from the global state
        other.reset_parameters()  # type: ignore[operator]
    return {key: value.detach().to(trained[key]) for key, value in _own(other).items()}


def _shuffled(value: Tensor, generator: torch.Generator) -> Tensor:
    order = torch.randperm(value.numel(), generator=generator).to(value.device)
    return value.flatten()[order].reshape(value.shape)


def _he(value: Tensor, generator: torch.Generator) -> Tensor:
    spread = (2 / value[0].numel()) ** 0.5
    drawn = torch.randn(value.shape, generator=generator, dtype=torch.float64)  # in double: float32 sees the same
    found: Tensor = (spread * drawn).to(value)
    return found


def seeded(name: str, seed: int) -> torch.Generator:
    """Generator of a name and a seed, the same in every process."""
    digest = hashlib.sha256(f"{seed} {name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def _own(module: nn.Module) -> dict[str, Tensor]:
    return {**dict(module.named_parameters(recurse=False)), **dict(module.named_buffers(recurse=False))}


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def _join(name: str, key: str) -> str:
    return f"{name}.{key}" if name else key
