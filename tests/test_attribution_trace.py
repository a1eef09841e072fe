"""Nothing is left behind: the shared test over every method, also when something raises half-way."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import captum.attr
import helpers_attribution as h
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from xaiteach import explain
from xaiteach.attribution import methods, registry
from xaiteach.attribution.isolation import leaves_no_trace
from xaiteach.errors import ModelError

METHODS = sorted(methods())


def used_model(method: str = "grad_cam") -> h.Wrapped:
    """A model in the middle of its life: mixed modes, gradients, a frozen parameter, hooks, a buffer that counts."""
    model = h.Wrapped(lambda s: s + 0 * torch.rand(()), h.net_of(method))
    model.net[4].eval()
    model.net[0].bias.requires_grad_(False)
    model.net(h.batch()).sum().backward()
    model.net[1].register_forward_hook(lambda *_: None)
    model.net[3].register_full_backward_hook(lambda *_: None)
    return model


@pytest.mark.parametrize("output", ["logit", "probability"])
@pytest.mark.parametrize("budget_mib", [None, 1e-6])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_leaves_no_trace(method: str, budget_mib: float | None, output: str) -> None:
    model, x = used_model(method), h.batch()
    before, x_before = h.Snapshot(model), x.clone()
    h.run(method, model, x, h.targets(), budget_mib=budget_mib, output=output)
    assert before.changes() == []
    assert torch.equal(x, x_before)
    assert not x.requires_grad
    assert x.grad is None


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_leaves_no_trace_of_itself_without_gradients(method: str, mode: Callable[[], Any]) -> None:
    model = used_model(method)
    with mode():
        before = h.Snapshot(model)
        h.run(method, model, h.batch(), 1)
        assert before.changes() == []


class RaisesLater(nn.Module):
    """Passes its input on, and raises on its `last` call."""

    def __init__(self, last: int, error: type[BaseException] = h.BoomError) -> None:
        super().__init__()
        self.left, self.error = last, error

    def forward(self, x: Tensor) -> Tensor:
        self.left -= 1
        if self.left == 0:
            raise self.error
        return x


@pytest.mark.parametrize("raised", [h.BoomError, KeyboardInterrupt])
@pytest.mark.parametrize("last", [1, 2, 3])
@pytest.mark.parametrize("method", METHODS)
def test_a_model_that_raises_leaves_no_trace(method: str, last: int, raised: type[BaseException]) -> None:
    if method in h.BLIND and last > 1:
        return  # it is over before the model is run again
    model = used_model(method)
    model.net.insert(7 if method == "cam" else 6, RaisesLater(last, raised))
    before = h.Snapshot(model)
    with pytest.raises(raised):
        h.run(method, model, h.batch(), 1, budget_mib=1e-6)
    assert before.changes() == []


@pytest.mark.parametrize("method", METHODS)
def test_a_backward_pass_that_raises_leaves_no_trace(method: str) -> None:
    class Bad(torch.autograd.Function):
        @staticmethod
        def forward(_: Any, x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def backward(_: Any, __: Tensor) -> Tensor:
            raise h.BoomError

    model = used_model(method)
    model.change = Bad.apply
    before = h.Snapshot(model)
    if registry.entry(method).needs == "scores" or method in h.FORWARD_ONLY:
        h.run(method, model, h.batch(), 1)  # it has no backward pass
    else:
        # A function with a derivative of its own is out of sight of the methods that replace derivatives.
        refuses = registry.entry(method).needs == "operations"
        with pytest.raises(ModelError if refuses else h.BoomError):
            h.run(method, model, h.batch(), 1)
    assert before.changes() == []


@pytest.mark.parametrize("method", METHODS)
def test_a_hook_that_raises_leaves_no_trace(method: str) -> None:
    def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
        raise h.BoomError

    model = used_model(method)
    model.net[6].register_forward_hook(hook)
    before = h.Snapshot(model)
    with pytest.raises(h.BoomError):
        h.run(method, model, h.batch(), 1)
    assert before.changes() == []


@pytest.mark.parametrize("change", [{"target": 9}, {"layer": "nowhere"}, {"output": "prob"}, {"layer": "net.6"}])
def test_a_refusal_leaves_no_trace(change: dict[str, Any]) -> None:
    model = used_model()
    before = h.Snapshot(model)
    with pytest.raises((ValueError, IndexError)):
        explain(**{"model": model, "x": h.batch(), "target": 1, "method": "grad_cam", **change})
    assert before.changes() == []


def vandal(model: h.Wrapped, x: Tensor, target: Tensor, *, raises: bool = False) -> Tensor:
    """Touch everything that a method could touch."""
    model.train()
    model.net(x).sum().backward()
    model.net[0].weight.data.add_(1.0)
    model.net[3].weight = nn.Parameter(torch.zeros_like(model.net[3].weight))
    model.net[4].running_mean.add_(1.0)
    model.net[4].running_var = torch.ones(5)
    model.net[7].bias.requires_grad_(False)
    model.net[7].weight.grad = None
    model.net[2].register_forward_hook(lambda *_: None)
    model.net[2].register_forward_pre_hook(lambda *_: None)
    model.net[2].register_full_backward_hook(lambda *_: None)
    model.net[1].register_buffer("extra", torch.ones(3))
    x.add_(1.0)
    target.add_(1)
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002
    random.seed(3)
    torch.set_grad_enabled(False)
    torch.set_default_dtype(torch.float16)
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = not torch.backends.cudnn.benchmark
    if raises:
        raise h.BoomError
    return x


@pytest.mark.parametrize("raises", [False, True])
def test_a_method_that_is_not_ours_is_cleaned_up_after(raises: bool) -> None:
    model, x, c = used_model(), h.batch(), h.targets()
    before, x_before = h.Snapshot(model), x.clone()
    if raises:
        with pytest.raises(h.BoomError):
            explain(model, x, c, vandal, raises=True)
    else:
        assert explain(model, x, c, vandal).target.tolist() == [0, 1, 2]
    # A count of in-place writes is all that stays of a .data change undone.
    assert [key for key in before.changes() if not key.startswith("version")] == []
    assert torch.equal(x, x_before)
    assert c.tolist() == [0, 1, 2]


@pytest.mark.parametrize("kind", [captum.attr.GuidedBackprop, captum.attr.DeepLift, captum.attr.Saliency])
def test_captums_methods_leave_no_trace(kind: type) -> None:
    model = h.conv_net(head="hidden")
    before = h.Snapshot(model)
    explain(model, h.batch(), 1, kind(model))
    assert before.changes() == []


def test_a_graph_that_the_caller_holds_stays_valid() -> None:
    model = h.conv_net(head="gap")
    loss = model(h.batch()).sum()
    for method in METHODS:
        h.run(method, model, h.batch(), 1)
    explain(model, h.batch(), 1, lambda _, x, __: x)
    loss.backward()
    assert model[0].weight.grad is not None


def test_the_context_alone_puts_a_model_into_evaluation_mode_and_back() -> None:
    model = used_model()
    with leaves_no_trace(model, torch.device("cpu")):
        assert not any(module.training for module in model.modules())
        assert torch.is_grad_enabled()
    assert model.training
    assert not model.net[4].training
