"""What a model computes, operation by operation, and rules that replace what it hands back.

Hooks on modules see modules only: a ReLU called as a function, a residual sum, a concatenation or a module that is used
twice pass them by, and the method silently becomes another. Here every operation of the forward pass is seen where it
is called (PyTorch's TorchFunctionMode), as a module or as a function. A method is a table: kind of operation -> rule.
A kind without a rule is refused by the name of the layer that it is in, so that nothing is explained by a rule that
nobody chose.

A rule is given the `Operation` and returns the tensor that the model goes on with: usually the same value, with another
way back (`Operation.replaced`). `PLAIN` leaves an operation as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_unflatten

from xaiteach.attribution.kinds import ADVICE, KINDS, kind_of
from xaiteach.attribution.layers import hidden_operations, hookable
from xaiteach.attribution.scores import run
from xaiteach.errors import ModelError

__all__ = ["OTHERS", "PLAIN", "Operation", "Rule", "made_by", "propagated", "ruled"]

OTHERS = "others"
"""Key of the rule for every kind that has none of its own."""

Back = Callable[[Tensor], Sequence[Tensor | None]]


class Operation:
    """One call of a torch function on tensors that depend on the input.

    Attributes
        name : the function's name, "conv2d".
        kind : "linear", "relu", "max_pool", ... (see `kinds`).
        layer : dotted name of the module it is called in, "" for the model itself.
        attached : the tensors that depend on the input, in the order of the arguments, in the model's graph.
        inputs : the same, detached.
        inplace : whether the first of them is overwritten.
        first : whether they are the input itself, moved about at most.
    """

    def __init__(
        self, function: Callable[..., Any], name: str, kind: str, layer: str, leaves: list[Any], spec: Any, first: bool
    ) -> None:
        self.function, self.name, self.kind, self.layer, self.first = function, name, kind, layer, first
        self._leaves, self._spec = leaves, spec
        self._places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor) and leaf.requires_grad]
        self.attached: tuple[Tensor, ...] = tuple(leaves[i] for i in self._places)
        args, kwargs = tree_unflatten(leaves, spec)
        self.args, self.kwargs = args, kwargs
        self.inplace = _in_place(name, kind, args, kwargs)
        # What is overwritten is kept as it was: a rule reads it on the way back.
        self.inputs = tuple(x.detach().clone() if self.inplace else x.detach() for x in self.attached)

    def __call__(self, *inputs: Tensor) -> Any:
        """What the function gives for other tensors in the places of its inputs."""
        leaves = list(self._leaves)
        for place, x in zip(self._places, inputs, strict=True):
            leaves[place] = x
        if self.inplace:
            leaves[self._places[0]] = inputs[0].clone()
        args, kwargs = tree_unflatten(leaves, self._spec)
        return self.function(*args, **kwargs)

    @cached_property
    def value(self) -> Tensor:
        """What the function gives, detached."""
        with torch.no_grad():
            found: Tensor = self(*self.inputs)
        return found

    def argument(self, place: int, name: str, default: Any = None) -> Any:
        """Argument of the call, given by place or by name."""
        return self.args[place] if place < len(self.args) else self.kwargs.get(name, default)

    @property
    def weight(self) -> Tensor:
        """Weight of a linear operation, detached."""
        found: Tensor = self.argument(1, "weight")
        return found.detach()

    @property
    def bias(self) -> Tensor | None:
        """Bias of a linear operation, detached."""
        found: Tensor | None = self.argument(2, "bias")
        return None if found is None else found.detach()

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """The same linear operation, with its stride, padding and groups, on another input, weight and bias."""
        rest = {key: value for key, value in self.kwargs.items() if key not in ("input", "weight", "bias")}
        found: Tensor = self.function(x, weight, bias, *self.args[3:], **rest)
        return found

    def replaced(self, back: Back, value: Tensor | None = None, onto: Sequence[Tensor] | None = None) -> Tensor:
        """The operation's value, with another way back.

        Parameters
            back : callable from what comes for the output to what goes to each input (None for nothing).
            value : Tensor or None. Another value than the operation's.
            onto : tensors of the graph that `back` hands to. Default: `attached`.
        """
        found = self.value if value is None else value
        new: Tensor = _Replaced.apply(found, back, *(self.attached if onto is None else onto))
        return self.attached[0].copy_(new) if self.inplace else new

    def pullback(self, *cotangents: Tensor) -> tuple[Tensor, ...]:
        """What the operation's own derivative hands to each input, for a cotangent of its value."""
        with torch.enable_grad():
            leaves = [x.clone().requires_grad_() for x in self.inputs]
            found: tuple[Tensor, ...] = torch.autograd.grad(self(*leaves), leaves, cotangents)
        return found

    def plain(self) -> Any:
        """The operation as the model has it, in the model's graph."""
        return self.function(*self.args, **self.kwargs)

    def refused(self, who: str, why: str = "") -> ModelError:
        """Error that names the layer, what it does there, and a way out."""
        place = f"layer {self.layer!r}" if self.layer else "the model's own forward"
        reason, advice = ADVICE.get(self.kind, ADVICE["unknown"])
        return ModelError(
            f"{who}: every operation must be one that the method has a rule for; {place} calls {self.name!r}, "
            f"{why or reason}. Try {advice}."
        )


