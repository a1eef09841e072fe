"""Typed formulas: what the grammar reads, what it refuses and with which words, and how a question judges them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xaiteach.errors import OptionError
from xaiteach.questions import Case, Mistake, Question, Variant, judge
from xaiteach.questions.formulas import FUNCTIONS, parse
from xaiteach.questions.model import Size
from xaiteach.questions.running import cases_of, keys_of, probe_namespace
from xaiteach.questions.sealing import seal, sealed_keys, unseal

NAMES = ("lambda", "sigma", "x0", "a", "b", "v", "w")
VALUES: Mapping[str, Any] = {
    "lambda": 0.5, "sigma": 2.0, "x0": -3.0, "a": 0.25, "b": 4.0, "v": np.array([1.0, -2.0]), "w": np.array([3.0, 0.5]),
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1 + 2*3 - 4/8", 6.5),
        ("2^-1 + 2**3", 8.5),
        ("-sigma^2", -4.0),
        ("(-sigma)^2", 4.0),
        ("--a - -a", 0.5),
        ("a/b/sigma", 0.03125),
        ("a/b*sigma", 0.125),
        ("λ·σ² − x0", 5.0),
        ("1.5e1 + .5 + 2.", 17.5),
        ("√(b) + ln(exp(a))", 2.25),
        ("relu(x0) + abs(x0) + sign(x0)", 2.0),
        ("max(a, b) - min(a, b)", 3.75),
        ("dot(v, w) + sum(v) - mean(w)", -0.75),
        ("norm(v)^2", 5.0),
    ],
)
def test_arithmetic_is_read_as_it_is_written(text: str, value: float) -> None:
    assert float(parse(text, NAMES).value(VALUES)) == pytest.approx(value, abs=1e-12)


def test_vectors_go_entry_by_entry() -> None:
    np.testing.assert_allclose(parse("a*v + w/sigma", NAMES).value(VALUES), [1.75, -0.25])


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("a / b * sigma", "(a/b)*sigma"),
        ("a/(b*sigma)", "a/(b*sigma)"),
        ("a-(b-sigma)", "a - (b - sigma)"),
        ("(a+b)*sigma", "(a + b)*sigma"),
        ("(a*b)^2", "(a*b)^2"),
        ("-(a^2)", "-a^2"),
        ("(-a)^2", "(-a)^2"),
        ("a^(-b)", "a^(-b)"),
        ("dot( v ,w )", "dot(v, w)"),
    ],
)
def test_a_formula_reads_back_as_it_was_understood(text: str, read: str) -> None:
    assert str(parse(text, NAMES)) == read


LEAVES = st.sampled_from(["a", "b", "sigma", "2", "0.5"])
TREES = st.recursive(
    LEAVES, lambda part: st.tuples(part, st.sampled_from("+-*/^"), part).map(lambda t: f"({t[0]}{t[1]}{t[2]})")
)


@given(TREES)
def test_what_is_read_back_means_the_same(text: str) -> None:
    if len(text) > 300:
        return
    formula = parse(text, NAMES)
    again = parse(str(formula), NAMES)
    np.testing.assert_array_equal(formula.value(VALUES), again.value(VALUES))
    plain = {name: np.float64(value) for name, value in VALUES.items() if np.ndim(value) == 0}
    with np.errstate(all="ignore"):  # what Python makes of the same text, which the course never asks it
        names = {"a": plain["a"], "b": plain["b"], "sigma": plain["sigma"]}
        there = eval(text.replace("^", "**"), {"__builtins__": {}}, names)
    np.testing.assert_allclose(formula.value(VALUES), there, rtol=1e-12)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("__import__('os').system('true')", "__import__"),
        ("a.__class__", "got '.'"),
        ("[a]", "got '['"),
        ("'a'", 'got "\'"'),
        ("a; b", "got ';'"),
        ("lambda: a", "got ':'"),
        ("exec(a)", "exec"),
        ("a if b else x0", "a sign between two factors"),
        ("2a", "Try * there"),
        ("a b", "Try * there"),
        ("a(b)", "Try * there"),
        ("y = a", "unknown name"),
        ("a = b", "one side alone"),
        ("0,5", "decimal point"),
        ("a +", "got its end"),
        ("", "got its end"),
        ("(a", "close its brackets"),
        ("a)", "open its brackets"),
        ("a^b^sigma", "which power comes first"),
        ("lamda", "lambda"),
        ("sqrt a", "argument in brackets"),
        ("dot(v)", "takes 2 argument(s); got 1"),
        ("(" * 50 + "a" + ")" * 50, "brackets in each other"),
        ("a" + "+a" * 200, "at most 300 characters"),
        ("+".join(["abs(" * 41 + "a" + ")" * 41]), "brackets in each other"),
    ],
)
def test_what_is_no_formula_is_refused_with_a_reason(text: str, words: str) -> None:
    with pytest.raises(OptionError) as caught:
        parse(text, NAMES)
    assert words in str(caught.value)
    assert "Try" in str(caught.value) or "Known" in str(caught.value) or "mean" in str(caught.value)


@given(st.text(max_size=60))
def test_no_text_does_anything_but_be_read_or_refused(text: str) -> None:
    try:
        formula = parse(text, NAMES)
    except OptionError:
        return
    assert np.asarray(formula.value(VALUES) if not {"v", "w"} <= formula.names else 0.0).dtype.kind in "fi"


def test_vectors_of_two_lengths_are_named() -> None:
    formula = parse("v + w", NAMES)
    with pytest.raises(OptionError, match="one length"):
        formula.value({"v": np.ones(2), "w": np.ones(3)})


def _cases(seed: int, size: Size) -> list[Case]:
    rng = np.random.default_rng([seed, size == "fresh"])
    return [Case(f"{size} {i}", {"z": float(rng.normal()), "lambda": float(rng.uniform(0.5, 2))}) for i in range(3)]


QUESTION = Question(
    id="start_here.shrunk", unit="00_start_here", title="t", points=1, minutes=1, difficulty=1, importance=1,
    kind="formula", answer="shrunk", stub="shrunk = ...", cases=_cases,
    expected=lambda case: {"value": case.inputs["z"] / (1 + case.inputs["lambda"])},
    hints=("", "", ""), shape_words="a formula in z and lambda, in quotes",
    mistakes=(
        Mistake("no_one", 'shrunk = "z/lambda"\n', "The 1 is missing.", 0.3),
        Mistake("minus", 'shrunk = "z - lambda"\n', "That subtracts."),
        Mistake("half", 'shrunk = "z/(1 + lambda/2)"\n', "Half."),
    ),
    variants=(Variant("power", 'shrunk = "z*(1+λ)^-1"\n'), Variant("split", 'shrunk = "z - z*lambda/(1+lambda)"\n')),
)  # fmt: skip


def judged(answer: Any) -> Any:
    cases = cases_of(QUESTION, 0, fresh=True)
    return judge(QUESTION, keys_of(QUESTION, cases), probe_namespace(QUESTION, {"shrunk": answer}, cases))


@pytest.mark.parametrize("text", ["z/(1 + lambda)", "z*(1+λ)^-1", "1/(1/z + lambda/z)"])
def test_every_form_of_the_truth_is_right(text: str) -> None:
    assert judged(text).outcome == "right"


def test_a_wrong_formula_gets_its_sentence_and_a_counterexample() -> None:
    verdict = judged("z / lambda")
    assert (verdict.mistake, verdict.credit) == ("no_one", 0.3)
    assert verdict.inputs.startswith("z = ")
    assert verdict.got.endswith("which is z/lambda")
    assert float(verdict.expected) != float(verdict.got.split(",")[0])


def test_generic_diagnoses_speak_of_formulas_too() -> None:
    assert judged("-z/(1 + lambda)").diagnosis == "sign"


@pytest.mark.parametrize(
    ("answer", "outcome", "words"),
    [
        (..., "not_attempted", "blank"),
        ("...", "not_attempted", "blank"),
        (" ", "not_attempted", "blank"),
        (3.0, "wrong_form", "in quotes"),
        ("z/(1 + lam)", "wrong_form", "lambda"),
        ("log(-1 - z^2)", "wrong_value", "not all finite"),
        ("__import__('os')", "wrong_form", "__import__"),
    ],
)
def test_what_is_no_answer_is_said_in_words(answer: Any, outcome: str, words: str) -> None:
    verdict = judged(answer)
    assert verdict.outcome == outcome
    assert words in verdict.sentence


def test_a_sealed_release_judges_formulas_by_the_same_numbers() -> None:
    sealed = unseal(json.loads(json.dumps(seal(QUESTION))))
    cases = cases_of(QUESTION, 0, fresh=False)
    for text, outcome, mistake in (("z/(1+λ)", "right", None), ("z/lambda", "wrong_value", "no_one")):
        payloads = probe_namespace(sealed, {"shrunk": text}, cases)
        verdict = judge(sealed, sealed_keys(sealed, cases), payloads)
        assert (verdict.outcome, verdict.mistake) == (outcome, mistake)


def test_every_function_of_the_grammar_is_tried_above() -> None:
    (tried,) = (mark.args[1] for mark in test_arithmetic_is_read_as_it_is_written.pytestmark)
    texts = " ".join(text.replace("√", "sqrt").replace("ln", "log") for text, _ in tried)
    assert [name for name in FUNCTIONS if name not in texts] == []
