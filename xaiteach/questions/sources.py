"""Read Python source without running it: which names a cell defines and needs, and how to clean it for a grader."""

from __future__ import annotations

import ast
import builtins
import re
import symtable
import threading
from collections.abc import Iterator, Mapping, Set

__all__ = ["Cleaned", "clean", "defined_names", "forbidden_names", "free_names", "helpers"]

_MARKER = re.compile(r"^\s*#+\s*(NBVAL_[A-Z_]+|PYTEST_VALIDATE_IGNORE_OUTPUT)\s*$")
_MAGIC = re.compile(r"^\s*(%%?[A-Za-z]|!|\?)|^\s*[\w.]+\?{1,2}\s*$")
_TIMED = re.compile(r"^(\s*)%time(?:it)?\s+(?=[^-\s])")
_HARMLESS = frozenset({"time", "timeit", "capture", "prun", "memit"})
_BUILTINS = frozenset(dir(builtins))
_PARSING = threading.RLock()
"""Python 3.11 counts the depth of all trees in one place: where a thread that parses is interrupted by the collector,
and another parses meanwhile, the first fails with a SystemError. The grader's workers are threads."""


class Cleaned(str):
    """Source after `clean`, with the flags that say what was taken out."""

    flags: tuple[str, ...] = ()


def clean(source: str) -> Cleaned:
    """Source with Windows line ends and tabs normalised, and with test markers and magics taken out (and flagged).

    Of a cell that begins with a magic which runs it as Python (%%time, %%capture, ...) only that line goes; of any
    other (%%bash, %%html, ...) all of it.
    """
    flags: list[str] = []
    text = source.replace("\r\n", "\n").replace("\r", "\n").lstrip("\ufeff")
    text = text.encode("utf-8", "replace").decode("utf-8")  # half a surrogate pair can be sent to no kernel
    first, _, rest = text.lstrip().partition("\n")
    if first.startswith("%%"):
        harmless = first[2:].split()[:1] and first[2:].split()[0] in _HARMLESS
        flags.append("magic" if harmless else "cell_magic")
        text = rest if harmless else ""
    if _parse(text) is None and _parse(text.expandtabs(8)) is not None:
        text = text.expandtabs(8)  # tabs mixed with spaces, as an editor may leave them
    parses = _parse(text) is not None
    lines = []
    for line in text.split("\n"):
        if _MARKER.match(line):
            flags.append("nbval_marker")
        elif not parses and _TIMED.match(line):
            flags.append("magic")
            lines.append(_TIMED.sub(r"\1", line))
        elif not parses and _MAGIC.search(line):  # in source that parses, such a line is part of a text or a modulo
            flags.append("magic")
        else:
            lines.append(line)
    cleaned = Cleaned("\n".join(lines).rstrip() + "\n" if any(part.strip() for part in lines) else "")
    cleaned.flags = tuple(dict.fromkeys(flags))
    return cleaned


def _parse(source: str) -> ast.Module | None:
    try:
        with _PARSING:
            return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _table(source: str) -> symtable.SymbolTable | None:
    """The compiler's own table of names, scope by scope; None for source that does not parse."""
    try:
        with _PARSING:
            return symtable.symtable(source, "cell", "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def defined_names(source: str) -> set[str]:
    """Names that a cell binds at its top level, by any statement; roughly, for source that does not parse."""
    tree = _parse(source)
    try:
        return set().union(*(_bound(node) for node in tree.body)) if tree is not None else _roughly_defined(source)
    except RecursionError:
        return _roughly_defined(source)


def _bound(node: ast.AST) -> set[str]:
    """From the tree, as newer compilers put the variables of a comprehension among those around it."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return {node.name}
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
    names = {node.id} if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) else set()
    if isinstance(node, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar)) and node.name:
        names.add(node.name)
    if isinstance(node, ast.MatchMapping) and node.rest:
        names.add(node.rest)
    inside = list(ast.iter_child_nodes(node))
    if isinstance(node, ast.comprehension):
        inside.remove(node.target)  # its own variable; what := binds in it is bound around it
    for child in inside:
        if not isinstance(child, ast.Lambda):
            names |= _bound(child)
    return names


def _scopes(table: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    """All scopes within one, at any depth."""
    scopes = list(table.get_children())
    while scopes:
        scope = scopes.pop()
        scopes += scope.get_children()
        yield scope


def _roughly_defined(source: str) -> set[str]:
    """Names defined at the left margin, of source that does not parse or nests too deeply."""
    found = re.findall(r"^(?:def|class)\s+(\w+)|^(\w+)\s*(?::[^=\n]+)?=(?!=)", source, flags=re.MULTILINE)
    return {name for pair in found for name in pair if name}


def free_names(source: str) -> set[str]:
    """Names that a cell, or a function of it, takes from outside: bound nowhere in it, and no builtins.

    What a function calls its own arguments, variables and inner functions is its own affair.
    """
    table = _table(source)
    if table is None:
        return set()
    found = {s.get_name() for s in table.get_symbols() if s.is_referenced() and not s.is_assigned()}
    found |= {s.get_name() for scope in _scopes(table) for s in scope.get_symbols() if s.is_global()}
    return found - defined_names(source) - _BUILTINS


def helpers(source: str, others: Mapping[int, str], known: Set[str]) -> list[str]:
    """Sources among `others` that define names which `source` needs, in their order, transitively.

    Parameters
        others : place -> source of the cells that may help.
        known : names that are there without help.
    """
    needed = free_names(source) - known
    chosen: set[int] = set()
    while True:
        more = {i for i, other in others.items() if i not in chosen and _touched(other) & needed}
        if not more:
            break
        chosen |= more
        for i in more:
            needed |= free_names(others[i]) - known
    if needed - set().union(*(defined_names(others[i]) for i in chosen)):  # what is left may come from a star
        chosen |= {i for i, other in others.items() if re.search(r"^\s*from .+ import \*", other, flags=re.MULTILINE)}
    return [others[i] for i in sorted(chosen)]


def _touched(source: str) -> set[str]:
    """Names that a cell defines, or whose entries or attributes it sets."""
    tree = _parse(source)
    places = [n for n in ast.walk(tree) if isinstance(n, (ast.Subscript, ast.Attribute))] if tree is not None else []
    set_in = {n.value.id for n in places if isinstance(n.ctx, ast.Store) and isinstance(n.value, ast.Name)}
    return defined_names(source) | set_in


def forbidden_names(source: str, forbids: tuple[str, ...]) -> list[str]:
    """Which of the names that an answer may not use occur in it: as a name, an attribute or an import."""
    tree = _parse(source)
    if tree is None or not forbids:
        return []
    used: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            used.add(node.id)
        elif isinstance(node, ast.Attribute):
            used.add(node.attr)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            module = getattr(node, "module", None) or ""
            used.update(part for alias in node.names for part in f"{module}.{alias.name}".split("."))
    return [name for name in forbids if name in used]
