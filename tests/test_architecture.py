"""The layout of the package, enforced: who may import whom, what `import xaiteach` loads, how long code may grow."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import xaiteach

PACKAGE = Path(xaiteach.__file__).resolve().parent
ROOT = PACKAGE.parent
ORDER = [
    *("errors", "guards", "runtime", "plots", "data", "models", "lime", "attribution", "evaluation"),
    *("questions", "checks", "widgets", "authoring", "grading", "cli"),
]
LAZY_NAMES = xaiteach._NAMES  # `from xaiteach import explain` reaches the module that defines it
MODULE_LINES, FUNCTION_LINES = 400, 60
COMMON = ("base", "isolation", "registry", "scores", "smoothing", "work")
"""Of attribution, what any method rests on, the table of their names, and the blur."""
HEAVY = ("torch", "torchvision", "matplotlib", "skimage", "sklearn", "captum", "jupyterlab", "IPython")


def sources() -> list[Path]:
    return [path for path in sorted(PACKAGE.rglob("*.py")) if "_course" not in path.parts]


def dotted(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(tree: ast.AST, module: str, is_package: bool) -> Iterator[tuple[str, int]]:
    """Yield the xaiteach modules that a source names in its imports, at any depth, with their lines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = module.split(".")[: len(module.split(".")) - node.level + (1 if is_package else 0)]
                base = ".".join([*parents, *([node.module] if node.module else [])])
            names = [f"{base}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            names = [str(node.args[0].value)] if called in {"import_module", "require", "__import__"} else []
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == "xaiteach" and len(parts) > 1:
                yield ".".join(["xaiteach", LAZY_NAMES.get(parts[1], parts[1]), *parts[2:]]), node.lineno


def faults_of(module: str, source: str, *, is_package: bool = False) -> list[str]:
    """Name every import by which `module` breaks the order, as "module:line imports other"."""
    parts = module.split(".")
    area = parts[1] if len(parts) > 1 else "xaiteach"
    faults = []
    for imported, line in imports(ast.parse(source), module, is_package):
        other = imported.split(".")[1]
        if other not in ORDER or area == other:
            continue  # a name of the package itself, such as __version__, or the module's own area
        if area not in ORDER:
            wrong = True  # `import xaiteach` imports nothing of it; its names are resolved on use
        else:
            wrong = ORDER.index(other) > ORDER.index(area)
            wrong |= other == "widgets"  # only notebooks and solutions show explorations
            wrong |= other == "cli"
            wrong |= area == "questions" and other == "plots"
            wrong |= area == "models" and other == "data" and parts[2:] != ["training"]
            # Protocols take any callable: they know what an attribution is, and no particular method.
            wrong |= area == "evaluation" and other == "attribution" and imported.split(".")[2] not in COMMON
        if wrong:
            faults.append(f"{module}:{line} imports {imported}")
    return faults


def functions_over(source: str, limit: int) -> list[str]:
    """Name functions longer than `limit` lines, their docstrings not counted."""
    long = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            first = node.body[0]
            has_docstring = ast.get_docstring(node, clean=False) is not None
            docstring = first.end_lineno - first.lineno + 1 if has_docstring and first.end_lineno else 0
            lines = (node.end_lineno or node.lineno) - node.lineno + 1 - docstring
            if lines > limit:
                long.append(f"{node.name} ({lines} lines)")
    return long


def test_modules_import_only_from_their_left() -> None:
    faults = [
        fault
        for path in sources()
        for fault in faults_of(dotted(path), path.read_text(encoding="utf-8"), is_package=path.name == "__init__.py")
    ]
    assert not faults, "\n".join(faults)


def test_every_module_has_a_place_in_the_order() -> None:
    areas = {path.relative_to(PACKAGE).with_suffix("").parts[0] for path in sources()} - {"__init__"}
    assert areas <= set(ORDER)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("xaiteach.data.crops", "import xaiteach.models"),
        ("xaiteach.data.crops", "from xaiteach import models"),
        ("xaiteach.data.crops", "from xaiteach import explain"),
        ("xaiteach.data.crops", "from ..models import nets"),
        ("xaiteach.data.crops", "def f():\n    from xaiteach.models.nets import Net"),
        ("xaiteach.data.crops", "import importlib\nimportlib.import_module('xaiteach.models')"),
        ("xaiteach.models.nets", "from xaiteach import data"),
        ("xaiteach.questions.gradcam", "from xaiteach.plots import heat_map"),
        ("xaiteach.evaluation.sweep", "from xaiteach.attribution.gradients import saliency"),
        ("xaiteach.grading.judge", "from xaiteach import widgets"),
        ("xaiteach.grading.judge", "from xaiteach.cli import app"),
        ("xaiteach.errors", "from xaiteach.runtime import device"),
        ("xaiteach", "from xaiteach.errors import XaiTeachError"),
    ],
)
def test_a_wrong_import_is_caught(module: str, source: str) -> None:
    assert faults_of(module, source)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("xaiteach.models.training", "from xaiteach.data import crops"),
        ("xaiteach.models.training", "from . import nets\nfrom xaiteach import __version__"),
        ("xaiteach.attribution.base", "from xaiteach.lime import explainer"),
        ("xaiteach.evaluation.sweep", "from xaiteach.attribution.base import Attribution"),
        ("xaiteach.questions.gradcam", "from xaiteach.attribution import explain"),
        ("xaiteach.cli", "from xaiteach.grading.schedule import grade\nimport torch"),
    ],
)
def test_a_right_import_passes(module: str, source: str) -> None:
    assert faults_of(module, source) == []


