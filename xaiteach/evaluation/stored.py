"""Finished parts of a sweep on disk: written whole or not at all, read only by the same sweep."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from xaiteach.errors import OptionError, SetupError
from xaiteach.evaluation.weights import Randomizer, State

__all__ = ["Folder", "fingerprint"]

_PLAN = "sweep.json"


class Folder:
    """Numbered parts of one sweep.

    Parameters
        path : made where it is not there.
        plan : what the sweep is; kept beside the parts.
    Raises
        OptionError: the folder holds another sweep.
        SetupError: it cannot be written.
    """

    def __init__(self, path: str | Path, plan: Mapping[str, Any]) -> None:
        self.path = Path(path)
        text = json.dumps(plan, indent=1, sort_keys=True)
        there = self.path / _PLAN
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if there.exists() and there.read_text(encoding="utf-8") != text:
                raise OptionError(
                    f"sweep: `folder` must be new, or hold this very sweep; {self.path} holds one with another "
                    f"{_difference(there, plan)}. Try another folder."
                )
            _whole(there, lambda part: part.write_text(text, encoding="utf-8"))
        except OSError as error:
            raise SetupError(
                f"sweep: `folder` must be one that can be written; {self.path}: {error.strerror}. Try another."
            ) from error

    def read(self, number: int) -> dict[str, Tensor] | None:
        """Part of that number, or None where it is not there, or not whole."""
        try:
            found: dict[str, Tensor] = load_file(self._part(number))
        except (OSError, SafetensorError):
            return None
        return found

    def write(self, number: int, tensors: Mapping[str, Tensor]) -> None:
        """Keep a part: after this it is there whole, whatever happens."""
        own = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
        _whole(self._part(number), lambda part: save_file(own, part))

    def _part(self, number: int) -> Path:
        return self.path / f"part-{number:05d}.safetensors"


def _whole(path: Path, write: Any) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}")
    write(part)
    part.replace(path)


def _difference(there: Path, plan: Mapping[str, Any]) -> str:
    try:
        before = json.loads(there.read_text(encoding="utf-8"))
    except ValueError:
        return "plan, which cannot be read"
    other = [key for key in plan if plan[key] != before.get(key)]
    return " and ".join(other) or "plan"


def fingerprint(
    randomizer: Randomizer, x: Tensor, target: Tensor, explainers: Mapping[str, Any], measures: Sequence[Any],
    seed: Sequence[Any], states: Sequence[State],
) -> dict[str, Any]:  # fmt: skip
    """What makes two sweeps the same: weights, images, classes, explainers by name and options, states, measures."""
    model = hashlib.sha256()
    for name, tensor in sorted(randomizer.model.state_dict().items()):
        model.update(name.encode())
        model.update(_bytes(tensor))
    return {
        "model": model.hexdigest(),
        "images": hashlib.sha256(_bytes(x)).hexdigest(),
        "classes": target.tolist(),
        "explainers": {name: _told(explainer) for name, explainer in explainers.items()},
        "states": [str(state) for state in states],
        "layers": {name: list(modules) for name, modules in randomizer.layers.items()},
        "initialisation": [randomizer.init, randomizer.bottom_up],
        "measures": [list(measure) for measure in measures],
        "seed": list(seed),
        "torch": torch.__version__.split("+")[0],
    }


def _bytes(tensor: Tensor) -> bytes:
    flat: bytes = tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
    return flat


def _told(explainer: Any) -> str:
    if isinstance(explainer, str):
        return explainer
    if isinstance(explainer, tuple):
        options = {key: _told_option(value) for key, value in explainer[1].items()}
        return f"{_told(explainer[0])} {json.dumps(options, sort_keys=True)}"
    return f"{getattr(explainer, '__module__', '')}.{getattr(explainer, '__qualname__', type(explainer).__qualname__)}"


def _told_option(value: Any) -> str:
    return hashlib.sha256(_bytes(value)).hexdigest() if isinstance(value, Tensor) else repr(value)
