"""Tables of results: the same rows as text for a terminal and as HTML for a notebook."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

__all__ = ["html_table", "text_table"]


def text_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows under a header, in columns as wide as they have to be.

    Examples
        >>> print(text_table(("method", "SSIM"), [("saliency", ".24"), ("LRP", "1.00")]))
        method    SSIM
        --------  ----
        saliency  .24
        LRP       1.00
    """
    lines = [tuple(columns), *(tuple(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(columns))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([text[0], "  ".join("-" * width for width in widths), *text[1:]])


def html_table(columns: Sequence[str], rows: Sequence[Sequence[str]], caption: str) -> str:
    """The same as an HTML table with a caption; cells are escaped."""

    def row(cells: Sequence[str], kind: str) -> str:
        return "<tr>" + "".join(f'<{kind} style="text-align:left">{escape(c)}</{kind}>' for c in cells) + "</tr>"

    body = "".join(row(cells, "td") for cells in rows)
    head = f"<caption>{escape(caption)}</caption><thead>{row(columns, 'th')}</thead>"
    return f"<table>{head}<tbody>{body}</tbody></table>"
