"""The figure class; importing this loads matplotlib, so it is imported inside the functions that draw."""

from __future__ import annotations

import base64
import io
from typing import Any

from matplotlib.figure import Figure

__all__ = ["ReadableFigure"]


class ReadableFigure(Figure):
    """A Figure that shows itself as the last value of a notebook cell and carries the line that reads it.

    A plain Figure made without pyplot shows as text, unless something in the kernel has imported pyplot before.
    """

    alt_text: str = ""

    def png(self, compress: int = 6) -> bytes:
        """The figure as a PNG: the same bytes each time, with neither date nor version in them.

        Parameters
            compress : from 0 to 9, zlib's level; 1 takes a third of the time of 6, for a file some 10 % larger.
        """
        buffer = io.BytesIO()
        options = {"compress_level": compress}
        self.savefig(buffer, format="png", dpi=100, metadata={"Software": None}, pil_kwargs=options)
        self.set_layout_engine("none")  # solved once: solving again from there moves things by fractions of a pixel
        return buffer.getvalue()

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, str], dict[str, Any]]:
        data = {"image/png": base64.b64encode(self.png()).decode("ascii"), "text/plain": self.alt_text or repr(self)}
        return data, {"image/png": {"alt": data["text/plain"]}}
