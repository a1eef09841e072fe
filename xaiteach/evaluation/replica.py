"""The sanity check's finding, reproduced on data that everyone has: which maps survive a broken network.

A VGG-like net of seven convolutions (16, 32, 64 maps) is trained on scikit-learn's digits at 32 x 32; its layers are
drawn anew from the last one down, and each method's maps are compared with those of the trained net by SSIM. What was
found once is printed beside what is found now. Three groups hold in every training, far apart; within the middle one
DeconvNet and LRP (3,2) change places from one training to the next.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from xaiteach import data, models
from xaiteach.attribution.work import at_least
from xaiteach.errors import unknown
from xaiteach.evaluation.base import Result
from xaiteach.evaluation.classes import class_insensitivity
from xaiteach.evaluation.randomization import parameter_randomization
from xaiteach.evaluation.weights import layers_of
from xaiteach.models.fitting import accuracy, fit

if TYPE_CHECKING:
    from xaiteach.plots.figure import ReadableFigure

__all__ = ["EXPECTED", "GROUPS", "METHODS", "NETS", "Replica", "replicate"]

NETS = {"plain": "digits_cnn", "batch norm": "digits_cnn_norm"}
AFTER = ("fc3", "fc1", "conv4")
"""Layers down to which everything was drawn anew."""

AT_MOST = ("integrated_gradients", "input_x_gradient")
"""Methods of which only the largest value is known."""
EXPECTED: Mapping[str, Mapping[str, tuple[float, float, float]]] = {
    "plain": {
        "LRP (1,0)": (1.00, 1.00, 0.91),
        "guided_backprop": (0.99, 0.97, 0.85),
        "LRP (2,1)": (0.95, 0.93, 0.83),
        "deconvnet": (0.76, 0.71, 0.45),
        "LRP (3,2)": (0.63, 0.65, 0.54),
        "guided_grad_cam": (0.46, 0.40, 0.34),
        "saliency": (0.24, 0.14, 0.11),
        "LRP (5,4)": (0.15, 0.18, 0.16),
        "grad_cam": (0.10, 0.09, 0.07),
        "integrated_gradients": (0.07, 0.07, 0.07),
        "input_x_gradient": (0.07, 0.07, 0.07),
    },
    "batch norm": {
        "LRP (1,0)": (1.00, 1.00, 0.92),
        "guided_backprop": (0.99, 0.97, 0.80),
        "LRP (2,1)": (0.98, 0.98, 0.86),
        "deconvnet": (0.78, 0.71, 0.44),
        "LRP (3,2)": (0.70, 0.70, 0.53),
        "guided_grad_cam": (0.68, 0.52, 0.42),
        "saliency": (0.23, 0.19, 0.19),
        "LRP (5,4)": (0.12, 0.10, 0.05),
        "grad_cam": (0.14, 0.07, 0.05),
        "integrated_gradients": (0.09, 0.09, 0.09),
        "input_x_gradient": (0.09, 0.09, 0.09),
    },
}
"""SSIM found by other code, with three seeds and five images; of AT_MOST it was at most this."""

CLASSES_EXPECTED = {"guided_backprop": 0.99, "deconvnet": 0.76, "LRP (1,0)": 1.0, "saliency": 0.25, "grad_cam": 0.04}
"""SSIM of two classes' maps of one image, without batch norm."""

METHODS: Mapping[str, Any] = {
    name: ("lrp_alpha_beta", {"alpha": float(name[5]), "beta": float(name[7])}) if name.startswith("LRP") else name
    for name in EXPECTED["plain"]
}

GROUPS = (
    ("LRP (1,0)", "guided_backprop", "LRP (2,1)"),
    ("deconvnet", "LRP (3,2)"),
    ("guided_grad_cam",),
    ("saliency", "LRP (5,4)", "grad_cam", "integrated_gradients", "input_x_gradient"),
)
"""From what survives a broken network to what does not; within a group there is no order."""


