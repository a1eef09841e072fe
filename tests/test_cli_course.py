"""`xaiteach init` and `xaiteach lab`: copying the course, never over a student's work, and serving it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from xaiteach import __version__, cli
from xaiteach.checks import course as course_module
from xaiteach.checks import lab as lab_module
from xaiteach.checks.course import copy_course, course_files
from xaiteach.errors import MissingExtraError, NotebookSourceError, OptionError, SetupError

FILES = ["notebooks/00_start_here.ipynb", "notebooks/02_gradcam.ipynb", "exercises/02_gradcam.ipynb"]
PROJECT = Path(cli.__file__).resolve().parent.parent.parent


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """A small course as the package ships it, sources and solutions included."""
    root = tmp_path / "release"
    others = ["notebooks/00_start_here.py", "solutions/02_gradcam.ipynb", "notebooks/.ipynb_checkpoints/old.ipynb"]
    for name in FILES + others:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f'{{"cells": [], "name": "{name}"}}', encoding="utf-8")
    return root


@pytest.fixture
def served(release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[SimpleNamespace]:
    """Calls of the server that `lab` makes, in an empty working folder, without a server."""
    calls: list[SimpleNamespace] = []
    monkeypatch.setattr(course_module, "course_root", lambda: release)

    def serve(course: Path, **options: Any) -> None:
        calls.append(SimpleNamespace(course=course, **options))

    monkeypatch.setattr(lab_module, "serve", serve)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return calls


def run(*arguments: str) -> Any:
    return CliRunner().invoke(cli.app, list(arguments))


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_lessons_and_exercises_are_copied_and_neither_sources_nor_solutions(release: Path, tmp_path: Path) -> None:
    copy = copy_course(tmp_path / "mine", release)
    assert set(copy.copied) == set(FILES)
    assert files_in(tmp_path / "mine") == {*FILES, ".xaiteach/course.json"}


def test_the_copy_records_the_release_and_what_it_shipped(release: Path, tmp_path: Path) -> None:
    copy_course(tmp_path / "mine", release)
    record = json.loads((tmp_path / "mine/.xaiteach/course.json").read_text(encoding="utf-8"))
    assert record["release"] == __version__
    assert set(record["files"]) == set(FILES)
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in record["files"].values())


def test_copying_again_changes_nothing(release: Path, tmp_path: Path) -> None:
    copy_course(tmp_path / "mine", release)
    before = {path: path.read_bytes() for path in (tmp_path / "mine").rglob("*") if path.is_file()}
    copy = copy_course(tmp_path / "mine", release)
    assert (copy.copied, copy.kept, set(copy.current)) == ((), (), set(FILES))
    assert {path: path.read_bytes() for path in (tmp_path / "mine").rglob("*") if path.is_file()} == before


def test_a_students_answers_survive_a_newer_release(release: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    copy_course(mine, release)
    shipped = json.loads((mine / ".xaiteach/course.json").read_text(encoding="utf-8"))["files"]
    (mine / FILES[2]).write_text("my answers", encoding="utf-8")
    for name in FILES:
        (release / name).write_text("a newer release", encoding="utf-8")
    copy = copy_course(mine, release)
    assert set(copy.kept) == set(FILES)
    assert (mine / FILES[2]).read_text(encoding="utf-8") == "my answers"
    # The record still says which version the student's file began as.
    assert json.loads((mine / ".xaiteach/course.json").read_text(encoding="utf-8"))["files"] == shipped


def test_a_partial_copy_is_completed(release: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    copy_course(mine, release)
    (mine / FILES[1]).unlink()
    (mine / ".xaiteach/course.json").write_text("damaged", encoding="utf-8")
    copy = copy_course(mine, release)
    assert copy.copied == (FILES[1],)
    assert set(json.loads((mine / ".xaiteach/course.json").read_text(encoding="utf-8"))["files"]) == set(FILES)


def test_a_folder_or_dangling_link_in_a_files_place_is_kept(release: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    (mine / FILES[0]).mkdir(parents=True)
    (mine / FILES[1]).symlink_to(tmp_path / "nowhere")
    assert set(copy_course(mine, release).kept) == {FILES[0], FILES[1]}


def test_a_full_disk_leaves_no_half_notebook(release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, _target: Path) -> Path:
        raise OSError(28, "No space left on device", str(self))

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(SetupError, match="No space left"):
        copy_course(tmp_path / "mine", release)
    assert files_in(tmp_path / "mine") == set()


def test_a_folder_that_cannot_be_written_is_said_so(release: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(SetupError, match="can be written was expected"):
        copy_course(tmp_path / "file" / "below", release)


def test_a_file_in_the_folders_place_is_refused(release: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(OptionError, match="is a file"):
        copy_course(tmp_path / "file", release)


def test_the_original_is_not_made_a_students_folder(release: Path) -> None:
    with pytest.raises(OptionError, match="the original"):
        copy_course(release, release)
    assert not (release / ".xaiteach").exists()


def test_a_course_without_built_notebooks_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="xaiteach build"):
        course_files(tmp_path)


@pytest.mark.usefixtures("served")
def test_init_reports_what_it_did() -> None:
    first = run("init", "course")
    assert first.exit_code == 0
    assert "3 copied, 0 kept as yours, 0 already current" in first.output
    Path("course", FILES[2]).write_text("mine", encoding="utf-8")
    again = run("init", "course")
    assert "0 copied, 1 kept as yours, 2 already current" in again.output
    assert f"kept yours: {FILES[2]}" in again.output


def test_lab_copies_the_course_beside_the_student(served: list[SimpleNamespace]) -> None:
    assert run("lab").exit_code == 0
    assert files_in(Path("xaiteach-course")) == {*FILES, ".xaiteach/course.json"}
    assert served[0].course == Path.cwd() / "xaiteach-course"
    assert (served[0].port, served[0].browser, served[0].extra) == (None, True, [])


def test_lab_inside_a_course_opens_that_course(served: list[SimpleNamespace], monkeypatch: pytest.MonkeyPatch) -> None:
    run("init", "course")
    inside = Path("course/exercises").resolve()
    for words in (["lab", "course"], ["lab", "course/notebooks"]):
        assert run(*words).exit_code == 0
    monkeypatch.chdir(inside)
    assert run("lab").exit_code == 0
    assert {call.course.resolve() for call in served} == {inside.parent}
    assert not Path("xaiteach-course").exists()


@pytest.mark.parametrize("words", [["lab", "--", "--debug", "--x=1"], ["lab", "here", "--", "--debug", "--x=1"]])
def test_lab_passes_further_options_on(served: list[SimpleNamespace], words: list[str]) -> None:
    assert run(*words).exit_code == 0
    assert served[0].extra == ["--debug", "--x=1"]


def test_lab_as_root_says_that_root_is_allowed(
    served: list[SimpleNamespace], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert "--allow-root" in run("lab").output
    assert "--allow-root" in lab_module.lab_command(tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "--allow-root" not in run("lab").output
    assert "--allow-root" not in lab_module.lab_command(tmp_path)
    assert len(served) == 2


def test_a_students_options_come_last_so_that_they_win(tmp_path: Path) -> None:
    command = lab_module.lab_command(tmp_path, port=9000, browser=False, extra=["--ServerApp.port=1"])
    assert command[:3] == [sys.executable, "-m", "jupyterlab"]
    assert command[-1] == "--ServerApp.port=1"
    assert "--ServerApp.port=9000" in command
    assert "--no-browser" in command


def test_a_server_that_ends_badly_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lab_module, "lab_command", lambda *_, **__: [sys.executable, "-c", "raise SystemExit(5)"])
    with pytest.raises(SetupError, match="status 5"):
        lab_module.serve(tmp_path)


@pytest.mark.slow
def test_lab_really_serves_the_course_without_network(release: Path, tmp_path: Path) -> None:
    mine, private = tmp_path / "my course", tmp_path / "private"
    private.mkdir()
    copy_course(mine, release)
    wrong = tmp_path / "data/kernels/python3"  # another python3 kernel in the student's home must not win
    wrong.mkdir(parents=True)
    (wrong / "kernel.json").write_text('{"argv": ["false"], "display_name": "wrong", "language": "python"}', "utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code = "import sys, pathlib, xaiteach.checks.lab as lab; "
    code += "lab.serve(pathlib.Path(sys.argv[1]), port=int(sys.argv[2]), browser=False)"
    folders = {f"JUPYTER_{name.upper()}_DIR": str(tmp_path / name) for name in ("config", "data", "runtime")}
    server = subprocess.Popen(
        [sys.executable, "-c", code, str(mine), str(port)],
        cwd=PROJECT,
        env=os.environ | folders | {"TMPDIR": str(private)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    guard = threading.Timer(
        90, os.killpg, (server.pid, signal.SIGKILL)
    )  # so that a server that never answers fails the test
    guard.start()
    try:
        base, token = address_of(server)
        page = fetch(f"{base}/lab/tree/notebooks/00_start_here.ipynb?{token}")
        assert '"news": {"disabled": true}' in page
        assert '"can_install": false' in page
        kernel = json.loads(fetch(f"{base}/api/kernelspecs?{token}"))["kernelspecs"]["python3"]
        assert kernel["spec"]["argv"][0] == sys.executable
        assert fetch(f"{base}/lab/api/update?{token}") == '{"notification": null}'
        quiet = json.loads(fetch(f"{base}/lab/api/settings/@jupyterlab/apputils-extension:notification?{token}"))
        assert quiet["schema"]["properties"]["fetchNews"]["default"] == "false"
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=60) == 0
    finally:
        guard.cancel()
        with contextlib.suppress(ProcessLookupError):  # the usual case: both have ended
            os.killpg(server.pid, signal.SIGKILL)
        server.communicate()
    assert list(private.glob("xaiteach-lab-*")) == []


def address_of(server: subprocess.Popen[str]) -> tuple[str, str]:
    """Read the server's output up to its address: the part before the page, and the token."""
    seen = []
    for line in server.stdout or ():
        seen.append(line)
        if found := re.search(r"(http://127\.0\.0\.1:\d+)/lab/tree/notebooks/00_start_here\.ipynb\?(token=\w+)", line):
            return found[1], found[2]
    raise AssertionError("".join(seen))


