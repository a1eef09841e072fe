"""`xaiteach doctor`: what it finds, what it advises, and when it says that students can work."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
from typer.testing import CliRunner

from xaiteach import cli
from xaiteach.checks import doctor
from xaiteach.checks.doctor import Finding, State, able, examine
from xaiteach.errors import MissingExtraError
from xaiteach.grading import sandbox


@pytest.fixture
def well(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine where all is in order, without starting a kernel or a browser; its course folder."""
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks/00_start_here.ipynb").write_text("{}", encoding="utf-8")
    monkeypatch.setattr(doctor, "course_root", lambda: tmp_path)
    quick = {"Jupyter": lambda: "starts", "torch": lambda: "computes", "torchvision": lambda: "loads"}
    quick |= {"memory": lambda: "plenty", "chromium": lambda: "runs"}
    for group in ("_FOR_STUDENTS", "_FOR_OTHERS"):
        probes = tuple(
            doctor._Probe(probe.name, quick.get(probe.name, probe.look), probe.advice, probe.needed)
            for probe in getattr(doctor, group)
        )
        monkeypatch.setattr(doctor, group, probes)
    return tmp_path


def found(name: str, bubblewrap: str | None = None) -> Finding:
    return next(finding for finding in examine(lambda: bubblewrap) if finding.name == name)


def broken(name: str, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    real = doctor.require

    def require(module: str) -> ModuleType:
        if module.partition(".")[0] == name:
            raise error
        return real(module)

    monkeypatch.setattr(doctor, "require", require)


@pytest.mark.usefixtures("well")
def test_where_all_is_in_order_nothing_is_advised() -> None:
    findings = examine(lambda: None)
    assert able(findings)
    assert {(finding.state, finding.advice) for finding in findings} == {(State.OK, "")}
    names = "Python, torch, torchvision, Jupyter, widgets, course, memory, cores, bubblewrap, nbval, chromium"
    assert [finding.name for finding in findings] == names.split(", ")


@pytest.mark.usefixtures("well")
def test_a_missing_bubblewrap_is_a_warning_that_says_who_needs_it() -> None:
    finding = found("bubblewrap", "bwrap: no permissions to create a new namespace")
    assert (finding.state, finding.found) == (State.WARN, "bwrap: no permissions to create a new namespace")
    assert "only grading needs it" in finding.advice
    assert "apt-get install bubblewrap" in finding.advice
    assert able(examine(lambda: "absent"))


@pytest.mark.usefixtures("well")
def test_a_grader_that_does_not_load_is_a_warning_too() -> None:
    def trial() -> str | None:
        raise ModuleNotFoundError("No module named 'psutil'")

    finding = next(finding for finding in examine(trial) if finding.name == "bubblewrap")
    assert (finding.state, finding.found) == (State.WARN, "ModuleNotFoundError: No module named 'psutil'")


def test_a_torch_that_does_not_load_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    broken("torch", MissingExtraError("torch is needed here"), monkeypatch)
    finding = doctor._examine(next(probe for probe in doctor._FOR_STUDENTS if probe.name == "torch"))
    assert (finding.state, finding.found) == (State.PROBLEM, "torch is needed here")
    assert "pip install" in finding.advice
    assert not able([finding])


def test_a_torchvision_that_does_not_load_is_a_warning_with_the_line_that_mends_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broken("torchvision", RuntimeError("operator torchvision::nms does not exist\nmore"), monkeypatch)
    finding = doctor._examine(next(probe for probe in doctor._FOR_STUDENTS if probe.name == "torchvision"))
    assert finding.state is State.WARN
    assert finding.found == "RuntimeError: operator torchvision::nms does not exist"
    assert "pip install --upgrade torch torchvision" in finding.advice


def test_a_course_that_is_not_there_is_a_problem(well: Path) -> None:
    (well / "notebooks/00_start_here.ipynb").unlink()
    assert found("course").state is State.PROBLEM


def test_inside_a_course_the_students_folder_is_named(well: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (well / "mine/.xaiteach").mkdir(parents=True)
    monkeypatch.chdir(well / "mine")
    assert found("course").found == f"yours is {well / 'mine'}"


def test_little_memory_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_container_limit", lambda: 0.5)
    finding = doctor._examine(next(probe for probe in doctor._FOR_STUDENTS if probe.name == "memory"))
    assert finding.state is State.WARN
    assert finding.found.startswith("0.5 GiB free")


def test_a_chosen_browser_that_does_not_run_is_a_warning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XAITEACH_CHROMIUM", str(tmp_path / "nothing"))
    finding = doctor._examine(next(probe for probe in doctor._FOR_OTHERS if probe.name == "chromium"))
    assert finding.state is State.WARN
    assert "XAITEACH_CHROMIUM" in finding.advice


def test_no_browser_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XAITEACH_CHROMIUM", raising=False)
    monkeypatch.setattr(doctor.shutil, "which", lambda _name: None)
    assert doctor._examine(next(probe for probe in doctor._FOR_OTHERS if probe.name == "chromium")).state is State.WARN


@pytest.mark.parametrize(
    ("problem", "needed", "code"),
    [(None, True, 0), ("gone", False, 0), ("gone", True, cli.UNABLE)],
)
@pytest.mark.usefixtures("well")
def test_the_exit_code_says_whether_students_can_work(
    problem: str | None, needed: bool, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look() -> str:
        if problem:
            raise MissingExtraError(problem)
        return "there"

    monkeypatch.setattr(sandbox, "bubblewrap_problem", lambda: None)
    probe = doctor._Probe("toy [thing]", look, "pip install toy", needed)
    monkeypatch.setattr(doctor, "_FOR_STUDENTS", (*doctor._FOR_STUDENTS, probe))
    shown = CliRunner().invoke(cli.app, ["doctor"])
    assert shown.exit_code == code
    assert "toy [thing]" in shown.output
    assert ("toy [thing]: pip install toy" in shown.output) == bool(problem)
    assert ("mend the rows marked problem" in shown.output) == (code != 0)


@pytest.mark.slow
def test_the_kernel_row_starts_a_real_kernel() -> None:
    assert "a kernel starts and imports xaiteach" in doctor._kernel()


def test_torch_computes_and_names_its_device() -> None:
    assert " on " in doctor._torch()
