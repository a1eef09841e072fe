"""Small nets, and the snapshot by which a test sees that nothing was left behind."""

from __future__ import annotations

import inspect
import random
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from xaiteach import Attribution, explain
from xaiteach.attribution import registry

CONV = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
NORM = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
POOL = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}
SPATIAL = {1: (12,), 2: (8, 6), 3: (4, 6, 4)}
CLASSES = 4
CHANNELS = 2
LAST = "5"
"""Name of the last convolution's ReLU in `conv_net`, and, with one more layer before it, in the others."""


class Mean(nn.Module):
    def forward(self, A: Tensor) -> Tensor:
        return A.flatten(2).mean(2)


def conv_net(rank: int = 2, head: str = "flatten", seed: int = 0, dtype: torch.dtype = torch.float64) -> nn.Sequential:
    """conv - ReLU - pool - conv - batch norm - ReLU - head, in training mode, with batch norm statistics of its own."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        conv, k = CONV[rank], 5
        size = int(np.prod([side // 2 for side in SPATIAL[rank]]))
        layers: list[nn.Module] = [conv(CHANNELS, 3, 3, padding=1), nn.ReLU(), POOL[rank](2)]
        layers += [conv(3, k, 3, padding=1), NORM[rank](k), nn.ReLU()]
        if head == "gap":
            layers += [Mean(), nn.Linear(k, CLASSES)]
        elif head == "hidden":
            layers += [nn.Flatten(), nn.Linear(k * size, 7), nn.ReLU(), nn.Linear(7, CLASSES)]
        else:
            layers += [nn.Flatten(), nn.Linear(k * size, CLASSES)]
        net = nn.Sequential(*layers)
        norm = net[4]
        norm.running_mean.normal_(std=0.1)
        norm.running_var.uniform_(0.5, 1.5)
        return net.to(dtype)


def batch(n: int = 3, rank: int = 2, seed: int = 1, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, CHANNELS, *SPATIAL[rank], generator=generator, dtype=torch.float64).to(dtype)


def targets(n: int = 3) -> Tensor:
    return torch.arange(n) % CLASSES


def features(net: nn.Sequential) -> nn.Sequential:
    return net[:6]


def head_of(net: nn.Sequential) -> nn.Sequential:
    return net[6:]


class Functional(nn.Module):
    """The last ReLU is a function; the first is a module."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.relu1 = nn.Conv2d(CHANNELS, 3, 3), nn.ReLU()
        self.conv2 = nn.Conv2d(3, 4, 3)
        self.fc = nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        h = functional.relu(self.conv2(self.relu1(self.conv1(x))))
        return self.fc(h.mean((2, 3)))


class Reused(nn.Module):
    """One nn.ReLU for all layers, as many students write it."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(CHANNELS, 3, 3), nn.Conv2d(3, 4, 3)
        self.relu, self.fc = nn.ReLU(inplace), nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        h = self.relu(self.conv2(self.relu(self.conv1(x))))
        return self.fc(h.mean((2, 3)))


class Block(nn.Module):
    """A residual block whose one ReLU module works twice, the second time on the sum."""

    def __init__(self, k: int, by_function: bool = False) -> None:
        super().__init__()
        self.conv1, self.conv2, self.norm = (
            nn.Conv2d(k, k, 3, padding=1),
            nn.Conv2d(k, k, 3, padding=1),
            nn.BatchNorm2d(k),
        )
        self.relu: Any = functional.relu if by_function else nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(self.conv2(self.relu(self.conv1(x))))
        h += x
        return self.relu(h)


class Branches(nn.Module):
    """Two convolutions side by side, joined by concatenation."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Sequential(nn.Conv2d(CHANNELS, 3, 1), nn.ReLU())
        self.right = nn.Sequential(nn.Conv2d(CHANNELS, 3, 3, padding=1), nn.ReLU())
        self.fc = nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.cat([self.left(x), self.right(x)], 1).mean((2, 3)))


