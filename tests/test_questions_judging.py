"""Verdicts: what passes, what is told, and that nothing a student returns can hurt the judge."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xaiteach.errors import OptionError
from xaiteach.questions import (
    UNITS,
    Case,
    Mistake,
    Question,
    Tolerance,
    Variant,
    find,
    judge,
    of_unit,
    probing,
    showing,
)  # fmt: skip
from xaiteach.questions.judging import Key, read_values
from xaiteach.questions.model import Rubric
from xaiteach.questions.running import answer_namespace, cases_of, keys_of, probe_namespace

LOGIT = "gradcam.logit_gradient"
QUESTIONS = [question for unit in UNITS for question in of_unit(unit)]


def verdict(question_id: str, source: str, seed: int = 0, fresh: bool = True):
    question = find(question_id)
    cases = cases_of(question, seed, fresh=fresh)
    payloads = probe_namespace(question, answer_namespace(question, source), cases)
    return judge(question, keys_of(question, cases), payloads)


def logit(expression: str, **options):
    return verdict(
        LOGIT, f"import torch, numpy as np\ndef logit_gradient(A, V, b, c):\n    return {expression}\n", **options
    )


@pytest.mark.parametrize(
    ("expression", "name", "words"),
    [
        ("-V[c].reshape(A.shape)", "sign", "opposite sign"),
        ("V[c].reshape(A.shape) / A[0].numel()", "factor", "1/(d1 d2)"),
        ("V[c].reshape(A.shape) * 2", "factor", "factor of 2"),
        ("V[c].reshape(A.shape).transpose(1, 2)", "transpose", "last two axes"),
        ("V[c].reshape(A.shape).flip(0)", "flip", "upside down"),
        ("V[c].reshape(A.shape).flip(2)", "flip_last", "mirrored"),
        ("V[c].reshape(A.shape).abs()", "abs", "absolute"),
        ("V[c].reshape(A.shape).relu()", "clipped", "negative part"),
        ("V[c] / V[c].abs().max()", "flattened+scaled", "largest size"),
        ("V[c].reshape(A.shape)[:1].repeat(A.shape[0], 1, 1)", "first_repeated", "first entry"),
        ("np.reshape(V[c].numpy(), tuple(A.shape), order='F')", "fortran", "column-major"),
        ("-V[c].reshape(A.shape).flip(0)", "flip+factor", "opposite sign"),
        ("V[c].reshape(A.shape).flip(0).flip(2)", "flip+flip_last", "upside down"),
    ],
)
def test_generic_diagnosis_names_what_is_wrong(expression, name, words):
    result = logit(expression)
    told = result.diagnosis
    assert result.outcome == "wrong_value"
    assert result.credit == 0
    assert words in result.sentence
    assert told in (name, "+".join(reversed(name.split("+"))))


def test_wrong_values_without_a_pattern_get_no_invented_diagnosis():
    result = logit("V[c].reshape(A.shape) + 0.3")
    assert result.diagnosis is None
    assert result.mistake is None
    assert "not right yet" in result.sentence


@pytest.mark.parametrize(
    ("expression", "outcome", "words"),
    [
        ("...", "not_attempted", "blank"),
        ("NotImplemented", "not_attempted", "blank"),
        ("None", "wrong_form", "returned None"),
        ("'V'", "wrong_form", "shape"),
        ("object()", "wrong_form", "type"),
        ("{'a': 1}", "wrong_form", "type"),
        ("V[c]", "wrong_value", "flattened"),
        ("V[c][:2]", "wrong_form", "expected (2, 2, 3)"),
        ("1 / 0", "wrong_form", "ZeroDivisionError"),
        ("V[c].reshape(A.shape) * float('nan')", "wrong_value", "NaN"),
        ("V[c].reshape(A.shape) * float('inf')", "wrong_value", "NaN or an infinity"),
        ("torch.zeros(700, 700)", "wrong_form", "1 MiB"),
        ("1j * V[c].reshape(A.shape)", "wrong_form", "type"),
    ],
)
def test_every_outcome_has_its_own_words(expression, outcome, words):
    result = logit(expression)
    assert result.outcome == outcome
    assert words in result.sentence


@pytest.mark.parametrize(
    "expression",
    [
        "V[c].reshape(A.shape).requires_grad_()",
        "V[c].reshape(A.shape).float()",
        "V[c].reshape(A.shape).tolist()",
        "tuple(V[c].reshape(A.shape))",
        "V[c].reshape(A.shape).numpy()",
        "list(V[c].reshape(A.shape).numpy())",
        "V[c].reshape(A.shape) * (1 + 1e-5)",
    ],
)
def test_right_answers_pass_in_every_dress(expression):
    assert logit(expression).outcome == "right"


def test_an_answer_that_fits_only_the_public_cases_is_told_so_without_showing_a_fresh_case():
    lookup = "V[c].reshape(A.shape) if tuple(A.shape) in ((2, 2, 3), (4, 3, 5)) else V[0].reshape(A.shape)"
    result = logit(lookup, seed=11)
    assert result.outcome == "wrong_value"
    assert result.public == (2, 2)
    assert result.fresh[0] < result.fresh[1]
    assert (result.case, result.got, result.expected) == (None, None, None)
    assert "public cases pass" in result.sentence


def test_inputs_changed_in_place_do_not_reach_the_next_case():
    source = (
        "def logit_gradient(A, V, b, c):\n"
        "    g = V[c].clone().reshape(A.shape)\n"
        "    V.zero_(); A.zero_()\n"
        "    return g\n"
    )
    assert verdict(LOGIT, source).outcome == "right"


def test_a_partly_blank_answer_is_not_called_wrong_for_its_values():
    result = logit("V[c].reshape(A.shape) if A.shape[0] == 2 else ...")
    assert result.outcome == "wrong_form"
    assert "blank" in result.sentence


def test_a_missing_name_is_not_attempted_and_says_which_name():
    result = verdict(LOGIT, "x = 1\n")
    assert result.outcome == "not_attempted"
    assert "logit_gradient" in result.sentence


def test_smallest_public_case_is_shown_with_both_sides():
    result = logit("V[0].reshape(A.shape) + 1")
    assert result.case.startswith("2 maps of 2 by 3")
    assert result.got is not None
    assert result.expected is not None


def test_a_value_question_never_shows_what_is_expected():
    result = verdict("gradcam.alpha_gap", "alpha_gap = torch.zeros(48)\n")
    assert result.got is not None
    assert result.expected is None


def test_a_message_that_no_kernel_could_send_is_made_sendable():
    question = find(LOGIT)
    source = "def logit_gradient(A, V, b, c):\n    raise ValueError(chr(0xd800) + 'odd')\n"
    cases = cases_of(question, 0, fresh=False)
    (payload, _) = probe_namespace(question, answer_namespace(question, source), cases)
    assert payload["error"]["message"] == "?odd"


def test_an_object_that_claims_to_equal_everything_is_judged_on_its_numbers():
    source = (
        "import numpy as np\n"
        "class Yes(np.ndarray):\n"
        "    def __eq__(self, other): return True\n"
        "    def __array_ufunc__(self, *a, **k): return True\n"
        "def logit_gradient(A, V, b, c):\n"
        "    return np.zeros(tuple(A.shape)).view(Yes)\n"
    )
    assert verdict(LOGIT, source).outcome != "right"


@given(
    payload=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
            ["v", "question", "case", "values", "error", "dtype", "shape", "b64", "gradient"]), inner, max_size=5),
        max_leaves=12,
    )
)  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_no_payload_a_kernel_could_send_makes_the_judge_raise(payload):
    question = find(LOGIT)
    cases = cases_of(question, 0, fresh=False)
    keys = [Key(case, {"gradient": np.zeros((2, 2, 3))}) for case in cases]
    dressed = {"question": LOGIT, "case": cases[0].name, "values": payload, "error": None}
    inner = {**dressed, "values": {"gradient": payload}}
    blank_case = {"question": LOGIT, "case": None, "values": {}, "error": payload}
    for item in (dressed, inner, {**dressed, "values": {}, "error": payload}, blank_case):
        assert judge(question, keys, [item]).outcome != "right"


def test_values_with_a_shape_that_does_not_fit_their_bytes_are_refused():
    item = {"dtype": "float64", "shape": [3], "b64": probing.encode(1.0)["b64"]}
    with pytest.raises(ValueError, match="reshape"):
        read_values({"values": {"x": item}})


@given(
    values=st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1, max_size=24),
    columns=st.integers(1, 4),
)
@settings(max_examples=60, deadline=None)
def test_arrays_survive_the_wire_bit_for_bit(values, columns):
    array = np.array(values[: len(values) // columns * columns] or [0.0] * columns, dtype=np.float32).reshape(
        -1, columns
    )
    back = probing.decode(probing.encode(array))
    assert back.dtype == array.dtype
    assert np.array_equal(back, array)


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda q: q.id)
def test_public_cases_do_not_depend_on_the_seed_and_fresh_ones_do(question):
    first, second = (cases_of(question, seed, fresh=True) for seed in (1, 2))
    public = [case for case in first if case.public]
    assert [c.name for c in public] == [c.name for c in second if c.public]
    if question.kind == "function":
        fresh = [probe["inputs"] for probe in _packed(first)]
        assert fresh
        assert fresh != [probe["inputs"] for probe in _packed(second)]


def _packed(cases):
    from xaiteach.questions.running import packed

    return [{"inputs": packed(case)} for case in cases if not case.public]


def _toy(**changes):
    fields = {
        "id": "start_here.toy", "unit": "00_start_here", "title": "t", "points": 1, "minutes": 1, "difficulty": 1,
        "importance": 1, "kind": "value", "answer": "x", "stub": "x = ...",
        "probe": "def probe(a, c):\n    return {'x': a}\n",
        "cases": lambda seed, size: [Case("one", {})] if size == "public" else [],
        "expected": lambda case: {"x": np.array(2.0)}, "hints": ("a", "b", "c"),
        "mistakes": tuple(Mistake(f"m{i}", f"x = {i + 5}.0\n", "s") for i in range(3)),
        "variants": (Variant("v", "x = 2\n"),),
    }  # fmt: skip
    return Question(**{**fields, **changes})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"id": "nodot"}, "slug.name"),
        ({"unit": "02_gradcam"}, "must be that of its unit"),
        ({"answer": "not a name"}, "Python name"),
        ({"difficulty": 6}, "1 to 5"),
        ({"mistakes": ()}, "at least 3 mistakes"),
        ({"variants": ()}, "1 variants"),
        ({"mistakes": tuple(Mistake("same", "x = 1", "s") for _ in range(3))}, "share a name"),
        ({"mistakes": tuple(Mistake(f"m{i}", "x = 1", "s", 1.0) for i in range(3))}, r"\[0, 1\)"),
        ({"kind": "essay"}, "rubric"),
    ],
)
def test_a_question_out_of_order_is_refused_with_the_reason(changes, words):
    with pytest.raises(OptionError, match=words):
        _toy(**changes)


def test_a_scalar_answer_that_matches_nothing_is_simply_wrong():
    question = _toy(tolerance=Tolerance(1e-6, 1e-6, "exact"))
    cases = cases_of(question, 0, fresh=True)
    payloads = probe_namespace(question, answer_namespace(question, "x = 77.0\n"), cases)
    result = judge(question, keys_of(question, cases), payloads)
    assert (result.outcome, result.diagnosis, result.mistake) == ("wrong_value", None, None)


def test_unknown_question_names_the_nearest():
    with pytest.raises(OptionError, match=r"did you mean 'gradcam.alpha_gap'"):
        find("gradcam.alpha_gab")


def test_a_logit_gradient_that_uses_the_probability_gets_its_sentence_and_half():
    source = (
        "import torch\n"
        "def logit_gradient(A, V, b, c):\n"
        "    leaf = A.clone().requires_grad_()\n"
        "    y = torch.softmax(V @ leaf.reshape(-1) + b, 0)\n"
        "    return torch.autograd.grad(y[c], leaf)[0]\n"
    )
    result = verdict(LOGIT, source)
    assert (result.mistake, result.credit) == ("probability", 0.5)
    assert "rival" in result.sentence


# Where an answer is off


@pytest.mark.parametrize(
    ("got", "words"),
    [
        (np.eye(3) + np.array([0, 1, 0]), "2 of 3 columns are right: look at column 1 (counted from 0)."),
        (np.eye(3) + np.array([[0], [0], [1]]), "2 of 3 rows are right: look at row 2 (counted from 0)."),
        (np.eye(3) + np.eye(3), "6 of 9 numbers are right: the first that is not stands at [0, 0]."),
        (np.eye(3) + 1, ""),
        (np.eye(2), ""),
        (np.full((3, 3), np.nan), ""),
    ],
)
def test_what_is_right_and_where_to_look_is_said(got, words):
    assert showing.off({"t": np.eye(3)}, {"t": got}, Tolerance()) == words


def test_what_is_off_is_named_where_there_are_several_arrays_and_none_of_a_single_number():
    truth = {"a": np.arange(4.0), "b": np.arange(4.0), "c": np.asarray(1.0)}
    got = {"a": np.arange(4.0), "b": np.array([0, 1, 5, 3.0]), "c": np.asarray(2.0)}
    assert showing.off(truth, got, Tolerance()) == (
        "3 of 4 numbers of `b` are right: the first that is not stands at [2]."
    )
    assert showing.off({"c": truth["c"]}, {"c": got["c"]}, Tolerance()) == ""


def test_a_difference_behind_the_numbers_shown_is_shown():
    truth = {"t": np.arange(20.0)}
    got = {"t": np.where(np.arange(20) == 15, -1.0, np.arange(20.0))}
    start = showing.hidden(truth, got, Tolerance())
    assert start == 15
    assert showing.show(got, start=start) == "[..., -1, 16, 17, 18, 19] of shape (20,)"
    assert showing.hidden(truth, {"t": np.arange(20.0) + 1}, Tolerance()) == 0


@pytest.mark.parametrize(("written", "taken"), [
    (7, True), (np.float32(7), True), ([7], True), (0, True), (10, True), (11, False), (-1, False), (4.5, False),
    ("five", False), (float("nan"), False), ([1, 2], False),
])  # fmt: skip
def test_a_prediction_is_taken_where_it_can_be_the_answer(written, taken):
    assert Rubric(least=0, most=10).takes(np.asarray(written)) is taken


def test_a_prediction_that_is_no_whole_number_is_taken_where_none_is_asked_for():
    assert Rubric(least=0, most=10, whole=False).takes(np.asarray(4.5))
    assert Rubric().takes(np.asarray("anything"))


def test_nothing_is_said_of_parts_where_a_question_judges_by_itself():
    def question(judged):
        return Question(
            id="gradcam.rows", unit="02_gradcam", title="Rows", points=1, minutes=1, difficulty=1, importance=1,
            kind="value", answer="rows", stub="rows = ...", hints=("a", "b", "c"), judge=judged,
            expected=lambda case: {"rows": np.eye(3)}, probe="def probe(answer, case):\n    return {'rows': answer}\n",
            mistakes=tuple(Mistake(str(i), f"rows = {i}\n", "No.") for i in range(3)),
            variants=(Variant("a", "rows = 1\n"),),
        )  # fmt: skip

    wrong = np.eye(3) + np.array([0, 0.7, 0])
    for judged, said in ((None, True), (lambda case, got, truth: False, False)):
        asked = question(judged)
        key = Key(asked.cases(0, "public")[0], {"rows": np.eye(3)})
        payload = {
            "question": asked.id,
            "case": key.case.name,
            "values": {"rows": probing.encode(wrong)},
            "error": None,
        }
        assert ("2 of 3 columns are right" in judge(asked, [key], [payload]).sentence) is said
