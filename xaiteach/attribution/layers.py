"""Running order: which layers a model calls, in which order, and what it computes without a layer.

`observe` runs the model once and keeps its calls and its autograd graph. Everything here reads those two: a layer's
place comes from the run, never from the order in which the layers happen to be registered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node
from torch.nn.modules.conv import _ConvNd

from xaiteach.errors import ModelError
from xaiteach.guards import check_fit, check_logits, check_model, find_layer
from xaiteach.runtime import needs_usual_layout

__all__ = [
    "Call",
    "Run",
    "capture",
    "functional_relus",
    "hidden_operations",
    "last_activation",
    "observe",
    "require_relu_modules",
    "split_call",
    "upstream",
]

# Parts of the names of autograd's nodes. "AddBackward", not "Add": a dense layer is an "AddmmBackward".
_SCALING = ("AddBackward", "SubBackward", "MulBackward", "DivBackward", "Dropout", "BackwardHookFunction")
_THROUGH = (
    *_SCALING,
    "BatchNorm",
    "GroupNorm",
    "LayerNorm",
    "Clone",
    "Alias",
    "ToCopy",
    "View",
    "Squeeze",
    "Unsqueeze",
)
_SMOOTH = ("Gelu", "Silu", "Elu", "Selu", "Celu", "Softplus", "Sigmoid", "Tanh", "Mish")
_ACTIVATIONS = (*_SMOOTH, "Relu", "Prelu", "Hardtanh", "Hardswish", "Hardsigmoid", "Threshold")
_HIDDEN = {
    "activation": (*_ACTIVATIONS, "Softmax", "LayerNorm", "GroupNorm"),
    "max_pool": ("MaxPool", "Amax"),
    "linear": ("Convolution", "Addmm", "MmBackward", "Bmm", "BatchNorm", "AvgPool"),
}

_USUAL_LAYOUT = (torch.float64,)
"""Precisions in which the channels stay first in memory: every sum then has the order that it has elsewhere."""


@dataclass(frozen=True)
class Call:
    """One call of one module in a run: `number` counts the calls of this module from 1."""

    name: str
    module: nn.Module
    number: int
    node: Node | None
    shape: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Run:
    """One observed run: the logits (with their graph), the calls in the order they ended, and the memory it took.

    `saved_bytes` counts what autograd keeps for the backward pass, parameters left out; of a run without a graph, the
    largest output of a layer, twice. `layout` is how the samples lay in memory.
    """

    logits: Tensor
    calls: tuple[Call, ...]
    saved_bytes: int
    nodes: frozenset[Node] = field(repr=False)
    layout: torch.memory_format = torch.contiguous_format

    def times(self, name: str) -> int:
        """How often the module `name` was called."""
        return sum(call.name == name for call in self.calls)


def observe(
    model: Callable[[Tensor], Any],
    x: Tensor,
    who: str,
    *,
    samples: int | None = None,
    gradient: bool = True,
    graph: bool = True,
) -> Run:
    """Run the model on `x` and keep what happened.

    Images in float32 on a CPU run with the channels last in memory, which can halve the time of convolutions and
    poolings, forward and backward; a model that takes a view of its activations cannot have that, and gets the usual
    layout. Whoever runs more samples asks `Run.layout`.

    Parameters
        model : nn.Module (whose calls are recorded) or any callable.
        x : Tensor, shape (n, ...).
        samples : int or None. Run only the first few. Default: all.
        gradient : bool. Whether the output has to be differentiable.
        graph : bool. Whether to run with gradients. Without, the model may do what it likes with x.
    Raises
        ShapeError: a layer cannot take what reaches it.
        ModelError: the output is not (n, classes), finite and, where it has to be, differentiable.
    """
    check_model(model, who, x)
    some = x[:samples].detach()
    if some.ndim == 4 and some.device.type == "cpu" and some.dtype not in _USUAL_LAYOUT:
        try:
            return _observed(model, x, some, torch.channels_last, who, gradient, graph)
        except RuntimeError as error:
            if not needs_usual_layout(error):
                raise
    return _observed(model, x, some, torch.contiguous_format, who, gradient, graph)


def _observed(
    model: Callable[[Tensor], Any],
    x: Tensor,
    some: Tensor,
    layout: torch.memory_format,
    who: str,
    gradient: bool,
    graph: bool,
) -> Run:
    calls: list[Call] = []
    some = some.clone(memory_format=layout).requires_grad_(graph)
    with ExitStack() as stack, torch.set_grad_enabled(graph):
        if isinstance(model, nn.Module):
            stack.enter_context(_recording(model, x, len(some), calls, who))
        saved = stack.enter_context(_counting(model))
        logits = check_logits(model(some.clone()), len(some), who, gradient=gradient)
    taken = sum(saved.values()) if graph else 2 * max((prod(call.shape) for call in calls), default=0) * x.itemsize
    return Run(logits, tuple(calls), taken, frozenset(upstream(logits.grad_fn)), layout)


def hookable(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Named modules that can have hooks: scripted ones cannot."""
    return [(name, m) for name, m in model.named_modules() if not isinstance(m, torch.jit.ScriptModule)]


