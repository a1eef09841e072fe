"""Occlusion, RISE, meaningful perturbation: against slow forms of the papers, Captum and scipy; by hand; refusals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from typing import Any

import captum.attr
import helpers_attribution as h
import helpers_oracles as o
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import slow_masking as slow
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional

from xaiteach import explain
from xaiteach.attribution import meaningful
from xaiteach.attribution.masking import usual_window
from xaiteach.attribution.meaningful import Adam, Prices
from xaiteach.attribution.rise import draw_masks
from xaiteach.attribution.smoothing import blurred, cells_of, enlarging, shifted, total_variation
from xaiteach.errors import ModelError, OptionError, ShapeError

ROUNDING = {"atol": 1e-12, "rtol": 1e-11}
"""float64: the same sums of some dozens of values near 1 in another order."""
RANKS = [1, 2, 3]


def seeded(seed: int = 5) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def table_net(d: int = 5) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(d, 8), nn.ReLU(), nn.Linear(8, 3)).double()


def total(x: Tensor) -> Tensor:
    """One class, whose score is the sum of the sample."""
    return x.flatten(1).sum(1, keepdim=True)


def number(net: Any, c: int, output: str) -> slow.Score:
    """Score of one sample as a Python number."""
    score = slow.of_one(net, c, output)
    return lambda sample: float(score(sample).detach())


def line(*numbers: float) -> Tensor:
    """One signal of one channel."""
    return torch.tensor(numbers, dtype=torch.float64)[None, None]


# Occlusion

WINDOWS: list[tuple[int, Sequence[int] | int, Sequence[int] | int]] = [
    (1, 4, 4),  # fits 12
    (1, 5, 3),  # the last one, from 9, has 3 of 5 positions
    (1, 1, 1),
    (1, 12, 7),  # one window
    (2, 3, 2),  # of 8 x 6, neither axis fits
    (2, (2, 6), (1, 5)),
    (3, (2, 3, 3), (2, 2, 1)),
]


@pytest.mark.parametrize("output", ["logit", "probability"])
@pytest.mark.parametrize(("rank", "window", "stride"), WINDOWS)
def test_occlusion_is_captums_also_where_the_last_window_does_not_fit(
    rank: int, window: Any, stride: Any, output: str
) -> None:
    net, x, c, base = h.conv_net(rank, "hidden").eval(), h.batch(3, rank), h.targets(), h.batch(3, rank, seed=4)
    scores = net if output == "logit" else nn.Sequential(net, nn.Softmax(1))
    each = lambda v: (v,) * rank if isinstance(v, int) else tuple(v)  # noqa: E731
    oracle = captum.attr.Occlusion(scores).attribute(
        x, (h.CHANNELS, *each(window)), (h.CHANNELS, *each(stride)), base, c, perturbations_per_eval=3
    )
    ours = explain(net, x, c, "occlusion", window=window, stride=stride, baseline=base, output=output).values
    assert ours.shape == (3, 1, *h.SPATIAL[rank])
    # Captum's mean is a division in float32, whatever the dtype: 6e-8 of the value. The slow form below has none.
    o.agreed("occlusion", "Captum Occlusion", ours, oracle[:, :1].detach(), 1e-7)
    assert torch.equal(oracle[:, 0], oracle[:, 1])  # a window hides all channels


@pytest.mark.parametrize(("rank", "window", "stride"), WINDOWS)
def test_occlusion_is_the_mean_loss_over_the_windows_that_hide_a_position(rank: int, window: Any, stride: Any) -> None:
    net, x, base = h.conv_net(rank).eval(), h.batch(2, rank), h.batch(1, rank, seed=4)
    each = [(v,) * rank if isinstance(v, int) else v for v in (window, stride)]
    expected = [slow.occlusion(number(net, c, "logit"), x[i], base[0], *each) for i, c in enumerate([2, 1])]
    found = explain(net, x, [2, 1], "occlusion", window=window, stride=stride, baseline=base).values
    torch.testing.assert_close(found[:, 0], torch.stack(expected), **ROUNDING)


@pytest.mark.parametrize(("window", "stride"), [(1, 1), (2, 1), (3, 2)])
def test_occlusion_of_a_table_hides_columns(window: int, stride: int) -> None:
    net, x, base = table_net(), noise(2, 5), noise(1, 5, seed=3)
    expected = [slow.occlusion(number(net, 1, "logit"), one, base[0], [window], [stride]) for one in x]
    found = explain(net, x, 1, "occlusion", window=window, stride=stride, baseline=base).values
    torch.testing.assert_close(found, torch.stack(expected), **ROUNDING)


def test_by_hand_windows_that_overlap_and_one_that_is_cut_off() -> None:
    # Windows of 3 from 0, 2 and 4 take 1 + 2 + 3, 3 + 4 + 5 and 5 + 6 away; the last has 2 positions only.
    a = explain(total, line(1, 2, 3, 4, 5, 6), 0, "occlusion", window=3, stride=2)
    assert a.values.flatten().tolist() == [6, 6, (6 + 12) / 2, 12, (12 + 11) / 2, 11]


@given(seed=st.integers(0, 10**6), n=st.integers(1, 3))
@settings(deadline=None, max_examples=20)
def test_windows_of_one_position_give_a_linear_models_terms(seed: int, n: int) -> None:
    w, x, base = (noise(*shape, seed=seed + i) for i, shape in enumerate([(4, 3), (n, 4), (n, 4)]))
    c = torch.randint(3, (n,), generator=seeded(seed))
    found = explain(lambda z: z @ w, x, c, "occlusion", baseline=base).values
    torch.testing.assert_close(found, (x - base) * w.T[c], **ROUNDING)


def test_evidence_that_is_there_twice_is_not_missed_by_occlusion() -> None:
    a = explain(lambda x: x.amax(2), line(0, 5, 0, 5, 3, 0), 0, "occlusion", window=1)
    assert a.values.abs().max() == 0
    once = explain(lambda x: x.amax(2), line(0, 5, 0, 4, 3, 0), 0, "occlusion", window=1)
    assert once.values.flatten().tolist() == [0, 1, 0, 0, 0, 0]  # down to 4, which is still there


def test_the_baseline_is_part_of_the_question() -> None:
    x = line(1, 2, 3, 4)
    assert explain(total, x, 0, "occlusion", window=1, baseline=2.5).values.flatten().tolist() == [-1.5, -0.5, 0.5, 1.5]
    assert explain(total, x, 0, "occlusion", baseline=x).values.abs().max() == 0


@pytest.mark.parametrize(
    ("shape", "window"),
    [((1, 40), (5,)), ((3, 64, 128), (8, 8)), ((3, 224, 224), (28, 28)), ((1, 16, 64, 64), (2, 8, 8)), ((7,), (1,))],
)
def test_usual_windows_are_an_eighth_and_square(shape: tuple[int, ...], window: tuple[int, ...]) -> None:
    assert usual_window(torch.zeros(1, *shape)) == window


def test_occlusion_costs_one_pass_for_each_window_and_one_more() -> None:
    rows: list[int] = []

    def counted(x: Tensor) -> Tensor:
        rows.append(len(x))
        return total(x)

    explain(counted, torch.zeros(2, 1, 64, 64), 0, "occlusion")
    assert sum(rows) - 1 == 2 * (1 + 15 * 15)  # windows of 8 with stride 4; explain looks at one sample first


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"window": 0}, ("`window` must be an integer from 1 up, or 2 of them", "(8, 6)", "(4, 4)")),
        ({"window": True}, ("`window`", "True")),
        ({"window": (2, 2, 2)}, ("2 of them", "(2, 2, 2)")),
        ({"window": 2.0}, ("`window`", "2.0")),
        ({"window": 7}, ("must fit into (8, 6)", "(7, 7)", "(1, 1)")),
        ({"stride": 0}, ("`stride`",)),
        ({"window": 2, "stride": (2, 3)}, ("`stride` must be at most the window, (2, 2)", "(2, 3)")),
        ({"output": "prob"}, ("unknown output",)),
    ],
)
def test_occlusion_refuses_windows_that_make_no_map(options: dict[str, Any], words: tuple[str, ...]) -> None:
    with h.fails(OptionError, *words):
        explain(h.conv_net(), h.batch(), 1, "occlusion", **options)


@pytest.mark.parametrize("method", ["occlusion", "rise", "meaningful_perturbation"])
def test_a_baseline_unlike_the_samples_is_refused(method: str) -> None:
    with h.fails(ShapeError, f"{method}: `baseline` must match `x`", "baseline[None]"):
        h.run(method, h.conv_net(), h.batch(), 1, baseline=torch.zeros(2, 8, 6))


# RISE


def slow_masks(count: int, grid: int, keep: float, field: Sequence[int], generator: torch.Generator) -> list[Tensor]:
    """Masks from the draws that the docstring of rise promises: of each its cells, then its shifts."""
    cells = [min(grid, side) for side in field]
    found = []
    for _ in range(count):
        u = torch.rand(math.prod(cells) + len(field), generator=generator, dtype=torch.float64)
        kept = (u[: math.prod(cells)] < keep).double().reshape(cells)
        C = [math.ceil(side / s) for side, s in zip(field, cells, strict=True)]
        shift = [math.floor(float(v) * (c + 1)) for v, c in zip(u[math.prod(cells) :], C, strict=True)]
        found.append(slow.rise_mask(kept, shift, field))
    return found


@pytest.mark.parametrize("output", ["logit", "probability"])
@pytest.mark.parametrize(("rank", "grid", "keep"), [(1, 7, 0.5), (1, 5, 0.3), (2, 3, 0.5), (2, 7, 0.8), (3, 3, 0.5)])
def test_rise_is_the_papers_estimate(rank: int, grid: int, keep: float, output: str) -> None:
    net, x, base = h.conv_net(rank, "hidden").eval(), h.batch(2, rank), h.batch(2, rank, seed=4)
    masks = slow_masks(6, grid, keep, h.SPATIAL[rank], seeded())
    expected = [slow.rise(number(net, c, output), x[i], base[i], masks, keep) for i, c in enumerate([2, 1])]
    options = {"n_samples": 6, "grid": grid, "keep": keep, "baseline": base, "output": output, "generator": seeded()}
    found = explain(net, x, [2, 1], "rise", **options).values
    torch.testing.assert_close(found[:, 0], torch.stack(expected), **ROUNDING)


@pytest.mark.parametrize(("rank", "mode"), [(1, "linear"), (2, "bilinear"), (3, "trilinear")])
def test_masks_are_cut_out_of_pytorchs_interpolation(rank: int, mode: str) -> None:
    masks = draw_masks(20, h.batch(1, rank), 3, 0.5, seeded(), "test")
    C = [math.ceil(side / 3) for side in h.SPATIAL[rank]]
    large = functional.interpolate(masks.grids[:, None], size=[4 * c for c in C], mode=mode, align_corners=False)[:, 0]
    cut = [
        one[tuple(slice(int(a), int(a) + side) for a, side in zip(shift, h.SPATIAL[rank], strict=True))]
        for one, shift in zip(large, masks.shifts, strict=True)
    ]
    torch.testing.assert_close(masks.made(torch.arange(20)), torch.stack(cut), atol=1e-14, rtol=0.0)  # rounding
    assert masks.shifts.amin(0).tolist() == [0] * rank
    assert masks.shifts.amax(0).tolist() == C  # both ends are drawn


@given(side=st.integers(1, 30), grid=st.integers(1, 9), keep=st.floats(0.05, 0.95), seed=st.integers(0, 10**6))
@settings(deadline=None, max_examples=25)
def test_masks_stay_between_0_and_1_and_the_first_do_not_depend_on_how_many(
    side: int, grid: int, keep: float, seed: int
) -> None:
    x = torch.zeros(1, 1, side)
    few, many = (draw_masks(n, x, grid, keep, seeded(seed), "test").made(torch.arange(4)) for n in (4, 9))
    assert torch.equal(few, many)
    assert few.shape == (4, side)
    assert bool(((few >= 0) & (few <= 1)).all())


def test_rise_is_unbiased_by_trying_every_mask() -> None:
    # 3 cells for 12 positions: 2^3 grids and shifts from 0 to 4, all as likely as each other for keep = 1/2.
    x = line(*range(1, 13))
    product_of_two = lambda x: (x[:, 0, 2] * x[:, 0, 5])[:, None]  # noqa: E731
    score = number(product_of_two, 0, "logit")
    every = [
        slow.rise_mask(torch.tensor(cells, dtype=torch.float64), [tau], [12])
        for cells in product((0, 1), repeat=3)
        for tau in range(5)
    ]
    terms = torch.stack([score(m * x[0]) * m / 0.5 for m in every])
    count = 20_000
    a = explain(product_of_two, x, 0, "rise", n_samples=count, grid=3, output="logit", generator=seeded())
    error = terms.std(0, correction=0) / count**0.5
    assert bool(((a.map[0] - terms.mean(0)).abs() < 5 * error).all())  # 5 standard errors, at 12 positions
    assert float(terms.mean(0).max() - terms.mean(0).min()) > 20 * float(error.max())  # the map is far from flat


def test_by_hand_the_one_feature_that_decides() -> None:
    # S(x M) = M_0, so the map is E[M_0 M_r] / p: 1 at the feature itself, p at those that are kept independently.
    a = explain(lambda x: x[:, :1], torch.ones(1, 3).double(), 0, "rise", n_samples=4000, keep=0.3, output="logit",
                generator=seeded())  # fmt: skip
    error = [(0.3 * 0.7) ** 0.5 / 0.3 / 4000**0.5, (0.09 * 0.91) ** 0.5 / 0.3 / 4000**0.5]
    assert abs(float(a.values[0, 0]) - 1) < 5 * error[0]
    assert float((a.values[0, 1:] - 0.3).abs().max()) < 5 * error[1]


def test_a_score_that_ignores_the_input_gives_the_mean_of_the_masks() -> None:
    flat = lambda x: torch.full((len(x), 1), 3.0, dtype=x.dtype)  # noqa: E731
    a = explain(flat, h.batch(1), 0, "rise", n_samples=50, output="logit", generator=seeded())
    masks = draw_masks(50, h.batch(1), 7, 0.5, seeded(), "test").made(torch.arange(50))
    torch.testing.assert_close(a.values[0, 0], 3 * masks.mean(0) / 0.5, **ROUNDING)


def test_all_samples_see_the_same_masks() -> None:
    net, x = h.conv_net(), h.batch(3)
    whole = explain(net, x, 1, "rise", n_samples=20, generator=seeded()).values
    alone = explain(net, x[2:], 1, "rise", n_samples=20, generator=seeded()).values
    torch.testing.assert_close(whole[2:], alone, **ROUNDING)
    twice = explain(net, x[:1].expand(2, -1, -1, -1), 1, "rise", n_samples=20, generator=seeded()).values
    torch.testing.assert_close(twice[0], twice[1], **ROUNDING)


def test_what_is_not_seen_is_the_baseline() -> None:
    x = h.batch(1)
    same = explain(h.conv_net(), x, 1, "rise", n_samples=5, baseline=x, generator=seeded()).values
    masks = draw_masks(5, x, 7, 0.5, seeded(), "test").made(torch.arange(5)).mean(0) / 0.5
    probability = float(h.conv_net().eval()(x).detach().softmax(1)[0, 1])
    torch.testing.assert_close(same[0, 0], probability * masks, **ROUNDING)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"keep": 0}, ("`keep` must be a number between 0 and 1", "keep=0.5")),
        ({"keep": 1.0}, ("`keep`", "1.0")),
        ({"keep": True}, ("`keep`",)),
        ({"keep": "half"}, ("`keep`", "'half'")),
        ({"keep": math.nan}, ("`keep`", "nan")),
        ({"grid": 0}, ("`grid` must be an integer from 1 up",)),
        ({"grid": (7, 7, 7)}, ("2 of them",)),
        ({"n_samples": 0}, ("`n_samples`",)),
        ({"output": "prob"}, ("unknown output",)),
    ],
)
def test_rise_refuses_what_makes_no_masks(options: dict[str, Any], words: tuple[str, ...]) -> None:
    with h.fails(OptionError, *words):
        explain(h.conv_net(), h.batch(), 1, "rise", **{"n_samples": 2, **options})


# Meaningful perturbation: its pieces


def test_by_hand_total_variation_and_its_gradient() -> None:
    m = torch.tensor([[[0.0, 1.0, 0.5], [0.0, 0.0, 0.5]]], dtype=torch.float64, requires_grad=True)
    # To the right 1, -1/2, 0, 1/2; down 0, -1, 0.
    assert total_variation(m, 1.0).tolist() == [1 + 0.5 + 0 + 0.5 + 0 + 1 + 0]
    assert total_variation(m, 3.0).tolist() == [1 + 0.125 + 0 + 0.125 + 0 + 1 + 0]
    (g,) = torch.autograd.grad(total_variation(m, 3.0).sum(), m)
    # Each step d adds 3 d |d| at its end and takes it away at its start: 3, -3/4, 3/4 and -3 here.
    assert g.tolist() == [[[-3, 3 + 0.75 + 3, -0.75], [0, -0.75 - 3, 0.75]]]


def test_prices_are_means_with_slopes_per_28th_of_the_longest_axis() -> None:
    m = torch.zeros(1, 1, 7, dtype=torch.float64)
    m[..., 3:] = 1  # 3 of 7 cells deleted, one step of 1 from cell to cell: 7/28 per 28th
    found = Prices(l1=0.7, tv=14.0, tv_beta=3.0).of(m)
    assert float(found) == pytest.approx(0.7 * 3 / 7 + 14 * (7 / 28) ** 3 / 7, rel=1e-14)  # rounding


def test_steps_are_those_of_pytorchs_adam() -> None:
    at, target = noise(3, 4), noise(3, 4, seed=2)
    leaf, ours = nn.Parameter(at.clone()), Adam(0.1)
    theirs = torch.optim.Adam([leaf], lr=0.1)
    for _ in range(5):
        leaf.grad = 2 * (leaf.detach() - target)
        theirs.step()
        at = ours.step(at, 2 * (at - target))
    torch.testing.assert_close(at, leaf.detach(), atol=1e-14, rtol=1e-13)  # rounding


@pytest.mark.parametrize("sigma", [0.6, 1.5])
@pytest.mark.parametrize("rank", [1, 2])
def test_the_blur_is_scipys_gaussian_with_the_border_going_on(rank: int, sigma: float) -> None:
    x = h.batch(2, rank)
    expected = ndimage.gaussian_filter(x.numpy(), (0, 0, *[sigma] * rank), mode="nearest", truncate=4.0)
    torch.testing.assert_close(blurred(x, sigma), torch.as_tensor(expected), **ROUNDING)


def test_a_clip_is_blurred_frame_by_frame() -> None:
    x = h.batch(1, 3)
    frames = torch.stack([blurred(x[:, :, t], 1.0) for t in range(x.shape[2])], 2)
    torch.testing.assert_close(blurred(x, 1.0), frames, **ROUNDING)


def test_the_usual_blur_is_ten_pixels_of_224_of_the_shorter_side() -> None:
    x = noise(1, 1, 28, 56)
    torch.testing.assert_close(blurred(x), blurred(x, 1.25), **ROUNDING)


@given(cells=st.integers(1, 12), side=st.integers(1, 40))
@settings(deadline=None, max_examples=25)
def test_enlarging_shares_out_every_position_and_keeps_symmetry(cells: int, side: int) -> None:
    W = enlarging(cells, side)
    torch.testing.assert_close(W.sum(1), torch.ones(side, dtype=torch.float64), **ROUNDING)
    torch.testing.assert_close(W, W.flip(0, 1), atol=1e-9, rtol=1e-9)  # exponents of some hundreds magnify rounding


def test_enlarging_is_the_papers_gaussian_mean() -> None:
    m = torch.rand(3, 2, generator=seeded(), dtype=torch.float64)
    found = enlarging(3, 8) @ m @ enlarging(2, 6).T
    torch.testing.assert_close(found, slow.enlarged(m, (8, 6)), **ROUNDING)


def test_by_hand_a_shift_lets_the_border_values_in() -> None:
    x = line(1, 2, 3, 4).expand(3, 1, 4)
    found = shifted(x, torch.tensor([[0], [1], [-2]]))
    assert found[:, 0].tolist() == [[1, 2, 3, 4], [1, 1, 2, 3], [3, 4, 4, 4]]


# Meaningful perturbation itself

FEW: dict[str, Any] = {"grid": 3, "sigma": 1.0, "iterations": 4}


def in_loops(net: nn.Module, x: Tensor, c: int, fill: Tensor, u: Tensor, **changes: Any) -> Tensor:
    """The slow form for one sample, from draws u on [0, 1): of every step its jitter along each axis."""
    given = {"jitter": 2, "output": "probability", "rate": 0.1, "prices": (0.08, 8.0, 3.0), **changes}
    field = x.shape[1:]
    taus = [[math.floor(v * (2 * given["jitter"] + 1)) - given["jitter"] for v in step] for step in u.tolist()]
    S = slow.of_one(net, c, given["output"])
    return slow.meaningful_perturbation(S, x, fill, cells_of(field, 3), taus, given["prices"], given["rate"])


@pytest.mark.parametrize("output", ["logit", "probability"])
@pytest.mark.parametrize("rank", [1, 2])
def test_meaningful_perturbation_is_the_papers_descent(rank: int, output: str) -> None:
    net, x = h.conv_net(rank, "hidden").eval(), 5 * h.batch(2, rank)
    c = (net(x) - net(blurred(x, 1.0))).argmax(1)  # the class that loses most
    options = {**FEW, "l1": 0.01, "tv": 8.0, "output": output}
    found = explain(net, x, c, "meaningful_perturbation", **options, generator=seeded()).values
    u = torch.rand(2, 4, rank, generator=seeded(), dtype=torch.float64)
    changes = {"prices": (0.01, 8.0, 3.0), "output": output}
    expected = [in_loops(net, x[i], int(c[i]), slow.blur(x[i], 1.0), u[i], **changes) for i in range(2)]
    # Rounding, magnified by Adam's quotients where a gradient is small.
    torch.testing.assert_close(found[:, 0], torch.stack(expected), atol=1e-11, rtol=0.0)
    spans = found.flatten(1).amax(1) - found.flatten(1).amin(1)
    assert float(spans.min()) > 1e-3  # and no map is flat


def test_meaningful_perturbation_with_prices_of_its_own_and_a_constant_fill() -> None:
    net, x = h.conv_net(2, "gap").eval(), h.batch(1)
    options = {"l1": 0.5, "tv": 3.0, "tv_beta": 2.0, "jitter": 1, "learning_rate": 0.2, "baseline": -0.5}
    found = explain(net, x, 2, "meaningful_perturbation", **{**FEW, **options}, generator=seeded()).values
    u = torch.rand(4, 2, generator=seeded(), dtype=torch.float64)
    fill = torch.full_like(x[0], -0.5)
    expected = in_loops(net, x[0], 2, fill, u, prices=(0.5, 3.0, 2.0), rate=0.2, jitter=1)
    torch.testing.assert_close(found[0, 0], expected, atol=1e-11, rtol=0.0)  # as above


def test_a_noise_fill_has_each_channels_mean_and_deviation() -> None:
    x = 3 * noise(2, 2, 50, 40) + torch.tensor([1.0, -7.0], dtype=torch.float64)[:, None, None]
    x[:, 1] *= 0.1
    u = torch.rand(2, 2 * 2000, generator=seeded(), dtype=torch.float64)
    fill = meaningful._fill("noise", x, slice(0, 2), None, u, "test")
    for n, channel in product(range(2), range(2)):
        expected = x[n, channel]
        error = float(expected.std()) / 2000**0.5
        assert abs(float(fill[n, channel].mean() - expected.mean())) < 5 * error
        assert abs(float(fill[n, channel].std() - expected.std())) < 5 * error  # of a normal, error / sqrt(2)


@pytest.mark.parametrize("baseline", ["blur", "noise", None, 0.3])
def test_a_batch_gives_what_a_loop_gives(baseline: Any) -> None:
    net, x, c = h.conv_net(head="hidden"), h.batch(3), h.targets()
    options = {"iterations": 12, "baseline": baseline}
    g = seeded()
    loop = [
        explain(net, x[i : i + 1], c[i : i + 1], "meaningful_perturbation", **options, generator=g) for i in range(3)
    ]
    whole = explain(net, x, c, "meaningful_perturbation", **options, generator=seeded())
    split = explain(net, x, c, "meaningful_perturbation", **options, generator=seeded(), budget_mib=1e-6)
    # contracts.md: the same generator gives the same map for any batch size.
    torch.testing.assert_close(whole.values, torch.cat([a.values for a in loop]), atol=1e-10, rtol=0.0)
    torch.testing.assert_close(whole.values, split.values, atol=1e-10, rtol=0.0)


def patch_net(x: Tensor) -> Tensor:
    """Two classes; the logit of the first is 3 times the mean of a patch of 4 x 4."""
    logit = 3 * x[:, 0, 2:6, 9:13].mean((1, 2))
    return torch.stack([logit, torch.zeros_like(logit)], 1)


def test_the_region_that_decides_is_deleted_and_no_other() -> None:
    x = torch.ones(1, 1, 12, 16, dtype=torch.float64)
    a = explain(patch_net, x, 0, "meaningful_perturbation", baseline=-1.0, generator=seeded())
    deciding = torch.zeros(12, 16, dtype=torch.bool)
    deciding[2:6, 9:13] = True
    near = functional.max_pool2d(deciding[None, None].double(), 9, 1, 4)[0, 0] > 0  # 4 positions around: 2 of jitter
    assert float(a.map[0][deciding].mean()) > 0.9
    assert float(a.map[0][~near].max()) < 0.1
    phi = (1 - a.values) * x - a.values
    assert float(patch_net(phi).softmax(1)[0, 0]) < 0.1 < 0.9 < float(patch_net(x).softmax(1)[0, 0])


@given(seed=st.integers(0, 10**6), rate=st.floats(0.01, 2.0), output=st.sampled_from(["logit", "probability"]))
@settings(deadline=None, max_examples=15)
def test_the_mask_stays_between_0_and_1(seed: int, rate: float, output: str) -> None:
    options = {"iterations": 6, "learning_rate": rate, "output": output}
    a = explain(h.conv_net(seed=seed), h.batch(2, seed=seed), 1, "meaningful_perturbation", **options)
    assert bool(((a.values >= 0) & (a.values <= 1)).all())


def game_of(net: Any, x: Tensor, c: Tensor, fill: Tensor, prices: Prices, grid: int = 4) -> Any:
    cells = cells_of(x.shape[2:], grid)
    matrices = [enlarging(count, side) for count, side in zip(cells, x.shape[2:], strict=True)]
    return meaningful._Deletion(net, x, c, fill, matrices, prices, "probability")


def test_the_loss_falls_for_every_sample() -> None:
    net, x = h.conv_net(head="hidden").eval(), h.batch(4)
    c, prices = net(x).argmax(1), Prices(0.08, 8.0, 3.0)
    game = game_of(net, x, c, blurred(x, 2.0), prices)

    def loss(m: Tensor) -> Tensor:
        M = meaningful.along(game.matrices, m[:, None])
        S = net(torch.lerp(game.fill, x, M)).softmax(1).gather(1, c[:, None])[:, 0]
        return (S + prices.of(m)).detach()

    still = [torch.zeros(4, 2, dtype=torch.long)] * 60
    start = torch.full((4, 4, 3), 0.5, dtype=torch.float64)
    path = [loss(start), *map(loss, game.descent(start, 0.02, still))]
    assert bool((path[-1] < path[0] - 0.01).all())
    # Step after step, but for what Adam overshoots: a rate of 0.02 times a gradient of some tenths.
    assert bool((torch.stack(path).diff(dim=0) < 0.005).all())


def test_the_gradient_of_the_game_is_that_of_its_loss() -> None:
    net, x, c = h.conv_net(head="hidden").eval(), h.batch(2), torch.tensor([1, 3])
    prices = Prices(0.3, 2.0, 3.0)
    game = game_of(net, x, c, blurred(x, 2.0), prices)
    tau = torch.tensor([[1, 0], [-2, 1]])
    m = torch.rand(2, 4, 3, generator=seeded(), dtype=torch.float64, requires_grad=True)
    M = meaningful.along(game.matrices, m[:, None])
    phi = M * shifted(x, tau) + (1 - M) * shifted(game.fill, tau)
    loss = net(phi).softmax(1).gather(1, c[:, None]).sum() + prices.of(m).sum()
    (expected,) = torch.autograd.grad(loss, m)
    torch.testing.assert_close(game.gradient(m, tau), expected, **ROUNDING)


def test_deletion_starts_as_the_smallest_disc_that_takes_99_percent_away() -> None:
    # The score is the mean of the middle 2 x 2 of 16 x 16 cells; each cell is 1 position.
    score = lambda x: 100 * x[:, 0, 7:9, 7:9].mean((1, 2))[:, None]  # noqa: E731
    x = torch.ones(1, 1, 16, 16, dtype=torch.float64)
    cells = [torch.eye(16, dtype=torch.float64)] * 2
    game = meaningful._Deletion(score, x, torch.tensor([0]), 0 * x, cells, Prices(0, 0, 1), "logit")
    (m,) = game.start(meaningful.Work(3, progress=False))
    away = lambda i, j: math.hypot(2 * i + 1 - 16, 2 * j + 1 - 16) / 16  # noqa: E731 - of a half side
    # The middle cells are 0.088 away; the second of 20 discs has 0.13 for a radius and is the first to hold them.
    radius, edge = 2 / 20 * away(0, 0), 2 * 3 / 16
    expected = [[min(max((away(i, j) - radius) / edge, 0), 1) for j in range(16)] for i in range(16)]
    torch.testing.assert_close(m, torch.tensor(expected, dtype=torch.float64), atol=1e-14, rtol=0.0)  # rounding
    assert bool((m[7:9, 7:9] == 0).all())


def test_the_disc_leaves_no_ring_in_the_map() -> None:
    # The score cares about a patch near one corner, so the disc that holds it reaches well past the middle.
    patch = lambda x: torch.stack([3 * x[:, 0, 4:7, 4:7].mean((1, 2)), 0 * x[:, 0, 0, 0]], 1)  # noqa: E731
    x = torch.ones(1, 1, 28, 28, dtype=torch.float64)
    options = {"baseline": -1.0, "iterations": 100, "generator": seeded()}
    a = explain(patch, x, 0, "meaningful_perturbation", **options)
    assert float(a.map[0, 4:7, 4:7].mean()) > 0.9
    assert float(a.map[0, 16:, :].max()) < 0.01  # a disc with a sharp edge leaves 0.1 there
    assert float(a.map[0, :, 16:].max()) < 0.01


def test_where_the_fill_raises_the_score_deletion_starts_from_nothing() -> None:
    x = torch.zeros(1, 1, 8, 8, dtype=torch.float64)
    game = game_of(lambda x: torch.cat([total(x), 0 * total(x)], 1), x, torch.tensor([0]), x + 1, Prices(0, 0, 1))
    assert bool((game.start(meaningful.Work(50, progress=False)) == 1).all())


def test_a_high_price_deletes_nothing() -> None:
    net, x = h.conv_net(), h.batch()
    a = explain(net, x, net.eval()(x).argmax(1), "meaningful_perturbation", l1=1e4, iterations=30)
    assert a.values.abs().max() == 0


def test_without_a_price_whatever_helps_is_deleted() -> None:
    x = torch.ones(1, 1, 8, dtype=torch.float64)
    score = lambda x: torch.cat([x[:, 0, :4].sum(1, True) - x[:, 0, 4:].sum(1, True), 0 * x[:, 0, :1]], 1)  # noqa: E731
    a = explain(score, x, 0, "meaningful_perturbation", baseline=-1.0, l1=0.0, tv=0.0, jitter=0, iterations=100)
    assert float(a.map[0, :3].min()) > 0.9  # the half that argues for the class
    assert float(a.map[0, 5:].max()) < 0.1  # the half that argues against it; between them cells overlap


def test_a_higher_price_of_slopes_makes_a_flatter_mask() -> None:
    x = torch.ones(1, 1, 12, 16, dtype=torch.float64)
    options = {"baseline": -1.0, "iterations": 150}
    maps = [
        explain(patch_net, x, 0, "meaningful_perturbation", tv=tv, generator=seeded(), **options).map
        for tv in (8.0, 800.0)
    ]
    steepest = [float(torch.cat([m.diff(dim=1).flatten(), m.diff(dim=2).flatten()]).abs().max()) for m in maps]
    assert steepest[1] < 0.5 * steepest[0]


def test_a_score_that_does_not_depend_on_the_input_is_refused() -> None:
    free = nn.Parameter(torch.zeros(2, dtype=torch.float64))
    with h.fails(ModelError, "meaningful_perturbation: the score must depend on `x`"):
        explain(lambda x: free.expand(len(x), 2), h.batch(), 1, "meaningful_perturbation", iterations=2)


@pytest.mark.parametrize("shape", [(2, 5), (2, 1, 2, 2, 2, 2)])
def test_masks_that_cannot_be_smooth_are_refused(shape: tuple[int, ...]) -> None:
    with h.fails(ShapeError, "meaningful_perturbation: `x` must have 1 to 3 spatial axes", "occlusion"):
        explain(lambda x: x.flatten(1), torch.zeros(shape), 0, "meaningful_perturbation")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"baseline": "blurr"}, ("unknown baseline 'blurr'; did you mean 'blur'?", "noise")),
        ({"grid": 0}, ("`grid`",)),
        ({"iterations": 0}, ("`iterations`",)),
        ({"jitter": -1}, ("`jitter`",)),
        ({"jitter": 1.5}, ("`jitter`",)),
        ({"l1": -0.1}, ("`l1` must be a finite number from 0 up", "-0.1")),
        ({"tv": math.inf}, ("`tv`", "inf")),
        ({"tv_beta": 0.5}, ("`tv_beta` must be a finite number from 1 up",)),
        ({"learning_rate": 0}, ("`learning_rate` must be a finite number above 0", "learning_rate=0.1")),
        ({"sigma": 0.0}, ("`sigma` must be a finite number above 0", "sigma=3.0")),
        ({"sigma": True}, ("`sigma`",)),
        ({"output": "prob"}, ("unknown output",)),
    ],
)
def test_meaningful_perturbation_refuses_numbers_out_of_their_range(
    options: dict[str, Any], words: tuple[str, ...]
) -> None:
    with h.fails(OptionError, *words):
        explain(h.conv_net(), h.batch(), 1, "meaningful_perturbation", **{"iterations": 2, **options})
