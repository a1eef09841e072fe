"""What the registry says of one method, and the table of all of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from xaiteach.plots.table import html_table, text_table

__all__ = ["NEEDS", "Entry", "MethodTable"]

NEEDS = {
    "scores": "any callable",
    "gradients": "a differentiable callable",
    "layer": "a module with a convolution",
    "operations": "known operations only",
}
"""What a method asks of the model, in words."""


@dataclass(frozen=True)
class Entry:
    """One method.

    Parameters
        target : "module:function"; the function is called as `function(model, x, target, **options)`. Where it has a
            parameter `generator` or `work` it gets those, too.
        family : "gradients", "cam", ...
        summary : what it computes, in a few words.
        units : of the values; "score" stands for what is explained, logits or probability.
        needs : key of NEEDS. What it asks of the model.
        cost : passes through the model.
        source : the paper.
        class_discriminative : whether the map changes with the class: "yes", "weakly" or "no".
        sanity_check : what cascading randomisation finds: "passes", "fails", "depends" with the reason, or "control".
        options : keyword arguments and their defaults.
        prepare : "module:function" or None. Called once as `prepare(model, run, options, who)` before the samples are
            split, with one observed run; it returns the options to use.
    """

    target: str
    family: str
    summary: str
    units: str
    needs: str
    cost: str
    source: str
    class_discriminative: str
    sanity_check: str
    options: Mapping[str, object] = field(default_factory=dict)
    prepare: str | None = None


_COLUMNS = ("method", "family", "needs", "cost", "class-discriminative", "sanity check", "source")


class MethodTable(Mapping[str, str]):
    """Names of methods, each with a line on it; printed, it is the table of all of them.

    Parameters
        entries : name -> Entry.
    """

    def __init__(self, entries: Mapping[str, Entry]) -> None:
        self._entries = entries

    def __getitem__(self, name: str) -> str:
        entry = self._entries[name]
        return f"{entry.summary} ({entry.cost}; {entry.source})"

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def rows(self) -> list[tuple[str, ...]]:
        """One tuple of cells for each method, without the header."""
        return [
            (name, e.family, NEEDS[e.needs], e.cost, e.class_discriminative, e.sanity_check, e.source)
            for name, e in self._entries.items()
        ]

    def __repr__(self) -> str:
        return text_table(_COLUMNS, self.rows())

    def _repr_html_(self) -> str:
        return html_table(_COLUMNS, self.rows(), f"{len(self)} attribution methods")
