"""Guards: what comes in is checked here, and refused in words a student can act on.

Every guard takes `who`, the name the message starts with, and returns what it checked, ready for use. A message has
three parts: what was expected, what came, what to try.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from xaiteach.errors import ModelError, OptionError, ShapeError, TargetError, unknown

__all__ = ["check_finite", "check_fit", "check_input", "check_logits", "check_model", "check_target", "find_layer"]


def describe(value: object) -> str:
    """Short description of `value` for a message: kind, shape and dtype of a tensor, parts of a tuple.

    Examples
        >>> describe(torch.zeros(2, 3))
        'a float32 tensor of shape (2, 3)'
    """
    if isinstance(value, Tensor):
        return f"a {str(value.dtype).removeprefix('torch.')} tensor of shape {tuple(value.shape)}"
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)} ({', '.join(describe(part) for part in value[:3])})"
    if isinstance(value, dict):
        return f"a dict with the keys {', '.join(map(repr, list(value)[:4]))}"
    return f"a {type(value).__name__}"


def check_finite(value: Tensor, who: str, name: str = "x", advice: str = "torch.nan_to_num") -> Tensor:
    """`value`, when every entry is a finite number.

    Raises
        ShapeError: some entry is NaN or infinite; the message counts them and names the first.
    """
    if bool(torch.isfinite(value.sum())):  # one pass; a sum that overflows says nothing yet
        return value
    bad = ~torch.isfinite(value)
    if not bool(bad.any()):
        return value
    first = tuple(int(i) for i in bad.nonzero()[0])
    n_nan, n_bad = int(torch.isnan(value).sum()), int(bad.sum())
    raise ShapeError(
        f"{who}: `{name}` must hold finite numbers; got {n_nan} NaN and {n_bad - n_nan} infinite of {value.numel()}, "
        f"the first at index {first}. Try {advice}, or find out where they come from."
    )


def check_input(x: object, who: str) -> Tensor:
    """`x`, when it is a batch that can be explained: (n, ...), float32 or float64, finite, not empty.

    Parameters
        x : Tensor, shape (n, ...), float32 or float64. The first axis is the batch.
        who : name the message starts with.
    Raises
        ShapeError: not a tensor, fewer than two axes, no sample, not float32 or float64, or not finite.
    """
    wanted = f"{who}: `x` must be a floating-point tensor of shape (n, ...), a batch of n samples"
    if not isinstance(x, Tensor):
        raise ShapeError(f"{wanted}; got {describe(x)}. Try torch.as_tensor(x).")
    if x.ndim < 2:
        advice = "x[None]" if x.ndim else "x.reshape(1, 1)"
        raise ShapeError(f"{wanted}; got {describe(x)}. Try {advice} for a batch of one.")
    if x.numel() == 0:
        raise ShapeError(f"{wanted}; got {describe(x)}, which is empty. Try a batch with n >= 1.")
    if not x.is_floating_point():
        raise ShapeError(f"{wanted}; got {describe(x)}, which has no gradient. Try x.float().")
    if x.dtype not in (torch.float32, torch.float64):
        raise ShapeError(
            f"{who}: `x` must be float32 or float64, in which sums of gradients keep their digits; got {describe(x)}. "
            "Try x.float() and model.float()."
        )
    return check_finite(x, who)


def check_target(target: object, n: int, classes: int, who: str, device: torch.device | None = None) -> Tensor:
    """One class index per sample, shape (n,), long: an int is repeated, n integers are taken as they are.

    Parameters
        target : int, or (n,) integers (tensor, array or sequence). Class index, 0-based.
        n : number of samples.
        classes : number of classes of the model.
    Raises
        TargetError: not integers, not one per sample, or outside 0 ... classes - 1.
    """
    wanted = f"{who}: `target` must be a class index from 0 to {classes - 1}, or one for each of the {n} samples"
    indices = _integers(target)
    if indices is None:
        raise TargetError(f"{wanted}; got {_shown(target)}. Try an int, or logits.argmax(1).")
    if indices.ndim == 0:
        indices = indices.expand(n)
    if indices.shape != (n,):
        raise TargetError(f"{wanted}; got {tuple(indices.shape)} of them. Try a tensor of shape ({n},).")
    outside = ((indices < 0) | (indices >= classes)).nonzero()
    if len(outside):
        first = int(outside[0])
        value = int(indices[first])
        advice = f"{value + classes}" if -classes <= value < 0 else f"an index below {classes}, counted from 0"
        raise TargetError(f"{wanted}; got {value} for sample {first}. Try {advice}.")
    return indices.to(device=device, dtype=torch.long).clone()


def _integers(target: object) -> Tensor | None:
    """`target` as an integer tensor, or None where it holds anything but integers (bools are none)."""
    if isinstance(target, bool):
        return None
    try:
        made = target if isinstance(target, Tensor) else torch.as_tensor(target)
    except (TypeError, ValueError, RuntimeError):
        return None
    whole = not (made.is_floating_point() or made.is_complex() or made.dtype == torch.bool)
    return made.detach() if whole else None


def _shown(value: object) -> str:
    return describe(value) if isinstance(value, Tensor | dict) or not _brief(value) else repr(value)


def _brief(value: object) -> bool:
    return len(repr(value)) <= 40


def check_model(model: object, who: str, x: Tensor | None = None, *, module: bool = False) -> Callable[[Tensor], Any]:
    """`model`, when it can be called and differentiated.

    Parameters
        model : nn.Module, or any callable from (n, ...) to (n, classes).
        x : Tensor or None. When given, its dtype and device must be those of the parameters.
        module : bool. Whether a plain function will not do, because layers are looked up in it.
    Raises
        ModelError: not callable, no nn.Module where one is needed, lazy layers, or parameters made in inference mode.
        ShapeError: `x` is of another dtype or on another device than the parameters.
    """
    if not callable(model) or isinstance(model, type):
        got = f"the class {model.__name__}" if isinstance(model, type) else describe(model)
        raise ModelError(
            f"{who}: `model` must be a callable from (n, ...) to (n, classes); got {got}. Try a model object."
        )
    if not isinstance(model, nn.Module):
        if module:
            raise ModelError(
                f"{who}: `model` must be a torch.nn.Module, whose layers have names; got {describe(model)}. "
                "Try wrapping it in an nn.Module."
            )
        return model
    parameters = list(model.parameters())
    if any(is_lazy(p) for p in parameters):
        raise ModelError(
            f"{who}: `model` must have its parameters; got lazy layers that have seen no input. "
            "Try model(x) once before."
        )
    if any(p.is_inference() for p in parameters):
        raise ModelError(
            f"{who}: `model` must have parameters that take part in gradients; got some made under "
            "torch.inference_mode(). Try building and loading the model outside it."
        )
    if x is not None:
        _check_same_kind(x, parameters, who)
    return model


def _check_same_kind(x: Tensor, parameters: Sequence[Tensor], who: str) -> None:
    floating = [p for p in parameters if p.is_floating_point()]
    dtypes = {p.dtype for p in floating}
    if floating and x.dtype not in dtypes and not torch.is_autocast_enabled(x.device.type):
        name = str(floating[0].dtype).removeprefix("torch.")
        raise ShapeError(
            f"{who}: `x` must have the model's dtype, {name}; got {describe(x)}. Try x.to(torch.{name}), "
            f"or model.to({x.dtype})."
        )
    if floating and all(p.device != x.device for p in floating):
        raise ShapeError(
            f"{who}: `x` must be on the model's device, {floating[0].device}; got one on {x.device}. "
            f"Try x.to('{floating[0].device}')."
        )


def check_logits(output: object, n: int, who: str, *, gradient: bool = True) -> Tensor:
    """The model's output, when it is (n, classes), finite and, unless told otherwise, differentiable.

    Raises
        ModelError: anything else: a tuple, another rank, another batch size, NaN, class indices, a detached output.
    """
    wanted = f"{who}: `model` must return one floating-point tensor of shape ({n}, classes)"
    if not isinstance(output, Tensor):
        advice = "a small wrapper module that returns the logits alone"
        raise ModelError(f"{wanted}; it returned {describe(output)}. Try {advice}.")
    if output.ndim != 2 or output.shape[0] != n or output.shape[1] == 0:
        advice = "output[:, None]" if output.shape == (n,) else "flattening before the last layer with nn.Flatten()"
        raise ModelError(f"{wanted}; it returned {describe(output)}. Try {advice}.")
    if not output.is_floating_point():
        raise ModelError(f"{wanted}; it returned {describe(output)}. Try returning the scores, without argmax.")
    bad = (~torch.isfinite(output)).nonzero()
    if len(bad):
        row, column = (int(i) for i in bad[0])
        value = float(output.detach()[row, column])
        raise ModelError(
            f"{who}: `model` must return finite scores; sample {row}, class {column} is {value}. "
            "Try looking for NaN in the parameters, and at the scale of the input."
        )
    if gradient and not output.requires_grad:
        raise ModelError(
            f"{who}: `model` must be differentiable; its output is cut off from the input. "
            "Try removing .detach(), .data, .numpy() and torch.no_grad() from its forward pass."
        )
    return output


_RANKS: tuple[tuple[type[nn.Module], int], ...] = (
    (nn.Conv1d, 1),
    (nn.Conv2d, 2),
    (nn.Conv3d, 3),
    (nn.ConvTranspose1d, 1),
    (nn.ConvTranspose2d, 2),
    (nn.ConvTranspose3d, 3),
)
_SPATIAL = {1: "length", 2: "height, width", 3: "depth, height, width"}


def check_fit(module: nn.Module, name: str, got: tuple[int, ...], x: tuple[int, ...], who: str) -> None:
    """Check that the layer `name` can take a tensor of shape `got`, which reached it when the input's shape was `x`.

    PyTorch's own message names neither the layer nor the remedy, and takes an unbatched image for a batch.

    Raises
        ShapeError: a convolution meets another rank or number of channels, a dense layer another number of features.
    """
    came = f"with `x` of shape {x} it gets {got}"
    if isinstance(module, nn.Linear):
        if not got or got[-1] != module.in_features:
            raise ShapeError(
                f"{who}: layer {name!r} takes {module.in_features} features; {came}. "
                "Try an input of the size that the model was made for, and check the first axis: it is the batch."
            )
        return
    rank = next((spatial for kind, spatial in _RANKS if isinstance(module, kind)), None)
    if rank is None:
        return
    channels = int(getattr(module, "in_channels", 0))
    wanted = f"{who}: layer {name!r} takes (n, {channels}, {_SPATIAL[rank]})"
    if len(got) == rank + 1 and got == x:
        advice = "x[None]" if got[0] == channels else "x[:, None]"
        raise ShapeError(f"{wanted}, a batch; {came}. Try {advice}.")
    if len(got) not in (rank + 1, rank + 2):
        raise ShapeError(f"{wanted}; {came}. Try an input with {rank + 2} axes.")
    if got[-rank - 1] != channels:
        raise ShapeError(f"{wanted}; {came}. Try an input with {channels} channel(s), on axis 1.")


def find_layer(model: nn.Module, layer: str | nn.Module, who: str) -> tuple[str, nn.Module]:
    """Name and module of `layer`, given by dotted name ("features.3") or as the module itself.

    Raises
        OptionError: no layer of this name; the message lists the names and the nearest.
        ModelError: the module is no part of the model, or `layer` is neither name nor module.
    """
    named = dict(model.named_modules(remove_duplicate=False))
    if isinstance(layer, nn.Module):
        name = next((key for key, value in named.items() if value is layer), None)
        if name is None:
            raise ModelError(
                f"{who}: `layer` must be a part of `model`; got a {type(layer).__name__} that is not in it "
                "(of a copy, perhaps). Try its dotted name, such as 'features.3'."
            )
        return name, layer
    if not isinstance(layer, str):
        raise ModelError(
            f"{who}: `layer` must be a dotted name or a module; got {describe(layer)}. Try layer='features.3'."
        )
    if layer not in named or not layer:
        error = unknown("layer", layer, [name for name in named if name])
        raise OptionError(f"{who}: {error} Try one of these.")
    return layer, named[layer]