@contextmanager
def _recording(model: nn.Module, x: Tensor, samples: int, calls: list[Call], who: str) -> Iterator[None]:
    counts: Counter[str] = Counter()

    def record(name: str, module: nn.Module, output: object) -> None:
        counts[name] += 1
        if isinstance(output, Tensor):
            calls.append(Call(name, module, counts[name], output.grad_fn, tuple(output.shape)))

    def check(name: str, module: nn.Module, inputs: tuple[object, ...]) -> None:
        if inputs and isinstance(inputs[0], Tensor):
            shape = tuple(inputs[0].shape)
            whole = shape == (samples, *x.shape[1:])
            check_fit(module, name, tuple(x.shape) if whole else shape, tuple(x.shape), who)

    with ExitStack() as stack:
        for name, module in hookable(model):
            before = module.register_forward_pre_hook(lambda m, i, name=name: check(name, m, i))
            stack.callback(before.remove)
            after = module.register_forward_hook(lambda m, _, o, name=name: record(name, m, o))
            stack.callback(after.remove)
        yield


@contextmanager
def _counting(model: object) -> Iterator[dict[int, int]]:
    """Bytes that autograd saves in this context, by storage: two nodes may save the same tensor."""
    own = {p.data_ptr() for p in model.parameters()} if isinstance(model, nn.Module) else set()
    sizes: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in own:
            storage = tensor.untyped_storage()
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()  # kept, so that no later tensor is given the same address

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield sizes


def upstream(start: Node | None, without: Node | None = None) -> set[Node]:
    """Every node from which `start` is computed, itself included, on paths that avoid `without`."""
    seen: set[Node] = set()
    waiting = [start]
    while waiting:
        node = waiting.pop()
        if node is None or node is without or node in seen:
            continue
        seen.add(node)
        waiting.extend(parent for parent, _ in node.next_functions)
    return seen


def _is(node: Node, kinds: tuple[str, ...]) -> bool:
    return any(kind in node.name() for kind in kinds)


def last_activation(run: Run, who: str) -> str:
    """Name of the layer whose output is the last convolution's activation: after its ReLU, before pooling.

    "name#k" is the k-th call of a module that is called more than once. Batch norm and a residual sum may stand between
    convolution and activation; where a block computes the activation by a function and returns it, it is the block.

    Raises
        ModelError: no convolution, no activation after it, one that is no module's output, or one of several branches.
    """
    conv = next((c for c in reversed(run.calls) if isinstance(c.module, _ConvNd) and c.node in run.nodes), None)
    wanted = f"{who}: the default layer is the activation of the last convolution"
    if conv is None or conv.node is None:
        raise ModelError(
            f"{wanted}; this model calls no convolution that its scores depend on. "
            "Try naming a layer with spatial axes: layer='...'."
        )
    activation = _activation_after(conv.node, run)
    if activation is None:
        raise ModelError(
            f"{wanted}; none follows {conv.name!r} directly, before a pooling, dense or joining layer. "
            f"Try layer={conv.name!r} to explain the convolution's own output, or the block that it is in."
        )
    call = next((c for c in run.calls if c.node is activation and run.times(c.name) == 1), None)
    call = call or next((c for c in run.calls if c.node is activation), None)
    if call is None:
        kind = activation.name().removesuffix("Backward0")
        raise ModelError(
            f"{wanted} {conv.name!r}, as a module; here it is computed by a function ({kind}), which has no output "
            "to hook. Try making it a module: self.relu = nn.ReLU() in __init__, self.relu(...) in forward."
        )
    bypassed = upstream(run.logits.grad_fn, without=activation)
    beside = next((c for c in reversed(run.calls) if isinstance(c.module, _ConvNd) and c.node in bypassed), None)
    if beside is not None:
        raise ModelError(
            f"{wanted}; after {conv.name!r} that is only one of several branches: {beside.name!r} reaches the scores "
            "past it. Try naming the module that joins the branches: layer='...'."
        )
    return call.name if run.times(call.name) == 1 else f"{call.name}#{call.number}"


def _activation_after(start: Node, run: Run) -> Node | None:
    """First activation downstream of `start` with only normalisation, sums and scalings between."""
    consumers: dict[Node, list[Node]] = {}
    for node in run.nodes:
        for parent, _ in node.next_functions:
            if parent is not None:
                consumers.setdefault(parent, []).append(node)
    waiting, seen = list(consumers.get(start, [])), set[Node]()
    while waiting:
        node = waiting.pop(0)
        if _is(node, _ACTIVATIONS):
            return node
        if node not in seen and _is(node, _THROUGH):
            seen.add(node)
            waiting.extend(consumers.get(node, []))
    return None


