"""A release for students without solutions and without expected values: checks still work, on fingerprints.

Every truth, and what every known mistake and every generic slip would bring, is kept as one salted hash. To make room
for rounding, the array is first projected on eight random directions and each projection is put into a cell that is
wide against the tolerance; the eight cell numbers are hashed together. An answer is looked up with all neighbouring
cells that its rounding could reach. A hash gives the values away only to somebody who can guess all eight cells at
once; for a single number or a letter that is a few guesses, as it is for anybody who may call check again.

Source
    The idea is that of a fuzzy commitment (Juels and Wattenberg 1999), with cells in place of a code.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from xaiteach.errors import MissingExtraError, OptionError
from xaiteach.questions import diagnoses, probing
from xaiteach.questions.model import Case, Mistake, Question, Rubric, Tolerance, Values
from xaiteach.questions.running import cases_of, keys_of, packed

__all__ = ["SealedKey", "seal", "sealed_keys", "unseal"]

DIRECTIONS = 8
CELL = 8  # width of a cell, in units of what the tolerance can move a projection

_PLAIN_FIELDS = (
    "id", "unit", "title", "points", "minutes", "difficulty", "importance", "kind", "answer", "stub", "stretch",
    "probe", "deadline_s", "shape_words",
)  # fmt: skip
_TUPLES = ("hints", "depends_on", "requires", "forbids")


def _hash(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts).encode("utf-8")).hexdigest()[:32]


def _directions(salt: str, size: int) -> np.ndarray[Any, Any]:
    """Eight directions of length 1 that only the salt and the size decide, (8, size)."""
    seed = int.from_bytes(hashlib.sha256(f"{salt} {size}".encode()).digest()[:8], "little")
    signs = np.random.default_rng(seed).standard_normal((DIRECTIONS, size))
    unit: np.ndarray[Any, Any] = signs / np.linalg.norm(signs, axis=1, keepdims=True)
    return unit


def _fingerprints(salt: str, array: np.ndarray[Any, Any], bound: float, *, reach: bool) -> Iterator[str]:
    """Hash of an array's cells; with `reach`, also of the neighbouring cells within the tolerance."""
    if array.dtype.kind == "U":
        yield _hash(salt, str(array).strip().lower())
        return
    flat = array.astype(np.float64).reshape(-1)
    shape = list(array.shape) if flat.size != 1 else []  # one number is one number, in a list or not
    if not np.isfinite(flat).all():
        yield _hash(salt, "not finite")
        return
    moved = bound * np.sqrt(max(flat.size, 1))
    places = _directions(salt, flat.size) @ flat / (CELL * moved)
    low = np.floor(places - (1 / CELL if reach else 0)).astype(int)
    high = np.floor(places + (1 / CELL if reach else 0)).astype(int)
    for cells in itertools.product(
        *([a] if a == b else [a, b] for a, b in zip(low.tolist(), high.tolist(), strict=True))
    ):
        yield _hash(salt, shape, cells)


@dataclass(frozen=True)
class SealedKey:
    """Fingerprints of a case: of the truth, of each mistake, and of the truth in each changed form."""

    case: Case
    forms: Mapping[str, tuple[int, ...] | None]
    bounds: Mapping[str, float]
    prints: Mapping[str, Mapping[str, str]]
    salt: str

    def _is(self, label: str, got: Values) -> bool:
        wanted = self.prints.get(label)
        return (
            wanted is not None
            and wanted.keys() <= got.keys()  # what a probe adds for the judge of the full release has no fingerprint
            and all(
                mark in _fingerprints(f"{self.salt} {name}", got[name], self.bounds[name], reach=True)
                for name, mark in wanted.items()
            )
        )

    def is_true(self, question: Question, got: Values) -> bool:
        """Whether `got` is right for this case."""
        return self._is("truth", got)

    def is_mistake(self, name: str, got: Values) -> bool:
        """Whether `got` is what the mistake brings."""
        return self._is(f"mistake {name}", got)

    def is_form(self, name: str, got: Values) -> bool:
        """Whether `got` is the truth in a changed form ("transpose", ...)."""
        return self._is(f"form {name}", got)

    def shapes(self) -> Mapping[str, tuple[int, ...] | None]:
        """Shape of each named array; None for a text."""
        return self.forms

    def expected(self, digits: int = 3, start: int = 0) -> str | None:
        """None: this release does not know it."""
        return None


