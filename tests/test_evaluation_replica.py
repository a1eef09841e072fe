"""The sanity check on scikit-learn's digits, end to end: what stays alike and what does not when a model is broken.

The figures expected are those of a replica by other code: a VGG-like net of seven convolutions (16, 32, 64) on digits
at 32 x 32, three seeds, five images, SSIM of signed maps after fc3, fc1, conv4. What has to hold is the order: three
groups, far apart. Within the middle one DeconvNet and LRP (3,2) change places from one training to the next.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from xaiteach import data, models
from xaiteach.evaluation import parameter_randomization
from xaiteach.models.fitting import fit

EXPECTED = {  # without batch norm
    "LRP (1,0)": (1.00, 1.00, 0.91),
    "guided_backprop": (0.99, 0.97, 0.85),
    "LRP (2,1)": (0.95, 0.93, 0.83),
    "deconvnet": (0.76, 0.71, 0.45),
    "LRP (3,2)": (0.63, 0.65, 0.54),
    "guided_grad_cam": (0.46, 0.40, 0.34),
    "saliency": (0.24, 0.14, 0.11),
    "LRP (5,4)": (0.15, 0.18, 0.16),
    "grad_cam": (0.10, 0.09, 0.07),
    "integrated_gradients": (0.07, 0.07, 0.07),  # at most
    "input_x_gradient": (0.07, 0.07, 0.07),  # at most
}
METHODS = {
    name: ("lrp_alpha_beta", {"alpha": float(name[5]), "beta": float(name[7])}) if name.startswith("LRP") else name
    for name in EXPECTED
}
HIGH, MIDDLE = ("LRP (1,0)", "guided_backprop", "LRP (2,1)"), ("deconvnet", "LRP (3,2)")
LOW = ("saliency", "LRP (5,4)", "grad_cam", "integrated_gradients", "input_x_gradient")
AT = ["fc3", "fc1", "conv4"]


def standardised() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    x, y = data.digits("train", size=32).tensors()
    others, labels = data.digits("test", size=32).tensors()
    mean, sd = (
        x.mean(),
        x.std(),
    )  # or else the black ground is 0, and maps times the input are alike where they are empty
    return (x - mean) / sd, y, (others - mean) / sd, labels


def after(training_seed: int) -> tuple[float, dict[str, Tensor]]:
    """Test accuracy of a trained net, and each method's mean SSIM after fc3, fc1 and conv4."""
    x, y, others, labels = standardised()
    net = models.build("digits_cnn", training_seed)
    fit(net, x, y, epochs=8, generator=torch.Generator().manual_seed(training_seed), rate=1e-3)
    with torch.no_grad():
        accuracy = float((net(others).argmax(1) == labels).float().mean())
    layers = ["fc3", "fc2", "fc1", "conv7", "conv6", "conv5", "conv4"]
    found = parameter_randomization(
        net, others[:5], labels[:5], METHODS, layers=layers, modes=["cascading"], seeds=3, init="he", progress=False
    )
    return accuracy, {name: found.curve(name)[0][[found.layers.index(layer) for layer in AT]] for name in METHODS}


@pytest.mark.slow
def test_the_orderings_of_the_replica_hold() -> None:
    runs = [after(seed) for seed in (0, 1)]
    ssim = {name: torch.stack([found[name] for _, found in runs]).mean(0) for name in METHODS}
    print(f"\ntest accuracy {', '.join(f'{accuracy:.3f}' for accuracy, _ in runs)}")
    print(f"{'SSIM after ' + ' / '.join(AT):24s} ours             expected")
    for name, values in ssim.items():
        ours, expected = ("/".join(f"{v:.2f}" for v in row) for row in (values.tolist(), EXPECTED[name]))
        print(f"{name:24s} {ours}   {expected}")
    assert min(accuracy for accuracy, _ in runs) > 0.97
    first = {name: float(values[0]) for name, values in ssim.items()}
    high, middle, low = ([first[name] for name in names] for names in (HIGH, MIDDLE, LOW))
    assert min(high) > 0.9
    assert min(high) > max(middle)
    assert min(middle) > first["guided_grad_cam"] > max(low)
    assert max(low) < 0.3
    # Down to conv4: still the same three groups.
    last = {name: float(values[2]) for name, values in ssim.items()}
    assert min(last[name] for name in HIGH) > max(last[name] for name in (*MIDDLE, *LOW))
