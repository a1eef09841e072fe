"""The sanity-check sweep beside a plain loop over Captum, as theses have done it, and beside Quantus.

Ours and the loop explain the same images by the same networks with the same new weights, and compare the same maps by
SSIM; the loop takes one state, one image and one method after the other, scikit-image one pair of maps. Quantus draws
weights of its own and compares by Spearman, one method at a time, layer by layer: there its SSIM does not run.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from xaiteach import data, models
from xaiteach.cli import bench_measuring as measuring
from xaiteach.cli.bench_measuring import Row
from xaiteach.errors import MissingExtraError, unknown
from xaiteach.evaluation.base import maps_of
from xaiteach.evaluation.sweep import run_sweep
from xaiteach.evaluation.weights import Randomizer, State, layers_of, states
from xaiteach.runtime import device as usual_device
from xaiteach.runtime import require

__all__ = ["CASES", "Case", "Setting", "conditions", "rows"]

METHODS: Mapping[str, Any] = {
    "saliency": "saliency",
    "input x gradient": "input_x_gradient",
    "DeconvNet": "deconvnet",
    "guided backprop": "guided_backprop",
    "Grad-CAM": "grad_cam",
    "integrated gradients": ("integrated_gradients", {"n_steps": 50}),
}
"""What both sides compute; each has the other's settings."""


@dataclass(frozen=True)
class Setting:
    """A network, images, their classes, the layers to draw anew, and how many times."""

    model: nn.Module
    x: Tensor
    target: Tensor
    seeds: int
    last: str

    @property
    def randomizer(self) -> Randomizer:
        """The network with its layers, drawn anew by their own initialisation."""
        return Randomizer(self.model, layers_of(self.model, self.x))

    @property
    def states(self) -> list[State]:
        """All states but the trained one."""
        return states(list(layers_of(self.model, self.x)), seeds=self.seeds)[1:]


def _mnist1d(on: torch.device) -> Setting:
    signals = data.mnist1d()
    x = torch.tensor(signals.x_test[:10], dtype=torch.float32).reshape(10, 1, 40)
    return _setting(models.load("convnet1d"), x, torch.tensor(signals.y_test[:10]).long(), 5, on)


def _vgg(on: torch.device) -> Setting:
    scenes = data.scenes("test", n=5)
    return _setting(models.load("vgg64_narrow"), *scenes.tensors(), 1, on)


def _setting(model: nn.Module, x: Tensor, target: Tensor, seeds: int, on: torch.device) -> Setting:
    relus = [name for name, module in model.named_modules() if isinstance(module, nn.ReLU)]
    convs = [name for name, module in model.named_modules() if isinstance(module, nn.Conv1d | nn.Conv2d)]
    names = [name for name, _ in model.named_modules()]
    last = next(name for name in relus if names.index(name) > names.index(convs[-1]))
    return Setting(model.to(on), x.to(on), target.to(on), seeds, last)


SETTINGS: Mapping[str, Callable[[torch.device], Setting]] = {"mnist1d": _mnist1d, "vgg": _vgg}


@dataclass(frozen=True)
class Case:
    """One network beside one peer.

    Parameters
        setting : key of SETTINGS.
        peer : "loop" or "quantus".
        wanted : the least ratio that is promised.
    """

    setting: str
    peer: str
    wanted: float

    @property
    def name(self) -> str:
        """The network and the peer."""
        return f"{self.setting}, {self.peer}"


CASES = (
    Case("mnist1d", "loop", 10.0),
    Case("mnist1d", "quantus", 1.0),
    Case("vgg", "loop", 1.8),
    Case("vgg", "quantus", 1.0),
)
PACKAGES = {"loop": ("captum.attr", "captum"), "quantus": ("quantus", "quantus")}


