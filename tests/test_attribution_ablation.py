"""Ablation-CAM: the paper's formula, pytorch-grad-cam, the theorem; and running a model from a layer on."""

from __future__ import annotations

from typing import Any

import helpers_attribution as h
import helpers_oracles as o
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_grad_cam import AblationCAM
from pytorch_grad_cam import ablation_cam as oracle_module
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from reference import slow_cam
from torch import Tensor, nn
from torch.nn import functional

from xaiteach import explain
from xaiteach.attribution import ablation
from xaiteach.attribution.tails import Tail
from xaiteach.errors import ModelError, OptionError

RANKS = [1, 2, 3]
HEADS = ["flatten", "gap", "hidden"]


def activation(net: nn.Sequential, x: Tensor) -> Tensor:
    return h.features(net.eval())(x).detach()


def slow_map(net: nn.Sequential, x: Tensor, c: list[int], output: str, normalise: str) -> Tensor:
    """Signed maps (n, *coarse), with the head run for one channel of one sample at a time."""
    maps = []
    for A, i, logits in zip(activation(net, x), c, net(x).detach(), strict=True):
        losses = slow_cam.ablation_losses(h.head_of(net), A, i, output)
        y = float(logits.softmax(0)[i] if output == "probability" else logits[i])
        divisors = {"none": [1.0] * len(A), "score": [abs(y)] * len(A)}
        divisors["norm"] = [float(channel.abs().sum()) or 1.0 for channel in A]
        weights = [loss / by for loss, by in zip(losses, divisors[normalise], strict=True)]
        maps.append(slow_cam.weighted(weights, A))
    return torch.stack(maps)


@pytest.mark.parametrize("normalise", ablation.NORMALISE)
@pytest.mark.parametrize("output", ["logit", "probability"])
@pytest.mark.parametrize("rank", RANKS)
def test_ablation_cam_is_the_papers_formula(rank: int, output: str, normalise: str) -> None:
    net, x = h.conv_net(rank, "hidden").eval(), h.batch(2, rank)
    with torch.no_grad():
        expected = slow_map(net, x, [2, 1], output, normalise)
    signed = explain(net, x, [2, 1], "ablation_cam", output=output, normalise=normalise, relu=False).values
    # Differences of scores near 1 carry 1e-16 each, over scores down to 0.1.
    torch.testing.assert_close(signed[:, 0], expected, atol=1e-14, rtol=1e-11)
    assert torch.equal(
        explain(net, x, [2, 1], "ablation_cam", output=output, normalise=normalise).values, signed.relu()
    )


def test_ablation_cam_of_two_channels_by_hand() -> None:
    net = nn.Sequential(nn.Conv1d(1, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(4, 1))
    for p, value in zip(
        net.parameters(), [[[[1.0]], [[-1.0]]], [0.0, 0.0], [[1.0, 5.0, 5.0, 2.0]], [2.0]], strict=True
    ):
        p.data.copy_(torch.tensor(value))
    x = torch.tensor([[[4.0, -1.0]]])
    # A = ((4, 0), (0, 1)), y = 4 + 2 + 2 = 8. Without the first channel 4, without the second 6.
    assert explain(net, x, 0, "ablation_cam", normalise="none").values.tolist() == [[[16.0, 2.0]]]
    assert explain(net, x, 0, "ablation_cam").values.tolist() == [[[2.0, 0.25]]]
    assert explain(net, x, 0, "ablation_cam", normalise="norm").values.tolist() == [[[4.0, 2.0]]]


@pytest.fixture
def quiet_oracle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oracle_module.tqdm, "tqdm", lambda steps: steps)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.usefixtures("quiet_oracle")
def test_ablation_cam_equals_pytorch_grad_cams_where_both_ablate_to_zero(head: str) -> None:
    # It ablates to 0 where the smallest activation is exactly 0, as after a ReLU; else to that less 1e7. It divides by
    # the score itself: positive ones here.
    net, x = h.conv_net(2, head).eval(), h.batch(3)
    with torch.no_grad():
        net[-1].bias += 1 - net(x).min()
    c = h.targets(3)
    A = activation(net, x)
    assert A.min() == 0
    goals = [ClassifierOutputTarget(int(i)) for i in c]
    weights = AblationCAM(net, [net[5]]).get_cam_weights(x, net[5], goals, A.numpy(), None)
    expected = torch.einsum("nk,nkij->nij", torch.as_tensor(weights).double(), A)
    found = explain(net, x, c, "ablation_cam", relu=False).values[:, 0]
    # It rounds every score to float32: 6e-8 of scores of 1 to 3, over scores of 1 and more; losses are some hundredths.
    o.agreed("ablation_cam", "grad-cam AblationCAM", found, expected, 1e-5)


