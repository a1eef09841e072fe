"""`xaiteach bench replica`: what is found again stands beside what is expected, and what does not hold is said."""

from __future__ import annotations

import json
from pathlib import Path

import helpers_attribution as h
import pytest
import torch
from typer.testing import CliRunner

from xaiteach import cli
from xaiteach.cli import bench_replica
from xaiteach.errors import OptionError
from xaiteach.evaluation.replica import EXPECTED, METHODS, Replica


def test_every_theorem_holds() -> None:
    (report,) = bench_replica.reports(1, ["theorems"])
    assert report.faults == []
    assert [row[0] for row in report.rows] == list(bench_replica.THEOREMS)


def test_a_theorem_that_does_not_hold_is_named_and_the_exit_code_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = {"2 = 1": (lambda seed: 0.25 + seed, 1e-3), "1 = 1": (lambda seed: 0.0, 0.0)}
    monkeypatch.setattr(bench_replica, "THEOREMS", wrong)
    done = CliRunner().invoke(cli.app, ["bench", "replica", "--case", "theorems"])
    assert done.exit_code == 1
    assert "theorems: 2 = 1: off by 2.2e+00, where 1e-03 is allowed" in done.output
    assert "1 = 1: off" not in done.output


def test_a_theorem_off_by_nan_does_not_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_replica, "THEOREMS", {"it": (lambda seed: float("nan"), 1.0)})
    assert next(bench_replica.reports(1, ["theorems"])).faults


def test_the_digits_stand_beside_what_is_expected(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def replicate(net: str, *, trainings: int) -> Replica:
        ssim = {m: torch.tensor([EXPECTED[net][m]] * trainings, dtype=torch.float64) for m in METHODS}
        return Replica(net, ssim, {m: torch.zeros(trainings) for m in METHODS}, torch.full((trainings,), 0.98))

    monkeypatch.setattr(bench_replica, "replicate", replicate)
    file = tmp_path / "replica.json"
    done = CliRunner().invoke(cli.app, ["bench", "replica", "--case", "digits", "--repeats", "2", "--json", str(file)])
    assert done.exit_code == 0
    assert done.output.count("test accuracy of 2 trainings: 0.980, 0.980") == 2
    cases = {report["case"]: report for report in json.loads(file.read_text(encoding="utf-8"))}
    assert list(cases) == ["digits, plain", "digits, batch norm"]
    assert cases["digits, batch norm"]["rows"][0][1:3] == [
        {"column": "after fc3 / fc1 / conv4", "cell": "1.00/1.00/0.92"},
        {"column": "expected", "cell": "1.00/1.00/0.92"},
    ]


def test_the_axioms_are_kept_and_broken_as_they_must(monkeypatch: pytest.MonkeyPatch) -> None:
    (report,) = bench_replica.reports(1, ["axioms"])
    assert report.faults == []
    rows = {row[0]: row[1:] for row in report.rows}
    assert set(rows["shapley_exact"]) == {"holds"}
    monkeypatch.setattr(bench_replica, "KEEPERS", ("random_map",))
    monkeypatch.setattr(bench_replica, "BREAKERS", {"shapley_exact": "dummy"})
    (report,) = bench_replica.reports(1, ["axioms"])
    assert "random_map must keep dummy" in report.faults
    assert "shapley_exact must break dummy" in report.faults


def test_unknown_cases_are_refused() -> None:
    with h.fails(OptionError, "unknown case", "digits, plain"):
        list(bench_replica.reports(1, ["mnist"]))
