"""Every notebook that a student gets runs from start to end where no widget front end is."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from xaiteach.checks.course import copy_course, course_files
from xaiteach.runtime import course_root

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", course_files(course_root()))
def test_nbconvert_executes_it_without_a_front_end(name, tmp_path):
    copy_course(tmp_path)
    command = [sys.executable, "-m", "nbconvert", "--to", "notebook", "--execute", "--inplace", name]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    executed = json.loads((tmp_path / name).read_text(encoding="utf-8"))
    outputs = [output for cell in executed["cells"] for output in cell.get("outputs", [])]
    assert [output for output in outputs if output["output_type"] == "error"] == []
    live = [
        output["data"] for output in outputs if "application/vnd.jupyter.widget-view+json" in output.get("data", {})
    ]
    assert all({"image/png", "text/html"} & set(data) and data["text/plain"] for data in live)
    # What GitHub refuses is widget state without its "state" key.
    assert "state" in next(iter(executed["metadata"].get("widgets", {"none": {"state": {}}}).values()))