@pytest.mark.usefixtures("quiet_oracle")
def test_the_oracle_is_another_method_where_activations_are_negative() -> None:
    net, x = h.conv_net(2, "hidden").eval(), h.batch(1)
    A = net[:4](x).detach()
    weights = AblationCAM(net, [net[3]]).get_cam_weights(x, net[3], [ClassifierOutputTarget(1)], A.numpy(), None)
    ours = explain(net, x, 1, "ablation_cam", layer="3", relu=False).values
    expected = torch.einsum("k,kij->ij", torch.as_tensor(weights)[0].double(), A[0])
    assert float((ours - expected).abs().max()) > 0.1 * float(ours.abs().max())


@pytest.mark.parametrize("rank", RANKS)
def test_slope_of_a_gap_head_is_grad_cams_weight(rank: int) -> None:
    # y - y_k = V_ck mean(A^k) = V_ck |A^k|_1 / Z for A >= 0.
    net, x, c = h.conv_net(rank, "gap"), h.batch(3, rank), h.targets(3)
    for relu in (True, False):
        slope = explain(net, x, c, "ablation_cam", normalise="norm", relu=relu).values
        torch.testing.assert_close(slope, explain(net, x, c, "grad_cam", relu=relu).values, atol=1e-15, rtol=1e-10)


def test_losses_of_a_linear_head_add_up_to_the_logit_less_its_bias() -> None:
    net, x, c = h.conv_net(2, "flatten").eval(), h.batch(1), 2
    A = activation(net, x)
    losses = torch.tensor(slow_cam.ablation_losses(h.head_of(net), A[0], c), dtype=torch.float64)
    total = net(x)[0, c] - net[-1].bias[c]
    torch.testing.assert_close(losses.sum(), total.detach(), atol=1e-14, rtol=1e-12)  # five differences in float64
    expected = torch.einsum("k,kij->ij", losses, A[0])
    found = explain(net, x, c, "ablation_cam", normalise="none", relu=False).values[0, 0]
    torch.testing.assert_close(found, expected, atol=1e-15, rtol=1e-12)  # float64 rounding


def test_a_negative_logit_does_not_turn_the_map_upside_down() -> None:
    net, x = h.conv_net(2, "gap").eval(), h.batch(2)
    plain = explain(net, x, 1, "ablation_cam", normalise="none", relu=False).values
    for shift in (-10.0, 10.0):
        with torch.no_grad():
            net[-1].bias[1] += shift - net[-1].bias[1]
        y = net(x)[:, 1].detach()
        assert (y * shift > 0).all()
        found = explain(net, x, 1, "ablation_cam", relu=False).values
        torch.testing.assert_close(found, plain / y.abs().reshape(2, 1, 1, 1), atol=1e-14, rtol=1e-10)  # cancelled bias


def test_a_score_of_zero_cannot_be_divided_by() -> None:
    net, x = h.conv_net(2, "gap").eval(), h.batch(3)
    with torch.no_grad():
        net[-1].weight[1] = 0.0
        net[-1].bias[1] = 0.0
    with h.fails(OptionError, "normalise='score'", "sample 0 is 0", "Try normalise='norm'"):
        explain(net, x, 1, "ablation_cam")
    assert not explain(net, x, 1, "ablation_cam", normalise="norm").values.any()


