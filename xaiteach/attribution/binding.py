"""What `method` may be: a name, a Captum object, or a callable; each becomes one kind of thing here."""

from __future__ import annotations

import inspect
import random
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xaiteach.attribution import registry
from xaiteach.attribution.layers import Run, require_relu_modules
from xaiteach.errors import ModelError, OptionError, unknown

__all__ = ["Method", "bind", "seed_globals"]

_MODULES = "xaiteach.attribution.binding:needs_relu_modules"
# What Captum says on every call: true of its inside, and undone by the time it returns.
_CAPTUM_CHATTER = (
    r"Setting forward, backward hooks and attributes on non-linear",
    r"Setting backward hooks on ReLU activations",
    r"Input Tensor \d+ did not already require gradients",
)


@dataclass(frozen=True)
class Method:
    """A method ready to be called as `call(model, x, target, **options)`.

    Parameters
        name : for messages and for Attribution.method.
        options : those given, over the defaults.
        foreign : bool. Not ours: its effects on the model are undone, at the price of a copy.
        takes_generator : bool. Whether it is given the generator; for a foreign one that is not, the global
            state is seeded.
        prepare : "module:function" or None (see registry.Entry).
        takes_work : bool. Whether it is given all samples and splits them itself, by a `work.Work`.
        needs : key of entry.NEEDS. What it asks of the model; a foreign one says nothing, "unstated".
    """

    name: str
    call: Callable[..., Any]
    options: dict[str, Any]
    foreign: bool
    takes_generator: bool
    prepare: str | None = None
    takes_work: bool = False
    needs: str = "unstated"

    @property
    def differentiates(self) -> bool:
        """Whether the model has to be differentiable for it, as far as is known."""
        return self.needs not in ("scores", "unstated")

    def prepared(self, model: Callable[[Tensor], Any], run: Run) -> dict[str, Any]:
        """Options after a look at one observed run of the model."""
        if self.prepare is None:
            return self.options
        found: dict[str, Any] = registry.resolve(self.prepare, self.name)(model, run, self.options, self.name)
        return found


def bind(method: object, model: object, options: Mapping[str, Any]) -> Method:
    """Method that `method` stands for, with its options checked.

    Raises
        OptionError: neither name, Captum object nor callable; an unknown name; an option the method does not have.
        ModelError: a Captum object that was made for another model.
        MissingExtraError: a name whose function the student is asked to write.
    """
    if isinstance(method, str):
        return _named(method, options)
    if isinstance(method, type) or not (callable(method) or _is_captum(method)):
        got, advice = repr(method), f"one of {', '.join(sorted(registry.REGISTRY))}"
        if isinstance(method, type):
            got, advice = f"the class {method.__name__}", "an object of it, made for the model"
        raise OptionError(
            f"`method` must be a name, a Captum attribution object or a callable (model, x, target); got {got}. "
            f"Try {advice}."
        )
    if _is_captum(method):
        return _captum(method, model, options)
    name = getattr(method, "__name__", type(method).__name__)
    return _callable(str(name).strip("<>"), method, options)


def _named(name: str, options: Mapping[str, Any]) -> Method:
    entry = registry.entry(name)
    for option in options:
        if option not in entry.options:
            raise unknown(f"option of {name}", option, entry.options)
    for option, default in entry.options.items():
        if isinstance(default, bool) and not isinstance(options.get(option, default), bool):
            raise OptionError(f"{name}: `{option}` must be True or False; got {options[option]!r}. Try {option}=True.")
    call = registry.resolve(entry.target, name)
    parameters = inspect.signature(call).parameters
    settings = {**entry.options, **options}
    return Method(
        name, call, settings, False, "generator" in parameters, entry.prepare, "work" in parameters, entry.needs
    )


def _is_captum(method: object) -> bool:
    return callable(getattr(method, "attribute", None))


def _captum(method: Any, model: object, options: Mapping[str, Any]) -> Method:
    name = type(method).__name__
    made_for = getattr(method, "forward_func", model)
    if isinstance(made_for, nn.Module) and made_for is not model:
        raise ModelError(
            f"{name}: `model` must be the one that the Captum object was made for; got another {type(model).__name__}. "
            f"Try explain(model, ...) with {name}(model)."
        )

    def call(_model: object, x: Tensor, target: Tensor, **rest: Any) -> Any:
        with warnings.catch_warnings():
            for text in _CAPTUM_CHATTER:
                warnings.filterwarnings("ignore", text)
            return method.attribute(x.requires_grad_(), target=target, **rest)

    # What Captum replaces by hooks on modules; a ReLU that is a function it passes by without a word.
    hooked = name in ("GuidedBackprop", "Deconvolution", "DeepLift", "DeepLiftShap", "GuidedGradCam", "LRP")
    return Method(name, call, dict(options), True, False, prepare=_MODULES if hooked else None)


def needs_relu_modules(_: object, run: Run, options: Mapping[str, Any], who: str) -> dict[str, Any]:
    """Options as they are, once every ReLU of the run is a module.

    Raises
        ModelError: some are functions; the message names the layers they follow.
    """
    require_relu_modules(run, who)
    return dict(options)


def _callable(name: str, method: Any, options: Mapping[str, Any]) -> Method:
    try:
        parameters = inspect.signature(method).parameters
    except (TypeError, ValueError):  # a builtin without a signature
        return Method(name, method, dict(options), True, False)
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for option in options:
        if option not in parameters and not takes_any:
            raise unknown(f"option of {name}", option, list(parameters)[3:])
    return Method(name, method, dict(options), True, "generator" in parameters)


def seed_globals(generator: torch.Generator, device: torch.device) -> None:
    """Set the global random states from one draw of `generator`; `leaves_no_trace` puts them back."""
    seed = int(torch.randint(2**31, (), generator=generator, device=generator.device))
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - for methods that draw from the global state
    random.seed(seed)
