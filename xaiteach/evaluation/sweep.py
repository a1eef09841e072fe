"""The sweep: explainers x states x images x classes as one plan, computed weight set by weight set.

How a row is computed, in plain words. A state names a weight set; states with the same weights share it. For each
weight set, every explainer explains all rows (each image for each of its classes) at once, with a generator that starts
at the same seed for every weight set: noise is the same in every state. The maps are compared with those of the trained
model, measure by measure, and forgotten. That is all; the rest is how not to compute things twice:

- *Stacked.* Weight sets of small layers are explained together, as one network (`stacked`), where a trial on the first
  sets shows that it gives the same maps, and that it is faster. Explainers that draw are left out: their draws would
  go to other rows.
- *Folded.* Batch norms are multiplied into the layers before them (`fold`), where every explainer is one of ours.
- *Prefix.* What layers before the first changed one computed from the same input is handed out again (`prefix`), where
  nothing has to come back through them.
- *Folder.* Finished groups of weight sets are written there; a sweep that was stopped goes on after its last one.

Only the weight sets of one group are in memory.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from xaiteach.attribution.work import Work
from xaiteach.errors import OptionError, ShapeError
from xaiteach.evaluation.base import Explainer, maps_of, named_explainers, with_own_layer
from xaiteach.evaluation.fold import fold, foldable, looks_inside
from xaiteach.evaluation.prefix import Memory
from xaiteach.evaluation.similarity import KEEPS, SIMILARITIES, similarity
from xaiteach.evaluation.stacked import RowsSplitError, stackable, stacked
from xaiteach.evaluation.stored import Folder, fingerprint
from xaiteach.evaluation.weights import Randomizer, State, seeded

__all__ = ["Measure", "Sweep", "run_sweep"]

Measure = tuple[str, str]
"""(similarity, what is kept): ("ssim", "all")."""

_MOST_SETS = 32
_SETS_BYTES = 64 * 2**20
_SMALL_S, _TRIAL_S = 0.1, 0.02
"""Where one weight set alone takes longer than the first, its layers are not small, and stacking is not even tried.
Else it is tried with so many sets as take the second, one after the other."""
_FEW_MAY = 1.3
"""So many times the time alone may a few sets take, and more of them still be tried."""
_TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4}
"""How far, of the largest value, stacked maps may be from those of one weight set at a time."""


@dataclass(frozen=True, eq=False)
class Sweep:
    """Similarities to the trained model's maps.

    Parameters
        states : K states, the trained model first.
        explainers : their names.
        measures : what was compared.
        values : name -> Tensor, shape (K, measures, n, m), float64: n images, m classes of each.
        trained : name -> Tensor, shape (n, m, *spatial). The trained model's maps.
        kept : (name, state) -> Tensor, shape (n, m, *spatial). Maps of the states that were to be kept.
        ways : name -> "stacked" or "plain": how its maps were computed.
    """

    states: tuple[State, ...]
    explainers: tuple[str, ...]
    measures: tuple[Measure, ...]
    values: Mapping[str, Tensor]
    trained: Mapping[str, Tensor]
    kept: Mapping[tuple[str, State], Tensor] = field(default_factory=dict)
    ways: Mapping[str, str] = field(default_factory=dict)


def run_sweep(
    randomizer: Randomizer,
    x: Tensor,
    target: Tensor,
    explainers: Explainer | Sequence[Explainer] | Mapping[str, Explainer],
    states: Sequence[State],
    *,
    measures: Sequence[Measure] = (("ssim", "all"),),
    keep: Callable[[State], bool] = lambda _: False,
    seed: int = 0,
    folder: str | Path | None = None,
    paired: bool = True,
    stack: bool | None = None,
    budget_mib: float | None = None,
    cache_mib: float = 256.0,
    progress: bool | None = None,
) -> Sweep:
    """Similarity of every state's maps to those of the trained model.

    Parameters
        randomizer : the model with its layers (see `weights.Randomizer`).
        x : Tensor, shape (n, ...). Images.
        target : Tensor, shape (n,) or (n, m), long. Classes to explain, m of each image.
        explainers : one, several in a list, or a mapping from names (see `base.Explainer`).
        states : what to compute; the trained model need not be among them.
        measures : (similarity, keep) pairs, see `similarity`.
        keep : whether a state's maps are kept, for pictures.
        seed : int. What random explainers draw from starts there.
        paired : bool. Every weight set gets the same draws, so that what differs is the weights' doing; noise that
            looks at no model then never changes. False: draws of its own for each, by which such noise changes all.
        folder : where finished groups are written, and read from when the same sweep runs again; None: nowhere.
        stack : None: weight sets are stacked where a trial shows that it is faster; True: wherever it gives the same
            maps; False: never.
        budget_mib : as of `explain`.
        cache_mib : memory for kept prefixes, in MiB; 0: none.
        progress : as of `explain`; the bar counts weight sets and says how long it will take.
    Returns
        Sweep; the values are those of one map after the other, to 1e-10 in float64 (1e-4 of a map's largest value in
        float32, and more where a ReLU's gate flips).
    Raises
        ShapeError: target does not fit x.
        OptionError: unknown measure, or a folder of another sweep.
        Others: as `explain`, for the trained model, before anything long begins.
    """
    named = named_explainers(explainers)
    chosen = _checked_measures(measures)
    rows, classes, shape = _rows(x, target)
    engine = _Engine(randomizer, rows, classes, named, chosen, seed, budget_mib, cache_mib)
    engine.paired = paired
    kept_states = [state for state in states if keep(state)]
    plan = _Plan.of(randomizer, states, engine.most_sets() if stack is not False else 1)
    engine.trained_maps()
    if stack is not False:
        engine.choose(plan, faster=stack is None)
    plan_told = fingerprint(randomizer, rows, classes, named, chosen, [seed, paired], states)
    held = Folder(folder, plan_told) if folder else None
    return engine.run(plan, kept_states, held, shape, progress)


@dataclass(frozen=True)
class _Plan:
    """States in groups of weight sets.

    Parameters
        states : all, in the order asked for.
        keys : weight sets, each once, without the trained one.
        groups : slices of `keys` that run together.
    """

    states: tuple[State, ...]
    keys: tuple[State, ...]
    groups: tuple[slice, ...]

    @classmethod
    def of(cls, randomizer: Randomizer, states: Sequence[State], most: int) -> _Plan:
        first = {randomizer.key(state): state for state in reversed(states)}
        # Sets that share their first changed layer one after the other, so that prefixes stay.
        keys = tuple(state for key, state in sorted(first.items(), key=lambda item: _order(randomizer, item)) if key[0])
        return cls(tuple(states), keys, tuple(slice(at, at + most) for at in range(0, len(keys), most)))


def _order(randomizer: Randomizer, item: tuple[tuple[tuple[str, ...], int], State]) -> tuple[Any, ...]:
    (changed, seed), _ = item
    names = list(randomizer.layers)
    return (names.index(changed[0]) if changed else -1, len(changed), changed, seed)


class _Engine:
    """Computes maps: of the trained model, of one weight set, of several at once."""

    def __init__(
        self, randomizer: Randomizer, x: Tensor, target: Tensor, explainers: Mapping[str, Explainer],
        measures: Sequence[Measure], seed: int, budget_mib: float | None, cache_mib: float,
    ) -> None:  # fmt: skip
        self.randomizer, self.x, self.target = randomizer, x, target
        self.measures, self.seed, self.budget_mib = tuple(measures), seed, budget_mib
        model = randomizer.model
        # A layer that a method chooses is the trained model's, in every state.
        self.explainers = {
            name: with_own_layer(explainer, model, x[:1], target[:1]) for name, explainer in explainers.items()
        }
        self.pairs = foldable(model, x) if not looks_inside(self.explainers.values(), model) else ()
        self.paired = True
        self.trained: dict[str, Tensor] = {}
        self.sets: dict[str, int] = dict.fromkeys(explainers, 1)
        self.draws: dict[str, bool] = {}
        self.tried: dict[tuple[State, str], Sequence[Tensor]] = {}
        self.built: dict[State, list[nn.Module]] = {}
        self.memory = {name: Memory(int(cache_mib * 2**20 / len(explainers))) for name in explainers}

    def network(self, state: State) -> nn.Module:
        """A network with the weights of a state, batch norms folded; no explainer asks for gradients by weights."""
        with self.randomizer.at(state) as model:
            found = fold(model, self.pairs).eval()
        for p in found.parameters():
            p.requires_grad_(False)
        return found

    def maps(self, name: str, model: nn.Module, x: Tensor, target: Tensor, own: str = "") -> Tensor:
        """Maps of rows, shape (rows, *spatial); `own` names draws of their own."""
        generator = seeded(own, self.seed) if own else torch.Generator().manual_seed(self.seed)
        before = generator.get_state()
        found = maps_of(self.explainers[name], model, x, target, generator=generator, budget_mib=self.budget_mib)
        self.draws[name] = not torch.equal(before, generator.get_state())
        return found

    def trained_maps(self) -> None:
        """Explain the trained model; what its layers compute on the way is kept."""
        layers = self._modules(list(self.randomizer.layers))
        model = self.network(State())
        for name, memory in self.memory.items():
            with memory.recording(model, layers):
                self.trained[name] = self.maps(name, model, self.x, self.target)

    def _modules(self, layers: Sequence[str]) -> list[str]:
        folded = {norm for _, norm in self.pairs}
        return [name for layer in layers for name in self.randomizer.layers[layer] if name not in folded]

    def most_sets(self) -> int:
        """Weight sets that run together at most."""
        model = self.randomizer.model
        size = sum(p.numel() * p.element_size() for p in model.parameters())
        return max(1, min(_MOST_SETS, _SETS_BYTES // max(size, 1))) if stackable(model) else 1

    def plain(self, name: str, state: State, model: nn.Module) -> Tensor:
        """Maps of one weight set."""
        changed = self.randomizer.changed(state)
        order = list(self.randomizer.layers)
        unchanged = order[: min((order.index(layer) for layer in changed), default=len(order))]
        with self.memory[name].reusing(model, self._modules(unchanged)):
            return self.maps(name, model, self.x, self.target, "" if self.paired else str(state))

    def together(self, name: str, models: Sequence[nn.Module]) -> Tensor:
        """Maps of several weight sets, shape (sets, rows, *spatial), so many at once as `sets` says."""
        n, at_once, found = len(self.x), self.sets[name], []
        for first in range(0, len(models), at_once):
            some = models[first : first + at_once]
            x = self.x.repeat(len(some), *[1] * (self.x.ndim - 1))
            net = stacked(some, n)
            maps = self.maps(name, net, x, self.target.repeat(len(some)))
            found.append(maps.reshape(len(some), n, *maps.shape[1:]))
        return torch.cat(found)

    def choose(self, plan: _Plan, *, faster: bool) -> None:
        """Try on the first group which explainers can be stacked, how many sets at once, and whether it pays.

        What was computed on the way is kept.
        """
        some = plan.keys[plan.groups[0]] if plan.groups else ()
        if len(some) < 2:
            return
        models = self.built[some[0]] = [self.network(state) for state in some]
        for name in self.explainers:
            if self.draws[name]:
                continue
            start = time.perf_counter()
            known = [self.plain(name, some[0], models[0])]
            if not faster or time.perf_counter() - start < _SMALL_S:
                known.append(self.plain(name, some[1], models[1]))
                alone = (time.perf_counter() - start) / 2 if faster else math.inf
                self.sets[name], known = self._sets_at_once(name, models, known, alone)
            self.tried[some[0], name] = known

    def _sets_at_once(
        self, name: str, models: Sequence[nn.Module], known: list[Tensor], alone: float
    ) -> tuple[int, list[Tensor]]:
        """The largest number of sets that gives the same maps as each alone, in less time, or 1; and the first maps.

        A few sets are tried first, which costs little where it does not pay.

        Parameters
            known : maps of the first two sets, each alone.
            alone : seconds that one takes; inf: whatever is longer.
        """
        expected, best, each = torch.stack(known), 1, alone
        few = len(models) if alone == math.inf else min(len(models), max(2, int(_TRIAL_S / alone)))
        for at_once in (few, *_halves(len(models), few)):
            self.sets[name] = at_once
            start = time.perf_counter()
            try:
                found = self.together(name, models[:at_once])
            except RowsSplitError:  # too many for the budget
                continue
            except Exception:  # a method that looks at its rows, say: each alone has just shown that all else is well
                break
            took = (time.perf_counter() - start) / at_once
            if not _same(found[:2], expected) or took >= (_FEW_MAY if at_once == few else 1) * each:
                break
            if took < each:
                best, each, known = at_once, took, list(found)
            if at_once != few:
                break
        return best, known

    def run(
        self, plan: _Plan, kept_states: Sequence[State], folder: Folder | None, shape: tuple[int, ...],
        progress: bool | None,
    ) -> Sweep:  # fmt: skip
        """Every group, or what the folder has of it; then the values of every state."""
        key_of = self.randomizer.key
        wanted = {key_of(state) for state in kept_states}
        values: dict[tuple[Any, ...], dict[str, Tensor]] = {}
        kept: dict[tuple[Any, ...], dict[str, Tensor]] = {}
        for part in Work(1, progress).slices(len(plan.groups), "group"):
            group = plan.keys[plan.groups[part.start]]
            found = folder.read(part.start) if folder else None
            if found is not None:
                self.built.clear()
            else:
                found = self.group(group, [key_of(state) in wanted for state in group])
                if folder:
                    folder.write(part.start, found)
            for place, state in enumerate(group):
                key = key_of(state)
                values[key] = {name: found[f"values/{name}"][place] for name in self.explainers}
                if key in wanted:
                    kept[key] = {name: found[f"maps/{name}/{place}"] for name in self.explainers}
        return self._result(plan, kept_states, values, kept, shape)

    def group(self, states: Sequence[State], keep: Sequence[bool]) -> dict[str, Tensor]:
        """Values of some weight sets, and maps of those to be kept: "values/NAME" (sets, measures, rows), ..."""
        models = self.built.pop(states[0], None) or [self.network(state) for state in states]
        found: dict[str, Tensor] = {}
        for name, sets in self.sets.items():
            maps = list(self.tried.pop((states[0], name), []))
            left = list(zip(states, models, strict=True))[len(maps) :]
            if sets > 1 and left:
                maps += self.together(name, [model for _, model in left])
            else:
                maps += [self.plain(name, *both) for both in left]
            found[f"values/{name}"] = self.compared(name, torch.stack(list(maps)))
            found |= {f"maps/{name}/{place}": m.cpu() for place, m in enumerate(maps) if keep[place]}
        return found

    def compared(self, name: str, maps: Tensor) -> Tensor:
        """Similarities of maps (sets, rows, *spatial) to the trained model's, shape (sets, measures, rows)."""
        trained = self.trained[name].expand(maps.shape)
        found = [similarity(maps.flatten(0, 1), trained.flatten(0, 1), *both).cpu() for both in self.measures]
        return torch.stack([values.reshape(maps.shape[:2]) for values in found], 1)

    def _result(
        self, plan: _Plan, kept_states: Sequence[State], values: Mapping[Any, Mapping[str, Tensor]],
        kept: Mapping[Any, Mapping[str, Tensor]], shape: tuple[int, ...],
    ) -> Sweep:  # fmt: skip
        own = {name: self.compared(name, maps[None])[0] for name, maps in self.trained.items()}
        key_of = self.randomizer.key

        def of(name: str, state: State) -> Tensor:
            found = own[name] if not key_of(state)[0] else values[key_of(state)][name]
            return found.reshape(len(self.measures), *shape)

        maps = {
            (name, state): (kept[key_of(state)][name] if key_of(state)[0] else self.trained[name].cpu())
            for name in self.explainers
            for state in kept_states
        }
        return Sweep(
            states=plan.states,
            explainers=tuple(self.explainers),
            measures=self.measures,
            values={name: torch.stack([of(name, state) for state in plan.states]) for name in self.explainers},
            trained={name: maps.reshape(*shape, *maps.shape[1:]) for name, maps in self.trained.items()},
            kept={key: m.reshape(*shape, *m.shape[1:]) for key, m in maps.items()},
            ways={name: "stacked" if sets > 1 else "plain" for name, sets in self.sets.items()},
        )


def _halves(most: int, least: int) -> list[int]:
    """`most`, half of it, and so on, as long as it is more than `least`."""
    return [] if most <= least else [most, *_halves(most // 2, least)]


def _same(a: Tensor, b: Tensor) -> bool:
    scale = float(b.abs().max())
    return bool((a - b).abs().max() <= _TOLERANCE.get(a.dtype, 1e-4) * scale)


def _checked_measures(measures: Sequence[Measure]) -> tuple[Measure, ...]:
    for kind, keep in measures:
        if kind not in SIMILARITIES or keep not in KEEPS:
            raise OptionError(
                f"sweep: a measure must be a similarity ({', '.join(SIMILARITIES)}) and what is kept "
                f"({', '.join(KEEPS)}); got {(kind, keep)!r}. Try ('ssim', 'all')."
            )
    return tuple(measures)


def _rows(x: Tensor, target: Tensor) -> tuple[Tensor, Tensor, tuple[int, int]]:
    """Rows, each image once for each of its classes, their classes, and (n, m)."""
    target = torch.as_tensor(target, device=x.device)
    if target.ndim not in (1, 2) or len(target) != len(x) or target.numel() == 0:
        raise ShapeError(
            f"sweep: `target` must hold a class, or several, for each of the {len(x)} images: shape ({len(x)},) or "
            f"({len(x)}, m); got {tuple(target.shape)}. Try logits.argmax(1)."
        )
    classes = target if target.ndim == 2 else target[:, None]
    n, m = classes.shape
    return x.repeat_interleave(m, 0), classes.flatten(), (n, m)