def test_a_channel_that_is_dead_has_a_slope_of_zero() -> None:
    net, x = h.conv_net(2, "gap").eval(), h.batch(2)
    with torch.no_grad():
        net[4].weight[0] = 0.0
        net[4].bias[0] = -1.0
    assert (activation(net, x)[:, 0] == 0).all()
    slope = explain(net, x, 1, "ablation_cam", normalise="norm", relu=False).values
    torch.testing.assert_close(slope, explain(net, x, 1, "grad_cam", relu=False).values, atol=1e-15, rtol=1e-10)


def test_loss_of_probability_in_float32_is_right_at_a_margin_of_twenty() -> None:
    exact_net, x = h.conv_net(2, "gap").eval(), h.batch(2)
    with torch.no_grad():
        exact_net[-1].bias.copy_(torch.tensor([20.0, 0.0, 0.3, -0.2]))
        exact = slow_map(exact_net, x, [0, 0], "probability", "none")
    net = h.conv_net(2, "gap", dtype=torch.float32)
    net.load_state_dict(exact_net.state_dict())
    options: dict[str, Any] = {"output": "probability", "normalise": "none", "relu": False}
    found = explain(net, x.float(), 0, "ablation_cam", **options).values[:, 0].double()
    # Probabilities of 1 - 1e-9: subtracted in float32 they are the same. A logit near 20 is known to 1e-6 there, an
    # odds of e^-20 therefore to a few 1e-6 of itself, and the differences are a tenth of it.
    assert float((found - exact).abs().max() / exact.abs().max()) < 1e-3
    assert 0 < exact.abs().max() < 1e-8


def test_normalise_is_one_of_three() -> None:
    with h.fails(
        OptionError, "unknown normalise of ablation_cam 'scores'", "did you mean 'score'", "none, norm, score"
    ):
        explain(h.conv_net(), h.batch(), 1, "ablation_cam", normalise="scores")


def test_it_needs_no_gradient_of_what_follows_the_layer() -> None:
    class Steps(torch.autograd.Function):
        @staticmethod
        def forward(_: Any, x: Tensor) -> Tensor:
            return x.round(decimals=3)

        @staticmethod
        def backward(_: Any, __: Tensor) -> Tensor:
            raise h.BoomError

    model = h.Wrapped(Steps.apply, h.conv_net(2, "gap"))
    assert explain(model, h.batch(), 1, "ablation_cam", normalise="none", relu=False).values.abs().max() > 0


@given(
    seed=st.integers(0, 10**6),
    rank=st.sampled_from(RANKS),
    head=st.sampled_from(HEADS),
    output=st.sampled_from(["logit", "probability"]),
)
@settings(deadline=None, max_examples=20)
def test_any_budget_gives_what_a_loop_over_channels_gives(seed: int, rank: int, head: str, output: str) -> None:
    net, x, c = h.conv_net(rank, head, seed).eval(), h.batch(3, rank, seed), [1, 0, 2]
    with torch.no_grad():
        expected = slow_map(net, x, c, output, "none")
    for budget in (None, 1e-6, 0.02):
        found = explain(
            net, x, c, "ablation_cam", output=output, normalise="none", relu=False, budget_mib=budget
        ).values[:, 0]
        torch.testing.assert_close(found, expected, atol=1e-14, rtol=1e-10)  # float64 rounding of differences


# Models that can be run from a layer on, and models that cannot


class Rows(nn.Module):
    """Flattens by the number of rows of its input, as many write it: one row cannot stand for several."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu, self.fc = nn.Conv2d(h.CHANNELS, 4, 3), nn.ReLU(), nn.Linear(4 * 24, h.CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.relu(self.conv(x)).view(x.size(0), -1))


class Joined(nn.Module):
    """Concatenates features of the input past the layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu, self.fc = nn.Conv2d(h.CHANNELS, 4, 3), nn.ReLU(), nn.Linear(4 + h.CHANNELS, h.CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.cat([self.relu(self.conv(x)).mean((2, 3)), x.mean((2, 3))], 1))


