"""Images in float32 on a CPU run with the channels last in memory: faster, and never another map."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import helpers_attribution as h
import pytest
import torch
from torch import Tensor, nn

from xaiteach import explain
from xaiteach.attribution import layers, methods, registry

METHODS = sorted(methods())
NETS = {
    "residual": lambda: nn.Sequential(h.Block(h.CHANNELS), nn.MaxPool2d(2), h.Mean(), nn.Linear(h.CHANNELS, h.CLASSES)),
    "reused": h.Reused,
    "branches": h.Branches,
}


@pytest.fixture
def in_double(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Float64 in the layout of float32: two layouts can then be compared to more digits."""
    monkeypatch.setattr(layers, "_USUAL_LAYOUT", ())
    return


class Noting(nn.Module):
    """Notes the layout of what it is given; with `view`, takes a view that only the usual one allows."""

    def __init__(self, net: nn.Module, *, view: bool = False) -> None:
        super().__init__()
        self.net, self.view = net, view
        self.layouts: list[bool] = []

    def forward(self, x: Tensor) -> Tensor:
        self.layouts.append(x.is_contiguous(memory_format=torch.channels_last))
        return self.net(x.view(len(x), -1).view(x.shape) if self.view else x)


def _options(method: str) -> dict[str, Any]:
    return {"layer": f"net.{h.LAST}"} if "layer" in registry.entry(method).options else {}


@pytest.mark.usefixtures("in_double")
@pytest.mark.parametrize("method", METHODS)
def test_both_layouts_give_one_map(method: str) -> None:
    nets = [Noting(h.net_of(method), view=view) for view in (False, True)]
    last, usual = (h.run(method, net, h.batch(), h.targets(), **_options(method)) for net in nets)
    torch.testing.assert_close(last.values, usual.values, atol=1e-11, rtol=1e-9)
    assert all(nets[0].layouts)
    assert nets[1].layouts[0]  # a try
    assert not any(nets[1].layouts[1:])


@pytest.mark.usefixtures("in_double")
@pytest.mark.parametrize("method", ["guided_backprop", "lrp_alpha_beta", "deeplift", "deep_taylor", "saliency"])
@pytest.mark.parametrize("net", NETS)
def test_both_layouts_give_one_map_in_nets_with_branches(method: str, net: str) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = NETS[net]().double()
    last, usual = (h.run(method, Noting(model, view=view), h.batch(), h.targets()).values for view in (False, True))
    torch.testing.assert_close(last, usual, atol=1e-11, rtol=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_the_caller_sees_nothing_of_it(method: str) -> None:
    net, x = Noting(h.net_of(method, dtype=torch.float32)), h.batch(dtype=torch.float32)
    a = h.run(method, net, x, h.targets(), **_options(method))
    assert all(net.layouts)
    assert x.is_contiguous()
    assert a.values.is_contiguous()
    assert a.map.is_contiguous()


@pytest.mark.parametrize(("shape", "dtype"), [((2, 2, 8, 6), torch.float64), ((2, 2, 12), torch.float32)])
def test_in_double_and_in_other_ranks_the_layout_is_the_usual_one(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    strides: list[tuple[int, ...]] = []

    def model(x: Tensor) -> Tensor:
        strides.append(x.stride())
        return x.flatten(1)

    x = torch.randn(shape, dtype=dtype)
    explain(model, x, 0, "saliency")
    assert strides == [x.stride()] * 2


def test_a_models_own_error_is_not_mistaken_for_a_view() -> None:
    calls: list[int] = []

    def model(x: Tensor) -> Tensor:
        calls.append(len(x))
        raise h.BoomError

    with pytest.raises(h.BoomError):
        explain(model, h.batch(dtype=torch.float32), 0, "saliency")
    assert len(calls) == 1


def test_a_view_that_no_layout_allows_is_the_models_own_error() -> None:
    def model(x: Tensor) -> Tensor:
        return x.transpose(1, 2).view(len(x), -1)

    with pytest.raises(RuntimeError, match="view size is not compatible"):
        explain(model, h.batch(dtype=torch.float32), 0, "saliency")
