"""Answers as pages to print: one for each question, with what the student wrote and nothing that could act."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from xaiteach.checks.printable import pages, printable
from xaiteach.cli import app
from xaiteach.errors import NotebookSourceError
from xaiteach.questions import UNITS, of_unit
from xaiteach.runtime import course_root

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
UNIT = "01_gradients"


def notebook(folder: str, unit: str = UNIT) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((course_root() / folder / f"{unit}.ipynb").read_text(encoding="utf-8"))
    return found


def saved(tmp_path: Path, cells: dict[str, Any], name: str = f"{UNIT}.ipynb") -> Path:
    path = tmp_path / name
    path.write_text(json.dumps(cells), encoding="utf-8")
    return path


def place(cells: list[dict[str, Any]], question: str, role: str = "answer") -> int:
    return next(
        i for i, cell in enumerate(cells) if cell["metadata"].get("xaiteach") == {"role": role, "question": question}
    )


def note(text: str, **more: Any) -> dict[str, Any]:
    return {"cell_type": "markdown", "id": "mine", "metadata": {}, "source": text, **more}


@pytest.mark.parametrize("unit", UNITS)
def test_every_question_has_its_page_and_every_formula_is_drawn(unit: str) -> None:
    for folder, blank in (("exercises", True), ("solutions", False)):
        path = course_root() / folder / f"{unit}.ipynb"
        found = pages(path)
        assert [page.question.id for page in found] == [question.id for question in of_unit(unit)]
        assert {page.blank for page in found} == {blank}
        assert [page.question.id for page in found if not page.asked] == []
        assert [page.question.id for page in found if page.notes and blank] == []
        text = printable(path)
        assert "$" not in re.sub(r"<pre>.*?</pre>|<code>.*?</code>", "", text, flags=re.DOTALL)
        assert text.count("<section>") == len(found)


def test_a_text_a_formula_a_letter_and_code_are_shown_as_they_were_written(tmp_path: Path) -> None:
    by_id = {page.question.id: str(page.answer) for page in pages(course_root() / "solutions" / "04_lime_fit.ipynb")}
    assert by_id["lime_fit.no_intercept"] == "<p class='answer'>g + a*x0/(sigma^2 + x0^2)</p>"
    assert by_id["lime_fit.scalar_noise"] == "<p class='answer'>b</p>"
    assert by_id["lime_fit.reading"].startswith("<p class='answer'>It is a slope")
    assert by_id["lime_fit.bowl"].startswith("<pre>def bowl(X, y, w, beta):")


def test_what_the_student_wrote_stands_on_the_page_of_its_question(tmp_path: Path) -> None:
    book = notebook("exercises")
    at = place(book["cells"], "gradients.weight_gradient")
    book["cells"].insert(at, note(r"Chain rule: $\frac{\partial s}{\partial W}$"))
    at = place(book["cells"], "gradients.smoothgrad", "check")
    book["cells"].insert(at + 1, note("after the check"))
    found = {page.question.id: page.notes for page in pages(saved(tmp_path, book)) if page.notes}
    assert set(found) == {"gradients.weight_gradient", "gradients.smoothgrad"}
    assert "<mfrac>" in found["gradients.weight_gradient"][0]
    assert "after the check" in found["gradients.smoothgrad"][0]


def test_nothing_in_a_notebook_can_act(tmp_path: Path) -> None:
    book = notebook("exercises")
    at = place(book["cells"], "gradients.saliency")
    hostile = (
        "<script>alert(1)</script> <img src=x onerror=alert(2)> ![far](http://example.org/a.png)\n\n"
        "[a](javascript:alert(3)) $\\href{javascript:alert(9)}{x}$\n\n"
        "$\\text{<script>alert(4)</script>}$ $</math><script>alert(5)</script>$ ![b](attachment:bad.svg)\n"
    )
    attached = {"bad.svg": {"image/svg+xml": "<svg onload='alert(6)'/>"}}
    book["cells"].insert(at, note(hostile, attachments=attached))
    book["cells"][at + 1]["source"] = "saliency = '</pre><script>alert(7)</script>'\n"
    essay = place(book["cells"], "gradients.reading")
    book["cells"][essay]["source"] = 'reading = """</p><script>alert(8)</script>"""\n'
    text = printable(saved(tmp_path, book, "01_<b>.ipynb"))
    for forbidden in ("<script", "<img", "<b>", 'href="javascript', 'src="http', "<svg", "onload='"):
        assert forbidden not in text, forbidden
    assert "&lt;script&gt;alert(8)" in text


def test_a_photographed_derivation_travels_within_the_page(tmp_path: Path) -> None:
    book = notebook("exercises")
    at = place(book["cells"], "gradients.saliency")
    book["cells"].insert(at, note("![my sheet](attachment:s.png)", attachments={"s.png": {"image/png": PNG}}))
    text = printable(saved(tmp_path, book))
    assert f'<img src="data:image/png;base64,{PNG}" alt="my sheet">' in text


@pytest.mark.parametrize(
    "source",
    ["", "   \n", "saliency = ...\n", "def saliency(x):\n    return ...\n", "saliency = '...'\n"],
)
def test_a_blank_is_told(tmp_path: Path, source: str) -> None:
    book = notebook("solutions")
    book["cells"][place(book["cells"], "gradients.saliency")]["source"] = source
    page = next(page for page in pages(saved(tmp_path, book)) if page.question.id == "gradients.saliency")
    assert page.blank == (source != "saliency = '...'\n")  # which is code, and wrong


def test_source_that_does_not_parse_is_shown(tmp_path: Path) -> None:
    book = notebook("solutions")
    book["cells"][place(book["cells"], "gradients.saliency")]["source"] = "saliency = (1,\n"
    page = next(page for page in pages(saved(tmp_path, book)) if page.question.id == "gradients.saliency")
    assert page.answer == "<pre>saliency = (1,</pre>"


def test_missing_answers_leave_their_pages_out_and_none_is_an_error(tmp_path: Path) -> None:
    book = notebook("solutions")
    fewer = copy.deepcopy(book)
    del fewer["cells"][place(fewer["cells"], "gradients.saliency")]
    assert "gradients.saliency" not in [page.question.id for page in pages(saved(tmp_path, fewer))]
    for cell in book["cells"]:
        cell["metadata"].pop("xaiteach", None)
    with pytest.raises(NotebookSourceError, match="without a cell that is marked"):
        pages(saved(tmp_path, book))


def test_the_command_writes_beside_the_notebook_and_says_what_is_missing(tmp_path: Path) -> None:
    path = saved(tmp_path, notebook("exercises"))
    before = path.read_bytes()
    result = CliRunner().invoke(app, ["answers", str(path)])
    assert result.exit_code == 0, result.output
    assert "12 pages in" in result.output
    assert "12 of them not answered yet" in result.output.replace("\n", " ")
    assert (tmp_path / f"{UNIT}-answers.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert path.read_bytes() == before


@pytest.mark.parametrize("text", ["", "{}", "not json"])
def test_what_is_no_notebook_is_told(tmp_path: Path, text: str) -> None:
    path = tmp_path / f"{UNIT}.ipynb"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(NotebookSourceError):
        printable(path)
