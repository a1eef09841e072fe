"""Build hook: the course travels in the wheel, under xaiteach/_course.

An editable install uses the folders of the checkout.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CourseHook(BuildHookInterface):  # type: ignore[type-arg]
    """Adds the course folders that are there; a student's release has no solutions."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Hatchling calls this before it builds."""
        if version != "standard":
            return
        for name in ("notebooks", "exercises", "solutions"):
            if (Path(self.root) / name).is_dir():
                build_data["force_include"][name] = f"xaiteach/_course/{name}"
