"""A notebook of answers as pages to print: for each question what is asked, the answer, and the notes beside it.

Nothing is run. Everything in a notebook is text to this module: it is escaped, and of pictures only those that the
notebook itself holds are taken over.
"""

from __future__ import annotations

import ast
import html
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import mistune
from latex2mathml.converter import convert_to_element
from markupsafe import Markup, escape

from xaiteach.checks.notebook import unit_of_notebook
from xaiteach.checks.references import cell_source, read_notebook
from xaiteach.errors import NotebookSourceError
from xaiteach.questions import Question, of_unit
from xaiteach.runtime import course_root

__all__ = ["Page", "pages", "printable"]

Cell = Mapping[str, Any]

_MATHML = frozenset(
    [
        "math",
        "mrow",
        "mi",
        "mn",
        "mo",
        "ms",
        "mtext",
        "mspace",
        "mfrac",
        "msqrt",
        "mroot",
        "msub",
        "msup",
        "msubsup",
        "munder",
        "mover",
        "munderover",
        "mtable",
        "mtr",
        "mtd",
        "mpadded",
        "mphantom",
        "menclose",
        "mstyle",
    ]
)
_ATTRIBUTES = frozenset(
    [
        "xmlns",
        "display",
        "displaystyle",
        "scriptlevel",
        "mathvariant",
        "stretchy",
        "fence",
        "form",
        "separator",
        "accent",
        "largeop",
        "movablelimits",
        "symmetric",
        "minsize",
        "maxsize",
        "lspace",
        "rspace",
        "width",
        "height",
        "depth",
        "voffset",
        "linethickness",
        "columnalign",
        "columnlines",
        "rowlines",
        "columnspacing",
        "rowspacing",
        "notation",
    ]
)
"""Of MathML, what can do nothing but be looked at: no links, actions or styles."""

_PICTURES = ("image/png", "image/jpeg", "image/gif", "image/webp")


@dataclass(frozen=True)
class Page:
    """What one page shows, as HTML that is safe to put together."""

    question: Question
    asked: Markup
    answer: Markup
    notes: Sequence[Markup] = field(default=())

    @property
    def blank(self) -> bool:
        """Whether nothing was answered."""
        return not self.answer


def printable(path: Path) -> str:
    """One self-contained HTML page for a notebook of exercises, which a browser prints question by question.

    Parameters
        path : notebook, as it was saved.
    Returns
        HTML. Formulas are MathML, which needs no script and no network.
    Raises
        NotebookSourceError: no notebook, or none with questions of this course.
    """
    unit = unit_of_notebook(path)
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(_PAGE)
    return template.render(unit=unit, file=path.name, pages=pages(path))


def pages(path: Path) -> list[Page]:
    """Pages of a notebook, in the order of its unit's questions; raises as `printable`."""
    unit = unit_of_notebook(path)
    questions = {question.id: question for question in of_unit(unit)}
    cells: Sequence[Cell] = read_notebook(path)["cells"]
    places = {_question_of(cell): place for place, cell in reversed(list(enumerate(cells))) if _question_of(cell)}
    known = [question for question in questions.values() if question.id in places]
    if not known:
        raise NotebookSourceError(
            f"{path} must hold answers of unit {unit}; got a notebook without a cell that is marked as one. Try the "
            "file in exercises/."
        )
    ours = _own_texts(unit)
    before = {question.id: _start(cells, places[question.id], ours) for question in known}
    starts = sorted(before.values())
    found = []
    for question in known:
        place, start = places[question.id], before[question.id]
        end = next((other for other in starts if other > start), len(cells))
        asked = [cell for cell in cells[start:place] if cell.get("cell_type") == "markdown" and _plain(cell) in ours]
        notes = [
            cell for cell in cells[start:end] if cell.get("cell_type") == "markdown" and _plain(cell) not in ours | {""}
        ]
        found.append(
            Page(
                question,
                Markup("").join(_rendered(cell) for cell in asked),
                _answer(question, cell_source(dict(cells[place]))),
                [_rendered(cell) for cell in notes],
            )
        )
    return found


def _question_of(cell: Cell) -> str:
    mark = (cell.get("metadata") or {}).get("xaiteach") or {}
    return str(mark.get("question", "")) if mark.get("role") == "answer" and cell.get("cell_type") == "code" else ""


def _plain(cell: Cell) -> str:
    return " ".join(cell_source(dict(cell)).split())


def _own_texts(unit: str) -> frozenset[str]:
    """Texts of the course's own exercise notebook: what else stands in a student's was written there."""
    path = course_root() / "exercises" / f"{unit}.ipynb"
    cells = read_notebook(path)["cells"] if path.is_file() else []
    return frozenset(_plain(cell) for cell in cells if cell.get("cell_type") == "markdown")


def _start(cells: Sequence[Cell], place: int, ours: frozenset[str]) -> int:
    """Place of the text that asks what is answered at `place`: the nearest heading of the course before it."""
    for at in range(place - 1, -1, -1):
        if _question_of(cells[at]):
            return at + 1
        if cells[at].get("cell_type") == "markdown" and _plain(cells[at]) in ours and _plain(cells[at])[:1] == "#":
            return at
    return 0