@dataclass(frozen=True, eq=False, repr=False)
class Replica(Result):
    """SSIM of maps before and after the layers down to AFTER were drawn anew, and of two classes' maps.

    Parameters
        net : "plain" or "batch norm".
        ssim : method -> Tensor (T, 3), float64: T trainings, and the layers of AFTER.
        classes : method -> Tensor (T,). SSIM of the maps of the first and the second class of one image.
        accuracy : Tensor (T,). On the test digits.
    """

    net: str
    ssim: Mapping[str, Tensor]
    classes: Mapping[str, Tensor]
    accuracy: Tensor

    @property
    def title(self) -> str:  # type: ignore[override]
        """Which net, how often trained, how good."""
        shown = ", ".join(f"{a:.3f}" for a in self.accuracy.tolist())
        return f"SSIM to the trained net's maps, {self.net}; test accuracy of {len(self.accuracy)} trainings: {shown}"

    @property
    def columns(self) -> tuple[str, ...]:
        """Method, what was found and expected, and the same between two classes."""
        return ("method", f"after {' / '.join(AFTER)}", "expected", "two classes", "expected")

    def rows(self) -> list[tuple[str, ...]]:
        """One row for each method, in the order expected."""
        found: list[tuple[str, ...]] = []
        for name, values in self.ssim.items():
            ours, theirs = ("/".join(f"{v:.2f}" for v in row) for row in (values.mean(0), EXPECTED[self.net][name]))
            most = "<= " if name in AT_MOST else ""
            expected = CLASSES_EXPECTED.get(name) if self.net == "plain" else None
            shown = "" if expected is None else f"{expected:.2f}"
            found.append((name, ours, most + theirs, f"{self.classes[name].mean():.2f}", shown))
        return found

    def faults(self) -> list[str]:
        """What does not hold: the order of GROUPS after the first layer, and the first of them down to the last."""
        first, last = ({name: float(v.mean(0)[at]) for name, v in self.ssim.items()} for at in (0, -1))
        found = [
            f"after {AFTER[0]}, {low} ({first[low]:.2f}) must be below {high} ({first[high]:.2f})"
            for place, group in enumerate(GROUPS)
            for high in group
            for lower in GROUPS[place + 1 :]
            for low in lower
            if first[low] >= first[high]
        ]
        found += [
            f"after {AFTER[-1]}, {low} ({last[low]:.2f}) must be below {high} ({last[high]:.2f})"
            for high in GROUPS[0]
            for group in GROUPS[1:]
            for low in group
            if last[low] >= last[high]
        ]
        found += [f"accuracy must be above .97; got {a:.3f}" for a in self.accuracy.tolist() if a <= 0.97]
        return found

    def plot(self, **options: Any) -> ReadableFigure:
        """Curves of the SSIM over the layers of AFTER."""
        from xaiteach.plots import Series, curves

        series = {name: Series(values.mean(0).tolist()) for name, values in self.ssim.items()}
        return curves(series, list(AFTER), x_label="drawn anew down to", y_label="SSIM", **options)


def replicate(
    net: str = "plain",
    *,
    trainings: int = 3,
    seeds: int = 3,
    images: int = 5,
    progress: Callable[[str], object] | None = None,
) -> Replica:
    """Train on digits, break the net from its end, and compare every method's maps.

    The images have to be standardised: on a black ground of 0, maps times the input are alike where they are empty.

    Parameters
        net : "plain" or "batch norm".
        trainings : int >= 1. Nets, each from a seed of its own, from 0 up.
        seeds : int >= 1. Draws of each layer, by He's initialisation.
        images : int >= 1. Test digits that are explained.
        progress : called with a line before each training, or None.
    Returns
        Replica.
    Raises
        OptionError: another net, or nothing to do.
        MissingExtraError: scikit-learn is not there.
    Cost
        About 15 s for a training on two cores.
    Examples
        >>> len(EXPECTED["plain"]), EXPECTED["plain"]["guided_backprop"]
        (11, (0.99, 0.97, 0.85))
    """
    if net not in NETS:
        raise unknown("net", net, NETS)
    for name, value in (("trainings", trainings), ("seeds", seeds), ("images", images)):
        at_least(value, 1, name, "replicate")
    runs = []
    for training in range(trainings):
        if progress:
            progress(f"{net}, training {training + 1} of {trainings}")
        runs.append(_run(net, training, seeds, images))
    ssim = {name: torch.stack([run[1][name] for run in runs]) for name in METHODS}
    classes = {name: torch.stack([run[2][name] for run in runs]) for name in METHODS}
    return Replica(net, ssim, classes, torch.tensor([run[0] for run in runs], dtype=torch.float64))


def _run(net: str, training: int, seeds: int, images: int) -> tuple[float, dict[str, Tensor], dict[str, Tensor]]:
    x, y, x_test, y_test = _digits()
    model: nn.Module = models.build(NETS[net], training)
    fit(model, x, y, epochs=8, generator=torch.Generator().manual_seed(training), rate=1e-3)
    shown, labels = x_test[:images], y_test[:images]
    layers = list(layers_of(model, shown))
    found = parameter_randomization(
        model, shown, labels, METHODS, layers=layers[layers.index(AFTER[-1]) :], modes=["cascading"],
        seeds=seeds, init="he", progress=False,
    )  # fmt: skip
    at = [found.layers.index(layer) for layer in AFTER]
    with torch.no_grad():
        rival = model(shown).scatter(1, labels[:, None], -torch.inf).argmax(1)
    both = class_insensitivity(model, shown, labels, rival, dict(METHODS), measures=[("ssim", "all")])
    ssim = {name: found.curve(name)[0][at].double() for name in METHODS}
    return accuracy(model, x_test, y_test), ssim, {name: both.of(name).mean() for name in METHODS}


def _digits() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Standardised digits, (n, 1, 32, 32), and their classes."""
    x, y = data.digits("train", size=32).tensors()
    x_test, y_test = data.digits("test", size=32).tensors()
    mean, sd = x.mean(), x.std()
    return (x - mean) / sd, y, (x_test - mean) / sd, y_test
