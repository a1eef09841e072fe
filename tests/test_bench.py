"""`xaiteach bench`: rows, peers that are missing or fail, and wrong use. No time is asserted."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

from xaiteach import cli
from xaiteach.attribution import registry
from xaiteach.cli import bench, bench_measuring, bench_methods
from xaiteach.cli.bench_measuring import Row
from xaiteach.cli.bench_methods import CASES, PEERS, SETTINGS, Case, Setting
from xaiteach.errors import OptionError

FIELDS = ["case", "ours_s", "peer", "peer_s", "ratio", "agreement", "device", "peak_mib"]
CPU = torch.device("cpu")
RUN = CliRunner()


def invoke(*words: str) -> Any:
    return RUN.invoke(cli.app, ["bench", *words])


def tiny(_: torch.device) -> Setting:
    net = nn.Sequential(nn.Flatten(), nn.Linear(8, 3))
    return Setting(net, torch.rand(2, 1, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 2]))


def twice(setting: Setting, _: Any) -> Callable[[], Tensor]:
    """A peer whose values are twice those of saliency."""
    return lambda: 2 * setting.model[1].weight[setting.target].detach()[:, None]


def case(theirs: Any = twice, method: str = "saliency", peer: str = "captum Twice", **fields: Any) -> Case:
    return Case(method, "tiny", peer, theirs, **fields)


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Replace the cases by these."""

    def replace(*cases: Case) -> None:
        monkeypatch.setattr(bench_methods, "SETTINGS", {"tiny": tiny})
        monkeypatch.setattr(bench_methods, "CASES", cases)

    return replace


# Rows


def test_a_row_has_the_contracts_fields_in_its_order(only: Callable[..., None], tmp_path: Path) -> None:
    only(case(), case(peer="captum Again"))
    done = invoke("methods", "--json", str(tmp_path / "bench.json"), "--repeats", "2")
    assert done.exit_code == 0, done.output
    rows = json.loads((tmp_path / "bench.json").read_text(encoding="utf-8"))
    assert [list(row) for row in rows] == [FIELDS, FIELDS]
    row = rows[0]
    assert (row["case"], row["peer"], row["device"]) == ("saliency, tiny", "captum Twice", "cpu")
    assert row["ratio"] == pytest.approx(row["peer_s"] / row["ours_s"], rel=1e-12)
    assert row["agreement"] == pytest.approx(0.5, abs=1e-6)  # of w and 2 w
    assert row["ours_s"] > 0
    assert row["peak_mib"] >= 0
    assert "saliency, tiny" in done.output
    assert "captum Again" in done.output


def test_json_on_stdout_is_json_alone(only: Callable[..., None]) -> None:
    only(case())
    done = invoke("methods", "--json", "-", "--repeats", "1")
    assert [row["peer"] for row in json.loads(done.stdout)] == ["captum Twice"]


def test_values_are_compared_as_the_peer_gives_them(only: Callable[..., None]) -> None:
    only(case(like_theirs=lambda values, _: 2 * values))
    (row,) = bench_methods.rows(1)
    assert row.agreement == pytest.approx(0, abs=1e-6)  # float32 rounding


def test_an_option_that_is_a_function_is_asked_for_the_setting(only: Callable[..., None]) -> None:
    def theirs(setting: Setting, _: Any) -> Callable[[], Tensor]:
        return torch.zeros_like(setting.x).clone

    only(case(theirs, "integrated_gradients", options={"baseline": lambda setting: setting.x, "n_steps": 1}))
    (row,) = bench_methods.rows(1)
    assert (row.agreement, row.note) == (0.0, "")  # a sample that is its own baseline: nothing to explain


def test_both_sides_run_in_turn_and_the_median_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []

    def side(name: str) -> Callable[[], Tensor]:
        def call() -> Tensor:
            order.append(name)
            return torch.ones(1)

        return call

    seconds = iter([1.0, 10.0, 20.0, 3.0, 2.0, 60.0])
    real = bench_measuring._seconds

    def timed(call: Callable[[], Tensor], device: torch.device) -> float:
        real(call, device)
        return next(seconds)

    monkeypatch.setattr(bench_measuring, "_seconds", timed)
    found = bench_measuring.measure(side("ours"), side("theirs"), CPU, 3)
    # Each once to warm up, ours once for its memory; then in turn, the other first every second time.
    assert order == ["ours", "ours", "theirs", "ours", "theirs", "theirs", "ours", "ours", "theirs"]
    assert (found["ours_s"], found["peer_s"], found["ratio"]) == (2.0, 20.0, 10.0)


