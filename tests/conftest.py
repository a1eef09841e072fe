import os
import sys

import pytest
from helpers_lab import browser_problem


def bubblewrap_missing():
    from xaiteach.grading.sandbox import bubblewrap_problem

    return bubblewrap_problem()


NEEDS = {"bubblewrap": bubblewrap_missing, "browser": browser_problem}


def pytest_runtest_setup(item):
    """Where the machine lacks what a test needs it is skipped; where CI promises it, its absence is a failure."""
    for marker, problem_of in NEEDS.items():
        if item.get_closest_marker(marker) is None:
            continue
        problem = problem_of()
        if problem is None:
            continue
        if os.environ.get("CI", "").lower() == "true":
            pytest.fail(f"skipped under CI=true: {problem}", pytrace=False)
        pytest.skip(problem)


def pytest_terminal_summary(terminalreporter):
    """Print what the browser tests measured, and how far methods agree with oracles, so that it stands in CI's log."""
    lines = sys.modules["helpers_lab"].MEASURED
    if lines:
        terminalreporter.section("from key press to new picture")
        for line in lines:
            terminalreporter.write_line(line)
    agreed = getattr(sys.modules.get("helpers_oracles"), "AGREED", [])
    if agreed:
        terminalreporter.section("agreement: largest difference over the largest value (promised)")
        worst = {}
        for row in sorted(agreed):
            worst[row[:2]] = max(row, worst.get(row[:2], row), key=lambda one: one[2])
        for method, oracle, difference, promised in worst.values():
            terminalreporter.write_line(f"{method:<24} {oracle:<34} {difference:8.1e}  ({promised:.0e})")
