"""Attribution methods beside the libraries that have them: which cases there are, as data, and how each is set up.

Both sides explain the same samples by the same model with the same number of passes. Peers are looked for when a case
runs: where one is not installed, its row says so.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from xaiteach import data, models
from xaiteach.attribution import explain, registry
from xaiteach.cli import bench_measuring as measuring
from xaiteach.cli.bench_measuring import Row
from xaiteach.errors import MissingExtraError, unknown
from xaiteach.runtime import device as usual_device
from xaiteach.runtime import require

__all__ = ["CASES", "PEERS", "Case", "Setting", "conditions", "rows"]

PEERS = {
    "captum": ("captum.attr", "captum"),
    "zennit": ("zennit", "zennit"),
    "grad-cam": ("pytorch_grad_cam", "grad-cam"),
    "lime": ("lime.lime_image", "lime"),
}
"""Library -> the module of it that is used, and what to install."""


@dataclass(frozen=True)
class Setting:
    """What both sides explain: model, samples, a class for each, and the image's blocks where players are needed."""

    model: nn.Module
    x: Tensor
    target: Tensor
    blocks: Tensor | None = None


Theirs = Callable[[Setting, Any], Callable[[], Tensor]]
"""(setting, the peer's module) to a call, with everything prepared that need not be timed."""


@dataclass(frozen=True)
class Case:
    """One method beside one peer.

    Parameters
        method : name in the registry, looked up when the case runs.
        setting : key of SETTINGS.
        peer : library (a key of PEERS) and what of it.
        theirs : makes the peer's call.
        options : of our method; one that is a function is called with the setting.
        like_theirs : (our values, setting) to what the peer returns.
        wanted : the least ratio that is promised.
        draws : bool. Both sides draw, each its own numbers.
    """

    method: str
    setting: str
    peer: str
    theirs: Theirs
    options: Mapping[str, Any] = field(default_factory=dict)
    like_theirs: Callable[[Tensor, Setting], Tensor] | None = None
    wanted: float = 1.0
    draws: bool = False

    @property
    def name(self) -> str:
        """The method and what it explains."""
        return f"{self.method}, {self.setting}"

    def ours(self, setting: Setting) -> Callable[[], Tensor]:
        """Our call."""
        options = {name: value(setting) if callable(value) else value for name, value in self.options.items()}

        def call() -> Tensor:
            generator = torch.Generator().manual_seed(0)
            found = explain(
                setting.model, setting.x, setting.target, self.method, generator=generator, progress=False, **options
            )
            return found.values if self.like_theirs is None else self.like_theirs(found.values, setting)

        return call


def _crops(n: int, on: torch.device, blocks: Tensor | None = None) -> Setting:
    x, y = data.crops(split="test", n_per_class=4).tensors()
    return Setting(models.load("crops_cnn").to(on), x[:n].to(on), y[:n].to(on), blocks)


def _in_blocks(side: int, on: torch.device) -> Setting:
    """One crop, with side x side blocks numbered row by row."""
    place = torch.arange(64) * side // 64
    return _crops(1, on, (side * place[:, None] + place).to(on))