Rule = Callable[[Operation], Any]


def PLAIN(operation: Operation) -> Any:  # noqa: N802 - a constant among the rules
    """Leave the operation as it is, with its own derivative."""
    return operation.plain()


class _Replaced(torch.autograd.Function):
    """A value with a way back that is not its derivative."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, back: Back, *_: Tensor) -> Tensor:
        ctx.back = back
        return value.clone()  # the model may go on to overwrite it, and rules read the value later

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return (None, None, *ctx.back(grads[0]))


_INPLACE_PLACE = {"elu": 2, "celu": 2, "leaky_relu": 2, "hardtanh": 3, "threshold": 3, "rrelu": 4}
"""Where functions have their switch `inplace` when it is given by place; it is the second argument of the others."""


def _in_place(name: str, kind: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Whether the call overwrites its first argument: `add_`, or an activation told so."""
    if name.endswith("_") and not name.startswith("_"):
        return True
    if name in ("__iadd__", "__isub__"):
        return True
    place = _INPLACE_PLACE.get(name, 1) if kind in ("relu", "activation") else len(args)
    given = kwargs.get("inplace", args[place] if place < len(args) else False)
    return isinstance(given, bool) and given


class _Watch(TorchFunctionMode):
    """Sees every torch function while the model runs, and applies the rules."""

    def __init__(self, leaf: Tensor, rules: Mapping[str, Rule], who: str) -> None:
        super().__init__()
        self.leaf, self.rules, self.who = leaf, rules, who
        self.layers: list[str] = []
        leaf._xai_untouched = True  # type: ignore[attr-defined]

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if KINDS.get(name) == "free":
            return func(*args, **kwargs)
        leaves, spec = tree_flatten((args, kwargs))
        leaves = [self._constant(leaf) for leaf in leaves]
        given = [leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.requires_grad]
        if not given or not torch.is_grad_enabled():
            return func(*args, **kwargs)
        untouched = all(getattr(x, "_xai_untouched", False) for x in given)
        args, kwargs = tree_unflatten(leaves, spec)
        kind = kind_of(name, args, kwargs)
        rule = self.rules.get(kind, self.rules.get(OTHERS))
        if rule is None and kind == "unknown":
            found = func(*args, **kwargs)
            if not any(isinstance(part, Tensor) and part.requires_grad for part in tree_flatten(found)[0]):
                return found  # such as zeros_like(x): nothing of the input is in it
        operation = Operation(func, name, kind, self.layers[-1] if self.layers else "", leaves, spec, untouched)
        if rule is None:
            raise operation.refused(self.who)
        found = rule(operation)
        self._mark(found, operation, untouched and kind == "structure")
        return found

    def _constant(self, leaf: Any) -> Any:
        """Parameters cut off from their gradients: what depends on the input is then what requires one."""
        if isinstance(leaf, Tensor) and leaf.is_leaf and leaf.requires_grad and leaf is not self.leaf:
            return leaf.detach()
        return leaf

    @staticmethod
    def _mark(found: Any, operation: Operation, untouched: bool) -> None:
        for tensor in tree_flatten(found)[0]:
            if isinstance(tensor, Tensor):
                tensor._xai_untouched = untouched  # type: ignore[attr-defined]
                tensor._xai_made_by = (operation, tensor._version)  # type: ignore[attr-defined]