def fetch(address: str) -> str:
    for _ in range(100):  # Jupyter prints its address a moment before it listens
        try:
            with urllib.request.urlopen(address, timeout=60) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError:
            raise
        except urllib.error.URLError:
            time.sleep(0.1)
    raise AssertionError(f"nothing answers at {address}")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OptionError("no such [thing]"), cli.WRONG_USE),
        (SetupError("no bubblewrap"), cli.UNABLE),
        (MissingExtraError("no torch"), cli.UNABLE),
        (NotebookSourceError("line 3"), cli.FINDINGS),
        (ModuleNotFoundError("no numpy", name="numpy"), cli.UNABLE),
    ],
)
def test_errors_become_one_message_and_an_exit_code(
    error: Exception, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(cli, "app", fail)
    with pytest.raises(SystemExit) as end:
        cli.main()
    said = capsys.readouterr()
    assert end.value.code == code
    assert said.out == ""
    assert said.err.startswith("xaiteach: ")
    assert str(error) in said.err
    assert "Traceback" not in said.err


def test_a_bug_of_ours_shows_its_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise KeyError("a bug")

    monkeypatch.setattr(cli, "app", fail)
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == cli.UNABLE
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["lab", "--port", "no"], ["init"], ["frobnicate"], ["init", "a", "b"]])
def test_wrong_use_exits_with_2(words: list[str]) -> None:
    assert run(*words).exit_code == cli.WRONG_USE


def test_every_command_has_help_with_an_example() -> None:
    commands = [command.name or getattr(command.callback, "__name__", "") for command in cli.app.registered_commands]
    assert {"lab", "init", "doctor"} <= set(commands)
    for name in commands:
        shown = run(name, "--help")
        assert shown.exit_code == 0
        assert f"Example: xaiteach {name}" in shown.output, name


def test_the_version_is_printed() -> None:
    assert run("--version").output.strip() == __version__