@pytest.mark.parametrize(
    "code",
    [
        "import xaiteach",
        "import xaiteach.errors, xaiteach.cli",
        "from xaiteach.cli import app; app(['--help'], standalone_mode=False)",
    ],
)
def test_importing_xaiteach_and_asking_for_help_load_nothing_heavy(code: str) -> None:
    code += f"\nimport sys; print([name for name in {HEAVY} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "[]"


BROUGHT = {
    "skimage": "scikit-image", "PIL": "scikit-image", "scipy": "scikit-image", "IPython": "ipykernel",
    "traitlets": "ipykernel", "zmq": "ipykernel", "markupsafe": "jinja2", "mistune": "jupyterlab", "pytest": "nbval",
}  # fmt: skip
"""Imported name -> the dependency that it is, or that brings it."""


def test_the_package_imports_only_what_its_install_brings() -> None:
    """Optional packages are reached by `require`, which has a message; only the release builder's own tool is not."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {re.split(r"[^\w-]", line)[0] for line in project["dependencies"]}
    known = {name.replace("-", "_") for name in declared} | {n for n, by in BROUGHT.items() if by in declared}
    found: dict[str, str] = {}
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0]: dotted(path) for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                found[str(node.module).partition(".")[0]] = dotted(path)
    unknown = {n: where for n, where in found.items() if n not in known | sys.stdlib_module_names | {"xaiteach"}}
    assert unknown == {"hatchling": "xaiteach.authoring.release"}


def test_the_library_neither_prints_nor_asserts() -> None:
    found = []
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            printing = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
            if printing or isinstance(node, ast.Assert):
                found.append(f"{dotted(path)}:{node.lineno}")
    assert not found, found


def test_modules_and_functions_stay_short() -> None:
    found = []
    for path in sources():
        source = path.read_text(encoding="utf-8")
        lines = len(source.splitlines())
        found += [f"{dotted(path)} ({lines} lines)"] if lines > MODULE_LINES else []
        found += [f"{dotted(path)}.{name}" for name in functions_over(source, FUNCTION_LINES)]
    assert not found, found


def test_a_long_function_is_caught_and_its_docstring_is_not_counted() -> None:
    body = "\n".join(f"    x = {i}" for i in range(3))
    assert functions_over(f"def f():\n{body}\n", limit=3) == ["f (4 lines)"]
    assert functions_over(f'def f():\n    """One.\n\n    Two.\n    """\n{body}\n', limit=4) == []


def test_the_folders_of_the_course_hold_no_package_code() -> None:
    # A folder with __init__.py would be importable beside the package, also from a grader's kernel.
    for name in ("notebooks", "exercises", "solutions"):
        assert list((ROOT / name).rglob("__init__.py")) == []
