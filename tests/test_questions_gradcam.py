"""Facts of unit 02: what its cases show, and its truths by a second route."""

from __future__ import annotations

import numpy as np
import pytest

from xaiteach.questions import find, of_unit
from xaiteach.questions.judging import judge
from xaiteach.questions.running import answer_namespace, cases_of, keys_of, probe_namespace

UNIT = "02_gradcam"


def keys(question, seed=0, fresh=False):
    asked = find(question)
    return asked, keys_of(asked, cases_of(asked, seed, fresh=fresh))


def told(question, source, seed=0):
    asked, made = keys(question, seed, fresh=True)
    payloads = probe_namespace(asked, answer_namespace(asked, source), [key.case for key in made])
    return judge(asked, made, payloads)


def margin(case):
    A, V, b, c = (case.inputs[name] for name in ("A", "V", "b", "c"))
    s = V @ A.reshape(-1) + b
    return s[c] - np.delete(s, c).max()


@pytest.mark.parametrize("seed", range(5))
def test_margins_are_moderate_but_for_the_one_case_at_twenty(seed):
    for key in keys("gradcam.probability_gradient", seed, fresh=True)[1]:
        if key.case.trap:
            assert margin(key.case) == pytest.approx(20)
        else:
            assert 0 < margin(key.case) <= 5


def test_at_a_margin_of_twenty_the_short_form_loses_every_digit_in_float32():
    _, made = keys("gradcam.probability_gradient")
    (sure,) = [key for key in made if key.case.trap]
    A, V, b = (sure.case.inputs[name].astype(np.float32) for name in ("A", "V", "b"))
    c = sure.case.inputs["c"]
    s = V @ A.reshape(-1) + b
    y = np.exp(s - s.max())
    y /= y.sum()
    short = y[c] * (V[c] - y @ V)
    stable = y[c] * (y[:, None] * (V[c] - V)).sum(0)
    truth = sure.truth["gradient"].reshape(-1)
    scale = np.abs(truth).max()
    assert np.abs(short - truth).max() > 0.9 * scale  # noise, or nothing at all
    assert np.abs(stable - truth).max() < 1e-4 * scale  # float32 to a few units in the last place


def test_the_probabilitys_gradient_agrees_with_differences_in_long_double():
    for key in keys("gradcam.probability_gradient")[1]:
        A, V, b = (key.case.inputs[name].astype(np.longdouble) for name in ("A", "V", "b"))
        c, flat, step = key.case.inputs["c"], A.reshape(-1), np.longdouble(1e-4)

        def lost(z, V=V, b=b, c=c):  # 1 - y_c, which keeps its digits where y_c is nearly 1
            s = V @ z + b
            e = np.exp(s - s[c])
            return (e.sum() - 1) / e.sum()

        moves = step * np.eye(len(flat), dtype=np.longdouble)
        slope = np.array([-(lost(flat + m) - lost(flat - m)) / (2 * step) for m in moves], dtype=np.float64)
        truth = key.truth["gradient"].reshape(-1)
        assert np.allclose(slope, truth, rtol=1e-5, atol=1e-6 * np.abs(truth).max())


def test_the_short_form_in_another_order_is_recognised_too():
    source = (
        "import torch\n"
        "def probability_gradient(A, V, b, c):\n"
        "    y = torch.softmax((V * A.reshape(1, -1)).sum(1) + b, 0)\n"
        "    return (y[c] * V[c] - y[c] * (y[:, None] * V).sum(0)).reshape(A.shape)\n"
    )
    verdict = told("gradcam.probability_gradient", source)
    assert (verdict.mistake, verdict.credit) == ("cancellation", 0.7)
    assert "margin 20" in verdict.case


def test_all_ten_sums_of_weights_are_negative():
    _, (key,) = keys("gradcam.alpha_sums")
    assert key.truth["sums"].shape == (10,)
    assert (key.truth["sums"] < -1e-4).all()


def test_a_toy_heat_map_by_hand():
    from xaiteach.questions import Case

    maps = np.array([[[1.0, 0.0], [0.0, 2.0]], [[0.0, 3.0], [1.0, 1.0]]])
    gradient = np.array([[[4.0, 0.0], [0.0, 0.0]], [[-1.0, -1.0], [0.0, 0.0]]])  # alpha = 1 and -1/2
    asked = find("gradcam.heatmap")
    truth = asked.expected(Case("toy", {"A": maps, "gradient": gradient}))["map"]
    assert truth.tolist() == [[1.0, 0.0], [0.0, 1.5]]
    product = find("gradcam.gradient_x_activation").expected(Case("toy", {"A": maps, "gradient": gradient}))["map"]
    assert product.tolist() == [[4.0, -3.0], [0.0, 0.0]]


def test_energies_are_what_the_lesson_says():
    _, (key,) = keys("gradcam.energy")
    table = key.truth["energies"]
    assert table.shape == (14, 3)
    assert table[0].round(2).tolist()[:2] == [0.86, 0.69]  # cat | coffee
    worse = [i for i, row in enumerate(table) if row[0] <= row[1]]
    assert worse == [12]  # retina | astronaut
    assert table.mean(0).round(2).tolist() == [0.88, 0.5, 0.49]


def test_three_channels_are_judged_by_themselves_and_not_by_what_the_kernel_says_of_them():
    asked, made = keys("gradcam.three_channels")
    lie = {"channels": np.array([0, 1, 2]), "peak": made[0].truth["peak"], "different": np.asarray(3)}
    assert not made[0].is_true(asked, {**lie, "channels": np.array([40, 23, 1])})
    assert not made[0].is_true(asked, {**lie, "channels": np.array([22, 22, 33])})
    assert not made[0].is_true(asked, {**lie, "channels": np.array([22, 33])})
    assert not made[0].is_true(asked, {**lie, "channels": np.array([22, 33, 48])})
    assert made[0].is_true(asked, {**lie, "channels": np.array([1, 22, 33])})


@pytest.mark.parametrize("answer", ["[22, 33, 99]", "7", "'abc'", "[]"])
def test_channels_that_are_none_are_not_right_and_do_not_break_the_check(answer):
    verdict = told("gradcam.three_channels", f"three_channels = {answer}\n")
    assert verdict.outcome in ("wrong_form", "wrong_value")


def test_the_core_of_the_unit_takes_no_longer_than_a_sitting():
    core = [question for question in of_unit(UNIT) if not question.stretch]
    assert sum(question.minutes for question in core) <= 75
    assert sum(question.kind == "prediction" for question in core) == 2
