"""A figure as the last value of a cell shows in a real kernel, whether or not pyplot was imported before."""

from __future__ import annotations

from base64 import b64decode
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

_DRAW = "import numpy as np\nfrom xaiteach import plots\nplots.heat_map(None, np.array([[0.0, 2.0], [-1.0, 0.0]]))"
_EXPLAIN = (
    "import torch\nfrom xaiteach import explain\nnet = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))\n"
    "explain(net, torch.ones(1, 1, 2, 2), 1, 'saliency')"
)


@pytest.mark.slow
def test_a_figure_shows_in_a_kernel_with_and_without_pyplot() -> None:
    cells = [_DRAW, "from matplotlib import pyplot as plt\nplt.subplots()\nplt.close()", _DRAW, _EXPLAIN]
    notebook = new_notebook(cells=[new_code_cell(source) for source in cells])
    root = Path(__file__).parents[1]
    done = NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(root)}}).execute()
    first, _, third, fourth = (cell.outputs for cell in done.cells)
    for outputs in (first, third, fourth):
        (output,) = outputs
        assert output.output_type == "execute_result"
        assert b64decode(output.data["image/png"]).startswith(b"\x89PNG")
    assert first[0].data["text/plain"] == third[0].data["text/plain"]
    assert first[0].data["text/plain"].startswith("peak 2 at row 0, column 1 of 2 x 2; ")
    assert first[0].metadata["image/png"]["alt"] == first[0].data["text/plain"]
    assert fourth[0].data["text/plain"].startswith("Attribution(saliency of the logit, class 1; peak ")
    nbformat.validate(done)