class Frames(nn.Module):
    """Frames (n, c, t, h, w) folded into the batch of a 2-D convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu, self.fc = nn.Conv2d(CHANNELS, 3, 3), nn.ReLU(), nn.Linear(3, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        n, c, t, h, w = x.shape
        A = self.relu(self.conv(x.transpose(1, 2).reshape(n * t, c, h, w)))
        return self.fc(A.mean((2, 3)).reshape(n, t, -1).mean(1))


class Wrapped(nn.Module):
    """A net whose output goes through `change`, with a buffer that counts its calls."""

    def __init__(self, change: Any, net: nn.Module | None = None) -> None:
        super().__init__()
        self.net = conv_net() if net is None else net
        self.change = change
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))

    def forward(self, x: Tensor) -> Any:
        self.calls += 1
        return self.change(self.net(x))


def quick(method: str, x: Tensor) -> dict[str, Any]:
    """Options with which `method` runs on `x` in no time, with a generator of its own where it draws."""
    entry = registry.entry(method)
    few = {"n_samples": 3, "n_steps": 4, "n_baselines": 2, "n_masks": 5, "iterations": 2}
    options: dict[str, Any] = {name: value for name, value in few.items() if name in entry.options}
    if method == "kernel_shap":
        options["n_samples"] = 12
    if method in NEED_DATA:
        options["baseline"] = torch.randn(3, *x.shape[1:], generator=torch.Generator().manual_seed(7)).to(x)
    if "superpixels" in entry.options:
        rows = torch.arange(x.shape[2] if x.ndim > 2 else x.shape[1])
        labels = (rows * 4 // len(rows)).reshape(-1, *[1] * (x.ndim - 3))
        options["superpixels"] = labels.expand(x.shape[2:] if x.ndim > 2 else x.shape[1:]).clone()
    if draws(method):
        options["generator"] = torch.Generator().manual_seed(5)
    return options


def run(method: str, model: Any, x: Tensor, target: Any, **options: Any) -> Attribution:
    """`explain` with the options of `quick`; options that the method does not have are left out, unless unknown to all.

    Where x is no batch, the options are those for a batch of the usual shape.
    """
    usual = x if x.ndim > 2 and bool(x.isfinite().all()) else batch()
    known = {name for entry in registry.REGISTRY.values() for name in entry.options}
    own = registry.entry(method).options
    given = {name: value for name, value in options.items() if name in own or name not in known}
    return explain(model, x, target, method, **{**quick(method, usual), **given})


def net_of(method: str, rank: int = 2, dtype: torch.dtype = torch.float64) -> nn.Sequential:
    """Net that the method takes: CAM is defined for a head of average pooling and one dense layer."""
    return conv_net(rank, "gap" if method == "cam" else "flatten", dtype=dtype)


def draws(method: str) -> bool:
    """Whether the method draws random numbers."""
    return "generator" in _parameters(method)


def splits_itself(method: str) -> bool:
    """Whether the method splits its own rows."""
    return "work" in _parameters(method)


def _parameters(method: str) -> set[str]:
    return set(inspect.signature(registry.resolve(registry.entry(method).target, method)).parameters)


BLIND = ("edge_detector", "random_map")
"""Controls, which never run the model beyond the first look at it."""

FORWARD_ONLY = ("ablation_cam", "cam")
"""Methods that look into the model and take no gradient of it."""

AT_LEAST = {"dasp": 2, "deeplift": 2, "deep_shap": 2, "deeplift_reveal_cancel": 3}
"""Rows that a method needs at once for one sample, where it is more than one."""

NEED_DATA = ("expected_gradients", "gradient_shap", "deep_shap")
"""Methods whose baseline is a set of samples, for which there is no default."""


class BoomError(RuntimeError):
    """What a test raises in the middle of something."""


@contextmanager
def fails(kind: type[Exception], *parts: str) -> Iterator[None]:
    """The block raises exactly `kind`, and the message has its three parts and the words given."""
    with pytest.raises(kind) as caught:
        yield
    assert caught.type is kind
    text = str(caught.value)
    three_parts = r".*(must|takes|can be|is the) .+; .+\. Try .+\.$"
    unknown_name = r"(.+: )?unknown .+ Known: .+"
    assert re.fullmatch(f"{three_parts}|{unknown_name}", text, re.S), f"not three parts: {text}"
    for part in parts:
        assert part in text, f"{part!r} is not in: {text}"


_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


class Snapshot:
    """Everything that explain promises to leave as it was."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.state = self._read()

    def _read(self) -> dict[str, Any]:
        modules = dict(self.model.named_modules())
        state: dict[str, Any] = {f"training {name}": module.training for name, module in modules.items()}
        for name, module in modules.items():
            state |= {f"{kind} {name}": list(getattr(module, kind)) for kind in _HOOKS}
        for name, p in self.model.named_parameters():
            state |= {f"flag {name}": p.requires_grad, f"id {name}": id(p), f"value {name}": p.detach().clone()}
            state |= {f"grad {name}": None if p.grad is None else p.grad.clone(), f"grad id {name}": id(p.grad)}
            state |= {f"version {name}": p._version}
        for name, buffer in self.model.named_buffers():
            state |= {f"buffer {name}": buffer.clone(), f"buffer id {name}": id(buffer)}
        numpy_state = np.random.get_state()  # noqa: NPY002
        state |= {"cpu": torch.get_rng_state(), "numpy": (numpy_state[1].tolist(), numpy_state[2])}
        state |= {"python": random.getstate(), "grad mode": torch.is_grad_enabled()}
        if torch.cuda.is_available():
            state["cuda"] = torch.cuda.get_rng_state()
        cudnn = torch.backends.cudnn
        state["cudnn"] = (cudnn.enabled, cudnn.benchmark, cudnn.deterministic)
        state["default dtype"] = torch.get_default_dtype()
        state["deterministic"] = torch.are_deterministic_algorithms_enabled()
        return state

    def changes(self) -> list[str]:
        now = self._read()
        return sorted(key for key in now.keys() | self.state.keys() if not _same(now.get(key), self.state.get(key)))


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return torch.equal(a, b)
    return type(a) is type(b) and bool(a == b)
