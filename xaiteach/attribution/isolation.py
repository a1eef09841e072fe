"""Leave no trace: whatever a method does to the model or to PyTorch's global state is undone, also after an error."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["leaves_no_trace"]

_HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_pre_hooks_with_kwargs",
    "_forward_hooks_always_called",
)
_CUDNN = ("enabled", "benchmark", "deterministic")


@contextmanager
def leaves_no_trace(model: object, device: torch.device, *, foreign: bool = False) -> Iterator[None]:
    """Context in which the model is in evaluation mode and gradients are on; everything comes back at the end.

    Kept are: the training flag of every submodule, buffers, hooks, requires_grad flags, the random states of PyTorch
    (CPU, and the GPU in use), NumPy and Python, the gradient mode, cuDNN's flags and the default dtype.

    Parameters
        model : the model; what is no nn.Module has no state to keep.
        device : where the samples are.
        foreign : bool. True also keeps parameters and their gradients, at the price of a copy: for methods that are
            not ours. Ours never write to them, which the tests show.
    """
    state = _ModelState(model, foreign) if isinstance(model, nn.Module) else None
    try:
        with _random_state(device), _torch_state(), torch.inference_mode(False), torch.enable_grad():
            if isinstance(model, nn.Module):
                model.eval()
            yield
    finally:
        if state is not None:
            state.restore()


@contextmanager
def _random_state(device: torch.device) -> Iterator[None]:
    numpy_state, python_state = np.random.get_state(), random.getstate()  # noqa: NPY002 - the global state is what we keep
    devices = [device] if device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        np.random.set_state(numpy_state)  # noqa: NPY002
        random.setstate(python_state)


@contextmanager
def _torch_state() -> Iterator[None]:
    cudnn = {name: getattr(torch.backends.cudnn, name) for name in _CUDNN}
    dtype = torch.get_default_dtype()
    strict, warn_only = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    try:
        yield
    finally:
        for name, value in cudnn.items():
            if getattr(torch.backends.cudnn, name) != value:
                setattr(torch.backends.cudnn, name, value)
        torch.set_default_dtype(dtype)
        torch.use_deterministic_algorithms(strict, warn_only=warn_only)


class _ModelState:
    """What a model was like when this was made."""

    def __init__(self, model: nn.Module, foreign: bool) -> None:
        self.modules = list(model.modules())
        self.training = [module.training for module in self.modules]
        self.hooks = [{name: set(getattr(module, name, ())) for name in _HOOKS} for module in self.modules]
        self.flags = [(p, p.requires_grad) for p in model.parameters()]
        self.buffers = [_Tensors(_store(module, "_buffers")) for module in self.modules]
        self.parameters = [_Tensors(_store(module, "_parameters")) for module in self.modules] if foreign else []
        self.gradients = [(p, p.grad, _copy(p.grad)) for p in model.parameters()] if foreign else []

    def restore(self) -> None:
        for module, training, hooks in zip(self.modules, self.training, self.hooks, strict=True):
            module.training = training
            for name, keys in hooks.items():
                registered = getattr(module, name, {})
                for key in [key for key in registered if key not in keys]:
                    del registered[key]
        for tensors in (*self.buffers, *self.parameters):
            tensors.restore()
        for p, requires_grad in self.flags:
            if p.requires_grad != requires_grad:
                p.requires_grad_(requires_grad)
        for p, before, copy in self.gradients:
            p.grad = before
            _write_back(before, copy)


class _Tensors:
    """The tensors of one module's dictionary: which they were and what they held."""

    def __init__(self, store: dict[str, Any]) -> None:
        self.store = store
        self.before = {name: (tensor, _copy(tensor)) for name, tensor in store.items()}

    def restore(self) -> None:
        for name, (tensor, copy) in self.before.items():
            if self.store.get(name) is not tensor:
                self.store[name] = tensor
            _write_back(tensor, copy)
        for name in [name for name in self.store if name not in self.before]:
            del self.store[name]


def _store(module: nn.Module, name: str) -> dict[str, Any]:
    """The module's own dictionary; of a scripted one, which has none in Python, a list of what is in it."""
    if isinstance(module, torch.jit.ScriptModule):
        named = module.named_buffers if name == "_buffers" else module.named_parameters
        return dict(named(recurse=False))
    found: dict[str, Any] = getattr(module, name)
    return found


def _copy(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.detach().clone()


def _write_back(tensor: Tensor | None, copy: Tensor | None) -> None:
    if tensor is None or copy is None:
        return
    same = tensor.shape == copy.shape and torch.equal(tensor.detach(), copy)
    if not same:
        # Through .data: the values come back, so a graph that the caller still holds must stay valid.
        tensor.data = copy if tensor.shape != copy.shape else tensor.data.copy_(copy)
