"""The verb: batches, budgets, methods that are not ours, callers in odd states, and what is returned."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from typing import Any

import captum.attr
import helpers_attribution as h
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from xaiteach import Attribution, explain
from xaiteach.attribution import methods, registry, work
from xaiteach.errors import ModelError, OptionError, ShapeError, TargetError

METHODS = sorted(methods())
FIXED = [method for method in METHODS if not h.draws(method) and method != "cam"]
WHOLE = [method for method in METHODS if not h.splits_itself(method)]
"""Methods whose samples `explain` splits."""


def saliency_of(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    return torch.autograd.grad(model(x).gather(1, target[:, None]).sum(), x)[0]


# Batches


@given(
    method=st.sampled_from(FIXED),
    rank=st.sampled_from([1, 2, 3]),
    head=st.sampled_from(["flatten", "gap", "hidden"]),
    output=st.sampled_from(["logit", "probability"]),
    seed=st.integers(0, 10**6),
    n=st.integers(1, 5),
)
@settings(deadline=None, max_examples=40)
def test_a_batch_gives_what_a_loop_gives(method: str, rank: int, head: str, output: str, seed: int, n: int) -> None:
    net, x = h.conv_net(rank, head, seed), h.batch(n, rank, seed)
    c = torch.randint(h.CLASSES, (n,), generator=torch.Generator().manual_seed(seed))
    whole = h.run(method, net, x, c, output=output)
    loop = [h.run(method, net, x[i : i + 1], int(c[i]), output=output) for i in range(n)]
    for name in ("values", "map"):
        one_by_one = torch.cat([getattr(a, name) for a in loop])
        # contracts.md: any batch size gives the same to 1e-10 in float64.
        torch.testing.assert_close(getattr(whole, name), one_by_one, atol=1e-10, rtol=0.0)


@pytest.mark.parametrize("method", ["saliency", "grad_cam", "lrp_epsilon"])
def test_a_smaller_budget_runs_fewer_samples_at_once(method: str) -> None:
    sizes: list[int] = []
    net = h.conv_net()
    net.register_forward_hook(lambda _, inputs, __: sizes.append(len(inputs[0])))
    x, c = h.batch(20), h.targets(20)
    explain(net, x, c, method)
    assert sizes == [1, 20]  # one sample to look at, then all
    sizes.clear()
    explain(net, x, c, method, budget_mib=0.1)
    assert sizes[0] == 1
    assert 1 < sizes[1] < 20
    assert sum(sizes[1:]) == 20
    sizes.clear()
    explain(net, x, c, method, budget_mib=1e-6)
    assert sizes == [1] * 21


@pytest.mark.parametrize("method", METHODS)
def test_no_budget_changes_a_map(method: str) -> None:
    net, x, c = h.net_of(method), h.batch(4), h.targets(4)
    whole = h.run(method, net, x, c)
    for budget in (1e-6, 0.05):
        split = h.run(method, net, x, c, budget_mib=budget)
        # contracts.md: the same generator gives the same map for any batch size.
        torch.testing.assert_close(split.values, whole.values, atol=1e-10 * float(whole.values.abs().max()), rtol=0.0)


@pytest.mark.parametrize("method", METHODS)
def test_a_small_budget_bounds_how_many_rows_run_at_once(method: str) -> None:
    sizes: list[int] = []
    net = h.net_of(method)
    net.register_forward_hook(lambda _, inputs, __: sizes.append(len(inputs[0])))
    h.run(method, net, h.batch(4), 1, budget_mib=1e-6)
    assert max(sizes, default=0) <= h.AT_LEAST.get(method, 1)


@pytest.mark.parametrize("budget", [0, -1.0, float("nan")])
def test_a_budget_of_nothing_is_refused(budget: float) -> None:
    with h.fails(OptionError, "`budget_mib`", "128 MiB"):
        explain(h.conv_net(), h.batch(), 1, "saliency", budget_mib=budget)


def test_one_target_serves_every_sample() -> None:
    a = explain(h.conv_net(), h.batch(3), 2)
    assert a.target.tolist() == [2, 2, 2]


# What is returned


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("method", METHODS)
def test_values_and_map_keep_dtype_and_device_and_no_graph(method: str, dtype: torch.dtype) -> None:
    x = h.batch(2, dtype=dtype)
    a = h.run(method, h.net_of(method, dtype=dtype), x, 1)
    for tensor in (a.values, a.map):
        assert tensor.dtype == dtype
        assert tensor.device == x.device
        assert not tensor.requires_grad
    assert a.map.shape == (2, *h.SPATIAL[2])


def test_channels_are_summed_in_the_map() -> None:
    a = explain(h.conv_net(), h.batch(), 1, "saliency")
    assert torch.equal(a.map, a.values.sum(1))


def test_a_table_has_no_channels_to_sum() -> None:
    a = explain(nn.Linear(5, 3), torch.randn(2, 5), 1, "saliency")
    assert torch.equal(a.map, a.values)
    assert a.map.shape == (2, 5)


def test_float32_agrees_with_float64_to_its_precision() -> None:
    net, x = h.conv_net(head="gap"), h.batch(3)
    single = h.conv_net(head="gap", dtype=torch.float32)
    score = float(net.eval()(x).detach().abs().max())
    for method in METHODS:
        exact, found = h.run(method, net, x, 1).values, h.run(method, single, x.float(), 1).values.double()
        # Differences of scores have the scores' rounding, however small they are themselves.
        scale = max(float(exact.abs().max()), score)
        # 1e-7 per operation, some tens of them; no ReLU gate of this net lies within rounding of 0.
        torch.testing.assert_close(found, exact, atol=1e-6 * scale, rtol=1e-5)


def test_options_hold_the_defaults_and_the_layer_by_name() -> None:
    assert explain(h.conv_net(), h.batch(), 1).options == {"layer": "5", "output": "logit", "relu": True}
    assert explain(h.conv_net(), h.batch(), 1, "saliency").options == {"output": "logit", "abs": False}


def test_output_seed_and_residual_are_as_promised() -> None:
    a = explain(h.conv_net(), h.batch(), 1, "saliency", output="probability", generator=torch.Generator())
    assert (a.method, a.output, a.residual, a.seed) == ("saliency", "probability", None, None)


def test_repr_is_one_line_that_reads_the_map() -> None:
    a = explain(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), torch.ones(1, 1, 4), 1, "saliency")
    a = Attribution(**{**vars(a), "map": torch.tensor([[0.0, 0.0, 2.0, -1.0]])})
    assert repr(a) == (
        "Attribution(saliency of the logit, class 1; peak 2 at position 2 of 4; 100 % of the weight in the right half; "
        "weight 67 % positive, 33 % negative)"
    )
    several = repr(explain(h.conv_net(), h.batch(3), [2, 0, 2]))
    assert several.startswith("Attribution(grad_cam of the logit, layer 5, 3 samples, classes 0, 2; first: ")
    assert "\n" not in several
    assert "(4, 6, 4)" in repr(explain(h.conv_net(3), h.batch(1, 3), 2))


def test_an_attribution_is_frozen_and_can_be_copied_and_pickled() -> None:
    a = explain(h.conv_net(), h.batch(), 1)
    with pytest.raises(AttributeError):
        a.method = "other"  # type: ignore[misc]
    assert torch.equal(copy.deepcopy(a).values, a.values)
    assert torch.equal(pickle.loads(pickle.dumps(a)).values, a.values)
    assert len(a) == 3


# Callers in odd states


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_the_callers_gradient_mode_does_not_matter(mode: Any, method: str) -> None:
    net, x = h.net_of(method), h.batch()
    expected = h.run(method, net, x, 1).values
    with mode():
        inside = h.batch() + 0
        found = h.run(method, net, inside, 1)
        assert torch.is_inference_mode_enabled() == (mode is torch.inference_mode)
    assert torch.equal(found.values, expected)
    (found.values * torch.ones((), dtype=torch.float64, requires_grad=True)).sum().backward()


@pytest.mark.parametrize("method", METHODS)
def test_a_model_in_training_mode_is_explained_in_evaluation_mode(method: str) -> None:
    training, evaluating = h.net_of(method).train(), h.net_of(method).eval()
    x = h.batch()
    assert torch.equal(h.run(method, training, x, 1).values, h.run(method, evaluating, x, 1).values)


@pytest.mark.parametrize("method", METHODS)
def test_frozen_parameters_are_no_obstacle(method: str) -> None:
    net, x = h.net_of(method), h.batch()
    expected = h.run(method, net, x, 1).values
    assert torch.equal(h.run(method, net.requires_grad_(False), x, 1).values, expected)


# deep_taylor has a rule for the layer on the input, and refuses a model that begins with anything else.
@pytest.mark.parametrize("method", [m for m in METHODS if m != "deep_taylor"])
def test_a_first_layer_in_place_leaves_the_input_alone(method: str) -> None:
    x = h.batch()
    before = x.clone()
    plain = h.run(method, nn.Sequential(nn.ReLU(), h.net_of(method)), x, 1)
    in_place = h.run(method, nn.Sequential(nn.ReLU(inplace=True), h.net_of(method)), x, 1)
    assert torch.equal(x, before)
    assert torch.equal(plain.values, in_place.values)


@pytest.mark.parametrize("method", METHODS)
def test_an_input_with_a_graph_keeps_it_and_gets_no_gradient(method: str) -> None:
    leaf = h.batch().requires_grad_()
    for x in (leaf, leaf * 2):
        graph = x.grad_fn
        h.run(method, h.net_of(method), x, 1)
        assert x.grad_fn is graph
        assert x.requires_grad
    assert leaf.grad is None


def test_a_non_contiguous_input_is_taken() -> None:
    x = h.batch().transpose(2, 3).contiguous().transpose(2, 3)
    assert torch.equal(explain(h.conv_net(), x, 1).values, explain(h.conv_net(), h.batch(), 1).values)


# Refusals, once through the verb each


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("kind", "words", "change"),
    [
        (ShapeError, "x[None]", {"x": h.batch()[0]}),
        (
            ShapeError,
            "1 NaN",
            {
                "x": h.batch()
                .index_fill(0, torch.tensor(0), 0.0)
                .put(torch.tensor(3), torch.tensor(torch.nan, dtype=torch.float64))
            },
        ),
        (ShapeError, "model's dtype", {"x": h.batch().float()}),
        (ShapeError, "float32 or float64", {"x": h.batch().half(), "model": h.conv_net().half()}),
        (TargetError, "from 0 to 3", {"target": 4}),
        (TargetError, "each of the 3", {"target": [0, 1]}),
        (ModelError, "a tuple of 2", {"model": h.Wrapped(lambda s: (s, s))}),
        (ModelError, "differentiable", {"model": h.Wrapped(lambda s: s.detach())}),
        (ModelError, "finite scores", {"model": h.Wrapped(lambda s: s / 0)}),
        (ModelError, "shape (1, classes)", {"model": h.Wrapped(lambda s: s[:, 0])}),
        (OptionError, "unknown option of", {"colour": 3}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_method_refuses_in_the_same_words(
    method: str, kind: type[Exception], words: str, change: dict[str, Any]
) -> None:
    if words == "differentiable" and registry.entry(method).needs == "scores":
        return  # it asks the model for scores only
    given = {"model": h.net_of(method), "x": h.batch(), "target": 1, **change}
    with h.fails(kind, words):
        h.run(method, **given)


def test_an_unknown_method_lists_the_known_ones() -> None:
    with h.fails(OptionError, "unknown method 'gradcam'; did you mean 'grad_cam'?", ", ".join(METHODS)):
        explain(h.conv_net(), h.batch(), 1, "gradcam")


def test_an_unknown_option_lists_the_known_ones() -> None:
    with h.fails(OptionError, "unknown option of grad_cam 'layers'; did you mean 'layer'?", "layer, output, relu"):
        explain(h.conv_net(), h.batch(), 1, "grad_cam", layers="5")


def test_a_switch_that_is_neither_on_nor_off_is_refused() -> None:
    with h.fails(OptionError, "`relu` must be True or False", "'yes'"):
        explain(h.conv_net(), h.batch(), 1, "grad_cam", relu="yes")


@pytest.mark.parametrize("method", [3, None, captum.attr.Saliency])
def test_what_is_no_method_is_refused(method: object) -> None:
    with h.fails(OptionError, "a name, a Captum attribution object or a callable"):
        explain(h.conv_net(), h.batch(), 1, method)


# Methods that are not ours


def test_a_callable_is_a_method() -> None:
    net, x, c = h.conv_net(), h.batch(), h.targets()
    a = explain(net, x, c, saliency_of)
    assert torch.equal(a.values, explain(net, x, c, "saliency").values)
    assert (a.method, a.output, a.options) == ("saliency_of", "unstated", {})


def test_a_callable_may_return_an_array_or_a_map_without_channels_or_a_coarse_one() -> None:
    x = h.batch(2)
    full = explain(h.conv_net(), x, 1, lambda _, x, __: x.numpy())
    assert torch.equal(full.values, x)
    flat = explain(h.conv_net(), x, 1, lambda _, x, __: x.sum(1))
    assert flat.values.shape == (2, 1, 8, 6)
    assert torch.equal(flat.map, full.map)
    coarse = explain(h.conv_net(), x, 1, lambda *_: torch.ones(1, 1, 4, 3))
    assert coarse.values.shape == (2, 1, 4, 3)
    assert torch.equal(coarse.map, torch.ones(2, 8, 6, dtype=torch.float64))


@pytest.mark.parametrize("found", [torch.ones(2, 2), torch.ones(5, 2, 8, 6), None, "map", torch.ones(3, 0, 8, 6)])
def test_a_method_that_returns_something_else_is_refused(found: object) -> None:
    with h.fails(ShapeError, "a method must return a tensor that fits x's shape (3, 2, 8, 6)"):
        explain(h.conv_net(), h.batch(3), 1, lambda *_: found)


def test_a_method_that_returns_nan_is_refused() -> None:
    with h.fails(ShapeError, "`values` must hold finite numbers", "96 NaN"):
        explain(h.conv_net(), h.batch(1), 1, lambda _, x, __: x * torch.nan)


def test_options_of_a_callable_are_passed_on_or_refused() -> None:
    def scaled(model: nn.Module, x: Tensor, target: Tensor, factor: float = 1.0) -> Tensor:
        return factor * x

    x = h.batch()
    assert torch.equal(explain(h.conv_net(), x, 1, scaled, factor=2.0).values, 2 * x)
    with h.fails(OptionError, "unknown option of scaled 'factr'; did you mean 'factor'?"):
        explain(h.conv_net(), x, 1, scaled, factr=2.0)


def test_a_callable_needs_no_gradient_of_the_model() -> None:
    model = h.Wrapped(lambda s: s.detach())
    assert len(explain(model, h.batch(), 1, lambda _, x, __: x)) == 3


def test_captum_objects_are_methods() -> None:
    net, x, c = h.conv_net().eval(), h.batch(), h.targets()
    a = explain(net, x, c, captum.attr.Saliency(net), abs=False)
    torch.testing.assert_close(a.values, explain(net, x, c, "saliency").values, atol=1e-12, rtol=0.0)  # rounding
    cam = explain(net, x, c, captum.attr.LayerGradCam(net, net[5]), relu_attributions=True)
    ours = explain(net, x, c, "grad_cam")
    torch.testing.assert_close(cam.values, ours.values, atol=1e-12, rtol=0.0)  # rounding
    torch.testing.assert_close(cam.map, ours.map, atol=1e-12, rtol=0.0)  # rounding


@pytest.mark.parametrize("kind", [captum.attr.GuidedBackprop, captum.attr.Deconvolution, captum.attr.DeepLift])
def test_captums_hook_methods_refuse_a_relu_that_they_cannot_hook(kind: type) -> None:
    # Captum says nothing and gives the plain gradient; our own methods see functions, too.
    model = h.Functional().double()
    with h.fails(ModelError, "after 'conv2'", "nn.ReLU"):
        explain(model, h.batch(), 1, kind(model))
    assert explain(model, h.batch(), 1, "guided_backprop").map.abs().max() > 0


def test_probabilities_that_come_from_the_model_are_not_taken_for_logits() -> None:
    model = nn.Sequential(h.conv_net(), nn.Softmax(1))
    for method in METHODS:
        if registry.entry(method).needs != "scores":
            with h.fails(ModelError, "softmax", "must", "logit"):
                h.run(method, model, h.batch(), 1)
        elif "output" in registry.entry(method).options:
            with h.fails(ModelError, "must return logits", "output='logit'"):
                h.run(method, model, h.batch(), 1, output="probability")


def test_captums_hook_methods_run_without_a_warning() -> None:
    net, x = h.conv_net().eval(), h.batch()
    assert explain(net, x, 1, captum.attr.GuidedBackprop(net)).values.shape == x.shape


def test_captums_convergence_delta_becomes_the_residual() -> None:
    net, x, c = h.conv_net(), h.batch(), h.targets()
    a = explain(net, x, c, captum.attr.IntegratedGradients(net), return_convergence_delta=True, n_steps=20)
    net.eval()
    gain = net(x).gather(1, c[:, None])[:, 0] - net(torch.zeros_like(x)).gather(1, c[:, None])[:, 0]
    assert a.residual is not None
    torch.testing.assert_close(a.residual, a.values.flatten(1).sum(1) - gain.detach(), atol=1e-12, rtol=0.0)  # rounding


def test_a_captum_object_of_another_model_is_refused() -> None:
    with h.fails(ModelError, "made for", "Saliency(model)"):
        explain(h.conv_net(), h.batch(), 1, captum.attr.Saliency(h.conv_net()))


def test_the_same_generator_gives_the_same_map_of_a_random_method() -> None:
    def noise(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
        return torch.rand_like(x) + float(np.random.rand())  # noqa: NPY002

    def drawn(model: nn.Module, x: Tensor, target: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return torch.rand(x.shape, generator=generator)

    net, x = h.conv_net(), h.batch()
    for method in (noise, drawn):
        a, b, c = (explain(net, x, 1, method, generator=torch.Generator().manual_seed(s)) for s in (5, 5, 6))
        assert torch.equal(a.values, b.values)
        assert not torch.equal(a.values, c.values)
        assert (a.seed, c.seed) == (5, 6)


# Progress


class Clock:
    """A clock that each look moves on."""

    def __init__(self, step: float) -> None:
        self.now, self.step = 0.0, step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


@pytest.fixture
def bars(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[list[int]]]:
    made: list[list[int]] = []

    class Bar:
        def __init__(self, total: int, done: int, unit: str) -> None:
            made.append([total, done])

        def update(self, n: int) -> None:
            made[-1].append(n)

        def close(self) -> None:
            made[-1].append(-1)

    monkeypatch.setattr(work, "_bar", Bar)
    return made


@pytest.mark.parametrize(("step", "expected"), [(0.1, []), (1.5, [[4, 2, 1, 1, -1]])])
def test_a_bar_appears_once_it_took_two_seconds(
    step: float, expected: list[list[int]], bars: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work.time, "monotonic", Clock(step))
    explain(h.conv_net(), h.batch(4), 1, budget_mib=1e-6)
    assert bars == expected


def test_a_bar_can_be_had_at_once_or_never(bars: list[list[int]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work.time, "monotonic", Clock(100.0))
    explain(h.conv_net(), h.batch(2), 1, budget_mib=1e-6, progress=False)
    assert bars == []
    explain(h.conv_net(), h.batch(2), 1, progress=True)
    assert bars == [[2, 0, 2, -1]]


def test_a_bar_is_closed_when_a_method_fails(bars: list[list[int]]) -> None:
    def fail(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
        raise h.BoomError

    with pytest.raises(h.BoomError):
        explain(h.conv_net(), h.batch(2), 1, fail, progress=True)
    assert bars == [[2, 0, -1]]


def test_the_bar_is_tqdms(capsys: pytest.CaptureFixture[str]) -> None:
    explain(h.conv_net(), h.batch(2), 1, progress=True)
    assert "explaining" in capsys.readouterr().err
