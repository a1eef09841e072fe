"""Reading student source without running it."""

from __future__ import annotations

import gc
import threading
import time

import pytest

from xaiteach.checks.references import reference
from xaiteach.questions import UNITS, judge, of_unit
from xaiteach.questions.running import answer_namespace, cases_of, keys_of, probe_namespace
from xaiteach.questions.sources import clean, defined_names, forbidden_names, free_names, helpers


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("x = 1", {"x"}),
        ("def f(a):\n    b = a\n    return b", {"f"}),
        ("a, (b, *c) = 1, (2, 3)", {"a", "b", "c"}),
        ("import numpy as np\nfrom torch import nn", {"np", "nn"}),
        ("for i in range(3):\n    total = i", {"i", "total"}),
        ("with open('x') as f:\n    pass", {"f"}),
        ("if True:\n    y = 1\nelse:\n    z = 2", {"y", "z"}),
        ("(n := 3)", {"n"}),
        ("x: int = 3", {"x"}),
        ("squares = [v * v for v in some]", {"squares"}),
        ("kept = [(last := v) for v in some]", {"kept", "last"}),
        ("try:\n    pass\nexcept ValueError as error:\n    pass", {"error"}),
        ("def f(:\n  x", {"f"}),
        ("def broken(a):\n    return (", {"broken"}),
    ],
)
def test_defined_names(source, names):
    assert defined_names(source) == names


def test_free_names_are_those_a_cell_needs_from_elsewhere():
    source = "def f(a):\n    return helper(a) + K + len(a)\n"
    assert free_names(source) == {"helper", "K"}


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("def f(x):\n    def heat(v):\n        return v + x\n    return heat(x)", set()),
        ("def f(x):\n    import math\n    return math.exp(x)", set()),
        ("def f(x):\n    try:\n        return x\n    except ValueError as error:\n        return error", set()),
        ("def f(w):\n    return w\ndef g(x):\n    return w * x", {"w"}),
        ("both = [heat for heat in maps]", {"maps"}),
        ("def f(x: torch.Tensor) -> np.ndarray:\n    return x", {"torch", "np"}),
        ("class A:\n    k = K\n    def f(self):\n        return k", {"K", "k"}),
        ("def f():\n    global calls\n    calls += 1", {"calls"}),
        ("def f(:", set()),
    ],
)
def test_free_names_know_the_scope_they_are_in(source, names):
    assert free_names(source) == names


def test_a_cell_that_binds_the_name_of_an_inner_function_is_no_helper():
    answer = "def f(x):\n    def heat(v):\n        return v * K\n    return [heat(mask) for mask in x]"
    shown = "for heat in maps:\n    print(heat)\nmask = 3"
    assert helpers(answer, {0: shown, 1: "K = 2"}, set()) == ["K = 2"]


@pytest.mark.parametrize(
    ("source", "kept", "flags"),
    [
        ("x = 1\r\ny = 2\r\n", "x = 1\ny = 2\n", ()),
        ("# NBVAL_SKIP\nx = 1\n", "x = 1\n", ("nbval_marker",)),
        ("#NBVAL_RAISES_EXCEPTION\nx = 1", "x = 1\n", ("nbval_marker",)),
        ("%matplotlib inline\nx = 1\n", "x = 1\n", ("magic",)),
        ("!rm -rf /\nx = 1\n", "x = 1\n", ("magic",)),
        ("%%bash\nrm -rf /\n", "", ("cell_magic",)),
        ("%%time\nx = 1\n", "x = 1\n", ("magic",)),
        ("%%capture out\nx = 1\n", "x = 1\n", ("magic",)),
        ('%time x = "b"\n', 'x = "b"\n', ("magic",)),
        ("torch.reshape?\nx = 1\n", "x = 1\n", ("magic",)),
        ("%matplotlib inline\nx = 1  # right?\n", "x = 1  # right?\n", ("magic",)),
        ("%matplotlib inline\nx = (7\n  % 4)\n", "x = (7\n  % 4)\n", ("magic",)),
        ("%%\nx = 1\n", "", ("cell_magic",)),
        ("x = '\ud800'\n", "x = '?'\n", ()),
        ("x = 7\ny = (x\n% 2)\n", "x = 7\ny = (x\n% 2)\n", ()),
        ("\ufeffx = 1\n", "x = 1\n", ()),
        ("", "", ()),
        ("if True:\n        x = 1\n\ty = 2\n", "if True:\n        x = 1\n        y = 2\n", ()),
    ],
)
def test_clean_takes_out_what_is_not_python_and_says_so(source, kept, flags):
    cleaned = clean(source)
    assert cleaned == kept
    assert cleaned.flags == flags


def test_a_percent_sign_at_the_start_of_a_line_of_text_stays():
    source = 's = """\n%d items\n"""\n'
    assert clean(source) == source


def test_forbidden_names_are_found_as_names_attributes_and_imports():
    source = "from torch.autograd import grad\nimport captum.attr as ca\ny = z.backward()\n"
    assert forbidden_names(source, ("autograd", "captum", "backward", "vjp")) == ["autograd", "captum", "backward"]


class Slow:
    """Garbage that only the collector finds, and that lets other threads run while it goes."""

    def __init__(self) -> None:
        self.me = self

    def __del__(self) -> None:
        time.sleep(0.0005)


def test_threads_that_parse_at_once_do_not_disturb_each_other():
    # Python 3.11 fails with a SystemError where the collector interrupts one that parses and another parses meanwhile.
    source = "\n".join(
        f"def f{i}(x):\n    return [x + {i} for x in range({i}) if (x * 2 + {i}) // 3 > {i}]" for i in range(200)
    )
    failed = []

    def parse():
        for _ in range(20):
            garbage = [Slow() for _ in range(5)]
            del garbage
            try:
                assert defined_names(source) == {f"f{i}" for i in range(200)}
            except SystemError as error:
                failed.append(error)

    before = gc.get_threshold()
    gc.set_threshold(50)
    try:
        threads = [threading.Thread(target=parse) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        gc.set_threshold(*before)
    assert failed == []


@pytest.mark.parametrize("unit", UNITS)
def test_every_model_answer_stands_on_its_context_alone(unit: str) -> None:
    """Later units, and the grader, run it without the cells around it (`mine`)."""
    for question in of_unit(unit):
        if question.kind == "function":
            names = answer_namespace(question, reference(question.id))
            cases = cases_of(question, 1, fresh=True)
            verdict = judge(question, keys_of(question, cases), probe_namespace(question, names, cases))
            assert verdict.outcome == "right", (question.id, verdict.sentence)
