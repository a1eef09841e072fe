import os

import pytest


def pytest_runtest_setup(item):
    """Tests of the sandbox need a bubblewrap that really runs; where CI promises one, its absence is a failure."""
    if item.get_closest_marker("bubblewrap") is None:
        return
    from xaiteach.grading.sandbox import bubblewrap_problem

    problem = bubblewrap_problem()
    if problem is None:
        return
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(f"skipped under CI=true: {problem}", pytrace=False)
    pytest.skip(problem)