FULL_STATES, FULL_IMAGES = 650, 5
FULL_PASSES: Mapping[str, int] = {
    "saliency, input x gradient, DeconvNet, guided backprop, Grad-CAM": 5,
    "guided Grad-CAM": 2,
    "DeepLIFT, and its SmoothGrad, squared and VarGrad (5 draws)": 4 + 3 * 5 * 4,
    "DeepSHAP (16 baselines)": 16 * 2 + 2,
    "integrated gradients (50 Gauss-Legendre steps)": 50,
    "its SmoothGrad, squared and VarGrad (64 draws of noise and place together)": 3 * 64,
    "gradient SHAP": 64,
    "seven alpha-beta LRPs, RAP": 7 * 3 + 6,
}
"""Forward and backward passes of one image in one state, for the 20 methods of the thesis on its own network."""


def conditions() -> str:
    """What was measured how, and how long the thesis's whole sweep would take here."""
    return f"{measuring.conditions(usual_device())}\n{projection(usual_device())}"


def projection(on: torch.device, rows: int = 16) -> str:
    """One line: the time of the whole sweep, projected from passes of the thesis's network that are timed here."""
    net = models.build("vgg64", 0).to(on)
    x = torch.rand(rows, 3, 64, 64, device=on)
    each = min(_pass_seconds(net, x) for _ in range(3)) / rows
    passes = sum(FULL_PASSES.values())
    hours = each * FULL_STATES * FULL_IMAGES * passes / 3600
    return (
        f"Projected, not run: the thesis's network and sweep ({FULL_STATES} states, {FULL_IMAGES} images, 20 methods "
        f"of {passes} passes) take {hours:.2g} h here, at {1000 * each:.3g} ms for a forward and backward pass."
    )


def _pass_seconds(net: nn.Module, x: Tensor) -> float:
    start = time.perf_counter()
    maps_of("saliency", net, x, 0)
    if x.is_cuda:
        torch.cuda.synchronize(x.device)
    return time.perf_counter() - start


def rows(repeats: int, cases: Sequence[str] = ()) -> Iterator[Row]:
    """Rows of the cases, each as soon as it is measured.

    Parameters
        repeats : int >= 1. Timed runs of each side.
        cases : only those with one of these in their name. Default: all.
    Raises
        OptionError: no such case; the message lists them.
    """
    for part in cases:
        if not any(part in case.name for case in CASES):
            raise unknown("case", part, {case.name for case in CASES})
    on = usual_device()
    for case in CASES:
        if not cases or any(part in case.name for part in cases):
            yield _row(case, repeats, on)


def _row(case: Case, repeats: int, on: torch.device) -> Row:
    setting, theirs = SETTINGS[case.setting](on), None
    n, draws = len(setting.x), case.peer == "quantus"
    what = "saliency, Spearman" if draws else f"{len(METHODS)} methods, SSIM"
    count = len(layers_of(setting.model, setting.x)) if draws else len(setting.states)
    fields: dict[str, Any] = {"case": f"{case.setting}, {count} states, {n} images, {what}", "peer": case.peer}
    fields |= {"wanted": case.wanted, "draws": draws}
    module, package = PACKAGES[case.peer]
    try:
        theirs = {"loop": _loop, "quantus": _quantus}[case.peer](setting, require(module))
    except MissingExtraError:
        fields["trouble"] = f"not installed: pip install {package}"
    ours = partial(_ours_per_layer if draws else _ours, setting)
    try:
        measured = measuring.measure(ours, theirs, on, repeats)
    except Exception as error:
        return Row(**fields, note=f"failed: {type(error).__name__}: {error}", failed=True)
    return Row(**{**fields, **measured})


def _ours(setting: Setting) -> Tensor:
    """SSIM of every method, state and image, shape (methods, states, n)."""
    found = run_sweep(setting.randomizer, setting.x, setting.target, METHODS, setting.states, progress=False)
    return torch.stack([found.values[name][:, 0, :, 0] for name in METHODS])