class Mixing(nn.Module):
    """Takes only as many rows as came in, and repeats them: the right shape, the wrong rows."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu, self.fc = nn.Conv2d(h.CHANNELS, 4, 3), nn.ReLU(), nn.Linear(4, h.CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        A = self.relu(self.conv(x))
        return self.fc(A[: len(x)].mean((2, 3))).repeat(len(A) // len(x), 1)


class Fewer(Mixing):
    """Takes only as many rows as came in, for a score that does not depend on them."""

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(0 * self.relu(self.conv(x))[: len(x)].mean((2, 3)))


class Sum(nn.Module):
    """Adds something of the input past the layer, reuses its ReLU, works in place, and calls functions."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(h.CHANNELS, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.relu, self.norm, self.fc = nn.ReLU(inplace=True), nn.BatchNorm2d(4), nn.Linear(4, h.CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x -= 0.1
        early = self.conv1(x)
        early += 0.1
        skip = early / 2  # before the ReLU overwrites it
        A = self.relu(self.norm(self.conv2(self.relu(early))))
        A += skip
        return self.fc(functional.avg_pool2d(self.relu(A), 2).mean((2, 3))) + x.mean((1, 2, 3))[:, None]


def seen_by(conv: nn.Module) -> list[int]:
    """Rows of every real run of a convolution, whatever hooks say."""
    rows: list[int] = []
    forward = conv._conv_forward
    conv._conv_forward = lambda x, *rest: (rows.append(len(x)), forward(x, *rest))[1]
    return rows


def brute_force(net: nn.Module, x: Tensor, layer: nn.Module, c: int, call: int = 1) -> Tensor:
    """Signed maps with normalise="none": the whole model for every channel, with a hook that ablates it."""
    kept: list[Tensor] = []
    count = [0]

    def run(k: int | None) -> Tensor:
        count[0] = 0

        def hook(_: Any, __: Any, out: Tensor) -> Tensor | None:
            count[0] += 1
            if count[0] != call:
                return None
            out = out.clone()
            if k is None:
                kept.append(out.clone())
            else:
                out[:, k] = 0
            return out

        handle = layer.register_forward_hook(hook)
        found = net(x.clone())[:, c]
        handle.remove()
        return found

    with torch.no_grad():
        y = run(None)
        return sum((y - run(k)).reshape(-1, 1, 1) * kept[0][:, k] for k in range(kept[0].shape[1]))


@pytest.mark.parametrize(
    ("kind", "layer", "direct"),
    [
        (h.conv_net, "5", True),
        (h.Functional, "relu1", True),
        (h.Branches, "left", False),  # the other branch has one row, which cannot be concatenated to several
        (Sum, "norm", True),
        (Sum, "relu#2", True),
        (Sum, "conv1", True),
        (Rows, "relu", False),
        (Joined, "relu", False),
        (Mixing, "relu", False),
    ],
)
def test_the_shortcut_is_taken_only_where_it_holds_and_the_map_is_the_same(kind: Any, layer: str, direct: bool) -> None:
    torch.manual_seed(3)
    net, x = kind().double().eval(), h.batch(2)
    with torch.enable_grad():
        tail = Tail(net, x[:1], layer, "test")
        assert tail.holds(8) == direct
    name, _, number = layer.partition("#")
    expected = brute_force(net, x, net.get_submodule(name), 1, int(number or 1))
    found = explain(net, x, 1, "ablation_cam", layer=layer, normalise="none", relu=False).values[:, 0]
    # Differences of scores, in float64; relative to the largest.
    torch.testing.assert_close(found, expected, atol=1e-13 * float(expected.abs().max()), rtol=1e-10)
    assert found.abs().max() > 1e-4


