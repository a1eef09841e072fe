"""README.md: its two set-up commands, what it names exists, and .ci/run runs its test command."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from xaiteach import cli

ROOT = Path(cli.__file__).resolve().parent.parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = ["pip install -e . && xaiteach lab", 'pip install -e ".[test]" && pytest']


def section(title: str) -> str:
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", README, flags=re.S | re.M)
    assert found, f"README.md has no section {title}"
    return found[1].strip()


def test_there_are_exactly_two_set_up_commands() -> None:
    assert re.findall(r"^```\n(.*?)\n```$", section("Set up"), flags=re.S | re.M) == COMMANDS


def test_ci_takes_its_test_command_from_the_readme() -> None:
    script = (ROOT / ".ci/run").read_text(encoding="utf-8")
    pattern = re.search(r"grep -E '(.*?)' README\.md", script)
    assert pattern, ".ci/run was expected to read the test command from README.md"
    assert [line for line in README.splitlines() if re.search(pattern[1], line)] == COMMANDS[1:]
    assert 'pip install -e ".[test]"' not in script


def test_it_begins_with_three_sentences() -> None:
    opening = README.split("\n## ")[0].split("\n", 1)[1]
    assert len(re.findall(r"\.(?:\s|$)", opening)) == 3


@pytest.mark.parametrize("title", ["Students", "Instructors", "Self-study"])
def test_each_reader_is_served_in_under_ten_lines(title: str) -> None:
    assert len(section(title).splitlines()) < 10


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_the_pages_name_no_address(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert re.findall(r"https?:|www\.|\b[\w-]+\.(?:org|com|io|net)\b", text) == []


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_every_command_that_is_named_exists(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    named = set(re.findall(r"`xaiteach ([a-z]+)|&& xaiteach ([a-z]+)", text))
    known = {command.name or getattr(command.callback, "__name__", "") for command in cli.app.registered_commands}
    assert {first or second for first, second in named} <= known


def test_the_pages_it_links_to_exist() -> None:
    links = re.findall(r"\]\(([^)]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).is_file()] == []


def test_contributing_is_one_page() -> None:
    assert len((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").splitlines()) <= 80
