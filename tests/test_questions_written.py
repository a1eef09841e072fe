"""Essays and predictions: recorded, never judged by a program."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from xaiteach.errors import OptionError
from xaiteach.questions import Case, Mistake, Question, Rubric, Tolerance, Variant, Verdict, judge
from xaiteach.questions.running import answer_namespace, cases_of, keys_of, probe_namespace
from xaiteach.questions.sealing import seal, sealed_keys, unseal
from xaiteach.questions.wording import words_of

RUBRIC = Rubric(
    criteria=((1.0, "it says where"), (1.0, "it says how much")),
    weak="The map is red.",
    weak_notes="It names a colour and no reason.",
    least_words=5,
)
COMMON: dict[str, Any] = {
    "unit": "02_gradcam", "title": "T", "minutes": 5, "difficulty": 1, "importance": 1, "hints": ("a", "b", "c"),
}  # fmt: skip
ESSAY = Question(
    id="gradcam.words", points=2, kind="essay", answer="words", stub='words = """..."""', rubric=RUBRIC, **COMMON
)
PREDICTION = Question(
    id="gradcam.guess", points=0, kind="prediction", answer="guess", stub="guess = ...", rubric=Rubric(), **COMMON
)


def verdict(question: Question, source: str) -> Verdict:
    cases = cases_of(question, 0, fresh=True)
    keys = keys_of(question, cases)
    return judge(question, keys, probe_namespace(question, answer_namespace(question, source), cases))


def test_an_essay_is_recorded_with_its_text() -> None:
    found = verdict(ESSAY, 'words = "  one two three four five "\n')
    assert (found.outcome, found.credit, found.text) == ("recorded", 0.0, "one two three four five")


@pytest.mark.parametrize("source", ['words = """..."""', 'words = ""', 'words = " ... "', "words = ..."])
def test_a_blank_essay_is_not_attempted(source: str) -> None:
    assert verdict(ESSAY, source).outcome == "not_attempted"


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ('words = "too few words"', "3 words; at least 5"),
        ('words = "word"', "1 word; at least 5"),
        ("words = 7", "A text in quotes is asked for"),
        ("words = None", "`words` is None"),
        ("words = 'a ' * 20000", "at most 20000"),
    ],
)
def test_what_is_no_essay_is_told_why(source: str, told: str) -> None:
    found = verdict(ESSAY, source)
    assert found.outcome == "wrong_form"
    assert told in found.sentence


@pytest.mark.parametrize(("source", "text"), [("guess = 3", "3"), ("guess = 2.5", "2.5"), ('guess = "few"', "'few'")])
def test_a_prediction_is_recorded_as_a_number_or_a_text(source: str, text: str) -> None:
    found = verdict(PREDICTION, source)
    assert found.outcome == "recorded"
    assert found.text == text.strip("'")


def test_a_prediction_among_options_must_be_one_of_them() -> None:
    question = replace(PREDICTION, options={"a": "yes", "b": "no"})
    assert verdict(question, 'guess = " B "').outcome == "recorded"
    assert "none of the options" in verdict(question, 'guess = "c"').sentence


def test_an_essays_words_show_the_rubric_and_escape_what_was_written() -> None:
    found = verdict(ESSAY, 'words = "<script>alert(1)</script> two three four five"\n')
    told = words_of(ESSAY, found, student=True)
    assert told.text().startswith("✓ gradcam.words: handed in, for a person to mark")
    assert "it says where (1 point)" in told.text()
    assert "It names a colour" in told.text()
    graded = words_of(ESSAY, found, student=False).html()
    assert "&lt;script&gt;" in graded
    assert "<script>" not in graded


def test_a_predictions_words_repeat_it_and_say_that_it_is_not_scored() -> None:
    question = replace(PREDICTION, rubric=Rubric(reveal="Run on."))
    told = words_of(question, verdict(question, "guess = 3"), student=True).text()
    assert told == "✓ gradcam.guess: recorded\n  You predicted 3. Predictions are never scored.\n  Run on."


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"rubric": None}, "needs a rubric"),
        ({"rubric": replace(RUBRIC, weak="")}, "a weak answer"),
        ({"points": 3}, "add up to 3"),
    ],
)
def test_an_essay_without_its_rubric_is_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(OptionError, match=told):
        replace(ESSAY, **changes)


def test_a_prediction_with_points_is_refused() -> None:
    with pytest.raises(OptionError, match="never scored"):
        replace(PREDICTION, points=1)


@pytest.mark.parametrize("question", [ESSAY, PREDICTION], ids=["essay", "prediction"])
def test_a_sealed_release_still_records(question: Question) -> None:
    data = json.loads(json.dumps(seal(question)))
    sealed = unseal(data)
    assert sealed.rubric == question.rubric
    keys = sealed_keys(sealed, cases_of(sealed, 0, fresh=False))
    source = f'{question.answer} = "one two three four five"'
    found = judge(sealed, keys, probe_namespace(sealed, answer_namespace(sealed, source), [key.case for key in keys]))
    assert found.outcome == "recorded"


def _double(case: Case) -> dict[str, Any]:
    return {"y": 2.0 * case.inputs["x"]}


TRAPPED = Question(
    id="gradcam.double",
    points=1,
    kind="function",
    answer="double",
    stub="return ...",
    cases=lambda seed, size: [
        Case("small", {"x": 3.0}, public=size == "public"),
        Case("large", {"x": 1e6}, public=size == "public", trap="large"),
    ],
    probe="def probe(answer, case):\n    return {'y': answer(case['x'])}\n",
    expected=_double,
    tolerance=Tolerance(1e-6, 0.0),
    mistakes=(
        Mistake("half", "def double(x):\n    return x / 2\n", "Half."),
        Mistake("same", "def double(x):\n    return x\n", "Same."),
        Mistake("noise", "def double(x):\n    return 2 * x if x < 9 else 7.0\n", "Lost.", 0.5, trap="large"),
    ),
    variants=(Variant("a", "def double(x):\n    return x + x\n"), Variant("b", "double = lambda x: x * 2\n")),
    **COMMON,
)


@pytest.mark.parametrize("noise", ["7.0", "-123.0", "0.0"])
def test_a_trap_is_recognised_by_where_it_fails_and_not_by_its_noise(noise: str) -> None:
    found = verdict(TRAPPED, f"def double(x):\n    return 2 * x if x < 9 else {noise}\n")
    assert (found.mistake, found.credit, found.case) == ("noise", 0.5, "large")


def test_a_mistake_on_ordinary_cases_is_not_taken_for_the_trap() -> None:
    assert verdict(TRAPPED, "def double(x):\n    return x / 2\n").mistake == "half"
    assert verdict(TRAPPED, "def double(x):\n    return x + 5\n").mistake is None


def test_a_sealed_release_knows_the_trap() -> None:
    sealed = unseal(json.loads(json.dumps(seal(TRAPPED))))
    keys = sealed_keys(sealed, cases_of(sealed, 0, fresh=False))
    source = "def double(x):\n    return 2 * x if x < 9 else -1.0\n"
    found = judge(sealed, keys, probe_namespace(sealed, answer_namespace(sealed, source), [key.case for key in keys]))
    assert found.mistake == "noise"