def test_a_row_that_stands_for_several_is_no_shortcut_though_the_scores_are_the_same() -> None:
    net, x = Fewer().double().eval(), h.batch(1)
    assert not Tail(net, x, "relu", "test").holds(8)
    assert not explain(net, x, 1, "ablation_cam", layer="relu", normalise="none").values.any()


def test_what_comes_before_the_layer_is_computed_once_for_each_sample() -> None:
    net, x = h.conv_net(2, "gap").eval(), h.batch(3)
    rows = seen_by(net[0]), seen_by(net[3])
    explain(net, x, 1, "ablation_cam", budget_mib=0.02)
    # One sample to look at; one to find out whether the shortcut holds, with the two rows that show it; then the rest.
    assert rows[0] == rows[1] == [1, 1, 2, 1, 1]


def test_without_the_shortcut_everything_runs_for_every_channel() -> None:
    torch.manual_seed(3)
    net, x = Rows().double().eval(), h.batch(2)
    rows = seen_by(net.conv)
    explain(net, x, 1, "ablation_cam")
    assert rows == [1, 1, 2, 4, 1, 4]


def test_modules_keep_a_forward_of_their_own() -> None:
    net, x = h.conv_net(2, "gap").eval(), h.batch(2)
    expected = explain(net, x, 0, "ablation_cam").values
    assert expected.max() > 0
    plain = net[0].forward
    net[0].forward = lambda x: 1.0 * plain(x)
    own = net[0].forward
    assert torch.equal(explain(net, x, 0, "ablation_cam").values, expected)
    assert net[0].forward is own
    assert all("forward" not in vars(module) for module in net.modules() if module is not net[0])


def test_modules_get_their_forward_back_after_an_error() -> None:
    net = h.conv_net(2, "gap")
    net[-1].register_forward_hook(lambda *_: (_ for _ in ()).throw(h.BoomError()))
    with pytest.raises(h.BoomError):
        Tail(net, h.batch(1), "5", "test")
    assert all("forward" not in vars(module) for module in net.modules())


def test_a_module_that_returns_no_tensor_is_run_again() -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.conv, self.fc = nn.GRU(12, 12, batch_first=True), nn.Conv1d(2, 3, 3), nn.Linear(3, h.CLASSES)
            self.relu = nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.relu(self.conv(self.rnn(x)[0])).mean(2))

    torch.manual_seed(0)
    net, x = Recurrent().double().eval(), h.batch(2, 1)
    tail = Tail(net, x[:1], "relu", "test")
    assert tail.holds(8)
    torch.testing.assert_close(tail(tail.A.clone()), net(x[:1]).detach(), atol=1e-15, rtol=1e-12)  # rounding


def test_a_tail_gives_the_models_own_logits_and_says_what_is_wrong() -> None:
    net, x = h.conv_net(2, "hidden").eval(), h.batch(1)
    tail = Tail(net, x, "5", "test")
    torch.testing.assert_close(tail(tail.A.clone()), tail.logits, atol=1e-15, rtol=1e-12)  # float64 rounding
    torch.testing.assert_close(tail.logits, net(x).detach(), atol=0.0, rtol=0.0)
    other = h.Functional().double().eval()
    other.spare = nn.ReLU()
    with h.fails(ModelError, "test: layer 'spare' must be called in the forward pass"):
        Tail(other, x, "spare", "test")


def test_copies_of_the_activation_are_bounded_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ablation, "_COPIES_BYTES", 2 * 5 * 12 * 8)  # two activations of five channels in float64
    net, x = h.conv_net(2, "gap").eval(), h.batch(1)
    rows: list[int] = []
    net[-1].register_forward_hook(lambda _, inputs, __: rows.append(len(inputs[0])))
    explain(net, x, 1, "ablation_cam")
    assert rows == [1, 1, 2, 2, 2, 2, 1]  # a look, the sample, the two tries of the shortcut, five channels two by two
