"""What a model computes from a layer's output on, for outputs that are given.

Symbols: A the layer's output for one sample (1, k, *coarse), and r others in its place (r, k, *coarse).

A model is a function of its input; nothing says where it can be cut. So it is always called as a whole, on the sample,
and the layer's output is replaced by a hook. Two things make that cheap. Modules without parts that were called before
the layer hand out what they computed the first time. And the sample is given as one row even when r rows come out of
the layer: whatever is computed past the layer, a residual connection say, broadcasts. A model that counts its input's
rows, or concatenates past the layer, cannot do with one row; `Tail.holds` finds out, and then the sample is given r
times and nothing is kept: any model, at the full price.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from xaiteach.attribution.layers import capture, hookable, split_call
from xaiteach.attribution.scores import run
from xaiteach.guards import check_logits, find_layer

__all__ = ["Tail"]

Forward = Callable[..., Any]


class Tail:
    """One sample's way from a layer's output to the logits: `tail(A)` takes (r, k, *coarse) to (r, classes).

    Parameters
        model : nn.Module from (n, ...) to logits (n, classes), in evaluation mode.
        x : Tensor, shape (1, ...). The sample.
        layer : dotted name, "name#k" for its k-th call, or module.
        who : name the messages start with.
        direct : bool. Whether one row and what was kept are enough (see `holds`); False runs all of the model.
    Attributes
        A : Tensor, shape (1, k, *coarse). The layer's output.
        logits : Tensor, shape (1, classes).
    Raises
        ModelError, OptionError: no such layer, called other than once, or unusable logits.
    """

    def __init__(self, model: nn.Module, x: Tensor, layer: str | nn.Module, who: str, *, direct: bool = True) -> None:
        self.direct = direct
        self._model, self._x, self._layer, self._who = model, x, layer, who
        self._kept: dict[nn.Module, list[Tensor | None]] = {}
        with capture(model, layer, who) as kept, ExitStack() as stack:
            if direct:
                stack.enter_context(_forwards(model, lambda module, forward: self._keeping(module, forward, kept)))
            logits = run(model, x, who)
        self.A, self.logits = kept[0].detach(), logits.detach()

    def __call__(self, A: Tensor) -> Tensor:
        """Logits (r, classes), were the layer's output A, without a graph; the model may overwrite A."""
        return check_logits(self._logits(A, self.direct), len(A), self._who, gradient=False)

    def holds(self, rows: int) -> bool:
        """Whether `direct` gives what the whole model gives, for A and for zeros in its place.

        Parameters
            rows : int >= 1. At most so many rows run at once: with 1, only zeros are tried, with one row each.
        """
        A = torch.cat([self.A, torch.zeros_like(self.A)])[-rows:]
        whole = check_logits(self._logits(A.clone(), False), len(A), self._who, gradient=False)
        try:
            direct = self._logits(A, True)
        except Exception:  # whatever one row leads to, the whole model has just shown that nothing else is wrong
            return False
        if not isinstance(direct, Tensor) or direct.shape != whole.shape:
            return False
        # Half of the digits: sums over another number of rows round differently.
        tolerance = torch.finfo(whole.dtype).eps ** 0.5 * whole.abs().max()
        return bool((direct - whole).abs().max() <= tolerance)

    def _logits(self, A: Tensor, direct: bool) -> Any:
        with torch.no_grad(), _replaced(self._model, self._layer, A, self._who), ExitStack() as stack:
            if direct:
                stack.enter_context(_forwards(self._model, self._replaying))
                return self._model(self._x.clone())
            return self._model(self._x.expand(len(A), *self._x.shape[1:]).clone())

    def _keeping(self, module: nn.Module, forward: Forward, layers: list[Tensor]) -> Forward:
        def keep(*args: Any, **kwargs: Any) -> Any:
            found = forward(*args, **kwargs)
            if not layers:  # the layer's output is not there yet
                # A copy: what follows may work in place. What is no tensor is computed again each time.
                value = found.detach().clone() if isinstance(found, Tensor) else None
                self._kept.setdefault(module, []).append(value)
            return found

        return keep

    def _replaying(self, module: nn.Module, forward: Forward) -> Forward:
        values = iter(self._kept.get(module, ()))

        def replay(*args: Any, **kwargs: Any) -> Any:
            value = next(values, None)
            return forward(*args, **kwargs) if value is None else value.clone()

        return replay


@contextmanager
def _forwards(model: nn.Module, make: Callable[[nn.Module, Forward], Forward]) -> Iterator[None]:
    """Context in which modules without parts compute `make(module, forward)`; their hooks run as always."""
    with ExitStack() as stack:
        for _, module in hookable(model):
            if any(True for _ in module.children()):
                continue
            own = vars(module)  # where an attribute hides the class's method
            before = {"forward": own["forward"]} if "forward" in own else {}
            own["forward"] = make(module, module.forward)
            stack.callback(own.update, before)
            stack.callback(own.pop, "forward")
        yield


@contextmanager
def _replaced(model: nn.Module, layer: str | nn.Module, value: Tensor, who: str) -> Iterator[None]:
    """Context in which the layer's output is `value`."""
    name, number = split_call(layer)
    _, module = find_layer(model, name, who)
    calls = 0

    def replace(*_: object) -> Tensor | None:
        nonlocal calls
        calls += 1
        return value if calls == (number or 1) else None

    handle = module.register_forward_hook(replace)
    try:
        yield
    finally:
        handle.remove()