def test_peak_memory_is_that_of_the_call() -> None:
    def call(mib: int) -> Callable[[], Tensor]:
        def filled() -> Tensor:
            held = torch.ones(mib * 2**18)
            time.sleep(0.02)  # some looks of the thread
            return held[:1].clone()

        return filled

    small, large = (bench_measuring.peak_mib(call(mib), CPU) for mib in (1, 64))
    assert 60 < large < 80  # 64 MiB and what else the process did
    assert small < 16


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [([1.0, -2.0], [1.0, -2.0], 0.0), ([1.0, 2.0], [1.0, 1.0], 0.5), ([0.0], [0.0], 0.0), ([0.0], [3.0], 1.0)],
)
def test_agreement_is_the_largest_difference_over_the_largest_value(
    ours: list[float], theirs: list[float], expected: float
) -> None:
    assert bench_measuring.agreement(torch.tensor(ours), torch.tensor(theirs)) == expected


# What is missing, and what fails


def test_a_peer_that_is_not_installed_is_said_so_in_its_row(
    only: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PEERS, "elsewhere", ("elsewhere.methods", "elsewhere-xai"))
    only(case(peer="elsewhere Twice"), case())
    done = invoke("methods", "--json", "-", "--repeats", "1")
    assert done.exit_code == 0
    missing, present = json.loads(done.stdout)
    assert missing["peer"] == "elsewhere Twice: not installed: pip install elsewhere-xai"
    assert [missing[name] for name in ("peer_s", "ratio", "agreement")] == [None] * 3
    assert missing["ours_s"] > 0
    assert present["ratio"] > 0
    shown = invoke("methods", "--repeats", "1").output.splitlines()
    assert "elsewhere Twice: not installed: pip install elsewhere-xai" in shown  # uncut, so that it can be pasted


