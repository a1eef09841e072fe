"""The rule engine: every operation is seen however it is called, follows its rule or is refused; no trace is left."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import helpers_attribution as h
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import _get_current_function_mode_stack
from torch.utils.checkpoint import checkpoint

from xaiteach import explain
from xaiteach.attribution import operations, relevance
from xaiteach.attribution.kinds import ADVICE, KINDS, kind_of
from xaiteach.attribution.operations import OTHERS, PLAIN, Operation, made_by, propagated, ruled
from xaiteach.attribution.scores import cotangent, run
from xaiteach.errors import ModelError

D = torch.float64
Step = Callable[[Tensor], Tensor]
LRP = ["lrp_epsilon", "lrp_alpha_beta"]
METHODS = ["guided_backprop", *LRP]
SHAPE = (2, 4, 6)
"""Channels and sides of what a step is given; channels stay first."""


def seeded(make: Callable[[], Any], seed: int = 0) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = make()
    return made.to(D).eval() if isinstance(made, nn.Module) else made


def weights(*shape: int, seed: int = 5) -> Tensor:
    return torch.randn(*shape, dtype=D, generator=torch.Generator().manual_seed(seed), requires_grad=True)


def images(n: int = 3) -> Tensor:
    return torch.randn(n, *SHAPE, dtype=D, generator=torch.Generator().manual_seed(1))


def dense(z: Tensor) -> Tensor:
    """Logits of anything, by weights that depend on its size alone."""
    z = z.flatten(1)
    return functional.linear(z, weights(3, z.shape[1]) / z.shape[1] ** 0.5)


class Around(nn.Module):
    """convolution - the step in question - ReLU - dense."""

    def __init__(self, step: Step, *, relu: bool = True) -> None:
        super().__init__()
        self.step, self.relu = step, relu
        self.conv = seeded(lambda: nn.Conv2d(2, 2, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        z = self.step(self.conv(x))
        return dense(z.relu() if self.relu else z)


def ignored(change: Callable[[Tensor], object]) -> Step:
    """The step that changes its input in place, whatever it returns."""

    def step(z: Tensor) -> Tensor:
        change(z)
        return z

    return step


def part(change: Callable[[Tensor], object]) -> Step:
    """The step that changes a view of its input in place."""
    return ignored(lambda z: change(z[:, :1]))


def add_up(z: Tensor) -> Tensor:
    total = torch.zeros_like(z)
    total += z
    total += 2 * z
    return total + z  # z itself is still as it was


def collected(z: Tensor) -> Tensor:
    out = torch.zeros_like(z)
    out[:, :1].add_(z[:, :1])
    out[:, 1:].copy_(z[:, 1:])
    return out


def written(z: Tensor) -> Tensor:
    out = z.new_zeros(z.shape)
    out[:, 0] = z[:, 1]
    out[:, 1:] = z[:, :1]
    return out


CHANNEL = weights(1, 2, 1, 1, seed=9).detach()
FOUR = weights(4, 2, 3, 3, seed=8)
BIAS = weights(4, seed=7)
MEAN, VAR = weights(2, seed=6).detach(), weights(2, seed=4).detach() ** 2 + 0.5

# Ways to write the same function. The first of each row stands for it; the others must give the same maps.
SPELLINGS: dict[str, list[Step]] = {
    "relu": [
        nn.ReLU(),
        nn.ReLU(inplace=True),
        functional.relu,
        lambda z: functional.relu(z, True),
        lambda z: functional.relu(input=z, inplace=True),
        functional.relu_,
        torch.relu,
        torch.relu_,
        lambda z: z.relu(),
        lambda z: z.relu_(),
        lambda z: z.clamp(min=0),
        lambda z: z.clamp(0.0),
        lambda z: z.clamp(0, None),
        lambda z: z.clamp_(min=0),
        lambda z: torch.clamp(z, min=0),
        lambda z: z.clamp_min(0),
        lambda z: z.clamp_min_(0),
        lambda z: z.clip(0),
        lambda z: torch.ops.aten.relu(z),
        ignored(lambda z: functional.relu(z, inplace=True)),
        ignored(nn.ReLU(inplace=True)),
        ignored(lambda z: z.relu_()),
        ignored(lambda z: z.view(-1).relu_()),
    ],
    "relu of a part": [
        lambda z: torch.cat([z[:, :1].relu(), z[:, 1:]], 1),
        part(lambda v: v.relu_()),
        part(lambda v: functional.relu(v, inplace=True)),
        part(nn.ReLU(inplace=True)),
    ],
    "relu6": [nn.ReLU6(), functional.relu6, lambda z: functional.hardtanh(z, 0.0, 6.0), nn.Hardtanh(0, 6, True)],
    "leaky_relu": [
        nn.LeakyReLU(0.2),
        nn.LeakyReLU(0.2, inplace=True),
        lambda z: functional.leaky_relu(z, 0.2),
        lambda z: functional.leaky_relu_(z, 0.2),
        ignored(lambda z: functional.leaky_relu(z, 0.2, True)),
        lambda z: functional.prelu(z, torch.tensor([0.2], dtype=D)),
    ],
    "elu": [nn.ELU(), nn.ELU(inplace=True), functional.elu, ignored(lambda z: functional.elu(z, 1.0, True))],
    "threshold": [
        nn.Threshold(0.1, 0.0),
        lambda z: functional.threshold(z, 0.1, 0.0),
        ignored(nn.Threshold(0.1, 0.0, inplace=True)),
        ignored(lambda z: torch.threshold_(z, 0.1, 0.0)),
    ],
    "tanh": [nn.Tanh(), torch.tanh, functional.tanh, lambda z: z.tanh(), lambda z: z.tanh_()],
    "sum of two": [
        lambda z: z + z.flip(3),
        lambda z: torch.add(z, z.flip(3)),
        lambda z: z.add(z.flip(3)),
        lambda z: z.add_(z.flip(3)),
        lambda z: z.flip(3) + z,
        lambda z: z - z.neg().flip(3),
        ignored(lambda z: z.add_(z.flip(3).clone())),
        lambda z: sum([z, z.flip(3)]),
    ],
    "running total": [lambda z: 4 * z, add_up],
    "factor": [
        lambda z: z * 2,
        lambda z: 2 * z,
        lambda z: z.mul(2),
        lambda z: z.mul_(2),
        lambda z: torch.mul(z, torch.tensor(2.0, dtype=D)),
        lambda z: z / 0.5,
        lambda z: z.div_(0.5),
        lambda z: -(z * -2),
        lambda z: z + z,
    ],
    "factor by channel": [lambda z: z * CHANNEL, lambda z: CHANNEL * z, lambda z: z.mul_(CHANNEL)],
    "constant": [
        lambda z: z + 0.5,
        lambda z: 0.5 + z,
        lambda z: z.add_(0.5),
        lambda z: z - -0.5,
        lambda z: z.sub_(-0.5),
        lambda z: 0.5 - (-z),
        lambda z: torch.add(z, torch.tensor(0.25, dtype=D), alpha=2),
    ],
    "mean": [
        lambda z: z.mean((2, 3)),
        nn.AdaptiveAvgPool2d(1),
        nn.AvgPool2d((4, 6)),
        lambda z: functional.adaptive_avg_pool2d(z, 1),
        lambda z: functional.avg_pool2d(z, (4, 6)),
        lambda z: torch.mean(z, dim=(2, 3), keepdim=True),
        lambda z: z.sum((2, 3)) / 24,
        lambda z: nn.AdaptiveAvgPool1d(1)(z.flatten(2)),
        lambda z: functional.avg_pool3d(z[:, :, None], (1, 4, 6)),
        lambda z: functional.interpolate(z, size=(1, 1), mode="area"),
    ],
    "max": [
        lambda z: z.amax((2, 3)),
        nn.AdaptiveMaxPool2d(1),
        nn.MaxPool2d((4, 6)),
        lambda z: functional.max_pool2d(z, (4, 6)),
        lambda z: functional.adaptive_max_pool2d(z, 1),
        lambda z: nn.AdaptiveMaxPool1d(1)(z.flatten(2)),
        lambda z: functional.max_pool1d(z.flatten(2), 24),
        lambda z: functional.max_pool3d(z[:, :, None], (1, 4, 6)),
        lambda z: torch.max_pool2d(z, (4, 6)),
    ],
    "overlapping max": [nn.MaxPool2d(3, 2, 1), lambda z: functional.max_pool2d(z, 3, stride=2, padding=1)],
    "nothing": [
        nn.Identity(),
        nn.Dropout(),
        nn.Dropout(inplace=True),
        nn.Dropout2d(),
        nn.AlphaDropout(),
        lambda z: functional.dropout(z, 0.5, False),
        lambda z: functional.dropout(z, training=False, inplace=True),
        lambda z: z.contiguous(),
        lambda z: z.clone(),
        lambda z: z.to(D),
        lambda z: z.double(),
        lambda z: +z,
        lambda z: z.flatten(1).unflatten(1, SHAPE),
        nn.Sequential(nn.Flatten(), nn.Unflatten(1, SHAPE)),
        lambda z: z.view(-1, 48).reshape(z.shape),
        lambda z: z.permute(0, 2, 3, 1).movedim(-1, 1),
        lambda z: z.transpose(2, 3).contiguous().swapaxes(2, 3),
        lambda z: z.mT.mT,
        lambda z: torch.cat(z.chunk(2, 1), 1),
        lambda z: torch.cat(torch.split(z, 2, 3), -1),
        lambda z: torch.stack(z.unbind(1), 1),
        lambda z: torch.stack(list(z)),
        lambda z: torch.cat([z[:, :1], z[:, 1:, ...]], 1),
        lambda z: torch.hstack([z.narrow(1, 0, 1), z.select(1, 1)[:, None]]),
        lambda z: z.index_select(1, torch.tensor([1, 0])).flip(1),
        lambda z: z[:, [1, 0]].roll(1, 1),
        lambda z: z.unsqueeze(1).squeeze(1),
        lambda z: z.expand(z.shape),
        lambda z: functional.pad(z, (1, 1, 2, 2))[:, :, 2:-2, 1:-1],
        lambda z: nn.ReflectionPad2d(1)(z)[..., 1:-1, 1:-1],
        lambda z: nn.PixelShuffle(2)(nn.PixelUnshuffle(2)(z)),
        lambda z: torch.empty_like(z).copy_(z),
        collected,
    ],
    "written": [lambda z: torch.stack([z[:, 1], z[:, 0]], 1), written],
    "shuffled": [nn.PixelUnshuffle(2), lambda z: functional.pixel_unshuffle(z, 2)],
    "enlarged": [
        nn.Upsample(scale_factor=2),
        lambda z: functional.interpolate(z, scale_factor=2),
        lambda z: functional.interpolate(z, size=(8, 12), mode="nearest"),
    ],
    "smoothly enlarged": [
        nn.Upsample(scale_factor=2, mode="bilinear"),
        lambda z: functional.interpolate(z, scale_factor=2, mode="bilinear"),
    ],
    "repeated": [
        lambda z: torch.cat([z, z], 1),
        lambda z: z.repeat(1, 2, 1, 1),
        lambda z: z.tile((1, 2, 1, 1)),
        lambda z: z[:, None].expand(-1, 2, -1, -1, -1).flatten(1, 2),
    ],
    "padded": [
        nn.ZeroPad2d(1),
        nn.ConstantPad2d(1, 0.0),
        lambda z: functional.pad(z, (1, 1, 1, 1)),
        lambda z: functional.pad(z, (1, 1, 1, 1), "constant", 0),
    ],
    "reflected": [nn.ReflectionPad2d(1), lambda z: functional.pad(z, (1, 1, 1, 1), mode="reflect")],
    "circular": [nn.CircularPad2d(1), lambda z: functional.pad(z, (1, 1, 1, 1), mode="circular")],
    "convolution": [
        lambda z: functional.conv2d(z, FOUR, BIAS, stride=2, padding=1),
        lambda z: torch.conv2d(z, FOUR, BIAS, 2, 1),
        lambda z: functional.conv2d(input=z, weight=FOUR, bias=BIAS, stride=(2, 2), padding=(1, 1)),
    ],
    "batch_norm": [
        lambda z: functional.batch_norm(z, MEAN, VAR, MEAN, VAR),
        lambda z: functional.batch_norm(z, MEAN, VAR, weight=MEAN, bias=VAR, training=False),
        lambda z: functional.batch_norm(z.contiguous(), MEAN, VAR, MEAN, VAR, False, 0.1, 1e-5),
        lambda z: functional.batch_norm(functional.dropout(z, 0.5, False), MEAN, VAR, MEAN, VAR),
    ],
}
SAME_SUMS = {"mean", "factor", "running total", "sum of two", "convolution"}
"""Where the ways to write it add in another order, or add a copy."""


@pytest.mark.parametrize(
    ("kind", "method"),
    [(k, m) for k in SPELLINGS for m in METHODS if m in LRP or k not in ("leaky_relu", "elu", "threshold", "tanh")],
)
def test_every_way_to_write_an_operation_gives_the_same_map(kind: str, method: str) -> None:
    x = images()
    expected = explain(Around(SPELLINGS[kind][0]), x, 1, method).values
    assert float(expected.abs().max()) > 1e-3
    for i, step in enumerate(SPELLINGS[kind][1:], 1):
        found = explain(Around(seeded(lambda s=step: s)), x, 1, method).values
        # Rounding where sums are in another order; the epsilon rule multiplies it.
        tolerance = 1e-11 * float(expected.abs().max()) if kind in SAME_SUMS else 0.0
        torch.testing.assert_close(found, expected, rtol=0, atol=tolerance, msg=lambda m, i=i: f"way {i}: {m}")


@pytest.mark.parametrize("kind", SPELLINGS)
def test_values_and_plain_gradients_are_the_models_own_bit_for_bit(kind: str) -> None:
    for i in range(len(SPELLINGS[kind])):
        keeps_values_and_gradients(Around(seeded(lambda i=i: SPELLINGS[kind][i])), images(), f"way {i}")


def keeps_values_and_gradients(net: nn.Module, x: Tensor, which: str = "") -> None:
    net, c = net.eval(), h.targets(len(x)) % 3
    leaf = x.clone().requires_grad_()
    logits = net(leaf.clone())
    (gradient,) = torch.autograd.grad(logits.gather(1, c[:, None]).sum(), leaf)
    for table in ({OTHERS: PLAIN}, relevance.rules(relevance.epsilon_share(1e-6), "test")):
        with ruled(net, leaf, table, "test"):
            values = run(net, leaf, "test")
        assert torch.equal(values, logits), which
    found = propagated(net, x, {OTHERS: PLAIN}, "test", lambda s: cotangent(s, c, "logit"), replaces=())
    assert torch.equal(found, gradient), which


ZOO: dict[str, Callable[[], nn.Module]] = {
    "reused": h.Reused,
    "reused in place": lambda: h.Reused(inplace=True),
    "functional": h.Functional,
    "residual": lambda: nn.Sequential(h.Block(2), h.Block(2, by_function=True), h.Mean(), nn.Linear(2, 4)),
    "branches": h.Branches,
    "hidden": lambda: h.conv_net(2, "hidden"),
    "scripted by fx": lambda: torch.fx.symbolic_trace(h.conv_net(2, "hidden").eval()),
    "in a data parallel": lambda: nn.DataParallel(h.conv_net(2, "hidden")),
}


@pytest.mark.parametrize("dtype", [torch.float32, D])
@pytest.mark.parametrize("kind", ZOO)
def test_whole_nets_keep_their_values_and_gradients(kind: str, dtype: torch.dtype) -> None:
    keeps_values_and_gradients(seeded(ZOO[kind]).to(dtype), h.batch(dtype=dtype))


# What has no rule


HALF = [torch.zeros(1, dtype=D), torch.ones(1, dtype=D)]
ATTENTION = seeded(lambda: nn.MultiheadAttention(24, 2, batch_first=True))
LSTM = seeded(lambda: nn.LSTM(24, 24, batch_first=True))
RNN = seeded(lambda: nn.RNN(24, 24, nonlinearity="relu", batch_first=True))
BY_HAND = "a nonlinearity made by hand"
REFUSED: dict[str, tuple[Step, str, str]] = {
    "mask": (lambda z: z * (z > 0), "'gt'", BY_HAND),
    "float mask": (lambda z: z * z.gt(0).to(z), "'gt'", BY_HAND),
    "sign": (lambda z: z * (z.sign() + 1) / 2, "'sign'", BY_HAND),
    "sign bit": (lambda z: z * ~z.signbit(), "'signbit'", BY_HAND),
    "where": (lambda z: torch.where(CHANNEL > 0, z, 0.0), "'where'", BY_HAND),
    "maximum": (lambda z: torch.maximum(z, torch.zeros_like(z)), "'maximum'", BY_HAND),
    "max of two": (lambda z: torch.max(z, torch.zeros_like(z)), "'max'", BY_HAND),
    "max of two, by name": (lambda z: torch.max(z, other=torch.zeros_like(z)), "'max'", BY_HAND),
    "min of two": (lambda z: -torch.min(-z, torch.zeros_like(z)), "'min'", BY_HAND),
    "fmax": (lambda z: z.fmax(HALF[0]), "'fmax'", BY_HAND),
    "written by mask": (ignored(lambda z: z.__setitem__(z < 0, 0.0)), "'lt'", BY_HAND),
    "softmax": (lambda z: z.softmax(1), "'softmax'", "which is no logit"),
    "attention": (lambda z: ATTENTION(z.flatten(2), z.flatten(2), z.flatten(2))[0], "'multi_head", "weights depend on"),
    "scaled attention": (
        lambda z: functional.scaled_dot_product_attention(z, z, z),
        "'scaled_dot_product_attention'",
        "weights depend on",
    ),
    "lstm": (lambda z: LSTM(z.flatten(2))[0], "'lstm'", "nonlinearities inside"),
    "rnn of ReLUs": (lambda z: RNN(z.flatten(2))[0], "'rnn_relu'", "nonlinearities inside"),
    "gate": (lambda z: functional.glu(z, 1), "'glu'", "mixes its inputs"),
    "log of a sum": (lambda z: z.logsumexp(1), "'logsumexp'", "mixes its inputs"),
}
REFUSED_BY_LRP: dict[str, tuple[Step, str, str]] = {
    "layer norm": (lambda z: functional.layer_norm(z, (6,)), "'layer_norm'", "scale depends on the input"),
    "group norm": (nn.GroupNorm(1, 2), "'group_norm'", "scale depends on the input"),
    "normalised": (lambda z: functional.normalize(z), "'normalize'", "scale depends on the input"),
    "product": (lambda z: z * z.flip(3), "'mul'", "a product of two activations"),
    "square": (lambda z: z.mul_(z), "'mul_'", "a product of two activations"),
    "quotient": (lambda z: z / (z.flip(3) + 9), "'div'", "a product of two activations"),
    "divisor": (lambda z: torch.ones(1, dtype=D) / (z + 9), "'div'", "a division by an activation"),
    "rounded quotient": (lambda z: torch.div(z, 2, rounding_mode="floor"), "'div'", "which rounds"),
    "number over it": (lambda z: 3 / (z + 9), "'__rdiv__'", "does not know"),
    "matrix product": (lambda z: z @ z.mT, "'matmul'", "no layer"),
    "matrix product with weights": (lambda z: z @ weights(6, 5), "'matmul'", "no layer"),
    "einsum": (lambda z: torch.einsum("nchw,wk->nchk", z, weights(6, 5)), "'einsum'", "no layer"),
    "dense by hand": (lambda z: torch.addmm(BIAS, z.flatten(1), weights(48, 4)), "'addmm'", "no layer"),
    "batch statistics": (nn.BatchNorm2d(2, track_running_stats=False), "'batch_norm'", "statistics from the batch"),
    "batch norm, other order": (
        lambda z: torch.batch_norm(z, MEAN, VAR, MEAN, VAR, False, 0.1, 1e-5, False),
        "'batch_norm'",
        "does not know",
    ),
    "conditional batch norm": (
        lambda z: functional.batch_norm(z, MEAN, VAR, z.mean((0, 2, 3))),
        "'batch_norm'",
        "depend on the input",
    ),
    "kernel from the input": (
        lambda z: functional.conv2d(z, z[:1].expand(3, -1, -1, -1)),
        "'conv2d'",
        "depend on the input",
    ),
    "kernel from the input alone": (
        lambda z: functional.conv2d(CHANNEL.expand(1, 2, 4, 6), z).transpose(0, 1),
        "'conv2d'",
        "depend on the input",
    ),
    "slope from the input": (
        lambda z: functional.prelu(z, z.mean((0, 2, 3))),
        "'prelu'",
        "depend on the input",
    ),
    "limit from the input": (lambda z: z.clamp(max=z.mean()), "'clamp'", "depend on the input"),
    "places of the maxima": (lambda z: nn.MaxPool2d(2, return_indices=True)(z)[0], "'max_pool2d", "returns its places"),
    "maximum over an axis": (lambda z: z.max(3).values, "'max'", "returns its places"),
    "power of a tensor": (lambda z: (z + 9) ** CHANNEL, "'pow'", "does not know"),
    "padded by a value": (lambda z: functional.pad(z, (1, 1), value=2.0), "'pad'", "does not know"),
    "sorted": (lambda z: z.sort(3).values, "'sort'", "does not know"),
    "running sum": (lambda z: z.cumsum(3), "'cumsum'", "does not know"),
}
ACTIVE: dict[str, Step] = {
    "dropout": lambda z: functional.dropout(z, 0.5),
    "dropout by name": lambda z: functional.dropout(z, training=True),
    "dropout of channels": lambda z: functional.dropout2d(z, 0.5, True),
    "torch.dropout": lambda z: torch.dropout(z, 0.5, True),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", REFUSED)
def test_what_hides_a_nonlinearity_is_refused_by_name(kind: str, method: str) -> None:
    step, name, words = REFUSED[kind]
    with h.fails(ModelError, f"{method}: every operation must be one", f" calls {name}", words):
        explain(Around(step), images(), 1, method)


@pytest.mark.parametrize("method", ["lrp_epsilon", "rap"])
@pytest.mark.parametrize("kind", REFUSED_BY_LRP)
def test_what_has_no_rule_is_refused_by_name(kind: str, method: str) -> None:
    step, name, words = REFUSED_BY_LRP[kind]
    with h.fails(ModelError, f"{method}: every operation must be one", f" calls {name}", words):
        explain(Around(seeded(lambda: step)), images(), 1, method)


@pytest.mark.parametrize("kind", ACTIVE)
def test_a_dropout_left_active_is_refused(kind: str) -> None:
    with h.fails(ModelError, "active in evaluation mode", "Try nn.Dropout, or dropout(x, training=self.training)"):
        explain(Around(ACTIVE[kind]), images(), 1, "lrp_zplus")


def test_the_layer_is_named() -> None:
    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.ModuleDict({"last": nn.Sequential(nn.ReLU(), nn.LayerNorm(6))})

        def forward(self, x: Tensor) -> Tensor:
            return dense(self.body["last"](x))

    with h.fails(ModelError, "layer 'body.last.1' calls 'layer_norm'", "Try batch norm, or 'integrated_gradients'"):
        explain(Outer().double(), images(), 1, "lrp_epsilon")


def test_every_reason_belongs_to_a_kind() -> None:
    assert set(ADVICE) - {"unknown"} <= set(KINDS.values())
    assert kind_of("no such function", (), {}) == "unknown"


LET_THROUGH: dict[str, Step] = {
    "zeros_like": lambda z: z + torch.zeros_like(z) + z.new_zeros(1) + torch.full_like(z, 0.0),
    "shapes": lambda z: z.reshape(z.shape[0], -1, z.size(3)) if z.dim() == 4 and z.ndim == 4 else z,
    "kinds": lambda z: z if z.is_floating_point() and z.dtype == D and not z.is_sparse and len(z) else -z,
    "a look at the numbers": lambda z: z if z[0, 0, 0, 0].item() < 1e9 and z.argmax().item() >= 0 else -z,
    "numpy": lambda z: z + 0 * float(z.detach().numpy().mean()),
    "without gradients": lambda z: z + 0 * constant(z),
    "a hook": ignored(lambda z: z.register_hook(lambda g: None)),
    "kept gradient": ignored(lambda z: z.retain_grad()),
    "arange": lambda z: z.index_select(3, torch.arange(z.shape[3])),
    "detached": lambda z: z + 0 * z.detach().abs().pow(z.detach()),
    "meshgrid": lambda z: z + 0 * torch.meshgrid(torch.arange(4.0), torch.arange(6.0), indexing="ij")[0].to(z),
}


@torch.no_grad()
def constant(z: Tensor) -> Tensor:
    return (z.softmax(1) > 0.5).to(z)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", LET_THROUGH)
def test_what_carries_nothing_of_the_input_is_let_through(kind: str, method: str) -> None:
    x = images()
    expected = explain(Around(nn.Identity()), x, 1, method).values
    assert torch.equal(explain(Around(LET_THROUGH[kind]), x, 1, method).values, expected)


# The input


@pytest.mark.parametrize("method", METHODS)
def test_the_input_may_be_used_more_than_once(method: str) -> None:
    net = Around(nn.Identity())
    x = images()
    a = explain(lambda x: net(x) + net(x), x, 1, method).values
    b = explain(net, x, 1, method).values
    scale = 2.0 if method == "guided_backprop" else 1.0  # shares of the score
    torch.testing.assert_close(a, scale * b, rtol=0, atol=1e-12 * float(b.abs().max()))  # (z + z) / 2, rounding


@pytest.mark.parametrize("method", LRP)
def test_a_normalisation_by_constants_hands_relevance_on(method: str) -> None:
    net, x = Around(nn.Identity()), images()
    mean, std = CHANNEL, CHANNEL.abs() + 0.3
    expected = explain(net, (x - mean) / std, 1, method).values
    ways = [lambda x: (x - mean) / std, lambda x: x.sub(mean).div_(std), lambda x: x.sub_(mean).mul_(1 / std)]
    for way in ways:
        found = explain(lambda x, way=way: net(way(x)), x, 1, method).values
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12 * float(expected.abs().max()))  # 1 / std
    assert torch.equal(x, images())


# What is out of sight


class Double(torch.autograd.Function):
    @staticmethod
    def forward(_: Any, z: Tensor) -> Tensor:
        return 2 * z

    @staticmethod
    def backward(_: Any, g: Tensor) -> Tensor:
        return 2 * g


class DoubleInPlace(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        ctx.mark_dirty(z)
        return z.mul_(2)

    @staticmethod
    def backward(_: Any, g: Tensor) -> Tensor:
        return 2 * g


def quiet_script(thing: Any) -> Any:
    return torch.jit.script(thing)


def residual(z: Tensor) -> Tensor:
    return z + z.flip(3)


OUT_OF_SIGHT: dict[str, Callable[[], Step]] = {
    "scripted layers": lambda: quiet_script(seeded(lambda: nn.Sequential(nn.Conv2d(2, 2, 1), nn.ReLU()))),
    "scripted sum": lambda: quiet_script(residual),
    "traced layers": lambda: torch.jit.trace(seeded(lambda: nn.Sequential(nn.Conv2d(2, 2, 1), nn.ReLU())), images()),
    "own function": lambda: Double.apply,
    "own function in place": lambda: lambda z: DoubleInPlace.apply(z.clone()),
    "checkpoint, reentrant": lambda: lambda z: checkpoint(nn.ReLU(), z, use_reentrant=True),
}


@pytest.mark.filterwarnings("ignore:`torch.jit")
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", OUT_OF_SIGHT)
def test_what_is_out_of_sight_is_refused(kind: str, method: str) -> None:
    net = Around(OUT_OF_SIGHT[kind]())
    with h.fails(ModelError, f"{method}: every operation must be seen", "was computed out of sight"):
        explain(net, images(), 1, method)


@pytest.mark.filterwarnings("ignore:`torch.jit")
@pytest.mark.parametrize("kind", ["scripted sum", "own function"])
def test_logits_that_come_from_out_of_sight_are_refused(kind: str) -> None:
    net, last = Around(nn.Identity()), quiet_script(doubled) if kind == "scripted sum" else Double.apply
    for method in METHODS:
        with h.fails(ModelError, f"{method}: every operation must be seen", "was computed out of sight"):
            explain(lambda x: last(net(x)), images(), 1, method)


def doubled(z: Tensor) -> Tensor:
    return z + z


@pytest.mark.parametrize("method", METHODS)
def test_activations_that_are_computed_again_on_the_way_back_are_refused(method: str) -> None:
    # No rule would be there the second time; and as many tensors of the same shapes would go unnoticed.
    net = Around(lambda z: checkpoint(nn.ReLU(), z, use_reentrant=False))
    with h.fails(ModelError, f"{method}: every operation must run once", "checkpointing"):
        explain(net, images(), 1, method)
    explain(net, images(), 1, "saliency")  # hooks on saved tensors are allowed again


@pytest.mark.parametrize("method", METHODS)
def test_lower_precision_within_the_model_is_refused(method: str) -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = h.conv_net(dtype=torch.float32)

        def forward(self, x: Tensor) -> Tensor:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                return self.net(x).float()

    with h.fails(ModelError, f"{method}: every operation must keep the precision", "autocast"):
        explain(Mixed(), h.batch(dtype=torch.float32), 1, method)


def test_an_input_that_is_overwritten_later_is_refused() -> None:
    # Autograd notices as well, but only where it needs the input: not where the weights are frozen.
    def twice(z: Tensor) -> Tensor:
        y = functional.conv2d(z, FOUR)
        z.mul_(2)
        return torch.cat([y.flatten(1), z.flatten(1)], 1)

    with h.fails(ModelError, "what 'conv2d' reads in the model's own forward must stay as it is", "x = x + y"):
        explain(Around(twice), images(), 1, "lrp_zplus")


# Parameters


@pytest.mark.parametrize("method", METHODS)
def test_parameters_are_cut_off_and_untouched(method: str) -> None:
    net = h.conv_net(2, "hidden")
    net[0].bias.requires_grad_(False)
    net(h.batch()).sum().backward()
    before = h.Snapshot(net)
    explain(net, h.batch(), 1, method)
    assert before.changes() == []


@pytest.mark.parametrize("method", METHODS)
def test_a_function_may_close_over_parameters(method: str) -> None:
    W, V = weights(5, 48), weights(3, 5)
    made = W * 1.0  # no leaf, and no function of the input
    x = images()
    expected = explain(lambda x: functional.linear(functional.linear(x.flatten(1), W).relu(), V), x, 1, method).values
    for weight in (made, made.detach(), nn.Parameter(W.detach())):
        found = explain(
            lambda x, w=weight: functional.linear(functional.linear(x.flatten(1), w).relu(), V), x, 1, method
        )
        assert torch.equal(found.values, expected)
    transposed = W.detach().t().contiguous().requires_grad_()
    found = explain(lambda x: functional.linear(functional.linear(x.flatten(1), transposed.T).relu(), V), x, 1, method)
    torch.testing.assert_close(found.values, expected, rtol=1e-10, atol=1e-12)  # another memory order, rounding
    assert W.grad is None
    assert W.requires_grad


PARAMETRIZED: dict[str, Callable[[nn.Module], nn.Module]] = {
    "weight norm": nn.utils.parametrizations.weight_norm,
    "spectral norm": nn.utils.parametrizations.spectral_norm,
    "orthogonal": nn.utils.parametrizations.orthogonal,
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", PARAMETRIZED)
def test_weights_that_are_computed_from_parameters_are_weights(kind: str, method: str) -> None:
    def make() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(48, 5), nn.ReLU(), nn.Linear(5, 3))

    net = seeded(make)
    net[1] = PARAMETRIZED[kind](net[1]).eval()
    baked = seeded(make)
    baked[1].weight.data.copy_(net[1].weight)
    x = images()
    expected = explain(baked, x, 1, method).values
    # The same numbers in another memory order: rounding, which the epsilon rule multiplies.
    torch.testing.assert_close(explain(net, x, 1, method).values, expected, rtol=1e-9, atol=1e-13)


# Nothing is left behind


class Raises(nn.Module):
    def __init__(self, error: type[BaseException]) -> None:
        super().__init__()
        self.error = error

    def forward(self, x: Tensor) -> Tensor:
        raise self.error


@pytest.mark.parametrize("error", [h.BoomError, KeyboardInterrupt, RuntimeError])
def test_nothing_is_left_behind_when_the_model_raises(error: type[BaseException]) -> None:
    net = h.conv_net().eval()
    net[3].register_full_backward_hook(lambda *_: None)
    net[3].register_full_backward_pre_hook(lambda *_: None)
    net.insert(5, Raises(error))
    before, leaf = h.Snapshot(net), h.batch().requires_grad_()
    with pytest.raises(error), ruled(net, leaf, {OTHERS: PLAIN}, "test"):
        net(leaf.clone())
    assert before.changes() == []
    assert _get_current_function_mode_stack() == []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: t):
        pass  # these are allowed again


@pytest.mark.parametrize("error", [h.BoomError, KeyboardInterrupt])
def test_nothing_is_left_behind_when_a_rule_raises(error: type[BaseException]) -> None:
    def on_the_way_back(operation: Operation) -> Tensor:
        def back(_: Tensor) -> list[Tensor]:
            raise error

        return operation.replaced(back)

    net, leaf = h.conv_net().eval(), h.batch()
    before = h.Snapshot(net)
    with pytest.raises(error):
        propagated(net, leaf, {"relu": on_the_way_back, OTHERS: PLAIN}, "test", torch.ones_like)
    assert before.changes() == []
    assert _get_current_function_mode_stack() == []


def test_operations_are_gone_when_the_map_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    # A tensor that is overwritten in place can end up in a rule of its own graph, which nobody would ever free.
    made: list[weakref.ref[Operation]] = []
    usual = Operation.__init__

    def noted(self: Operation, *args: Any, **kwargs: Any) -> None:
        usual(self, *args, **kwargs)
        made.append(weakref.ref(self))

    monkeypatch.setattr(operations.Operation, "__init__", noted)
    nets = [Around(add_up), Around(part(lambda v: v.relu_())), Around(written), seeded(ZOO["residual"])]
    for net in nets:
        for method in ("rectgrad", "lrp_alpha_beta", "rap"):
            explain(net, h.batch(1), 1, method)
    gc.collect()
    assert made
    assert [operation().name for operation in made if operation() is not None] == []


def test_backward_hooks_of_the_model_are_asleep_meanwhile_and_wake_up() -> None:
    net, x, called = h.conv_net(2, "hidden"), h.batch(), []
    expected = explain(net, x, 1, "lrp_epsilon").values
    net[3].register_full_backward_hook(lambda *_: called.append(True))
    assert torch.equal(explain(net, x, 1, "lrp_epsilon").values, expected)  # the batch norm still finds its layer
    assert called == []
    net.eval()(x).sum().backward()
    assert called == [True]


# What a rule is given


def test_a_rule_sees_the_call_as_it_was() -> None:
    seen: dict[str, Operation] = {}

    def note(operation: Operation) -> Any:
        seen[operation.name] = operation
        if operation.name == "relu_":
            assert torch.equal(operation.inputs[0], z_before)
            assert torch.equal(operation.value, z_before.relu())
            (g,) = operation.pullback(torch.ones_like(z_before))
            assert torch.equal(g, (z_before > 0).to(D))
        return operation.plain()

    conv = seeded(lambda: nn.Conv2d(2, 3, 3, stride=2))
    x = images()
    z_before = conv(x).detach()

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = conv

        def forward(self, x: Tensor) -> Tensor:
            return dense(self.conv(x).relu_())

    net, leaf = Net(), x.clone().requires_grad_()
    with ruled(net, leaf, {OTHERS: note}, "test"):
        logits = run(net, leaf, "test")
    conv2d, relu, linear = seen["conv2d"], seen["relu_"], seen["linear"]
    assert (conv2d.kind, conv2d.layer, conv2d.first, conv2d.inplace) == ("linear", "conv", True, False)
    assert (relu.kind, relu.first, relu.inplace) == ("relu", False, True)
    assert torch.equal(conv2d.weight, conv.weight)
    assert conv2d.bias is not None
    assert torch.equal(conv2d.linear(x, conv2d.weight, conv2d.bias), z_before)
    assert relu.sources == (conv2d,)
    assert linear.sources == (seen["flatten"],)
    assert linear.bias is None
    assert made_by(logits) is linear


IN_PLACE: list[Step] = [
    lambda z: z.add_(1),
    lambda z: z.__setitem__(0, 1.0),
    lambda z: torch.zeros_like(z).copy_(z),
    lambda z: torch.zeros_like(z).add_(z),
    functional.relu_,
    nn.ReLU(True),
    nn.ReLU6(True),
    nn.Hardtanh(-1, 1, True),
    nn.Threshold(0, 0, True),
    nn.LeakyReLU(0.1, True),
    nn.ELU(1.0, True),
    nn.CELU(1.0, True),
    nn.SELU(True),
    nn.SiLU(True),
    nn.Mish(True),
    nn.Hardswish(True),
    nn.Hardsigmoid(True),
    nn.RReLU(0.1, 0.3, True),
    lambda z: functional.leaky_relu(z, inplace=True),
]


NOT_IN_PLACE: list[Step] = [functional.elu, lambda z: z * 1, lambda z: z.clamp(0, 1), nn.Threshold(0, 0), torch.relu]


@pytest.mark.parametrize("overwrites", [True, False])
def test_it_is_known_what_is_overwritten(overwrites: bool) -> None:
    seen: list[Operation] = []

    def note(operation: Operation) -> Any:
        seen.append(operation)
        return operation.plain()

    for step in IN_PLACE if overwrites else NOT_IN_PLACE:
        leaf = images().requires_grad_()
        with ruled(step, leaf, {OTHERS: note}, "test"):
            step(leaf.clone())
        assert seen[-1].inplace is overwrites, seen[-1].name


def test_the_input_is_known_however_it_is_moved_until_it_is_changed() -> None:
    first: list[bool] = []

    def note(operation: Operation) -> Any:
        first.append(operation.first)
        return operation.plain()

    def look(change: Step) -> bool:
        first.clear()
        leaf = images().requires_grad_()
        with ruled(dense, leaf, {"linear": note, OTHERS: PLAIN}, "test"):
            dense(change(leaf.clone()))
        return first[0]

    assert all(
        map(look, [lambda x: x, lambda x: x.flip(1)[:, :, 1:], lambda x: torch.cat([x, x.transpose(2, 3).mT], 1)])
    )
    changes = [lambda x: x + 1, lambda x: x.mul_(2), part(lambda v: v.add_(1)), lambda x: torch.cat([x, x.relu()], 1)]
    changes.append(lambda x: (x.flatten(2), x[:, :1].add_(1))[0])  # a view made before
    assert not any(map(look, changes))


def test_a_score_that_does_not_depend_on_the_input_is_refused() -> None:
    W = weights(3, 48)
    with h.fails(ModelError, "its output is cut off from the input"):
        explain(lambda x: functional.linear(x.flatten(1).detach(), W), images(), 1, "lrp_epsilon")


def test_lazy_layers_must_have_seen_an_input() -> None:
    net = nn.Sequential(nn.Flatten(), nn.LazyLinear(3)).to(D)
    with h.fails(ModelError, "lazy layers that have seen no input"):
        explain(net, images(), 1, "lrp_epsilon")
    net(images())
    explain(net, images(), 1, "lrp_epsilon")
