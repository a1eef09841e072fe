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
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node, disable_saved_tensors_hooks
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_unflatten

from xaiteach.attribution.kinds import ADVICE, KINDS, kind_of
from xaiteach.attribution.layers import hidden_operations, hookable
from xaiteach.attribution.scores import run
from xaiteach.errors import ModelError

__all__ = ["OTHERS", "PLAIN", "Operation", "Rule", "made_by", "propagated", "ruled"]

OTHERS = "others"
"""Key of the rule for every kind that has none of its own."""

_COPIES = ("contiguous", "clone", "alias", "positive")
"""Operations that move nothing: whether x.contiguous() does anything depends on the layout that x happens to have."""

Back = Callable[[Tensor], Sequence[Tensor | None]]


class Operation:
    """One call of a torch function on tensors that depend on the input.

    Attributes
        name : the function's name, "conv2d".
        kind : "linear", "relu", "max_pool", ... (see `kinds`).
        layer : dotted name of the module it is called in, "" for the model itself.
        attached : the tensors that depend on the input, in the order of the arguments, in the model's graph.
        sources : for each of them the operation that it is the output of, or None (the input, a part of an output).
        inplace : whether the first tensor of the call is overwritten, which need not be one of them.
        first : whether they are the input itself, moved about at most.
    """

    def __init__(
        self, function: Callable[..., Any], name: str, kind: str, layer: str, leaves: list[Any], spec: Any, first: bool
    ) -> None:
        self.function, self.name, self.kind, self.layer, self.first = function, name, kind, layer, first
        self._spec = spec
        self._places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor) and leaf.requires_grad]
        self.attached: tuple[Tensor, ...] = tuple(leaves[i] for i in self._places)
        self.sources = tuple(made_by(x) for x in self.attached)
        args, kwargs = tree_unflatten(leaves, spec)
        self.args, self.kwargs = args, kwargs
        self.inplace = _in_place(name, kind, kwargs)
        self._target = next(i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor))
        self.overwritten: Tensor | None = leaves[self._target] if self.inplace else None
        self._leaves = [leaf.detach() if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        if self.inplace:  # kept as it was: a rule reads it on the way back
            self._leaves = [leaf.clone() if isinstance(leaf, Tensor) else leaf for leaf in self._leaves]
        self._inputs = tuple(self._leaves[i] for i in self._places)
        self._versions = tuple(x._version for x in self._inputs)

    def __call__(self, *inputs: Tensor) -> Any:
        """What the function gives for other tensors in the places of its inputs."""
        leaves = list(self._leaves)
        for place, x in zip(self._places, inputs, strict=True):
            leaves[place] = x
        if self.inplace:
            leaves[self._target] = leaves[self._target].clone()
        args, kwargs = tree_unflatten(leaves, self._spec)
        return self.function(*args, **kwargs)

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """`attached`, detached, as the operation met them (`check_inputs`)."""
        self.check_inputs()
        return self._inputs

    def check_inputs(self) -> None:
        """Check that the inputs are still what the operation met.

        Raises
            ModelError: a later operation has overwritten them.
        """
        if tuple(x._version for x in self._inputs) != self._versions:  # a detached tensor counts with its original
            raise ModelError(
                f"what {self.name!r} reads in {self.place} must stay as it is; a later operation overwrites it. "
                "Try that operation out of place: x = x + y, not x += y."
            )

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

    def replaced(
        self, back: Back, value: Tensor | None = None, onto: Sequence[Tensor] | None = None, *, keep: bool = True
    ) -> Tensor:
        """The operation's value, with another way back.

        Parameters
            back : callable from what comes for the output to what goes to each input (None for nothing).
            value : Tensor or None. Another value than the operation's.
            onto : tensors of the graph that `back` hands to. Default: `attached`.
            keep : bool. Whether `back` reads the value. False saves a copy: the model is given the value itself, and
                may overwrite it.
        """
        found = [self.value if value is None else value]
        if keep:
            found = [found[0].clone()]
        else:
            self.__dict__.pop("value", None)
        new: Tensor = _Replaced.apply(found, back, *(self.attached if onto is None else onto))
        return new if self.overwritten is None else self.overwritten.copy_(new)

    def pullback(self, *cotangents: Tensor) -> tuple[Tensor, ...]:
        """What the operation's own derivative hands to each input, for a cotangent of its value."""
        with torch.enable_grad():
            leaves = [x.clone().requires_grad_() for x in self.inputs]
            found: tuple[Tensor, ...] = torch.autograd.grad(self(*leaves), leaves, cotangents)
        return found

    def plain(self) -> Any:
        """The operation as the model has it, in the model's graph."""
        return self.function(*self.args, **self.kwargs)

    def forget(self) -> None:
        """Let go of the model's own tensors, which could lead back here and keep themselves alive.

        A linear operation keeps its own: a batch norm behind it makes another of it.
        """
        if self.kind != "linear":
            self.attached, self.overwritten, self.args, self.kwargs = (), None, (), {}

    def refused(self, who: str, why: str = "") -> ModelError:
        """Error that names the layer, what it does there, and a way out."""
        reason, advice = ADVICE.get(self.kind, ADVICE["unknown"])
        if why:
            advice = "'integrated_gradients', which needs only gradients"
        return ModelError(
            f"{who}: every operation must be one that the method has a rule for; {self.place} calls {self.name!r}, "
            f"{why or reason}. Try {advice}."
        )

    @property
    def place(self) -> str:
        """Where it is called, in words."""
        return f"layer {self.layer!r}" if self.layer else "the model's own forward"


Rule = Callable[[Operation], Any]


def PLAIN(operation: Operation) -> Any:  # noqa: N802 - a constant among the rules
    """Leave the operation as it is, with its own derivative."""
    return operation.plain()


class _Replaced(torch.autograd.Function):
    """A value with a way back that is not its derivative."""

    @staticmethod
    def forward(ctx: Any, value: list[Tensor], back: Back, *_: Tensor) -> Tensor:
        """The only tensor in `value`: in a list it is no input, of which autograd would hand out a view."""
        ctx.back = back
        return value.pop()

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return (None, None, *ctx.back(grads[0]))


def _in_place(name: str, kind: str, kwargs: Mapping[str, Any]) -> bool:
    """Whether the call overwrites its first tensor: `add_`, `x[i] = y`, or an activation told so (always by name)."""
    if kind in ("relu", "activation") and kwargs.get("inplace") is True:
        return True
    return name == "__setitem__" or (name.endswith("_") and not name.startswith("_"))


class _Mark(NamedTuple):
    """What is kept of a tensor that was seen: what made it, its version then, and whether it is the input, moved."""

    operation: Operation | None
    version: int
    untouched: bool = False


class _Watch(TorchFunctionMode):
    """Sees every torch function while the model runs, and applies the rules."""

    def __init__(self, leaf: Tensor, rules: Mapping[str, Rule], who: str) -> None:
        super().__init__()
        self.leaf, self.rules, self.who = leaf, rules, who
        self.layers: list[str] = []
        _mark(leaf, None, untouched=True)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs, name = kwargs or {}, getattr(func, "__name__", "")
        if KINDS.get(name) == "free":
            found = func(*args, **kwargs)
            if any(hasattr(arg, "_xai") for arg in args):  # x.T
                _mark(found, None, _is_untouched(args[0]))
            return found
        leaves, spec = tree_flatten((args, kwargs))
        leaves = [self._constant(leaf) for leaf in leaves]
        args, kwargs = tree_unflatten(leaves, spec)
        given = [leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.requires_grad]
        if not given or not torch.is_grad_enabled():
            return func(*args, **kwargs)
        if torch.is_autocast_enabled(self.leaf.device.type):
            raise ModelError(
                f"{self.who}: every operation must keep the precision of `x`, since rules divide; autocast lowers it. "
                "Try torch.autocast(..., enabled=False), or 'integrated_gradients'."
            )
        kind = kind_of(name, args, kwargs)
        rule = self.rules.get(kind, self.rules.get(OTHERS))
        if rule is None and kind == "unknown":
            found = func(*args, **kwargs)
            if not any(isinstance(part, Tensor) and part.requires_grad for part in tree_flatten(found)[0]):
                return found  # such as zeros_like(x): nothing of the input is in it
        untouched = all(_is_untouched(x) for x in given)
        operation = Operation(func, name, kind, self.layers[-1] if self.layers else "", leaves, spec, untouched)
        if rule is None:
            raise operation.refused(self.who)
        found = rule(operation)
        if name in _COPIES and found is not operation.attached[0]:
            _mark(found, operation.sources[0] or operation, untouched)  # as if it were not there
        elif not any(found is x for x in operation.attached) or operation.inplace:  # x.contiguous() can be x itself
            _mark((found, operation.overwritten), operation, untouched and kind == "structure")
        operation.forget()
        return found

    def _constant(self, leaf: Any) -> Any:
        """What does not depend on the input, cut off from its gradients: what requires one then does depend on it."""
        if not isinstance(leaf, Tensor) or not leaf.requires_grad or hasattr(leaf, "_xai"):
            return leaf
        if leaf.grad_fn is not None and self._depends(leaf.grad_fn):
            raise _out_of_sight(self.who, leaf.grad_fn.name().removesuffix("0").removesuffix("Backward"))
        return leaf.detach()

    def _depends(self, start: Node) -> bool:
        """Whether the graph leads from here to the input."""
        seen, waiting = set[Node](), [start]
        while waiting:
            node = waiting.pop()
            if getattr(node, "variable", None) is self.leaf:
                return True
            if node not in seen:
                waiting.extend(parent for parent, _ in node.next_functions if parent is not None)
            seen.add(node)
        return False


def _mark(found: Any, operation: Operation | None, untouched: bool = False) -> None:
    for tensor in tree_flatten(found)[0]:
        if isinstance(tensor, Tensor) and tensor.requires_grad:
            tensor._xai = _Mark(operation, tensor._version, untouched)  # type: ignore[attr-defined]
            if operation is not None and operation.inplace and tensor._base is not None:
                tensor._base._xai = _Mark(None, tensor._version)  # type: ignore[attr-defined]


def _is_untouched(tensor: Tensor) -> bool:
    mark: _Mark | None = getattr(tensor, "_xai", None)
    return mark is not None and mark.untouched and mark.version == tensor._version


def made_by(tensor: Tensor) -> Operation | None:
    """Operation whose output `tensor` is, unless it was overwritten since."""
    mark: _Mark | None = getattr(tensor, "_xai", None)
    return mark.operation if mark is not None and mark.version == tensor._version else None


def _out_of_sight(who: str, *names: str) -> ModelError:
    return ModelError(
        f"{who}: every operation must be seen, so that its rule can be applied; {', '.join(names)} was computed out of "
        "sight, in a script, an autograd.Function or within another function. Try the same layer in plain PyTorch, or "
        "'integrated_gradients'."
    )


@contextmanager
def ruled(model: Callable[[Tensor], Any], leaf: Tensor, rules: Mapping[str, Rule], who: str) -> Iterator[None]:
    """Context in which the model's operations on what depends on `leaf` follow the rules.

    Parameters
        model : callable; an nn.Module's layers are named in messages.
        leaf : Tensor that requires a gradient. The input.
        rules : kind -> rule. A kind that is missing is refused.
        who : name the messages start with.
    Raises
        ModelError: an operation without a rule, with the layer it is in; one whose input was computed out of sight;
            lower precision; activations that are computed a second time on the way back, where no rule would be.
    """
    again = (
        f"{who}: every operation must run once; the model computes activations again on the way back (checkpointing), "
        "or keeps them elsewhere. Try switching that off."
    )
    watch = _Watch(leaf, rules, who)
    with ExitStack() as stack:
        if isinstance(model, nn.Module):
            stack.enter_context(_backward_hooks_asleep(model))
            for name, module in hookable(model):
                enter = module.register_forward_pre_hook(lambda *_, name=name: watch.layers.append(name))
                stack.callback(enter.remove)
                leave = module.register_forward_hook(lambda *_: (watch.layers.pop(), None)[1])
                stack.callback(leave.remove)
        try:
            stack.enter_context(disable_saved_tensors_hooks(again))
            stack.enter_context(watch)
            yield
        except RuntimeError as error:
            if str(error) != again:
                raise
            raise ModelError(again) from None


@contextmanager
def _backward_hooks_asleep(model: nn.Module) -> Iterator[None]:
    """The model's own backward hooks are for gradients; they would also hide what made an operation's input."""
    names = ("_backward_hooks", "_backward_pre_hooks")
    kept = [(module, name, getattr(module, name)) for _, module in hookable(model) for name in names]
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
        logits = run(model, leaf, who)  # which looks at them: logits that were not seen are refused there
    hidden = hidden_operations(logits.grad_fn, replaces, _Replaced.__name__)
    if hidden:
        raise _out_of_sight(who, *hidden)
    (found,) = torch.autograd.grad(logits, leaf, start(logits), allow_unused=True)
    if found is None:
        raise ModelError(
            f"{who}: the score must depend on `x`; nothing comes back to it. Try a model that uses its input."
        )
    return found