def _answer(question: Question, source: str) -> Markup:
    """The answer as text, formula or code; empty where the blank is still there."""
    tree = _tree(source)
    value = next(
        (
            node.value
            for node in (tree.body if tree else [])
            if isinstance(node, ast.Assign)
            and any(isinstance(t, ast.Name) and t.id == question.answer for t in node.targets)
        ),
        None,
    )
    if isinstance(value, ast.Constant) and value.value is ...:
        return Markup("")
    if isinstance(value, ast.Constant) and question.kind in ("essay", "formula", "choice", "prediction"):
        text = str(value.value).strip()
        if text in ("", "..."):
            return Markup("")
        paragraphs = re.split(r"\n\s*\n", text)
        return Markup("").join(Markup("<p class='answer'>{}</p>").format(part) for part in paragraphs)
    if tree is not None and any(_is_blank(node) for node in ast.walk(tree)):
        return Markup("")
    return Markup("<pre>{}</pre>").format(source.strip()) if source.strip() else Markup("")


def _tree(source: str) -> ast.Module | None:
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _is_blank(node: ast.AST) -> bool:
    """Whether a function or an assignment gives `...`."""
    value = getattr(node, "value", None) if isinstance(node, ast.Return | ast.Assign) else None
    return isinstance(value, ast.Constant) and value.value is ...


class _Renderer(mistune.HTMLRenderer):
    """Markdown to HTML: no raw HTML, formulas as MathML, pictures only from the notebook's own attachments."""

    def __init__(self, attachments: Mapping[str, Any]) -> None:
        super().__init__(escape=True)
        self._attachments = attachments

    def image(self, text: str, url: str, title: str | None = None) -> str:  # noqa: ARG002 - mistune's
        name = url.removeprefix("attachment:")
        held = self._attachments.get(name) if name != url else None
        for kind in _PICTURES:
            if isinstance(held, Mapping) and isinstance(held.get(kind), str):
                data = re.sub(r"[^A-Za-z0-9+/=]", "", held[kind])
                return f'<img src="data:{kind};base64,{data}" alt="{escape(text)}">'
        return f"<em>(picture: {escape(text or url)})</em>"

    def inline_math(self, text: str) -> str:
        return _formula(text, "inline")

    def block_math(self, text: str) -> str:
        return f"<div>{_formula(text, 'block')}</div>"


def _formula(text: str, display: str) -> str:
    try:
        found = convert_to_element(text.strip(), display=display)
    except Exception:  # whatever a student typed that is no LaTeX is shown as it stands
        return f"<code>{escape(text)}</code>"
    for node in found.iter():
        if node.tag not in _MATHML:
            return f"<code>{escape(text)}</code>"
        node.text = html.unescape(node.text) if node.text else None  # to be escaped once, below
        for name in set(node.attrib) - _ATTRIBUTES:
            del node.attrib[name]
    return ElementTree.tostring(found, encoding="unicode")


def _rendered(cell: Cell) -> Markup:
    attachments = cell.get("attachments")
    renderer = _Renderer(attachments if isinstance(attachments, Mapping) else {})
    markdown = mistune.create_markdown(renderer=renderer, plugins=["math", "table", "strikethrough"])
    text = _INLINE.sub(lambda found: found[0].replace("\n", " "), cell_source(dict(cell)))
    return Markup(markdown(text))  # safe: the renderer escapes what it is given


_INLINE = re.compile(r"(?<![\\$])\$(?!\$)[^$]+\$")
"""A formula within a line, which the source may break across two."""

_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ unit }}: answers</title>
<style>
body { font: 11pt/1.5 Georgia, "DejaVu Serif", serif; color: #111; background: #fff; }
body { margin: 0 auto; max-width: 44em; padding: 1em; }
section { break-after: page; padding: 0.5em 0 2em; border-bottom: 1px solid #bbb; }
section:last-child { break-after: auto; border-bottom: none; }
header { color: #555; font-size: 9pt; display: flex; justify-content: space-between; }
h1 { font-size: 16pt; line-height: 1.25; }
h2 { font-size: 11pt; margin: 1.4em 0 0.3em; text-transform: uppercase; letter-spacing: 0.06em; }
.asked { color: #333; border-left: 3px solid #bbb; padding-left: 1em; }
.asked h1, .asked h2, .asked h3 { font-size: 11pt; text-transform: none; letter-spacing: 0; }
.asked > :is(h1, h2, h3):first-child { display: none; } /* it is the page's own heading */
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: #f4f4f4; padding: 0.8em; }
pre { font: 9.5pt/1.4 "DejaVu Sans Mono", monospace; }
p.answer { white-space: pre-line; }
p.blank { color: #777; font-style: italic; }
img { max-width: 100%; }
table { border-collapse: collapse; } td, th { border: 1px solid #bbb; padding: 0.2em 0.6em; }
@page { size: A4; margin: 20mm; }
@media print { body { padding: 0; max-width: none; } section { border-bottom: none; } }
</style>
</head>
<body>
{% for page in pages %}
<section>
<header><span>{{ unit }} · {{ file }}</span><span>{{ page.question.id }}</span></header>
<h1>{{ page.question.title }}</h1>
<div class="asked">{{ page.asked }}</div>
<h2>Answer</h2>
{% if page.blank %}<p class="blank">Not answered yet.</p>{% else %}{{ page.answer }}{% endif %}
{% if page.notes %}<h2>Notes and derivation</h2>
{% for note in page.notes %}{{ note }}{% endfor %}{% endif %}
</section>
{% endfor %}
</body>
</html>
"""
