"""The wheel: what travels in it, and that it works where there is no checkout."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import xaiteach
from xaiteach.questions import UNITS

ROOT = Path(xaiteach.__file__).resolve().parent.parent

pytestmark = pytest.mark.slow


FOLDERS = ("xaiteach", "notebooks", "exercises", "solutions")
FILES = ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE", ".gitignore")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what the wheel is made from, without what running it leaves behind."""
    copy = tmp_path_factory.mktemp("project")
    for name in FOLDERS:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    for name in FILES:
        shutil.copy2(ROOT / name, copy / name)
    return copy


@pytest.fixture(scope="module")
def wheel(project: Path) -> Path:
    """The wheel, built without network."""
    built = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", "dist"],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    (path,) = (project / "dist").glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder into which the wheel is installed, away from any checkout."""
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def xaiteach_from(installed: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the installed command line in `cwd`."""
    return subprocess.run(
        [sys.executable, "-m", "xaiteach.cli", *arguments],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=False,
    )


def names_in(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_holds_the_package_its_weights_and_the_course(wheel: Path, project: Path) -> None:
    names = names_in(wheel)
    ours = [path.relative_to(project) for folder in FOLDERS for path in (project / folder).rglob("*") if path.is_file()]
    inside = {(path if path.parts[0] == "xaiteach" else "xaiteach/_course" / path).as_posix() for path in ours}
    assert inside <= names
    assert "xaiteach/py.typed" in names
    assert any(name.startswith("xaiteach/models/weights/") and name.endswith(".safetensors") for name in names)
    for name in ("notebooks/00_start_here.ipynb", "notebooks/02_gradcam.ipynb", "exercises/02_gradcam.ipynb"):
        assert f"xaiteach/_course/{name}" in names


def test_the_wheel_holds_nothing_else(wheel: Path) -> None:
    others = {name for name in names_in(wheel) if not name.startswith("xaiteach/") and ".dist-info/" not in name}
    assert others == set()


def test_the_wheel_is_a_small_download(wheel: Path) -> None:
    assert wheel.stat().st_size < 10 * 2**20


def test_the_wheel_gives_the_command_and_the_kernel_provisioner(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (entries,) = (name for name in archive.namelist() if name.endswith("entry_points.txt"))
        text = archive.read(entries).decode()
    assert "xaiteach = xaiteach.cli:main" in text
    assert "[jupyter_client.kernel_provisioners]" in text


def test_init_works_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    done = xaiteach_from(installed, "init", "mine", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    copied = {path.relative_to(tmp_path / "mine").as_posix() for path in (tmp_path / "mine").rglob("*.ipynb")}
    shipped = installed / "xaiteach/_course"
    notebooks = [path for name in ("notebooks", "exercises") for path in shipped.glob(f"{name}/*.ipynb")]
    expected = {path.relative_to(shipped).as_posix() for path in notebooks}
    assert copied == expected
    assert copied
    record = json.loads((tmp_path / "mine/.xaiteach/course.json").read_text(encoding="utf-8"))
    assert set(record["files"]) == copied


def test_the_installed_package_does_not_look_into_the_checkout(installed: Path, tmp_path: Path) -> None:
    code = "import xaiteach.runtime; raise SystemExit(str(xaiteach.runtime.course_root()))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr.strip() == str(installed / "xaiteach/_course")


def test_verify_works_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    done = xaiteach_from(installed, "verify", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert {row["unit"] for row in rows} == set(UNITS)
    assert all(row["ok"] for row in rows)
    for folder, ending in (("solutions", "ipynb"), ("exercises", "ipynb"), ("notebooks", "ipynb")):
        units = {path.stem for path in (installed / "xaiteach/_course" / folder).glob(f"[0-9]*.{ending}")}
        assert units == set(UNITS), folder


@pytest.fixture(scope="module")
def students(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder into which the students' wheel is installed."""
    out = tmp_path_factory.mktemp("dist")
    done = xaiteach_from(ROOT, "build", "--student", "--out", str(out), cwd=ROOT)
    assert done.returncode == 0, done.stderr
    (path,) = out.glob("*+student-*.whl")
    folder = tmp_path_factory.mktemp("students")
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder)
    return folder


def test_the_students_wheel_holds_no_solution_question_or_grader(students: Path) -> None:
    names = {path.relative_to(students / "xaiteach").as_posix() for path in (students / "xaiteach").rglob("*")}
    assert "_course/solutions" not in names
    assert not {name for name in names if name.startswith(("grading", "authoring"))}
    assert not {name for name in names if name.startswith(("questions/gradcam", "questions/start_here"))}
    assert "questions/released.json" in names
    assert {name for name in names if name.startswith("_course/") and name.endswith(".py")} == set()
    text = "".join(
        path.read_text(encoding="utf-8") for path in students.rglob("*") if path.suffix in (".py", ".json", ".ipynb")
    )
    for solution in ("return V[c].reshape(A.shape)", "heat[mask].sum() / heat.sum()", 'blank_head = "b"'):
        assert solution not in text
        assert json.dumps(solution)[1:-1] not in text


def test_checks_diagnose_from_the_students_wheel(students: Path, tmp_path: Path) -> None:
    code = (
        "from xaiteach.checks import check, solution\n"
        "def logit_gradient(A, V, b, c):\n    return SIGN * V[c].reshape(A.shape)\n"
        "SIGN = 1; print(check('gradcam.logit_gradient'))\n"
        "SIGN = -1; print(check('gradcam.logit_gradient'))\n"
        "blank_head = 'a'; print(check('gradcam.blank_head'))\n"
        "print(solution('gradcam.logit_gradient'))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(students)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "✓ gradcam.logit_gradient: right" in done.stdout
    assert "with the opposite sign" in done.stdout
    assert "expected" not in done.stdout
    assert "the original CAM" in done.stdout
    assert "not part of this release" in done.stdout


@pytest.mark.parametrize("command", [["verify"], ["build", "--check"], ["grade", ".", "--out", "out"]])
def test_instructors_commands_say_that_this_is_a_students_release(
    students: Path, tmp_path: Path, command: list[str]
) -> None:
    done = xaiteach_from(students, *command, cwd=tmp_path)
    assert done.returncode == 3
    assert "students' release" in done.stderr
    assert "Traceback" not in done.stderr


def test_init_and_doctor_work_from_the_students_wheel(students: Path, tmp_path: Path) -> None:
    done = xaiteach_from(students, "init", "mine", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "mine" / "exercises" / "02_gradcam.ipynb").is_file()
    done = xaiteach_from(students, "doctor", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