@pytest.mark.parametrize("package", ["captum.attr", "pytorch_grad_cam", "lime.lime_image", "zennit"])
def test_every_peers_absence_is_noticed(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr(bench_methods, "SETTINGS", dict.fromkeys(SETTINGS, tiny))
    monkeypatch.setattr(Case, "ours", lambda self, setting: lambda: torch.ones(1))
    library = next(name for name, (module, _) in PEERS.items() if module == package)
    some = next(case for case in CASES if case.peer.split()[0] == library)
    monkeypatch.setattr(bench_methods, "CASES", (some,))
    (row,) = bench_methods.rows(1)
    assert row.trouble == f"not installed: pip install {PEERS[library][1]}"
    assert not row.failed


@pytest.mark.parametrize("at_once", [True, False])
def test_a_peer_that_fails_is_told_and_no_finding(at_once: bool, only: Callable[..., None]) -> None:
    def fails(setting: Setting, _: Any) -> Callable[[], Tensor]:
        def call() -> Tensor:
            raise RuntimeError("no such hook")

        return call() if at_once else call

    only(case(fails))
    done = invoke("methods", "--json", "-", "--repeats", "1")
    assert done.exit_code == 0
    (row,) = json.loads(done.stdout)
    assert row["peer"] == "captum Twice: failed: RuntimeError: no such hook"
    assert (row["peer_s"], row["ratio"]) == (None, None)
    assert row["ours_s"] > 0


def test_a_method_of_ours_that_fails_is_a_finding_and_the_others_are_measured(only: Callable[..., None]) -> None:
    only(case(options={"colour": 3}), case())
    done = invoke("methods", "--json", "-", "--repeats", "1")
    assert done.exit_code == cli.FINDINGS
    broken, whole = json.loads(done.stdout)
    assert broken["ours_s"] is None
    assert whole["ours_s"] > 0
    assert "saliency, tiny: failed: OptionError: unknown option of saliency 'colour'" in done.stderr


def test_a_method_that_is_not_there_yet_is_left_out_without_a_finding(only: Callable[..., None]) -> None:
    only(case(method="telepathy"))
    done = invoke("methods", "--json", "-", "--repeats", "1")
    assert done.exit_code == 0
    assert json.loads(done.stdout)[0]["ours_s"] is None
    assert "telepathy, tiny: this release has no such method" in done.stderr


def test_libraries_keep_their_warnings_and_bars_to_themselves(
    only: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    def loud(setting: Setting, _: Any) -> Callable[[], Tensor]:
        def call() -> Tensor:
            import warnings

            warnings.warn("hooks are set", UserWarning, stacklevel=1)
            sys.stderr.write("100 %|#####|")
            return setting.x

        return call

    only(case(loud))
    (row,) = bench_methods.rows(1)
    assert row.trouble == ""
    assert capsys.readouterr() == ("", "")


# Wrong use


def command(*words: str, cwd: Path | None = None) -> Any:
    """The real entry point, with its handling of errors."""
    return subprocess.run(
        [sys.executable, "-m", "xaiteach.cli", "bench", *words], capture_output=True, text=True, check=False, cwd=cwd
    )


def test_an_unknown_name_lists_the_known_ones() -> None:
    done = command("method")
    assert done.returncode == cli.WRONG_USE
    assert "unknown bench 'method'; did you mean 'methods'? Known: methods, replica, sanity." in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_case_lists_the_known_ones() -> None:
    with pytest.raises(OptionError, match="unknown case 'smothgrad'; did you mean 'smoothgrad, 8 crops'"):
        next(bench_methods.rows(1, ["smothgrad"]))


@pytest.mark.parametrize("words", [[], ["methods", "--repeats", "0"], ["methods", "--json"], ["methods", "twice"]])
def test_wrong_use_exits_with_2(words: list[str]) -> None:
    assert invoke(*words).exit_code == cli.WRONG_USE


def test_a_file_that_cannot_be_written_is_said_before_anything_runs(tmp_path: Path) -> None:
    done = invoke("methods", "--json", str(tmp_path / "nowhere" / "bench.json"))
    assert isinstance(done.exception, OptionError)
    assert "must be a file in a folder that exists" in str(done.exception)


def test_names_lead_to_modules_that_measure(monkeypatch: pytest.MonkeyPatch) -> None:
    class Sanity:
        @staticmethod
        def rows(repeats: int, cases: Sequence[str]) -> Iterator[Row]:
            yield Row(case=f"sanity {repeats} {list(cases)}", ours_s=1.0)

        @staticmethod
        def conditions() -> str:
            return "measured nowhere"

    monkeypatch.setitem(bench.BENCHES, "sanity", "a.module")
    monkeypatch.setattr(bench.importlib, "import_module", lambda name: {"a.module": Sanity}[name])
    done = invoke("sanity", "--repeats", "3", "--case", "deep")
    assert done.exit_code == 0
    assert "sanity 3 ['deep']" in done.output
    assert "measured nowhere" in done.output


# The cases themselves


def test_cases_name_settings_peers_and_methods_that_there_are() -> None:
    for one in CASES:
        assert one.method in registry.REGISTRY, one.name
        assert one.setting in SETTINGS
        assert one.peer.split()[0] in PEERS
    assert len({(one.name, one.peer) for one in CASES}) == len(CASES)


def test_what_is_promised_is_what_the_ratio_is_held_against() -> None:
    wanted = {one.method: one.wanted for one in CASES}
    assert (wanted["ablation_cam"], wanted["lime"], wanted["kernel_shap"]) == (20.0, 3.0, 3.0)
    assert {value for method, value in wanted.items() if method not in ("ablation_cam", "lime", "kernel_shap")} == {1.0}


def test_options_of_the_cases_are_options_of_the_methods() -> None:
    for one in CASES:
        assert set(one.options) <= set(registry.entry(one.method).options), one.name


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(CASES)), ids=[f"{one.name}, {one.peer}" for one in CASES])
def test_both_sides_of_every_case_compute_the_same(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_methods, "CASES", CASES[number : number + 1])
    monkeypatch.setattr(bench_measuring, "_seconds", lambda *_: 1.0)
    monkeypatch.setattr(bench_measuring, "peak_mib", lambda *_: 0.0)
    (row,) = bench_methods.rows(1)
    assert (row.trouble, row.note) == ("", "")
    assert row.agreement is not None
    # float32: rules that divide by differences lose some digits of 1e-7. Of two draws only the size can be told.
    assert row.agreement < (0.9 if row.draws else 1e-3)
