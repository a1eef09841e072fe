"""Guards: what is let through, and what the refusals say."""

from __future__ import annotations

import helpers_attribution as h
import numpy as np
import pytest
import torch
from torch import nn

from xaiteach import guards
from xaiteach.errors import ModelError, OptionError, ShapeError, TargetError


def test_a_finite_floating_batch_passes_unchanged() -> None:
    x = h.batch()
    assert guards.check_input(x, "saliency") is x


def test_a_sample_without_batch_axis_is_told_x_none() -> None:
    with h.fails(ShapeError, "saliency: `x`", "(5,)", "x[None]"):
        guards.check_input(torch.zeros(5), "saliency")


def test_a_number_is_no_batch() -> None:
    with h.fails(ShapeError, "x.reshape(1, 1)"):
        guards.check_input(torch.tensor(1.0), "saliency")


def test_an_array_is_no_tensor() -> None:
    with h.fails(ShapeError, "a ndarray", "torch.as_tensor"):
        guards.check_input(np.zeros((2, 2)), "saliency")


def test_an_empty_batch_is_refused() -> None:
    with h.fails(ShapeError, "(0, 2, 8)", "empty"):
        guards.check_input(torch.zeros(0, 2, 8), "saliency")


def test_integers_have_no_gradient() -> None:
    with h.fails(ShapeError, "int64", "x.float()"):
        guards.check_input(torch.zeros(2, 3, dtype=torch.long), "saliency")


def test_nan_in_the_input_is_counted_and_placed() -> None:
    x = torch.zeros(2, 3)
    x[0, 2], x[1, 0], x[1, 1] = torch.nan, torch.inf, torch.nan
    with h.fails(ShapeError, "2 NaN and 1 infinite of 6", "index (0, 2)", "torch.nan_to_num"):
        guards.check_input(x, "saliency")


@pytest.mark.parametrize("target", [1, np.int64(1), torch.tensor(1), [1, 1], (1, 1), np.array([1, 1]), torch.ones(2)])
def test_targets_of_every_integer_kind_become_long(target: object) -> None:
    if isinstance(target, torch.Tensor) and target.ndim:
        target = target.to(torch.int32)
    found = guards.check_target(target, 2, 4, "saliency")
    assert found.dtype == torch.long
    assert found.tolist() == [1, 1]


def test_a_target_beyond_the_classes_names_the_sample() -> None:
    with h.fails(TargetError, "from 0 to 3", "got 4 for sample 1", "below 4"):
        guards.check_target([0, 4], 2, 4, "saliency")


def test_a_negative_target_is_told_its_positive_twin() -> None:
    with h.fails(TargetError, "got -1 for sample 0", "Try 3."):
        guards.check_target(-1, 2, 4, "saliency")


@pytest.mark.parametrize(
    "target", [1.0, True, "cat", None, torch.tensor([0.0, 1.0]), torch.tensor([True, False]), [0.5]]
)
def test_a_target_that_is_no_integer_is_refused(target: object) -> None:
    with h.fails(TargetError, "class index", "logits.argmax(1)"):
        guards.check_target(target, 2, 4, "saliency")


@pytest.mark.parametrize("target", [[0, 1, 2], torch.zeros(2, 1, dtype=torch.long), []])
def test_a_wrong_number_of_targets_is_refused(target: object) -> None:
    if isinstance(target, list) and not target:
        target = torch.zeros(0, dtype=torch.long)
    with h.fails(TargetError, "each of the 2 samples", "shape (2,)"):
        guards.check_target(target, 2, 4, "saliency")


def test_a_function_passes_as_model_unless_layers_are_needed() -> None:
    assert guards.check_model(torch.relu, "saliency") is torch.relu
    with h.fails(ModelError, "torch.nn.Module", "wrapping it"):
        guards.check_model(torch.relu, "grad_cam", module=True)


@pytest.mark.parametrize("model", [3, nn.ReLU, None])
def test_what_cannot_be_called_is_no_model(model: object) -> None:
    with h.fails(ModelError, "callable", "model object"):
        guards.check_model(model, "saliency")


def test_lazy_layers_are_told_to_see_an_input_first() -> None:
    with h.fails(ModelError, "lazy", "model(x) once"):
        guards.check_model(nn.LazyLinear(3), "saliency")


def test_parameters_made_in_inference_mode_are_refused() -> None:
    with torch.inference_mode():
        model = nn.Linear(2, 2)
    with h.fails(ModelError, "inference_mode", "outside"):
        guards.check_model(model, "saliency")


def test_another_dtype_than_the_models_is_refused() -> None:
    with h.fails(ShapeError, "float32", "float64 tensor", "x.to(torch.float32)"):
        guards.check_model(nn.Linear(2, 2), "saliency", torch.zeros(1, 2, dtype=torch.float64))


def test_another_device_than_the_models_is_refused() -> None:
    with h.fails(ShapeError, "meta", "x.to('meta')"):
        guards.check_model(nn.Linear(2, 2, device="meta"), "saliency", torch.zeros(1, 2))


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ((torch.zeros(2, 3), torch.zeros(2, 5)), "a tuple of 2"),
        ({"logits": torch.zeros(2, 3)}, "'logits'"),
        (torch.zeros(2), "output[:, None]"),
        (torch.zeros(2, 3, 4), "(2, 3, 4)"),
        (torch.zeros(1, 3), "(1, 3)"),
        (torch.zeros(2, 3, dtype=torch.long), "argmax"),
        (torch.zeros(2, 3), "differentiable"),
        (torch.full((2, 3), torch.nan, requires_grad=True), "sample 0, class 0 is nan"),
    ],
)
def test_an_output_that_is_no_logits_is_refused(output: object, words: str) -> None:
    with h.fails(ModelError, "`model` must", words):
        guards.check_logits(output, 2, "saliency")


def test_a_layer_is_found_by_name_and_by_module() -> None:
    net = h.conv_net()
    assert guards.find_layer(net, "3", "grad_cam") == ("3", net[3])
    assert guards.find_layer(net, net[3], "grad_cam") == ("3", net[3])


def test_an_unknown_layer_lists_the_names_and_the_nearest() -> None:
    with h.fails(OptionError, "unknown layer 'conv3'; did you mean 'conv2'?", "conv1, conv2, fc, relu1"):
        guards.find_layer(h.Functional(), "conv3", "grad_cam")


def test_a_module_of_a_copy_is_refused() -> None:
    with h.fails(ModelError, "part of `model`", "dotted name"):
        guards.find_layer(h.conv_net(), h.conv_net()[3], "grad_cam")


def test_a_layer_number_is_refused() -> None:
    with h.fails(ModelError, "dotted name or a module", "a int"):
        guards.find_layer(h.conv_net(), 3, "grad_cam")  # type: ignore[arg-type]