def _seal_case(question: Question, key: Any, salt: str) -> dict[str, Any]:
    bounds = {n: 1.0 if a.dtype.kind == "U" else key.tolerance.bound(a) for n, a in key.truth.items()}

    def prints(values: Values) -> dict[str, str]:
        return {
            name: next(_fingerprints(f"{salt} {name}", array, bounds[name], reach=False))
            for name, array in values.items()
            if name in bounds
        }

    sealed = {"truth": prints(key.truth)}
    sealed |= {f"mistake {name}": prints(values) for name, values in key.mistakes.items() if values is not None}
    if not any(a.dtype.kind == "U" for a in key.truth.values()):
        for form in diagnoses.forms():
            sealed[f"form {form.name}"] = prints({n: form.change(a.astype(float)) for n, a in key.truth.items()})
    return {
        "name": key.case.name,
        "inputs": packed(key.case),
        "symbols": dict(key.case.symbols),
        "trap": key.case.trap,
        "shapes": {n: None if shape is None else list(shape) for n, shape in key.shapes().items()},
        "bounds": bounds,
        "salt": salt,
        "prints": sealed,
    }


def seal(question: Question) -> dict[str, Any]:
    """Question as JSON without its truth: plain fields, sentences, public cases, fingerprints.

    Raises
        OptionError: a mistake that its fingerprint cannot tell from the truth.
    """
    keys = keys_of(question, cases_of(question, 0, fresh=False))
    cases = [_seal_case(question, key, _hash(question.id, key.case.name)) for key in keys]
    for mistake in question.mistakes:
        if all(case["prints"].get(f"mistake {mistake.name}") == case["prints"]["truth"] for case in cases):
            raise OptionError(f"{question.id}: mistake {mistake.name!r} is too close to the truth for a fingerprint.")
    plain = {name: getattr(question, name) for name in _PLAIN_FIELDS}
    tuples = {name: list(getattr(question, name)) for name in _TUPLES}
    return {
        **plain,
        **tuples,
        "options": dict(question.options),
        "rubric": asdict(question.rubric) if question.rubric else None,
        "tolerance": [question.tolerance.rtol, question.tolerance.atol, question.tolerance.why],
        "mistakes": [[m.name, m.sentence, m.credit, m.trap] for m in question.mistakes],
        "cases": cases,
    }


def _absent(case: Case) -> Mapping[str, Any]:
    raise MissingExtraError("expected values are not part of a student's release.")


def unseal(data: Mapping[str, Any]) -> Question:
    """Question of a student's release."""
    cases = [
        Case(
            item["name"],
            {k: _input(v) for k, v in item["inputs"].items()},
            symbols=item["symbols"],
            trap=item["trap"],
        )
        for item in data["cases"]
    ]
    fields: dict[str, Any] = {name: data[name] for name in _PLAIN_FIELDS}
    fields |= {name: tuple(data[name]) for name in _TUPLES}
    return Question(
        **fields,
        options=data["options"],
        tolerance=Tolerance(*data["tolerance"]),
        mistakes=tuple(Mistake(name, "", sentence, credit, trap) for name, sentence, credit, trap in data["mistakes"]),
        rubric=_rubric(data["rubric"]),
        cases=lambda _, size: cases if size == "public" else [],
        expected=_absent,
        sealed=data["cases"],
    )


def _rubric(data: Mapping[str, Any] | None) -> Rubric | None:
    if data is None:
        return None
    return Rubric(**{**data, "criteria": tuple((points, text) for points, text in data["criteria"])})


def _input(value: Any) -> Any:
    return probing.decode(value) if isinstance(value, dict) and "b64" in value else value


def sealed_keys(question: Question, cases: Sequence[Case]) -> list[SealedKey]:
    """Keys of a sealed question for its public cases."""
    by_name = {item["name"]: item for item in question.sealed or ()}
    return [
        SealedKey(
            case,
            {n: None if s is None else tuple(s) for n, s in by_name[case.name]["shapes"].items()},
            by_name[case.name]["bounds"],
            by_name[case.name]["prints"],
            by_name[case.name]["salt"],
        )
        for case in cases
    ]
