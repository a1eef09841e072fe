"""Formulas that a student types: read by a grammar of our own, which knows numbers, names and arithmetic and no more.

Nothing is ever evaluated by Python: what the grammar does not have (attributes, strings, brackets, calls of anything
but the functions below) is refused with a sentence. A formula is judged by its numbers, not by its form: it is computed
on the values of each case and compared with the truth there.

    sum     := product (("+" | "-") product)*
    product := signed (("*" | "/") signed)*
    signed  := ("+" | "-") signed | power
    power   := atom [("^" | "**") ["-"] atom]
    atom    := number | name | function "(" sum ("," sum)* ")" | "(" sum ")"
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from xaiteach.errors import OptionError, unknown
from xaiteach.questions.model import Case, Values

__all__ = ["FUNCTIONS", "Formula", "numbers", "parse"]

Array = np.ndarray[Any, Any]
Node = tuple[str, tuple[Any, ...]]
"""("number", (value,)), ("name", (name,)), or an operator or function with its nodes."""

LONGEST, DEEPEST = 300, 40

FUNCTIONS: Mapping[str, tuple[int, Callable[..., Any]]] = {
    "sqrt": (1, np.sqrt),
    "exp": (1, np.exp),
    "log": (1, np.log),
    "abs": (1, np.abs),
    "sign": (1, np.sign),
    "relu": (1, lambda x: np.maximum(x, 0.0)),
    "max": (2, np.maximum),
    "min": (2, np.minimum),
    "sum": (1, np.sum),
    "mean": (1, np.mean),
    "norm": (1, lambda x: np.sqrt(np.sum(np.square(x)))),
    "dot": (2, lambda x, y: np.sum(np.multiply(x, y))),
}
"""Function -> number of arguments, and what it computes; sum, mean, norm and dot run over all entries of a vector."""

_OPERATORS: Mapping[str, Callable[..., Any]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "^": np.power,
    "negative": np.negative,
}
_SIGNS = {
    "**": "^", "·": "*", "×": "*", "−": "-", "–": "-", "√": " sqrt ", "²": "^2", "³": "^3", "λ": " lambda ",
    "σ": " sigma ", "α": " alpha ", "β": " beta ", "γ": " gamma ", "δ": " delta ", "ε": " epsilon ", "η": " eta ",
    "μ": " mu ", "ρ": " rho ", "τ": " tau ", "ω": " omega ",
}  # fmt: skip
_OTHER_NAMES = {"ln": "log"}
_TOKEN = re.compile(r"\s*(?:(\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)|([A-Za-z_]\w*)|(.))", re.ASCII)
_BEFORE = {"+": 1, "-": 1, "*": 2, "/": 2, "negative": 3, "^": 4}


@dataclass(frozen=True)
class Formula:
    """A formula that was read.

    Parameters
        node : its tree, see `Node`.
        names : what it uses of the names it may use.
    """

    node: Node
    names: frozenset[str]

    def value(self, given: Mapping[str, Any]) -> Array:
        """Its value, float64, where the names have the values given (numbers or vectors); not finite where it is not.

        Raises
            OptionError: vectors of different lengths meet.
        """
        try:
            with np.errstate(all="ignore"):
                return np.asarray(_value(self.node, given), dtype=np.float64)
        except ValueError:
            sizes = ", ".join(f"{n} {np.shape(given[n])}" for n in sorted(self.names) if np.ndim(given[n]))
            raise OptionError(
                f"the formula must join vectors of one length; got {sizes}. Try dot(a, b), norm(a) or sum(a), which "
                "make a number of them."
            ) from None

    def __str__(self) -> str:
        return _text(self.node)


def parse(text: str, names: Collection[str]) -> Formula:
    """Read a formula.

    Parameters
        text : such as "g + a*x0/(sigma^2 + x0^2)". Products need their sign; ^ and ** are powers; Greek letters and a
            superscript 2 or 3 are read as what they stand for.
        names : what it may use, beside numbers and FUNCTIONS.
    Raises
        OptionError: anything else; the message says what, where, and what to try.
    Examples
        >>> formula = parse("λ/(1 + 2 * lambda)^2", ["lambda"])
        >>> print(formula, float(formula.value({"lambda": 2.0})))
        lambda/(1 + 2*lambda)^2 0.08
    """
    return _Reader(text, names).formula()


def numbers(values: Values, case: Case) -> tuple[Values | None, dict[str, Any] | None, str]:
    """What a probe brought back for a formula question (one text), as numbers on a case.

    Returns
        values : {"value": its value}, or None.
        error : the reason where there are none, as `probing` reports faults.
        read : the formula as it was read.
    """
    written = next(iter(values.values()), np.asarray(""))
    if written.dtype.kind != "U":
        return None, _refused(f"a formula in quotes is asked for; got {written.ravel()[:1].tolist()}"), ""
    text = str(written).strip()
    if text in ("", "..."):
        return None, {"kind": "unfinished", "type": "text", "message": "", "line": None}, ""
    try:
        formula = parse(text, list(case.inputs))
        return {"value": formula.value(case.inputs)}, None, str(formula)
    except OptionError as error:
        return None, _refused(str(error)), ""


def _refused(message: str) -> dict[str, Any]:
    return {"kind": "formula", "type": "formula", "message": message, "line": None}


def _value(node: Node, given: Mapping[str, Any]) -> Any:
    kind, parts = node
    if kind == "number":
        return parts[0]
    if kind == "name":
        return np.asarray(given[parts[0]], dtype=np.float64)
    work = _OPERATORS[kind] if kind in _OPERATORS else FUNCTIONS[kind][1]
    return work(*(_value(part, given) for part in parts))


def _text(node: Node) -> str:
    """The formula with those brackets that it needs, and those that keep a chain of * and / from being misread."""
    kind, parts = node
    if kind == "number":
        return f"{parts[0]:g}"
    if kind == "name":
        return str(parts[0])
    if kind not in _OPERATORS:
        return f"{kind}({', '.join(_text(part) for part in parts)})"
    own = _BEFORE[kind]
    if kind == "negative":
        return f"-{_bracketed(parts[0], own)}"
    left = _bracketed(parts[0], own + (kind == "^"), apart="/" if kind == "*" else "")
    right = _bracketed(parts[1], own + (kind != "+" and kind != "*"), apart="/")
    space = " " if own == 1 else ""
    return f"{left}{space}{kind}{space}{right}"


def _bracketed(node: Node, least: int, apart: str = "") -> str:
    text = _text(node)
    return f"({text})" if _BEFORE.get(node[0], 5) < least or node[0] == apart else text


class _Reader:
    """Recursive descent over the tokens of one text."""

    def __init__(self, text: str, names: Collection[str]) -> None:
        if len(text) > LONGEST:
            raise OptionError(
                f"the formula must have at most {LONGEST} characters; got {len(text)}. Try a shorter form of it."
            )
        self.names, self.used, self.at, self.depth = names, set[str](), 0, 0
        for sign, spelled in _SIGNS.items():
            text = text.replace(sign, spelled)
        self.tokens = [match.groups() for match in _TOKEN.finditer(text) if any(match.groups())]

    def formula(self) -> Formula:
        node = self.sum()
        if self.next():
            raise OptionError(self.surplus())
        return Formula(node, frozenset(self.used))

    def next(self) -> str:
        """The token that comes, "" at the end."""
        return next(part for part in self.tokens[self.at] if part) if self.at < len(self.tokens) else ""

    def take(self, *wanted: str) -> str:
        """The token that comes, if it is one of those wanted; else ""."""
        found = self.next()
        if not found or found not in wanted:
            return ""
        self.at += 1
        return found

    def sum(self) -> Node:
        self.depth += 1
        if self.depth > DEEPEST:
            raise OptionError(f"the formula must have at most {DEEPEST} brackets in each other; got more. Try fewer.")
        node = self.product()
        while sign := self.take("+", "-"):
            node = (sign, (node, self.product()))
        self.depth -= 1
        return node

    def product(self) -> Node:
        node = self.signed()
        while sign := self.take("*", "/"):
            node = (sign, (node, self.signed()))
        return node

    def signed(self) -> Node:
        signs = [sign for sign in iter(lambda: self.take("+", "-"), "")]
        node = self.power()
        return ("negative", (node,)) if signs.count("-") % 2 else node

    def power(self) -> Node:
        node = self.atom()
        if not self.take("^"):
            return node
        negative = self.take("-")
        exponent = self.atom()
        if self.next() == "^":
            raise OptionError("the formula must say which power comes first; got a^b^c. Try (a^b)^c or a^(b^c).")
        return ("^", (node, ("negative", (exponent,)) if negative else exponent))

    def atom(self) -> Node:
        number, name, other = self.tokens[self.at] if self.at < len(self.tokens) else ("", "", "")
        if number:
            self.at += 1
            return ("number", (float(number),))
        if name:
            return self.named(name if name in self.names else _OTHER_NAMES.get(name, name))
        if other == "(":
            self.at += 1
            node = self.sum()
            self.closed()
            return node
        raise OptionError(self.surplus(other))

    def named(self, name: str) -> Node:
        self.at += 1
        if name in self.names:
            self.used.add(name)
            return ("name", (name,))
        if name not in FUNCTIONS:
            raise unknown("name in a formula", name, [*self.names, *FUNCTIONS])
        count = FUNCTIONS[name][0]
        if not self.take("("):
            raise OptionError(f"the function {name} needs its argument in brackets; got {name} alone. Try {name}(...).")
        parts = [self.sum()]
        while self.take(","):
            parts.append(self.sum())
        self.closed()
        if len(parts) != count:
            raise OptionError(f"the function {name} takes {count} argument(s); got {len(parts)}. Try {_call(name)}.")
        return (name, tuple(parts))

    def closed(self) -> None:
        if not self.take(")"):
            raise OptionError(self.surplus() if self.next() else "the formula must close its brackets; got one '(' "
                              "too many. Try counting them from the inside.")  # fmt: skip

    def surplus(self, other: str = "") -> str:
        """What is said where nothing of the grammar fits."""
        found = self.next()
        if not found:
            return "the formula must go on after a sign; got its end. Try adding what is missing."
        if found == "=":
            return "the formula must be one side alone; got an equation. Try what stands right of the =."
        if not other and (found == "(" or self.tokens[self.at][0] or self.tokens[self.at][1]):
            return f"the formula must have a sign between two factors; got none before {found!r}. Try * there."
        if found == ")":
            return "the formula must open its brackets; got one ')' too many. Try counting them from the inside."
        if found == ",":
            return "the formula must have a decimal point, and a comma in dot, max and min alone. Try 0.5 for 0,5."
        return (
            f"the formula may hold numbers, names, + - * / ^ ( ) and the functions {', '.join(FUNCTIONS)}; got "
            f"{found!r}. Try it without."
        )


def _call(name: str) -> str:
    return f"{name}(a, b)" if FUNCTIONS[name][0] == 2 else f"{name}(a)"
