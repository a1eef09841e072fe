"""`xaiteach bench sanity`: both sides compute the same thing, and the row says what came of it."""

from __future__ import annotations

import sys
from typing import Any

import helpers_attribution as h
import pytest
import torch
from torch import nn

from xaiteach.cli import bench_sanity as bench
from xaiteach.errors import OptionError


def small(rank: int) -> Any:
    def made(on: torch.device) -> bench.Setting:
        net = h.conv_net(rank, dtype=torch.float32).eval()
        x = h.batch(3, rank, dtype=torch.float32)
        if rank == 1:  # Quantus takes as many positions as it likes, but SSIM has windows of 7
            x = torch.randn(3, 2, 12, generator=torch.Generator().manual_seed(0))
        return bench._setting(net, x, torch.tensor([0, 1, 2]), 2, on)

    return made


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "SETTINGS", {"mnist1d": small(1), "vgg": small(1)})


@pytest.mark.usefixtures("settings")
def test_the_loop_finds_the_same_ssim() -> None:
    (row,) = bench.rows(1, ["mnist1d, loop"])
    assert row.note == row.trouble == ""
    assert row.agreement is not None
    assert row.agreement < 1e-3  # float32: a ReLU's gate may flip
    assert row.ratio == row.peer_s / row.ours_s
    assert "12 states, 3 images, 6 methods, SSIM" in row.case
    assert set(row.as_json()) == {
        *("case", "ours_s", "peer", "peer_s", "ratio", "agreement", "device", "peak_mib"),
    }


@pytest.mark.usefixtures("settings")
def test_quantus_runs_beside_and_draws_its_own_weights() -> None:
    (row,) = bench.rows(1, ["vgg, quantus"])
    assert row.note == row.trouble == ""
    assert row.draws
    assert row.ratio > 0


@pytest.mark.usefixtures("settings")
def test_a_peer_that_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "quantus", None)
    (row,) = bench.rows(1, ["mnist1d, quantus"])
    assert row.trouble == "not installed: pip install quantus"
    assert row.ours_s > 0
    assert row.ratio is None


def test_an_unknown_case_is_refused() -> None:
    with h.fails(OptionError, "case", "mnist1d, loop"):
        list(bench.rows(1, ["resnet"]))


def test_the_projection_says_that_it_was_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench.models, "build", lambda *_: nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 2)))
    text = bench.projection(torch.device("cpu"), rows=2)
    assert text.startswith("Projected, not run")
    assert "650 states" in text