def hidden_operations(start: Node | None, groups: Sequence[str], own: str) -> tuple[str, ...]:
    """Names of nodes in the graph that no rule made, functions with a derivative of their own among them.

    Parameters
        start : node of the logits.
        groups : of "activation", "max_pool", "linear": what the rules replace.
        own : name of the autograd function that stands for an operation that was seen.
    """
    kinds = tuple(kind for group in groups for kind in _HIDDEN[group])
    found = set()
    written = torch.autograd.function.BackwardCFunction
    for node in upstream(start):
        name = node.name().removesuffix("Backward0").removesuffix("Backward")
        custom = issubclass(type(node), written)
        if name != own and (custom or _is(node, kinds)):
            found.add(name)
    return tuple(sorted(found))


def functional_relus(run: Run) -> tuple[str, ...]:
    """Name of the layer before each ReLU that no nn.ReLU module computed ("the input" where there is none).

    Methods that replace the ReLU's gradient do it by hooks on modules: of a functional one they silently get the plain
    gradient.
    """
    by_module = {call.node for call in run.calls if isinstance(call.module, nn.ReLU)}
    made = {call.node: call.name for call in reversed(run.calls) if call.node is not None}
    order = {call.name: place for place, call in enumerate(run.calls)}
    hidden = [node for node in run.nodes if node.name().startswith("ReluBackward") and node not in by_module]
    names = [_before(node, made) for node in hidden]
    return tuple(sorted(names, key=lambda name: order.get(name, -1)))


def _before(node: Node, made: dict[Node, str]) -> str:
    waiting: list[Node | None] = [parent for parent, _ in node.next_functions]
    seen = set[Node]()
    while waiting:
        parent = waiting.pop(0)
        if parent is None or parent in seen:
            continue
        if parent in made:
            return made[parent]
        seen.add(parent)
        waiting.extend(grand for grand, _ in parent.next_functions)
    return "the input"


def require_relu_modules(run: Run, who: str) -> None:
    """Check that every ReLU of the run is an nn.ReLU module.

    Raises
        ModelError: some are functions; the message names the layers they follow.
    """
    hidden = functional_relus(run)
    if hidden:
        places = ", ".join(repr(name) for name in hidden)
        raise ModelError(
            f"{who}: every ReLU must be an nn.ReLU module, whose gradient can be replaced; {len(hidden)} are "
            f"functions, after {places}. Try making each a module: self.relu1 = nn.ReLU() in __init__, "
            "self.relu1(...) in forward."
        )


@contextmanager
def capture(model: nn.Module, layer: str | nn.Module, who: str) -> Iterator[list[Tensor]]:
    """Within this context the output of `layer` becomes a leaf of its own, appended to the list that is yielded.

    The rest of the network gets a copy of the leaf: a ReLU that works in place on it would otherwise change the
    activation that we hold. "name#k" keeps the k-th call.

    Raises
        OptionError, ModelError: no such layer (find_layer); or after the run: never called, called several times.
    """
    name, number = split_call(layer)
    name, module = find_layer(model, name, who)
    kept: list[Tensor] = []
    seen: list[object] = []

    def keep(_module: nn.Module, _inputs: object, output: object) -> Tensor | None:
        seen.append(output)
        if number is not None and len(seen) != number:
            return None
        if not isinstance(output, Tensor):
            raise ModelError(
                f"{who}: layer {name!r} must return one tensor; it returns a {type(output).__name__}. "
                "Try a layer within it."
            )
        kept.append(output.detach().requires_grad_())
        return kept[-1].clone()

    handle = module.register_forward_hook(keep)
    try:
        yield kept
    finally:
        handle.remove()
    times = len(seen)
    if not kept:
        at_least = f"at least {number} times" if number else "in the forward pass"
        raise ModelError(
            f"{who}: layer {name!r} must be called {at_least}; it is called {times} times. Try another layer."
        )
    if number is None and times > 1:
        raise ModelError(
            f"{who}: layer {name!r} must be called once; it is called {times} times, each with its own output. "
            f"Try layer='{name}#{times}' for the last call, or a module for each call."
        )


def split_call(layer: str | nn.Module) -> tuple[str | nn.Module, int | None]:
    """Name and number of the call that "name#k" stands for; None for a name without a number."""
    if isinstance(layer, str) and "#" in layer:
        name, _, digits = layer.rpartition("#")
        if digits.isdecimal() and int(digits) > 0:
            return name, int(digits)
    return layer, None
