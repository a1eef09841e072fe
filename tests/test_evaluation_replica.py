"""The sanity check on scikit-learn's digits, end to end: what stays alike and what does not when a model is broken."""

from __future__ import annotations

import dataclasses

import helpers_attribution as h
import pytest
import torch

from xaiteach.errors import OptionError
from xaiteach.evaluation import replica


@pytest.mark.slow
def test_the_orderings_of_the_replica_hold() -> None:
    found = replica.replicate("plain", trainings=2)
    print(f"\n{found}")
    assert found.faults() == []
    first = {name: float(values.mean(0)[0]) for name, values in found.ssim.items()}
    assert min(first[name] for name in replica.GROUPS[0]) > 0.9
    assert max(first[name] for name in replica.GROUPS[-1]) < 0.3
    # Two classes of one image: blind to the class, and not.
    classes = {name: float(values.mean()) for name, values in found.classes.items()}
    assert min(classes[name] for name in replica.GROUPS[0]) > 0.9 > 0.3 > classes["grad_cam"]


def made(**changed: float) -> replica.Replica:
    """What was expected, as if it had been found, but for some methods after the first layer."""
    ssim = {name: torch.tensor([values], dtype=torch.float64) for name, values in replica.EXPECTED["plain"].items()}
    for name, value in changed.items():
        ssim[name][0, 0] = value
    classes = {name: torch.tensor([0.5]) for name in ssim}
    return replica.Replica("plain", ssim, classes, torch.tensor([0.985], dtype=torch.float64))


def test_what_is_expected_has_no_faults_and_what_is_out_of_order_is_named() -> None:
    assert made().faults() == []
    assert made(guided_backprop=0.7).faults() == ["after fc3, deconvnet (0.76) must be below guided_backprop (0.70)"]
    assert made(saliency=0.5).faults() == ["after fc3, saliency (0.50) must be below guided_grad_cam (0.46)"]
    deep = made()
    deep.ssim["deconvnet"][0, 2] = 0.9
    assert any(fault == "after conv4, deconvnet (0.90) must be below guided_backprop (0.85)" for fault in deep.faults())
    weak = dataclasses.replace(made(), accuracy=torch.tensor([0.5], dtype=torch.float64))
    assert weak.faults() == ["accuracy must be above .97; got 0.500"]


def test_figures_stand_beside_the_expected_ones() -> None:
    found = made()
    rows = {row[0]: row[1:] for row in found.rows()}
    assert rows["guided_backprop"] == ("0.99/0.97/0.85", "0.99/0.97/0.85", "0.50", "0.99")
    assert rows["input_x_gradient"] == ("0.07/0.07/0.07", "<= 0.07/0.07/0.07", "0.50", "")
    assert "test accuracy of 1 trainings: 0.985" in found.title
    assert "At conv4 the highest is LRP (1,0) (0.91)" in found.plot().alt_text
    assert set(replica.METHODS) == {name for group in replica.GROUPS for name in group}
    assert set(replica.EXPECTED["batch norm"]) == set(replica.METHODS)


def test_nothing_to_do_is_refused() -> None:
    with h.fails(OptionError, "unknown net", "batch norm"):
        replica.replicate("vgg")
    for name in ("trainings", "seeds", "images"):
        with h.fails(OptionError, name):
            replica.replicate(**{name: 0})  # type: ignore[arg-type]