def _signals(n: int, on: torch.device) -> Setting:
    net = nn.Sequential(
        *(nn.Conv1d(1, 25, 5, 2, 1), nn.ReLU(), nn.Conv1d(25, 25, 3, 2, 1), nn.ReLU()),
        *(nn.Conv1d(25, 25, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(125, 10)),
    )
    return _drawn(net, (n, 1, 40), on)


def _wide(on: torch.device) -> Setting:
    widths = (3, 32, 64, 128, 256, 512)
    layers = [
        layer
        for before, after in pairwise(widths)
        for layer in (nn.Conv2d(before, after, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
    ]
    head = (nn.Flatten(), nn.Linear(512 * 2 * 2, 256), nn.ReLU(), nn.Linear(256, 10))
    return _drawn(nn.Sequential(*layers, *head), (1, 3, 64, 64), on)


def _drawn(net: nn.Module, shape: tuple[int, ...], on: torch.device) -> Setting:
    """Net with weights from a seed, on noise from the same, explained for the class that it chooses."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in net.parameters():
            spread = (2 / p[0].numel()) ** 0.5 if p.ndim > 1 else 0.0
            p.copy_(spread * torch.randn(p.shape, generator=generator))
        x = torch.rand(shape, generator=generator)
        target = net.eval()(x).argmax(1)
    return Setting(net.to(on), x.to(on), target.to(on))


SETTINGS: Mapping[str, Callable[[torch.device], Setting]] = {
    "32 crops": partial(_crops, 32),
    "8 crops": partial(_crops, 8),
    "1 crop in 16 blocks": partial(_in_blocks, 4),
    "1 crop in 64 blocks": partial(_in_blocks, 8),
    "8 signals": partial(_signals, 8),
    "1 image, 512 channels": _wide,
}


def _captum(kind: str, **options: Any) -> Theirs:
    def theirs(setting: Setting, captum: Any) -> Callable[[], Tensor]:
        method = getattr(captum, kind)(setting.model)
        return lambda: method.attribute(setting.x, target=setting.target, **options)

    return theirs


def _captum_grad_cam(setting: Setting, captum: Any) -> Callable[[], Tensor]:
    method = captum.LayerGradCam(setting.model, setting.model.get_submodule("features.relu4"))
    return lambda: method.attribute(setting.x, target=setting.target, relu_attributions=True)


def _captum_guided_grad_cam(setting: Setting, captum: Any) -> Callable[[], Tensor]:
    method = captum.GuidedGradCam(setting.model, setting.model.get_submodule("features.relu4"))
    return lambda: method.attribute(setting.x, target=setting.target, interpolate_mode="bilinear")


class _Copy(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        """The same numbers, by an operation of their own."""
        return x.clone()


def _captum_deeplift(setting: Setting, captum: Any) -> Callable[[], Tensor]:
    # Captum's DeepLIFT is wrong where a ReLU touches a pooling; a copy between them mends it.
    net = copy.deepcopy(setting.model)
    for name, module in list(net.named_modules()):
        if isinstance(module, nn.MaxPool2d):
            net.set_submodule(name, nn.Sequential(_Copy(), module))
    return _captum("DeepLift")(Setting(net, setting.x, setting.target), captum)


def _captum_lrp(setting: Setting, captum: Any) -> Callable[[], Tensor]:
    rules = require("captum.attr._utils.lrp_rules")
    net = copy.deepcopy(setting.model)
    flattenings = [module for module in net.modules() if isinstance(module, nn.Flatten)]

    def call() -> Tensor:
        for module in flattenings:
            module.rule = rules.EpsilonRule()  # Captum has none of its own for it, and forgets ours after each call
        found: Tensor = captum.LRP(net).attribute(setting.x, target=setting.target)
        return found

    return call


def _zennit_alpha_beta(setting: Setting, _: Any) -> Callable[[], Tensor]:
    composites, rules, types, attribution = (
        require(f"zennit.{part}") for part in ("composites", "rules", "types", "attribution")
    )
    exact = {"stabilizer": 1e-30}  # in place of the 1e-6 that it adds to denominators
    pairs = [
        (types.Activation, rules.Pass()),
        (types.AvgPool, rules.Norm(**exact)),
        (types.Linear, rules.AlphaBeta(alpha=2.0, beta=1.0, zero_params="bias", **exact)),
    ]
    composite = composites.LayerMapComposite(pairs)
    one_hot = torch.eye(10, device=setting.x.device)[setting.target]

    def call() -> Tensor:
        with attribution.Gradient(setting.model, composite) as method:
            found: Tensor = method(setting.x, one_hot)[1]
        return found

    return call


def _captum_noise(setting: Setting, captum: Any) -> Callable[[], Tensor]:
    method = captum.NoiseTunnel(captum.Saliency(setting.model))
    # Captum's deviation is one for the batch, in input units.
    spread = 0.15 * float(setting.x.flatten(1).amax(1).sub(setting.x.flatten(1).amin(1)).mean())
    return lambda: method.attribute(setting.x, target=setting.target, nt_samples=50, stdevs=spread, abs=False)


def _captum_gradient_shap(setting: Setting, captum: Any) -> Callable[[], Tensor]:
    method = captum.GradientShap(setting.model)
    return lambda: method.attribute(setting.x, setting.x, n_samples=50, target=setting.target)


def _grad_cam_ablation(setting: Setting, grad_cam: Any) -> Callable[[], Tensor]:
    targets = [require("pytorch_grad_cam.utils.model_targets").ClassifierOutputTarget(int(c)) for c in setting.target]
    net = copy.deepcopy(setting.model)
    last = [module for module in net.modules() if isinstance(module, nn.ReLU)][4]
    method = grad_cam.AblationCAM(net, [last])
    return lambda: torch.as_tensor(method(setting.x, targets))


def _as_grad_cam(values: Tensor, setting: Setting) -> Tensor:
    """Scaled to [0, 1], resized, scaled again: (n, h, w)."""
    resized = functional.interpolate(_to_one(values), size=setting.x.shape[2:], mode="bilinear", align_corners=False)
    return _to_one(resized)[:, 0]


def _to_one(values: Tensor) -> Tensor:
    low = values - values.flatten(1).amin(1).reshape(-1, 1, 1, 1)
    return low / (1e-7 + low.flatten(1).amax(1).reshape(-1, 1, 1, 1))


def _lime_package(setting: Setting, lime: Any) -> Callable[[], Tensor]:
    explainer = lime.LimeImageExplainer(random_state=0)
    blocks, c = _numbered(setting), int(setting.target[0])
    image = setting.x[0].permute(1, 2, 0).double().cpu().numpy()

    def scores(images: Any) -> Any:
        with torch.no_grad():
            batch = torch.as_tensor(images).permute(0, 3, 1, 2).to(setting.x)
            return setting.model(batch).double().cpu().numpy()

    def call() -> Tensor:
        found = explainer.explain_instance(
            image, scores, labels=(c,), top_labels=None, num_samples=1000, segmentation_fn=lambda _: blocks.numpy()
        )
        coefficients = torch.zeros(int(blocks.max()) + 1, dtype=torch.float64)
        for block, coefficient in found.local_exp[c]:
            coefficients[int(block)] = float(coefficient)
        return coefficients[blocks][None, None]

    return call


def _captum_blocks(kind: str) -> Theirs:
    def theirs(setting: Setting, captum: Any) -> Callable[[], Tensor]:
        method = getattr(captum, kind)(setting.model)
        options = {"feature_mask": setting.blocks, "n_samples": 1000}
        return lambda: method.attribute(setting.x, target=setting.target, **options)[:, :1]

    return theirs


def _whole_blocks(values: Tensor, setting: Setting) -> Tensor:
    """A block's whole value at each of its positions, where ours shares it out."""
    blocks = _numbered(setting)
    return values * torch.bincount(blocks.flatten())[blocks].to(values)


def _numbered(setting: Setting) -> Tensor:
    return setting.x.new_zeros(setting.x.shape[2:]).long().cpu() if setting.blocks is None else setting.blocks.cpu()


_SAMPLES: Mapping[str, Any] = {"n_samples": 50}
_MASKS: Mapping[str, Any] = {"n_samples": 1000, "superpixels": lambda setting: setting.blocks}

CASES: tuple[Case, ...] = (
    Case("saliency", "32 crops", "captum Saliency", _captum("Saliency", abs=False)),
    Case("input_x_gradient", "32 crops", "captum InputXGradient", _captum("InputXGradient")),
    Case("deconvnet", "32 crops", "captum Deconvolution", _captum("Deconvolution")),
    Case("guided_backprop", "32 crops", "captum GuidedBackprop", _captum("GuidedBackprop")),
    Case("grad_cam", "32 crops", "captum LayerGradCam", _captum_grad_cam),
    Case("guided_grad_cam", "32 crops", "captum GuidedGradCam", _captum_guided_grad_cam),
    Case("deeplift", "32 crops", "captum DeepLift", _captum_deeplift),
    Case("lrp_epsilon", "32 crops", "captum LRP", _captum_lrp, {"epsilon": 1e-9, "start": "logit"}),
    Case("lrp_alpha_beta", "32 crops", "zennit AlphaBeta", _zennit_alpha_beta),
    Case("integrated_gradients", "8 crops", "captum IntegratedGradients", _captum("IntegratedGradients", n_steps=50)),
    Case("integrated_gradients", "8 signals", "captum IntegratedGradients", _captum("IntegratedGradients", n_steps=50)),
    Case("smoothgrad", "8 crops", "captum NoiseTunnel", _captum_noise, _SAMPLES, draws=True),
    Case("smoothgrad", "8 signals", "captum NoiseTunnel", _captum_noise, _SAMPLES, draws=True),
    Case("gradient_shap", "8 crops", "captum GradientShap", _captum_gradient_shap,
         {**_SAMPLES, "baseline": lambda setting: setting.x}, draws=True),
    Case("ablation_cam", "1 image, 512 channels", "grad-cam AblationCAM", _grad_cam_ablation, {}, _as_grad_cam, 20.0),
    Case("lime", "1 crop in 64 blocks", "lime LimeImageExplainer", _lime_package, _MASKS, None, 3.0, draws=True),
    Case("lime", "1 crop in 64 blocks", "captum Lime", _captum_blocks("Lime"), {**_MASKS, "baseline": 0.0}, None, 3.0,
         draws=True),
    Case("kernel_shap", "1 crop in 16 blocks", "captum KernelShap", _captum_blocks("KernelShap"), _MASKS, _whole_blocks,
         3.0, draws=True),
)  # fmt: skip
"""Both sides take the defaults of n_steps and the like where no option says otherwise."""


def conditions() -> str:
    """One line on what was measured how."""
    return measuring.conditions(usual_device())


def rows(repeats: int, cases: Sequence[str] = ()) -> Iterator[Row]:
    """Rows of the cases, each as soon as it is measured.

    Parameters
        repeats : int >= 1. Timed runs of each side.
        cases : only those with one of these in their name or their peer's. Default: all.
    Raises
        OptionError: no such case; the message lists them.
    """
    for part in cases:
        if not any(_matches(case, part) for case in CASES):
            raise unknown("case", part, {case.name for case in CASES})
    on = usual_device()
    for case in CASES:
        if not cases or any(_matches(case, part) for part in cases):
            yield _row(case, repeats, on)


def _matches(case: Case, part: str) -> bool:
    return part in f"{case.name} {case.peer}"


def _row(case: Case, repeats: int, on: torch.device) -> Row:
    fields: dict[str, Any] = {"case": case.name, "peer": case.peer, "wanted": case.wanted, "draws": case.draws}
    if case.method not in registry.REGISTRY:
        return Row(**fields, note="this release has no such method")
    setting, theirs = SETTINGS[case.setting](on), None
    module, package = PEERS[case.peer.split()[0]]
    try:
        theirs = case.theirs(setting, require(module))
    except MissingExtraError:
        fields["trouble"] = f"not installed: pip install {package}"
    except Exception as error:  # another version of it, perhaps
        fields["trouble"] = f"failed: {type(error).__name__}: {error}"
    try:
        with torch.random.fork_rng(devices=[on] if on.type == "cuda" else []):
            torch.manual_seed(0)  # for peers that draw from the global state
            measured = measuring.measure(case.ours(setting), theirs, on, repeats)
    except Exception as error:
        return Row(**fields, note=f"failed: {type(error).__name__}: {error}", failed=True)
    return Row(**{**fields, **measured})
