"""DeepLIFT and DeepSHAP: against definitions followed forward, shap, Captum where it is right, and values by hand."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import captum.attr
import helpers_attribution as h
import helpers_oracles as o
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import slow_deeplift as slow
from reference import slow_shapley
from torch import Tensor, nn
from torch.nn import functional

from xaiteach import explain
from xaiteach.errors import ModelError, ShapeError

D = torch.float64
RESCALE, REVEAL = "deeplift", "deeplift_reveal_cancel"
BOTH = [RESCALE, REVEAL]


def seeded(make: Callable[[], nn.Module], seed: int = 0) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make().to(D).eval()


def layered(weight: list[list[float]], bias: list[float] | None = None) -> nn.Linear:
    layer = nn.Linear(len(weight[0]), len(weight), bias=bias is not None)
    layer.weight.data = torch.tensor(weight, dtype=D)
    if bias is not None:
        layer.bias.data = torch.tensor(bias, dtype=D)
    return layer


def dense(unit: Callable[[], nn.Module] = nn.ReLU, seed: int = 0, sizes: tuple[int, ...] = (4, 6, 5, 3)) -> Any:
    def make() -> nn.Module:
        layers = [[nn.Linear(i, k), unit()] for i, k in pairwise(sizes)]
        return nn.Sequential(*itertools.chain(*layers))[:-1]

    return seeded(make, seed)


def vectors(n: int = 3, features: int = 4, seed: int = 1) -> Tensor:
    return torch.randn(n, features, dtype=D, generator=torch.Generator().manual_seed(seed))


SMALL = {1: (8,), 2: (4, 4), 3: (2, 4, 2)}
AVERAGE = {1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d}


def conv_steps(rank: int = 2, seed: int = 0, unit: Callable[[], nn.Module] = nn.ReLU) -> list[nn.Module]:
    """conv, unit, max pool, conv and batch norm, unit, average pool, dense: steps of the slow form."""

    def make() -> nn.Module:
        conv, norm = h.CONV[rank], h.NORM[rank](3)
        norm.running_mean.normal_(std=0.1)
        norm.running_var.uniform_(0.5, 1.5)
        with torch.no_grad():
            norm.weight.uniform_(-1, 1)
        both = nn.Sequential(conv(3, 3, 3, padding=1), norm)
        pool = AVERAGE[rank](tuple(side // 2 for side in SMALL[rank]))
        first = conv(2, 3, 3, padding=1)
        return nn.Sequential(first, unit(), h.POOL[rank](2), both, unit(), pool, nn.Flatten(), nn.Linear(3, 3))

    return list(seeded(make, seed))


def images(rank: int = 2, n: int = 2, seed: int = 1) -> Tensor:
    return torch.randn(n, 2, *SMALL[rank], dtype=D, generator=torch.Generator().manual_seed(seed))


def close(found: Tensor, expected: Tensor, rtol: float = 1e-11) -> None:
    """Equal to float64 rounding of sums of some hundred terms, some of which cancel; relative to the largest value."""
    assert float(expected.abs().max()) > 0, "a map that is 0 everywhere shows nothing"
    torch.testing.assert_close(found, expected, rtol=0, atol=rtol * float(expected.abs().max()))


def differ(found: Tensor, other: Tensor) -> None:
    assert float((found - other).abs().max()) > 1e-3 * float(other.abs().max())


def complete(model: Any, x: Tensor, target: Any, method: str, baseline: Any = None) -> Tensor:
    """Values, once they are seen to add up to what the model itself says, sample by sample."""
    a = explain(model, x, target, method, baseline=baseline)
    base = torch.zeros_like(x) if baseline is None else torch.as_tensor(baseline, dtype=x.dtype).expand(x.shape)
    with torch.no_grad():
        difference = torch.stack([(model(x[i, None]) - model(base[i, None]))[0, c] for i, c in enumerate(a.target)])
    total = a.values.flatten(1).sum(1)
    scale = a.values.flatten(1).abs().sum(1) + difference.abs()
    assert a.residual is not None
    # Rounding of the sums above: some hundred terms of the size of the values.
    assert bool(((total - difference).abs() <= 1e-13 * scale + 1e-15).all())
    assert bool((a.residual.abs() <= 1e-13 * scale + 1e-15).all())
    return a.values


# Rescale


UNITS = list(slow.FUNCTIONS)


@pytest.mark.parametrize("unit", UNITS)
def test_rescale_is_the_papers_definition_in_dense_nets(unit: type[nn.Module]) -> None:
    net, x, base, c = dense(unit), vectors(), vectors(seed=2), torch.tensor([0, 2, 1])
    steps = list(net)
    expected = torch.stack([slow.rescale(steps, s, r, int(t)) for s, r, t in zip(x, base, c, strict=True)])
    close(explain(net, x, c, RESCALE, baseline=base).values, expected)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_rescale_is_the_papers_definition_in_convolutional_nets(rank: int) -> None:
    steps, x, base = conv_steps(rank), images(rank), images(rank, seed=2)
    expected = torch.stack([slow.rescale(steps, s, r, 1) for s, r in zip(x, base, strict=True)])
    close(explain(nn.Sequential(*steps), x, 1, RESCALE, baseline=base).values, expected)


def touching() -> dict[str, list[nn.Module]]:
    def make(*between: nn.Module) -> list[nn.Module]:
        head = nn.Sequential(*between, nn.Flatten())
        size = head(torch.zeros(1, 4, *h.SPATIAL[2])).shape[1]
        layers = lambda: nn.Sequential(nn.Conv2d(h.CHANNELS, 4, 3, padding=1), *head, nn.Linear(size, 4))  # noqa: E731
        return list(seeded(layers, seed=8))

    return {
        "ReLU, max pool": make(nn.ReLU(), nn.MaxPool2d(2)),
        "max pool, ReLU": make(nn.MaxPool2d(2), nn.ReLU()),
        "ReLU, tanh": make(nn.ReLU(), nn.Tanh()),
    }


TOUCHING = touching()


@pytest.mark.parametrize("name", TOUCHING)
def test_rescale_equals_shaps_deep_explainer_where_nonlinearities_touch(name: str) -> None:
    net, x, base, c = nn.Sequential(*TOUCHING[name]), h.batch(), h.batch(1, seed=9), h.targets()
    found = complete(net, x, c, RESCALE, base)
    close(found, o.shap_values(net, x, c, base), 1e-12)  # the same sums in another order


def test_shap_loses_a_part_where_pooling_windows_overlap() -> None:
    # It hands a maximum back by unpooling, which keeps one value for a winner of several windows.
    steps = [nn.Conv2d(h.CHANNELS, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2, 1), nn.Flatten(), nn.Linear(48, 4)]
    net, x, base, c = seeded(lambda: nn.Sequential(*steps)), h.batch(), h.batch(1, seed=9), h.targets()
    complete(net, x, c, RESCALE, base)
    difference = (net(x) - net(base)).detach().gather(1, c[:, None])[:, 0]
    missing = o.shap_values(net, x, c, base).flatten(1).sum(1) - difference
    assert float(missing.abs().max()) > 0.1 * float(difference.abs().max())


class Between(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.clone()


def captums(net: nn.Module, x: Tensor, base: Tensor, c: Tensor) -> Tensor:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Setting forward, backward hooks|Input Tensor")
        found: Tensor = captum.attr.DeepLift(net).attribute(x.clone(), base, target=c)
    return found.detach()


@pytest.mark.parametrize("name", TOUCHING)
def test_captum_is_wrong_where_nonlinearities_touch_and_right_with_identities_between(name: str) -> None:
    steps, x, base, c = TOUCHING[name], h.batch(), h.batch(seed=9), h.targets()
    net = nn.Sequential(*steps)
    found = complete(net, x, c, RESCALE, base)
    difference = (net(x) - net(base)).detach().gather(1, c[:, None])[:, 0]
    missing = captums(net, x, base, c).flatten(1).sum(1) - difference
    assert float(missing.abs().max()) > 0.1 * float(difference.abs().max())
    apart = nn.Sequential(*itertools.chain(*([step, Between()] for step in steps)))
    close(captums(apart, x, base, c), found, 1e-10)  # what methods.md promises; measured: 1e-15


@given(seed=st.integers(0, 10**6), size=st.sampled_from([2, 3, (2, 1)]), overlap=st.booleans())
@settings(deadline=None, max_examples=20)
def test_rescale_does_not_care_which_of_relu_and_max_pool_comes_first(seed: int, size: Any, overlap: bool) -> None:
    conv = seeded(lambda: nn.Conv2d(h.CHANNELS, 4, 3, padding=1), seed)
    pool = nn.MaxPool2d(size, 1 if overlap else None)
    linear = seeded(lambda: nn.Linear(pool(torch.zeros(1, 4, 8, 6)).numel(), 4), seed)
    x, base = h.batch(2, seed=seed), h.batch(2, seed=seed + 1)
    one = nn.Sequential(conv, nn.ReLU(), pool, nn.Flatten(), linear)
    other = nn.Sequential(conv, pool, nn.ReLU(), nn.Flatten(), linear)
    close(explain(one, x, 1, RESCALE, baseline=base).values, explain(other, x, 1, RESCALE, baseline=base).values)


class Called(nn.Module):
    """Two ReLUs and a max pooling, called in a way to choose."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.conv1, self.conv2 = nn.Conv2d(h.CHANNELS, 3, 3), nn.Conv2d(3, 4, 3, padding=1)
        self.relu, self.other, self.pool = nn.ReLU(how == "in place"), nn.ReLU(), nn.MaxPool2d(2)
        self.fc = nn.Linear(4, h.CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "functions":
            A = functional.relu(self.conv2(functional.max_pool2d(self.conv1(x).clamp(min=0), 2)))
        elif self.how == "two modules":
            A = self.other(self.conv2(self.pool(self.relu(self.conv1(x)))))
        else:
            A = self.relu(self.conv2(self.pool(self.relu(self.conv1(x)))))
        return self.fc(A.mean((2, 3)))


@pytest.mark.parametrize("method", BOTH)
@pytest.mark.parametrize("how", ["functions", "one module", "in place"])
def test_how_a_relu_is_called_changes_nothing(how: str, method: str) -> None:
    modules, x, c = seeded(lambda: Called("two modules")), h.batch(), h.targets()
    other = Called(how).to(D).eval()
    other.load_state_dict(modules.state_dict())
    assert torch.equal(explain(other, x, c, method).values, explain(modules, x, c, method).values)


def test_captum_refuses_a_relu_that_is_used_twice_and_passes_by_one_that_is_a_function() -> None:
    x, c, base = h.batch(), h.targets(), torch.zeros_like(h.batch())
    with pytest.raises(RuntimeError, match="used more than once"):
        captums(seeded(lambda: Called("one module")), x, base, c)
    net = seeded(lambda: Called("functions"))
    difference = (net(x) - net(base)).detach().gather(1, c[:, None])[:, 0]
    missing = captums(net, x, base, c).flatten(1).sum(1) - difference
    assert float(missing.abs().max()) > 0.1 * float(difference.abs().max())
    complete(net, x, c, RESCALE)


STRUCTURES: dict[str, Callable[[], nn.Module]] = {
    "residual sum": lambda: nn.Sequential(h.Block(h.CHANNELS), h.Block(h.CHANNELS, True), h.Mean(), nn.Linear(2, 4)),
    "concatenation": h.Branches,
    "frames in the batch": h.Frames,
    "ReLU used twice": lambda: h.Reused(inplace=True),
    "batch norm first": lambda: nn.Sequential(nn.BatchNorm2d(2), nn.Conv2d(2, 4, 3), nn.ReLU(), h.Mean()),
}


@pytest.mark.parametrize("method", BOTH)
@pytest.mark.parametrize("name", STRUCTURES)
def test_contributions_add_up_whatever_the_structure(name: str, method: str) -> None:
    net = seeded(STRUCTURES[name])
    x = torch.randn(3, h.CHANNELS, 2, 6, 5, dtype=D) if name.startswith("frames") else h.batch()
    complete(net, x, h.targets(), method, 0.3)


@pytest.mark.parametrize("method", BOTH)
def test_contributions_add_up_in_resnet18(method: str) -> None:
    models = pytest.importorskip("torchvision.models", reason="an optional or broken install", exc_type=ImportError)
    net = seeded(lambda: models.resnet18(num_classes=4))
    x = torch.randn(2, 3, 32, 32, dtype=D, generator=torch.Generator().manual_seed(1))
    complete(net, x, torch.tensor([3, 1]), method)


class Excited(nn.Module):
    """Squeeze and excitation, hard-swish, as in MobileNetV3: two products of activations, one of them spread."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.squeeze = nn.Conv2d(h.CHANNELS, 4, 3), nn.Conv2d(4, 4, 1)
        self.pool, self.gate, self.fc = nn.AdaptiveAvgPool2d(1), nn.Hardsigmoid(), nn.Linear(4, h.CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        A = functional.hardswish(self.conv(x))
        A = self.gate(self.squeeze(self.pool(A))) * A
        return self.fc(self.pool(A * A.sigmoid()).flatten(1))


def test_products_of_activations_add_up_in_rescale() -> None:
    complete(seeded(Excited), h.batch(), h.targets(), RESCALE, 0.3)


def test_a_kink_within_a_small_difference_is_seen() -> None:
    # Hardtanh from 1 - 1e-12 to 1 + 1e-12: half of the way is flat, where neither end's derivative is a half.
    x, base = torch.tensor([[1 + 1e-12]], dtype=D), torch.tensor([[1 - 1e-12]], dtype=D)
    for method in BOTH:
        found = explain(nn.Sequential(layered([[1.0]]), nn.Hardtanh()), x, 0, method, baseline=base).values
        assert float(found) == pytest.approx(
            1e-12, rel=1e-3, abs=0
        )  # 1 +- 1e-12 has 1e-4 of rounding in its difference


def test_a_product_gives_its_factors_their_shapley_values() -> None:
    # a b from (1, 2) to (4, 6): a alone adds 3 * 2, after b 3 * 6; b alone 1 * 4, after a 4 * 4.
    def product(x: Tensor) -> Tensor:
        return x[:, :1] * x[:, 1:]

    x, base = torch.tensor([[4.0, 6.0]], dtype=D), torch.tensor([[1.0, 2.0]], dtype=D)
    assert explain(product, x, 0, RESCALE, baseline=base).values.tolist() == [[12.0, 10.0]]
    assert explain(lambda x: (x * x).sum(1, keepdim=True), x, 0, RESCALE, baseline=base).values.tolist() == [[15, 32]]


POOLS: dict[str, Callable[[], nn.Module]] = {
    "average": lambda: nn.AvgPool2d(2),
    "average with padding": lambda: nn.AvgPool2d(3, 2, 1),
    "adaptive average": lambda: nn.AdaptiveAvgPool2d((3, 2)),
    "max": lambda: nn.MaxPool2d(2),
    "overlapping max": lambda: nn.MaxPool2d(3, 1, 1),
    "adaptive max": lambda: nn.AdaptiveMaxPool2d((3, 2)),
}


@pytest.mark.parametrize("name", POOLS)
def test_poolings_are_the_papers_definition_in_both_rules(name: str) -> None:
    def make() -> nn.Module:
        pooled = nn.Sequential(nn.Conv2d(2, 2, 2), nn.Tanh(), POOLS[name](), nn.Flatten())
        size = pooled(torch.zeros(1, 2, 4, 4)).shape[1]
        return nn.Sequential(*pooled, nn.Linear(size, 3), nn.ReLU(), nn.Linear(3, 2))

    net, x, base = seeded(make), images(), images(seed=2)
    for method, form in ((RESCALE, slow.rescale), (REVEAL, slow.reveal_cancel)):
        expected = torch.stack([form(list(net), s, r, 1) for s, r in zip(x, base, strict=True)])
        close(complete(net, x, 1, method, base), expected)


def test_a_saturated_unit_is_credited_where_the_gradient_is_zero() -> None:
    # 1 - ReLU(1 - i1 - i2), the paper's first figure: flat from i1 + i2 = 1 on.
    net = nn.Sequential(layered([[-1.0, -1.0]], [1.0]), nn.ReLU(), layered([[-1.0]], [1.0]))
    x = torch.tensor([[1.0, 1.0], [3.0, 1.0], [0.25, 0.25]], dtype=D)
    assert explain(net, x[:2], 0, "saliency").values.abs().max() == 0
    assert explain(net, x, 0, RESCALE).values.tolist() == [[0.5, 0.5], [0.75, 0.25], [0.25, 0.25]]


@pytest.mark.parametrize("method", BOTH)
def test_a_threshold_makes_no_jump(method: str) -> None:
    # ReLU(x - 10), the paper's second figure: gradient x input jumps from 0 to 10.
    net = nn.Sequential(layered([[1.0]], [-10.0]), nn.ReLU())
    found = explain(net, torch.tensor([[9.0], [10.5], [14.0]], dtype=D), 0, method).values
    assert found.tolist() == [[0.0], [0.5], [4.0]]


@pytest.mark.parametrize("unit", UNITS)
def test_units_that_equal_their_baseline_have_the_derivative_for_multiplier(unit: type[nn.Module]) -> None:
    # z1 = i1 - i2 + .5 does not move, z2 does; z1's multiplier is f'(.5), and what the two inputs do to it cancels.
    net = nn.Sequential(layered([[1.0, -1.0], [1.0, 0.0]], [0.5, 0.25]), unit(), layered([[2.0, 3.0]]))
    f, slope = slow.FUNCTIONS[unit]
    found = explain(net, torch.ones(1, 2, dtype=D), 0, RESCALE).values
    moved = 3 * (f(1.25) - f(0.25))
    close(found, torch.tensor([[2 * slope(0.5) + moved, -2 * slope(0.5)]], dtype=D), 1e-13)


@pytest.mark.parametrize("unit", [nn.Sigmoid, nn.Tanh, nn.GELU])
def test_a_difference_that_is_rounding_is_no_difference(unit: type[nn.Module]) -> None:
    # 0.1 + 0.2 - 0.3 is 5.6e-17, not 0; the quotient over it would be 0 or 2 instead of the slope.
    net = nn.Sequential(layered([[1.0, 1.0, -1.0]]), unit(), layered([[1.0]]))
    x = torch.tensor([[0.1, 0.2, 0.3]], dtype=D)
    assert float(net[0](x).detach()) != 0
    slope = slow.FUNCTIONS[unit][1](0.0)
    close(explain(net, x, 0, RESCALE).values, slope * torch.tensor([[0.1, 0.2, -0.3]], dtype=D), 1e-14)


@pytest.mark.parametrize("method", BOTH)
@pytest.mark.parametrize("away", [0.0, 1e-16, 1e-13, 1e-10, 1e-7])
def test_a_baseline_beside_the_input_gives_difference_times_gradient(away: float, method: str) -> None:
    net, base = dense(nn.Softplus), vectors()
    x = base + away * vectors(seed=2)
    found = explain(net, x, 1, method, baseline=base).values
    expected = (x - base) * explain(net, base, 1, "saliency").values
    # What a quotient of two roundings, 1e-16 each, leaves of a difference of 1e-13 or more; below, derivatives.
    torch.testing.assert_close(found, expected, rtol=0, atol=0.02 * float(expected.abs().max()))


@pytest.mark.parametrize("method", BOTH)
def test_a_linear_model_has_difference_times_weight(method: str) -> None:
    net, x, base, c = seeded(lambda: nn.Linear(4, 3)), vectors(), vectors(seed=2), torch.tensor([0, 2, 1])
    assert torch.equal(explain(net, x, c, method, baseline=base).values, (x - base) * net.weight.detach()[c])


@pytest.mark.parametrize("method", BOTH)
def test_forms_of_the_same_baseline_give_the_same_map(method: str) -> None:
    net, x = h.conv_net(), h.batch()
    zeros = torch.zeros_like(x)
    for forms in ([None, 0, 0.0, zeros, zeros[:1], zeros.float()], [0.5, zeros + 0.5, zeros[:1] + 0.5]):
        maps = [explain(net, x, 1, method, baseline=form).values for form in forms]
        assert all(torch.equal(found, maps[0]) for found in maps)


@pytest.mark.parametrize("method", BOTH)
def test_a_baseline_of_another_shape_is_refused(method: str) -> None:
    net, x = h.conv_net(), h.batch()
    for wrong in (torch.zeros(2, 8, 6), torch.zeros(2, 2, 8, 6), "zeros"):
        with h.fails(ShapeError, f"{method}: `baseline` must match `x`, shape (3, 2, 8, 6)"):
            explain(net, x, 1, method, baseline=wrong)


MIXING: dict[str, Callable[[Tensor], Tensor]] = {
    "mean of the samples": lambda A: A - A.mean(0),
    "mean of the samples, with its axis": lambda A: A - A.mean(0, keepdim=True),
    "mean of everything": lambda A: A - A.mean(),
    "largest of the samples": lambda A: A - A.amax(0, keepdim=True),
    "product with a mean": lambda A: A * A.mean(0),
    "first sample": lambda A: A + A[:1],
    "another first axis": lambda A: A.transpose(0, 1).relu().transpose(0, 1),
}


@pytest.mark.parametrize("method", BOTH)
@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("name", MIXING)
def test_a_model_that_mixes_samples_is_refused(name: str, n: int, method: str) -> None:
    first, last = seeded(lambda: nn.Linear(4, 6)), seeded(lambda: nn.Linear(6, 3))

    def model(x: Tensor) -> Any:
        return last(functional.softplus(MIXING[name](first(x))))

    with h.fails(ModelError, method):
        explain(model, vectors(n), 1, method, baseline=vectors(n, seed=2))


@pytest.mark.parametrize("method", ["deeplift", "deeplift_reveal_cancel"])
def test_the_message_says_how_much_of_the_difference_is_the_rest_of_the_batch(method: str) -> None:
    net = layered([[1.0, 1.0]])
    x, base = torch.tensor([[3.0, 1.0]], dtype=D), torch.tensor([[1.0, 1.0]], dtype=D)
    words = f"{method}: a sample's logits must not depend on the rest of its batch; for class 0 sample 0 differs from"
    with h.fails(ModelError, words, "by 4, in a batch with it by "):  # 2 (3 + 1) less 2 (1 + 1)
        explain(lambda x: net(x + x.flip(0)), x, 0, method, baseline=base)


def test_statistics_of_the_batch_are_refused_by_name() -> None:
    net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3, track_running_stats=False), nn.ReLU(), h.Mean()).to(D)
    for method in BOTH:
        with h.fails(ModelError, f"{method}: every operation must be", "layer '1' calls 'batch_norm'"):
            explain(net, h.batch(), 1, method)


REFUSED: dict[str, Callable[[Tensor], Any]] = {
    "softmax": lambda A: A.softmax(1),
    "layer_norm": lambda A: functional.layer_norm(A, (6,)),
    "div": lambda A: torch.ones_like(A) / (A.exp() + 1),
    "max": lambda A: A.unflatten(1, (3, 2)).max(2).values.repeat(1, 2),
    "prelu": lambda A: functional.prelu(A, A.mean().reshape(1)),
    "linear, its bias": lambda A: functional.linear(A, torch.eye(6, dtype=D), A),
    "linear, its weights": lambda A: functional.linear(torch.ones(len(A), 6, dtype=D), A[:1].expand(6, 6)),
    "maximum": lambda A: torch.maximum(A, torch.zeros_like(A)),
    "relu of a number": lambda A: A + A.mean().relu(),
    "relu along features": lambda A: functional.pad(A[:, :5].t().relu().t(), (0, 1)),
    "glu": lambda A: functional.glu(torch.cat([A, A], 1)),
}


@pytest.mark.parametrize("method", BOTH)
@pytest.mark.parametrize("name", REFUSED)
def test_an_operation_without_a_rule_is_refused_by_name(name: str, method: str) -> None:
    first, last = seeded(lambda: nn.Linear(4, 6)), seeded(lambda: nn.Linear(6, 3))
    called = name.split(",")[0].split()[0]
    with h.fails(ModelError, f"{method}: every operation must be one that the method has a rule for", f"'{called}'"):
        explain(lambda x: last(REFUSED[name](first(x))), vectors(), 1, method)


@pytest.mark.parametrize("method", ["deeplift", "deeplift_reveal_cancel", "deep_shap"])
def test_the_budget_changes_nothing(method: str) -> None:
    net, x, c = h.conv_net(head="hidden"), h.batch(5), h.targets(5)
    options = {"baseline": h.batch(3, seed=4) if method == "deep_shap" else h.batch(5, seed=4)}
    whole = explain(net, x, c, method, **options)
    for budget in (1e-6, 0.1, 0.2):
        split = explain(net, x, c, method, budget_mib=budget, **options)
        # contracts.md: the same map for any batch size to 1e-10 in float64.
        torch.testing.assert_close(split.values, whole.values, atol=1e-10, rtol=0)


@pytest.mark.parametrize("method", BOTH)
@pytest.mark.parametrize("away", [None, 1e-2, 1e-5])
def test_deep_nets_in_float32_are_not_refused(away: float | None, method: str) -> None:
    net = dense(sizes=(4, *[32] * 12, 3)).float()
    for seed in range(5):
        x = vectors(4, seed=seed).float()
        base = None if away is None else x + away * vectors(4, seed=seed + 100).float()
        a = explain(net, x, 1, method, baseline=base)
        assert a.residual is not None
        assert a.values.dtype == torch.float32


nets = st.lists(st.sampled_from(["relu", "tanh", "gelu", "max", "average", "norm", "skip"]), min_size=1, max_size=4)


class Skip(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x - functional.leaky_relu(self.conv(x))


def drawn_net(parts: list[str], seed: int) -> Any:
    kinds: dict[str, Callable[[], nn.Module]] = {
        "relu": nn.ReLU,
        "tanh": nn.Tanh,
        "gelu": nn.GELU,
        "max": lambda: nn.MaxPool2d(2, 1),
        "average": lambda: nn.AvgPool2d(3, 1, 1),
        "norm": lambda: nn.BatchNorm2d(3),
        "skip": Skip,
    }

    def make() -> nn.Module:
        layers: list[nn.Module] = [nn.Conv2d(2, 3, 3, padding=1)]
        for part in parts:
            layers += [kinds[part](), nn.Conv2d(3, 3, 3, padding=1)] if seed % 2 else [kinds[part]()]
        return nn.Sequential(*layers, h.Mean(), nn.Linear(3, 4))

    return seeded(make, seed)


@given(parts=nets, seed=st.integers(0, 10**6), method=st.sampled_from(BOTH))
@settings(deadline=None, max_examples=25)
def test_contributions_of_any_net_add_up(parts: list[str], seed: int, method: str) -> None:
    complete(drawn_net(parts, seed), h.batch(2, seed=seed), h.targets(2), method, h.batch(2, seed=seed + 1))


# RevealCancel


def minimum() -> nn.Sequential:
    """min(a, b) = a - ReLU(a - b), with a kept beside by two ReLUs: a = ReLU(a) - ReLU(-a)."""
    first = layered([[1.0, -1.0], [1.0, 0.0], [-1.0, 0.0]])
    return nn.Sequential(first, nn.ReLU(), layered([[-1.0, 1.0, -1.0]]))


@pytest.mark.parametrize(
    ("a", "b", "reveal", "rescale"),
    [
        (3.0, 2.0, [1.0, 1.0], [0.0, 2.0]),
        (2.0, 3.0, [1.0, 1.0], [2.0, 0.0]),
        (2.0, 2.0, [1.0, 1.0], [2.0, 0.0]),
        (3.0, -2.0, [0.0, -2.0], [0.0, -2.0]),
        (-3.0, 2.0, [-3.0, 0.0], [-3.0, 0.0]),
        (-3.0, -2.0, [-2.0, -1.0], [-3.0, 0.0]),
        (-2.0, -3.0, [-1.0, -2.0], [0.0, -3.0]),
        (0.0, 2.0, [0.0, 0.0], [0.0, 0.0]),
        (0.0, -2.0, [0.0, -2.0], [0.0, -2.0]),
    ],
)
def test_both_sides_of_a_minimum_get_their_shapley_values(
    a: float, b: float, reveal: list[float], rescale: list[float]
) -> None:
    # For positive a and b half of the minimum each, which is the paper's third figure and the seed's sentence.
    net, x = minimum(), torch.tensor([[a, b]], dtype=D)
    exact = slow_shapley.by_orders(lambda S: min(a if 0 in S else 0.0, b if 1 in S else 0.0), 2)
    assert explain(net, x, 0, REVEAL).values.tolist() == [reveal] == [exact]
    assert explain(net, x, 0, RESCALE).values.tolist() == [rescale]


@pytest.mark.parametrize("unit", UNITS)
def test_reveal_cancel_is_the_papers_definition_in_dense_nets(unit: type[nn.Module]) -> None:
    net, x, base, c = dense(unit), vectors(), vectors(seed=2), torch.tensor([0, 2, 1])
    steps = list(net)
    expected = torch.stack([slow.reveal_cancel(steps, s, r, int(t)) for s, r, t in zip(x, base, c, strict=True)])
    found = explain(net, x, c, REVEAL, baseline=base).values
    close(found, expected)
    differ(found, explain(net, x, c, RESCALE, baseline=base).values)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_reveal_cancel_is_the_papers_definition_in_convolutional_nets(rank: int) -> None:
    steps, x, base = conv_steps(rank), images(rank), images(rank, seed=2)
    expected = torch.stack([slow.reveal_cancel(steps, s, r, 1) for s, r in zip(x, base, strict=True)])
    net = nn.Sequential(*steps)
    found = explain(net, x, 1, REVEAL, baseline=base).values
    close(found, expected)
    differ(found, explain(net, x, 1, RESCALE, baseline=base).values)


whole = st.integers(-2, 2)


@given(data=st.data(), pool=st.booleans())
@settings(deadline=None, max_examples=60)
def test_ties_and_units_that_do_not_move_are_as_defined(data: st.DataObject, pool: bool) -> None:
    # Small integers: sums are exact, and often 0 with parts that are not; maxima tie; ReLUs stand at their kink.
    def whole_layer(inputs: int, outputs: int) -> nn.Linear:
        def row(size: int) -> list[float]:
            return [float(v) for v in data.draw(st.lists(whole, min_size=size, max_size=size))]

        return layered([row(inputs) for _ in range(outputs)], row(outputs))

    between: list[nn.Module] = [nn.ReLU()]
    if pool:
        between = [nn.Unflatten(1, (2, 2)), nn.MaxPool1d(2), nn.Flatten(), nn.ReLU()]
    size = 2 if pool else 4
    steps = [whole_layer(3, 4), *between, whole_layer(size, 3), nn.ReLU(), whole_layer(3, 2)]
    x, base = (torch.tensor([data.draw(st.lists(whole, min_size=3, max_size=3))], dtype=D) for _ in range(2))
    for method, form in ((RESCALE, slow.rescale), (REVEAL, slow.reveal_cancel)):
        found = explain(nn.Sequential(*steps), x, 1, method, baseline=base).values
        torch.testing.assert_close(found[0], form(steps, x[0], base[0], 1), atol=1e-12, rtol=0)  # quotients round


@pytest.mark.parametrize(
    ("weight", "bias", "expected"),
    [
        (1.0, 1.0, [3.0, -3.0, 1.0]),  # P = 1 and N = 0, from 1 up: both multipliers are 1
        (1.0, -0.5, [1.5, -1.5, 0.5]),  # from -.5 up: .5 for P, and for N the mean of the slopes at -.5 and .5
        (-1.0, 0.5, [1.5, -1.5, -0.5]),  # P = 0 and N = -1, from .5 down: the same
    ],
)
def test_what_cancels_in_a_unit_that_does_not_move_is_not_lost(
    weight: float, bias: float, expected: list[float]
) -> None:
    # h = ReLU(i1 - i2) at i1 = i2 = 2: P = 2 and N = -2 cancel, each has an effect of 1 on h. As h does not move, 3 h
    # counts half as a rise and half as a fall of v, 1.5 for i1 and -1.5 for i2 in each; v's parts are those of i3 = 1.
    # Rescale has the derivative of h at 0, which is 0.
    first = layered([[1.0, -1.0, 0.0], [0.0, 0.0, 1.0]])
    net = nn.Sequential(first, nn.ReLU(), layered([[3.0, weight]], [bias]), nn.ReLU())
    x = torch.tensor([[2.0, 2.0, 1.0]], dtype=D)
    assert explain(net, x, 0, REVEAL).values.tolist() == [expected]
    assert explain(net, x, 0, RESCALE).values.tolist() == [[0.0, 0.0, expected[2]]]


def test_below_a_threshold_only_rescale_keeps_silent() -> None:
    # ReLU(i1 - i2 - 1) at (3, 2.5): -.5, as silent as the baseline's -1. P = 3 alone makes it 2: 1 for i1, -1 for i2.
    net = nn.Sequential(layered([[1.0, -1.0]], [-1.0]), nn.ReLU())
    x = torch.tensor([[3.0, 2.5]], dtype=D)
    assert explain(net, x, 0, RESCALE).values.tolist() == [[0.0, 0.0]]
    assert explain(net, x, 0, REVEAL).values.tolist() == [[1.0, -1.0]]


@given(seed=st.integers(0, 10**6), unit=st.sampled_from(UNITS))
@settings(deadline=None, max_examples=20)
def test_both_rules_agree_where_no_unit_has_parts_of_both_signs(seed: int, unit: type[nn.Module]) -> None:
    class Rising(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.unit = nn.Conv2d(2, 3, 3), unit()
            self.pool, self.fc = nn.MaxPool2d(2), nn.Linear(18, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.pool(self.unit(self.conv(x))).flatten(1))

    net = seeded(Rising, seed)
    for layer in (net.conv, net.fc):
        layer.weight.data.abs_()
    base = h.batch(2, seed=seed)
    x = base + h.batch(2, seed=seed + 1).abs()
    if unit is nn.GELU:  # falls below -.75, where a rise is no rise
        net.conv.bias.data += 10
    close(explain(net, x, 1, REVEAL, baseline=base).values, explain(net, x, 1, RESCALE, baseline=base).values, 1e-10)


class Folded(nn.Module):
    """Two dense layers on half of the inputs each, `change` of what they give, a ReLU, a dense layer."""

    def __init__(self, change: Callable[[Tensor, Tensor], Tensor], units: int = 3) -> None:
        super().__init__()
        self.change = change
        self.left, self.right, self.last = nn.Linear(2, 3), nn.Linear(2, 3), nn.Linear(units, 3)

    def forward(self, x: Tensor) -> Any:
        return self.last(self.change(self.left(x[:, :2]), self.right(x[:, 2:])).relu())


SCALE = torch.tensor([2.0, -1.5, -0.5], dtype=D)
CHANGES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "sum": lambda a, b: a + b,
    "sum in place": lambda a, b: a.add_(b),
    "difference": lambda a, b: a - b,
    "sum with a factor": lambda a, b: torch.add(a, b, alpha=-2.0),
    "reversed difference with a factor": lambda a, b: torch.rsub(a, b, alpha=0.5),
    "constant less": lambda a, b: 1.0 - (a + b),
    "constants": lambda a, b: (a + SCALE) * SCALE + (b - 0.5) / SCALE,
    "negative": lambda a, b: -a - (-b),
    "mean": lambda a, b: torch.stack([a, b]).mean(0),
    "mean along the last axis": lambda a, b: torch.stack([a, b], 2).mean(2),
    "average pooling": lambda a, b: functional.avg_pool1d(torch.stack([a, b], 2), 2)[..., 0],
    "spread sum": lambda a, b: a[:, :1] - b,
    "factor that spreads": lambda a, b: a[:, 1:2] * SCALE + b,
    "batch norm": lambda a, b: functional.batch_norm(a + b, SCALE, SCALE.abs(), -SCALE, SCALE),
    "padding and back": lambda a, b: functional.pad(a + b, (1, 2))[:, 1:4],
    "flipped": lambda a, b: (a + b).flip(1),
}


@pytest.mark.parametrize("name", CHANGES)
def test_linear_operations_mean_what_they_would_within_the_layer_before(name: str) -> None:
    net, x, base = seeded(lambda: Folded(CHANGES[name])), vectors(), vectors(seed=2)

    def affine(x: Tensor) -> Tensor:
        return CHANGES[name](net.left(x[:, :2]), net.right(x[:, 2:]))

    with torch.no_grad():
        bias = affine(torch.zeros(1, 4, dtype=D))[0]
        weight = torch.stack([affine(unit[None])[0] - bias for unit in torch.eye(4, dtype=D)], 1)
    folded = nn.Sequential(layered(weight.tolist(), bias.tolist()), nn.ReLU(), net.last)
    expected = explain(folded, x, 1, REVEAL, baseline=base).values
    close(complete(net, x, 1, REVEAL, base), expected)
    differ(expected, explain(folded, x, 1, RESCALE, baseline=base).values)


def test_a_batch_norm_changes_nothing_that_folding_it_would_not() -> None:
    net, x, c = h.conv_net(head="hidden").eval(), h.batch(), h.targets()
    net[4].weight.data = torch.tensor([1.0, -1.0, 0.5, -2.0, 0.0], dtype=D)
    for method in BOTH:
        close(explain(net, x, c, method).values, explain(o.folded(net), x, c, method).values)


JOINS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "nothing": lambda a, b: torch.cat([a, b], 1),
    "zeros": lambda a, b: torch.cat([a, torch.zeros_like(b), b], 1),
    "ones": lambda a, b: torch.cat([a, b, torch.ones_like(b)], 1),
    "a stack of constants": lambda a, b: torch.stack([a, 2 * torch.ones_like(a), b], 1).flatten(1),
    "a place set to zero": lambda a, b: _set(torch.cat([a, b], 1), 0.0),
    "set into zeros": lambda a, b: _set(torch.zeros(len(a), 6, dtype=D), torch.cat([a, b], 1)[:, :1]),
}


def _set(A: Tensor, value: Any) -> Tensor:
    A[:, :1] = value
    return A


@pytest.mark.parametrize("name", JOINS)
def test_constants_that_are_joined_to_the_input_are_no_difference(name: str) -> None:
    units = JOINS[name](torch.zeros(1, 3), torch.zeros(1, 3)).shape[1]
    net, x, base = seeded(lambda: Folded(JOINS[name], units)), vectors(), vectors(seed=2)
    first = torch.block_diag(net.left.weight.data, net.right.weight.data)
    bias = torch.cat([net.left.bias.data, net.right.bias.data])
    with torch.no_grad():
        before = JOINS[name](torch.zeros(1, 3, dtype=D), torch.zeros(1, 3, dtype=D))[0]
        places = torch.stack([JOINS[name](u[None, :3], u[None, 3:])[0] - before for u in torch.eye(6, dtype=D)], 1)
    plain = layered((places @ first).tolist(), (places @ bias + before).tolist())
    folded = nn.Sequential(plain, nn.ReLU(), net.last)
    for method in BOTH:
        close(complete(net, x, 1, method, base), explain(folded, x, 1, method, baseline=base).values)


def test_max_pooling_hands_on_both_parts() -> None:
    # The larger of a unit and itself is the unit: the minimum still goes half and half.
    net = minimum()

    def doubled(x: Tensor) -> Any:
        A = functional.max_pool1d(net[0](x).repeat_interleave(2, 1)[:, None], 2)[:, 0]
        return net[2](A.relu())

    x = torch.tensor([[3.0, 2.0], [-3.0, -2.0]], dtype=D)
    assert explain(doubled, x, 0, REVEAL).values.tolist() == [[1.0, 1.0], [-2.0, -1.0]]


def test_max_pooling_by_hand() -> None:
    # From (0, 0) to (3, -2) by P = (3, 0), N = (0, -2): P raises the maximum by 3 in either order, N changes nothing.
    # From (1, 0) to (-1, 3): P = (0, 3) raises it from 1 to 3, after N from 0 to 3: 2.5.
    # N = (-2, 0) lowers it from 1 to 0, after P not at all: -.5. Rescale: 2, all to the second.
    def largest(x: Tensor) -> Tensor:
        return x.amax(1, keepdim=True)

    x, base = torch.tensor([[3.0, -2.0], [-1.0, 3.0]], dtype=D), torch.tensor([[0.0, 0.0], [1.0, 0.0]], dtype=D)
    assert explain(largest, x, 0, REVEAL, baseline=base).values.tolist() == [[3.0, 0.0], [-0.5, 2.5]]
    assert explain(largest, x, 0, RESCALE, baseline=base).values.tolist() == [[3.0, 0.0], [0.0, 2.0]]


@pytest.mark.parametrize("value", [1.0, torch.ones(1, dtype=D)])
def test_a_constant_that_is_set_among_activations_has_no_reveal_cancel_rule(value: Any) -> None:
    net = seeded(lambda: nn.Linear(4, 4))
    model = lambda x: net(_set(net(x), value).relu())  # noqa: E731
    with h.fails(ModelError, "calls '__setitem__', by which a constant comes in"):
        explain(model, vectors(), 1, REVEAL)
    complete(model, vectors(), 1, RESCALE)


def rivals(share: float = 0.0) -> nn.Sequential:
    """max(v, u), v = 3 ReLU(i1 - i2 + 1) + share ReLU(i3), u = 6 - ReLU(i3)."""
    first = layered([[1.0, -1.0, 0.0], [0.0, 0.0, 1.0]], [1.0, 0.0])
    last = layered([[3.0, share], [0.0, -1.0]], [0.0, 6.0])
    return nn.Sequential(first, nn.ReLU(), last, nn.Unflatten(1, (1, 2)), nn.MaxPool1d(2), nn.Flatten())


@pytest.mark.parametrize(
    ("i3", "rescale", "reveal"),
    [
        # v stays at 3, by i1 = i2 = 2, and wins throughout: it takes the maximum along. In the ReLU, 1 + 2 - 2, either
        # part has an effect of 1.5, of which the Linear rule hands all, times 3, to both.
        ((7.0, 7.0), [6.0, -6.0, 0.0], [4.5, -4.5, 0.0]),
        # u falls from 5 to -1, so that v wins at the sample; the fall of 2 is u's doing. Rescale: all of it. Here v's
        # rising half of 4.5 wins in one of two orders.
        ((1.0, 7.0), [0.0, 0.0, -2.0], [1.125, -1.125, -2.0]),
    ],
)
def test_a_winner_that_does_not_move_takes_the_maximum_along(
    i3: tuple[float, float], rescale: list[float], reveal: list[float]
) -> None:
    base, x = torch.tensor([[0.0, 0.0, i3[0]]], dtype=D), torch.tensor([[2.0, 2.0, i3[1]]], dtype=D)
    for method, expected, form in ((RESCALE, rescale, slow.rescale), (REVEAL, reveal, slow.reveal_cancel)):
        assert explain(rivals(), x, 0, method, baseline=base).values.tolist() == [expected]
        assert form(list(rivals()), x[0], base[0], 0).tolist() == expected


def test_a_part_that_rounding_swallows_is_no_part() -> None:
    # As above, but v rises by 1e-17 beside 3: that is lost in the sum, and a quotient of 0 would lose i1 and i2, too.
    base, x = torch.tensor([[0.0, 0.0, 7.0]], dtype=D), torch.tensor([[2.0, 2.0, 8.0]], dtype=D)
    found = explain(rivals(1e-17), x, 0, REVEAL, baseline=base).values
    close(found, torch.tensor([[4.5, -4.5, 0.0]], dtype=D))


def test_a_product_of_activations_has_no_reveal_cancel_rule() -> None:
    with h.fails(ModelError, f"{REVEAL}: every operation must be", "calls 'mul'", "a product of two activations"):
        explain(seeded(Excited), h.batch(), 1, REVEAL)


# DeepSHAP


@pytest.mark.parametrize("name", TOUCHING)
def test_deep_shap_equals_shaps_deep_explainer(name: str) -> None:
    net, x, c, data = nn.Sequential(*TOUCHING[name]), h.batch(), h.targets(), h.batch(5, seed=9)
    close(explain(net, x, c, "deep_shap", baseline=data).values, o.shap_values(net, x, c, data), 1e-12)


def test_deep_shap_is_the_mean_of_deeplift_over_the_baselines() -> None:
    net, x, c, data = h.conv_net(head="hidden"), h.batch(), h.targets(), h.batch(5, seed=9)
    a = explain(net, x, c, "deep_shap", baseline=data)
    each = [explain(net, x, c, RESCALE, baseline=one[None]) for one in data]
    close(a.values, torch.stack([one.values for one in each]).mean(0))
    alone = explain(net, x, c, "deep_shap", baseline=data[:1])
    assert torch.equal(alone.values, each[0].values)


def test_deep_shap_of_a_linear_layer_is_the_shapley_value() -> None:
    net, x, data = seeded(lambda: nn.Linear(4, 3)), vectors(2), vectors(5, seed=2)
    found = explain(net, x, 1, "deep_shap", baseline=data).values

    def exact(sample: Tensor) -> list[float]:
        def payoff(present: frozenset[int]) -> float:
            known = torch.tensor([i in present for i in range(4)])
            with torch.no_grad():
                return float(net(torch.where(known, sample, data))[:, 1].mean())

        return slow_shapley.by_orders(payoff, 4)

    close(found, torch.tensor([exact(sample) for sample in x], dtype=D), 1e-13)


def test_deep_shap_misses_nothing_of_the_score_less_the_mean_score() -> None:
    net, x, c, data = h.conv_net(head="hidden").eval(), h.batch(), h.targets(), h.batch(5, seed=9)
    a = explain(net, x, c, "deep_shap", baseline=data)
    with torch.no_grad():
        difference = net(x).gather(1, c[:, None])[:, 0] - net(data).mean(0)[c]
    close(a.values.flatten(1).sum(1), difference, 1e-13)
    assert a.residual is not None
    assert float(a.residual.abs().max()) < 1e-15  # rounding of sums of values of .01


def test_deep_shap_needs_baselines_like_the_samples() -> None:
    net, x = h.conv_net(), h.batch()
    for wrong in (None, 0.0, h.batch(0), torch.zeros(4, 2, 8), torch.zeros(4, 1, 8, 6)):
        with h.fails(ShapeError, "deep_shap: `baseline` must be a set of samples like those of `x`", "(m, 2, 8, 6)"):
            explain(net, x, 1, "deep_shap", baseline=wrong)


def test_deep_shap_refuses_a_model_that_mixes_samples() -> None:
    first, last = seeded(lambda: nn.Linear(4, 6)), seeded(lambda: nn.Linear(6, 3))

    def model(x: Tensor) -> Any:
        A = first(x)
        return last((A - A.mean(0, keepdim=True)).tanh())

    with h.fails(ModelError, "deep_shap: a sample's logits must not depend on the rest of its batch"):
        explain(model, vectors(2), 1, "deep_shap", baseline=vectors(3, seed=2))
