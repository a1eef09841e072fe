"""A student's release tells right from wrong and names mistakes, and holds neither solution nor expected value."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest

from xaiteach.errors import MissingExtraError
from xaiteach.questions import UNITS, find, judge, of_unit
from xaiteach.questions.running import answer_namespace, cases_of, keys_of, probe_namespace
from xaiteach.questions.sealing import seal, sealed_keys, unseal

QUESTIONS = [question for unit in UNITS for question in of_unit(unit)]


@pytest.fixture(scope="module")
def sealed():
    return {question.id: json.dumps(seal(question)) for question in QUESTIONS}


def verdict(question, text, source):
    released = unseal(json.loads(text))
    cases = cases_of(released, 0, fresh=True)
    payloads = probe_namespace(released, answer_namespace(question, source), cases)
    return judge(released, sealed_keys(released, cases), payloads)


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda q: q.id)
def test_variants_pass_and_every_mistake_is_told(question, sealed):
    for variant in question.variants:
        assert verdict(question, sealed[question.id], variant.source).outcome == "right"
    for mistake in question.mistakes:
        told = verdict(question, sealed[question.id], mistake.wrong)
        assert (told.mistake, told.credit, told.expected) == (mistake.name, mistake.credit, None)


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("-V[c].reshape(A.shape)", "opposite sign"),
        ("V[c].reshape(A.shape) / A[0].numel()", "1/(d1 d2)"),
        ("V[c].reshape(A.shape).abs()", "absolute"),
        ("V[c].reshape(A.shape) * 1.05", "not right yet"),
    ],
)
def test_generic_diagnoses_work_on_fingerprints(expression, words, sealed):
    question = find("gradcam.logit_gradient")
    source = f"def logit_gradient(A, V, b, c):\n    return {expression}\n"
    assert words in verdict(question, sealed[question.id], source).sentence


def test_rounding_at_the_tolerance_passes_and_fifty_times_it_may_not(sealed):
    question = find("gradcam.logit_gradient")
    passes = "def logit_gradient(A, V, b, c):\n    return V[c].reshape(A.shape) * (1 + {0})\n"
    near = [passes.format(e) for e in (1e-5, -1e-5, 9e-5, -9e-5, 3e-5)]
    assert all(verdict(question, sealed[question.id], source).outcome == "right" for source in near)
    assert verdict(question, sealed[question.id], passes.format(0.2)).outcome != "right"


def test_no_expected_array_and_no_solution_is_in_the_text(sealed):
    for question in QUESTIONS:
        data = json.loads(sealed[question.id])
        for case in data["cases"]:
            del case["inputs"]  # row 0 of V is both an input and, for class 0, the answer
        text = json.dumps(data)
        for key in keys_of(question, cases_of(question, 0, fresh=False)):
            for array in key.truth.values():
                if array.dtype.kind != "U" and array.size > 1:
                    for dtype in (np.float64, np.float32):
                        assert base64.b64encode(array.astype(dtype).tobytes()).decode() not in text
        for variant in question.variants:
            assert json.dumps(variant.source)[1:-1] not in text
        for mistake in question.mistakes:
            assert json.dumps(mistake.wrong)[1:-1] not in text


def test_a_released_question_says_why_it_has_no_expected_values(sealed):
    released = unseal(json.loads(sealed["gradcam.logit_gradient"]))
    with pytest.raises(MissingExtraError, match="student's release"):
        released.expected(cases_of(released, 0, fresh=False)[0])