def _ours_per_layer(setting: Setting) -> Tensor:
    """Mean Spearman of saliency over layers and images: Quantus draws others, and takes batch norms for layers."""
    chosen = states(list(layers_of(setting.model, setting.x)), modes=["cascading"], seeds=1)[1:]
    measures = [("spearman", "all")]
    found = run_sweep(
        setting.randomizer, setting.x, setting.target, "saliency", chosen, measures=measures, progress=False
    )
    return found.values["saliency"].mean().reshape(1)


def _loop(setting: Setting, captum: Any) -> Callable[[], Tensor]:
    """One state, one image, one method after the other."""
    ssim = require("skimage.metrics").structural_similarity

    def made(model: nn.Module) -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
        cam = captum.LayerGradCam(model, model.get_submodule(setting.last))
        gradient = {"abs": False}
        return {
            "saliency": lambda x, c: captum.Saliency(model).attribute(x, target=c, **gradient),
            "input x gradient": lambda x, c: captum.InputXGradient(model).attribute(x, target=c),
            "DeconvNet": lambda x, c: captum.Deconvolution(model).attribute(x, target=c),
            "guided backprop": lambda x, c: captum.GuidedBackprop(model).attribute(x, target=c),
            "Grad-CAM": lambda x, c: _enlarged(cam.attribute(x, target=c, relu_attributions=True), x),
            "integrated gradients": lambda x, c: captum.IntegratedGradients(model).attribute(x, target=c, n_steps=50),
        }

    def maps(model: nn.Module) -> dict[str, list[Any]]:
        methods = made(model)
        found: dict[str, list[Any]] = {name: [] for name in METHODS}
        for name, method in methods.items():
            for i in range(len(setting.x)):
                values = method(setting.x[i : i + 1].clone().requires_grad_(), setting.target[i : i + 1])
                m = values.detach().sum(1)[0].double().cpu().numpy()
                found[name].append(m / (abs(m).max() or 1.0))
        return found

    def call() -> Tensor:
        randomizer = setting.randomizer
        trained = maps(setting.model)
        rows = []
        for state in setting.states:
            net = copy.deepcopy(setting.model)
            own = {**dict(net.named_parameters()), **dict(net.named_buffers())}
            for layer in randomizer.changed(state):
                for key, value in randomizer.drawn(layer, state.seed).items():
                    own[key].data.copy_(value)
            broken = maps(net)
            rows.append(
                [[ssim(a, b, data_range=2.0) for a, b in zip(broken[k], trained[k], strict=True)] for k in METHODS]
            )
        return torch.tensor(rows, dtype=torch.float64).transpose(0, 1)

    return call


def _enlarged(values: Tensor, x: Tensor) -> Tensor:
    mode = "linear" if x.ndim == 3 else "bilinear"
    return nn.functional.interpolate(values, size=x.shape[2:], mode=mode, align_corners=False)


def _quantus(setting: Setting, quantus: Any) -> Callable[[], Tensor]:
    """Its randomisation test with Captum's saliency, one layer after the other."""
    captum = require("captum.attr")

    def saliency(model: nn.Module, inputs: Any, targets: Any, **_: Any) -> Any:
        x = torch.as_tensor(inputs).to(setting.x).requires_grad_()
        c = torch.as_tensor(targets).to(setting.target)
        return captum.Saliency(model).attribute(x, target=c, abs=False).sum(1, keepdim=True).detach().cpu().numpy()

    x, y = setting.x.cpu().numpy(), setting.target.cpu().numpy()

    def call() -> Tensor:
        metric = quantus.MPRT(
            similarity_func=quantus.similarity_func.correlation_spearman, layer_order="top_down", normalise=False,
            abs=False, disable_warnings=True, display_progressbar=False,
        )  # fmt: skip
        scores = metric(
            model=copy.deepcopy(setting.model), x_batch=x, y_batch=y, a_batch=None, explain_func=saliency,
            device=str(setting.x.device), channel_first=True,
        )  # fmt: skip
        broken = [value for layer, values in scores.items() if "orig" not in layer for value in values]
        return torch.tensor(broken, dtype=torch.float64).mean().reshape(1)

    return call
