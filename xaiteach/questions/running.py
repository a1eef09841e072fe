"""Run a question's own code: truth and mistakes for a set of cases, and the request that a probe needs."""

from __future__ import annotations

import contextlib
import functools
import inspect
import io
import json
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from xaiteach.questions import formulas, probing
from xaiteach.questions.judging import Key, read_values
from xaiteach.questions.model import Case, Question, Values

__all__ = ["answer_namespace", "cases_of", "keys_of", "packed", "probe_namespace", "probe_source", "request"]


def cases_of(question: Question, seed: int, *, fresh: bool) -> list[Case]:
    """Public cases, smallest first, then the fresh ones of this seed where asked for; names are made unique."""
    cases = list(question.cases(0, "public"))
    if fresh:
        cases += [
            Case(f"fresh {i}", case.inputs, public=False, symbols=case.symbols, trap=case.trap)
            for i, case in enumerate(question.cases(seed, "fresh"))
        ]
    return cases


def request(question: Question, cases: Sequence[Case]) -> str:
    """JSON text that tells a kernel what to probe: no expected value, no verdict."""
    return json.dumps(
        {
            "question": question.id,
            "answer": question.answer,
            "callable": question.kind == "function",
            "probe": question.probe,
            "cases": [{"name": case.name, "inputs": packed(case)} for case in cases],
        },
        sort_keys=True,
    )


def packed(case: Case) -> dict[str, Any]:
    """Inputs of a case as JSON."""
    return {
        name: probing.encode(value) if isinstance(value, np.ndarray) else value for name, value in case.inputs.items()
    }


def probe_namespace(question: Question, namespace: dict[str, Any], cases: Sequence[Case]) -> list[dict[str, Any]]:
    """Payloads of the answer found in `namespace`; its printing and its warnings are swallowed."""
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        return probing.probe(json.loads(request(question, cases)), namespace)


def probe_source(asked: str) -> str:
    """Source of a cell that reads an answer and emits data.

    Parameters
        asked : as `request` makes it. The reader's whole text travels with it, so the kernel needs nothing of ours.
    """
    return (
        "import builtins as _builtins  # a star import may have covered them\n"
        "_xaiteach = {'__name__': 'xaiteach_probing'}\n"
        f"_builtins.exec(_builtins.compile({inspect.getsource(probing)!r}, '<xaiteach probing>', 'exec'), _xaiteach)\n"
        f"_xaiteach['emit']({asked!r}, _builtins.globals())\n"
    )


@functools.lru_cache(maxsize=64)
def _context(source: str) -> dict[str, Any]:
    scope: dict[str, Any] = {}
    exec(compile(source, "<xaiteach context>", "exec"), scope)
    return scope


def answer_namespace(question: Question, source: str) -> dict[str, Any]:
    """Namespace after the question's context and `source` ran: for code of the course, and the student's own kernel."""
    scope = {**_context(question.context), "__name__": "__answer__"}
    exec(compile(source, f"<answer to {question.id}>", "exec"), scope)
    return scope


def _values(question: Question, source: str, cases: Sequence[Case]) -> list[Values | None]:
    payloads = probe_namespace(question, answer_namespace(question, source), cases)
    by_case = {payload["case"]: payload for payload in payloads}
    found: list[Values | None] = []
    for case in cases:
        payload = by_case.get(case.name)
        values = None if payload is None or payload["error"] else read_values(payload)
        if values is not None and question.kind == "formula":
            values, _, _ = formulas.numbers(values, case)
        found.append(values)
    return found


def keys_of(question: Question, cases: Sequence[Case]) -> list[Key]:
    """Truth (by the question's independent route) and every known mistake's values, for each case.

    Cost
        one run of `expected` and one of each mistake for each case; compute once for a seed and keep.
    """
    wrong = {mistake.name: _values(question, mistake.wrong, cases) for mistake in question.mistakes}
    return [
        Key(
            case,
            {name: np.asarray(value) for name, value in question.expected(case).items()},
            {name: values[i] for name, values in wrong.items()},
            question.tolerance,
        )
        for i, case in enumerate(cases)
    ]
