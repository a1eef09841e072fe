"""What is asked of the machine below Python."""

from __future__ import annotations

import ctypes
import platform
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from xaiteach import runtime
from xaiteach.errors import MissingExtraError


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_glibc_can_be_told_to_keep_freed_memory() -> None:
    assert runtime.keep_freed_memory()


@pytest.mark.parametrize("trouble", [OSError, TypeError])
def test_without_a_c_library_to_ask_nothing_happens(monkeypatch: pytest.MonkeyPatch, trouble: type[Exception]) -> None:
    def none(_name: Any) -> None:
        raise trouble("no library")

    monkeypatch.setattr(ctypes, "CDLL", none)
    assert runtime.keep_freed_memory.__wrapped__() is False
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: SimpleNamespace())  # one without mallopt
    assert runtime.keep_freed_memory.__wrapped__() is False


def test_a_refusal_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: SimpleNamespace(mallopt=lambda parameter, value: 0))
    assert runtime.keep_freed_memory.__wrapped__() is False


@pytest.mark.parametrize(("module", "package"), [("sklearn", "scikit-learn"), ("skimage", "scikit-image")])
def test_what_is_missing_is_asked_for_by_the_name_that_pip_knows(
    module: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=f"Try: pip install {package}$"):
        runtime.require(module)
