"""The registry: plain data that agrees with the functions, and methods that are not there."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import helpers_attribution as h
import pytest

from xaiteach import explain
from xaiteach.attribution import cam, methods, registry
from xaiteach.errors import MissingExtraError, OptionError

NAMES = sorted(methods())


@pytest.mark.parametrize("name", NAMES)
def test_options_of_an_entry_are_those_of_its_function(name: str) -> None:
    entry = registry.entry(name)
    parameters = inspect.signature(registry.resolve(entry.target, name)).parameters.values()
    given = ("generator", "work")  # by `explain`, not by the caller's options
    keywords = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in given}
    # `layer` has no default in the function: prepare has filled it in by then.
    assert {
        key: entry.options[key] if value is inspect.Parameter.empty else value for key, value in keywords.items()
    } == (entry.options)


@pytest.mark.parametrize("name", NAMES)
def test_every_entry_states_cost_source_and_units(name: str) -> None:
    entry = registry.entry(name)
    assert all((entry.summary, entry.family, entry.cost, entry.source, entry.units))
    assert entry.source in methods()[name]
    assert name in methods(entry.family)


def test_an_unknown_family_lists_the_known_ones() -> None:
    with h.fails(OptionError, "unknown family 'cams'; did you mean 'cam'?", "gradients"):
        methods("cams")


def test_a_method_whose_function_is_missing_is_what_the_student_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(cam, "grad_cam")
    with h.fails(MissingExtraError, "'grad_cam'", "this is what you are asked to write", "method=your_function"):
        explain(h.conv_net(), h.batch(), 1)
    assert "grad_cam" in methods()
    assert explain(h.conv_net(), h.batch(), 1, "saliency").method == "saliency"


def test_a_method_whose_module_is_missing_is_what_the_student_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xaiteach.attribution.cam", None)
    with h.fails(MissingExtraError, "this is what you are asked to write"):
        explain(h.conv_net(), h.batch(), 1)


def test_a_missing_library_is_not_mistaken_for_an_exercise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(ModuleNotFoundError, match="captum"):
        explain(h.conv_net(), h.batch(), 1, "saliency")


_WITHOUT_TORCHVISION = """
import sys

class Broken:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torchvision":
            raise RuntimeError("operator torchvision::nms does not exist")

sys.meta_path.insert(0, Broken())
sys.path.insert(0, sys.argv[1])
import helpers_attribution as h
import torch
from xaiteach.attribution import methods

parts = [torch.nn.Conv1d(1, 2, 3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool1d(1), torch.nn.Flatten()]
net = torch.nn.Sequential(*parts, torch.nn.Linear(2, 3))
for name in methods():
    a = h.run(name, net, torch.randn(2, 1, 8), 1)
    repr(a)
    a.plot().png()
assert "torchvision" not in sys.modules
"""


def test_everything_works_where_torchvision_cannot_be_imported() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT_TORCHVISION, str(Path(__file__).parent)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_importing_the_package_loads_neither_captum_nor_matplotlib() -> None:
    code = "import sys, xaiteach.attribution, xaiteach.plots; print({'captum', 'matplotlib'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