def made_by(tensor: Tensor) -> Operation | None:
    """Operation whose output `tensor` is, unless it was overwritten since."""
    operation, version = getattr(tensor, "_xai_made_by", (None, None))
    return operation if version == tensor._version else None


@contextmanager
def ruled(model: Callable[[Tensor], Any], leaf: Tensor, rules: Mapping[str, Rule], who: str) -> Iterator[None]:
    """Context in which the model's operations on what depends on `leaf` follow the rules.

    Parameters
        model : callable; an nn.Module's layers are named in messages.
        leaf : Tensor that requires a gradient. The input.
        rules : kind -> rule. A kind that is missing is refused.
        who : name the messages start with.
    Raises
        ModelError: an operation without a rule, with the layer it is in.
    """
    watch = _Watch(leaf, rules, who)
    with ExitStack() as stack:
        if isinstance(model, nn.Module):
            stack.enter_context(_backward_hooks_asleep(model))
            for name, module in hookable(model):
                enter = module.register_forward_pre_hook(lambda *_, name=name: watch.layers.append(name))
                stack.callback(enter.remove)
                leave = module.register_forward_hook(lambda *_: (watch.layers.pop(), None)[1])
                stack.callback(leave.remove)
        stack.enter_context(watch)
        yield


@contextmanager
def _backward_hooks_asleep(model: nn.Module) -> Iterator[None]:
    """The model's own backward hooks are for gradients; they would also hide what made an operation's input."""
    kept = [(m, name, getattr(m, name)) for m in model.modules() for name in ("_backward_hooks", "_backward_pre_hooks")]
    try:
        for module, name, hooks in kept:
            setattr(module, name, type(hooks)())
        yield
    finally:
        for module, name, hooks in kept:
            setattr(module, name, hooks)


def propagated(
    model: Callable[[Tensor], Any],
    x: Tensor,
    rules: Mapping[str, Rule],
    who: str,
    start: Callable[[Tensor], Tensor],
    replaces: Sequence[str] = ("activation",),
) -> Tensor:
    """What the rules hand back to the input, of x's shape, detached.

    Parameters
        model : callable from (n, ...) to logits (n, classes).
        x : Tensor, shape (n, ...).
        rules : kind -> rule.
        who : name the messages start with.
        start : from the logits (n, classes) to what is handed back from them, of the same shape.
        replaces : of "activation", "max_pool", "linear": what the rules leave nowhere as it is.
    Raises
        ModelError: an operation without a rule, or one that was not seen (in a script, say, or a function with a
            derivative of its own); scores that do not depend on x.
    """
    leaf = x.detach().requires_grad_()
    with ruled(model, leaf, rules, who):
        logits = run(model, leaf, who)
    hidden = hidden_operations(logits.grad_fn, replaces, _Replaced.__name__)
    if hidden:
        raise ModelError(
            f"{who}: every operation must be seen, so that its rule can be applied; {', '.join(hidden)} was computed "
            "out of sight, in a script or an autograd.Function. Try the same layer in plain PyTorch, or "
            "'integrated_gradients'."
        )
    (found,) = torch.autograd.grad(logits, leaf, start(logits), allow_unused=True)
    if found is None:
        raise ModelError(
            f"{who}: the score must depend on `x`; nothing comes back to it. Try a model that uses its input."
        )
    return found
