"""Facts of unit 01: what its cases show, its truths by a second route, and the landscape of its lesson."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from xaiteach.questions import find, of_unit
from xaiteach.questions.running import cases_of, keys_of
from xaiteach.widgets import gradient_landscape, landscape

UNIT = "01_gradients"


def keys(question: str, seed: int = 0, fresh: bool = True) -> list[Any]:
    asked = find(question)
    return keys_of(asked, cases_of(asked, seed, fresh=fresh))


def net(case: Any) -> tuple[torch.Tensor, ...]:
    return tuple(torch.tensor(case.inputs[name], dtype=torch.float64) for name in ("x", "W1", "b1", "V", "b"))


@pytest.mark.parametrize("seed", range(5))
def test_gates_are_open_and_closed_and_none_is_on_the_edge(seed: int) -> None:
    for key in keys("gradients.input_gradient", seed):
        x, W1, b1, *_ = net(key.case)
        z = W1 @ x + b1
        assert 0 < int((z > 0).sum()) < len(z)
        assert float(z.abs().min()) > 0.2


@pytest.mark.parametrize("seed", range(3))
def test_differences_agree_with_automatic_differentiation(seed: int) -> None:
    for key in keys("gradients.input_gradient", seed):
        x, W1, b1, V, b = net(key.case)
        x.requires_grad_()
        (g,) = torch.autograd.grad((V @ (W1 @ x + b1).relu() + b)[key.case.inputs["c"]], x)
        np.testing.assert_allclose(key.truth["gradient"], g.numpy(), atol=1e-8)
    for key in keys("gradients.weight_gradient", seed):
        x, W1, b1, V, b = net(key.case)
        W1.requires_grad_()
        (g,) = torch.autograd.grad((V @ (W1 @ x + b1).relu() + b)[key.case.inputs["c"]], W1)
        np.testing.assert_allclose(key.truth["gradient"], g.numpy(), atol=1e-8)


@pytest.mark.parametrize("seed", range(3))
def test_what_the_products_leave_over_is_what_the_open_biases_bring(seed: int) -> None:
    for key in keys("gradients.gradient_x_input", seed):
        x, W1, b1, V, b = net(key.case)
        c = key.case.inputs["c"]
        gate = (W1 @ x + b1 > 0).double()
        assert float(key.truth["rest"]) == pytest.approx(float(V[c] @ (gate * b1) + b[c]), abs=1e-7)


@pytest.mark.parametrize("seed", range(3))
def test_the_nearest_edge_ahead_is_the_one_solved_for(seed: int) -> None:
    for key in keys("gradients.how_far", seed):
        x, d, W1, b1 = (key.case.inputs[name] for name in ("x", "d", "W1", "b1"))
        t = -(W1 @ x + b1) / (W1 @ d)
        assert float(key.truth["t"]) == pytest.approx(t[t > 0].min(), rel=1e-9)


def test_hooks_catch_what_autograd_gives() -> None:
    from xaiteach import models

    for key in keys("gradients.catch", 3):
        model: Any = models.build("convnet1d", key.case.inputs["seed"]).double().eval()
        parts = dict(model.named_children())
        names = list(parts)
        at = names.index(key.case.inputs["layer"]) + 1
        h = torch.tensor(key.case.inputs["x"])
        for name in names[:at]:
            h = parts[name](h)
        h = h.detach().requires_grad_()
        out = h
        for name in names[at:]:
            out = parts[name](out)
        (g,) = torch.autograd.grad(out[0, key.case.inputs["c"]], h)
        np.testing.assert_allclose(key.truth["activation"], h.detach().numpy(), atol=1e-12)
        np.testing.assert_allclose(key.truth["gradient"], g.numpy(), atol=1e-8)
        assert (key.truth["hooks left"], key.truth["gradients left"]) == (0, 0)


def test_the_energies_are_those_of_the_packages_own_methods() -> None:
    from xaiteach import data, explain, models

    (key,) = keys("gradients.energies", fresh=False)
    d = data.mnist1d()
    model = models.load("convnet1d").double()
    x = torch.tensor(d.x_test[:10], dtype=torch.float64)[:, None]
    mask = torch.tensor(d.mask_test[:10])
    with torch.no_grad():
        predicted = model(x).argmax(1)
    for column, method in ((0, "saliency"), (1, "input_x_gradient")):
        heat = explain(model, x, target=predicted, method=method).map.abs()
        share = (heat * mask).sum(1) / heat.sum(1)
        np.testing.assert_allclose(key.truth["energies"][:, column], share.numpy(), atol=1e-6)
    # What the text after the item says.
    gradient, product, smooth, random = key.truth["energies"].T
    chance = mask.double().mean(1).numpy()
    assert (gradient > chance).all()
    assert gradient.mean() < 0.5
    assert (smooth > gradient).sum() >= 7
    assert product.mean() > smooth.mean() > gradient.mean() > random.mean()
    assert x[:, 0][mask].abs().mean() > 1.5 * x[:, 0][~mask].abs().mean()  # the digit's points are the larger ones


def test_the_unit_fits_into_its_time_and_its_points_add_up() -> None:
    core = [question for question in of_unit(UNIT) if not question.stretch]
    assert sum(question.minutes for question in core) <= 75
    assert sum(question.points for question in core) == 23


# The landscape


@pytest.mark.parametrize("output", ["logit", "probability", "loss"])
def test_the_landscapes_gradient_is_autograds(output: str) -> None:
    points = torch.tensor(np.random.default_rng(0).uniform(-3, 3, size=(50, 2)), requires_grad=True)
    W1, b1, V = (torch.tensor(array) for array in (landscape.W1, landscape.B1, landscape.V))
    s = (points @ W1.T + b1).relu() @ V.T
    for c in range(3):
        score = {"logit": s, "probability": s.softmax(1), "loss": -s.log_softmax(1)}[output][:, c]
        (g,) = torch.autograd.grad(score.sum(), points, retain_graph=True)
        values = points.detach().numpy()
        np.testing.assert_allclose(landscape._value(values, c, output), score.detach().numpy(), atol=1e-10)
        np.testing.assert_allclose(landscape.gradients(values, c, output), g.numpy(), atol=1e-10)


@pytest.mark.parametrize("target", landscape.CLASSES)
def test_every_class_has_a_sure_and_flat_place_and_its_steepest_place_is_not_sure(target: str) -> None:
    solved = [
        (x1, x2)
        for x1 in landscape.STEPS[::4]
        for x2 in landscape.STEPS[::4]
        if gradient_landscape(x1=x1, x2=x2, target=target).frame()["solved"]
    ]
    assert solved
    it = gradient_landscape(target=target)
    steepest = next(preset for preset in it.presets(it.state) if preset.name == "steepest")
    x1, x2 = steepest.changes["x1"], steepest.changes["x2"]
    assert landscape._probabilities(np.array([[x1, x2]]))[0, landscape.CLASSES.index(target)] < 0.95


def test_the_task_is_about_the_probability_without_noise() -> None:
    assert gradient_landscape(x1=2.0, x2=2.0).frame()["solved"]
    for state in ({"output": "logit"}, {"sigma": 0.5}):
        frame = gradient_landscape(x1=2.0, x2=2.0, **state).frame()
        assert not frame["solved"]
        assert "about the gradient of the probability" in frame["note"]


def test_smoothing_spreads_the_steepness() -> None:
    plain, smooth = (landscape._steepness(0, "probability", sigma) for sigma in (0.0, 1.0))
    assert smooth.max() < 0.8 * plain.max()
    assert (smooth > 0.01).mean() > (plain > 0.01).mean()
