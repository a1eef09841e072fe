"""The training loop that other modules call: what it learns, what it draws, what it leaves alone."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from xaiteach import models, runtime
from xaiteach.errors import OptionError, ShapeError
from xaiteach.models.fitting import accuracy, fit, permuted


def points(n=60):
    x = torch.randn(n, 3, generator=runtime.generator(0))
    return x, (x[:, 0] > 0).long()


def net(dropout=0.0, seed=1):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(3, 16), nn.ReLU(), nn.Dropout(dropout), nn.Linear(16, 2)).eval()


@pytest.mark.parametrize(("optimiser", "rate"), [("adamw", 0.02), ("sgd", 0.1)])
def test_it_learns_what_can_be_learnt(optimiser, rate):
    x, y = points()
    model = net()
    losses = fit(model, x, y, epochs=30, rate=rate, batch=16, optimiser=optimiser, generator=runtime.generator(0))
    assert (len(losses), accuracy(model, x, y) > 0.95) == (30, True)
    assert losses[-1] < losses[0] / 2
    assert not model.training


def test_plain_sgd_is_the_textbooks_step():
    # One batch, one step: w - rate (gradient + decay w); biases without decay.
    x, y = points(8)
    model, slow = net(), net()
    loss = fit(model, x, y, epochs=1, batch=8, rate=0.5, weight_decay=0.1, optimiser="sgd", generator=torch.Generator())
    expected = nn.functional.cross_entropy(slow(x), y)
    slopes = torch.autograd.grad(expected, list(slow.parameters()))
    assert loss[0] == pytest.approx(float(expected.detach()), rel=1e-6)  # float32 sums in another order
    for trained, before, slope in zip(model.parameters(), slow.parameters(), slopes, strict=True):
        decay = 0.1 * before if before.ndim > 1 else 0
        torch.testing.assert_close(trained, before - 0.5 * (slope + decay), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_the_generator_alone_decides_and_the_global_state_stays(dropout):
    x, y = points()
    state, made = torch.get_rng_state(), []
    for seed, noise in ((5, 1), (5, 2), (6, 1)):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(noise)
            model = net(dropout)
            fit(model, x, y, epochs=2, batch=16, generator=runtime.generator(seed))
            made.append(model[0].weight.detach())
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])


def test_batches_are_augmented_each_epoch_anew_and_inputs_stay():
    x, y = points(32)
    before, seen = x.clone(), []

    def augment(part, rng):
        seen.append(part.clone())
        return part + torch.randn(part.shape, generator=rng)

    fit(net(), x, y, epochs=2, batch=16, augment=augment, generator=runtime.generator(0))
    assert torch.equal(x, before)
    assert [len(part) for part in seen] == [16] * 4
    rows = [torch.cat(seen[i : i + 2]).sort(dim=0).values for i in (0, 2)]
    assert torch.equal(rows[0], x.sort(dim=0).values)
    assert torch.equal(rows[0], rows[1])


def test_after_each_epoch_the_net_is_shown_in_eval_mode():
    x, y = points()
    model, told = net(0.5), []
    losses = fit(
        model,
        x,
        y,
        epochs=3,
        generator=runtime.generator(0),
        after_epoch=lambda epoch, loss: told.append((epoch, loss, model.training)),
    )
    assert told == [(i + 1, loss, False) for i, loss in enumerate(losses)]


def test_permuted_labels_keep_their_counts_and_lose_their_inputs():
    y = torch.arange(10).repeat(100)
    other = permuted(y, seed=3)
    assert torch.equal(other.bincount(), y.bincount())
    # A tenth agrees by chance; four standard deviations of a share of 1,000.
    assert float((other == y).float().mean()) == pytest.approx(0.1, abs=4 * (0.09 / 1000) ** 0.5)
    assert torch.equal(other, permuted(y, seed=3))
    assert not torch.equal(other, permuted(y, seed=4))


def test_wrong_arguments_are_refused():
    x, y = points()
    run = {"generator": runtime.generator(0), "epochs": 1}
    with pytest.raises(OptionError, match="at least 1; got 0 and 64"):
        fit(net(), x, y, **run | {"epochs": 0})
    with pytest.raises(OptionError, match="unknown optimiser 'adam'; did you mean 'adamw'"):
        fit(net(), x, y, optimiser="adam", **run)
    with pytest.raises(ShapeError, match=r"shape \(60,\); got \(60, 1\)"):
        fit(net(), x, y[:, None], **run)


def test_fit_is_within_reach_of_other_modules():
    assert (models.fit, models.permuted) == (fit, permuted)
