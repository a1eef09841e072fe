"""Diagnoses that every numeric question gets for free: "right up to a sign", "a factor of 1/(d1 d2)", "transposed".

A diagnosis is a change of form (transpose, flip, ...) of the true arrays, or two of them, times a constant that is the
same for every case or is one product of the case's own sizes. It must hold for every case.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from xaiteach.questions.model import Tolerance

__all__ = ["Diagnosis", "Fingerprinted", "Form", "by_trial", "forms", "generic"]

Array = np.ndarray[Any, Any]
FACTOR_RTOL = 2e-3  # two factors this close are one: a student's 3.14 is not told apart from pi


@dataclass(frozen=True)
class Form:
    """A change of an array that students make by accident, with its name and what to say."""

    name: str
    words: str
    change: Callable[[Array], Array]


@dataclass(frozen=True)
class Diagnosis:
    """What the answer is up to, and the sentence about it."""

    name: str
    sentence: str


def _fortran(a: Array) -> Array:
    """Fill the same shape in column-major order: the flattened numbers read as if the last axis ran slowest."""
    return a.reshape(-1).reshape(a.shape, order="F")


def _channels_last(a: Array) -> Array:
    """Numbers unrolled with the first axis running fastest, then read back in C order."""
    return np.moveaxis(a.reshape(*a.shape[1:], a.shape[0]), -1, 0) if a.ndim > 1 else a


def _first_only(a: Array) -> Array:
    out = np.zeros_like(a)
    out[0] = a[0]
    return out


def _scaled(a: Array) -> Array:
    top = np.abs(a).max(initial=0.0)
    return a / top if top and a.size > 2 else a


_PLAIN = Form("same", "", lambda a: a)
_FORMS = (
    Form("transpose", "with its last two axes exchanged", lambda a: np.swapaxes(a, -1, -2) if a.ndim > 1 else a),
    Form("fortran", "with its numbers in column-major (Fortran) order", _fortran),
    Form("channels_last", "with channels unrolled last instead of first", _channels_last),
    Form("flip", "upside down along its first axis", lambda a: a[::-1] if a.ndim else a),
    Form("flip_last", "mirrored along its last axis", lambda a: a[..., ::-1] if a.ndim else a),
    Form("first_repeated", "with the first entry in place of all", lambda a: a[:1].repeat(len(a), 0) if a.ndim else a),
    Form("first_only", "for its first entry only", lambda a: _first_only(a) if a.ndim else a),
    Form("abs", "without its signs (absolute values)", np.abs),
    Form("clipped", "with the negative part cut off", lambda a: np.maximum(a, 0)),
    Form("scaled", "divided by its own largest size", _scaled),
    Form("flattened", "flattened into one axis", lambda a: a.reshape(-1) if a.ndim else a),
)


def forms() -> list[Form]:
    """All single forms and ordered pairs, the plain one first; simpler ones come before pairs."""
    pairs = [
        Form(f"{a.name}+{b.name}", f"{a.words}, and {b.words}", lambda x, f=a, g=b: g.change(f.change(x)))  # type: ignore[misc]
        for a, b in itertools.permutations(_FORMS, 2)
    ]
    return [_PLAIN, *_FORMS, *pairs]


def _pairs_of_arrays(
    got: Sequence[Mapping[str, Array]], truth: Sequence[Mapping[str, Array]], form: Form
) -> list[tuple[Array, Array]] | None:
    """(got, changed truth) for every case and name, or None where a shape does not fit."""
    pairs = []
    for mine, true in zip(got, truth, strict=True):
        for name, array in true.items():
            changed = form.change(array)
            if name not in mine or mine[name].shape != changed.shape:
                return None
            pairs.append((mine[name], changed))
    return pairs


def _changes(truth: Sequence[Mapping[str, Array]], form: Form) -> bool:
    """Whether a form makes a difference to the truth at all; where it makes none, it explains nothing."""
    return any(
        (changed := form.change(array)).shape != array.shape or not np.array_equal(changed, array)
        for case in truth
        for array in case.values()
    )


def _factor(mine: Array, true: Array) -> float | None:
    """Least-squares constant k with mine = k * true, or None when `true` has nothing to fit on."""
    square = float((true * true).sum())
    return float((mine * true).sum()) / square if square > 0 else None


def _named_factor(factors: Sequence[float], symbols: Sequence[Mapping[str, float]]) -> str | None:
    """Product of sizes (powers -1, 0, 1) that equals the factor in every case, such as "1/(d1 d2)"."""
    names = sorted(set.intersection(*(set(s) for s in symbols))) if symbols else []
    for size in (1, 2, 3):
        for chosen in itertools.combinations(names, size):
            for powers in itertools.product((-1, 1), repeat=size):
                values = [np.prod([s[n] ** p for n, p in zip(chosen, powers, strict=True)]) for s in symbols]
                if np.allclose(values, factors, rtol=FACTOR_RTOL, atol=0):
                    over = [n for n, p in zip(chosen, powers, strict=True) if p > 0]
                    under = [n for n, p in zip(chosen, powers, strict=True) if p < 0]
                    below = " ".join(under) if len(under) == 1 else f"({' '.join(under)})"
                    return " ".join(over) if not under else f"{' '.join(over) or '1'}/{below}"
    return None


def _fits(pairs: Sequence[tuple[Array, Array]], factors: Sequence[float], tolerance: Tolerance) -> bool:
    return all(
        float(np.abs(mine - k * true).max(initial=0.0)) <= tolerance.bound(mine) + tolerance.bound(k * true)
        for (mine, true), k in zip(pairs, factors, strict=True)
    )


def _constant(pairs: Sequence[tuple[Array, Array]]) -> list[float] | None:
    """Fitted factor of each pair; None when there is too little to fit a constant on without always succeeding."""
    numbers = sum(int(np.count_nonzero(true)) for _, true in pairs)
    fitted = [_factor(mine, true) for mine, true in pairs]
    known = [k for k in fitted if k is not None]
    if numbers < 3 or not known or any(abs(k) < 1e-6 for k in known):
        return None
    return [known[0] if k is None else k for k in fitted]


def generic(
    got: Sequence[Mapping[str, Array]],
    truth: Sequence[Mapping[str, Array]],
    symbols: Sequence[Mapping[str, float]],
    tolerance: Tolerance,
) -> Diagnosis | None:
    """Simplest change that turns the truth into what came, in every case; None when there is none.

    Parameters
        got, truth : one mapping of named arrays for each case, numeric.
        symbols : each case's sizes by name.
        tolerance : the question's.
    Returns
        Diagnosis, or None.
    """
    if not got or any(not np.isfinite(a).all() for case in got for a in case.values()):
        return None
    per_case = [s for s, true in zip(symbols, truth, strict=True) for _ in true]
    for form in forms():
        pairs = _pairs_of_arrays(got, truth, form)
        if not pairs or not any(np.any(true) for _, true in pairs) or not (form is _PLAIN or _changes(truth, form)):
            continue
        signs: tuple[tuple[float, str], ...] = ((1.0, ""), (-1.0, "with the opposite sign"))
        for sign, words in signs:
            if (form is not _PLAIN or sign < 0) and _fits(pairs, [sign] * len(pairs), tolerance):
                return _diagnosis(form, words)
        factors = _constant(pairs)
        if "+" in form.name or factors is None or not _fits(pairs, factors, tolerance):
            continue
        factor = _factor_words(factors, per_case)
        if factor:
            return _diagnosis(form, factor)
    return None


def _factor_words(factors: Sequence[float], symbols: Sequence[Mapping[str, float]]) -> str | None:
    """Name of a constant factor, with its sign; None when the cases do not share one."""
    sign = "the opposite sign and " if factors[0] < 0 else ""
    if any((k < 0) != (factors[0] < 0) for k in factors):
        return None
    sizes = [abs(k) for k in factors]
    named = _named_factor(sizes, symbols)
    if named:
        return f"with {sign}a factor of {named}"
    if np.allclose(sizes, sizes[0], rtol=FACTOR_RTOL, atol=0) and not np.isclose(sizes[0], 1, rtol=FACTOR_RTOL):
        return f"with {sign}a constant factor of {sizes[0]:.3g}"
    return None


def _diagnosis(form: Form, factor: str) -> Diagnosis:
    words = [part for part in (form.words, factor) if part]
    name = "+".join(part for part in (form.name if form is not _PLAIN else "", "factor" if factor else "") if part)
    name = "sign" if factor == "with the opposite sign" and form is _PLAIN else name
    return Diagnosis(name, f"Right up to one thing: yours is the true answer {', and '.join(words)}.")


class Fingerprinted(Protocol):
    """A key that can tell a form of the truth when it sees it, without holding the truth."""

    def is_form(self, name: str, got: Any) -> bool:
        """Whether `got` is the truth in this form."""


def by_trial(
    got: Sequence[Mapping[str, Array]], keys: Sequence[Any], symbols: Sequence[Mapping[str, float]]
) -> Diagnosis | None:
    """The same diagnoses where only fingerprints of the truth are known: undo each sign and factor, and look it up.

    Factors tried: the products of one or two of the sizes, and a few plain numbers.
    """
    if any(not np.isfinite(a).all() for case in got for a in case.values()):
        return None
    for form in forms():
        for factor, words in _trial_factors(symbols, plain="+" in form.name):
            if form is _PLAIN and not words:
                continue
            undone = [{n: a / factor[i] for n, a in case.items()} for i, case in enumerate(got)]
            if all(key.is_form(form.name, values) for key, values in zip(keys, undone, strict=True)):
                return _diagnosis(form, words)
    return None


def _trial_factors(symbols: Sequence[Mapping[str, float]], *, plain: bool) -> list[tuple[list[float], str]]:
    """Factor for each case, with its words; only the two signs where `plain`."""
    ones = [1.0] * len(symbols)
    found = [(ones, ""), ([-1.0] * len(symbols), "with the opposite sign")]
    if plain:
        return found
    sizes = [(f"{k:g}", [k] * len(symbols)) for k in (2.0, 0.5, 3.0, 4.0, 0.25, 10.0, 0.1, 100.0, 0.01)]
    names = sorted(set.intersection(*(set(s) for s in symbols))) if symbols else []
    for count in (1, 2):
        for chosen in itertools.combinations(names, count):
            for powers in itertools.product((-1, 1), repeat=count):
                values = [float(np.prod([s[n] ** p for n, p in zip(chosen, powers, strict=True)])) for s in symbols]
                sizes.append((_named_factor(values, symbols) or "a size", values))
    found += [(values, f"with a factor of {name}") for name, values in sizes]
    return found + [([-k for k in values], f"with the opposite sign and a factor of {name}") for name, values in sizes]
